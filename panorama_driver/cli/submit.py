"""`panorama submit`: one evaluation handed to Pegasus' Ensemble Manager, without Dakota."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..study import client
from ._common import absolute, assignments, inputs_option, json_option, prepare_study, program, site_name, tell_reply


@click.command("submit")
@click.argument("workflow")
@click.option("--site", required=True, help="Name of a site, or path of a site file.")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter or an option; may be repeated.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A variable of the site file.")
@inputs_option
@click.option("--ensemble", metavar="NAME", help="Ensemble to join; default: the study directory's name.")
@click.option("--priority", type=int, metavar="N", help="Among the workflows of the ensemble; larger goes first.")
@click.option("--wait", is_flag=True, help="Wait for its end, and print its responses.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Study directory to use or make; default: runs/WORKFLOW-SITE.",
)
@json_option
def command(
    workflow: str,
    site: str,
    pairs: tuple[str, ...],
    variables: tuple[str, ...],
    inputs: tuple[Path, ...],
    ensemble: str | None,
    priority: int | None,
    wait: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run WORKFLOW once at a site, through Pegasus' Ensemble Manager.

    It is watched in the background, and the same values again are not run twice. A manager of your own is started where
    none answers.

    \b
    Examples:
      panorama submit sns_nanodiamond --set q_h=0.42 --site condorpool --ensemble nightly
      panorama submit sns_nanodiamond --site cori --var project=m1234 --wait
      panorama status runs/sns_nanodiamond-cori
    """
    from ..render import find_site, find_workflow

    folder = find_workflow(workflow, Path())
    values = assignments(pairs)
    folder.values(*folder.split(values))
    find_site(site, Path(), assignments(variables)).check_engine("pegasus")
    home = (output or Path("runs") / f"{folder.spec.name}-{Path(site).stem}").resolve()
    settings: dict[str, Any] = {"engine": "pegasus", "site": site_name(site), "site_variables": assignments(variables)}
    if ensemble:
        settings["ensemble"] = {"name": ensemble}
    if inputs:
        settings["inputs"] = list(map(str, absolute(inputs)))
    prepare_study(folder, home, settings)
    request = {"eval_id": _number(home, values), "variables": values, "priority": priority}
    [reply] = client.evaluate(
        str(home / "study.yml"), [request], lambda words: click.echo(words, err=True), until_handed=not wait
    )
    tell_reply(reply, as_json, study=str(home))
    if not as_json:
        if reply["state"] == "handed":
            click.echo(reply["name"])
        click.echo(f"next:  {program()} status {home}", err=True)


def _number(home: Path, values: dict[str, Any]) -> str:
    """The number that these values have had, or the next one."""
    from ..study.client import FOLDER
    from ..study.journal import read

    known = list(read(home / FOLDER).values())
    same = next((evaluation.eval_id for evaluation in known if evaluation.variables == values), None)
    taken = [int(evaluation.eval_id) for evaluation in known if evaluation.eval_id.isdigit()]
    return same or str(max(taken, default=0) + 1)
