"""The broker is killed, or away for long: what a publisher accepted comes through it, once, and nobody waits for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from panorama_driver.collector.broker import Address, Publisher, _link
from panorama_driver.collector.spool import SEGMENT
from panorama_driver.errors import SpoolFullError
from panorama_driver.testing import rabbitmq
from panorama_driver.testing.rabbitmq import Node

from .brokers import STREAM, Message, Queue, check_whole, memory, messages, stored, until
from .studies import wait_for

BROKER_KILLS, PUBLISHER_KILLS = 5, 2
RATE = 500  # events a second
BACK = 5.0  # seconds
MINUTES_AWAY, AWAY_RATE = 10, 100  # events a second
MEMORY = 64 << 20  # bytes


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A RabbitMQ of our own, to be killed."""
    reason = rabbitmq.why_not()
    if reason:
        pytest.skip(reason)
    with rabbitmq.running(tmp_path_factory.mktemp("killed") / "node") as node:
        yield node


@pytest.fixture
def queue(node: Node, tmp_path: Path) -> Iterator[Queue]:
    node.start()
    node.make_vhost(tmp_path.name)
    queue = Queue(node, tmp_path.name, tmp_path)
    with queue.channel():
        wait_for(lambda: registered(node, tmp_path.name), "RabbitMQ to know its queue for good")
    yield queue
    queue.close()


def registered(node: Node, vhost: str) -> bool:
    """Whether a node would find its queue again: RabbitMQ 3.10 writes down some time after the declaration which log is
    whose, and one that is killed before that begins with an empty queue, whatever it had confirmed.
    """
    name = f"{vhost}_panorama.events".encode()
    return any(name in file.read_bytes() for file in node.folder.glob("data/*/quorum/*/names.dets"))


@dataclass(frozen=True)
class Lot:
    """What a publisher has accepted by then: messages, and how long that took its caller [s]."""

    accepted: int
    took: float


class Offering:
    """Publishers in processes of their own, one after the other with one spool; see `offering`."""

    def __init__(self, queue: Queue, sent: list[Message]) -> None:
        self._queue, self._folder = queue, queue.folder
        self.spool = queue.folder / "spool"
        self.number = len(sent)
        (self._folder / "messages").write_bytes(b"".join(key.encode() + b"\t" + body + b"\n" for key, body in sent))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, lot: int, rate: int = 0) -> None:
        """Go on offering where the last one was ended."""
        words = [self._queue.url, self._queue.node.credentials, self.spool, self._folder / "messages"]
        numbers = [self.accepted, self.number, lot, rate]
        with (self._folder / "accepted").open("ab") as accepted, (self._folder / "told").open("ab") as told:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("offering.py"), *map(str, [*words, *numbers])],
                stdin=subprocess.DEVNULL,
                stdout=accepted,
                stderr=told,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def lots(self) -> list[Lot]:
        words = [line.split() for line in self._lines() if not line.startswith("confirmed")]
        return [Lot(int(accepted), float(took)) for accepted, took in words]

    @property
    def accepted(self) -> int:
        """Messages that have been accepted."""
        lots = self.lots()
        return lots[-1].accepted if lots else 0

    @property
    def most_memory(self) -> int | None:
        """That the last one had [bytes]; None unless the broker has confirmed everything."""
        lines = self._lines()
        return int(lines[-1].split()[1]) if lines and lines[-1].startswith("confirmed") else None

    @property
    def reconnects(self) -> list[float]:
        """When there was a connection after attempts in vain (`time.monotonic`)."""
        lines = (self._folder / "told").read_text().splitlines()
        return [float(line.split()[0]) for line in lines if ": connected" in line]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _lines(self) -> list[str]:
        path = self._folder / "accepted"
        return path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []


@pytest.fixture
def offering(queue: Queue) -> Iterator[Callable[[list[Message]], Offering]]:
    made: list[Offering] = []

    def make(sent: list[Message]) -> Offering:
        made.append(Offering(queue, sent))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def confirmed(publisher: Offering) -> int:
    """Wait until the broker has confirmed everything; the most memory that the publisher had [bytes]."""
    wait_for(lambda: publisher.most_memory is not None, "everything to be confirmed", 60)
    return publisher.most_memory or 0


def size(folder: Path) -> int:
    """Of the files in a folder [bytes]."""
    return sum(path.stat().st_size for path in folder.iterdir())


# R3


@pytest.mark.long
@pytest.mark.measures
def test_r3_a_broker_killed_in_mid_stream_loses_nothing_that_was_accepted(
    queue: Queue, offering: Callable[[list[Message]], Offering], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    sent, store = list(messages(STREAM)), tmp_path / "store.db"
    collector = queue.consuming(store)
    publisher = offering(sent)
    publisher.start(lot=5, rate=RATE)
    flowing, connected = [], []
    for number in range(1, BROKER_KILLS + 1):
        mark = stored(store) + 300
        until(store, mark)
        queue.node.kill()
        known = len(publisher.reconnects)
        queue.node.start()
        back, before = time.monotonic(), stored(store)
        wait_for(lambda: len(publisher.reconnects) > known, "the publisher to be connected again")  # noqa: B023
        connected.append(publisher.reconnects[-1] - back)
        until(store, before + 1)
        flowing.append(time.monotonic() - back)
        if number <= PUBLISHER_KILLS:
            publisher.kill()
            publisher.start(lot=5, rate=RATE)
    publisher.kill()
    publisher.start(lot=50)
    confirmed(publisher)
    queue.finish(collector, store, len(sent))
    lost, doubled = check_whole(sent, store)
    figure(
        f"R3: {BROKER_KILLS} kills of the broker and {PUBLISHER_KILLS + 1} of the publisher in {len(sent)} events: "
        f"lost {lost}, duplicated {doubled}; once the broker was back, the publisher was connected after at most "
        f"{max(connected):.2f} s and events in the store after {max(flowing):.2f} s"
    )
    assert (lost, doubled) == (0, 0)
    assert max(connected) < BACK, f"measured {max(connected):.2f} s"
    assert max(flowing) < BACK, f"measured {max(flowing):.2f} s"


def test_r3_what_a_killed_publisher_had_accepted_is_published_by_the_next(
    queue: Queue, offering: Callable[[list[Message]], Offering], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    sent, store = list(messages(4000)), tmp_path / "store.db"
    publisher = offering(sent)
    queue.node.kill()
    publisher.start(lot=3)
    wait_for(lambda: publisher.accepted > 1000, "1000 events to be accepted")
    publisher.kill()
    accepted = publisher.accepted
    queue.node.start()
    collector = queue.consuming(store)
    with Publisher(queue.address, publisher.spool) as heir:
        assert len(heir) >= accepted
        assert heir.flush(30)
    until(store, accepted)
    collector.stopped()
    lost, _ = check_whole(sent[:accepted], store)
    figure(f"R3: publisher killed with the broker away: lost {lost} of {accepted} accepted")
    assert (lost, queue.left()) == (0, 0)


class _Clock(threading.Event):
    """Notes how long it was to be waited for, and lets no time pass; set after so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout or 0.0)
        if len(self.pauses) >= self._times:
            self.set()
        return self.is_set()


def pauses(times: int) -> list[float]:
    """Between attempts to reach a broker that is not there [s]."""
    [port] = rabbitmq.free_ports(1)
    nobody = Address("amqp", "127.0.0.1", port, "v", "monitoring", "u", "p")
    clock = _Clock(times)
    link = _link.Link(nobody, ready=lambda _: None, lost=lambda: None, tell=lambda _: None)
    link._stopping = clock
    link.start()
    wait_for(clock.is_set, "the attempts")
    assert link.stop(5)
    return clock.pauses


def test_r3_attempts_to_reach_a_broker_back_off_with_jitter(figure: Callable[[str], None]) -> None:
    one, other = pauses(60), pauses(60)
    figure(f"R3: 60 attempts on a simulated clock: {sum(one):.0f} s, pauses of {min(one):.2f} to {max(one):.2f} s")
    assert max(one + other) <= 30
    assert max(one[-30:]) > 5 * one[0]
    assert len(set(one)) == len(one)
    assert one != other


# R4


@pytest.mark.measures
def test_r4_a_broker_away_for_ten_minutes_costs_disk_and_no_memory_and_blocks_nobody(
    queue: Queue, offering: Callable[[list[Message]], Offering], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    early = 1000
    sent, store = list(messages(early + MINUTES_AWAY * 60 * AWAY_RATE)), tmp_path / "store.db"
    collector = queue.consuming(store)
    publisher = offering(sent)
    publisher.start(lot=20)
    until(store, early)
    queue.node.kill()
    began, at, before = time.monotonic(), publisher.accepted, memory(publisher.pid)
    wait_for(lambda: publisher.accepted == len(sent), "everything to be accepted", 120)
    away, spooled = time.monotonic() - began, size(publisher.spool)
    queue.node.start()
    back = time.monotonic()
    wait_for(lambda: len(publisher.reconnects) > 0, "the publisher to be connected again")
    until(store, len(sent), 120)
    took = time.monotonic() - back
    grown = confirmed(publisher) - before
    queue.finish(collector, store, len(sent))
    late = sorted(lot.took for lot in publisher.lots() if lot.accepted > at)
    p99 = late[int(0.99 * len(late))]
    lost, doubled = check_whole(sent, store)
    figure(
        f"R4: broker away for {len(sent) - at} events, {MINUTES_AWAY} min at {AWAY_RATE}/s (in {away:.0f} s): memory "
        f"grew by {grown / 1e6:.1f} MB, spool {spooled / 1e6:.1f} MB, then {size(publisher.spool) / 1e6:.1f} MB; "
        f"offer took {late[len(late) // 2] * 1e3:.1f} ms (median), {p99 * 1e3:.1f} ms (99 %), {late[-1] * 1e3:.0f} ms "
        f"(most); all stored {took:.1f} s after the broker was back; lost {lost}, duplicated {doubled}"
    )
    assert (lost, doubled) == (0, 0)
    assert grown <= MEMORY
    assert size(publisher.spool) <= SEGMENT + 4096
    assert p99 < 0.25, f"measured {p99:.3f} s"


def test_r4_a_spool_is_bounded_and_says_so_at_once(queue: Queue, tmp_path: Path, figure: Callable[[str], None]) -> None:
    limit = 2 << 20
    sent = list(messages(20_000))
    queue.node.kill()
    accepted, refused = 0, []
    with Publisher(queue.address, tmp_path / "spool", limit_bytes=limit, tell=lambda _: None) as publisher:
        for at in range(0, len(sent), 100):
            began = time.perf_counter()
            try:
                publisher.offer("stampede.x", [body for _, body in sent[at : at + 100]])
                accepted += 100
            except SpoolFullError:
                refused.append(time.perf_counter() - began)
        assert len(publisher) == accepted
        most = size(tmp_path / "spool")
    figure(
        f"R4: a spool of {limit / 1e6:.1f} MB took {accepted} of {len(sent)} events in {most / 1e6:.1f} MB on disk and "
        f"refused the others in at most {max(refused) * 1e3:.1f} ms"
    )
    assert 0 < accepted < len(sent)
    assert most <= limit + 4096
    store = tmp_path / "store.db"
    queue.node.start()
    collector = queue.consuming(store)
    with Publisher(queue.address, tmp_path / "spool") as heir:
        assert heir.flush(30)
    queue.finish(collector, store, accepted)
