"""`panorama rerun`: runs a failed evaluation again, only what had not finished."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import StudyError
from ..study import client
from ._common import json_option, program, study_home, study_option, tell_reply
from ._runs import find


@click.command("rerun")
@click.argument("which", metavar="EVAL")
@click.option("--wait", is_flag=True, help="Wait for its end, and print its responses.")
@study_option
@json_option
def command(which: str, wait: bool, study: Path, as_json: bool) -> None:
    """Run evaluation EVAL of a study again, if it has failed or was cancelled; jobs that had finished are not repeated.

    \b
    Example:
      panorama rerun 3 --study mystudy --wait
    """
    from ..study.client import FOLDER
    from ..study.definition import Definition
    from ..study.journal import STOPPED, in_order, read

    home = study_home(study)
    evaluation = find(in_order(read(home / FOLDER)), which, home)
    if evaluation.state in ("succeeded", "refused"):
        raise StudyError(f"evaluation {which}: {evaluation.state}; there is nothing to run again")
    if evaluation.state == STOPPED:
        raise StudyError(f"evaluation {which}: {evaluation.message}; `panorama adapt undo` lets it run to its end")
    if Definition(home / "study.yml").fingerprint != evaluation.definition:
        click.echo("the study has changed since: this is a new evaluation, and all of it is run", err=True)
    request = {"eval_id": evaluation.eval_id, "variables": evaluation.variables}
    [reply] = client.evaluate(
        str(home / "study.yml"), [request], lambda words: click.echo(words, err=True), until_handed=not wait
    )
    tell_reply(reply, as_json)
    if not as_json:
        click.echo(f"next:  {program()} status {home}", err=True)
