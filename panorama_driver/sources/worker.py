"""Records that a job's own machine tells, and of which nothing but the key is read: staged files, Darshan's logs; and
anomalies, which name their job in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import Event
from ._fields import flattened, name, required, seconds, whole


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn one record into an event.

    Pegasus' and Panorama's own records know only the HTCondor job; ours carry the attempt.

    Raises
    ------
    FormatError
        `wf_uuid` is missing, or a number is none.
    """
    fields = flattened(raw)
    kind = str(fields.pop("event"))
    return Event(
        kind=kind,
        wf_uuid=required(fields, "wf_uuid"),
        ts=seconds(fields, "ts"),
        job_id=name(fields, "dag_job_id"),
        attempt=whole(fields, "attempt"),
        fields=fields,
    )
