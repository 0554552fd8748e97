"""One job's process under the probe: started, awaited without a thread, and ended with all its descendants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ...probe import command

KILL_AFTER = 3.0
"""Time that a job has to end once it was asked to [s]; an evaluation must be answered 5 s after its time is over."""

_MARGIN = 5.0
_MARKS = ("PEGASUS_WF_UUID", "PANORAMA_ATTEMPT")


class Watch(NamedTuple):
    """How jobs are watched.

    Attributes
    ----------
    interval : float
        Time between two samples of the probe [s].
    darshan : str
        Path of Darshan's library; empty to go without.
    tcp : bool
        Whether TCP connections are watched.
    """

    interval: float = 1.0
    darshan: str = ""
    tcp: bool = False

    @property
    def options(self) -> list[str]:
        """Of the probe."""
        darshan = ["--darshan", self.darshan] if self.darshan else []
        return ["--interval", f"{self.interval:g}", *darshan, *(["--tcp"] if self.tcp else [])]


WATCH = Watch()


class Process:
    """A command line under the probe, in a session of its own.

    The probe ends its whole tree when asked to, and when this process dies, even by kill -9.

    Parameters
    ----------
    argv : list of str
        What to run.
    cwd : Path
        Working directory.
    environment : mapping
        The whole environment.
    streams : tuple
        File descriptors of stdin, stdout and stderr.
    trace : Path
        Where the probe writes its records.
    watch : Watch
        What the probe looks at.
    cpus : frozenset of int or None
        Processors that it is bound to, with all that it starts; None is those of this process.

    Attributes
    ----------
    pid : int
        Of the probe.
    status : int
        Raw wait status, once it has ended.
    cpu_time : float
        Of the job and the probe [s], once they have ended.
    """

    def __init__(
        self,
        argv: list[str],
        cwd: Path,
        environment: Mapping[str, str],
        streams: tuple[int, int, int],
        trace: Path,
        watch: Watch,
        cpus: frozenset[int] | None = None,
    ) -> None:
        options = [*watch.options, "--trace", str(trace), "--kill-after", f"{KILL_AFTER:g}"]
        stdin, stdout, stderr = streams
        with _bound(cpus):
            self._popen = subprocess.Popen(
                [*command(), *options, f"--die-with-parent={os.getpid()}", "--end-leftovers", "--", *argv],
                cwd=cwd,
                env=environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self.status = 0
        self.cpu_time = 0.0
        self._marks = [environment.get(name, "") for name in _MARKS]

    async def wait(self) -> None:
        """Wait for the end, which sets `status` and `cpu_time`; cancelled, end the job's whole tree before raising."""
        try:
            await self._ended()
        except asyncio.CancelledError:
            ending = asyncio.ensure_future(self.end())
            while not ending.done():
                with contextlib.suppress(asyncio.CancelledError):  # asked again while at it: the slots are not free yet
                    await asyncio.shield(ending)
            raise

    async def end(self) -> None:
        """Ask the tree to end, make it end, and wait for that."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(KILL_AFTER + _MARGIN):
                await self._ended()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._ended()

    def _signal(self, number: int) -> None:
        if self._popen.returncode is None:
            os.kill(self.pid, number)

    async def _ended(self) -> None:
        if self._popen.returncode is None:
            await _readable(os.pidfd_open(self.pid))
            _, self.status, usage = os.wait4(self.pid, 0)
            self.cpu_time = usage.ru_utime + usage.ru_stime
            self._popen.returncode = os.waitstatus_to_exitcode(self.status)
        if self._popen.returncode == -signal.SIGKILL:  # a probe that was killed could not end what the job had started
            await end_attempt(*self._marks)


@contextlib.contextmanager
def _bound(cpus: frozenset[int] | None) -> Iterator[None]:
    """Bind this thread, and so what it starts: to bind a process once it runs would come too late for its children."""
    before = os.sched_getaffinity(0)
    try:
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        yield
    finally:
        if cpus is not None:
            os.sched_setaffinity(0, before)


async def end_attempt(wf_uuid: str, attempt: str) -> None:
    """End every process of an attempt whose probe cannot do it any more; the environment tells whose they are."""
    marks = {f"{name}={value}".encode() for name, value in zip(_MARKS, (wf_uuid, attempt), strict=True)}
    _signal_all(signal.SIGTERM, _marked(marks))
    start = time.monotonic()
    while (found := _marked(marks)) and time.monotonic() < start + KILL_AFTER + _MARGIN:
        if time.monotonic() > start + KILL_AFTER:
            _signal_all(signal.SIGKILL, found)
        await asyncio.sleep(0.05)


def _marked(marks: set[bytes]) -> list[int]:
    """Processes that were started with these variables in their environment; a zombie has none any more."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                environment = Path("/proc", name, "environ").read_bytes()
            except OSError:
                continue  # it has gone, or is another user's
            if marks.issubset(environment.split(b"\0")):
                found.append(int(name))
    return found


def _signal_all(number: int, pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
