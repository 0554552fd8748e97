"""Runs of one workflow beside each other: how many kinds there are, what they are, and which run is like no other."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..metrics import WorkflowMetrics
from . import _kinds, _run_words
from ._kinds import Choice, Method
from ._run_features import PUBLISHED, Feature, History, Known, features
from ._run_kinds import Agreement, Analysis, Compared, Kind, Unlike
from .records import Anomaly, Evidence

if TYPE_CHECKING:
    from ._kinds import Matrix, Scale

__all__ = [
    "CUT",
    "DETECTOR",
    "FEWEST",
    "PUBLISHED",
    "Agreement",
    "Analysis",
    "Choice",
    "Compared",
    "Kind",
    "Method",
    "Unlike",
    "agreement",
    "analyse",
    "by_label",
]

DETECTOR = "workflows 1"
FEWEST = 8
"""Runs below which nothing is said of kinds."""
CUT = 6.0
"""A run with a feature farther than this from its median is unlike the others [robust units]; farther where the usual
ones are scattered: twice the distance between the quartiles of their distances above the upper one, as Tukey's fences.
"""

_USUAL = 0.25  # of the runs: a kind with so many is usual
_UNKNOWN = 0.25  # of the runs: a feature that more do not have is left out
_DEGREES = 5  # of freedom of the t distribution whose tails those of features are like
_FENCE = 2.0
_TOLD = 3  # numbers that speak for an anomaly


def by_label(runs: Iterable[WorkflowMetrics]) -> dict[str | None, list[WorkflowMetrics]]:
    """Runs by the name of their workflow, in alphabetical order; those without one last."""
    grouped: dict[str | None, list[WorkflowMetrics]] = defaultdict(list)
    for run in runs:
        grouped[run.label].append(run)
    return {label: grouped[label] for label in sorted(grouped, key=lambda label: (label is None, label or ""))}


def analyse(
    runs: Iterable[WorkflowMetrics],
    *,
    method: Method = "kmeans",
    number: int | None = None,
    only: Collection[str] | None = None,
    seed: int = 0,
) -> Analysis:
    """Compare runs of one workflow.

    The answer depends neither on their order nor on repetitions.

    Parameters
    ----------
    runs : iterable of WorkflowMetrics
        Of one label; those that have not ended are left out.
    method : str
        `kmeans` or `hdbscan`.
    number : int, optional
        How many kinds k-means makes; unless told, as many as there seem to be.
    only : collection of str, optional
        Names of the features to compare; all, unless told.
    seed : int
        Of what is drawn on the way.

    Raises
    ------
    EnvironmentMissingError
        scikit-learn is not installed.
    ValueError
        More kinds are asked for than there are runs, or less than one.
    """
    compared, left_out = _ended(runs)
    label = next((run.label for run in compared if run.label), None)
    found = Analysis(label=label, runs=tuple(run.wf_uuid for run in compared), left_out=left_out, method=method, why="")
    if number is not None and not 1 <= number <= max(1, len(compared)):
        raise ValueError(f"{number} kinds of {len(compared)} runs: choose 1 to {len(compared)}")
    if len(compared) < FEWEST:
        return msgspec.structs.replace(found, why=_run_words.too_few(len(compared), FEWEST))
    _kinds.needs()
    table = _Table(compared, only)
    return _Look(found, compared, table, number, seed).analysis()


def agreement(found: Sequence[object], labels: Sequence[object]) -> Agreement:
    """How well kinds agree with labels, given for the same runs in the same order.

    Raises
    ------
    EnvironmentMissingError
        scikit-learn is not installed.
    """
    _kinds.needs()
    from sklearn.metrics import completeness_score, homogeneity_score, normalized_mutual_info_score

    given, own = [str(label) for label in labels], [str(kind) for kind in found]
    scores = (normalized_mutual_info_score, completeness_score, homogeneity_score)
    return Agreement(*(float(score(given, own)) for score in scores))


def _ended(runs: Iterable[WorkflowMetrics]) -> tuple[list[WorkflowMetrics], dict[str, str]]:
    """Those that have ended, each once and in one order, and why others are left out."""
    once: dict[str, WorkflowMetrics] = {}
    for run in runs:
        there = once.get(run.wf_uuid)
        if there is None or _told(run) > _told(there):
            once[run.wf_uuid] = run
    ordered = [once[wf_uuid] for wf_uuid in sorted(once)]
    compared = [run for run in ordered if run.state in ("succeeded", "failed") and run.jobs]
    why = {run.wf_uuid: "has no job" if not run.jobs else f"has not ended: {run.state}" for run in ordered}
    return compared, {wf_uuid: why[wf_uuid] for wf_uuid in once if wf_uuid not in {run.wf_uuid for run in compared}}


def _told(run: WorkflowMetrics) -> tuple[object, ...]:
    """Of the same run from two stores, the one that tells more comes later; the last breaks ties."""
    ended = run.jobs_succeeded + run.jobs_failed
    return run.state in ("succeeded", "failed"), ended, run.end or 0.0, len(run.jobs), -len(run.reasons), repr(run)


class _Table:
    """Features of runs, as far as they can be compared."""

    def __init__(self, runs: Sequence[WorkflowMetrics], only: Collection[str] | None) -> None:
        history = History(runs)
        rows = [features(run, history) for run in runs]
        chosen = [feature for feature in rows[0] if only is None or feature.name in only]
        columns = {feature: [row[feature] for row in rows] for feature in chosen}
        why = {feature: _unusable(column) for feature, column in columns.items()}
        self.features = [feature for feature in chosen if not why[feature]]
        self.left_out = [self._compared(feature, columns[feature], why[feature]) for feature in chosen if why[feature]]
        self.known = [columns[feature] for feature in self.features]
        filled = [_filled(column) for column in self.known]
        self.values = _kinds.matrix(list(zip(*filled, strict=True)) if filled else [[]] * len(runs), self.features)
        self.scale: Scale = _kinds.scale(self.values, self.features)
        self.scaled: Matrix = self.scale.of(self.values)

    def compared(self) -> tuple[Compared, ...]:
        """What was used, then what was not."""
        units = self.scale.unit.tolist()
        used = [self._compared(*each) for each in zip(self.features, self.known, strict=True)]
        return (*map(lambda one, unit: msgspec.structs.replace(one, spread=unit), used, units), *self.left_out)

    @staticmethod
    def _compared(feature: Feature, column: Sequence[Known], left_out: str = "") -> Compared:
        values = [known.value for known in column if known.value is not None]
        return Compared(
            name=feature.name,
            family=feature.family,
            unit=feature.unit,
            about=feature.about,
            median=_run_words.median(values) if values else None,
            unknown=len(column) - len(values),
            left_out=left_out,
        )


def _unusable(column: Sequence[Known]) -> str:
    lacking = [known.reason for known in column if known.value is None]
    if len(lacking) > _UNKNOWN * len(column):
        often = min(Counter(lacking).items(), key=lambda item: (-item[1], item[0]))[0]
        return f"unknown for {len(lacking)} of {len(column)} runs, such as: {often}"
    return "" if len({known.value for known in column} - {None}) > 1 else "the same in all runs"


def _filled(column: Sequence[Known]) -> list[float]:
    """What is unknown tells nothing: it counts as the median."""
    middle = _run_words.median([known.value for known in column if known.value is not None])
    return [middle if known.value is None else known.value for known in column]


class _Look:
    """One look at runs that are enough."""

    def __init__(
        self, found: Analysis, runs: Sequence[WorkflowMetrics], table: _Table, number: int | None, seed: int
    ) -> None:
        self._found = found
        self._runs = runs
        self._table = table
        where = _kinds.points(table.scaled, table.features)
        self._where = where
        self._kinds = (
            _kinds.kinds(where, found.method, number, seed)
            if table.features
            else _kinds.Found([0] * len(runs), [], "no two runs differ in what is compared")
        )
        self._members = _by_size(self._kinds.labels)
        self._usual = self._usual_kinds()
        self._nearest = [self._to_nearest(place) for place in range(len(runs))]

    def analysis(self) -> Analysis:
        points, axes = _kinds.components(self._where, self._table.features)
        return msgspec.structs.replace(
            self._found,
            why=self._kinds.why,
            choices=tuple(self._kinds.choices),
            kinds=tuple(self._kind(number) for number in range(1, len(self._members) + 1)),
            alone=tuple(run.wf_uuid for run, label in zip(self._runs, self._kinds.labels, strict=True) if label < 0),
            unlike=tuple(self._unlike()),
            distances=tuple(distance for distance, _ in self._nearest),
            features=self._table.compared(),
            points=points,
            axes=axes,
        )

    def _usual_kinds(self) -> dict[int, Scale]:
        """Middle and robust units of each kind that holds enough runs to be usual, or else of the largest."""
        sizes = {number: len(members) for number, members in enumerate(self._members, 1)}
        chosen = [number for number, size in sizes.items() if size >= max(_USUAL * len(self._runs), FEWEST)]
        if not chosen:
            return {0: self._table.scale}  # nothing is usual by itself, so that all runs are
        return {number: self._scale(self._members[number - 1]) for number in chosen}

    def _scale(self, members: Sequence[int]) -> Scale:
        return _kinds.scale(self._table.values[members], self._table.features)

    def _kind(self, number: int) -> Kind:
        members = self._members[number - 1]
        runs = [self._runs[place] for place in members]
        own = self._scale(members)
        first = next(iter(self._usual.values()))
        return Kind(
            number=number,
            runs=tuple(run.wf_uuid for run in runs),
            usual=number in self._usual,
            words=_run_words.kind(
                runs, self._table.features, own.centre.tolist(), first.centre.tolist(), first.of(own.centre).tolist()
            ),
            medians=dict(zip((each.name for each in self._table.features), self._natural(own), strict=True)),
        )

    def _natural(self, scale: Scale) -> list[float]:
        return _run_words.natural(self._table.features, scale.centre.tolist())

    def _unlike(self) -> list[Unlike]:
        cut = self._cut()
        comparable = [distance * CUT / cut for distance, _ in self._nearest]
        sure = _kinds.confidences(comparable, len(self._table.features), _DEGREES)
        told = [
            self._told(place, distance, number, sure[place])
            for place, (distance, number) in enumerate(self._nearest)
            if distance > cut
        ]
        return sorted(told, key=lambda each: (-each.distance, each.wf_uuid))

    def _cut(self) -> float:
        members = [place for number in self._usual if number for place in self._members[number - 1]]
        distances = [self._nearest[place][0] for place in members or range(len(self._runs))]
        lower, _, upper = statistics.quantiles(distances, n=4, method="inclusive")
        return max(CUT, upper + _FENCE * (upper - lower))

    def _to_nearest(self, place: int) -> tuple[float, int]:
        """Distance to the usual kind that is nearest, and its number."""
        values = self._table.values[place]
        return min((float(abs(scale.of(values)).max(initial=0.0)), number) for number, scale in self._usual.items())

    def _told(self, place: int, distance: float, number: int, confidence: float) -> Unlike:
        run, usual = self._runs[place], self._usual[number]
        basis = f"median of {len(self._members[number - 1]) if number else len(self._runs)} usual runs"
        evidence = self._evidence(place, usual, basis)
        label = self._kinds.labels[place]
        words = _run_words.unlike(evidence, distance)
        found = Unlike(
            wf_uuid=run.wf_uuid,
            kind=None if label < 0 else self._number(place),
            distance=distance,
            confidence=confidence,
            words=words,
            evidence=evidence,
        )
        return msgspec.structs.replace(found, anomaly=_anomaly(run, found))

    def _number(self, place: int) -> int:
        return next(number for number, members in enumerate(self._members, 1) if place in members)

    def _evidence(self, place: int, usual: Scale, basis: str) -> tuple[Evidence, ...]:
        table = self._table
        far = [abs(each) for each in usual.of(table.values[place]).tolist()]
        order = sorted(range(len(far)), key=lambda column: (-far[column], table.features[column].name))
        observed = _run_words.natural(table.features, table.values[place].tolist())
        expected = self._natural(usual)
        return tuple(
            Evidence(
                metric=table.features[column].name,
                observed=observed[column],
                expected=expected[column],
                unit=table.features[column].unit,
                basis=f"{basis}; {far[column]:.1f} robust units away",
            )
            for column in order[:_TOLD]
            if far[column] > CUT / 2
        )


def _by_size(labels: Sequence[int]) -> list[list[int]]:
    """Places of the runs of each kind, the largest kind first; of equal ones that whose first run comes first."""
    members: Mapping[int, list[int]] = defaultdict(list)
    for place, label in enumerate(labels):
        if label >= 0:
            members[label].append(place)
    return sorted(members.values(), key=lambda places: (-len(places), places[0]))


def _anomaly(run: WorkflowMetrics, found: Unlike) -> Anomaly | None:
    if run.start is None or run.end is None:
        return None
    return Anomaly(
        kind="unusual_workflow",
        wf_uuid=run.wf_uuid,
        since=run.start,
        found=run.end,
        confidence=found.confidence,
        message=f"run of {run.label or 'a workflow'} is unlike the others: {found.words}",
        evidence=found.evidence,
        detector=DETECTOR,
    )
