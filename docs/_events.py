"""What events there are and what each carries, out of the records that they are read by."""

from __future__ import annotations

import inspect
import itertools
import types
import typing
from collections.abc import Iterator

import msgspec
from _markdown import codes, prose, slug, table
from _records import Links, Record, linked, own, told
from msgspec.structs import FieldInfo
from numpydoc.docscrape import NumpyDocString

_WORDS = {str: "text", float: "number", int: "whole number", bool: "yes or no", list: "list"}


def events(kinds: dict[str, Record], links: Links) -> list[str]:
    """A section for each record of `kinds`, with the names of the events that it reads."""
    by_record: dict[Record, list[str]] = {}
    for kind, record in kinds.items():
        by_record.setdefault(record, []).append(kind)
    firsts = {record: names[0] for record, names in by_record.items()}
    return [line for record, names in by_record.items() for line in _section(record, names, firsts, links)]


def _section(record: Record, names: list[str], firsts: dict[Record, str], links: Links) -> Iterator[str]:
    doc = NumpyDocString(inspect.getdoc(record) or "")
    yield from ("", f"### {names[0]}", "")
    if names[1:]:
        yield from (f"Likewise {codes(names[1:])}.", "")
    yield prose(_without_names(" ".join([*doc["Summary"], *doc["Extended Summary"]])))
    above = next((base for base in record.__mro__[1:] if base in firsts), None)
    yield from _fields(record, above, links)
    if above is not None:
        yield from ("", f"And all that [{firsts[above]}](#{slug(firsts[above])}) has.")


def _without_names(meaning: str) -> str:
    """A summary without the names of the events, which stand in the heading."""
    head, colon, rest = meaning.partition(": ")
    return rest[:1].upper() + rest[1:] if colon and head.startswith("`") else meaning


def _fields(record: Record, above: Record | None, links: Links) -> Iterator[str]:
    """What a record has beside fields of the record `above`, and those that all events share."""
    of = {field.name: field for field in msgspec.structs.fields(record)}
    bases = list(itertools.takewhile(lambda base: base is not above, _below_the_outermost(record)))
    rows = [row for base in bases for row in told(base)]
    named = {name for row in rows for name in row.names}
    plain = [f"`{name}` ({_type(of[name])})" for base in bases for name in own(base) if name not in named]
    if plain:
        yield from ("", f"Fields: {', '.join(plain)}{'; and' if rows else '.'}")
    if rows:
        cells = ((codes(row.names), row.unit, linked(prose(row.meaning), record, links)) for row in rows)
        yield from ("", *table(("field", "unit", "what it is"), cells))


def _below_the_outermost(record: Record) -> list[Record]:
    return [base for base in record.__mro__ if issubclass(base, msgspec.Struct) and base is not msgspec.Struct][:-1]


def _type(field: FieldInfo) -> str:
    options = typing.get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    words = (_WORDS.get(typing.get_origin(one) or one, "any") for one in options if one is not types.NoneType)
    return " or ".join(words) + (", always" if field.required else "")
