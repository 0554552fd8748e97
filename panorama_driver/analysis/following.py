"""A store that is followed by a `Watch`: what comes in is looked at, what is found goes into the same store, once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..events import Event
from ..store import Store
from .online import KINDS, Watch
from .records import Anomaly, as_event, as_record

BUDGET = 0.2
"""Time that one `poll` takes at most, but for a page of events [s]."""
RECENT = 60.0
"""What was over before that many seconds [s] is no news."""

_PAGE = 500


class StoreWatch:
    """Looks for anomalies in what comes into a store, and puts them there as events.

    All that is in the store already is read first, in as many calls as it takes: it is the history that new attempts
    are compared with. Of what is found in it only that is told which still goes on, or was over a minute ago at most.
    What another process, or this one before it was started again, has found already is told to nobody.

    Parameters
    ----------
    store : Store
        Open for writing.
    watch : Watch, optional
        With a history of its own; a new one unless told.
    publish : callable, optional
        Takes the records of what is new, each of which `sources.parse` makes the same event of; a broker, for example.
    past : bool
        Keep and tell what was over long ago as well.
    clock : callable
        This machine's time [s since 1970].

    Attributes
    ----------
    caught_up : bool
        Whether the last call looked at all that there was.
    """

    def __init__(
        self,
        store: Store,
        watch: Watch | None = None,
        publish: Callable[[list[dict[str, Any]]], None] | None = None,
        *,
        past: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._watch = watch or Watch()
        self._publish = publish
        self._past = past
        self._clock = clock
        self._cursor = 0
        self._found: list[Anomaly] = []
        self.caught_up = False

    def poll(self, budget: float = BUDGET) -> list[Anomaly]:
        """Look at what has come in since the last time; gives what was found in it and is new, oldest first.

        Parameters
        ----------
        budget : float
            After so long [s] the rest is left to the next call.

        Raises
        ------
        StoreError
            The store could not be read or written; the next call goes on where this one stopped.
        """
        self.caught_up = self._read(time.monotonic() + budget)
        if self.caught_up:
            self._found += self._watch.tick(self._clock())
            return self._tell()
        return []

    @property
    def settled(self) -> bool:
        """Whether all that is in the store has been looked at, and nothing more can be said of it."""
        return self.caught_up and not self._watch.ending

    @property
    def over(self) -> bool:
        """Whether that is so, and every run that began in it has ended."""
        return self.settled and self._watch.began > 0 and not self._watch.running

    def _read(self, deadline: float) -> bool:
        """Whether all that there is has been looked at."""
        while True:
            page = self._store.since(self._cursor, KINDS, limit=_PAGE)
            self._cursor = page.cursor  # before: a page that cannot be looked at must not be met again and again
            for event in page.events:
                self._found += self._watch.see(event)
            if len(page.events) < _PAGE:
                return True
            if time.monotonic() > deadline:
                return False

    def _tell(self) -> list[Anomaly]:
        told: list[Anomaly] = []
        while self._found:  # what the store does not take stays for the next call
            anomaly = self._found[0]
            if self._is_news(anomaly) and self._store.put([as_event(anomaly)]):
                told.append(anomaly)
            del self._found[0]
        if told and self._publish is not None:
            self._publish([as_record(anomaly) for anomaly in told])
        return told

    def _is_news(self, anomaly: Anomaly) -> bool:
        if self._past or anomaly.found > self._clock() - RECENT:
            return True
        if anomaly.phase == "over":
            return self._is_known(msgspec.structs.replace(anomaly, phase="found"))
        return self._watch.goes_on(anomaly)

    def _is_known(self, anomaly: Anomaly) -> bool:
        event: Event = as_event(anomaly)
        return self._store.ingested(event) is not None
