"""Reading fields that arrive in several spellings and types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError


def flattened(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Keys in the spelling of Pegasus' AMQP sink: `.` and `__` become `_`."""
    return {key.replace(".", "_").replace("__", "_"): value for key, value in raw.items()}


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
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or (isinstance(value, float) and number != value):
        raise FormatError(f"field {key!r} is {value!r}, not a whole number")
    return number


def seconds(fields: dict[str, Any], key: str) -> float | None:
    """Take a finite time [s] that may have come as text; None where it is missing."""
    value = fields.pop(key, None)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise FormatError(f"field {key!r} is {value!r}, not a time in seconds") from None
    if not math.isfinite(number):
        raise FormatError(f"field {key!r} is {value!r}, not a finite time")
    return number
