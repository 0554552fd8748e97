"""Reports of many processes become one summary, in which no byte is counted twice and nothing is made up."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.errors import ResponseError
from panorama_driver.metrics import DarshanSummary, WorkflowMetrics, correlate
from panorama_driver.metrics._darshan import merged
from panorama_driver.objective import Responses
from panorama_driver.sources.darshan import (
    TIMES,
    FileReport,
    LogReader,
    LogReport,
    Lustre,
    ModuleReport,
    reader_name,
)

from .runs import WF, Run

CAPTURES = Path(__file__).parent.parent / "data" / "captures" / "darshan"
needs_pydarshan = pytest.mark.skipif(reader_name() is None, reason="PyDarshan is not installed")


def module(read: int = 0, written: int = 0, seconds: float = 0.0, **more: Any) -> ModuleReport:
    """A module in which a process moved some bytes, a third of the time for each way and the rest."""
    counters = {"BYTES_READ": read, "BYTES_WRITTEN": written, "OPENS": 1, **more.pop("counters", {})}
    return ModuleReport(counters=counters, times=dict.fromkeys(TIMES, seconds / 3), agg_time=seconds, **more)


def log(number: int, *, host: str = "node1", **more: Any) -> LogReport:
    told: dict[str, Any] = {
        "name": f"{number}.darshan",
        "digest": f"d{number}",
        "start": 10.0,
        "end": 20.0,
        "size": 100,
    }
    return LogReport(hostname=host, **told | more)


def posix(number: int, read: int = 0, written: int = 0, seconds: float = 0.0, **more: Any) -> LogReport:
    return log(number, modules={"POSIX": module(read, written, seconds, **more)})


def test_bytes_of_several_processes_add_up() -> None:
    found = merged([posix(1, read=10, written=1), posix(2, read=20, written=2), posix(3, read=30)])
    assert (found.bytes_read, found.bytes_written, found.logs, found.processes) == (60, 3, 3, 3)
    assert found.posix is not None
    assert (found.posix.bytes_total, found.posix.opens) == (63, 3)


def test_what_mpi_io_and_hdf5_move_through_posix_counts_once() -> None:
    layers = {name: module(read=100, seconds=3.0) for name in ("POSIX", "MPI-IO", "H5D")}
    found = merged([log(1, modules=layers | {"STDIO": module(written=7, seconds=1.5)})])
    assert (found.bytes_read, found.bytes_written, found.io_time) == (100, 7, 4.5)
    assert found.mpiio is not None
    assert found.h5d is not None
    assert (found.mpiio.bytes_read, found.h5d.bytes_read) == (100, 100)


def test_mpi_io_stands_in_where_a_log_has_no_posix() -> None:
    found = merged([log(1, modules={"MPI-IO": module(read=100, seconds=3.0)}), posix(2, read=5, seconds=1.5)])
    assert (found.bytes_read, found.io_time) == (105, 4.5)


def test_the_same_log_under_another_name_counts_once() -> None:
    again = msgspec.structs.replace(posix(1, read=10), name="copy.darshan", hostname=None)
    found = merged([posix(1, read=10), again, posix(2, read=1)])
    assert (found.logs, found.bytes_read) == (2, 11)


def test_of_a_log_that_was_replaced_the_last_state_counts() -> None:
    early = posix(1, read=10)
    late = msgspec.structs.replace(posix(1, read=25), digest="later", end=30.0)
    assert merged([late, early]).bytes_read == merged([early, late]).bytes_read == 25


def test_a_copy_of_the_early_state_is_still_the_same_log() -> None:
    early, late = posix(1, read=10), msgspec.structs.replace(posix(1, read=25), digest="later", end=30.0)
    copy = msgspec.structs.replace(early, name="copy.darshan")
    for reports in ([early, late, copy], [copy, late, early], [late, copy, early]):
        assert merged(reports).bytes_read == 25


def test_logs_of_one_name_on_two_hosts_are_two_processes() -> None:
    other = msgspec.structs.replace(posix(1, read=10), hostname="node2", digest="other")
    assert merged([posix(1, read=10), other]).bytes_read == 20


def test_a_log_that_was_finished_after_all_takes_the_place_of_the_unfinished_one() -> None:
    unfinished = LogReport(name="1.darshan_partial", hostname="node1", reason="not finished")
    found = merged([unfinished, posix(1, read=10)])
    assert (found.logs, found.logs_unread, found.complete) == (1, 0, True)


def test_a_file_of_several_processes_is_one_file_and_shared() -> None:
    one = posix(1, files={"aa": 1, "bb": 2, "cc": 0}, files_total=3)
    two = posix(2, files={"aa": 2, "dd": 1 | 4}, files_total=2)
    found = merged([one, two]).posix
    assert found is not None
    assert (found.files, found.files_shared, found.files_unique) == (4, 2, 2)
    assert (found.files_read_only, found.files_write_only, found.files_read_write) == (1, 1, 1)


def test_files_are_not_counted_where_a_log_has_too_many_to_tell_apart() -> None:
    found = merged([posix(1, files={"aa": 1}, files_total=5000)]).posix
    assert found is not None
    assert found.files is None
    assert "more files" in found.reasons["files"]


def test_speed_is_all_bytes_over_the_time_of_the_slowest_process() -> None:
    found = merged([posix(1, read=3 << 20, seconds=2.0), posix(2, written=5 << 20, seconds=4.0)]).posix
    assert found is not None
    assert (found.agg_time_by_slowest, found.agg_perf_by_slowest) == (4.0, 2.0)


def test_speed_of_a_single_log_is_darshans_own() -> None:
    found = merged([posix(1, read=3 << 20, seconds=2.0, agg_perf=1.4999)]).posix
    assert found is not None
    assert found.agg_perf_by_slowest == 1.4999


def test_what_one_log_does_not_count_is_unknown_and_not_0() -> None:
    found = merged([posix(1, counters={"STATS": 3}), posix(2)]).posix
    assert found is not None
    assert found.stats is None
    assert "do not count it" in found.reasons["stats"]
    assert merged([posix(1)]).mpiio is None
    assert merged([posix(1)]).reasons["mpiio"] == "no Darshan log has MPI-IO records"


def test_a_process_without_input_and_output_adds_0() -> None:
    found = merged([log(1), posix(2, read=4, seconds=3.0)])
    assert (found.logs, found.bytes_read, found.bytes_written, found.io_time) == (2, 4, 0, 3.0)
    assert merged([log(1)]).bytes_read == 0


def test_records_that_darshan_had_no_memory_for_make_it_incomplete() -> None:
    found = merged([posix(1, read=1, partial=True)])
    assert not found.complete
    assert found.problems == ("Darshan had no memory for all POSIX records",)


def test_the_largest_files_are_of_all_processes() -> None:
    one = log(1, largest=(FileReport(id="a", name="/a", bytes_read=5), FileReport(id="b", name="/b", bytes_read=7)))
    two = log(2, largest=(FileReport(id="a", name="/a", bytes_written=6),))
    first, second = merged([one, two]).largest_files
    assert (first.name, first.bytes_read, first.bytes_written, first.processes) == ("/a", 5, 6, 2)
    assert (second.name, second.processes) == ("/b", 1)


def test_stripes_and_targets_are_told_once() -> None:
    one = log(1, lustre=Lustre(files=1, stripe_sizes=(1 << 20,), stripe_counts=(4,), osts=(1, 2)))
    two = log(2, lustre=Lustre(files=1, stripe_sizes=(1 << 20,), stripe_counts=(8,), osts=(2, 3)))
    found = merged([one, two]).lustre
    assert found is not None
    assert (found.stripe_sizes, found.stripe_counts, found.osts) == ((1 << 20,), (4, 8), (1, 2, 3))


COUNTS = st.integers(0, 1 << 50)
MODULES = st.builds(
    ModuleReport,
    counters=st.dictionaries(
        st.sampled_from(["BYTES_READ", "BYTES_WRITTEN", "OPENS", "READS", "SIZE_READ_0_100"]), COUNTS
    ),
    times=st.dictionaries(st.sampled_from(TIMES), st.floats(0, 1e9)),
    common_sizes=st.lists(st.tuples(COUNTS, COUNTS), max_size=3).map(tuple),
    agg_time=st.none() | st.floats(0, 1e9),
    agg_perf=st.none() | st.floats(0, 1e9),
    files=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 7), max_size=4),
    files_total=st.integers(0, 5),
    total_bytes=st.none() | COUNTS,
    partial=st.booleans(),
)
REPORTS = st.builds(
    LogReport,
    name=st.sampled_from(["", "1.darshan", "2.darshan", "2.darshan_partial", "3.darshan"]),
    hostname=st.sampled_from([None, "node1", "node2"]),
    digest=st.sampled_from(["", "d1", "d2", "d3", "d4"]),
    reason=st.none() | st.sampled_from(["no room", "damaged"]),
    legacy=st.booleans(),
    nprocs=st.integers(-5, 5000),
    start=st.none() | st.floats(0, 1e10),
    end=st.none() | st.floats(0, 1e10),
    modules=st.dictionaries(st.sampled_from(["POSIX", "STDIO", "MPI-IO", "H5F", "H5D", "ODD"]), MODULES, max_size=3),
    lustre=st.none() | st.builds(Lustre, osts=st.lists(st.integers(0, 9), max_size=3).map(tuple)),
    largest=st.lists(st.builds(FileReport, id=st.sampled_from("ab"), bytes_read=COUNTS), max_size=2).map(tuple),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(REPORTS, max_size=8), st.integers(0, 1000))
def test_reports_in_any_order_and_however_often_make_the_same_summary(reports: list[LogReport], seed: int) -> None:
    shuffled = [*reports, *random.Random(seed).sample(reports, len(reports) // 2)]
    random.Random(seed).shuffle(shuffled)
    assert merged(shuffled) == merged(reports)


@settings(max_examples=100, deadline=None)
@given(st.lists(REPORTS, max_size=8))
def test_no_summary_has_more_bytes_than_its_logs(reports: list[LogReport]) -> None:
    found = merged(reports)
    layers = [module for report in reports for name, module in report.modules.items() if name not in ("H5F", "H5D")]
    assert (found.bytes_read or 0) <= sum(layer.counters.get("BYTES_READ", 0) for layer in layers)
    assert found.logs + found.logs_unread <= len(reports)


def run_with(*reports: LogReport, problems: list[str] | None = None) -> Run:
    run = Run().jobs("a").attempt("a", 1, 0, 0, 1).sample("a", 1, 1, seq=0, problems=problems or [])
    for report in reports:
        reported(run, "a", 1, report)
    return run


def reported(run: Run, job: str, attempt: int, report: LogReport) -> None:
    carried(run, job, attempt, "report", ts=report.end, log=report.name, **msgspec.to_builtins(report))


def carried(run: Run, job: str, attempt: int, kind: str, **fields: Any) -> None:
    run.raw.append({"event": f"darshan.{kind}", "wf_uuid": WF, "dag_job_id": job, "attempt": attempt, **fields})


def summary_of(workflow: WorkflowMetrics, job: str = "a") -> DarshanSummary:
    found = workflow.job(job).darshan
    assert found is not None
    return found


def test_a_job_has_the_summary_of_its_attempt_and_its_io_time() -> None:
    workflow = correlate(run_with(posix(1, read=9, seconds=1.5), posix(2, read=1, seconds=3.0)).events)
    assert summary_of(workflow).bytes_read == 10
    assert (workflow.job("a").io_time, workflow.io_time) == (4.5, 4.5)
    assert workflow.job("a").sources["io_time"] == "darshan"
    assert workflow.darshan == summary_of(workflow)


def test_a_job_without_logs_says_why_in_the_words_of_the_probe() -> None:
    told = ["no Darshan: library not found at /no/libdarshan.so"]
    workflow = correlate(run_with(problems=told).events)
    assert workflow.job("a").darshan is None
    assert workflow.job("a").reasons["darshan"] == "no Darshan log: library not found at /no/libdarshan.so"
    assert workflow.job("a").reasons["io_time"] == workflow.job("a").reasons["darshan"]
    assert "attempt 1: no Darshan log" in workflow.reasons["darshan"]
    assert correlate(run_with().events).job("a").reasons["darshan"] == "no Darshan log"


def test_a_log_that_nobody_has_read_yet_is_told() -> None:
    run = run_with()
    carried(run, "a", 1, "log", name="x", data="AA")
    assert correlate(run.events).job("a").reasons["darshan"] == "no Darshan log: its Darshan logs have not been read"


def test_a_log_that_is_missing_makes_the_numbers_a_lower_bound_that_no_response_takes(tmp_path: Path) -> None:
    lost = LogReport(name="9.darshan", reason="no room in the payload")
    workflow = correlate(run_with(posix(1, read=9, seconds=1.5), lost).events)
    found = summary_of(workflow)
    assert (found.complete, found.logs_unread, found.bytes_read) == (False, 1, 9)
    assert workflow.job("a").io_time is None
    assert workflow.job("a").reasons["io_time"] == "1 of 2 Darshan logs: no room in the payload (9.darshan)"
    with pytest.raises(ResponseError, match=r"job a: darshan does not tell all: 1 of 2 Darshan logs: no room"):
        response("sum(job.darshan.bytes_read for job in jobs)", workflow, tmp_path)


def test_what_the_probe_left_out_makes_it_incomplete() -> None:
    told = ["Darshan: 800 of 1000 logs are not in the payload"]
    found = summary_of(correlate(run_with(posix(1, read=9), problems=told).events))
    assert (found.complete, found.problems) == (False, tuple(told))


def test_a_run_has_no_summary_where_one_of_its_jobs_has_none() -> None:
    run = run_with(posix(1, read=9)).jobs("b").attempt("b", 2, 2, 2, 1)
    workflow = correlate(run.events)
    assert workflow.darshan is None
    assert "1 of 2 attempts, such as b attempt 2: no Darshan log" in workflow.reasons["darshan"]


def test_a_file_that_two_jobs_used_is_one_file_of_the_run() -> None:
    run = run_with(posix(1, read=9, files={"aa": 1}, files_total=1)).jobs("b").attempt("b", 2, 2, 2, 1)
    reported(run, "b", 2, posix(2, read=1, files={"aa": 1}, files_total=1))
    found = correlate(run.events).darshan
    assert found is not None
    assert found.posix is not None
    assert (found.bytes_read, found.posix.files, found.posix.files_shared) == (10, 1, 1)


def test_an_event_that_is_no_report_is_a_log_that_was_not_read() -> None:
    run = run_with(posix(1, read=9))
    carried(run, "a", 1, "report", modules=[7])
    assert summary_of(correlate(run.events)).logs_unread == 1


def test_a_payload_of_pegasus_darshan_joins_the_same_summary() -> None:
    run = run_with(posix(1, read=1 << 20, seconds=3.0))
    data = {"total_bytes": 3 << 20, "agg_perf_by_slowest": 1.5}
    run.told("a", 1, "task.monitoring", ts=1, monitoring_event="darshan.perf", uid=7, jobid=8, POSIX_module_data=data)
    found = summary_of(correlate(run.events))
    assert found.posix is not None
    assert (found.logs, found.posix.bytes_total, found.posix.agg_perf_by_slowest) == (2, 4 << 20, 4 / 3.0)
    assert found.bytes_read is None


def test_a_payload_about_a_log_that_is_there_counts_once() -> None:
    run = run_with(msgspec.structs.replace(posix(1, read=1 << 20, seconds=3.0), uid=7, jobid=8))
    payload = {"uid": 7, "jobid": 8, "nprocs": 1, "start_time": 10, "POSIX_BYTES_READ": 1 << 20}
    run.told("a", 1, "task.monitoring", ts=1, monitoring_event="darshan.perf", **payload)
    assert summary_of(correlate(run.events)).bytes_read == 1 << 20


def response(expression: str, workflow: WorkflowMetrics, folder: Path) -> float:
    return Responses.parse({"r": expression}).evaluate(workflow, folder)["r"]


def test_responses_reach_every_module(tmp_path: Path) -> None:
    workflow = correlate(run_with(posix(1, read=9, written=2), log(2)).events)
    assert response("sum(job.darshan.posix.bytes_written for job in jobs)", workflow, tmp_path) == 2
    assert response("workflow.darshan.bytes_read / workflow.darshan.logs", workflow, tmp_path) == 4.5
    assert response("jobs[0].attempts[0].darshan.posix.opens", workflow, tmp_path) == 1
    with pytest.raises(ResponseError, match="job a: darshan: mpiio is unknown: no Darshan log has MPI-IO records"):
        response("jobs[0].darshan.mpiio.reads", workflow, tmp_path)
    with pytest.raises(ResponseError, match="job a: darshan: posix: stats is unknown: Darshan's POSIX records"):
        response("jobs[0].darshan.posix.stats", workflow, tmp_path)
    with pytest.raises(ResponseError, match="darshan has no metric 'byte_read'; nearest: bytes_read"):
        Responses.parse({"r": "workflow.darshan.byte_read"})


@needs_pydarshan
def test_the_captured_jobs_have_exactly_the_bytes_that_they_moved() -> None:
    with LogReader() as reader:
        reports = {
            name: [reader.read(path.read_bytes(), path.name) for path in (CAPTURES / name).iterdir()] for name in "AB"
        }
    one, four = merged(reports["A"]), merged([*reports["B"], *reports["B"]])
    assert one.posix is not None
    assert four.posix is not None
    assert (one.bytes_written, one.posix.writes) == (16_777_216, 64)
    assert (four.bytes_written, four.posix.writes, four.logs) == (2_457_600, 600, 4)
    written = {file.name.rpartition("/")[2]: file.bytes_written for file in four.largest_files if file.bytes_written}
    assert written == {"c0.bin": 409_600, "c1.bin": 819_200, "c2.bin": 1_228_800}
    assert four.posix.files_write_only == 3
    assert four.io_time == pytest.approx(sum(merged([report]).io_time or 0 for report in reports["B"]))
