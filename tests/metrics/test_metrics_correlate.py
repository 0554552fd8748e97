"""Made-up runs whose numbers are worked out in the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from panorama_driver.metrics import correlate

from .runs import Run


def diamond() -> Run:
    """a (1 + 2 s), then b (0 + 5 s) beside c (3 + 4 s), then d (1 + 1 s), within 15 s."""
    run = Run().jobs("a", "b", "c", "d").edges(("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")).start(100)
    run.attempt("a", 1, 100, 101, 2).attempt("b", 2, 103, 103, 5, cores=2, user=6, system=1)
    run.attempt("c", 3, 103, 106, 4, user=3, maxrss=5000).attempt("d", 4, 110, 111, 1)
    return run.end(115)


def test_critical_path_is_the_longest_chain_of_waiting_and_running() -> None:
    workflow = correlate(diamond().events)
    assert workflow.critical_path == (1 + 2) + (3 + 4) + (1 + 1)
    assert workflow.critical_path_jobs == ("a", "c", "d")


def test_efficiency_compares_the_makespan_with_the_longest_chain_of_running_alone() -> None:
    workflow = correlate(diamond().events)
    assert workflow.ideal_makespan == 2 + 5 + 1  # through b, which is not on the critical path
    assert workflow.efficiency == 8 / 15


def test_parallel_efficiency_needs_the_number_of_slots() -> None:
    assert correlate(diamond().events).parallel_efficiency is None
    # core seconds: a 2 x 1, b 5 x 2, c 4 x 1, d 1 x 1
    assert correlate(diamond().events, slots=4).parallel_efficiency == 17 / (15 * 4)


def test_costs_of_a_workflow_are_sums_over_its_attempts() -> None:
    workflow = correlate(diamond().events)
    assert (workflow.cumulative_time, workflow.core_time, workflow.queue_time) == (12, 17, 5)
    assert (workflow.user_time, workflow.system_time, workflow.cpu_time) == (9, 1, 10)
    assert workflow.cpu_utilization == 10 / 17
    assert workflow.peak_memory == 5000 * 1024
    assert (workflow.stage_in_time, workflow.bytes_transferred) == (0, 0)  # the plan has no staging job


def test_failed_attempts_cost_time_but_do_not_count_as_ideal() -> None:
    run = Run().jobs("a").start(0).attempt("a", 1, 0, 1, 5, raw_status=256).attempt("a", 2, 6, 8, 3).end(12)
    workflow = correlate(run.events)
    assert (workflow.cumulative_time, workflow.job("a").wall_time) == (8, 3)
    assert workflow.critical_path == (1 + 5) + (2 + 3)
    assert (workflow.ideal_makespan, workflow.efficiency) == (3, 3 / 12)
    assert (workflow.jobs_retried, workflow.j_f, workflow.t_f, workflow.t_s) == (1, 1 / 2, 5, 3)


def test_makespan_holds_the_pause_before_a_restart_and_active_time_does_not() -> None:
    run = Run().jobs("a").start(0).attempt("a", 1, 0, 1, 5, raw_status=256).end(10, status=1)
    assert correlate(run.events).state == "failed"
    run.start(1000, restart_count=1)
    assert correlate(run.events).state == "running"
    run.attempt("a", 2, 1001, 1001, 5).end(1010, restart_count=1)
    workflow = correlate(run.events)
    assert (workflow.state, workflow.restarts) == ("succeeded", 1)
    assert (workflow.makespan, workflow.active_time) == (1010, 10 + 10)


def test_a_run_that_goes_on_has_no_makespan_yet() -> None:
    run = Run().jobs("a", "b").start(0).told("a", 1, "job_inst.submit.start", ts=1)
    workflow = correlate(run.events)
    assert (workflow.state, workflow.makespan, workflow.reasons["makespan"]) == ("running", None, "has not ended")
    assert [job.state for job in workflow.jobs] == ["submitted", "unsubmitted"]
    assert workflow.jobs_active == 1
    assert workflow.job("a").reasons["cpu_time"] == "has not started"


def test_a_job_goes_through_its_states() -> None:
    run = Run().start(0)
    seen: list[str] = []
    for name in ("submit.start", "held.start", "held.end", "main.start", "main.term", "post.start"):
        run.told("a", 1, f"job_inst.{name}", ts=len(seen))
        seen.append(correlate(run.events).job("a").state)
    run.told("a", 1, "job_inst.main.end", ts=9, exitcode="0", status=0)
    seen.append(correlate(run.events).job("a").state)
    run.told("a", 1, "job_inst.post.end", ts=10, exitcode="256", status=-1)
    seen.append(correlate(run.events).job("a").state)
    assert seen == ["submitted", "held", "submitted", "running", "running", "running", "running", "failed"]


def test_time_held_is_part_of_the_time_in_the_queue() -> None:
    run = Run().told("a", 1, "job_inst.held.start", ts=2).told("a", 1, "job_inst.held.end", ts=7)
    job = correlate(run.attempt("a", 1, 0, 9, 1).events).job("a")
    assert (job.held_time, job.queue_time) == (5, 9)


def test_an_attempt_that_was_still_going_when_the_workflow_ended_has_failed() -> None:
    run = Run().start(0).told("a", 1, "job_inst.main.start", ts=5).end(9, status=2)
    job = correlate(run.events).job("a")
    assert (job.state, job.sources["state"]) == ("failed", "workflow ended first")


def test_a_refused_submission_has_failed() -> None:
    job = correlate(Run().told("a", 1, "job_inst.submit.end", ts=1, status=-1).events).job("a")
    assert (job.state, job.ran) == ("failed", False)


def test_a_lost_post_event_is_made_good_by_the_record_of_the_post_script() -> None:
    run = Run().attempt("a", 1, 0, 0, 2).told("a", 1, "job_inst.post.start", ts=2)
    run.told("a", 1, "inv.end", ts=3, inv_id=-2, start_time=2, dur=1, remote_cpu_time=1, exitcode="256")
    job = correlate(run.events).job("a")
    assert (job.state, job.wall_time, job.exit_code) == ("failed", 2, 0)


@pytest.mark.parametrize(
    ("raw_status", "exit_code", "signal"),
    [(0, 0, 0), (768, 3, 0), (15, -15, 15), (139, -11, 11), (-127, -127, 0), ("256", 1, 0)],
)
def test_raw_wait_statuses_are_decoded(raw_status: int | str, exit_code: int, signal: int) -> None:
    job = correlate(Run().attempt("a", 1, 0, 0, 1, raw_status=raw_status).events).job("a")
    assert (job.exit_code, job.signal) == (exit_code, signal)


def test_a_complete_trace_is_the_best_source_of_processor_time_and_memory() -> None:
    run = Run().attempt("a", 1, 0, 0, 2, user=1.0, system=0.5, maxrss=1000)
    run.sample("a", 1, 1, seq=0, utime=0.9, stime=0.4, rss=3000, procs=2, threads=4)
    ending = {"final": True, "start_ts": 0, "dur": 2.0, "rusage_utime": 1.25, "rusage_stime": 0.5, "maxrss": 2000}
    run.sample("a", 1, 2, seq=1, utime=1.0, stime=0.6, rss=0, procs=0, threads=0, **ending)
    job = correlate(run.events).job("a")
    # the account of wait4 where it is more than the last sample, the sample where that is more
    assert (job.user_time, job.system_time, job.cpu_time) == (1.25, 0.6, 1.85)
    assert (job.peak_memory, job.sources["peak_memory"], job.sources["cpu_time"]) == (3000 * 1024, "probe", "probe")


def test_a_trace_without_its_end_gives_way_to_the_programs_record() -> None:
    run = Run().attempt("a", 1, 0, 0, 9, user=8.0, system=0.5).sample("a", 1, 1, seq=0, utime=0.9, stime=0.1, bread=7)
    job = correlate(run.events).job("a")
    assert (job.cpu_time, job.sources["cpu_time"]) == (8.5, "kickstart")
    assert (job.bytes_read, job.sources["bytes_read"]) == (7, "trace")


def test_a_killed_job_without_a_record_is_known_by_its_trace() -> None:
    run = Run().told("a", 1, "job_inst.main.start", ts=0)
    job = correlate(run.sample("a", 1, 5, seq=0, utime=4.0, stime=0.5, rss=9).events).job("a")
    assert (job.cpu_time, job.sources["cpu_time"], job.peak_memory) == (4.5, "trace", 9 * 1024)


def test_programs_of_a_clustered_job_add_up_and_span() -> None:
    run = Run().told("a", 1, "job_inst.submit.start", ts=0)
    for inv_id, begin, spent in ((1, 2, 3.0), (2, 6, 4.0)):
        times = {"start_time": begin, "dur": spent, "remote_cpu_time": spent / 2}
        run.told("a", 1, "inv.end", ts=begin + spent, inv_id=inv_id, exitcode=0, transformation=f"t{inv_id}", **times)
    job = correlate(run.events).job("a")
    assert (job.wall_time, job.cpu_time, job.queue_time) == (10 - 2, 3.5, 2)
    assert (job.transformation, job.reasons["transformation"]) == (None, "several: t1, t2")


def test_a_processes_counters_that_fall_have_started_again() -> None:
    run = Run().attempt("a", 1, 0, 0, 4).trace("a", 1, 0, bread=[10, 30, 5, 9])
    assert correlate(run.events).job("a").bytes_read == 30 + 9


def test_wait_for_io_is_unknown_where_the_kernel_does_not_account_for_it() -> None:
    run = (
        Run().attempt("a", 1, 0, 0, 1).sample("a", 1, 1, seq=0, iowait=None, bread=1, problems=["no delay accounting"])
    )
    job = correlate(run.events).job("a")
    assert (job.io_wait, job.bytes_read) == (None, 1)
    assert "no delay accounting" in job.reasons["io_wait"]


def test_io_time_of_a_compute_job_is_darshans_of_all_its_processes() -> None:
    run = Run().jobs("a").attempt("a", 1, 0, 0, 1)
    posix = {"POSIX_F_READ_TIME": 0.5, "POSIX_F_WRITE_TIME": 0.25, "POSIX_F_META_TIME": 0.125, "MPIIO_F_READ_TIME": 9}
    for pid in (1, 2):
        run.told("a", 1, "task.monitoring", ts=1, monitoring_event="darshan.perf", pid=pid, **posix)
    workflow = correlate(run.events)
    assert (workflow.job("a").io_time, workflow.io_time) == (2 * 0.875, 1.75)


def test_io_time_of_a_staging_job_is_the_time_files_were_moving() -> None:
    run = Run().jobs("in", type=2).attempt("in", 1, 0, 0, 10)
    run.file("in", 1, 4, 10, attempt=1).file("in", 3, 5, 20, attempt=1).file("in", 8, 9, 30, attempt=1)
    workflow = correlate(run.events)
    assert (workflow.job("in").io_time, workflow.job("in").stage_time) == (4 + 1, 10)
    assert (workflow.bytes_transferred, workflow.stage_in_time) == (60, 10)


def test_a_transfer_record_of_no_certain_attempt_is_in_no_sum_and_is_told() -> None:
    run = Run().attempt("in", 1, 0, 0, 10, raw_status=256).attempt("in", 2, 5, 5, 10)
    workflow = correlate(run.file("in", 7, 9, 10).events)
    assert (workflow.unmatched, workflow.job("in").bytes_transferred) == (1, None)
    assert "records of in" in workflow.sources["unmatched"]


def test_a_transfer_record_without_any_key_goes_to_the_attempt_of_its_time() -> None:
    run = Run().attempt("in", 1, 0, 0, 10, raw_status=256).attempt("in", 2, 20, 20, 10)
    attempts = correlate(run.file("in", 22, 23, 10).events).job("in").attempts
    assert [attempt.bytes_transferred for attempt in attempts] == [None, 10]


def test_a_record_given_to_an_attempt_by_its_time_alone_is_said_to_be_guessed() -> None:
    run = Run().attempt("in", 1, 0, 0, 10, raw_status=256).attempt("in", 2, 20, 20, 10).attempt("out", 3, 40, 40, 10)
    run.file("in", 22, 23, 10).file("in", 2, 3, 10, attempt=1).file("out", 41, 42, 10)
    workflow = correlate(run.events)
    assert [attempt.guessed for attempt in workflow.job("in").attempts] == [0, 1]
    assert (workflow.guessed, workflow.unmatched) == (1, 0)
    assert "records of in name no attempt" in workflow.sources["guessed"]


def test_a_payload_of_the_transfer_tool_counts_as_its_record() -> None:
    run = Run().jobs("in", type=2).attempt("in", 1, 0, 0, 10)
    times = {"transfer_start_time": 1, "transfer_completion_time": 3, "bytes_transferred": 9, "total_files": 2}
    run.told("in", 1, "task.monitoring", ts=3, monitoring_event="transfer.inv.local", **times)
    job = correlate(run.events).job("in")
    assert (job.bytes_transferred, job.files_transferred, job.transfer_time) == (9, 2, 2)


def test_clocks_that_disagree_do_not_make_a_negative_queue_time() -> None:
    run = Run().told("a", 1, "job_inst.submit.start", ts=100)
    run.told("a", 1, "inv.end", ts=52, inv_id=1, start_time=50, dur=2, exitcode=0, utime=1, stime=0)
    job = correlate(run.events).job("a")
    assert job.queue_time is None
    assert "clocks disagree" in job.reasons["queue_time"]
    later = correlate(run.told("a", 1, "job_inst.main.start", ts=103).events).job("a")
    assert (later.queue_time, later.sources["queue_time"]) == (3, "scheduler")


def test_edges_in_a_circle_leave_the_critical_path_unknown() -> None:
    run = Run().attempt("a", 1, 0, 0, 1).attempt("b", 2, 0, 0, 1).edges(("a", "b"), ("b", "a"))
    workflow = correlate(run.events)
    assert workflow.critical_path is None
    assert "cycle" in workflow.reasons["critical_path"]


def test_a_static_event_says_which_program_an_unsubmitted_job_has() -> None:
    run = Run().jobs("a_ID1").tell("task.info", task_id="ID1", transformation="md", ts=3245)
    job = correlate(run.tell("wf.map.task_job", job_id="a_ID1", task_id="ID1", ts=3245).events).job("a_ID1")
    assert (job.transformation, job.type, job.state) == ("md", "compute", "unsubmitted")


def test_a_program_is_called_what_its_record_says_and_else_what_its_trace_says() -> None:
    run = Run().sample("a", 1, 1, seq=0, xformation="tools::md:2")
    assert correlate(run.events).job("a").transformation == "tools::md:2"
    assert correlate(run.attempt("a", 1, 0, 0, 2).events).job("a").transformation == "md"


def test_hosts_are_named_in_one_way() -> None:
    assert correlate(Run().attempt("a", 1, 0, 0, 1).events).job("a").host == "node7"


def test_a_trace_of_one_program_of_two_does_not_stand_for_both() -> None:
    run = Run().attempt("a", 1, 0, 0, 2, user=3.0)
    run.told("a", 1, "inv.end", ts=4, inv_id=2, exitcode=0, start_time=2, dur=2, utime=5.0, stime=0.0)
    job = correlate(run.trace("a", 1, 0, utime=[3.0, 3.0], stime=[0.0, 0.0]).events).job("a")
    assert (job.cpu_time, job.sources["cpu_time"]) == (8.0, "kickstart")


def test_the_schedulers_0_for_something_that_never_ran_is_a_failure() -> None:
    run = Run().told("a", 1, "job_inst.submit.start", ts=0)
    job = correlate(run.told("a", 1, "job_inst.main.end", ts=5, exitcode="0", status=0).events).job("a")
    assert (job.state, job.ran) == ("failed", False)


def test_a_trace_under_another_name_of_the_scheduler_is_not_taken_in() -> None:
    run = Run().attempt("a", 1, 0, 0, 2).sample("a", None, 1, condor_job_id="99.0", bread=5)
    workflow = correlate(run.events)
    assert (workflow.job("a").bytes_read, workflow.unmatched) == (None, 1)


def test_a_trace_belongs_to_an_attempt_whose_name_at_the_scheduler_is_not_known() -> None:
    run = Run().told("a", 1, "job_inst.main.start", ts=0).sample("a", None, 1, condor_job_id="99.0", bread=5)
    assert correlate(run.events).job("a").bytes_read == 5


def test_a_run_may_start_and_end_within_a_second_and_be_started_again() -> None:
    run = Run().start(10).end(10)
    assert correlate(run.events).state == "succeeded"
    assert correlate(run.start(10, restart_count=1).events).state == "running"


def test_a_plan_alone_is_a_planned_run() -> None:
    workflow = correlate(Run().jobs("a").tell("wf.plan", ts=1, dax_label="demo").events)
    assert (workflow.state, workflow.label, workflow.jobs_unsubmitted) == ("planned", "demo", 1)


def test_no_events_are_refused() -> None:
    with pytest.raises(ValueError, match="no events"):
        correlate([])


def test_a_job_of_another_name_is_refused() -> None:
    with pytest.raises(KeyError, match="no job 'x'"):
        correlate(diamond().events).job("x")


def test_importing_metrics_imports_nothing_heavy() -> None:
    heavy = "numpy", "jinja2", "click", "yaml", "Pegasus", "statistics"
    code = f"import sys, panorama_driver.metrics; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("large", "peak"), [(9000, 9000 * 1024), (7000, None)])
def test_a_job_too_small_to_be_told_from_the_probe_matters_only_where_it_could_be_the_largest(
    large: int, peak: int | None
) -> None:
    run = Run().jobs("small", "large").start(0).attempt("small", 1, 0, 0, 1, maxrss=None)
    ending = {"final": True, "start_ts": 0, "dur": 1.0, "rusage_utime": 0.0, "rusage_stime": 0.0}
    levels = {"rss": 0, "procs": 0, "threads": 0, "utime": 0.0, "stime": 0.0}
    run.sample("small", 1, 1, seq=0, maxrss=None, maxrss_below=8000, **levels, **ending)
    workflow = correlate(run.attempt("large", 2, 1, 1, 1, maxrss=large).end(3).events)
    assert workflow.peak_memory == peak
    assert workflow.job("small").peak_memory_below == 8000 * 1024


def test_a_noop_node_that_dagman_only_pretends_to_run_has_succeeded_and_never_ran() -> None:
    run = Run().jobs("chmod_a_0", type=9).start(100)
    for name, fields in (
        ("submit.start", {}),
        ("main.term", {"status": 0}),
        ("main.end", {"exitcode": "0", "status": 0}),
    ):
        run.told("chmod_a_0", 1, f"job_inst.{name}", ts=101, sched_id="0.2147483647", **fields)
    workflow = correlate(run.end(102).events)
    job = workflow.job("chmod_a_0")
    assert (job.state, job.ran, job.failure) == ("succeeded", False, None)
    assert workflow.jobs_failed == 0


def test_where_the_probe_saw_a_job_to_its_end_kickstarts_time_and_memory_which_hold_the_probes_own_give_way() -> None:
    run = Run().jobs("a").start(100).attempt("a", 1, 100, 101, 4.0, maxrss=15000, user=None)
    run.trace("a", 1, 101.5, utime=(1, 2, 2.5), stime=(0, 0, 0.1), rss=(2000, 3000, 0))
    job = correlate(run.end(110).events).job("a")
    assert (job.wall_time, job.attempts[0].start, job.sources["wall_time"]) == (3.0, 101.5, "probe")
    assert (job.peak_memory, job.sources["peak_memory"]) == (3000 * 1024, "probe")
