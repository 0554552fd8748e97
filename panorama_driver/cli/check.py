"""`panorama check`: mistakes in study.in and study.yml, found before Dakota runs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ..dakota.lint import Finding, check, labels
from ._common import json_option, program, write_json

if TYPE_CHECKING:
    from ..config import Study
    from ..study.definition import Definition


@click.command("check")
@click.argument("study_in", default="study.in", type=click.Path(path_type=Path, exists=True))
@json_option
def command(study_in: Path, as_json: bool) -> int:
    """Check STUDY_IN and the study.yml that it names.

    Exit code 2 if anything would stop the study.

    \b
    Example:
      panorama check study.in
    """
    if study_in.is_dir():
        study_in = study_in / "study.in"
    findings = look(study_in)
    if as_json:
        write_json([dataclasses.asdict(finding) | {"path": str(finding.path)} for finding in findings])
    else:
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            click.echo(f"{study_in}: nothing wrong found")
    return 2 if any(finding.level == "error" for finding in findings) else 0


def look(study_in: Path) -> list[Finding]:
    """All that is wrong with a study, or worth knowing."""
    return [*check(study_in), *_study(study_in.resolve())]


def _study(study_in: Path) -> Iterator[Finding]:
    """What is wrong with study.yml, its workflow and its site, and where the study lies."""
    from ..errors import PanoramaError, StudyError
    from ..store import network_filesystem
    from ..study.client import find_study
    from ..study.definition import Definition

    try:
        study_file = find_study(str(study_in.parent))
    except StudyError:
        return  # told already, at the line that should name it
    try:
        definition = Definition(Path(study_file))
        yield from _names(study_in, definition)
        yield from _monitoring(Path(study_file), definition.study)
        if definition.study.engine == "pegasus":
            yield from _pegasus(Path(study_file))
    except PanoramaError as problem:
        yield Finding(Path(study_file), 1, "error", "study.yml", str(problem))
    warning = network_filesystem(study_in.parent)
    if warning:
        yield Finding(study_in, 1, "warning", "directory", warning)


def _monitoring(study_file: Path, study: Study) -> Iterator[Finding]:
    """What of `monitoring` does nothing here, and credentials that nobody could use."""
    from ..config import Monitoring, netrc_login
    from ..errors import UsageError

    given = study.monitoring
    if study.engine == "local":
        for key in ("trace", "online", "worker_credentials"):
            if getattr(given, key) != getattr(Monitoring(), key):
                words = f"{key} does nothing with the embedded engine, which has every sample anyway"
                yield Finding(study_file, 1, "warning", "monitoring", words)
    if given.broker and given.credentials:
        try:
            netrc_login(study_file.parent / Path(given.credentials).expanduser(), urlsplit(given.broker).hostname or "")
        except UsageError as problem:
            yield Finding(study_file, 1, "error", "monitoring", f"credentials: {problem}")


def _pegasus(study_file: Path) -> Iterator[Finding]:
    """What would keep Pegasus from running the study here; `panorama doctor` looks deeper."""
    from ..study.pegasus import unfit_place

    if unfit := unfit_place(study_file.parent):
        yield Finding(study_file, 1, "error", "engine", unfit)
    missing = [name for name in ("pegasus-plan", "condor_submit_dag") if shutil.which(name) is None]
    if missing:
        words = f"pegasus needs {', '.join(missing)} on PATH; {program()} doctor says how to mend it"
        yield Finding(study_file, 1, "error", "engine", words)


def _names(study_in: Path, definition: Definition) -> Iterator[Finding]:
    """Variables and responses that study.in names and the workflow or study.yml does not."""
    spec = definition.folder.spec
    for name, line in labels(study_in, "variables"):
        if name not in spec.parameters | spec.options:
            known = ", ".join([*spec.parameters, *spec.options])
            words = f"{name!r} is no parameter of workflow {spec.name!r}; there are {known}"
            yield Finding(study_in, line, "error", "descriptors", words)
    for name, line in labels(study_in, "responses"):
        if name not in definition.responses.forms:
            words = f"{name!r} is no response of study.yml; there are {', '.join(definition.responses.forms)}"
            yield Finding(study_in, line, "error", "descriptors", words)
