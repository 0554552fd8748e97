"""What a field of a record tells, where it is of the type that it should be; anything else tells nothing."""

from __future__ import annotations

_LARGEST = float(2**63)


def text(value: object) -> str | None:
    """A text that is not empty."""
    return value if isinstance(value, str) and value else None


def number(value: object) -> float | None:
    """A number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LARGEST else None


def count(value: object) -> int | None:
    """A whole number of 0 or more; what comes after its point is cut off."""
    known = number(value)
    return None if known is None else int(known)


def flag(value: object) -> bool | None:
    """True or false."""
    return value if isinstance(value, bool) else None
