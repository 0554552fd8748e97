"""What should have come and has not: a slot, the end of a job, the next sample of its probe."""

from __future__ import annotations

from ._online_attempts import Attempt
from ._online_rules import BEYOND, Sign
from .history import WARM, Limits, confidence
from .records import Evidence

_SILENT, _SILENT_LEAST = 10.0, 15.0  # intervals and [s] without a sample
_FRESH, _FRESH_LEAST = 5.0, 5.0  # intervals and [s]: a sample that is older did not come while the job runs
_QUEUED, _QUEUED_LEAST = 2.0, 60.0  # times the longest of the history, and [s]
_LONGER_LEAST = 2.0  # [s]


def in_queue(attempt: Attempt, limits: Limits, now: float) -> Sign | None:
    """A job that waits for a slot as none did."""
    if attempt.submitted is None or limits.queued < WARM or "idle_in_queue" in attempt.open:
        return None
    waited, longest = now - attempt.submitted, _QUEUED * limits.queue_time + _QUEUED_LEAST
    if waited <= longest:
        return None
    words = f"has waited for a slot for {waited:.0f} s; {limits.queued} others at most {limits.queue_time:.3g} s"
    basis = f"longest of {limits.queued} attempts"
    told = Evidence(metric="queue_time", observed=waited, expected=limits.queue_time, unit="s", basis=basis)
    return Sign("idle_in_queue", attempt.submitted + longest, confidence(limits.queued), words, (told,))


def overdue(attempt: Attempt, limits: Limits, now: float) -> Sign | None:
    """A job that runs for longer than any did, where nothing else explains it."""
    if attempt.started is None or limits.timed < WARM or attempt.open:
        return None
    elapsed = now - attempt.started
    if elapsed <= BEYOND * limits.wall_time + max(_LONGER_LEAST, 2 * attempt.interval):
        return None
    words = f"has run for {elapsed:.1f} s; {limits.timed} others took {limits.wall_time:.3g} s at most"
    basis = f"median of {limits.timed} attempts"
    told = Evidence(metric="wall_time", observed=elapsed, expected=limits.median_wall_time, unit="s", basis=basis)
    return Sign("slow_job", attempt.started + limits.wall_time, confidence(limits.timed), words, (told,))


def silence(attempt: Attempt, now: float, newest: float) -> Sign | None:
    """A job whose samples came while it ran and come no more, though those of others do, the `newest` just now."""
    if not attempt.streams:
        return None
    age = now - attempt.latest
    if age < max(_FRESH * attempt.interval, _FRESH_LEAST):
        attempt.fresh = True
    limit = max(_SILENT * attempt.interval, _SILENT_LEAST)
    if not attempt.fresh or age < limit or newest < attempt.latest + limit / 2 or "stalled" in attempt.open:
        return None
    words = f"has told nothing for {age:.0f} s, while others do: its probe or its host has stopped"
    told = Evidence(metric="silence", observed=age, expected=attempt.interval, unit="s", basis="interval asked for")
    return Sign("stalled", attempt.latest, 0.5, words, (told,))
