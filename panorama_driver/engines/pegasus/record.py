"""How the manager knows a bundle: a file in the bundle, on disk before anything is submitted."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ...errors import StoreError

NAME = "pegasus.json"


class Record(msgspec.Struct, frozen=True):
    """What is remembered of a bundle that was handed to the manager.

    Attributes
    ----------
    ensemble, name : str
        What the manager calls it.
    manager : str
        The manager's address.
    tries, wanted : int
        How often it was started (submitted, planned anew, or run again), and how often it is to be.
    dagman_starts : int
        How often DAGMan had begun before the latest try.
    updated : float
        The manager's time of the failure before the latest try [s since 1970]; 0 before the first.
    """

    ensemble: str
    name: str
    manager: str
    tries: int = 0
    wanted: int = 1
    dagman_starts: int = 0
    updated: float = 0.0


def load(directory: Path) -> Record | None:
    """The record of the bundle in `directory`; None where it was never submitted.

    Raises
    ------
    StoreError
        It cannot be read, so that nobody knows what runs.
    """
    path = directory / "run" / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as problem:
        raise StoreError(f"{path}: cannot be read: {problem}; remove it once nothing of {directory} runs") from None


def keep(directory: Path, record: Record) -> None:
    """Write the record, so that it is there whole or not at all.

    Raises
    ------
    StoreError
        It cannot be written; nothing must be submitted.
    """
    path = directory / "run" / NAME
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with new.open("wb") as file:
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as problem:
        raise StoreError(f"{path}: cannot be written: {problem.strerror}; free some space") from None
