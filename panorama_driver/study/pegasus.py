"""Runs the workflows of a study with Pegasus: through its Ensemble Manager, started where none answers."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..collector.files import Drained, RunFollower
from ..collector.submitdir import SubmitDirFollower
from ..config import Monitoring, Study, duration
from ..engines.outcome import Outcome
from ..engines.pegasus import condor, hosts, slurm
from ..engines.pegasus.manager import Manager
from ..engines.pegasus.roster import Roster
from ..engines.pegasus.run import Hooks, PegasusRun
from ..engines.pegasus.service import connect, own_account, up
from ..engines.pegasus.steering import Steering
from ..errors import ManagerError, SiteError, StudyError
from ..render import Site, load_bundle, steer
from ..sources.hosts import short_name
from ..store import Store
from .client import FOLDER
from .runners import Follower, Tell, Ticket

if TYPE_CHECKING:
    from .outlet import Outlet

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
    site : Site
        Where the jobs run.
    """

    def __init__(self, study: Study, home: Path, site: Site) -> None:
        self._study = study
        self._home = home
        self._site = site
        self._limit: int | None = None
        self._nodes: dict[str, str] = {}
        self._outlet: Outlet | None = None
        self._steering = Steering(self._prepare, queued=site.batch_system is None)
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
        run = await self._prepared(ticket)
        with self._steering.steered(run):
            return await run.run(ticket.again)

    async def end(self, ticket: Ticket) -> None:
        await (await self._prepared(ticket)).remove()

    async def _prepared(self, ticket: Ticket) -> PegasusRun:
        if unfit := unfit_place(ticket.directory):
            raise StudyError(unfit)
        condor.check_programs()
        async with self._starting:
            if self._roster is None:
                self._roster = Roster(await self._manager(ticket.tell), self._ensemble, self._study.ensemble)
                self._roster.limit = self._limit
        name = workflow_name(load_bundle(ticket.directory).workflow, ticket.key, ticket.directory)
        hooks = Hooks(planned=ticket.planned, tell=ticket.tell, handed=ticket.handed)
        priority = self._study.ensemble.priority if ticket.priority is None else ticket.priority
        return PegasusRun(ticket.directory, self._roster, name, priority, hooks, self._idle_timeout)

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        """HTCondor starts the same attempt again: its start, its host and what it used are then those of the last time.

        Raises
        ------
        SiteError
            The jobs are not HTCondor's to move.
        """
        if self._site.batch_system is not None:
            raise SiteError(
                f"site {self._site.name!r}: a job that {self._site.batch_system} runs cannot be sent to another host; "
                "cancel it there, and x-panorama.retries of the site file decides"
            )
        return await self._steering.retry(wf_uuid, job_id, attempt, host)

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        """Workflows that are not planned yet, and jobs that wait in HTCondor's queue, know it at once.

        Raises
        ------
        SiteError
            The site's batch system cannot be told.
        """
        known = await asyncio.to_thread(self._pool)
        avoided = _but_the_last(hosts, self._steering.hosts, known)
        await self._steering.avoid(avoided)
        return avoided

    def _pool(self) -> frozenset[str]:
        """Hosts that jobs may go to; none where that cannot be known."""
        if self._site.notes.this_machine:
            return frozenset({short_name(socket.gethostname())})
        if self._site.batch_system is None:
            return hosts.pool()
        if self._site.batch_system != "slurm":
            raise SiteError(
                f"site {self._site.name!r}: jobs of {self._site.batch_system} cannot be kept off a host from here; "
                "drain it, or name other nodes in the site file"
            )
        self._nodes = slurm.nodes()
        return frozenset(self._nodes)

    def _prepare(self, directory: Path, avoided: frozenset[str]) -> bool:
        if self._site.batch_system == "slurm":
            return steer(directory, slurm.profiles(avoided, self._nodes))
        return steer(directory, {"condor": hosts.profiles(avoided)} if avoided else {})

    async def limit(self, running: int | None) -> None:
        """Workflows that the ensemble runs at a time.

        Raises
        ------
        StudyError
            study.yml does not name the number, which other studies of the ensemble may have chosen.
        """
        if self.capacity is None:
            raise StudyError(
                f"{self._home / 'study.yml'}: how many workflows of ensemble {self._ensemble!r} run at a time is not "
                "this study's to change; name it: ensemble.max_running"
            )
        self._limit = running
        if self._roster is not None:
            await self._roster.limit_to(running, _log.info)

    @property
    def running_limit(self) -> int | None:
        return self._limit

    @property
    def capacity(self) -> int | None:
        return self._study.ensemble.max_running

    def leave(self) -> None:
        if self._roster is not None:
            self._roster.leave_running = True

    async def removed(self) -> None:
        if self._roster is not None:
            await self._roster.removed()

    def publish(self, lines: list[bytes]) -> None:
        """Workflows tell the broker themselves, by monitord; what is found in them is told from here."""
        if self._outlet is None and self._study.monitoring.broker:
            from .outlet import Outlet  # it brings pika with it, which few studies have use for

            self._outlet = Outlet(self._study.monitoring, self._home, self._home / FOLDER / "spool")
        if self._outlet is not None:
            self._outlet.pass_on(lines)

    def fall_silent(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close(0.0)

    async def close(self) -> None:
        self._steering.close()
        await self.removed()
        if self._outlet is not None:
            await asyncio.to_thread(self._outlet.close)

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


def _but_the_last(wanted: frozenset[str], before: frozenset[str], known: frozenset[str]) -> frozenset[str]:
    """The hosts that can be avoided: known ones where that can be told, and not the last one that is left."""
    fit = wanted.difference(hosts.unfit(wanted))
    if not known or known - fit:
        return fit
    return fit - {max(fit & known, key=lambda host: (host not in before, host))}


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
