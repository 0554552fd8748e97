"""How far a study is, read from its journal and its store while the server writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..errors import StoreError
from ..events import Event
from ..store import Store, open_store
from .client import FOLDER
from .journal import Evaluation, Reader, in_order

_KINDS = frozenset(
    {
        "stampede.xwf.start",
        "stampede.xwf.end",
        "stampede.job.info",
        "stampede.job_inst.main.start",
        "stampede.job_inst.post.end",
        "stampede.job_inst.abort.info",
    }
)


class Progress(msgspec.Struct, frozen=True):
    """Where one evaluation is.

    Attributes
    ----------
    evaluation : Evaluation
        Its last known state.
    jobs, done : int
        Jobs of its workflow, and those that have finished well.
    running : tuple of str
        Jobs that run now.
    makespan : float or None
        From the first start of its workflow to its last end [s]; None while it runs.
    """

    evaluation: Evaluation
    jobs: int
    done: int
    running: tuple[str, ...]
    makespan: float | None


class Follower:
    """Follows a study that may not even have started.

    Parameters
    ----------
    home : Path
        The study directory.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._journal = Reader(self._folder)
        self._cursor = 0
        self._store: Store | None = None
        self._workflows: dict[str, _Workflow] = {}
        self._told: dict[str, Progress] = {}

    def changes(self) -> Iterator[Progress]:
        """Evaluations that have moved since the last call, in their order."""
        moved = self._journal.advance()
        seen = self._read_store()
        if not moved and not seen:
            return
        for evaluation in in_order(self._journal.evaluations):
            if evaluation.key not in moved and evaluation.wf_uuid not in seen:
                continue
            now = self._of(evaluation)
            if self._told.get(evaluation.key) != now:
                self._told[evaluation.key] = now
                yield now

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()

    def _of(self, evaluation: Evaluation) -> Progress:
        workflow = self._workflows.get(evaluation.wf_uuid or "", _NOTHING)
        return Progress(evaluation, workflow.jobs, len(workflow.done), tuple(workflow.running), workflow.makespan)

    def _read_store(self) -> set[str]:
        """Take in what the store has got since the last call, and give the workflow runs that it is of."""
        seen: set[str] = set()
        if self._store is None and (self._folder / "store.db").exists():
            try:
                self._store = open_store(self._folder / "store.db", readonly=True)
            except StoreError:
                return seen  # it is being made
        while self._store is not None:
            events, self._cursor = self._store.since(self._cursor, _KINDS)
            if not events:
                break
            for event in events:
                self._workflows.setdefault(event.wf_uuid, _Workflow()).see(event)
                seen.add(event.wf_uuid)
        return seen


class _Workflow:
    def __init__(self) -> None:
        self.jobs = 0
        self.done: set[str] = set()
        self.running: dict[str, None] = {}
        self.start: float | None = None
        self.end: float | None = None

    @property
    def makespan(self) -> float | None:
        return None if self.start is None or self.end is None else self.end - self.start

    def see(self, event: Event) -> None:
        job = event.job_id or ""
        if event.kind == "stampede.xwf.start":
            self.start, self.end = event.ts if self.start is None else self.start, None
        elif event.kind == "stampede.xwf.end":
            self.end = event.ts
        elif event.kind == "stampede.job.info":
            self.jobs += 1
        elif event.kind == "stampede.job_inst.main.start":
            self.running[job] = None
        else:
            self.running.pop(job, None)
            if event.fields.get("status") == 0:
                self.done.add(job)


_NOTHING = _Workflow()
