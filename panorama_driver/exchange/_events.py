"""Events and dead letters as rows of Parquet files: exact, in the order of arrival, a folder a family of kinds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..events import Event
from ..store import DeadLetter, Kept, Store, Via
from ..store._rows import decoded, encoded
from ._parquet import Parts, rows, schema
from .records import Column, Table

FAMILIES = frozenset({"stampede", "kickstart", "transfer", "darshan", "anomalies", "panorama"})
OTHERS = "other"
"""Folder of the kinds of all other families."""
_SINCE = "s since 1970"
_WAYS = sum(Via)
_TOGETHER = 10_000  # events put at a time

EVENTS = Table(
    name="events",
    description="one row an event, as it came; partitioned by study and by the first word of its kind (`family`)",
    columns=[
        Column(name="seq", type="INTEGER", description="place in the order of arrival, from 0"),
        Column(name="event_id", type="TEXT", description="identity, made from the key and what tells events apart"),
        Column(name="kind", type="TEXT", description="`stampede.inv.end`, `kickstart.inv.online`, ..."),
        Column(name="wf_uuid", type="TEXT", description="the workflow run"),
        Column(name="ts", type="REAL", unit=_SINCE, description="event time on the emitter's clock"),
        Column(name="job_id", type="TEXT", description="node of the executable workflow"),
        Column(name="attempt", type="INTEGER", description="`job_inst_id`: the try of that job"),
        Column(name="invocation", type="INTEGER", description="`inv_id`: the process under kickstart"),
        Column(name="ingested", type="REAL", unit=_SINCE, description="when it first came in"),
        Column(name="via", type="INTEGER", description="ways on which it came, a sum: 1 disk, 2 broker, 4 HTTP"),
        Column(name="fields", type="TEXT", description="everything else as it came, a JSON object"),
    ],
)
LETTERS = Table(
    name="dead_letters",
    description="one row a record that came in and could not be made an event",
    columns=[
        Column(name="seq", type="INTEGER", description="place in the order of burial, from 0"),
        Column(name="letter_id", type="TEXT", description="identity, of what it is and where it came from"),
        Column(name="reason", type="TEXT", description="why it is no event"),
        Column(name="source", type="TEXT", description="file or queue it came from"),
        Column(name="offset", type="INTEGER", unit="bytes", description="where it begins in the file"),
        Column(name="size", type="INTEGER", unit="bytes", description="its whole length"),
        Column(name="head", type="BLOB", description="bytes as they came; of something very long the beginning only"),
        Column(name="buried", type="REAL", unit=_SINCE, description="when it was put aside"),
    ],
)


def write_events(kept: Iterable[Kept], folder: Path, progress: Callable[[int], None]) -> None:
    """Write `folder/family=NAME/part-*.parquet`."""
    layout, parts = schema(EVENTS.columns), dict[str, Parts]()
    with ExitStack() as stack:
        for number, each in enumerate(kept, 1):
            family = _family(each.event.kind)
            if family not in parts:
                parts[family] = stack.enter_context(Parts(folder / f"family={family}", layout))
            row = _row(number - 1, each)
            parts[family].add(row, len(row[-1]))
            if number % _TOGETHER == 0:
                progress(number)


def _family(kind: str) -> str:
    family = kind.partition(".")[0]
    return family if family in FAMILIES else OTHERS


def _row(seq: int, kept: Kept) -> tuple[Any, ...]:
    e = kept.event
    key = (e.kind, e.wf_uuid, e.ts, e.job_id, e.attempt, e.invocation)
    return seq, e.event_id, *key, kept.ingested, int(kept.via), encoded(e.fields)


def read_events(files: Iterable[Path]) -> Iterator[Kept]:
    """Events of one study, in the order of arrival.

    Parameters
    ----------
    files : iterable of Path
        All parts.

    Raises
    ------
    FormatError
        A row is no event, or not the one that it says it is.
    """
    by_family = groupby(sorted(files), key=lambda path: path.parent)
    streams = [_in_order(list(parts)) for _, parts in by_family]
    for _, path, row in heapq.merge(*streams, key=lambda told: told[0]):
        yield _kept(path, row)


def _in_order(parts: list[Path]) -> Iterator[tuple[int, Path, dict[str, Any]]]:
    layout, before = schema(EVENTS.columns), -1
    for path in parts:
        for row in rows(path, layout):
            seq = row["seq"]
            if not isinstance(seq, int) or seq <= before:
                raise FormatError(f"{path}: row {seq} comes after row {before}; the file was changed")
            before = seq
            yield seq, path, row


def _kept(path: Path, row: dict[str, Any]) -> Kept:
    where = f"{path}: row {row['seq']}"
    fields, ways = row["fields"], row["via"]
    if None in (row["kind"], row["wf_uuid"], row["ingested"], fields) or not isinstance(ways, int):
        raise FormatError(f"{where}: lacks its kind, its workflow, its fields or when and how it came in")
    if not 0 < ways <= _WAYS:
        raise FormatError(f"{where}: came in on way {ways}, which there is not")
    try:
        told = decoded(fields)
    except (ValueError, RecursionError) as problem:
        raise FormatError(f"{where}: its fields are no JSON: {problem}") from None
    if not isinstance(told, dict):
        raise FormatError(f"{where}: its fields are no JSON object")
    event = Event(fields=told, **{name: row[name] for name in _KEY})
    if event.event_id != row["event_id"]:
        raise FormatError(f"{where}: is not the event {row['event_id']} that it says it is; the file was changed")
    return Kept(event, row["ingested"], Via(ways))


_KEY = ("kind", "wf_uuid", "ts", "job_id", "attempt", "invocation")


def put_all(store: Store, kept: Iterable[Kept], progress: Callable[[int], None]) -> tuple[int, int]:
    """Put events into a store as they came in before; how many there were, and how many were new."""
    read = new = 0
    for (ingested, via), some in groupby(kept, key=lambda each: (each.ingested, each.via)):
        while events := [each.event for each in islice(some, _TOGETHER)]:
            new += store.put(events, ingested=ingested, via=via)
            read += len(events)
            progress(read)
    return read, new


def write_letters(letters: Iterable[DeadLetter], folder: Path) -> int:
    """Write `folder/part-*.parquet`; how many there were."""
    number = 0
    with Parts(folder, schema(LETTERS.columns)) as parts:
        for number, each in enumerate(letters, 1):
            told = (each.reason, each.source, each.offset, each.size, each.head, each.buried)
            parts.add((number - 1, each.letter_id, *told), len(each.head) + len(each.reason))
    return number


def read_letters(files: Iterable[Path]) -> Iterator[DeadLetter]:
    """Dead letters of one study, in the order of burial.

    Raises
    ------
    FormatError
        A row is none.
    """
    layout = schema(LETTERS.columns)
    for path in sorted(files):
        for row in rows(path, layout):
            told = {name: row[name] for name in ("reason", "source", "offset", "size", "head", "buried")}
            if any(value is None for name, value in told.items() if name != "offset"):
                raise FormatError(f"{path}: row {row['seq']}: lacks something of a dead letter; the file was changed")
            yield DeadLetter(**told)


def bury_all(store: Store, letters: Iterable[DeadLetter]) -> int:
    """Put dead letters into a store; how many were new."""
    new, remaining = 0, iter(letters)
    while some := list(islice(remaining, _TOGETHER)):
        new += store.bury(some)
    return new
