"""How far a study is, read from its journal and its store while the server writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..errors import StoreError
from ..events import Event
from ..store import Store, open_store
from .client import FOLDER
from .journal import NAME, Evaluation, in_order, read

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
        self._size = -1
        self._cursor = 0
        self._store: Store | None = None
        self._evaluations: dict[str, Evaluation] = {}
        self._workflows: dict[str, _Workflow] = {}

    def changes(self) -> Iterator[Progress]:
        """Evaluations that have moved since the last call, in their order."""
        before = {key: self._of(evaluation) for key, evaluation in self._evaluations.items()}
        self._read()
        for evaluation in in_order(self._evaluations):
            now = self._of(evaluation)
            if before.get(evaluation.key) != now:
                yield now

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()

    def _of(self, evaluation: Evaluation) -> Progress:
        workflow = self._workflows.get(evaluation.wf_uuid or "", _NOTHING)
        return Progress(evaluation, workflow.jobs, len(workflow.done), tuple(workflow.running), workflow.makespan)

    def _read(self) -> None:
        journal = self._folder / NAME
        size = journal.stat().st_size if journal.exists() else -1
        if size != self._size:
            self._evaluations, self._size = read(self._folder), size
        if self._store is None and (self._folder / "store.db").exists():
            try:
                self._store = open_store(self._folder / "store.db", readonly=True)
            except StoreError:
                return  # it is being made
        while self._store is not None:
            events, self._cursor = self._store.since(self._cursor, _KINDS)
            if not events:
                return
            for event in events:
                self._workflows.setdefault(event.wf_uuid, _Workflow()).see(event)


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
