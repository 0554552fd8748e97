"""`panorama merge`: makes one repository of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._common import json_option
from ._exchange import about, about_options, progress
from ._progress import Told
from .export import tell_manifest


@click.command("merge")
@click.argument("repositories", nargs=-1, required=True, metavar="REPOSITORY...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "folder", required=True, metavar="DIR", type=click.Path(path_type=Path), help="A new folder."
)
@about_options
@json_option
def command(repositories: tuple[Path, ...], folder: Path, as_json: bool, **told: Any) -> int:
    """Make one repository of several, whole or not at all; they stay as they are.

    A study that is in several of them is put together: each event once, and the journal that goes further. Title,
    licence and creators are those of all unless told: data under two licences are under both (`AND`). Repositories that
    were anonymised go together where that was done with the same key.

    \b
    Examples:
      panorama merge site-a site-b -o both
      panorama merge site-a site-b -o both --title 'Nanodiamond on two sites' --license CC-BY-4.0
    """
    from ..exchange import merge

    saying = Told()
    manifest = merge(repositories, folder, about=about(**told), progress=progress(saying))
    saying.end()
    tell_manifest(manifest, folder, as_json)
    return 0
