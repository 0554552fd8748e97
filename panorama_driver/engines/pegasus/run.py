"""One bundle through Pegasus: handed to the Ensemble Manager by a name of its own, watched, taken up again, removed.

The manager looks only now and then, and believes monitord's database. DAGMan's own log in the submit directory tells
the end at once; whichever tells it first decides, and the outcome says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ...errors import FormatError, ManagerError
from ...sources.dagman import DagmanLog, DagmanState, clock_of
from ...sources.plan import braindump
from ..outcome import Outcome
from . import condor
from .manager import FAILED_STATES, Workflow
from .record import Record, keep, load
from .roster import Roster
from .words import complaint, tail

Tell = Callable[[str], None]

_POLL = 0.5  # [s]
_REMOVAL = 90.0  # [s] a manager may look but once a minute
_AFTER_REMOVAL = 2.0  # [s]
_LEAST_LIFE = 3.0  # [s]
_LONG_WAIT = 60.0  # [s]
_MONITORD_PID = "monitord.pid"
_NOBODY = "pid 4194305\n"  # above the largest that Linux gives (PID_MAX_LIMIT), so that monitord takes it for dead
_log = logging.getLogger(__name__)
_SCHED_ID = re.compile(r"\d+\.\d+")
_MONITORD = re.compile(r"^(?:pid )?(\d+)")  # write_pid_file of Pegasus' tools/utils.py


class Hooks(msgspec.Struct, frozen=True):
    """Who is told what.

    Attributes
    ----------
    planned : callable
        The workflow's uuid, as soon as it is planned.
    tell : callable
        What people should know while it runs.
    handed : callable
        What the manager calls it, once it has it.
    """

    planned: Tell
    tell: Tell
    handed: Tell


class PegasusRun:
    """One bundle, run by the Ensemble Manager.

    Parameters
    ----------
    directory : Path
        The bundle.
    roster : Roster
        The manager, and the ensemble that it belongs to.
    name : str
        What the manager shall call it; with a number added where it knows another of that name. The name is written
        down before anything is submitted, so that the same bundle is always found again and never run twice.
    priority : int
        Among the workflows of the ensemble; larger goes first.
    hooks : Hooks
        Who is told what.
    idle_timeout : float
        Something is told when nothing has moved for so long [s].
    """

    def __init__(
        self, directory: Path, roster: Roster, name: str, priority: int, hooks: Hooks, idle_timeout: float
    ) -> None:
        self._directory = directory
        self._roster = roster
        self._priority = priority
        self._planned = hooks.planned
        self._tell = hooks.tell
        self._handed = hooks.handed
        self._idle_timeout = idle_timeout
        self._record = load(directory) or Record(roster.name, name, roster.manager.url)
        self._submission = _SubmitDirectory(directory)
        self._wf_uuid = ""
        self._held: dict[str, str] = {}
        self._refused = False

    @property
    def directory(self) -> Path:
        """The bundle."""
        return self._directory

    @property
    def wf_uuid(self) -> str:
        """Identity of its workflow; empty until it is planned."""
        return self._wf_uuid

    @property
    def submit_dir(self) -> Path | None:
        """Where its plan is, once there is one."""
        return self._submission.path

    def sched_id(self, job_id: str, attempt: int) -> str | None:
        """What HTCondor calls an attempt, `cluster.process`; None where monitord has not told of it."""
        return self._submission.sched_id(job_id, attempt)

    async def run(self, again: bool) -> Outcome:
        """See one try to its end.

        Parameters
        ----------
        again : bool
            One that has ended is started again, and does only what had not finished; else its end is taken as it was.

        Raises
        ------
        ManagerError
            The manager refuses, or did not answer for minutes.
        StoreError
            What is submitted could not be written down before.
        """
        handed = False
        try:
            await self._roster.prepare(self._tell)
            await self._start(again)
            self._handed(self._full_name)
            handed = True
            return await self._watched()
        except asyncio.CancelledError:
            self._end_unwatched(self._record.name)
            raise
        except Exception:  # whatever it was goes on to who asked; only, nobody watches the workflow now
            if handed:
                self._end_unwatched(self._record.name)
            raise

    def _end_unwatched(self, name: str) -> None:
        """What nobody watches any more must not go on, unless it was left on purpose."""
        if not self._roster.leave_running and load(self._directory) is not None:
            self._roster.in_background(name, self.remove())

    async def _find(self) -> Workflow | None:
        return await self._roster.find(self._record.ensemble, self._record.name, self._tell)

    # Starting it.

    async def _start(self, again: bool) -> None:
        await self._name()
        await self._roster.removed(self._record.name)
        if again and self._record.wanted == self._record.tries:
            self._keep(wanted=self._record.tries + 1)
        self._submission.uncancel()
        found = await self._find()
        wanted = self._record.wanted > self._record.tries
        if found is not None and wanted:
            await self._start_again()
        elif found is None and (not self._goes_on() or (wanted and self._over())):
            await self._submit()

    async def _name(self) -> None:
        """Write down what the manager shall call it, before it is told so."""
        if load(self._directory) is None:
            name = await self._roster.ask(lambda: self._roster.free_name(self._record.name), self._tell)
            self._keep(name=name)

    def _goes_on(self) -> bool:
        """Whether DAGMan runs it, or has run it: a manager that has forgotten it must not run it a second time."""
        state = self._dagman()
        return state is not None and state.starts > self._record.dagman_starts

    async def _submit(self) -> None:
        """Hand it in. The client asks for the name before it sends, so that an answer that was lost does no harm."""
        self._submission.forget()
        self._keep(dagman_starts=0)
        record, priority = self._record, self._priority
        submit = self._roster.manager.submit
        await self._roster.ask(
            lambda: submit(record.ensemble, record.name, priority, self._directory, "./plan.sh"), self._tell
        )
        self._keep(tries=record.wanted)
        self._roster.forget()

    async def _start_again(self) -> None:
        """Run its rescue DAG, or plan it anew where there is no plan."""
        found = await self._ended_for_the_manager()
        if found.state not in FAILED_STATES:
            self._keep(tries=self._record.wanted)
            return
        state = self._dagman()
        self._keep(dagman_starts=state.starts if state else 0, updated=found.updated)
        has_plan = found.state != "PLAN_FAILED" and self._submission.path is not None
        act = self._roster.manager.rerun if has_plan else self._roster.manager.replan
        await self._roster.ask(lambda: act(self._record.ensemble, self._record.name), self._tell)
        self._keep(tries=self._record.wanted)
        self._roster.forget()

    async def _ended_for_the_manager(self) -> Workflow:
        """DAGMan's log may have told the end a while before the manager knows it, which only then takes orders; and
        pegasus-run refuses while monitord is still at it."""
        quiet = _Quiet(_LONG_WAIT)
        while True:
            found = await self._find()
            if found is None:
                raise ManagerError(f"the manager at {self._record.manager} does not know {self._full_name} any more")
            if (found.over and not self._submission.watched()) or not (found.over or self._over()):
                return found
            if quiet.too_long(found.state):
                self._tell(f"waits for the manager to see the end of the last try; it has it as {found.state}")
            await asyncio.sleep(_POLL)

    def _keep(self, **changes: Any) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)
        keep(self._directory, self._record)

    # Watching it.

    async def _watched(self) -> Outcome:
        """Wait for the end of this try."""
        quiet = _Quiet(self._idle_timeout)
        while True:
            outcome = self._by_dagman()
            if outcome is not None:
                return outcome
            found = await self._found_or_refused()
            outcome = await self._by_manager(found)
            if outcome is not None:
                return outcome
            await self._see_who_is_held()
            if quiet.too_long((found and found.state, self._submission.stamp())):
                await self._tell_why_idle(found, quiet.seconds)
            await asyncio.sleep(_POLL)

    async def _found_or_refused(self) -> Workflow | None:
        """What the manager says; one that refuses to speak is not needed for what DAGMan runs."""
        try:
            return await self._find()
        except ManagerError as problem:
            if not self._goes_on():
                raise
            if not self._refused:
                self._tell(f"{problem}; what runs is watched all the same")
            self._refused = True
            return None

    def _by_dagman(self) -> Outcome | None:
        state = self._dagman()
        if state is None or not self._over():
            return None
        if state.status == 0:
            return Outcome(True, decided_by="dagman")
        removed = "the workflow was removed from HTCondor"
        return Outcome(False, removed if state.aborted else f"DAGMan ended with exit code {state.status}", "dagman")

    async def _by_manager(self, found: Workflow | None) -> Outcome | None:
        if found is None or not found.over or found.updated == self._record.updated:
            return None
        if found.state == "SUCCESSFUL":
            return Outcome(True, decided_by="manager")
        if self._submission.watched() or (self._goes_on() and not self._over()):
            return None  # DAGMan knows better: a manager that was killed starts what it had started once more, in vain
        return Outcome(False, await asyncio.to_thread(self._words, found), "manager")

    def _words(self, found: Workflow) -> str:
        """Why the manager gave up, from whoever knew."""
        what = {"PLAN_FAILED": "planning failed", "RUN_FAILED": "pegasus-run failed"}
        own = self._of_plan() if found.state == "PLAN_FAILED" else ""
        return f"{what.get(found.state, 'the workflow failed')}: {own or self._of_manager()}"

    def _of_plan(self) -> str:
        log = self._directory / "run" / "plan.log"
        if not log.exists():
            where = f"in {self._directory}"
            return f"the manager did not run plan.sh {where}: has it pegasus-plan on its PATH, and may it enter there?"
        return complaint(tail(log))

    def _of_manager(self) -> str:
        try:
            text = self._roster.manager.analyze(self._record.ensemble, self._record.name)
        except ManagerError as problem:
            return str(problem)
        return complaint(text) or f"no words for it in: pegasus-em analyze {self._full_name}"

    async def _see_who_is_held(self) -> None:
        """A held job waits for somebody who mends what holds it, unless nobody can."""
        state = self._dagman()
        held = dict(state.held) if state else {}
        fresh = {job: why for job, why in held.items() if self._held.get(job) != why}
        self._held = held
        for job, why in fresh.items():
            if not condor.lacks_output(why):
                self._tell(f"{job} is held: {why}")
        if any(map(condor.lacks_output, fresh.values())):
            await asyncio.to_thread(condor.remove_without_output, self._wf_uuid)

    async def _tell_why_idle(self, found: Workflow | None, seconds: float) -> None:
        why = await asyncio.to_thread(condor.why_idle, self._wf_uuid) if self._wf_uuid else ""
        if why is None:
            return  # a long job is no idle workflow
        state = f"the manager has it as {found.state}" if found else "the manager does not know it"
        span = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        self._tell(f"nothing has moved for {span}: {why or state}")

    def _dagman(self) -> DagmanState | None:
        """What DAGMan's log tells, once there is a plan; its uuid is passed on then."""
        wf_uuid = self._submission.wf_uuid()
        if wf_uuid and wf_uuid != self._wf_uuid:
            self._wf_uuid = wf_uuid
            self._planned(wf_uuid)
        return self._submission.dagman() if wf_uuid else None

    def _over(self) -> bool:
        """Whether DAGMan has begun this try, and ended."""
        state = self._dagman()
        return state is not None and state.starts > self._record.dagman_starts and not state.running

    # Ending it.

    async def remove(self) -> None:
        """End it: what is not planned will not be, what is planned will not start, and what runs is removed."""
        self._submission.cancel()
        end = time.monotonic() + _REMOVAL
        while time.monotonic() < end and not self._over():
            state = self._dagman()
            if state is not None and state.starts > self._record.dagman_starts:
                if await self._may_end(state):
                    await self._submission.remove()
            elif await self._cannot_start():
                return
            await asyncio.sleep(_POLL)
        if not self._over():
            _log.warning("%s could not be ended within %g s", self._full_name, _REMOVAL)

    async def _may_end(self, state: DagmanState) -> bool:
        """Whether the manager will see the end: it never does of what ends in the second in which it began for it, and
        then has it as RUNNING for ever, in one of the ensemble's places."""
        try:
            found = await self._asked()
        except ManagerError:
            return True
        if found is None or found.over:
            return True
        began = max(found.updated, state.started or 0.0)
        return found.state == "RUNNING" and time.time() - began > _LEAST_LIFE

    async def _cannot_start(self) -> bool:
        """Whether the manager will never start it any more."""
        try:
            found = await self._asked()
        except ManagerError as problem:
            return not problem.transient
        if found is not None and found.state == "QUEUED":
            self._submission.disable()
        return found is None or found.state not in ("PLANNING", "QUEUED", "RUNNING")

    async def _asked(self) -> Workflow | None:
        """The manager's word of this moment."""
        self._roster.forget()
        return await asyncio.to_thread(self._roster.manager.workflow, self._record.ensemble, self._record.name)

    @property
    def _full_name(self) -> str:
        return f"{self._record.ensemble}.{self._record.name}"


class _SubmitDirectory:
    """The submit directory of a bundle's last plan, and DAGMan's log in it."""

    def __init__(self, bundle: Path) -> None:
        self._run = bundle / "run"
        self._known: Path | None = None
        self._log: DagmanLog | None = None
        self._wf_uuid = ""

    @property
    def path(self) -> Path | None:
        """Where it is, once there is a plan."""
        try:
            named = (self._run / "submitdir").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        return Path(named) if named else None

    def wf_uuid(self) -> str:
        """The workflow's identity; empty where there is no plan."""
        self._look()
        return self._wf_uuid

    def dagman(self) -> DagmanState | None:
        """What DAGMan has told so far; None where there is no plan."""
        self._look()
        return self._log.poll() if self._log else None

    def _look(self) -> None:
        """See which plan is the latest."""
        path = self.path
        if path == self._known and self._log is not None:
            return
        self._known, self._log, self._wf_uuid = path, None, ""
        if path is None:
            return
        try:
            plan = braindump(_text(path / "braindump.yml"))
        except FormatError:
            return  # gone, or half written: there is no plan yet
        self._wf_uuid = plan.wf_uuid
        self._log = DagmanLog(path / f"{plan.dag}.dagman.out", clock_of(plan.timestamp))

    def sched_id(self, job_id: str, attempt: int) -> str | None:
        """HTCondor's name of an attempt, from monitord's `TIME JOB STATE CLUSTER.PROCESS SITE TIME ATTEMPT`."""
        lines = map(str.split, _text((self.path or self._run) / "jobstate.log").splitlines())
        known = [words[3] for words in lines if len(words) == 7 and (words[1], words[6]) == (job_id, str(attempt))]
        return next((name for name in reversed(known) if _SCHED_ID.fullmatch(name)), None)

    def stamp(self) -> object:
        """Something that changes whenever a job does."""
        path = self.path
        logs = [] if path is None else sorted(path.glob("*.dag.nodes.log"))
        return [(log.stat().st_size, log.stat().st_mtime_ns) for log in logs]

    def watched(self) -> bool:
        """Whether monitord still watches it; what one that was killed has left is removed, as pegasus-run asks for."""
        file = (self.path or self._run) / _MONITORD_PID
        process = _MONITORD.search(_text(file))
        if process is None:
            return file.exists()
        if not Path(f"/proc/{process[1]}").exists():
            file.unlink(missing_ok=True)
        return file.exists()

    def forget(self) -> None:
        """It is going to be planned; a plan of before, and its end, count no more."""
        (self._run / "submitdir").unlink(missing_ok=True)

    def cancel(self) -> None:
        """Keep it from being planned: plan.sh looks for this file."""
        self._run.mkdir(mode=0o700, exist_ok=True)
        (self._run / "cancelled").touch()

    def disable(self) -> None:
        """Keep what is planned from being started: pegasus-run refuses where this file is.

        Where it has looked already, no harm is done: monitord starts all the same, and writes its own.
        """
        if self.path is not None:
            with contextlib.suppress(OSError), (self.path / _MONITORD_PID).open("x", encoding="ascii") as file:
                file.write(_NOBODY)

    def uncancel(self) -> None:
        """Let it be planned and started again."""
        (self._run / "cancelled").unlink(missing_ok=True)
        if self.path is not None and _text(self.path / _MONITORD_PID) == _NOBODY:
            (self.path / _MONITORD_PID).unlink(missing_ok=True)

    async def remove(self) -> None:
        """Remove it from HTCondor, and give that a while."""
        if self.path is not None:
            await asyncio.to_thread(condor.remove, self.path)
            await asyncio.sleep(_AFTER_REMOVAL)


def _text(path: Path) -> str:
    """What a small file says; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class _Quiet:
    """How long nothing has changed; it is too long once every `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._last: object = None
        self._since = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the last change [s]."""
        return time.monotonic() - self._since

    def too_long(self, now: object) -> bool:
        """Take note of how things stand now."""
        if now != self._last:
            self._last = now
            self._since = self._told = time.monotonic()
        if time.monotonic() - self._told < self._limit:
            return False
        self._told = time.monotonic()
        return True
