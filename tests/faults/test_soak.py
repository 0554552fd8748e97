"""Very many events through a real broker into a store: it gets no slower, no larger and loses nothing (R18).

PANORAMA_SOAK_EVENTS sets how many the long run has. It needs about 1 kB of disk for each, and tells how it goes.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from panorama_driver.testing.rabbitmq import Node

from .brokers import Collector, Queue, feed, sound, waiting
from .soak import (
    Batch,
    Sample,
    Slope,
    Watcher,
    batches,
    difference,
    quantile,
    runs_of,
    size_of,
    slope,
    stream,
    timed,
)
from .studies import wait_for

EVENTS = int(os.environ.get("PANORAMA_SOAK_EVENTS", 10_000_000))
FEW = 30_000
ENOUGH = 3_000_000  # before, caches still fill
RATE = 5000  # events a second that a collector takes in R5; the collector's rate
COMMIT = 0.25  # seconds, 99 % of the batches
GROWTH = 1.0  # MB an hour
TENTHS, FIFTHS = 10, 5

_SEED = 18
_AHEAD = 50_000  # messages that may wait in the broker: what bounds its disk
_LOT = 2000
_ROOM = 1200  # bytes of disk for an event, its WAL and what the broker holds included
_TELL, _PAUSE = 30.0, 0.2  # seconds
_STEADY = 0.2  # of the run: caches are full by then
_READER = 3  # descriptors: what looks after ended workflows reads through a connection of its own, now and then


class Tenth(NamedTuple):
    """A tenth of the events: how many a second, and a CPU second; the machine's load meanwhile."""

    rate: float
    per_cpu: float
    load: float


class Soaked(NamedTuple):
    """What was seen while all events went through; wall and CPU time [s]."""

    events: int
    wall: float
    cpu: float
    starved: float
    samples: list[Sample]
    batches: list[Batch]


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied at once: what the long run leaves is gigabytes."""
    folder = tmp_path / "soak"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


class Soak:
    """A queue, its collector, and a stream of runs through both.

    Parameters
    ----------
    queue : Queue
        Of a broker.
    folder : Path
        Where the store is made.
    events : int
        At least so many are sent, in whole runs.
    tell : callable
        Takes a line for whoever waits.
    """

    def __init__(self, queue: Queue, folder: Path, events: int, tell: Callable[[str], None]) -> None:
        self.runs = runs_of(events)
        self.events = sum(size_of(run) for run in range(self.runs))
        self.store = folder / "store.db"
        self._queue, self._tell = queue, tell
        self._times = folder / "times"
        self._environment = timed(folder, self._times)

    def go(self) -> Soaked:
        """Send all and wait until all are stored."""
        collector = self._queue.consuming(self.store, environment=self._environment)
        watcher = Watcher(collector.pid, self.store)
        watcher.start()
        self._send(collector, watcher)
        wait_for(lambda: _stored(collector) == self.events, "the last events", 300)
        watcher.over.set()
        watcher.join()
        collector.stopped()
        assert (collector.complaints, self._queue.left()) == ("", 0)
        done = batches(self._times)
        first, last = watcher.samples[0], watcher.samples[-1]
        wall = done[-1].at - done[0].at + done[0].took
        return Soaked(self.events, wall, last.cpu, last.starved - first.starved, watcher.samples, done)

    def _send(self, collector: Collector, watcher: Watcher) -> None:
        messages = stream(self.runs, _SEED)
        sent, told = 0, time.monotonic()
        with self._queue.channel() as channel:
            while lot := list(islice(messages, _LOT)):
                feed(channel, lot)
                sent += len(lot)
                while waiting(channel) > _AHEAD:
                    assert collector.running, collector.complaints
                    time.sleep(_PAUSE)
                if time.monotonic() - told > _TELL:
                    told = time.monotonic()
                    self._tell(f"{sent} of {self.events} events sent; {_words(watcher.samples[-1])}")


def _stored(collector: Collector) -> int:
    try:
        return int(collector.counts["stored"])
    except (KeyError, ValueError):  # it has not told yet, or is writing a line
        return -1


def _words(sample: Sample) -> str:
    return (
        f"collector {sample.memory / 1e6:.1f} MB, {sample.descriptors} descriptors, {sample.cpu:.0f} s of CPU time; "
        f"store {sample.store / 1e9:.2f} GB, WAL {sample.wal / 1e6:.1f} MB; load {sample.load:.1f}"
    )


def tenths(soaked: Soaked) -> list[Tenth]:
    """How fast each tenth of the events went."""
    reached = list(accumulate(batch.messages for batch in soaked.batches))
    ends = [bisect_left(reached, soaked.events * part / TENTHS) for part in range(TENTHS + 1)]
    return [
        _tenth(soaked, soaked.batches[first], soaked.batches[last], reached[last] - reached[first])
        for first, last in pairwise(ends)
    ]


def _tenth(soaked: Soaked, first: Batch, last: Batch, events: float) -> Tenth:
    seen = [sample for sample in soaked.samples if first.at <= sample.at <= last.at]
    began, ended = seen[0], seen[-1]
    share = (ended.at - began.at) / (last.at - first.at)  # of the tenth, that lies between the two looks
    load = sum(sample.load for sample in seen) / len(seen)
    return Tenth(events / (last.at - first.at), share * events / (ended.cpu - began.cpu), load)


def steady(samples: Sequence[Sample]) -> list[Sample]:
    """Those after caches are full."""
    return list(samples[int(_STEADY * len(samples)) :])


def growth(samples: Sequence[Sample]) -> Slope:
    """Of the collector's memory [MB/h]."""
    return slope([(sample.at, sample.memory / 1e6) for sample in steady(samples)])


def descriptors(samples: Sequence[Sample]) -> tuple[list[int], int]:
    """How many files were open most of the time, in each fifth of the steady part, and how many at most."""
    seen = [sample.descriptors for sample in steady(samples)]
    size = max(1, len(seen) // FIFTHS)
    places = range(0, min(size * FIFTHS, len(seen)), size)
    return [statistics.mode(seen[place : place + size]) for place in places], max(seen)


def describe(soaked: Soaked, store: Path) -> list[str]:
    """What a run of any length shows."""
    took = [batch.took for batch in soaked.batches]
    own = [batch.took - batch.starved for batch in soaked.batches]
    usual, most = descriptors(soaked.samples)
    return [
        f"{soaked.events} events in {soaked.wall:.0f} s: {soaked.events / soaked.wall:.0f}/s, "
        f"{soaked.events / soaked.cpu:.0f} a CPU second; without a processor for {soaked.starved:.0f} s",
        f"{len(took)} commits: 50 % within {quantile(took, 0.5):.3f} s, 99 % {quantile(took, 0.99):.3f} s, "
        f"all {max(took):.3f} s; less the time without a processor: 99 % {quantile(own, 0.99):.3f} s",
        f"descriptors {usual}, at most {most}; store {store.stat().st_size / soaked.events:.0f} bytes an event; "
        f"WAL at most {max(sample.wal for sample in soaked.samples) / 1e6:.1f} MB",
    ]


def check(soaked: Soaked, store: Path, runs: int, figure: Callable[[str], None], thorough: int) -> None:
    """Every event is there once, commits were quick, nothing stayed open."""
    found = difference(store, runs, thorough)
    for line in describe(soaked, store):
        figure(f"R18: {line}")
    figure(f"R18: lost {found.lost}, doubled {found.doubled}, altered {found.altered}")
    assert found == (0, 0, 0)
    assert sound(store)
    counts = [sample.descriptors for sample in soaked.samples]
    assert max(counts) - min(counts) <= _READER
    late = quantile([batch.took - batch.starved for batch in soaked.batches], 0.99)
    assert late < COMMIT, f"measured {late:.3f} s"


@pytest.mark.measures
def test_r18_in_small(queue: Queue, roomy: Path, figure: Callable[[str], None]) -> None:
    soak = Soak(queue, roomy, FEW, lambda _: None)
    check(soak.go(), soak.store, soak.runs, figure, thorough=1)


@pytest.mark.long
@pytest.mark.timeout(3 * 3600)
def test_r18_ten_million_events(
    queue: Queue, broker: Node, roomy: Path, figure: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    free = shutil.disk_usage(roomy).free
    if free < EVENTS * _ROOM:
        pytest.skip(f"{roomy}: {free / 1e9:.0f} GB are free, {EVENTS * _ROOM / 1e9:.0f} GB are needed")

    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="", flush=True)

    soak = Soak(queue, roomy, EVENTS, tell)
    soaked = soak.go()
    seen = roomy.with_name("soak.json")
    seen.write_text(json.dumps({"samples": soaked.samples, "batches": soaked.batches}))
    figure(f"R18: every look and every commit: {seen}")
    parts = tenths(soaked)
    grown = growth(soaked.samples)
    for part, tenth in enumerate(parts, start=1):
        figure(f"R18: tenth {part}: {tenth.rate:.0f} events/s, {tenth.per_cpu:.0f} a CPU second, load {tenth.load:.1f}")
    figure(f"R18: memory {grown} MB/h, at most {max(sample.memory for sample in soaked.samples) / 1e6:.1f} MB")
    check(soaked, soak.store, soak.runs, figure, thorough=20)
    usual, _ = descriptors(soaked.samples)
    assert len(set(usual)) == 1
    if soaked.events >= ENOUGH:
        assert grown.value - grown.error < GROWTH
    assert soaked.events / (soaked.wall - soaked.starved) > RATE
    assert parts[-1].per_cpu > 0.5 * parts[0].per_cpu


def test_a_slope_is_found_with_its_uncertainty() -> None:
    exact = slope([(float(second), 5 + 3 * second / 3600) for second in range(1000)])
    assert exact.value == pytest.approx(3)
    assert exact.error == pytest.approx(0, abs=1e-6)
    noisy = slope([(float(second), 10.0 * (second % 2)) for second in range(1000)])
    assert abs(noisy.value) <= noisy.error + 1e-9


def test_the_runs_of_a_soak_are_whole_and_each_message_is_an_event_of_its_own(tmp_path: Path) -> None:
    from panorama_driver.collector._records import events_of

    runs = runs_of(FEW)
    identities: dict[str, Any] = {}
    for key, body in stream(runs, _SEED):
        [event] = events_of(body)
        assert key.split(".")[0] == event.kind.split(".")[0]
        identities[event.event_id] = event
    assert len(identities) == sum(size_of(run) for run in range(runs)) >= FEW
