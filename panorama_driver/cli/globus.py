"""`panorama globus`: bring a workflow's Globus transfers into the store, while they run or afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StudyError
from ._common import json_option, study_home, study_option, write_json

if TYPE_CHECKING:
    from ..collector import Drained

_MIB = 2**20


@click.command("globus")
@click.argument("which", metavar="EVAL|WF")
@study_option
@click.option(
    "--store", "path", metavar="PATH", type=click.Path(path_type=Path), help="Store to write to, in place of a study's."
)
@click.option("--follow", "following", is_flag=True, help="Go on until the workflow and its transfers are over.")
@json_option
def command(which: str, study: Path, path: Path | None, following: bool, as_json: bool) -> int:
    """Fetch the Globus transfers of evaluation EVAL, or of the workflow run WF (with --store, its whole uuid).

    A token is taken from a login that was made before (globus login, pegasus-globus-online-init, an application of
    globus-sdk) or from PANORAMA_GLOBUS_TOKEN. Exit code 1 if a transfer has failed.

    \b
    Examples:
      panorama globus 3 --follow
      panorama globus 0a1b2c3d-1111-2222-3333-444455556666 --store events.db --json
    """
    import msgspec

    from ..collector.globus import GlobusFollower, follow
    from ..metrics import transfers
    from ..store import open_store

    where, wf_uuid = (path, which) if path else _of_study(which, study_home(study))
    with open_store(where) as store:
        drained = follow(store, wf_uuid, told=_tell) if following else GlobusFollower(store, wf_uuid).poll()
        kinds = {"transfer.inv.go", "transfer.go.event"}
        events = list(store.events(wf_uuid, kinds))
    found = transfers(events) if events else ()
    if as_json:
        write_json({"transfers": msgspec.to_builtins(found), "stored": drained.stored, "problems": drained.problems})
    else:
        for transfer in found:
            click.echo(
                f"{transfer.name}  {transfer.job_id or '?':<34} {transfer.state:<10} "
                f"{(transfer.bytes_transferred or 0) / _MIB:>10.2f} MiB  {transfer.faults} faults"
            )
        click.echo(f"{len(found)} transfers, {drained.stored} new events")
    if not following:
        _tell(drained)
    return 1 if any(transfer.state == "failed" for transfer in found) else 0


def _of_study(which: str, home: Path) -> tuple[Path, str]:
    """The store of a study, and the workflow run that is meant.

    Raises
    ------
    StudyError
        There is no such evaluation, or it has no workflow.
    """
    from ..study.client import FOLDER
    from ..study.journal import in_order, read
    from .show import find

    evaluation = find(in_order(read(home / FOLDER)), which, home)
    if evaluation.wf_uuid is None:
        raise StudyError(f"evaluation {which}: no workflow was started: {evaluation.state} {evaluation.message}")
    return home / FOLDER / "store.db", evaluation.wf_uuid


def _tell(seen: Drained) -> None:
    for problem in seen.problems:
        click.echo(f"panorama: {problem}", err=True)
