"""`panorama status`: how a study stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import spell
from ._common import json_option, study_home, write_json

if TYPE_CHECKING:
    from ..study.progress import Progress


@click.command("status")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
@json_option
def command(directory: Path, as_json: bool) -> int:
    """List the evaluations of the study in DIRECTORY.

    Exit code 1 if one has failed.

    \b
    Examples:
      panorama status mystudy
      panorama status --json | jq '.evaluations[].state'
    """
    import msgspec

    from ..study.progress import Follower

    home = study_home(directory)
    follower = Follower(home)
    rows = list(follower.changes())
    follower.close()
    failed = sum(row.evaluation.failed for row in rows)
    if as_json:
        write_json({"study": str(home), "evaluations": [msgspec.to_builtins(row) for row in rows]})
        return 1 if failed else 0
    if not rows:
        click.echo(f"{home}: no evaluation yet; start the study with panorama study {directory}")
    for row in rows:
        evaluation = row.evaluation
        click.echo(
            f"{evaluation.eval_id:>6}  {evaluation.state:<10} {spell(evaluation.variables)}  {_rest(row)}".rstrip()
        )
    if rows:
        ended = sum(row.evaluation.over for row in rows)
        click.echo(f"{len(rows)} evaluations: {ended - failed} succeeded, {failed} failed, {len(rows) - ended} go on")
    return 1 if failed else 0


def _rest(row: Progress) -> str:
    evaluation = row.evaluation
    if evaluation.responses:
        return spell(evaluation.responses)
    if evaluation.over:
        return evaluation.message
    running = f": {', '.join(row.running)}" if row.running else ""
    progress = f"{row.done} of {row.jobs} jobs done{running}" if row.jobs else "no job yet"
    return f"{progress}; last heard: {evaluation.message}" if evaluation.message else progress
