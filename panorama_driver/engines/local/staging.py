"""Moving a workflow's files: in by link, out by hard link or copy, each file complete or absent.

A record tells how a file got there (`method`) and its `size`; `bytes_transferred` is what was moved, which for a link
is nothing.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import threading
import time
from typing import Any, NamedTuple

from .plan import STAGE_IN, Copy, Job, Plan


class StagingError(OSError):
    """A file is missing, or cannot be written.

    Attributes
    ----------
    records : list of dict
        `transfer.inv.local.single` records of the files before it, and of it.
    """

    def __init__(self, problem: OSError, records: list[dict[str, Any]]) -> None:
        super().__init__(*problem.args)
        self.filename, self.filename2 = problem.filename, problem.filename2
        self.records = records


class Staged(NamedTuple):
    """How a file got where it belongs, and its size [bytes]."""

    method: str
    size: int

    @property
    def moved(self) -> int:
        """Bytes that were moved for it."""
        return self.size if self.method == "copy" else 0


def run_auxiliary(job: Job, plan: Plan) -> list[dict[str, Any]]:
    """Do an auxiliary job's work; gives one `transfer.inv.local.single` record a file.

    Raises
    ------
    StagingError
        A file is missing, or cannot be written.
    OSError
        Likewise a directory.
    """
    if job.job_id.startswith("create_dir_"):
        plan.scratch.mkdir(parents=True, exist_ok=True)
        return []
    if job.job_id.startswith("cleanup_"):
        shutil.rmtree(plan.scratch, ignore_errors=True)
        return []
    plan.output.mkdir(parents=True, exist_ok=True)
    return _transfers(job, plan)


def _transfers(job: Job, plan: Plan) -> list[dict[str, Any]]:
    stage = _link if job.type == STAGE_IN else _publish
    sites = ("local", plan.site) if job.type == STAGE_IN else (plan.site, "local")
    records: list[dict[str, Any]] = []
    for copy in job.copies:
        start = time.time()
        try:
            staged = stage(copy)
        except OSError as problem:
            raise StagingError(problem, [*records, _record(copy, sites, start, str(problem))]) from problem
        records.append(_record(copy, sites, start, staged))
    return records


def _record(copy: Copy, sites: tuple[str, str], start: float, became: Staged | str) -> dict[str, Any]:
    """What became of a file: how it was staged, or why it was not."""
    end = time.time()
    told: dict[str, Any] = {"status": 1, "error": became, "bytes_transferred": 0}
    if isinstance(became, Staged):
        told = {"status": 0, "method": became.method, "size": became.size, "bytes_transferred": became.moved}
    return {
        "event": "transfer.inv.local.single",
        "ts": end,
        "level": "INFO",
        "hostname": socket.gethostname(),
        "filename": copy.lfn,
        "source_url": f"file://{copy.source}",
        "source_site_name": sites[0],
        "destination_url": f"file://{copy.target}",
        "destination_site_name": sites[1],
        "transfer_start_time": start,
        "transfer_completion_time": end,
        "transfer_duration": end - start,
        **told,
    }


def summary(singles: list[dict[str, Any]]) -> dict[str, Any]:
    """The `transfer.inv.local` record of a staging job from those of its files."""
    start = min(single["transfer_start_time"] for single in singles)
    end = max(single["transfer_completion_time"] for single in singles)
    size = sum(single["bytes_transferred"] for single in singles)
    return {
        "event": "transfer.inv.local",
        "ts": end,
        "level": "INFO",
        "hostname": singles[0]["hostname"],
        "total_files": len(singles),
        "transfer_start_time": start,
        "transfer_completion_time": end,
        "transfer_duration": end - start,
        "bytes_transferred": size,
        "bytes_staged": sum(single["size"] for single in singles),
        "effective_bytes_per_second": size / (end - start) if end > start else None,
    }


def _link(copy: Copy) -> Staged:
    """Link an input into the working directory."""
    size = copy.source.stat().st_size
    copy.target.parent.mkdir(parents=True, exist_ok=True)
    copy.target.unlink(missing_ok=True)
    copy.target.symlink_to(copy.source)
    return Staged("link", size)


def _publish(copy: Copy) -> Staged:
    """Put a result where results go, whole: a hard link where that is possible, a copy otherwise.

    The temporary name is the thread's own, since a cancelled run's copy goes on for a while beside the next run's.
    """
    copy.target.parent.mkdir(parents=True, exist_ok=True)
    for left in copy.target.parent.glob(f".{glob.escape(copy.target.name)}.*.part"):
        left.unlink(missing_ok=True)
    part = copy.target.with_name(f".{copy.target.name}.{threading.get_native_id()}.part")
    try:
        if copy.source.is_symlink():  # link(2) would publish the link, and its target goes with the scratch folder
            raise OSError
        os.link(copy.source, part)
        method = "hardlink"
    except OSError:
        shutil.copyfile(copy.source, part)
        method = "copy"
    size = part.stat().st_size
    os.replace(part, copy.target)
    return Staged(method, size)
