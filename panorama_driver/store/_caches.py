"""SQLite files of what can be made again, in the user's cache folder, for their owner alone."""

from __future__ import annotations

import os
import sqlite3
import stat
import zlib
from collections.abc import Callable
from pathlib import Path

from .. import __version__

_PATIENCE = 2.0  # seconds for another process that writes


def cache_folder() -> Path | None:
    """Where caches are by default; None for a user without a home."""
    chosen, home = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~")
    folder = chosen if os.path.isabs(chosen) else os.path.join(home, ".cache")
    return Path(folder) / "panorama" if os.path.isabs(folder) else None


def open_cache(path: Path, begin: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """The file, made anew if it is damaged; `begin` makes what is missing in it, in one transaction.

    Raises
    ------
    OSError
        Its folder is somebody else's, or it cannot be made.
    sqlite3.Error
        It cannot be opened.
    """
    _make_private(path.parent)
    try:
        return _ready(path, begin)
    except sqlite3.DatabaseError as problem:
        if problem.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    return _ready(path, begin)


def anew(connection: sqlite3.Connection, kept: str) -> bool:
    """Whether a file is new, or another version's: then it is marked as one of this version, which keeps `kept`."""
    version = zlib.crc32(f"{__version__} {kept}".encode()) & 0x7FFFFFFF
    if connection.execute("PRAGMA user_version").fetchone()[0] == version:
        return False
    connection.execute(f"PRAGMA user_version = {version}")
    return True


def _make_private(folder: Path) -> None:
    """Make the folder, or see that it is ours alone.

    Raises
    ------
    PermissionError
        It is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def _ready(path: Path, begin: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with connection:
            begin(connection)
    except BaseException:
        connection.close()
        raise
    return connection
