"""Publishes events to a broker so that none is lost: each is on disk here until the broker has confirmed it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ...errors import PanoramaError, UsageError
from ..spool import LIMIT, Spool
from . import _topology
from ._address import Address
from ._link import Link, to_stderr

if TYPE_CHECKING:
    from types import TracebackType

    import pika
    from pika.channel import Channel
    from pika.frame import Method
    from pika.spec import Basic

LOT = 512
"""Messages that are confirmed together."""

_PERSISTENT = 2
_END = 1.0  # seconds


class Publisher:
    """Publishes through a spool, in a thread of its own; whoever offers never waits for the broker.

    Parameters
    ----------
    address : Address
        Which broker.
    spool_dir : path
        Folder of what the broker has not confirmed yet; what an earlier publisher left there is published first.
    limit_bytes : int
        What the spool holds at most [bytes].
    patient : bool
        Try on where the broker refuses as well, since somebody may mend that.
    tell : callable, optional
        Takes a sentence for the user; on standard error unless told.

    Raises
    ------
    StoreError
        The folder cannot be used, or another publisher has it.
    """

    def __init__(
        self,
        address: Address,
        spool_dir: Path,
        *,
        limit_bytes: int = LIMIT,
        patient: bool = False,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._exchange = address.exchange
        self._spool = Spool(spool_dir, limit_bytes)
        self._tell = tell or to_stderr
        self._link = Link(address, patient=patient, ready=self._on_ready, lost=self._on_lost, tell=self._tell)
        self._channel: Channel | None = None
        self._properties: pika.BasicProperties | None = None
        self._in_flight = self._published = 0
        self._unconfirmed: set[int] = set()
        self._changed = threading.Condition()
        self._link.start()

    def __len__(self) -> int:
        """Number of messages that the broker has not confirmed yet."""
        return len(self._spool)

    @property
    def failed(self) -> PanoramaError | None:
        """Why nothing can be published until somebody mends something; it is tried again all the same."""
        return self._link.failed

    def offer(self, routing_key: str, bodies: Iterable[bytes]) -> None:
        """Accept messages of one kind of event, as `offer_all` does."""
        self.offer_all((routing_key, body) for body in bodies)

    def offer_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Accept messages; they are on disk when this returns, and published as soon as the broker is there.

        Parameters
        ----------
        messages : iterable of (str, bytes)
            The event's name, which is the routing key, and a JSON object.

        Raises
        ------
        UsageError
            No queue takes such a key; none was accepted.
        SpoolFullError
            The spool has no room for them; none was accepted.
        """
        self._spool.append([_item(routing_key, body) for routing_key, body in messages])
        self._link.call(self._pump)

    def flush(self, timeout: float) -> bool:
        """Whether the broker confirmed everything within `timeout` [s]."""
        with self._changed:
            return self._changed.wait_for(lambda: not len(self._spool), timeout)

    def close(self, timeout: float = 0.0) -> bool:
        """End, after at most `timeout` [s] for what is left; whether nothing was. The rest stays in the spool."""
        done = self.flush(timeout)
        if self._link.stop(_END):
            self._spool.close()
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # In the link's thread.

    def _on_ready(self, channel: Channel) -> None:
        import pika

        self._properties = pika.BasicProperties(content_type="application/json", delivery_mode=_PERSISTENT)
        self._published = self._in_flight = 0
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=partial(self._on_confirming, channel))

    def _on_confirming(self, channel: Channel, _: Method) -> None:
        self._channel = channel
        self._pump()

    def _on_lost(self) -> None:
        self._channel = None

    def _pump(self) -> None:
        """Publish the next lot, when all of the last one was confirmed."""
        channel = self._channel
        if channel is None or self._in_flight:
            return
        try:
            items = self._spool.read(LOT)
        except PanoramaError as error:
            self._give_up(str(error))
            return
        self._unconfirmed = set(range(self._published + 1, self._published + len(items) + 1))
        self._published += len(items)
        self._in_flight = len(items)
        for item in items:
            key, _, body = item.partition(b"\n")
            channel.basic_publish(self._exchange, key.decode(), body, self._properties, mandatory=True)

    def _on_confirm(self, frame: Method) -> None:
        """Drop a lot when all of it was confirmed; the broker may answer in any order."""
        answer = frame.method
        if self._channel is None:
            return
        if answer.NAME == "Basic.Nack":
            self._give_up("the broker could not take a message")
        elif answer.multiple:
            self._unconfirmed = {tag for tag in self._unconfirmed if tag > answer.delivery_tag}
        else:
            self._unconfirmed.discard(answer.delivery_tag)
        if not self._unconfirmed and self._in_flight:
            self._drop()

    def _on_return(self, _: Channel, method: Basic.Return, __: pika.BasicProperties, ___: bytes) -> None:
        """The next connection declares the queues and bindings again that are missing now."""
        self._give_up(f"no queue takes {method.routing_key!r}: {method.reply_text}")

    def _give_up(self, why: str) -> None:
        self._channel, self._in_flight = None, 0
        self._link.reset(why)

    def _drop(self) -> None:
        try:
            self._spool.drop(self._in_flight)
        except PanoramaError as error:
            self._give_up(str(error))
            return
        self._in_flight = 0
        with self._changed:
            self._changed.notify_all()
        self._pump()


def _item(routing_key: str, body: bytes) -> bytes:
    """A message as the spool has it."""
    if not _topology.takes(routing_key):
        raise UsageError(
            f"{routing_key!r}: no queue takes it; its first word is one of {', '.join(_topology.FAMILIES)}"
        )
    return routing_key.encode() + b"\n" + body
