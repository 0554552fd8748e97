"""An anomaly as a record, and as the event that it travels in: from the study's store to broker, CLI and dashboard."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from ..errors import FormatError
from ..events import Event

FAMILY = "anomalies"
"""Events of anomalies are called `anomalies.KIND`, which is also the key that the broker routes them by."""

Kind = Literal[
    "throttled",
    "slow_disk",
    "stalled",
    "leaking",
    "runaway_output",
    "idle_in_queue",
    "slow_job",
    "slow_host",
    "failing_host",
    "unusual_workflow",
    "tcp_loss",
    "tcp_duplication",
    "tcp_reordering",
]
"""What may be wrong.

| kind | whose | meaning |
| --- | --- | --- |
| `throttled` | attempt | gets less processor time than it would use |
| `slow_disk` | attempt | its input and output take far longer than they did |
| `stalled` | attempt | neither computes nor moves anything |
| `leaking` | attempt | its memory grows as that of no other of its transformation |
| `runaway_output` | attempt | it writes as no other of its transformation |
| `idle_in_queue` | attempt | it waits for a slot as no other has |
| `slow_job` | attempt | has taken far longer than others of its transformation |
| `slow_host` | host | jobs take longer there than elsewhere, whatever their transformation and input |
| `failing_host` | host | jobs fail there that succeed elsewhere |
| `unusual_workflow` | workflow | a run unlike the others of its name |
| `tcp_loss`, `tcp_duplication`, `tcp_reordering` | transfer | what the network did to its segments |
"""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One number that speaks for an anomaly.

    Attributes
    ----------
    metric : str
        What was looked at, by its name in metrics or in traces.
    observed : float
        Its value.
    expected : float or None
        What it should be; None where nothing is known to compare with.
    unit : str
        Of both; empty for a plain number.
    basis : str
        What `expected` was made of, such as `median of 12 attempts of md`.
    """

    metric: str
    observed: float
    expected: float | None = None
    unit: str = ""
    basis: str = ""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it should be.

    Attributes
    ----------
    kind : str
        What; see `Kind`.
    wf_uuid : str
        The workflow run it was found in.
    job_id, attempt : str, int or None
        Whose it is; None where it is of a host or of the whole run.
    host : str or None
        The worker, by its short name; with the slot group after a slash where slots are in groups.
    transformation : str or None
        Logical program of the job.
    since : float
        [s since 1970] when it began, UTC, by the worker's clock.
    found : float
        [s since 1970] event time of what showed it, UTC; `found - since` is what the detector needed.
    phase : str
        `found`, or `over`: it is as it should be again.
    episode : int
        How many of its kind there had been of the same attempt, host or run.
    confidence : float
        [1] share of such findings that would be right, in (0, 1), as far as the history tells.
    message : str
        What, where and why, in words for a person.
    evidence : tuple of Evidence
        The numbers that speak for it, the strongest first.
    detector : str
        Which, and its version, such as `online 1`.
    """

    kind: Kind
    wf_uuid: str
    job_id: str | None = None
    attempt: int | None = None
    host: str | None = None
    transformation: str | None = None
    since: float
    found: float
    phase: Literal["found", "over"] = "found"
    episode: int = 0
    confidence: float
    message: str
    evidence: tuple[Evidence, ...] = ()
    detector: str

    @property
    def anomaly_id(self) -> str:
        """Deterministic identity, the event's: the same finding again, after a restart or a replay, is the same row."""
        return as_event(self).event_id


_KEY = frozenset({"kind", "wf_uuid", "job_id", "attempt", "found", "host"})


def as_event(anomaly: Anomaly) -> Event:
    """The event that tells it; its `ts` is `found`, and its `hostname` the host."""
    fields = {name: value for name, value in msgspec.to_builtins(anomaly).items() if name not in _KEY}
    return Event(
        kind=f"{FAMILY}.{anomaly.kind}",
        wf_uuid=anomaly.wf_uuid,
        ts=anomaly.found,
        job_id=anomaly.job_id,
        attempt=anomaly.attempt,
        fields={name: value for name, value in fields.items() if value is not None} | _hostname(anomaly),
    )


def as_record(anomaly: Anomaly) -> dict[str, Any]:
    """The record of it that goes to a broker or into a file; `sources.parse` makes the same event of it again."""
    event = as_event(anomaly)
    key = {"event": event.kind, "ts": event.ts, "wf_uuid": event.wf_uuid}
    own = {"dag_job_id": event.job_id, "attempt": event.attempt}
    return key | {name: value for name, value in own.items() if value is not None} | event.fields


def _hostname(anomaly: Anomaly) -> dict[str, str]:
    return {} if anomaly.host is None else {"hostname": anomaly.host}


def anomaly_of(event: Event) -> Anomaly:
    """The anomaly that an event tells.

    Raises
    ------
    FormatError
        It tells none, or one that is damaged.
    """
    family, _, kind = event.kind.partition(".")
    if family != FAMILY or kind not in get_args(Kind):
        raise FormatError(f"event {event.kind!r} tells no anomaly; those are {', '.join(get_args(Kind))}")
    own = {name: value for name, value in event.fields.items() if name in Anomaly.__struct_fields__}
    key = {
        "kind": kind,
        "wf_uuid": event.wf_uuid,
        "job_id": event.job_id,
        "attempt": event.attempt,
        "found": event.ts,
        "host": event.fields.get("hostname"),
    }
    try:
        return msgspec.convert(own | key, Anomaly)
    except msgspec.ValidationError as problem:
        raise FormatError(f"event {event.kind!r}: {str(problem).replace('`', chr(39))}") from None
