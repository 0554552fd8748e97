"""One line of a file, turned into an event or a reason why it is none."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ..errors import FormatError
from ..events import Event
from ..sources import parse


def event_of(line: bytes) -> Event:
    """Read one line.

    Raises
    ------
    FormatError
        It is no JSON object, or no record of a known kind.
    """
    try:
        return parse(_record(line))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(str(error)) from error


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = _lenient(line)
    if not isinstance(record, dict):
        raise FormatError("a line of JSON, but no object")
    return record


def _lenient(line: bytes) -> Any:
    """Read what only Python's reader takes: names that are no UTF-8 (PEP 383), and NaN, which becomes null."""
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"), parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error}") from error
