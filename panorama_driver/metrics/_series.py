"""Traces and transfers over time: what was used between two samples, spread over bins of equal width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ..events import Event
from ._attempts import cores, started
from ._index import TRACE, JobIndex, WorkflowIndex
from ._traces import COUNTERS, Interval, streams
from ._transfers import Piece, each_once, transfers
from .records import Column, Series

MAX_BINS = 200
_LEVELS = ("threads", "procs", "rss")


Shares = list[tuple[int, float]]


class _Placed(NamedTuple):
    """An interval, and the seconds it spends in each bin it touches."""

    interval: Interval
    shares: Shares


class _Trace(NamedTuple):
    """The intervals of one process tree, and the cores its job asked for."""

    intervals: list[Interval]
    cores: int | None


def series(
    events: Iterable[Event], job_id: str | None = None, attempt: int | None = None, *, width: float | None = None
) -> Series:
    """What a run used over time, or one of its jobs, or one attempt of that.

    An interval between two samples that crosses the edge of a bin is shared out by time, so nothing is lost: a column
    sums to the total of the metric of its name.

    Parameters
    ----------
    events : iterable of Event
        As for `correlate`.
    job_id : str, optional
        Only that job; `attempt` only that `job_inst_id`.
    width : float, optional
        Width of a bin [s]; by default the usual distance of two samples, or what makes 200 bins if that is more.

    Raises
    ------
    ValueError
        The events are not of one run, the job is unknown, an attempt is given without its job, or `width` is not
        positive.
    """
    if width is not None and not width > 0:
        raise ValueError(f"a bin must be wider than 0 s, got width={width}")
    index = WorkflowIndex(events)
    traces = _traces(index, job_id, attempt)
    pieces = _pieces(index, job_id, attempt)
    bins = _Bins.around([*(i for trace in traces for i in trace.intervals), *pieces], width)
    return _columns(bins, traces, pieces)


class _Bins(msgspec.Struct, frozen=True):
    """Bins of equal width [s] from `begin` [s since 1970] on."""

    begin: float
    width: float
    count: int

    @classmethod
    def around(cls, spans: Sequence[Interval | Piece], width: float | None) -> _Bins:
        if not spans:
            return cls(0.0, width or 1.0, 0)
        begin, end = min(span.begin for span in spans), max(span.end for span in spans)
        lengths = sorted(span.end - span.begin for span in spans if span.end > span.begin)
        step = width or max(lengths[len(lengths) // 2] if lengths else 1.0, (end - begin) / MAX_BINS)
        return cls(begin, step, max(1, math.ceil((end - begin) / step)))

    @property
    def edges(self) -> tuple[float, ...]:
        return tuple(self.begin + i * self.width for i in range(self.count))

    def shares(self, begin: float, end: float) -> Shares:
        """Bins that a span of time touches, with the seconds in each; a span of no length touches one."""
        first, last = self._bin(begin), self._bin(end)
        if end <= begin or first == last:
            return [(last, max(0.0, end - begin))]
        cuts = [begin, *(self.begin + i * self.width for i in range(first + 1, last + 1)), end]
        pieces = [(first + i, after - before) for i, (before, after) in enumerate(itertools.pairwise(cuts))]
        return [piece for piece in pieces if piece[1] > 0] or [(last, 0.0)]

    def _bin(self, time: float) -> int:
        return min(self.count - 1, max(0, int((time - self.begin) / self.width)))


def _traces(index: WorkflowIndex, job_id: str | None, attempt: int | None) -> list[_Trace]:
    jobs = _chosen(index, job_id, attempt)
    found = [
        _Trace(stream.intervals(started(one).value), cores(one).value)
        for job in jobs
        for one in job.attempts
        if attempt in (None, one.attempt)
        for stream in one.streams
    ]
    loose = [event for job in jobs for event in job.unmatched if event.kind == TRACE and attempt is None]
    return found + [_Trace(stream.intervals(), None) for stream in streams(loose)]


def _pieces(index: WorkflowIndex, job_id: str | None, attempt: int | None) -> list[Piece]:
    jobs = _chosen(index, job_id, attempt)
    owners = [one for job in jobs for one in job.attempts if attempt in (None, one.attempt)]
    found = [each_once(owner.transfers) for owner in owners]
    loose = [event for job in jobs for event in job.unmatched if event.kind != TRACE and attempt is None]
    found.append(each_once(transfers(loose)))
    return [piece for group in found for transfer in group for piece in transfer.pieces]


def _chosen(index: WorkflowIndex, job_id: str | None, attempt: int | None) -> list[JobIndex]:
    if job_id is None:
        if attempt is not None:
            raise ValueError(f"attempt {attempt} of which job? Give job_id as well")
        return list(index.jobs.values())
    if job_id not in index.jobs:
        raise ValueError(f"workflow {index.wf_uuid} has no job {job_id!r}")
    return [index.jobs[job_id]]


def _columns(bins: _Bins, traces: Sequence[_Trace], pieces: Sequence[Piece]) -> Series:
    placed = [[_Placed(interval, bins.shares(*interval[:2])) for interval in trace.intervals] for trace in traces]
    columns: dict[str, Column] = {name: _amounts(bins, placed, name) for name in COUNTERS}
    columns |= {name: _levels(bins, placed, name) for name in _LEVELS}
    columns["cpu_time"] = _added(columns["user_time"], columns["system_time"])
    columns["bytes_transferred"] = _moved(bins, pieces) if pieces else None
    utilization = _utilization(bins, placed, [trace.cores for trace in traces], columns["cpu_time"])
    reasons = {name: _why(name, traces) for name, column in columns.items() if column is None}
    if utilization is None:
        reasons["cpu_utilization"] = reasons.get("cpu_time", "no event tells how many cores were asked for (req_cpus)")
    return Series(time=bins.edges, width=bins.width, cpu_utilization=utilization, reasons=reasons, **columns)


def _why(name: str, traces: Sequence[_Trace]) -> str:
    if name == "bytes_transferred":
        return "no transfer record"
    if not traces:
        return "no trace"
    return "the kernel's delay accounting is off" if name == "io_wait" else "a trace does not hold it"


def _amounts(bins: _Bins, placed: Sequence[Sequence[_Placed]], name: str) -> Column:
    """Increments of a counter, each shared out over the bins it was counted in."""
    if not placed or any(all(p.interval.used[name] is None for p in trace) for trace in placed):
        return None
    column = [0.0] * bins.count
    for trace in placed:
        for interval, shares in trace:
            _share_out(column, interval.used[name] or 0.0, shares)
    return tuple(column)


def _moved(bins: _Bins, pieces: Iterable[Piece]) -> tuple[float, ...]:
    column = [0.0] * bins.count
    for piece in pieces:
        _share_out(column, piece.size, bins.shares(piece.begin, piece.end))
    return tuple(column)


def _share_out(column: list[float], amount: float, shares: Shares) -> None:
    length = math.fsum(seconds for _, seconds in shares)
    for i, seconds in shares:
        column[i] += amount * seconds / length if length else amount / len(shares)


def _levels(bins: _Bins, placed: Sequence[Sequence[_Placed]], name: str) -> Column:
    """Largest level of each trace in a bin, summed over traces; a sample speaks for the time since the one before."""
    if not placed or any(all(p.interval.levels[name] is None for p in trace) for trace in placed):
        return None
    column = [0.0] * bins.count
    for trace in placed:
        for i, level in _highest(trace, name).items():
            column[i] += level
    return tuple(column)


def _highest(trace: Iterable[_Placed], name: str) -> dict[int, float]:
    highest: dict[int, float] = {}
    for interval, shares in trace:
        for i, _ in shares:
            highest[i] = max(highest.get(i, 0.0), interval.levels[name] or 0.0)
    return highest


def _added(left: Column, right: Column) -> Column:
    return None if left is None or right is None else tuple(a + b for a, b in zip(left, right, strict=True))


def _utilization(
    bins: _Bins, placed: Sequence[Sequence[_Placed]], cores: Sequence[int | None], cpu_time: Column
) -> tuple[float | None, ...] | None:
    """CPU seconds over core seconds; None in a bin that no trace covers."""
    if cpu_time is None or None in cores:
        return None
    available = [0.0] * bins.count
    for trace, granted in zip(placed, cores, strict=True):
        for _, shares in trace:
            for i, seconds in shares:
                available[i] += seconds * (granted or 0)
    return tuple(cpu / there if there else None for cpu, there in zip(cpu_time, available, strict=True))
