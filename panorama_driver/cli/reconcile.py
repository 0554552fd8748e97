"""`panorama reconcile`: what was lost on its way is found on disk and filled in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import EnvironmentMissingError, StudyError, UsageError
from ._common import json_option, open_chosen, safe, store_option, study_home, study_option, write_json

if TYPE_CHECKING:
    from ..collector.reconcile import Completeness
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

    from ..collector.reconcile import completeness, reconcile

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
        from ..study.client import FOLDER
        from ..study.journal import in_order, read
        from .show import find

        home = study_home(study)
        try:
            evaluation = find(in_order(read(home / FOLDER)), which, home)
        except StudyError:
            pass  # it may be a workflow below one of the study's, or one that was collected
        else:
            if evaluation.wf_uuid is not None:
                return evaluation.wf_uuid, home / evaluation.directory
            raise StudyError(f"evaluation {which}: no workflow was started: {evaluation.state} {evaluation.message}")
    known = [summary.wf_uuid for summary in opened.workflows()]
    begin_so = [wf_uuid for wf_uuid in known if wf_uuid.startswith(which)]
    if len(begin_so) == 1:
        return begin_so[0], None
    if not begin_so and where is not None:
        return which, None  # nothing of it has come in yet
    told = f"{len(begin_so)} begin so" if begin_so else "the store knows none that begins so"
    raise UsageError(f"workflow {which!r}: {told}; there are {', '.join(known[-12:]) or 'none yet'}")
