"""One line of a file, turned into its events or a reason why it holds none."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ..errors import FormatError
from ..events import Event
from ..sources import expand


def events_of(line: bytes) -> list[Event]:
    """Read one line, which holds one event unless a job's payload came with it.

    Raises
    ------
    FormatError
        It is no JSON object, or no record of a known kind.
    """
    try:
        return expand(_record(line))
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
