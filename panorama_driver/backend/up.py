"""The back end of one folder on this machine, without containers: comes up as it was, is asked after, is ended.

FOLDER/backend.json      how it is set up
FOLDER/state.json        how it is doing, rewritten whenever that changes
FOLDER/log/*.log         what each part wrote; `up.log` what became of them
FOLDER/broker/           the broker with all its data
FOLDER/store.db          the store, unless another was named
FOLDER/*.netrc, *.token, dashboard.url    secrets (0600)
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ..errors import PanoramaError, ServiceError, UsageError
from ._files import private
from ._logs import Log
from ._up_parts import BackEnd
from ._up_settings import Asked, settle
from .supervisor import Condition, Supervisor

__all__ = ["Asked", "BackEnd", "State", "down", "last_words", "opened", "run", "state_of"]

_LOCK, _STATE, _LOG = "lock", "state.json", "up.log"
_TRIES, _PAUSE = 10, 0.05  # somebody who asks whether it runs has the lock for a moment
_TELL = 5.0  # seconds between two times that counts are written down
_LIMIT = 1 << 20  # bytes

Tell = Callable[["State", Condition | None], None]
"""Takes how it is doing, and the part for which that has changed; None when all that is needed is ready."""


class State(msgspec.Struct, kw_only=True):
    """How a back end is doing.

    Attributes
    ----------
    state : str
        `starting`, `running`, `ending`.
    pid : int
        Of the process that looks after the others.
    host : str
        Its machine.
    since : float
        When it was started [s since 1970].
    folder : str
        Its folder.
    monitoring : dict
        What goes under `monitoring` in study.yml.
    store : str
        Path or URL of the store.
    dashboard : str
        Address of the dashboard; empty where there is none.
    link : str
        File (0600) with that address and its token.
    parts : list of Condition
        How each of its processes is doing.
    counts : dict
        What the collector told last: events `stored`, `duplicates`, `dead` letters, `lag`.
    """

    state: str
    pid: int
    host: str
    since: float
    folder: str
    monitoring: dict[str, str]
    store: str
    dashboard: str
    link: str
    parts: list[Condition]
    counts: dict[str, Any] = {}

    @property
    def well(self) -> bool:
        """Whether it runs with all its parts."""
        return self.state == "running" and all(part.state == "ready" for part in self.parts)


@contextmanager
def opened(folder: Path, asked: Asked) -> Iterator[BackEnd]:
    """The back end of a folder, which nobody else has meanwhile; made where there is none.

    Raises
    ------
    UsageError
        It runs already, or cannot be as it is asked for.
    EnvironmentMissingError
        A port is taken, or RabbitMQ has gone.
    """
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = os.umask(0o077)
    try:
        with _alone(folder):
            back_end = BackEnd(folder, settle(folder, asked))
            back_end.prepare()
            yield back_end
    finally:
        os.umask(before)


def run(back_end: BackEnd, tell: Tell) -> bool:
    """Run a back end in the foreground until SIGTERM, SIGINT or SIGHUP; whether it could end in order.

    Raises
    ------
    ServiceError
        A part that is needed cannot be kept running.
    """
    return asyncio.run(_Running(back_end, tell).run())


def state_of(folder: Path) -> State | None:
    """How the back end of a folder is doing; None where none runs.

    Raises
    ------
    UsageError
        There is no such folder.
    """
    try:
        lock = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; `panorama up DIR` makes one") from None
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(folder / _STATE)
    finally:
        os.close(lock)
    return None


def down(folder: Path, within: float) -> bool:
    """End the back end of a folder in order; False where none runs.

    Raises
    ------
    UsageError
        There is no such folder, or it runs on another machine.
    ServiceError
        It still runs after `within` [s].
    """
    state = state_of(folder)
    if state is None:
        return False
    if state.host != socket.gethostname():
        raise UsageError(f"{folder}: runs on {state.host}; there: panorama up --down {folder}")
    with suppress(ProcessLookupError):
        os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + within
    while state_of(folder) is not None:
        if time.monotonic() > deadline:
            raise ServiceError(f"{folder}: process {state.pid} still ends after {within:g} s; kill -9 {state.pid}")
        time.sleep(_PAUSE)
    return True


def last_words(folder: Path) -> str:
    """What the back end of a folder noted last of itself."""
    try:
        lines = (folder / "log" / _LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return lines[-1].partition(" ")[2] if lines else "it has said nothing"


class _Running:
    """A back end while it runs."""

    def __init__(self, back_end: BackEnd, tell: Tell) -> None:
        self._back_end, self._tell = back_end, tell
        self._log = Log(back_end.folder / "log" / _LOG)
        self._told, self._at_once = asyncio.Event(), asyncio.Event()
        self._supervisor = Supervisor(back_end.parts(), back_end.folder / "log", self._changed)
        self._written = b""
        self._needed = {part.name for part in back_end.parts() if part.needed}
        self._state = State(
            state="starting",
            pid=os.getpid(),
            host=socket.gethostname(),
            since=time.time(),
            folder=str(back_end.folder),
            monitoring=back_end.monitoring,
            store=back_end.settings.store,
            dashboard=back_end.dashboard,
            link=str(back_end.link) if back_end.dashboard else "",
            parts=self._supervisor.conditions,
        )

    async def run(self) -> bool:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._signalled)
        self._write()
        writing = asyncio.create_task(self._write_again())
        try:
            await self._supervisor.run(self._told, self._at_once)
        except PanoramaError as problem:
            self._note(str(problem))
            raise
        finally:
            writing.cancel()
            (self._back_end.folder / _STATE).unlink(missing_ok=True)
            self._log.close()
        return not self._at_once.is_set()

    def _signalled(self) -> None:
        """The first signal ends all in order, the second at once."""
        if self._told.is_set():
            self._at_once.set()
        self._told.set()
        self._state.state = "ending"
        self._write()
        _notify("STOPPING=1")

    def _changed(self, condition: Condition) -> None:
        self._note(f"{condition.name}: {condition.state}{f': {condition.words}' if condition.words else ''}")
        self._tell(self._state, condition)
        ready = {part.name for part in self._state.parts if part.state == "ready"}
        if self._state.state == "starting" and ready >= self._needed:
            self._state.state = "running"
            self._note("running")
            self._tell(self._state, None)
            _notify("READY=1")
        self._write()

    async def _write_again(self) -> None:
        while True:
            await asyncio.sleep(_TELL)
            self._write()

    def _write(self) -> None:
        self._state.counts = self._back_end.counts
        state = msgspec.json.encode(self._state)
        if state != self._written:
            with suppress(OSError):  # a full disk must not end what it is full of
                private(self._back_end.folder / _STATE, state)
                self._written = state

    def _note(self, words: str) -> None:
        self._log.take(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {words}\n".encode(errors="backslashreplace"))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two at a time in one folder would write into each other's files."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(lock, folder)
        (folder / _STATE).unlink(missing_ok=True)  # of one that was killed: nobody shall take it for ours
        yield
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    for attempt in range(_TRIES):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE if attempt < _TRIES - 1 else 0)
        except OSError as problem:
            raise UsageError(
                f"{folder}: its file system has no locks ({problem.strerror}), which keep two from running there; "
                "choose a folder on a local disk"
            ) from None
    state = _read(folder / _STATE)
    who = f", on {state.host} as process {state.pid}" if state else ""
    raise UsageError(f"{folder}: its back end runs already{who}; `panorama up --status {folder}` tells how it is doing")


def _read(path: Path) -> State | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LIMIT), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def _notify(words: str) -> None:
    """Tell systemd, where that has started us; protocol of sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.sendto(words.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
