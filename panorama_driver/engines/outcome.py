"""How a run of a bundle ended, whatever ran it."""

from __future__ import annotations

import msgspec


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes
    ----------
    succeeded : bool
        Every job has finished well.
    reason : str
        Why not: the first job that failed, and its last words; empty if it succeeded.
    decided_by : str
        Which source told the end: `engine` (the embedded one), `dagman` (its own log) or `manager`.
    """

    succeeded: bool
    reason: str = ""
    decided_by: str = "engine"
