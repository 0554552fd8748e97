"""Reads a file of monitord's from memory, to its end."""

from __future__ import annotations

import io

from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.sources import expand, sink


def read_all(data: bytes) -> list[Event]:
    """Its events; what is none is left out."""
    events: list[Event] = []
    try:
        for raw in sink.read_from(io.BytesIO(data), "fuzz"):
            events += events_of(raw)
    except FormatError:
        return []
    return events


def events_of(raw: sink.Raw) -> list[Event]:
    """The events of a raw record, none where it is damaged."""
    try:
        events = expand(raw)
    except FormatError:
        return []
    assert all(len(event.event_id) == 32 for event in events)
    return events
