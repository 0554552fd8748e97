"""The store in one SQLite file: no service to install, one machine writes while any number of processes read.

The file is in WAL mode with `synchronous=NORMAL`. What `put` returned from survives the death of the process; a power
cut may take the last commits but leaves the file sound, and that is enough where run folders on disk hold the same
events, and collecting them again adds exactly what is missing. For events that are acknowledged to a broker and then
nowhere else, a durable store uses `synchronous=FULL` (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ..errors import StoreError
from ..events import Event
from ._base import Arrivals, Changes, DeadLetter, Kept, Page, Store, Via, WorkflowSummary
from ._rows import as_buried, decoded, encoded, refuse_misfits, workflow_names

_APPLICATION_ID = 0x50414E4F  # "PANO", in the file's header: tells our files from other people's
_BUSY_TIMEOUT = 10.0  # seconds
_CACHE = 16 * 1024  # KiB
_LOG_KEPT = 64 << 20  # bytes of the write-ahead log, once a long read that kept it from being emptied is over
_CHUNK = 256  # rows fetched at a time

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE events (
            seq        INTEGER PRIMARY KEY,   -- order of arrival: the cursor of followers
            event_id   BLOB NOT NULL,
            wf_uuid    TEXT NOT NULL,
            kind       TEXT NOT NULL,
            ts         REAL,                  -- event time on the emitter's clock [s since 1970, UTC]
            ingested   REAL NOT NULL,         -- ingest time on this machine's clock [s since 1970, UTC]
            job_id     TEXT,
            attempt    INTEGER,
            invocation INTEGER,
            fields     TEXT NOT NULL,         -- JSON object
            UNIQUE (wf_uuid, event_id)        -- by workflow, so that a batch touches few pages of a large index
        )""",
        "CREATE INDEX events_in_order ON events (wf_uuid, ts, seq, kind)",
        "CREATE TABLE workflows (wf_uuid TEXT NOT NULL UNIQUE, label TEXT)",
        """CREATE TABLE dead_letters (
            letter_id     BLOB NOT NULL UNIQUE,
            reason        TEXT NOT NULL,
            source        TEXT NOT NULL,
            source_offset INTEGER,            -- [bytes]
            size          INTEGER NOT NULL,   -- [bytes]
            head          BLOB NOT NULL,
            buried        REAL NOT NULL       -- [s since 1970, UTC]
        )""",
    ),
    (
        "ALTER TABLE events ADD COLUMN via INTEGER NOT NULL DEFAULT 1",  # Via: the ways on which it came
        "ALTER TABLE workflows ADD COLUMN root TEXT",
    ),
)
"""What brings a file from schema version N to N + 1, at place N. Released entries never change."""

# One statement, and so one snapshot: another process may be making the file.
_SELECT_HEADER = """SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
    FROM pragma_user_version, pragma_application_id"""
_INSERT_EVENT = """INSERT OR IGNORE INTO events
    (event_id, wf_uuid, kind, ts, ingested, job_id, attempt, invocation, fields, via)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ADD_WAY = "UPDATE events SET via = via | ?1 WHERE wf_uuid = ?2 AND event_id = ?3 AND via & ?1 = 0"
_INSERT_WORKFLOW = """INSERT INTO workflows (wf_uuid, label, root) VALUES (?, ?, ?) ON CONFLICT (wf_uuid)
    DO UPDATE SET label = coalesce(label, excluded.label), root = coalesce(root, excluded.root)
    WHERE (label IS NULL AND excluded.label IS NOT NULL) OR (root IS NULL AND excluded.root IS NOT NULL)"""
_INSERT_LETTER = """INSERT OR IGNORE INTO dead_letters
    (letter_id, reason, source, source_offset, size, head, buried) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_COLUMNS = "kind, wf_uuid, ts, job_id, attempt, invocation, fields"
_SELECT_WORKFLOWS = """SELECT wf_uuid, label, root,
    (SELECT min(ts) FROM events WHERE events.wf_uuid = workflows.wf_uuid),
    (SELECT max(ts) FROM events WHERE events.wf_uuid = workflows.wf_uuid)
    FROM workflows ORDER BY rowid"""

# All of the index, which holds what is asked for; or the newest rows alone.
_SELECT_NEWEST = """SELECT wf_uuid, max(seq) FROM events INDEXED BY events_in_order
    WHERE seq > ? AND seq <= ? GROUP BY wf_uuid"""
_SELECT_NEWER = """SELECT wf_uuid, max(seq) FROM events NOT INDEXED
    WHERE seq > ? AND seq <= ? GROUP BY wf_uuid"""


class SQLiteStore(Store):
    """Events in one SQLite file.

    Parameters
    ----------
    path : str or path
        The file; made with mode 0600 where it is missing. Beside it SQLite keeps `-wal` and `-shm`.
    readonly : bool
        Only look. The file must be there, and a writer is not disturbed.
    durable : bool
        What `put` returned from survives a power cut as well.

    Raises
    ------
    StoreError
        The file is missing (`readonly`), is no store, was written by a newer version, or cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, readonly: bool = False, durable: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self._lock = threading.Lock()
        self._resting: _Resting | None = None
        with self._explained("open"):
            self._connection = self._open_to_read() if readonly else self._open_to_write()
            if durable:
                self._connection.execute("PRAGMA synchronous = FULL")

    def put(self, events: Iterable[Event], *, ingested: float | None = None, via: Via = Via.DISK) -> int:
        events = list(events)
        if not events:
            return 0
        now = time.time() if ingested is None else ingested
        try:
            rows = [_row(event, now, via) for event in events]
            workflows = [(wf_uuid, *names) for wf_uuid, names in workflow_names(events).items()]
            with self._lock, self._explained("write to"), _transaction(self._connection) as connection:
                new = connection.executemany(_INSERT_EVENT, rows).rowcount
                if new < len(rows):
                    connection.executemany(_ADD_WAY, [(int(via), row[1], row[0]) for row in rows])
                connection.executemany(_INSERT_WORKFLOW, workflows)
        except (StoreError, ValueError, TypeError, OverflowError):
            refuse_misfits(events)
            raise
        return new

    def events(
        self, wf_uuid: str, kinds: Collection[str] | None = None, *, without: Collection[str] = ()
    ) -> Iterator[Event]:
        condition, values = _kind_condition(kinds, without)
        query = f"SELECT {_COLUMNS} FROM events WHERE wf_uuid = ?{condition} ORDER BY ts, seq"
        return map(_event, self._stream(query, (wf_uuid, *values)))

    def workflows(self) -> list[WorkflowSummary]:
        return [
            WorkflowSummary(wf_uuid=wf_uuid, label=label, first=first, last=last, root=root)
            for wf_uuid, label, root, first, last in self._rows(_SELECT_WORKFLOWS)
        ]

    def since(self, cursor: int = 0, kinds: Collection[str] | None = None, *, limit: int = 1000) -> Page:
        # Writers take turns, so that sequence numbers become visible in their order and none can appear below `end`.
        end = self._rows("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        condition, values = _kind_condition(kinds)
        query = f"SELECT seq, {_COLUMNS} FROM events WHERE seq > ? AND seq <= ?{condition} ORDER BY seq LIMIT ?"
        rows = self._rows(query, (cursor, end, *values, limit))
        reached = rows[-1][0] if rows and len(rows) == limit else max(cursor, end)
        return Page([_event(row[1:]) for row in rows], reached)

    def changed(self, cursor: int = 0) -> Changes:
        end = self._rows("SELECT coalesce(max(seq), 0) FROM events")[0][0]
        if end <= cursor:
            return Changes({}, cursor)
        newest = self._rows(_SELECT_NEWEST if cursor <= 0 else _SELECT_NEWER, (cursor, end))
        return Changes(dict(newest), end)

    def ingested(self, event: Event) -> float | None:
        query = "SELECT ingested FROM events WHERE wf_uuid = ? AND event_id = ?"
        rows = self._rows(query, (event.wf_uuid, bytes.fromhex(event.event_id)))
        return rows[0][0] if rows else None

    def kept(self) -> Iterator[Kept]:
        for *row, ingested, via in self._stream(f"SELECT {_COLUMNS}, ingested, via FROM events ORDER BY seq"):
            yield Kept(_event(row), ingested, Via(via))

    def arrivals(self, wf_uuid: str) -> list[Arrivals]:
        # Counted here: SQLite would sort all rows for it, and take them out of order, which is many times slower.
        query = "SELECT kind, via FROM events INDEXED BY events_in_order WHERE wf_uuid = ?"
        numbers = Counter(self._stream(query, (wf_uuid,)))
        return [Arrivals(kind, Via(via), number) for (kind, via), number in sorted(numbers.items())]

    def count(self, wf_uuid: str | None = None, kinds: Collection[str] | None = None) -> int:
        condition, values = _kind_condition(kinds)
        # The index that readers of the run go through as well; SQLite itself would take a larger one.
        whose, key = (
            (" WHERE 1", ()) if wf_uuid is None else (" INDEXED BY events_in_order WHERE wf_uuid = ?", (wf_uuid,))
        )
        total: int = self._rows(f"SELECT count(*) FROM events{whose}{condition}", (*key, *values))[0][0]
        return total

    def bury(self, letters: Iterable[DeadLetter]) -> int:
        rows = [_letter_row(letter) for letter in letters]
        if not rows:
            return 0
        with self._lock, self._explained("write to"), _transaction(self._connection) as connection:
            return connection.executemany(_INSERT_LETTER, rows).rowcount

    def dead_letters(self) -> Iterator[DeadLetter]:
        columns = "reason, source, source_offset, size, head, buried"
        query = f"SELECT {columns} FROM dead_letters ORDER BY rowid"
        for reason, source, offset, size, head, buried in self._stream(query):
            yield DeadLetter(reason=reason, source=source, offset=offset, size=size, head=head, buried=buried)

    def exhume(self, letter_ids: Collection[str]) -> int:
        rows = [(bytes.fromhex(letter_id),) for letter_id in letter_ids]
        with self._lock, self._explained("write to"), _transaction(self._connection) as connection:
            return connection.executemany("DELETE FROM dead_letters WHERE letter_id = ?", rows).rowcount

    def close(self) -> None:
        with self._lock, self._explained("close"):
            self._connection.close()

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            with suppress(_WrittenError):
                return self._taken(query, values)
            return self._taken(query, values)  # as a writer leaves it

    def _taken(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        with self._explained("read"):
            connection = self._current()
        with self._unless_written(self._resting):
            return connection.execute(query, values).fetchall()

    def _current(self) -> sqlite3.Connection:
        """The connection, made anew where somebody has begun to write a file that nobody was writing."""
        if self._resting is not None and self._resting != _resting(self.path):
            self._connection.close()
            self._connection, self._resting = self._reader()
        return self._connection

    def _stream(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        """Rows through a connection of their own: a snapshot that neither holds up nor sees what is written."""
        with self._explained("read"):
            connection, resting = self._reader()
        with closing(connection), self._unless_written(resting):
            cursor = connection.execute(query, values)
            while rows := cursor.fetchmany(_CHUNK):
                yield from rows

    @contextmanager
    def _unless_written(self, resting: _Resting | None) -> Iterator[None]:
        """Read a file that nobody writes, if it is `resting`; whatever was read, or went wrong, counts only if so.

        Raises
        ------
        _WrittenError
            Somebody has written it meanwhile: pages of before and after may have been taken together.
        """
        try:
            with self._explained("read"):
                yield
        except StoreError:
            self._check_unwritten(resting)
            raise
        self._check_unwritten(resting)

    def _check_unwritten(self, resting: _Resting | None) -> None:
        if resting is not None and resting != _resting(self.path, written=True):
            raise _WrittenError(f"{self.path}: was written anew while it was read; read it again") from None

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(_explanation(self.path, doing, error)) from error

    def _open_to_write(self) -> sqlite3.Connection:
        _create(self.path)
        connection = _connect(self.path, "rw")
        try:
            version = _version(connection, self.path)
            _use_wal(connection)
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}")
            if version < len(_MIGRATIONS):
                _migrate(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_read(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise StoreError(f"{self.path}: there is no store yet; the first evaluation of a study makes it")
        connection, self._resting = self._reader()
        try:
            version = _version(connection, self.path)
        except BaseException:
            connection.close()
            raise
        if version < len(_MIGRATIONS):
            connection.close()
            raise StoreError(
                f"{self.path}: schema version {version} is older than {len(_MIGRATIONS)}, which this program reads; "
                "open it once for writing (the study's server does) and it is brought up to date, with a backup"
            )
        return connection

    def _reader(self) -> tuple[sqlite3.Connection, _Resting | None]:
        """A connection that only looks, and how the file stands if nobody writes it.

        WAL mode would have even a reader make `-shm` and `-wal` where there is no writer that has made them.
        """
        resting = _resting(self.path)
        return _connect(self.path, "ro" if resting is None else "ro&immutable=1"), resting


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    url = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        url, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, cached_statements=32
    )
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE}")
    return connection


def _create(path: Path) -> None:
    """SQLite would make the file with the umask's mode; `-wal` and `-shm` take over the mode that it finds."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"{path}: cannot open the store for writing: {error.strerror}; "
            "check that its folder exists, that you own it, and that it has room"
        ) from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. Others that do the same meet "locked" at once, for which SQLite has no busy timeout."""
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Schema version of a file of ours, 0 for one still empty.

    Raises
    ------
    StoreError
        The file belongs to another program, or to a newer version of this one.
    """
    version: int
    version, owner, tables = connection.execute(_SELECT_HEADER).fetchone()
    if owner != _APPLICATION_ID and (owner or version or tables):
        raise StoreError(f"{path}: this SQLite file belongs to another program; give the path of a store or a new one")
    if version > len(_MIGRATIONS):
        raise StoreError(
            f"{path}: written by a newer panorama-driver (schema version {version}, this one knows "
            f"{len(_MIGRATIONS)}); update with 'pip install -U panorama-driver', nothing was changed"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    with _transaction(connection):
        version = _version(connection, path)  # another process may have been faster
        if 0 < version < len(_MIGRATIONS):
            _back_up(path, version)
        for step in _MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _back_up(path: Path, version: int) -> None:
    """Copy the file as it is, to `<name>.schema-<version>`, complete or not at all."""
    target = _sibling(path, f".schema-{version}")
    partial = _sibling(target, ".partial")
    partial.unlink(missing_ok=True)
    _create(partial)
    with closing(_connect(path, "ro")) as source, closing(_connect(partial, "rw")) as copy:
        source.backup(copy)
    partial.replace(target)


class _WrittenError(StoreError):
    """Somebody wrote a file while it was read as one that nobody writes."""


class _Resting(NamedTuple):
    """What tells that a file is still the same."""

    inode: int
    size: int
    changed: int


def _resting(path: Path, *, written: bool = False) -> _Resting | None:
    """How a file stands that nobody has open to write: whoever has, has made `-wal` beside it, not beside a link to it.

    With `written`, also of one that somebody has: what was committed goes into `-wal` first, and comes here later.
    """
    path = Path(os.path.realpath(path))
    if not written and any(_sibling(path, suffix).exists() for suffix in ("-wal", "-shm", "-journal")):
        return None
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return _Resting(found.st_ino, found.st_size, found.st_mtime_ns)


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _row(event: Event, ingested: float, via: Via) -> tuple[Any, ...]:
    return (
        bytes.fromhex(event.event_id),
        event.wf_uuid,
        event.kind,
        event.ts,
        ingested,
        event.job_id,
        event.attempt,
        event.invocation,
        encoded(event.fields),
        int(via),
    )


def _event(row: tuple[Any, ...]) -> Event:
    kind, wf_uuid, ts, job_id, attempt, invocation, fields = row
    return Event(
        kind=kind,
        wf_uuid=wf_uuid,
        ts=ts,
        job_id=job_id,
        attempt=attempt,
        invocation=invocation,
        fields=decoded(fields),
    )


def _kind_condition(kinds: Collection[str] | None, without: Collection[str] = ()) -> tuple[str, tuple[str, ...]]:
    chosen = "" if kinds is None else f" AND kind IN ({', '.join('?' * len(kinds))})"
    left_out = f" AND kind NOT IN ({', '.join('?' * len(without))})" if without else ""
    return chosen + left_out, (*(kinds or ()), *without)


def _letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    kept = as_buried(letter)
    identity = bytes.fromhex(letter.letter_id)
    return identity, kept.reason, kept.source, kept.offset, kept.size, kept.head, kept.buried


def _explanation(path: Path, doing: str, error: sqlite3.Error) -> str:
    return f"{path}: cannot {doing} the store: {error}; {_free(path)}; {_next_step(error)}"


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free} bytes are free there"
    except OSError as error:
        return f"its folder cannot be asked for free space ({error.strerror})"


def _next_step(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    for start, step in _NEXT_STEPS.items():
        if name.startswith(start):
            return step
    return "nothing was written"


_NEXT_STEPS = {
    "SQLITE_FULL": "free space and try again, nothing was written",
    "SQLITE_IOERR": "check the disk, its quota and free space, then try again; nothing was written",
    "SQLITE_BUSY": f"another process has been writing for {_BUSY_TIMEOUT:.0f} s: end it or try again",
    "SQLITE_LOCKED": "try again",
    "SQLITE_READONLY": "open it for writing, and check that you may write the file and its folder",
    "SQLITE_PERM": "check that you may read and write the file and its folder",
    "SQLITE_CANTOPEN": "check that the file and its folder exist and that you may read and write them",
    "SQLITE_NOTADB": "this is no store: give another path, or move the file away",
    "SQLITE_CORRUPT": "move it away; the run folders hold its events and a new store is filled from them",
}
