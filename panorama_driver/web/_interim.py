"""What a run's numbers are worth before its traces are read: those that traces may still change are unknown as yet."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ..metrics import AttemptMetrics, JobMetrics, TaskMetrics, WorkflowMetrics

WHY = "traces are still being read"

_KNOWN = frozenset({"reasons", "sources"})
_OF_A_MEASURE = _KNOWN | {
    *("state", "ran", "type", "transformation", "host", "site", "exit_code", "signal", "failure", "cores"),
    *("job_id", "attempt", "sched_id", "submit", "start", "end", "local_time", "guessed", "attempts", "tasks"),
}
_OF_A_TASK = _KNOWN | {"job_id", "attempt", "invocation", "task_id", "transformation", "exit_code", "start"}
_OF_A_RUN = _KNOWN | {
    *("wf_uuid", "state", "label", "start", "end", "restarts", "makespan", "active_time", "unmatched", "guessed"),
    *("jobs", "jobs_total", "jobs_succeeded", "jobs_failed", "jobs_active", "jobs_unsubmitted", "jobs_retried"),
}
_Record = TypeVar("_Record", WorkflowMetrics, JobMetrics, AttemptMetrics, TaskMetrics)


def interim(metrics: WorkflowMetrics) -> WorkflowMetrics:
    """Metrics that were made without traces, without those that traces tell better."""
    jobs = tuple(_job(job) for job in metrics.jobs)
    return _without(metrics, _OF_A_RUN, jobs=jobs)


def _job(job: JobMetrics) -> JobMetrics:
    attempts = tuple(_without(attempt, _OF_A_MEASURE) for attempt in job.attempts)
    tasks = tuple(_without(task, _OF_A_TASK) for task in job.tasks)
    return _without(job, _OF_A_MEASURE, attempts=attempts, tasks=tasks)


def _without(record: _Record, known: frozenset[str], **more: Any) -> _Record:
    unread = [name for name in record.__struct_fields__ if name not in known]
    reasons = record.reasons | dict.fromkeys(unread, WHY)
    return msgspec.structs.replace(record, **dict.fromkeys(unread), **more, reasons=reasons)
