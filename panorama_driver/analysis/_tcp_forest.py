"""Normal transfers of one kind, and the Isolation Forest that tells how unlike them another one is.

Features are rates: a counter over the segments with data of its direction. In normal transfers most counters stand at
0 throughout, and a tree cannot divide what is all the same; so a count of k stands for anything from k to k + 1 where
the forest learns, drawn by a seeded generator, and for k + 1/2 where it judges. The threshold is a quantile of the
scores that normal transfers get from forests that have not seen them (cross-fitting in five parts).

F. T. Liu, K. M. Ting, Z.-H. Zhou: Isolation Forest. ICDM 2008, 10.1109/ICDM.2008.17.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..errors import EnvironmentMissingError, UsageError
from ._tcp_sights import FEATURES, Place, Sight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

LEAST_ROWS = 30
"""Fewer normal transfers tell no threshold."""
MOST_ROWS = 2000
"""Of more normal transfers every so-manyth is kept."""
_PARTS = 5
_CHECKED = 5  # scores that are kept to see that a forest is the same again
_QUANTILE = 0.99  # of the rates of normal transfers
_SIGMAS = 3.0
_LEAST_COUNT = 3.0
_NORMAL_MAD = 1.4826  # standard deviation over median absolute deviation, of a normal distribution


class Kin(NamedTuple):
    """Which transfers are compared: seen by the same source from the same place, of one variant and size class."""

    source: str
    place: Place
    variant: str
    magnitude: int


class Deviation(NamedTuple):
    """A feature of a transfer against the normal ones.

    `rate`, `median` and `limit` are rates, `size` is how many times their robust spread lies between the first two;
    `above` is by how many the count exceeds what normal transfers have, `far` whether clearly so, `least` the rate from
    which on it would be.
    """

    feature: str
    rate: float
    median: float
    limit: float
    size: float
    above: float
    far: bool
    least: float

    @property
    def name(self) -> str:
        """The counter's."""
        return self.feature[5:]


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How forests are grown.

    Attributes
    ----------
    trees : int
        In a forest.
    seed : int
        Of the generators; with the rows and the library it determines every score.
    false_positives : float
        Share of normal transfers that may be beyond the threshold.
    """

    trees: int = 100
    seed: int = 0
    false_positives: float = 0.01

    def __post_init__(self) -> None:
        if not (1 <= self.trees <= 2000 and 0 <= self.seed < 2**32 and 0 < self.false_positives < 0.5):
            raise ValueError("trees 1 to 2000, seed 0 to 4294967295, false_positives below 0.5")


class Normals:
    """Normal transfers of one kind, with what is made of them.

    Parameters
    ----------
    features : sequence of str
        Names of `FEATURES` that every row has.
    counts, segments : array, shape (rows, features)
        Counters, and the segments with data of their direction.
    parameters : Parameters
        How the forest is grown.
    held_out : sequence of float, optional
        Scores of the rows by forests that had not seen them; computed unless told.
    """

    def __init__(
        self,
        features: Sequence[str],
        counts: Matrix,
        segments: Matrix,
        parameters: Parameters,
        held_out: Sequence[float] | None = None,
    ) -> None:
        self.features = tuple(features)
        self.counts, self.segments = counts, segments
        self._parameters = parameters
        self._held_out = held_out

    @classmethod
    def of(cls, sights: Sequence[Sight], parameters: Parameters) -> Normals:
        """Learn from normal transfers of one kind, from the features that all of them have.

        Raises
        ------
        UsageError
            They are too few, or nothing is counted of all of them.
        """
        import numpy as np

        chosen = sights[:: -(-len(sights) // MOST_ROWS)] if sights else sights
        if len(chosen) < LEAST_ROWS:
            raise UsageError(f"{len(chosen)} normal transfers of one kind; {LEAST_ROWS} are needed at least")
        features = [name for name in FEATURES if all(sight.counted(name) is not None for sight in chosen)]
        if not features:
            raise UsageError("no counter is told of all of these transfers")
        pairs = np.array([_pairs(sight, features) for sight in chosen], dtype=np.float64)
        return cls(features, pairs[:, :, 0], pairs[:, :, 1], parameters)

    @cached_property
    def held_out(self) -> Matrix:
        """Scores of normal transfers by forests that had not seen them, the smallest first."""
        import numpy as np

        if self._held_out is not None:
            return np.sort(np.asarray(self._held_out, dtype=np.float64))
        part = np.arange(len(self.counts)) % _PARTS
        learnt = self._blurred()
        scores = [
            _scores(self._grown(learnt[part != number]), self._middle()[part == number]) for number in range(_PARTS)
        ]
        return np.sort(np.concatenate(scores))

    @cached_property
    def threshold(self) -> float:
        """Score beyond which a transfer is unlike the normal ones."""
        import numpy as np

        return float(np.quantile(self.held_out, 1 - self._parameters.false_positives, method="higher"))

    @property
    def checks(self) -> list[float]:
        """Scores of the first rows by the forest, which another machine must come to as well."""
        return [float(score) for score in _scores(self._forest, self._middle()[:_CHECKED])]

    def scores(self, sights: Sequence[Sight]) -> Matrix:
        """How unlike normal transfers each is, in (0, 1); all must have every feature."""
        import numpy as np

        pairs = np.array([_pairs(sight, self.features) for sight in sights], dtype=np.float64)
        return _scores(self._forest, _rates(pairs[:, :, 0], pairs[:, :, 1], 0.5))

    def tail(self, score: float) -> float:
        """Share of normal transfers with that score or a higher one, counted so that it is never 0."""
        import numpy as np

        beyond = len(self.held_out) - int(np.searchsorted(self.held_out, score, side="left"))
        return (1 + beyond) / (1 + len(self.held_out))

    def missing(self, sight: Sight) -> list[str]:
        """Features of the normal transfers that this one lacks."""
        return [name for name in self.features if sight.counted(name) is None]

    def deviations(self, sight: Sight) -> list[Deviation]:
        """Each feature against the normal transfers, the largest first.

        A count k of n segments is far where k > n q + 3 sqrt(n q) + 3, with q the rate that 99 % of the normal
        transfers stay below; its size is (k / n - median) / max(1.4826 MAD, (q - median) / 2.33, 1 / n).
        """
        found = [self._deviation(number, name, sight) for number, name in enumerate(self.features)]
        return sorted(found, key=lambda deviation: -deviation.size)

    def _deviation(self, number: int, name: str, sight: Sight) -> Deviation:
        count, segments = _pair(sight, name)
        median, mad, limit = self._spread[number]
        expected = segments * limit
        least = expected + _SIGMAS * expected**0.5 + _LEAST_COUNT
        scale = max(_NORMAL_MAD * mad, (limit - median) / 2.326, 1 / segments)
        return Deviation(
            feature=name,
            rate=count / segments,
            median=median,
            limit=limit,
            size=(count / segments - median) / scale,
            above=count - expected,
            far=count > least,
            least=least / segments,
        )

    @cached_property
    def _spread(self) -> list[tuple[float, float, float]]:
        """Median, median absolute deviation and quantile of each feature's rates."""
        import numpy as np

        rates = _rates(self.counts, self.segments, 0.0)
        median = np.median(rates, axis=0)
        limit = np.quantile(rates, _QUANTILE, axis=0, method="higher")
        mad = np.median(np.abs(rates - median), axis=0)
        return [(float(one), float(two), float(three)) for one, two, three in zip(median, mad, limit, strict=True)]

    @cached_property
    def _forest(self) -> Any:
        return self._grown(self._blurred())

    def _grown(self, rows: Matrix) -> Any:
        return isolation_forest()(n_estimators=self._parameters.trees, random_state=self._parameters.seed).fit(rows)

    def _blurred(self) -> Matrix:
        import numpy as np

        shift = np.random.default_rng(self._parameters.seed).random(self.counts.shape)
        return _rates(self.counts, self.segments, shift)

    def _middle(self) -> Matrix:
        return _rates(self.counts, self.segments, 0.5)


def isolation_forest() -> Any:
    """The class of scikit-learn.

    Raises
    ------
    EnvironmentMissingError
        It is not installed.
    """
    try:
        from sklearn.ensemble import IsolationForest
    except ImportError as error:
        hint = "install it with `pip install 'panorama-driver[anomaly]'`"
        raise EnvironmentMissingError(f"judging transfers needs scikit-learn: {error}; {hint}") from None
    return IsolationForest


def _rates(counts: Matrix, segments: Matrix, shift: Matrix | float) -> Matrix:
    return (counts + shift) / segments


def _scores(forest: Any, rows: Matrix) -> Matrix:
    scored: Matrix = -forest.score_samples(rows)
    return scored


def _pair(sight: Sight, name: str) -> tuple[float, float]:
    told = sight.counted(name)
    if told is None:
        raise UsageError(f"a record of {sight.source} that does not count {name}")
    return told


def _pairs(sight: Sight, features: Sequence[str]) -> list[tuple[float, float]]:
    return [_pair(sight, name) for name in features]
