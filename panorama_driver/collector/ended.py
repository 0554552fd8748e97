"""What was lost on its way is looked for on disk when a workflow has ended, where its files are on this machine."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Self

from ..errors import EnvironmentMissingError, StoreError, UsageError
from ..store import Store
from .completeness import RECONCILED
from .reconcile import named_place, reconcile

SETTLE = 5.0
"""Time after a workflow's end for its last events to arrive [s]."""
_LOOK = 1.0  # seconds
_PATIENCE = 0.5  # seconds
_END = "stampede.xwf.end"
_log = logging.getLogger(__name__)


class EndedWorkflows:
    """Reconciles each workflow of a store once it has ended, in a thread of its own.

    Only directories of this user are read: where a workflow's files are is known from its events, which others may
    have sent.

    Parameters
    ----------
    store : Store
        Whose workflows.
    settle : float
        Time after a workflow's end for its last events to arrive [s].
    """

    def __init__(self, store: Store, *, settle: float = SETTLE) -> None:
        self._store = store
        self._settle = settle
        self._cursor = 0
        self._caught_up = False
        self._due: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ended", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_PATIENCE)  # what it is at is done again by the next collector

    def finish(self) -> None:
        """See to all that have ended, at once.

        Raises
        ------
        StoreError
            The store could not be read or written.
        """
        self._over.set()
        self._thread.join()
        self._hear()
        for wf_uuid in self._due:
            self._reconcile(wf_uuid)

    def _run(self) -> None:
        while not self._over.wait(_LOOK):
            try:
                self._look()
            except StoreError as problem:
                _log.warning("%s", problem)  # it is tried again, with the same workflows

    def _look(self) -> None:
        self._hear()
        for wf_uuid in [wf_uuid for wf_uuid, due in self._due.items() if due <= time.monotonic()]:
            if self._over.is_set():
                return
            self._reconcile(wf_uuid)
            del self._due[wf_uuid]

    def _hear(self) -> None:
        """Note which workflows have ended; of those that had before we began, only which nobody has seen to."""
        page = self._store.since(self._cursor, {_END})
        for event in page.events:
            if self._caught_up or not any(self._store.events(event.wf_uuid, {RECONCILED})):
                self._due[event.wf_uuid] = time.monotonic() + self._settle
        self._cursor = page.cursor
        self._caught_up = self._caught_up or not page.events

    def _reconcile(self, wf_uuid: str) -> None:
        try:
            if named_place(self._store, wf_uuid).stat().st_uid == os.geteuid():
                _log.info("%s", reconcile(self._store, wf_uuid).words)
        except StoreError:
            raise
        except (UsageError, EnvironmentMissingError, OSError) as problem:
            _log.info("workflow %s: %s", wf_uuid, problem)
