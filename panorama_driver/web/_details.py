"""The documents of one workflow run, made of its digest: what the pages of workflow, job and transfers show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..errors import NotFoundError, UsageError
from ..metrics import JobMetrics, Series
from .documents import (
    ActionRow,
    AnomalyRow,
    AttemptRow,
    JobDocument,
    JobRow,
    MetricsDocument,
    Provenance,
    SeriesDocument,
    TransferList,
    WorkflowDocument,
)

if TYPE_CHECKING:
    from ..study.journal import Evaluation
    from ._digest import Digest

_SHARED = frozenset(JobRow.__struct_fields__) & frozenset(JobMetrics.__struct_fields__) - {"tasks", "attempts"}
_ATTEMPT = AttemptRow.__struct_fields__
_MOST_BINS = 20_000  # whatever width is asked for


def workflow_document(
    study: str,
    digest: Digest,
    evaluation: Evaluation | None,
    provenance: Provenance,
    anomalies: Sequence[AnomalyRow] = (),
    actions: Sequence[ActionRow] = (),
) -> WorkflowDocument:
    """The page of a run."""
    places = {job.job_id: place for place, job in enumerate(digest.metrics.jobs)}
    edges = [(places[a], places[b]) for a, b in digest.edges if a in places and b in places]
    return WorkflowDocument(
        study=study,
        wf_uuid=digest.metrics.wf_uuid,
        evaluation=evaluation,
        metrics=msgspec.structs.replace(digest.metrics, jobs=()),
        jobs=[_job_row(job) for job in digest.metrics.jobs],
        edges=edges,
        times=digest.times,
        provenance=provenance,
        completeness=digest.completeness,
        samples=digest.samples,
        samples_read=digest.samples_read,
        anomalies=list(anomalies),
        actions=list(actions),
    )


def _job_row(job: JobMetrics) -> JobRow:
    attempts = [AttemptRow(**{name: getattr(attempt, name) for name in _ATTEMPT}) for attempt in job.attempts]
    return JobRow(**{name: getattr(job, name) for name in _SHARED}, tasks=len(job.tasks), attempts=attempts)


def job_document(study: str, digest: Digest, job_id: str, anomalies: Iterable[AnomalyRow] = ()) -> JobDocument:
    """The page of a job; of the anomalies of its run, it has those of the job and of the hosts that it ran on.

    Raises
    ------
    NotFoundError
        The run has no such job.
    """
    job = _job(digest, job_id)
    hosts = {attempt.host for attempt in job.attempts} - {None}
    return JobDocument(
        study=study,
        wf_uuid=digest.metrics.wf_uuid,
        job=job,
        details=digest.details.get(job_id, []),
        parents=[a for a, b in digest.edges if b == job_id],
        children=[b for a, b in digest.edges if a == job_id],
        anomalies=[row for row in anomalies if _concerns(row, job_id, hosts)],
    )


def _concerns(row: AnomalyRow, job_id: str, hosts: Collection[str | None]) -> bool:
    found = row.anomaly
    return found.job_id == job_id if found.job_id is not None else found.host in hosts


def transfer_list(study: str, digest: Digest) -> TransferList:
    """The page of transfers."""
    return TransferList(study=study, wf_uuid=digest.metrics.wf_uuid, transfers=list(digest.transfers))


def metrics_document(digest: Digest, evaluation: Evaluation | None) -> MetricsDocument:
    """What `panorama show --json` writes."""
    assert digest.completeness is not None
    return MetricsDocument(evaluation=evaluation, metrics=digest.metrics, completeness=digest.completeness)


def series_document(
    study: str, digest: Digest, job_id: str | None, attempt: int | None, width: float | None
) -> SeriesDocument:
    """A run, a job or an attempt over time; bins are wider than `width` where there would be too many.

    Raises
    ------
    NotFoundError
        The run has no such job, or the job no such attempt.
    UsageError
        `width` is not above 0, or an attempt is asked for without its job.
    """
    if job_id is not None:
        _check_attempt(_job(digest, job_id), attempt)
    try:
        found = digest.series(job_id, attempt, None)
        if width is not None:
            found = digest.series(job_id, attempt, _bounded(width, found))
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    return SeriesDocument(study=study, wf_uuid=digest.metrics.wf_uuid, job_id=job_id, attempt=attempt, series=found)


def _bounded(width: float, found: Series) -> float:
    return max(width, found.width * len(found.time) / _MOST_BINS) if width > 0 else width


def _job(digest: Digest, job_id: str) -> JobMetrics:
    job = next((job for job in digest.metrics.jobs if job.job_id == job_id), None)
    if job is None:
        raise NotFoundError(f"workflow {digest.metrics.wf_uuid} has no job {job_id!r}; its page lists those it has")
    return job


def _check_attempt(job: JobMetrics, attempt: int | None) -> None:
    numbers = [each.attempt for each in job.attempts]
    if attempt is not None and attempt not in numbers:
        known = ", ".join(map(str, numbers)) or "none yet"
        raise NotFoundError(f"job {job.job_id!r} has no attempt {attempt}; it has {known}")
