"""One line of a file, turned into its events or a reason why it holds none."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ..errors import FormatError
from ..events import Event
from ..sources import expand

_DAMAGE = (ValueError, TypeError, OverflowError, RecursionError)


def events_of(line: bytes) -> list[Event]:
    """Read one line, which holds one event unless a job's payload came with it.

    Raises
    ------
    FormatError
        It is no JSON object, or no record of a known kind.
    """
    try:
        return expand(record_of(line))
    except _DAMAGE as error:
        raise FormatError(str(error)) from error


def record_of(line: bytes) -> dict[str, Any]:
    """Read the object on one line.

    Raises
    ------
    FormatError
        It is no JSON object.
    """
    try:
        record = _decoded(line)
    except _DAMAGE as error:
        raise FormatError(str(error)) from error
    if not isinstance(record, dict):
        raise FormatError("a line of JSON, but no object")
    return record


def _decoded(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _lenient(line)


def _lenient(line: bytes) -> Any:
    """Read what only Python's reader takes: names that are no UTF-8 (PEP 383), and NaN, which becomes null."""
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"), parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error}") from error
