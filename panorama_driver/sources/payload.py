"""What jobs send home with themselves: text between monitoring markers, and the probe's payload inside an event.

The markers are Pegasus' (monitoring/job.py of 5.1); the payload is the probe's own, one format on every way home.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import FormatError

START = "@@@MONITORING_PAYLOAD - START@@@"
END = "@@@MONITORING_PAYLOAD - END@@@"
KEY = "panorama"
"""Field of an event that holds the probe's payload."""
_FORMAT = 1
_SHARED = {"wf_uuid": "xwf_id", "dag_job_id": "job_id", "condor_job_id": "sched_id"}


class Output(NamedTuple):
    """A program's output without the payloads that were in it.

    `payloads` are the JSON objects, `broken` how many markers held none: kickstart keeps the end of a long output only.
    """

    text: str
    payloads: tuple[dict[str, Any], ...]
    broken: int


def split(text: str) -> Output:
    """Cut what stands between monitoring markers out of a program's output."""
    kept: list[str] = []
    payloads: list[dict[str, Any]] = []
    broken = at = 0
    while (start := text.find(START, at)) >= 0:
        kept.append(text[at:start])
        end = text.find(END, start)
        payload = _payload(text[start + len(START) : end]) if end >= 0 else None
        if payload is None:
            broken += 1
        else:
            payloads.append(payload)
        at = end + len(END) if end >= 0 else len(text)
    kept.append(text[at:])
    return Output("".join(kept), tuple(payloads), broken)


def items(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The dicts of a marked payload, each of which becomes an event."""
    found = payload.get("payload")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def unpacked(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Raw records inside an event that carries the probe's payload, and the event itself without them.

    A payload of an unknown format stays in its event, whole.

    Raises
    ------
    FormatError
        The payload is of the format that is known, and yet is not what that format says.
    """
    payload = raw.get(KEY)
    if not isinstance(payload, Mapping) or not is_known(payload):
        yield dict(raw)
        return
    yield {**{key: value for key, value in raw.items() if key != KEY}, **thinned(payload)}
    yield from carried(raw)


def carried(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Raw records of the payload in an event, which is of the known format.

    Raises
    ------
    FormatError
        As of `unpacked`.
    """
    payload = raw[KEY]
    identity = _identity(raw, payload)
    for record in _listed(payload, "records"):
        yield {**identity, **record}
    named = {key: identity[key] for key in (*_SHARED, "attempt", "task_id", "hostname") if key in identity}
    for log in _listed(payload, "darshan"):
        yield {**named, "event": "darshan.log", **log}


def thinned(payload: object) -> dict[str, Any]:
    """What an event says of records that were left out, if some were."""
    found = payload.get("thinned") if isinstance(payload, Mapping) else None
    return {"thinned": found} if found else {}


def is_known(payload: object) -> bool:
    """Whether this is a payload of the format that can be unpacked."""
    return isinstance(payload, Mapping) and payload.get("format") == _FORMAT


def _identity(raw: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of all records; the event that brought them knows the job, should the probe not have been told."""
    told = payload.get("identity") or {}
    if not isinstance(told, Mapping):
        raise FormatError(f"payload of the probe whose identity is {str(told)[:80]}, no object")
    known = {name: raw[key] for name, key in _SHARED.items() if raw.get(key)}
    return {**known, **{key: value for key, value in told.items() if value not in (None, "")}}


def _listed(payload: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = payload.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FormatError(f"payload of the probe whose {key} are no list of objects")
    return found


def _payload(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
