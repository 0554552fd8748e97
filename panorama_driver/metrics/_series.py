"""Traces and transfers over time: what was used between two samples, spread over bins of equal width."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from ..events import Event
from ..sources.traces import TRACE
from ._attempts import cores, started
from ._index import AttemptIndex, JobIndex, WorkflowIndex
from ._traces import COUNTERS, Interval, Stream, streams
from ._transfers import Piece, each_once, transfers
from .records import Column, Series

MAX_BINS = 200
_RESOLVED = 0.1  # [s] ten of the kernel's ticks, in which it counts CPU time: shorter bins would tell of ticks alone
_LEVELS = ("threads", "procs", "rss")


Shares = list[tuple[int, float]]


class _Placed(NamedTuple):
    """An interval, and the seconds it spends in each bin it touches."""

    interval: Interval
    shares: Shares


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What one process tree used, as numbers packed for keeping.

    Attributes
    ----------
    job_id : str
        Its job.
    attempt : int or None
        `job_inst_id`; None where that could not be told.
    cores : int or None
        Cores that its job asked for.
    packed : bytes
        An interval between two samples after the other, each its begin and end, what was used and the levels, as
        64-bit floats of this machine; NaN for what is not known.
    step : float or None
        [s] usual distance of two samples before it was thinned; None if it was not.
    """

    job_id: str
    attempt: int | None
    cores: int | None
    packed: bytes
    step: float | None = None

    @classmethod
    def of(cls, job_id: str, attempt: int | None, cores: int | None, intervals: Iterable[Interval]) -> Trace:
        """Pack them."""
        numbers = array("d")
        for interval in intervals:
            values = (*(interval.used[name] for name in COUNTERS), *(interval.levels[name] for name in _LEVELS))
            numbers.extend((interval.begin, interval.end, *(math.nan if value is None else value for value in values)))
        return cls(job_id=job_id, attempt=attempt, cores=cores, packed=numbers.tobytes())

    def __len__(self) -> int:
        return len(self.packed) // (8 * _WIDTH)

    @property
    def intervals(self) -> list[Interval]:
        """Unpack them."""
        numbers = array("d", self.packed)
        return [_interval(numbers[at : at + _WIDTH]) for at in range(0, len(numbers), _WIDTH)]

    def coarser(self, times: int) -> Trace:
        """So many intervals taken together: amounts added up, the highest of levels."""
        intervals = self.intervals
        groups = [intervals[at : at + times] for at in range(0, len(intervals), times)]
        coarse = Trace.of(self.job_id, self.attempt, self.cores, map(_together, groups))
        return msgspec.structs.replace(coarse, step=self.step)


_WIDTH = 2 + len(COUNTERS) + len(_LEVELS)


def _interval(numbers: Sequence[float]) -> Interval:
    values = [None if math.isnan(number) else number for number in numbers[2:]]
    used = dict(zip(COUNTERS, values, strict=False))
    return Interval(numbers[0], numbers[1], used, dict(zip(_LEVELS, values[len(COUNTERS) :], strict=True)))


def _together(group: Sequence[Interval]) -> Interval:
    used = {name: _all(math.fsum, (interval.used[name] for interval in group)) for name in COUNTERS}
    levels = {name: _all(max, (interval.levels[name] for interval in group)) for name in _LEVELS}
    return Interval(group[0].begin, group[-1].end, used, levels)


def _all(combine: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return combine(known) if known else None


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
        Width of a bin [s]; by default the usual distance of two samples, or what makes 200 bins if that is more, and no
        less than 0.1 s, in which the kernel counts ten ticks of CPU time.

    Raises
    ------
    ValueError
        The events are not of one run, the job is unknown, an attempt is given without its job, or `width` is not
        positive.
    """
    index = WorkflowIndex(events)
    traces = _traces(index, job_id, attempt)
    return series_of(traces, _pieces(index, job_id, attempt), width)


def series_of(traces: Iterable[Trace], pieces: Sequence[Piece], width: float | None = None) -> Series:
    """What these traces and transfers amount to over time, as of `series`."""
    if width is not None and not width > 0:
        raise ValueError(f"a bin must be wider than 0 s, got width={width}")
    opened = [_Open(trace.intervals, trace.cores, trace.step) for trace in traces]
    bins = _Bins.around(
        [span for trace in opened for span in trace.spans] + [_Span(piece.begin, piece.end) for piece in pieces], width
    )
    return _columns(bins, opened, pieces)


def traces_of(index: WorkflowIndex) -> list[Trace]:
    """All traces of a run whose events are sorted."""
    return _traces(index, None, None)


class _Span(NamedTuple):
    """From when to when [s since 1970], and how far apart samples were there before they were thinned [s]."""

    begin: float
    end: float
    step: float | None = None

    @property
    def length(self) -> float:
        return self.end - self.begin if self.step is None else self.step


class _Open(NamedTuple):
    """A trace unpacked."""

    intervals: list[Interval]
    cores: int | None
    step: float | None

    @property
    def spans(self) -> list[_Span]:
        return [_Span(interval.begin, interval.end, self.step) for interval in self.intervals]


class _Bins(msgspec.Struct, frozen=True):
    """Bins of equal width [s] from `begin` [s since 1970] on."""

    begin: float
    width: float
    count: int

    @classmethod
    def around(cls, spans: Sequence[_Span], width: float | None) -> _Bins:
        if not spans:
            return cls(0.0, width or 1.0, 0)
        begin, end = min(span.begin for span in spans), max(span.end for span in spans)
        lengths = sorted(span.length for span in spans if span.end > span.begin)
        usual = lengths[len(lengths) // 2] if lengths else 1.0
        step = width or max(usual, (end - begin) / MAX_BINS, _RESOLVED)
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


def _traces(index: WorkflowIndex, job_id: str | None, attempt: int | None) -> list[Trace]:
    jobs = _chosen(index, job_id, attempt)
    found = [
        trace_of(one, stream)
        for job in jobs
        for one in job.attempts
        if attempt in (None, one.attempt)
        for stream in one.streams
    ]
    loose = [(job.job_id, event) for job in jobs for event in job.unmatched if event.kind == TRACE and attempt is None]
    for name in dict.fromkeys(name for name, _ in loose):
        own = streams(event for whose, event in loose if whose == name)
        found += [Trace.of(name, None, None, stream.intervals()) for stream in own]
    return found


def trace_of(attempt: AttemptIndex, stream: Stream) -> Trace:
    """One trace of an attempt."""
    return Trace.of(attempt.job_id, attempt.attempt, cores(attempt).value, stream.intervals(started(attempt).value))


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


def _columns(bins: _Bins, traces: Sequence[_Open], pieces: Sequence[Piece]) -> Series:
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


def _why(name: str, traces: Sequence[_Open]) -> str:
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
