"""What a study has found so far, as report and dashboard tell it: its best evaluation, or those of its front."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable
from pathlib import Path

import msgspec

from .config import Scalar, load_study
from .errors import PanoramaError
from .render import find_workflow
from .study.journal import STOPPED, Evaluation, in_order
from .study.senses import maximized as maximized


class Front(msgspec.Struct, frozen=True):
    """The Pareto front of a study with several objectives.

    Attributes
    ----------
    maximized : dict of str to bool
        Whether an objective is made large, not small, by its name.
    evaluations : list of Evaluation
        Those that no other one dominates, being as good in every objective and better in one. The best in the first
        objective comes first.
    """

    maximized: dict[str, bool]
    evaluations: list[Evaluation]


def comparable(journal: dict[str, Evaluation]) -> list[Evaluation]:
    """Evaluations of the study's latest definition, in their order: those of an earlier one answered another question.

    Parameters
    ----------
    journal : dict of str to Evaluation
        As `study.journal.read` gives them.
    """
    latest = next((e.definition for e in reversed(journal.values()) if e.definition), "")
    return in_order({key: e for key, e in journal.items() if e.definition in (latest, "")})


def response_names(evaluations: Iterable[Evaluation]) -> list[str]:
    """Every response that came back, in Dakota's order: the first is the objective."""
    return list(dict.fromkeys(itertools.chain.from_iterable(evaluation.responses for evaluation in evaluations)))


def best(evaluations: Iterable[Evaluation], objective: str | None, largest: bool = False) -> Evaluation | None:
    """The evaluation with the smallest objective, or the largest; None where none has been answered."""
    if objective is None:
        return None
    choose = max if largest else min
    return choose(answered(evaluations, [objective]), key=lambda each: each.responses[objective], default=None)


def pareto_front(evaluations: Iterable[Evaluation], maximized: dict[str, bool]) -> Front:
    """What is not dominated.

    Parameters
    ----------
    evaluations : iterable of Evaluation
        In their order; those that lack an objective are left out.
    maximized : dict of str to bool
        The objectives, and whether each is made large.
    """
    kept: dict[tuple[float, ...], list[Evaluation]] = {}
    # In the order of their costs, none is dominated by a later one.
    for evaluation in sorted(answered(evaluations, maximized), key=lambda each: _costs(each, maximized)):
        costs = _costs(evaluation, maximized)
        if not any(other != costs and all(map(operator.le, other, costs)) for other in kept):
            kept.setdefault(costs, []).append(evaluation)
    return Front(maximized, list(itertools.chain.from_iterable(kept.values())))


def answered(evaluations: Iterable[Evaluation], objectives: Iterable[str]) -> list[Evaluation]:
    """Those that have a value of every objective; one that was stopped has lower bounds, which are no values."""
    return [
        evaluation
        for evaluation in evaluations
        if evaluation.state != STOPPED and all(name in evaluation.responses for name in objectives)
    ]


def _costs(evaluation: Evaluation, maximized: dict[str, bool]) -> tuple[float, ...]:
    return tuple((-1 if large else 1) * evaluation.responses[name] for name, large in maximized.items())


def truth(home: Path) -> dict[str, Scalar]:
    """Parameter values that made the reference data, where they are known."""
    try:
        study = load_study(home / "study.yml")
        spec = find_workflow(study.workflow, home).spec
    except PanoramaError:
        return {}  # the study's files may be gone; its results are still there
    return {name: parameter.truth for name, parameter in spec.parameters.items() if parameter.truth is not None}
