"""Serves the dashboard from a thread of its own, between `start` and `stop`."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import threading
from collections.abc import Collection
from types import TracebackType
from typing import Self

import uvicorn

from ..errors import EnvironmentMissingError, UsageError
from ._access import allowed_hosts, checked_root, is_loopback
from ._app import Application
from ._library import Library
from ._limits import Limits

PORT = 8360
"""The port that is tried first."""

_TRIES = 20
_REFUSED = {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
"""Ports that browsers do not go to (https://fetch.spec.whatwg.org/#port-blocking), of those that may be free."""
_BACKLOG = 128
_SWITCH = 0.0005  # [s] after which a thread that computes lets one go on that answers; Python's own 5 ms are felt
_GRACE = 0.4  # [s] for answers that are being given, when all ends
_GONE = 60_000  # [ms] after which a peer that takes nothing counts as gone
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Dashboard:
    """Serves a library on this machine.

    Parameters
    ----------
    library : Library
        What to show; whoever has opened it closes it, after `stop`.
    host : str
        Address or name to listen on.
    port : int, optional
        0 is any that is free; without it 8360, or the next free one.
    root_path : str
        Path prefix of all addresses, for a proxy: `/panorama`.
    token : str, optional
        What clients must know; needed where others than this machine can connect.
    allow_hosts : collection of str
        More names that requests may come to: those of proxies.
    public : Limits, optional
        For everybody, by any name, without a token: as much as these limits allow each client.

    Raises
    ------
    UsageError
        It is open to others without a token, or a value is not as it should be.
    EnvironmentMissingError
        The address cannot be used.
    """

    def __init__(
        self,
        library: Library,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        root_path: str = "",
        token: str | None = None,
        allow_hosts: Collection[str] = (),
        public: Limits | None = None,
    ) -> None:
        self._root = checked_root(root_path)
        _check_token(token)
        self._listener = _listening(host, port)
        self.host, self.port = self._listener.getsockname()[:2]
        try:
            if token is None and public is None and not is_loopback(self.host):
                raise UsageError(
                    f"--host {host}: others on the network can connect there, so a token is needed: name a file that "
                    "holds one with --token-file FILE, or listen on 127.0.0.1 and come through `ssh -L`"
                )
            hosts = allowed_hosts(self.host, allow_hosts) if public is None else None
        except UsageError:
            self._listener.close()
            raise
        self._application = Application(library, token=token, root_path=root_path, hosts=hosts, public=public)
        self._server = _server(self._application)
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self._root}/"

    @property
    def private(self) -> bool:
        """Whether what it says stays on this machine."""
        return is_loopback(self.host)

    def start(self) -> Self:
        """Serve."""
        self._thread.start()
        self._begun.wait()
        return self

    def stop(self, within: float = 2.0) -> bool:
        """Serve no more; whether all has ended within so many seconds, or else a long reading goes on."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(within)
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        sys.setswitchinterval(_SWITCH)
        with self._listener:
            asyncio.run(self._serve())
        self._application.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun.set()  # the socket listens since it was made: who connects now is answered in a moment
        await self._server.serve(sockets=[self._listener])

    def _end(self) -> None:
        self._application.hub.end()
        self._server.should_exit = True


def _server(application: Application) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http="h11",  # the same everywhere, whatever else is installed
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,  # type: ignore[arg-type] # it is waited for as it is
        )
    )


def _check_token(token: str | None) -> None:
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise UsageError("the token must be of printable ASCII without blanks; `openssl rand -hex 32` makes one")


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens on the port, or if none is told on the first free one from 8360 on."""
    family, address = _resolved(host)
    ports = [port] if port is not None else [*range(PORT, PORT + _TRIES), 0]
    for number in ports:
        try:
            listener = _listener(family, (address, number))
            while number == 0 and listener.getsockname()[1] in _REFUSED:
                with listener:  # until another one is had, so that it is not had again
                    listener = _listener(family, (address, 0))
            return listener
        except OSError as error:
            if error.errno != errno.EADDRINUSE or number == ports[-1]:
                also = "; another one with --port, 0 is any that is free" if error.errno == errno.EADDRINUSE else ""
                raise EnvironmentMissingError(f"cannot listen on {host}:{number}: {error.strerror}{also}") from None
    raise AssertionError("the last port has been tried")


def _listener(family: int, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio asks for no delay only if told
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _USER_TIMEOUT is not None:
            listener.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, _GONE)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _resolved(host: str) -> tuple[int, str]:
    """Family and address of a host, IPv4 before IPv6, since that is what `ssh -L` reaches by the name localhost."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise EnvironmentMissingError(f"--host {host}: no such address: {error}") from None
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, str(address[0])
