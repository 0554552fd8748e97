"""The stand-ins run a bundle for real, refuse what the real commands refuse, and fail as they fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.config import Monitoring
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.testing import Slot, Standins, install
from panorama_driver.testing.queue import HELD, IDLE, RUNNING
from tests.conftest import DATA
from tests.testing.conftest import Planned, plan, wait_for

Planning = Callable[..., Planned]
STEP = ["SUBMIT", "EXECUTE", "JOB_TERMINATED"]
WELL = [*STEP, "JOB_SUCCESS", "POST_SCRIPT_STARTED", "POST_SCRIPT_TERMINATED", "POST_SCRIPT_SUCCESS"]
BADLY = [*STEP, "JOB_FAILURE", "POST_SCRIPT_STARTED", "POST_SCRIPT_TERMINATED", "POST_SCRIPT_FAILURE"]


def condor_q(*words: str) -> str:
    return subprocess.run(["condor_q", *words], capture_output=True, text=True, check=True).stdout


def dashboard(standins: Standins) -> list[tuple[Any, ...]]:
    with sqlite3.connect(standins.home / ".pegasus" / "workflow.db") as base:
        return list(
            base.execute("SELECT state, restart_count, status, reason FROM master_workflowstate ORDER BY rowid")
        )


@pytest.mark.parametrize("site", ["local", "condorpool"])
def test_a_bundle_is_planned_and_run_for_real(site: str, planned: Planning, standins: Standins) -> None:
    workflow = planned(site)
    assert workflow.run() == "0"
    assert json.loads((workflow.bundle / "output/result.json").read_text())["y"] == pytest.approx(0.04)
    assert workflow.of("square_last") == WELL
    assert [state for state, *_ in dashboard(standins)] == ["WORKFLOW_STARTED", "WORKFLOW_TERMINATED"]
    wait_for(lambda: not standins.processes(), "pegasus-dagman to leave")
    assert standins.jobs() == []
    assert condor_q("-json") == ""


def test_a_failing_job_is_tried_again_and_its_workflow_can_be_resumed(planned: Planning, standins: Standins) -> None:
    workflow = planned(trouble="fail")
    assert workflow.run() == "1"
    assert workflow.of("square_last") == BADLY * 2
    assert "raw: 256" in workflow.record("square_last", 1)
    said = subprocess.run(["pegasus-analyzer", workflow.path], capture_output=True, text=True)
    assert said.returncode == 2
    assert "asked to fail" in said.stdout
    wait_for(lambda: not (workflow.path / "monitord.pid").exists(), "monitord to leave")
    (workflow.path / "monitord.done").unlink()
    for script in workflow.path.glob("00/00/square_last.sub"):
        script.write_text(script.read_text().replace("square fail", "square none"))
    assert workflow.run() == "0"
    assert workflow.log().count("STARTING UP") == 2
    assert "Number of pre-completed nodes: 5" in workflow.log()
    assert workflow.of("sh_split") == WELL
    assert dashboard(standins)[-1][:3] == ("WORKFLOW_TERMINATED", 1, 0)


def test_a_workflow_that_runs_is_not_started_twice(planned: Planning) -> None:
    workflow = planned(pause=30.0)
    assert workflow.start().returncode == 0
    wait_for(lambda: "EXECUTE" in workflow.of("sh_left"), "the jobs")
    again = workflow.start()
    assert again.returncode == 1
    assert "already running" in again.stderr


def test_a_removed_workflow_ends_with_its_jobs(planned: Planning, standins: Standins) -> None:
    workflow = planned(pause=3600.0)
    workflow.start()
    wait_for(lambda: "EXECUTE" in workflow.of("sh_left"), "the jobs")
    removed = subprocess.run(["pegasus-remove", workflow.path], capture_output=True, text=True)
    assert (removed.returncode, removed.stdout.splitlines()[0]) == (0, "Job 1.0 marked for removal")
    workflow.end()
    assert workflow.states()[-2].endswith("*** DAGMAN_FINISHED 2 ***")
    assert workflow.of("sh_left") == ["SUBMIT", "EXECUTE"]
    assert dashboard(standins)[-1][2:] == (2, "DAGMan aborted as it received SIGUSR1 signal.")
    assert "DONE sh_split" in (workflow.path / "parabola-0.dag.rescue001").read_text()
    wait_for(lambda: not standins.processes(), "the end of all processes")


def test_a_failed_job_whose_files_htcondor_misses_is_held(planned: Planning) -> None:
    workflow = planned("condorpool", trouble="fail")
    workflow.start()
    wait_for(lambda: "JOB_ABORTED" in workflow.of("square_last"), "the removal of the held job")
    states = workflow.of("square_last")[:5]
    assert states == ["SUBMIT", "EXECUTE", "JOB_EVICTED", "JOB_HELD", "JOB_HELD_REASON"]
    assert "Transfer output files failure at execution point" in workflow.log()
    assert "raw: 256" in workflow.record("square_last")


def test_a_job_larger_than_any_slot_stays_idle(planned: Planning, standins: Standins) -> None:
    standins.set(slots=[Slot(memory=512)])
    workflow = planned("condorpool")
    workflow.start()
    wait_for(lambda: workflow.of("sh_split"), "the first job")
    [job] = [ad for ad in standins.jobs() if ad.get("DAGNodeName") == "sh_split"]
    assert job["JobStatus"] == IDLE
    assert "0  TARGET.Memory >= RequestMemory" in condor_q("-better-analyze", str(job["ClusterId"]))
    standins.set(slots=[Slot()])
    workflow.end()
    assert workflow.of("sh_split") == WELL


def test_a_job_can_be_held_and_released_by_hand(planned: Planning, standins: Standins) -> None:
    standins.set(hold={"sh_split": "Error from slot1: disk full"}, periodic=60.0)
    workflow = planned()
    workflow.start()
    wait_for(lambda: "JOB_HELD_REASON" in workflow.of("sh_split"), "the hold")
    held = condor_q("-cons", "JobStatus == 5", "-af", "DAGNodeName", "HoldReason", "HoldReasonCode")
    assert held == "sh_split Error from slot1: disk full 0\n"
    assert json.loads(condor_q("-json", "-cons", f"JobStatus == {HELD}"))[0]["PeriodicRemove"].startswith("/Expr(")
    standins.set(hold={})
    subprocess.run(["condor_release", "-constraint", "JobStatus == 5"], check=True, capture_output=True)
    workflow.end()
    assert workflow.of("sh_split")[-1] == "POST_SCRIPT_SUCCESS"


@pytest.mark.parametrize(
    ("fate", "post"),
    [("vanish", ".out does not exist"), ("empty", "Empty stdout"), ("raw15", "task exited with raw status 15")],
)
def test_a_batch_system_may_call_a_lost_job_a_success(
    fate: str, post: str, planned: Planning, standins: Standins
) -> None:
    standins.set(fate={"sh_left": fate})
    workflow = planned(pause=30.0)
    workflow.start()
    wait_for(lambda: "POST_SCRIPT_FAILURE" in workflow.of("sh_left"), "the first attempt")
    assert "JOB_SUCCESS" in workflow.of("sh_left")
    said = [json.loads(line) for line in (workflow.path / "parabola-0.exitcode.log").read_text().splitlines()]
    assert post in next(line["std_err"] for line in said if "sh_left" in line["name"])


def test_dagman_refuses_to_run_under_tmp(tmp_path: Path, bundle: Callable[..., Path], standins: Standins) -> None:
    path = shutil.copytree(bundle(), tmp_path / "bundle")
    env = os.environ | {"PANORAMA_BUNDLE": str(path)}
    command = ["pegasus-plan", "--dir", "submit", "--relative-dir", "run0001", "--sites", "local", "workflow.yml"]
    subprocess.run(command, cwd=path, env=env, check=True, capture_output=True)
    submit = path / "submit" / "run0001"
    subprocess.run(["pegasus-run", submit], check=True, capture_output=True)
    wait_for((submit / "monitord.done").exists, "monitord's end")
    words = [line.split(maxsplit=1)[1] for line in (submit / "jobstate.log").read_text().splitlines()]
    assert words[1] == "INTERNAL *** DAGMAN_FINISHED 1 ***"
    assert "is in /tmp\n" in (submit / "parabola-0.dag.dagman.out").read_text()
    assert dashboard(standins) == [("WORKFLOW_TERMINATED", -1, 1, None)]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


REFUSALS: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "a key on a site": ("sites", lambda c: c["sites"][0].update({"x-ext": 1}), "Illegal key x-ext for element sites"),
    "a key on a transformation": (
        "transformations",
        lambda c: c["transformations"][0].update({"x-ext": 1}),
        "Illegal key x-ext for element transformations",
    ),
    "a key on a job": ("workflow", lambda c: c["jobs"][0].update({"x-ext": 1}), "Illegal key x-ext for element jobs"),
    "a replica that is missing": (
        "replicas",
        lambda c: c["replicas"].pop(0),
        "Can't determine a location to transfer input file for lfn",
    ),
    "a replica catalog with a key": (
        "replicas",
        lambda c: c["replicas"][0].update({"x-ext": 1}),
        "Can't determine a location to transfer input file for lfn",
    ),
    "no program at the site": (
        "transformations",
        lambda c: c["transformations"][0]["sites"][0].update(name="other"),
        "Site Selector could not map the job",
    ),
    "no program at all": (
        "transformations",
        lambda c: c["transformations"].pop(),
        'There are no entries for the transformation "square" in the TC',
    ),
    "no storage": ("sites", lambda c: c["sites"][0]["directories"].pop(), "No Storage directory specified for site"),
    "no scratch": ("sites", lambda c: c["sites"][0]["directories"].pop(0), "File Server not specified for shared-scr"),
    "a truth value": (
        "transformations",
        lambda c: c["transformations"][0].update(profiles={"pegasus": {"cores": True}}),
        "boolean found, string expected",
    ),
    "an unknown variable": (
        "replicas",
        lambda c: c["replicas"][0]["pfns"][0].update(pfn="${NO_SUCH_VARIABLE}/x"),
        "Can't determine a location",
    ),
    "a cycle": (
        "workflow",
        lambda c: c["jobDependencies"].append({"id": "last", "children": ["split"]}),
        "Abstract Workflow has cycles",
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_the_planner_refuses_what_the_real_one_refuses(
    why: str, standins: Standins, bundle: Callable[..., Path]
) -> None:
    name, change, words = REFUSALS[why]
    path = bundle()
    edit(path / f"{name}.yml", change)
    assert plan(path).returncode != 0
    assert words in (path / "run" / "plan.log").read_text()
    assert not (path / "run" / "submitdir").exists()


def test_the_planner_fails_on_demand(standins: Standins, bundle: Callable[..., Path]) -> None:
    standins.set(plan_error="out of luck")
    path = bundle()
    assert plan(path).returncode != 0
    assert "out of luck" in (path / "run" / "plan.log").read_text()


def test_monitord_knows_no_end_of_a_dagman_that_was_killed(planned: Planning, standins: Standins) -> None:
    workflow = planned(pause=30.0)
    workflow.start()
    lock = workflow.path / "parabola-0.dag.lock"
    wait_for(lambda: "EXECUTE" in workflow.of("sh_left"), "the jobs")
    os.kill(int(lock.read_text()), signal.SIGKILL)
    workflow.end()
    assert workflow.states()[-1].endswith("*** MONITORD_FINISHED 42 ***")
    assert [state for state, *_ in dashboard(standins)] == ["WORKFLOW_STARTED"]


def test_the_pool_runs_no_more_jobs_than_it_has_cores_for(planned: Planning, standins: Standins) -> None:
    standins.set(slots=[Slot(cpus=1)])
    workflow = planned("condorpool", pause=0.3)
    workflow.start()
    running = set[int]()
    while not (workflow.path / "monitord.done").exists():
        ads = [ad for ad in standins.jobs() if ad["JobUniverse"] == 5 and ad["JobStatus"] == RUNNING]
        running.add(len(ads))
    assert max(running) == 1


def test_two_installations_do_not_meet(place: Path) -> None:
    one, two = install(place / "one"), install(place / "two")
    one.set(plan_seconds=3.0)
    assert two.settings.plan_seconds == 0.0
    assert one.environment["PATH"].split(":")[0] != two.environment["PATH"].split(":")[0]


def test_dagman_has_no_more_jobs_in_the_queue_than_the_properties_say(place: Path, standins: Standins) -> None:
    folder = find_workflow(str(DATA / "workflows" / "clusters"), Path())
    render(folder, find_site("local", Path()), {}, {"how": "none", "slots": 2}, place / "limited", Monitoring())
    assert plan(place / "limited").returncode == 0
    workflow = Planned(place / "limited")
    assert workflow.run() == "0"
    queued = most = 0
    for line in workflow.states():
        queued += {"SUBMIT": 1, "JOB_TERMINATED": -1}.get(line.split()[2], 0)
        most = max(most, queued)
    assert most == 2
    assert "total job deferrals because of -MaxJobs limit (2)" in next(workflow.path.glob("*.dagman.out")).read_text()
