"""Records of transfer tools in their shapes, brought to one: per file, per attempt, per job or run, and Globus' tasks.

Several may tell of the same bytes. Each is counted once, from the record that knows most: Pegasus' own list of
attempts, then Panorama's records per file, then those per job, and last the log of pegasus-transfer, whose total is
rounded; the sizes that monitord told of the same files make it exact where they agree with it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..events import Event
from ..sources import globus, plain
from ..sources.transfers import ATTEMPT, SINGLE, STATS, SUMMARY, Single, single, summary
from ._findings import Finding, number, unknown

GLOBUS, PROGRESS = globus.TASK, globus.PROGRESS
KINDS = frozenset({SINGLE, SUMMARY, ATTEMPT, STATS, GLOBUS, PROGRESS})
_TOTALS = frozenset({SUMMARY, STATS})


_THIRD_PARTY = "third party"
_NO_SIZE = "the transfer tool does not know the size of a transfer (by a third party, or a move)"
_NO_TOTAL = "no record tells the sizes of the files, and the log of the transfer tool no total without links"


class Piece(NamedTuple):
    """Bytes moved within a span of time [s since 1970]."""

    begin: float
    end: float
    size: float


class Transfer(NamedTuple):
    """One transfer, or the transfers of one job together.

    `size` [bytes] is what was moved, `staged` [bytes] what is there now; None where the tool does not know. `rounding`
    [bytes] is by how much `size` may be wrong. `again` tells of an attempt that was followed by another; `why` says
    what the tool does not know.
    """

    kind: str
    begin: float | None
    end: float | None
    size: float | None
    files: float | None
    succeeded: bool | None
    pieces: tuple[Piece, ...]
    staged: float | None = None
    rounding: float = 0.0
    faults: int = 0
    again: bool = False
    why: str = _NO_SIZE
    name: str | None = None
    source: str | None = None
    destination: str | None = None
    method: str | None = None
    state: str | None = None
    effective_speed: float | None = None
    average_speed: float | None = None
    error: str | None = None


def kind(event: Event) -> str | None:
    """Which of the shapes an event has; also when it came as a payload of the job's output."""
    name = event.kind
    if name == "stampede.task.monitoring":
        name = str(event.fields.get("monitoring_event"))
    return name if name in KINDS else None


def begin_of(event: Event) -> float | None:
    """When what a record tells of began [s since 1970]."""
    if kind(event) == PROGRESS:
        return event.ts
    return next((transfer.begin for transfer in transfers([event])), event.ts)


def transfers(events: Iterable[Event], sizes: Mapping[str, float] | None = None) -> list[Transfer]:
    """All records, per file and per job alike; `sizes` [bytes] are those of files by their logical name."""
    shapes: dict[str | None, list[Event]] = defaultdict(list)
    for event in events:
        shapes[kind(event)].append(event)
    return [
        *(_single(SINGLE, single(event.fields)) for event in shapes[SINGLE]),
        *(_summary(event) for event in shapes[SUMMARY]),
        *_of_pegasus(shapes[ATTEMPT], shapes[STATS], sizes or {}),
        *_globus(shapes[GLOBUS], shapes[PROGRESS]),
    ]


def each_once(found: Sequence[Transfer]) -> list[Transfer]:
    """Every byte once: from the best records there are, of what pegasus-transfer left to Globus from Globus alone."""
    tasks = [transfer for transfer in found if transfer.kind == GLOBUS]
    others = [t for t in found if t.kind != GLOBUS and not (tasks and _is_left_to_globus(t))]
    return [*_of_tools(others), *tasks]


def _is_left_to_globus(transfer: Transfer) -> bool:
    """Attempts between two collections, and a run of which the log shows no more than that others moved the files."""
    if transfer.kind == STATS:
        return transfer.state == _THIRD_PARTY
    return all((url or "").startswith("go:") for url in (transfer.source, transfer.destination))


def _of_tools(found: Sequence[Transfer]) -> list[Transfer]:
    exact = [transfer for transfer in found if transfer.kind == ATTEMPT and not _is_logged(transfer)]
    told = {(transfer.source, transfer.destination) for transfer in exact}
    singles = [t for t in found if t.kind == SINGLE and (t.source, t.destination) not in told]
    summaries = [t for t in found if t.kind == SUMMARY]
    if not exact and math.fsum(t.files or 0 for t in summaries) > len(singles):
        singles = []  # some of them were lost
    published = singles or ([] if exact else summaries)
    logged = [] if exact or published else [t for t in found if t.kind == STATS or _is_logged(t)]
    return [*exact, *published, *_best_of_log(logged)]


def size(found: Sequence[Transfer]) -> Finding[int]:
    """Bytes moved; a failed transfer of unknown size moved none that arrived."""
    once = each_once(found)
    lacking = next((t for t in once if t.size is None and t.succeeded is not False), None)
    if lacking is not None:
        return unknown(lacking.why)
    return Finding(int(math.fsum(t.size or 0 for t in once)), _source(once))


def staged(found: Sequence[Transfer]) -> Finding[int]:
    """Bytes of the files that arrived, in whatever way."""
    once = [transfer for transfer in each_once(found) if transfer.succeeded is not False]
    lacking = next((transfer for transfer in once if transfer.staged is None), None)
    if lacking is not None:
        return unknown(lacking.why)
    return Finding(int(math.fsum(transfer.staged or 0 for transfer in once)), _source(once))


def files(found: Sequence[Transfer]) -> Finding[int]:
    """Number of files of the transfers that succeeded."""
    counts = [transfer.files for transfer in each_once(found) if transfer.succeeded]
    if any(count is None for count in counts):
        return unknown("a transfer record lacks its number of files")
    return Finding(int(math.fsum(count or 0 for count in counts)), "transfer")


def failures(found: Sequence[Transfer]) -> Finding[int]:
    """Number of transfers that failed in the end, whatever came of their first attempts."""
    once = [transfer for transfer in each_once(found) if not transfer.again]
    if any(_is_vague(transfer) for transfer in once):
        return unknown("the log of the transfer tool does not say how many failed")
    return Finding(sum(transfer.succeeded is False for transfer in once), "transfer")


def faults(found: Sequence[Transfer]) -> Finding[int]:
    """Number of attempts that had to be made again, and of the faults that Globus met."""
    once = each_once(found)
    if any(transfer.kind in _TOTALS for transfer in once):
        return unknown("a record of all files of a job does not tell of attempts")
    return Finding(sum(transfer.faults + transfer.again for transfer in once), "transfer")


def duration(found: Sequence[Transfer]) -> Finding[float]:
    """Time in which files were being moved [s], overlaps once.

    A record per job covers what whole seconds per file cut off, so it is preferred here.
    """
    totals = [t for t in found if t.kind in _TOTALS] or [t for t in found if t.kind != GLOBUS]
    spans = [(t.begin, t.end) for t in (*totals, *(t for t in found if t.kind == GLOBUS))]
    known = [(begin, end) for begin, end in spans if begin is not None and end is not None]
    if len(known) < len(spans):
        return unknown("a transfer record lacks its times")
    return Finding(union(known), "transfer")


def _source(once: Sequence[Transfer]) -> str:
    rounding = math.fsum(transfer.rounding for transfer in once)
    return f"transfer log, rounded: up to {math.ceil(rounding)} bytes more or less" if rounding else "transfer"


def _is_logged(transfer: Transfer) -> bool:
    return transfer.kind == ATTEMPT and transfer.state == "log"


def _is_vague(transfer: Transfer) -> bool:
    return transfer.succeeded is None if transfer.kind == ATTEMPT else transfer.kind == STATS and not transfer.succeeded


def _single(shape: str, told: Single, **more: Any) -> Transfer:
    moved = told.moved
    transfer = Transfer(
        kind=shape,
        begin=told.begin,
        end=told.end,
        size=moved,
        files=1.0,
        succeeded=told.succeeded,
        pieces=_whole(told.begin, told.end, moved),
        staged=told.size,
        name=told.filename,
        source=told.source,
        destination=told.destination,
        method=told.method,
    )
    return transfer._replace(**more) if more else transfer


def _summary(event: Event) -> Transfer:
    told = summary(event.fields)
    moved = told.size if not told.linked else 0.0 if told.linked == told.files else None
    return Transfer(
        kind=SUMMARY if kind(event) == SUMMARY else STATS,
        begin=told.begin,
        end=told.end,
        size=moved,
        files=told.files,
        succeeded=told.succeeded is not False if kind(event) == SUMMARY else told.succeeded,
        pieces=_whole(told.begin, told.end, moved),
        staged=number(event.fields.get("bytes_staged", told.size)),
        rounding=told.rounding,
        state=_THIRD_PARTY if told.third_party else None,
        why=_NO_SIZE if kind(event) == SUMMARY or told.third_party else _NO_TOTAL,
    )


def _of_pegasus(attempts: list[Event], totals: list[Event], sizes: Mapping[str, float]) -> list[Transfer]:
    """Attempts of stock Pegasus: as its list tells, or as the log shows, with the sizes of the files told elsewhere."""
    ordered = sorted(attempts, key=lambda event: number(event.fields.get("seq")) or 0.0)
    last = {_place(event): event for event in ordered}
    found = []
    for event in ordered:
        told = single(event.fields)
        again = told.retried or last[_place(event)] is not event
        if event.fields.get("told_by") == "log":
            found.append(_logged(told, sizes, again))
        else:
            found.append(_single(ATTEMPT, told, again=again))
    logged = [transfer for transfer in found if _is_logged(transfer)]
    return [*(t for t in found if not _is_logged(t)), *_spread(logged, totals), *(_summary(event) for event in totals)]


def _place(event: Event) -> str:
    """What attempts at the same file have in common: where it should go."""
    return str(event.fields.get("destination_url") or event.fields.get("source_url"))


def _logged(told: Single, sizes: Mapping[str, float], again: bool) -> Transfer:
    """An attempt in a log, which counts its file's size; a link moves nothing."""
    known = _size_of(told, sizes) if told.size is None else told.size
    moved = None if known is None or told.succeeded is not True else known if told.method == "copy" else 0.0
    return _single(ATTEMPT, told, staged=known, size=moved, again=again, state="log", why=_NO_TOTAL)


def _size_of(told: Single, sizes: Mapping[str, float]) -> float | None:
    """Size by logical name [bytes]: the longest name with which either path ends."""
    for url in (told.destination, told.source):
        parts = (url or "").split("/")[3:]
        for first in range(max(0, len(parts) - 16), len(parts)):
            if (known := sizes.get("/".join(parts[first:]))) is not None:
                return known
    return None


def _spread(attempts: list[Transfer], totals: list[Event]) -> list[Transfer]:
    """Lay what a logged attempt moved between its beginning and the tool's end: eight at a time end when they like."""
    ends = sorted(end for event in totals if (end := summary(event.fields).end) is not None)
    over = [next((end for end in ends if t.begin is not None and t.begin <= end), t.begin) for t in attempts]
    return [t._replace(pieces=_whole(t.begin, end, t.size)) for t, end in zip(attempts, over, strict=True)]


def _best_of_log(logged: Sequence[Transfer]) -> list[Transfer]:
    """The single attempts where all sizes are known and add up to the log's total, else that total.

    A total counts what an attempt that failed did not move, so it tells nothing then; only a missing file counts as 0.
    """
    attempts = [transfer for transfer in logged if transfer.kind == ATTEMPT]
    totals = [transfer for transfer in logged if transfer.kind == STATS]
    if any(attempt.succeeded is False and attempt.staged != 0 for attempt in attempts):
        return attempts
    sizes = [transfer.staged for transfer in attempts]
    rounding = math.fsum(total.rounding for total in totals) + 1e-6
    counted = [total.staged for total in totals]
    if attempts and None not in sizes and None not in counted:
        off = math.fsum(size or 0 for size in sizes) - math.fsum(total or 0 for total in counted)
        if abs(off) <= rounding or not totals:
            return attempts
    return totals


def _globus(documents: Sequence[Event], entries: Sequence[Event]) -> list[Transfer]:
    """Tasks, each from its last document and all that is known of its events; a deletion moves nothing."""
    tasks: dict[object, tuple[list[Event], list[Event]]] = defaultdict(lambda: ([], []))
    for number_, event in enumerate(documents):
        tasks[plain.text(event.fields.get("task_id")) or number_][0].append(event)
    for event in entries:
        tasks[plain.text(event.fields.get("task_id"))][1].append(event)
    found = [_task(told, progress) for told, progress in tasks.values()]
    return [transfer for transfer in found if transfer is not None]


def _task(documents: Sequence[Event], entries: Sequence[Event]) -> Transfer | None:
    """A task of the Globus Transfer API (docs.globus.org, "Task document" and "Event document")."""
    known = sorted((globus.task(event.fields) for event in documents), key=_advance)
    task = known[-1] if known else globus.Task()
    if task.type == "DELETE":
        return None
    events = _merged(documents, entries)
    times = [event.time for event in events if event.time is not None]
    begin = task.request_time if task.request_time is not None else min(times, default=None)
    end = task.completion_time if task.completion_time is not None else max(times, default=None)
    progress = [event for event in events if event.code == "PROGRESS" and event.time is not None]
    seen = math.fsum(event.bytes_transferred or 0.0 for event in progress)
    moved = _most(task.bytes_transferred, None if task.is_final or not progress else seen)
    files = task.files if task.files_transferred is None else task.files_transferred
    return Transfer(
        kind=GLOBUS,
        begin=begin,
        end=end,
        size=moved,
        files=files,
        succeeded=task.status == "SUCCEEDED" if task.is_final else None,
        pieces=_progress(progress, begin, end, moved),
        staged=moved,
        faults=_most_faults(task, events),
        why="Globus has not told how much it moved",
        name=task.task_id or next((str(e.fields.get("task_id")) for e in entries), None),
        source=task.source_endpoint_display_name or task.source_endpoint_id,
        destination=task.destination_endpoint_display_name or task.destination_endpoint_id,
        state=_state(task, events),
        effective_speed=task.effective_bytes_per_second,
        average_speed=_average(progress),
        error=task.error or (task.nice_status_short_description if not task.is_final else None),
    )


def _advance(task: globus.Task) -> tuple[bool, int, float, int]:
    """How far a document of a task has come."""
    return (task.is_final, task.bytes_transferred or 0, task.completion_time or 0.0, task.faults or 0)


def _merged(documents: Sequence[Event], entries: Sequence[Event]) -> list[globus.TaskEvent]:
    """All events of a task once, whether they came one by one or with its document, in order of time."""
    lists = [event.fields.get("transfer_events") for event in documents]
    told = [item for found in lists if isinstance(found, list) for item in found if isinstance(item, dict)]
    unique = {_key(item): item for item in (*told, *(event.fields for event in entries))}
    return sorted(map(globus.task_event, unique.values()), key=lambda event: event.time or 0.0)


def _key(item: Mapping[str, Any]) -> str:
    return repr([item.get(name) for name in ("code", "time", "description", "details")])


def _most(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _most_faults(task: globus.Task, events: Sequence[globus.TaskEvent]) -> int:
    return max(task.faults or 0, sum(event.is_error for event in events))


def _state(task: globus.Task, events: Sequence[globus.TaskEvent]) -> str:
    if task.is_final:
        return str(task.status).lower()
    paused = next((event.code == "PAUSED" for event in reversed(events) if event.code in _PAUSES), False)
    return "paused" if task.is_paused or paused else (task.status or "ACTIVE").lower()


_PAUSES = ("PAUSED", "UNPAUSED")


def _average(progress: Sequence[globus.TaskEvent]) -> float | None:
    """Bytes over the seconds in which they were moved [bytes/s]."""
    measured = [event for event in progress if event.duration]
    spent = math.fsum(event.duration or 0.0 for event in measured)
    return math.fsum(event.bytes_transferred or 0.0 for event in measured) / spent if spent > 0 else None


def _progress(
    progress: Iterable[globus.TaskEvent], begin: float | None, end: float | None, moved: float | None
) -> tuple[Piece, ...]:
    """Every PROGRESS event's bytes over its own duration; what they leave out lies between the last and the end."""
    pieces = sorted(_progressed(event, begin) for event in progress)
    rest = (moved or 0.0) - math.fsum(piece.size for piece in pieces)
    last = pieces[-1].end if pieces else begin
    return (*pieces, *(_whole(last, end, rest) if rest > 0 else ()))


def _progressed(event: globus.TaskEvent, begin: float | None) -> Piece:
    """It cannot have begun before its task did, whatever its duration says."""
    end = event.time or 0.0
    start = end - (event.duration or 0.0)
    return Piece(start if begin is None else min(end, max(begin, start)), end, event.bytes_transferred or 0.0)


def _whole(begin: float | None, end: float | None, moved: float | None) -> tuple[Piece, ...]:
    if end is None or moved is None:
        return ()
    return (Piece(end if begin is None else min(begin, end), end, moved),)


def union(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of the spans lasts."""
    total, covered = 0.0, -math.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, covered))
        covered = max(covered, end)
    return total
