"""Where the time of a run went, beside values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.metrics import TimeShares, WorkflowMetrics, correlate, times

from .runs import Run

SHARES = ("compute", "stage_in", "stage_out", "other", "queue", "wait", "unknown")


def shares(found: TimeShares | None) -> dict[str, float]:
    """Those that are not 0."""
    assert found is not None
    return {name: value for name in SHARES if (value := getattr(found, name))}


def whole() -> Run:
    """A run of 100 s: create-dir 2-4, stage-in 10-30, compute 25-60 and 70-80, stage-out 75-90, cleanup 92-95."""
    run = Run().jobs("mkdir", type=6).jobs("in", type=2).jobs("a", "b").jobs("out", type=3).jobs("rm", type=8)
    run.start(1000).end(1100)
    run.attempt("mkdir", 1, 1001, 1002, 2).attempt("in", 2, 1005, 1010, 20).attempt("a", 3, 1020, 1025, 35)
    return run.attempt("b", 4, 1062, 1070, 10).attempt("out", 5, 1072, 1075, 15).attempt("rm", 6, 1091, 1092, 3)


def test_each_moment_counts_once_under_the_first_that_holds() -> None:
    found = times(correlate(whole().events))
    told = {"compute": 45.0, "stage_in": 15.0, "stage_out": 10.0, "other": 5.0, "queue": 1 + 5 + 8 + 1.0, "wait": 10.0}
    assert shares(found) == told
    assert found is not None
    assert found.reasons == {}


def test_a_run_that_goes_on_has_none() -> None:
    run = Run().jobs("a").start(0).attempt("a", 1, 1, 2, 3)
    assert times(correlate(run.events)) is None


def test_a_pause_before_a_restart_is_waiting_of_the_workflow_system() -> None:
    run = Run().jobs("a").start(0).attempt("a", 1, 1, 2, 3, raw_status=256).end(6, status=1)
    run.start(50, restart_count=1).attempt("a", 2, 51, 52, 3).end(56, restart_count=1)
    assert shares(times(correlate(run.events))) == {"compute": 6.0, "queue": 2.0, "wait": 48.0}


def test_an_attempt_that_never_ran_waited_until_it_was_given_up() -> None:
    run = Run().jobs("a").start(0).end(20, status=1)
    run.told("a", 1, "job_inst.submit.start", ts=2).told("a", 1, "job_inst.abort.info", ts=12)
    assert shares(times(correlate(run.events))) == {"queue": 10.0, "wait": 10.0}


def test_what_an_attempt_without_a_submission_may_have_waited_is_unknown_and_not_waiting() -> None:
    events = [e for e in whole().events if not (e.job_id == "b" and "submit" in e.kind)]
    found = times(correlate(events))
    assert shares(found)["compute"] == 45.0
    assert shares(found)["unknown"] == 1.0 + 1 + 10  # all moments before 70 in which nothing was known to run
    assert found is not None
    assert "b attempt 4 has no submit" in found.reasons["unknown"]


def test_a_compute_job_whose_end_is_lost_hides_what_comes_after_its_start() -> None:
    run = Run().jobs("a").start(0).end(20, status=1).told("a", 1, "job_inst.submit.start", ts=2)
    found = times(correlate(run.told("a", 1, "job_inst.main.start", ts=4).events))
    assert shares(found) == {"queue": 2.0, "wait": 2.0, "unknown": 16.0}


seconds = st.floats(0, 1000, allow_nan=False)
spans = st.tuples(seconds, seconds, seconds)


@given(
    attempts=st.lists(st.tuples(spans, st.sampled_from([1, 2, 3, 6, 8])), max_size=12),
    lost=st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["submit", "start", "end"])), max_size=4),
)
def test_the_shares_add_up_to_the_makespan(attempts: list[tuple[Any, int]], lost: list[tuple[int, str]]) -> None:
    run = Run().start(1e9 + 100).end(1e9 + 900)
    for number, ((submit, start, wall), kind) in enumerate(attempts, 1):
        run.jobs(f"j{number}", type=kind).attempt(f"j{number}", number, 1e9 + submit, 1e9 + start, wall)
    metrics = _without(correlate(run.events), lost)
    found = times(metrics)
    assert metrics.makespan == 800
    assert math.fsum(shares(found).values()) == pytest.approx(800, abs=1e-6)
    assert min(shares(found).values()) > 0
    assert found is not None
    assert bool(found.unknown) == bool(found.reasons)


def _without(metrics: WorkflowMetrics, lost: list[tuple[int, str]]) -> WorkflowMetrics:
    jobs = list(metrics.jobs)
    for place, name in lost:
        if place < len(jobs):
            attempt = msgspec.structs.replace(jobs[place].attempts[0], **{name: None})
            jobs[place] = msgspec.structs.replace(jobs[place], attempts=(attempt,))
    return msgspec.structs.replace(metrics, jobs=tuple(jobs))
