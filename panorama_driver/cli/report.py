"""`panorama report`: table and picture of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import json_option, study_home, write_json

if TYPE_CHECKING:
    from ..report import Report


@click.command("report")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Picture to write; default: DIRECTORY/report.png."
)
@json_option
def command(directory: Path, output: Path | None, as_json: bool) -> int:
    """Print the evaluations of the study in DIRECTORY and draw them.

    Exit code 1 if an evaluation has failed.
    """
    import msgspec

    from ..report import read_report

    home = study_home(directory)
    if as_json:
        report = read_report(home)
        write_json(msgspec.to_builtins(report))
    else:
        report = show(home, output)
    return 1 if report.failed else 0


def show(home: Path, output: Path | None = None) -> Report:
    """Print a study's table, draw its picture, and give what they were made of."""
    from ..errors import EnvironmentMissingError, StudyError
    from ..report import draw, front_table, read_report, summary, table

    report = read_report(home)
    _print_table(*table(report))
    if report.front is not None:
        click.echo("\nPareto front")
        _print_table(*front_table(report.front))
    for line in summary(report):
        click.echo(line)
    picture = output or home / "report.png"
    try:
        draw(report, picture)
        click.echo(f"picture: {picture}")
    except (EnvironmentMissingError, StudyError) as problem:
        click.echo(f"no picture: {problem}")
    return report


def _print_table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    for line in [head, *rows]:
        click.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
