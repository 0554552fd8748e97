"""DAGMan's own log, `*.dag.dagman.out`: what happened to the workflow and its jobs, as soon as DAGMan knows.

It is what Pegasus' monitord reads as well (cli/pegasus-monitord.py of 5.1, `process_dagman_out`), so whoever reads it
depends on no monitord. DAGMan appends to it across restarts. Its times are local ones, without a zone.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

Clock = Callable[[int, int, int, int, int, int], float]
"""Turns year, month, day, hour, minute, second of a log into [s since 1970]."""

EXIT_RESTART = 3
"""DAGMan's exit status when HTCondor shall start it again: the schedd goes down, or its job was held."""

_CHUNK = 1 << 20  # bytes
_LINE_LIMIT = 1 << 16  # bytes; DAGMan's statistics and warnings are far shorter


class Happening(NamedTuple):
    """One thing that a log of HTCondor tells.

    Attributes
    ----------
    ts : float
        When [s since 1970]: of a job's event the time that HTCondor gives, otherwise when DAGMan wrote the line.
    what : str
        In monitord's words: `SUBMIT`, `EXECUTE`, `JOB_FAILURE`, ...; of the workflow `DAGMAN_LAUNCHED`,
        `DAGMAN_STARTED`, `DAGMAN_ABORTED` and `DAGMAN_FINISHED`.
    job_id, sched_id : str
        Node and HTCondor's `cluster.process`; empty where the line does not tell.
    status : int or None
        Exit code, or number of the signal, of a job or script; DAGMan's own exit status.
    reason : str
        Why, in the words of HTCondor or of the batch system behind it.
    signalled : bool
        Whether `status` is a signal.
    """

    ts: float
    what: str
    job_id: str = ""
    sched_id: str = ""
    status: int | None = None
    reason: str = ""
    signalled: bool = False


def local_clock(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    """Time in this host's zone, in the hour that comes twice a year as monitord takes it."""
    return time.mktime((year, month, day, hour, minute, second, -1, -1, -1))


def clock_of(planned: str | None) -> Clock:
    """The clock of the host where a workflow was planned and runs.

    Parameters
    ----------
    planned : str or None
        `timestamp` of its braindump.yml, such as `20261122T121935+0100`. Where its offset is that of this host's zone,
        that zone holds, which knows of summer time; otherwise the offset does, as for a run from elsewhere.
    """
    try:
        moment = datetime.strptime(planned or "", "%Y%m%dT%H%M%S%z")
    except ValueError:
        return local_clock
    offset = moment.utcoffset()
    if offset is None or time.localtime(moment.timestamp()).tm_gmtoff == offset.total_seconds():
        return local_clock

    def fixed(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
        # Unlike datetime it knows a 60th second, which is the one after the 59th.
        return calendar.timegm((year, month, day, hour, minute, second)) - offset.total_seconds()

    return fixed


class Reader:
    """Turns lines of `dagman.out` into happenings; it keeps what a line means only together with one before it."""

    def __init__(self, clock: Clock = local_clock) -> None:
        self._clock = clock
        self._recovering = False
        self._submitting = ""
        self._trouble = ""
        self._held = ("", "")

    def read(self, line: bytes) -> Iterator[Happening]:
        """What one line tells, which is nothing for most lines."""
        match = _LINE.match(line)
        if match is None:
            return
        text = match["text"].decode("utf-8", "replace").strip()
        if self._skips(text):
            return
        rule = _RULES[match["word"].strip()]
        yield from rule(self, self._time(match), text)

    def _skips(self, text: str) -> bool:
        """In recovery mode DAGMan reads its jobs' log again and tells everything a second time."""
        if "STARTING UP" in text or "...done with RECOVERY" in text:
            self._recovering = False
        elif text.startswith("Running in RECOVERY"):
            self._recovering = True
        return self._recovering

    def _time(self, match: re.Match[bytes]) -> float:
        month, day, year, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
        return self._clock(2000 + year, month, day, hour, minute, second)

    def _event(self, ts: float, text: str) -> Iterator[Happening]:
        match = _EVENT.match(text)
        if match is None:
            return
        if stamp := _STAMP.search(text, match.end()):
            month, day, year, hour, minute, second = (int(part) for part in stamp.groups())
            ts = self._clock(2000 + year, month, day, hour, minute, second)
        what, job_id, sched_id = match.groups()
        if what == "JOB_HELD":
            self._held = (job_id, sched_id)
        yield Happening(ts, what, job_id, sched_id)

    def _hold_reason(self, ts: float, text: str) -> Iterator[Happening]:
        job_id, sched_id = self._held
        if job_id:
            yield Happening(ts, "JOB_HELD_REASON", job_id, sched_id, reason=text.partition(":")[2].strip())

    def _submit(self, ts: float, text: str) -> Iterator[Happening]:
        if match := _SUBMIT.match(text):
            self._submitting, self._trouble = match[1], ""
            yield Happening(ts, "DAGMAN_SUBMIT", match[1])

    def _assigned(self, ts: float, text: str) -> Iterator[Happening]:
        if self._submitting and (match := _ASSIGNED.match(text)):
            yield Happening(ts, "ASSIGNED", self._submitting, match[1])

    def _error(self, ts: float, text: str) -> Iterator[Happening]:
        words = text.removeprefix("ERROR: ")
        if not words.startswith("submit attempt failed"):
            self._trouble = words
        elif self._submitting:
            reason = f"{words} ({self._trouble})" if self._trouble else words
            yield Happening(ts, "SUBMIT_FAILED", self._submitting, reason=reason)

    def _script(self, ts: float, text: str) -> Iterator[Happening]:
        if match := _SCRIPT_RUNS.match(text):
            yield Happening(ts, f"{match[1]}_SCRIPT_STARTED", match[2])
        elif match := _SCRIPT_ENDS.match(text):
            kind, job_id, failure, status = match.groups()
            if kind == "PRE":  # HTCondor has no event for it
                yield Happening(ts, "PRE_SCRIPT_TERMINATED", job_id)
            what = f"{kind}_SCRIPT_{'FAILURE' if failure else 'SUCCESS'}"
            yield Happening(ts, what, job_id, status=int(status or 0), signalled=failure == "died on signal")

    def _job(self, ts: float, text: str) -> Iterator[Happening]:
        if match := _JOB_ENDS.match(text):
            job_id, sched_id, how, status = match.groups()
            what = "JOB_FAILURE" if how else "JOB_SUCCESS"
            yield Happening(ts, what, job_id, sched_id, status=int(status or 0), signalled=how == "signal")

    def _dagman(self, ts: float, text: str) -> Iterator[Happening]:
        if match := _LAUNCHED.match(text):
            yield Happening(ts, "DAGMAN_LAUNCHED", sched_id=match[1])
        elif match := _FINISHED.search(text):
            yield Happening(ts, "DAGMAN_FINISHED", status=int(match[1]))

    def _parsing(self, ts: float, text: str) -> Iterator[Happening]:
        if text.endswith(" ..."):
            yield Happening(ts, "DAGMAN_STARTED")

    def _received(self, ts: float, text: str) -> Iterator[Happening]:
        if text.startswith("Received SIG"):
            yield Happening(ts, "DAGMAN_ABORTED", reason=f"DAGMan aborted as it received {text.split()[1]} signal.")

    def _nothing(self, ts: float, text: str) -> Iterator[Happening]:
        yield from ()


_RULES: dict[bytes, Callable[[Reader, float, str], Iterator[Happening]]] = {
    b"Event:": Reader._event,
    b"Hold reason:": Reader._hold_reason,
    b"Submitting": Reader._submit,
    b"assigned": Reader._assigned,
    b"ERROR:": Reader._error,
    b"Running": Reader._script,
    b"PRE": Reader._script,
    b"POST": Reader._script,
    b"Node": Reader._job,
    b"Parsing": Reader._parsing,
    b"Received": Reader._received,
    b"**": Reader._dagman,
    b"****": Reader._dagman,
    b"...done": Reader._nothing,
}
# Most lines are none of these, and a large workflow's log has millions: one look decides.
_LINE = re.compile(
    rb"(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) (?:\(D_\w+\) )?"
    rb"(?P<text>\s*(?P<word>" + b"|".join(re.escape(word) for word in sorted(_RULES, reverse=True)) + rb")\s?.*)"
)
_NODE = r"(?:Job|[Nn]ode)"
_SCHED = r"\(0*(\d+\.\d+)(?:\.\d+)?\)"
_EVENT = re.compile(rf"Event: ULOG_(\S+) for (?:HT)?Condor {_NODE} (\S+) +\((-?\d+\.\d+)(?:\.\d+)?\)")
_STAMP = re.compile(r"\{(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d)\}")
_SUBMIT = re.compile(r"Submitting (?:HT)?Condor Node (\S+) job")
_ASSIGNED = re.compile(rf"assigned \S+ ID {_SCHED}")
_SCRIPT_RUNS = re.compile(rf"Running (PRE|POST) script of {_NODE} (\S+?)\.\.\.$")
_SCRIPT_ENDS = re.compile(
    rf"(PRE|POST) Script of {_NODE} (\S+) (?:completed successfully\.|(failed with status|died on signal) +(-?\d+))"
)
_JOB_ENDS = re.compile(
    rf"Node (\S+) job proc {_SCHED} (?:completed successfully\.|failed with (status|signal) +(-?\d+))"
)
_LAUNCHED = re.compile(r"\*\* condor_scheduniv_exec\.([\d.]+) \(CONDOR_DAGMAN\) STARTING UP")
_FINISHED = re.compile(r"\(condor_DAGMAN\).* EXITING WITH STATUS (\d+)$")


@dataclass(frozen=True)
class DagmanState:
    """Where DAGMan is.

    Attributes
    ----------
    starts : int
        How often it was started; each rerun of the submit directory, and each recovery, is one more.
    dagman_id : str or None
        HTCondor's `cluster.process` of the last start.
    started, ended : float or None
        [s since 1970] when it last started, and when that run ended; `ended` is None while it runs, and for ever where
        it was killed without a last word.
    status : int or None
        Exit status with which it ended: 0 is success, 1 a failed job, 2 a removal.
    aborted : bool
        Whether it was told to stop (`pegasus-remove`, `condor_rm`).
    held : dict
        Jobs that HTCondor holds now, and why.
    """

    starts: int = 0
    dagman_id: str | None = None
    started: float | None = None
    ended: float | None = None
    status: int | None = None
    aborted: bool = False
    held: Mapping[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it started and has not said that it ended."""
        return self.starts > 0 and self.ended is None


class DagmanLog:
    """Follows one `dagman.out` for whoever wants to know no more than whether DAGMan runs.

    Parameters
    ----------
    path : str or path
        The log; it may appear later.
    clock : Clock
        Of the zone that it is written in; see `clock_of`.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Clock = local_clock) -> None:
        self.path = Path(path)
        self._clock = clock
        self._restart(None)

    def poll(self) -> DagmanState:
        """The state after all whole lines that are there by now.

        Raises
        ------
        OSError
            The log is there and cannot be read.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return self._state
        with file:
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) != self._file or status.st_size < self._offset:
                self._restart((status.st_dev, status.st_ino))
            file.seek(self._offset)
            while chunk := file.read(_CHUNK):
                self._offset += len(chunk)
                self._take(chunk)
        return self._state

    def _restart(self, file: tuple[int, int] | None) -> None:
        self._file, self._offset, self._rest = file, 0, b""
        self._reader, self._state = Reader(self._clock), DagmanState()

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[:_LINE_LIMIT]
        for line in lines:
            for happening in self._reader.read(line):
                self._state = _after(self._state, happening)


def _after(state: DagmanState, happening: Happening) -> DagmanState:
    match happening.what:
        case "DAGMAN_LAUNCHED":
            return DagmanState(starts=state.starts + 1, dagman_id=happening.sched_id, started=happening.ts)
        case "DAGMAN_FINISHED" if happening.status != EXIT_RESTART:
            return replace(state, ended=happening.ts, status=happening.status)
        case "DAGMAN_ABORTED":
            return replace(state, aborted=True)
        case "JOB_HELD_REASON":
            return replace(state, held={**state.held, happening.job_id: happening.reason})
        case "JOB_RELEASED" | "JOB_ABORTED" if happening.job_id in state.held:
            return replace(state, held={job: why for job, why in state.held.items() if job != happening.job_id})
        case _:
            return state
