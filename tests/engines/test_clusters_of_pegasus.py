"""Clustered jobs by the real planner, kickstart and clustering tool, under the stand-in DAGMan, as we collect them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from panorama_driver.collector.submitdir import drain_submit_dir
from panorama_driver.config import Monitoring
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.objective import Responses
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.store import open_store
from panorama_driver.testing import Standins
from tests.conftest import DATA

CLUSTERS = DATA / "workflows" / "clusters"
_PATH = os.environ["PATH"]  # without the stand-ins
_PROGRAMS = ("pegasus-plan", "pegasus-cluster", "pegasus-kickstart")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not all(map(shutil.which, _PROGRAMS)), reason=f"no Pegasus on PATH: {', '.join(_PROGRAMS)}"),
]


def run(place: Path, standins: Standins, **options: float | str) -> WorkflowMetrics:
    """Metrics of a run, as they are collected from its submit directory."""
    path = place / "bundle"
    render(find_workflow(str(CLUSTERS), Path()), find_site("local", Path()), {}, options, path, Monitoring())
    with (path / "pegasus.properties").open("a") as properties:
        properties.write(f"pegasus.catalog.master.url = sqlite:///{place}/master.db\n")
    real = os.environ | {"PATH": _PATH, "HOME": str(place)}
    subprocess.run([path / "plan.sh"], capture_output=True, check=True, timeout=120, env=real)
    submit = Path((path / "run/submitdir").read_text().strip())
    subprocess.run([standins.bin / "pegasus-run", submit], capture_output=True, check=True)
    out, end = submit / "clusters-0.dag.dagman.out", time.monotonic() + 120
    while not (out.is_file() and "EXITING WITH STATUS" in out.read_text()):
        assert time.monotonic() < end, "DAGMan has not ended"
        time.sleep(0.1)
    with open_store(str(place / "store.db")) as store:
        assert drain_submit_dir(submit, store).problems == ()
        [known] = store.workflows()
        return correlate(store.events(known.wf_uuid))


def test_the_tasks_of_clustered_jobs_are_measured_one_by_one(place: Path, standins: Standins) -> None:
    workflow = run(place, standins, pause=0.1)
    job = workflow.job("merge_group0")
    assert (workflow.state, job.state, len(job.attempts)) == ("succeeded", "succeeded", 1)
    assert sorted(task.task_id or "" for task in job.tasks) == ["g0-0", "g0-1", "g0-2", "join0"]
    assert [task.invocation for task in job.tasks] == [1, 2, 3, 4]
    assert (job.tasks[-1].transformation, job.cores, job.sources["cpu_time"]) == ("join", 2, "probe")
    assert job.cpu_time == pytest.approx(sum(task.cpu_time or 0.0 for task in job.tasks))
    assert job.bytes_written == sum(task.bytes_written or 0 for task in job.tasks)
    assert job.peak_memory == max(task.peak_memory or 0 for task in job.tasks)
    responses = Responses.parse({"r": "len([1 for task in tasks if task.transformation == 'part'])"})
    assert responses.evaluate(workflow, place) == {"r": 6}
    assert (place / "bundle/output/total.txt").read_text().count("\n") == 6


def test_the_first_task_that_fails_ends_a_clustered_job(place: Path, standins: Standins) -> None:
    workflow = run(place, standins, trouble="g0-1.txt")
    job = workflow.job("merge_group0")
    assert (workflow.state, job.state, len(job.attempts)) == ("failed", "failed", 2)
    assert [task.exit_code for task in job.tasks if task.task_id == "g0-1"] == [1]
    assert "join0" not in {task.task_id for task in job.tasks}
    assert workflow.job("merge_group1").state == "succeeded"
