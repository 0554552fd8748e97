"""Raw records of each source, turned into events: pure functions, one module a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..events import Event
from . import payload, stampede, traces, transfers, worker
from ._fields import flattened

__all__ = ["expand", "parse"]

_PARSERS = {
    "stampede": stampede.parse,
    "kickstart": traces.parse,
    "transfer": transfers.parse,
    "darshan": worker.parse,
    "anomalies": worker.parse,
}


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn one raw record, as it came off a broker or out of a file, into an event.

    Raises
    ------
    FormatError
        The record names no event, or one of a family that is not known.
    """
    name = raw.get("event")
    if not isinstance(name, str) or not name:
        raise FormatError(f"record without a name in its field 'event': {str(dict(raw))[:200]}")
    family = name.partition(".")[0]
    if family not in _PARSERS:
        raise FormatError(f"event {name!r}: family {family!r} is not one of {', '.join(sorted(_PARSERS))}")
    return _PARSERS[family](raw)


def expand(raw: Mapping[str, Any]) -> list[Event]:
    """Turn one raw record into all events that it holds.

    An event that brought home a payload of our probe (key `panorama`) becomes itself without the payload, an event a
    trace record, the same as if the record had arrived online, and a `darshan.log` event a Darshan log. The end of a
    job also gives the transfers that Pegasus' own tool made in it.

    Raises
    ------
    FormatError
        As of `parse`, or the payload is damaged.
    """
    records = payload.unpacked(flattened(raw)) if payload.KEY in raw else [raw]
    events = [parse(record) for record in records]
    return [*events, *(transfer for event in events for transfer in transfers.of_job(event))]
