"""Hears the clients of `http.HttpIngest`: one event loop, in which nothing waits for a disk."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import msgspec

from ..errors import SpoolFullError
from ._http import HEAD_LIMIT, Refusal, Request, answer, body_length, body_of, check_target, check_token, parse_head
from .spool import Spool

CONNECTIONS = 512
"""How many clients are heard at once."""
IN_FLIGHT = 64 << 20
"""What the bodies that are not on disk yet may take together [bytes]."""
_HEAD_WITHIN = 10.0  # [s] of connecting, for a request's head
_BODY_WITHIN = 30.0  # [s]
_IDLE = 75.0  # [s] between two requests; curl and the probe open another connection without a word
_LINGER = 2.0  # [s] for a refused client to hear why, before its connection is reset
_RETRY_AFTER = "5"  # [s]


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


class Service:
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
        patience = _HEAD_WITHIN if self._tls else None
        server = await asyncio.start_server(
            self._hear, sock=listener, ssl=self._tls, ssl_handshake_timeout=patience, limit=HEAD_LIMIT
        )
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
        length = body_length(request, self._size_limit)
        with self._room_for(length):
            if request.awaits_word:
                await _say(writer, b"HTTP/1.1 100 Continue\r\n\r\n")
            return await self._accepted_of(request, await _body(reader, length))

    @contextmanager
    def _room_for(self, length: int) -> Iterator[None]:
        """Bounds what is held of all clients together, until it is on disk."""
        if self._in_flight + length > IN_FLIGHT:
            raise _later("too much is being received at once")
        self._in_flight += length
        try:
            yield
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

    async def _append(self, records: list[bytes]) -> Exception | None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._spool.append, records)
        except Exception as error:  # noqa: BLE001 - whatever it is, clients wait for an answer, and others come
            return error
        return None


async def _head(reader: asyncio.StreamReader, patience: float) -> Request:
    try:
        async with asyncio.timeout(patience):
            return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        words = f"the head of a request may have {HEAD_LIMIT} bytes"
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words) from None


async def _body(reader: asyncio.StreamReader, length: int) -> bytes:
    try:
        async with asyncio.timeout(_BODY_WITHIN):
            return await reader.readexactly(length)
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {_BODY_WITHIN:g} s") from None


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
