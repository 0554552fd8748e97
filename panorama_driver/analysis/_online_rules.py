"""What may be wrong with an attempt, one rule a kind: each looks at the whole shape of its trace, and at its history.

What the kernel tells decides between causes that look alike: a process that is ready but has no processor is starved,
one in state T is stopped, one in state D waits for storage, and one that sleeps may simply have nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ._online_stream import Reading, Stream, Stretch
from .history import Limits, confidence
from .records import Evidence, Kind

BEYOND = 1.25
"""A stretch that is so many times as long as the longest of the history goes beyond it."""
AT_LEAST = 2
"""Readings that a stretch must have."""

_COLD = 10  # readings, where there is nothing to compare with
_COLD_STARVED = 0.4
_COLD_IDLE = 60.0  # [s]
_SLOWER = 1 / 3  # of the slowest of the history
_MORE_OUTPUT, _MORE_WRITTEN = 2.0, 1.5
_MORE_MEMORY, _SHARE_GROWN = 1.05, 0.1
_SOME = 0.1  # of what there is all the time: less is noise
_MB = 1e6


class Sign(NamedTuple):
    """That something is wrong: the fields of an `Anomaly` that the rule knows."""

    kind: Kind
    since: float
    confidence: float
    message: str
    evidence: tuple[Evidence, ...]


Rule = Callable[[Stream, Limits, str], Sign | None]


def throttled(stream: Stream, limits: Limits, name: str) -> Sign | None:
    """It is ready to run and has no processor; or it is stopped and continued, or its processor is somebody else's."""
    if stream.starved.count >= AT_LEAST:
        return _starved(stream, limits, name)
    part = stream.part
    if part.count < AT_LEAST or not limits.warm or part.length <= BEYOND * limits.part or stream.last is None:
        return None
    now = stream.last.cpu or 0.0
    letters = {reading.state for reading in _recent(stream)}
    how = (
        "it is stopped by a signal (state T) and continued, again and again"
        if "T" in letters
        else "it would compute (state R), and nothing here keeps it from that: somebody else has the processor"
        if "R" in letters
        else "and moves no more than before"
    )
    return Sign(
        "throttled",
        onset(part, stream.last, _missing(stream)),
        confidence(limits.shaped, seen="T" in letters),
        f"gets {now:.2f} cores where it had {stream.busiest:.2f} for {part.length:.1f} s now: {how}",
        (
            Evidence(metric="cpu_time", observed=now, expected=stream.busiest, unit="s/s", basis="most of its own"),
            Evidence(metric="part_time", observed=part.length, expected=limits.part, unit="s", basis=_of(limits, name)),
        ),
    )


def _starved(stream: Stream, limits: Limits, name: str) -> Sign | None:
    stretch, last = stream.starved, stream.last
    if last is None or last.starved is None:
        return None
    if limits.warm:
        if stretch.length <= BEYOND * limits.starved:
            return None
    elif stretch.count < _COLD or last.starved < _COLD_STARVED:
        return None
    return Sign(
        "throttled",
        onset(stretch, last, lambda reading: reading.starved or 0.0),
        confidence(limits.shaped, seen=True),
        f"is ready to run but without a processor {last.starved:.0%} of that time, for {stretch.length:.1f} s now: "
        "a limit of its control group, or others on the same cores",
        (
            Evidence(metric="starved", observed=last.starved, expected=0.0, basis="of a processor of its own"),
            Evidence(
                metric="starved_time",
                observed=stretch.length,
                expected=limits.starved,
                unit="s",
                basis=_of(limits, name),
            ),
        ),
    )


def stalled(stream: Stream, limits: Limits, name: str) -> Sign | None:
    """It neither computes nor moves anything: stopped, or asleep for longer than it ever was."""
    stopped, idle, last = stream.stopped, stream.idle, stream.last
    if last is None or not idle.count:
        return None
    if stopped.count >= AT_LEAST and stopped.length > BEYOND * limits.stopped:
        how, seen = "it was stopped by a signal (state T); kill -CONT lets it go on", True
    elif last.state == "D" or not _asleep_too_long(stream, limits):
        return None
    else:
        how, seen = "it sleeps" if last.state == "S" else "it uses no processor time", False
    return Sign(
        "stalled",
        onset(stopped if seen else idle, last, _missing(stream)),
        confidence(limits.shaped, seen=seen),
        f"has neither computed nor moved anything for {idle.length:.1f} s: {how}",
        (
            Evidence(metric="idle_time", observed=idle.length, expected=limits.idle, unit="s", basis=_of(limits, name)),
            Evidence(metric="cpu_time", observed=last.cpu or 0.0, expected=stream.busiest, unit="s/s"),
        ),
    )


def _asleep_too_long(stream: Stream, limits: Limits) -> bool:
    idle = stream.idle
    if limits.warm:
        return idle.count >= AT_LEAST and idle.length > _beyond(limits.idle, stream)
    return idle.count >= _COLD and idle.length >= _COLD_IDLE and stream.cpu_time > 0


def slow_disk(stream: Stream, limits: Limits, name: str) -> Sign | None:
    """It waits for storage (state D), and what it moves in that time is far less than it was."""
    last, before, blocked = stream.last, stream.before, stream.blocked
    if last is None or before is None or last.state not in ("D", ""):
        return None  # who sleeps, or computes, does not wait for storage
    expected = limits.blocked_speed if limits.blocked_speed is not None else limits.io_speed
    speed = stream.slowness
    if limits.warm and speed is not None and expected and speed < _SLOWER * expected:
        words = f"moves {speed / _MB:.3g} MB/s while it waits for storage, and never less than {expected / _MB:.3g}"
        since = _slow_since(last, before)
    elif blocked.count >= AT_LEAST and _blocked_too_long(stream, limits):
        words = f"has waited for storage (state D) at every look for {blocked.length:.1f} s"
        since = blocked.first.begin if blocked.first else before.begin
    else:
        return None
    speeds = Evidence(
        metric="io_speed", observed=speed or 0.0, expected=expected, unit="bytes/s", basis=_of(limits, name)
    )
    stretch = Evidence(
        metric="blocked_time", observed=blocked.length, expected=limits.blocked, unit="s", basis=_of(limits, name)
    )
    return Sign("slow_disk", since, confidence(limits.shaped, seen=last.state == "D"), words, (speeds, stretch))


def _blocked_too_long(stream: Stream, limits: Limits) -> bool:
    if limits.warm:
        return stream.blocked.length > _beyond(limits.blocked, stream)
    return stream.blocked.count >= _COLD and stream.idle.count >= _COLD


def _slow_since(last: Reading, before: Reading) -> float:
    """When it became slow: in the first of two readings as late as it waited in it, if it moved much in that."""
    speeds = [(reading.moved or 0.0) / max(reading.waited, 1e-3) for reading in (before, last)]
    return before.begin if speeds[0] <= 2 * speeds[1] else before.end - before.waited


def leaking(stream: Stream, limits: Limits, name: str) -> Sign | None:
    """Its memory grows without a break, longer than it ever did or beyond what it ever had."""
    growing, last = stream.growing, stream.last
    if growing.count < AT_LEAST or last is None or last.memory is None:
        return None
    grown, memory = stream.grown, last.memory
    if limits.warm:
        beyond = memory > _MORE_MEMORY * limits.peak_memory + 2 * _MB
        longer = growing.length > _beyond(limits.growing, stream) and grown > _SHARE_GROWN * limits.peak_memory
        if grown < 4 * _MB or not (beyond or longer):
            return None
    elif growing.count < 3 * _COLD or grown < 0.75 * memory or grown < 256 * _MB:
        return None
    return Sign(
        "leaking",
        onset(growing, last, lambda reading: (reading.grown or 0.0) / reading.length),
        confidence(limits.shaped),
        f"has grown by {grown / _MB:.3g} MB to {memory / _MB:.4g} MB in {growing.length:.1f} s, without a break",
        (
            Evidence(
                metric="memory",
                observed=memory,
                expected=limits.peak_memory or None,
                unit="bytes",
                basis=_of(limits, name),
            ),
            Evidence(
                metric="growth_time",
                observed=growing.length,
                expected=limits.growing,
                unit="s",
                basis=_of(limits, name),
            ),
        ),
    )


def runaway_output(stream: Stream, limits: Limits, name: str) -> Sign | None:
    """It writes faster than it ever did, or more."""
    last, before = stream.last, stream.before
    if not limits.warm or last is None or before is None or last.written is None or before.written is None:
        return None
    volume = last.written + before.written
    rate = volume / (last.length + before.length)
    if rate > _MORE_OUTPUT * limits.write_rate + _MB and volume > 4 * _MB:
        found = ("write_rate", rate, limits.write_rate, "bytes/s")
        since = before.begin if before.written > _SOME * last.written else last.begin
    elif stream.written > _MORE_WRITTEN * limits.written + 16 * _MB and last.written:
        found, since = ("chars_written", stream.written, limits.written, "bytes"), last.begin
    else:
        return None
    metric, observed, expected, unit = found
    return Sign(
        "runaway_output",
        since,
        confidence(limits.shaped),
        f"has written {stream.written / _MB:.4g} MB, {rate / _MB:.3g} MB/s now",
        (Evidence(metric=metric, observed=observed, expected=expected, unit=unit, basis=_of(limits, name)),),
    )


RULES: dict[Kind, Rule] = {
    "throttled": throttled,
    "stalled": stalled,
    "slow_disk": slow_disk,
    "leaking": leaking,
    "runaway_output": runaway_output,
}
"""What is looked for in each reading."""


def onset(stretch: Stretch, last: Reading, value: Callable[[Reading], float]) -> float:
    """When a stretch began: within its first reading, or the one before it, where there was only part of it.

    Parameters
    ----------
    stretch : Stretch
        It goes on.
    last : Reading
        Its newest, which tells how much there is when it is there all the time.
    value : callable
        Of a reading, what is about nothing before the onset and steady after it.
    """
    level = value(last)
    for reading in (stretch.first, stretch.prior):
        share = value(reading) / level if reading is not None and level > 0 else 0.0
        least = _SOME if reading is stretch.prior else 0.0
        if reading is not None and least < share < 1 - _SOME:
            return reading.end - reading.length * share
        if reading is stretch.prior and reading is not None and share >= 1 - _SOME:
            return reading.begin
    return stretch.first.begin if stretch.first else last.begin


def _of(limits: Limits, name: str) -> str:
    return f"utmost of {limits.shaped} attempts of {name}"


def _missing(stream: Stream) -> Callable[[Reading], float]:
    """What it would have used of a processor, going by the most that it did."""
    return lambda reading: max(0.0, stream.busiest - (reading.cpu or 0.0))


def _recent(stream: Stream) -> list[Reading]:
    return [reading for reading in (stream.last, stream.before, stream.older) if reading is not None]


def _beyond(longest: float, stream: Stream) -> float:
    """What a stretch must be longer than; the ends of one that is known lie anywhere in an interval."""
    return BEYOND * longest + (stream.interval if longest else 0.0)
