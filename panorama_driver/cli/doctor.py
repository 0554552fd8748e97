"""`panorama doctor`: what this machine has, and what it lacks for which purpose."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import click
import msgspec

from ..errors import EnvironmentMissingError
from ._common import json_option, write_json


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked for.

    Attributes
    ----------
    purpose : str
        What needs it: `dakota`, `local`, `pegasus`, `pictures`, or the name of a workflow.
    name : str
        What it is.
    found : str
        Where or in which version; empty if it is missing.
    mend : str
        The command that would install it.
    """

    purpose: str
    name: str
    found: str
    mend: str


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Say what is installed, what is missing for which purpose, and how to mend it.

    Exit code 3 if a study on this machine could not run.
    """
    checks = [*_dakota(), *_local(), *_workflows(), *_pictures(), *_pegasus()]
    if as_json:
        write_json([msgspec.to_builtins(check) for check in checks])
    else:
        for check in checks:
            state = f"ok       {check.found}" if check.found else f"MISSING  mend: {check.mend}"
            click.echo(f"{check.purpose:<18} {check.name:<28} {state}")
    needed = ("dakota", "local")
    return EnvironmentMissingError.exit_code if any(c.purpose in needed and not c.found for c in checks) else 0


def _dakota() -> list[Check]:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return [
        Check(
            "dakota",
            "dakota",
            shutil.which("dakota", path=beside) or "",
            "pip install 'panorama-driver[dakota]', in a clone '.[dakota]'",
        ),
        Check(
            "dakota",
            "panorama-driver",
            shutil.which("panorama-driver", path=beside) or "",
            "pip install --force-reinstall panorama-driver",
        ),
    ]


def _local() -> list[Check]:
    version = sys.version.split()[0]
    linux = os.uname().release if hasattr(os, "pidfd_open") and Path("/proc/self/io").exists() else ""
    return [
        Check(
            "local", "Python 3.11 or newer", version if sys.version_info >= (3, 11) else "", "install a newer Python"
        ),
        Check("local", "Linux with pidfd and /proc", linux, "use Linux 5.3 or newer with /proc mounted"),
    ]


def _workflows() -> list[Check]:
    from ..render import find_workflow, workflow_names

    checks = []
    for name in workflow_names():
        spec = find_workflow(name, Path()).spec
        for transformation, entry in spec.transformations.items():
            found = [_candidate(c.program, c.packages) for c in entry.candidates]
            words = next((f for f in found if f), "")
            checks.append(Check(name, transformation, words, "pip install 'panorama-driver[all]', in a clone '.[all]'"))
    return checks


def _candidate(program: str | None, packages: list[str]) -> str:
    if program is not None:
        return shutil.which(program) or ""
    return f"our own, with {', '.join(packages)}" if all(map(importlib.util.find_spec, packages)) else ""


def _pictures() -> list[Check]:
    found = "installed" if importlib.util.find_spec("matplotlib") else ""
    return [Check("pictures", "matplotlib", found, "pip install 'panorama-driver[plots]', in a clone '.[plots]'")]


def _pegasus() -> list[Check]:
    mend = "install Pegasus 5.1 and HTCondor; needed only for planning and running with Pegasus"
    return [
        Check("pegasus", name, shutil.which(name) or "", mend)
        for name in ("pegasus-plan", "pegasus-em", "condor_submit")
    ]
