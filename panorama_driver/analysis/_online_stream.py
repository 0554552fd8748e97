"""The samples of one process tree as they come: what it does now, and the most it has ever done, in a few numbers.

Counters become rates between two samples of about an interval's distance, called a reading. What is looked at is either
a stretch, the time for which readings have had a shape without a break, or a rate over the last two readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

IDLE = 0.02
"""Less of a core than this is none: what a program that only waits needs to look at its clock."""
PART = 0.75
"""Less than this share of the most that it used itself is part of it only."""
STARVED = 0.3
"""More than this share of its time in want of a processor is starved."""
GROWTH = 1 << 18
"""Less memory than this a second is no growth [bytes/s]."""

_WANTED = 0.15  # of a reading: less time without a processor is no want of one
_SHORT = 0.6  # of an interval: samples nearer to each other are taken together
_JUMP, _JUMP_LEAST = 4.0, 5.0  # intervals and [s]: after more the clock was set, or the machine was asleep
_WANTS = frozenset({"R", "T", ""})  # states of who computes, would if it were not stopped, or perhaps
_LATE = 60.0  # [s]
_LEAST_WAIT = 0.02  # of a reading: who computes all the time still takes that long for input and output
_LARGEST = 1e18
_KB = 1024.0


class Reading(NamedTuple):
    """What happened between two samples; None is unknown.

    Attributes
    ----------
    begin, end : float
        [s since 1970]
    cpu : float or None
        [cores] processor time over time.
    starved : float or None
        Share of the time in which its processes were ready to run and had no processor, of that and what they ran; 0
        where that was little.
    moved : float or None
        [bytes] from and to storage.
    written : float or None
        [bytes] by write calls.
    waited : float
        [s] neither computing nor ready to.
    memory, grown : float or None
        [bytes] at its end, and more than at its begin.
    state : str
        At its end: `R`, `S`, `D` or `T` as in proc(5), of the busiest process; empty where not told.
    """

    begin: float
    end: float
    cpu: float | None
    starved: float | None
    moved: float | None
    written: float | None
    waited: float
    memory: float | None
    grown: float | None
    state: str

    @property
    def length(self) -> float:
        return self.end - self.begin


class Stretch:
    """For how long something has been so without a break, and the longest that it ever was.

    Attributes
    ----------
    count : int
        Readings.
    first, prior : Reading or None
        The first of them, and the one before it, within which it may have begun.
    length, longest : float
        [s]
    """

    __slots__ = ("count", "first", "length", "longest", "prior")

    def __init__(self) -> None:
        self.count = 0
        self.length = self.longest = 0.0
        self.first: Reading | None = None
        self.prior: Reading | None = None

    def go_on(self, holds: bool, reading: Reading, before: Reading | None) -> None:
        """Take a reading, and the one before it."""
        if not holds:
            self.count = 0
            self.length = 0.0
            return
        if not self.count:
            self.first, self.prior = reading, before
        self.count += 1
        self.length += reading.length
        if self.length > self.longest:
            self.longest = self.length


class Stream:
    """One process tree.

    Attributes
    ----------
    last, before, older : Reading or None
        The three newest, the newest first.
    idle, part, starved, blocked, stopped, growing : Stretch
        Neither computes nor moves anything; computes, but less than `PART` of the most it did itself, though it wants
        to or nobody knows; starved; waits for storage at each sample; stopped at each sample; memory grows.
    busiest, write_rate : float
        Largest of two readings together: [cores], [bytes/s].
    slowness : float or None
        [bytes/s] of the last two readings together: what they moved over the time in which they did not compute.
    io_speed, blocked_speed : float or None
        [bytes/s] the least that it was, and where it waited for storage in the end.
    jumped : float
        [s] by which the clock was set, or for which the machine slept, before the newest sample.
    peak, written, cpu_time : float
        Most memory [bytes], and all that was seen of output [bytes] and processor time [s].
    """

    __slots__ = (
        "_base", "before", "blocked", "blocked_speed", "busiest", "cpu_time", "ended", "growing", "idle", "interval",
        "io_speed", "jumped", "last", "latest", "older", "part", "peak", "readings", "seq", "slowness", "starved",
        "stopped", "write_rate", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.interval = self.latest = self.jumped = 0.0
        self.seq = -1.0
        self.ended = False
        self.readings = 0
        self._base: _Counted | None = None
        self.last: Reading | None = None
        self.before: Reading | None = None
        self.older: Reading | None = None
        self.idle, self.part, self.starved = Stretch(), Stretch(), Stretch()
        self.blocked, self.stopped, self.growing = Stretch(), Stretch(), Stretch()
        self.busiest = self.write_rate = self.peak = self.written = self.cpu_time = 0.0
        self.slowness: float | None = None
        self.io_speed: float | None = None
        self.blocked_speed: float | None = None

    def take(self, ts: float, fields: Mapping[str, Any]) -> Reading | None:
        """Take a sample; gives the reading that it completes, if it does.

        A sample that is not newer than the last tells nothing. After a clock that was set or a machine that slept the
        next reading begins anew.
        """
        seq = quantity(fields.get("seq"))
        if self._is_old(ts, seq):
            return None
        steps = 1.0 if seq is None or self.seq < 0 else seq - self.seq
        base, before, self.latest, self.jumped = self._base, self.latest, ts, 0.0
        if ts < before:
            base, self.jumped = None, ts - before
        self.seq = self.seq if seq is None else seq
        self.ended = fields.get("final") is True
        self.interval = self.interval or quantity(fields.get("interval")) or 0.0
        now = _counted(ts, fields)
        length = ts - base.ts if base else 0.0
        if base is not None and length < _SHORT * self.interval:
            return None
        self._base = now
        self.interval = self.interval or length
        if base is None or not 0 < length <= _JUMP * self.interval * max(1.0, steps) + _JUMP_LEAST:
            self.jumped = self.jumped or length
            return None
        reading = _reading(base, now)
        self._note(reading)
        return reading

    def _is_old(self, ts: float, seq: float | None) -> bool:
        """Whether a sample came late, or again; one without a number may also come from a clock that was set back."""
        return seq <= self.seq if seq is not None else self.latest - _LATE < ts <= self.latest

    def _note(self, reading: Reading) -> None:
        self.older, self.before, self.last = self.before, self.last, reading
        self.readings += 1
        self._note_processor(reading, self.before)
        self._note_storage(reading, self.before)
        self._note_memory(reading, self.before)

    def _note_processor(self, reading: Reading, before: Reading | None) -> None:
        cpu, state = reading.cpu, reading.state
        still = cpu is not None and cpu < IDLE
        partly = cpu is not None and not still and cpu < PART * self.busiest and state in _WANTS
        nothing = still and not reading.moved and (reading.written or 0.0) < _KB
        self.idle.go_on(nothing, reading, before)
        self.part.go_on(partly, reading, before)
        self.starved.go_on(reading.starved is not None and reading.starved > STARVED, reading, before)
        self.stopped.go_on(state == "T", reading, before)
        self.blocked.go_on(state == "D", reading, before)
        if cpu is not None:
            self.cpu_time += cpu * reading.length
            if before is not None and before.cpu is not None:
                used = cpu * reading.length + before.cpu * before.length
                self.busiest = max(self.busiest, used / (reading.length + before.length))

    def _note_storage(self, reading: Reading, before: Reading | None) -> None:
        self.slowness = None
        self.written += reading.written or 0.0
        if before is None:
            return
        length = reading.length + before.length
        if reading.written is not None and before.written is not None:
            self.write_rate = max(self.write_rate, (reading.written + before.written) / length)
        if reading.moved is None or before.moved is None:
            return
        moved, waits = reading.moved + before.moved, reading.state == "D"
        if moved or (waits and before.state == "D"):
            self.slowness = moved / max(reading.waited + before.waited, _LEAST_WAIT * length)
            self.io_speed = _least(self.io_speed, self.slowness)
            if waits:
                self.blocked_speed = _least(self.blocked_speed, self.slowness)

    def _note_memory(self, reading: Reading, before: Reading | None) -> None:
        memory, grown = reading.memory, reading.grown
        self.growing.go_on(grown is not None and grown > GROWTH * reading.length, reading, before)
        if memory is not None and memory > self.peak:
            self.peak = memory

    @property
    def grown(self) -> float:
        """By how much memory has grown since it began to [bytes]."""
        first, last = self.growing.first, self.last
        if not self.growing.count or first is None or last is None or last.memory is None or first.memory is None:
            return 0.0
        return last.memory - first.memory + (first.grown or 0.0)


def _least(known: float | None, value: float) -> float:
    return value if known is None or value < known else known


class _Counted(NamedTuple):
    """What a sample tells, in seconds and bytes."""

    ts: float
    cpu: float | None
    runtime: float | None
    rundelay: float | None
    moved: float | None
    written: float | None
    memory: float | None
    procs: float | None
    state: str


def _counted(ts: float, fields: Mapping[str, Any]) -> _Counted:
    get = fields.get
    rss = quantity(get("rss"))
    return _Counted(
        ts,
        _sum(quantity(get("utime")), quantity(get("stime"))),
        quantity(get("runtime")),
        quantity(get("rundelay")),
        _sum(quantity(get("bread")), quantity(get("bwrite"))),
        quantity(get("wchar")),
        None if rss is None else rss * _KB,
        quantity(get("procs")),
        _state(get),
    )


def _state(get: Any) -> str:
    """Of the whole tree, by its busiest process."""
    running, blocked, stopped = get("running"), get("blocked"), get("stopped")
    if running is None or blocked is None or stopped is None:
        return ""
    for count, letter in ((running, "R"), (blocked, "D"), (stopped, "T")):
        if quantity(count):
            return letter
    return "S"


def _reading(base: _Counted, now: _Counted) -> Reading:
    length = now.ts - base.ts
    cpu = _growth(base.cpu, now.cpu)
    ran, delayed = _growth(base.runtime, now.runtime), _growth(base.rundelay, now.rundelay)
    starved = None
    if ran is not None and delayed is not None:
        starved = delayed / (ran + delayed) if delayed > _WANTED * length else 0.0
    busy = (cpu or 0.0) + (delayed or 0.0)
    return Reading(
        base.ts,
        now.ts,
        None if cpu is None else cpu / length,
        starved,
        _growth(base.moved, now.moved),
        _growth(base.written, now.written),
        max(0.0, length - busy),
        now.memory,
        None if now.memory is None or base.memory is None else now.memory - base.memory,
        now.state,
    )


def _growth(before: float | None, after: float | None) -> float | None:
    """What a counter grew by; unknown where it fell, since nobody knows what it had reached before."""
    return None if before is None or after is None or after < before else after - before


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def quantity(value: Any) -> float | None:
    """A finite number of at least 0, which may have come as text; None for anything else."""
    kind = value.__class__
    if kind is str:
        try:
            value = float(value)
        except ValueError:
            return None
    elif kind is not float and kind is not int:
        return None
    return float(value) if 0 <= value < _LARGEST else None
