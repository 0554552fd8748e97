"""The tables of the documentation, as views of what is kept of the studies that are asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from . import _columns as columns
from ._columns import TABLES, Column

MOST = 400
"""Parameters, and responses, that have a column of their own; the rest are in tables with a row each."""

_OF_WHOM = {"study": "s.study", "evaluation": "e.evaluation", "key": "e.key", "wf_uuid": "w.wf_uuid"}
_FROM = {
    "attempts": """chosen s CROSS JOIN _attempts t ON t.source_id = s.source_id
        LEFT JOIN _workflows w ON w.run = t.run
        LEFT JOIN _jobs j ON j.source_id = t.source_id AND j.run = t.run AND j.job_id = t.job_id""",
    "evaluations": """chosen s CROSS JOIN _evaluations e ON e.source_id = s.source_id
        LEFT JOIN _workflows w ON w.source_id = e.source_id AND w.wf_uuid = e.wf_uuid""",
    "workflows": "chosen s CROSS JOIN _workflows w ON w.source_id = s.source_id",
    "actions": "chosen s CROSS JOIN _actions t ON t.source_id = s.source_id",
} | {
    name: f"chosen s CROSS JOIN _{name} t ON t.source_id = s.source_id LEFT JOIN _workflows w ON w.run = t.run"
    for name in ("jobs", "transfers", "anomalies")
}
_EVALUATION = " LEFT JOIN _evaluations e ON e.source_id = w.source_id AND e.wf_uuid = w.root"
_NAMED = """chosen s CROSS JOIN _{0} t ON t.source_id = s.source_id
    LEFT JOIN _evaluations e ON e.source_id = t.source_id AND e.key = t.key"""


def make(connection: sqlite3.Connection, sources: Mapping[int, str]) -> dict[str, list[str]]:
    """Make the views of these sources, by number with the name that `study` is to be.

    Returns
    -------
    dict of str to list of str
        Names of the columns of each view.
    """
    connection.execute("PRAGMA temp_store = MEMORY")  # or an endless sort would fill the disk
    connection.execute("CREATE TEMP TABLE chosen (source_id INTEGER PRIMARY KEY, study TEXT NOT NULL)")
    connection.executemany("INSERT INTO chosen VALUES (?, ?)", sources.items())
    wide = [*_wide(connection, "x_", "parameters"), *_wide(connection, "r_", "responses")]
    for table in TABLES:
        connection.execute(f"CREATE TEMP VIEW {table.name} AS {_select(table, wide)}")
    return {table.name: _names(table, wide) for table in TABLES}


def _names(table: columns.Table, wide: Sequence[tuple[str, str]]) -> list[str]:
    names = [column.name for column in table.columns]
    return names + [name for name, _ in wide] * (table.name in ("attempts", "evaluations"))


def _select(table: columns.Table, wide: Sequence[tuple[str, str]]) -> str:
    told = [f"{_expression(table.name, column)} AS {column.name}" for column in table.columns]
    if table.name in ("attempts", "evaluations"):
        told += [f"{expression} AS {quoted(name)}" for name, expression in wide]
    if table.name in ("parameters", "responses"):
        return f"SELECT {', '.join(told)} FROM {_NAMED.format(table.name)}"
    known = table.name in ("evaluations", "actions")
    return f"SELECT {', '.join(told)} FROM {_FROM[table.name]}{'' if known else _EVALUATION}"


def _expression(table: str, column: Column) -> str:
    """Where a column's values are."""
    name = column.name
    own = {"actions": "t", "workflows": "w", "evaluations": "e"}.get(table, "t")
    if name == "study":
        return "s.study"
    if table == "evaluations":
        return f"w.{name.removeprefix('workflow_')}" if name.startswith("workflow_") else f"e.{name}"
    if table in ("actions",) or (table == "workflows" and name not in _OF_WHOM):
        return f"{own}.{name}"
    if name in _OF_WHOM:
        return _OF_WHOM[name]
    if table == "attempts":
        return _of_attempt(name)
    return f"t.{name}"


def _of_attempt(name: str) -> str:
    if name == "current":
        return "e.current"
    for prefix, whose in (("evaluation_", "e"), ("workflow_", "w")):
        if name.startswith(prefix):
            return f"{whose}.{name.removeprefix(prefix)}"
    if name in {"job_state", *(f"job_{column.name}" for column in columns.OF_JOB)}:
        return f"j.{name.removeprefix('job_')}"
    return f"t.{name}"


def _wide(connection: sqlite3.Connection, prefix: str, table: str) -> Iterator[tuple[str, str]]:
    """A column for each parameter or response; looked up row by row, so that one which nobody asks for costs nothing.

    SQL does not tell capitals from others in names of columns, so `X` beside `x` gets a number.
    """
    query = f"SELECT name FROM _{table} JOIN chosen USING (source_id) GROUP BY name ORDER BY min(n), name"
    names = [name for (name,) in connection.execute(query) if "\0" not in name]
    for name, column in zip(names[:MOST], _distinct(f"{prefix}{name}" for name in names[:MOST]), strict=True):
        condition = f"v.source_id = e.source_id AND v.key = e.key AND v.name = {literal(name)}"
        yield column, f"(SELECT v.value FROM _{table} v WHERE {condition})"


def _distinct(names: Iterable[str]) -> Iterator[str]:
    names = list(names)
    taken: set[str] = set()
    first = {name.lower(): name for name in reversed(names)}
    for name in names:
        chosen, number = name, 1
        while chosen.lower() in taken or (chosen != name and chosen.lower() in first):
            number += 1
            chosen = f"{name}_{number}"
        taken.add(chosen.lower())
        yield chosen


def quoted(name: str) -> str:
    """A name as SQL has it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
