"""The statistics that ready-made questions need, of the standard library alone; tests hold them to scipy's."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_EXACT = 7
"""Pairs up to which all orders are gone through: the approximation by Student's t is poor there."""
_SAME = 1 + 1e-9  # what is as likely but for rounding
_MOST_STEPS = 500  # of a continued fraction, which takes about sqrt(n) of them


class Correlation(NamedTuple):
    """Spearman's rank correlation `rho` of `n` pairs, and the probability `p` of one as strong without any relation."""

    n: int
    rho: float
    p: float
    exact: bool


def quantile(values: Iterable[float], share: float) -> float:
    """Value below which a share in [0, 1] lies, linear between neighbours (type 7 of doi:10.2307/2684934)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[low] == ordered[high]:
        return ordered[low]  # infinite, perhaps
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation, of `n - 1`; None for fewer than two values, or where one is not finite."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def ranks(values: Sequence[float]) -> list[float]:
    """Place of each value among all, from 1; equal ones share the mean of their places."""
    ordered = sorted(values)
    last = {value: place for place, value in enumerate(ordered, 1)}
    first = {value: len(ordered) - place for place, value in enumerate(reversed(ordered))}
    return [(first[value] + last[value]) / 2 for value in values]


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation; None for fewer than two pairs, where one side does not vary, or one is not finite."""
    mean_x, mean_y = sum(x) / max(1, len(x)), sum(y) / max(1, len(y))
    if len(x) < 2 or not math.isfinite(mean_x) or not math.isfinite(mean_y):
        return None
    off_x, off_y = [value - mean_x for value in x], [value - mean_y for value in y]
    spread_x, spread_y = math.sqrt(_dot(off_x, off_x)), math.sqrt(_dot(off_y, off_y))
    if not spread_x or not spread_y:
        return None
    return max(-1.0, min(1.0, _dot(off_x, off_y) / spread_x / spread_y))


def _dot(x: Sequence[float], y: Sequence[float]) -> float:
    return float(sum(map(operator.mul, x, y)))


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Rank correlation of pairs; None where there is none: fewer than three pairs, or one side does not vary.

    `p` is two-sided: of all orders for up to 7 pairs, else by Student's t with `n - 2` degrees of freedom (Zar 1972,
    doi:10.1080/01621459.1972.10481251).
    """
    return of_ranks(ranks(x), ranks(y))


def of_ranks(rank_x: Sequence[float], rank_y: Sequence[float]) -> Correlation | None:
    """As `spearman`, of ranks; those that many are compared with are made once."""
    rho = pearson(rank_x, rank_y) if len(rank_x) > 2 else None
    if rho is None:
        return None
    n = len(rank_x)
    exact = n <= _EXACT
    return Correlation(n, rho, _of_all_orders(rank_x, rank_y) if exact else _by_t(rho, n), exact)


def _of_all_orders(x: Sequence[float], y: Sequence[float]) -> float:
    """Share of the orders of `y` with a correlation at least as strong."""
    middle = (len(x) + 1) / 2
    off_x, off_y = [value - middle for value in x], [value - middle for value in y]
    seen = abs(_dot(off_x, off_y)) / _SAME
    strong = sum(abs(_dot(off_x, order)) >= seen for order in itertools.permutations(off_y))
    return strong / math.factorial(len(x))


def _by_t(rho: float, n: int) -> float:
    """P(|t| is as large) = I_x((n - 2) / 2, 1 / 2) at x = 1 - rho**2: 26.7.1 in Abramowitz and Stegun."""
    return incomplete_beta((n - 2) / 2, 0.5, 1 - rho * rho)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (26.5.8 in Abramowitz and Stegun).

    Evaluated by Lentz's method, doi:10.1364/AO.15.000668, on the side on which it converges fast.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, _MOST_STEPS):
        before = value
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for part in (even, odd):
            d = 1 / ((1 + part * d) or tiny)
            c = (1 + part / c) or tiny
            value *= c * d
        if abs(value - before) < 1e-15 * abs(value):
            break
    return value


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities of many tests as they are for all of them together (Holm 1979, doi:10.2307/4615733)."""
    found = [0.0] * len(p)
    reached = 0.0
    for passed, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        reached = max(reached, min(1.0, (len(p) - passed) * p[place]))
        found[place] = reached
    return found


def fisher(hits: int, of: int, other_hits: int, of_others: int) -> float:
    """Probability that two groups differ so much in how many have something, if it has nothing to do with the group.

    Fisher's exact test, two-sided: all tables with the same sums that are no more likely than this one.

    Parameters
    ----------
    hits, of : int
        Those of the first group that have it, of how many.
    other_hits, of_others : int
        The same of the second group.
    """
    drawn, whole = hits + other_hits, of + of_others
    low, high = max(0, drawn - of_others), min(of, drawn)

    def log_likely(k: int) -> float:
        return _log_choose(of, k) + _log_choose(of_others, drawn - k) - _log_choose(whole, drawn)

    seen = log_likely(hits) + 1e-7
    return min(1.0, math.fsum(math.exp(each) for k in range(low, high + 1) if (each := log_likely(k)) <= seen))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def median_interval(values: Sequence[float], error: float) -> tuple[float, float] | None:
    """Interval that holds the median but for a chance of `error`, whatever the distribution; None for too few values.

    Of the ordered values the k-th from both ends, with the largest k for which 2 P(B < k) <= error, B being binomial
    with n and 1/2 (the sign test's interval, section 7.1 in David and Nagaraja, Order Statistics).
    """
    n, k = len(values), 0
    log_chance = -n * math.log(2)
    outside = math.exp(log_chance)
    while 2 * outside <= error and k < n // 2:
        k += 1
        log_chance += math.log((n - k + 1) / k)
        outside += math.exp(log_chance)
    if not k:
        return None
    ordered = sorted(values)
    return ordered[k - 1], ordered[n - k]
