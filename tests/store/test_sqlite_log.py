"""The write-ahead log of a SQLite store grows while somebody reads for long, and shrinks when that is over."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from panorama_driver.events import Event
from panorama_driver.store import open_store
from panorama_driver.store.sqlite import _LOG_KEPT, SQLiteStore

LARGE = "x" * (4 << 20)


def put(store: SQLiteStore, numbers: range) -> None:
    for number in numbers:
        event = Event(kind="stampede.xwf.meta", wf_uuid="w", fields={"key": str(number), "value": LARGE})
        store.put([event])


def log_of(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


def test_the_log_shrinks_when_a_long_read_is_over(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with SQLiteStore(path) as store:
        put(store, range(1))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            put(store, range(1, 25))
            grown = log_of(path)
            assert grown > _LOG_KEPT  # it was not emptied below the reader
        put(store, range(25, 28))
        assert log_of(path) <= _LOG_KEPT < grown
    with open_store(path, readonly=True) as store:
        assert store.count() == 28
