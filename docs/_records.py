"""Tables of the fields of a record, out of its numpy docstring and its types."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from _markdown import codes, prose, table
from msgspec.structs import FieldInfo
from numpydoc.docscrape import NumpyDocString

Record = type[msgspec.Struct]
Links = Mapping[str, str]
"""Module and name of a record (`module:Name`) to where it is told of, as seen from the page that is written."""

_UNIT = re.compile(r"\[([^\]]+)\];?\s*")
_WORDS = {str: "text", float: "number", int: "whole number", bool: "`true` or `false`", dict: "mapping"}
_WORD = re.compile(r"\A[a-z]+(?![\w:/.(])")
_NAMED = re.compile(r"`([A-Z]\w+)`")


class Row(NamedTuple):
    """Fields that are told of together; `unit` is empty where none is told."""

    names: tuple[str, ...]
    unit: str
    meaning: str


class UndocumentedError(Exception):
    """A docstring leaves out a field that the record has, or tells of one that it has not."""


def told(record: Record) -> list[Row]:
    """What the docstring of a record tells of its fields."""
    return [
        _row(tuple(name.strip() for name in entry.name.split(",")), " ".join(entry.desc))
        for entry in NumpyDocString(inspect.getdoc(record) or "")["Attributes"]
    ]


def rows(record: Record) -> list[Row]:
    """The fields that a record has of its own; without a meaning where its docstring tells of none.

    Raises
    ------
    UndocumentedError
        The docstring and the record do not agree.
    """
    known = own(record)
    found = told(record) or [Row((name,), "", "") for name in known]
    names = [name for row in found for name in row.names]
    if sorted(names) != sorted(known):
        differ = sorted(set(names) ^ set(known)) or names
        raise UndocumentedError(f"{record.__module__}.{record.__name__}: the docstring and the record differ: {differ}")
    return found


def properties(record: Record) -> list[Row]:
    """What a record computes of its fields."""
    found = {name: value for name, value in vars(record).items() if isinstance(value, property)}
    return [_row((name,), inspect.getdoc(value) or "") for name, value in found.items()]


def own(record: Record) -> list[str]:
    """Fields that a record has not from another."""
    inherited = {name for base in record.__bases__ for name in getattr(base, "__struct_fields__", ())}
    return [name for name in record.__struct_fields__ if name not in inherited]


def _row(names: tuple[str, ...], text: str) -> Row:
    unit = _UNIT.match(text)
    meaning = text[unit.end() :] if unit else text
    return Row(names, unit[1] if unit else "", _WORD.sub(lambda found: found[0].capitalize(), meaning, count=1))


def fields_table(record: Record, links: Links, *, computed: bool = False) -> list[str]:
    """Names, units and meanings below the record's own words, for records of measured things.

    Parameters
    ----------
    computed : bool
        Tell of its properties as well.
    """
    of = _infos(record)
    told_of = [*rows(record), *(properties(record) if computed else ())]
    cells = ((codes(row.names), row.unit, _meaning(row, record, of, links)) for row in told_of)
    return [*_introduced(record, links), "", *table(("field", "unit", "what it is"), cells)]


def _introduced(record: Record, links: Links) -> list[str]:
    doc = NumpyDocString(inspect.getdoc(record) or "")
    words = " ".join([*doc["Summary"], *doc["Extended Summary"]])
    above = [_link(base, links) for base in record.__bases__ if key(base) in links]
    more = f" It has all fields of {above[0]}, and these:" if above else ""
    return [f"`{record.__name__}`: {linked(prose(words), record, links)}{more}"]


def key(record: type) -> str:
    """How a record is named in `Links`."""
    return f"{record.__module__}:{record.__qualname__}"


def _link(record: type, links: Links) -> str:
    return f"[{record.__name__}]({links[key(record)]})"


def keys_table(record: Record, links: Links) -> list[str]:
    """Names, values, defaults and meanings, for records that people write."""
    of = _infos(record)
    return table(("key", "value", "default", "meaning"), _key_cells(record, of, links))


def _key_cells(record: Record, of: Mapping[str, FieldInfo], links: Links) -> Iterator[tuple[str, ...]]:
    for row in rows(record):
        fields = [of[name] for name in row.names]
        values = dict.fromkeys(value(field.type, links) for field in fields)
        defaults = dict.fromkeys(map(default, fields))
        yield codes(row.names), ", ".join(values), ", ".join(defaults), linked(prose(row.meaning), record, links)


def _infos(record: Record) -> dict[str, FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(record)}


def _meaning(row: Row, record: Record, of: Mapping[str, FieldInfo], links: Links) -> str:
    words = linked(prose(row.meaning), record, links)
    inner = [one for one in records_in(of[row.names[0]].type) if key(one) in links] if row.names[0] in of else []
    also = [_link(one, links) for one in inner if f"`{one.__name__}`" not in words]
    return f"{words} See {', '.join(also)}." if also else words


def linked(words: str, of: type, links: Links) -> str:
    """The same words, where names of records that the module of the record `of` knows lead to what is told of them."""
    known = vars(sys.modules[of.__module__])

    def link(found: re.Match[str]) -> str:
        record = known.get(found[1])
        if not isinstance(record, type) or record is of or key(record) not in links:
            return found[0]
        return f"[`{found[1]}`]({links[key(record)]})"

    return _NAMED.sub(link, words)


def records_in(annotation: Any) -> list[Record]:
    """Records that a value of this type has in it."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    found = [record for part in typing.get_args(annotation) for record in records_in(part)]
    return list(dict.fromkeys(found))


def value(annotation: Any, links: Links) -> str:
    """What may be written for a field, in words."""
    if typing.get_origin(annotation) is Literal:
        return codes(str(choice) for choice in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        options = [option for option in typing.get_args(annotation) if option is not types.NoneType]
        if {float, int, str, bool} == set(options):
            return "number, text, `true` or `false`"
        return " or ".join(dict.fromkeys(value(option, links) for option in options))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _link(annotation, links) if key(annotation) in links else "mapping"
    plain = typing.get_origin(annotation) or annotation
    return _WORDS.get(plain, "list" if plain in (list, tuple) else "any")


def default(field: FieldInfo) -> str:
    """What holds where nothing is written."""
    if field.required:
        return "required"
    given = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(given, msgspec.Struct):
        given = {
            one.name: getattr(given, one.name)
            for one in msgspec.structs.fields(type(given))
            if one.required or getattr(given, one.name) != one.default
        }
        return f"`{_spelled(given)}`" if given else "see there"
    return "none" if given in (None, "", {}, [], ()) and given is not False else f"`{_spelled(given)}`"


def _spelled(given: Any) -> str:
    """As YAML has it."""
    match given:
        case bool():
            return str(given).lower()
        case dict():
            return "{" + ", ".join(f"{key}: {_spelled(one)}" for key, one in given.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_spelled, given)) + "]"
    return str(given)
