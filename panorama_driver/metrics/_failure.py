"""Why an attempt failed, and so a run, in words that a person can act on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from urllib.parse import unquote

from ..sources.stampede import ending_signal, exit_code
from ._findings import Finding, first, number, text, unknown
from ._index import AttemptIndex
from .records import AttemptMetrics, State, WorkflowMetrics

_KICKSTART_TIMED_OUT = 14 << 8  # kickstart exits with 14, SIGALRM, when its option -k ended the program


def failure(attempt: AttemptIndex, state: Finding[State], status: Finding[int]) -> Finding[str]:
    """Why it failed; `status` is the raw wait status of its program."""
    if state.value != "failed":
        return unknown("did not fail" if state.value == "succeeded" else "has not failed")
    causes = (Finding(words) for words in _causes(attempt, status.value) if words)
    return first(causes, f"nothing tells more than the {state.note}") if state.note else unknown("nothing tells why")


def _causes(attempt: AttemptIndex, status: int | None) -> Iterator[str | None]:
    """What may be said, the most telling first."""
    yield _refused(attempt)
    if attempt.last("job_inst.abort.info") and _still_held(attempt):
        yield _program(attempt, status)  # HTCondor holds a job for the files that a program that failed did not leave
    yield _removed(attempt)
    yield _program(attempt, status)
    yield _lost(attempt)
    yield _wrapper(attempt)
    if attempt.all("job_inst.post.end"):
        yield "the post script refused it although the program ended with 0"
    yield "the workflow ended before it did"


def _refused(attempt: AttemptIndex) -> str | None:
    for event in attempt.all("job_inst.submit.end"):
        if number(event.fields.get("status")):
            why = text(event.fields.get("reason"))
            return f"HTCondor did not take it: {why}" if why else "HTCondor did not take it"
    return None


def _removed(attempt: AttemptIndex) -> str | None:
    abort = attempt.last("job_inst.abort.info")
    if abort is None:
        return None
    why = text(abort.fields.get("reason"))
    removal = f"removed: {why}" if why else "removed from the queue"
    held = _still_held(attempt)
    return f"held: {held}; then {removal}" if held else removal


def _still_held(attempt: AttemptIndex) -> str | None:
    """Why it was held when it was removed."""
    starts, ends = attempt.all("job_inst.held.start"), attempt.all("job_inst.held.end")
    if len(starts) <= len(ends):
        return None
    return (text(starts[-1].fields.get("reason")) or "for no reason told").strip()


def _program(attempt: AttemptIndex, status: int | None) -> str | None:
    if not status:
        return None
    if status < 0:
        return f"its program could not be started (status {status})"
    if ended_by := ending_signal(status):
        return _signalled(attempt, _name(ended_by))
    words = _last_words(attempt)
    return f"exit code {exit_code(status)}{f': {words}' if words else ''}"


def _last_words(attempt: AttemptIndex) -> str | None:
    """The program's last line on stderr: monitord keeps what programs said, under `#@ N stderr`, in `stdout_text`."""
    said = attempt.field("stdout_text", "job_inst.main.end")
    parts = unquote(said).split("#@ ") if isinstance(said, str) else []
    errors = [part.partition("\n")[2] for part in parts if part.partition("\n")[0].endswith(" stderr")]
    return _last_line(errors[-1] if errors else attempt.field("stderr_text", "job_inst.main.end"))


def _signalled(attempt: AttemptIndex, name: str) -> str:
    said = number(attempt.field("exitcode", "job_inst.main.end"))
    if said == _KICKSTART_TIMED_OUT:
        return f"stopped by kickstart after the runtime that was planned: {name}"
    if said != 0 or not attempt.batch:
        return f"ended by {name}"
    return f"stopped by {_batch_stop(attempt)}: {name} although HTCondor said 0"


def _batch_stop(attempt: AttemptIndex) -> str:
    """Slurm tells the job when it will end it, and kickstart records that; a broker's events do not bring it."""
    limit, end = number(attempt.field("time_limit", "inv.end")), _ended(attempt)
    if limit is None or end is None:
        return "the batch system's time limit or a cancellation there"
    return "the batch system's time limit" if end >= limit else "a cancellation in the batch system"


def _ended(attempt: AttemptIndex) -> float | None:
    return max((event.ts for event in attempt.invocations if event.ts is not None), default=None)


def _lost(attempt: AttemptIndex) -> str | None:
    """HTCondor's 0 without a record: BLAHP takes a job that the batch system does not list for one that is done."""
    end = attempt.last("job_inst.main.end")
    if end is None or attempt.invocations or not attempt.batch or number(end.fields.get("exitcode")) != 0:
        return None
    if end.fields.get("stdout_text") is None:
        return "never ran: cancelled while pending in the batch system or scheduler outage, although HTCondor said 0"
    if _last_line(end.fields.get("stderr_text")):
        return None
    job = text(end.fields.get("grid_job_id"))
    still = f"batch job {job.rpartition('/')[2]}" if job else "its batch job"
    return f"lost in a scheduler outage: no kickstart record although HTCondor said 0; {still} may still run"


def _wrapper(attempt: AttemptIndex) -> str | None:
    """A wrapper such as PegasusLite failed around a program that did not, or before it."""
    end = attempt.last("job_inst.main.end")
    status = number(end.fields.get("exitcode")) if end else None
    if end is None or status is None:
        return None
    words = _last_line(end.fields.get("stderr_text"))
    told = f": {words}" if words else ""
    if status:
        ended_by = ending_signal(int(status))
        code = f"exit code {exit_code(int(status))} without a failed program{told}"
        return f"ended by {_name(ended_by)}" if ended_by else code
    return None if attempt.invocations else f"no kickstart record although HTCondor said 0{told}"


def _last_line(quoted: object) -> str | None:
    lines = unquote(quoted).split("\n") if isinstance(quoted, str) else []
    own = (line.strip() for line in reversed(lines) if not line.startswith("PegasusLite:"))
    return next((line[:300] for line in own if line), None)


def _name(number_: int) -> str:
    try:
        return signal.Signals(number_).name
    except ValueError:
        return f"signal {number_}"


def failure_words(workflow: WorkflowMetrics) -> str:
    """The job that failed first, and why; empty where none has."""
    failed = [job.attempts[-1] for job in workflow.jobs if job.state == "failed" and job.attempts]
    if not failed:
        return ""
    first = min(failed, key=_when)
    others = f"; {len(failed) - 1} more failed" if len(failed) > 1 else ""
    return f"job {first.job_id} failed: {first.failure or first.reasons['failure']}{others}"


def _when(attempt: AttemptMetrics) -> float:
    known = (time for time in (attempt.end, attempt.start, attempt.submit) if time is not None)
    return next(known, float("inf"))
