"""`panorama report`: table and picture of a study; a study or a workflow run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StudyError, UsageError
from ._common import json_option, open_chosen, store_option, study_home, study_option, study_or_store, write_json
from ._progress import Told

if TYPE_CHECKING:
    from ..report import Report
    from ..web._offline import Contents

_PAGES = (".html", ".htm")
_MIB = 2**20


@click.command("report")
@click.argument("which", metavar="[DIRECTORY|EVAL|WF]", default=".")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What to write: a picture, DIRECTORY/report.png by default, or a page for the browser if it ends in .html.",
)
@study_option
@store_option
@json_option
def command(which: str, output: Path | None, study: Path, store: str | None, as_json: bool) -> int:
    """Print the evaluations of the study in DIRECTORY and draw them.

    With `-o FILE.html`, write the pages of `panorama serve` into one file that needs no server and no network: of the
    study in DIRECTORY, of evaluation EVAL (Dakota's number), or of the workflow run WF (its uuid or its beginning).
    Exit code 1 if an evaluation has failed.

    \b
    Examples:
      panorama report
      panorama report -o report.html
      panorama report 3 -o evaluation-3.html
      panorama report 0a1b --store panorama.db -o run.html
    """
    if output is not None and output.suffix.lower() in _PAGES:
        return _write_page(which, output, study, store, as_json)
    if store is not None or not Path(which).is_dir():
        raise _no_page(which, store)
    return _table(study_home(Path(which) if which != "." else study), output, as_json)


def _no_page(which: str, store: str | None) -> UsageError:
    if store is not None:
        return UsageError(f"{store}: a store has no table and no picture; name a page with -o report.html")
    return StudyError(
        f"{which}: no such directory; of an evaluation or a workflow run, name a page with -o report.html"
    )


def _table(home: Path, output: Path | None, as_json: bool) -> int:
    import msgspec

    from ..report import read_report

    if as_json:
        report = read_report(home)
        write_json(msgspec.to_builtins(report))
    else:
        report = show(home, output)
    return 1 if report.failed else 0


def show(home: Path, output: Path | None = None) -> Report:
    """Print a study's table, draw its picture, and give what they were made of."""
    from ..errors import EnvironmentMissingError
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


# --- one file for the browser ----------------------------------------------------------------------------------------


def _write_page(which: str, output: Path, study: Path, store: str | None, as_json: bool) -> int:
    import msgspec

    from ..web._library import Library
    from ..web._offline import write_study, write_workflow

    place, wf_uuid = _meant(which, study, store)
    told = Told()
    with Library([place]) as library:
        name = library.studies().studies[0].study
        if wf_uuid is None:
            contents = write_study(library, name, output, progress=told)
        else:
            contents = write_workflow(library, name, wf_uuid, output, progress=told)
    told.end()
    if as_json:
        write_json(msgspec.to_builtins(contents))
    else:
        _say(contents)
    return 1 if contents.failed else 0


def _meant(which: str, study: Path, store: str | None) -> tuple[str | Path, str | None]:
    """The study or store, and the workflow run of it, if one is meant.

    Raises
    ------
    StudyError
        There is no such study or evaluation.
    UsageError
        The store has no such run.
    StoreError
        There is no such store.
    """
    from ._runs import started, workflow_in

    if store is not None:
        with open_chosen(study, store, readonly=True) as opened:
            return store, None if which == "." else workflow_in(opened, which)
    if which == "." or Path(which).is_dir():
        return study_or_store(study if which == "." else Path(which)), None
    home = study_or_store(study)
    return home, started(which, home).wf_uuid


def _say(contents: Contents) -> None:
    click.echo(f"page: {contents.path} ({contents.size / _MIB:.1f} MiB), with {contents.words}")
    if contents.workflows < contents.workflows_total or contents.jobs_timed < contents.jobs_total:
        click.echo("the rest: panorama serve, or a page of a run of its own by panorama report EVAL -o FILE.html")
