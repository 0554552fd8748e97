"""The cores and the memory that all evaluations of a study share; cores may be in groups, of which a job uses one."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import os
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ...config import SlotGroup, processors
from ...errors import StudyError, WorkflowError


class Group(msgspec.Struct, frozen=True):
    """Cores that belong together.

    Attributes
    ----------
    name : str
        Empty where the study has no groups.
    cores : int
        Cores that jobs may hold at a time.
    cpus : frozenset of int or None
        Processors that its jobs are bound to; None leaves them where this process may run.
    """

    name: str
    cores: int
    cpus: frozenset[int] | None = None


class _Wish(msgspec.Struct, frozen=True):
    """What a job waits for."""

    cores: int
    memory: int
    without: frozenset[str]
    granted: asyncio.Future[Group]


class Slots:
    """Hands out cores and memory, earlier evaluations first.

    A job gets the first group, in the order of the study, that has room for it. One that waits keeps later ones out of
    the groups that it waits for.

    Parameters
    ----------
    cores : int
        Cores to share.
    memory : int
        Memory to share [MB].
    groups : iterable of Group
        What the cores are divided into; one of all unless told.
    """

    def __init__(self, cores: int, memory: int, groups: Iterable[Group] = ()) -> None:
        self.cores = cores
        self.memory = memory
        self.groups = tuple(groups) or (Group("", cores),)
        self.limit: int | None = None
        self._avoided: frozenset[str] = frozenset()
        self._free_cores = {group.name: group.cores for group in self.groups}
        self._free_memory = memory
        self._waiting: list[tuple[int, int, _Wish]] = []
        self._count = itertools.count()

    def check(self, name: str, cores: int, memory: int) -> None:
        """Refuse a job that could never start.

        Raises
        ------
        WorkflowError
            It needs more than there is.
        """
        largest = max(self.groups, key=lambda group: group.cores)
        if cores > largest.cores or memory > self.memory:
            has = f"{self.cores} cores" if not largest.name else f"{largest.cores} cores in its largest group of slots"
            raise WorkflowError(
                f"job {name!r} needs {cores} cores and {memory} MB; the study has {has} and "
                f"{self.memory} MB; choose another site or set of resources"
            )

    @asynccontextmanager
    async def hold(
        self, cores: int, memory: int, rank: int, without: Collection[str] = frozenset()
    ) -> AsyncIterator[Group]:
        """Wait for cores and memory, and hold them; a smaller `rank` is served first.

        They are not of a group `without`, unless no other one is large enough.
        """
        granted: asyncio.Future[Group] = asyncio.get_running_loop().create_future()
        bisect.insort(
            self._waiting, (rank, next(self._count), _Wish(cores, memory, frozenset(without), granted)), key=_turn
        )
        self._grant()
        try:
            group = await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(granted.result(), cores, memory)
            else:
                granted.cancel()
                self._grant()
            raise
        try:
            yield group
        finally:
            self._give_back(group, cores, memory)

    def avoid(self, names: frozenset[str]) -> frozenset[str]:
        """From now on, use none of these groups, and all others again; what holds cores there keeps them.

        One group is always used: where these are all, those are that were not avoided before. A job that fits into no
        group but one of these goes there all the same.

        Returns
        -------
        frozenset of str
            Those that are avoided now.
        """
        every = frozenset(group.name for group in self.groups)
        asked = names & every
        self._avoided = asked if asked < every else self._avoided
        self._grant()
        return self._avoided

    def limit_to(self, cores: int | None) -> None:
        """From now on, hand out no more than so many cores at a time; None is all.

        A job that needs more runs where nothing else does.
        """
        self.limit = cores
        self._grant()

    @property
    def _used(self) -> int:
        return sum(group.cores - self._free_cores[group.name] for group in self.groups)

    def _grant(self) -> None:
        """Serve those who wait in their turn; each that cannot be served shuts its groups for those behind it."""
        shut: set[str] = set()
        left: list[tuple[int, int, _Wish]] = []
        while self._waiting and len(shut) < len(self.groups):
            turn = self._waiting.pop(0)
            wish = turn[2]
            if wish.granted.cancelled():
                continue
            if not self._has_memory(wish):
                left.append(turn)
                break
            fitting = self._fitting(wish)
            group = next((g for g in fitting if g.name not in shut and self._free_cores[g.name] >= wish.cores), None)
            if group is None:
                shut |= {fit.name for fit in fitting}
                left.append(turn)
            else:
                self._take(group, wish)
        self._waiting[:0] = left

    def _has_memory(self, wish: _Wish) -> bool:
        used = self._used
        within = self.limit is None or not used or used + wish.cores <= self.limit
        return within and wish.memory <= self._free_memory

    def _fitting(self, wish: _Wish) -> list[Group]:
        """Groups that are large enough; of those that are to be spared none, where there are others."""
        large = [group for group in self.groups if group.cores >= wish.cores]
        used = [group for group in large if group.name not in self._avoided] or large
        return [group for group in used if group.name not in wish.without] or used

    def _take(self, group: Group, wish: _Wish) -> None:
        self._free_cores[group.name] -= wish.cores
        self._free_memory -= wish.memory
        wish.granted.set_result(group)

    def _give_back(self, group: Group, cores: int, memory: int) -> None:
        self._free_cores[group.name] += cores
        self._free_memory += memory
        self._grant()


def _turn(waiting: tuple[int, int, _Wish]) -> tuple[int, int]:
    return waiting[0], waiting[1]


def machine_slots(cores: int | None = None, groups: Mapping[str, int | SlotGroup] | None = None) -> Slots:
    """All that this process may use: its affinity mask's cores and the machine's memory, or less in a container.

    Raises
    ------
    StudyError
        A group names processors that this process may not use.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    given = min([memory, *_cgroup_limit("memory.max")]) // 2**20
    if groups:
        found = [_group(name, group) for name, group in groups.items()]
        return Slots(sum(group.cores for group in found), given, found)
    return Slots(cores or int(min([len(os.sched_getaffinity(0)), *_cgroup_limit("cpu.max")])) or 1, given)


def _group(name: str, given: int | SlotGroup) -> Group:
    if isinstance(given, int):
        return Group(name, given)
    if given.cpus is None:
        return Group(name, given.cores)
    cpus, there = processors(given.cpus), os.sched_getaffinity(0)
    if not cpus <= there:
        raise StudyError(
            f"slots.{name}.cpus: {given.cpus!r}: this machine lets us use {_listed(there)} and not "
            f"{_listed(cpus - there)}; name others in study.yml"
        )
    return Group(name, given.cores, cpus)


def _listed(cpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))


def _cgroup_limit(name: str) -> list[int]:
    """A limit of our control group (version 2, cgroups(7)): cores, at least 1, or bytes; none where there is none."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        group = next(line[3:] for line in lines if line.startswith("0::"))
        limit, _, period = Path("/sys/fs/cgroup", group.lstrip("/"), name).read_text().strip().partition(" ")
        return [] if limit == "max" else [max(1, int(limit) // int(period or 1))]
    except (OSError, StopIteration, ValueError):
        return []
