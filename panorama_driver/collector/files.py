"""Collects a run folder: follows `events.jsonl` and the `*.trace.*.jsonl` files into a store, each line exactly once.

A position in a file moves on only after the store has committed what was read, and the store knows each event by its
identity; so a collector that dies, or reads a folder again, loses nothing and doubles nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import EnvironmentMissingError, StoreError
from ..store import Store
from ._intake import Drained, Record, keep
from ._lines import Line, Tail, lines, lots

BATCH = 256
"""Events committed together."""
LINE_LIMIT = 4 * 1024 * 1024
"""A longer line becomes a dead letter [bytes]."""

__all__ = ["BATCH", "LINE_LIMIT", "Drained", "RunFollower", "drain", "event_files"]

_EVENT_FILE = re.compile(r"(events|.+\.trace\..+)\.jsonl(\.\d+)?", re.DOTALL)  # with those rotated by renaming


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
    pass_on : callable, optional
        Takes the lines that the store has; those of a file that is read again come again.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        store: Store,
        *,
        line_limit: int = LINE_LIMIT,
        pass_on: Callable[[list[bytes]], None] | None = None,
    ) -> None:
        self.run_dir = Path(run_dir).absolute()
        self._store = store
        self._line_limit = line_limit
        self._pass_on = pass_on
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
        paths, problems = event_files(self.run_dir), list[str]()
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
                total += keep(self._store, (_record(str(path), line) for line in lot if line.body.strip()))
                if self._pass_on is not None:
                    self._pass_on([line.body for line in lot if not line.too_long])
                tail.move_to(lot[-1].after, file)
        tail.seen = seen
        return total


def event_files(run_dir: Path) -> list[Path]:
    """Files to collect, those of the engine first: they name the workflow."""
    if not run_dir.is_dir():
        return []
    names = filter(_EVENT_FILE.fullmatch, os.listdir(run_dir))
    return [run_dir / name for name in sorted(names, key=lambda name: (not name.startswith("events.jsonl"), name))]


def _usable(source: Iterable[Line], final: bool) -> Iterator[Line]:
    """Leave out a last line still being written, unless it never will be."""
    return (line for line in source if line.ended or final)


def _record(path: str, line: Line) -> Record:
    if line.too_long:
        flaw = f"a line of {line.size} bytes is longer than a record may be"
        return Record(line.body, path, line.offset, line.size, flaw)
    return Record(line.body, path, line.offset, flaw="" if line.ended else "the file ends within this line")
