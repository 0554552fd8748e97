"""Real faults for real processes: less processor, a slower disk, a stop, a program that is broken on one host.

Each is made by what this machine can do, and raises `EnvironmentMissingError` with the reason where it can do nothing.
Each tells when it began, on the clock that the probe uses. For a program that leaks memory see `LEAKING`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import EnvironmentMissingError

CGROUPS = Path("/sys/fs/cgroup")
_PERIOD = 0.1  # [s] of a quota, and of a duty cycle
_DEADLINE = 5.0  # [s]

LEAKING = """
import os, sys, time
begin, rate, told = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
start, held, leaked, onset = time.time(), [], 0.0, None
while True:
    now = time.time()
    if now - start > begin:
        if onset is None:
            with open(told, "w") as file: file.write(repr(now))
            onset = now
        while leaked < rate * (now - onset):
            held.append(b"x" * (1 << 20))
            leaked += 1 << 20
    sum(range(20000))
"""
"""A program (BEGIN [s], RATE [bytes/s], FILE) that computes, begins to leak, and then writes into FILE since when."""


def processes(marks: dict[str, str]) -> list[int]:
    """Processes that have these variables in their environment, such as `PANORAMA_ATTEMPT`; not their probe."""
    wanted = {f"{name}={value}".encode() for name, value in marks.items()}
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):
                environment = Path("/proc", name, "environ").read_bytes().split(b"\0")
                if wanted <= set(environment) and b"panorama_probe" not in Path("/proc", name, "cmdline").read_bytes():
                    found.append(int(name))
    return found


@contextmanager
def throttled(pids: Iterable[int], share: float = 0.5, how: str = "") -> Iterator[float]:
    """Give processes, together, no more than `share` of a core; gives when that began [s since 1970].

    Parameters
    ----------
    pids : iterable of int
        What they start afterwards is throttled with them.
    share : float
        Of one core.
    how : str
        `quota` (a control group's, version 1 or 2), or `cycle` (stopped and continued in turn, as cpulimit does it,
        where the same processes go on); the first that this machine can do unless told.

    Raises
    ------
    EnvironmentMissingError
        This machine can do neither.
    """
    way = how or ("quota" if _cannot_limit("cpu") is None else "cycle")
    with _quota(list(pids), share) if way == "quota" else _cycle(list(pids), share) as onset:
        yield onset


@contextmanager
def slow_disk(pids: Iterable[int], path: Path, rate: float) -> Iterator[float]:
    """Let processes read, and write, no more than `rate` [bytes/s] each on the disk that holds `path`.

    Version 1 of control groups holds up what goes to the disk itself (`O_DIRECT`, or `fsync` where the file system
    tells whose pages they are), not what is written into the page cache.

    Raises
    ------
    EnvironmentMissingError
        This machine cannot do it, or `path` is on no disk.
    """
    with Group("blkio" if not _unified() else "io") as group:
        group.limit_disk(path, rate)
        with group.holding(pids) as onset:
            yield onset


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[float]:
    """Stop processes by a signal, and let them go on afterwards."""
    held = list(pids)
    onset = time.time()
    _signal(held, signal.SIGSTOP)
    try:
        yield onset
    finally:
        _signal(held, signal.SIGCONT)


@contextmanager
def broken(program: Path) -> Iterator[float]:
    """Put a program that only fails in the place of another, as a host has it whose software is damaged.

    Raises
    ------
    EnvironmentMissingError
        There is no such program, or it cannot be replaced.
    """
    kept, other = program.with_name(f".{program.name}.kept"), program.with_name(f".{program.name}.broken")
    try:
        other.write_text(f"#!/bin/sh\necho '{program.name}: cannot open shared object file' >&2\nexit 127\n")
        other.chmod(0o755)
        os.link(program, kept)
        os.replace(other, program)
    except OSError as problem:
        raise EnvironmentMissingError(f"cannot break {program}: {problem.strerror}") from None
    try:
        yield time.time()
    finally:
        os.replace(kept, program)


class Group:
    """A control group of our own, with one controller, in either version; removed at the end.

    Parameters
    ----------
    controller : str
        `cpu`, `blkio` or `io`.

    Raises
    ------
    EnvironmentMissingError
        It cannot be made here.
    """

    def __init__(self, controller: str) -> None:
        problem = _cannot_limit(controller)
        if problem is not None:
            raise EnvironmentMissingError(problem)
        self._parent = _ours(controller)  # below our own, whose limits hold on
        self.path = self._parent / f"panorama-fault-{os.getpid()}-{time.monotonic_ns()}"

    def __enter__(self) -> Group:
        self.path.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()
        end = time.monotonic() + _DEADLINE
        while self.path.is_dir() and time.monotonic() < end:
            try:
                self.path.rmdir()
            except OSError:  # a process is still on its way out
                self._let_go()
                time.sleep(0.01)

    def limit_processor(self, share: float) -> None:
        """No more than `share` of a core."""
        period = int(_PERIOD * 1e6)
        if _unified():
            (self.path / "cpu.max").write_text(f"{int(share * period)} {period}")
        else:
            (self.path / "cpu.cfs_period_us").write_text(str(period))
            (self.path / "cpu.cfs_quota_us").write_text(str(int(share * period)))

    def limit_disk(self, path: Path, rate: float) -> None:
        """No more than `rate` [bytes/s] to read, and to write, of the disk that holds `path`."""
        for name, text in disk_rules(path, rate):
            (self.path / name).write_text(text)

    @contextmanager
    def holding(self, pids: Iterable[int]) -> Iterator[float]:
        """Hold processes; gives since when [s since 1970]."""
        onset = time.time()
        for pid in pids:
            with suppress(ProcessLookupError):
                (self.path / "cgroup.procs").write_text(str(pid))
        try:
            yield onset
        finally:
            self._let_go()

    def _let_go(self) -> None:
        with suppress(FileNotFoundError):
            for pid in (self.path / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (self._parent / "cgroup.procs").write_text(pid)


def disk_groups() -> Path:
    """Folder in which control groups that limit a disk are made.

    Raises
    ------
    EnvironmentMissingError
        They cannot be made here.
    """
    controller = "io" if _unified() else "blkio"
    problem = _cannot_limit(controller)
    if problem is not None:
        raise EnvironmentMissingError(problem)
    return CGROUPS if _unified() else CGROUPS / controller


def disk_rules(path: Path, rate: float) -> list[tuple[str, str]]:
    """What to write into which file of such a group, so that it reads and writes no more than `rate` [bytes/s] of the
    disk that holds `path`.

    Raises
    ------
    EnvironmentMissingError
        It is on no disk.
    """
    disk = disk_of(path)
    if _unified():
        return [("io.max", f"{disk} rbps={rate:.0f} wbps={rate:.0f}")]
    return [(f"blkio.throttle.{way}_bps_device", f"{disk} {rate:.0f}") for way in ("read", "write")]


def disk_of(path: Path) -> str:
    """`MAJOR:MINOR` of the whole disk that holds `path`.

    Raises
    ------
    EnvironmentMissingError
        It is on none, but in memory or on another machine.
    """
    device = path.stat().st_dev
    entry = Path("/sys/dev/block", f"{os.major(device)}:{os.minor(device)}").resolve()
    if not (entry / "dev").is_file():
        raise EnvironmentMissingError(f"cannot slow down {path}: it is on no disk of this machine")
    whole = entry.parent if (entry / "partition").is_file() else entry
    return (whole / "dev").read_text().strip()


def cannot(fault: str, path: Path | None = None) -> str | None:
    """Why this machine cannot have a fault (`quota`, `slow_disk`); None if it can."""
    try:
        if fault == "slow_disk":
            disk_of(path or Path.cwd())
            return _cannot_limit("io" if _unified() else "blkio")
    except EnvironmentMissingError as problem:
        return str(problem)
    return _cannot_limit("cpu")


def _ours(controller: str) -> Path:
    """The control group that this process is in."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not _unified() and controller in controllers.split(","):
            return CGROUPS / controller / path.lstrip("/")
    return CGROUPS  # of version 2, groups that hold processes cannot hold groups as well


def _unified() -> bool:
    return (CGROUPS / "cgroup.controllers").is_file()


def _cannot_limit(controller: str) -> str | None:
    where = CGROUPS if _unified() else CGROUPS / controller
    if not where.is_dir() or (_unified() and controller not in (where / "cgroup.subtree_control").read_text().split()):
        return f"cannot limit: there is no control group for {controller} below {CGROUPS}"
    if not os.access(where / "cgroup.procs", os.W_OK):
        return f"cannot limit: {where} can only be written by root"
    return None


@contextmanager
def _quota(pids: list[int], share: float) -> Iterator[float]:
    with Group("cpu") as group:
        group.limit_processor(share)
        with group.holding(pids) as onset:
            yield onset


@contextmanager
def _cycle(pids: list[int], share: float) -> Iterator[float]:
    over = threading.Event()
    thread = threading.Thread(target=_turn, args=(pids, share, over))
    onset = time.time()
    thread.start()
    try:
        yield onset
    finally:
        over.set()
        thread.join()


def _turn(pids: list[int], share: float, over: threading.Event) -> None:
    while not over.is_set():
        _signal(pids, signal.SIGSTOP)
        over.wait((1 - share) * _PERIOD)
        _signal(pids, signal.SIGCONT)
        over.wait(share * _PERIOD)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
