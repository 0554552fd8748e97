"""One store, opened only to look: again when it was replaced, and with what has moved in it since the last look."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..analysis import KINDS
from ..errors import StoreError
from ..events import Event
from ..store import Store, open_store
from ._anomalies import told
from ._cache import Cache

_END = "stampede.xwf.end"
_RETRY = 10.0  # seconds


class Moved(NamedTuple):
    """Workflow runs that have new events, each with the cursor of its newest, those that may have ended by these, and
    what they tell of anomalies.

    Where the store was `opened`, they are all there are.
    """

    marks: Mapping[str, int]
    ended: Collection[str]
    anomalies: Sequence[Event] = ()
    opened: bool = False


_NOTHING = Moved({}, ())


class Shelf:
    """A store by its path or URL, which may not be there yet.

    Parameters
    ----------
    where : str
        Path or URL.
    awaited : bool
        It need not be there: what is missing is then no problem.
    cache : Path or None
        Folder that keeps what was read of it.

    Attributes
    ----------
    problem : str or None
        Why it cannot be read.
    """

    def __init__(self, where: str, *, awaited: bool, cache: Path | None = None) -> None:
        self.where = where
        self.problem: str | None = None
        self._awaited = awaited
        self._folder = cache
        self._cache: Cache | None = None
        self._store: Store | None = None
        self._stamp: object = None
        self._retry = 0.0
        self._cursor = 0
        self._opened = False

    def store(self) -> Store:
        """The store.

        Raises
        ------
        StoreError
            It is not there, or cannot be read.
        """
        self._look()
        if self._store is None:
            raise StoreError(self.problem or f"{self.where}: there is no store yet; the first evaluation makes it")
        return self._store

    @property
    def cache(self) -> Cache | None:
        """What was read of it; None as long as there is nothing to read."""
        if self._cache is None and self._store is not None and self._cursor:
            self._cache = Cache(self._store, self._folder)
        return self._cache

    def moved(self) -> Moved:
        """What has come in since the last call; of a store that was opened meanwhile, every run."""
        self._look()
        if self._store is None:
            return _NOTHING
        try:
            return self._all(self._store) if self._opened else self._since(self._store)
        except StoreError as problem:
            self._give_up(problem)
            return _NOTHING

    def close(self) -> None:
        """Let go of the store."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def _look(self) -> None:
        """Open the store where it can be, and it was not or has been replaced."""
        stamp = self._found()
        if stamp == self._stamp and (self._store is not None or time.monotonic() < self._retry):
            return
        self.close()
        self._stamp, self.problem = stamp, None
        if stamp is None and self._awaited:
            return
        try:
            self._store, self._opened = open_store(self.where, readonly=True), True
        except StoreError as problem:
            self._give_up(problem)

    def _give_up(self, problem: StoreError) -> None:
        self.close()
        self.problem = str(problem)
        self._retry = time.monotonic() + _RETRY

    def _found(self) -> object:
        """What tells the file that is there from another one; of a URL nothing does."""
        if "://" in self.where:
            return self.where
        try:
            found = os.stat(self.where)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _all(self, store: Store) -> Moved:
        marks, self._cursor = store.changed(0)
        self._opened = False
        return Moved(marks, marks, list(told(store, KINDS)), opened=True)

    def _since(self, store: Store) -> Moved:
        before = self._cursor
        marks, self._cursor = store.changed(before)
        if not marks:
            return _NOTHING
        news = list(told(store, {_END, *KINDS}, before))
        ended = {event.wf_uuid for event in news if event.kind == _END}
        return Moved(marks, ended, [event for event in news if event.kind != _END])
