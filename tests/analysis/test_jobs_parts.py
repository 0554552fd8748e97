"""The parts of the comparison against values computed by hand, and against what made-up data were made with."""

from __future__ import annotations

import math
import random

import pytest

from panorama_driver.analysis._additive import FLOOR, Term, fit, scale
from panorama_driver.analysis._job_hosts import _combined
from panorama_driver.analysis._tails import Tail, log_beyond, q_values, student
from panorama_driver.analysis.jobs import Sample, analyse, in_order, samples
from tests.analysis.made_runs import JOBS, alike, made


def test_a_scale_is_the_median_deviation_times_1_4826() -> None:
    assert scale([0.0, 0.1, -0.2, 0.3, 100.0]) == pytest.approx(0.2 * 1.4826)
    assert scale([0.0, 0.0]) == FLOOR


def test_effects_that_were_put_in_come_out() -> None:
    chance = random.Random(1)
    truth = ([1.0, 3.0, -2.0], [0.0, 0.5], 0.7)
    rows = [(chance.randrange(3), int(chance.random() < 0.3), chance.uniform(-2, 2)) for _ in range(900)]
    values = [truth[0][a] + truth[1][b] + truth[2] * x + chance.gauss(0, 0.1) for a, b, x in rows]
    values[::10] = [value + 5 for value in values[::10]]  # one in ten is far off
    groups = [a for a, _, _ in rows]
    terms = [Term(groups), Term([0] * 900, [x for _, _, x in rows], 0.01), Term([b for _, b, _ in rows], None, 2.0)]
    _, scales = fit(values, groups, terms)
    assert terms[1].effect[0] == pytest.approx(0.7, abs=0.02)
    assert terms[2].effect[1] - terms[2].effect[0] == pytest.approx(0.5, abs=0.03)
    assert [effect - terms[0].effect[0] for effect in terms[0].effect] == pytest.approx([0, 2, -3], abs=0.05)
    assert scales == pytest.approx([0.1] * 3, rel=0.35)


def test_an_effect_shrinks_by_its_prior() -> None:
    # Six rows at 0, two at 0.02 of the second level: within Huber's bound, so that its effect is 2 * 0.02 / (2 + 2).
    terms = [Term([0] * 8), Term([-1] * 6 + [0] * 2, None, 2.0)]
    fit([0.0] * 6 + [0.02] * 2, [0] * 8, terms)
    centre = terms[0].effect[0]
    assert terms[1].effect[0] == pytest.approx((0.02 - centre) * 2 / 4, abs=1e-3)


def test_a_normal_tail_as_in_tables() -> None:
    assert math.exp(log_beyond(1.959964)) == pytest.approx(0.025, rel=1e-5)
    assert log_beyond(20.0) == pytest.approx(-203.917, abs=0.01)  # scipy.stats.norm.logsf
    assert log_beyond(7.999) == pytest.approx(log_beyond(8.001), abs=0.05)
    assert (student(1), student(10)) == (12.706, 2.228)
    assert student(30) == pytest.approx(2.042, abs=0.001)
    assert student(100) == pytest.approx(1.984, abs=0.001)


def test_a_surprise_is_the_share_of_those_as_large() -> None:
    tail = Tail(float(each) for each in range(100))
    assert tail.surprise(50.0) == pytest.approx(-math.log(50.5 / 100.5))
    # Beyond 90, whose tenth has a mean excess of 4.5: 1 in 10, and exp(-(99 - 90) / 4.5) of them.
    assert tail.surprise(99.0) == pytest.approx(math.log(10) + 2.0)
    assert tail.surprise(200.0) > tail.surprise(150.0) > tail.surprise(99.0)


def test_false_discoveries_as_computed_by_hand() -> None:
    # Chances 0.001, 0.02, 0.5 of three: times 3/1, 3/2 and 3/3.
    values = [3.0902, 2.0537, 0.0]
    assert q_values(values) == pytest.approx([0.003, 0.03, 0.5], rel=1e-3)
    assert q_values([]) == []


def test_a_mean_over_kinds_as_computed_by_hand() -> None:
    # Equal noise 0.01: the mean is 0.2, Q = (0.01 + 0 + 0.01) / 0.01 = 2 is what noise gives, so that nothing is
    # between, and the error is sqrt(0.01 / 3). With a tenth of the noise, Q = 20, spread = 3000 - 1000 = 2000, between
    # (20 - 2) / 2000 = 0.009: again 0.01 in all.
    for noise in (0.01, 0.001):
        centre, error = _combined([0.1, 0.2, 0.3], [noise] * 3)
        assert centre == pytest.approx(0.2)
        assert error == pytest.approx(math.sqrt(0.01 / 3))


# --- attempts of runs -------------------------------------------------------------------------------------------------


def test_attempts_are_made_of_the_metrics_of_a_run() -> None:
    run = made(0, user=0.5)
    found = samples(run, {"theta": 0.3, "name": "x"})
    assert [each.job_id for each in found] == list(JOBS)
    for each in found:
        (attempt,) = run.job(each.job_id).attempts
        assert each.values["wall_time"] == attempt.wall_time
        assert each.values["cpu_time"] == attempt.cpu_time
        assert each.values["queue_time"] == attempt.queue_time
        assert "io_rate" not in each.values  # nothing tells of bytes: unknown, not 0
        assert each.inputs == {"theta": 0.3}
        assert (each.host, each.transformation, each.work) == (attempt.host, attempt.transformation, each.job_id)


def test_every_attempt_counts_and_one_that_failed_says_so() -> None:
    states = [each.state for each in samples(made(1, failing=("a2",)))]
    assert (len(states), states.count("failed")) == (len(JOBS) + 1, 1)


def test_a_slow_run_of_one_program_stands_out() -> None:
    runs = [*alike(12), made(50, factor=4.0, slow=("a1",))]
    seen = analyse([each for run in runs for each in samples(run)])
    most = max(seen.jobs, key=lambda each: each.own[0].surprise if each.own else 0.0)
    assert (most.sample.run, most.sample.job_id) == (runs[-1].wf_uuid, "a1")
    (wall,) = [each for each in most.own if each.metric == "wall_time"]
    assert wall.times == pytest.approx(4.0, rel=0.1)


def test_order_does_not_depend_on_how_attempts_come() -> None:
    attempts = [Sample(run="r", job_id=str(n), transformation="t", values={}, start=n or None) for n in range(5)]
    assert [each.job_id for each in in_order(reversed(attempts))] == ["1", "2", "3", "4", "0"]
