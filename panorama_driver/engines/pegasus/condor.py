"""What only the programs of Pegasus and HTCondor can do: remove a workflow, and say why one is idle."""

from __future__ import annotations

import logging
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

_PATIENCE = 30.0  # [s]
_HELD, _IDLE = 5, 1
_STATES = {1: "idle", 2: "running", 3: "removed", 4: "completed", 5: "held", 6: "transferring output", 7: "suspended"}
_log = logging.getLogger(__name__)


class QueuedJob(msgspec.Struct, frozen=True):
    """A job in HTCondor's queue; fields are the attributes of its ClassAd."""

    ClusterId: int
    ProcId: int
    JobStatus: int
    pegasus_wf_dag_job_id: str = "?"
    HoldReason: str | None = None
    GridJobStatus: str | None = None
    RequestMemory: int | None = None
    RequestDisk: int | None = None
    RequestCpus: int | None = None

    @property
    def state(self) -> str:
        """HTCondor's word for it."""
        return _STATES.get(self.JobStatus, str(self.JobStatus))


def remove(submit_dir: Path) -> None:
    """Remove a workflow from HTCondor; one that is not there any more is no mistake."""
    done = _run(["pegasus-remove", str(submit_dir)])
    if done is not None and done.returncode:
        _log.warning("pegasus-remove %s: %s", submit_dir, (done.stderr or done.stdout).strip()[-400:])


def queued(wf_uuid: str) -> list[QueuedJob]:
    """The jobs of a workflow that HTCondor has in its queue; none where it cannot be asked."""
    attributes = ",".join(QueuedJob.__struct_fields__)
    constraint = f'pegasus_wf_uuid == "{wf_uuid}" && JobUniverse != 7'
    done = _run(["condor_q", "-allusers", "-constraint", constraint, "-attributes", attributes, "-json"])
    try:
        return msgspec.json.decode(done.stdout or "[]", type=list[QueuedJob], strict=False) if done else []
    except msgspec.DecodeError:
        return []


def why_idle(wf_uuid: str) -> str:
    """Why nothing of a workflow moves, in HTCondor's words; empty where it has none."""
    jobs = queued(wf_uuid)
    held = [job for job in jobs if job.JobStatus == _HELD]
    if held:
        return f"{held[0].pegasus_wf_dag_job_id} is held: {held[0].HoldReason or 'no reason given'}"
    idle = [job for job in jobs if job.JobStatus == _IDLE]
    if not idle:
        counted = Counter(job.state for job in jobs)
        return ", ".join(f"{count} jobs {state}" for state, count in counted.items())
    first = idle[0]
    if first.GridJobStatus:
        return f"{first.pegasus_wf_dag_job_id} is {first.GridJobStatus} in the batch system"
    return f"{first.pegasus_wf_dag_job_id} is idle: {_analysis(first)}"


def _analysis(job: QueuedJob) -> str:
    """The lines of `condor_q -better-analyze` that say something."""
    done = _run(["condor_q", "-better-analyze", f"{job.ClusterId}.{job.ProcId}"])
    lines = [line.strip() for line in (done.stdout if done else "").splitlines()]
    telling = [line for line in lines if line.startswith(("WARNING", "Reason", "Last failed match", "No machines"))]
    disk = (job.RequestDisk or 0) // 1024
    asked = f"it asks for {job.RequestCpus} cores, {job.RequestMemory} MB of memory and {disk} MB of disk"
    return "; ".join([asked, *telling[:3]])


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        _log.warning("%s: %s", command[0], problem)
        return None
