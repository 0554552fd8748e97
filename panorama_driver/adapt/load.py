"""How much the running attempts compute and how much they wait for storage, out of their traces as these come."""

from __future__ import annotations

from collections import deque

import msgspec

from ..events import Event
from ..sources.traces import TRACE

WINDOW = 5.0
"""Time that is looked back [s]."""

_MOST_STREAMS = 4096
_LARGEST = 1e18  # what is more is no number of seconds


class Pressure(msgspec.Struct, frozen=True):
    """What the attempts that ran in a window did with their time.

    Attributes
    ----------
    blocked : float
        Share of it that they waited for block devices: seconds of I/O wait by second of an attempt.
    busy : float
        Processor seconds by second of an attempt.
    seconds : float
        Of all attempts together [s].
    """

    blocked: float
    busy: float
    seconds: float


class _Step(msgspec.Struct, frozen=True):
    """From one sample of an attempt to the next [s]."""

    until: float
    length: float
    computed: float
    blocked: float | None


class Load:
    """Takes trace events, in the order they come, and tells the `Pressure` of the last few seconds."""

    def __init__(self) -> None:
        self._last: dict[tuple[object, ...], Event] = {}
        self._steps: deque[_Step] = deque(maxlen=65536)

    def see(self, event: Event) -> None:
        """Take an event; only traces tell something."""
        if event.kind != TRACE or event.ts is None:
            return
        pid = event.fields.get("pid")
        stream = event.wf_uuid, event.job_id, event.attempt, pid if isinstance(pid, int) else None
        before = self._last.pop(stream, None)
        if not event.fields.get("final"):
            self._last[stream] = event
        if before is not None and (step := _step(before, event)) is not None:
            self._steps.append(step)
        if len(self._last) > _MOST_STREAMS:
            del self._last[next(iter(self._last))]

    def pressure(self, now: float) -> Pressure | None:
        """Of the window before `now` [s since 1970]; None where no attempt told of it, or none tells its I/O wait."""
        while self._steps and self._steps[0].until <= now - WINDOW:
            self._steps.popleft()
        known = [step for step in self._steps if step.blocked is not None and now - WINDOW < step.until <= now]
        seconds = sum(step.length for step in known)
        if seconds < WINDOW / 5:
            return None
        blocked = sum(step.blocked or 0.0 for step in known)
        return Pressure(blocked / seconds, sum(step.computed for step in known) / seconds, seconds)


def _step(before: Event, after: Event) -> _Step | None:
    """The step between two samples of an attempt; None where their order or a counter does not fit."""
    assert before.ts is not None
    assert after.ts is not None
    length = after.ts - before.ts
    computed = [_grown(before, after, name) for name in ("utime", "stime")]
    if length <= 0 or None in computed:
        return None
    return _Step(after.ts, length, sum(value or 0.0 for value in computed), _blocked(before, after, length))


def _blocked(before: Event, after: Event, length: float) -> float | None:
    """Time that it waited for block devices [s]; where the kernel does not count that, by what it does now."""
    waited = _grown(before, after, "iowait")
    processes = after.fields.get("blocked")
    if waited is not None or not isinstance(processes, int | float):
        return waited
    return length if processes > 0 else 0.0


def _grown(before: Event, after: Event, name: str) -> float | None:
    old, new = before.fields.get(name), after.fields.get(name)
    if not isinstance(old, int | float) or not isinstance(new, int | float):
        return None
    return float(new - old) if -_LARGEST < old <= new < _LARGEST else None
