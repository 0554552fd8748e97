"""What the engines share: events as JSON, the names that events tell of their workflows, and which fit no engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import msgspec

from ..errors import FormatError
from ..events import Event
from ._base import DeadLetter, printable

READ_ONLY = "open it for writing, and check that you may write it"


class Names(NamedTuple):
    """What the events of a workflow tell of it: its name and the run at the top of its hierarchy."""

    label: str | None
    root: str | None


def encoded(fields: dict[str, Any]) -> str:
    """JSON of the fields, a NaN as null; names that are no UTF-8 (surrogates, PEP 383) need the slower way."""
    try:
        return msgspec.json.encode(fields).decode()
    except UnicodeEncodeError:
        return json.dumps(fields)


def decoded(text: str | bytes) -> dict[str, Any]:
    """What `encoded` made JSON of."""
    try:
        fields: dict[str, Any] = msgspec.json.decode(text)
    except msgspec.DecodeError:
        fields = json.loads(text, parse_constant=lambda _: None)
    return fields


def record(event: Event) -> bytes:
    """An event as the line of JSON that `panorama_driver.sources.parse` makes the same event of."""
    told = event.kind.startswith("stampede.")
    key = {
        "event": event.kind,
        "xwf_id" if told else "wf_uuid": event.wf_uuid,
        "ts": event.ts,
        "job_id" if told else "dag_job_id": event.job_id,
        "job_inst_id": event.attempt,
        "inv_id": event.invocation,
    }
    return encoded(event.fields | {name: value for name, value in key.items() if value is not None}).encode()


def workflow_names(events: Iterable[Event]) -> dict[str, Names]:
    """The workflows of these events, each with its name and its root where one of them tells it."""
    found: dict[str, Names] = {}
    for event in events:
        label, root = found.get(event.wf_uuid, (None, None))
        if label is None or root is None:
            fields = event.fields
            label = label or _text(fields.get("dax_label") or fields.get("wf_label"))
            found[event.wf_uuid] = Names(label, root or _text(fields.get("root_xwf_id")))
    return found


def _text(value: object) -> str | None:
    return printable(value) if isinstance(value, str) else None


def as_buried(letter: DeadLetter) -> DeadLetter:
    """The letter as it is kept: with the time, and with names that can be stored."""
    buried = time.time() if letter.buried is None else letter.buried
    told = {"reason": printable(letter.reason), "source": printable(letter.source)}
    return msgspec.structs.replace(letter, buried=buried, **told)


class Key(msgspec.Struct):
    """What the engines can hold of an event's key."""

    kind: str
    wf_uuid: str
    ts: float | None
    job_id: str | None
    attempt: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None
    invocation: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None


_READER = msgspec.json.Decoder(Key)


def refuse_misfits(events: Iterable[Event]) -> None:
    """Name the event that no engine can keep, if there is one.

    Raises
    ------
    FormatError
        There is one.
    """
    for event in events:
        key = {name: getattr(event, name) for name in Key.__struct_fields__}
        try:
            _READER.decode(msgspec.json.encode(key))
            encoded(event.fields).encode()
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise FormatError(
                f"event {event.kind!r} of workflow {event.wf_uuid!r} cannot be stored: {error}"
            ) from error
