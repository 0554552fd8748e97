"""Logs of Darshan, as a facility keeps them: each becomes a run of its own, with the program as its one job.

A log tells of one program and its MPI ranks, and names no workflow. The run's identity is made of the log's content, so
that a log is imported once however it is called; the scheduler's number of the job is its `sched_id`. Darshan writes a
log when the program comes to its end by itself, and not what status it exits with: the job counts as succeeded, its
exit code is unknown. Logs of jobs that Panorama watches come home with their jobs and need no import.
"""

from __future__ import annotations

import atexit
import base64
import functools
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from ...errors import EnvironmentMissingError, FormatError
from ...events import Event
from ...sources import expand
from ...sources.darshan import LOG_LIMIT, LogReader, LogReport, report_event, report_of, unreadable
from ._files import Raw, Told, letter, unpacked, whole

_IDENTITY = uuid.UUID("0b7d9a52-6a53-5c3e-8b0a-9c6b7a2c1d11")
_NEEDED = 16  # bytes that tell a log
_KEPT = 4096  # bytes of a log that cannot be read


def detect(path: Path, head: bytes) -> bool:
    """Whether this is one, as far as its first bytes tell."""
    start = unpacked(head)
    return len(start) >= _NEEDED and not unreadable(start)


def read(path: Path) -> Iterator[Told]:
    """The log as a run of one job.

    Raises
    ------
    EnvironmentMissingError
        PyDarshan is not installed.
    StoreError
        It cannot be read.
    """
    try:
        data = whole(path, LOG_LIMIT)
    except FormatError as error:
        yield letter(path, str(error), b"")
        return
    if missing := _reader().start():
        raise EnvironmentMissingError(f"{path}: {missing}")
    yield from _told(path, data)


def _told(path: Path, data: bytes) -> Iterator[Told]:
    wf_uuid = str(uuid.uuid5(_IDENTITY, hashlib.sha256(data).hexdigest()))
    log = _log(path, data, wf_uuid)
    event = report_event(log, _reader())
    report = report_of(event)
    if report.reason is not None:
        yield letter(path, report.reason, data[:_KEPT], 0, len(data))
        return
    for raw in _run(report, {"xwf_id": wf_uuid}):
        yield from expand(raw)
    yield log
    yield event


def _log(path: Path, data: bytes, wf_uuid: str) -> Event:
    told = {"name": path.name, "size": len(data), "data": base64.b64encode(data).decode()}
    key = {"wf_uuid": wf_uuid, "dag_job_id": "program", "attempt": 1}
    return expand({"event": "darshan.log", **key, **told})[0]


def _run(report: LogReport, run: Raw) -> Iterator[Raw]:
    program = report.exe.split()[0] if report.exe.split() else ""
    name = os.path.basename(program) or "unknown"
    begin, end = report.start, report.end
    job = {"job_id": "program", **run}
    key = {"job_inst_id": 1, **job}
    sched_id = str(report.jobid)
    yield {"event": "stampede.wf.plan", "ts": begin, "dax_label": name, "root_xwf_id": run["xwf_id"], **run}
    yield {"event": "stampede.xwf.meta", "key": "source", "value": f"Darshan log {report.log_version}", **run}
    yield {"event": "stampede.xwf.start", "ts": begin, "restart_count": 0, **run}
    yield {"event": "stampede.job.info", "type": 1, "executable": program or None, **job}
    yield {"event": "stampede.job_inst.main.start", "ts": begin, "sched_id": sched_id, **key}
    used = {"start_time": begin, "dur": report.run_time, "transformation": name, "executable": program or None}
    yield {"event": "stampede.inv.end", "ts": end, "inv_id": 1, "argv": _arguments(report.exe), **used, **key}
    done = {"status": 0, "local_dur": report.run_time, "sched_id": sched_id}
    yield {"event": "stampede.job_inst.main.end", "ts": end, **done, **key}
    yield {"event": "stampede.xwf.end", "ts": end, "restart_count": 0, "status": 0, **run}


def _arguments(command: str) -> str | None:
    return command.partition(" ")[2].strip() or None


@functools.cache
def _reader() -> LogReader:
    """One for all logs: what starts with the first takes half a second."""
    reader = LogReader()
    atexit.register(reader.close)
    return reader
