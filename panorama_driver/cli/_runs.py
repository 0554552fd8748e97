"""Which evaluation, or which workflow run, a word on the command line means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StudyError, UsageError

if TYPE_CHECKING:
    from ..store import Store
    from ..study.journal import Evaluation


def started(which: str, home: Path) -> Evaluation:
    """The evaluation of a study that `find` finds, which has a workflow.

    Raises
    ------
    StudyError
        There is none, or no workflow was started for it.
    """
    from ..study.client import FOLDER
    from ..study.journal import in_order, read

    evaluation = find(in_order(read(home / FOLDER)), which, home)
    if evaluation.wf_uuid is None:
        raise StudyError(f"evaluation {which}: no workflow was started: {evaluation.state} {evaluation.message}")
    return evaluation


def find(evaluations: list[Evaluation], which: str, home: Path) -> Evaluation:
    """The evaluation with that number, or with a key or a workflow uuid that begins so; the latest of several.

    Raises
    ------
    StudyError
        There is none.
    """
    for evaluation in reversed(evaluations):
        if which == evaluation.eval_id:
            return evaluation
    for evaluation in reversed(evaluations):
        if evaluation.key.startswith(which) or (evaluation.wf_uuid or "").startswith(which):
            return evaluation
    known = ", ".join(evaluation.eval_id for evaluation in evaluations[-12:]) or "none yet"
    raise StudyError(f"{home}: no evaluation {which!r}; there are {known}")


def workflow_in(store: Store, beginning: str) -> str:
    """The workflow run of a store whose uuid begins so.

    Raises
    ------
    UsageError
        There is none, or several.
    """
    known = [summary.wf_uuid for summary in store.workflows()]
    found = [wf_uuid for wf_uuid in known if wf_uuid.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    told = f"{len(found)} begin so" if found else "the store knows none that begins so"
    raise UsageError(f"workflow {beginning!r}: {told}; there are {', '.join(known[-12:]) or 'none yet'}")
