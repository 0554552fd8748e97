"""A connection to a broker in a thread of its own, made again for as long as it is wanted."""

from __future__ import annotations

import logging
import random
import re
import shlex
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...errors import BrokerError
from . import _topology
from ._address import Address

if TYPE_CHECKING:
    import pika
    from pika.channel import Channel

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0  # seconds
# A broker that is back shall be found within 5 s; asking one that is away costs next to nothing.
_LASTING = 5.0  # seconds; a connection that was lost sooner may be lost by what we did on it
_REFUSED_PAUSE = 30.0  # seconds, where somebody has to mend something first


class Link:
    """Keeps one channel open on which the topology stands.

    All callbacks run in the link's thread, and `call` brings a function of another thread there.

    Parameters
    ----------
    address : Address
        Where.
    published_queues : bool
        Declare the queues of Panorama's back end as well.
    patient : bool
        Try on where the broker refuses as well, since somebody may mend that.
    ready : callable
        Called with the channel when everything stands.
    lost : callable
        Called when a channel that was ready is gone.
    tell : callable
        Takes a sentence for the user.
    """

    def __init__(
        self,
        address: Address,
        *,
        published_queues: bool = False,
        patient: bool = False,
        ready: Callable[[Channel], None],
        lost: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self.address = address
        self._parameters = address.parameters()
        self._published_queues = published_queues
        self._patient = patient
        self._ready, self._lost, self._tell = ready, lost, tell
        self._connection: pika.SelectConnection | None = None
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._loop = threading.Lock()
        self._channel: Channel | None = None
        self._failure: BrokerError | None = None
        self._was_ready = self._noted = False
        self.connects = 0
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        # pika reports every refused connection with stack traces of its own; ours says it in a sentence
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Whether the link was ready, once, within `timeout` [s].

        Raises
        ------
        BrokerError
            The broker refuses, and would again.
        """
        self._settled.wait(timeout)
        if self._failure is not None and not self._failure.transient and not self.connects:
            raise self._failure
        return self.connects > 0

    @property
    def up(self) -> bool:
        """Whether it is ready now."""
        return self._was_ready

    @property
    def failed(self) -> BrokerError | None:
        """Why there never was a connection, if trying on is of no use."""
        return self._failure if self._failure and not self._failure.transient and not self.connects else None

    def call(self, function: Callable[[], object]) -> bool:
        """Have the link's thread call `function`; False where there is no connection to speak of."""
        with self._loop:
            if self._connection is None:
                return False
            self._connection.ioloop.add_callback_threadsafe(function)
            return True

    def later(self, delay: float, function: Callable[[], object]) -> None:
        """Call `function` in `delay` [s], for callbacks."""
        assert self._connection is not None
        self._connection.ioloop.call_later(delay, function)

    def reset(self, why: str) -> None:
        """Give the connection up and make a new one, for callbacks."""
        self._note(BrokerError(f"{self.address}: {why}", transient=True))
        self._disconnect()

    def stop(self, timeout: float) -> bool:
        """Close; whether that was done within `timeout` [s]."""
        self._stopping.set()
        self.call(self._disconnect)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            if self._once() and time.monotonic() - began > _LASTING:
                pause = _FIRST_PAUSE
            if self.failed and not self._patient:
                return
            if self._failure is not None and not self._failure.transient:
                pause = _REFUSED_PAUSE
            # jitter: the clients of a broker that comes back shall not come all at once
            self._stopping.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _once(self) -> bool:
        """Connect and stay until the connection is gone; whether it was ready meanwhile."""
        import pika

        _take_any_headers()
        connects, self._noted = self.connects, False
        connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_open_error,
            on_close_callback=self._on_close,
        )
        with self._loop:
            self._connection = connection
        if self._stopping.is_set():
            connection.ioloop.add_callback_threadsafe(self._disconnect)
        try:
            connection.ioloop.start()
        except Exception as error:  # noqa: BLE001 - whatever a peer sends, the next connection may go well
            self._note(BrokerError(f"{self.address}: {type(error).__name__}: {error}", transient=True))
        finally:
            with self._loop:
                self._connection = None
            self._forget()
            connection.ioloop.close()
        return self.connects > connects

    def _forget(self) -> None:
        self._channel = None
        if self._was_ready:
            self._was_ready = False
            self._lost()

    def _on_open(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_open_error(self, connection: pika.SelectConnection, error: Any) -> None:
        self._note(_explained(self.address, error))
        connection.ioloop.stop()

    def _on_close(self, connection: pika.SelectConnection, reason: BaseException) -> None:
        self._note(_explained(self.address, reason))
        connection.ioloop.stop()

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        _topology.declare(channel, self.address.exchange, self._published_queues)
        # the answer to the last question says that all before it went well
        channel.exchange_declare(
            self.address.exchange, "topic", durable=True, callback=lambda _: self._on_ready(channel)
        )

    def _on_ready(self, channel: Channel) -> None:
        self.connects += 1
        self._was_ready = True
        if self._failure is not None:
            self._tell(f"{self.address}: connected again" if self.connects > 1 else f"{self.address}: connected")
            self._failure = None
        self._ready(channel)
        self._settled.set()

    def _on_channel_closed(self, _: Channel, reason: BaseException) -> None:
        self._note(_explained(self.address, reason))
        self._disconnect()

    def _note(self, error: BrokerError) -> None:
        """Keep the first failure of a connection, of which others follow, and tell it unless it was told last."""
        if self._stopping.is_set() or self._noted:
            return
        self._noted = True
        news = str(self._failure) != str(error)
        self._failure = error
        if news and (error.transient or self.connects or self._patient):
            self._tell(f"{error}; trying again")
        self._settled.set()

    def _disconnect(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if connection.is_open:
            connection.close()
        elif not connection.is_closing:
            connection.ioloop.stop()


def _take_any_headers() -> None:
    """Have pika leave headers out that it cannot read (a year 10^11, tables in tables in tables).

    It would end the connection with the message unacknowledged, and meet the same message on the next one.
    """
    from pika import exceptions, spec

    if spec.props[spec.BasicProperties.INDEX] is not spec.BasicProperties:
        return
    unreadable = (ValueError, OverflowError, OSError, RecursionError, struct.error, exceptions.AMQPError)

    class _AnyProperties(spec.BasicProperties):  # type: ignore[misc]  # pika is not typed
        def decode(self, encoded: bytes, offset: int = 0) -> Any:
            try:
                return super().decode(encoded, offset)
            except unreadable:
                self.headers = None
                return self

    spec.props[spec.BasicProperties.INDEX] = _AnyProperties


def _explained(address: Address, error: BaseException) -> BrokerError:
    """The reason in a sentence, with the command that mends it where there is one."""
    cause = _cause(error)
    code, text = _reply(cause)
    return _refused(address, code, text) or _unreachable(address, cause)


def _cause(error: BaseException) -> BaseException:
    """What pika has wrapped, perhaps several times."""
    while True:
        inner = getattr(error, "exceptions", None) or [getattr(error, "exception", None), *error.args]
        wrapped = [each for each in inner if isinstance(each, BaseException)]
        if not wrapped:
            return error
        error = wrapped[-1]


def _reply(error: BaseException) -> tuple[int, str]:
    """Code and text with which the broker has closed, if it has; a peer's words shall not steer a terminal."""
    code, text = getattr(error, "reply_code", None), getattr(error, "reply_text", None)
    if not isinstance(code, int):
        code = next((value for value in error.args if isinstance(value, int)), 0)
        text = " ".join(value for value in error.args if isinstance(value, str))
    return code, "".join(c if c.isprintable() else " " for c in str(text))


def _refused(address: Address, code: int, text: str) -> BrokerError | None:
    vhost, user = shlex.quote(address.vhost), shlex.quote(address.user)
    rights = f"rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"
    if "not found" in text and "vhost" in text:
        return BrokerError(
            f"{address}: the broker has no vhost {address.vhost!r}; make it with: "
            f"rabbitmqctl add_vhost {vhost} && {rights}"
        )
    if "access to vhost" in text:
        return BrokerError(f"{address}: user {address.user!r} may not use the vhost; allow it with: {rights}")
    if "Login was refused" in text or "ACCESS_REFUSED - Login" in text:
        return BrokerError(
            f"{address}: the broker refuses user {address.user!r} with this password; check the credentials, or set "
            f"them with: rabbitmqctl change_password {user}"
        )
    if code == 403:
        return BrokerError(f"{address}: {text}; allow it with: {rights}")
    if code in (406, 404) and re.match("PRECONDITION_FAILED - (inequivalent|invalid|unknown)", text):
        return BrokerError(f"{address}: {text}; {_topology.mending(text)}")
    if 300 <= code <= 320 or 400 <= code < 600:
        return BrokerError(f"{address}: the broker closed the connection: {text}", transient=True)
    return None


def _unreachable(address: Address, error: BaseException) -> BrokerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerError(
            f"{address}: the broker's certificate is not trusted: {error.verify_message}; name the file of the "
            "certification authority that signed it with --ca"
        )
    if isinstance(error, ssl.SSLError):
        return BrokerError(
            f"{address}: no TLS there: {error.reason or error}; give the broker's TLS port (5671 as a rule), or amqp://"
        )
    from pika.exceptions import IncompatibleProtocolError, StreamLostError

    if isinstance(error, IncompatibleProtocolError):
        return BrokerError(
            f"{address}: cannot be reached: what listens there does not speak AMQP; give the broker's AMQP port (5672 "
            "as a rule, 5671 with amqps)",
            transient=True,
        )
    if isinstance(error, StreamLostError):
        return BrokerError(f"{address}: the connection was lost: {error}", transient=True)
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokerError(f"{address}: cannot be reached: {words}", transient=True)


def to_stderr(sentence: str) -> None:
    """Say a sentence to the user; that nobody listens any more is no reason to end a thread."""
    with suppress(OSError):
        print(f"panorama: {sentence}", file=sys.stderr, flush=True)
