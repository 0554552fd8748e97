"""All that the pages of one workflow run show, made of its events in one pass: small however many samples it has."""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from ..collector.completeness import Completeness, Samples, completeness
from ..events import Event
from ..metrics import Piece, Run, Series, TimeShares, Trace, WorkflowMetrics, series_of, thin, times
from ..sources.traces import TRACE
from ..store import Store
from ._heatmaps import heatmaps
from ._interim import interim
from .documents import AttemptDetails, Code, TransferRow

TAIL = 64 << 10
"""Longest end of what an attempt said [bytes]."""

_SMALL = 2_000  # events; a run of no more is read as a whole
_MANY = 20_000  # samples; no more are read for a first look too
_SAMPLES = 200_000  # kept of a run for its series
_INTERVALS = 30_000  # that a series of a whole run is made of
_STEP = 10_000  # samples between two words on progress

Progress = Callable[[int], None]


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as its documents need it; `msgspec.msgpack` writes and reads it.

    Attributes
    ----------
    metrics : WorkflowMetrics
        As of `correlate`, to the last digit.
    edges : list of (str, str)
        Parent and child of each dependency between jobs.
    times : TimeShares or None
        Where its time went.
    details : dict
        What attempts left beside numbers, by job.
    transfers : list of TransferRow
        In order of time.
    plan : dict of str to str
        Texts of `wf.plan`.
    codes : list of Code
        Programs that ran, by transformation.
    completeness : Completeness or None
        None while traces are not read.
    overall : Series or None
        What the whole run used over time; None while traces are not read.
    traces : list of Trace
        What each process tree used over time.
    samples, samples_read : int
        Rows of traces there are, and those that are in these numbers.
    """

    metrics: WorkflowMetrics
    edges: list[tuple[str, str]]
    times: TimeShares | None
    details: dict[str, list[AttemptDetails]]
    transfers: list[TransferRow]
    plan: dict[str, str]
    codes: list[Code]
    completeness: Completeness | None = None
    overall: Series | None = None
    traces: list[Trace] = []
    samples: int = 0
    samples_read: int = 0

    def series(self, job_id: str | None = None, attempt: int | None = None, width: float | None = None) -> Series:
        """As of `metrics.series`, of a job or an attempt that is known.

        Raises
        ------
        ValueError
            An attempt is given without its job, or `width` is not positive.
        """
        if job_id is None and attempt is not None:
            raise ValueError(f"attempt {attempt} of which job? Give job_id as well")
        if job_id is None and width is None and self.overall is not None:
            return self.overall
        return _series(_of(self.traces, job_id, attempt), self._moved(job_id, attempt), width)

    def _moved(self, job_id: str | None, attempt: int | None) -> list[TransferRow]:
        chosen = (row for row in self.transfers if job_id in (None, row.transfer.job_id))
        return [row for row in chosen if attempt in (None, row.transfer.attempt)]


def digest(store: Store, wf_uuid: str, *, light: bool = False, progress: Progress | None = None) -> Digest:
    """Read one run.

    Parameters
    ----------
    store : Store
        Where its events are.
    wf_uuid : str
        The run.
    light : bool
        Of a run with very many samples leave traces out, and whatever they may tell unknown: for a first look.
    progress : callable, optional
        Is told now and then how many samples have been read.

    Raises
    ------
    ValueError
        The store has no events of it.
    StoreError
        It cannot be read.
    """
    with _without_collecting():
        return _read(store, wf_uuid, light, progress)


def _read(store: Store, wf_uuid: str, light: bool, progress: Progress | None) -> Digest:
    number = store.count(wf_uuid)
    if number <= _SMALL:
        return _read_small(store, wf_uuid)
    others = list(store.events(wf_uuid, without={TRACE}))
    samples = max(0, number - len(others))  # counting them apart would take as long again
    if light and samples > _MANY and others:
        return _made(Run(others), samples=samples)
    read = _Reading(store, wf_uuid, progress)
    thinner = thin(read.samples, others, _SAMPLES)
    run = Run([*others, *thinner.essence()])
    traces = [trace for kept in thinner.streams() for trace in run.trace(*kept)]
    complete = completeness(store, wf_uuid, read.numbers)
    return _made(run, traces=traces, completeness=complete, samples=max(samples, thinner.samples), read=thinner.samples)


def _read_small(store: Store, wf_uuid: str) -> Digest:
    """All at once: thinning would take longer than it spares."""
    events = list(store.events(wf_uuid))
    samples = [event for event in events if event.kind == TRACE]
    run, complete = Run(events), completeness(store, wf_uuid, Samples(samples))
    return _made(run, traces=run.traces(), completeness=complete, samples=len(samples), read=len(samples))


_collecting = threading.Lock()
_busy = 0


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let the garbage collector rest: it would go through all events again and again, which takes half of the time."""
    global _busy
    with _collecting:
        _busy += 1
        gc.disable()
    try:
        yield
    finally:
        with _collecting:
            _busy -= 1
            if not _busy:
                gc.enable()


class _Reading:
    """Reads the samples of a run, as often as it takes; `numbers` are those of the last time."""

    def __init__(self, store: Store, wf_uuid: str, progress: Progress | None) -> None:
        self._store, self._wf_uuid, self._progress = store, wf_uuid, progress
        self.numbers = Samples()

    def samples(self) -> Iterator[Event]:
        self.numbers = numbers = Samples()
        for count, event in enumerate(self._store.events(self._wf_uuid, {TRACE}), 1):
            numbers.add(event)
            if self._progress is not None and count % _STEP == 0:
                self._progress(count)
            yield event


def _made(
    run: Run,
    *,
    traces: list[Trace] | None = None,
    completeness: Completeness | None = None,
    samples: int,
    read: int = 0,
) -> Digest:
    metrics = run.metrics()
    transfers = _transfers(run, metrics)
    whole = read >= samples
    return Digest(
        metrics=metrics if whole else interim(metrics),
        edges=run.edges,
        times=times(metrics) if whole else None,
        details=_details(run),
        transfers=transfers,
        plan={name: value for name, value in run.plan.items() if isinstance(value, str)},
        codes=_codes(run),
        completeness=completeness,
        overall=None if traces is None else _series(traces, transfers, None),
        traces=traces or [],
        samples=samples,
        samples_read=read,
    )


def _transfers(run: Run, metrics: WorkflowMetrics) -> list[TransferRow]:
    joined = {(a.job_id, a.attempt) for job in metrics.jobs for a in job.attempts if a.tcp is not None}
    return [
        TransferRow(
            transfer=told.metrics,
            speed=[(piece.begin, piece.end, piece.size) for piece in told.pieces],
            tcp=(told.metrics.job_id, told.metrics.attempt) in joined,
        )
        for told in run.transfers()
    ]


def _details(run: Run) -> dict[str, list[AttemptDetails]]:
    found: dict[str, list[AttemptDetails]] = defaultdict(list)
    for said in run.said():
        found[said.job_id].append(
            AttemptDetails(
                attempt=said.attempt,
                command=_end(said.command),
                work_dir=said.work_dir,
                stdout=_end(said.stdout),
                stderr=_end(said.stderr),
                heatmaps=heatmaps(said.reports),
            )
        )
    return dict(found)


def _end(text: str | None) -> str | None:
    """The last of it: at most `TAIL` bytes of UTF-8."""
    return None if text is None else text.encode("utf-8", "replace")[-TAIL:].decode("utf-8", "ignore")


def _codes(run: Run) -> list[Code]:
    jobs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for job_id, transformation, executable in run.programs():
        jobs[transformation, executable].add(job_id)
    return [
        Code(transformation=name, executable=path or None, jobs=len(jobs[name, path])) for name, path in sorted(jobs)
    ]


def _of(traces: list[Trace], job_id: str | None, attempt: int | None) -> list[Trace]:
    chosen = (trace for trace in traces if job_id in (None, trace.job_id))
    return [trace for trace in chosen if attempt in (None, trace.attempt)]


def _series(traces: list[Trace], moved: list[TransferRow], width: float | None) -> Series:
    """Of very many intervals, a few at a time count as one, so that it does not take long."""
    times = -(-sum(map(len, traces)) // _INTERVALS)
    chosen = [trace.coarser(times) for trace in traces] if times > 1 else traces
    return series_of(chosen, [Piece(*piece) for row in moved for piece in row.speed], width)
