"""What was found in the runs of a study or a store, and what was done about it: kept as it comes in, for the pages."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..adapt import Action, read
from ..adapt.journal import NAME
from ..analysis import Episode, Episodes
from ..errors import StoreError
from ..events import Event
from ..store import Store
from ._places import Place
from .documents import ActionRow, AnomalyRow

MOST = 500
"""Anomalies that a document of a run or a job holds at most."""
MOST_ACTIONS = 200
"""Actions that a list of anomalies holds at most."""

_LARGEST = 64 << 20  # bytes of a file of actions; a larger one is not read
_PAGE = 1000

Named = Callable[[str], tuple[str | None, str | None]]
"""Gives key and number of an evaluation by its key, or by its workflow run."""


class Touched(NamedTuple):
    """Ids of anomalies and of actions that are new or have changed."""

    anomalies: set[str]
    actions: set[str]


def told(store: Store, kinds: Collection[str], cursor: int = 0) -> Iterator[Event]:
    """Events of some kinds that have come into a store since a cursor, in the order they came."""
    if cursor <= 0 and not store.count(kinds=kinds):
        return  # an index tells, where to look would take as long as to read everything
    while True:
        events, cursor = store.since(cursor, kinds, limit=_PAGE)
        yield from events
        if len(events) < _PAGE:
            return


class Book:
    """Anomalies and actions of one study or store.

    Parameters
    ----------
    place : Place
        Where it is.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._episodes = Episodes()
        self._actions = _Actions(place.folder) if place.kind == "study" else None
        self._moved = Touched(set(), set())
        self._by_anomaly: dict[str, list[Action]] = {}
        self._loose: list[Action] = []
        self._open = 0

    def forget(self) -> None:
        """The store is another one."""
        self._moved.anomalies.update(self._episodes.known)
        self._episodes = Episodes()

    def take(self, events: Iterable[Event]) -> None:
        """Take in what a store tells of anomalies."""
        self._moved.anomalies.update(self._episodes.take(events))

    def advance(self) -> bool:
        """Look what has been done meanwhile; whether anything has moved that `news` has not given yet."""
        if self._actions is not None and (changed := self._actions.advance()):
            self._moved.actions.update(changed)
            self._moved.anomalies.update(self._answered(changed))
        if not any(self._moved):
            return False
        self._sort()
        self._open = sum(each.over is None for each in self._episodes.known.values())
        return True

    def news(self) -> Touched:
        """What has moved since the last call."""
        moved, self._moved = self._moved, Touched(set(), set())
        return moved

    @property
    def actions(self) -> dict[str, Action]:
        """All that was done, by id, in the order it was."""
        return self._actions.known if self._actions is not None else {}

    def _answered(self, changed: set[str]) -> set[str]:
        """Anomalies that these actions answer."""
        self._sort()
        known = self._episodes.known.items()
        return {identity for identity, each in known if any(a.action_id in changed for a in self._done(each))}

    def _sort(self) -> None:
        self._by_anomaly, self._loose = {}, []
        for action in self.actions.values():
            if action.anomaly in self._episodes.known:
                self._by_anomaly.setdefault(action.anomaly or "", []).append(action)
            elif action.what != "set_running":
                self._loose.append(action)

    def _done(self, each: Episode) -> list[Action]:
        """What was done about an anomaly: what names it, and what names none that is known but its job or its host."""
        return [
            *self._by_anomaly.get(each.episode_id, ()),
            *(action for action in self._loose if _is_of_job(action, each) or _is_of_host(action, each)),
        ]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are, as a summary tells."""
        known = len(self._episodes.known)
        return {"anomalies": known, "anomalies_open": self._open, "actions": len(self.actions)}

    def episodes(self, kind: str = "", wf_uuid: str | None = None) -> list[Episode]:
        """Anomalies, the one that was found last first: all, or those of a kind, or of a run."""
        return [
            each
            for each in self._episodes.newest_first()
            if kind in ("", each.anomaly.kind) and wf_uuid in (None, each.anomaly.wf_uuid)
        ]

    def those(self, identities: set[str]) -> list[Episode]:
        """Anomalies by their ids, the one that was found last first."""
        return [each for each in self._episodes.newest_first() if each.episode_id in identities] if identities else []

    def row(self, each: Episode, named: Named) -> AnomalyRow:
        """An anomaly as pages show it."""
        key, number = named(each.anomaly.wf_uuid)
        return AnomalyRow(
            anomaly_id=each.episode_id,
            study=self._place.identity,
            evaluation=key,
            eval_id=number,
            anomaly=each.anomaly,
            over=each.over,
            actions=[self.action_row(action, named) for action in self._done(each)],
        )

    def action_row(self, action: Action, named: Named) -> ActionRow:
        """An action as pages show it."""
        _, number = named(action.evaluation or action.wf_uuid or "")
        undone = action.holds and action.what != "retry_attempt"  # an attempt that was ended stays so
        command = f"panorama adapt undo {shlex.quote(self._place.home)} {shlex.quote(action.action_id)}"
        return ActionRow(study=self._place.identity, action=action, eval_id=number, undo=command if undone else None)

    @property
    def problems(self) -> list[str]:
        """What could not be read, and what was left out, in words."""
        episodes, home = self._episodes, self._place.home
        damaged = f"{home}: {episodes.damaged} events tell of no anomaly, such as {episodes.problem}"
        left_out = f"{home}: {episodes.left_out} older anomalies are not kept here; the store has them"
        unread = "" if self._actions is None else self._actions.problem
        return [
            words for words, so in ((damaged, episodes.damaged), (left_out, episodes.left_out), (unread, unread)) if so
        ]


def _is_of_job(action: Action, each: Episode) -> bool:
    found = each.anomaly
    same = action.job_id is not None and (action.wf_uuid, action.job_id) == (found.wf_uuid, found.job_id)
    return same and (action.attempt is None or found.attempt in (None, action.attempt))


def _is_of_host(action: Action, each: Episode) -> bool:
    return action.what == "avoid_host" and action.host is not None and action.host == each.anomaly.host


class _Actions:
    """The actions of a study, read again whenever their file has changed.

    Parameters
    ----------
    folder : Path
        The study's `.panorama` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, ...] | None = None
        self.known: dict[str, Action] = {}
        self.problem = ""

    def advance(self) -> set[str]:
        """Read the file if it has changed; the ids of actions that have."""
        stamp = _stamp(self._folder / NAME)
        if stamp == self._stamp:
            return set()
        before, self._stamp = self.known, stamp
        self.known, self.problem = self._read(stamp)
        every = before.keys() | self.known.keys()
        return {each for each in every if before.get(each) != self.known.get(each)}

    def _read(self, stamp: tuple[int, ...] | None) -> tuple[dict[str, Action], str]:
        path = self._folder / NAME
        if stamp is None:
            return {}, ""
        if not stat.S_ISREG(stamp[-1]) or stamp[2] > _LARGEST:  # to open a pipe would wait for ever
            return {}, f"{path}: it is no file of actions, or larger than {_LARGEST >> 20} MiB"
        try:
            return {action.action_id: action for action in read(self._folder)}, ""
        except (OSError, StoreError) as problem:
            return {}, f"{path}: what was done cannot be read: {problem}"


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode
