"""A RabbitMQ node of one's own, all of it on loopback and in one folder: its files, its environment, its commands.

It is the server that the machine has, with its own name, cookie, password, home and ports, so that it meets no other.
Who runs the commands is not said here: `up` supervises them, and `testing.rabbitmq` makes a node of a test out of them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import EnvironmentMissingError
from ._definitions import VHOST
from ._files import private

GREETING = b"AMQP\x00\x00\x09\x01"
"""What a client says first (AMQP 0-9-1, 4.2.2); a broker that has started answers it."""

_SERVER, _CTL = "rabbitmq-server", "rabbitmqctl"
_BESIDE = "rabbitmq-env"  # what the server's own script has beside it, and Debian's wrapper for root has not
_DEBIAN = Path("/usr/lib/rabbitmq/bin")
_QUIET = "+sbwt none +sbwtdcpu none +sbwtdio none"  # the schedulers of an idle node shall not spin


class Certificates(NamedTuple):
    """Files (PEM) of a broker that speaks TLS: who signed, the broker's own certificate, and its key."""

    ca: Path
    certificate: Path
    key: Path


class Ports(NamedTuple):
    """Where a node listens on 127.0.0.1: AMQP, its port mapper (epmd), Erlang's own protocol, AMQP over TLS, HTTP."""

    amqp: int
    mapper: int
    distribution: int
    tls: int = 0
    management: int = 0


def why_not() -> str:
    """Why no node can be started here; empty where one can."""
    if find_scripts() is None:
        return f"no {_SERVER} in {_DEBIAN} nor on PATH: apt-get install rabbitmq-server"
    missing = [name for name in ("erl", "epmd") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)} on PATH: apt-get install erlang-base" if missing else ""


def find_scripts() -> Path | None:
    """The folder with the server's own scripts: of a release whose sbin is on PATH, or else of Debian's package."""
    on_path = shutil.which(_SERVER)
    places = [*([Path(on_path).resolve().parent] if on_path else []), _DEBIAN]
    return next((place for place in places if (place / _SERVER).is_file() and (place / _BESIDE).exists()), None)


@dataclass(frozen=True)
class Layout:
    """Where a node has what it needs.

    Attributes
    ----------
    folder : Path
        Everything that it reads and writes.
    name : str
        Of the Erlang node; its data are filed under it, so it stays what it was.
    ports : Ports
        Where it listens; without a port for it, it speaks neither TLS nor HTTP.
    tls : Certificates or None
        Speak TLS as well, with these.
    settings : tuple of str
        More lines of rabbitmq.conf.
    erlang : str
        More arguments of the Erlang machine.
    """

    folder: Path
    name: str
    ports: Ports
    tls: Certificates | None = None
    settings: tuple[str, ...] = ()
    erlang: str = ""

    @property
    def url(self) -> str:
        """Address of its vhost and exchange, without user and password."""
        return f"amqp://127.0.0.1:{self.ports.amqp}/{VHOST}/monitoring"

    @property
    def server(self) -> tuple[str, ...]:
        """The command that becomes the broker."""
        return (str(_scripts() / _SERVER),)

    @property
    def mapper(self) -> tuple[str, ...]:
        """The command of the port mapper: one that Erlang starts by itself would outlive the broker."""
        return ("epmd", "-port", str(self.ports.mapper), "-address", "127.0.0.1")

    def ctl(self, *words: str) -> tuple[str, ...]:
        """The command that tells the broker something."""
        return (str(_scripts() / _CTL), "-q", "-n", self.name, *words)

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of these commands."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.ports.mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "true",  # makes the script become the Erlang machine, whose id is then known
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self.ports.distribution),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {{127,0,0,1}} {_QUIET} {self.erlang}"
            ),
        }

    def write(self, definitions: Mapping[str, object]) -> None:
        """Write its files, with what it begins with (RabbitMQ's guide "Definitions"); a cookie that is there stays."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            private(cookie, secrets.token_hex(20))
            cookie.chmod(0o400)  # Erlang wants that
        private(self.folder / "definitions.json", json.dumps(definitions))
        (self.folder / "rabbitmq.conf").write_text("\n".join(self._lines()) + "\n", encoding="utf-8")
        plugins = "rabbitmq_management" if self.ports.management else ""
        (self.folder / "enabled_plugins").write_text(f"[{plugins}].\n", encoding="utf-8")

    def registered(self, queue: str) -> bool:
        """Whether the node would find a quorum queue again that has just been declared, if it was killed.

        RabbitMQ 3.10 writes down some time after the declaration which log is whose, and one that is killed before that
        begins with an empty queue, whatever it had confirmed.
        """
        name = f"{VHOST}_{queue}".encode()
        kept = list(self.folder.glob("data/*/quorum/*/names.dets"))
        return not kept or any(name in path.read_bytes() for path in kept)

    def _lines(self) -> Iterable[str]:
        yield f"listeners.tcp.1 = 127.0.0.1:{self.ports.amqp}"
        yield f"load_definitions = {self.folder / 'definitions.json'}"
        yield "log.console = true"
        yield "log.file = false"
        yield from self.settings
        if self.ports.management:
            yield "management.tcp.ip = 127.0.0.1"
            yield f"management.tcp.port = {self.ports.management}"
        if self.tls:
            yield f"listeners.ssl.1 = 127.0.0.1:{self.ports.tls}"
            yield f"ssl_options.cacertfile = {self.tls.ca}"
            yield f"ssl_options.certfile = {self.tls.certificate}"
            yield f"ssl_options.keyfile = {self.tls.key}"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _scripts() -> Path:
    scripts = find_scripts()
    if scripts is None:
        raise EnvironmentMissingError(why_not())
    return scripts
