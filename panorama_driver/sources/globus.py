"""Globus transfers: a task of the Transfer API and its list of events, turned into events and typed readings of them.

A task is found by its label, `<wf_uuid> - <dag_job_id>`, which Pegasus' pegasus-globus-online gives it. What is told of
it has the shape that Panorama published (`transfer.inv.go`), so that a task that both tell of is one row. Format:
docs.globus.org, Transfer API, "Task Management" and "Task Events".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..errors import FormatError
from ..events import Event
from . import plain
from ._fields import flattened, name, seconds, whole

TASK, PROGRESS = "transfer.inv.go", "transfer.go.event"
FINAL = frozenset({"SUCCEEDED", "FAILED"})
"""States of a task that nothing follows."""
_LABEL = re.compile(r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}) - (\S+)")
_LONGEST_LABEL = 128  # characters, by the API's own rule
_LEFT_OUT = frozenset({"event_link"})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A Globus task; a field is None where the document does not tell it.

    Attributes
    ----------
    task_id : str or None
        Globus' own name for it.
    type : str or None
        `TRANSFER` or `DELETE`.
    status : str or None
        `ACTIVE`, `INACTIVE` (suspended until its credentials are renewed), `SUCCEEDED` or `FAILED`.
    label, owner_id, username : str or None
        Who calls it what.
    request_time, completion_time, deadline : float or None
        [s since 1970]; the second only once it is over, the third is when Globus gives it up.
    source_endpoint_id, source_endpoint_display_name : str or None
        Collection that it reads from.
    destination_endpoint_id, destination_endpoint_display_name : str or None
        Collection that it writes to; None for a `DELETE`.
    files, files_transferred, files_skipped, directories : int or None
        Numbers of files known of so far, moved, found up to date, and of directories.
    bytes_transferred, bytes_checksummed : int or None
        [bytes] moved, those of attempts that had to be repeated included; read again to compare checksums.
    effective_bytes_per_second : float or None
        [bytes/s] from request to completion, waiting included.
    faults : int or None
        Errors met on the way, most of which Globus overcomes by trying again.
    is_ok, is_paused : bool or None
        Whether it goes on without trouble; whether somebody paused it.
    nice_status, nice_status_details, nice_status_short_description : str or None
        What a task that is not over does or waits for, in Globus' words.
    nice_status_expires_in : int or None
        [s] until the credentials end.
    subtasks_total, subtasks_pending, subtasks_retrying, subtasks_succeeded : int or None
        Numbers of its parts by their state.
    subtasks_failed, subtasks_canceled, subtasks_expired, subtasks_skipped_errors : int or None
        Likewise.
    sync_level : int or None
        0 to 3: which files are taken for up to date.
    verify_checksum, encrypt_data : bool or None
        What was asked for.
    error_code, error : str or None
        Why it failed, as a code and in words (`fatal_error`).
    """

    task_id: str | None = None
    type: str | None = None
    status: str | None = None
    label: str | None = None
    owner_id: str | None = None
    username: str | None = None
    request_time: float | None = None
    completion_time: float | None = None
    deadline: float | None = None
    source_endpoint_id: str | None = None
    source_endpoint_display_name: str | None = None
    destination_endpoint_id: str | None = None
    destination_endpoint_display_name: str | None = None
    files: int | None = None
    files_transferred: int | None = None
    files_skipped: int | None = None
    directories: int | None = None
    bytes_transferred: int | None = None
    bytes_checksummed: int | None = None
    effective_bytes_per_second: float | None = None
    faults: int | None = None
    is_ok: bool | None = None
    is_paused: bool | None = None
    nice_status: str | None = None
    nice_status_details: str | None = None
    nice_status_short_description: str | None = None
    nice_status_expires_in: int | None = None
    subtasks_total: int | None = None
    subtasks_pending: int | None = None
    subtasks_retrying: int | None = None
    subtasks_succeeded: int | None = None
    subtasks_failed: int | None = None
    subtasks_canceled: int | None = None
    subtasks_expired: int | None = None
    subtasks_skipped_errors: int | None = None
    sync_level: int | None = None
    verify_checksum: bool | None = None
    encrypt_data: bool | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in FINAL


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a task's event list.

    Attributes
    ----------
    code : str
        `STARTED`, `PROGRESS`, `PAUSED`, `UNPAUSED`, `SUCCEEDED`, `CANCELED`, `EXPIRED`, or the code of an error.
    time : float or None
        [s since 1970], whole seconds.
    description : str or None
        In words.
    is_error : bool
        Whether it is a fault.
    bytes_transferred : float or None
        [bytes] moved since the last `PROGRESS`.
    duration : float or None
        [s] in which they were.
    speed : float or None
        [bytes/s] as Globus gives it (`mbps`).
    """

    code: str
    time: float | None = None
    description: str | None = None
    is_error: bool = False
    bytes_transferred: float | None = None
    duration: float | None = None
    speed: float | None = None


def owner(label: object) -> tuple[str, str]:
    """The `wf_uuid` and the `dag_job_id` that a label names.

    Raises
    ------
    FormatError
        It is no label of a Pegasus job.
    """
    match = _LABEL.fullmatch(label) if isinstance(label, str) and len(label) <= _LONGEST_LABEL else None
    if match is None:
        raise FormatError(f"label {str(label)[:160]!r} is not '<wf_uuid> - <dag_job_id>'")
    return match[1], match[2]


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn a published task, or one event of a task, into an event.

    A record without ids of its own has those of its label. A task's time is when it was completed, or else requested.

    Raises
    ------
    FormatError
        It belongs to no workflow, an event to no task, or a number is none.
    """
    fields = flattened(raw)
    kind = str(fields.pop("event"))
    wf_uuid, job_id = name(fields, "wf_uuid"), name(fields, "dag_job_id")
    if wf_uuid is None:
        wf_uuid, job_id = owner(fields.get("label"))
    if kind == PROGRESS and plain.text(fields.get("task_id")) is None:
        raise FormatError(f"event {kind!r} without its field 'task_id'")
    told = seconds(fields, "ts")
    return Event(
        kind=kind,
        wf_uuid=wf_uuid,
        ts=_first(told, fields, ("time",) if kind == PROGRESS else ("completion_time", "request_time")),
        job_id=job_id,
        attempt=whole(fields, "attempt"),
        fields=fields,
    )


def published(document: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The raw record of a task with its event list, as Panorama's pegasus-globus-online publishes it at the end.

    Raises
    ------
    FormatError
        Its label names no workflow.
    """
    wf_uuid, job_id = owner(document.get("label"))
    kept = {key: value for key, value in document.items() if key not in _LEFT_OUT}
    return {**kept, "event": TASK, "wf_uuid": wf_uuid, "dag_job_id": job_id, "transfer_events": list(entries)}


def happened(document: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The raw record of one entry of a task's event list.

    Raises
    ------
    FormatError
        The task's label names no workflow.
    """
    wf_uuid, job_id = owner(document.get("label"))
    own = {"event": PROGRESS, "wf_uuid": wf_uuid, "dag_job_id": job_id, "task_id": document.get("task_id")}
    return {**entry, **own}


def task(fields: Mapping[str, Any]) -> Task:
    """Read the document of a task; what is not of its type is taken for not told."""
    told = {key: read(fields.get(key)) for key, read in _READ.items()}
    fatal = fields.get("fatal_error")
    fatal = fatal if isinstance(fatal, dict) else {}
    return Task(**told, error_code=plain.text(fatal.get("code")), error=plain.text(fatal.get("description")))


def task_event(fields: Mapping[str, Any]) -> TaskEvent:
    """Read one entry of an event list; what is not of its type is taken for not told."""
    details = _details(fields.get("details"))
    megabits = plain.number(details.get("mbps"))
    return TaskEvent(
        code=plain.text(fields.get("code")) or "UNKNOWN",
        time=moment(fields.get("time")),
        description=plain.text(fields.get("description")),
        is_error=fields.get("is_error") is True,
        bytes_transferred=plain.number(details.get("bytes_transferred")),
        duration=plain.number(details.get("duration")),
        speed=None if megabits is None else megabits * 1e6 / 8,
    )


def moment(value: object) -> float | None:
    """ISO 8601 time, UTC unless it says otherwise, in [s since 1970]."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _details(value: object) -> dict[str, Any]:
    """Details of a PROGRESS are JSON in a text; those of others are words for a person."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _first(told: float | None, fields: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    if told is not None:
        return told
    return next((found for key in keys if (found := moment(fields.get(key))) is not None), None)


_READ: dict[str, Any] = (
    dict.fromkeys(("request_time", "completion_time", "deadline"), moment)
    | dict.fromkeys(("is_ok", "is_paused", "verify_checksum", "encrypt_data"), plain.flag)
    | {"effective_bytes_per_second": plain.number}
    | dict.fromkeys(
        (
            "files",
            "files_transferred",
            "files_skipped",
            "directories",
            "bytes_transferred",
            "bytes_checksummed",
            "faults",
            "nice_status_expires_in",
            "sync_level",
            *(f"subtasks_{state}" for state in ("total", "pending", "retrying", "succeeded")),
            *(f"subtasks_{state}" for state in ("failed", "canceled", "expired", "skipped_errors")),
        ),
        plain.count,
    )
)
_READ = {key: _READ.get(key, plain.text) for key in Task.__struct_fields__ if not key.startswith("error")}
