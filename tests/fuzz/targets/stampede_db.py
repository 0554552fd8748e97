"""A stampede database with damage in it."""

from __future__ import annotations

import atexit
import gzip
import os
import sqlite3
import tempfile
from pathlib import Path

from panorama_driver.errors import FormatError
from panorama_driver.sources import stampede_db

from ...captured import CAPTURES
from ..sinks import events_of

_BULK = ("stdout_text", "stderr_text")
_DASHBOARD = ("ensemble_workflow", '"trigger"', "ensemble", "master_workflowstate", "master_workflow")


def _small(name: str) -> bytes:
    """The database in small pages and without long texts and the dashboard's tables, so that damage meets structure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.db")
        path.write_bytes(gzip.decompress((CAPTURES / "databases" / name).read_bytes()))
        base = sqlite3.connect(path, isolation_level=None)
        base.execute(f"UPDATE job_instance SET {', '.join(f'{column} = substr({column}, 1, 9)' for column in _BULK)}")
        for table in _DASHBOARD:
            base.execute(f"DROP TABLE {table}")
        base.execute("PRAGMA page_size = 512")
        base.execute("VACUUM")
        base.close()
        return path.read_bytes()


SEEDS = [_small("mini-fail.stampede.db.gz"), _small("slurm-pend.stampede.db.gz")]
_handle, _name = tempfile.mkstemp(suffix=".stampede.db")
os.close(_handle)
_PATH = Path(_name)
atexit.register(_PATH.unlink)


def one(data: bytes) -> None:
    """Events, or a reason why there are none; never more than a file of this size can hold."""
    _PATH.write_bytes(data)
    try:
        for number, raw in enumerate(stampede_db.read(_PATH)):
            events_of(raw)
            assert number < 100_000
    except FormatError:
        return
