"""The live stream: one task looks for what moved, for all pages; each message is encoded once and read by all.

Format: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Ids are `EPOCH-N`: a page
that comes back tells the last one it saw, and gets what it missed, or the event `reset` where that is known no more.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, NamedTuple

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..errors import PanoramaError
from ._changes import Change
from ._encoding import to_json

STREAMS = 200
"""How many streams are served at once."""

_KEPT, _KEPT_BYTES = 4096, 4 << 20  # messages for those who come back, and what they may take
_TURN, _IDLE_TURN = 1.0, 30.0  # [s] between two looks while somebody listens, and while nobody does
_SHARE, _LONGEST_TURN = 0.025, 10.0  # of a core that looking may take: a dear look comes less often, but comes [s]
_ALIVE = 15.0  # [s] without a message until a sign of life
_SLOW = 20.0  # [s] a client may take over a message
_RETRY = 2000  # [ms] after which a page that lost its stream comes back
_ID = re.compile(r"([0-9a-f]+)-([0-9]{1,15})")
_log = logging.getLogger(__name__)


class Message(NamedTuple):
    """A change as every listener gets it."""

    number: int
    topic: str
    body: bytes


class Hub:
    """What moved lately, and who waits for more; lives in one event loop.

    Parameters
    ----------
    look : callable
        Gives what moved since it was last called; called in a thread of its own.
    """

    def __init__(self, look: Callable[[], Iterable[Change]]) -> None:
        self._look = look
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live")
        self._epoch = secrets.token_hex(4)
        self._number = 0
        self._messages: deque[Message] = deque()
        self._size = 0
        self._pulse = asyncio.Event()
        self._joined = asyncio.Event()
        self._ended = False
        self.listeners = 0

    @property
    def cursor(self) -> str:
        """The place in the stream that is reached."""
        return self._id(self._number)

    def end(self) -> None:
        """End all streams, and let nobody join any more."""
        self._ended = True
        self._joined.set()
        self._beat()

    def close(self) -> None:
        """Wait for a look that is being taken."""
        self._thread.shutdown()

    async def watch(self) -> None:
        """Look for what moved, and tell it, until `end`."""
        try:
            await self._turn()  # what moved before is in the documents
            while not self._ended:
                await self._pause(await self._turn())
        finally:
            self.end()
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _turn(self) -> float:
        """Look once; how long the processor took over it [s]."""
        try:
            changes, taken = await asyncio.get_running_loop().run_in_executor(self._thread, _timed, self._look)
        except (PanoramaError, OSError) as problem:
            _log.warning("live updates wait: %s", problem)
            return math.inf
        except Exception:  # noqa: BLE001 (the one task that all pages depend on; it is told)
            _log.exception("live updates wait: a fault of the dashboard")
            return math.inf
        self.publish(changes)
        return taken

    async def _pause(self, taken: float) -> None:
        if not self.listeners:
            self._joined.clear()
            await _within(_IDLE_TURN, self._joined)
        elif not self._ended:
            await asyncio.sleep(min(max(_TURN, taken / _SHARE), _LONGEST_TURN))

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell all who listen of changes."""
        for change in changes:
            self._number += 1
            body = b"id: %b\nevent: change\ndata: %b\n\n" % (self.cursor.encode(), to_json(change))
            self._messages.append(Message(self._number, change.topic, body))
            self._size += len(body)
        while len(self._messages) > _KEPT or self._size > _KEPT_BYTES:
            self._size -= len(self._messages.popleft().body)
        self._beat()

    @property
    def full(self) -> bool:
        """Whether nobody may join now."""
        return self._ended or self.listeners >= STREAMS

    async def stream(self, topics: Collection[str], last: str | None) -> AsyncGenerator[bytes, None]:
        """What a listener gets: all since the id `last`, or from now on, as far as it is of its topics."""
        self.listeners += 1
        self._joined.set()
        try:
            place, lost = self._place(last)
            yield b"retry: %d\n%b" % (_RETRY, self._reset() if lost else self._mark(place))
            async for part in self._parts(frozenset(topics), place):
                yield part
        finally:
            self.listeners -= 1

    async def _parts(self, topics: frozenset[str], place: int) -> AsyncGenerator[bytes, None]:
        while not self._ended:
            pulse = self._pulse
            missed = self._since(place)
            place = self._number
            if missed is None:
                yield self._reset()
            elif told := b"".join(message.body for message in missed if message.topic in topics):
                yield told
            if pulse is self._pulse and not await _within(_ALIVE, pulse):
                yield self._mark(place)

    def _place(self, last: str | None) -> tuple[int, bool]:
        """From where to go on, and whether something between that and `last` is lost."""
        if not last:
            return self._number, False
        told = _ID.fullmatch(last)
        if told is None or told[1] != self._epoch or self._since(int(told[2])) is None:
            return self._number, True
        return int(told[2]), False

    def _since(self, place: int) -> list[Message] | None:
        """Messages after `place`; None where some of them are kept no more, or there is no such place."""
        count = self._number - place
        if not 0 <= count <= len(self._messages):
            return None
        return [self._messages[index] for index in range(-count, 0)]

    def _beat(self) -> None:
        self._pulse, pulse = asyncio.Event(), self._pulse
        pulse.set()

    def _id(self, number: int) -> str:
        return f"{self._epoch}-{number}"

    def _mark(self, place: int) -> bytes:
        """A sign of life that moves the place from which the client would go on, so that quiet topics lose nothing."""
        return b": alive\nid: %b\n\n" % self._id(place).encode()

    def _reset(self) -> bytes:
        return b"id: %b\nevent: reset\ndata: {}\n\n" % self.cursor.encode()


def _timed(look: Callable[[], Iterable[Change]]) -> tuple[list[Change], float]:
    begin = time.thread_time()
    return list(look()), time.thread_time() - begin


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether an event comes within a time."""
    with anyio.move_on_after(seconds):
        await event.wait()
        return True
    return False


class EventStream(Response):
    """An answer that goes on until the client leaves, is too slow, or the stream ends.

    Parameters
    ----------
    parts : async generator of bytes
        What to send.
    head : bool
        Only the headers are asked for.
    """

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncGenerator[bytes, None], head: bool = False) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})  # nginx would hold it back
        del self.headers["content-length"]
        self._parts = parts
        self._head = head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, until something ends it; a client that takes nothing is dropped, and comes back by itself."""
        async with anyio.create_task_group() as tasks, aclosing(self._parts):
            tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if self._head or await self._send(send):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()

    async def _send(self, send: Send) -> bool:
        """Whether the client has taken all there was."""
        async for part in self._parts:
            with anyio.move_on_after(_SLOW) as waiting:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            if waiting.cancelled_caught:
                _log.warning("a page that took no live updates for %.0f s is dropped", _SLOW)
                return False
        return True


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    message: Any = None
    while message is None or message["type"] != "http.disconnect":
        message = await receive()
    scope.cancel()
