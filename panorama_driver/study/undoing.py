"""Takes back what was done about an anomaly: through the study's server while it lives, and without it after."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from ..adapt import NAME, Action, Actions, Adapter
from ..config import Adapt
from ..errors import ServerError, UsageError
from . import client
from .adaptation import revive
from .journal import Journal
from .server import LOCK

_PATIENCE = 20.0  # [s] for a server that is about to start, or to end


def undo(study_file: Path, action_id: str) -> Action:
    """Take an action back, as far as it can be.

    Raises
    ------
    UsageError
        There is none of that id, or nothing of it holds.
    ServerError
        A server has the study and does not answer.
    """
    folder = study_file.parent / client.FOLDER
    if not (folder / NAME).is_file():
        raise UsageError(f"{study_file.parent}: nothing was done here yet")
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        told = client.request(str(study_file), {"op": "undo", "id": action_id})
        if told is not None and "problem" in told:
            raise UsageError(told["problem"])
        if told is not None:
            return msgspec.convert(told["undone"], Action)
        with _without_server(folder) as alone:
            if alone:
                return _write(folder, action_id)
        time.sleep(0.1)
    raise ServerError(f"{folder}: a study server runs here and does not answer; see server.log there")


@contextlib.contextmanager
def _without_server(folder: Path) -> Iterator[bool]:
    """Keep a server from starting meanwhile; whether none runs."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def _write(folder: Path, action_id: str) -> Action:
    actions, journal = Actions(folder), Journal(folder)
    try:
        return asyncio.run(Adapter(Adapt(), actions, _Nobody(journal)).undo(action_id))
    finally:
        actions.close()
        journal.close()


class _Nobody:
    """Hands where nothing runs: only what is written down changes, and the next server does as it says."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def stop(self, key: str, reason: str, bounds: Mapping[str, float]) -> bool:
        return False

    async def revive(self, key: str) -> None:
        revive(self._journal, key)

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        return False

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        return hosts

    async def limit(self, running: int | None) -> None:
        """Nothing runs."""
