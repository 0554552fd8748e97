"""How many jobs should run at a time, by how much those that run wait for storage."""

from __future__ import annotations

from .load import WINDOW, Pressure

HIGH, LOW = 0.5, 0.2
"""Share of attempts' time that they wait for storage: above the one there are too many, below the other too few."""
IDLE = 0.3
"""Processor seconds by second of an attempt, above which processors are not idle enough for fewer to run."""
WINDOWS = 3
"""Windows in a row that must say the same."""
REST = 30.0
"""Least time between two changes [s]."""


class Tuner:
    """Raises and lowers a number by one, slowly: only after several windows agree, and not soon after a change."""

    def __init__(self) -> None:
        self._same = 0
        self._looked = float("-inf")
        self._changed = float("-inf")

    def next(self, pressure: Pressure | None, running: int, capacity: int, now: float) -> int | None:
        """What may run at a time from now on; None where it stays.

        Parameters
        ----------
        pressure : Pressure or None
            Of the last window; None where it is not known.
        running : int
            What may run at a time now.
        capacity : int
            The most that may.
        now : float
            [s since 1970]
        """
        if now < self._looked + WINDOW:
            return None
        self._looked = now
        step = _step(pressure)
        self._same = self._same + step if step and self._same * step >= 0 else step
        wanted = min(capacity, max(1, running + step))
        if abs(self._same) < WINDOWS or now < self._changed + REST or wanted == running:
            return None
        self._same, self._changed = 0, now
        return wanted


def _step(pressure: Pressure | None) -> int:
    """-1 where fewer should run, 1 where more could, 0 where it is not known or neither."""
    if pressure is None:
        return 0
    if pressure.blocked > HIGH and pressure.busy < IDLE:
        return -1
    return 1 if pressure.blocked < LOW else 0
