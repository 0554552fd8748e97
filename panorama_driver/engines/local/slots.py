"""The cores and the memory that all evaluations of a study share."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ...errors import WorkflowError


class Slots:
    """Hands out cores and memory, earlier evaluations first.

    Parameters
    ----------
    cores : int
        Cores to share.
    memory : int
        Memory to share [MB].
    """

    def __init__(self, cores: int, memory: int) -> None:
        self.cores = cores
        self.memory = memory
        self._free_cores = cores
        self._free_memory = memory
        self._waiting: list[tuple[int, int, int, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def check(self, name: str, cores: int, memory: int) -> None:
        """Refuse a job that could never start.

        Raises
        ------
        WorkflowError
            It needs more than there is.
        """
        if cores > self.cores or memory > self.memory:
            raise WorkflowError(
                f"job {name!r} needs {cores} cores and {memory} MB; the study has {self.cores} cores and "
                f"{self.memory} MB; choose another site or set of resources"
            )

    @asynccontextmanager
    async def hold(self, cores: int, memory: int, rank: int) -> AsyncIterator[None]:
        """Wait for cores and memory, and hold them; a smaller `rank` is served first."""
        granted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._count), cores, memory, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(cores, memory)
            else:
                granted.cancel()
                self._grant()
            raise
        try:
            yield
        finally:
            self._give_back(cores, memory)

    def _grant(self) -> None:
        while self._waiting:
            _, _, cores, memory, granted = self._waiting[0]
            if granted.cancelled():
                heapq.heappop(self._waiting)
                continue
            if cores > self._free_cores or memory > self._free_memory:
                return
            heapq.heappop(self._waiting)
            self._free_cores -= cores
            self._free_memory -= memory
            granted.set_result(None)

    def _give_back(self, cores: int, memory: int) -> None:
        self._free_cores += cores
        self._free_memory += memory
        self._grant()


def machine_slots(cores: int | None = None) -> Slots:
    """All that this process may use: its affinity mask's cores and the machine's memory, or less in a container."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    given = min([memory, *_cgroup_limit("memory.max")]) // 2**20
    return Slots(cores or int(min([len(os.sched_getaffinity(0)), *_cgroup_limit("cpu.max")])) or 1, given)


def _cgroup_limit(name: str) -> list[int]:
    """A limit of our control group (version 2, cgroups(7)): cores, at least 1, or bytes; none where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        group = next(line[3:] for line in lines if line.startswith("0::"))
        limit, _, period = Path("/sys/fs/cgroup", group.lstrip("/"), name).read_text().strip().partition(" ")
        return [] if limit == "max" else [max(1, int(limit) // int(period or 1))]
    except (OSError, StopIteration, ValueError):
        return []
