"""Copies of a deployment's store, inside a container: `python -m panorama_driver.backend.volumes VERB STORE`.

    save STORE       a SQLite store on standard output, as it is at one moment, while it is written to
    load STORE       put the one on standard input in its place, if it is whole; nobody may have it open
    snapshot STORE   a search engine's store, as a snapshot in the engine's own folder
    restore STORE    put that snapshot in the place of what there is

SQLite's online backup (https://sqlite.org/backup.html) and the engine's snapshots are consistent, a copy of their files
is not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from ..errors import PanoramaError, StoreError, UsageError

if TYPE_CHECKING:
    from ..store._search_http import Client

REPOSITORY, SNAPSHOT = "panorama", "panorama"
SNAPSHOTS = "snapshots"
"""Where the engine keeps them: below the first of its `path.repo`."""
_PAGES = 2000  # of SQLite, copied before writers get their turn
_MEMBERS = ("-wal", "-shm")
_LOOK, _PAUSE = 0.2, 2.0  # seconds, between looks and between words
_STUCK = 60.0  # seconds


def save(path: Path, to: BinaryIO) -> None:
    """Write a consistent copy of a SQLite store; others may go on writing into it.

    Raises
    ------
    StoreError
        There is none, or it cannot be read.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no store there")
    with _scratch(path.parent) as copy:
        try:
            with contextlib.closing(_opened(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target, pages=_PAGES, progress=_pages(_Told("copy")))
                target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as problem:
            raise StoreError(f"{path}: cannot be copied: {problem}") from None
        with copy.open("rb") as file:
            shutil.copyfileobj(file, to)


def load(path: Path, given: BinaryIO) -> None:
    """Put a copy in the place of a store, once it is known to be whole.

    Raises
    ------
    StoreError
        It is no store, or damaged; the one that is there stays.
    """
    from ..store import open_store

    with _scratch(path.parent) as copy:
        with copy.open("wb") as file:
            shutil.copyfileobj(given, file)
            file.flush()
            os.fsync(file.fileno())
        _check(copy)
        open_store(copy, readonly=True).close()
        for suffix in _MEMBERS:  # a log of the old store would be taken for one of the new
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        copy.replace(path)


def snapshot(client: Client) -> None:
    """Have the engine write a snapshot of the store's indices, in the place of the last one.

    It takes one index after another, so nothing may be written into the store meanwhile.

    Raises
    ------
    StoreError
        It cannot, or not of every shard.
    """
    _register(client)
    client.ask("DELETE", _SNAPSHOT)
    wanted = {"indices": f"{client.address.prefix}-*", "include_global_state": False, "ignore_unavailable": False}
    asked = client.ask("PUT", _SNAPSHOT, wanted)
    if asked.status >= HTTPStatus.MULTIPLE_CHOICES and not asked.again:  # a second request finds what the first began
        raise client.problem(asked)
    tell = _Told("snapshot")
    while (state := _state(client, tell)) == "IN_PROGRESS":
        time.sleep(_LOOK)
    if state != "SUCCESS":
        raise StoreError(f"{client.address}: the snapshot is {state}: not whole; see the engine's log")


def restore(client: Client) -> None:
    """Have the engine put the snapshot in the place of the store's indices.

    Raises
    ------
    StoreError
        There is none, it is not whole, or it cannot be restored.
    """
    _register(client)
    if (state := _state(client, _Told("snapshot"))) != "SUCCESS":
        raise StoreError(f"{client.address}: the snapshot is {state}: take another backup; nothing was changed")
    indices = f"{client.address.prefix}-*"
    there = client.get("GET", f"/{indices}/_settings?expand_wildcards=all", dict[str, Any])
    if there:  # by their names: the engine may have been told to refuse a wildcard
        client.do("DELETE", "/" + ",".join(there))
    wanted = {"indices": indices, "include_global_state": False, "include_aliases": True}
    asked = client.ask("POST", f"{_SNAPSHOT}/_restore", wanted)
    if asked.status >= HTTPStatus.MULTIPLE_CHOICES and not asked.again:
        raise client.problem(asked)
    _await_shards(client, indices)


def main(arguments: Sequence[str]) -> int:
    """Do what the two words say; exit codes of the command line."""
    try:
        verb, store = arguments
        _VERBS[verb](store)
    except (ValueError, KeyError):
        print(__doc__, file=sys.stderr)
        return UsageError.exit_code
    except PanoramaError as problem:
        print(f"panorama: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


_SNAPSHOT = f"/_snapshot/{REPOSITORY}/{SNAPSHOT}"
_VERBS = {
    "save": lambda store: save(Path(store), sys.stdout.buffer),
    "load": lambda store: load(Path(store), sys.stdin.buffer),
    "snapshot": lambda store: _with_client(store, snapshot),
    "restore": lambda store: _with_client(store, restore),
}


def _with_client(store: str, act: Any) -> None:
    from ..store._search_address import Address
    from ..store._search_http import Client

    with contextlib.closing(Client(Address.read(store))) as client:
        act(client)


def _register(client: Client) -> None:
    """Tell the engine of the folder anew, so that it looks at what has been brought there."""
    deadline = time.monotonic() + _STUCK
    while (answer := client.ask("DELETE", f"/_snapshot/{REPOSITORY}")).status not in (
        HTTPStatus.OK,
        HTTPStatus.NOT_FOUND,
    ):
        if time.monotonic() > deadline:  # it is refused while a snapshot is being tidied up
            raise client.problem(answer)
        time.sleep(_LOOK)
    settings = {"type": "fs", "settings": {"location": SNAPSHOTS}}
    client.do("PUT", f"/_snapshot/{REPOSITORY}", settings)


def _state(client: Client, tell: _Told) -> str:
    """How the snapshot stands: IN_PROGRESS, SUCCESS, PARTIAL or FAILED; a success is told once all of it is written."""
    [found] = client.get("GET", _SNAPSHOT, _Snapshots).snapshots
    tell(found.state.lower().replace("_", " "))
    return found.state


def _await_shards(client: Client, indices: str) -> None:
    """Wait until every index can be read; an engine that does nothing for long has given up."""
    tell = _Told("restore")
    moved = time.monotonic()
    while True:
        found = client.get("GET", f"/_cluster/health/{indices}", _Health)
        if found.status != "red":
            return
        if found.initializing_shards:
            moved = time.monotonic()
        if time.monotonic() - moved > _STUCK:
            raise StoreError(
                f"{client.address}: shards were not restored: see /_cluster/allocation/explain and its log"
            )
        tell(f"{found.active_primary_shards} shards")
        time.sleep(_LOOK)


class _Snapshot(msgspec.Struct):
    state: str


class _Snapshots(msgspec.Struct):
    snapshots: list[_Snapshot]


class _Health(msgspec.Struct):
    status: str
    active_primary_shards: int
    initializing_shards: int


class _Told:
    """Says on standard error how far something is, every few seconds."""

    def __init__(self, what: str) -> None:
        self._what, self._last = what, time.monotonic()

    def __call__(self, words: str) -> None:
        if time.monotonic() - self._last > _PAUSE:
            self._last = time.monotonic()
            print(f"{self._what}: {words}", file=sys.stderr, flush=True)


def _pages(tell: _Told) -> Callable[[int, int, int], None]:
    return lambda _, left, total: tell(f"{total - left} of {total} pages")


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)


def _check(copy: Path) -> None:
    try:
        with contextlib.closing(_opened(copy)) as connection:
            [(said,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.Error as problem:
        raise StoreError(f"what was given is no SQLite store: {problem}; the store that is there stays") from None
    if said != "ok":
        raise StoreError(f"what was given is damaged: {said}; the store that is there stays")


@contextlib.contextmanager
def _scratch(folder: Path) -> Any:
    """Path of a file that is on the same volume, and gone afterwards unless it was moved."""
    handle, name = tempfile.mkstemp(prefix=".copy-", suffix=".db", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-journal", *_MEMBERS):
            Path(name + suffix).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
