"""Puts what other tools wrote into a store, each file by the format that it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path

from ..errors import FormatError, UsageError
from ..events import Event
from ..store import DeadLetter, Store
from ._manifest import is_repository
from ._restore import import_events
from .formats import READ, Format, detected, named, recognised
from .records import Counts, Progress

AUTO, REPOSITORY = "auto", "repository"
_TOGETHER = 10_000


def import_as(name: str, paths: Sequence[Path], store: Store, *, progress: Progress) -> Counts:
    """As `panorama_driver.exchange.import_as`."""
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    notes: list[str] = []
    files = [file for path in paths for file in _files(name, path, notes)]
    found = [(_format(name, path), path) for path in files]  # all of them, before anything is put anywhere
    found.sort(key=lambda told: told[0] is not None and told[0].joins)  # these need what the others bring
    total = Counts(notes=tuple(notes))
    for chosen, some in groupby(found, key=lambda told: told[0]):
        total = _sum(total, _imported(chosen, [path for _, path in some], store, progress, several=len(found) > 1))
    return total


def _files(name: str, path: Path, notes: list[str]) -> list[Path]:
    """A path, or all files below a folder that have a format; what has none is noted.

    Raises
    ------
    UsageError
        No file of the folder has a format that is known.
    """
    if name == REPOSITORY or is_repository(path) or not path.is_dir():
        return [path]
    below = sorted(Path(top, file) for top, _, files in os.walk(path) for file in files)
    known = [file for file in below if file.is_file() and (name != AUTO or recognised(file) is not None)]
    if not known:
        raise UsageError(f"{path}: neither a repository nor a folder with files of {', '.join(e.name for e in READ)}")
    if len(known) < len(below):
        strange = min(set(below) - set(known))
        notes.append(
            f"{path}: {len(below) - len(known)} of {len(below)} files are of no known format, such as {strange}"
        )
    return known


def _format(name: str, path: Path) -> Format | None:
    """The format of a path; None for a repository."""
    if name == REPOSITORY or (name == AUTO and is_repository(path)):
        return None
    return detected(path) if name == AUTO else named(name, READ)


def _imported(chosen: Format | None, paths: list[Path], store: Store, progress: Progress, *, several: bool) -> Counts:
    """Bring files of one format; of several files, one that cannot be read is noted and the others are read."""
    if chosen is not None and chosen.joins:
        return chosen.joiner.collect(paths, store)
    total = Counts()
    for path in paths:
        if chosen is None:
            counts = import_events(path, store, progress=progress)
        else:
            counts = _read(chosen, path, store, progress, several)
        total = _sum(total, counts)
    return total


def _read(chosen: Format, path: Path, store: Store, progress: Progress, several: bool) -> Counts:
    try:
        return _put(store, path, chosen.reader.read(path), partial(progress, f"{path.name}: events read"))
    except FormatError as problem:
        if not several:
            raise
        return Counts(notes=(str(problem),))


def _put(
    store: Store, path: Path, told: Iterable[Event | DeadLetter], progress: Callable[[int, int | None], None]
) -> Counts:
    total, remaining = Counts(), iter(told)
    while some := list(islice(remaining, _TOGETHER)):
        events = [each for each in some if isinstance(each, Event)]
        letters = [each for each in some if isinstance(each, DeadLetter)]
        new, misfits = _kept(store, path, events)
        buried = store.bury([*letters, *misfits])
        total = _sum(total, Counts(read=len(events) - len(misfits), new=new, letters=buried))
        progress(total.read, None)
    return total


def _kept(store: Store, path: Path, events: list[Event]) -> tuple[int, list[DeadLetter]]:
    """Store events together or, where the key of one is such that no store can hold it, one by one."""
    try:
        return store.put(events), []
    except FormatError:
        new, misfits = 0, list[DeadLetter]()
    for event in events:
        try:
            new += store.put([event])
        except FormatError as problem:
            head = repr(event).encode("utf-8", "backslashreplace")
            misfits.append(DeadLetter(reason=str(problem), source=os.path.abspath(path), size=len(head), head=head))
    return new, misfits


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(
        read=one.read + other.read,
        new=one.new + other.new,
        letters=one.letters + other.letters,
        notes=(*one.notes, *other.notes),
    )
