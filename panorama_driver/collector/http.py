"""The way in for those who speak HTTP: the probe, the panorama kickstart, anything that can POST JSON.

What is answered with 2xx is on disk, in a spool; a second thread brings it from there into the store. So whatever dies
in between, nothing that was accepted is lost, and nothing is doubled, since the store knows each event by its identity.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ..errors import EnvironmentMissingError, SpoolFullError, StoreError, UsageError
from ..store import Store, Via
from ._http import HEAD_LIMIT, Refusal, Request, answer, body_length, body_of, check_target, check_token, parse_head
from ._intake import Drained, Record, keep
from .files import BATCH, LINE_LIMIT
from .spool import LIMIT, Spool

SOURCE = "http"
"""Where dead letters that came in here are from."""
CONNECTIONS = 512
"""How many clients are heard at once."""
IN_FLIGHT = 64 << 20
"""What the bodies that are being received may take together [bytes]."""
_HEAD_WITHIN = 10.0  # [s] of connecting, for a request's head
_BODY_WITHIN = 30.0  # [s]
_IDLE = 75.0  # [s] between two requests; curl and the probe open another connection without a word
_LINGER = 2.0  # [s] for a refused client to hear why, before its connection is reset
_RETRY_AFTER = "5"  # [s]
_BACK_OFF, _MOST_BACK_OFF = 0.5, 10.0  # [s] between two attempts at a store that fails
_log = logging.getLogger(__name__)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What has come in since the start.

    Attributes
    ----------
    accepted : int
        Records that were answered with 2xx, and so are in the store or wait.
    refused : int
        Requests that were not.
    stored, duplicates, dead : int
        Events that were new, events that the store had, records that became dead letters.
    waiting : int
        Records that are in the spool and not yet in the store.
    waiting_bytes : int
        What those take [bytes].
    connections : int
        Clients that are heard now.
    problem : str
        Why the store takes none, if it does not; they are tried again.
    """

    accepted: int = 0
    refused: int = 0
    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    connections: int = 0
    problem: str = ""


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
        self._service = _Service(token, size_limit, tls)
        self._spool: Spool | None = None
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Where records can be posted to, once it has been started."""
        host, port = self.address
        return f"{self._service.scheme}://{f'[{host}]' if ':' in host else host}:{port}"

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


class _Service:
    """Hears clients: one event loop, in which nothing waits for a disk."""

    def __init__(self, token: str, size_limit: int, tls: ssl.SSLContext | None) -> None:
        self.scheme = "https" if tls else "http"
        self.counts = Counts()
        self._token = token
        self._size_limit = size_limit
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._clients: set[asyncio.Task[Any]] = set()
        self._in_flight = 0
        self._counting = threading.Lock()

    def use(self, spool: Spool, accepted: threading.Event) -> None:
        self._spool = spool
        self._accepted = accepted
        self._appender = _Appender(spool)

    def add(self, **more: int) -> None:
        with self._counting:
            added = {name: getattr(self.counts, name) + number for name, number in more.items()}
            self.counts = msgspec.structs.replace(self.counts, **added)

    def tell(self, **facts: int | str) -> None:
        with self._counting:
            self.counts = msgspec.structs.replace(self.counts, **facts)

    def run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listener))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._hear, sock=listener, ssl=self._tls, limit=HEAD_LIMIT)
        await self._ended.wait()
        server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._appender.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        self.tell(connections=len(self._clients))
        try:
            if len(self._clients) > CONNECTIONS:
                writer.write(_later("there are too many connections").answer)
            else:
                await self._converse(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass  # it left, was too slow, or we end
        finally:
            self._clients.discard(task)
            self.tell(connections=len(self._clients))
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        patience, lasting = _HEAD_WITHIN, True
        while lasting:
            try:
                request = await _head(reader, patience)
                status, content = await self._taken(request, reader, writer)
                lasting, patience = request.lasting, _IDLE
                await _say(writer, answer(status, content, {}, lasting))
            except Refusal as refusal:
                self.add(refused=1)
                await _say(writer, refusal.answer)
                lasting = False
        await _part(reader, writer)

    async def _taken(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, dict[str, Any]]:
        check_target(request)
        if request.health:
            self.tell(waiting=len(self._spool), waiting_bytes=self._spool.size)
            return HTTPStatus.OK, {"status": "ok", **msgspec.to_builtins(self.counts)}
        check_token(request, self._token)
        body = await self._body(request, reader, writer)
        return await self._accepted_of(request, body)

    async def _body(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        length = body_length(request, self._size_limit)
        if self._in_flight + length > IN_FLIGHT:
            raise _later("too much is being received at once")
        self._in_flight += length
        try:
            if request.awaits_word:
                await _say(writer, b"HTTP/1.1 100 Continue\r\n\r\n")
            async with asyncio.timeout(_BODY_WITHIN):
                return await reader.readexactly(length)
        except TimeoutError:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {_BODY_WITHIN:g} s") from None
        finally:
            self._in_flight -= length

    async def _accepted_of(self, request: Request, body: bytes) -> tuple[int, dict[str, Any]]:
        """What is no JSON is spooled as well: from there it becomes a dead letter."""
        found = body_of(request, body)
        try:
            await self._appender.append(found.records + found.others)
        except SpoolFullError as error:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, str(error), Retry_After=_RETRY_AFTER) from error
        self._accepted.set()
        self.add(accepted=len(found.records))
        if found.reason:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{found.reason}; {len(found.records)} records were taken")
        return HTTPStatus.OK, {"routed": True} if request.publication else {"accepted": len(found.records)}


class _Appender:
    """Appends what several clients bring with one sync of the disk."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, "http-spool")
        self._pending: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def append(self, records: list[bytes]) -> None:
        if not records:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((records, done))
        if self._busy is None:
            self._busy = asyncio.create_task(self._append_pending())
        await asyncio.shield(done)

    async def close(self) -> None:
        if self._busy is not None:
            await self._busy
        self._thread.shutdown()

    async def _append_pending(self) -> None:
        while self._pending:
            pending, self._pending = self._pending, []
            problem = await self._append([record for records, _ in pending for record in records])
            for _, done in pending:
                if problem is None:
                    done.set_result(None)
                else:
                    done.set_exception(SpoolFullError(str(problem)))
                    done.exception()  # its client may have gone meanwhile
        self._busy = None

    async def _append(self, records: list[bytes]) -> OSError | None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._spool.append, records)
        except OSError as error:
            return error
        return None


class _Drain:
    """Brings what is in the spool into the store, and lets go of it once it is there."""

    def __init__(self, spool: Spool, store: Store, service: _Service) -> None:
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


async def _head(reader: asyncio.StreamReader, patience: float) -> Request:
    try:
        async with asyncio.timeout(patience):
            return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        words = f"the head of a request may have {HEAD_LIMIT} bytes"
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words) from None


async def _say(writer: asyncio.StreamWriter, text: bytes) -> None:
    writer.write(text)
    await _at_most(_HEAD_WITHIN, writer.drain())


async def _part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hear the client out for a moment: a connection that is reset would take the answer with it."""
    if writer.can_write_eof():
        writer.write_eof()
    with suppress(TimeoutError):
        await _at_most(_LINGER, _heard_out(reader))


async def _heard_out(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def _at_most(seconds: float, what: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(seconds):
        await what


def _later(words: str) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{words}; try again later", Retry_After=_RETRY_AFTER)
