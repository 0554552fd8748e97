"""`panorama ensemble`: Pegasus' Ensemble Manager, its ensembles and their workflows."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .. import config
from ._common import json_option, program, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from ..engines.pegasus.manager import Ensemble, Manager, Workflow

_WIDTH_OF_A_PIPE = 160
_LONG = 90.0

_url_option = click.option(
    "--url",
    metavar="URL",
    help="Where the manager answers; default: PANORAMA_ENSEMBLE_URL, or your own on this machine.",
)
_name = click.argument("name")


@click.group("ensemble")
def command() -> None:
    """Start Pegasus' Ensemble Manager, and look after its ensembles: workflows that share limits.

    \b
    Examples:
      panorama ensemble up
      panorama ensemble create nightly --max-running 4 --max-planning 2
      panorama ensemble status nightly
    """


@command.command("create", short_help="Make an ensemble, or change its limits.")
@_name
@click.option(
    "--max-running",
    type=click.IntRange(1),
    default=config.MAX_RUNNING,
    show_default=True,
    metavar="N",
    help="Workflows of it that run at the same time.",
)
@click.option(
    "--max-planning",
    type=click.IntRange(1),
    default=config.MAX_PLANNING,
    show_default=True,
    metavar="N",
    help="Workflows of it that are planned at the same time.",
)
@_url_option
@json_option
def _create(name: str, max_running: int, max_planning: int, url: str | None, as_json: bool) -> None:
    """Make ensemble NAME, of whose workflows so many run and so many are planned at the same time.

    One that is there gets these limits.

    \b
    Example:
      panorama ensemble create nightly --max-running 8
    """
    _tell(_manager(url).create(name, max_running, max_planning), as_json)


@command.command("pause", short_help="Plan and run nothing new of an ensemble.")
@_name
@_url_option
@json_option
def _pause(name: str, url: str | None, as_json: bool) -> None:
    """Plan and run nothing new of ensemble NAME; what runs goes on.

    \b
    Example:
      panorama ensemble pause nightly
    """
    _tell(_manager(url).pause(name), as_json)


@command.command("activate", short_help="Let an ensemble go on.")
@_name
@_url_option
@json_option
def _activate(name: str, url: str | None, as_json: bool) -> None:
    """Let ensemble NAME go on after a pause.

    \b
    Example:
      panorama ensemble activate nightly
    """
    _tell(_manager(url).activate(name), as_json)


@command.command("status", short_help="List ensembles and their workflows.")
@click.argument("name", required=False)
@_url_option
@json_option
def _status(name: str | None, url: str | None, as_json: bool) -> None:
    """List ensembles and their workflows; of ensemble NAME only, if given.

    \b
    Examples:
      panorama ensemble status
      panorama ensemble status nightly --json | jq '.ensembles[].workflows[].state'
    """
    from ..errors import UsageError

    manager = _manager(url)
    all_of_them = manager.ensembles()
    shown = [ensemble for ensemble in all_of_them if name in (None, ensemble.name)]
    if name is not None and not shown:
        known = ", ".join(ensemble.name for ensemble in all_of_them) or "none"
        raise UsageError(f"the manager at {manager.url} has no ensemble {name!r}; it has {known}")
    ensembles = [(ensemble, manager.workflows(ensemble.name)) for ensemble in shown]
    if as_json:
        write_json({"manager": manager.url, "ensembles": [_for_programs(*pair) for pair in ensembles]})
    else:
        _for_people(manager, ensembles)


@command.command("up", short_help="Start a manager, unless one runs.")
@click.option(
    "--interval",
    default="5 s",
    show_default=True,
    metavar="TIME",
    help="How often it looks at its workflows; written to ~/.pegasus/service.py if that is not there yet.",
)
@json_option
def _up(interval: str, as_json: bool) -> None:
    """Start a manager under your account, unless one runs.

    Where there is no ~/.pegasus/service.py, one is written, with a password of its own.

    \b
    Example:
      panorama ensemble up --interval "2 s"
    """
    import msgspec

    from ..engines.pegasus import service

    started = service.up(service.own_account(), _seconds(interval), lambda words: click.echo(words, err=True))
    if as_json:
        write_json(msgspec.structs.asdict(started) | {"log": str(started.log)})
        return
    click.echo(
        f"{started.url}: {'a manager answers' if started.fresh else 'a manager runs already'}, "
        f"and looks at its workflows every {started.interval:g} s"
    )


@command.command("down", short_help="End the manager that `up` has started.")
def _down() -> None:
    """End the manager that `up` has started; workflows that run go on.

    \b
    Example:
      panorama ensemble down
    """
    from ..engines.pegasus import service

    account = service.own_account()
    ended = service.down(account)
    click.echo(f"{account.url}: {'the manager has ended' if ended else 'no manager runs that was started from here'}")


def _manager(url: str | None) -> Manager:
    from ..engines.pegasus import service

    return service.connect(url)


def _seconds(text: str) -> float:
    try:
        return config.duration(text)
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="--interval") from None


def _tell(ensemble: Ensemble, as_json: bool) -> None:
    import msgspec

    if as_json:
        write_json(msgspec.to_builtins(ensemble))
    else:
        click.echo(_line(ensemble))


def _line(ensemble: Ensemble) -> str:
    return (
        f"{ensemble.name}: {ensemble.state}, at most {ensemble.max_running} running "
        f"and {ensemble.max_planning} being planned"
    )


def _for_programs(ensemble: Ensemble, workflows: list[Workflow]) -> dict[str, Any]:
    import msgspec

    from ..engines.pegasus.manager import MEANINGS, remark

    now = time.time()
    rows = [
        {
            **msgspec.structs.asdict(workflow),
            "meaning": MEANINGS.get(workflow.state),
            "remark": remark(workflow, ensemble, workflows, now),
        }
        for workflow in workflows
    ]
    return {**msgspec.structs.asdict(ensemble), "workflows": rows}


def _for_people(manager: Manager, ensembles: list[tuple[Ensemble, list[Workflow]]]) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE, highlight=False)
    if not ensembles:
        console.print(f"{manager.url}: no ensemble yet; {program()} ensemble create NAME makes one", soft_wrap=True)
    for ensemble, workflows in ensembles:
        console.print(_line(ensemble), soft_wrap=True)
        if workflows:
            console.print(_table(ensemble, workflows))


def _table(ensemble: Ensemble, workflows: list[Workflow]) -> Table:
    from rich.table import Table

    from ..engines.pegasus.manager import MEANINGS, remark

    now = time.time()
    table = Table("workflow", "state", "priority", "since", "what that means", box=None, padding=(0, 2, 0, 2))
    for workflow in sorted(workflows, key=lambda one: (one.over, -one.priority, one.created)):
        words = _joined(MEANINGS.get(workflow.state, ""), remark(workflow, ensemble, workflows, now))
        table.add_row(workflow.name, workflow.state, str(workflow.priority), _ago(now - workflow.updated), words)
    return table


def _joined(*words: str) -> str:
    return "; ".join(filter(None, words))


def _ago(seconds: float) -> str:
    """A span as people say it, in the largest unit that leaves at least 1.5 of it."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= _LONG * length / 60.0:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
