"""Log files that cannot grow without bound, of lines that processes write."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from click import unstyle

LIMIT = 1 << 20
"""A log begins anew when it is longer [bytes]; one old log is kept."""
LAST_WORDS = 5
"""Lines that are told of a process that has ended."""

_LINE_LIMIT = 1 << 16  # bytes; what never ends is cut there


class Log:
    """Takes what a process writes, line by line.

    Parameters
    ----------
    path : Path
        The file.
    hear : callable
        Called with each line; what it says True to is not logged.
    """

    def __init__(self, path: Path, hear: Callable[[str], bool] = lambda _: False) -> None:
        self._hear = hear
        self._rest = b""
        self._last: deque[str] = deque(maxlen=LAST_WORDS)
        self._file = _File(path, maxBytes=LIMIT, backupCount=1, encoding="utf-8", delay=True)

    @property
    def last_words(self) -> str:
        """The last lines, as one."""
        return " | ".join(self._last)

    def begin(self) -> None:
        """Another process writes from now on."""
        self._last.clear()

    def take(self, data: bytes) -> None:
        """Take what has been written; its last line may go on."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_LIMIT:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._line(unstyle(line.decode(errors="backslashreplace")).rstrip())

    def end(self) -> None:
        """Nothing more comes of this process."""
        self.take(b"\n" if self._rest else b"")

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):  # a full disk
            self._file.close()

    def _line(self, line: str) -> None:
        if not line or self._hear(line):
            return
        self._last.append(line)
        self._file.handle(logging.makeLogRecord({"msg": line}))


class _File(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A full disk costs lines of a log, and ends nothing."""
