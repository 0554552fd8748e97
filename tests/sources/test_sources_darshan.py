"""Darshan's logs are read as PyDarshan reads them, and nothing that a log does to the reader reaches us."""

from __future__ import annotations

import base64
import importlib.util
import os
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.metrics._darshan import merged
from panorama_driver.sources import darshan, expand
from panorama_driver.sources.darshan import LogReader, LogReport

CAPTURES = Path(__file__).parent.parent / "data" / "captures" / "darshan"
_FOUND = importlib.util.find_spec("darshan")
needs_pydarshan = pytest.mark.skipif(_FOUND is None, reason=darshan.MISSING)


def _wheel_logs() -> list[Path]:
    """The logs that come with PyDarshan, each content once."""
    folders = _FOUND.submodule_search_locations if _FOUND else None
    logs = sorted(Path(folders[0]).rglob("*.darshan")) if folders else []
    return list({path.read_bytes(): path for path in logs}.values())


@pytest.fixture(scope="module")
def reader() -> Iterator[LogReader]:
    with LogReader() as reader:
        yield reader


def read(reader: LogReader, path: Path) -> LogReport:
    report = reader.read(path.read_bytes(), path.name)
    assert report.reason is None
    return report


def capture(name: str) -> list[Path]:
    return sorted((CAPTURES / name).glob("*.darshan"))


@needs_pydarshan
def test_the_log_of_one_process_has_what_the_process_did(reader: LogReader) -> None:
    """64 writes of 262,144 B to one file, which is then read back."""
    [path] = capture("A")
    report = read(reader, path)
    posix = report.modules["POSIX"].counters
    assert (posix["WRITES"], posix["BYTES_WRITTEN"], posix["SIZE_WRITE_100K_1M"]) == (64, 16_777_216, 64)
    [data] = [file for file in report.largest if file.name.endswith("a.bin")]
    assert (data.bytes_written, data.bytes_read) == (16_777_216, 16_777_216)
    assert (262_144, 128) in report.modules["POSIX"].common_sizes
    assert (report.nprocs, report.jobid, report.log_version) == (1, 140922, "3.41")
    assert report.run_time == pytest.approx(0.0294454)
    assert report.end is not None
    assert report.start is not None
    assert report.end - report.start == pytest.approx(report.run_time, abs=1e-5)
    assert report.metadata == {"lib_ver": "3.5.0"}
    assert "io1.py" in report.exe


@needs_pydarshan
def test_four_logs_of_one_job_have_what_its_processes_wrote(reader: LogReader) -> None:
    reports = [read(reader, path) for path in capture("B")]
    written = sorted(report.modules["POSIX"].counters["BYTES_WRITTEN"] for report in reports)
    assert written == [0, 409_600, 819_200, 1_228_800]
    assert sum(report.modules["POSIX"].counters["WRITES"] for report in reports) == 600


@needs_pydarshan
def test_a_process_that_did_nothing_leaves_a_report_of_nothing(reader: LogReader) -> None:
    [path] = CAPTURES.glob("*46547-46548*.darshan")
    report = read(reader, path)
    assert (report.modules, report.metadata["fork_parent"]) == ({}, "46547")


@needs_pydarshan
def test_the_heat_map_holds_the_bytes_of_the_counters(reader: LogReader) -> None:
    [path] = capture("A")
    report = read(reader, path)
    heat = report.heatmaps["POSIX"]
    counted = report.modules["POSIX"].counters
    assert (sum(heat.written), sum(heat.read)) == (counted["BYTES_WRITTEN"], counted["BYTES_READ"])
    assert heat.width > 0


@needs_pydarshan
@pytest.mark.skipif(not _wheel_logs(), reason="this PyDarshan comes without example logs")
@pytest.mark.parametrize("path", _wheel_logs(), ids=lambda path: path.name[:40])
def test_every_log_of_pydarshan_is_read_as_pydarshan_reads_it(path: Path, reader: LogReader) -> None:
    from darshan.backend.cffi_backend import accumulate_records
    from darshan.report import DarshanReport

    ours = read(reader, path)
    theirs = DarshanReport(str(path), read_all=True)
    job = theirs.metadata["job"]
    assert (ours.nprocs, ours.uid, ours.jobid) == (job["nprocs"], job["uid"], job["jobid"])
    assert ours.run_time == pytest.approx(job["run_time"])
    summary = merged([ours])
    for name in {"POSIX", "STDIO", "MPI-IO"} & set(theirs.records):
        frames = theirs.records[name].to_df()
        accumulated = accumulate_records(frames, name, job["nprocs"])
        metrics, module = accumulated.derived_metrics, ours.modules[name]
        counters, times = (
            accumulated.summary_record["counters"].iloc[0],
            accumulated.summary_record["fcounters"].iloc[0],
        )
        prefix = name.replace("-", "")
        assert {key: counters[f"{prefix}_{key}"] for key in module.counters} == module.counters
        assert {key: times[f"{prefix}_{key}"] for key in module.times} == pytest.approx(module.times)
        assert module.agg_perf == pytest.approx(metrics.agg_perf_by_slowest)
        assert module.agg_time == pytest.approx(metrics.agg_time_by_slowest)
        assert module.counters["BYTES_READ"] + module.counters["BYTES_WRITTEN"] == metrics.total_bytes
        found: Any = getattr(summary, darshan_field(name))
        if found.files is not None:
            assert [found.files, found.files_read_only, found.files_write_only, found.files_read_write] == [
                metrics.category_counters[i].count for i in range(4)
            ]
            assert found.files_unique == metrics.category_counters[4].count
            assert found.files_shared == sum(metrics.category_counters[i].count for i in (5, 6))
    for name in {"H5F", "H5D"} & set(theirs.records):
        frame = theirs.records[name].to_df()["counters"]
        counted = ours.modules[name].counters
        assert {key: frame[f"{name}_{key}"].sum() for key in counted} == counted


def darshan_field(name: str) -> str:
    return {"POSIX": "posix", "STDIO": "stdio", "MPI-IO": "mpiio"}[name]


def test_bytes_that_are_no_log_have_a_reason(reader: LogReader) -> None:
    [path] = capture("A")
    log = path.read_bytes()
    assert reader.read(b"").reason == "the log is empty"
    assert reader.read(b"#!/bin/sh\nexit 0\n" * 9).reason == "not a Darshan log"
    assert "unknown format" in str(reader.read(b"\xff.41\0\0\0\0" + log[8:]).reason)
    assert "more than" in str(reader.read(bytes(darshan.LOG_LIMIT + 1)).reason)


@needs_pydarshan
def test_a_log_of_a_newer_version_is_told_in_the_words_of_the_library(reader: LogReader) -> None:
    [path] = capture("A")
    reason = str(reader.read(b"9.99\0\0\0\0" + path.read_bytes()[8:]).reason)
    assert "got 9.99" in reason


@needs_pydarshan
@pytest.mark.parametrize("kept", [17, 600, 1500, 2000, 2498])
def test_a_log_that_was_cut_has_a_reason_and_the_next_one_is_read(kept: int, reader: LogReader) -> None:
    [path] = capture("A")
    log = path.read_bytes()
    report = reader.read(log[:kept], "cut.darshan")
    assert report.reason
    assert (report.name, report.size, report.modules) == ("cut.darshan", kept, {})
    assert reader.read(log).reason is None


def library(folder: Path, opening: str) -> None:
    """A package `darshan` whose library does something when it opens a log."""
    backend = folder / "darshan" / "backend"
    backend.mkdir(parents=True)
    (folder / "darshan" / "__init__.py").touch()
    (backend / "__init__.py").touch()
    code = f"""
    import os, signal, sys, time
    class ffi:
        NULL = None
    class libdutil:
        @staticmethod
        def darshan_log_open(path):
            {opening}
    """
    (backend / "cffi_backend.py").write_text(textwrap.dedent(code))


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed on it (SIGSEGV)"),
        ("os.abort()", "crashed on it (SIGABRT)"),
        ("bytearray(1 << 33)", "asks for more memory"),
        ("return ffi.NULL", "cannot be opened"),
        ("os.write(2, b'Error: that is odd\\n'); os._exit(9)", "Error: that is odd"),
        ("while True: os.write(2, b'x' * (1 << 16))", "cannot be read"),
        ("os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.2)", "took the reader down"),
    ],
)
def test_whatever_a_log_makes_the_library_do_is_a_reason(
    opening: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path, opening)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [path] = capture("A")
    with LogReader(cpu_limit=1) as reader:
        for _ in range(2):
            report = reader.read(path.read_bytes(), "a.darshan")
            assert reason in str(report.reason)
            assert report.modules == {}


@pytest.mark.parametrize("opening", ["while True: pass", "time.sleep(600)"])
def test_a_log_that_keeps_the_library_busy_or_asleep_is_given_up(
    opening: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path, opening)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [path] = capture("A")
    with LogReader(cpu_limit=1) as reader:
        assert "takes longer than 1 s" in str(reader.read(path.read_bytes()).reason)


def test_a_pydarshan_that_cannot_be_imported_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path, "pass")
    (tmp_path / "darshan" / "__init__.py").write_text("raise OSError('libdarshan-util.so: wrong ELF class')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(darshan, "reader_name", lambda: "PyDarshan 0")
    [path] = capture("A")
    with LogReader() as reader:
        assert "wrong ELF class" in str(reader.read(path.read_bytes()).reason)
        monkeypatch.setattr(darshan, "reader_name", lambda: None)
        assert reader.read(path.read_bytes()).reason == darshan.MISSING


@needs_pydarshan
def test_the_reader_leaves_neither_process_nor_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    [path] = capture("A")
    with LogReader() as reader:
        read(reader, path)
        assert reader._worker is not None
        worker = reader._worker.pid
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)


@needs_pydarshan
def test_secrets_of_the_environment_stay_out_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANORAMA_TEST_SECRET", "hunter2")
    with LogReader() as reader:
        assert reader.start() == ""
        assert reader._worker is not None
        environment = Path(f"/proc/{reader._worker.pid}/environ")
        if not environment.exists():
            pytest.skip("no /proc")
        assert b"hunter2" not in environment.read_bytes()


def legacy(**fields: Any) -> LogReport:
    raw = {"event": "stampede.task.monitoring", "xwf_id": "w", "job_id": "a", "job_inst_id": 1, "ts": 5}
    [event] = expand({**raw, "monitoring_event": "darshan.perf", **fields})
    return darshan.legacy_report(event)


def test_the_payload_of_pegasus_darshan_is_a_report_with_totals() -> None:
    data = {"total_bytes": 3 << 20, "agg_perf_by_slowest": "1.5", "unique_files": {}, "shared_files": {}}
    job = {
        "exe": "./a.out",
        "uid": "1000",
        "jobid": 7,
        "nprocs": 4,
        "run_time": "2.5",
        "start_time": 10,
        "end_time": 12,
    }
    report = legacy(**job, POSIX_module_data=data, STDIO_module_data={"total_bytes": 0})
    assert (report.nprocs, report.uid, report.start, report.end, report.run_time) == (4, 1000, 10, 12, 2.5)
    assert (report.modules["POSIX"].total_bytes, report.modules["POSIX"].agg_time) == (3 << 20, 2.0)
    assert (report.modules["STDIO"].total_bytes, report.modules["STDIO"].agg_time) == (0, None)


def test_a_payload_may_lack_a_module_or_hold_nonsense() -> None:
    assert legacy(exe="x").modules == {}
    assert legacy(POSIX_module_data=None, STDIO_module_data=[1]).modules["POSIX"].total_bytes is None
    odd = legacy(POSIX_OPENS="many", POSIX_READS=-1, POSIX_WRITES=1e400, POSIX_F_READ_TIME="nan", POSIX_SEEKS="7")
    assert odd.modules["POSIX"].counters == {"SEEKS": 7}
    assert odd.modules["POSIX"].times == {}
    with pytest.raises(FormatError, match=r"darshan\.perf payload"):
        legacy(nprocs={"a": 1})


@needs_pydarshan
def test_a_log_that_came_home_becomes_a_report_of_the_same_job(reader: LogReader) -> None:
    [path] = capture("A")
    fields = {"name": path.name, "hostname": "node1", "data": base64.b64encode(path.read_bytes()).decode()}
    log = Event(kind="darshan.log", wf_uuid="w", job_id="a", attempt=3, fields=fields)
    event = darshan.report_event(log, reader)
    assert (event.kind, event.wf_uuid, event.job_id, event.attempt) == ("darshan.report", "w", "a", 3)
    report = darshan.report_of(event)
    assert (report.name, report.hostname, report.reason) == (path.name, "node1", None)
    assert event.ts == report.end
    assert darshan.report_event(log, reader).event_id == event.event_id


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"reason": "no room in the payload"}, "no room in the payload"),
        ({}, "the log did not come along"),
        ({"data": "%%%"}, "the log is damaged"),
        ({"data": ""}, "the log is empty"),
        ({"data": 7, "size": "x"}, "the log did not come along"),
    ],
)
def test_a_log_that_did_not_come_home_is_a_report_with_the_reason(
    fields: dict[str, Any], reason: str, reader: LogReader
) -> None:
    log = Event(kind="darshan.log", wf_uuid="w", job_id="a", attempt=3, fields={"name": "x.darshan", **fields})
    report = darshan.report_of(darshan.report_event(log, reader))
    assert report.reason is not None
    assert report.reason.startswith(reason)


def test_an_event_that_only_says_that_it_is_a_report_is_refused() -> None:
    for fields in ({"modules": 7}, {"modules": {"POSIX": {"counters": {"OPENS": -3}}}}, {"nprocs": "four"}):
        with pytest.raises(FormatError):
            darshan.report_of(Event(kind="darshan.report", wf_uuid="w", fields=fields))
