"""How rare a value is beside those seen so far."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist, mean

_SHARE, _FEWEST = 0.1, 50
_NORMAL = NormalDist()
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


class Tail:
    """The upper tail of what was seen.

    Up to the largest tenth, the share of values that are as large; beyond, an exponential through their mean excess
    (peaks over a threshold, Pickands, doi:10.1214/aos/1176343003, with shape 0), so that two values larger than all
    seen are still told apart. Of fewer than 50 values, the tail of a normal distribution, which is what standardised
    values have at best.

    Parameters
    ----------
    values : iterable of float
        Standardised values.
    """

    def __init__(self, values: Iterable[float]) -> None:
        self._seen = sorted(values)
        cut = int(len(self._seen) * (1 - _SHARE))
        self._few = len(self._seen) < _FEWEST
        self._from = math.inf if self._few else self._seen[cut]
        self._excess = 0.0 if self._few else max(1e-3, mean(each - self._from for each in self._seen[cut:]))

    def surprise(self, value: float) -> float:
        """Minus the natural logarithm of the share of values that are at least as large [nats]."""
        if self._few:
            return -log_beyond(value)
        if value > self._from:
            return -math.log(_SHARE) + (value - self._from) / self._excess
        above = len(self._seen) - bisect.bisect_left(self._seen, value)
        return -math.log(min(1.0, (above + 0.5) / (len(self._seen) + 0.5)))


def log_beyond(value: float) -> float:
    """Natural logarithm of a standard normal value's chance to be at least so large; right far out, too."""
    if value < 8:
        return math.log(_NORMAL.cdf(-value))
    return -0.5 * value * value - math.log(value * math.sqrt(2 * math.pi))


def q_values(values: Sequence[float]) -> list[float]:
    """Share of false ones among all that are at least so large, were chance normal.

    Benjamini and Hochberg, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    order = sorted(range(len(values)), key=lambda each: values[each])  # the smallest first
    found, least = [1.0] * len(values), 1.0
    for smaller, each in enumerate(order):
        rank = len(values) - smaller
        least = min(least, math.exp(log_beyond(values[each])) * len(values) / rank)
        found[each] = least
    return found


def student(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t."""
    if degrees < 1:
        return math.inf
    return _T[degrees - 1] if degrees <= len(_T) else 1.96 + 2.38 / degrees + 2.7 / degrees**2
