"""What is wrong with a machine that is to run workflows with Pegasus, and how to mend it, judged from what was found.

Every check here is a function of what programs have said and files hold; `machine.py` asks them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ...errors import ManagerError
from .manager import Ensemble
from .service import Settings

SLOWEST_INTERVAL = 30.0
"""A manager that looks less often makes every evaluation minutes longer [s]."""

_OLDEST = (5, 1)
_OLDEST_JAVA = 8
_OLDEST_PYTHON = (3, 6)
_SLOWEST_PROBE = 30
_LONGEST_HOLD = 600
_DEFAULT_HOLD = 1800
_DEFAULT_MEMORY, _DEFAULT_DISK = 2048, 5120
_KB_A_MB = 1024
_AT_MOST = 400
_Record = TypeVar("_Record")


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked for.

    Attributes
    ----------
    purpose : str
        What needs it: `dakota`, `local`, `pegasus`, `slurm`, `pictures`, or the name of a workflow.
    name : str
        What it is.
    found : str
        Where, or in which version; empty if it is missing, or of no use as it is.
    mend : str
        The command that would install it, or put right what is wrong.
    problem : str
        What is wrong with it; empty if nothing is.
    """

    purpose: str
    name: str
    found: str
    mend: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """It is there, and nothing is wrong with it."""
        return bool(self.found) and not self.problem


class Ran(msgspec.Struct, frozen=True):
    """What a command said.

    Attributes
    ----------
    code : int or None
        Exit code; None if it gave no answer in time.
    text : str
        Its standard output, or its error output where there was none.
    """

    code: int | None
    text: str

    @property
    def failure(self) -> str:
        """Why its answer cannot be used; empty if it can."""
        if self.code is None:
            return "no answer in time"
        return f"exit code {self.code}: {_words(self.text)}" if self.code else ""


class Needs(msgspec.Struct, frozen=True):
    """The most that one job of a study asks for.

    Attributes
    ----------
    cores : int
        Cores.
    memory, disk : int
        [MB]; what Pegasus asks for, unless told.
    """

    cores: int = 1
    memory: int = _DEFAULT_MEMORY
    disk: int = _DEFAULT_DISK


class _Slot(msgspec.Struct):
    Name: str = "?"
    TotalSlotCpus: float = 0
    TotalSlotMemory: float = 0
    TotalSlotDisk: float = 0


class _Held(msgspec.Struct):
    ClusterId: int
    ProcId: int
    HoldReason: str = ""
    PeriodicRemove: str | bool = ""


def planner(path: str, version: Ran) -> Check:
    """The planner is 5.1 or newer; a panorama build is named, since it watches in its own way."""
    said = version.text.strip()
    number = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    problem = version.failure or ("" if number >= _OLDEST else f"{said} is older than 5.1")
    build = ", a panorama build: its own kickstart watches the jobs" if "panorama" in said else ""
    return Check(
        "pegasus", "planner", f"{said}{build}, {path}", "install Pegasus 5.1 (https://pegasus.isi.edu)", problem
    )


def worker_package(planner: Ran, config: Ran) -> Check:
    """`pegasus-config` is of the planner's version; otherwise every job tries to download Pegasus, and fails."""
    versions = (planner.text.strip(), config.text.strip())
    problem = planner.failure or config.failure
    if not problem and versions[0] != versions[1]:
        problem = f"the planner is {versions[0]}, so jobs will not use this one, and try to download theirs"
    mend = "put the bin directory of one installation first on PATH, here and on the workers"
    return Check("pegasus", "pegasus-config", versions[1] or "?", mend, problem)


def java(version: Ran | None) -> Check:
    """The planner's Java."""
    mend = "install a Java runtime of version 8 or newer, such as Debian's default-jre-headless"
    if version is None:
        return Check("pegasus", "Java", "", mend)
    match = re.search(r'version "(?:1\.)?(\d+)[^"]*"', version.text)
    problem = version.failure or (
        "" if match and int(match[1]) >= _OLDEST_JAVA else "older than 8, or of no known kind"
    )
    return Check("pegasus", "Java", _words(version.text), mend, problem)


def git(path: str | None) -> Check:
    """Pegasus' programs in Python import GitPython, which refuses to be imported where there is no git."""
    return Check("pegasus", "git", path or "", "install git: without it pegasus-run and others end at once")


def scheduler(path: str | None, version: Ran | None, queue: Ran | None) -> Check:
    """HTCondor is there, and its queue answers."""
    if path is None or version is None:
        return Check("pegasus", "HTCondor", "", "install HTCondor 23 or newer, with its commands on PATH")
    match = re.search(r"CondorVersion: (\S+)", version.text)
    found = f"{match[1] if match else 'version unknown'}, {path}"
    problem = version.failure or (queue.failure if queue else "condor_q is not on PATH")
    mend = "start HTCondor (condor_master) with a schedd on this machine"
    return Check("pegasus", "HTCondor", "" if problem else found, mend, problem)


def slots(status: Ran, needs: Needs) -> Check:
    """One slot can hold the largest job; a job that fits into none is idle for ever, without a word."""
    mend = (
        "give the jobs less in the workflow's resources (memory, diskspace, cores), or the pool's slots more; where "
        f"nothing is said, Pegasus asks for {_DEFAULT_MEMORY} MB of memory and {_DEFAULT_DISK} MB of disk"
    )
    found = _records(status, _Slot)
    if found is None:
        problem = f"condor_status: {status.failure or 'it tells nothing usable'}"
        return Check("pegasus", "slots", "", "have the pool's collector answer", problem)
    if not found:
        return Check("pegasus", "slots", "", "start a startd, or wait for a worker to join", "the pool has no slot")
    largest = max(found, key=lambda slot: (_fits(slot, needs), slot.TotalSlotMemory))
    told = (
        f"{len(found)}, such as {largest.TotalSlotCpus:.0f} cores, {largest.TotalSlotMemory:.0f} MB of memory, "
        f"{largest.TotalSlotDisk / _KB_A_MB:.0f} MB of disk"
    )
    wanted = f"{needs.cores} cores, {needs.memory} MB of memory and {needs.disk} MB of disk"
    if _fits(largest, needs):
        return Check("pegasus", "slots", told, mend)
    return Check(
        "pegasus", "slots", "", mend, f"{told}; none holds a job that asks for {wanted}: it would wait for ever"
    )


def _fits(slot: _Slot, needs: Needs) -> bool:
    return (
        slot.TotalSlotCpus >= needs.cores
        and slot.TotalSlotMemory >= needs.memory
        and slot.TotalSlotDisk / _KB_A_MB >= needs.disk
    )


def held(queue: Ran) -> Check | None:
    """Jobs that HTCondor holds: each with its reason, and for how long; None if there are none."""
    jobs = _records(queue, _Held)
    if not jobs:
        return None
    first = jobs[0]
    limit = re.search(r">\s*(\d+)", str(first.PeriodicRemove))
    waits = int(limit[1]) if limit else None
    problem = f"{first.ClusterId}.{first.ProcId}: {_words(first.HoldReason)}"
    if waits is None or waits > _LONGEST_HOLD:
        problem += f"; its workflow waits for it {f'{waits} s' if waits else 'for ever'}"
    mend = (
        "mend the reason and condor_release the job, or condor_rm it; a site's profile condor.periodic_remove says "
        f"how long jobs stay held, {_DEFAULT_HOLD} s unless told"
    )
    return Check("pegasus", "held jobs", str(len(jobs)), mend, problem)


def sandbox(value: Ran, mounts: str) -> Check | None:
    """In a chroot HTCondor cannot mount directories for a job, and holds it; None where that is no danger."""
    inside = not any(line.split()[4] == "/" for line in mounts.splitlines() if len(line.split()) > 4)
    if value.code != 0 or not value.text.strip() or not inside:
        return None
    return Check(
        "pegasus",
        "MOUNT_UNDER_SCRATCH",
        value.text.strip(),
        "write MOUNT_UNDER_SCRATCH = (nothing) in HTCondor's configuration, and condor_restart",
        'this is a chroot, where every job would be held with "Failed to execute ... errno=22"',
    )


def worker_python(path: str | None, version: Ran | None) -> Check:
    """The probe's Python on the PATH that a job gets: the system's, not this shell's."""
    mend = "install python3 (3.6 or newer) on the workers, or name theirs as probe_python in site_variables"
    if path is None or version is None:
        return Check("pegasus", "Python of the probe", "", mend)
    number = tuple(int(part) for part in re.findall(r"\d+", version.text)[:2])
    problem = version.failure or ("" if number >= _OLDEST_PYTHON else f"{version.text.strip()} is older than 3.6")
    return Check("pegasus", "Python of the probe", f"{version.text.strip()}, {path}", mend, problem)


def environment(variables: Mapping[str, str], home: Path) -> list[Check]:
    """Variables that Pegasus stumbles over."""
    checks = []
    if "KICKSTART_MON_ENDPOINT_URL" in variables:
        checks.append(
            Check(
                "pegasus",
                "KICKSTART_MON_ENDPOINT_URL",
                variables["KICKSTART_MON_ENDPOINT_URL"] or "empty",
                "unset KICKSTART_MON_ENDPOINT_URL; where traces go is monitoring.online of study.yml",
                "the released pegasus-transfer ends at once where it is set, and every staging job fails",
            )
        )
    if os.path.realpath(variables.get("HOME", home)) != os.path.realpath(home):
        checks.append(
            Check(
                "pegasus",
                "HOME",
                variables["HOME"],
                f"export HOME={home}",
                f"Pegasus reads its configuration there, and keeps its workflows in {home}",
            )
        )
    return checks


def place(directory: Path) -> Check | None:
    """A study whose workflows DAGMan will run; None if nothing is wrong with its place."""
    if not any(path.is_relative_to("/tmp") for path in (directory.absolute(), directory.resolve())):
        return None
    return Check(
        "pegasus",
        "study directory",
        str(directory),
        "move the study to another directory, such as one in your home",
        "it is under /tmp, where DAGMan refuses to run a workflow",
    )


def account(uid: int) -> Check | None:
    """Who asks; None unless it is root."""
    if uid:
        return None
    mend = "run studies with engine: pegasus under another account"
    return Check("pegasus", "account", "root", mend, "Pegasus' Ensemble Manager refuses to run as root")


def manager(url: str, answer: Sequence[Ensemble] | ManagerError) -> Check:
    """A manager answers, with our password."""
    if isinstance(answer, ManagerError):
        mend = "panorama ensemble up" if is_away(answer) else "as it says"
        return Check("pegasus", "Ensemble Manager", "", mend, str(answer))
    return Check("pegasus", "Ensemble Manager", f"{url}, {len(answer)} ensembles", "panorama ensemble up")


def is_away(answer: Sequence[Ensemble] | ManagerError) -> bool:
    """Nothing answers where the manager should."""
    return isinstance(answer, ManagerError) and answer.transient and answer.status is None


def password(settings: Settings | None, anybody: bool) -> list[Check]:
    """Nobody else on this machine can have the manager run commands."""
    file = "~/.pegasus/service.py"
    mend = f"remove {file}, panorama ensemble down, panorama ensemble up: it writes one with a password of its own"
    checks = []
    if anybody or (settings and settings.authentication == "NoAuthentication"):
        problem = "it asks for no password: every user and program of this machine can run commands as you"
        checks.append(Check("pegasus", "manager's password", "NoAuthentication", mend, problem))
    if settings and settings.password and not settings.private:
        problem = f"other users can read the password in {file}"
        checks.append(Check("pegasus", "manager's password", str(settings.path), f"chmod 600 {file}", problem))
    return checks


def polling(settings: Settings | None, default: float) -> Check:
    """How often the manager looks."""
    interval = settings.interval if settings else default
    problem = ""
    if interval > SLOWEST_INTERVAL:
        problem = f"a workflow waits up to {interval:g} s until it is planned, as long until it runs"
    mend = "write EM_INTERVAL = 5 in ~/.pegasus/service.py, and start the manager anew"
    return Check("pegasus", "manager's polling", f"every {interval:g} s", mend, problem)


def database(path: Path, ready: bool | ManagerError) -> Check:
    """The manager's database, which must be there before the manager starts."""
    mend = "pegasus-db-admin create, then start the manager anew"
    if isinstance(ready, ManagerError):
        return Check("pegasus", "manager's database", "", mend, str(ready))
    return Check("pegasus", "manager's database", str(path) if ready else "", mend)


def accounting(path: str | None, answer: Ran | None) -> Check:
    """sacct tells exit codes; without, a job that failed on Slurm reaches HTCondor with exit code 0."""
    mend = "run slurmdbd, so that sacct answers; until then only the record of kickstart tells failure from success"
    if path is None or answer is None:
        return Check("slurm", "sacct", "", mend)
    lost = "HTCondor takes every job of Slurm for exit code 0"
    return Check("slurm", "sacct", path, mend, f"{answer.failure}; {lost}" if answer.failure else "")


def status_script(path: Path, text: str, python: Ran | None) -> Check:
    """BLAHP's blah.py as Debian ships it calls what Python 3.12 has removed."""
    broken = "self.readfp(" in text
    number = tuple(int(part) for part in re.findall(r"\d+", python.text if python else "")[:2])
    problem = ""
    if broken and number >= (3, 12):
        problem = (
            f"it calls readfp, which {python.text.strip() if python else ''} no longer has: jobs run, and are held"
        )
    return Check(
        "slurm", "BLAHP's status script", str(path), f"sed -i 's/self.readfp(/self.read_file(/' {path}", problem
    )


def probing(value: Ran) -> Check:
    """How often HTCondor asks the batch system."""
    match = re.fullmatch(r"\s*(\d+)\s*", value.text) if value.code == 0 else None
    seconds = int(match[1]) if match else 60
    problem = f"the end of each job is seen up to {seconds} s late" if seconds > _SLOWEST_PROBE else ""
    mend = (
        "write GRIDMANAGER_JOB_PROBE_INTERVAL = 5 and GRIDMANAGER_CONTACT_SCHEDD_DELAY = 1 in HTCondor's "
        "configuration, and condor_reconfig; a gridmanager that runs keeps the old value until it has no job"
    )
    return Check("slurm", "gridmanager's polling", f"every {seconds} s", mend, problem)


def status_cache(path: Path, text: str) -> Check | None:
    """BLAHP keeps Slurm's answer for a time that no setting changes; None if the script has no such time."""
    match = re.search(r"^cache_timeout\s*=\s*(\d+)", text, re.MULTILINE)
    if match is None:
        return None
    seconds = int(match[1])
    problem = f"a change of a job's state is seen up to {seconds} s late, however often HTCondor asks"
    mend = f"sed -i 's/^cache_timeout = .*/cache_timeout = 5/' {path}"
    return Check("slurm", "BLAHP's cache", f"{seconds} s", mend, problem if seconds > _SLOWEST_PROBE else "")


def _records(ran: Ran, kind: type[_Record]) -> list[_Record] | None:
    """A list that an HTCondor program has written as JSON; None if it has not. An empty list is no text at all."""
    if ran.failure:
        return None
    try:
        return msgspec.json.decode(ran.text.strip() or "[]", type=list[kind], strict=False)  # type: ignore[valid-type]
    except msgspec.DecodeError:
        return None


def _words(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0][:_AT_MOST] if lines else "no words"
