"""`panorama adapt`: what a study's server did about anomalies, and how it is taken back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import StudyError
from ._common import json_option, safe, study_home, write_json

if TYPE_CHECKING:
    from ..adapt import Action

_directory = click.argument("directory", default=".", type=click.Path(path_type=Path), metavar="[DIR]")


class _ListUnlessTold(click.Group):
    """A word that is no verb is the directory whose actions are listed."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["list", *args])


@click.group("adapt", cls=_ListUnlessTold, invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List what the server of the study in DIR did about anomalies, each with its reason, and take it back.

    What it may do stands in study.yml, under `adapt`: nothing unless told.

    \b
    Examples:
      panorama adapt mystudy
      panorama adapt undo mystudy 3fa9c2d41b7e8a60
    """
    context.obj = as_json
    if context.invoked_subcommand is None:
        context.invoke(_list, directory=Path(), as_json=as_json)


@command.command("list", short_help="What was done, a line each.")
@_directory
@json_option
@click.pass_context
def _list(context: click.Context, directory: Path, as_json: bool) -> None:
    """List actions in the order in which they were taken.

    \b
    Example:
      panorama adapt list mystudy --json | jq '.actions[].reason'
    """
    from ..adapt import read
    from ..study.client import FOLDER

    actions = read(_home(directory) / FOLDER)
    if as_json or context.obj:
        write_json({"actions": [msgspec.to_builtins(action) for action in actions]})
        return
    for action in actions:
        click.echo("\n".join(_lines(action)))
    number = "1 action" if len(actions) == 1 else f"{len(actions)} actions"
    click.echo(number if actions else "nothing was done about anything")


@command.command("undo", short_help="Take one back.")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("which", metavar="ID")
@json_option
@click.pass_context
def _undo(context: click.Context, directory: Path, which: str, as_json: bool) -> None:
    """Take back action ID of the study in DIR; it is not taken again for the same finding.

    A host is used again, a limit is lifted, and an evaluation that was stopped runs when it is asked for. An attempt
    that was ended has been tried again, which stays as it is.

    \b
    Example:
      panorama adapt undo mystudy 3fa9c2d41b7e8a60
    """
    from ..study.undoing import undo

    undone = undo(_home(directory) / "study.yml", which)
    if as_json or context.obj:
        write_json(msgspec.to_builtins(undone))
    else:
        click.echo(f"{undone.action_id}: {safe(_what(undone))}: undone")


def _home(directory: Path) -> Path:
    """The study's directory; what is not there is no folder of the study around it.

    Raises
    ------
    StudyError
        There is none.
    """
    if not directory.exists():
        raise StudyError(f"{directory}: no such folder; give a study's directory")
    return study_home(directory)


def _lines(action: Action) -> Iterator[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(action.t))
    yield f"{action.action_id}  {when}  {action.state:<8}  {safe(_what(action))}"
    yield f"    {safe(action.reason)}{f' ({safe(action.message)})' if action.message else ''}"


def _what(action: Action) -> str:
    match action.what:
        case "stop_evaluation":
            return f"stop evaluation {action.evaluation}"
        case "retry_attempt":
            return f"try {action.job_id} again, attempt {action.attempt} on {action.host} ended"
        case "avoid_host":
            return f"avoid {action.host}"
    return f"let {action.value} run at a time, not {action.before}"
