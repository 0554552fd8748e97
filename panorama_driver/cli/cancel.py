"""`panorama cancel`: ends evaluations of a study."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ServerError
from ..study import client
from ._common import json_option, study_home, study_option, write_json
from ._runs import find


@click.command("cancel")
@click.argument("which", nargs=-1, required=True, metavar="EVAL...")
@study_option
@json_option
def command(which: tuple[str, ...], study: Path, as_json: bool) -> int:
    """End evaluations EVAL of a study, by their numbers; what they run is removed, wherever it runs.

    What had finished is kept: `panorama rerun` goes on from there. Exit code 1 if one could not be ended.

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
    told = client.request(str(home / "study.yml"), {"op": "cancel", "keys": open_}, start=True) if open_ else {}
    if told is None:
        raise ServerError(f"{home}: the study server went away before it had ended them; ask again")
    ended, problems = told.get("cancelled", []), told.get("problems", {})
    if as_json:
        write_json(
            {"cancelled": [keys[key] for key in ended], "problems": {keys[key]: problems[key] for key in problems}}
        )
        return 1 if problems else 0
    for key, name in keys.items():
        words = "is being ended" if key in ended else problems.get(key) or "had ended already"
        click.echo(f"evaluation {name}: {words}")
    return 1 if problems else 0
