"""A private RabbitMQ node: a real broker of its own for a test or a benchmark, all of it on loopback and in one folder.

It is the server that the machine has (Debian's `rabbitmq-server`), with its own name, cookie, home and ports, so that
it meets no other; `close` ends all of it, its port mapper (epmd) included.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..backend._definitions import VHOST, user
from ..backend._secrets import login
from ..backend.rabbitmq import GREETING, Certificates, Layout, Ports, free_ports, why_not
from ..errors import EnvironmentMissingError, ServerError

__all__ = ["USER", "VHOST", "Certificates", "Node", "free_ports", "running", "self_signed", "why_not"]

USER = "collector"

_START_LIMIT = 90.0  # seconds
_STOP_LIMIT = 30.0  # seconds
_PAUSE = 0.05  # seconds
_SETTINGS = ("collect_statistics_interval = 250", "disk_free_limit.absolute = 1MB")
_FRESH = "-rabbit quorum_tick_interval 250"  # milliseconds: how old the lengths that `list_queues` tells may be


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
        self.port, mapper, distribution, self.tls_port, self.http_port = free_ports(5)
        ports = Ports(self.port, mapper, distribution, self.tls_port, self.http_port if management else 0)
        name = f"panorama-{os.getpid()}-{secrets.token_hex(4)}@localhost"
        self._layout = Layout(self.folder, name, ports, tls, _SETTINGS, _FRESH)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.tls, self.credentials = tls, self.folder / "netrc"
        self.password = login(self.credentials, USER, ("127.0.0.1", "localhost"))
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._layout.write(_definitions(self.password))

    @property
    def url(self) -> str:
        """Address of its vhost and exchange, without user and password."""
        return self._layout.url

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
                self._layout.server,
                cwd=self.folder,
                env=self._layout.environment,
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
            self._layout.ctl(*words),
            cwd=self.folder,
            env=self._layout.environment,
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

    def _start_epmd(self) -> None:
        """Start the port mapper as our own child: one that Erlang starts by itself would outlive us."""
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                self._layout.mapper,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        _await(lambda: _listens(self._layout.ports.mapper), "epmd", self.folder)

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


def _definitions(password: str) -> dict[str, object]:
    """An empty vhost, and a user who may do everything everywhere."""
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [user(USER, password, tags="administrator")],
        "vhosts": [{"name": VHOST}],
        "permissions": [{"user": USER, "vhost": VHOST} | rights],
    }


def _openssl(*words: str | Path) -> None:
    called = subprocess.run(["openssl", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if called.returncode:
        raise ServerError(f"openssl {words[0]}: {called.stderr}")


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
            connection.sendall(GREETING)
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
