"""The tables of `panorama ask` as Parquet, for readers without this package."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..questions import TABLES, Place
from ..questions._kept import opened
from ..questions._views import make, quoted
from ..study.client import FOLDER
from ._parquet import Parts, schema
from ._stage import Staged
from .records import Column, Progress, Table, Type

_BATCH = 1000
_INTEGERS = range(-(2**63), 2**63)
_WIDE = {"x_": "parameter of the evaluation", "r_": "response that went back to Dakota"}
_TEXT = Column(name="text", type="TEXT", description="of it, where it is no number")
_SITES = "SELECT DISTINCT study, site FROM attempts WHERE site IS NOT NULL AND ran ORDER BY 1, 2"


class Found(NamedTuple):
    """The tables that were written, and where jobs ran, by the ID of the study."""

    tables: list[Table]
    sites: dict[str, list[str]]


def write_tables(staged: Sequence[Staged], folder: Path, work: Path, progress: Progress) -> Found:
    """Write `folder/TABLE/study=ID/part-*.parquet` of all tables.

    The column `study` is not in the files: their paths tell it, by its ID.

    Parameters
    ----------
    staged : sequence of Staged
        What is asked.
    folder : Path
        The repository.
    work : Path
        Folder that keeps for a while what was read.
    progress : callable
        Is told how far it is.
    """
    with opened(work, [_place(each) for each in staged], lambda n, of: progress("runs read", n, of)) as (
        asked,
        sources,
    ):
        known = make(asked, sources)
        tables = [table_of(asked, each.name, each.meaning, known[each.name]) for each in TABLES]
        for number, table in enumerate(tables):
            progress("tables written", number, len(tables))
            for one in staged:
                _write(asked, table, one.study.id, folder / table.name / f"study={one.study.id}")
        sites: dict[str, list[str]] = {each.study.id: [] for each in staged}
        for study, site in asked.execute(_SITES):
            sites[study].append(site)
    return Found(tables, sites)


def _place(staged: Staged) -> Place:
    home = staged.source.home
    return Place(staged.study.id, staged.source.store, None if home is None else home / FOLDER)


def table_of(asked: sqlite3.Connection, name: str, meaning: str, columns: Sequence[str]) -> Table:
    known = {each.name: each for table in TABLES if table.name == name for each in table.columns}
    made = [
        Column(name=c, type=_type(known[c].type), unit=known[c].unit, description=known[c].meaning)
        if c in known
        else Column(name=c, type=_found_type(asked, c), description=_WIDE[c[:2]])
        for c in columns
        if c != "study"
    ]
    return Table(name=name, description=meaning, columns=[*made, _TEXT] if name == "parameters" else made)


def _type(declared: str) -> Type:
    """What is a number or a text goes into two columns, and this is the one for numbers."""
    return "INTEGER" if declared == "INTEGER" else "TEXT" if declared == "TEXT" else "REAL"


def _found_type(asked: sqlite3.Connection, column: str) -> Type:
    """Of a parameter or response: numbers, unless one is none."""
    query = f"SELECT 1 FROM evaluations WHERE typeof({quoted(column)}) = 'text' LIMIT 1"
    return "TEXT" if asked.execute(query).fetchone() else "REAL"


def _write(asked: sqlite3.Connection, table: Table, study: str, folder: Path) -> None:
    types = [each.type for each in table.columns]
    with Parts(folder, schema(table.columns), always=True) as parts:
        for row in rows_of(asked, table, study):
            values = [_fitting(type_, value) for type_, value in zip(types, row, strict=True)]
            parts.add(values, sum(len(value) for value in values if isinstance(value, str)))


def rows_of(asked: sqlite3.Connection, table: Table, study: str) -> Iterator[tuple[object, ...]]:
    wanted = ", ".join(_TEXT_OF if each is _TEXT else quoted(each.name) for each in table.columns)
    cursor = asked.execute(f"SELECT {wanted} FROM {quoted(table.name)} WHERE study = ?", (study,))
    while some := cursor.fetchmany(_BATCH):
        yield from some


_TEXT_OF = "CASE WHEN typeof(value) = 'text' THEN value END"


def _fitting(type_: Type, value: object) -> object:
    """SQLite keeps what does not fit a column's type as it is; here it is unknown."""
    match type_, value:
        case ("TEXT", str()) | ("REAL", float()) | (_, None):
            return value
        case "TEXT", int() | float():
            return str(value)
        case "REAL", int():
            return float(value)
        case "INTEGER", int() if value in _INTEGERS:
            return value
    return None
