"""`panorama stop`: ends a study's server, and with it what it runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..study import client
from ._common import study_home


@click.command("stop")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """End the server of the study in DIRECTORY and every job it runs.

    Nothing is lost: asked again, each evaluation goes on with the jobs that had not finished.
    """
    home = study_home(directory)
    answer = client.request(str(home / "study.yml"), {"op": "stop"})
    click.echo(f"{home}: {'no server runs' if answer is None else 'the server ends, with all it runs'}")
    for pid in (answer or {}).get("owners", []):
        click.echo(f"process {pid} that asked for it still runs; if that is Dakota, end it first, or it will ask again")
