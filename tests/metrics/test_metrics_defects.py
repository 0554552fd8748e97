"""Fourteen ways in which a predecessor's dashboard got these numbers wrong, each of which stays fixed."""

from __future__ import annotations

import json
import math

import pytest

from panorama_driver import sources
from panorama_driver.metrics import correlate, series

from .runs import WF, Run

MB = 10**6


def test_defect_01_counters_that_accumulate_are_not_added_up_again() -> None:
    run = Run().attempt("a", 1, 0, 0, 4).trace("a", 1, 0, rchar=[136 * MB, 266 * MB, 403 * MB, 552 * MB])
    assert correlate(run.events).job("a").chars_read == 552 * MB
    column = series(run.events, "a")
    # 136, 266 - 136, 403 - 266, 552 - 403; the sum of the totals would be 1357 MB.
    assert column.chars_read == pytest.approx((136 * MB, 130 * MB, 137 * MB, 149 * MB))
    assert column.cumulative("chars_read") == pytest.approx((136 * MB, 266 * MB, 403 * MB, 552 * MB))


def test_defect_02_bytes_written_are_not_bytes_read() -> None:
    run = Run().jobs("a").attempt("a", 1, 0, 0, 2)
    run.trace("a", 1, 0, rchar=[5, 700], wchar=[3, 40], bread=[0, 600], bwrite=[0, 30])
    job = correlate(run.events).job("a")
    assert (job.chars_read, job.chars_written, job.bytes_read, job.bytes_written) == (700, 40, 600, 30)
    assert sum(series(run.events).bytes_written or ()) == pytest.approx(30)


def test_defect_03_cpu_utilization_is_processor_over_core_time_and_0_for_an_idle_job() -> None:
    run = Run().attempt("busy", 1, 0, 0, 4, user=3, system=1, cores=2).attempt("idle", 2, 0, 0, 4)
    workflow = correlate(run.events)
    assert workflow.job("busy").cpu_utilization == 4 / (4 * 2)  # the user share would be 3/4
    assert workflow.job("idle").cpu_utilization == 0  # the user share would be 0/0
    assert workflow.cpu_utilization == 4 / (4 * 2 + 4 * 1)


def test_defect_04_io_wait_is_in_seconds_and_no_bin_starts_from_0_again() -> None:
    run = Run().attempt("a", 1, 0, 0, 4).trace("a", 1, 0, iowait=[0.5, 1.0, 1.0, 2.5])
    assert correlate(run.events).job("a").io_wait == 2.5
    assert series(run.events, width=2).io_wait == pytest.approx((1.0, 1.5))


def test_defect_05_failed_jobs_are_shown_as_failed_also_by_their_prescript() -> None:
    run = Run().attempt("a", 1, 0, 0, 4, raw_status=768)
    run.told("b", 2, "job_inst.pre.end", ts=5, status=-1, exitcode="256")
    run.told("b", 2, "inv.end", ts=5, inv_id=-1, start_time=5, dur=0, exitcode="256")
    workflow = correlate(run.events)
    assert [(job.state, job.exit_code) for job in workflow.jobs] == [("failed", 3), ("failed", None)]
    assert workflow.jobs_failed == 2


def test_defect_06_attempts_are_kept_apart_and_traces_go_to_their_own() -> None:
    run = Run().attempt("a", 3, 0, 0, 2, raw_status=256, user=1).attempt("a", 4, 10, 10, 2, user=2)
    for sched, second, read in (("3.0", 1, 100), ("4.0", 11, 30)):
        run.sample("a", None, second, condor_job_id=sched, bread=read)
    job = correlate(run.events).job("a")
    assert [(a.attempt, a.state, a.bytes_read) for a in job.attempts] == [(3, "failed", 100), (4, "succeeded", 30)]
    assert (job.state, job.bytes_read, job.cpu_time, job.retries) == ("succeeded", 30, 2, 1)
    assert sum(series(run.events, "a", 4).bytes_read or ()) == pytest.approx(30)


def test_defect_07_no_record_is_cut_off_after_a_thousand() -> None:
    run = Run().attempt("a", 1, 0, 0, 2500).trace("a", 1, 0, bread=range(1, 2501))
    assert correlate(run.events).job("a").bytes_read == 2500
    column = series(run.events)
    assert sum(column.bytes_read or ()) == pytest.approx(2500)
    assert len(column.time) == 200


def test_defect_08_time_is_when_it_happened_and_not_when_it_arrived() -> None:
    run = Run().jobs("in", type=2).attempt("in", 1, 100, 100, 10)
    run.file("in", 101, 103, 60, attempt=1, received=9000).file("in", 107, 109, 40, attempt=1, received=8000)
    late = list(reversed(run.events))
    column = series(late, width=5)
    assert column.time == (101, 106)
    assert column.bytes_transferred == pytest.approx((60, 40))
    assert correlate(late).job("in").transfer_time == 4


def test_defect_09_names_that_share_a_part_are_not_taken_for_each_other() -> None:
    run = Run().attempt("py_ID0000002", 1, 0, 0, 2).attempt("py_ID0000002-b", 2, 0, 0, 5)
    assert correlate(run.events).job("py_ID0000002").wall_time == 2
    other = sources.parse({"event": "stampede.xwf.start", "xwf_id": f"{WF[:8]}-9999", "ts": 1, "restart_count": 0})
    with pytest.raises(ValueError, match="exactly one workflow run"):
        correlate([*run.events, other])


def test_defect_10_every_progress_of_a_globus_transfer_counts() -> None:
    moved = [(2, 100), (4, 300), (6, 50)]
    progress = [
        {
            "code": "PROGRESS",
            "time": f"1970-01-01T00:01:{at:02d}+00:00",
            "details": json.dumps({"bytes_transferred": size, "duration": 2, "mbps": 1}),
        }
        for at, size in moved
    ]
    run = Run().jobs("in", type=2).attempt("in", 1, 60, 60, 8)
    times = {"request_time": "1970-01-01T00:01:00+00:00", "completion_time": "1970-01-01T00:01:08+00:00"}
    run.transfer("in", "go", status="SUCCEEDED", bytes_transferred=460, files=3, transfer_events=progress, **times)
    assert correlate(run.events).job("in").bytes_transferred == 460
    # 460 - (100 + 300 + 50) = 10 bytes after the last report
    assert series(run.events, width=2).bytes_transferred == pytest.approx((100, 300, 50, 10))


def test_defect_11_the_start_is_told_and_not_guessed_from_processor_time() -> None:
    run = Run().attempt("a", 1, submit=10, start=13, wall=20, user=2)
    attempt = correlate(run.events).job("a").attempts[0]
    assert (attempt.start, attempt.end, attempt.queue_time) == (13, 33, 3)  # 33 - 2 would be 31


def test_defect_12_what_is_missing_is_unknown_with_a_reason_and_breaks_nothing() -> None:
    run = Run().jobs("in", type=2).jobs("a").attempt("in", 1, 0, 0, 2).attempt("a", 2, 2, 2, 2)
    run.file("in", 0, 1, None, attempt=1)
    run.told("a", 2, "task.monitoring", ts=1, monitoring_event="darshan.perf", module="STDIO", STDIO_OPENS=3)
    workflow = correlate(run.events)
    assert workflow.job("in").bytes_transferred is None
    assert "does not know the size" in workflow.job("in").reasons["bytes_transferred"]
    assert workflow.job("a").io_time is None
    assert workflow.job("a").reasons["io_time"] == "the Darshan log holds no times"
    assert "in attempt 1" in workflow.reasons["bytes_transferred"]


@pytest.mark.parametrize("seconds", [1, 3, 49])
def test_defect_13_a_run_shorter_than_the_number_of_bins_has_bins_wider_than_0(seconds: int) -> None:
    run = Run().attempt("a", 1, 0, 0, seconds).trace("a", 1, 0, bread=range(1, seconds + 1))
    column = series(run.events)
    assert column.width == 1
    assert len(column.time) == seconds
    assert sum(column.bytes_read or ()) == pytest.approx(seconds)


def test_defect_13_a_single_sample_at_the_very_start_still_makes_a_bin() -> None:
    column = series(Run().sample("a", 1, ts=5.0, seq=0, final=True, start_ts=5.0, bread=7).events)
    assert column.width > 0
    assert column.bytes_read == (7,)


def test_defect_14_local_and_failed_transfers_are_seen() -> None:
    run = Run().jobs("in", type=2).attempt("in", 1, 0, 0, 9, raw_status=256)
    run.file("in", 0, 1, 100, attempt=1).file("in", 2, 3, None, status=1, attempt=1)
    run.transfer("in", "go", status="FAILED", bytes_transferred=25, files=1, attempt=1)
    job = correlate(run.events).job("in")
    assert (job.bytes_transferred, job.files_transferred, job.transfers_failed) == (125, 1, 2)
    assert job.state == "failed"
    assert not math.isnan(job.wall_time or 0)
