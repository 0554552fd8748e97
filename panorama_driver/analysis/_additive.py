"""A robust additive model: each part of a value told from the others, even where the design is lopsided."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

HUBER = 1.345
"""Residuals beyond so many scales count less; 95 % efficient for normal noise (Huber, doi:10.1214/aoms/1177703732)."""

MAD = 1.4826
"""A median absolute deviation times this is the standard deviation of normal noise."""

FLOOR = 0.05
"""Smallest scale, on a logarithm: jobs that differ by 5 % are alike, however well the clocks resolve them."""

_SWEEPS, _SETTLING, _STILL = 60, 6, 5e-4


class Term(msgspec.Struct):
    """One part of the sum: `effect[index[row]] * x[row]`.

    Attributes
    ----------
    index : sequence of int
        Level of each row; -1 where this part says nothing about it.
    x : sequence of float or None
        What the effect is multiplied with; None stands for 1 everywhere.
    prior : float
        Weight of the belief that an effect is 0, in rows: with `n` rows an effect shrinks by `n / (n + prior)`.
    effect : list of float
        What the fit found, one a level.
    """

    index: Sequence[int]
    x: Sequence[float] | None = None
    prior: float = 0.0
    effect: list[float] = []

    def of(self, row: int) -> float:
        """Its part of one row's value."""
        level = self.index[row]
        return 0.0 if level < 0 else self.effect[level] * (1.0 if self.x is None else self.x[row])


def median(values: Sequence[float]) -> float:
    """Middle value; 0 of none."""
    return statistics.median(values) if values else 0.0


def scale(residuals: Sequence[float]) -> float:
    """Spread around 0 as a standard deviation that outliers do not move; at least `FLOOR`."""
    return max(FLOOR, MAD * median([abs(value) for value in residuals]))


def fit(values: Sequence[float], groups: Sequence[int], terms: Sequence[Term]) -> tuple[list[float], list[float]]:
    """Fit the terms to the values, in place.

    Huber's estimate by weighted least squares, one term after the other (backfitting) until nothing moves. Rows of a
    group share their noise; groups with more noise count less where a term spans several.

    Parameters
    ----------
    values : sequence of float
        What is explained.
    groups : sequence of int
        Which rows have the same noise, numbered from 0.
    terms : sequence of Term
        The parts; the first should hold the level of each group.

    Returns
    -------
    residuals : list of float
        What is left of each value.
    scales : list of float
        Of each group's noise: the spread of its residuals, corrected for the degrees of freedom that the fit took.
    """
    for term in terms:
        term.effect = [0.0] * (max(term.index, default=-1) + 1)
    terms[0].effect = _medians(values, terms[0])
    residuals = [value - terms[0].of(row) for row, value in enumerate(values)]
    scales = _scales(residuals, groups)
    for sweep in range(_SWEEPS):
        if sweep < _SETTLING:
            scales = _scales(residuals, groups)
        if max([_refit(term, residuals, groups, scales) for term in terms]) < _STILL:
            break
    return residuals, [
        each * _widening(number, used)
        for each, (number, used) in zip(_scales(residuals, groups), _degrees(groups, terms), strict=True)
    ]


def _degrees(groups: Sequence[int], terms: Sequence[Term]) -> list[tuple[int, float]]:
    """Rows of each group, and how many of them the effects that were fitted to them are worth."""
    number, used = [0] * (max(groups, default=-1) + 1), [0.0] * (max(groups, default=-1) + 1)
    for group in groups:
        number[group] += 1
    for term in terms:
        squares = [1.0] * len(groups) if term.x is None else [each * each for each in term.x]
        weight = [term.prior] * len(term.effect)
        for level, square in zip(term.index, squares, strict=True):
            if level >= 0:
                weight[level] += square
        for group, level, square in zip(groups, term.index, squares, strict=True):
            if level >= 0 and weight[level] > 0:
                used[group] += square / weight[level]
    return list(zip(number, used, strict=True))


def _widening(number: int, used: float) -> float:
    """What fitting has taken from the spread of residuals: the degrees of freedom that are left, at least a quarter."""
    return math.sqrt(number / max(number - used, number / 4))


def _medians(values: Sequence[float], term: Term) -> list[float]:
    rows: list[list[float]] = [[] for _ in term.effect]
    for level, value in zip(term.index, values, strict=True):
        rows[level].append(value)
    return [median(each) for each in rows]


def _scales(residuals: Sequence[float], groups: Sequence[int]) -> list[float]:
    members: list[list[float]] = [[] for _ in range(max(groups, default=-1) + 1)]
    for group, residual in zip(groups, residuals, strict=True):
        members[group].append(residual)
    return [scale(each) for each in members]


def _refit(term: Term, residuals: list[float], groups: Sequence[int], scales: Sequence[float]) -> float:
    """One step of one term; how far its effects moved, at most."""
    steps = _steps(term, residuals, groups, scales)
    x = term.x
    for row, level in enumerate(term.index):
        if level >= 0:
            residuals[row] -= steps[level] if x is None else steps[level] * x[row]
    term.effect = [effect + step for effect, step in zip(term.effect, steps, strict=True)]
    return max(map(abs, steps), default=0.0)


def _steps(term: Term, residuals: Sequence[float], groups: Sequence[int], scales: Sequence[float]) -> list[float]:
    typical = median(scales)
    trust = [(typical / each) ** 2 for each in scales]
    bound = [HUBER * each for each in scales]
    pull, weight = [0.0] * len(term.effect), [term.prior] * len(term.effect)
    for row, level in enumerate(term.index):
        if level < 0:
            continue
        group, residual = groups[row], residuals[row]
        size = abs(residual)
        w = trust[group] if size <= bound[group] else trust[group] * bound[group] / size
        x = 1.0 if term.x is None else term.x[row]
        pull[level] += w * x * residual
        weight[level] += w * x * x
    moved = zip(pull, weight, term.effect, strict=True)
    return [(p - term.prior * effect) / w if w > 0 else 0.0 for p, w, effect in moved]
