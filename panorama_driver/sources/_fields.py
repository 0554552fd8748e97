"""Reading fields that arrive in several spellings and types."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Union, get_args, get_origin

import msgspec

from ..errors import FormatError

Reader = Callable[[Any], Any]
"""Turns a value into the one form that it is stored in, or into None where it tells nothing; else ValueError."""

_NO_NUMBER = ("", "None", "null")
"""What may stand where a number belongs; the second is monitord's, which makes text of what it does not know."""
_LARGEST = 1 << 63
_RUN = re.compile("__+")
_DIGITS = 6
"""Decimals of a number: microseconds, as bp lines and the stampede database have them."""


@lru_cache(maxsize=4096)
def spelled(key: str) -> str:
    """A key in the spelling of Pegasus' AMQP sink, where `.` and `__` become `_`; spelled twice it stays the same."""
    return _RUN.sub("_", key.replace(".", "_"))


def flattened(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A record with all its keys in that spelling."""
    return {spelled(key): value for key, value in raw.items()}


def canonical(raw: Mapping[str, Any], readers: Mapping[str, Reader], *, nulls: bool = False) -> dict[str, Any]:
    """The fields of a record in the one form that does not depend on the way they came.

    Keys are flattened. A field with a reader becomes what that makes of it, and is left out where that is nothing,
    unless it is None and `nulls` says that None tells something; any other stays as it is.

    Raises
    ------
    FormatError
        A field is not what it has to be.
    """
    fields: dict[str, Any] = {}
    for given, value in raw.items():
        key = spelled(given)
        reader = readers.get(key)
        if reader is None or (nulls and value is None):
            fields[key] = value
            continue
        try:
            read = reader(value)
        except (ValueError, TypeError, OverflowError):
            raise FormatError(f"field {key!r} is {str(value)[:80]!r}, not {_WORDS.get(reader, 'a text')}") from None
        if read is not None:
            fields[key] = read
    return fields


def readers_of(record: type[msgspec.Struct]) -> dict[str, Reader]:
    """How to read each field of a record, by the type that its class declares."""
    return {field.name: _reader(field.type) for field in msgspec.structs.fields(record)}


def _reader(annotation: Any) -> Reader:
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    told = [option for option in options if option is not types.NoneType]
    return _READERS.get(told[0], as_it_is) if len(told) == 1 else whole_or_text


def exactly(readers: Mapping[str, Reader]) -> dict[str, Reader]:
    """The same readers, but with numbers as exact as they came: for sources that keep types apart."""
    return {key: exact_number if reader is number else reader for key, reader in readers.items()}


def text(value: Any) -> str | None:
    """A text; a number becomes one in the spelling that an event's identity has it in."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, int | float):
        raise ValueError
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def exact_number(value: Any) -> float | None:
    """A finite number."""
    if value is None or value in _NO_NUMBER:
        return None
    found = float(value)
    if not math.isfinite(found):
        raise ValueError
    return found


def number(value: Any) -> float | None:
    """A finite number to the microsecond, so that 0.00040471 and "0.000405" are one."""
    found = exact_number(value)
    return None if found is None else round(found, _DIGITS) + 0.0  # -0.0 is 0.0


def whole_number(value: Any) -> int | None:
    """An integer of 64 bits."""
    if value.__class__ is not int:
        if value is None or value in _NO_NUMBER:
            return None
        value = _from_text(value)
    if not -_LARGEST <= value < _LARGEST:
        raise ValueError
    return int(value)


def _from_text(value: Any) -> int:
    try:
        found = int(value)
    except ValueError:  # bp writes 1.0 as 1.000000
        found = int(float(value))
        value = float(value)
    if isinstance(value, float) and found != value:
        raise ValueError
    return found


def whole_or_text(value: Any) -> int | str | None:
    """An integer where it is one, else the text as it is."""
    try:
        return whole_number(value)
    except ValueError:
        return text(value)


def flag(value: Any) -> bool | None:
    """A truth value, which the planner writes as 0 or 1."""
    if value is None or value == "":
        return None
    found = _FLAGS.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def as_it_is(value: Any) -> Any:
    """The value."""
    return value


_FLAGS = {"0": False, "1": True, "false": False, "true": True}
_READERS: dict[Any, Reader] = {str: text, int: whole_number, float: number, bool: flag}
_WORDS: dict[Reader, str] = {
    number: "a finite number",
    exact_number: "a finite number",
    whole_number: "a whole number of 64 bits",
    flag: "0 or 1",
}


def required(fields: dict[str, Any], key: str) -> str:
    """Take a non-empty text out of `fields`.

    Raises
    ------
    FormatError
        The field is missing or empty.
    """
    value = name(fields, key)
    if value is None:
        raise FormatError(f"event {fields.get('event', '?')!r} without its field {key!r}")
    return value


def name(fields: dict[str, Any], key: str) -> str | None:
    """Take a text; None where it is missing or empty."""
    value = fields.pop(key, None)
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | float):
        raise FormatError(f"field {key!r} is {str(value)[:80]}, not a name")
    return str(value)


def whole(fields: dict[str, Any], key: str) -> int | None:
    """Take an integer that may have come as text; None where it is missing."""
    value = fields.pop(key, None)
    if value is None or value == "":
        return None
    try:
        return _from_text(value)
    except (ValueError, TypeError, OverflowError):
        raise FormatError(f"field {key!r} is {str(value)[:80]!r}, not a whole number") from None


def seconds(fields: dict[str, Any], key: str) -> float | None:
    """Take a finite time [s] that may have come as text; None where it is missing."""
    value = fields.pop(key, None)
    if value is None or value == "":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"field {key!r} is {str(value)[:80]!r}, not a time in seconds") from None
    if not math.isfinite(found):
        raise FormatError(f"field {key!r} is {value!r}, not a finite time")
    return found
