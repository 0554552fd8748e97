"""`panorama export`: studies and stores as open data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._common import json_option, write_json
from ._exchange import about, about_options, progress, sources
from ._progress import Told

if TYPE_CHECKING:
    from ..exchange import Manifest

_PARQUET = "parquet"
_MIB = 2**20


@click.command("export")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "-o", "--output", "folder", required=True, metavar="DIR", type=click.Path(path_type=Path), help="A new folder."
)
@click.option(
    "--format",
    "format_",
    metavar="NAME",
    default=_PARQUET,
    show_default=True,
    help="Format; --list-formats has the others.",
)
@click.option(
    "--list-formats",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda *told: _list(*told),
    help="List the formats, and end.",
)
@click.option(
    "--anonymise",
    "key",
    metavar="KEYFILE",
    type=click.Path(path_type=Path),
    help="Pseudonyms for hosts, users and paths, by the key in this file (0600; made where it is missing).",
)
@about_options
@json_option
def command(paths: tuple[str, ...], folder: Path, format_: str, key: Path | None, as_json: bool, **told: Any) -> int:
    """Write studies and stores as a repository: Parquet files with units, licence and provenance, for anybody to read.

    PATH is a study directory, a folder that holds some, or a store's file or URL; default: the study of this directory,
    or else those below it. What is written holds all events exactly, and the tables of `panorama ask` for readers
    without this program; `panorama import` takes it in again. Passwords and tokens are never written. The folder
    appears whole, or not at all.

    With --anonymise the same name gets the same pseudonym in all exports with the same key. Keep the key: who has it
    can find out whether a name that they suspect is in the data. Dead letters are left out then.

    \b
    Examples:
      panorama export mystudy -o shared --license CC-BY-4.0 --creator 'Ada Lovelace <ada@example.org>'
      panorama export runs/ -o shared --license CC0-1.0 --anonymise ~/.config/panorama/names.key
      panorama export mystudy -o runs --format wfformat
    """
    from .. import exchange
    from ..exchange._key import key_file

    chosen, saying = sources(paths), Told()
    data, pseudonyms, tell = about(**told), None if key is None else key_file(key), progress(saying)
    if format_ == _PARQUET:
        manifest = exchange.export(chosen, folder, about=data, anonymise=pseudonyms, progress=tell)
        saying.end()
        tell_manifest(manifest, folder, as_json)
        return 0
    files = exchange.export_as(format_, chosen, folder, about=data, anonymise=pseudonyms, progress=tell)
    saying.end()
    if as_json:
        write_json({"folder": str(folder), "files": [str(path) for path in files]})
    else:
        click.echo(f"{folder}: {len(files)} files")
    return 0


def _list(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Formats that are written."""
    from ..exchange.formats import WRITTEN

    if wanted and not context.resilient_parsing:
        known = {_PARQUET: "a repository: exact events, tables, units", **{each.name: each.meaning for each in WRITTEN}}
        for name, meaning in known.items():
            click.echo(f"{name:<{max(map(len, known))}}  {meaning}")
        context.exit()


def tell_manifest(manifest: Manifest, folder: Path, as_json: bool) -> None:
    """Say what a repository holds that was just written."""
    import msgspec

    size = sum(file.bytes for file in manifest.files)
    if as_json:
        write_json({"folder": str(folder), "bytes": size, "manifest": msgspec.to_builtins(manifest)})
        return
    events = sum(each.events for each in manifest.studies)
    click.echo(
        f"{folder}: {len(manifest.studies)} studies or stores, {events} events, {size / _MIB:.1f} MiB in "
        f"{len(manifest.files)} files; {folder / 'README.md'} says how to read it"
    )
    if manifest.license is None:
        click.echo(
            "panorama: without --license nobody else may use these data; CC-BY-4.0 and CC0-1.0 are usual", err=True
        )
