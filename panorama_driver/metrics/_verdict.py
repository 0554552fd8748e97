"""How an attempt ended, told by those who can know.

Batch systems answer 0 for jobs that were cancelled or ran into their limit, so `main.end` is believed last: before it
come the post script, which has read the program's record, and that record itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..sources.stampede import ending_signal, exit_code
from ._findings import Finding, first, number, unknown
from ._index import AttemptIndex
from .records import State


def state(attempt: AttemptIndex, workflow_ended: float | None) -> Finding[State]:
    """State of an attempt; `workflow_ended` is when the last `xwf.end` was [s since 1970], None while it runs."""
    over = workflow_ended is not None and attempt.window()[1] <= workflow_ended
    judged = first(
        _opinions(attempt, over),
        "nobody told how it ended",
    )
    if judged.value is not None:
        return Finding("succeeded" if judged.value else "failed", judged.note)
    return Finding("failed", "workflow ended first") if over else Finding(_pending(attempt))


def exit_status(attempt: AttemptIndex, state: State) -> Finding[int]:
    """Raw wait status of the program: the first that is not 0 among its invocations."""
    if state not in ("succeeded", "failed"):
        return unknown("has not ended")
    if not attempt.ran:
        return unknown("never ran")
    statuses = (
        _first_failure([event.fields.get("exitcode") for event in attempt.invocations], "kickstart"),
        _first_failure(
            [stream.final.fields.get("exitcode_raw") for stream in attempt.streams if stream.final], "probe"
        ),
        _scheduler_status(attempt, state),
    )
    return first(statuses, "no record of the program, and the scheduler's 0 is contradicted by the post script")


def decoded(raw: Finding[int]) -> Finding[int]:
    """Exit code, or minus the signal."""
    return unknown(raw.note) if raw.value is None else Finding(exit_code(raw.value), raw.note)


def signal(raw: Finding[int]) -> Finding[int]:
    """Signal that ended the program, 0 if none; a negative status means that it could not be started."""
    if raw.value is None:
        return unknown(raw.note)
    return Finding(ending_signal(raw.value), raw.note)


def _opinions(attempt: AttemptIndex, over: bool) -> Iterator[Finding[bool]]:
    """Whether it succeeded, best witness first."""
    yield _refused(attempt)
    yield _by_post_script(attempt)
    yield _by_program(attempt)
    yield _by_scheduler(attempt, over)
    yield _by_probe(attempt, over)


def _refused(attempt: AttemptIndex) -> Finding[bool]:
    for name in ("job_inst.submit.end", "job_inst.pre.end"):
        if any(_is_failure(event.fields.get("status")) for event in attempt.all(name)):
            return Finding(False, "scheduler")
    return unknown("it was accepted")


def _by_post_script(attempt: AttemptIndex) -> Finding[bool]:
    ends = attempt.all("job_inst.post.end") or [e for e in attempt.all("inv.end") if e.invocation == -2]
    said = [e.fields.get(key) for e in ends for key in ("status", "exitcode") if number(e.fields.get(key)) is not None]
    if not said:
        return unknown("no post script ended")
    return Finding(not any(_is_failure(value) for value in said), "post script")


def _by_program(attempt: AttemptIndex) -> Finding[bool]:
    if any(_is_failure(event.fields.get("exitcode")) for event in attempt.invocations):
        return Finding(False, "kickstart")
    if attempt.invocations and attempt.last("job_inst.main.end") and not attempt.last("job_inst.post.start"):
        failed = _is_failure(attempt.field("exitcode", "job_inst.main.end"))
        return Finding(not failed, "scheduler" if failed else "kickstart")
    return unknown("no program failed")


def _by_scheduler(attempt: AttemptIndex, over: bool) -> Finding[bool]:
    end = attempt.last("job_inst.main.end")
    if attempt.last("job_inst.abort.info") or (end and _is_failure(end.fields.get("status"))):
        return Finding(False, "scheduler")
    if end is None or (attempt.last("job_inst.post.start") and not over):
        return unknown("has not ended")
    happened = attempt.ran or attempt.noop
    return Finding(happened and not _is_failure(end.fields.get("exitcode")), "scheduler")


def _by_probe(attempt: AttemptIndex, over: bool) -> Finding[bool]:
    """The probe's last word counts where all else was lost."""
    status = _probe_status(attempt)
    if status.value is None or not over:
        return unknown("the probe did not tell")
    return Finding(status.value == 0, "probe")


def _pending(attempt: AttemptIndex) -> State:
    if len(attempt.all("job_inst.held.start")) > len(attempt.all("job_inst.held.end")):
        return "held"
    return "running" if attempt.ran else "submitted"


def _first_failure(values: list[object], source: str) -> Finding[int]:
    known = [int(status) for value in values if (status := number(value)) is not None]
    if not known:
        return unknown("no status")
    return Finding(next((status for status in known if status != 0), 0), source)


def _probe_status(attempt: AttemptIndex) -> Finding[int]:
    return _first_failure([s.final.fields.get("exitcode_raw") for s in attempt.streams if s.final], "probe")


def _scheduler_status(attempt: AttemptIndex, state: State) -> Finding[int]:
    status = number(attempt.field("exitcode", "job_inst.main.end"))
    if status is None or (status == 0 and state == "failed"):
        return unknown("not to be trusted")
    if attempt.last("job_inst.abort.info"):
        return unknown("removed before it ended")  # monitord writes the raw status 1, which would be SIGHUP
    return Finding(int(status), "scheduler")


def _is_failure(value: object) -> bool:
    status = number(value)
    return status is not None and status != 0
