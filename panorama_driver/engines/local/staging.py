"""Moving a workflow's files: in by link, out by hard link or copy, each file complete or absent."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from .plan import STAGE_IN, Copy, Job, Plan


def run_auxiliary(job: Job, plan: Plan) -> list[dict[str, Any]]:
    """Do an auxiliary job's work; gives one `transfer.inv.local.single` record a file.

    Raises
    ------
    OSError
        A file is missing, or cannot be written.
    """
    if job.job_id.startswith("create_dir_"):
        plan.scratch.mkdir(parents=True, exist_ok=True)
        return []
    if job.job_id.startswith("cleanup_"):
        shutil.rmtree(plan.scratch, ignore_errors=True)
        return []
    plan.output.mkdir(parents=True, exist_ok=True)
    return list(_transfers(job, plan))


def _transfers(job: Job, plan: Plan) -> Iterator[dict[str, Any]]:
    stage = _link if job.type == STAGE_IN else _publish
    source_site, target_site = ("local", plan.site) if job.type == STAGE_IN else (plan.site, "local")
    for copy in job.copies:
        start = time.time()
        size = stage(copy)
        end = time.time()
        yield {
            "event": "transfer.inv.local.single",
            "ts": end,
            "level": "INFO",
            "status": 0,
            "hostname": socket.gethostname(),
            "filename": copy.lfn,
            "source_url": f"file://{copy.source}",
            "source_site_name": source_site,
            "destination_url": f"file://{copy.target}",
            "destination_site_name": target_site,
            "transfer_start_time": start,
            "transfer_completion_time": end,
            "transfer_duration": end - start,
            "bytes_transferred": size,
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
        "effective_bytes_per_second": size / (end - start) if end > start else None,
    }


def _link(copy: Copy) -> int:
    """Link an input into the working directory; its size [bytes]."""
    size = copy.source.stat().st_size
    copy.target.parent.mkdir(parents=True, exist_ok=True)
    copy.target.unlink(missing_ok=True)
    copy.target.symlink_to(copy.source)
    return size


def _publish(copy: Copy) -> int:
    """Put a result where results go, whole: a hard link where that is possible, a copy otherwise; its size [bytes].

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
    except OSError:
        shutil.copyfile(copy.source, part)
    size = part.stat().st_size
    os.replace(part, copy.target)
    return size
