"""`panorama cancel`: ends evaluations of a study."""

from __future__ import annotations

from pathlib import Path

import click

from ..study import client
from ._common import json_option, study_home, study_option, write_json
from .show import find


@click.command("cancel")
@click.argument("which", nargs=-1, required=True, metavar="EVAL...")
@study_option
@json_option
def command(which: tuple[str, ...], study: Path, as_json: bool) -> None:
    """End evaluations EVAL of a study, by their numbers; what they run is removed, wherever it runs.

    What had finished is kept: `panorama rerun` goes on from there.

    \b
    Example:
      panorama cancel 3 4 --study mystudy
    """
    from ..study.client import FOLDER
    from ..study.journal import in_order, read

    home = study_home(study)
    known = in_order(read(home / FOLDER))
    keys = {find(known, each, home).key: each for each in which}
    open_ = [key for key in keys if not next(e for e in known if e.key == key).over]
    answer = client.request(str(home / "study.yml"), {"op": "cancel", "keys": open_}, start=True) if open_ else {}
    ended = (answer or {}).get("cancelled", [])
    if as_json:
        write_json({"cancelled": [keys[key] for key in ended]})
        return
    for key, name in keys.items():
        click.echo(f"evaluation {name}: {'is being ended' if key in ended else 'had ended already'}")
