"""Records of transfer tools in their three shapes, brought to one: pegasus-transfer's per file and per job, Globus'."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..events import Event
from ._findings import Finding, number, unknown

SINGLE, SUMMARY, GLOBUS = "transfer.inv.local.single", "transfer.inv.local", "transfer.inv.go"
KINDS = frozenset({SINGLE, SUMMARY, GLOBUS})


class Piece(NamedTuple):
    """Bytes moved within a span of time [s since 1970]."""

    begin: float
    end: float
    size: float


class Transfer(NamedTuple):
    """One transfer, or the transfers of one job together; `size` [bytes] is None where the tool does not know."""

    kind: str
    begin: float | None
    end: float | None
    size: float | None
    files: float | None
    succeeded: bool
    pieces: tuple[Piece, ...]


def kind(event: Event) -> str | None:
    """Which of the three shapes an event has; also when it came as a payload of the job's output."""
    name = event.kind
    if name == "stampede.task.monitoring":
        name = str(event.fields.get("monitoring_event"))
    return name if name in KINDS else None


def transfers(events: Iterable[Event]) -> list[Transfer]:
    """All records, per file and per job alike."""
    return [_globus(event) if kind(event) == GLOBUS else _local(event) for event in events]


def each_once(found: Sequence[Transfer]) -> list[Transfer]:
    """Every byte once: per file where there are such records, else per job; Globus besides."""
    return _without(found, SUMMARY if _has(found, SINGLE) else SINGLE)


def size(found: Sequence[Transfer]) -> Finding[int]:
    """Bytes moved; a failed transfer of unknown size moved none that arrived."""
    once = each_once(found)
    if any(transfer.size is None and transfer.succeeded for transfer in once):
        return unknown("the transfer tool does not know the size of a transfer (third party)")
    return Finding(int(math.fsum(transfer.size or 0 for transfer in once)), "transfer")


def files(found: Sequence[Transfer]) -> Finding[int]:
    """Number of files of the transfers that succeeded."""
    counts = [transfer.files for transfer in each_once(found) if transfer.succeeded]
    if any(count is None for count in counts):
        return unknown("a transfer record lacks its number of files")
    return Finding(int(math.fsum(count or 0 for count in counts)), "transfer")


def failures(found: Sequence[Transfer]) -> Finding[int]:
    """Number of transfers that failed."""
    return Finding(sum(not transfer.succeeded for transfer in each_once(found)), "transfer")


def duration(found: Sequence[Transfer]) -> Finding[float]:
    """Time in which files were being moved [s], overlaps once.

    A record per job covers what whole seconds per file cut off, so it is preferred here.
    """
    spans = [(t.begin, t.end) for t in _without(found, SINGLE if _has(found, SUMMARY) else SUMMARY)]
    known = [(begin, end) for begin, end in spans if begin is not None and end is not None]
    if len(known) < len(spans):
        return unknown("a transfer record lacks its times")
    return Finding(_union(known), "transfer")


def _has(found: Sequence[Transfer], shape: str) -> bool:
    return any(transfer.kind == shape for transfer in found)


def _without(found: Sequence[Transfer], shape: str) -> list[Transfer]:
    return [transfer for transfer in found if transfer.kind != shape]


def _local(event: Event) -> Transfer:
    fields = event.fields
    begin, end = number(fields.get("transfer_start_time")), number(fields.get("transfer_completion_time"))
    moved = number(fields.get("bytes_transferred"))
    single = kind(event) == SINGLE
    return Transfer(
        kind=SINGLE if single else SUMMARY,
        begin=begin,
        end=end,
        size=moved,
        files=1.0 if single else number(fields.get("total_files")),
        succeeded=number(fields.get("status", 0)) == 0,
        pieces=_whole(begin, end, moved),
    )


def _globus(event: Event) -> Transfer:
    """A task of the Globus Transfer API (docs.globus.org, "Task document" and "Event document")."""
    fields = event.fields
    begin, end = _iso(fields.get("request_time")), _iso(fields.get("completion_time"))
    moved = number(fields.get("bytes_transferred"))
    return Transfer(
        kind=GLOBUS,
        begin=begin,
        end=end,
        size=moved,
        files=number(fields.get("files_transferred", fields.get("files"))),
        succeeded=fields.get("status") == "SUCCEEDED",
        pieces=_progress(fields.get("transfer_events") or (), begin, end, moved),
    )


def _progress(
    records: Iterable[dict[str, Any]], begin: float | None, end: float | None, moved: float | None
) -> tuple[Piece, ...]:
    """Every PROGRESS event's bytes over its own duration; what they leave out lies between the last and the end."""
    pieces = sorted(piece for record in records if (piece := _progressed(record)) is not None)
    rest = (moved or 0.0) - math.fsum(piece.size for piece in pieces)
    last = pieces[-1].end if pieces else begin
    return (*pieces, *(_whole(last, end, rest) if rest > 0 else ()))


def _progressed(record: dict[str, Any]) -> Piece | None:
    if record.get("code") != "PROGRESS":
        return None
    details = record.get("details")
    content = json.loads(details) if isinstance(details, str) and details.startswith("{") else details
    at = _iso(record.get("time"))
    if not isinstance(content, dict) or at is None:
        return None
    return Piece(at - (number(content.get("duration")) or 0.0), at, number(content.get("bytes_transferred")) or 0.0)


def _whole(begin: float | None, end: float | None, moved: float | None) -> tuple[Piece, ...]:
    if end is None or moved is None:
        return ()
    return (Piece(end if begin is None else min(begin, end), end, moved),)


def _iso(value: object) -> float | None:
    """ISO 8601 time, UTC unless it says otherwise, in [s since 1970]."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _union(spans: Iterable[tuple[float, float]]) -> float:
    total, covered = 0.0, -math.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, covered))
        covered = max(covered, end)
    return total
