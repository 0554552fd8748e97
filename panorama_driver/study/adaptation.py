"""Looks for anomalies while a study's workflows run, and has done about them what study.yml allows.

None of it may hurt the study: whatever goes wrong here is told once, and the evaluations go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..adapt import NAME, Action, Actions, Adapter, Candidate, Load, Pressure
from ..analysis import Anomaly, as_record
from ..analysis.episodes import KINDS, Episodes
from ..analysis.following import StoreWatch
from ..analysis.online import Watch
from ..config import Adapt, Study
from ..events import Event
from ..store import Store
from .bounds import Bounds, metrics_of
from .definition import Definition
from .journal import STOPPED, Evaluation, Journal
from .runners import Runner

if TYPE_CHECKING:
    from .evaluations import Evaluations

_POLL = 0.5  # [s] between two looks
_CHEAP = frozenset({"makespan", "active_time"})
_SPARSELY = 10  # looks between two bounds that all events of a workflow are read for
_REVIVED = "what was found hopeless was allowed to run again; when it is asked for, it goes on where it stopped"
_log = logging.getLogger(__name__)


class Adaptation:
    """Watching and adapting, of one study.

    Parameters
    ----------
    evaluations : Evaluations
        Those that run, and may be stopped.
    journal : Journal
        What has been answered.
    store : Store
        What happens; anomalies go there as well.
    folder : Path
        The study's `.panorama` folder.
    """

    def __init__(self, evaluations: Evaluations, journal: Journal, store: Store, folder: Path) -> None:
        self._journal = journal
        self._store = store
        self._folder = folder
        self._evaluations = evaluations
        self._hands = _StudyHands(evaluations, journal)
        self._actions: Actions | None = None
        self._adapter: Adapter | None = None
        self._made_for: Study | None = None
        self._bounds: Bounds | None = None
        self._sparsely = 1
        self._definition = ""
        self._looks = 0
        self._watch: _Watch | None = None
        self._follower: StoreWatch | None = None
        self._task: asyncio.Task[None] | None = None
        self._at_work = asyncio.Lock()
        self._told: set[str] = set()

    async def prepare(self, definition: Definition, runner: Runner) -> None:
        """Begin to watch, unless that is done, and have the runner do what holds; called before a workflow runs."""
        if definition.study.monitoring.anomalies == "off":
            return
        if not self._is_armed(definition, runner):
            try:
                async with self._at_work:
                    if not self._is_armed(definition, runner):  # many evaluations may begin at a time
                        await self._arm(definition, runner)
            except Exception as problem:  # noqa: BLE001 (to watch is not what the study is for)
                self._tell("cannot begin to watch", problem)
                return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._go_on())

    def _is_armed(self, definition: Definition, runner: Runner) -> bool:
        return self._made_for is definition.study and self._hands.runner is runner

    async def _arm(self, definition: Definition, runner: Runner) -> None:
        study = definition.study
        self._hands.runner = runner
        self._adapter = None
        if study.adapt != Adapt() or (self._folder / NAME).exists():
            self._adapter = Adapter(study.adapt, self._opened(), self._hands)
            await self._adapter.restore()
        self._definition, self._hands.formulas = definition.fingerprint, definition.formulas
        self._bounds = None
        if study.adapt.stop_hopeless:
            forms = definition.responses.forms
            needed = frozenset[str]().union(*(metrics_of(form) or () for form in forms.values()))
            self._bounds = Bounds(forms, self._store)
            self._sparsely = 1 if needed <= _CHEAP else _SPARSELY
        if self._follower is None:
            self._watch = _Watch()
            self._follower = StoreWatch(self._store, self._watch)
            if self._adapter is not None:
                await self._adapter.see(await asyncio.to_thread(self._left), time.time())
        self._made_for = study

    def _left(self) -> list[Anomaly]:
        """What was found before this server started, and goes on as far as anybody knows: one that was killed may not
        have done anything about it, and a watch tells nothing twice."""
        episodes, cursor = Episodes(), 0
        while (page := self._store.since(cursor, KINDS)).events:
            episodes.take(page.events)
            cursor = page.cursor
        runs = {each.wf_uuid for each in self._journal.evaluations.values() if not each.over}
        left = [each.anomaly for each in episodes.newest_first() if each.over is None]
        return [each for each in reversed(left) if each.job_id is None or each.wf_uuid in runs]

    def _opened(self) -> Actions:
        self._actions = self._actions or Actions(self._folder)
        return self._actions

    async def _go_on(self) -> None:
        """Look while anything runs, and once more after."""
        idle = False
        while not (idle and self._evaluations.idle):
            idle = self._evaluations.idle
            await asyncio.sleep(_POLL)
            await self._look()

    async def _look(self) -> None:
        try:
            async with self._at_work:
                await self._see()
                await self._weigh()
                await self._tune()
        except Exception as problem:  # noqa: BLE001 (to watch is not what the study is for)
            self._tell("what runs could not be watched", problem)

    def _tell(self, where: str, problem: Exception) -> None:
        words = f"{where}: {type(problem).__name__}: {problem}"
        if words not in self._told:
            self._told.add(words)
            _log.warning("%s; the study goes on without", words, exc_info=True)

    async def _see(self) -> None:
        """In a thread: nobody who asks for an evaluation shall wait for it."""
        assert self._follower is not None
        found = await asyncio.to_thread(self._follower.poll)
        for anomaly in found:
            _log.info("anomaly %s %s: %s", anomaly.kind, anomaly.phase, anomaly.message)
        try:
            if self._adapter is not None:
                await self._adapter.see(found, time.time())
        finally:  # what was found is told also where nothing could be done about it
            if found and self._hands.runner is not None:
                self._hands.runner.publish(list(map(_line, found)))

    async def _weigh(self) -> None:
        self._looks += 1
        if self._bounds is None or self._adapter is None or self._looks % self._sparsely:
            return
        answered = [
            Candidate(each.key, each.eval_id, each.responses)
            for each in self._journal.evaluations.values()
            if each.state == "succeeded"
            and each.definition == self._definition
            and each.formulas == self._hands.formulas
        ]
        if answered:
            ours = [each for each in self._evaluations.running if each.definition == self._definition]
            running = await asyncio.to_thread(self._running, self._bounds, ours)
            await self._adapter.weigh(running, answered)

    @staticmethod
    def _running(bounds: Bounds, running: list[Evaluation]) -> list[Candidate]:
        now = time.time()
        return [Candidate(each.key, each.eval_id, bounds.of(each.wf_uuid or "", now)) for each in running]

    async def _tune(self) -> None:
        if self._adapter is not None and self._watch is not None and self._hands.runner is not None:
            now = time.time()
            await self._adapter.tune(self._watch.pressure(now), self._hands.runner.capacity, now)

    async def undo(self, action_id: str) -> Action:
        """Take an action back.

        Raises
        ------
        PanoramaError
            There is none of that id, nothing of it holds, or it cannot be written down.
        """
        async with self._at_work:
            adapter = self._adapter or Adapter(Adapt(), self._opened(), self._hands)
            return await adapter.undo(action_id)

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._actions is not None:
            self._actions.close()
            self._actions = None


class _Watch(Watch):
    """A watch that sees as well how hard the storage works."""

    def __init__(self) -> None:
        super().__init__()
        self._load = Load()

    def see(self, event: Event) -> list[Anomaly]:
        self._load.see(event)
        return super().see(event)

    def pressure(self, now: float) -> Pressure | None:
        """Of the attempts that run."""
        return self._load.pressure(now)


class _StudyHands:
    """Does what is decided, with the runner that has the study now, if any has."""

    def __init__(self, evaluations: Evaluations, journal: Journal) -> None:
        self._evaluations = evaluations
        self._journal = journal
        self.runner: Runner | None = None
        self.formulas = ""

    async def stop(self, key: str, reason: str, bounds: Mapping[str, float]) -> bool:
        return self._evaluations.stop(key, reason, bounds, self.formulas)

    async def revive(self, key: str) -> None:
        revive(self._journal, key)

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        return self.runner is not None and await self.runner.retry(wf_uuid, job_id, attempt, host)

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        return hosts if self.runner is None else await self.runner.avoid(hosts)

    async def limit(self, running: int | None) -> None:
        if self.runner is not None:
            await self.runner.limit(running)


def revive(journal: Journal, key: str) -> None:
    """Let an evaluation that was stopped run again when it is asked for."""
    known = journal.evaluations.get(key)
    if known is not None and known.state == STOPPED:
        journal.record(key, state="cancelled", message=_REVIVED, responses={})


def _line(anomaly: Anomaly) -> bytes:
    return msgspec.json.encode(as_record(anomaly)) + b"\n"
