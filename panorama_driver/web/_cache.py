"""What was read of stores, kept on disk, so that a study of ten thousand runs is there at once the next time.

One SQLite file a store in `$XDG_CACHE_HOME/panorama` (`~/.cache/panorama`), for its owner alone, never in a study. An
entry holds for as long as no event of its workflow has arrived. All of it may be deleted at any time; where it cannot
be used, the dashboard works without it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from ..store import Store
from ..store._caches import anew, open_cache
from ._encoding import packed

FORMAT = 1
"""Counts up with whatever is kept."""
LARGEST = 64 << 20
"""Nothing larger is kept [bytes]."""
ROOM = 512 << 20
"""What is kept of a store, at most; the oldest goes first [bytes]."""

_log = logging.getLogger(__name__)
_MAKE = """CREATE TABLE IF NOT EXISTS kept (
    seq     INTEGER PRIMARY KEY,
    wf_uuid TEXT NOT NULL,
    kind    TEXT NOT NULL,
    mark    INTEGER NOT NULL,   -- of the newest event that is in it
    size    INTEGER NOT NULL,   -- [bytes]
    data    BLOB NOT NULL,
    UNIQUE (kind, wf_uuid)
)"""
_PUT = "INSERT OR REPLACE INTO kept (wf_uuid, kind, mark, size, data) VALUES (?, ?, ?, ?, ?)"
_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
_CROWD_OUT = """DELETE FROM kept WHERE seq IN (
    SELECT seq FROM (SELECT seq, sum(size) OVER (ORDER BY seq DESC) AS so_far FROM kept) WHERE so_far > ?)"""

T = TypeVar("T")


class Cache:
    """What is kept of one store; for many threads and processes.

    Parameters
    ----------
    store : Store
        What it is of: known by its first event and when that came in, wherever it lies.
    folder : Path or None
        Where it is kept; None keeps nothing.
    """

    def __init__(self, store: Store, folder: Path | None) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        first = store.since(0, limit=1).events
        if folder is None or not first:
            return
        self._path = folder / f"{first[0].event_id}-{store.ingested(first[0]) or 0.0:.6f}.db"
        try:
            self._connection = open_cache(self._path, _begin)
        except (OSError, sqlite3.Error) as problem:
            self._give_up(problem)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def get(self, kind: type[T], wf_uuid: str, mark: int) -> T | None:
        """What is kept of a workflow, if it has no event newer than `mark`; None if nothing is.

        Parameters
        ----------
        kind : type
            A msgspec struct.
        wf_uuid : str
            The workflow.
        mark : int
            The cursor of its newest event, of `Store.changed`.
        """
        query = "SELECT wf_uuid, data FROM kept WHERE kind = ? AND wf_uuid = ? AND mark = ?"
        return next((found for _, found in self._found(kind, query, (kind.__name__, wf_uuid, mark))), None)

    def all(self, kind: type[T], marks: Mapping[str, int]) -> dict[str, T]:
        """What is kept of these workflows, as of `get`."""
        query = "SELECT wf_uuid, data, mark FROM kept WHERE kind = ?"
        return dict(self._found(kind, query, (kind.__name__,), marks))

    def put(self, mark: int, wf_uuid: str, what: msgspec.Struct) -> None:
        """Keep one thing of a workflow in place of the one of its kind."""
        self.put_all([(mark, wf_uuid, what)])

    def put_all(self, things: Iterable[tuple[int, str, msgspec.Struct]]) -> None:
        """Keep many at once, each with its mark and its workflow; what is too large is not kept."""
        small = ((mark, wf_uuid, type(what).__name__, _compressed(what)) for mark, wf_uuid, what in things)
        rows = [(wf_uuid, kind, mark, len(data), data) for mark, wf_uuid, kind, data in small if len(data) <= LARGEST]
        with self._used() as connection:
            if connection is not None and rows:
                with connection:
                    connection.executemany(_PUT, rows)
                    # What is kept takes less than its file: only a large one is worth going through all of it.
                    if connection.execute(_USED).fetchone()[0] > ROOM:
                        connection.execute(_CROWD_OUT, (ROOM,))

    def _found(
        self, kind: type[T], query: str, values: tuple[object, ...], marks: Mapping[str, int] | None = None
    ) -> Iterator[tuple[str, T]]:
        rows: list[tuple[str, bytes]] = []
        with self._used() as connection:
            if connection is not None:
                every = connection.execute(query, values)
                rows = [row[:2] for row in every if marks is None or marks.get(row[0]) == row[2]]
        for wf_uuid, data in rows:
            try:
                yield wf_uuid, msgspec.msgpack.decode(zlib.decompress(data), type=kind)
            except (msgspec.MsgspecError, zlib.error, TypeError):
                continue  # half written or of another hand: read again from the store

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection | None]:
        with self._lock:
            try:
                yield self._connection
            except (OSError, sqlite3.Error) as problem:
                self._give_up(problem)

    def _give_up(self, problem: Exception) -> None:
        """Work without it from now on, and say so, once."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        _log.warning(
            "%s: the cache cannot be used, so every run is read from its store: %s; it may be deleted at any time",
            self._path,
            problem,
        )


def _compressed(what: msgspec.Struct) -> bytes:
    return zlib.compress(packed(what), 1)


def _begin(connection: sqlite3.Connection) -> None:
    """Forget what another version kept."""
    if anew(connection, str(FORMAT)):
        connection.execute("DROP TABLE IF EXISTS kept")
    connection.execute(_MAKE)
