"""`panorama run`: one evaluation without Dakota, in a study directory of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..study import client
from ._common import absolute, assignments, inputs_option, json_option, prepare_study, program, tell_reply


@click.command("run")
@click.argument("workflow")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter or an option; may be repeated.")
@inputs_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Study directory to use or make; default: runs/WORKFLOW."
)
@json_option
def command(
    workflow: str, pairs: tuple[str, ...], inputs: tuple[Path, ...], output: Path | None, as_json: bool
) -> None:
    """Run WORKFLOW once and print its responses and what it cost.

    The same values again give the same evaluation: it is not run twice.

    \b
    Examples:
      panorama run sns_nanodiamond --set q_h=0.42
      panorama run ./myworkflow --set n=3 -o trial --json
      panorama run 1000genome --inputs /data/20130502
    """
    from ..render import find_workflow

    folder = find_workflow(workflow, Path())
    values = assignments(pairs)
    folder.values(*folder.split(values))
    home = (output or Path("runs") / folder.spec.name).resolve()
    prepare_study(folder, home, {"inputs": list(map(str, absolute(inputs)))} if inputs else {})
    request = {"eval_id": "1", "variables": values, "metadata": ["makespan"]}
    [reply] = client.evaluate(str(home / "study.yml"), [request], lambda words: click.echo(words, err=True))
    tell_reply(reply, as_json)
    if not as_json:
        click.echo(f"next:  {program()} show {reply['wf_uuid']} --study {home}", file=sys.stderr)
