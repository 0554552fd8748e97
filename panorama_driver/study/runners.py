"""What runs the workflows of a study: the embedded engine, or Pegasus through its Ensemble Manager."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..collector.files import Drained, RunFollower
from ..config import Monitoring, Study
from ..engines.local import Running, Slots, Watch, hostname, machine_slots, run_bundle
from ..engines.outcome import Outcome
from ..errors import StudyError
from ..render import Site, load_bundle
from ..sources.hosts import place, short_name
from ..store import Store
from .client import FOLDER

if TYPE_CHECKING:
    from .outlet import Outlet

Tell = Callable[[str], None]


class Ticket(msgspec.Struct, frozen=True):
    """One run of a bundle that is asked for.

    Attributes
    ----------
    directory : Path
        The bundle.
    key : str
        Of the evaluation.
    wf_uuid : str or None
        Identity of its workflow, where it has one.
    rank : int
        How early it came; those that came first go first.
    again : bool
        It has ended before, and is to do what it had not finished.
    priority : int or None
        Among the workflows of an ensemble; None is the study's.
    planned : callable
        To be told the workflow's uuid.
    tell : callable
        To be told what people should know.
    handed : callable
        To be told what it is called by whoever runs it, once that has it.
    """

    directory: Path
    key: str
    wf_uuid: str | None
    rank: int
    again: bool
    priority: int | None
    planned: Tell
    tell: Tell
    handed: Tell


class Follower(Protocol):
    """Brings what a run tells into the store."""

    def poll(self) -> Drained:
        """Collect what is new."""
        ...

    def finish(self) -> Drained:
        """Collect all the rest."""
        ...


class Runner(Protocol):
    """Runs bundles."""

    def monitoring(self) -> Monitoring | None:
        """How a bundle has its jobs watched; None where this runner does it."""
        ...

    def planner(self) -> str:
        """What `pegasus-version` says, where it matters."""
        ...

    def new_uuid(self) -> str | None:
        """Identity of a workflow that is about to run; None where the planner makes it."""
        ...

    def follower(self, directory: Path, store: Store) -> Follower:
        """What follows the run of a bundle."""
        ...

    async def run(self, ticket: Ticket) -> Outcome:
        """Run a bundle to its end; cancelled, it is ended."""
        ...

    async def end(self, ticket: Ticket) -> None:
        """End a run that another process has started, and may have left."""
        ...

    async def removed(self) -> None:
        """Wait until what was given up is gone."""
        ...

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        """End an attempt that is stalled, with all its processes, and have its job tried again elsewhere.

        It costs the job none of its own retries. The attempt is told as removed (`stampede.job_inst.abort.info`), with
        the reason `ended by the study server: stalled on HOST`.

        Returns
        -------
        bool
            Whether it ran, and has been ended; an attempt that has ended by itself, or is of none of our workflows,
            is left alone.
        """
        ...

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        """From now on, start nothing new on these hosts; those named before and not now are used again.

        What runs there goes on. A host is spelled as in metrics' `host`. Where nothing could run anywhere any more, the
        one that came last is used all the same.

        Returns
        -------
        frozenset of str
            Those of them that are avoided from now on.
        """
        ...

    async def limit(self, running: int | None) -> None:
        """From now on, let no more than this run at a time; None is what study.yml says. What runs goes on.

        It counts what `capacity` counts.
        """
        ...

    @property
    def running_limit(self) -> int | None:
        """What `limit` was last told."""
        ...

    @property
    def capacity(self) -> int | None:
        """What may run at a time unless limited: cores of the embedded engine, workflows of an ensemble; None where
        nobody has said."""
        ...

    def leave(self) -> None:
        """From now on, leave running what can run without us."""
        ...

    def publish(self, lines: list[bytes]) -> None:
        """Have lines of events, of anomalies for example, go to the broker, where the study names one."""
        ...

    def fall_silent(self) -> None:
        """Publish no more; what the broker has not taken yet stays in the spool."""
        ...

    async def close(self) -> None:
        """Let go of everything, once what was cancelled has ended."""
        ...


def make_runner(study: Study, home: Path, site: Site, earlier: Iterable[Runner] = ()) -> Runner:
    """The runner that study.yml asks for; `home` is its folder, and `site` where the jobs run.

    An `earlier` one publishes no more: one at a time has the spool, with what waits there for the broker.
    """
    for runner in earlier:
        runner.fall_silent()
    if study.engine == "pegasus":
        from .pegasus import PegasusRunner  # it brings HTTP with it, which the embedded engine has no use for

        return PegasusRunner(study, home, site)
    return LocalRunner(study, home, site)


def _slots(study: Study, home: Path) -> Slots:
    if isinstance(study.slots, str):
        return machine_slots()
    if isinstance(study.slots, int):
        return machine_slots(study.slots)
    try:
        return machine_slots(groups=study.slots)
    except StudyError as problem:
        raise StudyError(f"{home / 'study.yml'}: {problem}") from None


class LocalRunner:
    """The embedded engine, on this machine.

    Parameters
    ----------
    study : Study
        Says how many cores there are, how often to look, and whether a broker shall hear of it.
    home : Path
        The study's folder.
    site : Site
        Says where Darshan's library is.
    """

    def __init__(self, study: Study, home: Path, site: Site) -> None:
        self._slots = _slots(study, home)
        self._running: Running = {}
        darshan = site.notes.darshan if study.monitoring.darshan == "auto" else None
        tcp = study.monitoring.tcp == "auto"
        self._watch = Watch(interval=study.interval_seconds, darshan=darshan or "", tcp=tcp)
        self._outlet: Outlet | None = None
        if study.monitoring.broker:
            from .outlet import Outlet  # it brings pika with it, which few studies have use for

            self._outlet = Outlet(study.monitoring, home, home / FOLDER / "spool")

    def monitoring(self) -> Monitoring | None:
        return None

    def planner(self) -> str:
        return ""

    def new_uuid(self) -> str | None:
        return str(uuid.uuid4())

    def follower(self, directory: Path, store: Store) -> Follower:
        return RunFollower(directory / "run", store, pass_on=self.publish if self._outlet else None)

    def publish(self, lines: list[bytes]) -> None:
        if self._outlet is not None:
            self._outlet.pass_on(lines)

    def fall_silent(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close(0.0)

    async def run(self, ticket: Ticket) -> Outcome:
        assert ticket.wf_uuid is not None
        site = load_bundle(ticket.directory).execution
        ticket.handed(str(ticket.directory))
        return await run_bundle(
            ticket.directory, site, ticket.wf_uuid, self._slots, self._watch, ticket.rank, self._running
        )

    async def end(self, ticket: Ticket) -> None:
        """Its jobs have ended with the process that started them."""

    def leave(self) -> None:
        """Nothing of it can run without us."""

    async def removed(self) -> None:
        """Its jobs have ended when they were cancelled."""

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        """Tried again in another group of slots where there is one that is large enough."""
        found = self._running.get((wf_uuid, job_id, attempt))
        return found is not None and found.give_up(f"ended by the study server: stalled on {host}")

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        """A host is a group of slots."""
        groups = {self._host(group.name): group.name for group in self._slots.groups if group.name}
        avoided = self._slots.avoid(frozenset(groups[host] for host in hosts if host in groups))
        return frozenset(map(self._host, avoided))

    @staticmethod
    def _host(group: str) -> str:
        return place(short_name(hostname()), group)

    async def limit(self, running: int | None) -> None:
        self._slots.limit_to(running)

    @property
    def running_limit(self) -> int | None:
        return self._slots.limit

    @property
    def capacity(self) -> int | None:
        return self._slots.cores

    async def close(self) -> None:
        """Likewise."""
        if self._outlet is not None:
            await asyncio.to_thread(self._outlet.close)
