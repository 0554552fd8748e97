"""An attempt that HTCondor took from its machine and started again is measured as what it was in the end."""

from __future__ import annotations

import pytest

from panorama_driver.metrics import AttemptMetrics, correlate
from tests.metrics.runs import Run

SUBMIT, FIRST, EVICTED, SECOND, END = 100.0, 110.0, 170.0, 175.0, 195.0


def evicted() -> Run:
    run = Run().start(90.0).jobs("md")
    run.told("md", 1, "job_inst.submit.start", ts=SUBMIT, sched_id="7.0")
    run.told("md", 1, "job_inst.main.start", ts=FIRST, sched_id="7.0")
    return run.told("md", 1, "job_inst.main.term", ts=EVICTED, status=-1, sched_id="7.0")


def measured(run: Run) -> AttemptMetrics:
    [job] = correlate(run.events).jobs
    [attempt] = job.attempts
    return attempt


def test_it_starts_when_it_started_for_the_last_time_and_waits_only_while_it_waits() -> None:
    run = evicted().told("md", 1, "job_inst.main.start", ts=SECOND, sched_id="7.0")
    run.told("md", 1, "job_inst.main.term", ts=END, status=0, sched_id="7.0")
    run.told("md", 1, "job_inst.main.end", ts=END, status=0, exitcode="0", sched_id="7.0").end(200.0)
    attempt = measured(run)
    assert (attempt.state, attempt.start, attempt.end) == ("succeeded", SECOND, END)
    assert attempt.wall_time == pytest.approx(END - SECOND)
    assert attempt.queue_time == pytest.approx((FIRST - SUBMIT) + (SECOND - EVICTED))


def test_an_eviction_is_no_end() -> None:
    attempt = measured(evicted())
    assert (attempt.state, attempt.end) == ("running", None)
