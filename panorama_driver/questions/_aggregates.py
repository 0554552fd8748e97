"""What SQLite lacks for questions about measurements: median, quantile, deviation, correlations, as SQL functions."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from array import array
from typing import Any

from . import _statistics as statistics

MOST = 5_000_000
"""Values that one aggregate takes in; each takes 8 bytes."""


class TooManyError(Exception):
    """More values than an aggregate takes in."""


class _Collected(ABC):
    """Numbers of a group or of a window; NULL and text are passed over."""

    def __init__(self) -> None:
        self._values = array("d")
        self._gone: list[float] = []
        self._share: float | None = None

    def step(self, value: Any, share: Any = None, /) -> None:
        if isinstance(value, int | float):
            if len(self._values) >= MOST:
                raise TooManyError
            self._values.append(value)

    def inverse(self, value: Any, share: Any = None, /) -> None:
        if isinstance(value, int | float):
            self._gone.append(float(value))

    def finalize(self) -> float | None:
        return self.value()

    def value(self) -> float | None:
        for gone in self._gone:
            self._values.remove(gone)
        self._gone.clear()
        return self._of(self._values) if self._values else None

    @abstractmethod
    def _of(self, values: array[float]) -> float | None: ...


class _Median(_Collected):
    def _of(self, values: array[float]) -> float | None:
        return statistics.quantile(values, 0.5)


class _Quantile(_Collected):
    """`quantile(value, share)`; the share is that of the last row."""

    def step(self, value: Any, share: Any = None, /) -> None:
        self._share = share if isinstance(share, int | float) and 0 <= share <= 1 else None
        super().step(value)

    def _of(self, values: array[float]) -> float | None:
        return None if self._share is None else statistics.quantile(values, self._share)


class _Deviation(_Collected):
    def _of(self, values: array[float]) -> float | None:
        return statistics.deviation(values)


class _Pairs:
    """Pairs of numbers; a row that lacks one of the two is passed over."""

    def __init__(self) -> None:
        self._x, self._y = array("d"), array("d")

    def step(self, x: Any, y: Any) -> None:
        if isinstance(x, int | float) and isinstance(y, int | float):
            if len(self._x) >= MOST // 2:
                raise TooManyError
            self._x.append(x)
            self._y.append(y)

    def finalize(self) -> float | None:
        return statistics.pearson(self._x, self._y)


class _RankPairs(_Pairs):
    def finalize(self) -> float | None:
        return statistics.pearson(statistics.ranks(self._x), statistics.ranks(self._y))


def register(connection: sqlite3.Connection) -> None:
    """Make the functions known: `FUNCTIONS` says what they are."""
    connection.create_window_function("median", 1, _Median)
    connection.create_window_function("quantile", 2, _Quantile)  # type: ignore[arg-type]  # its share is optional
    connection.create_window_function("stddev", 1, _Deviation)
    connection.create_aggregate("corr", 2, _Pairs)  # type: ignore[arg-type]  # typeshed knows int only
    connection.create_aggregate("spearman", 2, _RankPairs)  # type: ignore[arg-type]  # typeshed knows int only


FUNCTIONS = {
    "median(x)": "the middle value, or the mean of the two; also over a window",
    "quantile(x, q)": "below which the share q in [0, 1] lies, linear between values; also over a window",
    "stddev(x)": "sample standard deviation (n - 1); NULL for one value; also over a window",
    "corr(x, y)": "Pearson's correlation of the rows that have both",
    "spearman(x, y)": "Spearman's rank correlation of them, ties sharing their mean rank",
}
