"""Collects a run folder: follows `events.jsonl` and the `*.trace.*.jsonl` files into a store, each line exactly once.

A position in a file moves on only after the store has committed what was read, and the store knows each event by its
identity; so a collector that dies, or reads a folder again, loses nothing and doubles nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentMissingError, FormatError, StoreError
from ..events import Event
from ..store import DeadLetter, Store
from ._lines import HEAD, Line, Tail, lines, lots
from ._records import events_of

BATCH = 256
"""Events committed together."""
LINE_LIMIT = 4 * 1024 * 1024
"""A longer line becomes a dead letter [bytes]."""

_EVENT_FILE = re.compile(r"(events|.+\.trace\..+)\.jsonl(\.\d+)?", re.DOTALL)  # with those rotated by renaming


@dataclass(frozen=True)
class Drained:
    """What one look at a run folder brought.

    Attributes
    ----------
    stored : int
        Events that the store did not have.
    duplicates : int
        Events that it had.
    dead : int
        Lines that could not be made an event; they are among the store's dead letters.
    problems : tuple of str
        Files that could not be read, and why; the others were.
    """

    stored: int = 0
    duplicates: int = 0
    dead: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.dead + other.dead,
            self.problems + other.problems,
        )


def drain(run_dir: str | os.PathLike[str], store: Store) -> Drained:
    """Bring a run that has ended into the store; it does no harm to do it again.

    Parameters
    ----------
    run_dir : str or path
        The `run/` folder of an evaluation.
    store : Store
        Where its events go.

    Returns
    -------
    Drained
        What was there.

    Raises
    ------
    EnvironmentMissingError
        There is no such folder.
    StoreError
        The store could not be written; what it committed before stays, and another `drain` adds the rest.
    """
    if not Path(run_dir).is_dir():
        raise EnvironmentMissingError(f"{run_dir}: no such run folder; give the run/ folder of an evaluation")
    return RunFollower(run_dir, store).finish()


class RunFollower:
    """Follows a run folder while the run goes on; the folder may appear later.

    Files that are renamed, truncated or replaced meanwhile are followed as far as they can be read.

    Parameters
    ----------
    run_dir : str or path
        The `run/` folder of an evaluation.
    store : Store
        Where its events go.
    line_limit : int
        Longer lines become dead letters [bytes].
    """

    def __init__(self, run_dir: str | os.PathLike[str], store: Store, *, line_limit: int = LINE_LIMIT) -> None:
        self.run_dir = Path(run_dir).absolute()
        self._store = store
        self._line_limit = line_limit
        self._tails: dict[tuple[int, int], Tail] = {}

    def poll(self) -> Drained:
        """Collect the lines that were completed since the last time.

        Raises
        ------
        StoreError
            The store could not be written; the next `poll` begins where it last committed.
        """
        return self._collect(final=False)

    def finish(self) -> Drained:
        """Collect everything, the run being over: a last line without its end is an event or a dead letter now.

        Raises
        ------
        StoreError
            As of `poll`.
        """
        return self._collect(final=True)

    def _collect(self, final: bool) -> Drained:
        total = Drained()
        paths, problems = _event_files(self.run_dir), list[str]()
        for path in paths:
            try:
                total += self._collect_file(path, final)
            except StoreError:
                raise
            except FileNotFoundError:
                continue  # renamed since the folder was listed, and found under its new name next time
            except OSError as error:
                problems.append(f"{path}: cannot be read: {error.strerror}")
        return total + Drained(problems=tuple(problems))

    def _collect_file(self, path: Path, final: bool) -> Drained:
        status = path.stat()
        tail = self._tails.setdefault((status.st_dev, status.st_ino), Tail())
        seen = (status.st_size, status.st_mtime_ns, final)
        total = Drained()
        if tail.seen == seen or not stat.S_ISREG(status.st_mode):
            return total
        with path.open("rb") as file:
            if not tail.continues_in(file):
                tail.restart()
            for lot in lots(_usable(lines(file, tail.offset, self._line_limit), final), BATCH, self._line_limit):
                total += _keep(self._store, str(path), lot)
                tail.move_to(lot[-1].after, file)
        tail.seen = seen
        return total


def _event_files(run_dir: Path) -> list[Path]:
    """Files to collect, those of the engine first: they name the workflow."""
    if not run_dir.is_dir():
        return []
    names = filter(_EVENT_FILE.fullmatch, os.listdir(run_dir))
    return [run_dir / name for name in sorted(names, key=lambda name: (not name.startswith("events.jsonl"), name))]


def _usable(source: Iterable[Line], final: bool) -> Iterator[Line]:
    """Leave out a last line still being written, unless it never will be."""
    return (line for line in source if line.ended or final)


def _keep(store: Store, path: str, lot: list[Line]) -> Drained:
    events: list[tuple[Line, Event]] = []
    letters: list[DeadLetter] = []
    for line in lot:
        if not line.body.strip():
            continue
        try:
            events += [(line, event) for event in _events(line)]
        except FormatError as error:
            letters.append(_letter(path, line, error))
    new, misfits = _put(store, path, events)
    store.bury(letters + misfits)
    dead = len(letters) + len(misfits)
    return Drained(stored=new, duplicates=len(events) - len(misfits) - new, dead=dead)


def _events(line: Line) -> list[Event]:
    if line.too_long:
        raise FormatError(f"a line of {line.size} bytes is longer than a record may be")
    try:
        return events_of(line.body)
    except FormatError as error:
        raise error if line.ended else FormatError(f"the file ends within this line: {error}") from error


def _put(store: Store, path: str, events: list[tuple[Line, Event]]) -> tuple[int, list[DeadLetter]]:
    """Store them together or, where one of them does not fit, one by one."""
    try:
        return store.put(event for _, event in events), []
    except FormatError:
        new, misfits = 0, list[DeadLetter]()
    for line, event in events:
        try:
            new += store.put([event])
        except FormatError as error:
            misfits.append(_letter(path, line, error))
    return new, misfits


def _letter(path: str, line: Line, error: FormatError) -> DeadLetter:
    return DeadLetter(reason=str(error), source=path, offset=line.offset, size=line.size, head=line.body[:HEAD])
