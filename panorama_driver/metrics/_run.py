"""Everything that can be asked of the events of one run, which are sorted once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from ..events import Event
from ..sources.darshan import LogReport
from ._findings import text
from ._index import AttemptIndex, JobIndex, WorkflowIndex
from ._series import Trace, trace_of, traces_of
from ._tasks import executables
from ._traces import streams
from ._transfer_list import Told, transfers_of
from ._workflow import measured
from .records import WorkflowMetrics

_Planned = Mapping[str | None, str | None]  # arguments by task

_KICKSTART = re.compile(
    r"\A(?:\S*pegasus-kickstart)?\s*-n \S+ -N \S+ .*?-R \S+ .*?-L \S+ -T \S+ (?:-[kK] \S+ )*\S+", re.ASCII
)
_SECTION = "#@ "  # monitord's mark before what each program of a job said


class Said(NamedTuple):
    """What is recorded of an attempt beside its numbers; None where nobody kept it.

    Attributes
    ----------
    job_id, attempt : str, int
        Whose it is.
    command : str or None
        Programs and their arguments, a line a program.
    work_dir : str or None
        Where it ran.
    stdout, stderr : str or None
        What it said, as far as it was kept.
    reports : tuple of LogReport
        Its Darshan logs.
    """

    job_id: str
    attempt: int
    command: str | None
    work_dir: str | None
    stdout: str | None
    stderr: str | None
    reports: tuple[LogReport, ...]


class Run:
    """The events of one run.

    Parameters
    ----------
    events : iterable of Event
        As for `correlate`.

    Raises
    ------
    ValueError
        There are no events, or they are of several runs.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self._index = WorkflowIndex(events)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Parent and child of each dependency between jobs."""
        return self._index.edges

    @property
    def plan(self) -> dict[str, object]:
        """What the planner told of itself; empty where it did not."""
        told = self._index.all("wf.plan")
        return dict(told[-1].fields) if told else {}

    def metrics(self) -> WorkflowMetrics:
        """As of `correlate`."""
        return measured(self._index)

    def transfers(self) -> list[Told]:
        """As of `transfers`, and when each moved what."""
        return transfers_of(self._index)

    def said(self) -> Iterator[Said]:
        """What each attempt left beside numbers."""
        planned = {text(e.fields.get("task_id")): text(e.fields.get("argv")) for e in self._index.all("task.info")}
        return (_said(job, attempt, planned) for job in self._index.jobs.values() for attempt in job.attempts)

    def programs(self) -> Iterator[tuple[str, str, str]]:
        """Job, transformation and executable of each program that ran."""
        for job in self._index.jobs.values():
            for attempt in job.attempts:
                known = {event.event_id: program for event, program in executables(attempt)}
                for event in attempt.all("inv.end"):
                    if (event.invocation or 0) < 0:
                        continue  # a pre or post script, which is DAGMan's
                    name = text(event.fields.get("transformation"))
                    program = known.get(event.event_id) or text(event.fields.get("executable"))
                    if name:
                        yield job.job_id, name, program or ""

    def traces(self) -> list[Trace]:
        """What each process tree used over time."""
        return traces_of(self._index)

    def trace(self, samples: list[Event], step: float | None = None) -> Iterator[Trace]:
        """Pack the samples of one process tree, which need not be among the run's events; `step` [s] as of `Trace`."""
        job = self._index.jobs.get(samples[0].job_id or "")
        if job is None:
            return
        owner = _owner(job, samples[0])
        for stream in streams(samples):
            trace = Trace.of(job.job_id, None, None, stream.intervals()) if owner is None else trace_of(owner, stream)
            yield msgspec.structs.replace(trace, step=step)


def _owner(job: JobIndex, sample: Event) -> AttemptIndex | None:
    return job.owner(sample)[0] if sample.attempt is None else job.by_attempt.get(sample.attempt)


def _said(job: JobIndex, attempt: AttemptIndex, planned: _Planned) -> Said:
    stdout, stderr = _streams(attempt)
    return Said(
        job.job_id,
        attempt.attempt,
        _command(job, attempt, planned),
        text(attempt.field("work_dir", "job_inst.main.end", "job_inst.composite"))
        or text(attempt.field("cwd", "inv.end")),
        stdout or None,
        stderr or None,
        attempt.darshan.reports,
    )


def _command(job: JobIndex, attempt: AttemptIndex, planned: _Planned) -> str | None:
    """Of the programs that ran; else, of what was to run."""
    lines = [_line(program, _arguments(event, planned)) for event, program in executables(attempt)]
    if not lines and job.info is not None:
        lines = [_line(*(text(job.info.fields.get(key)) for key in ("executable", "argv")))]
    return "\n".join(line for line in lines if line) or None


def _arguments(event: Event, planned: _Planned) -> str | None:
    """As planned: of a task monitord tells the wrapper's, or none; of a job without tasks, the submit file's line."""
    told = planned.get(text(event.fields.get("task_id")))
    return told or _KICKSTART.sub("", text(event.fields.get("argv")) or "").strip()


def _line(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _streams(attempt: AttemptIndex) -> tuple[str, str]:
    """stdout and stderr: monitord keeps both of each program in `stdout_text`, and the wrapper's own beside it."""
    kinds = ("job_inst.main.end", "job_inst.composite")
    stdout, stderr = (_plain(attempt.field(key, *kinds)) for key in ("stdout_text", "stderr_text"))
    if not stdout.startswith(_SECTION):
        return stdout, stderr
    parts = [part.partition("\n") for part in stdout.split(_SECTION)[1:]]
    said = {way: "".join(body for head, _, body in parts if head.endswith(f" {way}")) for way in ("stdout", "stderr")}
    return said["stdout"], "\n".join(each for each in (said["stderr"], stderr) if each.strip())


def _plain(said: object) -> str:
    """monitord quotes every end of a line; what has one has not been quoted."""
    if not isinstance(said, str):
        return ""
    return said if "\n" in said else unquote(said)
