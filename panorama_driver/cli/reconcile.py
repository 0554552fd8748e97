"""`panorama reconcile`: what was lost on its way is found on disk and filled in."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import EnvironmentMissingError, StudyError, UsageError
from ._common import json_option, open_chosen, safe, store_option, study_home, study_option, write_json
from ._runs import started, workflow_in

if TYPE_CHECKING:
    from ..collector.completeness import Completeness
    from ..store import Store


@click.command("reconcile")
@click.argument("which", metavar="WF")
@study_option
@store_option
@click.option(
    "--from",
    "where",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Submit directory, run folder, file of monitord's or stampede database; default: where the run was planned.",
)
@json_option
def command(which: str, study: Path, store: str | None, where: Path | None, as_json: bool) -> int:
    """Compare workflow WF with what is on disk, and add what a broker or a network lost.

    WF is the beginning of a workflow's uuid, or in a study the number of an evaluation. With a workflow, those below
    it in its hierarchy are compared too. Again does no harm. Exit code 1 if something is missing for good, or could
    not be read.

    \b
    Examples:
      panorama reconcile 3
      panorama reconcile f6eff249 --store panorama.db --from /data/submit/run0001
    """
    import msgspec

    from ..collector.reconcile import family, reconcile

    with open_chosen(study, store) as opened:
        wf_uuid, place = _workflow(opened, which, study, store, where)
        found = [reconcile(opened, wf_uuid, where or place)]
        found += [_below(opened, below) for below in family(opened, wf_uuid)[1:]]
    if as_json:
        write_json({"workflows": [msgspec.to_builtins(one) for one in found]})
    else:
        for one in found:
            for line in completeness_lines(one):
                click.echo(line)
    return 1 if any(one.problems or any(part.missing for part in one.sources) for one in found) else 0


def _below(opened: Store, wf_uuid: str) -> Completeness:
    """A workflow below the one that was asked for: its place is its own, and may be gone."""
    import msgspec

    from ..collector.completeness import completeness
    from ..collector.reconcile import reconcile

    try:
        return reconcile(opened, wf_uuid)
    except (EnvironmentMissingError, UsageError) as problem:
        return msgspec.structs.replace(completeness(opened, wf_uuid), problems=(str(problem),))


def completeness_lines(found: Completeness) -> list[str]:
    """How complete a workflow is, for people."""
    lines = [f"workflow {found.wf_uuid}: {found.words}"]
    for part in found.sources:
        if part.events_expected or part.thinned:
            lines.append(f"  {part.source:<10} {part.words}")
    return [*lines, *(f"  not read: {safe(problem)}" for problem in found.problems)]


def _workflow(opened: Store, which: str, study: Path, store: str | None, where: Path | None) -> tuple[str, Path | None]:
    """The workflow that is meant, and the place of its evaluation if it is one of a study's."""
    if store is None:
        home = study_home(study)
        with suppress(StudyError):  # it may be a workflow below one of the study's, or one that was collected
            evaluation = started(which, home)
            return evaluation.wf_uuid or "", home / evaluation.directory
    try:
        return workflow_in(opened, which), None
    except UsageError:
        if where is None or any(summary.wf_uuid.startswith(which) for summary in opened.workflows()):
            raise
    return which, None  # nothing of it has come in yet
