"""A private RabbitMQ node: a real broker of its own for a test or a benchmark, all of it on loopback and in one folder.

It is the server that the machine has (Debian's `rabbitmq-server`), with its own name, cookie, home and ports, so that
it meets no other; `close` ends all of it, its port mapper (epmd) included.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import EnvironmentMissingError, ServerError

VHOST = "panorama"
USER = "collector"

_LIB = Path("/usr/lib/rabbitmq")
_START_LIMIT = 90.0  # seconds
_STOP_LIMIT = 30.0  # seconds
_PAUSE = 0.05  # seconds
_GREETING = b"AMQP\x00\x00\x09\x01"
_QUIET = "+sbwt none +sbwtdcpu none +sbwtdio none"  # the schedulers of an idle node shall not spin
_FRESH = "-rabbit quorum_tick_interval 250"  # milliseconds: how old the lengths that `list_queues` tells may be


class Certificates(NamedTuple):
    """Files (PEM) of a broker that speaks TLS: who signed, the broker's own certificate, and its key."""

    ca: Path
    certificate: Path
    key: Path


def why_not() -> str:
    """Why no node can be started here; empty where one can."""
    if not (_LIB / "bin" / "rabbitmq-server").is_file():
        return f"no RabbitMQ server in {_LIB}: apt-get install rabbitmq-server"
    missing = [name for name in ("erl", "epmd") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on PATH: apt-get install erlang-base" if missing else ""


@contextmanager
def running(folder: Path, *, tls: Certificates | None = None, management: bool = False) -> Iterator[Node]:
    """A node that is up, in `folder`, and gone afterwards.

    Raises
    ------
    EnvironmentMissingError
        There is no RabbitMQ on this machine.
    ServerError
        It does not start.
    """
    node = Node(folder, tls=tls, management=management)
    try:
        node.start()
        yield node
    finally:
        node.close()


class Node:
    """A RabbitMQ node with the vhost `panorama` and one user with a random password.

    Parameters
    ----------
    folder : Path
        Everything it writes; made where it is missing. Keep the path short and without blanks.
    tls : Certificates, optional
        Speak TLS as well, with these.
    management : bool
        Answer HTTP as well: RabbitMQ's management interface.

    Attributes
    ----------
    port, tls_port, http_port : int
        Where it listens on 127.0.0.1: AMQP, AMQP over TLS, management.
    password : str
        Of the user `USER`, who may do everything.
    credentials : Path
        A netrc file with both.
    """

    def __init__(self, folder: Path, *, tls: Certificates | None = None, management: bool = False) -> None:
        reason = why_not()
        if reason:
            raise EnvironmentMissingError(reason)
        self.folder = folder.absolute()
        self.password = secrets.token_urlsafe(18)
        self.credentials = self.folder / "netrc"
        self.port, self.tls_port, self.http_port, self._epmd_port, self._dist_port = _free_ports(5)
        self._name = f"panorama-{os.getpid()}-{secrets.token_hex(4)}@localhost"
        self.tls, self._management = tls, management
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._write_files()

    @property
    def url(self) -> str:
        """Address of its vhost and exchange, without user and password."""
        return f"amqp://127.0.0.1:{self.port}/{VHOST}/monitoring"

    @property
    def http_url(self) -> str:
        """Where the exchange takes messages over HTTP: `POST .../publish` of the management interface."""
        return f"http://127.0.0.1:{self.http_port}/api/exchanges/{VHOST}/monitoring/publish"

    @property
    def pid(self) -> int | None:
        """Of the Erlang machine; None while it does not run."""
        return self._server.pid if self._server else None

    def start(self) -> None:
        """Start it, on the data it had, and wait until it takes connections.

        Raises
        ------
        ServerError
            It ended, or did not answer in time; its last words are in the message.
        """
        if self._server is not None:
            return
        self._start_epmd()
        with (self.folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [_LIB / "bin" / "rabbitmq-server"],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._await_greeting()

    def stop(self) -> None:
        """End it in order, its data kept."""
        if self._server is not None:
            self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._server is not None:
            self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it in order and start it again."""
        self.stop()
        self.start()

    def ctl(self, *words: str) -> str:
        """What `rabbitmqctl` with these words prints; `stop_app` and `start_app` make an outage of the broker alone.

        Raises
        ------
        ServerError
            It fails.
        """
        called = subprocess.run(
            [_LIB / "bin" / "rabbitmqctl", "-q", "-n", self._name, *words],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_LIMIT,
            check=False,
        )
        if called.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(words)}: {called.stdout}{called.stderr}")
        return called.stdout

    def make_vhost(self, name: str) -> str:
        """Make another vhost, which the same user may use; its address, with the exchange `monitoring`."""
        user, vhost, everything, by = (f'<<"{text}">>' for text in (USER, name, ".*", "panorama"))
        rights = f"rabbit_auth_backend_internal:set_permissions({user}, {vhost}, {', '.join([everything] * 3)}, {by})"
        self.ctl("eval", f"rabbit_vhost:add({vhost}, {by}), {rights}.")
        return f"amqp://127.0.0.1:{self.port}/{name}/monitoring"

    def close(self) -> None:
        """End it and its port mapper, at once."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "true",  # makes the script become the Erlang machine, whose id is then known
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} {_QUIET} {_FRESH}",
        }

    def _write_files(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _private(self.folder / ".erlang.cookie", secrets.token_hex(20), 0o400)
        _private(
            self.folder / "netrc",
            f"machine 127.0.0.1 login {USER} password {self.password}\n"
            f"machine localhost login {USER} password {self.password}\n",
        )
        _private(self.folder / "definitions.json", json.dumps(_definitions(self.password)))
        (self.folder / "rabbitmq.conf").write_text("\n".join(self._settings()) + "\n", encoding="utf-8")
        plugins = "rabbitmq_management" if self._management else ""
        (self.folder / "enabled_plugins").write_text(f"[{plugins}].\n", encoding="utf-8")

    def _settings(self) -> Iterable[str]:
        yield f"listeners.tcp.1 = 127.0.0.1:{self.port}"
        yield f"load_definitions = {self.folder / 'definitions.json'}"
        yield "log.console = true"
        yield "log.file = false"
        yield "collect_statistics_interval = 250"
        yield "disk_free_limit.absolute = 1MB"
        if self._management:
            yield "management.tcp.ip = 127.0.0.1"
            yield f"management.tcp.port = {self.http_port}"
        if self.tls:
            yield f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}"
            yield f"ssl_options.cacertfile = {self.tls.ca}"
            yield f"ssl_options.certfile = {self.tls.certificate}"
            yield f"ssl_options.keyfile = {self.tls.key}"

    def _start_epmd(self) -> None:
        """Start the port mapper as our own child: one that Erlang starts by itself would outlive us."""
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        _await(lambda: _listens(self._epmd_port), "epmd", self.folder)

    def _await_greeting(self) -> None:
        try:
            _await(lambda: self._ended() or _greets(self.port), "RabbitMQ", self.folder)
        except ServerError:
            self._end(signal.SIGKILL)
            raise
        if self._ended():
            self._server = None
            raise ServerError(f"RabbitMQ ended at once: {_last_words(self.folder)}")

    def _ended(self) -> bool:
        return self._server is None or self._server.poll() is not None

    def _end(self, number: signal.Signals) -> None:
        assert self._server is not None
        self._signal(number)
        try:
            self._server.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(number)


def self_signed(folder: Path, host: str = "localhost") -> Certificates:
    """A certification authority of one's own, and a certificate that it made out to `host`.

    Raises
    ------
    EnvironmentMissingError
        There is no openssl on this machine.
    """
    if shutil.which("openssl") is None:
        raise EnvironmentMissingError("no openssl on PATH: apt-get install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key, request = folder / "ca.pem", folder / "ca.key", folder / "broker.csr"
    certificate, key, extension = folder / "broker.pem", folder / "broker.key", folder / "broker.ext"
    new_key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    extension.write_text(f"subjectAltName=DNS:{host}\n", encoding="utf-8")
    _openssl("req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=a test's own CA")
    _openssl("req", *new_key, "-keyout", key, "-out", request, "-subj", f"/CN={host}")
    signer: list[str | Path] = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-extfile", extension]
    _openssl("x509", "-req", "-in", request, "-out", certificate, "-days", "2", *signer)
    return Certificates(ca, certificate, key)


def _openssl(*words: str | Path) -> None:
    called = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if called.returncode:
        raise ServerError(f"openssl {words[0]}: {called.stderr}")


def _definitions(password: str) -> dict[str, object]:
    """Vhost, user and permissions; password hash as of RabbitMQ's guide "Credentials and Passwords"."""
    salt = secrets.token_bytes(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    user = {"name": USER, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256"}
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [user | {"tags": "administrator"}],
        "vhosts": [{"name": VHOST}],
        "permissions": [{"user": USER, "vhost": VHOST} | rights],
    }


def _private(path: Path, text: str, mode: int = 0o600) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _greets(port: int) -> bool:
    """Whether an AMQP broker answers there: the port is open before the broker has started."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(_GREETING)
            return bool(connection.recv(1))
    except OSError:
        return False


def _await(condition: Callable[[], bool], what: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"{what} did not answer within {_START_LIMIT:.0f} s: {_last_words(folder)}")
        time.sleep(_PAUSE)


def _last_words(folder: Path) -> str:
    try:
        return (folder / "output").read_text(errors="replace")[-2000:]
    except OSError:
        return "it wrote nothing"
