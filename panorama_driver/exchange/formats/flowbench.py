"""Runs of FlowBench: a CSV table a run, a row a job, with what was wrong with the job's worker beside it.

"Flow-Bench: A Dataset for Computational Workflow Anomaly Detection", G. Papadimitriou and others (PoSeiDon),
github.com/PoSeiDon-Workflows/FlowBench, CC-BY-4.0. The tables were made out of what Panorama's own back end held; each
column goes back to the event that it came from:

| columns | event |
| --- | --- |
| `ready` of the first job, `post_script_end` of the last | `wf.plan`, `xwf.start`, `xwf.end` |
| `type`, `is_clustered` | `job.info` |
| `pre_script_*`, `submit`, `execute_*`, `post_script_*` | `job_inst.pre.*`, `.submit.start`, `.main.*`, `.post.*` |
| `kickstart_*` | `inv.end`, `job_inst.host.info` |
| `kickstart_online_*` (`bytes_*` are `rchar` and `wchar`) | `kickstart.inv.online`: the last sample of the job |
| `stage_in_*`, `stage_out_*` | `transfer.inv.local` |
| `anomaly_type` | `xwf.meta` of the run, `task.meta` of a job that ran on such a worker, both with this key |

Times are whole seconds. A table names no workflow run, so that the run's identity is made of what is in the table; and
no dependencies between jobs, and no cores that a job asked for. What is computed of other columns (`*_delay`,
`*_per_second`) is left out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...analysis.flowbench import NORMAL, Labelled, number, parse
from ...errors import FormatError
from ._files import Raw, Told, beginning, events_of, letter, whole

SIZE_LIMIT = 64 << 20
"""A larger table is not read [bytes]; those of FlowBench have some 10 kB."""
CITATION = "FlowBench, PoSeiDon, https://github.com/PoSeiDon-Workflows/FlowBench, CC-BY-4.0"

_IDENTITY = uuid.UUID("7f0c3b0e-55a4-5cf0-9c39-2f5f3a8f7c11")
_MARKS = (b"anomaly_type", b"kickstart_transformations", b"kickstart_hostname", b"runtime")
_RUN = re.compile(r"(.+?)[-_]run\d+")
_TYPES = {"create_dir": 6, "stage_in": 2, "stage_out": 3, "stage_inter": 5, "cleanup": 8}
_SAMPLED = {
    "utime": "utime",
    "stime": "stime",
    "iowait": "iowait",
    "rchar": "bytes_read",
    "wchar": "bytes_written",
    "syscr": "read_system_calls",
    "syscw": "write_system_calls",
}
_COUNTED = frozenset({"rchar", "wchar", "syscr", "syscw"})


def detect(path: Path, head: bytes) -> bool:
    """Whether this is one, as far as its header tells."""
    header = beginning(head).partition(b"\n")[0]
    return all(mark in header for mark in _MARKS)


def read(path: Path) -> Iterator[Told]:
    """Events of a run; rows that name no job or no times become dead letters.

    Raises
    ------
    FormatError
        It is no table of FlowBench.
    StoreError
        It cannot be read.
    """
    data = whole(path, SIZE_LIMIT)
    wf_uuid = str(uuid.uuid5(_IDENTITY, hashlib.sha256(data).hexdigest()))
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    text = data.decode("utf-8-sig", "replace")
    jobs = list(parse(io.StringIO(text, newline=""), str(path), name))
    sound = [job for job in jobs if _is_sound(job)]
    if not sound:
        raise FormatError(f"{path}: no row of it names a job and its times; what of FlowBench it is cannot be told")
    label = match[1] if (match := _RUN.fullmatch(name)) else name
    for raw in _run(label, wf_uuid, sound):
        yield from events_of(raw, path)
    for job in jobs:
        if not _is_sound(job):
            yield letter(path, "a row that does not tell which job it is, or not when it ran", _line(job.columns))


def _is_sound(job: Labelled) -> bool:
    return bool(job.sample.job_id) and None not in (job.sample.start, job.sample.end, number(job.columns, "ready"))


def _line(columns: Mapping[str, str]) -> bytes:
    """A row as it stands in the table."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(columns.values())
    return text.getvalue().encode("utf-8", "backslashreplace")


def _run(label: str, wf_uuid: str, jobs: list[Labelled]) -> Iterator[Raw]:
    run = {"xwf_id": wf_uuid}
    begin = min(number(job.columns, "ready") or 0.0 for job in jobs)
    end = max(number(job.columns, "post_script_end") or job.sample.end or 0.0 for job in jobs)
    kinds = sorted({job.label for job in jobs} - {NORMAL})
    yield {"event": "stampede.wf.plan", "ts": begin, "dax_label": label, "root_xwf_id": wf_uuid, **run}
    yield {"event": "stampede.xwf.meta", "key": "anomaly_type", "value": "+".join(kinds) or "normal", **run}
    yield {"event": "stampede.xwf.meta", "key": "source", "value": CITATION, **run}
    yield {"event": "stampede.xwf.start", "ts": begin, "restart_count": 0, **run}
    for attempt, job in enumerate(jobs, 1):
        yield from _job(job, {"job_id": job.sample.job_id, **run})
        yield from _attempt(job, {"job_inst_id": attempt, "job_id": job.sample.job_id, **run})
    failed = any(job.sample.state == "failed" for job in jobs)
    yield {"event": "stampede.xwf.end", "ts": end, "restart_count": 0, "status": -1 if failed else 0, **run}


def _job(job: Labelled, key: Raw) -> Iterator[Raw]:
    clustered = job.columns.get("is_clustered") or None
    yield {"event": "stampede.job.info", "type": _type(job), "clustered": clustered, "max_retries": None, **key}
    if job.label != NORMAL:
        told = {"task_id": key["job_id"], "key": "anomaly_type", "value": job.label}
        yield {"event": "stampede.task.meta", "xwf_id": key["xwf_id"], **told}


def _type(job: Labelled) -> int:
    """Pegasus' number of the kind of job, which of transfers and the like only its name tells."""
    if job.type == "compute":
        return 1
    return next((kind for name, kind in _TYPES.items() if job.sample.job_id.startswith(name)), 0)


def _attempt(job: Labelled, key: Raw) -> Iterator[Raw]:
    for what in ("pre_script", "post_script"):
        yield from _script(job, what, key)
    start, end = job.sample.start or 0.0, job.sample.end or 0.0
    site, status = job.columns.get("kickstart_site") or None, _wait_status(job)
    yield {"event": "stampede.job_inst.submit.start", "ts": number(job.columns, "submit"), "site": site, **key}
    yield {"event": "stampede.job_inst.main.start", "ts": start, **key}
    yield {"event": "stampede.job_inst.main.term", "ts": end, **key}
    told = {"user": job.columns.get("kickstart_user") or None, "site": site, "exitcode": status}
    how = {"status": None if status is None else -bool(status), "local_dur": end - start}
    yield {"event": "stampede.job_inst.main.end", "ts": end, **told, **how, **key}
    yield from _program(job, status, key)
    yield from _moved(job, key)


def _script(job: Labelled, what: str, key: Raw) -> Iterator[Raw]:
    short = what.removesuffix("_script")
    for edge, name in (("start", "start"), ("end", "term")):
        if (at := number(job.columns, f"{what}_{edge}")) is not None:
            yield {"event": f"stampede.job_inst.{short}.{name}", "ts": at, **key}


def _wait_status(job: Labelled) -> int | None:
    told = number(job.columns, "kickstart_executables_exitcode")
    return None if told is None else int(told)


def _program(job: Labelled, status: int | None, key: Raw) -> Iterator[Raw]:
    """What ran between the ends of staging in and out, where the job did both itself."""
    columns, start, end = job.columns, job.sample.start or 0.0, job.sample.end or 0.0
    begun, ended = number(columns, "stage_in_end"), number(columns, "stage_out_start")
    if begun is None or ended is None or not start <= begun <= ended <= end:
        begun, ended = start, end
    yield {
        "event": "stampede.inv.end",
        "ts": ended,
        "inv_id": 1,
        "start_time": begun,
        "dur": ended - begun,
        "exitcode": status,
        "remote_cpu_time": number(columns, "kickstart_executables_cpu_time"),
        "transformation": columns.get("kickstart_transformations") or None,
        "executable": columns.get("kickstart_executables") or None,
        "argv": columns.get("kickstart_executables_argv") or None,
        "task_id": key["job_id"] if job.type == "compute" else None,
        **key,
    }
    host = {"hostname": job.sample.host, "site": columns.get("kickstart_site") or None}
    yield {"event": "stampede.job_inst.host.info", "ts": ended, **host, **key}
    yield from _sampled(job, ended, key)


def _sampled(job: Labelled, at: float, key: Raw) -> Iterator[Raw]:
    told: dict[str, Any] = {}
    for field, column in _SAMPLED.items():
        if (value := number(job.columns, f"kickstart_online_{column}")) is not None:
            told[field] = int(value) if field in _COUNTED else value
    if told:
        yield {"event": "kickstart.inv.online", "ts": at, "hostname": job.sample.host, **_worker(key), **told}


def _moved(job: Labelled, key: Raw) -> Iterator[Raw]:
    for way in ("stage_in", "stage_out"):
        begin, end, size = (number(job.columns, f"{way}_{name}") for name in ("start", "end", "bytes"))
        if begin is not None and end is not None and size is not None:
            speed = number(job.columns, f"{way}_effective_bytes_per_sec")
            times = {"transfer_start_time": begin, "transfer_completion_time": end, "transfer_duration": end - begin}
            moved = {"bytes_transferred": int(size), "effective_bytes_per_second": speed}
            yield {"event": "transfer.inv.local", "ts": end, **_worker(key), **times, **moved}


def _worker(key: Raw) -> Raw:
    """The key as workers spell it."""
    return {"wf_uuid": key["xwf_id"], "dag_job_id": key["job_id"], "attempt": key["job_inst_id"]}
