"""`panorama import`: takes in a repository, or what other tools wrote."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UsageError
from ._common import json_option, safe, write_json
from ._exchange import progress
from ._progress import Told

_DEFAULT = "panorama.db"


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--store", "store", metavar="PATH|URL", help=f"Where events go, made where it is missing; default: {_DEFAULT}."
)
@click.option(
    "--to",
    "target",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Make study directories and stores of a repository again, below this folder, in place of filling a store.",
)
@click.option(
    "--from",
    "format_",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="What PATH is; auto looks. --list-formats has the names.",
)
@click.option(
    "--list-formats",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda *told: _list(*told),
    help="List the formats, and end.",
)
@json_option
def command(paths: tuple[Path, ...], store: str | None, target: Path | None, format_: str, as_json: bool) -> int:
    """Take in repositories, or what other tools wrote; what is known already is not taken twice.

    Every file that is taken in is checked against its SHA-256 first, and every event against its identity; a
    repository's tables are made anew of the events. Events keep when and how they first came in. What is no event is
    kept with its reason: `panorama deadletters` lists it.

    \b
    Examples:
      panorama import shared --store panorama.db
      panorama import shared --to studies          # then: panorama serve studies, panorama ask ... studies
      panorama import run0001/*.bp --store panorama.db
    """
    if target is not None:
        if store is not None or format_ not in ("auto", "repository"):
            raise UsageError("--to makes studies of a repository again; it goes with neither --store nor --from")
        return _restore(paths, target, as_json)
    return _import(paths, store or _DEFAULT, format_, as_json)


def _restore(paths: tuple[Path, ...], target: Path, as_json: bool) -> int:
    from ..exchange import restore

    told = Told()
    made = [each for path in paths for each in restore(path, target, progress=progress(told))]
    told.end()
    if as_json:
        write_json({"made": [str(path) for path in made]})
    else:
        for path in made:
            click.echo(path)
    return 0


def _import(paths: tuple[Path, ...], where: str, format_: str, as_json: bool) -> int:
    import msgspec

    from ..exchange import import_as
    from ..store import open_store

    told = Told()
    with open_store(where, durable=True) as store:
        counts = import_as(format_, paths, store, progress=progress(told))
    told.end()
    if as_json:
        write_json({"store": where, **msgspec.to_builtins(counts)})
    else:
        known, dead = counts.read - counts.new, f"; {counts.letters} dead letters" if counts.letters else ""
        click.echo(f"{where}: {counts.new} new events, {known} known before{dead}")
        for note in counts.notes:
            click.echo(f"panorama: {safe(note)}", err=True)
    return 0


def _list(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Formats that are read."""
    from ..exchange.formats import READ

    if wanted and not context.resilient_parsing:
        known = {"repository": "what `panorama export` writes", **{each.name: each.meaning for each in READ}}
        for name, meaning in known.items():
            click.echo(f"{name:<{max(map(len, known))}}  {meaning}")
        context.exit()
