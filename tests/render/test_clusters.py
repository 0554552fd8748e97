"""Which jobs run as one: labels, levels, sizes; and that the real planner makes the same clustered jobs of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.config import Monitoring
from panorama_driver.engines.local.plan import plan_bundle
from panorama_driver.errors import WorkflowError
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.render.clusters import cluster
from tests.conftest import DATA

HERE = Path()
CLUSTERS = DATA / "workflows" / "clusters"


def workflow(edges: str, **profiles: dict[str, Any]) -> dict[str, Any]:
    """Jobs named in `edges` such as "a>c b>c", each of the transformation that its letter is."""
    pairs = [edge.split(">") for edge in edges.split()]
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    jobs = [{"id": name, "name": name[0], "profiles": {"pegasus": dict(profiles.get(name, {}))}} for name in names]
    return {
        "jobs": jobs,
        "jobDependencies": [{"id": pair[0], "children": pair[1:]} for pair in pairs if len(pair) > 1],
    }


def clusters(abstract: dict[str, Any]) -> dict[str, list[str]]:
    cluster(abstract, Path("workflow.py"))
    found: dict[str, list[str]] = defaultdict(list)
    for job in abstract["jobs"]:
        if "label" in job["profiles"]["pegasus"]:
            found[job["profiles"]["pegasus"]["label"]].append(job["id"])
    return dict(found)


def test_jobs_of_a_label_run_as_one_and_one_alone_runs_by_itself() -> None:
    labelled = {name: {"label": "x"} for name in ("a1", "a2", "b")}
    assert clusters(workflow("a1>b a2>b b>c", **labelled, c={"label": "y"})) == {"x": ["a1", "b", "a2"]}


def test_jobs_that_nobody_clusters_are_left_as_they_are() -> None:
    abstract = workflow("a>b", a={"cores": 2})
    before = json.dumps(abstract)
    assert not cluster(abstract, Path("workflow.py"))
    assert json.dumps(abstract) == before


@pytest.mark.parametrize(
    ("profile", "sizes"),
    [
        ({"clusters.size": 3}, [3, 3, 1]),
        ({"clusters.size": 7}, [7]),
        ({"clusters.size": "100"}, [7]),
        ({"clusters.num": 3}, [3, 2, 2]),
        ({"clusters.num": 2, "clusters.size": 5}, [4, 3]),
        ({"clusters.num": 7}, [1] * 7),
        ({"clusters.num": 9}, [1] * 7),
        ({"clusters.size": 1}, [1] * 7),
    ],
)
def test_a_level_is_cut_as_the_planner_cuts_it(profile: dict[str, Any], sizes: list[int]) -> None:
    names = [f"a{number}" for number in range(7)]
    found = clusters(workflow(" ".join(f"{name}>z" for name in names), **dict.fromkeys(names, profile)))
    assert [len(members) for members in found.values()] == [size for size in sizes if size > 1]
    assert all(label == f"a_PID1_ID{number}" for number, label in enumerate(found, 1))
    assert sorted(name for members in found.values() for name in members) == names[: sum(s for s in sizes if s > 1)]


def test_levels_and_transformations_stay_apart_and_levels_are_those_of_the_labelled_graph() -> None:
    size = {"clusters.size": 10}
    names = ("a1", "a2", "b1", "b2", "a3", "a4")
    edges = "a1>a3 a2>a4 b1>a3 b2>a4"
    assert clusters(workflow(edges, **dict.fromkeys(names, size))) == {
        "a_PID1_ID1": ["a1", "a2"],
        "b_PID1_ID1": ["b1", "b2"],
        "a_PID2_ID1": ["a3", "a4"],
    }
    labelled = {"x": {"label": "l"}, "y": {"label": "l"}}
    found = clusters(workflow("x>y y>c1 y>c2", **labelled, c1=size, c2=size))
    assert list(found) == ["l", "c_PID2_ID1"]


def test_clustered_jobs_that_would_wait_for_each_other_are_refused() -> None:
    with pytest.raises(WorkflowError, match=r"workflow\.py: jobs would wait for each other: .*x"):
        clusters(workflow("a>b b>c", a={"label": "x"}, c={"label": "x"}))
    with pytest.raises(WorkflowError, match=r"workflow\.py: jobs would wait for each other: (a -> b|b -> a)"):
        clusters(workflow("a>b b>a", a={"clusters.size": 2}))


def test_a_label_with_a_gap_is_refused_as_the_planner_refuses_it() -> None:
    with pytest.raises(WorkflowError, match="label 'x' has jobs on levels 1 and 3 and none between"):
        clusters(workflow("a>z b>c c>d", a={"label": "x"}, d={"label": "x"}))


@pytest.mark.parametrize("value", ["0", "-1", "two", 1.5])
def test_a_size_that_is_no_number_of_jobs_is_refused(value: object) -> None:
    with pytest.raises(WorkflowError, match=r"job 'a': clusters\.size is '.*', which is no whole number above 0"):
        clusters(workflow("a>b", a={"clusters.size": value}))


@pytest.mark.parametrize("label", ["a/b", "a b", "", "x" * 101])
def test_a_label_that_is_no_name_of_a_file_is_refused(label: str) -> None:
    with pytest.raises(WorkflowError, match="letters, digits, _ and - only"):
        clusters(workflow("a>b", a={"label": label}))


def test_all_jobs_of_a_cluster_ask_for_what_its_widest_needs_and_times_are_known_of_all_or_none() -> None:
    abstract = workflow(
        "a>b c>d",
        a={"label": "x", "cores": 4, "memory": 100, "runtime": 60},
        b={"label": "x", "cores": 1, "memory": 300, "diskspace": 9},
        c={"label": "y", "runtime": 60},
        d={"label": "y", "runtime": 30},
    )
    cluster(abstract, Path("workflow.py"))
    needs = {job["id"]: job["profiles"]["pegasus"] for job in abstract["jobs"]}
    assert needs["a"] == needs["b"] == {"label": "x", "cores": 4, "memory": 300, "diskspace": 9}
    assert [needs[name]["runtime"] for name in ("c", "d")] == [60, 30]


def rendered(path: Path, monitoring: Monitoring | None, **options: Any) -> dict[str, dict[str, Any]]:
    render(find_workflow(str(CLUSTERS), HERE), find_site("local", HERE), {}, options, path, monitoring)
    jobs = json.loads((path / "workflow.yml").read_text())["jobs"]
    return {job["id"]: job for job in jobs}


def test_the_plan_clusters_only_where_something_is_clustered(tmp_path: Path) -> None:
    for how, told in (("none", False), ("label", True), ("num", True)):
        rendered(tmp_path / how, None, how=how)
        assert ("--cluster label " in (tmp_path / how / "plan.sh").read_text()) is told


def test_jobs_that_run_as_one_have_one_environment_and_one_trace(tmp_path: Path) -> None:
    jobs = rendered(tmp_path / "b", Monitoring(trace="full"))
    environments = [jobs[name]["profiles"]["env"] for name in ("g0-0", "g0-1", "g0-2", "join0")]
    assert all(environment == environments[0] for environment in environments)
    assert environments[0]["OMP_NUM_THREADS"] == "2"
    assert environments[0]["PANORAMA_PROBE_TRACE"] == "merge_group0.trace.full.jsonl"
    outputs = [use["lfn"] for name, job in jobs.items() for use in job["uses"] if use["type"] == "output"]
    assert outputs.count("merge_group0.trace.full.jsonl") == 1
    assert outputs.count("join_total.trace.full.jsonl") == 1


@pytest.mark.skipif(not shutil.which("pegasus-plan"), reason="no Pegasus: pegasus-plan is not on PATH")
@pytest.mark.parametrize("how", ["label", "size", "num"])
def test_the_real_planner_makes_the_clustered_jobs_that_the_embedded_engine_makes(how: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # DAGMan refuses /tmp, and so plan.sh
        path = Path(folder) / "b"
        rendered(path, Monitoring(), how=how, parts=5, factor=4, slots=3)
        with (path / "pegasus.properties").open("a") as properties:
            properties.write(f"pegasus.catalog.master.url = sqlite:///{folder}/master.db\n")
        subprocess.run([path / "plan.sh"], capture_output=True, check=True, timeout=120)
        submit = Path((path / "run/submitdir").read_text().strip())
        theirs = {
            file.stem: [line.split()[3] for line in file.read_text().splitlines() if line.startswith("#@ ")]
            for file in submit.glob("00/00/merge_*.in")
        }
        ours = {job.job_id: [task.task_id for task in job.tasks] for job in plan_bundle(path, "local").jobs.values()}
        clustered = {name: sorted(tasks) for name, tasks in ours.items() if len(tasks) > 1}
        assert {name: sorted(tasks) for name, tasks in theirs.items()} == clustered
        assert all(theirs[name][-1] == tasks[-1] for name, tasks in ours.items() if how == "label" and len(tasks) > 1)
        assert "-MaxJobs 3 " in (submit / "clusters-0.dag.condor.sub").read_text()
