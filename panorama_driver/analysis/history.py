"""What attempts of each transformation were like, so that a new one can be compared with them while it runs.

The comparison is that of conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
doi:10.1007/978-3-031-06649-8): of n + 1 attempts that are alike, a new one has the largest value of a statistic with
probability 1/(n + 1), whatever its distribution. A running statistic that only grows is so compared at any moment.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import msgspec

WARM = 10
"""Attempts from which on a new one is compared with them."""
KEPT = 64
"""Attempts of a transformation that are remembered."""
MOST = 2000
"""Transformations that are remembered."""
_SEEN = 2  # readings that an attempt must have for its shape to be one


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a trace went up to.

    Attributes
    ----------
    busiest, write_rate : float
        [cores], [bytes/s] most in two intervals together.
    peak_memory, written : float
        [bytes]
    idle, part, starved, blocked, stopped, growing : float
        [s] longest stretch of each, as in `_online_stream.Stream`.
    io_speed, blocked_speed : float or None
        [bytes/s] likewise: least in two intervals together; None if nothing was moved, if it was not seen to wait.
    """

    busiest: float = 0.0
    write_rate: float = 0.0
    peak_memory: float = 0.0
    written: float = 0.0
    idle: float = 0.0
    part: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0
    stopped: float = 0.0
    growing: float = 0.0
    io_speed: float | None = None
    blocked_speed: float | None = None


_SPEEDS = ("io_speed", "blocked_speed")


def together(shapes: Iterable[Shape]) -> dict[str, Any]:
    """Of several the largest of each, and of the two speeds the least: what a new attempt is compared with."""
    each = list(shapes)
    largest = {
        name: max((getattr(one, name) for one in each), default=0.0)
        for name in Shape.__struct_fields__
        if name not in _SPEEDS
    }
    return largest | {name: min(_known(getattr(one, name) for one in each), default=None) for name in _SPEEDS}


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


class Portrait(Shape, frozen=True, kw_only=True):
    """What an attempt was like.

    Attributes
    ----------
    host : str or None
        Where it ran.
    wall_time, queue_time : float or None
        [s]
    readings : int
        Intervals that it was seen in; below two, the rest says nothing.
    cpu_rate : float
        [cores] on average.
    """

    host: str | None = None
    wall_time: float | None = None
    queue_time: float | None = None
    readings: int = 0
    cpu_rate: float = 0.0


class Limits(Shape, frozen=True, kw_only=True):
    """The largest of each that attempts of a transformation had; of the two speeds the least.

    Attributes
    ----------
    timed, queued, shaped : int
        Attempts whose wall time is known, whose queue time is, and that were seen in enough intervals.
    cpu_rate : float
        [cores] median of what attempts used on average.
    median_wall_time : float
        [s]
    """

    timed: int = 0
    queued: int = 0
    shaped: int = 0
    wall_time: float = 0.0
    median_wall_time: float = 0.0
    queue_time: float = 0.0
    cpu_rate: float = 0.0

    @property
    def warm(self) -> bool:
        """Whether the shape of a new attempt can be compared."""
        return self.shaped >= WARM


UNKNOWN = Limits()


class History:
    """Attempts that ended well, by transformation, the newest of each.

    Those that something was found of are left out: a fault that is in the history hides the next one. After `WARM` of
    them without one that was well between them they are how it is now, and are taken in.

    Parameters
    ----------
    kept : int
        Attempts of a transformation that are remembered.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._past: OrderedDict[str, _Past] = OrderedDict()

    def __len__(self) -> int:
        """Number of transformations."""
        return len(self._past)

    def add(self, transformation: str, portrait: Portrait, flagged: bool = False) -> None:
        """Remember an attempt that ended well; `flagged` if something was found of it."""
        past = self._past.get(transformation)
        if past is None:
            past = self._past[transformation] = _Past(self._kept)
            if len(self._past) > MOST:
                self._past.popitem(last=False)
        self._past.move_to_end(transformation)
        past.add(portrait, flagged)

    def limits(self, transformation: str | None) -> Limits:
        """What attempts of a transformation were at most."""
        past = self._past.get(transformation) if transformation is not None else None
        return past.limits if past is not None else UNKNOWN

    def wall_times(self, transformation: str, but_on: str) -> list[float]:
        """Of attempts on other hosts [s]."""
        past = self._past.get(transformation)
        found = past.portraits if past is not None else ()
        return [each.wall_time for each in found if each.wall_time is not None and each.host not in (None, but_on)]


class _Past:
    """The attempts of one transformation."""

    def __init__(self, kept: int) -> None:
        self.portraits: deque[Portrait] = deque(maxlen=kept)
        self._flagged: list[Portrait] = []
        self._limits: Limits | None = None

    def add(self, portrait: Portrait, flagged: bool) -> None:
        if flagged:
            self._flagged.append(portrait)
            if len(self._flagged) < WARM:
                return
        else:
            self.portraits.append(portrait)
            self._flagged.clear()
        self.portraits.extend(self._flagged)
        self._flagged.clear()
        self._limits = None

    @property
    def limits(self) -> Limits:
        if self._limits is None:
            self._limits = _limits(self.portraits)
        return self._limits


def _limits(portraits: Iterable[Portrait]) -> Limits:
    told = list(portraits)
    walls = _known(each.wall_time for each in told)
    queues = _known(each.queue_time for each in told)
    shaped = [each for each in told if each.readings >= _SEEN]
    return Limits(
        timed=len(walls),
        queued=len(queues),
        shaped=len(shaped),
        wall_time=max(walls, default=0.0),
        median_wall_time=statistics.median(walls) if walls else 0.0,
        queue_time=max(queues, default=0.0),
        cpu_rate=statistics.median([each.cpu_rate for each in shaped]) if shaped else 0.0,
        **together(shaped),
    )


def confidence(attempts: int, *, seen: bool = False) -> float:
    """Share of findings that would be right.

    Parameters
    ----------
    attempts : int
        In the history: of so many that are alike, 1/(attempts + 1) go beyond all others by chance.
    seen : bool
        The kernel itself told what is wrong, such as a process that is stopped, which halves the doubt.
    """
    doubt = 1 / (attempts + 1) if attempts >= WARM else 0.5
    return round(1 - doubt / (2 if seen else 1), 3)
