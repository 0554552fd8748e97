"""What `analysis.jobs` says: deviations, and scores of attempts and of hosts in runs."""

from __future__ import annotations

import msgspec

from ._job_hosts import HostEffect
from ._job_samples import Sample


class Deviation(msgspec.Struct, frozen=True, kw_only=True):
    """How far one metric is from what it should be.

    Attributes
    ----------
    metric, unit : str
        Which, and the unit of both values.
    observed, expected : float or None
        Its value, and what attempts like it have on a typical host; None of a host, which has many.
    times : float
        Observed over expected, resolution added to both; of a host the geometric mean of its attempts.
    z : float
        Its distance in standard deviations, larger where it is worse.
    surprise : float
        [nats] minus the logarithm of the share of those in the history that are as bad.
    number : int
        How many attempts say so.
    """

    metric: str
    unit: str
    observed: float | None = None
    expected: float | None = None
    times: float
    z: float
    surprise: float
    number: int = 1


class HostScore(msgspec.Struct, frozen=True, kw_only=True):
    """A host during one run.

    Attributes
    ----------
    run, host : str
        Which.
    score : float or None
        [nats] largest surprise of any metric; None where nothing on it could be compared.
    attempts : int
        How many ran there.
    since, until : float or None
        [s since 1970, UTC] when the first started and the last ended.
    deviations : tuple of Deviation
        What speaks for it, the strongest first.
    """

    run: str
    host: str
    score: float | None
    attempts: int
    since: float | None = None
    until: float | None = None
    deviations: tuple[Deviation, ...] = ()


class JobScore(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt beside its history.

    Attributes
    ----------
    sample : Sample
        The attempt.
    score : float or None
        [nats] the largest, over metrics, of what its host shows in this run and 0.3 of what it shows itself. None
        where it could not be compared.
    own : tuple of Deviation
        Its own deviations, the strongest first.
    on_host : tuple of Deviation
        Those of its host in this run.
    reason : str
        Why `score` is None.
    """

    sample: Sample
    score: float | None
    own: tuple[Deviation, ...] = ()
    on_host: tuple[Deviation, ...] = ()
    reason: str = ""


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in some runs.

    Attributes
    ----------
    jobs : tuple of JobScore
        As the attempts were given.
    hosts_in_runs : tuple of HostScore
        Each host in each run.
    hosts : tuple of HostEffect
        Each host over all runs, the slowest first.
    """

    jobs: tuple[JobScore, ...]
    hosts_in_runs: tuple[HostScore, ...]
    hosts: tuple[HostEffect, ...]
