"""Cores handed out: in turn, by groups, fewer while there is a limit; some groups spared, one always used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.config import SlotGroup, load_study, processors
from panorama_driver.engines.local import Group, Slots, machine_slots
from panorama_driver.errors import StudyError, WorkflowError

TWO = (Group("fast", 2), Group("slow", 1))


class Jobs:
    """Jobs that hold what they got until they are told to end."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.got: dict[str, str] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, cores: int = 1, rank: int = 0, without: Collection[str] = ()) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, cores, rank, without))
        await settled()

    async def _hold(self, name: str, cores: int, rank: int, without: Collection[str]) -> None:
        async with self.slots.hold(cores, 1, rank, without) as group:
            self.got[name] = group.name
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
        await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await settled()

    async def end_all(self) -> None:
        for name in list(self._ends):
            self._ends[name].set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def with_jobs(slots: Slots, act: Callable[[Jobs], Awaitable[None]]) -> None:
    async def run() -> None:
        jobs = Jobs(slots)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(jobs.end_all)
            await act(jobs)

    asyncio.run(run())


def test_a_job_goes_into_the_first_group_that_has_room() -> None:
    async def act(jobs: Jobs) -> None:
        for name in "abcd":
            await jobs.start(name)
        assert jobs.got == {"a": "fast", "b": "fast", "c": "slow"}
        await jobs.end("c")
        assert jobs.got["d"] == "slow"

    with_jobs(Slots(3, 99, TWO), act)


def test_a_wide_job_waits_for_its_group_and_later_ones_use_the_other() -> None:
    async def act(jobs: Jobs) -> None:
        await jobs.start("narrow")
        await jobs.start("wide", cores=2)
        await jobs.start("late")
        assert jobs.got == {"narrow": "fast", "late": "slow"}
        await jobs.end("late")
        await jobs.start("later")
        assert jobs.got["later"] == "slow"
        await jobs.end("narrow")
        assert jobs.got["wide"] == "fast"

    with_jobs(Slots(3, 99, TWO), act)


def test_a_job_must_fit_into_one_group() -> None:
    slots = Slots(3, 99, TWO)
    slots.check("wide", 2, 1)
    with pytest.raises(WorkflowError, match="needs 3 cores and 1 MB; the study has 2 cores in its largest group"):
        slots.check("wider", 3, 1)


def test_an_avoided_group_gets_nothing_new_until_it_is_used_again() -> None:
    async def act(jobs: Jobs) -> None:
        assert jobs.slots.avoid(frozenset({"fast"})) == {"fast"}
        await jobs.start("a")
        await jobs.start("b")
        assert jobs.got == {"a": "slow"}
        assert jobs.slots.avoid(frozenset()) == frozenset()
        await settled()
        assert jobs.got["b"] == "fast"

    with_jobs(Slots(3, 99, TWO), act)


def test_the_last_group_is_used_all_the_same() -> None:
    slots = Slots(3, 99, TWO)
    assert slots.avoid(frozenset({"slow"})) == {"slow"}
    assert slots.avoid(frozenset({"slow", "fast"})) == {"slow"}
    assert Slots(3, 99, TWO).avoid(frozenset({"slow", "fast", "other"})) == frozenset()
    assert Slots(3, 99).avoid(frozenset({""})) == frozenset()


def test_a_job_that_fits_nowhere_else_goes_into_an_avoided_group() -> None:
    async def act(jobs: Jobs) -> None:
        jobs.slots.avoid(frozenset({"fast"}))
        await jobs.start("wide", cores=2)
        assert jobs.got == {"wide": "fast"}

    with_jobs(Slots(3, 99, TWO), act)


def test_a_job_that_left_a_group_goes_to_another_if_one_fits() -> None:
    async def act(jobs: Jobs) -> None:
        await jobs.start("again", without={"fast"})
        await jobs.start("wide", cores=2, without={"fast"})
        assert jobs.got == {"again": "slow", "wide": "fast"}

    with_jobs(Slots(3, 99, TWO), act)


def test_under_a_limit_fewer_cores_are_handed_out_and_what_runs_goes_on() -> None:
    async def act(jobs: Jobs) -> None:
        for name in "abc":
            await jobs.start(name)
        jobs.slots.limit_to(2)
        await jobs.end("a")
        await jobs.start("d")
        assert "d" not in jobs.got
        await jobs.end("b")
        assert jobs.got["d"] == "fast"
        jobs.slots.limit_to(None)
        await jobs.start("e")
        assert jobs.got["e"] == "fast"

    with_jobs(Slots(3, 99, TWO), act)


def test_a_job_wider_than_the_limit_runs_alone() -> None:
    async def act(jobs: Jobs) -> None:
        jobs.slots.limit_to(1)
        await jobs.start("a")
        await jobs.start("wide", cores=2)
        assert "wide" not in jobs.got
        await jobs.end("a")
        await jobs.start("b")
        assert jobs.got == {"a": "fast", "wide": "fast"}

    with_jobs(Slots(3, 99, TWO), act)


def test_one_that_waits_no_more_lets_the_next_go() -> None:
    async def act(jobs: Jobs) -> None:
        await jobs.start("a", cores=2)
        await jobs.start("wide", cores=2)
        await jobs.start("b", without={"slow"})
        assert "b" not in jobs.got
        await jobs.end("a")
        await jobs.cancel("wide")
        assert jobs.got["b"] == "fast"

    with_jobs(Slots(3, 99, TWO), act)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), max_size=12),
    st.one_of(st.none(), st.integers(1, 5)),
    st.integers(0, 7),
)
def test_whatever_is_asked_each_job_runs_and_no_group_is_overfull(
    cores: list[int], wanted: list[tuple[int, int, bool]], limit: int | None, avoided: int
) -> None:
    groups = [Group(f"g{n}", size) for n, size in enumerate(cores)]
    slots = Slots(sum(cores), 99, groups)
    used = {group.name: 0 for group in groups}
    ran = []

    async def job(number: int, size: int, rank: int, leave: bool) -> None:
        async with slots.hold(size, 1, rank, {"g0"} if leave else ()) as group:
            used[group.name] += size
            assert used[group.name] <= group.cores
            await settled()
            used[group.name] -= size
        ran.append(number)

    async def run() -> None:
        slots.limit_to(limit)
        slots.avoid(frozenset(group.name for n, group in enumerate(groups) if avoided >> n & 1))
        fits = [(n, *each) for n, each in enumerate(wanted) if each[0] <= max(cores)]
        async with asyncio.timeout(20):
            await asyncio.gather(*(job(*each) for each in fits))
        assert len(ran) == len(fits)

    asyncio.run(run())


@pytest.mark.parametrize(("text", "found"), [("3", {3}), ("0-3,8", {0, 1, 2, 3, 8}), ("1, 0-0", {0, 1})])
def test_processors_are_listed_as_in_cpusets(text: str, found: set[int]) -> None:
    assert processors(text) == found


@pytest.mark.parametrize("text", ["", "a", "3-1", "1;2", "1-", "-1", "1,,2"])
def test_what_lists_no_processors_is_refused_in_study_yml(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text(f"workflow: w\nresponses: {{}}\nslots: {{a: {{cores: 1, cpus: '{text}'}}}}\n")
    with pytest.raises(StudyError, match=r"study\.yml: slots\.a\.cpus: .* is no list of processors"):
        load_study(tmp_path / "study.yml")


def test_groups_of_a_machine_have_its_memory_and_their_own_cores() -> None:
    mine = sorted(os.sched_getaffinity(0))
    slots = machine_slots(groups={"fast": 3, "slow": SlotGroup(cores=1, cpus=str(mine[-1]))})
    assert (slots.cores, slots.memory) == (4, machine_slots().memory)
    assert slots.groups == (Group("fast", 3), Group("slow", 1, frozenset({mine[-1]})))


def test_processors_that_the_machine_has_not_are_refused() -> None:
    with pytest.raises(StudyError, match=r"slots\.slow\.cpus: '99999': this machine lets us use .* and not 99999"):
        machine_slots(groups={"slow": SlotGroup(cores=1, cpus="99999")})
