"""What was done about anomalies, one JSON line a step, on disk before the step is taken."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..appending import Appender

NAME = "actions.jsonl"
_LONGEST = 1 << 20  # bytes of a line; a longer one is no step

What = Literal["stop_evaluation", "retry_attempt", "avoid_host", "set_running"]
"""What can be done; each is taken back by `undo`, as far as it can be: a retried attempt stays as it is."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done about what was seen.

    Attributes
    ----------
    action_id : str
        Deterministic identity: 16 hexadecimal digits. The same finding leads to the same action once.
    what : str
        `stop_evaluation`, `retry_attempt`, `avoid_host` or `set_running`.
    reason : str
        Why, in words for a person, with the numbers.
    anomaly : str or None
        `event_id` of the anomaly that it answers.
    evaluation : str or None
        Key of the evaluation.
    wf_uuid, job_id, attempt : str, str, int or None
        The attempt.
    host : str or None
        The host that is avoided, or that the attempt is taken from.
    value, before : int or None
        [cores] that may be used at a time from now on, and before.
    state : str
        `intended` (written down, and perhaps taken), `done`, `failed` or `undone`.
    message : str
        Why it failed, or what came of it.
    t : float
        [s since 1970] when it was written down, UTC.
    """

    action_id: str
    what: What
    reason: str
    anomaly: str | None = None
    evaluation: str | None = None
    wf_uuid: str | None = None
    job_id: str | None = None
    attempt: int | None = None
    host: str | None = None
    value: int | None = None
    before: int | None = None
    state: Literal["intended", "done", "failed", "undone"] = "intended"
    message: str = ""
    t: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether what it did is still so, as far as is known."""
        return self.state in ("intended", "done")


def action_id(what: What, *telling: object) -> str:
    """Identity of an action that the same finding always leads to."""
    return hashlib.blake2b(repr((what, *telling)).encode(), digest_size=8).hexdigest()


class Actions:
    """The actions of one study, open for writing by its server alone.

    Parameters
    ----------
    folder : Path
        The study's `.panorama` folder.
    """

    def __init__(self, folder: Path) -> None:
        self.known = {action.action_id: action for action in read(folder)}
        self._lines = Appender(folder / NAME)

    def record(self, action: Action, **changes: Any) -> Action:
        """Write an action down, with what has changed of it, durably.

        Raises
        ------
        StoreError
            It cannot be written; it must not be taken.
        """
        now = msgspec.structs.replace(action, t=action.t or time.time(), **changes)
        self._lines.write(now, durably=True)
        self.known[now.action_id] = now
        return now

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def read(folder: Path) -> list[Action]:
    """The actions of the study whose `.panorama` folder this is, as they last stood, in the order they came."""
    try:
        with (folder / NAME).open("rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    return list({action.action_id: action for action in _actions(lines)}.values())


def _actions(lines: Iterable[bytes]) -> Iterable[Action]:
    for line in lines:
        try:
            if len(line) <= _LONGEST:
                yield msgspec.json.decode(line, type=Action)
        except (ValueError, RecursionError):
            continue  # half written by a server that was killed (the step was not taken), or no step at all
