"""FlowBench's tables as attempts; the lines are made up in its format."""

from __future__ import annotations

from pathlib import Path

import pytest

from panorama_driver.analysis.flowbench import read
from panorama_driver.analysis.jobs import analyse
from panorama_driver.errors import FormatError

HEAD = (
    ",anomaly_type,type,execute_start,execute_end,queue_delay,runtime,stage_in_delay,stage_in_bytes,stage_out_delay,"
    "kickstart_hostname,kickstart_transformations,kickstart_executables_cpu_time,kickstart_executables_exitcode,"
    "kickstart_online_iowait,kickstart_online_bytes_written,kickstart_online_bytes_read_per_second,"
    "kickstart_online_bytes_written_per_second\n"
)
COMPUTE = (
    "fit_ID0000001,cpu_2,compute,1700000000.0,1700000080.0,12.0,80.0,16.0,1000000.0,4.0,worker-1-container-0-3,fit,20.0,0,"
    "0.5,7000.0,300.0,100.0\n"
)
SUBMIT = "create_dir_0,None,auxiliary,1700000000.0,,4.0,6.0,,,,submit,pegasus::dirmanager,0.3,1,,,,\n"


def table(folder: Path, *lines: str, name: str = "run0001.csv") -> Path:
    path = folder / name
    path.write_text(HEAD + "".join(lines), encoding="utf-8")
    return path


def test_a_line_is_an_attempt_with_its_label(tmp_path: Path) -> None:
    job, auxiliary = read(table(tmp_path, COMPUTE, SUBMIT))
    assert (job.label, job.type, auxiliary.label, auxiliary.type) == ("cpu_2", "compute", "None", "auxiliary")
    assert (job.sample.run, job.sample.job_id, job.sample.work) == ("run0001", "fit_ID0000001", "fit_ID0000001")
    assert (job.sample.transformation, job.sample.host) == ("fit", "worker-1-container-0-3")
    assert job.sample.values == {
        "wall_time": 80.0,
        "cpu_time": 20.0,
        "cpu_utilization": 0.25,
        "stage_time": 20.0,
        "io_rate": 400.0,
        "io_wait": 0.5,
        "queue_time": 12.0,
        "bytes_written": 7000.0,
    }
    assert job.sample.inputs == {"stage_in_bytes": 1e6}
    assert (job.sample.start, job.sample.end) == (1_700_000_000.0, 1_700_000_080.0)


def test_what_is_not_there_is_unknown_and_not_zero(tmp_path: Path) -> None:
    (job,) = read(table(tmp_path, SUBMIT))
    assert job.sample.values == {"wall_time": 6.0, "cpu_time": 0.3, "cpu_utilization": 0.3 / 6, "queue_time": 4.0}
    assert (job.sample.end, job.sample.inputs, job.sample.state) == (None, {}, "failed")


@pytest.mark.parametrize("hostile", ["nan", "inf", "-5", "=1+1", "1e999", "9" * 400])
def test_numbers_that_are_none_are_left_out(tmp_path: Path, hostile: str) -> None:
    (job,) = read(table(tmp_path, COMPUTE.replace(",80.0,", f",{hostile},")))
    assert "wall_time" not in job.sample.values
    assert "cpu_utilization" not in job.sample.values


def test_lines_that_are_too_short_or_too_long(tmp_path: Path) -> None:
    short, long = read(table(tmp_path, "x,None,compute\n", COMPUTE.strip() + ",more,and more\n"))
    assert short.sample.values == {}
    assert long.sample.values["wall_time"] == 80.0


@pytest.mark.parametrize("text", [b"", b"a,b,c\n1,2,3\n", b"\xff\xfe\x00", b"\x00" * 100])
def test_what_is_no_table_says_so(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "run.csv"
    path.write_bytes(text)
    with pytest.raises(FormatError, match=r"run\.csv"):
        read(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.csv: cannot be read"):
        read(tmp_path / "none.csv")


def test_runs_that_were_read_can_be_compared(tmp_path: Path) -> None:
    runs = [table(tmp_path, COMPUTE, SUBMIT, name=f"run{number}.csv") for number in range(12)]
    slow = table(tmp_path, COMPUTE.replace(",80.0,", ",800.0,"), name="slow.csv")
    seen = analyse([job.sample for path in [*runs, slow] for job in read(path)])
    most = max(seen.jobs, key=lambda each: each.score or 0.0)
    assert (most.sample.run, most.own[0].metric) == ("slow", "cpu_utilization") or most.own[0].metric == "wall_time"
    auxiliary = next(each for each in seen.jobs if each.sample.transformation == "pegasus::dirmanager")
    assert auxiliary.reason == "0 of 10 attempts of pegasus::dirmanager that must have succeeded before"
