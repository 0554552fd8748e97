"""What kinds of runs are, in words for a person."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from ..metrics import WorkflowMetrics
from ._run_features import Feature
from .records import Evidence

_TELLING = 1.5  # robust units from which a difference between kinds is told
_TOLD = 3

median = statistics.median


def too_few(number: int, fewest: int) -> str:
    """Why nothing is said."""
    return f"too few: {number} {'run has' if number == 1 else 'runs have'} ended, and kinds are sought from {fewest} on"


def natural(features: Sequence[Feature], values: Sequence[float]) -> list[float]:
    """Values as a person has them, of those that are compared by their logarithm."""
    return [math.exp(value) if feature.log else value for feature, value in zip(features, values, strict=True)]


def number(value: float, unit: str) -> str:
    """A number with its unit."""
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g} {unit}".strip()


def kind(
    runs: Sequence[WorkflowMetrics],
    features: Sequence[Feature],
    centre: Sequence[float],
    usual: Sequence[float],
    away: Sequence[float],
) -> str:
    """What runs of a kind have in common, and how that differs from the usual.

    Parameters
    ----------
    runs : sequence of WorkflowMetrics
        Those of the kind.
    features : sequence of Feature
        What was compared.
    centre, usual : sequence of float
        Medians of the kind, and of the usual one, as they are compared.
    away : sequence of float
        How far the first are from the second [robust units].
    """
    said = [*_outcome(runs), *_differences(features, centre, usual, away)]
    if len(said) == 1:
        said += [f"makespan {number(value, 's')} (median)" for value in _makespan(runs)]
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {', '.join(said)}"


def _outcome(runs: Sequence[WorkflowMetrics]) -> Iterator[str]:
    failed = statistics.mean(run.jobs_failed for run in runs)
    retried = statistics.mean(run.jobs_retried for run in runs)
    if failed:
        yield f"{_jobs(failed)} on average"
    if retried:
        yield f"{retried:.2g} {'job' if retried == 1 else 'jobs'} retried on average"
    if not failed and not retried:
        yield "no job fails"


def _jobs(mean: float) -> str:
    return f"{mean:.2g} {'job fails' if mean == 1 else 'jobs fail'}"


def _makespan(runs: Sequence[WorkflowMetrics]) -> list[float]:
    known = [run.makespan for run in runs if run.makespan is not None]
    return [median(known)] if known else []


def _differences(
    features: Sequence[Feature], centre: Sequence[float], usual: Sequence[float], away: Sequence[float]
) -> Iterator[str]:
    """The feature of each family that differs most, the farthest first."""
    here, there = natural(features, centre), natural(features, usual)
    order = sorted(range(len(features)), key=lambda column: (-abs(away[column]), features[column].name))
    told: set[str] = set()
    for column in order:
        feature = features[column]
        if abs(away[column]) < _TELLING or feature.family in told or len(told) == _TOLD:
            continue
        told.add(feature.family)
        yield f"{feature.name} {number(here[column], feature.unit)} (usually {number(there[column], feature.unit)})"


def unlike(evidence: Sequence[Evidence], distance: float) -> str:
    """What is unlike of a run."""
    said = [
        f"{each.metric} {number(each.observed, each.unit)} (usually {number(each.expected or 0.0, each.unit)})"
        for each in evidence
    ]
    return f"{', '.join(said)}; {distance:.0f} robust units away"
