"""Runs the workflows of a study with Pegasus: through its Ensemble Manager, started where none answers."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import msgspec

from ..collector.files import Drained, RunFollower
from ..collector.submitdir import SubmitDirFollower
from ..config import Monitoring, Study, duration
from ..engines.outcome import Outcome
from ..engines.pegasus import condor
from ..engines.pegasus.manager import Manager
from ..engines.pegasus.roster import Roster
from ..engines.pegasus.run import Hooks, PegasusRun
from ..engines.pegasus.service import connect, own_account, up
from ..errors import ManagerError, StudyError
from ..render import load_bundle
from ..store import Store
from .runners import Follower, Tell, Ticket

_FIT_PATH = re.compile(r"[A-Za-z0-9_./+,:@%=-]+")
_INTERVAL = 2.0  # [s] how often a manager that is started here looks at its workflows
_log = logging.getLogger(__name__)


class PegasusRunner:
    """Pegasus' Ensemble Manager, the planner and HTCondor.

    Parameters
    ----------
    study : Study
        Says which manager and ensemble, with which limits, and how jobs are watched.
    home : Path
        The study's folder.
    """

    def __init__(self, study: Study, home: Path) -> None:
        self._study = study
        self._home = home
        self._ensemble = study.ensemble.name or ensemble_name(home)
        self._idle_timeout = duration(study.idle_timeout)
        self._roster: Roster | None = None
        self._starting = asyncio.Lock()

    def monitoring(self) -> Monitoring | None:
        monitoring = self._study.monitoring
        if monitoring.credentials is None:
            return monitoring
        path = self._home / Path(monitoring.credentials).expanduser()
        return msgspec.structs.replace(monitoring, credentials=str(path))

    def planner(self) -> str:
        return planner_version()

    def new_uuid(self) -> str | None:
        return None

    def follower(self, directory: Path, store: Store) -> Follower:
        return _Both(SubmitDirFollower(directory / "run", store), RunFollower(directory / "output", store))

    async def run(self, ticket: Ticket) -> Outcome:
        return await (await self._prepared(ticket)).run(ticket.again)

    async def end(self, ticket: Ticket) -> None:
        await (await self._prepared(ticket)).remove()

    async def _prepared(self, ticket: Ticket) -> PegasusRun:
        if unfit := unfit_place(ticket.directory):
            raise StudyError(unfit)
        condor.check_programs()
        async with self._starting:
            self._roster = self._roster or Roster(
                await self._manager(ticket.tell), self._ensemble, self._study.ensemble
            )
        name = workflow_name(load_bundle(ticket.directory).workflow, ticket.key, ticket.directory)
        hooks = Hooks(planned=ticket.planned, tell=ticket.tell, handed=ticket.handed)
        priority = self._study.ensemble.priority if ticket.priority is None else ticket.priority
        return PegasusRun(ticket.directory, self._roster, name, priority, hooks, self._idle_timeout)

    def leave(self) -> None:
        if self._roster is not None:
            self._roster.leave_running = True

    async def removed(self) -> None:
        if self._roster is not None:
            await self._roster.removed()

    async def close(self) -> None:
        await self.removed()

    async def _manager(self, tell: Tell) -> Manager:
        """The manager, started if it is ours to start; one that may be on its way back is waited for by the roster."""
        manager = connect(self._study.ensemble.url)
        try:
            await asyncio.to_thread(manager.ensembles)
        except ManagerError as problem:
            if not problem.transient or not self._may_start(manager):
                return manager
            await self._started(tell)
        return connect(self._study.ensemble.url)

    async def _started(self, tell: Tell) -> None:
        loop = asyncio.get_running_loop()

        def say(words: str) -> None:
            loop.call_soon_threadsafe(tell, words)

        try:
            started = await asyncio.to_thread(up, own_account(), _INTERVAL, say)
        except ManagerError as problem:
            tell(str(problem))  # one that was killed leaves its port to the planners it has started, for a while
        else:
            if started.fresh:
                tell(f"started an Ensemble Manager at {started.url}; `panorama ensemble down` ends it")

    def _may_start(self, manager: Manager) -> bool:
        """Only the user's own manager, and only where Pegasus is."""
        return os.getuid() != 0 and manager.url == own_account().url and shutil.which("pegasus-em") is not None


class _Both:
    """Two followers as one."""

    def __init__(self, *followers: Follower) -> None:
        self._followers = followers

    def poll(self) -> Drained:
        return sum((follower.poll() for follower in self._followers), Drained())

    def finish(self) -> Drained:
        return sum((follower.finish() for follower in self._followers), Drained())


def unfit_place(directory: Path) -> str:
    """Why Pegasus cannot run in a directory; empty where it can. plan.sh refuses the same."""
    path = str(directory.resolve())
    if not _FIT_PATH.fullmatch(path):
        return f"{path}: Pegasus cannot work in a path with blanks or special characters; choose another directory"
    if path.startswith("/tmp/"):
        return f"{path}: DAGMan refuses to run under /tmp; choose another directory"
    return ""


def ensemble_name(home: Path) -> str:
    """Name of the ensemble of a study that gives it none: the name of its folder."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", home.resolve().name)[:60].strip("-") or "panorama"


def workflow_name(workflow: str, key: str, directory: Path) -> str:
    """What the manager calls an evaluation: the same for the same key in the same place, so that it is found again."""
    digest = hashlib.blake2b(f"{key}\0{directory.resolve()}".encode(), digest_size=6).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', workflow)[:40]}-{digest}"


@cache
def planner_version() -> str:
    """What `pegasus-version` says; empty where it cannot be asked."""
    try:
        done = subprocess.run(
            ["pegasus-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        _log.warning("pegasus-version: %s", problem)
        return ""
    return done.stdout.strip()
