"""Keeps the workflows of a study off hosts while they run.

Workflows that are still to be planned are told by their catalogs, jobs that DAGMan has still to submit by the files of
their plan, and those that wait by their ads. What slips through, such as a plan that was being made or a job that was
being submitted, is found by looking again and again, until the workflows that were told have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import PanoramaError
from . import hosts as queue
from . import submitfiles
from .run import PegasusRun

_PASS = 2.0  # [s] between two looks into the queue
_SHARE = 0.1  # of the time, at most, that a schedd is asked
_log = logging.getLogger(__name__)

Prepare = Callable[[Path, frozenset[str]], bool]


class Steering:
    """The workflows of one study.

    Parameters
    ----------
    prepare : callable
        Has a bundle planned so that its jobs avoid these hosts; whether it was told of hosts before.
    queued : bool
        Whether jobs wait in HTCondor's queue for a machine, and can be told there.
    """

    def __init__(self, prepare: Prepare, queued: bool) -> None:
        self._prepare = prepare
        self._queued = queued
        self._runs: set[PegasusRun] = set()
        self._told: dict[PegasusRun, object] = {}
        self._hosts: frozenset[str] = frozenset()
        self._watch: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()

    @property
    def hosts(self) -> frozenset[str]:
        """Those that are avoided."""
        return self._hosts

    @contextmanager
    def steered(self, run: PegasusRun) -> Iterator[None]:
        """A workflow that is going to run, until it has."""
        self._runs.add(run)
        self._tell(run)
        self._begin()
        try:
            yield
        finally:
            self._runs.discard(run)
            self._told.pop(run, None)

    async def avoid(self, hosts: frozenset[str]) -> None:
        """From now on avoid these hosts, and no others; gives control back when what waits in the queue knows it."""
        self._hosts = hosts
        for run in self._runs:
            self._tell(run)
        await self._look()
        self._begin()

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        """Take a job from a host; it goes to another where the pool has one."""
        run = next((run for run in self._runs if run.wf_uuid == wf_uuid), None)
        sched_id = run.sched_id(job_id, attempt) if run else None
        if sched_id is None or not self._queued:
            return False
        others = await asyncio.to_thread(queue.pool) - {host} - self._hosts
        return await asyncio.to_thread(queue.take_from, wf_uuid, sched_id, host, elsewhere=bool(others))

    def close(self) -> None:
        """Look no more; what was told stays told."""
        if self._watch is not None:
            self._watch.cancel()

    def _tell(self, run: PegasusRun) -> None:
        try:
            if self._prepare(run.directory, self._hosts) or self._hosts:
                self._told.setdefault(run, None)
        except (PanoramaError, OSError) as problem:
            _log.warning("%s", problem)  # its jobs are told in the queue

    def _begin(self) -> None:
        if self._queued and self._told and (self._watch is None or self._watch.done()):
            self._watch = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        while self._told:
            took = await self._look()
            await asyncio.sleep(max(_PASS, took / _SHARE))

    async def _look(self) -> float:
        """See that all that has not started knows the hosts; how long that took [s]."""
        began = time.monotonic()
        async with self._looking:
            if self._queued:
                await self._tell_plans()
                await self._tell_queue()
        return time.monotonic() - began

    async def _tell_plans(self) -> None:
        for run, known in list(self._told.items()):
            wanted = (run.submit_dir, self._hosts)
            if run.submit_dir is not None and known != wanted:
                await asyncio.to_thread(submitfiles.tell, run.submit_dir, self._hosts)
                if run in self._told:  # it may have ended
                    self._told[run] = wanted

    async def _tell_queue(self) -> None:
        waiting = {run.wf_uuid for run in self._told} - {""}
        told = await asyncio.to_thread(queue.keep_off, waiting, self._hosts)
        if told:
            _log.info("%d queued jobs were told to avoid %s", told, ", ".join(sorted(self._hosts)) or "no host")
