"""`panorama anomalies`: what was found, where and since when, and what was done about it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..errors import StudyError, UsageError
from ._common import json_option, open_chosen, safe, study_home, write_json
from ._runs import started, workflow_in

if TYPE_CHECKING:
    from ..adapt import Action
    from ..analysis.episodes import Episode
    from ..store import Store


@click.command("anomalies")
@click.argument("words", metavar="[PATH] [EVAL|WF]", nargs=-1)
@json_option
def command(words: tuple[str, ...], as_json: bool) -> int:
    """List the anomalies that were found, the newest first, each with what was done about it.

    PATH is a study directory, or a store's file or URL; default: the study of this directory. EVAL (Dakota's number) or
    WF (a workflow run's uuid or its beginning) leaves those of one run.

    \b
    Examples:
      panorama anomalies mystudy
      panorama anomalies mystudy 3 --json | jq '.anomalies[] | {kind, message}'
    """
    path, which = _understood(words)
    home = None if _is_store(path) else study_home(Path(path))
    with open_chosen(Path(path), None if home else path, readonly=True) as store:
        wf_uuid = None if which is None else _run(which, home, store)
        episodes, problem = _found(store, wf_uuid)
    actions = _done(home)
    if as_json:
        write_json({"anomalies": [_told(each, actions) for each in episodes]})
    else:
        for each in episodes:
            for line in _lines(each, actions):
                click.echo(line)
        if not episodes:
            click.echo("no anomalies were found")
    if problem:
        click.echo(f"panorama: {safe(problem)}", err=True)
    return 0


def _understood(words: tuple[str, ...]) -> tuple[str, str | None]:
    """Path and run; a single word that is no path is a run of the study here.

    Raises
    ------
    UsageError
        There are more words.
    StudyError
        The path leads nowhere, or there is no study here that a run could be of.
    """
    if len(words) > 2:
        raise UsageError("give a study or a store, and one of its runs: panorama anomalies [PATH] [EVAL|WF]")
    if len(words) == 2:
        if not _is_store(words[0]) and not Path(words[0]).exists():
            raise StudyError(f"{words[0]}: no such file or folder; give a study's directory, or a store")
        return words[0], words[1]
    if not words or _is_store(words[0]) or Path(words[0]).exists():
        return words[0] if words else ".", None
    try:
        study_home(Path())
    except StudyError:
        told = "no such file or folder, and no study is here that it could be a run of"
        raise StudyError(f"{words[0]}: {told}; give a study's directory, or a store") from None
    return ".", words[0]


def _is_store(path: str) -> bool:
    return "://" in path or Path(path).is_file()


def _run(which: str, home: Path | None, store: Store) -> str | None:
    if home is None:
        return workflow_in(store, which)
    try:
        return started(which, home).wf_uuid
    except StudyError:
        return workflow_in(store, which)


def _found(store: Store, wf_uuid: str | None) -> tuple[list[Episode], str]:
    """Episodes, the newest first, and what was wrong with events that tell of none."""
    from ..analysis.episodes import KINDS, Episodes

    episodes = Episodes()
    if wf_uuid is not None:
        episodes.take(store.events(wf_uuid, KINDS))
    else:
        cursor = 0
        while (page := store.since(cursor, KINDS)).events:
            episodes.take(page.events)
            cursor = page.cursor
    told = f"{episodes.damaged} events tell no anomaly, such as {episodes.problem}" if episodes.damaged else ""
    return episodes.newest_first(), told


def _done(home: Path | None) -> dict[str, list[Action]]:
    """Actions by the anomaly that they answer."""
    from ..adapt import read
    from ..study.client import FOLDER

    actions: dict[str, list[Action]] = {}
    for action in read(home / FOLDER) if home is not None else ():
        if action.anomaly is not None:
            actions.setdefault(action.anomaly, []).append(action)
    return actions


def _told(each: Episode, actions: dict[str, list[Action]]) -> dict[str, Any]:
    anomaly = msgspec.to_builtins(each.anomaly)
    del anomaly["phase"]
    done = msgspec.to_builtins(actions.get(each.episode_id, []))
    return {"anomaly_id": each.episode_id, **anomaly, "over": each.over, "actions": done}


def _lines(each: Episode, actions: dict[str, list[Action]]) -> Iterable[str]:
    anomaly = each.anomaly
    end = "goes on" if each.over is None else f"over at {_clock(each.over)}"
    yield f"{time.strftime('%Y-%m-%d', time.localtime(anomaly.found))} {_clock(anomaly.found)}  {anomaly.kind}"
    yield f"  {safe(anomaly.message)}"
    yield f"  since {_clock(anomaly.since)}, {end}; sure to {anomaly.confidence:.0%}; run {safe(anomaly.wf_uuid)}"
    for action in actions.get(each.episode_id, ()):
        yield f"  {action.what} {action.state}: {safe(action.reason)} ({action.action_id})"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
