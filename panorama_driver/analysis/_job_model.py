"""What attempts of a transformation have been like, as it is kept, and how any attempt compares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from ._job_samples import Feature, Sample
from ._tails import Tail

WARM = 10
"""So many attempts of a transformation must have ended before another is compared with them."""

LEAST_BETWEEN = 0.02
"""Smallest variance between hosts in runs, in squared scales of attempts."""

_FARTHEST, _CLIPPED = 8.0, 4.0


class Model(msgspec.Struct):
    """One feature's: everything on `ln(value + resolution)`.

    Attributes
    ----------
    feature : Feature
        Which.
    centre, scale, number : dict of str to float
        By transformation: what is typical, the noise around it, and how many attempts it is known from.
    work : dict of (str, str) to float
        What the same work adds to its transformation.
    slope : dict of (str, str) to (float, float)
        By transformation and input: the exponent, and the logarithm at which it adds nothing.
    host : dict of str to float
        What a host adds, shrunk, to what the median host does.
    own, context : Tail
        Of standardised deviations of attempts, and of those of all attempts on one host in one run.
    between : float
        Variance of the latter beyond that of their attempts.
    middle : float
        Their median.
    """

    feature: Feature
    centre: dict[str, float] = {}
    scale: dict[str, float] = {}
    number: dict[str, int] = {}
    work: dict[tuple[str, str], float] = {}
    slope: dict[tuple[str, str], tuple[float, float]] = {}
    host: dict[str, float] = {}
    own: Tail = msgspec.field(default_factory=lambda: Tail(()))
    context: Tail = msgspec.field(default_factory=lambda: Tail(()))
    between: float = LEAST_BETWEEN
    middle: float = 0.0

    def expected(self, sample: Sample) -> float | None:
        """Logarithm of what the attempt would have on a typical host; None where too little is known."""
        kind = sample.transformation
        if self.number.get(kind, 0) < WARM:
            return None
        known = self.centre[kind] + self.work.get((kind, sample.work or ""), 0.0)
        return known + sum(
            self._exponent(kind, name, value) for name, value in sample.inputs.items() if (kind, name) in self.slope
        )

    def _exponent(self, kind: str, name: str, value: float) -> float:
        exponent, centre = self.slope[kind, name]
        return exponent * (log_input(value) - centre)

    def deviation(self, sample: Sample) -> float | None:
        """Logarithm of how many times its value is what is expected."""
        value, expected = sample.values.get(self.feature.name), self.expected(sample)
        return None if value is None or expected is None else self.feature.log(value) - expected

    def z(self, sample: Sample) -> float | None:
        """Deviation over the noise of its transformation, larger where it is worse."""
        deviation = self.deviation(sample)
        if deviation is None:
            return None
        standard = self.feature.side * deviation / self.scale[sample.transformation]
        if sample.state == "running":
            standard = max(0.0, standard) if self.feature.grows and self.feature.side > 0 else 0.0
        return max(-_FARTHEST, min(_FARTHEST, standard))

    def together(self, standard: Sequence[float]) -> float:
        """Standardised deviation of a host in a run, from those of its attempts."""
        return (clipped_mean(standard) - self.middle) / math.sqrt(1 / len(standard) + self.between)


def log_input(value: float) -> float:
    """Logarithm of an input, which also 0 and negative ones have: `asinh(value / 2)`, `ln` of what is large."""
    return math.asinh(value / 2)


def clipped_mean(standard: Sequence[float]) -> float:
    """Mean in which no attempt speaks louder than a few scales."""
    return sum(max(-_CLIPPED, min(_CLIPPED, each)) for each in standard) / len(standard)
