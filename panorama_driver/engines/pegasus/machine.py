"""Asks this machine what `checks.py` wants to know about Pegasus, HTCondor and Slurm: bounded in time, all at once.

A machine without Pegasus is asked nothing more, and one without Slurm nothing about Slurm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...errors import ManagerError, PanoramaError
from . import checks, service
from .checks import Check, Needs, Ran
from .manager import Ensemble, Manager

_PATIENCE = 10.0
_SIGNS = ("pegasus-plan", "pegasus-version", "pegasus-em")
_COMMANDS = {
    "version": ("pegasus-version",),
    "config": ("pegasus-config", "--version"),
    "java": ("java", "-version"),
    "condor": ("condor_version",),
    "queue": ("condor_q", "-totals"),
    "held": (
        "condor_q",
        "-constraint",
        "JobStatus == 5",
        "-json",
        "-attributes",
        "ClusterId,ProcId,HoldReason,PeriodicRemove",
    ),
    "slots": ("condor_status", "-json", "-attributes", "Name,TotalSlotCpus,TotalSlotMemory,TotalSlotDisk"),
    "scratch": ("condor_config_val", "MOUNT_UNDER_SCRATCH"),
    "release": ("condor_config_val", "RELEASE_DIR"),
    "probing": ("condor_config_val", "GRIDMANAGER_JOB_PROBE_INTERVAL"),
    "sacct": ("sacct", "-n", "-X"),
}
_UNTOLD = Needs()
_OF_SLURM = ("probing", "sacct")


def look(study: Path | None = None, needs: Needs | None = _UNTOLD, url: str | None = None) -> list[Check]:
    """Check what running workflows with Pegasus needs.

    Parameters
    ----------
    study : Path or None
        Directory of the study that is to run.
    needs : Needs or None
        The most that one of its jobs asks HTCondor's slots for; None: its jobs do not run in slots of this pool.
    url : str or None
        Where the manager answers; this user's own unless told.
    """
    if not any(map(shutil.which, _SIGNS)):
        mend = "install Pegasus 5.1 and HTCondor; the embedded engine (engine: local) needs neither"
        return [Check("pegasus", "Pegasus", "", mend)]
    said = _ask_all()
    found = [*_of_pegasus(said), *_of_condor(said, needs), *_of_account(url), *_of_slurm(said)]
    found.extend(checks.environment(os.environ, service.own_account().home))
    return [check for check in [*found, checks.place(study) if study else None] if check is not None]


def _ask_all() -> dict[str, Ran]:
    """What each command says, by its name in the table; without those that are not on PATH."""
    slurm = shutil.which("sbatch") is not None
    wanted = {key: argv for key, argv in _COMMANDS.items() if shutil.which(argv[0])}
    asked = {key: argv for key, argv in wanted.items() if slurm or key not in _OF_SLURM}
    python = _default("python3")
    if python:
        asked["python"] = (python, "--version")
    with ThreadPoolExecutor(len(asked) or 1) as pool:
        return dict(zip(asked, pool.map(run, asked.values()), strict=True))


def run(argv: Sequence[str], patience: float = _PATIENCE) -> Ran:
    """What a command says, and that it said nothing within `patience` [s]."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        return Ran(None, "")
    except OSError as problem:
        return Ran(127, problem.strerror or str(problem))
    return Ran(done.returncode, done.stdout if done.stdout.strip() else done.stderr)


def _of_pegasus(said: dict[str, Ran]) -> list[Check | None]:
    path = shutil.which("pegasus-plan")
    if path is None or "version" not in said:
        missing = Check("pegasus", "planner", "", "put the bin directory of Pegasus 5.1 on PATH")
        return [missing, checks.git(shutil.which("git"))]
    return [
        checks.planner(path, said["version"]),
        checks.worker_package(said["version"], said.get("config", Ran(127, "pegasus-config is not on PATH"))),
        checks.java(said.get("java")),
        checks.git(shutil.which("git")),
        checks.worker_python(_default("python3"), said.get("python")),
    ]


def _of_condor(said: dict[str, Ran], needs: Needs | None) -> list[Check | None]:
    queue = said.get("queue")
    found: list[Check | None] = [checks.scheduler(shutil.which("condor_submit_dag"), said.get("condor"), queue)]
    if queue is None or queue.failure:
        return found
    if needs is not None and "slots" in said:
        found.append(checks.slots(said["slots"], needs))
    found.append(checks.held(said["held"]))
    if "scratch" in said:
        found.append(checks.sandbox(said["scratch"], _text(Path("/proc/self/mountinfo"))))
    return found


def _of_account(url: str | None) -> list[Check | None]:
    try:
        owner = service.own_account()
        settings = service.read_settings(owner)
        client = service.connect(url, owner, timeout=_PATIENCE)
    except PanoramaError as problem:
        return [Check("pegasus", "Ensemble Manager", "", "as it says", str(problem))]
    answer = _answer(client)
    found = [checks.account(owner.uid), checks.manager(client.url, answer)]
    if not client.local or (settings is None and checks.is_away(answer)):
        return found  # `ensemble up` will see to the rest
    anybody = not isinstance(_answer(Manager(client.url, timeout=_PATIENCE)), ManagerError)
    return [
        *found,
        *checks.password(settings, anybody),
        checks.polling(settings, service.DEFAULT_INTERVAL),
        checks.database(owner.database, _ready(owner)),
    ]


def _of_slurm(said: dict[str, Ran]) -> list[Check | None]:
    if shutil.which("sbatch") is None:
        return []
    found: list[Check | None] = [checks.accounting(shutil.which("sacct"), said.get("sacct"))]
    if "probing" in said:
        found.append(checks.probing(said["probing"]))
    folder = _blahp(said.get("release"))
    if folder is not None:
        python = run(("/usr/bin/python3", "--version"))
        script, cache = folder / "blah.py", folder / "slurm_status.py"
        found.append(checks.status_script(script, _text(script), python))
        found.append(checks.status_cache(cache, _text(cache)))
    return found


def _answer(client: Manager) -> list[Ensemble] | ManagerError:
    try:
        return client.ensembles()
    except ManagerError as problem:
        return problem


def _ready(account: service.Account) -> bool | ManagerError:
    try:
        return service.database_ready(account.database)
    except ManagerError as problem:
        return problem


def _blahp(release: Ran | None) -> Path | None:
    roots = [Path("/usr")] if release is None or release.failure else [Path(release.text.strip()), Path("/usr")]
    folders = (root / "libexec/blahp" for root in roots)
    return next((folder for folder in folders if (folder / "blah.py").is_file()), None)


def _default(name: str) -> str | None:
    """Path of a program on the PATH that a job has which inherits no environment."""
    return shutil.which(name, path=os.confstr("CS_PATH") or os.defpath)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
