"""What a broker or a network lost is found on disk and filled in; and each workflow says how complete it is.

Everything that a run tells live it also leaves on disk: the engine in its folder, Pegasus in the submit directory, the
probe in the job's own record. So putting all of that beside what came live fills the gaps, and an event that came from
disk only is one that was lost on its way, if anything came live at all.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import EnvironmentMissingError, FormatError, UsageError
from ..sources import plan, sink, stampede_db
from ..store import Store
from ._intake import Drained, Record, keep
from ._records import events_of
from .completeness import Completeness, completeness, note
from .darshan import summarise
from .files import BATCH, LINE_LIMIT, RunFollower, event_files
from .submitdir import drain_submit_dir

__all__ = ["Completeness", "completeness", "family", "reconcile"]

Reader = Callable[[Path, Callable[[str], object]], Iterator[dict[str, Any]]]
_SQLITE = b"SQLite format 3\x00"
_OWNERS = ("xwf_id", "xwf.id", "xwf__id", "wf_uuid")
_MOST_PROBLEMS = 100


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
        They are not there, or not any more.
    StoreError
        The store could not be written; another call adds the rest.
    """
    path = (Path(where) if where is not None else named_place(store, wf_uuid)).absolute()
    problems = [*_collect(store, wf_uuid, path).problems]
    read = summarise(store, wf_uuid)
    if read.waiting:
        problems.append(f"{read.waiting} Darshan logs are not read: {read.problem}")
    return note(store, wf_uuid, path, problems)


def family(store: Store, wf_uuid: str) -> list[str]:
    """A workflow and those below it in its hierarchy, as far as the store knows them."""
    below = [summary.wf_uuid for summary in store.workflows() if summary.root == wf_uuid]
    return [wf_uuid, *(other for other in below if other != wf_uuid)]


def named_place(store: Store, wf_uuid: str) -> Path:
    """The directory that the run named when it was planned.

    Raises
    ------
    UsageError
        No event tells.
    """
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
    folders = [path / "run", path / "output"] if (path / "bundle.json").is_file() else [path]
    told = [folder for folder in folders if (folder / "submitdir").is_file() or event_files(folder)]
    if not told:
        raise EnvironmentMissingError(
            f"{path}: nothing of a run is there, so workflow {wf_uuid} cannot be compared with it; "
            "name its submit directory or run folder (--from)"
        )
    return sum((_from_run(store, wf_uuid, folder) for folder in told), Drained())


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
    elif named:
        drained += Drained(problems=(f"{named}: no such directory, though {path / 'submitdir'} names it",))
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
