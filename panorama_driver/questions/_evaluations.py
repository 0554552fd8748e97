"""A study's journals as rows: its evaluations with parameters and responses, and what was done about anomalies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import adapt
from ..errors import StoreError
from ..findings import comparable
from ..study import journal
from ..study.journal import Evaluation
from . import _columns as columns
from ._rows import Row, Value, value


def study_stamp(folder: Path) -> str:
    """What is another text as soon as one of the journals in a study's folder is another."""
    return repr([_stamp(folder / name) for name in (journal.NAME, adapt.NAME)])


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def study_rows(folder: Path) -> dict[str, list[Row]]:
    """Rows of the tables of a study, by name.

    Raises
    ------
    StoreError
        A journal is there, and cannot be read.
    """
    try:
        evaluations = journal.read(folder)
        actions = adapt.read(folder)
    except OSError as problem:
        raise StoreError(f"{problem.filename or folder}: cannot be read: {problem.strerror or problem}") from None
    current = {evaluation.key for evaluation in comparable(evaluations)}
    ordered = journal.in_order(evaluations)
    return {
        "_evaluations": list(_evaluation_rows(ordered, current)),
        "_parameters": [(*row, each) for row, each in _named(ordered, "variables")],
        "_responses": [(*row, each) for row, each in _named(ordered, "responses")],
        "_actions": [tuple(value(_of_action(each, c.name)) for c in columns.ACTION) for each in actions],
    }


def _evaluation_rows(evaluations: Iterable[Evaluation], current: set[str]) -> Iterator[Row]:
    for number, each in enumerate(evaluations):
        more: dict[str, object] = {
            "evaluation": each.eval_id,
            "failed": each.failed if each.over else None,
            "current": each.key in current,
        }
        names = (column.name for column in (*columns.EVALUATION, *columns.RUN))
        yield (number, *(value(more[name] if name in more else getattr(each, name)) for name in names))


def _named(evaluations: Iterable[Evaluation], what: str) -> Iterator[tuple[Row, Value]]:
    for each in evaluations:
        for number, (name, told) in enumerate(getattr(each, what).items()):
            yield (number, value(each.key), value(name)), value(told)


def _of_action(action: adapt.Action, name: str) -> object:
    renamed = {"action": "action_id", "key": "evaluation"}
    return getattr(action, renamed.get(name, name))
