"""Attempts as what `analysis.jobs` compares: who, where, on what, and the numbers, whatever they were read from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from ..config import Scalar
from ..metrics import AttemptMetrics, JobMetrics, WorkflowMetrics


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt.

    Attributes
    ----------
    run : str
        The workflow run, its `wf_uuid`.
    job_id : str
        Node of the executable workflow.
    attempt : int
        Which try.
    transformation : str
        Logical program: attempts are compared with others of it.
    host : str or None
        The worker.
    work : str or None
        What is the same work when it is done again, such as the job id in runs of one workflow.
    inputs : dict of str to float
        What its cost may depend on, such as the bytes it reads and the parameters of its evaluation.
    values : dict of str to float
        Metrics by their names in `FEATURES`; one that is not known is not there.
    start, end : float or None
        [s since 1970, UTC]
    state : str
        `succeeded`, `failed` or `running`: what a running one has used so far is a lower bound, and no history.
    """

    run: str
    job_id: str
    attempt: int = 0
    transformation: str
    host: str | None = None
    work: str | None = None
    inputs: dict[str, float] = {}
    values: dict[str, float]
    start: float | None = None
    end: float | None = None
    state: Literal["succeeded", "failed", "running"] = "succeeded"


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that is compared.

    Attributes
    ----------
    name, unit : str
        Metric and unit.
    side : int
        1 where more is worse, -1 where less is.
    resolution : float
        A difference of so much means nothing; it is added before the logarithm is taken, so that 0 has one.
    of_host : bool
        Whether a host is judged by it.
    grows : bool
        Whether what a running attempt has so far is a lower bound.
    """

    name: str
    unit: str
    side: int
    resolution: float
    of_host: bool = True
    grows: bool = True

    def log(self, value: float) -> float:
        """`ln(value + resolution)`."""
        return math.log(max(0.0, value) + self.resolution)

    def value(self, logarithm: float) -> float:
        """Back again."""
        return max(0.0, math.exp(logarithm) - self.resolution)


FEATURES = (
    Feature(name="wall_time", unit="s", side=1, resolution=0.5),
    Feature(name="cpu_time", unit="s", side=-1, resolution=0.1),
    Feature(name="cpu_utilization", unit="", side=-1, resolution=0.02, grows=False),
    Feature(name="stage_time", unit="s", side=1, resolution=0.5),
    Feature(name="io_rate", unit="bytes/s", side=-1, resolution=1e4, grows=False),
    Feature(name="io_wait", unit="s", side=1, resolution=0.1, of_host=False),
    Feature(name="queue_time", unit="s", side=1, resolution=1.0, of_host=False),
    Feature(name="peak_memory", unit="bytes", side=1, resolution=1e7, of_host=False),
    Feature(name="bytes_written", unit="bytes", side=1, resolution=1e6, of_host=False),
)
"""What is compared, and which way is worse.

Less processor time for the same work is worse, too: threads that wait actively, as those of linear algebra do, use
less of it where they get fewer processors, long before wall time shows it. More of it comes with more wall time.
`io_rate` [bytes/s] is `(chars_read + chars_written) / wall_time`, what was asked for, since what reaches the disk
depends on what others left in the cache, as does `io_wait`, which therefore only speaks beside others. Queue time is
spent before there is a host, so it tells nothing of one.
"""


def samples(
    run: WorkflowMetrics, parameters: Mapping[str, Scalar] | None = None, now: float | None = None
) -> list[Sample]:
    """The attempts of a run that ran.

    Parameters
    ----------
    run : WorkflowMetrics
        As `metrics.correlate` gives it.
    parameters : mapping, optional
        What the run was given, such as the parameters of its evaluation; what is no number is left out.
    now : float, optional
        [s since 1970] until when running attempts are known; those are left out unless told.
    """
    given = {name: float(value) for name, value in (parameters or {}).items() if isinstance(value, float | int)}
    return [sample for job in run.jobs for sample in _of_job(run.wf_uuid, job, given, now)]


def _of_job(run: str, job: JobMetrics, given: dict[str, float], now: float | None) -> Iterator[Sample]:
    for attempt in job.attempts:
        if attempt.state in ("succeeded", "failed") and attempt.ran:
            yield _sample(run, attempt, given, _values(attempt, attempt.wall_time))
        elif attempt.state == "running" and now is not None and attempt.start is not None:
            yield _sample(run, attempt, given, _values(attempt, max(0.0, now - attempt.start)))


def _sample(run: str, attempt: AttemptMetrics, given: dict[str, float], values: dict[str, float]) -> Sample:
    read = _known({"chars_read": attempt.chars_read}) if attempt.state != "running" else {}
    state: Literal["succeeded", "failed", "running"] = (
        "running" if attempt.state == "running" else "failed" if attempt.state == "failed" else "succeeded"
    )
    return Sample(
        run=run,
        job_id=attempt.job_id,
        attempt=attempt.attempt,
        transformation=attempt.transformation or attempt.type or "unknown",
        host=attempt.host,
        work=attempt.job_id,
        inputs=given | read,
        values=values,
        start=attempt.start,
        end=attempt.end,
        state=state,
    )


def _values(attempt: AttemptMetrics, wall_time: float | None) -> dict[str, float]:
    moved = [part for part in (attempt.chars_read, attempt.chars_written) if part is not None]
    return _known(
        {
            "wall_time": wall_time,
            "cpu_time": attempt.cpu_time,
            "cpu_utilization": attempt.cpu_utilization,
            "stage_time": attempt.stage_time,
            "io_rate": sum(moved) / wall_time if len(moved) == 2 and wall_time else None,
            "io_wait": attempt.io_wait,
            "queue_time": attempt.queue_time,
            "peak_memory": attempt.peak_memory,
            "bytes_written": attempt.chars_written,
        }
    )


def _known(values: Mapping[str, float | int | None]) -> dict[str, float]:
    told = {name: float(value) for name, value in values.items() if value is not None}
    return {name: value for name, value in told.items() if math.isfinite(value)}


def in_order(attempts: Iterable[Sample]) -> list[Sample]:
    """By start, those without one last; ties by identity, so that the order is always the same."""

    def key(each: Sample) -> tuple[float, str, str, int]:
        return (math.inf if each.start is None else each.start, each.run, each.job_id, each.attempt)

    return sorted(attempts, key=key)
