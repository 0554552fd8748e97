"""Statistics of ready-made questions beside scipy's and beside numbers made by hand."""

from __future__ import annotations

import itertools
import math
import statistics as standard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.questions import _statistics as ours
from panorama_driver.questions._hosts import median_without

scipy_stats = pytest.importorskip("scipy.stats")
scipy_special = pytest.importorskip("scipy.special")

_NUMBERS = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=40)
_PAIRS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=8, max_size=60)


@given(_NUMBERS)
def test_ranks_are_scipys_with_ties_sharing_their_mean(values: list[float]) -> None:
    assert ours.ranks(values) == pytest.approx(list(scipy_stats.rankdata(values)))


def test_ranks_by_hand() -> None:
    assert ours.ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


@given(_PAIRS)
def test_rank_correlation_and_its_probability_are_scipys(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = ours.spearman(x, y)
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert found is None
        return
    theirs = scipy_stats.spearmanr(x, y)
    assert found is not None
    assert found.rho == pytest.approx(theirs.statistic, abs=1e-12)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-8, abs=1e-12)


def test_few_pairs_are_held_against_all_orders() -> None:
    found = ours.spearman([1, 2, 3, 4, 5], [2, 1, 3, 5, 4])
    assert found is not None
    assert found.exact
    assert found.rho == pytest.approx(0.8)  # 1 - 6 * 4 / (5 * 24)
    assert found.p == pytest.approx(16 / 120)  # 8 of the 120 orders reach 0.8, and as many -0.8
    tied = ours.spearman([1, 1, 2, 3], [1, 2, 2, 4])
    assert tied is not None
    strong = _orders_as_strong([1.5, 1.5, 3, 4], [1, 2.5, 2.5, 4])
    assert tied.p == pytest.approx(strong / 24)


def _orders_as_strong(x: list[float], y: list[float]) -> int:
    seen = abs(scipy_stats.pearsonr(x, y).statistic)
    return sum(abs(scipy_stats.pearsonr(x, o).statistic) >= seen - 1e-9 for o in itertools.permutations(y))


def test_nothing_correlates_with_what_does_not_vary_or_is_not_finite() -> None:
    assert ours.spearman([1, 1, 1], [1, 2, 3]) is None
    assert ours.spearman([1, 2], [1, 2]) is None
    assert ours.pearson([1.0, math.inf], [1.0, 2.0]) is None


@given(st.floats(0.5, 6000), st.floats(0.5, 50), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    assert ours.incomplete_beta(a, b, x) == pytest.approx(scipy_special.betainc(a, b, x), rel=1e-7, abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 400), st.data())
def test_fishers_test_is_scipys(of: int, of_others: int, data: st.DataObject) -> None:
    hits, other_hits = data.draw(st.integers(0, of)), data.draw(st.integers(0, of_others))
    theirs = scipy_stats.fisher_exact([[hits, of - hits], [other_hits, of_others - other_hits]]).pvalue
    assert ours.fisher(hits, of, other_hits, of_others) == pytest.approx(theirs, rel=1e-6, abs=1e-12)


def test_fishers_tea() -> None:
    assert ours.fisher(3, 4, 1, 4) == pytest.approx(34 / 70)


def test_holm_by_hand() -> None:
    assert ours.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert ours.holm([]) == []


@given(_NUMBERS, st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], share: float) -> None:
    import numpy

    assert ours.quantile(values, share) == pytest.approx(float(numpy.quantile(values, share)), abs=1e-9)


@given(_NUMBERS)
def test_the_deviation_is_that_of_the_standard_library(values: list[float]) -> None:
    found = ours.deviation(values)
    assert found is None if len(values) < 2 else found == pytest.approx(standard.stdev(values))


@pytest.mark.parametrize("n", [6, 10, 25, 101, 5000])
def test_the_interval_of_the_median_holds_it_as_often_as_it_says(n: int) -> None:
    interval = ours.median_interval([float(place) for place in range(1, n + 1)], 0.05)
    assert interval is not None
    k = int(interval[0])
    assert interval[1] == n + 1 - k
    assert 2 * scipy_stats.binom.cdf(k - 1, n, 0.5) <= 0.05 < 2 * scipy_stats.binom.cdf(k, n, 0.5)


def test_too_few_values_have_no_interval() -> None:
    assert ours.median_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.05) is None  # 2 / 2**5 = 0.0625


@given(_NUMBERS, _NUMBERS)
def test_the_median_of_the_others_is_that_of_what_is_left(own: list[float], rest: list[float]) -> None:
    assert median_without(sorted(own + rest), sorted(own)) == pytest.approx(standard.median(rest))
    assert median_without(sorted(own), sorted(own)) is None
