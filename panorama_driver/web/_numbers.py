"""What tables and lists need of each workflow run, small enough to keep of ten thousand, and which are to be read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from ..metrics import TimeShares, WorkflowState

if TYPE_CHECKING:
    from ._digest import Digest

METRICS = {
    "makespan": "s",
    "queue_time": "s",
    "stage_in_time": "s",
    "stage_out_time": "s",
    "cpu_time": "s",
    "core_time": "s",
    "cpu_utilization": "1",
    "cumulative_time": "s",
    "critical_path": "s",
    "efficiency": "1",
    "peak_memory": "bytes",
    "bytes_read": "bytes",
    "bytes_written": "bytes",
    "bytes_transferred": "bytes",
    "io_time": "s",
    "jobs_total": "1",
    "jobs_failed": "1",
    "jobs_retried": "1",
}
"""Metrics of a run that the table of evaluations shows, with their units."""

_RETRY = 10.0  # seconds
_PATIENCE = 25.0
"""A run that goes on is read again no sooner than after this many times what it took: 4 % of a core."""
_BRIEF = 2.0  # seconds
_EACH = 1e-3  # seconds
_EVENTS = 30
"""A rest of so long is enough, or of so long for each sample, and for so many events of a job: on a busy machine what
a reading took is mostly waiting, and a page that is ten seconds late shows another run."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a line of a table.

    Attributes
    ----------
    state : str
        As in `WorkflowMetrics`; `unreadable` where it could not be read.
    start, end : float or None
        [s since 1970]
    jobs_total, jobs_succeeded, jobs_failed, jobs_active : int
        Jobs by their state.
    values : tuple
        A value of each of `METRICS`.
    reasons : dict of str to str
        Why one is None.
    times : TimeShares or None
        Where its time went.
    samples, samples_read : int
        Rows of traces there are, and those in these numbers.
    """

    state: WorkflowState | Literal["unreadable"]
    start: float | None = None
    end: float | None = None
    jobs_total: int = 0
    jobs_succeeded: int = 0
    jobs_failed: int = 0
    jobs_active: int = 0
    values: tuple[float | int | None, ...] = (None,) * len(METRICS)
    reasons: dict[str, str] = {}
    times: TimeShares | None = None
    samples: int = 0
    samples_read: int = 0

    @property
    def whole(self) -> bool:
        """Whether all traces are in."""
        return self.samples_read >= self.samples


def numbers(digest: Digest) -> Numbers:
    """The line of a run."""
    metrics = digest.metrics
    values = tuple(getattr(metrics, name) for name in METRICS)
    lacking = [name for name, value in zip(METRICS, values, strict=True) if value is None]
    return Numbers(
        state=metrics.state,
        start=metrics.start,
        end=metrics.end,
        jobs_total=metrics.jobs_total,
        jobs_succeeded=metrics.jobs_succeeded,
        jobs_failed=metrics.jobs_failed,
        jobs_active=metrics.jobs_active,
        values=values,
        reasons={name: metrics.reasons.get(name, "not told") for name in lacking},
        times=digest.times,
        samples=digest.samples,
        samples_read=digest.samples_read,
    )


def unreadable(problem: str) -> Numbers:
    """The line of a run that could not be read."""
    return Numbers(state="unreadable", reasons=dict.fromkeys(METRICS, problem))


def _enough(found: Numbers) -> float:
    """The longest rest that what it costs to read this one asks for [s]."""
    return max(_BRIEF, _EACH * (found.samples + _EVENTS * found.jobs_total))


class Runs:
    """The runs of one store: their numbers, and which of them are to be read, or read again.

    A run's mark is the cursor of its newest event: what was read at its mark is as it is now.

    Attributes
    ----------
    marks : dict of str to int
        Every run that the store has events of, with its mark.
    numbers : dict
        Numbers of each run that has been read.
    store : int
        Counts up when the store is another one, where marks mean nothing any more.
    """

    def __init__(self) -> None:
        self.store = 0
        self.marks: dict[str, int] = {}
        self.numbers: dict[str, Numbers] = {}
        self._read_at: dict[str, int] = {}
        self._queue: dict[str, None] = {}
        self._rests_until: dict[str, float] = {}
        self._wanted: set[str] = set()
        self._followed: set[str] = set()

    def forget(self) -> None:
        """The store is another one: nothing of it is read; what is known of runs stands until they are."""
        self.store += 1
        self.marks.clear()
        self._read_at.clear()
        self._queue.clear()
        self._rests_until.clear()

    def moved(self, marks: Mapping[str, int], ended: Iterable[str]) -> None:
        """These have new events; what may have ended is read without waiting, so that its last state is seen."""
        for wf_uuid, mark in marks.items():
            self.marks[wf_uuid] = mark
            if wf_uuid in self._wanted or wf_uuid in self._followed:
                self._queue.setdefault(wf_uuid)
        self.hurry(ended)

    def want(self, runs: Iterable[str]) -> None:
        """Numbers of these are shown in a table, and so are read in the background, the last one first."""
        runs = list(runs)
        for wf_uuid in runs:
            if wf_uuid not in self._wanted and wf_uuid in self.marks and not self.current(wf_uuid):
                self._queue.setdefault(wf_uuid)
        self._wanted = set(runs)

    def follow(self, wf_uuid: str) -> None:
        """Somebody looks at this one: it is read whenever it moves, whether a table shows it or not."""
        self._followed.add(wf_uuid)

    def followed(self, wf_uuid: str) -> bool:
        """Whether somebody has looked at it."""
        return wf_uuid in self._followed

    def hasten(self, wf_uuid: str) -> None:
        """Read this one next, if it is to be read."""
        if not self.current(wf_uuid):
            self._queue.pop(wf_uuid, None)
            self._queue[wf_uuid] = None

    def hurry(self, runs: Iterable[str]) -> None:
        """Read these without waiting."""
        for wf_uuid in runs:
            self._rests_until.pop(wf_uuid, None)

    def next(self) -> str | None:
        """The run to read next, if one may be read now."""
        now = time.monotonic()
        return next((each for each in reversed(self._queue) if self._rests_until.get(each, 0.0) <= now), None)

    def take(self, wf_uuid: str, found: Numbers, mark: int, seconds: float = 0.0) -> bool:
        """It was read as of that mark, which took so long [s]; whether that is news."""
        if self._read_at.get(wf_uuid, -1) > mark or (self._read_at.get(wf_uuid) == mark and not found.whole):
            return False
        self.numbers[wf_uuid], self._read_at[wf_uuid] = found, mark
        if found.state in ("planned", "running"):
            self._rests_until[wf_uuid] = time.monotonic() + min(_PATIENCE * seconds, _enough(found))
        if self.current(wf_uuid):
            self._queue.pop(wf_uuid, None)
        return True

    def again(self, wf_uuid: str) -> None:
        """It could not be read, and may be in a while."""
        self._read_at.pop(wf_uuid, None)
        self._queue.setdefault(wf_uuid)
        self._rests_until[wf_uuid] = time.monotonic() + _RETRY

    def read(self, wf_uuid: str) -> bool:
        """Whether its numbers are in, with all traces."""
        return wf_uuid in self.numbers and self.numbers[wf_uuid].whole

    def current(self, wf_uuid: str) -> bool:
        """Whether its numbers are those of all its events."""
        return self._read_at.get(wf_uuid) == self.marks.get(wf_uuid) and self.read(wf_uuid)

    def serves(self, wf_uuid: str, mark: int) -> bool:
        """Whether what was read at that mark will do: nothing has moved since, or it was read a moment ago."""
        return mark == self.marks.get(wf_uuid) or (
            mark >= self._read_at.get(wf_uuid, 0) and self._rests_until.get(wf_uuid, 0.0) > time.monotonic()
        )

    @property
    def waiting(self) -> bool:
        """Whether any are to be read."""
        return bool(self._queue)
