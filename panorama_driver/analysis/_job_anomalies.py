"""Which scores are anomalies: far outside of what chance does, and large enough to matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ._job_hosts import HostEffect
from ._job_records import Analysis, Deviation, HostScore, JobScore
from ._tails import q_values
from .records import Anomaly, Evidence, Kind

DETECTOR = "jobs 1"

SURE, SURE_OF_HOST = 4.0, 3.0
"""Standard deviations from which something is told of an attempt, and of all attempts of a run on one host: normal
noise would put one in 30 000 and one in 740 there. What is told must matter, too: see `_OWN` and the factors below."""

RIGHT = 0.95
"""So many of what is told should be right: with many attempts, chance alone puts some beyond any fixed bound."""

_MOST = 0.99
_EVIDENCE = 4


class _Bound(NamedTuple):
    """What an attempt's deviation must reach, beyond `SURE`: times the expected value, and so much more than it."""

    times: float
    more: float


_OWN: dict[str, tuple[Kind, _Bound, str]] = {
    "peak_memory": ("leaking", _Bound(1.5, 50e6), "needed {times} the memory that is expected"),
    "bytes_written": ("runaway_output", _Bound(3.0, 10e6), "wrote {times} what is expected"),
    "queue_time": ("idle_in_queue", _Bound(3.0, 10.0), "waited {times} the time that is expected"),
}
_SLOW = _Bound(1.5, 1.0)
_STARVED = 1 / 1.5
_HOST_SLOWER, _HOST_STARVED = 1.1, 1 / 1.1
_DISK, _PROCESSOR = ("stage_time", "io_wait"), ("cpu_utilization", "cpu_time")
_Confidence = Mapping[float, float]


def anomalies(analysis: Analysis) -> list[Anomaly]:
    """What should be told of an analysis: hosts first, then attempts that their host does not explain.

    A host in a run is `slow_disk` where staging takes longer, else `throttled` where its attempts get less processor
    time for the same work, else `slow_host` where several of them take longer; one that is slow in all runs together
    is told once.
    """
    found = [_lasting(each, analysis) for each in analysis.hosts if each.slow]
    known = {each.host for each in found}
    by_host = _confidence(each.deviations for each in analysis.hosts_in_runs)
    in_runs = [told for each in analysis.hosts_in_runs for told in _of_host(each, by_host)]
    found += [each for each in in_runs if not (each.kind == "slow_host" and each.host in known)]
    explained = {(each.wf_uuid, each.host) for each in in_runs} | {("", each) for each in known}
    by_job = _confidence(each.own for each in analysis.jobs)
    return found + [told for each in analysis.jobs for told in _of_job(each, by_job, explained)]


def _confidence(deviations: Iterable[Iterable[Deviation]]) -> _Confidence:
    """By a deviation: the share of those at least so large that are right, over all metrics together."""
    values = [each.z for several in deviations for each in several]
    return {
        z: min(_MOST, 1 - q)
        for z, q in zip(values, q_values(values), strict=True)
        if z >= min(SURE, SURE_OF_HOST) and 1 - q >= RIGHT
    }


def _of_host(score: HostScore, confidence: _Confidence) -> Iterator[Anomaly]:
    sure = {
        each.metric: each
        for each in score.deviations
        if each.z >= SURE_OF_HOST and each.z in confidence and each.number > 1
    }
    cause = _cause(sure, _HOST_SLOWER, _HOST_STARVED)
    if cause is None or score.since is None:
        return
    kind: Kind = "slow_host" if cause[0] == "slow_job" else cause[0]
    deviation = cause[1]
    yield Anomaly(
        kind=kind,
        wf_uuid=score.run,
        host=score.host,
        since=score.since,
        found=score.since if score.until is None else score.until,
        confidence=confidence[deviation.z],
        message=f"{score.host}: {deviation.number} attempts of this run there have "
        f"{deviation.times:.2g} times the {_words(deviation.metric)} of the same work elsewhere",
        evidence=tuple(
            _evidence(each, f"{each.number} attempts of this run there") for each in _told(score.deviations)
        ),
        detector=DETECTOR,
    )


def _cause(sure: Mapping[str, Deviation], slower: float, starved: float) -> tuple[Kind, Deviation] | None:
    """What is wrong, by the metric that is nearest to its cause: a slow disk lets a processor idle, not vice versa."""
    if "stage_time" in sure and sure["stage_time"].times >= slower:
        return "slow_disk", sure["stage_time"]
    for metric in _PROCESSOR:
        if metric in sure and sure[metric].times <= starved and "io_wait" not in sure:
            return "throttled", sure[metric]
    if "wall_time" in sure and sure["wall_time"].times >= slower:
        return ("slow_disk" if "io_wait" in sure else "slow_job"), sure["wall_time"]
    return None


def _of_job(score: JobScore, confidence: _Confidence, explained: set[tuple[str, str | None]]) -> Iterator[Anomaly]:
    sure = {each.metric: each for each in score.own if each.z >= SURE and each.z in confidence}
    by_itself = not {(score.sample.run, score.sample.host), ("", score.sample.host)} & explained
    slow = sure.get("wall_time")
    if by_itself and slow is not None and _beyond(slow, _SLOW):
        cause = _cause(sure, _SLOW.times, _STARVED) or ("slow_job", slow)
        yield from _told_of(score, cause[0], slow, "took {times} the time that is expected", confidence)
    for metric, (kind, bound, words) in _OWN.items():
        if metric in sure and _beyond(sure[metric], bound):
            yield from _told_of(score, kind, sure[metric], words, confidence)


def _short(times: float) -> str:
    return f"{times:.2g}" if times < 100 else f"{times:.0f}"


def _beyond(deviation: Deviation, bound: _Bound) -> bool:
    more = (deviation.observed or 0.0) - (deviation.expected or 0.0)
    return deviation.times >= bound.times and more >= bound.more


def _told_of(
    score: JobScore, kind: Kind, deviation: Deviation, words: str, confidence: _Confidence
) -> Iterator[Anomaly]:
    sample = score.sample
    if sample.start is None:
        return
    end = sample.start + sample.values.get("wall_time", 0.0) if sample.end is None else sample.end
    basis = f"{deviation.number} attempts of {sample.transformation}"
    where = "" if sample.host is None else f" on {sample.host}"
    yield Anomaly(
        kind=kind,
        wf_uuid=sample.run,
        job_id=sample.job_id,
        attempt=sample.attempt,
        host=sample.host,
        transformation=sample.transformation,
        since=sample.start,
        found=end,
        confidence=confidence[deviation.z],
        message=f"{sample.job_id}{where} {words.format(times=f'{_short(deviation.times)} times')}, from {basis}",
        evidence=tuple(_evidence(each, basis) for each in _first(deviation, score.own)),
        detector=DETECTOR,
    )


def _first(deviation: Deviation, all_of_them: Iterable[Deviation]) -> list[Deviation]:
    return [deviation, *(each for each in _told(all_of_them) if each.metric != deviation.metric)][:_EVIDENCE]


def _told(deviations: Iterable[Deviation]) -> list[Deviation]:
    return [each for each in deviations if each.z >= 1][:_EVIDENCE]


def _evidence(deviation: Deviation, basis: str) -> Evidence:
    if deviation.observed is None:
        return Evidence(metric=deviation.metric, observed=deviation.times, expected=1.0, unit="times", basis=basis)
    return Evidence(
        metric=deviation.metric,
        observed=deviation.observed,
        expected=deviation.expected,
        unit=deviation.unit,
        basis=basis,
    )


def _lasting(effect: HostEffect, analysis: Analysis) -> Anomaly:
    """A host that is slow over all runs; it is told in the last of them."""
    there = [each for each in analysis.hosts_in_runs if each.host == effect.host]
    last = max(there, key=lambda each: each.until or 0.0)
    return Anomaly(
        kind="slow_host",
        wf_uuid=last.run,
        host=effect.host,
        since=min((each.since for each in there if each.since is not None), default=0.0),
        found=last.until or 0.0,
        confidence=0.95,
        message=f"{effect.host}: jobs take {effect.times:.2g} times as long there as the same work elsewhere "
        f"(95 % interval {effect.low:.2g} to {effect.high:.2g}, {effect.kinds} kinds of work)",
        evidence=(
            Evidence(
                metric="wall_time",
                observed=effect.times,
                expected=1.0,
                unit="times",
                basis=f"{effect.attempts} attempts of {effect.kinds} kinds of work in {effect.runs} runs",
            ),
        ),
        detector=DETECTOR,
    )


def _words(metric: str) -> str:
    return metric.replace("_", " ")
