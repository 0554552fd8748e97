"""One workflow run as rows of the tables that SQL asks for, by the code that all metrics come from."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec

from ..analysis import KINDS, Episodes
from ..events import Event
from ..metrics import AttemptMetrics, JobMetrics, Run, TransferMetrics, thinned
from ..store import Store
from ..store._base import printable
from . import _columns as columns

Value = str | int | float | None
Row = tuple[Value, ...]

_LONGEST = 64 << 10  # characters of a text
_INTEGERS = range(-(2**63), 2**63)
_COMPOSITE = "stampede.job_inst.composite"
_MIB = 2**20
_PLACE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/@]*@)?([^/]*)")


class RunRows(NamedTuple):
    """A run; the first value of rows of jobs, attempts and transfers is what tells them apart within it."""

    workflow: Row
    jobs: list[Row]
    attempts: list[Row]
    transfers: list[Row]
    anomalies: list[Row]


def read(store: Store, wf_uuid: str) -> RunRows:
    """Read a run.

    Raises
    ------
    ValueError
        The store has no events of it.
    StoreError
        It cannot be read.
    """
    return rows_of(thinned(partial(store.events, wf_uuid)))


def rows_of(events: list[Event]) -> RunRows:
    """Rows of a run; unknown is None.

    Raises
    ------
    ValueError
        There are no events, or they are of several runs.
    """
    run = Run(events)
    metrics, asked = run.metrics(), _memory_asked(events)
    root = run.plan.get("root_xwf_id")
    return RunRows(
        (value(root if isinstance(root, str) and root else metrics.wf_uuid), *_workflow(metrics)),
        [_job(job) for job in metrics.jobs],
        [_attempt(job, each, asked) for job in metrics.jobs for each in job.attempts],
        [_transfer(number, told.metrics) for number, told in enumerate(run.transfers())],
        list(_anomalies(events)),
    )


def _getter(wanted: Iterable[columns.Column]) -> Callable[[Any], Row]:
    """What takes the values of these columns out of a record: of `darshan_logs`, `logs` of its `darshan`, if any."""
    names = [column.name for column in wanted]
    parts = {whole: [name for name in names if name.startswith(f"{whole}_")] for whole in ("darshan", "tcp")}
    nested = {name for part in parts.values() for name in part}
    plain = operator.attrgetter(*(name for name in names if name not in nested))
    inner = {whole: [name.removeprefix(f"{whole}_") for name in part] for whole, part in parts.items() if part}

    def values(record: Any) -> Row:
        found = [*plain(record)]
        for whole, fields in inner.items():
            part = getattr(record, whole)
            found += [None if part is None else getattr(part, field) for field in fields]
        return tuple([each if each.__class__ is float or each is None else value(each) for each in found])

    return values


def value(told: object) -> Value:
    """As SQLite takes it."""
    match told:
        case str():
            return printable(told[:_LONGEST])
        case bool():
            return int(told)
        case int():
            return told if told in _INTEGERS else float(told)
        case float() | None:
            return told
    return printable(msgspec.json.encode(told).decode())


_workflow = _getter(columns.WORKFLOW)
_measures = _getter(columns.MEASURES)
_own = _getter(columns.ATTEMPT)
_transferred = _getter(columns.TRANSFER)


def _job(job: JobMetrics) -> Row:
    return (value(job.job_id), len(job.attempts), job.retries, job.cumulative_time, *_measures(job))


def _attempt(job: JobMetrics, attempt: AttemptMetrics, asked: dict[tuple[str | None, int | None], int]) -> Row:
    last, memory = int(attempt is job.attempts[-1]), asked.get((attempt.job_id, attempt.attempt))
    return (value(job.job_id), *_own(attempt), last, memory, *_measures(attempt))


def _memory_asked(events: Iterable[Event]) -> dict[tuple[str | None, int | None], int]:
    """[bytes] by job and attempt; HTCondor counts in MiB."""
    found = {}
    for event in events:
        told = event.fields.get("req_memory_mb") if event.kind == _COMPOSITE else None
        if isinstance(told, int | str) and re.fullmatch(r"[0-9]{1,12}", str(told)):
            found[event.job_id, event.attempt] = int(told) * _MIB
    return found


def _transfer(number: int, transfer: TransferMetrics) -> Row:
    places = (_place(transfer.source), _place(transfer.destination))
    return (number, *_transferred(transfer), *map(value, places))


def _place(url: str | None) -> str | None:
    """Scheme and host, without a user; the name of a Globus collection as it is."""
    found = _PLACE.match(url) if url else None
    return url if found is None else f"{found[1]}{found[2]}"


def _anomalies(events: Iterable[Event]) -> Iterator[Row]:
    episodes = Episodes()
    episodes.take(event for event in events if event.kind in KINDS)
    for number, each in enumerate(episodes.newest_first()):
        anomaly = each.anomaly
        more = {
            "anomaly": each.episode_id,
            "found": anomaly.found if anomaly.phase == "found" else None,
            "over": each.over,
            "evidence": msgspec.json.encode(anomaly.evidence).decode(),
        }
        names = (column.name for column in columns.ANOMALY)
        yield (number, *(value(more[name] if name in more else getattr(anomaly, name)) for name in names))
