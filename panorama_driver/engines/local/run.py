"""One run of a bundle: jobs in the order of their dependencies, each in a slot and under the probe, told by events.

A run directory that an earlier run left is taken up again: what its rescue file names is not repeated.
"""

from __future__ import annotations

import asyncio
from graphlib import TopologicalSorter
from pathlib import Path

from ...errors import StoreError
from ..outcome import Outcome
from .attempt import Attempt
from .log import EventLog, History
from .plan import COMPUTE, Job, Plan, plan_bundle
from .process import WATCH, Watch, end_attempt
from .slots import Slots

Running = dict[tuple[str, str, int], Attempt]
"""Attempts of compute jobs that run, by (wf_uuid, job_id, attempt)."""


class _JobFailedError(Exception):
    """A job has failed for good."""


async def run_bundle(
    directory: Path,
    site: str,
    wf_uuid: str,
    slots: Slots,
    watch: Watch = WATCH,
    rank: int = 0,
    running: Running | None = None,
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
    running : dict, optional
        Where attempts are found while they run, by those who may give one up.

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
        return await _Run(plan, folder, wf_uuid, slots, log, watch, rank, {} if running is None else running).run()
    finally:
        log.close()


class _Run:
    def __init__(
        self,
        plan: Plan,
        folder: Path,
        wf_uuid: str,
        slots: Slots,
        log: EventLog,
        watch: Watch,
        rank: int,
        running: Running,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._wf_uuid = wf_uuid
        self._slots = slots
        self._log = log
        self._watch = watch
        self._rank = rank
        self._running = running
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
        """Try a job until it ends well or has no retries left; an attempt that was given up costs none."""
        reason, failures, left = "", 0, set[str]()
        while failures <= job.retries:
            async with self._limit, self._submitted(job) as attempt:
                reason = await self._in_turn(job, attempt, left)
            if not reason:
                return
            if attempt.given_up and attempt.group:
                left.add(attempt.group.name)
            else:
                failures += 1
        raise _JobFailedError(f"job {job.job_id} {reason}")

    async def _in_turn(self, job: Job, attempt: Attempt, left: set[str]) -> str:
        """Compute jobs wait for a slot, not in a group that they `left`; staging, which takes milliseconds of CPU time,
        must not wait behind them."""
        if job.type != COMPUTE:
            return await attempt.auxiliary()
        async with self._slots.hold(job.cores, job.memory, self._rank, left) as group:
            key = self._wf_uuid, job.job_id, attempt.number
            self._running[key] = attempt
            try:
                return await attempt.compute(group)
            finally:
                del self._running[key]

    def _submitted(self, job: Job) -> Attempt:
        self._attempts += 1
        before = self._history.tries.get(job.job_id, 0)
        self._history.tries[job.job_id] = before + 1
        return Attempt(job, self._attempts, before, self._plan, self._folder, self._wf_uuid, self._log, self._watch)

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
