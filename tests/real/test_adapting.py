"""A study's workflows are kept off a host, and a stopped job is taken from it, on a real HTCondor with two machines.

Run where test_pegasus.py runs, with a pool of two or more machines. A second startd on the same machine will do:
`unshare -u` with a host name of its own, `NETWORK_HOSTNAME`, and folders of its own for LOG, EXECUTE, SPOOL and LOCK.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.submitdir import SubmitDirFollower
from panorama_driver.config import Ensemble, Study
from panorama_driver.engines.pegasus import hosts
from panorama_driver.metrics import correlate
from panorama_driver.render import Site, find_site, find_workflow, render
from panorama_driver.sources.hosts import short_name
from panorama_driver.store import open_store
from panorama_driver.study.pegasus import PegasusRunner
from panorama_driver.study.runners import Ticket
from tests.conftest import PARABOLA
from tests.real.conftest import ON_REAL_PEGASUS

MACHINES = sorted(hosts.pool()) if os.getuid() else []
pytestmark = [
    *ON_REAL_PEGASUS,
    pytest.mark.skipif(len(MACHINES) < 2, reason=f"one host cannot be avoided for another: the pool has {MACHINES}"),
]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*fixtures: Any, **named: Any) -> None:
        asyncio.run(test(*fixtures, **named))

    return run


@pytest.fixture
def site(place: Path) -> Site:
    return find_site("condorpool", place, {"memory": "200", "diskspace": "100"})


@pytest.fixture
def runner(site: Site, place: Path) -> PegasusRunner:
    ensemble = Ensemble(name="adapting", max_running=4, max_planning=2)
    return PegasusRunner(Study(workflow="parabola", responses={}, engine="pegasus", ensemble=ensemble), place, site)


class Workflow:
    """One of the parabola's, whose two middle jobs sleep."""

    def __init__(self, runner: PegasusRunner, site: Site, directory: Path, pause: float) -> None:
        self.directory, self.wf_uuid = directory, ""
        folder = find_workflow(str(PARABOLA), directory.parent)
        render(folder, site, {"x": 1.0}, {"pause": pause}, directory, runner.monitoring(), runner.planner())
        key = f"{directory.name}{time.time()}"
        ticket = Ticket(directory, key, None, 0, False, None, self._planned, print, print)
        self.task = asyncio.create_task(runner.run(ticket))

    def _planned(self, wf_uuid: str) -> None:
        self.wf_uuid = wf_uuid

    async def queued(self, *attributes: str) -> list[list[str]]:
        """Attributes of its jobs that need a machine."""
        return await asyncio.to_thread(_asked, "condor_q", self.wf_uuid, attributes)

    async def ran(self) -> dict[str, tuple[str, int, int]]:
        """Job to the host where it ran last, when it started there [s since 1970], and how often it was started."""
        attributes = ("DAGNodeName", "LastRemoteHost", "JobCurrentStartDate", "NumShadowStarts")
        rows = await asyncio.to_thread(_asked, "condor_history", self.wf_uuid, attributes)
        return {
            name: (short_name(host.rpartition("@")[2]), int(start), int(times)) for name, host, start, times in rows
        }

    async def running_on(self, host: str) -> str | None:
        """A middle job that runs on a host."""
        rows = await self.queued("DAGNodeName", "JobStatus", "RemoteHost")
        names = [name for name, status, where in rows if status == "2" and short_name(where.rpartition("@")[2]) == host]
        return next((name for name in names if name.endswith(("left", "right"))), None)


def _asked(program: str, wf_uuid: str, attributes: tuple[str, ...]) -> list[list[str]]:
    constraint = f'pegasus_wf_uuid == "{wf_uuid}" && JobUniverse == 5'
    words = [program, "-constraint", constraint, "-af", *attributes]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return [line.split() for line in done.stdout.splitlines()]


async def busy(runner: PegasusRunner, site: Site, place: Path, pause: float) -> tuple[Workflow, str, str]:
    """A workflow with a job that runs on one host: it, the job, the host."""
    for number in range(5):  # HTCondor may put both of its jobs on the same machine, but not always
        flow = Workflow(runner, site, place / f"{time.time():.0f}-{number}", pause)
        while not flow.task.done():
            for host in MACHINES:
                if (job := await flow.running_on(host)) is not None:
                    return flow, job, host
            await asyncio.sleep(0.3)
    raise AssertionError("no job was ever seen to run")


@in_loop
async def test_what_starts_later_starts_elsewhere_until_the_host_is_used_again(
    runner: PegasusRunner, site: Site, place: Path
) -> None:
    first, _, host = await busy(runner, site, place, 15.0)
    assert await runner.avoid(frozenset({host})) == {host}
    since = time.time()
    second = Workflow(runner, site, place / "second", 0.0)
    for flow in (first, second):
        assert (await flow.task).succeeded
        later = {name: where for name, (where, start, _) in (await flow.ran()).items() if start > since}
        print(host, later)
        assert later
        assert host not in later.values()
    assert (second.directory / "run/sites.yml").exists()
    assert await runner.avoid(frozenset(MACHINES)) < set(MACHINES)
    assert await runner.avoid(frozenset()) == frozenset()
    await runner.close()


@in_loop
async def test_a_stopped_job_is_tried_again_elsewhere_as_the_same_attempt(
    runner: PegasusRunner, site: Site, place: Path
) -> None:
    flow, job_id, host = await busy(runner, site, place, 20.0)
    submit_dir = Path((flow.directory / "run/submitdir").read_text().strip())
    while not (attempt := attempt_of(submit_dir, job_id)):
        await asyncio.sleep(0.3)
    stop(flow.wf_uuid, job_id)
    assert await runner.retry(flow.wf_uuid, job_id, attempt, host)
    assert not await runner.retry(flow.wf_uuid, job_id, attempt, host)
    assert (await flow.task).succeeded
    where, _, times = (await flow.ran())[job_id]
    print(job_id, "from", host, "to", where)
    assert where != host
    assert times == 2
    await runner.close()
    with open_store(place / "store.db") as store:
        SubmitDirFollower(flow.directory / "run", store).finish()
        [job] = [job for job in correlate(store.events(flow.wf_uuid)).jobs if job.job_id == job_id]
    assert [(each.attempt, each.state, each.host) for each in job.attempts] == [(attempt, "succeeded", where)]


def attempt_of(submit_dir: Path, job_id: str) -> int | None:
    path = submit_dir / "jobstate.log"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return next((int(words[6]) for words in lines if words[1:3] == [job_id, "EXECUTE"]), None)


def stop(wf_uuid: str, job_id: str) -> None:
    """Stop every process of a job, as a hanging file system does."""
    marks = {f"PEGASUS_WF_UUID={wf_uuid}".encode(), f"PEGASUS_DAG_JOB_ID={job_id}".encode()}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marks <= set(path.read_bytes().split(b"\0")):
                os.kill(int(path.parent.name), signal.SIGSTOP)
        except OSError:
            continue  # it has just ended, or is another user's
