"""A file that records are appended to, a JSON object a line, by the one process that has it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec

from .errors import StoreError


class Appender:
    """Appends to a file of mode 0600, which is made where it is missing.

    A line that a crash left half written is ended first: it stays no record, and what follows is whole.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._torn = not _ends_with_newline(path)

    def write(self, record: Any, *, durably: bool = False) -> None:
        """Append one record.

        Parameters
        ----------
        record : object
            What msgspec makes JSON of.
        durably : bool
            It must survive the machine's crash as well.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        line = b"\n" * self._torn + msgspec.json.encode(record) + b"\n"
        try:
            self._torn = os.write(self._file, line) < len(line)
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durably:
                os.fdatasync(self._file)
        except OSError as problem:
            raise StoreError(
                f"{self._path}: cannot be written: {problem.strerror}; free some space, then start the study again"
            ) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
