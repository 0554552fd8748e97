"""Traces thinned while they stream by, in bounded memory, so that what is computed of them does not change.

Of each process tree's samples these stay: the first, the last and final ones, those around a fall of a counter or a
change of what is known, and with it all that totals are made of; beside them, in every stretch of so many samples, the
last and those with most memory, threads and processes. The stretches grow as the samples do. A stream of events whose
samples are not in their order is read once more, with the disordered ones put in order first.
"""

from __future__ import annotations

import itertools
import math
import operator
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ..events import DISCRIMINATORS, Event
from ..sources.traces import TRACE
from ._findings import number
from ._index import JobIndex, WorkflowIndex, in_order
from ._traces import COUNTERS, Sample, order

MOST = 60_000
"""Samples of a run that are kept, unless more of them are at a fall of a counter."""

_LEVELS = ("rss", "threads", "procs")
_COLUMNS = (*COUNTERS.values(), *_LEVELS)
_PLACE, _PINNED, _TS, _SEQ, _FIRST = range(5)
_WIDTH = _FIRST + len(_COLUMNS)
_COUNTED = slice(_FIRST, _FIRST + len(COUNTERS))
_RSS, _THREADS, _PROCS = range(_COUNTED.stop, _WIDTH)
_NONE = -math.inf  # in place of a value that is not known: below every other
_PLAIN = frozenset({int, float, type(None)})
_UNSTEADY = frozenset(
    {"vm", "bsend", "brecv", "totins", "ldins", "srins", "fpins", "fpops", "l1misses", "l2misses", "l3misses"}
    | {"runtime", "rundelay", "running", "blocked", "stopped"}
)
"""What else a sample counts, of which no metric is made; left out of samples that are kept in short."""
_VARYING = frozenset({*_COLUMNS, *_UNSTEADY, "seq"})
_ROOM = 0.75  # of what may be kept that is left after thinning, so that it is not done at every sample

_BY_LEVEL = tuple(map(operator.itemgetter, (_RSS, _THREADS, _PROCS)))
_values = operator.itemgetter(*_COLUMNS)
_ORIGIN = ("condor_job_id", "hostname", "pid", "rank", "task_id")
_SPOKEN = ("site", "xformation")
_TELLING = (*_SPOKEN, "interval", "final", "problems", *sorted({*DISCRIMINATORS} - {*_ORIGIN, "seq"}))
"""What a sample says beside what it counts: where that changes, it is kept as it came."""
_Row = tuple[float, ...]
_Key = tuple[str | None, int | None, int | None, str]


def thinned(read: Callable[..., Iterable[Event]], most: int = MOST) -> list[Event]:
    """Events of one run, with few of its samples.

    `correlate` of them equals `correlate` of all, bit for bit; `series` has the same totals and nearly the same shape.

    Parameters
    ----------
    read : callable
        Gives the events anew, in order of time, only or but those of some kinds: `partial(store.events, wf_uuid)`.
    most : int
        How many samples to keep, but for those that must be kept.
    """
    events = list(itertools.islice(read(), most + 1))
    if len(events) <= most:
        return events  # there is nothing to gain
    others = list(read(without={TRACE}))
    thinner = thin(lambda: read({TRACE}), others, most)
    return [*others, *(event for kept in thinner.streams() for event in kept.events)]


def thin(read: Callable[[], Iterable[Event]], others: Collection[Event], most: int = MOST) -> Thinner:
    """Samples of one run thinned; `others` are all its other events.

    Parameters
    ----------
    read : callable
        Gives the samples anew, in order of time.
    others : collection of Event
        They tell which attempt a sample belongs to that does not say so itself.
    most : int
        As of `thinned`.
    """
    thinner = Thinner(WorkflowIndex(others).jobs if others else {}, most)
    while True:
        for event in read():
            thinner.add(event)
        again = thinner.finished()
        if again is None:
            return thinner
        thinner = again


class Thinner:
    """Takes the samples of a run in, and keeps few.

    Parameters
    ----------
    jobs : mapping of str to JobIndex
        The run's jobs, with their attempts.
    most : int
        How many samples to keep.
    whole : collection
        Streams whose samples do not come in order, known from an earlier pass.
    """

    def __init__(self, jobs: Mapping[str, JobIndex], most: int = MOST, whole: Collection[_Key] = ()) -> None:
        self.samples = 0
        self._jobs = dict(jobs)
        self._most = most
        self._room = most
        self._streams: dict[_Key, _Stream] = {}
        self._disordered: set[_Key] = set()
        self._learned: set[tuple[str, int]] = set()
        self._loose: set[str] = set()
        self._whole: dict[_Key, list[Event]] = {key: [] for key in whole}
        self._apart: dict[Any, _Apart] = {}

    def add(self, event: Event) -> None:
        """Take one sample in."""
        self.samples += 1
        if event.job_id is None or event.ts is None:
            self._add_apart(event)
            return
        get = event.fields.get
        attempt = event.attempt
        owner = self._owner(event) if attempt is None else attempt
        tree = f"{get('condor_job_id', '')}\x1f{get('hostname', '')}\x1f{get('pid', '')}\x1f{get('rank', '')}"
        key = (event.job_id, attempt, owner, f"{tree}\x1f{get('task_id', '')}")
        if key in self._whole:
            self._whole[key].append(event)
            return
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = self._begun(event)
        if not stream.add(event):
            self._disordered.add(key)
        elif stream.grown:
            self._room -= stream.grown
            stream.grown = 0
            if self._room < 0:
                self._make_room()

    def finished(self) -> Thinner | None:
        """End the pass; gives what must see all samples once more, should any have come that this one misjudged."""
        learned = {(job_id, attempt) for job_id, attempt in self._learned if job_id in self._loose}
        if learned or self._disordered:
            for job_id, attempt in learned:
                self._jobs.setdefault(job_id, JobIndex(job_id)).attempt(attempt)
            return Thinner(self._jobs, self._most, {*self._whole, *self._disordered})
        self._streams |= {key: _in_order(events) for key, events in self._whole.items() if events}
        self._whole.clear()
        for stream in self._streams.values():
            stream.end()
        return None

    def streams(self) -> Iterator[Kept]:
        """What is kept, by process tree."""
        yield from (Kept(stream.events(), stream.step) for stream in self._streams.values())
        yield from (Kept([_standing_for(apart.event, apart.number - 1)], None) for apart in self._apart.values())

    def essence(self) -> Iterator[Event]:
        """As few as `correlate` needs for the numbers of all."""
        for stream in self._streams.values():
            yield from stream.events(essential=True)
        yield from (_standing_for(apart.event, apart.number - 1) for apart in self._apart.values())

    def _add_apart(self, event: Event) -> None:
        """Count samples that are in no series: those of no job, and those without a time."""
        owner = self._owner(event) if event.job_id is not None and event.attempt is None else event.attempt
        told = [str(event.fields.get(key)) for key in (*_ORIGIN, *_SPOKEN)] if event.job_id is not None else []
        key = (event.job_id, event.attempt, owner, *told)
        known = self._apart.setdefault(key, _Apart(event))
        known.event = min(known.event, event, key=lambda each: each.event_id)
        known.number += 1

    def _begun(self, event: Event) -> _Stream:
        if event.attempt is not None and event.job_id is not None:
            job = self._jobs.get(event.job_id)
            if job is None or event.attempt not in job.by_attempt:
                self._learned.add((event.job_id, event.attempt))
        return _Stream(event)

    def _owner(self, event: Event) -> int | None:
        assert event.job_id is not None  # `add` puts the others aside
        self._loose.add(event.job_id)
        job = self._jobs.get(event.job_id)
        owner = job.owner(event)[0] if job is not None else None
        return None if owner is None else owner.attempt

    def _make_room(self) -> None:
        """Widen the stretches of the streams with most samples, until there is some room."""
        fair = max(1, int(_ROOM * self._most / len(self._streams)))
        for stream in self._streams.values():
            while len(stream) > fair and stream.widen():
                pass
        kept = sum(map(len, self._streams.values()))
        self._room = max(self._most, int(kept / _ROOM)) - kept


class Kept(NamedTuple):
    """Samples of one process tree, in order, and how far apart they were before others were left out [s], if any."""

    events: list[Event]
    step: float | None


class _Apart:
    """Samples of which one is kept."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.number = 0


class _Stream:
    """The samples of one process tree: those that are kept, as numbers, and the open stretch.

    `grown` is by how many more are kept since somebody last looked.
    """

    def __init__(self, event: Event) -> None:
        self.grown = 0
        self._first = event
        self._keys = tuple(event.fields)
        self._short = _short(event.fields)
        self._said = self._short(event.fields)
        self._told = _told(event.fields)
        self._rows = array("d")
        self._special: dict[int, Event] = {}
        self._stretch = 1
        self._number = 0
        self._open: list[_Row] = []
        self._last: _Row | None = None
        self._unknown = 0
        self._after_special = False

    def __len__(self) -> int:
        return len(self._rows) // _WIDTH

    def add(self, event: Event) -> bool:
        """Take the next sample in; False if it is not the next one."""
        row, unknown = self._row(event)
        last = self._last
        if last is not None and (row[_TS] < last[_TS] or _turn(row) <= _turn(last)):
            return False
        self._take(event, row, unknown)
        return True

    def take(self, event: Event, pinned: bool) -> None:
        """Take a sample in of which it is known that it is the next one."""
        self._take(event, *self._row(event), pinned=pinned)

    def end(self) -> None:
        """Keep the last one."""
        self._close(pinned=True)

    @property
    def step(self) -> float | None:
        """Usual distance of two samples [s], if not all of them are kept."""
        if len(self) >= self._number:
            return None
        return max(0.0, self._rows[_TS - _WIDTH] - self._rows[_TS]) / (self._number - 1)

    def widen(self) -> bool:
        """Keep fewer; False if there is nothing more to gain."""
        self._stretch *= 2
        rows = [self._rows[at : at + _WIDTH] for at in range(0, len(self._rows), _WIDTH)]
        self._rows = array("d")
        for (pinned, _), group in itertools.groupby(rows, self._group):
            for row in group if pinned else _telling(list(group)):
                self._rows.extend(row)
        return self._stretch <= self._number

    def events(self, essential: bool = False) -> list[Event]:
        """What is kept, in order; or only those that totals and peaks are made of."""
        rows = [self._rows[at : at + _WIDTH] for at in range(0, len(self._rows), _WIDTH)]
        peak = max(rows, key=lambda row: row[_RSS])
        chosen = [row for row in rows if row[_PINNED] or row is peak] if essential else rows
        base = {key: value for key, value in self._first.fields.items() if key not in _VARYING}
        events = [self._special.get(int(row[_PLACE])) or self._event(row, base) for row in chosen]
        left_out = self._number - len(events) if self._first.attempt is None else 0
        return [_standing_for(events[0], left_out), *events[1:]]

    def _group(self, row: Sequence[float]) -> tuple[bool, float]:
        return bool(row[_PINNED]), row[_PLACE] // self._stretch

    def _row(self, event: Event) -> tuple[_Row, int]:
        """A sample as numbers, and how many of them are not known."""
        fields, seq = event.fields, event.fields.get("seq")
        try:
            values = _values(fields)
        except KeyError:
            values = tuple(map(fields.get, _COLUMNS))
        kinds = set(map(type, values))
        if not kinds <= _PLAIN or not math.isfinite(sum(filter(None, values))):
            values = tuple(map(number, values))
        unknown = values.count(None)
        if unknown:
            values = tuple(_NONE if value is None else value for value in values)
        turn = seq if type(seq) is int else number(seq)
        return (self._number, 0.0, event.ts or 0.0, _NONE if turn is None else turn, *values), unknown

    def _take(self, event: Event, row: _Row, unknown: int, pinned: bool = False) -> None:
        last, self._last = self._last, row
        self._number += 1
        special = last is None or self._is_special(event.fields)
        known_changed, self._unknown = unknown != self._unknown, unknown
        if special or pinned or known_changed or self._after_special or last is None or _falls(last, row):
            self._close(pinned=True)
            self._keep((row[0], 1.0, *row[2:]))
            if special:
                self._special[int(row[_PLACE])] = event
            self._after_special = special
            return
        self._open.append(row)
        if len(self._open) >= self._stretch:
            self._close()

    def _is_special(self, fields: dict[str, Any]) -> bool:
        """Whether it says something beside its numbers that the first did not, or that is its own."""
        alike = tuple(fields) == self._keys
        differs = self._short(fields) != self._said if alike else _told(fields) != self._told
        return differs or fields.get("final") is True or bool(fields.get("problems"))

    def _close(self, pinned: bool = False) -> None:
        """End the stretch, and keep what tells of it."""
        for row in _telling(self._open) if len(self._open) > 1 else self._open:
            self._keep(row)
        self._open = []
        if pinned and self._rows:
            self._rows[_PINNED - _WIDTH] = 1.0

    def _keep(self, row: _Row) -> None:
        self._rows.extend(row)
        self.grown += 1

    def _event(self, row: Sequence[float], base: dict[str, Any]) -> Event:
        first = self._first
        told = (None if value == _NONE else value for value in row[_SEQ:])
        fields = base | dict(zip(("seq", *_COLUMNS), told, strict=True))
        if fields["seq"] is None and "seq" not in first.fields:
            del fields["seq"]
        return msgspec.structs.replace(first, ts=row[_TS], fields=fields)


def _in_order(events: Iterable[Event]) -> _Stream:
    """A stream of samples that came in disorder; the earliest stays, which may not be the first."""
    by_time = in_order(events)
    stream = _Stream(min(by_time, key=order))
    for event in sorted(by_time, key=order):
        stream.take(event, pinned=event is by_time[0])
    return stream


def _turn(row: _Row) -> tuple[float, float]:
    """As `order` of the sample."""
    return (-1.0 if row[_SEQ] == _NONE else row[_SEQ], row[_TS])


def _falls(last: _Row, row: _Row) -> bool:
    """Whether any counter has fallen, or is not known any more."""
    return any(map(operator.lt, row[_COUNTED], last[_COUNTED]))


def _telling(rows: Sequence[Any]) -> list[Any]:
    """The last of a stretch, and what had more memory, threads or processes than that."""
    last = rows[-1]
    highest = (max(rows, key=by) for by in _BY_LEVEL)
    chosen = {row[_PLACE]: row for row, by in zip(highest, _BY_LEVEL, strict=True) if by(row) > by(last)}
    return [*(chosen[place] for place in sorted(chosen)), last]


def _short(fields: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """Gives of fields with the same keys what they say beside what they count."""
    keys = [key for key in _TELLING if key in fields]
    return operator.itemgetter(*keys) if keys else lambda _: None


def _told(fields: dict[str, Any]) -> list[Any]:
    return [fields.get(key) for key in _TELLING]


def _standing_for(event: Event, others: int) -> Event:
    if not others:
        return event
    own = {name: getattr(event, name) for name in Event.__struct_fields__}
    return Sample(**own, others=others)
