"""Whether a study's server is there, found out without starting one and without keeping one from ending."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from pathlib import Path

from ..errors import ServerError
from ..study.client import SOCKET, connect

_AGAIN = 15.0  # seconds; a server that nobody needs ends after 10, and each connection makes it wait anew
_PATIENCE = 0.05  # seconds for a server that has no room for one more to wait: it is stopped, or very busy
_SETTLED = 2.0  # seconds after which a socket that refuses is not one that is just being made

Stamp = tuple[int, int]


class Watch:
    """Watches for the server of one study.

    A server is asked by a connection that says nothing, and then its process is watched.

    Parameters
    ----------
    folder : Path
        The study's `.panorama` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / SOCKET
        self._process: int | None = None
        self._answered: Stamp | None = None
        self._refused: Stamp | None = None
        self._until = 0.0

    def alive(self) -> bool:
        """Whether it is there."""
        made = self._made()
        if made is None or made == self._refused:
            return False
        if made == self._answered and time.monotonic() < self._until and not _ended(self._process):
            return True
        return self._ask(made)

    def close(self) -> None:
        """Let go of its process."""
        if self._process is not None:
            os.close(self._process)
            self._process = None

    def _made(self) -> Stamp | None:
        try:
            found = os.stat(self._socket)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _ask(self, made: Stamp) -> bool:
        self.close()
        self._answered = self._refused = None
        try:
            connection = connect(str(self._folder), _PATIENCE)
        except BlockingIOError:
            self._answered, self._until = made, time.monotonic() + _AGAIN
            return True
        except (OSError, ServerError):
            connection = None
        if connection is None:
            self._refused = made if time.time() - made[1] / 1e9 > _SETTLED else None
            return False
        with contextlib.closing(connection):
            self._process = _process(connection)
        self._answered, self._until = made, time.monotonic() + _AGAIN
        return True


def _ended(process: int | None) -> bool:
    if process is None:
        return False
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))


def _process(connection: socket.socket) -> int | None:
    """A descriptor of the process that listens; None where it lives in another namespace, or has just ended."""
    size = struct.calcsize("3i")
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        return os.pidfd_open(pid) if pid > 0 else None
    except OSError:
        return None
