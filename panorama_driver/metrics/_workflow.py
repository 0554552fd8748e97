"""The run as a whole: its span, what it cost, what held it up."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from graphlib import CycleError
from typing import Any

from ..events import Event
from . import _darshan
from ._attempts import STAGING, utilization
from ._findings import Finding, assembled, both, number, text, unknown
from ._graph import longest_chain
from ._index import WorkflowIndex
from ._jobs import lacking_words, sum_known, summarize
from ._traces import samples_in
from .records import AttemptMetrics, DarshanSummary, JobMetrics, WorkflowMetrics, WorkflowState

_COUNTED = ("bytes_read", "bytes_written", "chars_read", "chars_written", "read_calls", "write_calls")
_ACTIVE = ("submitted", "held", "running")


def correlate(events: Iterable[Event], *, slots: int | None = None) -> WorkflowMetrics:
    """Metrics of one run of a workflow from all events that tell of it, in any order.

    Parameters
    ----------
    events : iterable of Event
        From all sources, of one `wf_uuid`; repeated events count once.
    slots : int, optional
        Cores that the run could use at once; unless given, what an `xwf.meta` event of that name tells.

    Raises
    ------
    ValueError
        There are no events, or they are of several runs.
    """
    return measured(WorkflowIndex(events), slots)


def measured(index: WorkflowIndex, slots: int | None = None) -> WorkflowMetrics:
    """Metrics of a run whose events are sorted."""
    ended = _last_end(index)
    jobs = tuple(summarize(job, ended) for job in index.jobs.values())
    attempts = tuple(attempt for job in jobs for attempt in job.attempts)
    findings = _span(index) | _counts(jobs) | _costs(jobs, attempts) | _features(jobs, attempts)
    findings |= _shape(index, jobs, findings, slots)
    findings["darshan"] = _darshan_summary(index, attempts)
    findings["unmatched"] = _unmatched(index)
    findings["guessed"] = _guessed(attempts)
    return WorkflowMetrics(wf_uuid=index.wf_uuid, jobs=jobs, **assembled(findings))


def _slots(index: WorkflowIndex) -> Finding[float]:
    """Cores as our engine tells them in `xwf.meta`; the most, where a run was taken up again with others."""
    told = [number(event.fields.get("value")) for event in index.all("xwf.meta") if event.fields.get("key") == "slots"]
    known = [cores for cores in told if cores]
    return Finding(max(known)) if known else unknown("no event tells how many slots there were; give them as slots")


def _unmatched(index: WorkflowIndex) -> Finding[int]:
    told = sorted({event.job_id or "no job" for event in index.unmatched})
    why = f"no single attempt fits the records of {', '.join(told[:3])}" if told else ""
    return Finding(samples_in(index.unmatched), why)


def _guessed(attempts: tuple[AttemptMetrics, ...]) -> Finding[int]:
    jobs = sorted({attempt.job_id for attempt in attempts if attempt.guessed})
    why = f"records of {', '.join(jobs[:3])} name no attempt" if jobs else ""
    return Finding(sum(attempt.guessed for attempt in attempts), why)


def _span(index: WorkflowIndex) -> dict[str, Finding[Any]]:
    state = _state(index)
    label = next((known for event in index.all("wf.plan") if (known := text(event.fields.get("dax_label")))), None)
    begins = [event.ts for event in index.all("xwf.start") if event.ts is not None]
    ends = [event.ts for event in index.all("xwf.end") if event.ts is not None]
    running = state in ("running", "planned")
    start = Finding(min(begins)) if begins else unknown("no xwf.start event")
    end = unknown("has not ended") if running else Finding(max(ends)) if ends else unknown("no xwf.end event")
    return {
        "state": Finding(state),
        "label": Finding(label) if label else unknown("no wf.plan event"),
        "start": start,
        "end": end,
        "restarts": Finding(max(0, len(_pairs(index)) - 1)),
        "makespan": both(end, start, operator.sub),
        "active_time": unknown(end.note) if end.value is None else _active_time(index),
    }


def _state(index: WorkflowIndex) -> WorkflowState:
    last = max([*index.all("xwf.start"), *index.all("xwf.end")], key=_turn, default=None)
    if last is None:
        return "running" if any(job.attempts for job in index.jobs.values()) else "planned"
    if last.kind == "stampede.xwf.start":
        return "running"
    return "failed" if number(last.fields.get("status")) != 0 else "succeeded"


def _turn(event: Event) -> tuple[float, float, bool]:
    """Order of starts and ends; both may bear the same second, then the end comes later unless a restart counts on."""
    return (number(event.fields.get("restart_count")) or 0.0, event.ts or 0.0, event.kind == "stampede.xwf.end")


def _last_end(index: WorkflowIndex) -> float | None:
    return max((event.ts for event in index.all("xwf.end") if event.ts is not None), default=None)


def _pairs(index: WorkflowIndex) -> list[tuple[float | None, float | None]]:
    """(start, end) of each time it was run, by `restart_count`."""
    spans: dict[float, list[float | None]] = {}
    for event in sorted([*index.all("xwf.start"), *index.all("xwf.end")], key=_turn):
        span = spans.setdefault(number(event.fields.get("restart_count")) or 0.0, [None, None])
        if event.kind == "stampede.xwf.end":
            span[1] = event.ts
        elif span[0] is None:
            span[0] = event.ts
    return [(begin, end) for begin, end in spans.values()]


def _active_time(index: WorkflowIndex) -> Finding[float]:
    """A run that was killed left no end: then the time it was active is not known."""
    known = [(begin, end) for begin, end in _pairs(index) if begin is not None and end is not None]
    if not known or len(known) < len(_pairs(index)):
        return unknown("a start or an end of a run is missing")
    return Finding(math.fsum(end - begin for begin, end in known))


def _counts(jobs: Sequence[JobMetrics]) -> dict[str, Finding[Any]]:
    def count(*states: str) -> Finding[int]:
        return Finding(sum(job.state in states for job in jobs))

    return {
        "jobs_total": Finding(len(jobs)),
        "jobs_succeeded": count("succeeded"),
        "jobs_failed": count("failed"),
        "jobs_active": count(*_ACTIVE),
        "jobs_unsubmitted": count("unsubmitted"),
        "jobs_retried": Finding(sum(job.retries > 0 for job in jobs)),
    }


def _costs(jobs: Sequence[JobMetrics], attempts: tuple[AttemptMetrics, ...]) -> dict[str, Finding[Any]]:
    compute = _of(attempts, lambda attempt: attempt.type in ("compute", None))
    moving = _of(attempts, lambda attempt: attempt.type in STAGING)
    carrying = _of(attempts, lambda attempt: attempt.type in STAGING or attempt.bytes_transferred is not None)
    times = ("queue_time", "cpu_time", "user_time", "system_time")
    costs: dict[str, Finding[Any]] = {name: sum_known(attempts, name) for name in times}
    costs |= {name: _whole(sum_known(compute, name)) for name in _COUNTED}
    cpu_time, core_time = costs["cpu_time"], _core_time(attempts)
    return {
        **costs,
        "cumulative_time": sum_known(attempts, "wall_time"),
        "core_time": core_time,
        "cpu_utilization": utilization(cpu_time, core_time),
        "peak_memory": _peak_memory(compute),
        "io_wait": sum_known(compute, "io_wait"),
        "io_time": sum_known((*compute, *moving), "io_time"),
        "bytes_transferred": _whole(_staged(jobs, carrying, "bytes_transferred")),
        "bytes_staged": _whole(_staged(jobs, carrying, "bytes_staged")),
        "stage_in_time": _staged(jobs, _of(attempts, lambda a: a.type == "stage-in-tx"), "wall_time"),
        "stage_out_time": _staged(jobs, _of(attempts, lambda a: a.type == "stage-out-tx"), "wall_time"),
    }


def _darshan_summary(index: WorkflowIndex, attempts: tuple[AttemptMetrics, ...]) -> Finding[DarshanSummary]:
    """A file that several jobs used counts once, so it is made of all logs and not of the jobs' summaries."""
    ran = [attempt for attempt in _of(attempts, lambda a: a.type in ("compute", None)) if attempt.ran]
    lacking = lacking_words(ran, "darshan")
    if lacking or not ran:
        return unknown(lacking or "no compute job ran")
    told = [index.jobs[attempt.job_id].attempt(attempt.attempt).darshan for attempt in ran]
    reports = (report for found in told for report in found.reports)
    return Finding(_darshan.merged(reports, [word for found in told for word in found.problems]), "darshan")


def _of(attempts: Iterable[AttemptMetrics], keep: Callable[[AttemptMetrics], bool]) -> tuple[AttemptMetrics, ...]:
    return tuple(attempt for attempt in attempts if keep(attempt))


def _staged(jobs: Sequence[JobMetrics], attempts: tuple[AttemptMetrics, ...], name: str) -> Finding[float]:
    """A workflow whose plan is known and has no such job staged nothing."""
    if not attempts and jobs and all(job.type is not None for job in jobs):
        return Finding(0.0)
    return sum_known(attempts, name)


def _whole(finding: Finding[float]) -> Finding[int]:
    return unknown(finding.note) if finding.value is None else Finding(int(finding.value), finding.note)


def _core_time(attempts: tuple[AttemptMetrics, ...]) -> Finding[float]:
    for name in ("wall_time", "cores"):
        lacking = sum_known(attempts, name)
        if lacking.value is None:
            return lacking
    return Finding(math.fsum((a.wall_time or 0.0) * (a.cores or 0) for a in attempts if a.ran))


def _peak_memory(attempts: tuple[AttemptMetrics, ...]) -> Finding[int]:
    """The largest; an attempt whose own peak is unknown does not matter where it is known to be below that."""
    largest = max((attempt.peak_memory or 0 for attempt in attempts), default=0)
    lacking = sum_known(_of(attempts, lambda a: not 0 < (a.peak_memory_below or 0) <= largest), "peak_memory")
    if lacking.value is None:
        return unknown(lacking.note)
    return Finding(largest) if largest else unknown("no job ran")


def _features(jobs: Sequence[JobMetrics], attempts: tuple[AttemptMetrics, ...]) -> dict[str, Finding[Any]]:
    succeeded = _of(attempts, lambda attempt: attempt.state == "succeeded")
    failed = _of(attempts, lambda attempt: attempt.state == "failed")
    ended = len(succeeded) + len(failed)
    return {
        "j_s": _share(len(succeeded), ended, "no attempt has ended"),
        "j_f": _share(len(failed), ended, "no attempt has ended"),
        "t_s": _mean_time(succeeded),
        "t_f": _mean_time(failed),
        "o_1_s": _share(sum(job.state == "succeeded" for job in jobs), len(jobs), "no job is known"),
    }


def _share(part: int, whole: int, reason: str) -> Finding[float]:
    return Finding(part / whole) if whole else unknown(reason)


def _mean_time(attempts: tuple[AttemptMetrics, ...]) -> Finding[float]:
    """Mean over those that ran: a job cancelled in the queue took no time to fail."""
    ran = [attempt for attempt in attempts if attempt.ran]
    if not ran:
        return Finding(0.0, "by definition: none ran")
    times = [a.local_time if a.local_time is not None else a.wall_time for a in ran]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return unknown(f"the duration of {len(times) - len(known)} of {len(times)} attempts is not known")
    return Finding(math.fsum(known) / len(known), "scheduler")


def _shape(
    index: WorkflowIndex, jobs: Sequence[JobMetrics], found: dict[str, Finding[Any]], slots: int | None
) -> dict[str, Finding[Any]]:
    path, chain = _critical_path(jobs, index.edges, _occupied)
    ideal, _ = _critical_path(jobs, index.edges, _last_wall)
    state = found["state"].value
    fair = ideal if state == "succeeded" else unknown(f"only of a run that succeeded; this one is {state}")
    given = Finding(slots) if slots else _slots(index)
    available = both(found["active_time"], given, operator.mul)
    return {
        "critical_path": path,
        "critical_path_jobs": chain,
        "ideal_makespan": ideal,
        "efficiency": _ratio(fair, found["makespan"]),
        "parallel_efficiency": _ratio(found["core_time"], available),
    }


def _ratio(part: Finding[float], whole: Finding[float]) -> Finding[float]:
    return unknown("took no time") if whole.value == 0 else both(part, whole, operator.truediv)


def _critical_path(
    jobs: Sequence[JobMetrics], edges: list[tuple[str, str]], weigh: Callable[[JobMetrics], Finding[float]]
) -> tuple[Finding[float], Finding[tuple[str, ...]]]:
    """Over the jobs that were submitted, which in a graph with dependencies form one closed from above."""
    weights = {job.job_id: weigh(job) for job in jobs if job.attempts}
    lacking = next(((name, weight.note) for name, weight in weights.items() if weight.value is None), None)
    if lacking or not weights:
        why = f"{lacking[0]}: {lacking[1]}" if lacking else "no job was submitted"
        return unknown(why), unknown(why)
    try:
        length, chain = longest_chain({name: weight.value or 0.0 for name, weight in weights.items()}, edges)
    except CycleError as error:
        why = f"the job edges form a cycle: {error.args[1]}"
        return unknown(why), unknown(why)
    return Finding(length), Finding(chain)


def _occupied(job: JobMetrics) -> Finding[float]:
    """Time from submission to end, over all attempts; one that never ran waited until it was given up."""
    spans = [_attempt_time(attempt) for attempt in job.attempts]
    unknowns = [span for span in spans if span.value is None]
    return unknowns[0] if unknowns else Finding(math.fsum(span.value or 0.0 for span in spans))


def _attempt_time(attempt: AttemptMetrics) -> Finding[float]:
    if attempt.ran:
        return both(_field(attempt, "queue_time"), _field(attempt, "wall_time"), operator.add)
    return both(_field(attempt, "end"), _field(attempt, "submit"), operator.sub)


def _last_wall(job: JobMetrics) -> Finding[float]:
    return _field(job, "wall_time") if job.ran else Finding(0.0)


def _field(record: AttemptMetrics | JobMetrics, name: str) -> Finding[float]:
    return Finding(getattr(record, name), record.reasons.get(name, ""))
