"""The records that `workflows.analyse` returns."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ._kinds import Choice, Method
from .records import Anomaly, Evidence


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that runs were compared by, or why they were not.

    Attributes
    ----------
    name, family, unit, about : str
        As of `Feature`: what it is; `times` is over the usual, and a share has no unit.
    median : float or None
        Over all runs that have it.
    spread : float or None
        One robust unit: 1.4826 median absolute deviations, in `unit`, of what is compared by its ratio as a share.
    unknown : int
        Runs that do not have it, which count as the median.
    left_out : str
        Why it was not used; empty where it was.
    """

    name: str
    family: str
    unit: str
    about: str
    median: float | None = None
    spread: float | None = None
    unknown: int = 0
    left_out: str = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that are alike.

    Attributes
    ----------
    number : int
        From 1, the largest first.
    runs : tuple of str
        Their `wf_uuid`.
    usual : bool
        Whether it is what is to be expected: it holds a quarter of all runs, and eight or more.
    words : str
        What they have in common.
    medians : dict of str to float
        Median of each feature that was used.
    """

    number: int
    runs: tuple[str, ...]
    usual: bool
    words: str
    medians: dict[str, float]


class Unlike(msgspec.Struct, frozen=True, kw_only=True):
    """A run unlike those of every usual kind.

    Attributes
    ----------
    wf_uuid : str
        The run.
    kind : int or None
        Number of its kind; None if it is in none.
    distance : float
        Of the feature that is farthest from the median of the nearest usual kind [robust units].
    confidence : float
        Share of runs as far as this that are there for a reason, in (0, 1): the others are expected by chance where
        features are distributed as Student's t with 5 degrees of freedom, wider where the usual runs are scattered.
    words : str
        What is unlike.
    evidence : tuple of Evidence
        The numbers, the strongest first.
    anomaly : Anomaly or None
        It as an anomaly; None if it is not known when the run was.
    """

    wf_uuid: str
    kind: int | None
    distance: float
    confidence: float
    words: str
    evidence: tuple[Evidence, ...]
    anomaly: Anomaly | None = None


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one label, looked at together.

    Attributes
    ----------
    label : str or None
        Name of the workflow.
    runs : tuple of str
        `wf_uuid` of those that were compared.
    left_out : dict of str to str
        Why others were not.
    method : str
        `kmeans` or `hdbscan`.
    why : str
        Why there are so many kinds, or none.
    choices : tuple of Choice
        The numbers of kinds that were tried.
    kinds : tuple of Kind
        None if there were too few runs.
    alone : tuple of str
        Runs that HDBSCAN puts in no kind.
    unlike : tuple of Unlike
        The farthest first.
    distances : tuple of float
        Of each run as of `Unlike`; none if too few.
    features : tuple of Compared
        What was compared.
    points : tuple of tuple of float
        Of each run its two main components, for a picture [robust units, families weighted]; none if too few.
    axes : tuple of str
        What the two are made of, and their share of the variance.
    """

    label: str | None
    runs: tuple[str, ...]
    left_out: dict[str, str]
    method: Method
    why: str
    choices: tuple[Choice, ...] = ()
    kinds: tuple[Kind, ...] = ()
    alone: tuple[str, ...] = ()
    unlike: tuple[Unlike, ...] = ()
    distances: tuple[float, ...] = ()
    features: tuple[Compared, ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    axes: tuple[str, ...] = ()

    def kind_of(self, wf_uuid: str) -> int | None:
        """Number of the kind of a run; None if it is in none."""
        return next((kind.number for kind in self.kinds if wf_uuid in kind.runs), None)


class Agreement(NamedTuple):
    """How kinds that were found agree with labels, each in [0, 1].

    `nmi` is mutual information over the mean of the two entropies; of one label, `completeness` says whether it is in
    one kind, and of one kind, `homogeneity` whether it has one label (Rosenberg and Hirschberg, aclanthology D07-1043).
    """

    nmi: float
    completeness: float
    homogeneity: float
