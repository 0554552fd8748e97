"""A value with where it came from, or no value with the reason: what every measure is before it becomes a field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Finding(NamedTuple, Generic[T]):
    """`note` is the source of a value (may be empty), or the reason why there is none."""

    value: T | None
    note: str = ""


def unknown(reason: str) -> Finding[Any]:
    return Finding(None, reason)


def first(findings: Iterable[Finding[T]], reason: str) -> Finding[T]:
    """The first that is known: list the best source first."""
    return next((finding for finding in findings if finding.value is not None), unknown(reason))


def both(left: Finding[T], right: Finding[T], combine: Callable[[T, T], U]) -> Finding[U]:
    """Combine two values; unknown, for the left one's reason first, if either is."""
    if left.value is None:
        return unknown(left.note)
    if right.value is None:
        return unknown(right.note)
    return Finding(combine(left.value, right.value), left.note)


def assembled(findings: Mapping[str, Finding[Any]]) -> dict[str, Any]:
    """Fields of a record, its `reasons` and `sources` among them."""
    fields: dict[str, Any] = {name: finding.value for name, finding in findings.items()}
    fields["reasons"] = {name: finding.note for name, finding in findings.items() if finding.value is None}
    fields["sources"] = {name: found.note for name, found in findings.items() if found.value is not None and found.note}
    return fields


def number(value: object) -> float | None:
    """A finite number that may have come as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except ValueError:
        return None
    return result if math.isfinite(result) else None


def text(value: object) -> str | None:
    """Non-empty text; Pegasus writes `unknown` where it does not know."""
    return value if isinstance(value, str) and value not in ("", "unknown") else None
