"""How the history of transformations is made of attempts: a robust additive model a feature."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from ._additive import MAD, Term, fit, median
from ._job_model import LEAST_BETWEEN, WARM, Model, clipped_mean, log_input
from ._job_samples import FEATURES, Feature, Sample
from ._tails import Tail

_Level = TypeVar("_Level", bound=Hashable)
_REPEATS = 3  # of the same work, before it is told from the noise of its transformation
_WORK_PRIOR, _HOST_PRIOR = 1.0, 2.0
_SPREAD = 0.05  # of the logarithm of an input, before anything can depend on it


class _Input(NamedTuple):
    name: str
    centres: dict[int, float]
    column: list[float | None]


def learn(history: Iterable[Sample], features: Sequence[Feature] = FEATURES) -> list[Model]:
    """Fit every feature's model to the attempts that have succeeded.

    `ln(value + resolution) = transformation + exponents * inputs + work + host + noise`, with the noise of each
    transformation its own, and the effects of work and hosts drawn to 0 where they rest on few attempts.
    """
    ended = [sample for sample in history if sample.state == "succeeded"]
    return [_learned(feature, [each for each in ended if feature.name in each.values]) for feature in features]


def _learned(feature: Feature, rows: list[Sample]) -> Model:
    model = Model(feature=feature)
    model.number = dict(Counter(row.transformation for row in rows))
    rows = [row for row in rows if model.number[row.transformation] >= WARM]
    if rows:
        _fit(model, rows)
        _keep_tails(model, rows)
    return model


def _fit(model: Model, rows: list[Sample]) -> None:
    kinds, groups = _levels(row.transformation for row in rows)
    inputs = _inputs(rows, groups)
    works, work_index = _levels(_works(rows))
    hosts, host_index = _levels(row.host if model.feature.of_host else None for row in rows)
    slopes = [_slope(groups, each.column) for each in inputs]
    terms = [Term(groups), *slopes, Term(work_index, None, _WORK_PRIOR), Term(host_index, None, _HOST_PRIOR)]
    _, scales = fit([model.feature.log(row.values[model.feature.name]) for row in rows], groups, terms)
    model.scale = {kind: scales[level] for kind, level in kinds.items()}
    model.centre = {kind: terms[0].effect[level] for kind, level in kinds.items()}
    model.work = {work: terms[-2].effect[level] for work, level in works.items()}
    model.slope = {
        (kind, each.name): (slope.effect[level], each.centres[level])
        for each, slope in zip(inputs, slopes, strict=True)
        for kind, level in kinds.items()
        if level in each.centres
    }
    _keep_hosts(model, rows, {host: terms[-1].effect[level] for host, level in hosts.items()})


def _levels(values: Iterable[_Level | None]) -> tuple[dict[_Level, int], list[int]]:
    """Numbers of the different values, and the number of each, -1 for None."""
    found: dict[_Level, int] = {}
    index = [-1 if value is None else found.setdefault(value, len(found)) for value in values]
    return found, index


def _slope(groups: list[int], column: list[float | None]) -> Term:
    index = [-1 if log is None else group for group, log in zip(groups, column, strict=True)]
    return Term(index, [log or 0.0 for log in column], _SPREAD**2)


def _works(rows: list[Sample]) -> list[tuple[str, str] | None]:
    """Work that was done often enough to be told from noise."""
    works = [None if row.work is None else (row.transformation, row.work) for row in rows]
    counts = Counter(works)
    return [None if counts[work] < _REPEATS else work for work in works]


def _inputs(rows: list[Sample], groups: list[int]) -> list[_Input]:
    """Logarithms of each input around the middle of its transformation, None where it does not vary."""
    names = sorted({name for row in rows for name in row.inputs})
    return [each for each in (_input(name, rows, groups) for name in names) if each.centres]


def _input(name: str, rows: list[Sample], groups: list[int]) -> _Input:
    logs = [log_input(row.inputs[name]) if name in row.inputs else None for row in rows]
    by_group: dict[int, list[float]] = defaultdict(list)
    for log, group in zip(logs, groups, strict=True):
        if log is not None:
            by_group[group].append(log)
    centres = {group: median(each) for group, each in by_group.items() if _varies(each)}
    around = [
        log - centres[group] if log is not None and group in centres else None
        for log, group in zip(logs, groups, strict=True)
    ]
    return _Input(name, centres, around)


def _varies(logs: list[float]) -> bool:
    """Whether enough attempts differ in it that an exponent means something, and not by a few of them alone."""
    ordered = sorted(logs)
    tenth = len(ordered) // 10
    return len(ordered) >= WARM and ordered[-1 - tenth] - ordered[tenth] > _SPREAD


def _keep_hosts(model: Model, rows: list[Sample], effects: dict[str, float]) -> None:
    """The host of the median attempt is what is typical; of two equally busy ones, the one that is less."""
    order = sorted(effects[row.host] for row in rows if row.host in effects)
    typical = order[(len(order) - 1) // 2] if order else 0.0
    model.host = {host: effect - typical for host, effect in effects.items()}
    model.centre = {kind: centre + typical for kind, centre in model.centre.items()}


def _keep_tails(model: Model, rows: list[Sample]) -> None:
    on_host: dict[tuple[str, str], list[float]] = defaultdict(list)
    own = []
    for row in rows:
        z = model.z(row)
        if z is not None:
            own.append(z)
            if row.host is not None and model.feature.of_host:
                on_host[row.run, row.host].append(z)
    model.own = Tail(own)
    means = [clipped_mean(each) for each in on_host.values()]
    model.middle = median(means)
    spread = MAD * median([abs(mean - model.middle) for mean in means])
    model.between = max(LEAST_BETWEEN, spread**2 - median([1 / len(each) for each in on_host.values()]))
    model.context = Tail(model.together(each) for each in on_host.values())
