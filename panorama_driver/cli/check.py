"""`panorama check`: mistakes in study.in and study.yml, found before Dakota runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click

from ..dakota.lint import Finding, check
from ._common import json_option, write_json


@click.command("check")
@click.argument("study_in", default="study.in", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def command(study_in: Path, as_json: bool) -> int:
    """Check STUDY_IN and the study.yml that it names.

    Exit code 2 if anything would stop the study.

    \b
    Example:
      panorama check study.in
    """
    findings = [*check(study_in), *_study(study_in.resolve())]
    if as_json:
        write_json([dataclasses.asdict(finding) | {"path": str(finding.path)} for finding in findings])
    else:
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            click.echo(f"{study_in}: nothing wrong found")
    return 2 if any(finding.level == "error" for finding in findings) else 0


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
        Definition(Path(study_file))
    except PanoramaError as problem:
        yield Finding(study_in, 1, "error", "study.yml", str(problem))
    warning = network_filesystem(study_in.parent)
    if warning:
        yield Finding(study_in, 1, "warning", "directory", warning)
