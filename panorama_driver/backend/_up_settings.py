"""How a back end of one folder is set up: kept in its backend.json, so that it comes up as it was, ports and all."""

from __future__ import annotations

import ipaddress
import os
import random
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ..errors import EnvironmentMissingError, UsageError
from . import rabbitmq
from ._files import private

FILE = "backend.json"
DASHBOARD = 8360
"""Port that is taken where it is free, since people know it."""

_FORMAT = 1
_PORTS = range(20_000, 32_768)  # above those of known services, below those that Linux gives outgoing connections
_PLAIN = re.compile(r"[\w./ ,+@=~-]+", re.ASCII)
_LIMIT = 1 << 20  # bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks for; None is as it was, or else as is usual.

    Attributes
    ----------
    broker : bool or None
        Run a broker; usually where one is installed.
    broker_port, port : int or None
        Of the broker, of the dashboard.
    http : str or None
        `[HOST:]PORT` that takes what is posted; usually where there is no broker.
    certificate : str or None
        Speak HTTPS there: chain and key (PEM).
    store : str or None
        Path or URL; usually `store.db` in the folder.
    dashboard : bool or None
        Run a dashboard; usually.
    show : tuple of str
        More studies, folders of them, and stores for the dashboard.
    """

    broker: bool | None = None
    broker_port: int | None = None
    http: str | None = None
    certificate: str | None = None
    store: str | None = None
    dashboard: bool | None = None
    port: int | None = None
    show: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What runs, and where; ports are 0 where something does not run.

    Attributes
    ----------
    broker_port, port : int
        Of the broker, of the dashboard.
    http_host : str
        Address that takes what is posted.
    http_port : int
        And its port.
    certificate : str
        Chain and key (PEM); empty for plain HTTP.
    store : str
        Path or URL.
    show : tuple of str
        What else the dashboard shows.
    format : int
        Of this file.
    """

    broker_port: int
    http_host: str
    http_port: int
    certificate: str
    store: str
    port: int
    show: tuple[str, ...] = ()
    format: int = _FORMAT

    @property
    def http_address(self) -> str:
        """HOST:PORT that takes what is posted."""
        host = f"[{self.http_host}]" if ":" in self.http_host else self.http_host
        return f"{host}:{self.http_port}"

    @property
    def http_url(self) -> str:
        """Where records can be posted to."""
        return f"{'https' if self.certificate else 'http'}://{self.http_address}/"


def settle(folder: Path, asked: Asked) -> Settings:
    """Settings of the back end in a folder: what is asked for, else as it was, else as is usual; kept for next time.

    Raises
    ------
    UsageError
        Something cannot be as it is asked for.
    EnvironmentMissingError
        A port is taken, or RabbitMQ has gone.
    """
    before = _read(folder / FILE)
    ports = _Ports()
    broker = _broker_port(folder, asked, before, ports)
    host, http = _http(asked, before, ports, needed=not broker)
    dashboard = _dashboard_port(asked, before, ports)
    settings = Settings(
        broker_port=broker,
        http_host=host,
        http_port=http,
        certificate=_absolute(asked.certificate) or (before.certificate if before else ""),
        store=_place(asked.store) or (before.store if before else str(folder / "store.db")),
        port=dashboard,
        show=tuple(map(_place, asked.show)) or (before.show if before else ()),
    )
    private(folder / FILE, msgspec.json.format(msgspec.json.encode(settings), indent=1).decode() + "\n")
    return settings


class _Ports:
    """Gives ports away, each once."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def known(self, port: int, host: str, what: str, option: str) -> int:
        """A port that others look for something at."""
        if port in self._given or not is_free(port, host):
            raise EnvironmentMissingError(
                f"{host}:{port}: somebody else listens there, where {what} is to be; `ss -ltnp` tells who; "
                f"give another port: {option}"
            )
        self._given.add(port)
        return port

    def free(self, liked: int = 0) -> int:
        """The port that is liked where it is free, or any other."""
        some: Iterable[int] = random.sample(_PORTS, 100)
        for port in (liked, *some) if liked else some:
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        raise EnvironmentMissingError(f"no free port from {_PORTS.start} to {_PORTS.stop - 1} on this machine")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that are free, for what nobody looks for."""
    ports = _Ports()
    return [ports.free() for _ in range(number)]


def _broker_port(folder: Path, asked: Asked, before: Settings | None, ports: _Ports) -> int:
    had = before.broker_port if before else 0
    wanted = asked.broker
    if wanted is None and (asked.broker_port or before):
        wanted = bool(asked.broker_port or had)
    if wanted is False:
        return 0
    reason = rabbitmq.why_not() or _unfit(folder)
    if reason and wanted is None:
        return 0
    if reason:
        raise EnvironmentMissingError(f"{folder}: {reason}; or leave the broker away: --no-broker")
    port = asked.broker_port or had
    return ports.known(port, "127.0.0.1", "the broker", "--broker-port") if port else ports.free()


def _unfit(folder: Path) -> str:
    if _PLAIN.fullmatch(str(folder)):
        return ""
    return "RabbitMQ's scripts cannot work in a folder of such a name: plain letters, digits, blanks and ./,+@=~-_ only"


def _http(asked: Asked, before: Settings | None, ports: _Ports, needed: bool) -> tuple[str, int]:
    if asked.http is not None:
        host, port = _address(asked.http)
    elif before and before.http_port:
        host, port = before.http_host, before.http_port
    elif needed:
        return "127.0.0.1", ports.free()
    else:
        return "127.0.0.1", 0
    return host, ports.known(port, host, "what takes posts", "--http [HOST:]PORT") if port else ports.free()


def _address(text: str) -> tuple[str, int]:
    """Host, as a numeric address, and port out of `[HOST:]PORT`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--http: {text!r}: write it as [HOST:]PORT")
    name = host.strip("[]") or "127.0.0.1"
    try:
        found = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)[0][4][0]
    except OSError as problem:
        raise UsageError(f"--http: {name!r} is no address of this machine: {problem.strerror}") from None
    return str(ipaddress.ip_address(found)), int(port)


def _dashboard_port(asked: Asked, before: Settings | None, ports: _Ports) -> int:
    had = before.port if before else 0
    if asked.dashboard is False or (asked.dashboard is None and before and not had and asked.port is None):
        return 0
    port = asked.port or had
    return ports.known(port, "127.0.0.1", "the dashboard", "--port") if port else ports.free(DASHBOARD)


def _place(text: str | None) -> str:
    """A path or a URL, whatever the working directory is; a user's part of a URL is for whoever opens it to refuse."""
    return text if text and "://" in text else _absolute(text)


def _absolute(text: str | None) -> str:
    return os.path.abspath(os.path.expanduser(text)) if text else ""


def _read(path: Path) -> Settings | None:
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            told: Any = msgspec.json.decode(file.read(_LIMIT))
        if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > _FORMAT:
            raise UsageError(f"{path}: was written by a newer panorama; use that, or another folder")
        return msgspec.convert(told, Settings)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path}: is not as `panorama up` writes it: {problem}; move it away to begin anew") from None
