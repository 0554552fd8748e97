"""A long stream of events of many interleaved runs, a collector watched while it takes them, and what came of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import statistics
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from panorama_driver.collector._records import events_of
from panorama_driver.store import open_store

from .brokers import Message, cpu_time, memory, starved
from .captures import CAPTURES

_TRACE = "kickstart.inv.online"
_LONG, _LONGER = (10, 10), (100, 1000)  # each so manieth run has so many times the traces of the captured one
_TOGETHER = 100  # runs in flight
_AT_ONCE = 20  # messages of one run in a row, at most
_TURN = 1000.0  # seconds between the beginnings of two runs
_TIMES = struct.Struct("<dddd")
_BLOCKS = 20
_T_BLOCKS = 2.10  # of Student's t at 95 % with _BLOCKS - 2 degrees of freedom


class _Template(NamedTuple):
    """A captured message: its routing key, and its text around the run's name and the time."""

    key: str
    parts: tuple[tuple[str, ...], ...]
    ts: float | None

    def body(self, run: str, later: float) -> bytes:
        told = repr(round(self.ts + later, 6)) if self.ts is not None else ""
        return told.join(run.join(part) for part in self.parts).encode()


@cache
def _templates() -> tuple[list[_Template], list[_Template]]:
    """Messages of one real run, and those of its jobs' traces; each event once."""
    found: dict[str, _Template] = {}
    for name in ("stampede-events.jsonl", "kickstart-online.jsonl"):
        for line in (CAPTURES / name).read_text(encoding="utf-8").splitlines():
            message = json.loads(line)
            events = events_of(json.dumps(message["body"]).encode())
            if len(events) == 1 and len(events[0].wf_uuid) == 36:
                template = _template(message["routing_key"], message["body"], events[0].wf_uuid)
                found.setdefault(events[0].event_id, template)
    traces = [template for template in found.values() if template.key == _TRACE]
    return [template for template in found.values() if template.key != _TRACE], traces


def _template(key: str, body: dict[str, Any], run: str) -> _Template:
    ts = body["ts"] if isinstance(body.get("ts"), int | float) and body["ts"] > 1e9 else None
    text = json.dumps(body | ({"ts": "@ts@"} if ts is not None else {}))
    return _Template(key, tuple(tuple(part.split(run)) for part in text.split('"@ts@"')), ts)


def uuid_of(run: int) -> str:
    """Name of a run: they follow upon each other in no order, as real ones do."""
    return str(uuid.UUID(int=random.Random(run).getrandbits(128), version=4))


def _repeats(run: int) -> int:
    """How many times the captured traces a run has: most once, few a thousand times."""
    for each, times in (_LONGER, _LONG):
        if run % each == each - 1:
            return times
    return 1


def size_of(run: int) -> int:
    """How many events a run has."""
    others, traces = _templates()
    return len(others) + _repeats(run) * len(traces)


def messages_of(run: int) -> Iterator[Message]:
    """What a run sends, each message an event of its own."""
    others, traces = _templates()
    name, later = uuid_of(run), _TURN * run
    half = len(others) // 2
    yield from ((each.key, each.body(name, later)) for each in others[:half])
    for turn in range(_repeats(run)):
        yield from ((each.key, each.body(name, later + 60 * turn)) for each in traces)
    yield from ((each.key, each.body(name, later)) for each in others[half:])


def runs_of(events: int) -> int:
    """How many runs make at least so many events."""
    total = 0
    for run in count():
        if total >= events:
            return run
        total += size_of(run)
    raise AssertionError


def stream(runs: int, seed: int) -> Iterator[Message]:
    """The messages of all runs, many of which are in flight at any time, each run's in their order."""
    dice = random.Random(seed)
    begun = iter(range(runs))
    flying = [messages_of(run) for run in islice(begun, _TOGETHER)]
    while flying:
        place = dice.randrange(len(flying))
        some = list(islice(flying[place], dice.randint(1, _AT_ONCE)))
        yield from some
        if not some:
            follower = next(begun, None)
            if follower is None:
                flying[place] = flying[-1]
                flying.pop()
            else:
                flying[place] = messages_of(follower)


class Sample(NamedTuple):
    """A look at the collector: time [s since 1970]; memory [bytes], descriptors, CPU time [s], time for which it was
    ready and had no processor [s]; sizes of the store and of its WAL [bytes]; the machine's load."""

    at: float
    memory: int
    descriptors: int
    cpu: float
    starved: float
    store: int
    wal: int
    load: float


class Watcher(threading.Thread):
    """Looks at a collector once a second until `over` is set."""

    def __init__(self, pid: int, store: Path) -> None:
        super().__init__(daemon=True)
        self._pid, self._store = pid, store
        self.over = threading.Event()
        self.samples: list[Sample] = []

    def run(self) -> None:
        while not self.over.wait(1.0):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        pid = self._pid
        wal = self._store.with_name(self._store.name + "-wal")
        return Sample(
            time.time(),
            memory(pid),
            len(os.listdir(f"/proc/{pid}/fd")),
            cpu_time(pid),
            starved(pid),
            self._store.stat().st_size,
            wal.stat().st_size if wal.exists() else 0,
            os.getloadavg()[0],
        )


@dataclass(frozen=True)
class Slope:
    """A straight line through samples: how much more an hour, and half of the 95 % interval of that."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.error:.2f}"


def slope(samples: Sequence[tuple[float, float]]) -> Slope:
    """Fit values at times [s]: units an hour. Neighbours are alike, so means of blocks are fitted, not each sample."""
    size = len(samples) // _BLOCKS
    blocks = [samples[size * block : size * (block + 1)] for block in range(_BLOCKS)]
    times = [statistics.fmean(at for at, _ in block) / 3600 for block in blocks]
    values = [statistics.fmean(value for _, value in block) for block in blocks]
    rise, start = statistics.linear_regression(times, values)
    left = sum((value - start - rise * at) ** 2 for at, value in zip(times, values, strict=True))
    middle = statistics.fmean(times)
    spread = sum((at - middle) ** 2 for at in times)
    return Slope(rise, _T_BLOCKS * (left / (_BLOCKS - 2) / spread) ** 0.5)


class Batch(NamedTuple):
    """When a batch was committed [s since 1970], how long that took from its first message on, how much of it was
    spent ready to run without a processor [s], and how many messages it had."""

    at: float
    took: float
    starved: float
    messages: float


def batches(path: Path) -> list[Batch]:
    """What `stopwatch` has written."""
    return [Batch(*record) for record in _TIMES.iter_unpack(path.read_bytes())]


def timed(folder: Path, times: Path) -> dict[str, str]:
    """Environment of a collector that `stopwatch` times."""
    hooks = folder / "stopwatch"
    hooks.mkdir()
    shutil.copyfile(Path(__file__).with_name("stopwatch.py"), hooks / "sitecustomize.py")
    path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "PANORAMA_TEST_TIMES": str(times)}


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Difference(NamedTuple):
    """Events that are not in a store, rows beyond one for each event, and events that are not as they were sent."""

    lost: int
    doubled: int
    altered: int


def difference(store: Path, runs: int, thorough: int) -> Difference:
    """Compare a store with what was sent: every event by its identity; of each `thorough`-th run also its content."""
    lost = doubled = altered = 0
    query = "SELECT event_id FROM events WHERE wf_uuid = ?"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        for run in range(runs):
            sent = {event.event_id: event for _, body in messages_of(run) for event in events_of(body)}
            rows = [row[0].hex() for row in connection.execute(query, (uuid_of(run),))]
            lost += len(sent.keys() - set(rows))
            doubled += len(rows) - len(sent.keys() & set(rows))
            if run % thorough == 0:
                altered += _altered(store, uuid_of(run), sent)
        [[total]] = connection.execute("SELECT count(*) FROM events")
    doubled += max(0, total - sum(size_of(run) for run in range(runs)) + lost - doubled)  # rows of no run of ours
    return Difference(lost, doubled, altered)


def _altered(store: Path, name: str, sent: dict[str, Any]) -> int:
    with open_store(store, readonly=True) as opened:
        return sum(event != sent.get(event.event_id, event) for event in opened.events(name))
