"""Jobs of the embedded engine in groups of slots, on real processes: where they run, what they are told, given up."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.files import RunFollower
from panorama_driver.engines.local import Group, Running, Slots, Watch, hostname, run_bundle
from panorama_driver.engines.outcome import Outcome
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.sources.hosts import short_name
from panorama_driver.store import open_store
from tests.engines.test_local import bundle, events

UUID = "11111111-0000"
HOST = short_name(hostname())


def run_in(path: Path, groups: tuple[Group, ...], running: Running | None = None, cores: int = 2) -> Any:
    return run_bundle(path, "local", UUID, Slots(cores, 4096, groups), Watch(interval=0.1), running=running)


def measured(path: Path) -> WorkflowMetrics:
    with open_store(path / "store.db") as store:
        RunFollower(path / "run", store).finish()
        return correlate(store.events(UUID))


def processes(job: str) -> dict[int, dict[str, str]]:
    """Environments of processes of a job, by their pid."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        environment = dict(line.decode(errors="replace").partition("=")[::2] for line in lines)
        if environment.get("PEGASUS_DAG_JOB_ID") == job and environment.get("PEGASUS_WF_UUID") == UUID:
            found[int(folder.name)] = environment
    return found


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(30):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found


def test_each_job_tells_the_group_that_it_ran_in(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=0.3)
    assert asyncio.run(run_in(path, (Group("fast", 1), Group("slow", 1)))).succeeded
    told = {raw["job_id"]: raw["slot_group"] for raw in events(path, "stampede.job_inst.host.info")}
    assert {told["sh_left"], told["sh_right"]} == {"fast", "slow"}
    jobs = {job.job_id: job for job in measured(path).jobs}
    assert {jobs["sh_left"].host, jobs["sh_right"].host} == {f"{HOST}/fast", f"{HOST}/slow"}
    assert jobs["sh_left"].cpu_time is not None
    assert all(raw["hostname"] == hostname() for raw in events(path, "stampede.job_inst.host.info"))


def test_without_groups_nothing_is_told_of_one(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    assert asyncio.run(run_in(path, ())).succeeded
    assert all("slot_group" not in raw for raw in events(path))
    assert {job.host for job in measured(path).jobs if job.type == "compute"} == {HOST}


def test_all_processes_of_a_job_are_bound_to_the_processors_of_its_group(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=2)
    last = max(os.sched_getaffinity(0))
    groups = Group("free", 1), Group("bound", 1, frozenset({last}))
    before = os.sched_getaffinity(0)

    async def look() -> list[tuple[str, set[int]]]:
        run = asyncio.create_task(run_in(path, groups))
        await until(lambda: len(processes("sh_left")) > 1 and len(processes("sh_right")) > 1)
        found = [
            (environment["PANORAMA_SLOT_GROUP"], os.sched_getaffinity(pid))
            for job in ("sh_left", "sh_right")
            for pid, environment in processes(job).items()
        ]
        assert (await run).succeeded
        return found

    found = asyncio.run(look())
    assert {frozenset(cpus) for name, cpus in found if name == "bound"} == {frozenset({last})}
    assert {frozenset(cpus) for name, cpus in found if name == "free"} == {frozenset(before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("how", ["asleep", "stopped", "probe stopped"])
def test_an_attempt_that_is_given_up_is_tried_again_in_another_group_beyond_its_retries(
    how: str, tmp_path: Path
) -> None:
    path = bundle(tmp_path / "b", pause=4)
    groups, runs = (Group("one", 2), Group("other", 2)), Running()

    async def give_up() -> tuple[Outcome, dict[int, dict[str, str]]]:
        run = asyncio.create_task(run_in(path, groups, runs, cores=4))
        await until(lambda: len(processes("sh_left")) > 1)
        began = processes("sh_left")
        [key] = [key for key in runs if key[1] == "sh_left"]
        if how != "asleep":
            probes = {pid for pid in began if began.keys() & {parent(child) for child in began} and is_probe(pid)}
            for pid in probes if how == "probe stopped" else began.keys() - probes:
                os.kill(pid, signal.SIGSTOP)
        attempt = runs[key]
        assert attempt.give_up("ended by the study server: stalled on here/one")
        assert not attempt.give_up("twice")
        outcome = await run
        return outcome, began

    begin = time.monotonic()
    outcome, began = asyncio.run(give_up())
    assert outcome.succeeded
    assert time.monotonic() - begin < 25
    assert not began.keys() & processes("sh_left").keys()
    assert runs == {}
    job = next(job for job in measured(path).jobs if job.job_id == "sh_left")
    assert [attempt.host for attempt in job.attempts] == [f"{HOST}/one", f"{HOST}/other"]
    assert [attempt.state for attempt in job.attempts] == ["failed", "succeeded"]
    assert job.attempts[0].failure == "removed: ended by the study server: stalled on here/one"


def test_an_attempt_that_is_given_up_where_there_is_no_other_place_is_tried_again_there(tmp_path: Path) -> None:
    path, runs = bundle(tmp_path / "b", pause=1.5), Running()

    async def give_up() -> Outcome:
        run = asyncio.create_task(run_in(path, (), runs))
        await until(lambda: [key for key in runs if key[1] == "sh_left"])
        await until(lambda: processes("sh_left"))
        [key] = [key for key in runs if key[1] == "sh_left"]
        assert runs[key].give_up("ended by the study server: stalled on here")
        outcome: Outcome = await run
        return outcome

    assert asyncio.run(give_up()).succeeded
    assert len([raw for raw in events(path, "stampede.job_inst.main.start") if raw["job_id"] == "sh_left"]) == 2


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def is_probe(pid: int) -> bool:
    try:
        return b"panorama_probe" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
