"""What was read of studies and stores, kept as tables, so that only what is new is read before the next question.

One SQLite file in the user's cache folder holds all of them; it may be deleted at any time. Of a store it knows the
cursor up to which all is in, and the event there: where that is another one, the store is another one too. A run
that has new events is made anew, as a study's evaluations are when its journal has changed.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..errors import StoreError
from ..store import Store, open_store
from ..store._base import printable
from ..store._caches import open_cache
from ._evaluations import study_rows, study_stamp
from ._reading import read_all
from ._rows import Row, RunRows
from ._tables import OF_RUN, OF_STUDY, WORKFLOW, begin, insertion, transaction

NAME = "questions.db"
ROOM = 2 << 30
"""What is kept at most; studies that nobody has asked for the longest time go first [bytes]."""

Progress = Callable[[int, int], None]

_COMMIT = 256  # runs kept at a time
_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
_STAND_IN = """INSERT INTO _evaluations
    (source_id, n, evaluation, key, state, over, failed, current, started, ended, wf_uuid)
    SELECT source_id, run, coalesce(label, wf_uuid), wf_uuid, state, state IN ('succeeded', 'failed'),
        CASE WHEN state IN ('succeeded', 'failed') THEN state = 'failed' END, 1, start, end, wf_uuid
    FROM _workflows WHERE source_id = ? AND root = wf_uuid"""
_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A study directory, or a store that belongs to none.

    Attributes
    ----------
    name : str
        What `study` is for it.
    store : str
        Path or URL of the store; that of a study need not be there.
    folder : Path or None
        Where the study keeps its journal.
    """

    name: str
    store: str
    folder: Path | None = None


@contextmanager
def opened(
    folder: Path | None, places: Iterable[Place], progress: Progress
) -> Iterator[tuple[sqlite3.Connection, dict[int, str]]]:
    """All that these places hold as tables, and which number each has in them with its name.

    Parameters
    ----------
    folder : Path or None
        Where it is kept; None, or where that cannot be, keeps nothing.
    places : iterable of Place
        What is asked.
    progress : callable
        Is told now and then how many runs of a store have been read, and how many are to be.

    Raises
    ------
    StoreError
        A store cannot be read.
    """
    places = list(places)
    kept = None if folder is None else _in_file(folder / NAME, places, progress)
    connection, sources = kept or _in_memory(places, progress)
    try:
        yield connection, sources
    finally:
        connection.close()


def _in_file(path: Path, places: list[Place], progress: Progress) -> tuple[sqlite3.Connection, dict[int, str]] | None:
    connection = None
    try:
        connection = open_cache(path, begin)
        return connection, _advanced(connection, places, progress)
    except StoreError:  # what is asked cannot be read, which is not the cache's fault
        _close(connection)
        raise
    except (OSError, sqlite3.Error) as problem:
        _close(connection)
        _log.warning("%s: cannot be used, so every run is read from its store: %s", path, problem)
        return None
    except BaseException:
        _close(connection)
        raise


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _in_memory(places: list[Place], progress: Progress) -> tuple[sqlite3.Connection, dict[int, str]]:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    begin(connection)
    return connection, _advanced(connection, places, progress)


def _advanced(connection: sqlite3.Connection, places: list[Place], progress: Progress) -> dict[int, str]:
    connection.isolation_level = None
    sources = {_source(connection, place): place.name for place in places}
    for source, place in zip(sources, places, strict=True):
        if place.folder is not None:
            _advance_study(connection, source, place.folder)
        _advance_store(connection, source, place, progress)
    if connection.execute(_USED).fetchone()[0] > ROOM:
        _crowd_out(connection, sources)
    return sources


def _source(connection: sqlite3.Connection, place: Place) -> int:
    where = place.store if "://" in place.store else printable(os.path.realpath(place.store))
    path = f"{'store' if place.folder is None else 'study'} {where}"
    query = "INSERT INTO _sources (path, used) VALUES (?, ?) ON CONFLICT DO UPDATE SET used = excluded.used"
    with transaction(connection):
        connection.execute(query, (path, time.time()))
        found: int = connection.execute("SELECT source_id FROM _sources WHERE path = ?", (path,)).fetchone()[0]
    return found


def _advance_study(connection: sqlite3.Connection, source: int, folder: Path) -> None:
    stamp = study_stamp(folder)  # of before the reading: what comes meanwhile gives another one
    if connection.execute("SELECT stamp FROM _sources WHERE source_id = ?", (source,)).fetchone()[0] == stamp:
        return
    rows = study_rows(folder)
    with transaction(connection):
        for name, (_, wanted) in OF_STUDY.items():
            connection.execute(f"DELETE FROM {name} WHERE source_id = ?", (source,))
            query = insertion(name, ["source_id", *(column.name for column in wanted)])
            connection.executemany(query, ((source, *row) for row in rows[name]))
        connection.execute("UPDATE _sources SET stamp = ? WHERE source_id = ?", (stamp, source))


def _advance_store(connection: sqlite3.Connection, source: int, place: Place, progress: Progress) -> None:
    if place.folder is not None and not os.path.exists(place.store):
        _begin_store(connection, source, "")
        return
    with open_store(place.store, readonly=True) as store:
        _begin_store(connection, source, _first(store))
        cursor, witness = _reached(connection, source)
        if cursor and _witness(place, store, cursor) != witness:
            _empty(connection, source)
            cursor = 0
        moved, reached = store.changed(cursor)
        if not moved:
            return
        known = connection.execute("SELECT wf_uuid, mark FROM _workflows WHERE source_id = ?", (source,))
        marks = dict(known.fetchall())
        unread = {wf_uuid: mark for wf_uuid, mark in moved.items() if marks.get(wf_uuid) != mark}
        _read(connection, source, store, place.store, unread, progress)
        _reach(connection, source, reached, _witness(place, store, reached))
        if place.folder is None:
            with transaction(connection):
                connection.execute("DELETE FROM _evaluations WHERE source_id = ?", (source,))
                connection.execute(_STAND_IN, (source,))


def _first(store: Store) -> str:
    """What tells a store from every other, but for copies of it."""
    first = store.since(0, limit=1).events
    return f"{first[0].event_id} {store.ingested(first[0])!r}" if first else ""


def _witness(place: Place, store: Store, cursor: int) -> str:
    """The event at the cursor of a file, which may have been put back to what it was; of a service nothing tells."""
    found = store.since(cursor - 1, limit=1).events if "://" not in place.store else []
    return found[0].event_id if found else ""


def _begin_store(connection: sqlite3.Connection, source: int, first: str) -> None:
    """Forget what is known where it is of another store."""
    if connection.execute("SELECT first FROM _sources WHERE source_id = ?", (source,)).fetchone()[0] != first:
        _empty(connection, source)
        connection.execute("UPDATE _sources SET first = ? WHERE source_id = ?", (first, source))


def _empty(connection: sqlite3.Connection, source: int) -> None:
    with transaction(connection):
        for name in ("_workflows", *OF_RUN):
            connection.execute(f"DELETE FROM {name} WHERE source_id = ?", (source,))
        connection.execute("UPDATE _sources SET cursor = '0', witness = '' WHERE source_id = ?", (source,))


def _reached(connection: sqlite3.Connection, source: int) -> tuple[int, str]:
    """Up to which cursor all is in, and what is there."""
    query = "SELECT cursor, witness FROM _sources WHERE source_id = ?"
    cursor, witness = connection.execute(query, (source,)).fetchone()
    return int(cursor), witness


def _reach(connection: sqlite3.Connection, source: int, cursor: int, witness: str) -> None:
    """All is in up to there; another process may have come further meanwhile."""
    query = "UPDATE _sources SET cursor = ?, witness = ? WHERE source_id = ?"
    with transaction(connection):
        if _reached(connection, source)[0] < cursor:
            connection.execute(query, (str(cursor), witness, source))


def _read(
    connection: sqlite3.Connection,
    source: int,
    store: Store,
    where: str,
    unread: Mapping[str, int],
    progress: Progress,
) -> None:
    done = 0
    progress(done, len(unread))
    found = read_all(store, where, list(unread))
    while some := list(islice(found, _COMMIT)):
        with transaction(connection):
            for wf_uuid, rows in some:
                _put(connection, source, wf_uuid, unread[wf_uuid], rows)
        done += len(some)
        progress(done, len(unread))


_PUT = {
    name: insertion(name, ["source_id", "run", *(column.name for column in wanted)])
    for name, (_, wanted) in OF_RUN.items()
}
_PUT_WORKFLOW = insertion("_workflows", ["source_id", "mark", *(column.name for column in WORKFLOW)])


def _put(connection: sqlite3.Connection, source: int, wf_uuid: str, mark: int, rows: RunRows) -> None:
    """Keep a run in place of what was known of it, unless another process has kept a newer state of it."""
    query = "SELECT run, mark FROM _workflows WHERE source_id = ? AND wf_uuid = ?"
    known = connection.execute(query, (source, wf_uuid)).fetchone()
    if known and known[1] > mark:
        return
    for name in OF_RUN if known else ():
        connection.execute(f"DELETE FROM {name} WHERE source_id = ? AND run = ?", (source, known[0]))
    run = connection.execute(_PUT_WORKFLOW, (source, mark, wf_uuid, *rows.workflow)).lastrowid
    parts: Iterable[list[Row]] = (rows.jobs, rows.attempts, rows.transfers, rows.anomalies)
    for query, part in zip(_PUT.values(), parts, strict=True):
        connection.executemany(query, ((source, run, *row) for row in part))


def _crowd_out(connection: sqlite3.Connection, asked: Iterable[int]) -> None:
    """Let go of what nobody has asked for the longest time, until the rest has room."""
    asked = set(asked)
    for (source,) in connection.execute("SELECT source_id FROM _sources ORDER BY used").fetchall():
        if source in asked or connection.execute(_USED).fetchone()[0] <= ROOM:
            continue
        with transaction(connection):
            for name in ("_sources", "_workflows", *OF_RUN, *OF_STUDY):
                connection.execute(f"DELETE FROM {name} WHERE source_id = ?", (source,))
