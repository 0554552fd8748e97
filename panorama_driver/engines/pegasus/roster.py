"""What the manager says of all workflows of one ensemble, asked once for all who wait, and patiently."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from ...config import MAX_PLANNING, MAX_RUNNING, Ensemble
from ...errors import ManagerError
from .manager import Manager, Workflow

_FRESH = 2.0  # [s]
_BETWEEN = 1.0  # [s]
_PATIENCE = 300.0  # [s]
_Answer = TypeVar("_Answer")


class Roster:
    """One ensemble at its manager.

    Parameters
    ----------
    manager : Manager
        Who is asked.
    name : str
        The ensemble's name.
    settings : Ensemble
        Limits and priority.
    patience : float
        A manager that does not answer is waited for so long [s]: it may be on its way back.

    Attributes
    ----------
    limit : int or None
        Workflows that may run at a time, in place of what the settings name.
    """

    def __init__(self, manager: Manager, name: str, settings: Ensemble, patience: float = _PATIENCE) -> None:
        self.manager = manager
        self.name = name
        self.settings = settings
        self.leave_running = False
        self._patience = patience
        self._known: dict[str, Workflow] = {}
        self._asked = 0.0
        self._look: asyncio.Task[None] | None = None
        self.limit: int | None = None
        self._made = False
        self._away = False
        self._removals: dict[str, set[asyncio.Task[None]]] = {}
        self._lock = asyncio.Lock()

    async def prepare(self, tell: Callable[[str], None]) -> None:
        """Make the ensemble, or give it the study's limits.

        Raises
        ------
        ManagerError
            The manager refuses, or did not answer for minutes; so for every method.
        """
        async with self._lock:
            if not self._made:
                await self.ask(lambda: self._create(), tell)
                self._made = True

    def _create(self) -> None:
        """Make the ensemble, or give it the limits that the study names; what it does not name is not its business."""
        found = self.manager.ensemble(self.name)
        running, planning = (found.max_running, found.max_planning) if found else (MAX_RUNNING, MAX_PLANNING)
        running = self.limit or self.settings.max_running or running
        self.manager.create(self.name, running, self.settings.max_planning or planning)

    async def limit_to(self, running: int | None, tell: Callable[[str], None]) -> None:
        """Let no more workflows than this run at a time; None is what the study names. What runs goes on."""
        async with self._lock:
            self.limit, self._made = running, False
        await self.prepare(tell)

    async def find(self, ensemble: str, name: str, tell: Callable[[str], None]) -> Workflow | None:
        """A workflow as the manager had it a moment ago, or when it last answered.

        A manager that takes its time is not waited for where it has answered before. One that was submitted when the
        study still named another ensemble is asked for by itself.
        """
        if ensemble != self.name:
            return await self.ask(lambda: self.manager.workflow(ensemble, name), tell)
        if self._look is None or (self._look.done() and time.monotonic() - self._asked > _FRESH):
            self._look = asyncio.create_task(self._ask_all(tell))
        if not self._asked:
            await asyncio.wait({self._look})
        if self._look.done():
            self._look.result()
        return self._known.get(name)

    async def _ask_all(self, tell: Callable[[str], None]) -> None:
        try:
            found = await asyncio.to_thread(self.manager.workflows, self.name)
        except ManagerError as problem:
            if not problem.transient:
                raise
            if not self._away:
                tell(f"{problem}; what runs is watched all the same")
            self._away = True
        else:
            self._known = {workflow.name: workflow for workflow in found}
            self._away = False
        finally:
            self._asked = time.monotonic()

    def free_name(self, wanted: str) -> str:
        """A name that the manager does not know: it never forgets one, not even that of a study that was deleted."""
        known = {workflow.name for workflow in self.manager.workflows(self.name)}
        return next(name for name in _numbered(wanted) if name not in known)

    def forget(self) -> None:
        """What was known, and what is being asked, is out of date."""
        self._asked, self._look = 0.0, None

    def in_background(self, name: str, removal: Coroutine[Any, Any, None]) -> None:
        """Have a workflow removed while those who waited for it go on."""
        task = asyncio.create_task(removal)
        self._removals.setdefault(name, set()).add(task)
        task.add_done_callback(self._removals[name].discard)

    async def removed(self, name: str | None = None) -> None:
        """Wait until a workflow, or all of them, has been removed, if it was to be."""
        tasks = {task for known, tasks in self._removals.items() if name in (None, known) for task in tasks}
        if tasks:
            await asyncio.wait(tasks)  # which, unlike gather, does not end them with who waits

    async def ask(self, question: Callable[[], _Answer], tell: Callable[[str], None]) -> _Answer:
        """Have a question answered, and wait for a manager that is away."""
        end = time.monotonic() + self._patience
        told = False
        while True:
            try:
                return await asyncio.to_thread(question)
            except ManagerError as problem:
                if not problem.transient or time.monotonic() > end:
                    raise
                if not told:
                    tell(f"{problem}; waiting for it")
                    told = True
            await asyncio.sleep(_BETWEEN)


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))
