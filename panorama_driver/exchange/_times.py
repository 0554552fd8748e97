"""Times as calendars have them, of events that may tell of any."""

from __future__ import annotations

from datetime import UTC, datetime

_LATEST = 253402300800.0  # s since 1970: the year 10000


def utc(ts: float | None) -> datetime | None:
    """A time [s since 1970] in UTC; None where that is none of this era, as of a clock that was wrong."""
    return None if ts is None or not 0 <= ts < _LATEST else datetime.fromtimestamp(ts, UTC)
