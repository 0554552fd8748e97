"""`panorama tstat`: join Tstat's logs of TCP connections to the transfers of workflows."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UsageError
from ._common import json_option, open_chosen, safe, store_option, study_option, write_json
from ._runs import workflow_in


@click.command("tstat")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("which", metavar="[WF]", required=False)
@study_option
@store_option
@click.option(
    "--address",
    "told",
    metavar="HOST=ADDRESS",
    multiple=True,
    help="Address of a host or Globus collection, where no job has told it; may be repeated.",
)
@click.option("--skew", default=3.0, show_default=True, help="By how much the hosts' clocks may differ [s].")
@json_option
def command(
    directory: Path,
    which: str | None,
    study: Path,
    store: str | None,
    told: tuple[str, ...],
    skew: float,
    as_json: bool,
) -> None:
    """Read the logs below DIR, which Tstat writes, and give each TCP connection to the job whose transfer it was.

    WF is the uuid of a workflow run, or its beginning: only that run's connections are stored then. What cannot be
    told for certain is joined to nothing, and counted. It does no harm to do it again.

    \b
    Examples:
      panorama tstat /var/log/tstat
      panorama tstat /var/log/tstat 0a1b --address dtn01.example.org=192.0.2.7
    """
    from dataclasses import asdict

    from ..collector.tstat import collect_tstat

    if not 0 <= skew <= 3600:
        raise UsageError(f"--skew {skew:g}: give seconds, 0 to 3600")
    with open_chosen(study, store) as opened:
        run = workflow_in(opened, which) if which else None
        found = collect_tstat(opened, directory, run, addresses=_addresses(told), skew=skew)
    if as_json:
        write_json(asdict(found))
        return
    click.echo(f"{found.flows} connections in {found.files} logs, {found.damaged} damaged lines")
    click.echo(f"joined: {found.by_socket} by socket, {found.by_host} by host and time, {found.known} before")
    click.echo(f"not joined: {found.ambiguous} fit several transfers or too badly, {found.foreign} fit none")
    if found.unresolved:
        click.echo(f"{found.unresolved} transfers between hosts of unknown address: tell it with --address")
    if not found.files:
        click.echo("panorama: no log_tcp_complete or log_tcp_nocomplete of Tstat's is below that directory", err=True)
    for problem in found.problems:
        click.echo(f"panorama: {safe(problem)}", err=True)


def _addresses(told: tuple[str, ...]) -> dict[str, list[str]]:
    """Addresses by host.

    Raises
    ------
    UsageError
        A text is no HOST=ADDRESS.
    """
    found: dict[str, list[str]] = {}
    for text in told:
        host, equals, address = text.partition("=")
        if not host or not equals or not address:
            raise UsageError(f"--address {text!r}: write HOST=ADDRESS, such as dtn01.example.org=192.0.2.7")
        found.setdefault(host, []).append(address)
    return found
