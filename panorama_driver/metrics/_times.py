"""Where the time of a run went: its makespan shared out over what went on, each moment once."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from .records import AttemptMetrics, TimeShares, WorkflowMetrics

_SHARES = ("compute", "stage_in", "stage_out", "other", "queue", "wait")
_PLACES = {None: 0, "compute": 0, "stage-in-tx": 1, "stage-out-tx": 2}
_OTHER, _QUEUE = 3, 4


class _Phase(NamedTuple):
    """From when to when [s since 1970] something went on, or may have if it is not `sure`; the first `place` counts."""

    begin: float
    end: float
    place: int
    sure: bool = True


def times(metrics: WorkflowMetrics) -> TimeShares | None:
    """Where the time of a run that has ended went; None of one that has no makespan.

    The shares add up to `makespan`. The clocks of submit host and workers are taken as one.
    """
    if metrics.makespan is None or metrics.start is None or metrics.end is None:
        return None
    phases = [
        _Phase(max(metrics.start, phase.begin), min(metrics.end, phase.end), phase.place, phase.sure)
        for job in metrics.jobs
        for attempt in job.attempts
        for phase in _phases(attempt, metrics.start, metrics.end)
    ]
    spent = _spent([phase for phase in phases if phase.begin < phase.end], metrics.start, metrics.end)
    shares = {name: math.fsum(spent[name]) for name in (*_SHARES, "unknown")}
    return TimeShares(**shares, reasons={"unknown": _lacking(metrics)} if shares["unknown"] else {})


def _phases(attempt: AttemptMetrics, start: float, end: float) -> Iterator[_Phase]:
    """Its waiting and its running; what lacks a time may reach to the run's `start` or `end`."""
    submitted = start if attempt.submit is None else attempt.submit
    ended = end if attempt.end is None else attempt.end
    running = _PLACES.get(attempt.type, _OTHER)
    if attempt.ran and attempt.start is None:
        yield _Phase(submitted, ended, running, sure=False)
    elif attempt.ran and attempt.start is not None:
        yield _Phase(submitted, attempt.start, _QUEUE, sure=attempt.submit is not None)
        yield _Phase(attempt.start, ended, running, sure=attempt.end is not None)
    elif attempt.submit is not None:
        yield _Phase(submitted, ended, _QUEUE, sure=attempt.end is not None)


def _spent(phases: list[_Phase], start: float, end: float) -> dict[str, list[float]]:
    """Lengths [s] of the pieces in which the same phases go on, by the share that they belong to."""
    turns: dict[float, list[tuple[int, int]]] = defaultdict(list)
    for phase in phases:
        rank = 2 * phase.place + (not phase.sure)
        turns[phase.begin].append((rank, 1))
        turns[phase.end].append((rank, -1))
    going_on = [0] * (2 * len(_SHARES))
    spent: dict[str, list[float]] = defaultdict(list)
    for now, after in itertools.pairwise(sorted({start, end, *turns})):
        for rank, step in turns[now]:
            going_on[rank] += step
        spent[_share(going_on)].append(after - now)
    return spent


def _share(going_on: list[int]) -> str:
    rank = next((rank for rank, number in enumerate(going_on) if number), 2 * len(_SHARES) - 2)
    return "unknown" if rank % 2 else _SHARES[rank // 2]


def _lacking(metrics: WorkflowMetrics) -> str:
    attempts = [attempt for job in metrics.jobs for attempt in job.attempts]
    lacking = [(each, name) for each in attempts for name in ("submit", "start", "end") if _lacks(each, name)]
    attempt, name = lacking[0]
    return f"{attempt.job_id} attempt {attempt.attempt} has no {name}: {attempt.reasons.get(name, 'not told')}"


def _lacks(attempt: AttemptMetrics, name: str) -> bool:
    return getattr(attempt, name) is None and (attempt.ran or name == "end")
