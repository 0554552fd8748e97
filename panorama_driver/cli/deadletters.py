"""`panorama deadletters`: what came in and is no event, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ._common import json_option, open_chosen, safe, store_option, study_option, write_json

if TYPE_CHECKING:
    from ..store import DeadLetter, Store

_SHORT = 12  # characters of an id
_WIDTH = 100  # characters of a reason in the list
_SHOWN = 4096  # bytes of a body on a terminal
_which = click.argument("which", metavar="ID...", nargs=-1)
_all_option = click.option("--all", "everything", is_flag=True, help="Every one.")


@click.group("deadletters", invoke_without_command=True)
@study_option
@store_option
@json_option
@click.pass_context
def command(context: click.Context, study: Path, store: str | None, as_json: bool) -> None:
    """List what came in and could not be made an event, look at it, and try it again.

    An ID is one of the list, or its beginning.

    \b
    Examples:
      panorama deadletters
      panorama deadletters show 3fa9
      panorama deadletters requeue --all --store panorama.db
    """
    context.obj = (study, store)
    if context.invoked_subcommand is None:
        context.invoke(_list, study=study, store=store, as_json=as_json)


def _options(function: Any) -> Any:
    """Where the letters are; told before the verb or behind it."""
    return study_option(store_option(json_option(function)))


@command.command("list", short_help="All of them, a line each.")
@_options
@click.pass_context
def _list(context: click.Context, study: Path, store: str | None, as_json: bool) -> None:
    """List dead letters in the order in which they came.

    \b
    Example:
      panorama deadletters list --json | jq '.deadletters[].reason'
    """
    with _opened(context, study, store, readonly=True) as opened:
        if as_json:
            write_json({"deadletters": [_facts(letter) for letter in opened.dead_letters()]})
            return
        number = 0
        for number, letter in enumerate(opened.dead_letters(), 1):  # noqa: B007 (it is the number of letters at the end)
            click.echo(_line(letter))
    click.echo(f"{number} dead letters" if number else "no dead letters")


@command.command("show", short_help="One of them, as it came.")
@click.argument("which", metavar="ID")
@_options
@click.pass_context
def _show(context: click.Context, which: str, study: Path, store: str | None, as_json: bool) -> None:
    """Show dead letter ID: where it came from, why it is no event, and its text.

    \b
    Example:
      panorama deadletters show 3fa9 --json | jq -r .body | base64 -d
    """
    import base64

    with _opened(context, study, store, readonly=True) as opened:
        [letter] = _found(opened, [which])
    if as_json:
        write_json({**_facts(letter), "body": base64.b64encode(letter.head).decode()})
        return
    for name, value in {**_facts(letter), "buried": _when(letter), "whole": "yes" if letter.whole else "no"}.items():
        if value is not None:
            click.echo(f"{name:<9} {safe(str(value))}")
    click.echo(f"\n{_text(letter.head)}")


@command.command("requeue", short_help="Try them again.")
@_which
@_all_option
@_options
@click.pass_context
def _requeue(
    context: click.Context, which: tuple[str, ...], everything: bool, study: Path, store: str | None, as_json: bool
) -> int:
    """Try dead letters again, after an update or once what they came too early for is there.

    What is an event now is stored and no dead letter any more. Exit code 1 if some stay.

    \b
    Example:
      panorama deadletters requeue --all
    """
    from ..collector.deadletters import requeue

    told = []
    with _opened(context, study, store) as opened:
        for one in requeue(opened, _chosen(opened, which, everything)):
            became = {"gone": one.gone, "events": one.events, "stored": one.stored, "reason": one.reason}
            told.append({**_facts(one.letter), **became})
            if not as_json:
                words = f"{one.events} events, {one.stored} of them new" if one.gone else f"stays: {one.reason}"
                click.echo(f"{one.letter.letter_id[:_SHORT]}  {_cut(words)}")
    gone = sum(one["gone"] for one in told)
    if as_json:
        write_json({"requeued": told})
    else:
        click.echo(f"{gone} of {len(told)} are events now")
    return 0 if gone == len(told) else 1


@command.command("drop", short_help="Forget them.")
@_which
@_all_option
@_options
@click.pass_context
def _drop(
    context: click.Context, which: tuple[str, ...], everything: bool, study: Path, store: str | None, as_json: bool
) -> None:
    """Forget dead letters, for good.

    \b
    Example:
      panorama deadletters drop 3fa9
    """
    with _opened(context, study, store) as opened:
        ids = [letter.letter_id for letter in _chosen(opened, which, everything)]
        opened.exhume(ids)
    if as_json:
        write_json({"dropped": ids})
    else:
        click.echo(f"{len(ids)} dropped")


def _opened(context: click.Context, study: Path, store: str | None, readonly: bool = False) -> Store:
    told_study, told_store = context.obj
    return open_chosen(study if study != Path(".") else told_study, store or told_store, readonly)


def _chosen(store: Store, which: Collection[str], everything: bool) -> Iterable[DeadLetter]:
    if bool(which) == everything:
        raise UsageError("say which: IDs of `panorama deadletters list`, or --all")
    return store.dead_letters() if everything else _found(store, which)


def _found(store: Store, which: Collection[str]) -> list[DeadLetter]:
    """Letters by the beginnings of their ids.

    Raises
    ------
    UsageError
        There is none that begins so, or there are several.
    """
    found: dict[str, list[DeadLetter]] = {name: [] for name in which}
    for letter in store.dead_letters():
        for name in found:
            if letter.letter_id.startswith(name.lower()):
                found[name].append(letter)
    for name, letters in found.items():
        if len(letters) != 1:
            problem = f"{len(letters)} begin so, write more of it" if letters else "there is none; the list tells all"
            raise UsageError(f"dead letter {name!r}: {problem}")
    return [letter for letters in found.values() for letter in letters]


def _facts(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.letter_id,
        "buried": letter.buried,
        "source": letter.source,
        "offset": letter.offset,
        "size": letter.size,
        "whole": letter.whole,
        "reason": letter.reason,
    }


def _line(letter: DeadLetter) -> str:
    place = letter.source if letter.offset is None else f"{letter.source} at byte {letter.offset}"
    return f"{letter.letter_id[:_SHORT]}  {_when(letter)}  {letter.size:>9} B  {safe(place)}: {_cut(letter.reason)}"


def _when(letter: DeadLetter) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.buried)) if letter.buried else "unknown"


def _cut(text: str) -> str:
    text = safe(text)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _text(body: bytes) -> str:
    text = safe(body[:_SHOWN].decode("utf-8", "backslashreplace"))
    rest = len(body) - _SHOWN
    return f"{text}\n({rest} bytes more; --json has all)" if rest > 0 else text
