"""Others have the store while the collector writes: readers see one moment of it, and a writer only delays."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from panorama_driver.collector._records import events_of
from panorama_driver.store import Via, open_store

from .brokers import STREAM, Message, Queue, check_whole, locked, messages, starved, stored, until, waiting
from .studies import wait_for

BEFORE = 2000
DELAY = 1.0  # seconds


class Growth(NamedTuple):
    """When a collector was seen to have committed, and for how long it had been without a processor by then [s]."""

    at: float
    starved: float


class Watch(threading.Thread):
    """Notes when the number of rows grows, by `seq`, so that looking costs nothing."""

    def __init__(self, store: Path, collector: int) -> None:
        super().__init__(daemon=True)
        self._store, self._collector, self._over = store, collector, threading.Event()
        self.grew: list[Growth] = []

    def run(self) -> None:
        rows = 0
        with closing(sqlite3.connect(self._store)) as connection:
            while not self._over.wait(0.005):
                [(now,)] = connection.execute("SELECT coalesce(max(seq), 0) FROM events")
                if now > rows:
                    rows = now
                    self.grew.append(Growth(time.monotonic(), starved(self._collector)))

    def longest(self) -> tuple[float, float]:
        """The longest time between two commits [s], and the same without the time that a processor was lacking."""
        self._over.set()
        self.join()
        pairs = list(pairwise(self.grew))
        whole = max(later.at - earlier.at for earlier, later in pairs)
        return whole, max(later.at - earlier.at - (later.starved - earlier.starved) for earlier, later in pairs)


def fill(path: Path, some: list[Message]) -> None:
    with open_store(path) as store:
        store.put((event for _, body in some for event in events_of(body)), via=Via.BROKER)


@contextmanager
def snapshot(path: Path) -> Iterator[Callable[[], int]]:
    """A transaction that reads, and how many rows it sees."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")

        def rows() -> int:
            [(number,)] = connection.execute("SELECT count(*) FROM events")
            return int(number)

        rows()
        yield rows


@pytest.mark.measures
def test_r9_readers_that_hold_the_store_neither_delay_the_collector_nor_see_it_change(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    sent, path = list(messages(BEFORE + STREAM)), tmp_path / "store.db"
    fill(path, sent[:BEFORE])
    known = [event for _, body in sent[:BEFORE] for event in events_of(body)]
    split = events_of(sent[BEFORE][1])[0].wf_uuid  # has events before and after
    earlier = {event.event_id for event in known if event.wf_uuid == split}
    queue.publish(sent[BEFORE:])
    with open_store(path, readonly=True) as reader, snapshot(path) as rows:
        looking = reader.events(split)
        seen = [next(looking)]
        collector = queue.consuming(path)
        watch = Watch(path, collector.pid)
        watch.start()
        wait_for(lambda: stored(path) >= len(sent), "all events")
        whole, delay = watch.longest()
        held = rows()
        seen += looking
        log = path.with_name("store.db-wal").stat().st_size
    collector.stopped()
    lost, doubled = check_whole(sent, path)
    figure(
        f"R9: readers hold the store while {STREAM} events are written: lost {lost}, duplicated {doubled}, at most "
        f"{whole:.2f} s between commits ({delay:.2f} s without lack of a processor); "
        f"they still saw {held} of {BEFORE} rows; the log grew to "
        f"{log / 1e6:.0f} MB"
    )
    assert (lost, doubled, queue.left()) == (0, 0, 0)
    assert delay < DELAY, f"measured {delay:.2f} s"
    assert held == BEFORE
    assert {event.event_id for event in seen} == earlier
    assert len(watch.grew) > 5


def keep_locked(queue: Queue, path: Path, seconds: float, figure: Callable[[str], None]) -> str:
    """Let another writer have the store for so long in the middle of a stream; what the collector complained of."""
    sent = list(messages(STREAM))
    open_store(path).close()
    collector = queue.consuming(path)
    queue.publish(sent[:BEFORE])
    until(path, 1)
    with locked(path):
        before = stored(path)
        queue.publish(sent[BEFORE:])
        time.sleep(seconds)
        assert stored(path) == before
    freed = time.monotonic()
    until(path, before + 1)
    delay = time.monotonic() - freed
    queue.finish(collector, path, len(sent))
    lost, doubled = check_whole(sent, path)
    figure(
        f"R9: another writer has the store for {seconds:g} s: lost {lost}, duplicated {doubled}, written again "
        f"{delay:.2f} s after it let go"
    )
    assert (lost, doubled) == (0, 0)
    most = DELAY + 5 * (seconds > 10)  # beyond SQLite's patience the collector pauses between attempts
    assert delay < most, f"measured {delay:.2f} s"
    return collector.complaints


@pytest.mark.measures
def test_r9_a_writer_that_has_the_store_for_seconds_only_delays(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    assert keep_locked(queue, tmp_path / "store.db", 3, figure) == ""


@pytest.mark.long
@pytest.mark.measures
def test_r9_a_writer_that_has_the_store_beyond_all_patience_is_told_of(
    queue: Queue, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    told = keep_locked(queue, tmp_path / "store.db", 15, figure)
    assert "another process has been writing for 10 s" in told
    assert "nothing is acknowledged, trying again" in told
    assert "the store can be written again" in told


def test_r9_nothing_is_acknowledged_before_it_is_committed(queue: Queue, tmp_path: Path) -> None:
    sent, path = list(messages(5000)), tmp_path / "store.db"
    open_store(path).close()
    collector = queue.consuming(path)
    with locked(path):
        queue.publish(sent)
        with queue.channel() as channel:
            wait_for(lambda: waiting(channel) < len(sent), "the collector to hold some")
        collector.kill()
        assert (stored(path), queue.left()) == (0, len(sent))
    queue.finish(queue.consuming(path), path, len(sent))
    assert check_whole(sent, path) == (0, 0)
