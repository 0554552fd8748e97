"""The engine's own record: raw events in Pegasus' words, a JSON object a line; and what a rerun needs of them."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from ... import __version__
from ...appending import Appender
from .plan import TYPE_NAMES, Job, Plan

Raw = dict[str, Any]


class EventLog:
    """Appends to `run/events.jsonl`.

    Parameters
    ----------
    run : Path
        The run directory.
    plan : Plan
        What is run.
    wf_uuid : str
        Identity of this run of the workflow.
    """

    def __init__(self, run: Path, plan: Plan, wf_uuid: str) -> None:
        path = run / "events.jsonl"
        self.history = list(_records(path))
        self._lines = Appender(path)
        self._plan = plan
        self._common = {"xwf_id": wf_uuid, "root_xwf_id": wf_uuid, "wf_label": plan.label}

    def write(self, event: str, **fields: Any) -> None:
        """Record one event; its time is now unless `ts` is given.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        self._lines.write({"event": event, "ts": time.time(), **self._common, **fields})

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def plan(self, submit_dir: Path) -> None:
        """Record the static part of a workflow."""
        plan = self._plan
        self.write(
            "stampede.wf.plan",
            dax_label=plan.label,
            dax_index="0",
            dax_version="5.0",
            dax_file=str(submit_dir.parent / "workflow.yml"),
            dag_file_name=f"{plan.label}-0.dag",
            submit_hostname=socket.gethostname(),
            submit_dir=str(submit_dir),
            user=_user(),
            planner_version=f"panorama-driver {__version__}",
        )
        self.write("stampede.static.start")
        for task, transformation, argv in plan.tasks:
            self.write(
                "stampede.task.info",
                task_id=task,
                transformation=transformation,
                argv=argv,
                type="1",
                type_desc="compute",
            )
        for parent, child in plan.task_edges:
            self.write("stampede.task.edge", parent_task_id=parent, child_task_id=child)
        for job in plan.jobs.values():
            self._job(job)
        for job in plan.jobs.values():
            for parent in job.parents:
                self.write("stampede.job.edge", parent_job_id=parent, child_job_id=job.job_id)
        self.write("stampede.static.end")

    def _job(self, job: Job) -> None:
        self.write(
            "stampede.job.info",
            job_id=job.job_id,
            type=str(job.type),
            type_desc=TYPE_NAMES[job.type],
            clustered=str(int(len(job.tasks) > 1)),
            max_retries=str(job.retries),
            task_count=str(len(job.tasks)),
            executable=job.executable,
            argv=job.arguments,
            submit_file="",
        )
        for task in job.tasks:
            self.write("stampede.wf.map.task_job", job_id=job.job_id, task_id=task.task_id)


class History:
    """What an earlier run of the same workflow left: read from its events.

    Attributes
    ----------
    planned : bool
        The static part is recorded.
    restarts : int
        How many times it was started.
    attempts : int
        The largest `job_inst_id` given.
    tries : dict
        Attempts by job.
    done : set of str
        Jobs that have ended well, whether or not the engine came to put them into its rescue file.
    open : list of dict
        Last records of attempts that were started and never ended.
    """

    def __init__(self, records: list[Raw]) -> None:
        self.planned = any(raw["event"] == "stampede.static.end" for raw in records)
        self.restarts = sum(raw["event"] == "stampede.xwf.start" for raw in records)
        self.attempts = max((int(raw.get("job_inst_id", 0)) for raw in records), default=0)
        self.tries: dict[str, int] = {}
        self.done = {raw["job_id"] for raw in records if _ended_well(raw)}
        running: dict[int, Raw] = {}
        for raw in records:
            attempt = raw.get("job_inst_id", 0)
            if raw["event"] == "stampede.job_inst.submit.start":
                self.tries[raw["job_id"]] = self.tries.get(raw["job_id"], 0) + 1
                running[attempt] = raw
            elif raw["event"] == "stampede.job_inst.main.start":
                running[attempt] = raw
            elif raw["event"] in ("stampede.job_inst.main.end", "stampede.job_inst.abort.info"):
                running.pop(attempt, None)
        self.open = list(running.values())


def _ended_well(raw: Raw) -> bool:
    return bool(raw["event"] == "stampede.job_inst.post.end" and raw["status"] == 0)


def hostname() -> str:
    """What this machine calls itself."""
    return socket.gethostname()


@lru_cache(maxsize=1)
def host() -> Raw:
    """This machine, as `stampede.job_inst.host.info` tells it; memory in kB."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = platform.uname()
    return {
        "hostname": hostname(),
        "ip": "127.0.0.1",
        "total_memory": pages // 1024,
        "uname": f"{system.system.lower()}-{system.release}-{system.machine}",
    }


def _records(path: Path) -> Iterator[Raw]:
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue  # the line that a killed engine was writing: its event never counted


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
