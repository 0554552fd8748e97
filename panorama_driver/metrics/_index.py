"""The events of one run, sorted to the job and the attempt they tell of.

Pegasus numbers attempts; worker records of Panorama know only the scheduler's name for one (`condor_job_id` is
`sched_id`), Globus' know neither. A record that names no attempt goes to the only one of its job, or to the only one
within whose time it lies, which is a guess and counted as one. What fits no single attempt stays apart and is counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import msgspec

from ..events import Event
from ..sources import tcp
from ..sources.hosts import short_name
from ..sources.traces import TRACE
from . import _darshan, _traces, _transfers
from ._findings import number, text

_FOUND = "anomalies."
"""Kinds of what somebody has found in the numbers begin like this: they are none themselves."""


class AttemptIndex:
    """What was recorded of one attempt, in order of time."""

    def __init__(self, job_id: str, attempt: int) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.events: dict[str, list[Event]] = defaultdict(list)
        self.samples: list[Event] = []
        self.transfer_events: list[Event] = []
        self.file_sizes: Mapping[str, float] = {}
        self.host_names: Mapping[str, str] = {}
        self.guessed = 0

    def all(self, name: str) -> list[Event]:
        """Events of one kind, given without `stampede.`."""
        return self.events.get(f"stampede.{name}", [])

    def last(self, name: str) -> Event | None:
        return next(reversed(self.all(name)), None)

    def time(self, *names: str) -> float | None:
        """When the first of these kinds that happened was first told of [s since 1970]."""
        return next((event.ts for name in names for event in self.all(name) if event.ts is not None), None)

    def field(self, key: str, *names: str) -> object:
        """A field of the first of these kinds of event that has it."""
        return next((e.fields[key] for name in names for e in self.all(name) if e.fields.get(key) is not None), None)

    @property
    def sched_id(self) -> str | None:
        return next((sched for events in self.events.values() for e in events if (sched := _sched_id(e))), None)

    @cached_property
    def invocations(self) -> list[Event]:
        """Records of programs that ran.

        monitord invents one for a job that left no kickstart record: no usage in it, and an exit status that is the
        scheduler's, not the program's.
        """
        measured = ("remote_cpu_time", "maxrss", "utime", "stime")
        ended = [event for event in self.all("inv.end") if (event.invocation or 0) > 0]
        real = [event for event in ended if any(number(event.fields.get(key)) is not None for key in measured)]
        return sorted(real, key=lambda event: event.invocation or 0)

    @cached_property
    def streams(self) -> list[_traces.Stream]:
        return _traces.streams(self.samples)

    @cached_property
    def transfers(self) -> list[_transfers.Transfer]:
        return _transfers.transfers(self.transfer_events, self.file_sizes)

    @cached_property
    def darshan(self) -> _darshan.Found:
        """Reports of its Darshan logs, those of monitord's payloads among them."""
        kinds = sorted(_darshan.KINDS | {"stampede.task.monitoring"})
        return _darshan.found((event for kind in kinds for event in self.events.get(kind, ())), self.streams)

    @property
    def host_name(self) -> str | None:
        """The worker's short name; kickstart, Pegasus and the transfer tool spell hosts in three ways."""
        own = [*self.all("job_inst.host.info"), *self.all("job_inst.composite"), *self.samples, *self.transfer_events]
        return next((short_name(name) for event in own if (name := text(event.fields.get("hostname")))), None)

    @property
    def host_address(self) -> str | None:
        return text(self.field("ip", "job_inst.host.info"))

    @property
    def ran(self) -> bool:
        """Whether anything shows that it ran: the scheduler's word, a program's record, a trace or a transfer."""
        told = self.all("job_inst.main.start") or self.field("local_dur", "job_inst.main.end") is not None
        return bool(told or self.invocations or self.samples or self.transfer_events)

    @property
    def noop(self) -> bool:
        """Whether DAGMan only pretended to run it: a NOOP node, whose made-up id is of cluster 0."""
        return (self.sched_id or "").partition(".")[0] == "0"

    @property
    def batch(self) -> bool:
        """Whether HTCondor handed it on to a batch system."""
        return bool(self.all("job_inst.grid.submit.start"))

    @property
    def submitted(self) -> float | None:
        return self.time("job_inst.submit.start", "job_inst.submit.end")

    @property
    def finished(self) -> float | None:
        """When the scheduler saw it end [s since 1970]; one that was evicted is started again."""
        ends = [event.ts for event in self.all("job_inst.main.term") if not _is_eviction(event)]
        known = (*ends, self.time("job_inst.abort.info", "job_inst.main.end"))
        return next((ts for ts in known if ts is not None), None)

    @property
    def begun(self) -> float | None:
        """When the scheduler saw it start, for the last time where it was evicted in between [s since 1970]."""
        return next((event.ts for event in reversed(self.all("job_inst.main.start")) if event.ts is not None), None)

    @property
    def lost_time(self) -> float:
        """How long it ran before it was evicted, and had to begin again [s]."""
        starts = [event.ts for event in self.all("job_inst.main.start") if event.ts is not None]
        ends = [e.ts for e in self.all("job_inst.main.term") if e.ts is not None and _is_eviction(e)]
        return math.fsum(max(0.0, end - start) for start, end in zip(starts[:-1], ends, strict=False))

    def window(self) -> tuple[float, float]:
        """From the first to the last thing the scheduler told of it [s since 1970]."""
        told = [
            e.ts for name, events in self.events.items() if ".job_inst." in name for e in events if e.ts is not None
        ]
        return (min(told, default=float("inf")), max(told, default=float("-inf")))


def _is_eviction(event: Event) -> bool:
    """Whether an end of a job is none for good: HTCondor took it from its machine (monitord's JOB_EVICTED)."""
    return number(event.fields.get("status")) == -1


class JobIndex:
    """What was recorded of one job."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.info: Event | None = None
        self.transformations: list[str] = []
        self.by_attempt: dict[int, AttemptIndex] = {}
        self.loose: list[Event] = []
        self.unmatched: list[Event] = []

    @property
    def attempts(self) -> list[AttemptIndex]:
        return [self.by_attempt[number] for number in sorted(self.by_attempt)]

    def attempt(self, number: int) -> AttemptIndex:
        if number not in self.by_attempt:
            self.by_attempt[number] = AttemptIndex(self.job_id, number)
        return self.by_attempt[number]

    def settle(self) -> None:
        """Give the records that know no attempt to the one they belong to."""
        for event in self.loose:
            owner, guessed = self.owner(event)
            if owner is None:
                self.unmatched.append(event)
            else:
                owner.guessed += _traces.samples_in([event]) if guessed else 0
                _file(owner, event)

    def owner(self, event: Event) -> tuple[AttemptIndex | None, bool]:
        """The attempt that a record which tells of none belongs to, if any, and whether that is a guess."""
        named = self._named(event)
        return (named, False) if named else (self._guessed(event), True)

    def _named(self, event: Event) -> AttemptIndex | None:
        """The attempt that the record names by the scheduler's name; of a job tried once a record needs no name."""
        sched = _sched_id(event)
        named = [attempt for attempt in self.attempts if sched in (None, attempt.sched_id)]
        return named[0] if len(named) == 1 else None

    def _guessed(self, event: Event) -> AttemptIndex | None:
        sched = _sched_id(event)
        candidates = [attempt for attempt in self.attempts if sched is None or attempt.sched_id in (sched, None)]
        if len(candidates) > 1:
            candidates = [attempt for attempt in candidates if _within(event, attempt.window())]
        return candidates[0] if len(candidates) == 1 else None


class WorkflowIndex:
    """What was recorded of one run: `jobs` by id, and the events that belong to none by kind."""

    def __init__(self, events: Iterable[Event]) -> None:
        ordered = in_order(events)
        self.wf_uuid = _only_workflow(ordered)
        self.jobs: dict[str, JobIndex] = {}
        self.events: dict[str, list[Event]] = defaultdict(list)
        self.homeless: list[Event] = []
        for event in ordered:
            self._take(event)
        self._name_transformations()
        for job in self.jobs.values():
            job.settle()
        self._tell_sizes()
        self._tell_host_names()
        self.jobs = dict(sorted(self.jobs.items()))

    def all(self, name: str) -> list[Event]:
        return self.events.get(f"stampede.{name}", [])

    @property
    def edges(self) -> list[tuple[str, str]]:
        pairs = {(e.fields.get("parent_job_id"), e.fields.get("child_job_id")) for e in self.all("job.edge")}
        return sorted((parent, child) for parent, child in pairs if isinstance(parent, str) and isinstance(child, str))

    @property
    def unmatched(self) -> list[Event]:
        """Worker records that belong to no job, or to none of its attempts for certain."""
        return self.homeless + [event for job in self.jobs.values() for event in job.unmatched]

    def _take(self, event: Event) -> None:
        if event.kind.startswith(_FOUND):
            return
        self.events[event.kind].append(event)
        if event.job_id is None:
            if _is_measured(event):
                self.homeless.append(event)
            return
        job = self.jobs.setdefault(event.job_id, JobIndex(event.job_id))
        if event.attempt is not None:
            _file(job.attempt(event.attempt), event)
        elif _is_measured(event):
            job.loose.append(event)
        elif event.kind == "stampede.job.info":
            job.info = event

    def _tell_sizes(self) -> None:
        """Give the sizes of files [bytes], which monitord tells by logical name, to the attempts that moved some."""
        told = {text(e.fields.get("lfn_id")): e.fields for e in self.all("rc.meta") if e.fields.get("key") == "size"}
        sizes = {lfn: size for lfn, fields in told.items() if lfn and (size := number(fields.get("value"))) is not None}
        for job in self.jobs.values():
            for attempt in job.attempts:
                attempt.file_sizes = sizes

    def _tell_host_names(self) -> None:
        """Give names for addresses, where one attempt told both, to those that told the address alone.

        monitord names the host only of jobs that ran under PegasusLite.
        """
        named: dict[str, set[str]] = defaultdict(set)
        attempts = [attempt for job in self.jobs.values() for attempt in job.attempts]
        for attempt in attempts:
            if attempt.host_name and attempt.host_address:
                named[attempt.host_address].add(attempt.host_name)
        names = {address: next(iter(found)) for address, found in named.items() if len(found) == 1}
        for attempt in attempts:
            attempt.host_names = names

    def _name_transformations(self) -> None:
        names = {e.fields.get("task_id"): e.fields.get("transformation") for e in self.all("task.info")}
        for event in self.all("wf.map.task_job"):
            name = text(names.get(event.fields.get("task_id")))
            if name and event.job_id and name not in self.jobs[event.job_id].transformations:
                self.jobs[event.job_id].transformations.append(name)


def _file(attempt: AttemptIndex, event: Event) -> None:
    if event.kind == TRACE:
        attempt.samples.append(event)
    elif _transfers.kind(event):
        attempt.transfer_events.append(event)
    else:
        attempt.events[event.kind].append(event)


def _is_measured(event: Event) -> bool:
    kinds = _darshan.KINDS | {TRACE, tcp.KIND}
    return event.kind in kinds or _transfers.kind(event) is not None


def _sched_id(event: Event) -> str | None:
    return text(event.fields.get("sched_id")) or text(event.fields.get("condor_job_id"))


def _within(event: Event, window: tuple[float, float]) -> bool:
    begin = _transfers.begin_of(event) if _transfers.kind(event) else event.ts
    return begin is not None and window[0] <= begin <= window[1]


def in_order(events: Iterable[Event]) -> list[Event]:
    """Each event once, in an order that does not depend on arrival."""
    unique: dict[str, Event] = {}
    for event in events:
        known = unique.setdefault(event.event_id, event)
        if known is not event and known != event:
            unique[event.event_id] = min(known, event, key=_content)
    return [event for _, event in sorted(unique.items(), key=lambda item: (item[1].ts or 0.0, item[0]))]


def _content(event: Event) -> bytes:
    return msgspec.json.encode(event, order="deterministic")


def _only_workflow(events: Sequence[Event]) -> str:
    found = sorted({event.wf_uuid for event in events})
    if len(found) != 1:
        told = ", ".join(found) if found else "no events"
        raise ValueError(f"metrics are computed of exactly one workflow run, got {told}; select the events by wf_uuid")
    return found[0]
