"""The one record that everything measured travels in, from any source to any store.

The canonical key of anything measured is `(wf_uuid, job_id, attempt, invocation)`. An event's identity is made from
that key and the fields that tell events of one kind apart, never from how or when it arrived: the same event from a
broker, a replay and a file has the same `event_id` and so is one row.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_DISCRIMINATORS = (
    "js_id",
    "restart_count",
    "task_id",
    "parent_task_id",
    "child_task_id",
    "parent_job_id",
    "child_job_id",
    "subwf_id",
    "lfn_id",
    "key",
    "value",
    "pfn",
    "name",
    "type",
    "file_type",
    "condor_job_id",
    "sched_id",
    "hostname",
    "pid",
    "seq",
    "source_url",
    "destination_url",
)
_DIGEST_WHOLE = frozenset({"stampede.task.monitoring", "transfer.inv.go"})


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, or was sampled, on the worker or in the workflow system.

    Attributes
    ----------
    kind : str
        Name of the event in the field's own words, such as `stampede.inv.end`.
    wf_uuid : str
        The workflow run it belongs to.
    ts : float or None
        Event time on the emitter's clock [s since 1970, UTC]; None where the source's time is unusable.
    job_id : str or None
        Node of the executable workflow.
    attempt : int or None
        `job_inst_id`: the try of that job; None where the source does not know it.
    invocation : int or None
        `inv_id`: the process under kickstart; -1 and -2 are pre and post scripts.
    fields : dict
        Everything else as it came, keys in the flattened spelling (`xwf_id`, not `xwf.id`).
    """

    kind: str
    wf_uuid: str
    ts: float | None = None
    job_id: str | None = None
    attempt: int | None = None
    invocation: int | None = None
    fields: dict[str, Any] = {}

    @property
    def event_id(self) -> str:
        """Deterministic identity: 32 hexadecimal digits."""
        fields = self.fields
        parts = [self.kind, self.wf_uuid, self.job_id or "", _plain(self.attempt), _plain(self.invocation)]
        if self.kind in _DIGEST_WHOLE:
            parts += [_plain(self.ts), *(f"{key}={_plain(fields[key])}" for key in sorted(fields))]
        else:
            parts += [f"{key}={_plain(fields[key])}" for key in _DISCRIMINATORS if fields.get(key) not in (None, "")]
            if fields.get("seq") is None:
                parts.append(_plain(self.ts))
        text = "\x1f".join(parts)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _plain(value: object) -> str:
    """One spelling for 1, 1.0 and "1", which file formats and brokers do not keep apart; other text stays as it is."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)
