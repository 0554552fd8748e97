"""Each attempt beside the history of its own transformation, and each host beside the others.

A run is looked at as a whole: the attempts of one run on one host share what is wrong with that host, so that many
small deviations which say nothing alone, say it together. What is typical of a transformation, of its inputs and of
each host is told apart first, so that a host which got the large inputs is not called slow. Standard library only.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Literal, NamedTuple

from ._job_anomalies import anomalies
from ._job_fitting import learn
from ._job_hosts import HostEffect, host_effects
from ._job_model import WARM, Model
from ._job_records import Analysis, Deviation, HostScore, JobScore
from ._job_samples import FEATURES, Feature, Sample, in_order, samples

__all__ = [
    "FEATURES",
    "WARM",
    "Analysis",
    "Deviation",
    "Feature",
    "History",
    "HostEffect",
    "HostScore",
    "JobScore",
    "Sample",
    "analyse",
    "anomalies",
    "in_order",
    "samples",
]

_OWN = 0.3  # weight of what an attempt alone shows beside what all on its host do


class _Compared(NamedTuple):
    sample: Sample
    deviations: tuple[Deviation, ...]


class History:
    """What attempts have been like so far.

    Parameters
    ----------
    attempts : iterable of Sample
        Those that have succeeded are learnt from; some of them may have been disturbed.
    features : sequence of Feature
        What is compared.
    """

    def __init__(self, attempts: Iterable[Sample], features: Sequence[Feature] = FEATURES) -> None:
        known = list(attempts)
        self._models = learn(known, features)
        self._ended = Counter(each.transformation for each in known if each.state == "succeeded")

    def score(self, attempts: Sequence[Sample], context: Literal["run", "so_far"] = "run") -> Analysis:
        """Compare attempts with what is known.

        Parameters
        ----------
        attempts : sequence of Sample
            Of any number of runs.
        context : str
            `run`: each attempt is seen with all of its run on its host; `so_far`: with those that had ended by then.
        """
        compared = [_Compared(each, self._deviations(each)) for each in attempts]
        on_hosts: dict[tuple[str, str], list[_Compared]] = defaultdict(list)
        for each in compared:
            if each.sample.host is not None:
                on_hosts[each.sample.run, each.sample.host].append(each)
        told = [self._host(run, host, each) for (run, host), each in on_hosts.items()]
        if context == "run":
            by_host = {(each.run, each.host): each.deviations for each in told}
            jobs = [self._job(each, by_host.get((each.sample.run, each.sample.host or ""), ())) for each in compared]
        else:
            so_far = self._so_far(on_hosts.values())
            jobs = [self._job(each, so_far.get(id(each), ())) for each in compared]
        hosts = host_effects(self._wall_time, attempts) if context == "run" else ()
        return Analysis(jobs=tuple(jobs), hosts_in_runs=tuple(told), hosts=tuple(hosts))

    @property
    def _wall_time(self) -> Model | None:
        return next((model for model in self._models if model.feature.name == "wall_time"), None)

    def _deviations(self, sample: Sample) -> tuple[Deviation, ...]:
        found = (self._deviation(model, sample) for model in self._models)
        return _strongest(each for each in found if each is not None)

    def _deviation(self, model: Model, sample: Sample) -> Deviation | None:
        z, log, expected = model.z(sample), model.deviation(sample), model.expected(sample)
        if z is None or log is None or expected is None:
            return None
        feature = model.feature
        return Deviation(
            metric=feature.name,
            unit=feature.unit,
            observed=sample.values[feature.name],
            expected=feature.value(expected),
            times=math.exp(log),
            z=z,
            surprise=model.own.surprise(z),
            number=model.number[sample.transformation],
        )

    def _host(self, run: str, host: str, members: Sequence[_Compared]) -> HostScore:
        deviations = self._together(members)
        starts = [each.sample.start for each in members if each.sample.start is not None]
        ends = [each.sample.end for each in members if each.sample.end is not None]
        return HostScore(
            run=run,
            host=host,
            score=max((each.surprise for each in deviations), default=None),
            attempts=len(members),
            since=min(starts, default=None),
            until=max(ends, default=None),
            deviations=deviations,
        )

    def _together(self, members: Sequence[_Compared]) -> tuple[Deviation, ...]:
        by_metric: dict[str, list[Deviation]] = defaultdict(list)
        for member in members:
            for each in member.deviations:
                by_metric[each.metric].append(each)
        models = (model for model in self._models if model.feature.of_host and model.feature.name in by_metric)
        return _strongest(_joint(model, by_metric[model.feature.name]) for model in models)

    def _so_far(self, hosts: Iterable[list[_Compared]]) -> dict[int, tuple[Deviation, ...]]:
        found = {}
        for members in hosts:
            ordered = sorted(members, key=lambda each: (each.sample.end is None, each.sample.end or 0.0))
            for number, each in enumerate(ordered, 1):
                found[id(each)] = self._together(ordered[:number])
        return found

    def _job(self, compared: _Compared, on_host: tuple[Deviation, ...]) -> JobScore:
        of_host = {model.feature.name for model in self._models if model.feature.of_host}
        own = {each.metric: each.surprise for each in compared.deviations if each.metric in of_host}
        shared = {each.metric: each.surprise for each in on_host}
        parts = [shared.get(name, surprise) + _OWN * surprise for name, surprise in own.items()]
        return JobScore(
            sample=compared.sample,
            score=max(parts, default=None),
            own=compared.deviations,
            on_host=on_host,
            reason="" if parts else self._unknown(compared.sample),
        )

    def _unknown(self, sample: Sample) -> str:
        known = self._ended[sample.transformation]
        if known < WARM:
            return f"{known} of {WARM} attempts of {sample.transformation} that must have succeeded before"
        return f"{sample.job_id}: none of its metrics is known, or has been often enough before"


def analyse(attempts: Sequence[Sample], features: Sequence[Feature] = FEATURES) -> Analysis:
    """Compare each attempt with all of its transformation, and each host with the others.

    Half of the attempts may be disturbed before what is typical moves with them.
    """
    return History(attempts, features).score(attempts)


def _joint(model: Model, members: Sequence[Deviation]) -> Deviation:
    together = model.together([each.z for each in members])
    return Deviation(
        metric=model.feature.name,
        unit=model.feature.unit,
        times=math.exp(mean(math.log(each.times) for each in members)),
        z=together,
        surprise=model.context.surprise(together),
        number=len(members),
    )


def _strongest(deviations: Iterable[Deviation]) -> tuple[Deviation, ...]:
    return tuple(sorted(deviations, key=lambda each: (-each.surprise, each.metric)))
