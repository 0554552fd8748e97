"""`panorama run`: one evaluation without Dakota, in a study directory of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StudyError
from ..study import client
from ._common import assignments, copy_study_file, json_option, program, tell_reply

if TYPE_CHECKING:
    from ..render import WorkflowFolder


@click.command("run")
@click.argument("workflow")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter or an option; may be repeated.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Study directory to use or make; default: runs/WORKFLOW."
)
@json_option
def command(workflow: str, pairs: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Run WORKFLOW once and print its responses and what it cost.

    The same values again give the same evaluation: it is not run twice.

    \b
    Examples:
      panorama run sns_nanodiamond --set q_h=0.42
      panorama run ./myworkflow --set n=3 -o trial --json
    """
    from ..render import find_workflow

    folder = find_workflow(workflow, Path())
    values = assignments(pairs)
    folder.values(*folder.split(values))
    home = (output or Path("runs") / folder.spec.name).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "study.yml").exists():
        copy_study_file(folder, home)
    _check_same(folder, home)
    request = {"eval_id": "1", "variables": values, "metadata": ["makespan"]}
    [reply] = client.evaluate(str(home / "study.yml"), [request], lambda words: click.echo(words, err=True))
    tell_reply(reply, as_json)
    if not as_json:
        click.echo(f"next:  {program()} show {reply['wf_uuid']} --study {home}", file=sys.stderr)


def _check_same(folder: WorkflowFolder, home: Path) -> None:
    from ..config import load_study
    from ..render import find_workflow

    there = find_workflow(load_study(home / "study.yml").workflow, home).path
    if there != folder.path:
        raise StudyError(f"{home / 'study.yml'} is of {there}, not of {folder.path}; choose another directory with -o")
