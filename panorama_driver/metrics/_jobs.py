"""A job: its attempts, and the measures of the last of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ._attempts import job_type, measure, transformation
from ._findings import Finding, assembled, unknown
from ._index import JobIndex
from ._tasks import tasks
from .records import AttemptMetrics, JobMetrics, Measures


def summarize(job: JobIndex, workflow_ended: float | None) -> JobMetrics:
    """All attempts of a job kept apart, and the one that decided its outcome."""
    attempts = tuple(measure(attempt, job, workflow_ended) for attempt in job.attempts)
    fields = _of_last(attempts[-1]) if attempts else _of_none(job)
    if attempts and fields["type"] in ("compute", None):
        fields["tasks"] = tasks(job.attempts[-1])
    cost = sum_known(attempts, "wall_time")
    fields["cumulative_time"] = cost.value
    if cost.value is None:
        fields["reasons"] = fields["reasons"] | {"cumulative_time": cost.note}
    return JobMetrics(job_id=job.job_id, attempts=attempts, **fields)


def sum_known(attempts: tuple[AttemptMetrics, ...], name: str) -> Finding[float]:
    """Sum of a measure over the attempts that ran; unknown if one of them lacks it, since less would mislead."""
    ran = [attempt for attempt in attempts if attempt.ran]
    if not ran:
        return Finding(0.0) if attempts else unknown("never submitted")
    if lacking := lacking_words(ran, name):
        return unknown(lacking)
    return Finding(math.fsum(getattr(attempt, name) for attempt in ran))


def lacking_words(ran: Sequence[AttemptMetrics], name: str) -> str:
    """Which attempts lack a measure, and why; empty if none does."""
    lacking = [attempt for attempt in ran if getattr(attempt, name) is None]
    if not lacking:
        return ""
    example = lacking[0]
    why = example.reasons.get(name, "unknown")
    return (
        f"unknown for {len(lacking)} of {len(ran)} attempts, such as {example.job_id} attempt {example.attempt}: {why}"
    )


def _of_last(attempt: AttemptMetrics) -> dict[str, Any]:
    fields = {name: getattr(attempt, name) for name in Measures.__struct_fields__}
    for key in ("reasons", "sources"):
        fields[key] = {name: note for name, note in fields[key].items() if name in fields}
    return fields


def _of_none(job: JobIndex) -> dict[str, Any]:
    measures = (name for name in Measures.__struct_fields__ if name not in ("reasons", "sources"))
    findings: dict[str, Finding[Any]] = dict.fromkeys(measures, unknown("never submitted"))
    findings |= {"state": Finding("unsubmitted"), "ran": Finding(False)}
    findings |= {"type": job_type(job), "transformation": transformation(job, [])}
    return assembled(findings)
