"""One run of a bundle: jobs in the order of their dependencies, each in a slot and under the probe, told by events.

A run directory that an earlier run left is taken up again: what its rescue file names is not repeated.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import time
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ...errors import EnvironmentMissingError, StoreError
from ..outcome import Outcome
from .log import EventLog, History, host
from .plan import COMPUTE, Job, Plan, Task, plan_bundle
from .process import WATCH, Process, Watch, end_attempt
from .slots import Slots
from .staging import StagingError, run_auxiliary, summary

_TAIL = 4096
_FAILED = 256
_NEVER_STARTED = -127


class _JobFailedError(Exception):
    """A job has failed for good."""


async def run_bundle(
    directory: Path,
    site: str,
    wf_uuid: str,
    slots: Slots,
    watch: Watch = WATCH,
    rank: int = 0,
) -> Outcome:
    """Run the bundle in `directory`, or finish what an earlier run of it left.

    Parameters
    ----------
    directory : Path
        A bundle; the run leaves its records in `run/` and the results in `output/`.
    site : str
        The site of the bundle's catalog that runs the jobs.
    wf_uuid : str
        Identity of this run of the workflow; the same when a run is taken up again.
    slots : Slots
        Cores and memory that are shared with other runs.
    watch : Watch
        How the jobs are watched.
    rank : int
        Runs of a smaller rank get slots first.

    Raises
    ------
    WorkflowError
        The bundle is not complete, or a job needs more than the slots have.
    """
    plan = plan_bundle(directory, site)
    for job in plan.jobs.values():
        slots.check(job.job_id, job.cores, job.memory)
    folder = directory / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = EventLog(folder, plan, wf_uuid)
    try:
        return await _Run(plan, folder, wf_uuid, slots, log, watch, rank).run()
    finally:
        log.close()


class _Run:
    def __init__(
        self, plan: Plan, folder: Path, wf_uuid: str, slots: Slots, log: EventLog, watch: Watch, rank: int
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._wf_uuid = wf_uuid
        self._slots = slots
        self._log = log
        self._watch = watch
        self._rank = rank
        self._rescue = folder / f"{plan.label}-0.dag.rescue"
        self._history = History(log.history)
        self._attempts = self._history.attempts
        self._failures: list[str] = []
        self._done: set[str] = set()
        self._limit = asyncio.Semaphore(plan.max_jobs or len(plan.jobs))

    async def run(self) -> Outcome:
        await self._end_strays()
        self._done = self._rescued()
        if not self._history.planned:
            self._log.plan(self._folder)
        self._log.write("stampede.xwf.start", restart_count=self._history.restarts)
        self._log.write("stampede.xwf.meta", key="slots", value=str(self._slots.cores))
        status, reason = -1, "the run was cancelled"
        try:
            await self._walk()
            status, reason = (0, "") if not self._failures else (-1, self._failures[0])
        finally:
            if status:
                self._write_rescue()
            end = {"status": status, "restart_count": self._history.restarts, "reason": reason or None}
            self._log.write("stampede.xwf.end", **end)
        return Outcome(succeeded=status == 0, reason=reason)

    async def _walk(self) -> None:
        """Run every job whose parents have finished, until none is left that can run."""
        order = TopologicalSorter({name: job.parents for name, job in self._plan.jobs.items()})
        order.prepare()
        ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        running: dict[asyncio.Task[None], str] = {}
        try:
            while True:
                for name in self._ready(order):
                    task = asyncio.create_task(self._finish(self._plan.jobs[name]))
                    task.add_done_callback(ended.put_nowait)
                    running[task] = name
                if not running:
                    return  # what has not run depends on a job that failed
                task = await ended.get()
                name = running.pop(task)
                if self._well(task):
                    self._done.add(name)
                    order.done(name)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _ready(self, order: TopologicalSorter[str]) -> list[str]:
        """Jobs that can start now; those that an earlier run has finished are passed over."""
        ready = []
        while names := order.get_ready():
            for name in names:
                if name in self._done:
                    order.done(name)
                else:
                    ready.append(name)
        return ready

    def _well(self, task: asyncio.Task[None]) -> bool:
        problem = task.exception()
        if isinstance(problem, _JobFailedError):
            self._failures.append(str(problem))
            return False
        if problem is not None:
            raise problem
        return True

    async def _finish(self, job: Job) -> None:
        """Try a job until it ends well or has no retries left."""
        reason = ""
        for _ in range(job.retries + 1):
            async with self._limit, self._submitted(job) as attempt:
                reason = await self._in_turn(job, attempt)
            if not reason:
                return
        raise _JobFailedError(f"job {job.job_id} {reason}")

    async def _in_turn(self, job: Job, attempt: _Attempt) -> str:
        """Compute jobs wait for a slot; staging, which takes milliseconds of CPU time, must not wait behind them."""
        if job.type != COMPUTE:
            return await attempt.auxiliary()
        async with self._slots.hold(job.cores, job.memory, self._rank):
            return await attempt.compute()

    def _submitted(self, job: Job) -> _Attempt:
        self._attempts += 1
        number = self._history.tries.get(job.job_id, 0)
        self._history.tries[job.job_id] = number + 1
        return _Attempt(job, self._attempts, number, self._plan, self._folder, self._wf_uuid, self._log, self._watch)

    def _write_rescue(self) -> None:
        """Say which jobs need not be repeated, as DAGMan does; after a crash the events say it."""
        try:
            self._rescue.write_text("".join(f"DONE {name}\n" for name in sorted(self._done)), encoding="utf-8")
        except OSError as problem:
            raise StoreError(f"{self._rescue}: cannot be written: {problem.strerror}; free some space") from None

    def _rescued(self) -> set[str]:
        lines = self._rescue.read_text(encoding="utf-8").split("\n")[:-1] if self._rescue.exists() else []
        done = {line.split(" ", 1)[1] for line in lines if line.startswith("DONE ")}
        return (done | self._history.done) & self._plan.jobs.keys()

    async def _end_strays(self) -> None:
        """See to it that attempts of an engine that was killed have ended before they are tried again."""
        for raw in self._history.open:
            await end_attempt(self._wf_uuid, str(raw["job_inst_id"]))
            self._log.write(
                "stampede.job_inst.abort.info",
                job_id=raw["job_id"],
                job_inst_id=raw["job_inst_id"],
                sched_id=raw["sched_id"],
                reason="the engine ended before the job did",
            )


class _Attempt:
    """One try of one job, from its submission to its end, with its events."""

    def __init__(
        self,
        job: Job,
        attempt: int,
        number: int,
        plan: Plan,
        folder: Path,
        wf_uuid: str,
        log: EventLog,
        watch: Watch,
    ) -> None:
        self._job = job
        self._attempt = attempt
        self._plan = plan
        self._folder = folder
        self._wf_uuid = wf_uuid
        self._log = log
        self._watch = watch
        self._steps = 0
        self._over = False
        self._clock = _Clock()
        self._status = 0
        self._stdout = folder / f"{job.job_id}.out.{number:03d}"
        self._stderr = folder / f"{job.job_id}.err.{number:03d}"
        self._trace = folder / f"{job.job_id}.trace.{number:03d}.jsonl"

    async def __aenter__(self) -> _Attempt:
        self._write("submit.start", site=self._plan.site)
        self._write("submit.end", status=0)
        return self

    async def __aexit__(self, kind: object, problem: object, trace: object) -> None:
        if not self._over:
            self._write("abort.info", reason="the run was cancelled")

    async def compute(self) -> str:
        """Run the tasks of a compute job, one after the other; gives why it failed, or nothing.

        The first that fails ends the job, as with Pegasus' clustering tool (pegasus-cluster -f).
        """
        self._begin()
        self._write("host.info", site=self._plan.site, **host())
        reason = ""
        try:
            async with asyncio.timeout(self._job.runtime):
                for number, task in enumerate(self._job.tasks, 1):
                    reason = await self._run(number, task)
                    if reason:
                        break
        except TimeoutError:
            reason = f"ran longer than its {self._job.runtime:g} s and was ended"
        except asyncio.CancelledError:
            self._end("the run was cancelled")
            raise
        return self._end(reason)

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

    async def _run(self, number: int, task: Task) -> str:
        """Run one task; gives why it failed, or nothing."""
        clock = _Clock()
        self._invocation(number, "start", ts=clock.start)
        process = self._start(number, task)
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

    def _start(self, number: int, task: Task) -> Process | str:
        """The task's process, or why there is none."""
        try:
            streams = self._open_streams(number, task)
        except OSError as problem:
            return f"{problem.filename}: {problem.strerror}"
        try:
            return Process(task.argv, self._plan.scratch, self._environment(task), streams, self._trace, self._watch)
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

    def _environment(self, task: Task) -> dict[str, str]:
        own = {
            "OMP_NUM_THREADS": str(self._job.cores),
            "PEGASUS_WF_UUID": self._wf_uuid,
            "PEGASUS_WF_LABEL": self._plan.label,
            "PEGASUS_DAG_JOB_ID": self._job.job_id,
            "PEGASUS_SITE": self._plan.site,
            "PEGASUS_XFORMATION": task.transformation,
            "PEGASUS_TASK_ID": task.task_id,
            "PANORAMA_ATTEMPT": str(self._attempt),
            "CONDOR_JOBID": self._sched_id,
        }
        return os.environ | own | task.environment

    @property
    def _sched_id(self) -> str:
        return f"{self._attempt}.0"

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
            "attempt": self._attempt,
        }
        return {key: value for key, value in raw.items() if key != "event"} | ids

    def _write(self, event: str, **fields: Any) -> None:
        self._steps += 1
        self._log.write(
            f"stampede.job_inst.{event}",
            job_id=self._job.job_id,
            job_inst_id=self._attempt,
            js_id=self._steps,
            sched_id=self._sched_id,
            **fields,
        )

    def _invocation(self, number: int, event: str, **fields: Any) -> None:
        self._log.write(
            f"stampede.inv.{event}", job_id=self._job.job_id, job_inst_id=self._attempt, inv_id=number, **fields
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
