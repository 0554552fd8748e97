"""What a broker or a network lost is found on disk and filled in; and each workflow says how complete it is.

Everything that a run tells live it also leaves on disk: the engine in its folder, Pegasus in the submit directory, the
probe in the job's own record. So putting all of that beside what came live fills the gaps, and an event that came from
disk only is one that was lost on its way, if anything came live at all.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import EnvironmentMissingError, FormatError, UsageError
from ..events import Event
from ..sources import plan, sink, stampede_db
from ..sources.darshan import REPORT
from ..store import Arrivals, Store, Via
from ._intake import Drained, Record, keep
from ._records import events_of
from .darshan import summarise
from .files import BATCH, LINE_LIMIT, RunFollower
from .submitdir import drain_submit_dir

Reader = Callable[[Path, Callable[[str], object]], Iterator[dict[str, Any]]]
SOURCES = ("stampede", "kickstart", "darshan", "transfer")
RECONCILED = "panorama.reconciled"
_TRACE = "kickstart.inv.online"
_LIVE = Via.BROKER | Via.HTTP
_SQLITE = b"SQLite format 3\x00"
_OWNERS = ("xwf_id", "xwf.id", "xwf__id", "wf_uuid")
_MOST_PROBLEMS = 100
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
        Are known from disk only.
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
        Whether any of its events came by a broker or by HTTP. Where none did, what is on disk was filled in for
        nothing that was lost.
    reconciled : bool
        Whether it was compared with the disk.
    reconciled_at : float or None
        When it was, for the last time [s since 1970, UTC].
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
            return "read from disk; no broker or HTTP was in use"
        lacking = sum(source.missing for source in self.sources)
        if not self.reconciled:
            return "came live, not yet compared with the disk: `panorama reconcile` does that"
        filled = sum(source.filled_from_disk for source in self.sources)
        found = f"{filled} events that did not come live were found on disk" if filled else "all came live"
        return f"compared with the disk: {found}{f'; {lacking} are missing' if lacking else ''}"

    def of(self, source: str) -> SourceCompleteness:
        """One source's part."""
        return next((part for part in self.sources if part.source == source), SourceCompleteness(source=source))


def reconcile(store: Store, wf_uuid: str, where: str | os.PathLike[str] | None = None) -> Completeness:
    """Fill in from disk what the store lacks of a workflow, and note how complete it is; again does no harm.

    Darshan logs that nobody has read yet are read.

    Parameters
    ----------
    store : Store
        Where the workflow's events are, and where those that it lacks go.
    wf_uuid : str
        The run.
    where : str or path, optional
        A submit directory, a run folder, the directory of an evaluation, a file that monitord wrote instead of to a
        broker, or a stampede database; unless told, the directory that the run itself named when it was planned.

    Returns
    -------
    Completeness
        As of now.

    Raises
    ------
    UsageError
        Nothing tells where the workflow's files are, or they are of another workflow.
    EnvironmentMissingError
        They are not there.
    StoreError
        The store could not be written; another call adds the rest.
    """
    path = (Path(where) if where is not None else _named(store, wf_uuid)).absolute()
    problems = [*_collect(store, wf_uuid, path).problems]
    read = summarise(store, wf_uuid)
    if read.waiting:
        problems.append(f"{read.waiting} Darshan logs are not read: {read.problem}")
    return note(store, wf_uuid, path, problems)


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


def completeness(store: Store, wf_uuid: str) -> Completeness:
    """How complete a workflow is, by how its events came in.

    Raises
    ------
    StoreError
        The store could not be read.
    """
    return _completeness(wf_uuid, _parts(store, wf_uuid), _notes(store, wf_uuid))


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


def family(store: Store, wf_uuid: str) -> list[str]:
    """A workflow and those below it in its hierarchy, as far as the store knows them."""
    below = [summary.wf_uuid for summary in store.workflows() if summary.root == wf_uuid]
    return [wf_uuid, *(other for other in below if other != wf_uuid)]


def _parts(store: Store, wf_uuid: str) -> tuple[SourceCompleteness, ...]:
    gaps = _gaps(store, wf_uuid)
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


def _gaps(store: Store, wf_uuid: str) -> tuple[int, int]:
    """Samples of the probe that are nowhere though later ones are: how many are missing, how many were left out.

    The probe numbers a job's samples from 0 and leaves out of its payload what would make it too large.
    """
    found: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for event in store.events(wf_uuid, {_TRACE}):
        number = event.fields.get("seq")
        if isinstance(number, int) and number >= 0:
            found[_origin(event)].add(number)
    left_out = _left_out(store, wf_uuid) if found else {}
    missing = thinned = 0
    for origin, numbers in found.items():
        gap = max(numbers) + 1 - len(numbers)
        spared = min(gap, max((left_out.get(key, 0) for key in _keys(*origin[:3])), default=0))
        missing, thinned = missing + gap - spared, thinned + spared
    return missing, thinned


def _origin(event: Event) -> tuple[Any, ...]:
    """The probe that took a sample."""
    told = (event.fields.get(key) for key in ("condor_job_id", "hostname", "pid", "rank", "task_id"))
    return (event.job_id, event.attempt, *map(str, told))


def _keys(job_id: str | None, attempt: int | None, sched_id: object) -> Iterator[tuple[str | None, str]]:
    """Names by which what brought samples home and the samples themselves may know an attempt."""
    if attempt is not None:
        yield job_id, f"attempt {attempt}"
    if sched_id not in (None, "", "None"):
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


def _named(store: Store, wf_uuid: str) -> Path:
    """The directory that the run named when it was planned."""
    plans = list(store.events(wf_uuid, {"stampede.wf.plan"})) or store.events(wf_uuid)
    named = next((told for event in plans if isinstance(told := event.fields.get("submit_dir"), str) and told), None)
    if named is None:
        raise UsageError(
            f"workflow {wf_uuid}: no event tells where its files are; name its submit directory or run folder (--from)"
        )
    return Path(named)


def _collect(store: Store, wf_uuid: str, path: Path) -> Drained:
    """Bring what is at a path into the store, by what kind of thing it is."""
    if path.is_file():
        return _from_file(store, wf_uuid, path)
    if not path.is_dir():
        raise EnvironmentMissingError(
            f"{path}: no such directory, so workflow {wf_uuid} cannot be compared with it; "
            "name the place where its files are now (--from)"
        )
    if (path / "braindump.yml").is_file():
        return _from_submit_dir(store, wf_uuid, path)
    parts = [part for part in (path / "run", path / "output") if part.is_dir()]
    if (path / "bundle.json").is_file() and parts:
        return sum((_from_run(store, wf_uuid, part) for part in parts), Drained())
    return _from_run(store, wf_uuid, path)


def _from_submit_dir(store: Store, wf_uuid: str, path: Path) -> Drained:
    try:
        text = (path / "braindump.yml").read_text(encoding="utf-8", errors="replace")
        found = plan.braindump(text).wf_uuid
    except FormatError as error:
        raise UsageError(f"{path}: {error}") from error
    _check_whose(wf_uuid, {found}, path)
    return drain_submit_dir(path, store)


def _from_run(store: Store, wf_uuid: str, path: Path) -> Drained:
    """A run folder of the embedded engine, or one that names a submit directory; traces may be in either."""
    drained = Drained()
    try:
        named = (path / "submitdir").read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    except FileNotFoundError:
        named = ""
    if named and Path(named).is_dir():
        drained += _from_submit_dir(store, wf_uuid, Path(named))
    _check_whose(wf_uuid, _owner(path / "events.jsonl"), path)
    return drained + RunFollower(path, store).finish()


def _owner(events: Path) -> set[str]:
    """The workflow whose events a file of the engine has, by its first line."""
    try:
        with events.open("rb") as file:
            return {event.wf_uuid for event in events_of(file.readline(LINE_LIMIT))}
    except (FileNotFoundError, FormatError):
        return set()


def _from_file(store: Store, wf_uuid: str, path: Path) -> Drained:
    """What monitord wrote instead of sending it; events of other workflows in it stay there."""
    problems: list[str] = []
    others: set[str] = set()
    drained = Drained()
    try:
        own = _own(_reader(path)(path, problems.append), wf_uuid, others)
        while lot := list(itertools.islice(own, BATCH)):
            drained += keep(store, (Record(json.dumps(raw, default=str).encode(), os.fspath(path)) for raw in lot))
    except FormatError as error:
        raise UsageError(str(error)) from error
    if drained == Drained():
        _check_whose(wf_uuid, others, path)
    return drained + Drained(problems=tuple(problems[:_MOST_PROBLEMS]))


def _own(raws: Iterable[dict[str, Any]], wf_uuid: str, others: set[str]) -> Iterator[dict[str, Any]]:
    for raw in raws:
        owner = next((raw[key] for key in _OWNERS if key in raw), wf_uuid)
        if owner == wf_uuid:
            yield raw
        elif len(others) < _MOST_PROBLEMS:
            others.add(str(owner))


def _reader(path: Path) -> Reader:
    with path.open("rb") as file:
        return stampede_db.read if file.read(len(_SQLITE)) == _SQLITE else sink.read


def _check_whose(wf_uuid: str, found: Collection[str], path: Path) -> None:
    if found and wf_uuid not in found:
        raise UsageError(f"{path}: these are files of workflow {', '.join(sorted(found))}, not of {wf_uuid}")
