"""Clustered jobs and limits on jobs at once, on real processes of the embedded engine."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.engines.local import Slots, Watch, run_bundle
from panorama_driver.engines.outcome import Outcome
from panorama_driver.errors import WorkflowError
from panorama_driver.metrics import correlate
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.sources import expand
from tests.conftest import DATA, whole_lines

HERE = Path()
CLUSTERS = DATA / "workflows" / "clusters"
GROUP0 = ["g0-0", "g0-1", "g0-2", "join0"]


def bundle(path: Path, **options: Any) -> Path:
    render(find_workflow(str(CLUSTERS), HERE), find_site("local", HERE), {}, options, path)
    return path


def run(path: Path, cores: int = 2) -> Outcome:
    return asyncio.run(run_bundle(path, "local", "11111111-0000", Slots(cores, 4096), watch=Watch(interval=0.1)))


def events(path: Path, name: str = "", job: str = "") -> list[dict[str, Any]]:
    file = path / "run/events.jsonl"
    lines = whole_lines(file) if file.exists() else []
    raws = [json.loads(line) for line in lines]
    return [raw for raw in raws if raw["event"].startswith(name) and raw.get("job_id", "").startswith(job)]


def invocations(path: Path, job: str) -> list[tuple[int, str]]:
    return [(raw["inv_id"], raw["task_id"]) for raw in events(path, "stampede.inv.end", job)]


def test_a_clustered_job_runs_its_tasks_one_after_the_other_and_leaves_what_they_would(tmp_path: Path) -> None:
    path, plain = bundle(tmp_path / "b"), bundle(tmp_path / "plain", how="none")
    assert run(path).succeeded
    assert run(plain).succeeded
    names = [line.split()[0] for line in (path / "output/total.txt").read_text().splitlines()]
    assert names == [line.split()[0] for line in (plain / "output/total.txt").read_text().splitlines()]
    assert invocations(path, "merge_group0") == list(enumerate(GROUP0, 1))
    ends = events(path, "stampede.inv.end", "merge_group0")
    assert all(before["ts"] <= after["start_time"] for before, after in itertools.pairwise(ends))
    assert (path / "run/merge_group0.out.000").read_text().count("part of seed") == 3


def test_a_clustered_job_has_what_its_widest_task_asks_for(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    run(path)
    [end, _] = events(path, "stampede.job_inst.main.end", "merge_group")
    assert (end["req_cpus"], end["req_memory_mb"]) == (2, 96)
    assert {line.split()[1] for line in (path / "output/total.txt").read_text().splitlines()} == {"2"}


def test_the_events_of_a_clustered_job_are_those_that_monitord_sends(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    run(path)
    [info] = events(path, "stampede.job.info", "merge_group0")
    assert (info["clustered"], info["task_count"], info["type_desc"]) == ("1", "4", "compute")
    assert info["executable"] == "pegasus::seqexec"
    assert [raw["task_id"] for raw in events(path, "stampede.wf.map.task_job", "merge_group0")] == GROUP0
    assert [raw["inv_id"] for raw in events(path, "stampede.inv.start", "merge_group0")] == [1, 2, 3, 4]
    kinds = ("submit.start", "submit.end", "main.start", "main.term", "main.end", "post.end")
    assert all(len(events(path, f"stampede.job_inst.{kind}", "merge_group0")) == 1 for kind in kinds)
    told = {(raw["parent_job_id"], raw["child_job_id"]) for raw in events(path, "stampede.job.edge")}
    assert {("merge_group0", "join_total"), ("stage_in_local_local_0_0", "merge_group0")} <= told
    assert ("merge_group0", "merge_group0") not in told
    assert all(list(expand(raw)) for raw in events(path))


def test_the_first_task_that_fails_ends_the_job_and_a_retry_repeats_all_of_it(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="g0-1.txt")
    outcome = run(path)
    assert not outcome.succeeded
    assert "merge_group0 task g0-1 failed with exit code 1: part.py: g0-1.txt: asked to fail" in outcome.reason
    assert invocations(path, "merge_group0") == [(1, "g0-0"), (2, "g0-1")] * 2
    assert [raw["status"] for raw in events(path, "stampede.job_inst.post.end", "merge_group0")] == [-1, -1]
    assert events(path, "stampede.job_inst.post.end", "merge_group1")[-1]["status"] == 0


def test_every_task_must_leave_its_files(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="no:g1-0.txt")
    assert "merge_group1 task g1-0 exited 0 but left no g1-0.txt" in run(path).reason
    assert invocations(path, "merge_group1")[0] == (1, "g1-0")


def test_a_rerun_repeats_the_clustered_job_that_failed_and_no_other(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", trouble="g0-1.txt")
    run(path)
    workflow = path / "workflow.yml"
    text = workflow.read_text()
    assert text.count('"g0-1.txt"\n') >= 1
    raw = json.loads(text)
    for job in raw["jobs"]:
        job["arguments"] = ["none" if job["name"] == "part" and n == 2 else a for n, a in enumerate(job["arguments"])]
    workflow.write_text(json.dumps(raw))
    assert run(path).succeeded
    assert len(events(path, "stampede.job_inst.main.start", "merge_group0")) == 3
    assert len(events(path, "stampede.job_inst.main.start", "merge_group1")) == 1


def test_an_engine_that_is_killed_within_a_clustered_job_repeats_that_job_from_its_first_task(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=0.4, parts=4)
    code = (
        "import asyncio, sys; from pathlib import Path; from panorama_driver.engines.local import *;"
        "asyncio.run(run_bundle(Path(sys.argv[1]), 'local', '11111111-0000', Slots(2, 4096)))"
    )
    engine = subprocess.Popen([sys.executable, "-c", code, str(path)])
    deadline = time.monotonic() + 20
    while not any(raw["inv_id"] == 2 for raw in events(path, "stampede.inv.start", "merge_group0")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    engine.kill()
    engine.wait()
    assert run(path).succeeded
    assert "merge_group0" in {raw["job_id"] for raw in events(path, "stampede.job_inst.abort.info")}
    assert [number for number, _ in invocations(path, "merge_group0")][-5:] == [1, 2, 3, 4, 5]
    assert len(events(path, "stampede.job_inst.main.start", "stage_in")) == 1


def test_the_limit_of_a_clustered_job_is_the_sum_of_its_tasks(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=0.5)
    workflow = json.loads((path / "workflow.yml").read_text())
    for job in workflow["jobs"]:
        job["profiles"]["pegasus"]["runtime"] = 0.3 if job["name"] == "part" else 0.1
    (path / "workflow.yml").write_text(json.dumps(workflow))
    assert "merge_group0 ran longer than its 1 s and was ended" in run(path).reason
    assert [number for number, _ in invocations(path, "merge_group0")][:2] == [1, 2]


@pytest.mark.parametrize(("how", "sizes"), [("size", [4, 4, 2]), ("num", [3, 3, 2, 2])])
def test_jobs_of_a_level_are_clustered_by_size_or_into_a_number(tmp_path: Path, how: str, sizes: list[int]) -> None:
    path = bundle(tmp_path / "b", parts=5, how=how, factor=4)
    assert run(path).succeeded
    clustered = [f"merge_part_PID1_ID{number}" for number in range(1, len(sizes) + 1)]
    assert [len(invocations(path, name)) for name in clustered] == sizes
    assert {raw["job_id"] for raw in events(path, "stampede.job.info", "merge_")} == set(clustered)


def test_metrics_of_a_clustered_job_add_up_its_tasks(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    run(path)
    raws = events(path) + [json.loads(line) for file in path.glob("run/*.trace.*") for line in file.open()]
    metrics = correlate(event for raw in raws for event in expand(raw))
    [job] = [job for job in metrics.jobs if job.job_id == "merge_group0"]
    ends = events(path, "stampede.inv.end", "merge_group0")
    assert job.cpu_time == pytest.approx(sum(raw["remote_cpu_time"] for raw in ends))
    assert job.wall_time == pytest.approx(ends[-1]["start_time"] + ends[-1]["dur"] - ends[0]["start_time"], abs=0.01)
    assert job.bytes_written is not None
    assert metrics.state == "succeeded"
    assert metrics.cpu_time == pytest.approx(
        sum(raw["remote_cpu_time"] for raw in events(path, "stampede.inv.end")), abs=1e-5
    )


def at_once(path: Path) -> int:
    """Most jobs that were submitted and had not ended, at any time."""
    marks = {"stampede.job_inst.submit.start": 1, "stampede.job_inst.post.end": -1}
    count = most = 0
    for raw in events(path, "stampede.job_inst"):
        count += marks.get(raw["event"], 0)
        most = max(most, count)
    return most


def test_no_more_jobs_are_submitted_at_once_than_the_bundle_allows(tmp_path: Path) -> None:
    assert run(bundle(tmp_path / "one", how="none", slots=1)).succeeded
    assert run(bundle(tmp_path / "three", how="none", slots=3)).succeeded
    assert run(bundle(tmp_path / "all", how="none")).succeeded
    assert [at_once(tmp_path / name) for name in ("one", "three", "all")] == [1, 3, 6]


def test_a_limit_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b")
    with (path / "pegasus.properties").open("a") as file:
        file.write("dagman.maxjobs = many\n")
    with pytest.raises(WorkflowError, match=r"pegasus\.properties: dagman\.maxjobs is 'many'"):
        run(path)
