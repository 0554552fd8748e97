"""One try of one job, from its submission to its end, with its events."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from ...errors import EnvironmentMissingError
from .log import EventLog, host
from .plan import Job, Plan, Task
from .process import Process, Watch
from .slots import Group
from .staging import StagingError, run_auxiliary, summary

_TAIL = 4096
_FAILED = 256
_NEVER_STARTED = -127
_CANCELLED = "the run was cancelled"


class Attempt:
    """One try of one job.

    Parameters
    ----------
    job : Job
        What is tried.
    attempt : int
        `job_inst_id`.
    before : int
        How many tries of the job there were before.
    plan, folder, wf_uuid, log, watch
        As of its run.

    Attributes
    ----------
    number : int
        `job_inst_id`.
    group : Group or None
        Where it runs, from its start on.
    given_up : str
        Why it was ended from outside; empty unless it was.
    """

    def __init__(
        self,
        job: Job,
        attempt: int,
        before: int,
        plan: Plan,
        folder: Path,
        wf_uuid: str,
        log: EventLog,
        watch: Watch,
    ) -> None:
        self._job = job
        self.number = attempt
        self._plan = plan
        self._folder = folder
        self._wf_uuid = wf_uuid
        self._log = log
        self._watch = watch
        self.group: Group | None = None
        self.given_up = ""
        self._deadline: asyncio.Timeout | None = None
        self._steps = 0
        self._over = False
        self._clock = _Clock()
        self._status = 0
        self._stdout = folder / f"{job.job_id}.out.{before:03d}"
        self._stderr = folder / f"{job.job_id}.err.{before:03d}"
        self._trace = folder / f"{job.job_id}.trace.{before:03d}.jsonl"

    async def __aenter__(self) -> Attempt:
        self._write("submit.start", site=self._plan.site)
        self._write("submit.end", status=0)
        return self

    async def __aexit__(self, kind: object, problem: object, trace: object) -> None:
        if not self._over:
            self._write("abort.info", reason=_CANCELLED)

    async def compute(self, group: Group) -> str:
        """Run the tasks of a compute job, one after the other; gives why it failed, or nothing.

        The first that fails ends the job, as with Pegasus' clustering tool (pegasus-cluster -f).
        """
        self.group = group
        self._begin()
        named = {"slot_group": group.name} if group.name else {}
        self._write("host.info", site=self._plan.site, **host(), **named)
        reason = ""
        try:
            async with asyncio.timeout(self._job.runtime) as self._deadline:
                for number, task in enumerate(self._job.tasks, 1):
                    reason = await self._run(number, task, group)
                    if reason:
                        break
        except TimeoutError:
            reason = self.given_up or f"ran longer than its {self._job.runtime:g} s and was ended"
            if self.given_up:
                self._write("abort.info", reason=self.given_up)
        except asyncio.CancelledError:
            self._write("abort.info", reason=_CANCELLED)  # it says nothing of the job, nor of its host
            self._end(_CANCELLED)
            raise
        finally:
            self._deadline = None
        return self._end(reason)

    def give_up(self, why: str) -> bool:
        """End it, with all its processes; whether it ran. It is told as removed, and `compute` gives `why`."""
        if self._deadline is None or self._deadline.expired() or self.given_up:
            return False
        self.given_up = why
        self._deadline.reschedule(asyncio.get_running_loop().time())
        return True

    async def auxiliary(self) -> str:
        """Run an auxiliary job; gives why it failed, or nothing."""
        self._begin()
        self._invocation(1, "start", ts=self._clock.start)
        try:
            singles, cpu = await asyncio.to_thread(_timed, self._job, self._plan)
        except OSError as problem:
            self._write_transfers(problem.records if isinstance(problem, StagingError) else [])
            words = f"failed: {problem}"
            self._stderr.write_text(words + "\n", encoding="utf-8")
            self._status = _FAILED
            self._invoked(1, None, self._clock, {})
            return self._end(words)
        self._write_transfers(singles + ([summary(singles)] if singles else []))
        self._invoked(1, None, self._clock, {"remote_cpu_time": cpu})
        return self._end("")

    def _write_transfers(self, raws: list[dict[str, Any]]) -> None:
        for raw in raws:
            self._log.write(raw["event"], **self._transfer(raw))

    async def _run(self, number: int, task: Task, group: Group) -> str:
        """Run one task; gives why it failed, or nothing."""
        clock = _Clock()
        self._invocation(number, "start", ts=clock.start)
        process = self._start(number, task, group)
        if isinstance(process, str):
            self._status = _NEVER_STARTED
            self._invoked(number, task, clock, {})
            return self._of_task(task, f"could not be started: {process}")
        try:
            await process.wait()
        finally:
            self._status = process.status
            self._invoked(number, task, clock, self._measured(task, process))
        words = _words(process.status) if process.status else self._missing_output(task)
        return self._of_task(task, words) if words else ""

    def _of_task(self, task: Task, words: str) -> str:
        return f"task {task.task_id} {words}" if len(self._job.tasks) > 1 else words

    def _start(self, number: int, task: Task, group: Group) -> Process | str:
        """The task's process, or why there is none."""
        try:
            streams = self._open_streams(number, task)
        except OSError as problem:
            return f"{problem.filename}: {problem.strerror}"
        try:
            environment = self._environment(task, group)
            return Process(
                task.argv, self._plan.scratch, environment, streams, self._trace, self._watch, cpus=group.cpus
            )
        except OSError as problem:
            if problem.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE):
                raise EnvironmentMissingError(
                    f"job {self._job.job_id}: cannot start a process: {problem.strerror}"
                ) from None
            return str(problem)
        finally:
            for descriptor in streams:
                os.close(descriptor)

    def _open_streams(self, number: int, task: Task) -> tuple[int, int, int]:
        """Standard streams of a task; what the tasks of a job say comes into the same two files."""
        scratch = self._plan.scratch
        begun = os.O_APPEND if number > 1 else os.O_TRUNC
        opened: list[int] = []
        try:
            opened.append(os.open(scratch / task.stdin if task.stdin else os.devnull, os.O_RDONLY))
            for name, kept in ((task.stdout, self._stdout), (task.stderr, self._stderr)):
                path, how = (scratch / name, os.O_TRUNC) if name else (kept, begun)
                opened.append(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o644))
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return opened[0], opened[1], opened[2]

    def _environment(self, task: Task, group: Group) -> dict[str, str]:
        own = {
            "OMP_NUM_THREADS": str(self._job.cores),
            "PEGASUS_WF_UUID": self._wf_uuid,
            "PEGASUS_WF_LABEL": self._plan.label,
            "PEGASUS_DAG_JOB_ID": self._job.job_id,
            "PEGASUS_SITE": self._plan.site,
            "PEGASUS_XFORMATION": task.transformation,
            "PEGASUS_TASK_ID": task.task_id,
            "PANORAMA_ATTEMPT": str(self.number),
            "CONDOR_JOBID": self._sched_id,
        } | ({"PANORAMA_SLOT_GROUP": group.name} if group.name else {})
        return os.environ | own | task.environment

    @property
    def _sched_id(self) -> str:
        return f"{self.number}.0"

    def _begin(self) -> None:
        self._clock = _Clock()
        streams = {"stdout_file": self._stdout.name, "stderr_file": self._stderr.name}
        self._write("main.start", ts=self._clock.start, **streams)

    def _invoked(self, number: int, task: Task | None, clock: _Clock, measured: dict[str, Any]) -> None:
        """Record the end of a program, or of what an auxiliary job does."""
        job = self._job
        self._invocation(
            number,
            "end",
            ts=time.time(),
            start_time=measured.pop("start_time", clock.start),
            dur=measured.pop("dur", clock.elapsed),
            transformation=task.transformation if task else job.transformation,
            task_id=task.task_id if task else None,
            executable=task.argv[0] if task else job.executable,
            argv=" ".join(task.argv[1:]) if task else job.arguments,
            exitcode=self._status,
            **measured,
        )

    def _end(self, words: str) -> str:
        """Record the end of the attempt; gives why it failed, or nothing."""
        now, job, status = time.time(), self._job, self._status
        failed = bool(words)
        self._write("main.term", ts=now, status=0 if not status else -1)
        text = _tail(self._stderr) if failed else ""
        self._write(
            "main.end",
            ts=now,
            site=self._plan.site,
            local_dur=self._clock.elapsed,
            exitcode=str(status),
            status=0 if not status else -1,
            stdout_file=self._stdout.name,
            stderr_file=self._stderr.name,
            stdout_text=_tail(self._stdout) if failed else "",
            stderr_text=text,
            work_dir=str(self._plan.scratch),
            multiplier_factor="1",
            req_cpus=job.cores,
            req_memory_mb=job.memory or None,
        )
        self._write(
            "post.end", ts=now, status=-1 if failed else 0, exitcode=str(_FAILED if failed else 0), reason=words
        )
        self._over = True
        last = text.strip().rsplit("\n", 1)[-1]
        return f"{words}{f': {last}' if last and last not in words else ''} (see {self._stderr})" if failed else ""

    def _measured(self, task: Task, process: Process) -> dict[str, Any]:
        """What the probe's last record says of a task; what wait4 says where there is none."""
        last = _last_record(self._trace)
        if not last.get("final") or last.get("task_id") != task.task_id:
            return {"remote_cpu_time": process.cpu_time}
        user, system = last["rusage_utime"], last["rusage_stime"]
        used = {"utime": user, "stime": system, "remote_cpu_time": user + system, "maxrss": last.get("maxrss")}
        return used | {"start_time": last["start_ts"], "dur": last["dur"]}

    def _missing_output(self, task: Task) -> str:
        missing = [name for name in task.outputs if not (self._plan.scratch / name).exists()]
        return f"exited 0 but left no {', '.join(missing)}" if missing else ""

    def _transfer(self, raw: dict[str, Any]) -> dict[str, Any]:
        ids = {
            "wf_uuid": self._wf_uuid,
            "dag_job_id": self._job.job_id,
            "condor_job_id": self._sched_id,
            "attempt": self.number,
        }
        return {key: value for key, value in raw.items() if key != "event"} | ids

    def _write(self, event: str, **fields: Any) -> None:
        self._steps += 1
        self._log.write(
            f"stampede.job_inst.{event}",
            job_id=self._job.job_id,
            job_inst_id=self.number,
            js_id=self._steps,
            sched_id=self._sched_id,
            **fields,
        )

    def _invocation(self, number: int, event: str, **fields: Any) -> None:
        self._log.write(
            f"stampede.inv.{event}", job_id=self._job.job_id, job_inst_id=self.number, inv_id=number, **fields
        )


class _Clock:
    """Since when something runs; the clock on the wall may be set meanwhile."""

    def __init__(self) -> None:
        self.start, self._begin = time.time(), time.monotonic()

    @property
    def elapsed(self) -> float:
        """Time since then [s]."""
        return time.monotonic() - self._begin


def _timed(job: Job, plan: Plan) -> tuple[list[dict[str, Any]], float]:
    start = time.thread_time()
    singles = run_auxiliary(job, plan)
    return singles, time.thread_time() - start


def _words(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"failed with exit code {os.waitstatus_to_exitcode(status)}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _last_record(path: Path) -> dict[str, Any]:
    """The last line of a trace; nothing where there is none, or half of one."""
    try:
        record: dict[str, Any] = json.loads(_tail(path).strip().rsplit("\n", 1)[-1])
    except ValueError:
        return {}
    return record
