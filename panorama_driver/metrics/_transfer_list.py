"""Every transfer of a run, one by one: who moved what from where to where, how fast, and with what trouble."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from ..events import Event
from ..sources.traces import TRACE
from . import _transfers
from ._index import WorkflowIndex
from ._transfers import Piece, Transfer
from .records import TransferMetrics

_TOOLS: dict[str, Literal["pegasus-transfer", "globus"]] = {_transfers.GLOBUS: "globus"}


def transfers(events: Iterable[Event]) -> tuple[TransferMetrics, ...]:
    """The transfers of one run in order of time, each once, from the records that know most.

    Parameters
    ----------
    events : iterable of Event
        As for `correlate`.

    Returns
    -------
    tuple of TransferMetrics
        A record a file and attempt where the tool tells of files, else a record a job, and a record a Globus task.

    Raises
    ------
    ValueError
        The events are not of one run.
    """
    return tuple(told.metrics for told in transfers_of(WorkflowIndex(events)))


class Told(NamedTuple):
    """A transfer as a record, and when it moved what."""

    metrics: TransferMetrics
    pieces: tuple[Piece, ...]


def transfers_of(index: WorkflowIndex) -> list[Told]:
    """The transfers of a run whose events are sorted, in order of time."""
    return sorted(_of(index), key=_place)


def _place(told: Told) -> tuple[float, str, str]:
    record = told.metrics
    return record.begin or 0.0, record.job_id or "", record.name or ""


def _of(index: WorkflowIndex) -> Iterator[Told]:
    for job in index.jobs.values():
        for attempt in job.attempts:
            once = _transfers.each_once(attempt.transfers)
            yield from (Told(_record(each, job.job_id, attempt.attempt), each.pieces) for each in once)
    by_job: dict[str | None, list[Event]] = {}
    for event in index.unmatched:
        if event.kind != TRACE:
            by_job.setdefault(event.job_id, []).append(event)
    for job_id, loose in by_job.items():
        once = _transfers.each_once(_transfers.transfers(loose))
        yield from (Told(_record(each, job_id, None), each.pieces) for each in once)


def _record(transfer: Transfer, job_id: str | None, attempt: int | None) -> TransferMetrics:
    known = transfer.begin is not None and transfer.end is not None
    lasted = max(0.0, transfer.end - transfer.begin) if known else None  # type: ignore[operator]  # both are `known`
    over = transfer.size / lasted if transfer.size is not None and lasted else None
    return TransferMetrics(
        job_id=job_id,
        attempt=attempt,
        tool=_TOOLS.get(transfer.kind, "pegasus-transfer"),
        name=transfer.name,
        source=transfer.source,
        destination=transfer.destination,
        method=transfer.method,
        state=_state(transfer),
        begin=transfer.begin,
        end=transfer.end,
        duration=lasted,
        files=None if transfer.files is None else int(transfer.files),
        size=None if transfer.staged is None else int(transfer.staged),
        bytes_transferred=None if transfer.size is None else int(transfer.size),
        rounding=transfer.rounding,
        effective_speed=over if transfer.effective_speed is None else transfer.effective_speed,
        average_speed=over if transfer.average_speed is None else transfer.average_speed,
        faults=transfer.faults,
        retried=transfer.again,
        error=transfer.error,
    )


def _state(transfer: Transfer) -> str:
    if transfer.kind == _transfers.GLOBUS and transfer.state:
        return transfer.state
    return {True: "succeeded", False: "failed", None: "unknown"}[transfer.succeeded]
