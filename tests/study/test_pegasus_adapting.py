"""A study's workflows on stand-ins of HTCondor with two machines, one of which is to be avoided."""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.submitdir import SubmitDirFollower
from panorama_driver.config import Ensemble, Study
from panorama_driver.engines.outcome import Outcome
from panorama_driver.engines.pegasus import service
from panorama_driver.errors import SiteError, StudyError
from panorama_driver.metrics import correlate
from panorama_driver.render import Site, find_site, find_workflow, render
from panorama_driver.sources.hosts import short_name
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.study.pegasus import PegasusRunner
from panorama_driver.study.runners import Ticket
from panorama_driver.testing import Standins
from panorama_driver.testing.manager import Manager
from tests.conftest import PARABOLA
from tests.engines.conftest import manager, place, standins
from tests.study.test_pegasus import ask, journal, study
from tests.study.test_pegasus import until as waiting_until

__all__ = ["manager", "place", "standins", "study"]
pytestmark = pytest.mark.timeout(240)
SLOW, FAST = "slow.pool.org", "fast.pool.org"


@pytest.fixture
def site(standins: Standins, tmp_path: Path) -> Site:
    standins.set(slots=[{"cpus": 1, "machine": SLOW}, {"cpus": 1, "machine": FAST}])
    variables = {"python": sys.executable, "probe_python": sys.executable}
    return find_site("condorpool", tmp_path, variables)


@pytest.fixture
def make(place: Path, monkeypatch: pytest.MonkeyPatch, manager: Manager) -> Callable[..., PegasusRunner]:
    monkeypatch.setenv("PANORAMA_ENSEMBLE_URL", manager.url)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_USER", manager.user)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_PASSWORD", manager.password)
    return lambda site, **limits: runner(site, place, **limits)


def runner(site: Site, home: Path, max_running: int | None = None) -> PegasusRunner:
    ensemble = Ensemble(name="e", max_running=max_running)
    study = Study(workflow="parabola", responses={}, engine="pegasus", ensemble=ensemble)
    return PegasusRunner(study, home, site)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*fixtures: Any, **named: Any) -> None:
        asyncio.run(test(*fixtures, **named))

    return run


class Workflow:
    """One of the parabola's, whose two middle jobs sleep."""

    def __init__(self, runner: PegasusRunner, site: Site, directory: Path, pause: float) -> None:
        self.directory, self.wf_uuid = directory, ""
        folder = find_workflow(str(PARABOLA), directory.parent)
        render(folder, site, {"x": 1.0}, {"pause": pause}, directory, runner.monitoring(), runner.planner())
        ticket = Ticket(directory, directory.name, None, 0, False, None, self._planned, print, print)
        self.task = asyncio.create_task(runner.run(ticket))

    def _planned(self, wf_uuid: str) -> None:
        self.wf_uuid = wf_uuid

    @property
    def submit_dir(self) -> Path:
        return Path((self.directory / "run/submitdir").read_text().strip())

    def told(self, what: str) -> list[str]:
        """Lines of a kind in HTCondor's log of its jobs."""
        if not (self.directory / "run/submitdir").exists():
            return []
        text = "".join(path.read_text() for path in self.submit_dir.glob("*.dag.nodes.log"))
        return [line for line in text.splitlines() if what in line]

    async def ended(self) -> Outcome:
        return await asyncio.wait_for(self.task, 120)

    def machines(self) -> list[str]:
        return [line.rpartition("@")[2] for line in self.told("SlotName: ")]


async def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@in_loop
async def test_what_runs_goes_on_and_what_follows_goes_elsewhere(
    make: Callable[..., PegasusRunner], site: Site, place: Path
) -> None:
    pegasus = make(site)
    first = Workflow(pegasus, site, place / "first", pause=3.0)
    await until(lambda: {SLOW, FAST} <= set(first.machines()))
    before = len(first.machines())
    assert await pegasus.avoid(frozenset({"slow"})) == {"slow"}
    second = Workflow(pegasus, site, place / "second", pause=0.0)
    assert [(await flow.ended()).succeeded for flow in (first, second)] == [True, True]
    assert set(first.machines()[before:]) == set(second.machines()) == {FAST}
    assert await pegasus.avoid(frozenset()) == frozenset()
    third = Workflow(pegasus, site, place / "third", pause=2.0)
    assert (await third.ended()).succeeded
    assert SLOW in third.machines()
    await pegasus.close()


@in_loop
async def test_a_stalled_job_is_tried_again_elsewhere_as_the_same_attempt(
    make: Callable[..., PegasusRunner], site: Site, place: Path, standins: Standins
) -> None:
    pegasus = make(site)
    flow = Workflow(pegasus, site, place / "stalled", pause=8.0)

    def on_slow() -> list[str]:
        names = [str(ad["DAGNodeName"]) for ad in standins.jobs() if SLOW in ad.get("RemoteHost", "")]
        return [name for name in names if name.endswith(("left", "right")) and attempts_of(flow, name)]

    await until(on_slow)
    [job_id] = on_slow()
    [attempt] = attempts_of(flow, job_id)
    assert not await pegasus.retry(flow.wf_uuid, job_id, attempt, "fast")
    assert not await pegasus.retry(flow.wf_uuid, job_id, attempt + 50, "slow")
    assert await pegasus.retry(flow.wf_uuid, job_id, attempt, "slow")
    assert (await flow.ended()).succeeded
    assert len(flow.told("Job was evicted")) == 1
    await pegasus.close()
    with open_store(place / "store.db") as store:
        SubmitDirFollower(flow.directory / "run", store).finish()
        [job] = [job for job in correlate(store.events(flow.wf_uuid)).jobs if job.job_id == job_id]
    assert [(each.attempt, each.state) for each in job.attempts] == [(attempt, "succeeded")]
    assert 8.0 <= (job.attempts[0].wall_time or 0.0) < 30.0


def attempts_of(flow: Workflow, job_id: str) -> set[int]:
    """As far as monitord has told."""
    lines = [line.split() for line in (flow.submit_dir / "jobstate.log").read_text().splitlines()]
    return {int(words[6]) for words in lines if words[1] == job_id}


@in_loop
async def test_the_last_host_is_used_all_the_same(standins: Standins, site: Site, place: Path) -> None:
    pegasus = runner(site, place)
    assert await pegasus.avoid(frozenset({"slow"})) == {"slow"}
    assert await pegasus.avoid(frozenset({"slow", "fast"})) == {"slow"}
    assert await pegasus.avoid(frozenset({"fast", "10.0.0.7"})) == {"fast"}
    await pegasus.close()


@in_loop
async def test_this_machine_alone_is_never_avoided(standins: Standins, place: Path) -> None:
    pegasus = runner(find_site("local", place), place)
    assert await pegasus.avoid(frozenset({short_name(socket.gethostname())})) == frozenset()


@in_loop
async def test_a_batch_system_that_cannot_be_told_says_so(
    standins: Standins, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"project": "p", "user": "u", "scratch": "/s", "pegasus_home": "/p", "login": "summit"}
    pegasus = runner(find_site("summit", place, variables), place)
    with pytest.raises(SiteError, match="jobs of lsf cannot be kept off a host"):
        await pegasus.avoid(frozenset({"node1"}))
    with pytest.raises(SiteError, match="that lsf runs cannot be sent to another host"):
        await pegasus.retry("u", "job", 1, "node1")


@in_loop
async def test_the_ensemble_runs_fewer_at_a_time_and_again_as_many(
    make: Callable[..., PegasusRunner], site: Site, place: Path
) -> None:
    def limits() -> int | None:
        found = service.connect().ensemble("e")
        return found.max_running if found else None

    pegasus = make(site, max_running=3)
    await pegasus.limit(2)
    assert (pegasus.capacity, pegasus.running_limit) == (3, 2)
    assert (await Workflow(pegasus, site, place / "w", pause=0.0).ended()).succeeded
    assert limits() == 2
    await pegasus.limit(1)
    assert limits() == 1
    await pegasus.limit(None)
    assert (limits(), pegasus.running_limit) == (3, None)
    await pegasus.close()


@in_loop
async def test_a_number_that_the_study_does_not_name_is_not_changed(site: Site, place: Path) -> None:
    pegasus = runner(site, place)
    with pytest.raises(StudyError, match=r"ensemble\.max_running"):
        await pegasus.limit(1)
    assert pegasus.capacity is None


def test_an_evaluation_without_hope_is_removed_from_the_queue(study: Callable[..., Path], standins: Standins) -> None:
    home = study(responses="{makespan: workflow.makespan}", adapt="{stop_hopeless: true}", timeout="200 s")
    assert ask(home, 1.0)[0]["state"] == "ok"
    standins.set(idle=["sh_left*"])
    request = {"eval_id": "2", "variables": {"x": 2.0}}
    [reply] = client.evaluate(str(home / "study.yml"), [request], print)
    best = journal(home)["1"].responses["makespan"]
    assert journal(home)["2"].state == "stopped"
    assert reply["responses"]["makespan"] > best
    waiting_until(lambda: not standins.jobs(), 90)
