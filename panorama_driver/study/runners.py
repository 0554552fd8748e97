"""What runs the workflows of a study: the embedded engine, or Pegasus through its Ensemble Manager."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ..collector.files import Drained, RunFollower
from ..config import Monitoring, Study
from ..engines.local import Slots, machine_slots, run_bundle
from ..engines.outcome import Outcome
from ..render import load_bundle
from ..store import Store

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

    def leave(self) -> None:
        """From now on, leave running what can run without us."""
        ...

    async def close(self) -> None:
        """Let go of everything, once what was cancelled has ended."""
        ...


def make_runner(study: Study, home: Path) -> Runner:
    """The runner that study.yml asks for; `home` is its folder."""
    if study.engine == "pegasus":
        from .pegasus import PegasusRunner  # it brings HTTP with it, which the embedded engine has no use for

        return PegasusRunner(study, home)
    return LocalRunner(study)


class LocalRunner:
    """The embedded engine, on this machine.

    Parameters
    ----------
    study : Study
        Says how many cores there are, and how often to look.
    """

    def __init__(self, study: Study) -> None:
        self._slots: Slots = machine_slots(None if study.slots == "auto" else study.slots)
        self._interval = study.interval_seconds

    def monitoring(self) -> Monitoring | None:
        return None

    def planner(self) -> str:
        return ""

    def new_uuid(self) -> str | None:
        return str(uuid.uuid4())

    def follower(self, directory: Path, store: Store) -> Follower:
        return RunFollower(directory / "run", store)

    async def run(self, ticket: Ticket) -> Outcome:
        assert ticket.wf_uuid is not None
        site = load_bundle(ticket.directory).execution
        ticket.handed(str(ticket.directory))
        return await run_bundle(ticket.directory, site, ticket.wf_uuid, self._slots, self._interval, ticket.rank)

    async def end(self, ticket: Ticket) -> None:
        """Its jobs have ended with the process that started them."""

    def leave(self) -> None:
        """Nothing of it can run without us."""

    async def close(self) -> None:
        """Its jobs have ended when they were cancelled."""
