"""WfFormat 1.6 of WfCommons (github.com/wfcommons/WfFormat): a file a workflow run, which its tools read and simulate.

A task is a job of the executable workflow: also what stages files, makes directories and cleans up. Its numbers are
those of the job's last attempt.

| WfFormat | metric |
| --- | --- |
| `runtimeInSeconds` [s] | `wall_time` |
| `avgCPU` [%] | `100 * cpu_time / wall_time`: above 100 where several cores were used |
| `readBytes`, `writtenBytes` [bytes] | the larger of `chars_read` and `bytes_read`, and likewise |
| `memoryInBytes` [bytes] | `peak_memory` |
| `coreCount` | `cores` |
| `makespanInSeconds` [s] | `makespan` of the run |

What is not known is left out: a task without a `wall_time` has no entry in `execution`, a run without a makespan has no
`execution` at all. Files are those whose size and use were told (`wf.map.file`, transfers of staging jobs), and a run
of which none was told has no list of them. To take the larger number of bytes is WfCommons' own choice for runs of
Pegasus. A job's id has other characters replaced where the format does not allow them.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ...errors import UsageError
from ...events import Event
from ...metrics import JobMetrics, Run, WorkflowMetrics
from ...sources.hosts import short_name
from .._secrets import redacted
from .._times import utc
from ..records import About, Progress, Source
from ._runs import printed, put, runs

VERSION = "1.6"

_STRANGE = re.compile(r"[^0-9A-Za-z_.#:/-]")
_LEADING = str.maketrans("/:#", "___")
_SYSTEMS = {"linux": "linux", "darwin": "macos", "macos": "macos", "windows": "windows"}
_STAGING = frozenset({"stage-in-tx", "stage-out-tx", "inter-site-tx"})
_COMPOSITE = "stampede.job_inst.composite"
_KIB = 1024
_Json = dict[str, Any]


def write(sources: Sequence[Source], target: Path, about: About, progress: Progress) -> list[Path]:
    """Write a file for each run that has jobs, `LABEL-WF_UUID.json`, into the folder `target`.

    Raises
    ------
    UsageError
        There is no such run.
    StoreError
        A store cannot be read, or the folder not be written.
    """
    created, written = datetime.now(UTC), list[Path]()
    for run in runs(sources, progress, "runs"):
        found = instance(run.events, about, created)
        if found is not None:
            text = msgspec.json.format(msgspec.json.encode(printed(found)))
            written.append(put(target / _file_name(str(found["name"]), run.wf_uuid), text + b"\n"))
    if not written:
        names = ", ".join(source.name for source in sources)
        raise UsageError(f"{names}: no workflow run with a job in it, so there is nothing to write as WfFormat")
    return written


def _file_name(label: str, wf_uuid: str) -> str:
    """A name that leads nowhere else, whatever the two are."""
    return "-".join(_STRANGE.sub("_", part).translate(_LEADING)[:80] for part in (label, wf_uuid)) + ".json"


def instance(events: Iterable[Event], about: About, created: datetime) -> _Json | None:
    """A run as WfFormat has it; None where it has no jobs, which WfFormat cannot tell."""
    events = list(events)
    run = Run(events)
    metrics = run.metrics()
    if not metrics.jobs:
        return None
    ids = identifiers(job.job_id for job in metrics.jobs)
    execution = _execution(metrics, run, events, ids)
    return {
        "name": metrics.label or metrics.wf_uuid,
        "description": about.description or f"Workflow run {metrics.wf_uuid}, which {_ended(metrics)}",
        "createdAt": created.isoformat(timespec="seconds"),
        "schemaVersion": VERSION,
        **_author(about),
        **_system(run.plan),
        "workflow": {
            "specification": _specification(metrics, run.edges, uses(events, metrics, run), ids),
            **({"execution": execution} if execution else {}),
        },
    }


def _ended(metrics: WorkflowMetrics) -> str:
    if metrics.state in ("succeeded", "failed"):
        return metrics.state
    return "had not ended"


def _author(about: About) -> _Json:
    """The first who can be asked: WfFormat wants an address of an author."""
    for creator in about.creators:
        if creator.email:
            more = {"institution": creator.affiliation} if creator.affiliation else {}
            return {"author": {"name": creator.name, "email": creator.email, **more}}
    return {}


def _system(plan: Mapping[str, object]) -> _Json:
    told = plan.get("planner_version") or plan.get("pegasus_version")
    if not isinstance(told, str) or not told:
        return {}
    name, _, version = told.rpartition(" ")
    if name:  # our own engine, which tells both
        return {"runtimeSystem": {"name": name, "version": version}}
    return {"runtimeSystem": {"name": "Pegasus", "version": version, "url": "https://pegasus.isi.edu"}}


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Names as WfFormat allows them, each one's own."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for name in names:
        chosen = plain = _STRANGE.sub("_", name) or "_"
        while chosen in taken:
            numbers[plain] = numbers.get(plain, 1) + 1
            chosen = f"{plain}_{numbers[plain]}"
        taken.add(chosen)
        found[name] = chosen
    return found


# --- specification ---------------------------------------------------------------------------------------------------


def _specification(
    metrics: WorkflowMetrics, edges: Sequence[tuple[str, str]], used: _Uses, ids: Mapping[str, str]
) -> _Json:
    parents, children = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for parent, child in edges:
        if parent in ids and child in ids and parent != child:
            parents[child].add(parent)
            children[parent].add(child)
    files = used.files()
    tasks = [
        {
            "name": job.transformation or job.job_id,
            "id": ids[job.job_id],
            "parents": sorted(ids[name] for name in parents[job.job_id]),
            "children": sorted(ids[name] for name in children[job.job_id]),
            **used.of(job.job_id, files),
        }
        for job in metrics.jobs
    ]
    counts = {"numberOfTasks": len(tasks), **_widths(list(ids), parents, children)}
    if not files:
        return {"tasks": tasks, "metrics": counts}
    listed = [{"id": chosen, "sizeInBytes": used.sizes[name]} for name, chosen in files.items()]
    counts |= {"numberOfFiles": len(files), "sumOfFileSizesInBytes": sum(used.sizes[name] for name in files)}
    return {"tasks": tasks, "files": listed, "metrics": counts}


def _widths(names: Collection[str], parents: Mapping[str, set[str]], children: Mapping[str, set[str]]) -> _Json:
    """Levels: a task is one below the lowest of its parents; nothing where they go in a circle."""
    waiting = {name: len(parents.get(name, ())) for name in names}
    level, widths, done = [name for name in names if not waiting[name]], list[int](), 0
    while level:
        widths.append(len(level))
        done += len(level)
        after: list[str] = []
        for child in (child for name in level for child in children.get(name, ())):
            waiting[child] -= 1
            if not waiting[child]:
                after.append(child)
        level = after
    if done < len(names):
        return {}
    return {"numberOfLevels": len(widths), "minimumWidth": min(widths), "maximumWidth": max(widths)}


class _Uses:
    """Which job reads and writes which files, and how large these are [bytes]."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.inputs = defaultdict[str, set[str]](set)
        self.outputs = defaultdict[str, set[str]](set)

    def add(self, name: str, job: str, way: object) -> None:
        """A job reads (`input`) or writes (`output`) a file; of another way nothing is known."""
        if way in ("input", "output"):
            (self.inputs if way == "input" else self.outputs)[job].add(name)

    def of(self, job: str, files: Mapping[str, str]) -> _Json:
        """What a job reads and writes of `files`; nothing where none is known of."""
        sides = {"inputFiles": self.inputs[job], "outputFiles": self.outputs[job]}
        return (
            {key: sorted(files[name] for name in side & files.keys()) for key, side in sides.items()} if files else {}
        )

    def files(self) -> dict[str, str]:
        """Names, and what they are called in the format, of the files of which both is known."""
        used = set().union(*self.inputs.values(), *self.outputs.values())
        return identifiers(sorted(used & self.sizes.keys()))


def uses(events: Iterable[Event], metrics: WorkflowMetrics, run: Run) -> _Uses:
    """What is told of the files of a run."""
    found, jobs, types = _Uses(), defaultdict[str, set[str]](set), {job.job_id: job.type for job in metrics.jobs}
    mapped: list[tuple[str, str, object]] = []
    for event in events:
        fields = event.fields
        if event.kind == "stampede.wf.map.task_job" and event.job_id:
            jobs[str(fields.get("task_id"))].add(event.job_id)
        elif event.kind == "stampede.wf.map.file":
            mapped.append((str(fields.get("task_id")), str(fields.get("lfn_id")), fields.get("file_type")))
        elif event.kind == "stampede.rc.meta" and (size := _size(fields)) is not None:
            found.sizes[str(fields.get("lfn_id"))] = size
    for task, name, way in mapped:
        for job in jobs[task]:
            found.add(name, job, way)
    for transfer in (told.metrics for told in run.transfers()):
        exact = transfer.size is not None and not transfer.rounding and transfer.state == "succeeded"
        if exact and transfer.name and transfer.job_id:
            found.sizes.setdefault(transfer.name, transfer.size or 0)
            if types.get(transfer.job_id) in _STAGING:
                found.add(transfer.name, transfer.job_id, "input")
                found.add(transfer.name, transfer.job_id, "output")
    return found


def _size(metadata: Mapping[str, Any]) -> int | None:
    """[bytes], where the metadata of a file are these."""
    text = str(metadata.get("value"))
    return int(text) if metadata.get("key") == "size" and re.fullmatch(r"[0-9]{1,18}", text) else None


# --- execution -------------------------------------------------------------------------------------------------------


def _execution(metrics: WorkflowMetrics, run: Run, events: Sequence[Event], ids: Mapping[str, str]) -> _Json | None:
    began = _moment(metrics.start)
    if metrics.makespan is None or began is None:
        return None
    commands = {(said.job_id, said.attempt): said.command for said in run.said()}
    tasks = [_task(job, ids[job.job_id], commands) for job in metrics.jobs if job.wall_time is not None]
    if not tasks:
        return None
    machines = _machines(events, {_node(job.host) for job in metrics.jobs if job.host})
    return {
        "makespanInSeconds": metrics.makespan,
        "executedAt": began,
        "tasks": tasks,
        **({"machines": machines} if machines else {}),
        "metrics": {
            "sumTaskRuntimesInSeconds": math.fsum(task["runtimeInSeconds"] for task in tasks),
            **_total(tasks, "readBytes", "totalNumBytesRead"),
            **_total(tasks, "writtenBytes", "totalNumBytesWritten"),
        },
    }


def _total(tasks: Sequence[_Json], name: str, total: str) -> _Json:
    """A sum over the tasks that tell; nothing where none does."""
    known = [task[name] for task in tasks if name in task]
    return {total: sum(known)} if known else {}


def _task(job: JobMetrics, identity: str, commands: Mapping[tuple[str, int], str | None]) -> _Json:
    last = job.attempts[-1] if job.attempts else None
    told = {
        "runtimeInSeconds": job.wall_time,
        "executedAt": _moment(last.start) if last is not None else None,
        "command": _command(commands.get((job.job_id, last.attempt))) if last is not None else None,
        "coreCount": job.cores if job.cores and job.cores >= 1 else None,
        "avgCPU": 100 * job.cpu_time / job.wall_time if job.cpu_time is not None and job.wall_time else None,
        "readBytes": _larger(job.chars_read, job.bytes_read),
        "writtenBytes": _larger(job.chars_written, job.bytes_written),
        "memoryInBytes": job.peak_memory,
        "machines": [_node(job.host)] if job.host else None,
    }
    return {"id": identity} | {name: value for name, value in told.items() if value is not None}


def _larger(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _command(text: str | None) -> _Json | None:
    """Program and arguments of a job that ran one program; of several there is no place for."""
    if not text or "\n" in text:
        return None
    text = redacted(text)
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that is not closed
        words = text.split()
    words = [word for word in words if word]
    return {"program": words[0], "arguments": words[1:]} if words else None


def _machines(events: Iterable[Event], used: Collection[str]) -> list[_Json]:
    """What is known of the workers that jobs ran on, by name."""
    found = {name: {"nodeName": name} for name in sorted(used)}
    for event in events:
        name = event.fields.get("hostname") if event.kind == _COMPOSITE else None
        if isinstance(name, str) and (host := short_name(name)) in found:
            found[host] = _machine(host, event.fields)
    return list(found.values())


def _node(host: str) -> str:
    """A worker without the group of slots that a job had on it."""
    return host.partition("/")[0]


def _machine(name: str, fields: Mapping[str, Any]) -> _Json:
    memory, cores, speed = (_positive(fields.get(key)) for key in ("ram", "cpu_count", "cpu_speed"))
    cpu = {"coreCount": cores, "speedInMHz": speed, "vendor": fields.get("cpu_vendor") or None}
    cpu = {key: value for key, value in cpu.items() if value is not None}
    told = {
        "system": _SYSTEMS.get(str(fields.get("system")).lower()),
        "architecture": fields.get("machine") or None,
        "release": fields.get("release") or None,
        "memoryInBytes": None if memory is None else memory * _KIB,
        "cpu": cpu or None,
    }
    return {"nodeName": name} | {key: value for key, value in told.items() if value is not None}


def _positive(value: object) -> int | None:
    return round(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 1 else None


def _moment(ts: float | None) -> str | None:
    """ISO 8601 in UTC, to the microsecond; None where that is no time of this era."""
    moment = utc(ts)
    return None if moment is None else moment.isoformat()
