"""What a supervised process is, how it is doing, and how long is waited for what."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ._checks import Check


@dataclass(frozen=True)
class Patience:
    """How long is waited for what.

    Attributes
    ----------
    first, longest : float
        Pause after the first failure, and the longest; it doubles each time, and is cut by up to a half at random [s].
    steady : float
        A process that was well for so long has not failed before [s].
    first_tries, tries : int
        Failures in a row after which a process is given up: one that was never well, and one that was.
    starting, looking : float
        Time between two looks at a process that starts, and at one that is well [s].
    """

    first: float = 0.5
    longest: float = 30.0
    steady: float = 10.0
    first_tries: int = 3
    tries: int = 10
    starting: float = 0.05
    looking: float = 2.0

    def pause(self, failures: int) -> float:
        """After so many failures in a row [s]."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Part:
    """A process to be kept running.

    Attributes
    ----------
    name : str
        What it is called; its log too.
    command : sequence of str
        The command; it stays in the foreground.
    environment : mapping
        Its whole environment.
    folder : Path
        Its working directory.
    check : callable
        Whether it is well.
    after : tuple of str
        Parts that are well before it is started.
    needed : bool
        Whether all ends when it is given up.
    starts : callable
        Called before each start.
    hear : callable
        Called with each line that it writes; what it says True to is not logged.
    start_within : float
        It is well by then, or it is started again [s].
    silence : float
        It is started again when it was not well for so long [s].
    grace : float
        Time between SIGTERM and SIGKILL [s].
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    check: Check
    after: tuple[str, ...] = ()
    needed: bool = True
    starts: Callable[[], None] = lambda: None
    hear: Callable[[str], bool] = lambda _: False
    start_within: float = 60.0
    silence: float = 30.0
    grace: float = 10.0


class Condition(msgspec.Struct, kw_only=True):
    """How a part is doing.

    Attributes
    ----------
    name : str
        Of the part.
    state : str
        `waiting` for other parts, `starting`, `ready`, `unwell`, `pausing` before it is started again, `given up`,
        `ended`.
    pid : int or None
        Of its process.
    since : float
        When it came into this state [s since 1970].
    starts : int
        How often it was started.
    words : str
        Why it was not well at last.
    """

    name: str
    state: str = "waiting"
    pid: int | None = None
    since: float = 0.0
    starts: int = 0
    words: str = ""
