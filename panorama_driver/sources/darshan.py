"""Darshan's logs and the older `darshan.perf` payload, each turned into a report of the same shape.

A log is read with PyDarshan in a process of its own (`_darshan_worker`): the library behind it is C, and a log is
whatever a job left. What a log says is kept in Darshan's own words (darshan-util documentation, "darshan-parser"); sums
over several logs are `metrics`' business.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import importlib.metadata
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import msgspec
from msgspec.structs import replace

from ..errors import FormatError
from ..events import Event

LOG, REPORT, LEGACY = "darshan.log", "darshan.report", "darshan.perf"
LOG_LIMIT = 64 << 20
"""A larger log is not read [bytes]."""
CPU_LIMIT = 20
"""Processor time that a log may take [s]; twice as much of the clock."""
MEMORY_LIMIT = 1 << 30
"""Address space that a log may take [bytes]."""
ANSWER_LIMIT = 8 << 20
"""Longest report [bytes]."""
MISSING = "PyDarshan is not installed; pip install 'panorama-driver[darshan]'"
TIMES = ("F_READ_TIME", "F_WRITE_TIME", "F_META_TIME")

_MAGIC = 6567223  # darshan-log-format.h
_WORKER = Path(__file__).with_name("_darshan_worker.py")
_START_LIMIT = 60.0  # [s] until the worker has imported PyDarshan, on a cold and busy disk
_SAID = 300  # of what the library said of a log [bytes]
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_MIB = 1 << 20
_DIGEST = 16
_MISFITS = (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError)

# What Darshan's 64 bits can hold, and times that are some: a report may also come off a broker.
Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
Timestamp = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class ModuleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one module of Darshan counted in one log.

    Attributes
    ----------
    counters : dict of str to int
        Sums over the files, by Darshan's name without the module's: `OPENS`, `BYTES_READ`, `SIZE_WRITE_0_100`, ...
        What the log's version did not count is missing.
    times : dict of str to float
        [s] `F_READ_TIME`, `F_WRITE_TIME`, `F_META_TIME`, summed over files and ranks.
    common_sizes : tuple of (int, int)
        [bytes, calls] access sizes and how often, the most frequent ones, of the four that Darshan keeps of each file.
    agg_time : float or None
        [s] of the slowest rank: `agg_time_by_slowest` of darshan-util.
    agg_perf : float or None
        [MiB/s] over that time: its `agg_perf_by_slowest`.
    unique_time, shared_time : float or None
        [s] the parts of `agg_time` in files of one rank and of several.
    slowest_rank : int or None
        The rank that was slowest in files of its own.
    files : dict of str to int
        Darshan's record ids in hexadecimal (a hash of the name); bits: 1 was read, 2 was written, 4 by several ranks.
    files_total : int
        How many there are, should not all be listed.
    total_bytes : int or None
        [bytes] read and written together, where a payload tells no more.
    partial : bool
        Whether Darshan ran out of memory for its records, so that all of this is a lower bound.
    """

    counters: dict[str, Count] = {}
    times: dict[str, Seconds] = {}
    common_sizes: tuple[tuple[Number, Count], ...] = ()
    agg_time: Seconds | None = None
    agg_perf: Seconds | None = None
    unique_time: Seconds | None = None
    shared_time: Seconds | None = None
    slowest_rank: Number | None = None
    files: dict[str, Count] = {}
    files_total: Count = 0
    total_bytes: Count | None = None
    partial: bool = False


class Lustre(msgspec.Struct, frozen=True, kw_only=True):
    """How the files of a log lie on Lustre: how many, their stripe sizes [bytes] and counts, the targets (OST)."""

    files: Count = 0
    stripe_sizes: tuple[Number, ...] = ()
    stripe_counts: tuple[Number, ...] = ()
    osts: tuple[Number, ...] = ()


class Heatmap(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes [bytes] in bins of `width` [s] from the start of the log, all ranks together."""

    width: Seconds
    read: tuple[Count, ...] = ()
    written: tuple[Count, ...] = ()


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one file had of POSIX and STDIO calls [bytes] (of MPI-IO, where the log has no POSIX)."""

    id: str
    name: str = ""
    bytes_read: Count = 0
    bytes_written: Count = 0


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """One log, of one program and its MPI ranks.

    Attributes
    ----------
    name : str
        Name of the file.
    hostname : str or None
        The worker.
    size : int
        [bytes] of the log.
    digest : str
        Of its content; empty where there is none.
    reader : str
        What read it.
    reason : str or None
        Why nothing could be read; everything below is then without meaning.
    legacy : bool
        Whether this was a `darshan.perf` payload, no log.
    exe : str
        Command line, cut after 4096 bytes.
    uid, jobid, nprocs : int
        User, scheduler's number or process id, MPI ranks (1 without MPI).
    start, end : float or None
        [s since 1970] on the worker's clock.
    run_time : float or None
        [s]
    log_version : str
        Of the format.
    metadata : dict of str to str
        What the runtime and the user noted, `lib_ver` and `fork_parent` among it.
    mounts : tuple of (str, str)
        Mount points and file systems.
    modules : dict of str to ModuleReport
        `POSIX`, `STDIO`, `MPI-IO`, `H5F`, `H5D`.
    other_modules : tuple of str
        Names of those that are not read.
    lustre : Lustre or None
        None where nothing lies there.
    heatmaps : dict of str to Heatmap
        By layer.
    largest : tuple of FileReport
        The files with most bytes.
    """

    name: str = ""
    hostname: str | None = None
    size: Count = 0
    digest: str = ""
    reader: str = ""
    reason: str | None = None
    legacy: bool = False
    exe: str = ""
    uid: Number = 0
    jobid: Number = 0
    nprocs: Number = 1
    start: Timestamp | None = None
    end: Timestamp | None = None
    run_time: Seconds | None = None
    log_version: str = ""
    metadata: dict[str, str] = {}
    mounts: tuple[tuple[str, str], ...] = ()
    modules: dict[str, ModuleReport] = {}
    other_modules: tuple[str, ...] = ()
    lustre: Lustre | None = None
    heatmaps: dict[str, Heatmap] = {}
    largest: tuple[FileReport, ...] = ()


class _Hello(msgspec.Struct, frozen=True):
    """The first words of the worker."""

    missing: str = ""


def reader_name() -> str | None:
    """What reads logs here, such as `PyDarshan 3.5.0`; None where it is not installed."""
    try:
        return f"PyDarshan {importlib.metadata.version('darshan')}"
    except importlib.metadata.PackageNotFoundError:
        return None


class LogReader:
    """Reads any number of logs, each in a child of one worker, which imports PyDarshan once.

    A context manager. The worker starts with the first log that looks like one, and again should it have died.

    Parameters
    ----------
    cpu_limit : int
        [s] of processor time for a log, twice as many of the clock.
    memory_limit : int
        [bytes] of address space for a log.
    """

    def __init__(self, *, cpu_limit: int = CPU_LIMIT, memory_limit: int = MEMORY_LIMIT) -> None:
        self._limits = (cpu_limit, memory_limit, ANSWER_LIMIT)
        self._folder = tempfile.TemporaryDirectory(prefix="panorama-darshan-")
        self._worker: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the worker, unless it runs.

        Returns
        -------
        str
            Why it cannot, such as that PyDarshan is not installed; empty if it runs.
        """
        if self._worker is not None and self._worker.poll() is None:
            return ""
        self._stop()
        words = [sys.executable, "-s", "-P", os.fspath(_WORKER), self._folder.name, *map(str, self._limits)]
        own = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        try:
            self._worker = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=own | threads,
                start_new_session=True,
            )
            hello = msgspec.json.decode(self._line(_START_LIMIT), type=_Hello)
        except (OSError, msgspec.DecodeError, FormatError) as error:
            self._stop()
            return f"the reader of Darshan's logs does not start: {error}"
        if hello.missing:
            self._stop()
            return MISSING if reader_name() is None else f"PyDarshan cannot be used: {hello.missing}"
        return ""

    def read(self, data: bytes, name: str = "") -> LogReport:
        """Read a log.

        Parameters
        ----------
        data : bytes
            The log.
        name : str
            Its file's name.

        Returns
        -------
        LogReport
            With a `reason` where it could not be read.
        """
        log = LogReport(name=name, size=len(data), digest=_digest(data), reader=reader_name() or "")
        if (problem := unreadable(data)) or (problem := self.start()):
            return replace(log, reason=problem)
        try:
            report = self._answer(data)
        except FormatError as error:
            return replace(log, reason=str(error))
        return replace(report, name=name, size=log.size, digest=log.digest, reader=log.reader)

    def close(self) -> None:
        """End the worker; a second call does nothing."""
        self._stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, data: bytes) -> LogReport:
        assert self._worker is not None
        assert self._worker.stdin is not None
        folder = Path(self._folder.name)
        (folder / "log").write_bytes(data)
        (folder / "answer").unlink(missing_ok=True)
        try:
            self._worker.stdin.write(b"\n")
            self._worker.stdin.flush()
            status = os.waitstatus_to_exitcode(int(self._line(3 * self._limits[0] + 10)))
        except (OSError, ValueError, FormatError) as error:
            self._stop()
            raise FormatError("reading it took the reader down with it") from error
        if status:
            raise FormatError(_why(status, self._limits[0], _said(folder / "said")))
        return _decoded(folder / "answer")

    def _line(self, seconds: float) -> bytes:
        """A line of the worker's.

        Raises
        ------
        FormatError
            It ended, or said nothing in time.
        """
        assert self._worker is not None
        assert self._worker.stdout is not None
        out, line, until = self._worker.stdout.fileno(), b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(out, 1 << 16) if ready else b""
            if not piece:
                raise FormatError("it ended" if ready else f"it said nothing for {seconds:g} s")
            line += piece
        return line

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def unreadable(data: bytes) -> str:
    """Why these bytes are no log, as far as the first few tell; empty if they may be one."""
    if not data:
        return "the log is empty"
    if len(data) > LOG_LIMIT:
        return f"the log has {len(data)} bytes, more than the {LOG_LIMIT} that are read"
    version, magic = data[:8].partition(b"\0")[0], data[8:16]
    if _MAGIC not in (int.from_bytes(magic, "little"), int.from_bytes(magic, "big")):
        return "not a Darshan log"
    if not version.replace(b".", b"").isdigit():
        return f"a Darshan log of the unknown format {version.decode('ascii', 'backslashreplace')}"
    return ""


def report_event(log: Event, reader: LogReader) -> Event:
    """The `darshan.report` event of a `darshan.log` event: same workflow, job and attempt, `fields` a `LogReport`.

    A log that cannot be read, or did not come along, becomes a report with a reason.
    """
    name = str(log.fields.get("name") or "")
    report = _of_log(log, name, reader)
    told = {**msgspec.to_builtins(report), "log": log.event_id}
    kept = {key: log.fields[key] for key in ("task_id", "condor_job_id", "hostname") if log.fields.get(key)}
    return replace(log, kind=REPORT, ts=report.end, fields={**told, **kept})


def report_of(event: Event) -> LogReport:
    """What a `darshan.report` event says.

    Raises
    ------
    FormatError
        Its fields are not those of a report.
    """
    try:
        return _checked(event.fields)
    except _MISFITS as error:
        raise FormatError(f"{REPORT} event that is none: {error}") from error


def legacy_report(event: Event) -> LogReport:
    """What a `darshan.perf` payload says: that of pegasus-darshan, with totals, or counters in Darshan's words.

    A payload lists the times that it has, and those that it leaves out add nothing.

    Raises
    ------
    FormatError
        It has numbers that are none.
    """
    fields = event.fields
    modules = {name: module for name in ("POSIX", "STDIO") if (module := _legacy_module(fields, name)) is not None}
    told = {key: fields[key] for key in ("exe", "uid", "jobid", "nprocs", "run_time") if fields.get(key) is not None}
    times = {key: fields.get(f"{key}_time") for key in ("start", "end")}
    try:
        told |= {"modules": modules, "digest": event.event_id, "legacy": True, **times}
        return _checked(told, strict=False)
    except _MISFITS as error:
        raise FormatError(f"{LEGACY} payload: {error}") from error


def _checked(fields: Mapping[str, Any], strict: bool = True) -> LogReport:
    """By way of JSON, which has no text that is no UTF-8 and no number that is none."""
    return msgspec.json.decode(msgspec.json.encode(fields), type=LogReport, strict=strict)


def _of_log(log: Event, name: str, reader: LogReader) -> LogReport:
    data, reason = log.fields.get("data"), log.fields.get("reason")
    if not isinstance(data, str):
        size = log.fields.get("size")
        known = size if isinstance(size, int) and size >= 0 else 0
        return LogReport(name=name, size=known, reason=str(reason or "the log did not come along"))
    try:
        return reader.read(base64.b64decode(data, validate=True), name)
    except (binascii.Error, ValueError) as error:
        return LogReport(name=name, digest=_digest(data.encode()), reason=f"the log is damaged: {error}")


def _legacy_module(fields: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    prefix = f"{name}_"
    flat = {key.removeprefix(prefix): value for key, value in fields.items() if key.startswith(prefix)}
    counters = {key: whole for key, value in flat.items() if key.isupper() and (whole := _whole(value)) is not None}
    times = {key: spent for key in TIMES if (spent := _seconds(flat.get(key))) is not None}
    data = flat.get("module_data")
    totals = _legacy_totals(data) if isinstance(data, Mapping) else {}
    if not flat and fields.get("module") != name:
        return None
    counters = {key: value for key, value in counters.items() if not key.startswith("F_")}
    return {"counters": counters, "times": dict.fromkeys(TIMES, 0.0) | times if times else {}, **totals}


def _legacy_totals(data: Mapping[str, Any]) -> dict[str, Any]:
    """`total_bytes` and `agg_perf_by_slowest` of `darshan-parser --perf`; the time is what both make it."""
    moved, speed = _whole(data.get("total_bytes")), _seconds(data.get("agg_perf_by_slowest"))
    if moved is None:
        return {}
    return {"total_bytes": moved, **({"agg_perf": speed, "agg_time": moved / _MIB / speed} if speed else {})}


def _whole(value: object) -> int | None:
    """A count of a payload; None for what is none, Darshan's -1 among it."""
    known = _seconds(value)
    return None if known is None or not known.is_integer() else int(known)


def _seconds(value: object) -> float | None:
    try:
        known = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return known if math.isfinite(known) and known >= 0 else None


def _decoded(path: Path) -> LogReport:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LogReport)
    except (OSError, msgspec.DecodeError) as error:
        raise FormatError(f"the log is damaged: {error}") from error


def _why(status: int, cpu: int, said: str) -> str:
    words = f": {said}" if said else ""
    if -status in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL):
        return f"the log is damaged: reading it takes longer than {cpu} s{words}"
    if status < 0:
        return f"the log is damaged: Darshan's library crashed on it ({signal.Signals(-status).name}){words}"
    return f"the log cannot be read{words}"


def _said(path: Path) -> str:
    """What the library said last, on one line."""
    try:
        text = path.read_bytes()[:4096].decode("utf-8", "backslashreplace")
    except OSError:
        return ""
    return " ".join(text.split())[-_SAID:]


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_DIGEST).hexdigest()
