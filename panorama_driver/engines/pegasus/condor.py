"""What only the programs of Pegasus and HTCondor can do: remove a workflow, and say why one is idle."""

from __future__ import annotations

import errno
import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ...errors import EnvironmentMissingError
from .service import find_program

_PATIENCE = 30.0  # [s]
_HELD, _IDLE = 5, 1
_UPLOAD_ERROR = 12  # HoldReasonCode of HTCondor's manual, "Job ClassAd Attributes"
_NO_OUTPUT = ("Transfer output files failure", "failed to send file(s)")
_NO_FILE = "No such file or directory"
_REMOVE = "pegasus-remove"
_UNMET = re.compile(r"^\[\d+\]\s+0\s+(.+?)\s*$", re.MULTILINE)
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


def check_programs() -> None:
    """See that workflows can be ended, before any is started.

    Raises
    ------
    EnvironmentMissingError
        A program is not on PATH.
    """
    missing = [name for name in (_REMOVE, "condor_rm") if _find(name) is None]
    if missing:
        raise EnvironmentMissingError(
            f"no {' nor '.join(missing)} on PATH, without which no workflow could be ended; put the bin directories of "
            "Pegasus and HTCondor on PATH, and see `panorama doctor`"
        )


def remove(submit_dir: Path) -> None:
    """Remove a workflow from HTCondor; one that is not there any more is no mistake."""
    done = ask([_REMOVE, str(submit_dir)])
    if done is not None and done.returncode:
        _log.warning("%s %s: %s", _REMOVE, submit_dir, (done.stderr or done.stdout).strip()[-400:])


def lacks_output(hold_reason: str) -> bool:
    """Whether a job is held for files that its program, which failed, did not leave: nobody can mend that."""
    return _NO_FILE in hold_reason and any(words in hold_reason for words in _NO_OUTPUT)


def remove_without_output(wf_uuid: str) -> None:
    """Remove the jobs of a workflow that are held for files they did not leave, so that their failure is known at once.

    Their `periodic_remove` says so too, and HTCondor looks at that once a minute.
    """
    reason = f"HoldReasonCode =?= {_UPLOAD_ERROR} && HoldReasonSubCode =?= {errno.ENOENT}"
    ask(["condor_rm", "-constraint", f'pegasus_wf_uuid == "{wf_uuid}" && JobStatus == {_HELD} && {reason}'])


def queued(wf_uuid: str) -> list[QueuedJob]:
    """The jobs of a workflow that HTCondor has in its queue; none where it cannot be asked."""
    attributes = ",".join(QueuedJob.__struct_fields__)
    constraint = f'pegasus_wf_uuid == "{wf_uuid}" && JobUniverse != 7'
    done = ask(["condor_q", "-allusers", "-constraint", constraint, "-attributes", attributes, "-json"])
    try:
        return msgspec.json.decode(done.stdout or "[]", type=list[QueuedJob], strict=False) if done else []
    except msgspec.DecodeError:
        return []


def why_idle(wf_uuid: str) -> str | None:
    """Why nothing of a workflow moves, in HTCondor's words; None where a job runs, empty where it has no words."""
    jobs = queued(wf_uuid)
    held = [job for job in jobs if job.JobStatus == _HELD]
    if held:
        return f"{held[0].pegasus_wf_dag_job_id} is held: {held[0].HoldReason or 'no reason given'}"
    if any(job.JobStatus not in (_HELD, _IDLE) for job in jobs):
        return None
    if not jobs:
        return ""
    first = jobs[0]
    if first.GridJobStatus:
        return f"{first.pegasus_wf_dag_job_id} is {first.GridJobStatus} in the batch system"
    return f"{first.pegasus_wf_dag_job_id} is idle: {_analysis(first)}"


def _analysis(job: QueuedJob) -> str:
    """What no slot has, in the table of `condor_q -better-analyze`: steps, how many slots match, the condition."""
    done = ask(["condor_q", "-better-analyze", f"{job.ClusterId}.{job.ProcId}"])
    unmet = _UNMET.findall(done.stdout if done else "")
    disk = (job.RequestDisk or 0) // 1024
    asked = f"it asks for {job.RequestCpus} cores, {job.RequestMemory} MB of memory and {disk} MB of disk"
    return f"{asked}, and no slot has {'; nor '.join(unmet)}" if unmet else asked


def _find(name: str) -> str | None:
    return find_program(name, "PEGASUS_HOME" if name == _REMOVE else "CONDOR_HOME") or shutil.which(name)


def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a program of Pegasus or HTCondor to its end; None where it cannot be, or takes too long."""
    try:
        program = _find(command[0]) or command[0]
        return subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        _log.warning("%s: %s", command[0], problem)
        return None
