"""CSV: a file for each table of `panorama ask`, with units in its header, for spreadsheets and for everything else.

Comma-separated values as of RFC 4180, in UTF-8: the header names a column and, in brackets, its unit, such as
`wall_time [s]`; what is not known is empty, numbers have all their digits, yes and no are 1 and 0. Beside them lies
`csv-metadata.json`, which tells of each column its type, unit and meaning in the words of W3C's "Metadata Vocabulary
for Tabular Data" (CSVW). Texts are as they came: a spreadsheet may take one that begins with `=` for a formula.
"""

from __future__ import annotations

import csv
import io
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...errors import UsageError
from ...questions import TABLES, Place
from ...questions._kept import opened
from ...questions._views import make
from ...study.client import FOLDER
from .._secrets import redacted
from .._tables import rows_of, table_of
from ..records import About, Column, Progress, Source, Table
from ._runs import fresh, put

METADATA = "csv-metadata.json"

_STUDY = Column(name="study", type="TEXT", description="name of the study, or of the store")
_DATATYPES = {"TEXT": "string", "REAL": "double", "INTEGER": "integer"}


def write(sources: Sequence[Source], target: Path, about: About, progress: Progress) -> list[Path]:
    """Write `TABLE.csv` for each table that has rows, and what describes them, into the folder `target`.

    Raises
    ------
    UsageError
        There is nothing in any table.
    StoreError
        A store cannot be read, or the folder not be written.
    """
    described: list[Any] = []
    written: list[Path] = []
    for number, (table, rows) in enumerate(_tables(_places(sources), progress), 1):
        if (path := _table(target / f"{table.name}.csv", table, rows)) is not None:
            described.append(_described(path.name, table))
            written.append(path)
        progress("tables written", number, len(TABLES))
    if not written:
        raise UsageError("nothing to write: no evaluation, workflow run or anything else is in there")
    return [*written, put(target / METADATA, _metadata(about, described))]


def _tables(places: Sequence[Place], progress: Progress) -> Iterator[tuple[Table, Iterator[tuple[object, ...]]]]:
    """Each table, and its rows, to be taken before the next table."""
    with (
        tempfile.TemporaryDirectory(prefix="panorama-csv-") as work,
        opened(Path(work), places, lambda done, of: progress("runs read", done, of)) as (asked, sources),
    ):
        known = make(asked, sources)
        for each in TABLES:
            table = table_of(asked, each.name, each.meaning, known[each.name])
            rows = ((place.name, *row) for place in places for row in rows_of(asked, table, place.name))
            yield msgspec.structs.replace(table, columns=[_STUDY, *table.columns]), rows


def _places(sources: Sequence[Source]) -> list[Place]:
    """Each once, and under a name of its own."""
    found: dict[str, Place] = {}
    for source in dict.fromkeys(sources):
        name, number = source.name, 1
        while name in found:
            number += 1
            name = f"{source.name} {number}"
        found[name] = Place(name, source.store, None if source.home is None else source.home / FOLDER)
    return list(found.values())


def title(column: Column) -> str:
    """A column as the header names it."""
    return f"{column.name} [{column.unit}]" if column.unit else column.name


def _table(path: Path, table: Table, rows: Iterator[tuple[object, ...]]) -> Path | None:
    """Write a table, unless it has no rows."""
    first = next(rows, None)
    if first is None:
        return None
    with fresh(path) as file, io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="") as text:
        writer = csv.writer(text)
        writer.writerow([title(column) for column in table.columns])
        writer.writerows(_plain(row) for row in itertools.chain([first], rows))
    return path


def _plain(row: tuple[object, ...]) -> list[object]:
    return [redacted(value) if isinstance(value, str) else value for value in row]


def _described(url: str, table: Table) -> Any:
    columns = []
    for column in table.columns:
        unit = {"schema:unitText": column.unit} if column.unit else {}
        told = {"name": column.name, "titles": title(column), "datatype": _DATATYPES[column.type]}
        columns.append({**told, "dc:description": column.description, **unit})
    return {"url": url, "dc:description": table.description, "tableSchema": {"columns": columns}}


def _metadata(about: About, described: Sequence[Any]) -> bytes:
    told = {
        "dc:title": about.title or None,
        "dc:description": about.description or None,
        "dc:license": about.license,
        "dc:creator": [creator.name for creator in about.creators] or None,
        "dc:subject": about.keywords or None,
    }
    known = {name: value for name, value in told.items() if value is not None}
    document = {"@context": "http://www.w3.org/ns/csvw", **known, "tables": list(described)}
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"
