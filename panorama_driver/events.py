"""The one record that everything measured travels in, from any source to any store.

The canonical key of anything measured is `(wf_uuid, job_id, attempt, invocation)`. An event's identity is made from
that key and the fields that tell events of one kind apart, never from how or when it arrived: the same event from a
broker, a replay and a file has the same `event_id` and so is one row.

monitord and a reader of the submit directory tell the same happenings with slightly different numbers: monitord counts
the steps it saw (`js_id`), and stamps what it read from a record with the second in which it read it. So what can
happen once in an attempt is known by its kind alone, and only what may come again (a second start after an eviction, a
second time held) by its time as well, which both take from the same line of DAGMan's log.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

DISCRIMINATORS = (
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
    "gpu_id",
    "seq",
    "source_url",
    "destination_url",
)
"""Fields that tell events of one kind and key apart."""
_OF_ATTEMPT = ("stampede.job_inst.", "stampede.inv.")
_RECURRING = frozenset(
    "stampede.job_inst." + name
    for name in (
        "main.start",
        "main.term",
        "held.start",
        "held.end",
        "image.info",
        "remote_error",
        "grid.submit.start",
        "grid.submit.end",
        "globus.submit.start",
        "globus.submit.end",
    )
)
"""What an attempt may meet more than once; everything else of an attempt happens once."""
_TELLING = {
    "stampede.job_inst.host.info": ("ip",),
    "stampede.job_inst.tag": ("name",),
    "darshan.log": ("data",),
    "transfer.tcp": ("source", "c_ip", "c_port", "s_ip", "s_port"),
    "darshan.report": ("log", "reader"),
    "anomalies": ("phase", "episode"),
}
"""What tells events of one kind, or of one family, apart beside what tells others."""
_TIMELESS = {"anomalies"} | {
    "stampede." + name
    for name in ("wf.plan", "xwf.start", "xwf.end", "xwf.meta", "task.meta", "rc.meta", "rc.pfn", "int.metric")
}
"""Kinds outside of attempts, and families, that their fields tell apart, and whose time depends on who tells."""
_DIGEST_WHOLE = frozenset({"stampede.task.monitoring", "transfer.inv.go", "transfer.go.event"})
_GLOBUS_ENDS = ("SUCCEEDED", "FAILED")
_ADDED_BY_MONITORD = frozenset(
    {
        "root_xwf_id",
        "dax",
        "dag",
        "wf_ts",
        "submit_dir",
        "pegasus_version",
        "submit_hostname",
        "wf_user",
        "level",
        "sched_id",
    }
)
"""What monitord adds to every event, payloads included; it says nothing about the payload."""
_USAGE = ("remote_cpu_time", "maxrss", "utime", "stime")


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
        parts = [self.kind, self.wf_uuid, self.job_id or "", _plain(self.attempt), _plain(self.invocation)]
        text = "\x1f".join([*parts, *_distinction(self)])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _distinction(event: Event) -> list[str]:
    """What tells an event from others of its kind and key."""
    kind, fields = event.kind, event.fields
    if kind == "transfer.inv.go" and fields.get("status") in _GLOBUS_ENDS and fields.get("task_id"):
        return [str(fields["task_id"]), str(fields["status"])]  # it ends once, whoever tells and however much of it
    if kind in _DIGEST_WHOLE:
        told = sorted(fields.keys() - _ADDED_BY_MONITORD)
        return [_plain(event.ts), *(f"{key}={_plain(fields[key])}" for key in told)]
    if event.attempt is not None and kind.startswith(_OF_ATTEMPT):
        own = [f"{key}={_plain(fields[key])}" for key in _TELLING.get(kind, ()) if fields.get(key) not in (None, "")]
        if kind == "stampede.inv.end":
            own.append(_witness(fields))
        return [*own, _plain(event.ts)] if kind in _RECURRING else own
    family = kind.partition(".")[0]
    telling = (*DISCRIMINATORS, *_TELLING.get(kind, _TELLING.get(family, ())))
    own = [f"{key}={_plain(fields[key])}" for key in telling if fields.get(key) not in (None, "")]
    timeless = fields.get("seq") is not None or kind in _TIMELESS or family in _TIMELESS
    return own if timeless else [*own, _plain(event.ts)]


def _witness(fields: dict[str, Any]) -> str:
    """A program's record, or monitord's stopgap for one that was missing, which must not keep the record out later."""
    return "" if any(fields.get(key) is not None for key in _USAGE) else "no record"


def _plain(value: object) -> str:
    """One spelling for 1, 1.0 and "1", which file formats and brokers do not keep apart; other text stays as it is."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)
