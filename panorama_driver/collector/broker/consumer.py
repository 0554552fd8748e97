"""Takes messages off a broker into a store, each exactly once: commit, then acknowledge.

Two threads share the work. One speaks with the broker, so that heartbeats never wait for the store; the other stores.
What is not acknowledged when either dies is delivered again, and the store knows each event by its identity.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from ...errors import PanoramaError, StoreError
from ...store import Store, Via
from .._intake import Drained, Record, keep
from .._lines import HEAD
from . import _topology
from ._address import Address
from ._link import Link, to_stderr

if TYPE_CHECKING:
    from types import TracebackType

    from pika import BasicProperties
    from pika.channel import Channel
    from pika.spec import Basic

PREFETCH = 2048
"""Messages that the broker sends ahead of their acknowledgement."""
BATCH = 512
"""Messages that are stored together when there are many."""
BATCH_TIME = 0.05
"""How long a message waits for others to be stored with [s]."""
BODY_LIMIT = 4 << 20
"""A longer message becomes a dead letter [bytes]."""
HELD_LIMIT = 32 << 20
"""While so much waits for the store, next to nothing is read from the broker [bytes]."""
STORING = "panorama.collect.storing"
"""Audit event (`sys.addaudithook`) before a batch is read and committed, with the number of messages."""
COMMITTED = "panorama.collect.committed"
"""Audit event (`sys.addaudithook`) between commit and acknowledge, with the number of messages."""

_WAIT = 5.0  # seconds; much shorter than the heartbeats' interval
_LOOK = 2.0  # seconds between questions for the length of the queue
_STORE_PAUSES = (0.2, 5.0)  # seconds
_END = 4.0  # seconds for everything to end


@dataclass(frozen=True)
class Counts:
    """What has been done so far.

    Attributes
    ----------
    stored, duplicates, dead : int
        Events that were new, events that the store had, messages that became dead letters.
    acknowledged : int
        Messages that the broker was told to forget.
    redelivered : int
        Messages that the broker had delivered before.
    held : int
        Messages that wait here for the store.
    waiting : int or None
        Messages that wait in the broker; None while that is not known.
    connects : int
        Connections that were made.
    """

    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    acknowledged: int = 0
    redelivered: int = 0
    held: int = 0
    waiting: int | None = None
    connects: int = 0

    @property
    def lag(self) -> int | None:
        """Messages that are not in the store yet."""
        return None if self.waiting is None else self.waiting + self.held


class _Batch(NamedTuple):
    """Messages of one channel in their order; `tag` acknowledges the last and all before."""

    channel: Channel
    tag: int
    size: int
    records: list[Record]


class Consumer:
    """Consumes events from a broker until it is stopped.

    Parameters
    ----------
    address : Address
        Which broker.
    store : Store
        Where the events go; open it with `durable=True`, the broker forgets what was committed.
    published_queues : bool
        Declare the queues of Panorama's back end, and consume them too.
    tell : callable, optional
        Takes a sentence for the user; on standard error unless told.
    body_limit : int
        Longer messages become dead letters [bytes].
    """

    def __init__(
        self,
        address: Address,
        store: Store,
        *,
        published_queues: bool = False,
        tell: Callable[[str], None] | None = None,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        self._store = store
        self._tell = tell or to_stderr
        self._body_limit = body_limit
        self._queues = _topology.queues(published_queues)
        self._link = Link(
            address, published_queues=published_queues, ready=self._on_ready, lost=self._on_lost, tell=self._tell
        )
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="store", daemon=True)
        self._stopping, self._finished = threading.Event(), threading.Event()
        self._room = threading.Condition()
        self._held = self._held_bytes = 0
        self._total = Drained()
        self._acknowledged = self._redelivered = 0
        self._waiting: int | None = None
        self._last = time.monotonic()
        self._channel: Channel | None = None
        self._records: list[Record] = []
        self._records_size = self._tag = 0
        self._timed = self._rested = False

    def start(self) -> None:
        """Begin; returns at once."""
        self._writer.start()
        self._link.start()

    def wait(self, timeout: float) -> bool:
        """Whether messages were being consumed, at least once, within `timeout` [s].

        Raises
        ------
        BrokerError
            The broker refuses, and would again.
        """
        return self._link.wait(timeout)

    @property
    def failed(self) -> PanoramaError | None:
        """Why nothing will ever come, where that is so."""
        return self._link.failed

    @property
    def counts(self) -> Counts:
        """What has been done so far."""
        total = self._total
        return Counts(
            stored=total.stored,
            duplicates=total.duplicates,
            dead=total.dead,
            acknowledged=self._acknowledged,
            redelivered=self._redelivered,
            held=self._held,
            waiting=self._waiting,
            connects=self._link.connects,
        )

    @property
    def idle(self) -> float:
        """For how long nothing has come, with all that came stored [s]; 0 without a connection."""
        return 0.0 if self._held or not self._link.up else time.monotonic() - self._last

    @property
    def ended(self) -> bool:
        """Whether nothing waits for the store any more, after `stop`."""
        return not self._writer.is_alive()

    def stop(self) -> bool:
        """Take no more messages, store and acknowledge what is here, and end; whether all of that was done.

        It takes less than 5 s. What was not stored by then is delivered again by the broker.
        """
        deadline = time.monotonic() + _END
        self._stopping.set()
        self._let_go(0, 0)
        if self._link.call(self._finish):
            self._finished.wait(1.0)
        self._batches.put(None)
        if self._writer.ident is not None:
            self._writer.join(max(0.0, deadline - time.monotonic()))
        return self._link.stop(max(0.3, deadline - time.monotonic())) and self.ended

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # In the link's thread.

    def _on_ready(self, channel: Channel) -> None:
        self._channel = channel
        self._last = time.monotonic()
        channel.add_on_cancel_callback(lambda _: self._link.reset("the broker has taken a queue away"))
        channel.basic_qos(prefetch_count=PREFETCH)
        for name in self._queues:
            receive = self._on_dead_letter if name == _topology.DEAD else self._on_message
            channel.basic_consume(name, receive)
        self._look(channel)

    def _on_lost(self) -> None:
        """What is here and not handed over is delivered again; what is with the writer cannot be acknowledged."""
        self._channel = self._waiting = None
        self._let_go(len(self._records), self._records_size)
        self._records, self._records_size = [], 0
        self._timed = False

    def _on_message(self, _: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        source = f"{method.exchange}: {method.routing_key}"
        if len(body) > self._body_limit:
            flaw = f"a message of {len(body)} bytes is longer than an event may be"
            self._take(method, Record(body[:HEAD], source, None, len(body), flaw))
        else:
            self._take(method, Record(body, source))

    def _on_dead_letter(self, _: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        letter = _topology.given_up(method.exchange, method.routing_key, properties.headers)
        kept = body if len(body) <= self._body_limit else body[:HEAD]
        source = f"{letter.exchange}: {letter.routing_key}"
        self._take(method, Record(kept, source, None, len(body), letter.reason))

    def _take(self, method: Basic.Deliver, record: Record) -> None:
        if self._stopping.is_set():
            return
        self._redelivered += method.redelivered
        self._tag = method.delivery_tag
        self._records.append(record)
        size = len(record.body)
        self._records_size += size
        with self._room:
            self._held += 1
            self._held_bytes += size
        if len(self._records) >= BATCH:
            self._hand_over()
        elif not self._timed:
            self._timed = True
            self._link.later(BATCH_TIME, self._on_time)
        if self._held_bytes > HELD_LIMIT and not self._rested:
            self._rest()

    def _on_time(self) -> None:
        self._timed = False
        self._hand_over()

    def _hand_over(self) -> None:
        if self._records and self._channel is not None:
            self._last = time.monotonic()
            self._batches.put(_Batch(self._channel, self._tag, self._records_size, self._records))
            self._records, self._records_size = [], 0

    def _rest(self) -> None:
        """Read nothing until the store has caught up, once a turn of the loop, which then sees to the heartbeats."""
        self._rested = True
        self._link.later(0, self._on_rested)
        self._hand_over()
        with self._room:
            self._room.wait_for(lambda: self._held_bytes <= HELD_LIMIT or self._stopping.is_set(), _WAIT)

    def _on_rested(self) -> None:
        self._rested = False

    def _look(self, channel: Channel) -> None:
        """Ask how many messages wait, again and again."""
        if channel.is_open and not self._stopping.is_set():
            channel.queue_declare(_topology.EVENTS, passive=True, callback=self._on_length)
            self._link.later(_LOOK, partial(self._look, channel))

    def _on_length(self, answer: object) -> None:
        self._waiting = answer.method.message_count  # type: ignore[attr-defined]  # pika's frames are not typed

    def _finish(self) -> None:
        self._hand_over()
        channel = self._channel
        if channel is not None and channel.is_open:
            for tag in channel.consumer_tags:
                channel.basic_cancel(tag)
        self._finished.set()

    def _acknowledge(self, batch: _Batch) -> None:
        channel = self._channel
        if channel is batch.channel and channel.is_open:
            channel.basic_ack(batch.tag, multiple=True)
            self._acknowledged += len(batch.records)

    # In the writer's thread.

    def _write(self) -> None:
        while (batch := self._batches.get()) is not None:
            sys.audit(STORING, len(batch.records))
            if not self._stored(batch):
                return
            sys.audit(COMMITTED, len(batch.records))
            self._let_go(len(batch.records), batch.size)
            self._link.call(partial(self._acknowledge, batch))

    def _let_go(self, count: int, size: int) -> None:
        with self._room:
            self._held -= count
            self._held_bytes -= size
            self._room.notify_all()

    def _stored(self, batch: _Batch) -> bool:
        """Store a batch, however long the store cannot be written; False if we are to end before that."""
        pause, longest = _STORE_PAUSES
        told = ""
        while True:
            try:
                self._total += keep(self._store, batch.records, Via.BROKER)
                break
            except StoreError as error:
                if str(error) != told:
                    told = str(error)
                    self._tell(f"{told}; nothing is acknowledged, trying again")
            if self._stopping.wait(pause):
                return False
            pause = min(2 * pause, longest)
        if told:
            self._tell("the store can be written again")
        return True
