"""Lower bounds of responses while their workflow runs, and which studies an evaluation may be stopped in by them.

A response can be bounded where it is made of metrics that only grow while a workflow runs: their sum, and what a
positive number multiplies or divides.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from ..errors import StudyError
from ..events import Event
from ..metrics import WorkflowMetrics, correlate, thinned
from ..objective import Expression, Form, Responses
from ..store import Store
from .senses import maximized, without_comments

_SPAN = ("makespan", "active_time")
_SUMS = {
    "cumulative_time": "wall_time",
    "cpu_time": "cpu_time",
    "user_time": "user_time",
    "system_time": "system_time",
}
MONOTONE = (*_SPAN, *_SUMS, "core_time")
"""Metrics of a workflow that only grow while it runs [s]."""

_RUN = frozenset({"stampede.xwf.start", "stampede.xwf.end"})
_EVERY_VALUE_COUNTS = (
    "response_functions",
    "calibration_terms",
    "least_squares_terms",
    "nonlinear_inequality_constraints",
    "nonlinear_equality_constraints",
    "numerical_gradients",
    "mixed_gradients",
    "mixed_hessians",
    "numerical_hessians",
    "quasi_hessians",
)
"""Keywords of study.in for studies that use each value as it is, and not only to find the smallest."""
_SHORTEST = 5  # letters of a keyword that is shortened


def check_stoppable(responses: Responses, study_file: Path) -> None:
    """Refuse a study whose evaluations must not be stopped.

    Raises
    ------
    StudyError
        A response has no lower bound while its workflow runs, or the study needs more than the smallest value.
    """
    where = f"{study_file}: adapt.stop_hopeless"
    for name, form in responses.forms.items():
        if metrics_of(form) is None:
            raise StudyError(
                f"{where}: response {name!r} may still become smaller while its workflow runs; only sums of "
                f"{', '.join(f'workflow.{metric}' for metric in MONOTONE)} with positive factors only grow"
            )
    if responses.gradients or responses.hessians:
        raise StudyError(f"{where}: an evaluation that was stopped has no derivatives; leave one of the two out")
    study_in = study_file.parent / "study.in"
    for word in _keywords(without_comments(study_in)):
        if any(keyword.startswith(word.removeprefix("num_")) for keyword in _EVERY_VALUE_COUNTS):
            raise StudyError(
                f"{where}: {study_in} has {word}, which needs true values, and a stopped evaluation has a lower bound"
            )
    if any(maximized(study_file.parent)):
        raise StudyError(f"{where}: {study_in} looks for the largest value, and what has grown large is no reason")


def _keywords(text: str) -> list[str]:
    """Words outside of quotes; Dakota takes them in any case, with `num_` before some, and shortened while unique."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", " ", text.lower())
    return [word for word in re.findall(r"[a-z_]+", bare) if len(word.removeprefix("num_")) >= _SHORTEST]


def metrics_of(form: Form) -> frozenset[str] | None:
    """Metrics of the workflow that a response is a growing function of; None where it is none, or not for certain."""
    return _metrics(_tree(form)) if isinstance(form, Expression) else None


def _tree(form: Expression) -> ast.expr:
    return ast.parse(form.text.strip(), mode="eval").body


def _metrics(node: ast.expr) -> frozenset[str] | None:
    match node:
        case ast.Attribute(value=ast.Name(id="workflow"), attr=name) if name in MONOTONE:
            return frozenset({name})
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [_metrics(side) for side in (left, right) if not _is_number(side)]
            return _union(parts)
        case ast.BinOp(left=one, op=ast.Mult() | ast.Div(), right=ast.Constant() as factor) if _is_positive(factor):
            return _metrics(one)
        case ast.BinOp(left=ast.Constant() as factor, op=ast.Mult(), right=other) if _is_positive(factor):
            return _metrics(other)
    return None


def _union(parts: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    found = list(parts)
    known = [part for part in found if part is not None]
    return frozenset().union(*known) if known and len(known) == len(found) else None


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_positive(node: ast.Constant) -> bool:
    return isinstance(node.value, int | float) and not isinstance(node.value, bool) and node.value > 0


def _value(node: ast.expr, known: Mapping[str, float]) -> float:
    match node:
        case ast.Attribute(attr=name):
            return known[name]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, known) + _value(right, known)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _value(left, known) / _value(right, known)
        case ast.BinOp(left=left, right=right):
            return _value(left, known) * _value(right, known)
        case ast.Constant(value=int() | float() as number):
            return float(number)
    raise ValueError(f"{ast.unparse(node)} has no bound")


class Bounds:
    """Lower bounds of the responses of workflows that run.

    Parameters
    ----------
    forms : mapping of str to Form
        The responses; each grows (`metrics_of`).
    store : Store
        What the workflows have told so far.
    """

    def __init__(self, forms: Mapping[str, Form], store: Store) -> None:
        self._trees = {name: _tree(form) for name, form in forms.items() if isinstance(form, Expression)}
        self._metrics = frozenset[str]().union(*(metrics_of(form) or () for form in forms.values()))
        self._store = store

    def of(self, wf_uuid: str, now: float) -> dict[str, float]:
        """What each response is at least, by name.

        Parameters
        ----------
        wf_uuid : str
            A workflow that runs.
        now : float
            On the clock that its start was told by [s since 1970].
        """
        known = self._known(wf_uuid, now)
        return {name: _value(tree, known) for name, tree in self._trees.items()}

    def _known(self, wf_uuid: str, now: float) -> dict[str, float]:
        known = spans(self._store.events(wf_uuid, _RUN), now)
        if self._metrics <= known.keys():
            return known
        events = thinned(partial(self._store.events, wf_uuid))
        return known | (sums(correlate(events)) if events else dict.fromkeys((*_SUMS, "core_time"), 0.0))


def spans(events: Iterable[Event], now: float) -> dict[str, float]:
    """Makespan and active time of a workflow so far [s], out of its starts and ends; it ends at `now` or later.

    A run before the last that tells no end adds nothing: how long it was active is not known.
    """
    begun: float | None = None
    first: float | None = None
    active = 0.0
    for event in events:
        if event.ts is None:
            continue
        if event.kind == "stampede.xwf.start":
            first, begun = event.ts if first is None else first, event.ts
        elif begun is not None:
            active, begun = active + event.ts - begun, None
    if begun is not None:
        active += max(0.0, now - begun)
    return {"makespan": 0.0 if first is None else max(0.0, now - first), "active_time": active}


def sums(measured: WorkflowMetrics) -> dict[str, float]:
    """What a workflow's attempts have cost so far [s]: what is known of those that ran, and nothing of others."""
    ran = [attempt for job in measured.jobs for attempt in job.attempts if attempt.ran]
    found = {name: math.fsum(getattr(each, of) or 0.0 for each in ran) for name, of in _SUMS.items()}
    return found | {"core_time": math.fsum((each.wall_time or 0.0) * (each.cores or 0) for each in ran)}
