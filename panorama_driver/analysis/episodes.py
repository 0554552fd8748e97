"""Anomalies as episodes, from when they were found until they were over: what dashboard, report and CLI show."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import get_args

import msgspec

from ..errors import FormatError
from ..events import Event
from .records import FAMILY, Anomaly, Evidence, Kind, anomaly_of

KINDS = frozenset(f"{FAMILY}.{kind}" for kind in get_args(Kind))
"""Kinds of the events that tell anomalies, as stores know them."""
MOST = 5000
"""Episodes that are kept; of more, the newest."""

_LONGEST = 4000  # characters of a text, which may come from a job
_MOST_EVIDENCE = 40
_LAST_MOMENT = 8.64e12  # [s since 1970] that a calendar has (ECMA-262, 21.4.1.1)


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One anomaly from its beginning to its end.

    Attributes
    ----------
    episode_id : str
        Identity: that of the event that tells of its beginning.
    anomaly : Anomaly
        As it was found.
    over : float or None
        When it was as it should be again [s since 1970, UTC]; None while it is not, as far as anybody told.
    """

    episode_id: str
    anomaly: Anomaly
    over: float | None = None


class Episodes:
    """Episodes out of events, in whatever order these come, each as often as it likes.

    Attributes
    ----------
    known : dict of str to Episode
        By `episode_id`.
    damaged : int
        Events that tell of none.
    problem : str
        What was wrong with the last of these.
    left_out : int
        Older episodes that were let go, because there were more than `MOST`.
    """

    def __init__(self) -> None:
        self.known: dict[str, Episode] = {}
        self.damaged = 0
        self.problem = ""
        self.left_out = 0
        self._bad: set[str] = set()

    def take(self, events: Iterable[Event]) -> set[str]:
        """Take events in, and give the ids of the episodes that are new or have changed."""
        moved = {found for event in events if (found := self._take(event)) is not None}
        if len(self.known) > MOST:
            self._let_go()
        return moved & self.known.keys()

    def _take(self, event: Event) -> str | None:
        try:
            anomaly = checked(anomaly_of(event))
        except FormatError as problem:
            self._bury(event, problem)
            return None
        identity = _identity(anomaly)
        before = self.known.get(identity)
        now = _told(identity, before, anomaly)
        self.known[identity] = now
        return identity if now != before else None

    def _bury(self, event: Event, problem: FormatError) -> None:
        """Count it, once: whoever follows a store may meet it again."""
        if event.event_id not in self._bad and len(self._bad) < MOST:
            self._bad.add(event.event_id)
            self.damaged, self.problem = self.damaged + 1, f"workflow {event.wf_uuid}: {problem}"

    def _let_go(self) -> None:
        oldest = sorted(self.known, key=lambda identity: self.known[identity].anomaly.found)[: len(self.known) - MOST]
        for identity in oldest:
            del self.known[identity]
        self.left_out += len(oldest)

    def newest_first(self) -> list[Episode]:
        """All of them, the one that was found last first."""
        return sorted(self.known.values(), key=lambda each: (-each.anomaly.found, each.episode_id))


def worst_first(episodes: Iterable[Episode]) -> list[Episode]:
    """Those that go on before those that are over, then by how sure the detector is, then by how long they lasted."""
    return sorted(episodes, key=lambda each: (each.over is not None, -each.anomaly.confidence, -_lasted(each)))


def _lasted(each: Episode) -> float:
    end = each.anomaly.found if each.over is None else each.over
    return end - each.anomaly.since


def checked(anomaly: Anomaly) -> Anomaly:
    """An anomaly whose numbers can be shown, with texts of a length that can.

    Raises
    ------
    FormatError
        A number is none, or a moment is one that no calendar has.
    """
    numbers = [anomaly.confidence, *(each.observed for each in anomaly.evidence)]
    numbers += [each.expected for each in anomaly.evidence if each.expected is not None]
    if not all(map(math.isfinite, numbers)) or not 0 <= anomaly.confidence <= 1:
        raise FormatError(f"event {FAMILY}.{anomaly.kind}: confidence or evidence holds a number that cannot be")
    if not all(0 <= moment <= _LAST_MOMENT for moment in (anomaly.since, anomaly.found)):
        raise FormatError(f"event {FAMILY}.{anomaly.kind}: `since` or its time is no moment since 1970")
    evidence = tuple(map(_shortened, anomaly.evidence[:_MOST_EVIDENCE]))
    return msgspec.structs.replace(anomaly, message=_short(anomaly.message), evidence=evidence)


def _shortened(each: Evidence) -> Evidence:
    return msgspec.structs.replace(each, metric=_short(each.metric), unit=_short(each.unit), basis=_short(each.basis))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\u2026"


def _told(identity: str, before: Episode | None, anomaly: Anomaly) -> Episode:
    """The episode with what this tells as well; whoever heard only of its end knows it by that."""
    over = before.over if before is not None else None
    if anomaly.phase == "found":
        return Episode(episode_id=identity, anomaly=anomaly, over=over)
    begun = before.anomaly if before is not None else anomaly
    return Episode(episode_id=identity, anomaly=begun, over=anomaly.found)


def _identity(anomaly: Anomaly) -> str:
    return msgspec.structs.replace(anomaly, phase="found").anomaly_id
