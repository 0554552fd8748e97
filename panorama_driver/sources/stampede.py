"""`stampede.*` events of Pegasus' monitord, and of our own engine, which speaks the same words.

Whichever way one comes, as a message, a line of a file, or a row of a database, it becomes the same event, bit for bit:
keys have one spelling, numbers that came as text are numbers, and what says nothing (None, the level `Info`) is left
out. Which events there are stands in `catalogue`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import FormatError
from ..events import Event
from ._fields import Reader, canonical, name, readers_of, required, seconds, text, whole
from .catalogue import KINDS, STATIC, Stampede

_KEYS = {"xwf_id": "wf_uuid", "ts": "ts", "job_id": "job_id", "job_inst_id": "attempt", "inv_id": "invocation"}
"""Fields of a record that are attributes of an event."""


class _Rules(NamedTuple):
    """How to read one kind: its fields, and those it must have, in the record and in the event's own attributes."""

    readers: dict[str, Reader]
    fields: tuple[str, ...]
    keys: tuple[tuple[str, str], ...]
    static: bool


def _level(value: Any) -> str | None:
    return None if value == "Info" else text(value)


def _rules(kind: str, record: type[Stampede]) -> _Rules:
    readers = {key: reader for key, reader in readers_of(record).items() if key not in _KEYS}
    needed = [field.name for field in msgspec.structs.fields(record) if field.required]
    return _Rules(
        readers={**readers, "level": _level},
        fields=tuple(key for key in needed if key not in _KEYS),
        keys=tuple((key, _KEYS[key]) for key in needed if key in _KEYS),
        static=kind in STATIC,
    )


_RULES = {kind: _rules(kind, record) for kind, record in KINDS.items()}


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn one flat `stampede.*` record into an event.

    Static events get no time: the planner writes the host's uptime there (nanoTime, not the epoch).

    Raises
    ------
    FormatError
        The event is of a kind that is not in the catalogue, lacks what it needs, or a number is none.
    """
    kind = str(raw["event"])
    rules = _RULES.get(kind)
    if rules is None:
        raise FormatError(
            f"event {kind!r} is not among the {len(KINDS)} that Pegasus 5.1.3 is known to send; "
            "it is kept whole: requeue it after an update of panorama-driver"
        )
    fields = canonical(raw, rules.readers)
    wf_uuid = required(fields, "xwf_id")
    del fields["event"]
    ts = seconds(fields, "ts")
    event = Event(
        kind=kind,
        wf_uuid=wf_uuid,
        ts=None if rules.static else ts,
        job_id=name(fields, "job_id"),
        attempt=whole(fields, "job_inst_id"),
        invocation=whole(fields, "inv_id"),
        fields=fields,
    )
    lacking = [key for key in rules.fields if key not in fields]
    lacking += [key for key, attribute in rules.keys if getattr(event, attribute) is None]
    if lacking:
        raise FormatError(f"event {kind!r} without its field {lacking[0]!r}")
    return event


def typed(event: Event) -> Stampede:
    """A `stampede.*` event as the record that the catalogue has for its kind, without the fields that it does not know.

    Raises
    ------
    KeyError
        It is no event of the catalogue.
    """
    own = {key: getattr(event, attribute) for key, attribute in _KEYS.items()}
    return msgspec.convert({**event.fields, **own}, KINDS[event.kind])


def exit_code(raw_status: object) -> int | None:
    """Decode a raw wait status as Pegasus stores it: `WEXITSTATUS`, or minus the signal; None for none.

    Pegasus writes the status of wait(2) (768 is exit 3, 15 is SIGTERM) as text or number, and a negative number when
    the program could not be started.
    """
    if raw_status is None or raw_status == "":
        return None
    status = int(str(raw_status))
    if status < 0:
        return status
    signal = ending_signal(status)
    return -signal if signal else status >> 8


def ending_signal(status: int) -> int:
    """Signal that ended a program, out of its raw wait status; 0 if none did, or if it could not be started."""
    return status & 0x7F if status > 0 else 0


def wait_status(code: int, signal: bool = False) -> int:
    """The raw wait status of a program that exited with `code`, or was ended by signal number `code`."""
    return code if signal else code << 8
