"""Runs beside each other: how many kinds, what they are, and which is like no other."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from panorama_driver.analysis import anomaly_of, as_event
from panorama_driver.analysis.workflows import CUT, FEWEST, PUBLISHED, Analysis, agreement, analyse, by_label
from panorama_driver.metrics import WorkflowMetrics
from tests.analysis.made_runs import BEGIN, alike, made, wf_uuid

pytest.importorskip("sklearn")

SLOW: dict[str, Any] = {"factor": 3.0}
FAILING: dict[str, Any] = {"failing": ("a1", "b2")}


@pytest.fixture(scope="module")
def three() -> list[WorkflowMetrics]:
    return alike(20) + alike(10, 100, **SLOW) + alike(9, 200, **FAILING)


def places(found: Analysis) -> list[set[str]]:
    return [set(kind.runs) for kind in found.kinds]


def uuids(first: int, count: int) -> set[str]:
    return {wf_uuid(number) for number in range(first, first + count)}


# --- how many kinds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_kinds_that_are_there_are_found(three: list[WorkflowMetrics], method: str) -> None:
    found = analyse(three, method=method)  # type: ignore[arg-type]  # one of the two
    assert places(found) == [uuids(0, 20), uuids(100, 10), uuids(200, 9)]
    assert found.alone == ()


def test_it_says_why_there_are_so_many(three: list[WorkflowMetrics]) -> None:
    found = analyse(three)
    assert found.why.startswith("3 are clearest: silhouette ")
    assert [choice.number for choice in found.choices] == list(range(2, 9))
    chosen = found.choices[1]
    assert chosen.fits
    assert chosen.excess == pytest.approx((chosen.silhouette - chosen.by_chance) / (1 - chosen.by_chance))
    assert chosen.excess == max(choice.excess for choice in found.choices if choice.fits)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_runs_that_are_all_alike_are_one_kind(noise: float) -> None:
    found = analyse(alike(30, noise=noise))
    assert len(found.kinds) == 1
    assert found.why.startswith("no cut is clear and stable")


def test_a_run_alone_is_no_kind() -> None:
    found = analyse([*alike(20), made(50, **SLOW)])
    assert len(found.kinds) == 1
    assert found.why.endswith(": 1 run is no kind")
    assert [each.wf_uuid for each in found.unlike] == [wf_uuid(50)]


def test_runs_that_do_not_differ_at_all_are_one_kind() -> None:
    base = made(0)
    found = analyse([msgspec.structs.replace(base, wf_uuid=wf_uuid(number)) for number in range(10)])
    assert len(found.kinds) == 1
    assert found.why == "no two runs differ in what is compared"
    assert found.unlike == ()
    assert {feature.left_out for feature in found.features if feature.median is not None} == {"the same in all runs"}


def test_too_few_runs_are_no_kinds() -> None:
    found = analyse(alike(FEWEST - 1, **SLOW))
    assert found.kinds == ()
    assert found.unlike == ()
    assert found.why == "too few: 7 runs have ended, and kinds are sought from 8 on"
    assert analyse(alike(FEWEST)).kinds
    assert analyse([]).why == "too few: 0 runs have ended, and kinds are sought from 8 on"


def test_as_many_kinds_as_asked_for(three: list[WorkflowMetrics]) -> None:
    found = analyse(three, number=2)
    assert len(found.kinds) == 2
    assert found.why == "2 kinds were asked for"
    with pytest.raises(ValueError, match="choose 1 to 39"):
        analyse(three, number=40)


# --- in words --------------------------------------------------------------------------------------------------------


def test_a_kind_is_told_by_what_differs(three: list[WorkflowMetrics]) -> None:
    usual, slow, failing = analyse(three).kinds
    assert usual.words == "20 runs: no job fails, makespan 67 s (median)"
    assert slow.words.startswith("10 runs: no job fails, ")
    assert "times (usually 1" in slow.words
    assert failing.words.startswith("9 runs: 2 jobs retried on average, ")
    assert [kind.usual for kind in (usual, slow, failing)] == [True, True, False]
    assert failing.medians["j_f"] == 2 / 8


def test_jobs_that_fail_for_good_are_counted() -> None:
    found = analyse(alike(20) + alike(8, 100, failing=("a1", "a2", "b1"), for_good=True))
    assert found.kinds[1].words.startswith("8 runs: 3 jobs fail on average, ")


# --- runs unlike the others ------------------------------------------------------------------------------------------


def test_a_run_unlike_the_others_is_told_with_its_numbers() -> None:
    found = analyse([*alike(20), made(50, **SLOW)])
    (odd,) = found.unlike
    assert odd.wf_uuid == wf_uuid(50)
    assert odd.distance > CUT
    assert 0.5 < odd.confidence < 1
    assert len(odd.evidence) == 3
    assert all(each.basis.startswith("median of 21 usual runs; ") for each in odd.evidence)
    assert found.distances[found.runs.index(odd.wf_uuid)] == odd.distance == max(found.distances)


def test_it_is_an_anomaly_that_travels() -> None:
    (odd,) = analyse([*alike(20), made(50, **SLOW)]).unlike
    assert odd.anomaly is not None
    assert odd.anomaly.kind == "unusual_workflow"
    assert odd.anomaly.since == BEGIN + 50000
    assert odd.anomaly.found > odd.anomaly.since
    assert anomaly_of(as_event(odd.anomaly)) == odd.anomaly


def test_numbers_of_an_anomaly_are_those_of_the_run() -> None:
    runs = [*alike(20, noise=0.0), made(50, noise=0.0, failing=("a1",))]
    (odd,) = analyse(runs, only=["j_f", "t_s", "retried"]).unlike
    by_name = {each.metric: each for each in odd.evidence}
    assert by_name["j_f"].observed == pytest.approx(1 / 7)
    assert by_name["j_f"].expected == 0.0
    assert by_name["retried"].observed == pytest.approx(1 / 6)
    # no spread at all: the unit is what matters, a fiftieth of a whole, or a twentieth of a time
    assert odd.distance == pytest.approx((1 / 6) / 0.02)


def test_small_differences_do_not_matter_however_steady_runs_are() -> None:
    assert analyse([*alike(20, noise=0.0), made(50, noise=0.0, factor=1.1)]).unlike == ()


def test_a_run_without_times_is_unlike_but_no_event() -> None:
    odd = msgspec.structs.replace(made(50, **SLOW), start=None)
    (found,) = analyse([*alike(20), odd]).unlike
    assert found.anomaly is None


# --- what is unknown -------------------------------------------------------------------------------------------------


def test_a_feature_that_few_lack_counts_as_the_median_there() -> None:
    runs = [*alike(20), *(made(number, user=None) for number in range(20, 23))]
    found = {feature.name: feature for feature in analyse(runs).features}
    assert found["cpu_utilization"].unknown == 3
    assert found["cpu_utilization"].left_out == ""
    assert analyse(runs).unlike == ()


def test_a_feature_that_many_lack_is_left_out() -> None:
    runs = [*alike(20), *(made(number, user=None) for number in range(20, 30))]
    found = {feature.name: feature for feature in analyse(runs).features}
    assert found["cpu_utilization"].left_out == "unknown for 10 of 30 runs, such as: not known of 6 of 6 attempts"
    assert len(analyse(runs).kinds) == 1


def test_runs_that_have_not_ended_are_left_out() -> None:
    found = analyse([*alike(10), made(60, ended=False)])
    assert found.left_out == {wf_uuid(60): "has not ended: running"}
    assert len(found.runs) == 10


# --- the same answer whatever the order ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed() -> tuple[list[WorkflowMetrics], Analysis]:
    runs = [*alike(12), *alike(6, 100, **SLOW), made(200, **FAILING)]
    return [*runs, runs[3]], analyse(runs)


@settings(max_examples=5, phases=[Phase.generate])
@given(order=st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(mixed: tuple[list[WorkflowMetrics], Analysis], order: random.Random) -> None:
    runs = list(mixed[0])
    order.shuffle(runs)
    assert analyse(runs) == mixed[1]


def test_a_run_of_two_stores_counts_once_as_the_one_that_knows_more() -> None:
    runs = alike(10)
    found = analyse([*runs, made(3, ended=False)])
    assert found == analyse(runs)


# --- labels ----------------------------------------------------------------------------------------------------------


def test_agreement_with_labels() -> None:
    assert agreement([1, 1, 2, 2], ["x", "x", "y", "y"]) == (1.0, 1.0, 1.0)
    # each label whole in one kind, but one kind for all: complete, of no information
    assert agreement([1, 1, 1, 1], ["x", "x", "y", "y"]) == (0.0, 1.0, 0.0)
    # one of two labels cut in two: H(labels) = 1 bit, H(kinds) = 1.5 bit, all of the first is shared
    nmi, completeness, homogeneity = agreement([1, 1, 2, 3], ["x", "x", "y", "y"])
    assert homogeneity == pytest.approx(1.0)
    assert completeness == pytest.approx(1 / 1.5)
    assert nmi == pytest.approx(1 / 1.25)
    assert agreement([None, 1], ["None", "1"]) == (1.0, 1.0, 1.0)


def test_runs_by_their_workflow() -> None:
    runs = [made(0, label="b"), made(1, label="a"), msgspec.structs.replace(made(2), label=None), made(3, label="b")]
    assert [(label, len(each)) for label, each in by_label(runs).items()] == [("a", 1), ("b", 2), (None, 1)]


def test_only_the_published_features(three: list[WorkflowMetrics]) -> None:
    assert {feature.name for feature in analyse(three, only=PUBLISHED).features} == set(PUBLISHED)
