"""A `stampede.*` record: what is an event is one for ever, whichever way it comes again."""

from __future__ import annotations

from typing import Any

import msgspec

from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.sources import stampede

from ...captured import CAPTURES

_KEYS = {"wf_uuid": "xwf_id", "ts": "ts", "job_id": "job_id", "attempt": "job_inst_id", "invocation": "inv_id"}
SEEDS = (CAPTURES / "sinks" / "events.json").read_bytes().splitlines()[2::3]


def one(data: bytes) -> None:
    """The event, made a record again, is the same event, and fits its class."""
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    raw.setdefault("event", "stampede.inv.end")
    try:
        event = stampede.parse(raw)
    except FormatError:
        return
    assert len(event.event_id) == 32
    assert stampede.parse(_raw(event)) == event
    assert stampede.typed(event).xwf_id == event.wf_uuid


def _raw(event: Event) -> dict[str, Any]:
    own = {key: getattr(event, attribute) for attribute, key in _KEYS.items()}
    return {**event.fields, **own, "event": event.kind}
