"""`panorama init`: a study directory that runs as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from ..errors import StudyError
from ..render import find_workflow
from ._common import copy_study_file, program

_OTHERS = ("study.in",)


@click.command("init")
@click.argument("workflow")
@click.argument("directory", type=click.Path(path_type=Path))
def command(workflow: str, directory: Path) -> None:
    """Make DIRECTORY with the study.in and study.yml of WORKFLOW.

    \b
    Example:
      panorama init sns_nanodiamond mystudy
    """
    folder = find_workflow(workflow, Path())
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("study.yml", *_OTHERS):
        if (directory / name).exists():
            raise StudyError(f"{directory / name}: is there already; choose another directory, or remove it")
    copy_study_file(folder, directory)
    for name in _OTHERS:
        if (folder.path / name).is_file():
            shutil.copyfile(folder.path / name, directory / name)
    readme = folder.path / "README.md"
    click.echo(f"{directory}: {folder.spec.title}{f'; more about it in {readme}' if readme.is_file() else ''}")
    if not (directory / "study.in").is_file():
        click.echo(f"next:  write {directory / 'study.in'}, Dakota's input: the workflow's folder has none")
        return
    plain = " (or, in that directory: dakota -i study.in)" if shutil.which("dakota") else ""
    click.echo(f"next:  {program()} study {directory}{plain}")
