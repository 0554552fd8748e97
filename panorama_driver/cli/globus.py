"""`panorama globus`: bring a workflow's Globus transfers into the store, while they run or afterwards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._common import json_option, open_chosen, safe, store_option, study_option, study_or_store, write_json
from ._runs import started, workflow_in

if TYPE_CHECKING:
    from ..collector import Drained

_MIB = 2**20
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@click.command("globus")
@click.argument("which", metavar="EVAL|WF")
@study_option
@store_option
@click.option("--follow", "following", is_flag=True, help="Go on until the workflow and its transfers are over.")
@json_option
def command(which: str, study: Path, store: str | None, following: bool, as_json: bool) -> int:
    """Fetch the Globus transfers of evaluation EVAL, or of the workflow run WF.

    With --store WF is the beginning of the uuid of a workflow that the store knows, or a whole uuid.

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

    wf_uuid = which if _UUID.fullmatch(which) else ""
    if not store:
        wf_uuid = started(which, study_or_store(study)).wf_uuid or ""
    with open_store(store) if store and wf_uuid else open_chosen(study, store) as opened:
        wf_uuid = wf_uuid or workflow_in(opened, which)
        drained = follow(opened, wf_uuid, told=_tell) if following else GlobusFollower(opened, wf_uuid).poll()
        kinds = {"transfer.inv.go", "transfer.go.event"}
        events = list(opened.events(wf_uuid, kinds))
    found = transfers(events) if events else ()
    if as_json:
        write_json({"transfers": msgspec.to_builtins(found), "stored": drained.stored, "problems": drained.problems})
    else:
        for transfer in found:
            click.echo(
                f"{safe(transfer.name or '?')}  {safe(transfer.job_id or '?'):<34} {transfer.state:<10} "
                f"{(transfer.bytes_transferred or 0) / _MIB:>10.2f} MiB  {transfer.faults} faults"
            )
        click.echo(f"{len(found)} transfers, {drained.stored} new events")
    if not following:
        _tell(drained)
    return 1 if any(transfer.state == "failed" for transfer in found) else 0


def _tell(seen: Drained) -> None:
    for problem in seen.problems:
        click.echo(f"panorama: {safe(problem)}", err=True)
