"""What a study has done, one JSON line a step, on disk before the step is taken."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..config import Scalar
from ..errors import StoreError

NAME = "journal.jsonl"
WITHDRAWN = "withdrawn"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The last known state of one evaluation.

    Attributes
    ----------
    key : str
        Hash of all that defines the evaluation.
    eval_id : str
        Dakota's number of it.
    variables : dict
        Parameter values.
    state : str
        `received`, `submitted`, `succeeded`, `unanswered` (its workflow succeeded, but a response could not be found in
        it), `failed`, `timeout`, `cancelled` or `refused` (nothing was run).
    wf_uuid : str or None
        Its workflow run, from `submitted` on.
    directory : str
        Its bundle, relative to the study's folder.
    definition : str
        Fingerprint of the study's definition that it was run under.
    message : str
        Why it failed.
    responses : dict
        What went back to Dakota.
    decided_by : str
        Which source told the end of its workflow: `engine`, `dagman` or `manager`.
    started, ended : float or None
        When it was received and when it ended [s since 1970].
    """

    key: str
    eval_id: str
    variables: dict[str, Scalar]
    directory: str = ""
    definition: str = ""
    state: str = "received"
    wf_uuid: str | None = None
    message: str = ""
    responses: dict[str, float] = {}
    decided_by: str = ""
    started: float | None = None
    ended: float | None = None

    @property
    def over(self) -> bool:
        """Nothing of it runs any more."""
        return self.state not in ("received", "submitted")

    @property
    def failed(self) -> bool:
        """It has ended without an answer."""
        return self.over and self.state != "succeeded"


class Journal:
    """The journal of one study, open for writing by its server alone.

    Parameters
    ----------
    folder : Path
        The study's `.panorama` folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.evaluations = read(folder)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._torn = self._path.stat().st_size > 0  # a crash may have left the last line half written

    def record(self, key: str, *, durably: bool = True, **changes: Any) -> Evaluation:
        """Write a step down and give the evaluation's new state.

        Parameters
        ----------
        key : str
            Of the evaluation.
        durably : bool
            It must survive the machine's crash; what can be found out again need only survive ours.
        **changes
            Fields of `Evaluation`.

        Raises
        ------
        StoreError
            It cannot be written; the step must not be taken.
        """
        self._write({"t": time.time(), "key": key, **changes}, durably)
        return self.evaluations[key]

    def withdraw(self, key: str) -> None:
        """Take an evaluation off the list, if it is on it."""
        if key in self.evaluations:
            self._write({"t": time.time(), "key": key, "state": WITHDRAWN}, durably=False)

    def _write(self, step: dict[str, Any], durably: bool) -> None:
        line = b"\n" * self._torn + msgspec.json.encode(step) + b"\n"
        try:
            self._torn = os.write(self._file, line) < len(line)
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durably:
                os.fdatasync(self._file)
        except OSError as problem:
            raise StoreError(
                f"{self._path}: cannot be written: {problem.strerror}; free some space, then start the study again"
            ) from None
        _apply(self.evaluations, step)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(folder: Path) -> dict[str, Evaluation]:
    """The evaluations of the study whose `.panorama` folder this is, by key, in the order they came."""
    evaluations: dict[str, Evaluation] = {}
    try:
        lines = (folder / NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return evaluations
    for line in lines:
        try:
            _apply(evaluations, json.loads(line))
        except ValueError:
            continue  # empty, or half written by a server that was killed: the step was not taken
    return evaluations


def in_order(evaluations: Mapping[str, Evaluation]) -> list[Evaluation]:
    """Evaluations by Dakota's number; as they came where several runs of Dakota have given the same numbers."""
    chronological = list(evaluations.values())
    if len({evaluation.eval_id for evaluation in chronological}) < len(chronological):
        return chronological
    return sorted(chronological, key=lambda evaluation: [int(part) for part in re.findall(r"\d+", evaluation.eval_id)])


def _apply(evaluations: dict[str, Evaluation], step: dict[str, Any]) -> None:
    changes = {name: value for name, value in step.items() if name not in ("t", "key")}
    if step.get("state") == WITHDRAWN:
        evaluations.pop(step["key"], None)
        return
    known = evaluations.get(step["key"])
    if known is None:
        evaluations[step["key"]] = msgspec.convert({"key": step["key"], "started": step["t"], **changes}, Evaluation)
        return
    updated = msgspec.structs.replace(known, **changes)
    ended = step["t"] if updated.over and not known.over else (known.ended if updated.over else None)
    evaluations[step["key"]] = msgspec.structs.replace(updated, ended=ended)
