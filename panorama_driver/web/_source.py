"""What stands behind a line of the list of studies, whether a study directory or a store that belongs to none."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from ..config import Scalar
from ..errors import NotFoundError
from ..store import Store
from ..study.journal import Evaluation
from ._anomalies import MOST, Book
from ._cache import Cache
from ._facts import Facts
from ._numbers import METRICS, Numbers, Runs
from ._places import Place
from ._shelf import Moved, Shelf
from .documents import ActionRow, AnomalyRow, Column, EvaluationRow, StudyDocument, StudyState, StudySummary

COSTS = [Column(name=name, kind="metric", unit=unit) for name, unit in METRICS.items()]
"""Columns that tables of both kinds have."""
_UNKNOWN = (None,) * len(METRICS)
_log = logging.getLogger(__name__)


class News(msgspec.Struct):
    """What has moved in a source since it was last told.

    Attributes
    ----------
    keys : set of str
        Rows that have changed, are new or gone.
    runs : set of str
        Workflow runs that were read.
    summary : bool
        Whether the summary is another one.
    anomalies, actions : set of str
        Ids of those that are new or have changed.
    """

    keys: set[str] = set()
    runs: set[str] = set()
    summary: bool = False
    anomalies: set[str] = set()
    actions: set[str] = set()


class Source(ABC):
    """A study or a store. Whoever calls a method holds `lock`, and has called `advance` for what is new.

    Parameters
    ----------
    place : Place
        Where it is.
    cache : Path or None
        Folder that keeps what was read.

    Attributes
    ----------
    at_fault : bool
        It could not be advanced, and is to be made anew.
    """

    def __init__(self, place: Place, cache: Path | None = None) -> None:
        self.place = place
        self.identity = place.identity
        self.lock = threading.RLock()
        self.at_fault = False
        self.runs = Runs()
        self.book = Book(place)
        self.summary = self._blank("empty")
        self._shelf = Shelf(place.store, awaited=place.kind == "study", cache=cache)
        self._news = News()
        self._rows: dict[str, EvaluationRow] = {}
        self._told_columns: list[Column] = []
        self._problem: str | None = None

    def _blank(self, state: StudyState, **known: Any) -> StudySummary:
        place = self.place
        return StudySummary(
            study=place.identity, name=place.name, home=place.said, kind=place.kind, state=state, **known
        )

    def advance(self) -> None:
        """Look what is new; what is found may be made up by anybody, and a fault over it is this source's alone."""
        if self.at_fault:
            return
        try:
            self._advance()
            if self.book.advance():
                self._tell_summary(self.summary)
        except Exception as problem:  # noqa: BLE001 (it is told)
            _log.exception("%s", self.place.home)
            self.at_fault = True
            told = f"{self.place.said}: cannot be read: {type(problem).__name__}: {problem}"
            self._tell_summary(self._blank("unreadable", problem=told))

    @abstractmethod
    def _advance(self) -> None:
        """Look what is new."""

    @abstractmethod
    def document(self) -> StudyDocument:
        """All of it."""

    @abstractmethod
    def keys(self) -> Collection[str]:
        """Keys of its rows, in their order."""

    @abstractmethod
    def _row(self, key: str) -> EvaluationRow:
        """Make a row."""

    @abstractmethod
    def columns(self) -> list[Column]:
        """Columns of its table."""

    @abstractmethod
    def evaluation(self, wf_uuid: str) -> Evaluation | None:
        """The evaluation that a run was for."""

    @abstractmethod
    def key(self, wf_uuid: str) -> str | None:
        """The row that shows a run."""

    @property
    def front(self) -> list[str]:
        """Keys of the Pareto front."""
        return []

    @property
    def outdated(self) -> int:
        """Evaluations of an earlier definition."""
        return 0

    @property
    def facts(self) -> Facts | None:
        """What study.yml says, where there is one."""
        return None

    def store(self) -> Store:
        """Its store.

        Raises
        ------
        StoreError
            It is not there, or cannot be read.
        """
        return self._shelf.store()

    def check(self, wf_uuid: str) -> None:
        """See that a run is known.

        Raises
        ------
        StoreError
            The store cannot be read.
        NotFoundError
            It is not.
        """
        self.store()
        if wf_uuid not in self.runs.marks:
            raise NotFoundError(f"{self.place.said}: no workflow run {wf_uuid!r} is known here")

    def take(self, wf_uuid: str, found: Numbers, mark: int, seconds: float = 0.0) -> None:
        """A run was read as of that mark, which took so long [s]."""
        if self.runs.take(wf_uuid, found, mark, seconds):
            self._news.runs.add(wf_uuid)
            self._touch({key} if (key := self.key(wf_uuid)) is not None else ())

    def _touch(self, keys: Iterable[str]) -> None:
        """These rows have changed, are new or gone."""
        for key in keys:
            self._rows.pop(key, None)
            self._news.keys.add(key)

    def rows(self, keys: Collection[str] | None = None) -> list[EvaluationRow]:
        """Its rows, or those of these keys, in their order."""
        return [self._made(key) for key in self.keys() if keys is None or key in keys]

    def _made(self, key: str) -> EvaluationRow:
        """A row, made only once as long as it does not change: of ten thousand, few do."""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._row(key)
        return row

    @property
    def unread(self) -> int:
        """Rows whose run is still to be read."""
        return sum(not self._made(key).read for key in self.keys())

    def _look_into_store(self) -> Moved:
        """See what is new in the store; what is kept of it since another time need not be read."""
        moved = self._shelf.moved()
        if moved.opened:
            self.runs.forget()
            self.book.forget()
        self.book.take(moved.anomalies)
        self.runs.moved(moved.marks, moved.ended)
        for wf_uuid in moved.marks:
            self._rows.pop(self.key(wf_uuid) or "", None)
        if moved.opened and self._shelf.cache is not None:
            for wf_uuid, found in self._shelf.cache.all(Numbers, moved.marks).items():
                self.take(wf_uuid, found, moved.marks[wf_uuid])
        if self._shelf.problem != self._problem:
            self._problem = self._shelf.problem
            self._touch(list(self.keys()))
        return moved

    @property
    def cache(self) -> Cache | None:
        """What is kept of its runs."""
        return self._shelf.cache

    def _tell_summary(self, summary: StudySummary) -> None:
        summary = msgspec.structs.replace(summary, **self.book.counts)
        self._news.summary |= summary != self.summary
        self.summary = summary

    def begin(self) -> None:
        """Look for the first time: all of it is new, and so nothing of it has moved."""
        self.advance()
        self.news()
        self._news = News(summary=True)
        self._told_columns = self.columns()

    def news(self) -> News:
        """What has moved since the last call."""
        told, self._news = self._news, News()
        told.anomalies, told.actions = self.book.news()
        return told

    def told_other_columns(self, columns: list[Column]) -> bool:
        """Whether columns are others than those that were told last, and are told now."""
        known, self._told_columns = self._told_columns, columns
        return columns != known

    def named(self, name: str) -> tuple[str | None, str | None]:
        """Key and number of an evaluation by its key, or by its workflow run; None where there is none of these."""
        key = name if name in self.keys() else self.key(name)
        return (key, self._made(key).eval_id) if key is not None and key in self.keys() else (None, None)

    def anomalies(self, wf_uuid: str) -> list[AnomalyRow]:
        """What was found in a run, the last first."""
        return [self.book.row(each, self.named) for each in self.book.episodes(wf_uuid=wf_uuid)[:MOST]]

    def actions(self, wf_uuid: str | None = None) -> list[ActionRow]:
        """What was done, the last first: all, or what was done in a run."""
        key = None if wf_uuid is None else self.key(wf_uuid)
        rows = (self.book.action_row(action, self.named) for action in reversed(self.book.actions.values()))
        return [row for row in rows if wf_uuid is None or wf_uuid == row.action.wf_uuid or _is_of(row, key)]

    def close(self) -> None:
        """Let go of everything."""
        self._shelf.close()

    def _costs(self, wf_uuid: str | None) -> tuple[tuple[Scalar | None, ...], dict[str, str]]:
        """Metrics of a run, and why those are unknown that are; of one that is still to be read, it goes without."""
        found = self.runs.numbers.get(wf_uuid or "")
        if found is not None:
            return found.values, found.reasons
        return _UNKNOWN, dict.fromkeys(METRICS, self._why(wf_uuid)) if self._read(wf_uuid) else {}

    def _why(self, wf_uuid: str | None) -> str:
        if wf_uuid is None:
            return "no workflow was started"
        return self._shelf.problem or "the store has no events of it"

    def _read(self, wf_uuid: str | None) -> bool:
        known = wf_uuid is not None and wf_uuid in self.runs.marks and self._shelf.problem is None
        return not known or self.runs.read(wf_uuid or "")


def _is_of(row: ActionRow, key: str | None) -> bool:
    return key is not None and row.action.evaluation == key
