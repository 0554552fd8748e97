"""`panorama doctor`: what this machine has, and what it lacks for which purpose."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..config import Study, load_study
from ..engines.pegasus import machine
from ..engines.pegasus.checks import Check, Needs
from ..errors import EnvironmentMissingError, PanoramaError, StudyError
from ._common import json_option, study_home, write_json

if TYPE_CHECKING:
    from ..render import Site
    from ..render.workflow import Transformation


@click.command("doctor")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
@json_option
def command(directory: Path, as_json: bool) -> int:
    """Say what is installed, what is missing or wrong for which purpose, and how to mend it.

    With a study in DIRECTORY, also whether that study could run. Exit code 3 if a study on this machine could not, or
    that one.

    \b
    Examples:
      panorama doctor
      panorama doctor mystudy --json | jq '.[] | select(.ok | not)'
    """
    of_study, through_pegasus = _study(directory)
    checks = [*_dakota(), *_local(), *_workflows(), *_extras(), *of_study]
    if as_json:
        write_json([{**msgspec.structs.asdict(check), "ok": check.ok} for check in checks])
    else:
        for check in checks:
            click.echo(_line(check))
    needed = ("dakota", "pegasus") if through_pegasus else ("dakota", "local")
    lacking = any(check.purpose in needed and not check.found for check in checks)
    return EnvironmentMissingError.exit_code if lacking else 0


def _line(check: Check) -> str:
    state = "ok" if check.ok else "PROBLEM" if check.problem else "MISSING"
    words = [check.found, check.problem, "" if check.ok else f"mend: {check.mend}"]
    return f"{check.purpose:<18} {check.name:<28} {state:<8} {'; '.join(filter(None, words))}"


def _study(directory: Path) -> tuple[list[Check], bool]:
    """What Pegasus needs, for the study in or above `directory` if that is run by it, and whether it is."""
    try:
        home = study_home(directory)
    except StudyError:
        return machine.look(), False
    try:
        study = load_study(home / "study.yml")
        if study.engine != "pegasus":
            return machine.look(), False
        return machine.look(home, _needs(study, home), study.ensemble.url), True
    except PanoramaError as problem:
        broken = Check("study", "study.yml", "", f"panorama check {directory}", str(problem))
        return [broken, *machine.look()], False


def _needs(study: Study, home: Path) -> Needs | None:
    """The most that a job of the study asks a slot of the pool for; None where a batch system runs its jobs."""
    from ..render import find_site, find_workflow

    site = find_site(study.site, home, study.site_variables)
    [executing] = [one for one in site.catalog(home)["sites"] if one["name"] == site.notes.execution]
    if "grid_resource" in executing.get("profiles", {}).get("condor", {}):
        return None
    resources = find_workflow(study.workflow, home).spec.resources.get(site.notes.resources, {})
    every = [*resources.values(), site.notes.defaults]
    return Needs(
        cores=max(one.cores for one in every),
        memory=max(one.memory or 0 for one in every),
        disk=max(one.diskspace or 0 for one in every),
    )


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
    from ..render import find_site, find_workflow, workflow_names

    here = find_site("local", Path())
    found = {name: find_workflow(name, Path()).spec.transformations for name in workflow_names()}
    return [_had(here, name, *entry) for name, entries in found.items() for entry in entries.items()]


def _had(here: Site, workflow: str, name: str, transformation: Transformation) -> Check:
    """What does a transformation's work on this machine, or what every candidate lacks."""
    lacking = []
    for candidate in transformation.candidates:
        lack = here.lacking(candidate)
        if not lack:
            with_them = ", ".join([*candidate.packages, *candidate.needs]) or "Python alone"
            words = here.program(candidate.program) if candidate.program else f"our own, with {with_them}"
            return Check(workflow, name, words or "", "")
        lacking.append(f"{candidate.name}: {lack}")
    return Check(workflow, name, "", f"pip install 'panorama-driver[all]', in a clone '.[all]' ({'; '.join(lacking)})")


_EXTRAS = (
    ("pictures", "matplotlib", "matplotlib", "plots"),
    ("dashboard", "starlette, uvicorn", "starlette", "web"),
    ("dashboard", "plotly", "plotly", "web"),
    ("analyse", "scikit-learn", "sklearn", "anomaly"),
    ("search engine", "urllib3", "urllib3", "search"),
)
"""What for, which packages, the module that tells whether they are there, and the extra that brings them."""


def _extras() -> Iterator[Check]:
    for purpose, packages, module, extra in _EXTRAS:
        found = "installed" if importlib.util.find_spec(module) else ""
        yield Check(purpose, packages, found, f"pip install 'panorama-driver[{extra}]', in a clone '.[{extra}]'")
