"""Runs as points, and how many kinds of them there are: robust scaling, k-means and HDBSCAN, the number and why.

numpy and scikit-learn (extra `anomaly`) are imported where they are used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from ..errors import EnvironmentMissingError
from ._run_features import Feature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Labels = NDArray[np.intp]

Method = Literal["kmeans", "hdbscan"]

GAUSSIAN = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
FAR = 10.0
"""What is farther than this from the median [robust units] is far, and counts as this far when kinds are sought."""
LEAST_EXCESS = 1 / 3
"""By how much of what is possible a silhouette must be above that of one cloud for there to be kinds."""
LEAST_STABILITY = 0.8
"""Adjusted Rand index of two thirds of the runs against all, from which kinds are stable (doi:10.1007/BF01908075)."""
LEAST_RUNS = 3
"""Runs that are a kind; fewer are runs that are unlike the others."""

_MOST_KINDS = 8
_PARSIMONY = 0.02  # fewer kinds are chosen where they are this close to the best number
_DRAWS = 10
_STARTS = 10
_FEW_STARTS = 2  # of what is drawn, of which only the mean counts
_SOME = 1000  # runs from which a silhouette is estimated
_SMALLEST = 5


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A number of kinds that was tried.

    Attributes
    ----------
    number : int
        How many.
    smallest : int
        Runs of the smallest of them.
    silhouette : float
        Mean silhouette of the runs, in [-1, 1] (doi:10.1016/0377-0427(87)90125-7).
    by_chance : float
        The same where there is one kind: of as many points of one normal distribution with the same covariance, cut
        into as many; the mean of ten draws.
    stability : float
        Mean adjusted Rand index between kinds of all runs and of two thirds of them, drawn ten times.
    """

    number: int
    smallest: int
    silhouette: float
    by_chance: float
    stability: float

    @property
    def excess(self) -> float:
        """How far the silhouette is on the way from chance to 1, as the adjusted Rand index corrects for chance."""
        return (self.silhouette - self.by_chance) / (1 - self.by_chance) if self.by_chance < 1 else 0.0

    @property
    def fits(self) -> bool:
        """Whether these would be kinds."""
        return not self.lacking

    @property
    def lacking(self) -> str:
        """Why these would be no kinds; empty where they would."""
        if self.smallest < LEAST_RUNS:
            return f"{self.smallest} {'run is' if self.smallest == 1 else 'runs are'} no kind"
        if self.excess < LEAST_EXCESS:
            return "too little above chance"
        return "not stable" if self.stability < LEAST_STABILITY else ""


class Found(NamedTuple):
    """Kinds by number, -1 for a run that belongs to none; the numbers tried; and why it is so many, in words."""

    labels: list[int]
    choices: list[Choice]
    why: str


class Scale(NamedTuple):
    """Where the middle is and how far apart runs usually are, for each feature: median, and robust unit."""

    centre: Matrix
    unit: Matrix

    def of(self, values: Matrix) -> Matrix:
        """Values in robust units from the median."""
        return (values - self.centre) / self.unit


def needs() -> None:
    """See that the extra is there.

    Raises
    ------
    EnvironmentMissingError
        It is not.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise EnvironmentMissingError(
            "finding kinds of runs needs scikit-learn: pip install 'panorama-driver[anomaly]', in a clone '.[anomaly]'"
        ) from None


def matrix(rows: Sequence[Sequence[float]], features: Sequence[Feature]) -> Matrix:
    """Values as they are compared, with logarithms of those that are compared by their ratio."""
    import numpy as np

    values = np.array(rows, dtype=float).reshape(len(rows), len(features))
    ratios = [feature.log for feature in features]
    values[:, ratios] = np.log(values[:, ratios])
    return values


def scale(values: Matrix, features: Sequence[Feature]) -> Scale:
    """Median, and 1.4826 times the median absolute deviation, but no less than what matters of a feature."""
    import numpy as np

    centre = np.median(values, axis=0)
    spread = GAUSSIAN * np.median(np.abs(values - centre), axis=0)
    floors = [_floor(feature, values[:, column]) for column, feature in enumerate(features)]
    return Scale(centre, np.maximum(spread, floors))


def _floor(feature: Feature, values: Matrix) -> float:
    """Of a time that is compared by its difference, the least that matters is a share of what it is where it is any."""
    import numpy as np

    if feature.log or not feature.unit:
        return feature.floor
    some = np.abs(values[values != 0])
    return float(feature.floor * np.median(some)) if some.size else 1.0


def points(scaled: Matrix, features: Sequence[Feature]) -> Matrix:
    """Where kinds are sought: nothing counts as farther than `FAR`, and each family of features weighs the same."""
    import numpy as np

    size = Counter(feature.family for feature in features)
    weights = np.array([1 / math.sqrt(size[feature.family]) for feature in features])
    clipped: Matrix = np.clip(scaled, -FAR, FAR) * weights
    return clipped


def kinds(where: Matrix, method: Method, number: int | None, seed: int) -> Found:
    """Kinds of points, as many as `number` or as there seem to be.

    Parameters
    ----------
    where : array of shape (runs, features)
        Points, in an order that does not depend on how they came.
    method : str
        `kmeans`, each run in one of so many kinds; or `hdbscan` (doi:10.1145/2733381), dense groups, and runs that are
        in none; it finds the number itself.
    number : int, optional
        How many kinds k-means makes; unless told, it is chosen.
    seed : int
        Of all that is drawn.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

    with threadpool_limits(limits=1):  # threads cost more than they bring with so few points
        if method == "hdbscan":
            return _dense(where)
        if number is not None:
            return Found(_kmeans(where, number, seed).labels_.tolist(), [], f"{number} kinds were asked for")
        return _chosen(where, seed)


def _dense(where: Matrix) -> Found:
    import numpy as np
    from sklearn.cluster import HDBSCAN

    least = max(_SMALLEST, len(where) // 20)
    fitted = HDBSCAN(min_cluster_size=least, allow_single_cluster=True, copy=True).fit(where)
    labels: Labels = np.asarray(fitted.labels_)
    count, apart = int(labels.max()) + 1, int((labels < 0).sum())
    words = f"HDBSCAN finds {count} dense {'group' if count == 1 else 'groups'} of {least} runs or more"
    return Found(labels.tolist(), [], f"{words}; {apart} of {len(where)} runs are in none")


def _chosen(where: Matrix, seed: int) -> Found:
    distinct = len({tuple(row) for row in where.tolist()})
    most = min(_MOST_KINDS, len(where) // 4, distinct - 1)
    tried = [_tried(where, number, seed) for number in range(2, most + 1)]
    choices, fits = [choice for choice, _ in tried], [each for each in tried if each[0].fits]
    if not fits:
        return Found([0] * len(where), choices, _why_one(choices))
    best = max(choice.excess for choice, _ in fits)
    chosen, labels = next(each for each in fits if each[0].excess >= best - _PARSIMONY)
    return Found(labels, choices, _why(chosen))


def _why_one(choices: Sequence[Choice]) -> str:
    if not choices:
        return "no two runs differ in what is compared"
    best = max(choices, key=lambda choice: choice.excess)
    return f"no cut is clear and stable: the best, in {best.number}, has {_words(best)}: {best.lacking}"


def _why(chosen: Choice) -> str:
    return f"{chosen.number} are clearest: {_words(chosen)}"


def _words(choice: Choice) -> str:
    """The numbers that decided."""
    return (
        f"silhouette {choice.silhouette:.2f} ({choice.by_chance:.2f} by chance), stability {choice.stability:.2f} "
        f"over two thirds of the runs"
    )


def _tried(where: Matrix, number: int, seed: int) -> tuple[Choice, list[int]]:
    import numpy as np

    random = np.random.default_rng([seed, number])
    fitted = _kmeans(where, number, seed)
    choice = Choice(
        number=number,
        smallest=min(Counter(fitted.labels_.tolist()).values()),
        silhouette=_silhouette(where, fitted.labels_, seed),
        by_chance=_by_chance(where, number, random, seed),
        stability=_stability(where, fitted.labels_, number, random, seed),
    )
    return choice, fitted.labels_.tolist()


def _by_chance(where: Matrix, number: int, random: np.random.Generator, seed: int) -> float:
    import numpy as np

    spread = np.linalg.svd(where - where.mean(axis=0), compute_uv=False) / math.sqrt(len(where) - 1)
    draws = (random.normal(size=(len(where), len(spread))) * spread for _ in range(_DRAWS))
    return float(
        np.mean([_silhouette(cloud, _kmeans(cloud, number, seed, _FEW_STARTS).labels_, seed) for cloud in draws])
    )


def _stability(where: Matrix, labels: Labels, number: int, random: np.random.Generator, seed: int) -> float:
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    found = []
    for _ in range(_DRAWS):
        some = random.choice(len(where), size=2 * len(where) // 3, replace=False)
        found.append(adjusted_rand_score(labels, _kmeans(where[some], number, seed, _FEW_STARTS).predict(where)))
    return float(np.mean(found))


def _silhouette(where: Matrix, labels: Labels, seed: int) -> float:
    from sklearn.metrics import silhouette_score

    if len(set(labels.tolist())) < 2:
        return 0.0
    some = _SOME if len(where) > _SOME else None
    return float(silhouette_score(where, labels, sample_size=some, random_state=seed))


def _kmeans(where: Matrix, number: int, seed: int, starts: int = _STARTS) -> Any:
    """Fitted; fewer kinds than asked for where fewer points are distinct, of which it would warn."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(n_clusters=number, n_init=starts, random_state=seed).fit(where)


def confidences(distances: Sequence[float], features: int, degrees: int) -> list[float]:
    """Share of the runs as far as each that are so for a reason: one less the expected share of false discoveries.

    Parameters
    ----------
    distances : sequence of float
        Of each run the farthest of its features [robust units].
    features : int
        How many features it had: any of them may be far by chance.
    degrees : int
        Of freedom of Student's t distribution that features have where nothing is wrong.
    """
    from scipy.stats import t

    found = []
    for distance in distances:
        by_chance = len(distances) * min(1.0, 2 * features * float(t.sf(distance, degrees)))
        as_far = sum(other >= distance for other in distances)
        found.append(min(0.99, max(0.01, 1 - by_chance / as_far)))
    return found


def components(where: Matrix, features: Sequence[Feature]) -> tuple[tuple[tuple[float, float], ...], tuple[str, ...]]:
    """The two main components of each run, and what each is made of; signs are such that the largest weight is > 0."""
    import numpy as np

    if len(features) < 2:
        return (), ()
    _, strength, directions = np.linalg.svd(where - where.mean(axis=0), full_matrices=False)
    signs = np.sign(directions[np.arange(2), np.abs(directions[:2]).argmax(axis=1)])
    turned = directions[:2] * signs[:, None]
    places = (where - where.mean(axis=0)) @ turned.T
    share = strength**2 / (strength**2).sum()
    axes = tuple(_axis(turned[row], share[row], features) for row in range(2))
    return tuple((float(x), float(y)) for x, y in places), axes


def _axis(direction: Matrix, share: float, features: Sequence[Feature]) -> str:
    order = sorted(range(len(features)), key=lambda column: (-abs(direction[column]), features[column].name))
    parts = [f"{direction[column]:+.2f} {features[column].name}" for column in order[:3]]
    return f"{' '.join(parts)} ... ({share:.0%} of the variance) [robust units]"
