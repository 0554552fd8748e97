"""How the stand-ins behave: a small file beside them that every command reads each time it starts."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ..config import convert
from ..errors import PanoramaError

ROOT = "PANORAMA_STANDINS"
"""Name of the environment variable that tells the commands their folder."""


class Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A partitionable slot of the pool.

    Attributes
    ----------
    cpus : int
        Cores.
    memory, disk : int
        What jobs may ask for [MB].
    machine : str
        Name of its host.
    """

    cpus: int = 8
    memory: int = 16_000
    disk: int = 100_000
    machine: str = "standin"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the stand-ins do; the defaults are the real thing's, where they cost no long waiting.

    Attributes
    ----------
    plan_seconds : float
        How long pegasus-plan takes [s].
    plan_error : str
        If not empty, pegasus-plan fails with these words.
    tmp_allowed : bool
        DAGMan takes a submit directory under /tmp; the real one does not.
    startup : float
        From DAGMan's start to its first submission [s].
    scan : float
        Interval at which DAGMan looks for events [s].
    lag : float
        How far monitord is behind DAGMan [s].
    linger : float
        Interval at which pegasus-dagman looks whether its two children have ended [s]; 15 in reality.
    periodic : float
        Interval at which HTCondor looks at a held job's `periodic_remove` [s].
    slots : list of Slot
        The pool; a job that fits none of them stays idle for ever.
    hold : dict
        Shell patterns of node names to the reason that such jobs are held for when they would start.
    idle : list of str
        Shell patterns of node names whose jobs match no slot.
    fate : dict
        Shell patterns of node names to what a batch system may do to a job although HTCondor says `return value 0`:
        `vanish` (it never runs, no output), `empty` (an empty output; the job goes on running),
        `raw15` (it is killed, its record has raw status 15).
    queues : list of str or None
        Queues of the batch system, jobs for others are held with sbatch's words; None takes any.
    monitord : str
        `standin`, or `released` for the real one of the virtual environment that the Ensemble Manager is in.
    """

    plan_seconds: float = 0.0
    plan_error: str = ""
    tmp_allowed: bool = False
    startup: float = 1.0
    scan: float = 1.0
    lag: float = 2.0
    linger: float = 15.0
    periodic: float = 60.0
    slots: list[Slot] = msgspec.field(default_factory=lambda: [Slot()])
    hold: dict[str, str] = {}
    idle: list[str] = []
    fate: dict[str, str] = {}
    queues: list[str] | None = None
    monitord: str = "standin"


def root() -> Path:
    """The folder that the stand-ins were installed into.

    Raises
    ------
    PanoramaError
        A command was not started by its script.
    """
    if ROOT not in os.environ:
        raise PanoramaError(
            f"{ROOT} is not set: start the stand-ins by the scripts that panorama_driver.testing.install writes"
        )
    return Path(os.environ[ROOT])


def load(folder: Path) -> Settings:
    """Read the settings of the stand-ins in `folder`."""
    path = folder / "settings.json"
    return (
        convert(msgspec.json.decode(path.read_bytes()), Settings, path, PanoramaError) if path.exists() else Settings()
    )


def save(folder: Path, settings: Settings) -> None:
    """Write the settings; commands that start from now on have them, and DAGMan as it goes."""
    new = folder / "settings.json.new"
    new.write_bytes(msgspec.json.encode(settings))
    new.replace(folder / "settings.json")
