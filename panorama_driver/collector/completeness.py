"""How complete a workflow is: of each source, what came live, what is known from disk only, and what is missing."""

from __future__ import annotations

import bisect
import operator
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from ..events import Event
from ..sources.darshan import REPORT
from ..sources.traces import TRACE
from ..store import Arrivals, Store, Via

SOURCES = ("stampede", "kickstart", "darshan", "transfer")
RECONCILED = "panorama.reconciled"
_LIVE = Via.BROKER | Via.HTTP
_CARRIERS = ("stampede.job_inst.composite", "stampede.task.monitoring")
"""Kinds of event that bring the probe's payload home, and so tell what was left out of it."""


class SourceCompleteness(msgspec.Struct, frozen=True, kw_only=True):
    """How complete the events of one source are.

    Attributes
    ----------
    source : str
        `stampede`, `kickstart`, `darshan` or `transfer`.
    events_expected : int
        All that are known, from whatever way, and those that are missing.
    events_seen : int
        Came live, by a broker or by HTTP.
    filled_from_disk : int
        Are known from disk only: lost on their way, if anything came live.
    missing : int
        Were taken, since the numbers of the probe's samples have gaps, and are nowhere.
    thinned : int
        Were taken and left out by the probe to keep its payload small; what counts is cumulative, so totals are exact.
    """

    source: str
    events_expected: int = 0
    events_seen: int = 0
    filled_from_disk: int = 0
    missing: int = 0
    thinned: int = 0

    @property
    def words(self) -> str:
        """It, in words."""
        if not self.events_expected and not self.thinned:
            return "no events"
        told = [f"{self.events_expected} events"]
        if self.events_seen:
            told += [f"{self.events_seen} came live", f"{self.filled_from_disk} filled from disk"]
        elif self.filled_from_disk:
            told += ["all from disk, none came live" if not self.missing else "from disk, none came live"]
        if self.missing:
            told.append(f"{self.missing} missing")
        if self.thinned:
            told.append(f"{self.thinned} more left out by the probe to save space")
        return ", ".join(told)


class Completeness(msgspec.Struct, frozen=True, kw_only=True):
    """How complete a workflow is.

    Attributes
    ----------
    wf_uuid : str
        The run.
    watched_live : bool
        Whether any of its events came by a broker or by HTTP. Where none did, either nothing was sent or all of it was
        lost, and everything is from disk.
    reconciled : bool
        Whether it was compared with the disk.
    reconciled_at : float or None
        [s since 1970] when it was, for the last time, UTC.
    reconciled_from : str or None
        With which file or folder.
    sources : tuple of SourceCompleteness
        By source.
    problems : tuple of str
        What could not be read then, and why.
    """

    wf_uuid: str
    watched_live: bool
    reconciled: bool = False
    reconciled_at: float | None = None
    reconciled_from: str | None = None
    sources: tuple[SourceCompleteness, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """It, in a sentence."""
        if not self.watched_live:
            if not any(source.events_expected for source in self.sources):
                return "nothing is known of it"
            return "read from disk; nothing came by a broker or by HTTP"
        lacking = sum(source.missing for source in self.sources)
        if not self.reconciled:
            return "came live, not yet compared with the disk: `panorama reconcile` does that"
        filled = sum(source.filled_from_disk for source in self.sources)
        if filled:
            found = f"{filled} events that did not come live were found on disk"
        else:
            found = "nothing more was found there" if lacking else "all came live"
        return f"compared with the disk: {found}{f'; {lacking} missing' if lacking else ''}"

    def of(self, source: str) -> SourceCompleteness:
        """One source's part."""
        return next((part for part in self.sources if part.source == source), SourceCompleteness(source=source))


def note(store: Store, wf_uuid: str, where: str | os.PathLike[str], problems: Collection[str] = ()) -> Completeness:
    """Write down that all that is on disk of a workflow is in the store, unless that has been, and give what it is.

    Raises
    ------
    StoreError
        The store could not be read or written.
    """
    parts = _parts(store, wf_uuid)
    notes = _notes(store, wf_uuid)
    told = {
        "reconciled_from": os.fspath(where),
        "problems": sorted(problems),
        "sources": [msgspec.to_builtins(part) for part in parts],
    }
    if not any(part.events_expected for part in parts):
        return _completeness(wf_uuid, parts, notes)
    if not notes or any(notes[-1].fields.get(key) != value for key, value in told.items()):
        fields = {**told, "reconciled_at": time.time(), "seq": len(notes)}
        notes.append(Event(kind=RECONCILED, wf_uuid=wf_uuid, fields=fields))
        store.put(notes[-1:])
    return _completeness(wf_uuid, parts, notes)


def completeness(store: Store, wf_uuid: str, samples: Samples | None = None) -> Completeness:
    """How complete a workflow is, by how its events came in.

    Parameters
    ----------
    store : Store
        It is read.
    wf_uuid : str
        The run.
    samples : Samples, optional
        The numbers of all its samples, for those who have read them anyway.

    Raises
    ------
    StoreError
        The store could not be read.
    """
    return _completeness(wf_uuid, _parts(store, wf_uuid, samples), _notes(store, wf_uuid))


def _completeness(wf_uuid: str, parts: tuple[SourceCompleteness, ...], notes: list[Event]) -> Completeness:
    told = notes[-1].fields if notes else {}
    return Completeness(
        wf_uuid=wf_uuid,
        watched_live=any(part.events_seen for part in parts),
        reconciled=bool(notes),
        reconciled_at=told.get("reconciled_at"),
        reconciled_from=told.get("reconciled_from"),
        sources=parts,
        problems=tuple(told.get("problems") or ()),
    )


def _parts(store: Store, wf_uuid: str, samples: Samples | None = None) -> tuple[SourceCompleteness, ...]:
    gaps = _gaps(store, wf_uuid, samples or Samples(store.events(wf_uuid, {TRACE})))
    arrivals = store.arrivals(wf_uuid)
    return tuple(_part(source, arrivals, *(gaps if source == "kickstart" else (0, 0))) for source in SOURCES)


def _part(source: str, arrivals: Iterable[Arrivals], missing: int, thinned: int) -> SourceCompleteness:
    """How the events of one source came, but for reports, which are made here, each of a log that came."""
    own = [row for row in arrivals if row.kind.partition(".")[0] == source and row.kind != REPORT]
    seen = sum(row.number for row in own if row.via & _LIVE)
    filled = sum(row.number for row in own if not row.via & _LIVE)
    return SourceCompleteness(
        source=source,
        events_expected=seen + filled + missing,
        events_seen=seen,
        filled_from_disk=filled,
        missing=missing,
        thinned=thinned,
    )


def _notes(store: Store, wf_uuid: str) -> list[Event]:
    return sorted(store.events(wf_uuid, {RECONCILED}), key=lambda event: int(event.fields["seq"]))


class Samples:
    """The numbers that the probe gave to its samples: a job's from 0 on, a few ranges in place of each.

    Parameters
    ----------
    events : iterable of Event
        Samples, in any order.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._found: dict[tuple[Any, ...], Numbers] = {}
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take one sample in."""
        number = event.fields.get("seq")
        if isinstance(number, int) and number >= 0:
            get = event.fields.get
            told = (get("condor_job_id"), get("hostname"), get("pid"), get("rank"), get("task_id"))
            origin = (event.job_id, event.attempt, *["" if value is None else str(value) for value in told])
            numbers = self._found.get(origin)
            if numbers is None:
                numbers = self._found[origin] = Numbers()
            numbers.add(number)

    def gaps(self) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Each probe that took samples (its job, attempt, scheduler's name, ...), and how many of them are nowhere.

        What is empty as it comes live is left out on disk.
        """
        return ((origin, numbers.missing) for origin, numbers in self._found.items())


class Numbers:
    """Whole numbers from 0 on, as ranges."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []  # the first that is missing after each range

    def add(self, number: int) -> None:
        """Take one in, again or for the first time."""
        begins, ends = self._begins, self._ends
        if ends and ends[-1] == number:
            ends[-1] += 1
            return
        at = bisect.bisect_right(begins, number)
        if at and number < ends[at - 1]:
            return
        after, before = at > 0 and ends[at - 1] == number, at < len(begins) and begins[at] == number + 1
        if after and before:
            ends[at - 1] = ends.pop(at)
            begins.pop(at)
        elif after:
            ends[at - 1] += 1
        elif before:
            begins[at] = number
        else:
            begins.insert(at, number)
            ends.insert(at, number + 1)

    @property
    def missing(self) -> int:
        """How many are not there, below the largest that is."""
        return self._ends[-1] - sum(map(operator.sub, self._ends, self._begins)) if self._ends else 0


def _gaps(store: Store, wf_uuid: str, samples: Samples) -> tuple[int, int]:
    """Samples of the probe that are nowhere though later ones are: how many are missing, how many were left out.

    The probe leaves out of its payload what would make it too large.
    """
    gaps = [(origin, gap) for origin, gap in samples.gaps() if gap]
    left_out = _left_out(store, wf_uuid) if gaps else {}
    missing = thinned = 0
    for origin, gap in gaps:
        spared = min(gap, max((left_out.get(key, 0) for key in _keys(*origin[:3])), default=0))
        missing, thinned = missing + gap - spared, thinned + spared
    return missing, thinned


def _keys(job_id: str | None, attempt: int | None, sched_id: object) -> Iterator[tuple[str | None, str]]:
    """Names by which what brought samples home and the samples themselves may know an attempt."""
    if attempt is not None:
        yield job_id, f"attempt {attempt}"
    if sched_id not in (None, ""):
        yield job_id, f"job {sched_id}"


def _left_out(store: Store, wf_uuid: str) -> dict[tuple[str | None, str], int]:
    found: dict[tuple[str | None, str], int] = defaultdict(int)
    for event in store.events(wf_uuid, _CARRIERS):
        told = event.fields.get("thinned")
        kept, of = (told.get("kept"), told.get("of")) if isinstance(told, dict) else (None, None)
        if isinstance(kept, int) and isinstance(of, int) and of > kept:
            for key in _keys(event.job_id, event.attempt, event.fields.get("sched_id")):
                found[key] = max(found[key], of - kept)
    return found
