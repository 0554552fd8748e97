"""Features of a run, against arithmetic that one can follow."""

from __future__ import annotations

import math

import msgspec
import pytest

from panorama_driver.analysis._run_features import History, features
from panorama_driver.metrics import JobMetrics, WorkflowMetrics, correlate
from tests.analysis.made_runs import made
from tests.metrics.runs import Run


def known(run: WorkflowMetrics, *history: WorkflowMetrics) -> dict[str, float | None]:
    found = features(run, History(history or [run]))
    return {feature.name: value.value for feature, value in found.items()}


def reason(run: WorkflowMetrics, name: str) -> str:
    return next(value.reason for feature, value in features(run, History([run])).items() if feature.name == name)


def run_of_three() -> WorkflowMetrics:
    """Two jobs that succeed, of 4 and 8 s, the second after a failure of 1 s; the third fails for good after 3 s."""
    run = Run().start(0).jobs("one", "two", "three")
    run.attempt("one", 1, 0, 1, 4, user=2.0)
    run.attempt("two", 2, 0, 2, 1, raw_status=256, user=1.0).attempt("two", 3, 3, 5, 8, user=4.0)
    run.attempt("three", 4, 0, 3, 3, raw_status=256, user=1.0)
    return correlate(run.end(20, status=-1).events)


def test_the_five_published_features() -> None:
    found = known(run_of_three())
    assert found["j_s"] == 2 / 4
    assert found["j_f"] == 2 / 4
    assert found["t_s"] == (4 + 8) / 2
    assert found["t_f"] == (1 + 3) / 2
    assert found["o_1_s"] == 2 / 3


def test_shares_of_a_run() -> None:
    found = known(run_of_three())
    assert found["retried"] == 1 / 3
    assert found["makespan"] == 20
    queued, ran = 1 + 2 + 2 + 3, 4 + 1 + 8 + 3
    assert found["queue_share"] == queued / (queued + ran)
    assert found["cpu_utilization"] == (2 + 1 + 4 + 1) / ran
    assert found["transfer_share"] == 0.0
    assert found["failed(md)"] == 2 / 4


def test_jobs_are_compared_with_their_own_usual_time() -> None:
    history = [made(number, noise=0.0) for number in range(3)]
    found = known(made(9, noise=0.0, factor=3.0, slow=("a1",)), *history)
    assert found["time(md)"] == pytest.approx(1.0)
    # of six ratios, five 1 and one 3, the 90th percentile lies half way between the two last
    assert found["slowest_jobs"] == pytest.approx(2.0)
    assert found["unevenness"] == pytest.approx(2.0)
    assert known(made(9, noise=0.0, factor=3.0), *history)["time(md)"] == pytest.approx(3.0)


def test_starved_jobs_use_less_of_their_cores() -> None:
    history = [made(number, noise=0.0) for number in range(3)]
    found = known(made(9, noise=0.0, factor=4.0), *history)
    assert found["starved_jobs"] == pytest.approx(1 / 4)


def test_the_ratio_between_hosts() -> None:
    run = made(0, noise=0.0, factor=2.0, slow=("a1", "a2", "a3"))
    placed = [msgspec.structs.replace(job, host=f"vm/{job.job_id[0]}") for job in run.jobs]
    two = msgspec.structs.replace(run, jobs=tuple(placed))
    usual = made(1, noise=0.0)
    assert known(two, usual)["host_ratio"] == pytest.approx(2.0)
    assert known(run, usual)["host_ratio"] is None
    assert "hosts" in reason(run, "host_ratio")


def test_what_is_unknown_is_not_zero() -> None:
    run = made(0, user=None)
    found = known(run)
    assert found["cpu_utilization"] is None
    assert reason(run, "cpu_utilization") == "not known of 6 of 6 attempts"
    assert found["io_share"] is None
    assert "Darshan" in reason(run, "io_share")
    assert found["bytes_written"] is None


def test_numbers_that_are_none_are_unknown() -> None:
    run = msgspec.structs.replace(made(0), t_s=math.inf, makespan=math.nan)
    found = known(run)
    assert found["t_s"] is None
    assert found["makespan"] is None


def test_a_workflow_of_many_programs_has_few_features() -> None:
    run = made(0)
    jobs: list[JobMetrics] = [
        msgspec.structs.replace(run.jobs[0], job_id=f"job{number}", transformation=f"p{number}")
        for number in range(1000)
    ]
    assert len(known(msgspec.structs.replace(run, jobs=tuple(jobs)))) < 120
