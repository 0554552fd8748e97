"""`kickstart.*` events: traces of running processes, by our probe or by the kickstart of Panorama, and what GPUs did.

Units and meaning are those of Panorama's kickstart (its procfs.c, monitoring.c and, for GPUs, README.md and nvml.c),
whose records our probe's continue. Counters accumulate, and stay here as they came; `metrics` differentiates them.
None is what the probe writes of something that it could not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import FormatError
from ..events import Event
from ._fields import canonical, exactly, flattened, name, readers_of, required, seconds, whole

TRACE = "kickstart.inv.online"
GPU_ENVIRONMENT = "kickstart.inv.online.gpu.env"
GPU_STATS = "kickstart.inv.online.gpu.stats"
GPU_MAXIMA = "kickstart.inv.online.gpu.stats.max"

_ALIASES = {
    "kickstart.inv.gpu.environment": GPU_ENVIRONMENT,
    "kickstart.inv.gpu.env": GPU_ENVIRONMENT,
    "kickstart.inv.online.gpu.environment": GPU_ENVIRONMENT,
    "kickstart.inv.gpu.stats": GPU_STATS,
    "kickstart.inv.gpu.stats.max": GPU_MAXIMA,
}
"""Names that the code of Panorama's kickstart sends; those of its README.md are ours."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Whose record it is; empty where nobody told the worker.

    Attributes
    ----------
    wf_uuid, wf_label, dag_job_id, task_id, xformation, site : str
        The workflow run, and what of it runs where.
    condor_job_id : str
        HTCondor's `cluster.process`.
    hostname : str
        The worker, as gethostname(2) has it.
    attempt : int or None
        `job_inst_id`, which only our probe knows.
    ts : float
        [s since 1970] on the worker's clock.
    """

    wf_uuid: str
    ts: float | None = None
    wf_label: str | None = None
    dag_job_id: str | None = None
    condor_job_id: str | None = None
    task_id: str | None = None
    xformation: str | None = None
    site: str | None = None
    hostname: str | None = None
    attempt: int | None = None


class Trace(Origin, frozen=True, kw_only=True):
    """`kickstart.inv.online`: what a tree of processes has used so far.

    Attributes
    ----------
    pid, exe : int, str
        Of the command under our probe; of the monitor itself under kickstart.
    rank : int
        Of an MPI process.
    utime, stime, iowait : float
        [s] processor time and waiting for block devices, so far, of all processes; `iowait` is null where the kernel's
        delay accounting is off.
    vm, rss : int
        [kB] of address space and memory now.
    procs, threads : int
        Now; kickstart counts itself, one process of two threads.
    runtime, rundelay : float
        [s] on a processor, and ready to run but without one, so far: of the first thread of each process, as
        `/proc/PID/schedstat` tells it; null where the kernel does not (`CONFIG_SCHED_INFO`). Only our probe's, like the
        next three.
    running, blocked, stopped : int
        Processes in the states R, D (an uninterruptible wait: storage), and T (stopped by a signal) now, by their first
        thread; the others sleep.
    bread, bwrite : int
        [bytes] from and to storage, so far.
    rchar, wchar : int
        [bytes] by read and write calls, so far.
    syscr, syscw : int
        [calls] so far.
    bsend, brecv : int
        [bytes] through sockets, so far; kickstart tells 0 unless its library was preloaded.
    totins, ldins, srins, fpins, fpops : int
        Instructions in all, loads, stores, floating point instructions and operations, so far; only with PAPI.
    l1misses, l2misses, l3misses : int
        Cache misses so far; only with PAPI.
    seq, final : int, bool
        Number of our probe's record from 0, and whether it is the last.
    interval : float
        [s] between two records, as it was asked for.
    exitcode_raw : int
        Of the last: raw wait status.
    start_ts : float
        [s since 1970] of the last: start.
    dur : float
        [s] of the last: how long it ran.
    maxrss : int
        [kB] of the last: resident memory of the largest process; null where it is below what the probe's own fork had.
    maxrss_below : int
        [kB] of the last: in place of a `maxrss` that is null, it was less than this.
    rusage_utime, rusage_stime : float
        [s] of the last: processor time, as wait4(2) tells.
    problems : list of str
        Of the last: what could not be observed, in words.
    """

    pid: int | None = None
    exe: str | None = None
    rank: int | None = None
    utime: float | None = None
    stime: float | None = None
    iowait: float | None = None
    vm: int | None = None
    rss: int | None = None
    procs: int | None = None
    threads: int | None = None
    runtime: float | None = None
    rundelay: float | None = None
    running: int | None = None
    blocked: int | None = None
    stopped: int | None = None
    bread: int | None = None
    bwrite: int | None = None
    rchar: int | None = None
    wchar: int | None = None
    syscr: int | None = None
    syscw: int | None = None
    bsend: int | None = None
    brecv: int | None = None
    totins: int | None = None
    ldins: int | None = None
    srins: int | None = None
    fpins: int | None = None
    fpops: int | None = None
    l1misses: int | None = None
    l2misses: int | None = None
    l3misses: int | None = None
    seq: int | None = None
    interval: float | None = None
    final: bool | None = None
    exitcode_raw: int | None = None
    start_ts: float | None = None
    dur: float | None = None
    maxrss: int | None = None
    maxrss_below: int | None = None
    rusage_utime: float | None = None
    rusage_stime: float | None = None
    problems: list[Any] | None = None


class GpuEnvironment(Origin, frozen=True, kw_only=True):
    """`kickstart.inv.online.gpu.env`: driver, CUDA, and the devices with their limits.

    Clocks are in MHz, `power_limit` in mW, `total_memory` and `total_bar1_memory` in bytes.
    """

    nvidia_driver_version: str | None = None
    cuda_version: str | None = None
    device_count: int | None = None
    devices: list[Any] | None = None


class GpuStats(Origin, frozen=True, kw_only=True):
    """`kickstart.inv.online.gpu.stats`: one device at one moment.

    Attributes
    ----------
    gpu_id, name, pci_bus_id, compute_mode : int, str
        The device; kickstart calls its number `id`.
    temp : int
        [degrees Celsius]
    gpu_clock, sm_clock, mem_clock, video_clock : int
        [MHz]
    power_usage : int
        [mW]
    mem_usage, bar1_mem_usage : int
        [bytes]
    gpu_utilization, mem_utilization : int
        [%] of the driver's last sampling period.
    pcie_rx, pcie_tx : int
        [bytes] in 20 ms.
    sampling_duration : float
        [s] that it took to ask.
    compute_procs, graphics_procs : list
        `pid` and `mem_usage` [bytes] of each process on the device.
    proc_samples : list
        `pid`, and `sm_util`, `mem_util`, `enc_util`, `dec_util` [%] of each.
    """

    gpu_id: int
    name: str | None = None
    pci_bus_id: str | None = None
    compute_mode: str | None = None
    temp: int | None = None
    gpu_clock: int | None = None
    sm_clock: int | None = None
    mem_clock: int | None = None
    video_clock: int | None = None
    power_usage: int | None = None
    mem_usage: int | None = None
    bar1_mem_usage: int | None = None
    gpu_utilization: int | None = None
    mem_utilization: int | None = None
    pcie_rx: int | None = None
    pcie_tx: int | None = None
    sampling_duration: float | None = None
    compute_procs: list[Any] | None = None
    graphics_procs: list[Any] | None = None
    proc_samples: list[Any] | None = None


class GpuMaxima(Origin, frozen=True, kw_only=True):
    """`kickstart.inv.online.gpu.stats.max`: of each device the largest of what `gpu.stats` tells, as `max_temp`, ..."""

    devices: list[Any] | None = None


KINDS: dict[str, type[Origin]] = {
    TRACE: Trace,
    GPU_ENVIRONMENT: GpuEnvironment,
    GPU_STATS: GpuStats,
    GPU_MAXIMA: GpuMaxima,
}
"""All kinds of events of this source, each with its record."""

_OWN = ("wf_uuid", "ts", "dag_job_id", "attempt")
_READERS = {
    kind: {key: reader for key, reader in exactly(readers_of(record)).items() if key not in _OWN}
    for kind, record in KINDS.items()
}


def parse(raw: Mapping[str, Any]) -> Event:
    """Turn one record into an event.

    Panorama's own records know only the HTCondor job; ours carry the attempt. GPU events of either spelling become one.

    Raises
    ------
    FormatError
        It is of an unknown kind, `wf_uuid` is missing, or a number is none.
    """
    kind = str(raw["event"])
    kind = _ALIASES.get(kind, kind)
    readers = _READERS.get(kind)
    if readers is None:
        raise FormatError(
            f"event {kind!r} is not one of {', '.join(KINDS)}; it is kept whole: requeue it after an update"
        )
    fields = canonical(_respelled(raw) if kind != TRACE else raw, readers, nulls=True)
    wf_uuid = required(fields, "wf_uuid")
    del fields["event"]
    if kind == GPU_STATS and fields.get("gpu_id") is None:
        raise FormatError(f"event {kind!r} without its field 'gpu_id'")
    ts, job_id, attempt = seconds(fields, "ts"), name(fields, "dag_job_id"), whole(fields, "attempt")
    return Event(kind=kind, wf_uuid=wf_uuid, ts=ts, job_id=job_id, attempt=attempt, fields=fields)


def _respelled(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A GPU's record in one spelling: the code that sends it names some things otherwise than its documentation."""
    fields = flattened(raw)
    for old, new in (("timestamp", "ts"), ("id", "gpu_id")):
        if old in fields:
            fields.setdefault(new, fields.pop(old))
    for key in ("devices", "proc_samples"):
        if isinstance(fields.get(key), list):
            fields[key] = [_renamed(item) for item in fields[key]]
    return fields


def _renamed(item: Any) -> Any:
    return {_SPELLINGS.get(key, key): value for key, value in item.items()} if isinstance(item, dict) else item


_SPELLINGS = {
    "id": "gpu_id",
    "max_gpu_usage": "max_gpu_utilization",
    "timeStamp": "sample_ts",
    "smUtil": "sm_util",
    "memUtil": "mem_util",
    "encUtil": "enc_util",
    "decUtil": "dec_util",
}
