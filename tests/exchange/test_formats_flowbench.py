"""A table of FlowBench becomes the run that it was made of."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from panorama_driver.analysis import flowbench as tables
from panorama_driver.errors import FormatError
from panorama_driver.exchange.formats import detected, flowbench
from panorama_driver.metrics import correlate
from panorama_driver.store import open_store
from tests.exchange.runs import imported, told

HEADER = """\
,anomaly_type,type,is_clustered,ready,pre_script_start,pre_script_end,submit,stage_in_start,stage_in_end,\
stage_in_effective_bytes_per_sec,execute_start,execute_end,stage_out_start,stage_out_end,\
stage_out_effective_bytes_per_sec,post_script_start,post_script_end,wms_delay,pre_script_delay,queue_delay,\
runtime,post_script_delay,stage_in_delay,stage_in_bytes,stage_out_delay,stage_out_bytes,kickstart_user,\
kickstart_site,kickstart_hostname,kickstart_transformations,kickstart_executables,kickstart_executables_argv,\
kickstart_executables_cpu_time,kickstart_status,kickstart_executables_exitcode,kickstart_online_iowait,\
kickstart_online_bytes_read,kickstart_online_bytes_written,kickstart_online_read_system_calls,\
kickstart_online_write_system_calls,kickstart_online_utime,kickstart_online_stime,\
kickstart_online_bytes_read_per_second,kickstart_online_bytes_written_per_second"""
CREATE = {
    "": "create_dir_demo_0_condorpool",
    "anomaly_type": "None",
    "type": "auxiliary",
    "is_clustered": "0",
    "ready": "1714095119.0",
    "submit": "1714095120.0",
    "execute_start": "1714095124.0",
    "execute_end": "1714095130.0",
    "post_script_start": "1714095130.0",
    "post_script_end": "1714095135.0",
    "runtime": "6.0",
    "kickstart_site": "local",
    "kickstart_hostname": "submit-1",
    "kickstart_transformations": "pegasus::dirmanager",
    "kickstart_executables_cpu_time": "0.3",
    "kickstart_status": "0",
    "kickstart_executables_exitcode": "0",
}
COMPUTE = CREATE | {
    "": "pipeline_ID0000001",
    "anomaly_type": "cpu_2",
    "type": "compute",
    "ready": "1714095135.0",
    "submit": "1714095140.0",
    "stage_in_start": "1714095152.0",
    "stage_in_end": "1714095169.0",
    "stage_in_effective_bytes_per_sec": "67793898.2",
    "execute_start": "1714095152.0",
    "execute_end": "1714095245.0",
    "stage_out_start": "1714095233.0",
    "stage_out_end": "1714095237.0",
    "post_script_start": "1714095245.0",
    "post_script_end": "1714095250.0",
    "runtime": "93.0",
    "stage_in_bytes": "1152496270.0",
    "stage_out_bytes": "521049.0",
    "kickstart_site": "condorpool",
    "kickstart_hostname": "Worker-2.example.org",
    "kickstart_transformations": "pipeline",
    "kickstart_executables": "/srv/pipeline",
    "kickstart_executables_cpu_time": "60.3",
    "kickstart_online_iowait": "0.1",
    "kickstart_online_bytes_read": "284867478.0",
    "kickstart_online_bytes_written": "41401038.0",
    "kickstart_online_read_system_calls": "139260.0",
    "kickstart_online_write_system_calls": "5593.0",
    "kickstart_online_utime": "46.2",
    "kickstart_online_stime": "2.9",
}


def table(path: Path, *rows: dict[str, str]) -> Path:
    """A table with the header that FlowBench's have."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER.split(","), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_is_the_run_that_it_was_made_of(tmp_path: Path) -> None:
    path = table(tmp_path / "demo-run0007.csv", CREATE, COMPUTE)
    assert detected(path).name == "flowbench"
    events, letters = told(flowbench.read, path)
    assert letters == []
    run = correlate(events.values())
    assert (run.label, run.state, run.jobs_succeeded) == ("demo", "succeeded", 2)
    assert run.makespan == 1714095250 - 1714095119
    assert run.bytes_transferred == 1152496270 + 521049
    assert (run.unmatched, run.guessed) == (0, 0)
    job = run.job("pipeline_ID0000001")
    assert job.wall_time == 1714095233 - 1714095169  # between the ends of staging in and out
    assert job.queue_time == 1714095169 - 1714095140
    assert job.cpu_time == 60.3
    assert (job.chars_read, job.chars_written, job.read_calls, job.write_calls) == (284867478, 41401038, 139260, 5593)
    assert (job.io_wait, job.host, job.site, job.exit_code) == (0.1, "worker-2", "condorpool", 0)
    assert (job.bytes_read, job.cores) == (None, None)  # of storage and of cores the tables say nothing
    assert run.job("create_dir_demo_0_condorpool").wall_time == 6.0


def test_what_was_wrong_and_whose_data_it_is_goes_with_the_run(tmp_path: Path) -> None:
    events, _ = told(flowbench.read, table(tmp_path / "demo-run0007.csv", CREATE, COMPUTE))
    metadata = {e.fields["key"]: e.fields["value"] for e in events.values() if e.kind == "stampede.xwf.meta"}
    assert metadata["anomaly_type"] == "cpu_2"
    assert "CC-BY-4.0" in metadata["source"]
    tasks = [event.fields for event in events.values() if event.kind == "stampede.task.meta"]
    assert [(told["task_id"], told["value"]) for told in tasks] == [("pipeline_ID0000001", "cpu_2")]


def test_a_run_is_one_however_its_table_is_called_or_packed(tmp_path: Path) -> None:
    path = table(tmp_path / "demo-run0007.csv", CREATE, COMPUTE)
    packed = tmp_path / "demo-run0007.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    other = table(tmp_path / "demo-run0008.csv", CREATE, COMPUTE | {"runtime": "94.0"})
    with open_store(tmp_path / "store.db") as store:
        new, _ = imported(flowbench.read, path, store)
        assert new > 20
        assert imported(flowbench.read, path, store) == (0, 0)
        assert imported(flowbench.read, packed, store) == (0, 0)
        assert imported(flowbench.read, other, store) == (new, 0)
        assert [run.label for run in store.workflows()] == ["demo", "demo"]


def test_a_job_that_failed_fails_the_run(tmp_path: Path) -> None:
    broken = COMPUTE | {"kickstart_status": "-1", "kickstart_executables_exitcode": "256"}
    events, _ = told(flowbench.read, table(tmp_path / "demo-run0001.csv", CREATE, broken))
    run = correlate(events.values())
    assert (run.state, run.job("pipeline_ID0000001").state, run.job("pipeline_ID0000001").exit_code) == (
        "failed",
        "failed",
        1,
    )


def test_rows_that_tell_of_no_job_are_dead_letters(tmp_path: Path) -> None:
    path = table(tmp_path / "demo-run0001.csv", CREATE, COMPUTE | {"": ""}, COMPUTE | {"execute_end": "soon"}, COMPUTE)
    events, letters = told(flowbench.read, path)
    assert correlate(events.values()).jobs_total == 2
    assert [letter.head.split(b",")[0] for letter in letters] == [b"", b"pipeline_ID0000001"]
    with open_store(tmp_path / "store.db") as store:
        assert imported(flowbench.read, path, store) == (len(events), 2)
        assert imported(flowbench.read, path, store) == (0, 0)


@pytest.mark.parametrize("data", [b"a,b\n1,2\n", b"", b"\xff\xfe\x00", b"," * 100_000])
def test_another_table_is_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x-run0001.csv"
    path.write_bytes(data)
    assert not flowbench.detect(path, data[:4096])
    with pytest.raises(FormatError):
        list(flowbench.read(path))


def test_a_larger_one_than_may_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flowbench, "SIZE_LIMIT", 1000)
    with pytest.raises(FormatError, match="longer than 1000 bytes"):
        list(flowbench.read(table(tmp_path / "demo-run0001.csv", CREATE)))


def test_what_detects_anomalies_reads_the_same_rows(tmp_path: Path) -> None:
    path = table(tmp_path / "demo-run0007.csv", CREATE, COMPUTE)
    assert [(job.sample.job_id, job.label) for job in tables.read(path)] == [
        ("create_dir_demo_0_condorpool", "None"),
        ("pipeline_ID0000001", "cpu_2"),
    ]
