"""Jobs in HTCondor's queue, and those still to be submitted, are told which hosts to avoid; nobody else's are."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.engines.pegasus import hosts, slurm, submitfiles
from panorama_driver.render import find_site, find_workflow, load_bundle, render, steer
from panorama_driver.testing import Standins
from panorama_driver.testing.classad import holds
from panorama_driver.testing.queue import HELD, IDLE, LOCAL, RUNNING, VANILLA, Queue
from tests.conftest import PARABOLA
from tests.engines.conftest import place, standins

__all__ = ["place", "standins"]

OURS, THEIRS = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
WANTS = "TARGET.Memory >= RequestMemory"
SUBMIT_FILE = 'universe = vanilla\nexecutable = /bin/true\n+pegasus_site = "pool"\nqueue\n'


@pytest.fixture
def queue(standins: Standins) -> Queue:
    return Queue(standins.pool)


def put(queue: Queue, status: int = IDLE, **more: Any) -> int:
    ad = {"JobUniverse": VANILLA, "Owner": getpass.getuser(), "Requirements": WANTS, "pegasus_wf_uuid": OURS}
    return queue.submit(ad | {"JobStatus": status, **more})


def goes_to(queue: Queue, cluster: int, machine: str) -> bool:
    ad = queue.job(cluster)
    assert ad is not None
    return holds(ad["Requirements"], {"RequestMemory": 1, "Memory": 2, "Machine": machine} | ad)


def test_a_queued_job_avoids_hosts_by_their_short_names_until_they_are_used_again(queue: Queue) -> None:
    job = put(queue)
    before = queue.job(job)
    assert hosts.keep_off([OURS], {"slow", "bad-1"}) == 1
    found = {name: goes_to(queue, job, name) for name in ("slow", "SLOW.pool.org", "bad-1", "slower", "fast.slow.org")}
    assert found == {"slow": False, "SLOW.pool.org": False, "bad-1": False, "slower": True, "fast.slow.org": True}
    assert hosts.keep_off([OURS], {"slow", "bad-1"}) == 0
    assert hosts.keep_off([OURS], {"bad-1"}) == 1
    assert [goes_to(queue, job, name) for name in ("slow", "bad-1")] == [True, False]
    assert hosts.keep_off([OURS], ()) == 1
    assert queue.job(job) == before
    assert hosts.keep_off([OURS], ()) == 0


def test_what_a_job_asked_for_before_it_still_asks_for(queue: Queue) -> None:
    job = put(queue, Requirements='TARGET.Machine == "a" || TARGET.Machine == "slow"')
    hosts.keep_off([OURS], {"slow"})
    assert [goes_to(queue, job, name) for name in ("a", "b", "slow")] == [True, False, False]


def test_only_idle_jobs_of_these_workflows_that_need_a_machine_are_told(queue: Queue) -> None:
    others = [
        put(queue, RUNNING),
        put(queue, HELD),
        put(queue, pegasus_wf_uuid=THEIRS),
        put(queue, Owner="somebody-else"),
        put(queue, JobUniverse=LOCAL),
    ]
    before = [queue.job(job) for job in others]
    assert hosts.keep_off([OURS, 'x" || true || "'], {"slow"}) == 0
    assert [queue.job(job) for job in others] == before


def test_a_running_job_is_taken_from_its_host_once_and_only_from_there(queue: Queue) -> None:
    job = put(queue, RUNNING, RemoteHost="slot1_1@slow.pool.org")
    assert not hosts.take_from(OURS, f"{job}.0", "fast", elsewhere=True)
    assert not hosts.take_from(THEIRS, f"{job}.0", "slow", elsewhere=True)
    assert hosts.take_from(OURS, f"{job}.0", "slow", elsewhere=True)
    ad = queue.job(job)
    assert ad is not None
    assert (ad["Asked"], ad["PanoramaLeft"]) == ("vacate", "slow")
    queue.change(job, JobStatus=IDLE, Asked=None)
    assert not hosts.take_from(OURS, f"{job}.0", "slow", elsewhere=True)
    assert [goes_to(queue, job, name) for name in ("slow.pool.org", "fast.pool.org")] == [False, True]
    hosts.keep_off([OURS], {"other"})
    hosts.keep_off([OURS], ())
    assert [goes_to(queue, job, name) for name in ("slow", "other")] == [False, True]


def test_the_only_host_gets_its_job_again(queue: Queue) -> None:
    job = put(queue, RUNNING, RemoteHost="slot1@slow")
    assert hosts.take_from(OURS, f"{job}.0", "slow", elsewhere=False)
    assert goes_to(queue, job, "slow")


@pytest.mark.parametrize("wants", ["", "requirements = TARGET.Cpus > 1\n"])
def test_a_submit_file_is_told_and_is_again_what_it_was(tmp_path: Path, wants: str) -> None:
    path = tmp_path / "00" / "00" / "job.sub"
    path.parent.mkdir(parents=True)
    path.write_text(wants + SUBMIT_FILE)
    assert submitfiles.tell(tmp_path, {"slow"}) == 1
    assert submitfiles.tell(tmp_path, {"slow"}) == 0
    assert '+PanoramaAvoid = "slow"\n' in path.read_text()
    assert f"requirements = ($(requirements:true)) && {hosts.CONDITION}\n" in path.read_text()
    submitfiles.tell(tmp_path, {"slow", "bad"})
    assert path.read_text().count("+PanoramaAvoid") == 1
    submitfiles.tell(tmp_path, ())
    assert path.read_text() == wants + SUBMIT_FILE


def test_a_job_that_was_planned_for_other_hosts_is_told_as_well() -> None:
    planned = f'requirements = {hosts.CONDITION}\n+PanoramaAvoid = "slow"\n{SUBMIT_FILE}'
    assert '+PanoramaAvoid = "bad"\n# End' in submitfiles.told(planned, {"bad"})
    assert '+PanoramaAvoid = ""\n# End' in submitfiles.told(planned, ())


def test_a_job_of_the_submit_host_is_left_alone() -> None:
    text = SUBMIT_FILE.replace("vanilla", "local")
    assert submitfiles.told(text, {"slow"}) == text


def test_addresses_are_no_names_of_machines() -> None:
    assert hosts.unfit({"10.0.0.7", "node7", "fe80::1", 'x" || true'}) == ["10.0.0.7", "fe80::1", 'x" || true']


def test_slurm_leaves_out_nodes_by_its_own_names_of_them() -> None:
    known = {"nid00042": "nid00042", "gpu1": "GPU1"}
    told = slurm.profiles({"gpu1", "nid00042", "elsewhere"}, known)
    assert told == {"pegasus": {"glite.arguments": "--exclude=GPU1,nid00042"}}
    assert slurm.profiles({"elsewhere"}, known) == {}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Of a site that has a condor requirement of its own."""
    site = find_site("pilots", tmp_path, {"queue": "Q"})
    render(find_workflow(str(PARABOLA), tmp_path), site, {}, {}, tmp_path / "b")
    return tmp_path / "b"


def condor_profile(catalog: Path, name: str = "pilots") -> dict[str, str]:
    [site] = [site for site in json.loads(catalog.read_text())["sites"] if site["name"] == name]
    profile: dict[str, str] = site["profiles"]["condor"]
    return profile


def test_a_bundle_is_planned_for_other_hosts_and_stays_what_it_is(bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    asked = condor_profile(bundle / "sites.yml")["requirements"]
    assert not steer(bundle, {"condor": hosts.profiles({"slow"})})
    profile = condor_profile(bundle / "run/sites.yml")
    assert profile["requirements"] == f"({asked}) && ({hosts.CONDITION})"
    assert profile["+PanoramaAvoid"] == '"slow"'
    assert profile["+PilotQueue"] == '"Q"'
    assert {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()} == before
    assert "${" not in (bundle / "run/sites.yml").read_text().replace("${PANORAMA_BUNDLE}", "")
    assert steer(bundle, {})
    assert not (bundle / "run/sites.yml").exists()


def test_a_bundle_whose_job_has_a_requirement_of_its_own_keeps_it(bundle: Path) -> None:
    """Pegasus would take the site's in its place; the submit files get both."""
    abstract = json.loads((bundle / "workflow.yml").read_text())
    abstract["jobs"][0].setdefault("profiles", {})["condor"] = {"requirements": "TARGET.HasFPGA"}
    (bundle / "workflow.yml").write_text(json.dumps(abstract))
    steer(bundle, {"condor": hosts.profiles({"slow"})})
    assert not (bundle / "run/sites.yml").exists()
    assert load_bundle(bundle).execution == "pilots"
