"""Features of a run: what it is compared by with other runs of its name. Pure and of the standard library."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..metrics import AttemptMetrics, JobMetrics, WorkflowMetrics

PUBLISHED = ("j_s", "j_f", "t_s", "t_f", "o_1_s")
"""The features of doi:10.1109/HPEC43674.2020.9286139, as `metrics.WorkflowMetrics` defines them."""

_RATIO = 0.05  # runs that differ by less than this share of a time or an amount do not differ
_SHARE = 0.02  # nor do those that differ by less than this part of a whole
_TOP = 0.9
_FEW = 2  # jobs on a host from which it can be judged


class Feature(NamedTuple):
    """What a run is compared by.

    Attributes
    ----------
    name : str
        Its name; of one transformation, with that in brackets.
    family : str
        `outcome`, `time`, `waiting`, `processor`, `data` or `hosts`: those of one tell of the same.
    unit : str
        Of its values: `s`, `bytes`, `times` the usual, or empty for a share.
    floor : float
        Differences below this do not matter, however small the usual spread is: in its unit, of a `log` one as a
        share of its value.
    log : bool
        Whether values are compared by their ratio.
    about : str
        What it is.
    """

    name: str
    family: str
    unit: str = ""
    floor: float = _SHARE
    log: bool = False
    about: str = ""


class Known(NamedTuple):
    """A feature's value, or why there is none."""

    value: float | None
    reason: str = ""


def _plain(name: str, family: str, about: str, unit: str = "", log: bool = False) -> Feature:
    return Feature(name, family, unit, _RATIO if log else _SHARE, log, about)


def _ratio(name: str, family: str, about: str) -> Feature:
    return _plain(name, family, about, "times", log=True)


_OF_METRICS = (
    _plain("j_s", "outcome", "succeeded attempts over those that ended"),
    _plain("j_f", "outcome", "failed attempts over those that ended"),
    _plain("o_1_s", "outcome", "succeeded jobs over all jobs"),
    Feature("t_s", "time", "s", _RATIO, True, "mean time of succeeded attempts"),
    Feature("t_f", "outcome", "s", _RATIO, False, "mean time of failed attempts, 0 if none failed"),
    _plain("makespan", "time", "what the user waited", "s", log=True),
    _plain("efficiency", "waiting", "longest chain of jobs without queues and failures, over the makespan"),
    _plain("bytes_read", "data", "read from storage by compute jobs", "bytes", log=True),
    _plain("bytes_written", "data", "written to storage by compute jobs", "bytes", log=True),
)
_RETRIED = _plain("retried", "outcome", "jobs with more than one attempt over all jobs")
_QUEUE = _plain("queue_share", "waiting", "time in queues over time in queues and on workers, all attempts together")
_CPU = _plain("cpu_utilization", "processor", "processor time of compute jobs over their wall time and cores")
_IO = _plain("io_share", "data", "time of input and output over wall time, all attempts together")
_TRANSFER = _plain("transfer_share", "data", "wall time of staging jobs over that of all, all attempts together")
_SLOWEST = _ratio("slowest_jobs", "time", "90th percentile of the jobs' time over their usual time")
_UNEVEN = _ratio("unevenness", "hosts", "90th percentile of the jobs' time over their usual time, by its median")
_STARVED = _ratio("starved_jobs", "processor", "10th percentile of the jobs' processor use over their usual use")
_MOVING = _ratio("moving", "data", "median of the time that jobs move files, over their usual time")
_SLOWEST_MOVING = _ratio("slowest_moving", "data", "90th percentile of the same")
_HOSTS = _ratio("host_ratio", "hosts", "how long jobs take on the slowest host over the quickest one")
_MOST = 40  # transformations that have features of their own


class History:
    """What is usual: for each job of a workflow its median time over runs, in which it succeeded.

    Parameters
    ----------
    runs : iterable of WorkflowMetrics
        Runs of one label, in any order.
    """

    def __init__(self, runs: Iterable[WorkflowMetrics]) -> None:
        walls: dict[str, list[float]] = defaultdict(list)
        moves: dict[str, list[float]] = defaultdict(list)
        uses: dict[str, list[float]] = defaultdict(list)
        number: Counter[str] = Counter()
        for run in runs:
            for job in _computed(run):
                number[job.transformation or ""] += 1
                _keep(walls[job.job_id], job.wall_time)
                _keep(moves[job.job_id], job.transfer_time)
                _keep(uses[job.job_id], job.cpu_utilization)
        del number[""]
        often = sorted(number, key=lambda name: (-number[name], name))
        self.transformations = sorted(often[:_MOST])
        self._wall, self._moving, self._use = map(_medians, (walls, moves, uses))

    def slowness(self, job: JobMetrics) -> float | None:
        """Wall time over the usual one, of a job that succeeded."""
        return _over(job.wall_time, self._wall.get(job.job_id))

    def moving(self, job: JobMetrics) -> float | None:
        """Time of moving files over the usual one."""
        return _over(job.transfer_time, self._moving.get(job.job_id))

    def use(self, job: JobMetrics) -> float | None:
        """Use of its cores over the usual one."""
        return _over(job.cpu_utilization, self._use.get(job.job_id))


def features(run: WorkflowMetrics, history: History) -> dict[Feature, Known]:
    """All features of a run.

    Parameters
    ----------
    run : WorkflowMetrics
        One that has ended.
    history : History
        What is usual for runs of its label.
    """
    found = {feature: _metric(run, feature) for feature in _OF_METRICS}
    found[_RETRIED] = _share(run.jobs_retried, run.jobs_total, "no job is known")
    found[_QUEUE] = _part(run, "queue_time", "cumulative_time", of_both=True)
    found[_CPU] = _cpu(run)
    found[_IO] = _part(run, "io_time", "cumulative_time")
    found[_TRANSFER] = _transfer(run)
    found |= dict(_of_transformations(run, history)) | dict(_of_jobs(run, history))
    return {feature: _finite(known) for feature, known in found.items()}


def _finite(known: Known) -> Known:
    """Clocks and counters that were set wrongly can make anything."""
    return known if known.value is None or math.isfinite(known.value) else Known(None, "is no finite number")


def _metric(run: WorkflowMetrics, feature: Feature) -> Known:
    value = getattr(run, feature.name)
    if value is None:
        return Known(None, run.reasons.get(feature.name, "unknown"))
    return _positive(float(value), feature)


def _positive(value: float, feature: Feature) -> Known:
    """What is compared by ratio must be above 0."""
    return Known(None, "is 0") if feature.log and value <= 0 else Known(value)


def _share(part: float, whole: float, reason: str) -> Known:
    return Known(part / whole) if whole > 0 else Known(None, reason)


def _part(run: WorkflowMetrics, part: str, whole: str, of_both: bool = False) -> Known:
    values = [getattr(run, name) for name in (part, whole)]
    for name, value in zip((part, whole), values, strict=True):
        if value is None:
            return Known(None, run.reasons.get(name, "unknown"))
    return _share(values[0], sum(values) if of_both else values[1], "took no time")


def _transfer(run: WorkflowMetrics) -> Known:
    parts = [_part(run, name, "cumulative_time") for name in ("stage_in_time", "stage_out_time")]
    lacking = [part for part in parts if part.value is None]
    return lacking[0] if lacking else Known(math.fsum(part.value or 0.0 for part in parts))


def _cpu(run: WorkflowMetrics) -> Known:
    """Of compute jobs alone: what staging uses says nothing of processors."""
    ran = [attempt for job in _computing(run) for attempt in job.attempts if attempt.ran]
    if not ran:
        return Known(None, "no compute job ran")
    used = [_used(attempt) for attempt in ran]
    known = [each for each in used if each is not None]
    if len(known) < len(used):
        return Known(None, f"not known of {len(used) - len(known)} of {len(used)} attempts")
    cpu, room = (math.fsum(column) for column in zip(*known, strict=True))
    return _share(cpu, room, "took no time")


def _used(attempt: AttemptMetrics) -> tuple[float, float] | None:
    if attempt.cpu_time is None or attempt.wall_time is None or attempt.cores is None:
        return None
    return attempt.cpu_time, attempt.wall_time * attempt.cores


def _of_transformations(run: WorkflowMetrics, history: History) -> Iterator[tuple[Feature, Known]]:
    """For each transformation of the label: how long it takes over its usual time, and how much of it fails."""
    jobs: dict[str | None, list[JobMetrics]] = defaultdict(list)
    for job in _computing(run):
        jobs[job.transformation].append(job)
    for name in history.transformations:
        about = f"median time of {name} jobs over their usual time"
        ratios = _known(history.slowness, _succeeded(jobs[name]))
        timing = _ratio(f"time({name})", "time", about)
        yield timing, _quantile(ratios, 0.5, "no job of it succeeded here")
        ended = [a.state for job in jobs[name] for a in job.attempts if a.state in ("succeeded", "failed")]
        failing = _plain(f"failed({name})", "outcome", f"failed attempts of {name} over those that ended")
        yield failing, _share(ended.count("failed"), len(ended), "no attempt of it ended here")


def _of_jobs(run: WorkflowMetrics, history: History) -> Iterator[tuple[Feature, Known]]:
    jobs = _computed(run)
    slowness, without = _known(history.slowness, jobs), "no job succeeded that has a history"
    slowest, middle = _quantile(slowness, _TOP, without), _quantile(slowness, 0.5, without)
    yield _SLOWEST, slowest
    yield _UNEVEN, Known(_over(slowest.value, middle.value), without)
    yield _STARVED, _quantile(_known(history.use, jobs), 1 - _TOP, "no job's processor use is known")
    moving = _known(history.moving, jobs)
    yield _MOVING, _quantile(moving, 0.5, "no job is known to move files")
    yield _SLOWEST_MOVING, _quantile(moving, _TOP, "no job is known to move files")
    yield _HOSTS, _host_ratio(jobs, history)


def _host_ratio(jobs: Sequence[JobMetrics], history: History) -> Known:
    ratios: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        slowness = history.slowness(job)
        if job.host is not None and slowness is not None:
            ratios[job.host].append(slowness)
    medians = [statistics.median(each) for each in ratios.values() if len(each) >= _FEW]
    if len(medians) < _FEW:
        return Known(None, f"fewer than {_FEW} hosts ran {_FEW} jobs or more")
    return Known(max(medians) / min(medians))


def _computing(run: WorkflowMetrics) -> list[JobMetrics]:
    return [job for job in run.jobs if job.type in ("compute", None)]


def _computed(run: WorkflowMetrics) -> list[JobMetrics]:
    return _succeeded(_computing(run))


def _succeeded(jobs: Iterable[JobMetrics]) -> list[JobMetrics]:
    return [job for job in jobs if job.state == "succeeded"]


def _known(of: Callable[[JobMetrics], float | None], jobs: Iterable[JobMetrics]) -> list[float]:
    return [value for job in jobs if (value := of(job)) is not None]


def _keep(values: list[float], value: float | None) -> None:
    if value is not None and value > 0:
        values.append(value)


def _medians(values: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(known) for name, known in values.items() if known}


def _over(value: float | None, usual: float | None) -> float | None:
    return value / usual if value is not None and value > 0 and usual else None


def _quantile(values: Sequence[float], share: float, reason: str) -> Known:
    """With linear interpolation between the two nearest (definition 7 of Hyndman and Fan, doi:10.2307/2684934)."""
    if not values:
        return Known(None, reason)
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return Known(ordered[low] + (place - low) * (ordered[high] - ordered[low]))
