"""The tables that what is known is kept in, in the user's cache folder or in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..store._caches import anew
from . import _columns as columns
from ._columns import Column

FORMAT = 2
"""Counts up with whatever is kept."""

_NUMBER = Column("n", "INTEGER", "", "place among those of its run or study")
OF_RUN = {
    "_jobs": (("job_id",), (*columns.JOB, *columns.OF_JOB, *columns.MEASURES)),
    "_attempts": (("job_id", "attempt"), (*columns.JOB, *columns.ATTEMPT, *columns.MORE_OF_ATTEMPT, *columns.MEASURES)),
    "_transfers": (("n",), (_NUMBER, *columns.TRANSFER, *columns.MORE_OF_TRANSFER)),
    "_anomalies": (("n",), (_NUMBER, *columns.ANOMALY)),
}
"""Tables of a run by name: what tells their rows apart within it, and their columns."""
OF_STUDY = {
    "_evaluations": (("n",), (_NUMBER, *columns.EVALUATION, *columns.RUN)),
    "_parameters": (("key", "name"), (_NUMBER, Column("key", "TEXT", "", ""), *columns.NAMED_VALUE)),
    "_responses": (("key", "name"), (_NUMBER, Column("key", "TEXT", "", ""), *columns.NAMED_NUMBER)),
    "_actions": (("action",), columns.ACTION),
}
"""Tables of a study, likewise."""
WORKFLOW = (*columns.RUN, *columns.ROOT, *columns.WORKFLOW)
_SOURCES = """CREATE TABLE IF NOT EXISTS _sources (
    source_id INTEGER PRIMARY KEY AUTOINCREMENT,
    path    TEXT NOT NULL UNIQUE,       -- what it is, and where
    used    REAL NOT NULL,              -- when it was asked last [s since 1970]
    first   TEXT NOT NULL DEFAULT '',   -- identity of the store's first event, and when that came in
    cursor  TEXT NOT NULL DEFAULT '0',  -- number up to which the store has been read, which may need more than 63 bits
    witness TEXT NOT NULL DEFAULT '',   -- identity of the event there
    stamp   TEXT NOT NULL DEFAULT ''    -- of the study's files as they were read
)"""
_WORKFLOWS = """CREATE TABLE IF NOT EXISTS _workflows (
    run     INTEGER PRIMARY KEY,
    source_id INTEGER NOT NULL,
    mark    INTEGER NOT NULL,           -- cursor of the newest event that is in it
    {},
    UNIQUE (source_id, wf_uuid)
)"""


def begin(connection: sqlite3.Connection) -> None:
    """Make the tables, and forget what another version kept."""
    if anew(connection, f"questions {FORMAT} {columns.TABLES!r}"):
        for name in ("_sources", "_workflows", *OF_RUN, *OF_STUDY):
            connection.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in _made():
        connection.execute(statement)


def _made() -> Iterator[str]:
    yield _SOURCES
    yield _WORKFLOWS.format(_listed(WORKFLOW))
    for name, (key, wanted) in OF_RUN.items():
        yield f"""CREATE TABLE IF NOT EXISTS {name} (source_id INTEGER NOT NULL, run INTEGER NOT NULL,
            {_listed(wanted)}, PRIMARY KEY (source_id, run, {", ".join(key)})) WITHOUT ROWID"""
    for name, (key, wanted) in OF_STUDY.items():
        unique = ", UNIQUE (source_id, key), UNIQUE (source_id, wf_uuid)" if name == "_evaluations" else ""
        yield f"""CREATE TABLE IF NOT EXISTS {name} (source_id INTEGER NOT NULL, {_listed(wanted)},
            PRIMARY KEY (source_id, {", ".join(key)}){unique}) WITHOUT ROWID"""


def _listed(wanted: Iterable[Column]) -> str:
    """Columns as SQL declares them; one without a type keeps numbers and texts as they are."""
    return ", ".join(f"{c.name} {'' if c.type == 'ANY' else c.type}" for c in wanted)


def insertion(table: str, names: Iterable[str]) -> str:
    """SQL that puts a row into a table, in place of the one with its key."""
    names = list(names)
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of it, or nothing."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
