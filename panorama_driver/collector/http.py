"""The way in for those who speak HTTP: the probe, the panorama kickstart, anything that can POST JSON.

What is answered with 2xx is on disk, in a spool; a second thread brings it from there into the store. So whatever dies
in between, nothing that was accepted is lost, and nothing is doubled, since the store knows each event by its identity.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import EnvironmentMissingError, StoreError, UsageError
from ..store import Store, Via
from ._http import HEAD_LIMIT
from ._http_service import Counts, Service
from ._intake import Drained, Record, keep
from .files import BATCH, LINE_LIMIT
from .spool import LIMIT, Spool

__all__ = ["SOURCE", "Counts", "HttpIngest", "read_token", "server_context"]

SOURCE = "http"
"""Where dead letters that came in here are from."""
_BACK_OFF, _MOST_BACK_OFF = 0.5, 10.0  # [s] between two attempts at a store that fails
_log = logging.getLogger(__name__)


class HttpIngest:
    """Takes records by HTTP into a store, between `start` and `stop`, in threads of its own.

    Parameters
    ----------
    store : Store
        Where the events go. Open it `durable`, since the spool lets go of what it has taken.
    spool_dir : str or path
        Folder for what is accepted and not yet stored.
    token : str
        What a client must know; see `read_token`.
    address : (str, int)
        Host and port to listen on; this machine only, unless told. Port 0 is any that is free.
    size_limit : int
        Longer bodies are refused [bytes].
    spool_limit : int
        How much may wait [bytes]; then clients are told to come later.
    tls : ssl.SSLContext, optional
        To speak HTTPS; see `server_context`. Without it a token can be read by all on the way.
    """

    def __init__(
        self,
        store: Store,
        *,
        spool_dir: str | os.PathLike[str],
        token: str,
        address: tuple[str, int] = ("127.0.0.1", 0),
        size_limit: int = LINE_LIMIT,
        spool_limit: int = LIMIT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not token:
            raise UsageError("no token: whoever can connect could write into the store; give one, in a file of yours")
        self.address = address
        self._store = store
        self._spool_dir = spool_dir
        self._spool_limit = spool_limit
        self._service = Service(token, size_limit, tls)
        self._spool: Spool | None = None
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where records can be posted to, once it has been started."""
        host, port = self.address
        return f"{self._service.scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def private(self) -> bool:
        """Whether the token stays between client and server: over TLS, or on this machine."""
        return self._service.scheme == "https" or ipaddress.ip_address(self.address[0]).is_loopback

    @property
    def counts(self) -> Counts:
        """How it stands."""
        return self._service.counts

    def start(self) -> Self:
        """Listen.

        Raises
        ------
        EnvironmentMissingError
            The address cannot be used.
        StoreError
            The spool cannot be opened.
        """
        listener = _listening(self.address)
        try:
            self._spool = Spool(self._spool_dir, self._spool_limit)
        except BaseException:
            listener.close()
            raise
        self.address = listener.getsockname()[:2]
        self._drain = _Drain(self._spool, self._store, self._service)
        self._service.use(self._spool, self._drain.wake)
        self._threads = [
            threading.Thread(target=self._service.run, args=(listener,), name="http"),
            threading.Thread(target=self._drain.run, name="http-store"),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Hear nobody any more, and bring what waits into the store; what that does not take stays in the spool."""
        if self._spool is None:
            return
        hearing, storing = self._threads
        self._service.stop()
        hearing.join()
        self._drain.stop()
        storing.join()
        self._spool.close()
        self._spool = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def read_token(path: str | os.PathLike[str], make: bool = False) -> str:
    """Read the token out of a file that only its owner may read.

    Parameters
    ----------
    path : str or path
        The file, of one line.
    make : bool
        Write a new one, of 256 random bits, where there is no such file.

    Raises
    ------
    EnvironmentMissingError
        There is no such file, or it cannot be read.
    UsageError
        It is open to others, or empty.
    """
    try:
        if make:
            _make_token(Path(path))
        with open(path, encoding="latin-1") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise UsageError(f"{path}: others may read this token: chmod 600 {path}")
            token = file.readline(HEAD_LIMIT).strip()
    except OSError as error:
        raise EnvironmentMissingError(f"{path}: the token cannot be read: {error.strerror}") from error
    if not token:
        raise UsageError(f"{path}: there is no token in the first line; `openssl rand -hex 32` makes one")
    return token


def _make_token(path: Path) -> None:
    with suppress(FileExistsError), open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_hex(32) + "\n")


def server_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """What HTTPS needs: a certificate chain and its key, as PEM files; the key may stand in the certificate's file.

    Raises
    ------
    EnvironmentMissingError
        They cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        words = f"{certificate}: no certificate with its key can be read there: {error.strerror or error}"
        raise EnvironmentMissingError(words) from error
    return context


def _listening(address: tuple[str, int]) -> socket.socket:
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server(address, family=family, backlog=256)
    except (OSError, OverflowError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise EnvironmentMissingError(
            f"{address[0]}:{address[1]}: cannot listen there: {words}; give another address or port"
        ) from error


class _Drain:
    """Brings what is in the spool into the store, and lets go of it once it is there."""

    def __init__(self, spool: Spool, store: Store, service: Service) -> None:
        self.wake = threading.Event()
        self._spool = spool
        self._store = store
        self._service = service
        self._ending = threading.Event()

    def run(self) -> None:
        back_off = _BACK_OFF
        while True:
            ending = self._ending.is_set()
            self.wake.clear()
            try:
                while self._some():
                    pass
            except StoreError as error:
                self._note(error)
                self._ending.wait(back_off)
                back_off = min(2 * back_off, _MOST_BACK_OFF)
            else:
                self._service.tell(problem="")
                back_off = _BACK_OFF
                if not ending:
                    self.wake.wait()
            if ending:
                return

    def stop(self) -> None:
        self._ending.set()
        self.wake.set()

    def _some(self) -> bool:
        bodies = self._spool.read(BATCH)
        if bodies:
            drained = keep(self._store, [Record(body, SOURCE) for body in bodies], Via.HTTP)
            self._spool.drop(len(bodies))
            self._count(drained)
        return bool(bodies)

    def _count(self, drained: Drained) -> None:
        self._service.add(stored=drained.stored, duplicates=drained.duplicates, dead=drained.dead)

    def _note(self, error: StoreError) -> None:
        if self._service.counts.problem != str(error):
            _log.warning("%s", error)
        self._service.tell(problem=str(error))
