"""Measures of one attempt, each from the best source that speaks of it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..events import Event
from ..sources.hosts import place
from . import _darshan, _failure, _tcp, _transfers, _verdict
from ._findings import Finding, assembled, both, first, number, text, unknown
from ._index import AttemptIndex, JobIndex
from ._traces import COUNTERS, Stream
from .records import AttemptMetrics

JOB_TYPES = {
    0: "unassigned",
    1: "compute",
    2: "stage-in-tx",
    3: "stage-out-tx",
    4: "registration",
    5: "inter-site-tx",
    6: "create-dir",
    7: "stage-worker-tx",
    8: "cleanup",
    9: "chmod",
    10: "dax",
    11: "dag",
}
STAGING = frozenset({"stage-in-tx", "stage-out-tx", "inter-site-tx", "stage-worker-tx", "stage_worker_tx"})
_WHOLE = frozenset(COUNTERS) - {"user_time", "system_time", "io_wait"}


def measure(attempt: AttemptIndex, job: JobIndex, workflow_ended: float | None) -> AttemptMetrics:
    """Everything there is to know of an attempt; `workflow_ended` as for `_verdict.state`."""
    state = _verdict.state(attempt, workflow_ended)
    assert state.value is not None
    status = _verdict.exit_status(attempt, state.value)
    findings: dict[str, Finding[Any]] = {
        "state": state,
        "ran": Finding(attempt.ran),
        "guessed": Finding(attempt.guessed, "by their time" if attempt.guessed else ""),
        "exit_code": _verdict.decoded(status),
        "signal": _verdict.signal(status),
        "failure": _failure.failure(attempt, state, status),
        "cores": cores(attempt),
        **_identity(attempt, job),
        **_times(attempt),
        **program_measures(attempt),
        **_moved(attempt),
        "darshan": _darshan.finding(attempt.darshan),
        "tcp": _tcp.finding(attempt.events.get(_tcp.KIND, ())),
    }
    findings |= _derived(attempt, findings)
    if not attempt.ran:
        why = unknown("never ran" if state.value == "failed" else "has not started")
        findings |= {name: why for name in _of_running(findings) if findings[name].value is None}
    return AttemptMetrics(job_id=attempt.job_id, attempt=attempt.attempt, **assembled(findings))


def job_type(job: JobIndex) -> Finding[str]:
    """Pegasus' word for the kind of job, from the plan or from the record of an attempt."""
    if job.info is not None:
        code = number(job.info.fields.get("type"))
        named = text(job.info.fields.get("type_desc")) or (JOB_TYPES.get(int(code)) if code is not None else None)
        if named:
            return Finding(named)
    named = next((n for a in job.attempts if (n := text(a.field("jobtype", "job_inst.composite")))), None)
    return Finding(named) if named else unknown("no job.info event")


def transformation(job: JobIndex, attempts: Sequence[AttemptIndex]) -> Finding[str]:
    """Logical name of the program; several programs clustered into one job have none in common."""
    events = (event for a in attempts for event in (*_program_events(a), *a.all("job_inst.composite")))
    recorded = {text(event.fields.get("transformation")) for event in events}
    traced = {text(sample.fields.get("xformation")) for a in attempts for sample in a.samples}
    known = _told(recorded) or _told(traced) or set(job.transformations)
    if len(known) == 1:
        return Finding(known.pop())
    return unknown(f"several: {', '.join(sorted(known))}" if known else "no event names it")


def _told(names: Iterable[str | None]) -> set[str]:
    return {name for name in names if name}


def cores(attempt: AttemptIndex) -> Finding[int]:
    """Cores asked for."""
    asked = number(attempt.field("req_cpus", "job_inst.main.end", "job_inst.composite", "job_inst.submit.start"))
    return Finding(int(asked)) if asked else unknown("no event tells how many cores were asked for (req_cpus)")


def started(attempt: AttemptIndex) -> Finding[float]:
    """When it began to run [s since 1970]: the worker's clock, else the scheduler's; never guessed from CPU time."""
    return first((_worker_start(attempt), _scheduler_start(attempt)), "no event tells when it started")


def program_measures(attempt: AttemptIndex) -> dict[str, Finding[Any]]:
    """What its programs used, all together."""
    return {
        "wall_time": _wall_time(attempt),
        **_processor(attempt),
        **_traced(attempt),
        "peak_memory": _peak_memory(attempt),
        "peak_memory_below": _peak_memory_below(attempt),
    }


def _program_events(attempt: AttemptIndex) -> list[Event]:
    return [event for event in attempt.all("inv.end") if (event.invocation or 0) > 0]


def _of_running(findings: dict[str, Finding[Any]]) -> set[str]:
    """Fields that only something that ran can have."""
    return set(findings) - {"type", "transformation", "site", "sched_id", "submit", "end", "cores", "failure"}


def _identity(attempt: AttemptIndex, job: JobIndex) -> dict[str, Finding[Any]]:
    names = ("job_inst.submit.start", "job_inst.main.end", "job_inst.host.info")
    site = text(attempt.field("site", *names)) or _of_stream(attempt, "site")
    return {
        "type": job_type(job),
        "transformation": transformation(job, [attempt]),
        "host": _host(attempt),
        "site": Finding(site) if site else unknown("no event names it"),
        "sched_id": Finding(attempt.sched_id) if attempt.sched_id else unknown("no event names it"),
    }


def _host(attempt: AttemptIndex) -> Finding[str]:
    address = attempt.host_address
    found = attempt.host_name or attempt.host_names.get(address or "") or address
    group = text(attempt.field("slot_group", "job_inst.host.info"))
    return Finding(place(found, group)) if found else unknown("no event names the worker")


def _of_stream(attempt: AttemptIndex, key: str) -> str | None:
    return next((known for sample in attempt.samples if (known := text(sample.fields.get(key)))), None)


def _times(attempt: AttemptIndex) -> dict[str, Finding[Any]]:
    local = number(attempt.field("local_dur", "job_inst.main.end"))
    ends = (_worker_end(attempt), _reported(attempt.finished, "scheduler"))
    return {
        "submit": _reported(attempt.submitted, "scheduler", "no submit event"),
        "start": started(attempt),
        "end": first(ends, "no event tells when it ended"),
        "local_time": _reported(local, "scheduler", "the scheduler gave no local_dur"),
        "queue_time": _queue_time(attempt),
        "held_time": _held_time(attempt),
    }


def _reported(value: float | None, source: str, reason: str = "not told") -> Finding[float]:
    return unknown(reason) if value is None else Finding(value, source)


class _Span(NamedTuple):
    """A program's start [s since 1970] and duration [s], as the worker measured them."""

    begin: float
    length: float

    @property
    def end(self) -> float:
        return self.begin + self.length


def _spans(attempt: AttemptIndex) -> tuple[list[_Span], str]:
    recorded = [_span(event.fields, "start_time") for event in attempt.invocations]
    probed = [_span(stream.final.fields, "start_ts") for stream in attempt.streams if stream.final]
    best = [(recorded, "kickstart"), (probed, "probe")]
    for spans, source in (
        reversed(best) if _is_complete(attempt) else best
    ):  # kickstart's span has the probe's start in it
        if known := [span for span in spans if span is not None]:
            return known, source
    return [], ""


def _span(fields: dict[str, Any], begin_key: str) -> _Span | None:
    begin, length = number(fields.get(begin_key)), number(fields.get("dur"))
    return None if begin is None or length is None else _Span(begin, length)


def _worker_start(attempt: AttemptIndex) -> Finding[float]:
    spans, source = _spans(attempt)
    return _reported(min((span.begin for span in spans), default=None), source, "no record of a program")


def _worker_end(attempt: AttemptIndex) -> Finding[float]:
    spans, source = _spans(attempt)
    return _reported(max((span.end for span in spans), default=None), source, "no record of a program")


def _wall_time(attempt: AttemptIndex) -> Finding[float]:
    """A single program's own duration is exact; several span from the first start to the last end."""
    spans, source = _spans(attempt)
    if len(spans) == 1:
        return Finding(spans[0].length, source)
    spanned = both(_worker_start(attempt), _worker_end(attempt), _elapsed)
    local = _reported(number(attempt.field("local_dur", "job_inst.main.end")), "scheduler")
    end = _reported(attempt.finished, "scheduler")
    return first(
        (spanned, local, both(_scheduler_start(attempt), end, _elapsed)), "no event tells its start and its end"
    )


def _elapsed(begin: float, end: float) -> float:
    return end - begin


def _scheduler_start(attempt: AttemptIndex) -> Finding[float]:
    return _reported(attempt.begun, "scheduler", "no event tells when it started")


def _queue_time(attempt: AttemptIndex) -> Finding[float]:
    """Worker's clock first: a scheduler that polls learns of the start when it is long past. What ran in vain before
    an eviction was no waiting."""
    submit = _reported(attempt.submitted, "scheduler", "no submit event")
    begins = [_worker_start(attempt), _scheduler_start(attempt)]
    if submit.value is None or all(begin.value is None for begin in begins):
        return unknown(submit.note if submit.value is None else "has not started")
    waits = [both(begin, submit, lambda start, submitted: start - submitted - attempt.lost_time) for begin in begins]
    sane = [wait for wait in waits if wait.value is not None and wait.value >= 0]
    return first(sane, "its start lies before its submission: the hosts' clocks disagree")


def _held_time(attempt: AttemptIndex) -> Finding[float]:
    if attempt.submitted is None:
        return unknown("no submit event")
    begins = [e.ts for e in attempt.all("job_inst.held.start") if e.ts is not None]
    ends = [e.ts for e in attempt.all("job_inst.held.end") if e.ts is not None]
    if len(begins) > len(ends) and attempt.finished is not None:
        ends.append(attempt.finished)
    if len(begins) != len(ends):
        return unknown("is held still")
    return Finding(math.fsum(max(0.0, end - begin) for begin, end in zip(begins, ends, strict=True)))


def _processor(attempt: AttemptIndex) -> dict[str, Finding[Any]]:
    """Processor time, all three from one source so that they add up.

    A complete trace comes first, then the programs' records, then a trace without its end, which knows too little.
    """
    traced = _added(_counter(attempt, "user_time"), _counter(attempt, "system_time"))
    recorded = _added(_recorded(attempt, "utime"), _recorded(attempt, "stime"))
    lump = unknown("kickstart's record holds only the sum")
    summed = {"user_time": lump, "system_time": lump, "cpu_time": _recorded(attempt, "remote_cpu_time")}
    ordered = (traced, recorded, summed) if _is_complete(attempt) else (recorded, summed, traced)
    nothing = dict.fromkeys(summed, unknown("no trace and no inv.end record with processor time"))
    return next((found for found in ordered if found["cpu_time"].value is not None), nothing)


def _added(user: Finding[float], system: Finding[float]) -> dict[str, Finding[Any]]:
    return {"user_time": user, "system_time": system, "cpu_time": both(user, system, operator.add)}


def _recorded(attempt: AttemptIndex, key: str) -> Finding[float]:
    """Sum over the programs' records; unknown if one lacks it."""
    values = [number(event.fields.get(key)) for event in attempt.invocations]
    if not values or None in values:
        return unknown(f"no inv.end record with {key}")
    return Finding(math.fsum(value or 0.0 for value in values), "kickstart")


def _is_complete(attempt: AttemptIndex) -> bool:
    """Whether every program that ran has a trace up to its end."""
    streams = attempt.streams
    return bool(streams) and all(s.final for s in streams) and len(streams) >= len(attempt.invocations)


def _traced(attempt: AttemptIndex) -> dict[str, Finding[Any]]:
    found = {name: _counter(attempt, name) for name in COUNTERS if name not in ("user_time", "system_time")}
    return {name: _as_whole(finding) if name in _WHOLE else finding for name, finding in found.items()}


def _counter(attempt: AttemptIndex, name: str) -> Finding[float]:
    """Total of an accumulating counter over all traces of an attempt."""
    if not attempt.streams:
        return unknown("no trace of this attempt")
    totals = [stream.total(name) for stream in attempt.streams]
    if None in totals:
        return unknown(_why_blind(name, attempt.streams))
    return Finding(math.fsum(total or 0.0 for total in totals), "probe" if _is_complete(attempt) else "trace")


def _why_blind(name: str, streams: Iterable[Stream]) -> str:
    problems = sorted({word for stream in streams for word in stream.problems})
    told = f"; the probe says: {', '.join(problems)}" if problems else ""
    off = "the kernel's delay accounting is off" if name == "io_wait" else "the trace does not hold it"
    return off + told


def _as_whole(finding: Finding[float]) -> Finding[int]:
    return unknown(finding.note) if finding.value is None else Finding(int(finding.value), finding.note)


def _peak_memory(attempt: AttemptIndex) -> Finding[int]:
    """The whole tree's as our probe saw it or its largest process' own, whichever is more: both are lower bounds.

    kickstart's trace comes last, since it counts kickstart itself, which outweighs a small job.
    """
    ours = [stream for stream in attempt.streams if stream.ours]
    probed = [s.peak_rss() for s in ours] + [_kilobytes(s.final.fields.get("maxrss")) for s in ours if s.final]
    recorded = [_kilobytes(event.fields.get("maxrss")) for event in attempt.invocations]
    sampled = [stream.peak_rss() for stream in attempt.streams if not stream.ours]
    whole = (
        probed if _is_complete(attempt) else [*probed, *recorded]
    )  # under kickstart, its record counts the probe too
    found = (
        _largest(whole, "probe") if ours else unknown("no trace of our probe"),
        unknown("it is smaller than the probe") if ours and whole is probed else _largest(recorded, "kickstart"),
        _largest(sampled, "trace"),
    )
    return first(found, "no trace and no inv.end record with maxrss")


def _peak_memory_below(attempt: AttemptIndex) -> Finding[int]:
    """Where a job is smaller than the probe that forked it, its own peak cannot be told, but that it is smaller can."""
    bounds = [_kilobytes(stream.final.fields.get("maxrss_below")) for stream in attempt.streams if stream.final]
    known = [bound for bound in bounds if bound is not None]
    return Finding(int(max(known)), "probe") if known else unknown("no bound was needed")


def _largest(values: list[float | None], source: str) -> Finding[int]:
    known = [value for value in values if value]  # 0 was sampled between fork and exec: a process has some memory
    return Finding(int(max(known)), source) if known else unknown("no value")


def _kilobytes(value: object) -> float | None:
    size = number(value)
    return None if size is None else size * 1024


def _moved(attempt: AttemptIndex) -> dict[str, Finding[Any]]:
    found = attempt.transfers
    if not found:
        return dict.fromkeys(_OF_TRANSFERS, unknown("no transfer record"))
    return {
        "transfer_time": _transfers.duration(found),
        "bytes_transferred": _transfers.size(found),
        "bytes_staged": _transfers.staged(found),
        "files_transferred": _transfers.files(found),
        "transfers_failed": _transfers.failures(found),
        "transfer_faults": _transfers.faults(found),
    }


_OF_TRANSFERS = (
    "transfer_time",
    "bytes_transferred",
    "bytes_staged",
    "files_transferred",
    "transfers_failed",
    "transfer_faults",
)


def _derived(attempt: AttemptIndex, found: dict[str, Finding[Any]]) -> dict[str, Finding[Any]]:
    staging = found["type"].value in STAGING
    return {
        "cpu_utilization": utilization(found["cpu_time"], both(found["wall_time"], found["cores"], lambda w, c: w * c)),
        "stage_time": found["wall_time"] if staging else found["transfer_time"],
        "io_time": found["transfer_time"] if staging else _darshan.io_time(found["darshan"]),
    }


def utilization(cpu_time: Finding[float], core_time: Finding[float]) -> Finding[float]:
    """Processor seconds over seconds that the cores were there for."""
    if core_time.value == 0:
        return unknown("its wall time is 0")
    return both(cpu_time, core_time, lambda cpu, available: cpu / available)
