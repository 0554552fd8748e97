"""What goes back to Dakota: responses out of metrics and output files, computed from what is stored."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..config import spell
from ..errors import ResponseError, StoreError
from ..metrics import WorkflowMetrics, correlate, thinned
from ..objective import Responses
from ..store import Store
from .definition import GRADIENT, HESSIAN, VALUE, Definition, Request
from .journal import STOPPED, Evaluation, Journal

Report = Callable[[str], None]
Reply = dict[str, Any]

ANSWERABLE = ("succeeded", "unanswered")
_log = logging.getLogger(__name__)
_LEFT = "the study server was told to end; the workflow goes on, and is found again when it is asked for"


def asked_of(definition: Definition, request: Request) -> list[str]:
    """Responses whose values are asked for, in Dakota's order; all of the study where it names none."""
    asked = [label for label, active in request.asv.items() if active & VALUE]
    return asked if request.asv else list(definition.responses.forms)


class Answers:
    """Makes the answers of a study.

    Parameters
    ----------
    home : Path
        The study's folder.
    journal : Journal
        Where what was answered is written down.
    store : Store
        What happened.
    """

    def __init__(self, home: Path, journal: Journal, store: Store) -> None:
        self._home = home
        self._journal = journal
        self._store = store

    def answer(self, definition: Definition, evaluation: Evaluation, request: Request, report: Report) -> Reply:
        """What goes back to Dakota.

        Raises
        ------
        PanoramaError
            It cannot be told from what is stored.
        """
        on_failure = definition.study.on_failure.then
        if not evaluation.over:
            return {"state": "cancelled", "message": _LEFT, "on_failure": on_failure}
        if evaluation.state == STOPPED:
            return self._bounds(definition, evaluation, request, report)
        if evaluation.state not in ANSWERABLE:
            return {"state": evaluation.state, "message": evaluation.message, "on_failure": on_failure}
        measured = self._measured(evaluation)
        asked = asked_of(definition, request)
        output = self._home / evaluation.directory / "output"
        try:
            found = definition.responses.only(asked).evaluate(measured, output)
            responses = {label: found[label] for label in asked}  # in Dakota's order: the first is the objective
        except ResponseError as problem:
            self._journal.record(evaluation.key, durably=False, state="unanswered", message=str(problem))
            raise
        formulas = definition.formulas
        kept = evaluation.responses if evaluation.formulas == formulas else {}
        known = {label: value for label, value in kept.items() if label in definition.responses.forms}
        together = responses | {label: value for label, value in known.items() if label not in responses}
        changes = {"state": "succeeded", "message": "", "responses": together, "formulas": formulas}
        if any(getattr(evaluation, name) != value for name, value in changes.items() if name != "message"):
            self._journal.record(evaluation.key, durably=False, **changes)
        report(f"{spell(responses)}, makespan {_seconds(measured.makespan)}")
        return {
            "state": "ok",
            "responses": responses,
            "gradients": self._derivatives(request, GRADIENT, definition.responses.gradient, output),
            "hessians": self._derivatives(request, HESSIAN, definition.responses.hessian, output),
            "metadata": _metadata(definition.responses, request.metadata, measured, output),
            "message": "",
            "on_failure": on_failure,
            "wf_uuid": evaluation.wf_uuid,
        }

    @staticmethod
    def _bounds(definition: Definition, evaluation: Evaluation, request: Request, report: Report) -> Reply:
        """Of one that was stopped: what its responses had reached, as lower bounds."""
        report(f"stopped: {evaluation.message}")
        known = evaluation.responses
        return {
            "state": "ok",
            "responses": {label: known[label] for label in asked_of(definition, request)},
            "gradients": {},
            "hessians": {},
            "metadata": {name: known[name] for name in request.metadata if name in known},
            "message": evaluation.message,
            "on_failure": definition.study.on_failure.then,
            "wf_uuid": evaluation.wf_uuid,
        }

    @staticmethod
    def _derivatives(request: Request, bit: int, find: Callable[..., Any], output: Path) -> dict[str, Any]:
        return {label: find(label, request.dvv, output) for label, active in request.asv.items() if active & bit}

    def _measured(self, evaluation: Evaluation) -> WorkflowMetrics:
        assert evaluation.wf_uuid is not None
        events = thinned(partial(self._store.events, evaluation.wf_uuid))
        if not events:
            raise StoreError(
                f"nothing is left of evaluation {evaluation.eval_id}: neither the store nor "
                f"{self._home / evaluation.directory / 'run'} has its events; restore that folder"
            )
        return correlate(events)


def _metadata(known: Responses, names: list[str], measured: WorkflowMetrics, output: Path) -> dict[str, float]:
    """Responses and metrics of the workflow by name; one that is unknown is left out, since Dakota can do without."""
    found: dict[str, float] = {}
    for name in names:
        try:
            found |= known.only([name]).evaluate(measured, output)
        except ResponseError as problem:
            _log.warning("metadata %s: %s", name, problem)
        metric = getattr(measured, name, None)
        if isinstance(metric, int | float) and math.isfinite(metric):
            found.setdefault(name, float(metric))
    return found


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"
