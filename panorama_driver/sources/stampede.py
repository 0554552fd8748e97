"""`stampede.*` events of Pegasus' monitord, and of our own engine, which speaks the same words.

Format: Pegasus 5.1 reference guide, "Monitoring" (the NetLogger schema), keys flattened as its AMQP sink does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import Event
from ._fields import flattened, name, required, seconds, whole

_STATIC = frozenset(
    "stampede." + name
    for name in (
        "static.start",
        "static.end",
        "static.meta.start",
        "static.meta.end",
        "task.info",
        "task.edge",
        "task.meta",
        "job.info",
        "job.edge",
        "wf.map.task_job",
        "wf.map.file",
        "xwf.meta",
        "rc.pfn",
    )
)


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn one flat `stampede.*` record into an event.

    Static events get no time: the planner writes the host's uptime there (nanoTime, not the epoch).

    Raises
    ------
    FormatError
        `xwf_id` is missing, or a number is none.
    """
    fields = flattened(raw)
    wf_uuid = required(fields, "xwf_id")
    kind = str(fields.pop("event"))
    ts = seconds(fields, "ts")
    return Event(
        kind=kind,
        wf_uuid=wf_uuid,
        ts=None if kind in _STATIC else ts,
        job_id=name(fields, "job_id"),
        attempt=whole(fields, "job_inst_id"),
        invocation=whole(fields, "inv_id"),
        fields=fields,
    )


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
    signal = status & 0x7F
    return -signal if signal else status >> 8


def wait_status(code: int, signal: bool = False) -> int:
    """The raw wait status of a program that exited with `code`, or was ended by signal number `code`."""
    return code if signal else code << 8
