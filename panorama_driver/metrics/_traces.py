"""Traces of running processes: counters that accumulate, differentiated here and nowhere else."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..events import Event
from ._findings import number

COUNTERS = {
    "user_time": "utime",
    "system_time": "stime",
    "io_wait": "iowait",
    "bytes_read": "bread",
    "bytes_written": "bwrite",
    "chars_read": "rchar",
    "chars_written": "wchar",
    "read_calls": "syscr",
    "write_calls": "syscw",
}
_RUSAGE = {"user_time": "rusage_utime", "system_time": "rusage_stime"}
# kickstart counts itself in what it samples: one process of two threads (a record after the job's end has procs 1,
# threads 2). Its memory cannot be told apart.
_MONITOR = {"procs": 1, "threads": 2}


class Sample(Event, frozen=True, kw_only=True):
    """A sample that stands for `others` as well, which thinning has left out: they are of the same process tree."""

    others: int = 0


def samples_in(events: Iterable[Event]) -> int:
    """How many samples there were, those left out included."""
    return sum(1 + event.others if isinstance(event, Sample) else 1 for event in events)


class Interval(NamedTuple):
    """What a stream used between two samples, and the levels seen at the second."""

    begin: float
    end: float
    used: dict[str, float | None]
    levels: dict[str, float | None]


class Stream:
    """The samples of one monitored process tree, in order."""

    def __init__(self, samples: Sequence[Event]) -> None:
        self.samples = samples
        self.ours = "seq" in samples[0].fields
        self.final = next((sample for sample in reversed(samples) if sample.fields.get("final") is True), None)

    @property
    def host(self) -> object:
        return self.samples[0].fields.get("hostname")

    @property
    def problems(self) -> list[str]:
        """What the probe says it could not observe."""
        words = {str(word) for sample in self.samples for word in sample.fields.get("problems") or ()}
        return sorted(words)

    def total(self, name: str) -> float | None:
        """Sum of all increments of a counter; None if it was never observed.

        What it had reached before each fall and at the end: the same sum, exact, whatever was left out in between.
        """
        known = [value for value in self._values(name) if value is not None]
        if not known or self._is_blind_zero(name, known):
            return None
        return math.fsum([*(before for before, after in itertools.pairwise(known) if after < before), known[-1]])

    def intervals(self, started: float | None = None) -> list[Interval]:
        """All that was used, cut where samples were taken; `started` is when the process began [s since 1970]."""
        used = {name: self._increments(name) for name in COUNTERS}
        times = _monotone([_time(sample) for sample in self.samples])
        begins = [self._begin(started, times), *times[:-1]]
        return [
            Interval(begin, end, {name: steps[i] for name, steps in used.items()}, self._levels(self.samples[i]))
            for i, (begin, end) in enumerate(zip(begins, times, strict=True))
        ]

    def peak_rss(self) -> float | None:
        """Largest resident set of the whole tree at once [bytes]."""
        seen = [rss for sample in self.samples if (rss := self._levels(sample)["rss"]) is not None]
        return max(seen, default=None)

    def _increments(self, name: str) -> list[float | None]:
        steps = increments(self._values(name))
        return [None] * len(steps) if self._is_blind_zero(name, [s for s in steps if s is not None]) else steps

    def _is_blind_zero(self, name: str, known: Sequence[float]) -> bool:
        """kickstart writes 0 for I/O wait where the kernel's delay accounting is off."""
        return name == "io_wait" and not self.ours and not any(known)

    def _values(self, name: str) -> list[float | None]:
        return [self._value(sample, name) for sample in self.samples]

    def _value(self, sample: Event, name: str) -> float | None:
        value = number(sample.fields.get(COUNTERS[name]))
        if sample is not self.final or name not in _RUSAGE:
            return value
        # wait4's account holds the last moments that no sample saw; a sample holds children nobody waited for.
        known = [v for v in (value, number(sample.fields.get(_RUSAGE[name]))) if v is not None]
        return max(known, default=None)

    def _levels(self, sample: Event) -> dict[str, float | None]:
        rss = number(sample.fields.get("rss"))
        levels = {"rss": None if rss is None else rss * 1024}
        for name, own in _MONITOR.items():
            count = number(sample.fields.get(name))
            levels[name] = None if count is None else count if self.ours else max(0.0, count - own)
        return levels

    def _begin(self, started: float | None, times: Sequence[float]) -> float:
        """When counting began: the probe's word, else the job's, else one sampling interval before the first sample."""
        own = number(self.final.fields.get("start_ts")) if self.final else None
        for begin in (own, started):
            if begin is not None and begin <= times[0]:
                return begin
        return times[0] - (number(self.samples[0].fields.get("interval")) or _median_step(times))


def streams(samples: Iterable[Event]) -> list[Stream]:
    """Sort samples into the process trees they came from."""
    groups: dict[tuple[str, ...], list[Event]] = defaultdict(list)
    for sample in samples:
        if sample.ts is not None:
            groups[_origin(sample)].append(sample)
    return [Stream(sorted(group, key=order)) for _, group in sorted(groups.items())]


def increments(values: Iterable[float | None]) -> list[float | None]:
    """Differences of an accumulating counter that starts at 0; after a fall it counts from 0 again.

    A missing value gives None and its share to the next one.
    """
    steps: list[float | None] = []
    previous = 0.0
    for value in values:
        if value is None:
            steps.append(None)
            continue
        steps.append(value - previous if value >= previous else value)
        previous = value
    return steps


def _origin(sample: Event) -> tuple[str, ...]:
    keys = ("condor_job_id", "hostname", "pid", "rank", "task_id")
    return (str(sample.attempt), *(str(sample.fields.get(key, "")) for key in keys))


def order(sample: Event) -> tuple[float, float]:
    seq = number(sample.fields.get("seq"))
    return (-1.0 if seq is None else seq, _time(sample))


def _time(sample: Event) -> float:
    assert sample.ts is not None  # `streams` leaves the others out
    return sample.ts


def _monotone(times: Sequence[float]) -> list[float]:
    """A worker's clock that was set back does not run backwards here."""
    result: list[float] = []
    for time in times:
        result.append(max(time, result[-1]) if result else time)
    return result


def _median_step(times: Sequence[float]) -> float:
    steps = sorted(after - before for before, after in itertools.pairwise(times) if after > before)
    return steps[len(steps) // 2] if steps else 1.0
