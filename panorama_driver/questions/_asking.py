"""Asks studies and stores: SQL, or a question by its name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from ..errors import UsageError
from ._drivers import BY_TRANSFORMATION, drivers, query, target
from ._hosts import QUERY, slow_hosts
from ._kept import Place, Progress, opened
from ._ready import BY_SQL
from ._rows import Row
from ._shared import QUERIES, shared
from ._sql import ROWS, TIMEOUT, Guarded, Table
from ._views import make

_ALL = 5_000_000  # rows that a ready-made question looks at


class Answer(NamedTuple):
    """What came of a question.

    Attributes
    ----------
    columns : list of str
        Their names, with units in brackets where they are not in the documentation.
    rows : list of tuple
        Texts, numbers and None, which is unknown.
    notes : list of str
        What else there is to say, a line each.
    sql : list of str
        What was asked.
    more : bool
        There were more rows than were wanted.
    """

    columns: list[str]
    rows: list[Row]
    notes: list[str]
    sql: list[str]
    more: bool = False


class Ready(NamedTuple):
    """A ready-made question, and what it answers."""

    name: str
    meaning: str


READY = (
    Ready("failed", "what evaluations that failed share, and whether that is an accident"),
    Ready("slow-host", "how long attempts take on each host, over those of the same transformation elsewhere"),
    Ready("drives-makespan", "which parameters and metrics go with the makespan, or with a response by --of"),
    *(Ready(name, meaning) for name, (meaning, _) in BY_SQL.items()),
)
"""What may be asked by name."""


def named(text: str) -> str | None:
    """The ready-made question of that name; None where it is SQL.

    Raises
    ------
    UsageError
        It is neither.
    """
    names = [each.name for each in READY]
    if text in names:
        return text
    if len(text.split()) > 1:
        return None
    near = difflib.get_close_matches(text, names, 3)
    hint = f"do you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"{text!r} is no question and no SELECT; {hint}")


class Questions:
    """Studies and stores as they are now, ready to be asked; a context manager.

    Parameters
    ----------
    places : iterable of Place
        What is asked, each under a name of its own.
    cache : Path or None
        Folder that keeps what was read; None keeps nothing.
    progress : callable
        Is told now and then how many runs of a store have been read, and how many are to be.
    rows : int
        Rows of an answer, at most.
    timeout : float
        Longest time of one SELECT [s].

    Raises
    ------
    StoreError
        A store cannot be read.
    """

    def __init__(
        self,
        places: Iterable[Place],
        cache: Path | None,
        progress: Progress = lambda done, of: None,
        *,
        rows: int = ROWS,
        timeout: float = TIMEOUT,
    ) -> None:
        self._rows, self._timeout = rows, timeout
        with ExitStack() as stack:
            connection, sources = stack.enter_context(opened(cache, places, progress))
            self.columns = make(connection, sources)
            self._guarded = Guarded(connection, self.columns)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def sql(self, text: str) -> Answer:
        """Answer a SELECT.

        Raises
        ------
        UsageError
            It is none, or takes too long or too much.
        """
        found = self._guarded.answer(text, rows=self._rows, timeout=self._timeout)
        return Answer(found.columns, found.rows, [], [text], found.more)

    def ready(self, name: str, of: str | None = None) -> Answer:
        """Answer a ready-made question; `of` is what `drives-makespan` is to explain in place of the makespan.

        Raises
        ------
        UsageError
            There is nothing of the name `of`, or it takes too long.
        """
        if name in BY_SQL:
            return self.sql(BY_SQL[name][1])
        (table, notes), sql = self._computed(name, of)
        return Answer(table.columns, table.rows[: self._rows], notes, sql, len(table.rows) > self._rows)

    def _computed(self, name: str, of: str | None) -> tuple[tuple[Table, list[str]], list[str]]:
        """What takes more than SQL, with the SQL that it takes."""
        if name == "failed":
            return shared(self._all), list(QUERIES)
        if name == "slow-host":
            return slow_hosts(self._all), [QUERY]
        known = self.columns["evaluations"]
        return drivers(self._all, known, of), [query(target(of, known), known), BY_TRANSFORMATION]

    def _all(self, sql: str) -> Table:
        return self._guarded.answer(sql, rows=_ALL, timeout=self._timeout)
