"""Clustered jobs, with numbers worked out by hand: what a job cost, and what each of its tasks did."""

from __future__ import annotations

from pathlib import Path

import pytest

from panorama_driver.metrics import correlate
from panorama_driver.objective import Responses

from .runs import Run

KIB = 1024


def program(run: Run, number: int, task: str, begin: float, took: float, **fields: object) -> Run:
    """One program of job c, with kickstart's record."""
    told = {"start_time": begin, "dur": took, "exitcode": 0, "transformation": task.rstrip("0123456789"), **fields}
    run.told("c", 1, "inv.start", ts=begin, inv_id=number)
    return run.told("c", 1, "inv.end", ts=begin + took, inv_id=number, task_id=task, **told)


def traced(run: Run, task: str, pid: int, begin: float, took: float, cpu: float, rss: int, bread: int) -> Run:
    """The trace of one program of job c: a sample half-way, and the last."""
    run.sample("c", 1, begin + took / 2, seq=0, pid=pid, task_id=task, utime=cpu / 2, stime=0.0, rss=rss, bread=1)
    last = {"final": True, "start_ts": begin, "dur": took, "exitcode_raw": 0, "maxrss": rss // 2}
    usage = {"utime": cpu, "stime": 0.5, "rusage_utime": cpu, "rusage_stime": 0.5, "bread": bread, "bwrite": bread * 2}
    return run.sample("c", 1, begin + took, seq=1, pid=pid, task_id=task, rss=0, **usage, **last)


def clustered(*, traces: bool = True) -> Run:
    """A plain job of 3 s, then one that runs ind1 (2 s), ind2 (3 s) and join (1 s), with pauses of 1 s and 0 s."""
    run = Run().jobs("a", "c").edges(("a", "c")).start(0)
    run.attempt("a", 2, 0, 1, 3, user=2.0, system=0.25)
    run.told("c", 1, "job_inst.submit.start", ts=5, sched_id="1.0", site="local")
    run.told("c", 1, "job_inst.main.start", ts=6, sched_id="1.0")
    for number, (task, begin, took, rss, bread) in enumerate(
        [("ind1", 6, 2, 400, 10), ("ind2", 9, 3, 900, 20), ("join1", 12, 1, 100, 5)], 1
    ):
        program(run, number, task, begin, took, utime=took - 0.5, stime=0.5, maxrss=rss // 2)
        if traces:
            traced(run, task, 70 + number, begin, took, took - 0.5, rss, bread)
    run.told("c", 1, "job_inst.main.end", ts=13, status=0, exitcode="0", local_dur=7, req_cpus=2, sched_id="1.0")
    return run.told("c", 1, "job_inst.post.end", ts=13, status=0, exitcode="0").end(14)


def test_a_clustered_job_costs_what_its_tasks_do_together_and_its_peak_is_the_largest_of_theirs() -> None:
    job = correlate(clustered().events).job("c")
    assert job.wall_time == (12 + 1) - 6  # the pause in it kept the slot as well
    assert (job.cpu_time, job.user_time, job.system_time) == (1.5 + 0.5 + 2.5 + 0.5 + 0.5 + 0.5, 4.5, 1.5)
    assert (job.bytes_read, job.bytes_written) == (10 + 20 + 5, 2 * 35)
    assert job.peak_memory == 900 * KIB
    assert job.cpu_utilization == 6 / (7 * 2)
    assert (job.state, job.queue_time, job.exit_code) == ("succeeded", 1, 0)


def test_a_workflow_costs_what_its_jobs_do_clustered_or_not() -> None:
    workflow = correlate(clustered().events)
    assert (workflow.cumulative_time, workflow.core_time) == (3 + 7, 3 * 1 + 7 * 2)
    assert workflow.cpu_time == 2.25 + 6
    assert workflow.peak_memory == 1000 * KIB  # of the plain job, as kickstart tells it
    assert (workflow.jobs_total, workflow.jobs_succeeded) == (2, 2)


def test_every_task_of_a_clustered_job_is_told_apart() -> None:
    tasks = correlate(clustered().events).job("c").tasks
    assert [(task.invocation, task.task_id, task.transformation) for task in tasks] == [
        (1, "ind1", "ind"),
        (2, "ind2", "ind"),
        (3, "join1", "join"),
    ]
    assert [task.wall_time for task in tasks] == [2, 3, 1]
    assert [task.start for task in tasks] == [6, 9, 12]
    assert [task.cpu_time for task in tasks] == [2, 3, 1]
    assert [task.bytes_read for task in tasks] == [10, 20, 5]
    assert [task.peak_memory for task in tasks] == [400 * KIB, 900 * KIB, 100 * KIB]
    assert {(task.job_id, task.attempt, task.exit_code) for task in tasks} == {("c", 1, 0)}


def test_a_plain_job_is_a_task_and_one_that_only_moves_files_is_none() -> None:
    run = clustered().jobs("stage", type=2).attempt("stage", 3, 0, 0, 1)
    workflow = correlate(run.events)
    [task] = workflow.job("a").tasks
    assert (task.transformation, task.wall_time, task.cpu_time) == ("md", 3, 2.25)
    assert workflow.job("stage").tasks == ()


def test_without_traces_tasks_have_what_their_records_tell_and_the_reason_for_the_rest() -> None:
    tasks = correlate(clustered(traces=False).events).job("c").tasks
    assert [task.cpu_time for task in tasks] == [2, 3, 1]
    assert [task.bytes_read for task in tasks] == [None] * 3
    assert tasks[0].reasons["bytes_read"] == "no trace of this attempt"
    assert tasks[1].peak_memory == 450 * KIB


def test_traces_that_name_no_task_are_given_to_tasks_in_order_of_time_if_all_are_there() -> None:
    run = clustered()
    for record in run.raw:
        if record["event"] == "kickstart.inv.online":
            record.pop("task_id", None)
    assert [task.bytes_read for task in correlate(run.events).job("c").tasks] == [10, 20, 5]
    run.raw = [record for record in run.raw if record.get("pid") != 72]
    assert [task.bytes_read for task in correlate(run.events).job("c").tasks] == [None] * 3


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("sum(task.cpu_time for task in tasks if task.transformation == 'ind')", 5),
        ("max(task.peak_memory for task in tasks if task.transformation == 'join')", 100 * KIB),
        ("len(tasks)", 4),
        ("sum(task.wall_time for job in jobs for task in job.tasks)", 3 + 2 + 3 + 1),
        ("sum(task.wall_time for task in tasks if task.job_id == 'c')", 6),
    ],
)
def test_expressions_reach_the_tasks_of_clustered_jobs(tmp_path: Path, expression: str, value: float) -> None:
    responses = Responses.parse({"r": expression})
    assert responses.evaluate(correlate(clustered().events), tmp_path) == {"r": value}


def test_a_failed_task_is_the_failure_of_its_job() -> None:
    run = Run().jobs("c").start(0).told("c", 1, "job_inst.submit.start", ts=0)
    program(run, 1, "ind1", 1, 2, utime=1.0, stime=0.0)
    program(run, 2, "ind2", 3, 1, utime=0.5, stime=0.0, exitcode=256 * 3)
    job = correlate(run.told("c", 1, "job_inst.post.end", ts=5, status=-1, exitcode="256").events).job("c")
    assert (job.state, job.exit_code, [task.exit_code for task in job.tasks]) == ("failed", 3, [0, 3])
