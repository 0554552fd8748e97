"""What a command costs with everything it starts, daemons included, without privileges.

This process becomes the reaper of its orphaned descendants (`prctl(2)`, PR_SET_CHILD_SUBREAPER). A process that
detaches comes back to us when it ends, and no CPU time is lost: each process hands its own and that of the children it
waited for to whoever waits for it. What is lost is only that of children whose parent ignores SIGCHLD.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_CUTIME = 13  # of /proc/PID/stat, counted after the name, and cstime beside it; see proc_pid_stat(5)


@dataclass(frozen=True)
class Cpu:
    """CPU time of one process that came back to us.

    Attributes
    ----------
    own : float
        Its own, all threads [s].
    children : float
        That of all descendants that were waited for below it [s], known to a clock tick, usually 10 ms.
    """

    own: float
    children: float

    @property
    def total(self) -> float:
        """Both [s]."""
        return self.own + self.children


@dataclass(frozen=True)
class Account:
    """One command, run to the end of all that it started.

    Attributes
    ----------
    command : Cpu
        The process itself.
    daemons : tuple of Cpu
        Descendants that outlived their parents, in the order in which they ended.
    status : int
        Exit status of the command, negative for a signal.
    started : float
        When it was started [s since 1970].
    """

    command: Cpu
    daemons: tuple[Cpu, ...]
    status: int
    started: float

    @property
    def total(self) -> float:
        """CPU time of everything [s]."""
        return self.command.total + sum(daemon.total for daemon in self.daemons)


def become_reaper() -> None:
    """Have orphaned descendants handed to this process.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def run(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path, timeout: float = 300.0
) -> Account:
    """Run a command and wait until it and all its descendants have ended.

    There must be no other child of this process, and `become_reaper` must have been called.

    Parameters
    ----------
    argv : sequence of str
        The command.
    folder : Path
        Working directory.
    environment : mapping
        The whole environment.
    output : Path
        File that stdout and stderr go to.
    timeout : float
        Time after which all of it is killed [s].

    Raises
    ------
    TimeoutError
        Something of it still ran after `timeout`.
    """
    with output.open("wb") as words:
        started = time.time()
        process = subprocess.Popen(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT
        )
    daemons = []
    command = Cpu(0.0, 0.0)
    with _deadline(timeout, " ".join(argv)):
        while (pid := _next_ended()) is not None:
            status, cpu = _reap(pid)
            if pid == process.pid:
                process.returncode, command = status, cpu
            else:
                daemons.append(cpu)
    return Account(command, tuple(daemons), process.returncode, started)


def _next_ended() -> int | None:
    """Wait for any child and leave it a zombie, whose record in /proc can still be read; None if there are no more."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _reap(pid: int) -> tuple[int, Cpu]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    children = sum(int(field) for field in fields[_CUTIME : _CUTIME + 2]) * _TICK
    _, status, usage = os.wait4(pid, 0)
    own = max(usage.ru_utime + usage.ru_stime - children, 0.0)
    return os.waitstatus_to_exitcode(status), Cpu(own, children)


@contextlib.contextmanager
def _deadline(seconds: float, what: str) -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"{what} still runs after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except BaseException:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        _end_children()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _end_children() -> None:
    """Kill our children, and theirs as these become ours, until there are none."""
    while children := list(_children()):
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> Iterator[int]:
    for tasks in Path("/proc/self/task").iterdir():
        yield from map(int, (tasks / "children").read_text(encoding="ascii").split())
