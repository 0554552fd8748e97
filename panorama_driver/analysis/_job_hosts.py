"""How much slower a host is than the others, whatever it was given."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import msgspec

from ._additive import HUBER
from ._job_model import Model
from ._job_samples import Sample
from ._tails import student

SLOWER = 1.1
"""A host is slow from 10 % on, and only where the whole interval is above that of the typical host."""

_FEWEST_KINDS = 2


class HostEffect(msgspec.Struct, frozen=True, kw_only=True):
    """Wall time on a host over that of the same work on the typical one.

    Attributes
    ----------
    host : str
        Which.
    times : float
        1.2 is 20 % slower.
    low, high : float or None
        95 % interval of the effect over kinds of work; None of a single kind, which tells of no other.
    attempts, kinds, runs : int
        How many attempts that is known from, of how many kinds (transformations, or works of them), in how many runs.
    slow : bool
        Whether several kinds of work take at least 10 % longer there, by more than chance with so many hosts.
    reason : str
        Why `low` and `high` are None.
    """

    host: str
    times: float
    low: float | None = None
    high: float | None = None
    attempts: int
    kinds: int
    runs: int
    slow: bool = False
    reason: str = ""


class _Seen(NamedTuple):
    kind: tuple[str, str]
    run: str
    deviation: float
    scale: float


def host_effects(model: Model | None, attempts: Iterable[Sample]) -> list[HostEffect]:
    """Effects of all hosts, the slowest first.

    Each kind of work on a host has a robust mean deviation; the effect is their mean, and its interval Student's over
    kinds, or over runs where these differ more, so that neither one kind of job that runs badly there nor one bad run
    makes a host slow.
    """
    seen: dict[str, list[_Seen]] = defaultdict(list)
    for each in attempts:
        found = None if model is None else _seen(model, each)
        if each.host is not None and found is not None:
            seen[each.host].append(found)
    effects = [_effect(host, each, len(seen)) for host, each in seen.items()]
    return sorted(effects, key=lambda each: (-each.times, each.host))


def _seen(model: Model, sample: Sample) -> _Seen | None:
    deviation = model.deviation(sample) if sample.state == "succeeded" else None
    if deviation is None:
        return None
    kind = (sample.transformation, sample.work or "")
    return _Seen(kind, sample.run, deviation, model.scale[sample.transformation])


def _effect(host: str, seen: Sequence[_Seen], hosts: int) -> HostEffect:
    by_kind: dict[tuple[str, str], list[_Seen]] = defaultdict(list)
    by_run: dict[str, list[_Seen]] = defaultdict(list)
    for each in seen:
        by_kind[each.kind].append(each)
        by_run[each.run].append(each)
    means, effect, reach = _over(by_kind.values())
    reach = max(reach, _over(by_run.values())[2]) if len(by_run) > 1 else reach
    if len(means) < _FEWEST_KINDS:
        reason = f"only one kind of work ran there: {' '.join(seen[0].kind).strip()}"
        return HostEffect(
            host=host, times=math.exp(effect), reason=reason, attempts=len(seen), kinds=1, runs=len(by_run)
        )
    slower = sum(each > math.log(SLOWER) for each in means)
    return HostEffect(
        host=host,
        times=math.exp(effect),
        low=math.exp(effect - reach),
        high=math.exp(effect + reach),
        slow=effect >= math.log(SLOWER) and effect > _among(hosts) * reach and 2 * slower > len(means) and slower > 1,
        attempts=len(seen),
        kinds=len(means),
        runs=len(by_run),
    )


def _over(groups: Iterable[Sequence[_Seen]]) -> tuple[list[float], float, float]:
    """Mean deviations of groups, the effect over them, and half of its 95 % interval."""
    members = list(groups)
    means = [_location(each) for each in members]
    effect, error = _combined(means, [_noise(each) for each in members])
    return means, effect, student(len(means) - 1) * error


def _noise(seen: Sequence[_Seen]) -> float:
    """Variance of a mean."""
    return sum(each.scale**2 for each in seen) / len(seen) ** 2


def _among(hosts: int) -> float:
    """How much wider an interval is that holds for so many hosts at once (Bonferroni)."""
    normal = NormalDist()
    return normal.inv_cdf(1 - 0.025 / hosts) / normal.inv_cdf(0.975)


def _location(seen: Sequence[_Seen]) -> float:
    """Huber's estimate of a mean, from the median on."""
    ordered = sorted(each.deviation for each in seen)
    centre = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    bound = HUBER * max(each.scale for each in seen)
    for _ in range(20):
        weights = [min(1.0, bound / max(abs(each - centre), 1e-12)) for each in ordered]
        centre = sum(weight * each for weight, each in zip(weights, ordered, strict=True)) / sum(weights)
    return centre


def _combined(means: Sequence[float], noise: Sequence[float]) -> tuple[float, float]:
    """Mean over kinds that differ by more than noise, and its standard error.

    DerSimonian and Laird, doi:10.1016/0197-2456(86)90046-2, with the error of Hartung and Knapp,
    doi:10.1002/sim.1009, where that is larger.
    """
    weights = [1 / each for each in noise]
    fixed = _weighted(means, weights)
    excess = sum(w * (each - fixed) ** 2 for w, each in zip(weights, means, strict=True)) - (len(means) - 1)
    spread = sum(weights) - sum(w * w for w in weights) / sum(weights)
    between = max(0.0, excess / spread) if spread > 0 else 0.0
    weights = [1 / (each + between) for each in noise]
    centre, total = _weighted(means, weights), sum(weights)
    if len(means) < _FEWEST_KINDS:
        return centre, math.inf
    scatter = sum(w * (each - centre) ** 2 for w, each in zip(weights, means, strict=True)) / (len(means) - 1)
    return centre, math.sqrt(max(1.0, scatter) / total)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(w * each for w, each in zip(weights, values, strict=True)) / sum(weights)
