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
from ..engines.local import Slots, Watch, machine_slots, run_bundle
from ..engines.outcome import Outcome
from ..render import Site, load_bundle
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

    def leave(self) -> None:
        """From now on, leave running what can run without us."""
        ...

    async def close(self) -> None:
        """Let go of everything, once what was cancelled has ended."""
        ...


def make_runner(study: Study, home: Path, site: Site, earlier: Iterable[Runner] = ()) -> Runner:
    """The runner that study.yml asks for; `home` is its folder, and `site` where the jobs run.

    An `earlier` one publishes no more: one at a time has the spool, with what waits there for the broker.
    """
    if study.engine == "pegasus":
        from .pegasus import PegasusRunner  # it brings HTTP with it, which the embedded engine has no use for

        return PegasusRunner(study, home)
    for runner in earlier:
        if isinstance(runner, LocalRunner):
            runner.fall_silent()
    return LocalRunner(study, home, site)


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
        self._slots: Slots = machine_slots(study.slots if isinstance(study.slots, int) else None)
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
        return RunFollower(directory / "run", store, pass_on=self._pass_on if self._outlet else None)

    def _pass_on(self, lines: list[bytes]) -> None:
        if self._outlet is not None:
            self._outlet.pass_on(lines)

    def fall_silent(self) -> None:
        """Publish no more; what the broker has not taken yet stays in the spool."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.close(0.0)

    async def run(self, ticket: Ticket) -> Outcome:
        assert ticket.wf_uuid is not None
        site = load_bundle(ticket.directory).execution
        ticket.handed(str(ticket.directory))
        return await run_bundle(ticket.directory, site, ticket.wf_uuid, self._slots, self._watch, ticket.rank)

    async def end(self, ticket: Ticket) -> None:
        """Its jobs have ended with the process that started them."""

    def leave(self) -> None:
        """Nothing of it can run without us."""

    async def removed(self) -> None:
        """Its jobs have ended when they were cancelled."""

    async def close(self) -> None:
        """Likewise."""
        if self._outlet is not None:
            await asyncio.to_thread(self._outlet.close)
