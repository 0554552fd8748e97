"""Writes the stand-ins' commands into a folder, for PATH."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from . import scripts
from .queue import Ad, Queue
from .settings import ROOT, Settings, load, save

_HERE = Path(__file__).parent
_JOB_PROGRAMS = {"pegasus-kickstart": "kickstart", "pegasus-exitcode": "exitcode", "pegasus-transfer": "transfer"}
COMMANDS = {
    "planner": ["pegasus-plan"],
    "monitord": ["pegasus-monitord"],
    "dagman": ["condor_dagman"],
    "pegasus": [
        "pegasus-run",
        "pegasus-remove",
        "pegasus-status",
        "pegasus-analyzer",
        "pegasus-version",
        "pegasus-config",
        "pegasus-dagman",
    ],
    "condor": [
        "condor_q",
        "condor_submit",
        "condor_submit_dag",
        "condor_rm",
        "condor_hold",
        "condor_release",
        "condor_vacate_job",
        "condor_qedit",
        "condor_version",
        "condor_config_val",
        "condor_status",
    ],
}
"""The commands by the module that has them."""
_IN_JOB = """\
#!/bin/sh
# Stand-in for {name}; it adds nothing to the environment of the job.
exec {python} -IS {file} "$@"
"""
_COMMAND = """\
#!/bin/sh
# Stand-in for {name}.
export {variable}={root} PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}}
exec {python} -m panorama_driver.testing {name} "$@"
"""


class Standins:
    """An installation of the stand-ins.

    Parameters
    ----------
    folder : Path
        Where they are.

    Attributes
    ----------
    bin, home, pool : Path
        The commands; what stands for the user's home, with .pegasus/workflow.db; the queue and the directories in
        which jobs run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.bin, self.home, self.pool = (self.folder / name for name in ("bin", "home", "pool"))

    @property
    def environment(self) -> dict[str, str]:
        """Variables under which the commands are found, and in which no other Pegasus is."""
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", os.defpath)])
        return {"PATH": path, "HOME": str(self.home), ROOT: str(self.folder)}

    @property
    def settings(self) -> Settings:
        """How they behave now."""
        return load(self.folder)

    def set(self, **values: Any) -> None:
        """Change settings, by the names of `Settings`; it works at once, for workflows that run as well."""
        save(self.folder, msgspec.structs.replace(self.settings, **values))

    def jobs(self) -> list[Ad]:
        """The jobs in the queue, as `condor_q -json` tells of them."""
        return Queue(self.pool).jobs()

    def end(self) -> None:
        """Kill every process that was started through these commands, jobs included."""
        for _ in range(3):  # one that starts another while we look is found the next time
            for pid in self.processes():
                _kill(pid)

    def processes(self) -> list[int]:
        """Processes that these commands started: DAGMan, monitord, and jobs that run in the pool."""
        places = {ROOT: self.folder, "_CONDOR_SCRATCH_DIR": self.pool, "SLURM_SUBMIT_DIR": self.pool}
        marks = [f"{name}={place}".encode() for name, place in places.items()]
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended, or is another user's
            if int(path.parent.name) != os.getpid() and any(v.startswith(tuple(marks)) for v in variables):
                found.append(int(path.parent.name))
        return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def install(folder: Path, **settings: Any) -> Standins:
    """Write the commands into `folder`, which is made if it is missing.

    Parameters
    ----------
    folder : Path
        Gets `bin`, `home` and `pool`.
    **settings
        By the names of `Settings`.

    Returns
    -------
    Standins
        With `environment`, under which the commands are found.
    """
    standins = Standins(folder)
    for path in (standins.bin, standins.home, standins.pool, standins.folder / "share" / "sh"):
        path.mkdir(parents=True, exist_ok=True)
    words = {"python": shlex.quote(sys.executable), "root": shlex.quote(str(standins.folder)), "variable": ROOT}
    words["path"] = shlex.quote(str(_HERE.parents[1]))
    for name, file in _JOB_PROGRAMS.items():
        _write(standins.bin / name, _IN_JOB.format(name=name, file=shlex.quote(str(_HERE / f"{file}.py")), **words))
    for name in itertools.chain(*COMMANDS.values()):
        _write(standins.bin / name, _COMMAND.format(name=name, **words))
    _write(standins.folder / "share" / "sh" / "pegasus-lite-local.sh", scripts.LITE_LOCAL)
    save(standins.folder, Settings(**settings))
    return standins


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
