"""`panorama check`: mistakes in study.in and study.yml, found before Dakota runs."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..dakota.lint import check
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
    from ..errors import PanoramaError
    from ..study.client import find_study
    from ..study.definition import Definition

    findings = check(study_in)
    problems = []
    try:
        Definition(Path(find_study(str(study_in.resolve().parent))))
    except PanoramaError as problem:
        problems.append(str(problem))
    if as_json:
        write_json({"findings": [msgspec.to_builtins(f) for f in findings], "study": problems})
    else:
        for finding in findings:
            click.echo(f"{study_in}:{finding.line}: {finding.level}: {finding.message}")
        for words in problems:
            click.echo(f"error: {words}")
        if not findings and not problems:
            click.echo(f"{study_in}: nothing wrong found")
    return 2 if problems or any(finding.level == "error" for finding in findings) else 0
