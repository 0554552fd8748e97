"""Real runs of Pegasus on HTCondor and Slurm: expected values were read elsewhere, in each run's stampede database
(tables invocation, job_instance, jobstate, workflowstate), jobstate.log and kickstart records (`*.out.000`)."""

from __future__ import annotations

import pytest

from panorama_driver.metrics import WorkflowMetrics, correlate, series

from .runs import captured, missing_reasons, records

DEMO = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def good() -> WorkflowMetrics:
    return correlate(captured("stampede-events.jsonl"))


@pytest.fixture(scope="module")
def bad() -> WorkflowMetrics:
    return correlate(captured("stampede-events-fail.jsonl"))


def test_span_of_a_run_that_succeeded(good: WorkflowMetrics) -> None:
    # workflowstate: WORKFLOW_STARTED 1795347576, WORKFLOW_TERMINATED 1795347602 status 0
    assert (good.state, good.start, good.end) == ("succeeded", 1795347576, 1795347602)
    assert (good.makespan, good.active_time, good.restarts) == (26, 26, 0)
    assert (good.jobs_total, good.jobs_succeeded, good.jobs_retried, good.label) == (8, 8, 0, "mini-events")


def test_sums_of_a_run_that_succeeded(good: WorkflowMetrics) -> None:
    # select sum(remote_duration), sum(remote_cpu_time) from invocation where task_submit_seq > 0
    assert good.cumulative_time == pytest.approx(26.874)
    assert good.cpu_time == pytest.approx(7.979)
    assert good.cpu_utilization == pytest.approx(7.979 / 26.874)  # every job asked for one core
    assert good.stage_in_time == pytest.approx(2.319 + 2.424)
    assert good.stage_out_time == pytest.approx(2.541)
    assert good.peak_memory == 71220 * 1024  # max(maxrss) [kB]
    # SUBMIT to start_time in whole seconds: 0 (1), 1 (2), 1 (3), 0 (4), 1 (5), 0 (6), 2 (7), 2 (8)
    assert good.queue_time == 7


def test_critical_path_of_a_run_that_succeeded(good: WorkflowMetrics) -> None:
    assert good.critical_path_jobs == (
        "create_dir_mini-events_0_local",
        "stage_in_local_local_0_0",
        "payload_ID0000001",
        "py_ID0000004",
    )
    assert good.critical_path == pytest.approx((0 + 2.408) + (1 + 2.424) + (0 + 0.003) + (2 + 6.392))
    assert good.efficiency == pytest.approx((2.408 + 2.424 + 0.003 + 6.392) / 26)


def test_clustering_features_of_a_run_that_succeeded(good: WorkflowMetrics) -> None:
    assert (good.j_s, good.j_f, good.o_1_s, good.t_f) == (1, 0, 1, 0)
    assert good.t_s == pytest.approx((3 + 3 + 3 + 0 + 3 + 6 + 7 + 6) / 8)  # job_instance.local_duration


def test_a_job_of_a_run_that_succeeded(good: WorkflowMetrics) -> None:
    # py_ID0000004.out.000: mainjob duration 6.392, utime 3.260, stime 0.176, maxrss 71220
    job = good.job("py_ID0000004")
    assert (job.wall_time, job.peak_memory) == (6.392, 71220 * 1024)
    assert job.cpu_time == pytest.approx(3.260 + 0.176)
    assert (job.transformation, job.type, job.site, job.host) == ("demo::py:1.0", "compute", "condorpool", "vm")
    assert (job.exit_code, job.signal, job.cores, job.attempts[0].sched_id) == (0, 0, 1, "38.0")
    # the last of its messages on the broker; kickstart sends no final record
    assert (job.chars_read, job.read_calls, job.bytes_written) == (1360391, 1040, 8192)
    assert job.sources["chars_read"] == "trace"
    assert (job.io_wait, job.reasons["io_wait"]) == (None, "the kernel's delay accounting is off")


def test_darshan_times_of_a_job_are_its_io_time(good: WorkflowMetrics) -> None:
    assert good.job("payload_ID0000001").io_time == 0.25  # POSIX_F_READ_TIME, all there was
    assert good.job("py_ID0000002").io_time is None


def test_a_job_too_short_for_kickstarts_monitor_leaves_the_sum_unknown(good: WorkflowMetrics) -> None:
    assert good.bytes_read is None
    assert "1 of 4 attempts, such as payload_ID0000001 attempt 4" in good.reasons["bytes_read"]


def test_a_job_that_fails_twice_is_failed_with_both_attempts(bad: WorkflowMetrics) -> None:
    # jobstate.log: JOB_FAILURE 3 and POST_SCRIPT_FAILURE 1, twice; invocation.exitcode 768
    job = bad.job("sh_ID0000002")
    assert [(a.attempt, a.state, a.exit_code, a.wall_time) for a in job.attempts] == [
        (3, "failed", 3, 1.006),
        (4, "failed", 3, 1.006),
    ]
    assert (job.state, job.retries) == ("failed", 1)
    assert job.cumulative_time == pytest.approx(1.006 + 1.006)


def test_a_run_that_failed_counts_its_jobs(bad: WorkflowMetrics) -> None:
    assert (bad.state, bad.makespan) == ("failed", 24)  # WORKFLOW_TERMINATED 1795347660 status 1
    assert (bad.jobs_total, bad.jobs_succeeded, bad.jobs_failed, bad.jobs_unsubmitted) == (4, 2, 1, 1)
    assert (bad.jobs_retried, bad.job("nap_ID0000003").state) == (1, "unsubmitted")
    assert (bad.j_s, bad.j_f, bad.o_1_s) == (2 / 4, 2 / 4, 2 / 4)
    assert (bad.t_s, bad.t_f) == ((2 + 2) / 2, (3 + 2) / 2)  # job_instance.local_duration
    assert bad.efficiency is None


def test_slurm_tells_of_the_start_late_or_never_and_the_worker_is_believed() -> None:
    # st-ok-0.stampede.db: SUBMIT ...007, GRID_SUBMIT ...016, no EXECUTE, JOB_TERMINATED ...081; start_time ...017
    workflow = correlate(captured("slurm-ok/events.json"))
    job = workflow.job("step_ID0000001")
    assert (job.state, job.wall_time, job.queue_time) == ("succeeded", 5.056, 10)
    assert workflow.makespan == 277
    assert workflow.cumulative_time == pytest.approx(23.914)
    assert workflow.critical_path_jobs is not None
    assert len(workflow.critical_path_jobs) == 7  # all of them, one after another


def test_a_job_stopped_by_slurms_time_limit_has_failed_though_the_scheduler_says_0() -> None:
    # jobstate.log: EXECUTE ...314, JOB_SUCCESS 0; kickstart: raw 15, duration 81.54, start ...250
    job = correlate(captured("slurm-timeout/events.json")).job("step_ID0000001")
    assert (job.state, job.exit_code, job.signal) == ("failed", -15, 15)
    assert (job.wall_time, job.queue_time) == (81.54, 250 - 241)
    assert job.attempts[0].local_time == 65


def test_a_job_cancelled_while_pending_has_failed_and_never_ran() -> None:
    workflow = correlate(captured("slurm-pend/events.json"))
    job = workflow.job("step_ID0000001")
    assert (job.state, job.ran) == ("failed", False)
    assert (job.exit_code, job.reasons["exit_code"], job.reasons["cpu_time"]) == (None, "never ran", "never ran")
    assert workflow.cumulative_time == pytest.approx(2.132 + 2.281)
    assert workflow.critical_path == pytest.approx(2.132 + 2.281 + (1795351035 - 1795350961))


def test_a_job_held_for_its_partition_has_failed_and_was_held_until_its_removal() -> None:
    # jobstate.log: JOB_HELD 1795350250, JOB_ABORTED 1795350286
    job = correlate(captured("slurm-badpart/events.json")).job("step_ID0000001")
    assert (job.state, job.ran, job.held_time, job.exit_code) == ("failed", False, 36, None)


def test_a_trace_of_kickstart_without_any_stampede_event_is_a_series() -> None:
    column = series(captured("kickstart-online.jsonl", DEMO), "io_ID0000002")
    assert sum(column.chars_written or ()) == pytest.approx(671089108)  # wchar of the last sample
    assert sum(column.bytes_written or ()) == pytest.approx(335728640)
    assert max(column.procs or ()) == 5 - 1  # kickstart counts itself
    assert (column.io_wait, column.cpu_utilization) == (None, None)


def test_the_series_of_a_job_sums_to_its_metrics(good: WorkflowMetrics) -> None:
    column, job = series(captured("stampede-events.jsonl"), "shm_ID0000003"), good.job("shm_ID0000003")
    assert sum(column.chars_written or ()) == pytest.approx(job.chars_written)
    assert sum(column.cpu_time or ()) == pytest.approx(0.03)
    assert column.time[0] == 1795347594  # its inv.start


def test_transfer_records_of_pegasus_transfer_are_counted_once() -> None:
    # One file of 300,000 B: a record of its own and one of the whole job, which took 2 s.
    workflow = correlate(captured("transfer-events.jsonl"))
    assert workflow.unmatched == 2  # no stampede event tells of an attempt
    assert workflow.reasons["bytes_transferred"] == "never submitted"
    assert sum(series(captured("transfer-events.jsonl")).bytes_transferred or ()) == pytest.approx(300000)


@pytest.mark.parametrize("name", ["stampede-events.jsonl", "stampede-events-fail.jsonl", "slurm-pend/events.json"])
def test_every_unknown_of_a_real_run_has_its_reason(name: str) -> None:
    for record in records(correlate(captured(name))):
        assert missing_reasons(record) == []
