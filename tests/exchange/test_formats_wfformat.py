"""Runs as WfFormat are valid to WfCommons, and say what the metrics say."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import StoreError, UsageError
from panorama_driver.events import Event
from panorama_driver.exchange.formats import wfformat
from panorama_driver.exchange.records import About, Creator, Source, silent
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.sources import expand
from panorama_driver.store import open_store
from tests.exchange.runs import captured
from tests.exchange.wfformat_schema import SCHEMA

Json = dict[str, Any]
ABOUT = About(title="Recorded runs", creators=[Creator(name="Nobody"), Creator(name="Ann", email="ann@example.org")])
NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Json, WorkflowMetrics]]:
    """Every recorded run as WfFormat, and its metrics."""
    folder = tmp_path_factory.mktemp("wfformat")
    source = captured(folder)
    paths = wfformat.write([source], folder / "out", ABOUT, silent)
    with open_store(source.store, readonly=True) as store:
        found = {run.wf_uuid: correlate(store.events(run.wf_uuid)) for run in store.workflows()}
    assert len(paths) == len(found) == 10
    return [(json.loads(path.read_bytes()), found[path.stem[-36:]]) for path in paths]


def problems(instance: Json, folder: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings of WfCommons' own validator."""
    schema = pytest.importorskip("wfcommons.wfinstances.schema", reason="wfcommons is not installed")
    path = folder / "schema.json"
    path.write_text(json.dumps(SCHEMA), encoding="utf-8")
    validator = schema.SchemaValidator(path)
    try:
        validator.validate_instance(instance)
    except RuntimeError:
        assert validator.errors
    return validator.errors, validator.warnings


def test_every_run_is_valid_to_the_validator_of_wfcommons(
    written: list[tuple[Json, WorkflowMetrics]], tmp_path: Path
) -> None:
    for instance, metrics in written:
        lacking = sum(job.wall_time is None for job in metrics.jobs)
        expected = [f"{lacking} task(s) have no entry in the execution section."] if lacking else []
        assert problems(instance, tmp_path) == ([], expected)


def test_the_validator_sees_what_is_wrong(written: list[tuple[Json, WorkflowMetrics]], tmp_path: Path) -> None:
    wrong: Json = json.loads(json.dumps(written[0][0]))
    wrong["workflow"]["execution"]["metrics"]["sumTaskRuntimesInSeconds"] += 1
    assert "sumTaskRuntimesInSeconds" in problems(wrong, tmp_path)[0][0]
    wrong["schemaVersion"] = "1.5"
    assert "1.5" in problems(wrong, tmp_path)[0][0]


def test_wfcommons_reads_and_draws_the_same_graph(written: list[tuple[Json, WorkflowMetrics]], tmp_path: Path) -> None:
    wfinstances = pytest.importorskip("wfcommons.wfinstances", reason="wfcommons is not installed")
    schema, path = tmp_path / "schema.json", tmp_path / "instance.json"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    for instance, metrics in written:
        path.write_text(json.dumps(instance), encoding="utf-8")
        read = wfinstances.Instance(path, schema_file=str(schema))
        assert read.makespan == (metrics.makespan or 0.0)
        tasks = {task["id"]: task for task in instance["workflow"]["specification"]["tasks"]}
        assert set(read.workflow.nodes) == tasks.keys()
        assert set(read.workflow.edges) == {(p, name) for name, task in tasks.items() for p in task["parents"]}


def test_numbers_are_those_of_the_metrics(written: list[tuple[Json, WorkflowMetrics]]) -> None:
    compared = 0
    for instance, metrics in written:
        execution = instance["workflow"]["execution"]
        assert execution["makespanInSeconds"] == metrics.makespan
        assert datetime.fromisoformat(execution["executedAt"]).timestamp() == metrics.start
        tasks = {task["id"]: task for task in execution["tasks"]}
        for job in metrics.jobs:
            task = tasks.pop(job.job_id, None)
            assert (task is None) == (job.wall_time is None)
            if task is None:
                continue
            assert task["runtimeInSeconds"] == job.wall_time
            assert task.get("memoryInBytes") == job.peak_memory
            assert task.get("coreCount") == job.cores
            assert task.get("machines") == ([job.host] if job.host else None)
            for name, values in (
                ("readBytes", (job.chars_read, job.bytes_read)),
                ("writtenBytes", (job.chars_written, job.bytes_written)),
            ):
                known = [value for value in values if value is not None]
                assert task.get(name) == (max(known) if known else None)
            assert ("avgCPU" in task) == (job.cpu_time is not None)
            if job.cpu_time is not None:
                assert math.isclose(task["avgCPU"] / 100 * job.wall_time, job.cpu_time)
            compared += 1
        assert tasks == {}
    assert compared > 40


def test_a_run_by_hand() -> None:
    """Two jobs: 3 s of 2 s of processor, then 5 s of 10 s on two cores; a file of 700 bytes between them."""
    run = {"xwf_id": "w"}
    first, second = ({"job_id": name, "job_inst_id": n, **run} for n, name in ((1, "a b"), (2, "a_b")))
    raws: list[Json] = [
        {"event": "stampede.wf.plan", "ts": 100, "dax_label": "by hand", "planner_version": "5.1.3", **run},
        {"event": "stampede.xwf.start", "ts": 100, "restart_count": 0, **run},
        *({"event": "stampede.job.info", "job_id": job["job_id"], "type": 1, **run} for job in (first, second)),
        {"event": "stampede.job.edge", "parent_job_id": "a b", "child_job_id": "a_b", **run},
        {"event": "stampede.wf.map.task_job", "task_id": "t1", "job_id": "a b", **run},
        {"event": "stampede.wf.map.task_job", "task_id": "t2", "job_id": "a_b", **run},
        {"event": "stampede.wf.map.file", "task_id": "t1", "lfn_id": "x.txt", "file_type": "output", **run},
        {"event": "stampede.wf.map.file", "task_id": "t2", "lfn_id": "x.txt", "file_type": "input", **run},
        {"event": "stampede.wf.map.file", "task_id": "t2", "lfn_id": "never-weighed", "file_type": "output", **run},
        {"event": "stampede.rc.meta", "lfn_id": "x.txt", "key": "size", "value": "700", **run},
        {"event": "stampede.job_inst.main.start", "ts": 101, **first},
        {"event": "stampede.inv.end", "ts": 104, "inv_id": 1, "start_time": 101, "dur": 3, "remote_cpu_time": 2,
         "exitcode": 0, "transformation": "make", "executable": "/bin/make", "argv": "-j 'two words'", "maxrss": 10,
         **first},
        {"event": "stampede.job_inst.main.end", "ts": 104, "exitcode": 0, "status": 0, **first},
        {"event": "stampede.job_inst.main.start", "ts": 105, **second},
        {"event": "stampede.inv.end", "ts": 110, "inv_id": 1, "start_time": 105, "dur": 5, "remote_cpu_time": 10,
         "exitcode": 0, "transformation": "use", **second},
        {"event": "stampede.job_inst.main.end", "ts": 110, "exitcode": 0, "status": 0, "req_cpus": 2, **second},
        {"event": "stampede.xwf.end", "ts": 112, "restart_count": 0, "status": 0, **run},
    ]  # fmt: skip
    told = wfformat.instance((event for raw in raws for event in expand(raw)), ABOUT, NOW)
    assert told is not None
    assert (told["name"], told["createdAt"]) == ("by hand", "2026-11-23T09:30:00+00:00")
    assert told["author"] == {"name": "Ann", "email": "ann@example.org"}
    assert told["runtimeSystem"]["version"] == "5.1.3"
    assert told["workflow"]["specification"] == {
        "tasks": [
            {"name": "make", "id": "a_b", "parents": [], "children": ["a_b_2"],
             "inputFiles": [], "outputFiles": ["x.txt"]},
            {"name": "use", "id": "a_b_2", "parents": ["a_b"], "children": [],
             "inputFiles": ["x.txt"], "outputFiles": []},
        ],
        "files": [{"id": "x.txt", "sizeInBytes": 700}],
        "metrics": {
            "numberOfTasks": 2, "numberOfLevels": 2, "minimumWidth": 1, "maximumWidth": 1,
            "numberOfFiles": 1, "sumOfFileSizesInBytes": 700,
        },
    }  # fmt: skip
    assert told["workflow"]["execution"] == {
        "makespanInSeconds": 12.0,
        "executedAt": "1970-01-01T00:01:40+00:00",
        "tasks": [
            {
                "id": "a_b",
                "runtimeInSeconds": 3.0,
                "executedAt": "1970-01-01T00:01:41+00:00",
                "command": {"program": "/bin/make", "arguments": ["-j", "two words"]},
                "avgCPU": 100 * 2 / 3,
                "memoryInBytes": 10 * 1024,
            },
            {
                "id": "a_b_2",
                "runtimeInSeconds": 5.0,
                "executedAt": "1970-01-01T00:01:45+00:00",
                "coreCount": 2,
                "avgCPU": 200.0,
            },
        ],
        "metrics": {"sumTaskRuntimesInSeconds": 8.0},
    }


def test_a_run_that_goes_on_has_no_execution(tmp_path: Path) -> None:
    run = {"xwf_id": "w"}
    raws = [
        {"event": "stampede.xwf.start", "ts": 100, "restart_count": 0, **run},
        {"event": "stampede.job.info", "job_id": "a", "type": 1, **run},
    ]
    told = wfformat.instance([event for raw in raws for event in expand(raw)], About(), NOW)
    assert told is not None
    assert "execution" not in told["workflow"]
    assert "files" not in told["workflow"]["specification"]
    assert problems(told, tmp_path) == ([], [])


def test_a_password_in_a_command_stays_here() -> None:
    key = {"xwf_id": "w", "job_id": "a", "job_inst_id": 1}
    ran = {"inv_id": 1, "start_time": 1, "dur": 1, "remote_cpu_time": 1, "exitcode": 0, "executable": "/bin/get"}
    raws: list[Json] = [
        {"event": "stampede.xwf.start", "ts": 1, "restart_count": 0, "xwf_id": "w"},
        {
            "event": "stampede.inv.end",
            "ts": 2,
            "argv": "--password sesame https://me:sesame@example.org/",
            **ran,
            **key,
        },
        {"event": "stampede.job_inst.main.start", "ts": 1, **key},
        {"event": "stampede.job_inst.main.end", "ts": 2, "exitcode": 0, **key},
        {"event": "stampede.xwf.end", "ts": 3, "restart_count": 0, "status": 0, "xwf_id": "w"},
    ]
    told = wfformat.instance([event for raw in raws for event in expand(raw)], About(), NOW)
    assert told is not None
    [task] = told["workflow"]["execution"]["tasks"]
    assert task["command"]["program"] == "/bin/get"
    assert "sesame" not in json.dumps(told)


def test_what_is_odd_is_written_all_the_same(tmp_path: Path) -> None:
    key = {"xwf_id": "w", "job_id": "\x7f é\n", "job_inst_id": 1}
    raws: list[Json] = [
        {"event": "stampede.wf.plan", "dax_label": "../\ud800", "planner_version": "5\udcff", "xwf_id": "w"},
        {"event": "stampede.xwf.start", "ts": 1e300, "restart_count": 0, "xwf_id": "w"},
        {"event": "stampede.job_inst.main.start", "ts": -1e300, **key},
        {"event": "stampede.inv.end", "ts": 1e18, "inv_id": 1, "start_time": 1e300, "dur": 1e300, "maxrss": 2**62,
         "remote_cpu_time": 1e-300, "transformation": "\udcff", "executable": "'", "exitcode": 0, **key},
        {"event": "stampede.job_inst.composite", "ts": 1e18, "hostname": "\udcff", "ram": 2**60, "cpu_speed": 1e300,
         "system": "\udcff", "machine": "\udcff", **key},
        {"event": "stampede.job_inst.main.end", "ts": 1e300, "exitcode": 0, **key},
        {"event": "stampede.xwf.end", "ts": 1e301, "restart_count": 0, "status": 0, "xwf_id": "w"},
    ]  # fmt: skip
    with open_store(tmp_path / "s.db") as store:
        store.put(event for raw in raws for event in expand(raw))
    [path] = wfformat.write([Source("s", str(tmp_path / "s.db"))], tmp_path / "out", About(), silent)
    assert path.parent == tmp_path / "out"
    assert problems(json.loads(path.read_bytes()), tmp_path) == ([], [])


def test_names_stay_apart_when_their_characters_are_replaced() -> None:
    names = ["a b", "a_b", "a\tb", "ä", "", "_"]
    found = wfformat.identifiers(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert found["a_b"] != found["a b"]
    many = {f"f{number}.dat": f"f{number}.dat" for number in range(100_000)}
    assert wfformat.identifiers(many) == many  # soon: a run may have as many files


def test_a_store_without_a_job_is_told(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        store.put([Event(kind="stampede.xwf.start", wf_uuid="w", ts=1.0, fields={"restart_count": 0})])
    with pytest.raises(UsageError, match="no workflow run with a job in it"):
        wfformat.write([Source("s", str(tmp_path / "s.db"))], tmp_path / "out", About(), silent)
    with pytest.raises(StoreError, match="no store there"):
        wfformat.write([Source("s", str(tmp_path / "none.db"))], tmp_path / "out", About(), silent)
