"""What a study has done, one JSON line a step, on disk before the step is taken."""

from __future__ import annotations

import errno
import functools
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..appending import Appender
from ..config import Scalar

NAME = "journal.jsonl"
WITHDRAWN = "withdrawn"
STOPPED = "stopped"
_REMEMBERED = 256  # bytes before where reading goes on: steps have their time in them, so no two ends are alike
_PIECE = 1 << 20  # bytes read at a time
_LONGEST = 4 << 20  # bytes of a line; a longer one is no step


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
        it), `stopped` (it could not beat the best one any more; its responses are lower bounds, what they had reached
        when it was ended), `failed`, `timeout`, `cancelled` or `refused` (nothing was run).
    wf_uuid : str or None
        Its workflow run, from `submitted` on.
    directory : str
        Its bundle, relative to the study's folder.
    definition : str
        Fingerprint of the study's definition that it was run under.
    message : str
        Why it failed, or was stopped.
    responses : dict
        What went back to Dakota.
    formulas : str
        Fingerprint of how these were made (`Definition.formulas`); empty where nobody wrote it down.
    decided_by : str
        Which source told the end of its workflow: `engine`, `dagman` or `manager`.
    started, ended : float or None
        [s since 1970] when it was received, and when it ended.
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
    formulas: str = ""
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
        return self.over and self.state not in ("succeeded", STOPPED)


class Journal:
    """The journal of one study, open for writing by its server alone.

    Parameters
    ----------
    folder : Path
        The study's `.panorama` folder.
    """

    def __init__(self, folder: Path) -> None:
        self.evaluations = read(folder)
        self._lines = Appender(folder / NAME)

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
        self._lines.write(step, durably=durably)
        _apply(self.evaluations, step)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class Reader:
    """Reads the journal of a study while its server writes it, each line once.

    Parameters
    ----------
    folder : Path
        The study's `.panorama` folder; it need not be there yet.

    Attributes
    ----------
    evaluations : dict
        Those that the journal tells of, by key, in the order they came.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._forget()

    def _forget(self) -> None:
        self.evaluations: dict[str, Evaluation] = {}
        self._stamp: tuple[int, ...] = ()
        self._offset = 0
        self._last = b""

    def advance(self) -> set[str]:
        """Read what was written since the last call, and give the keys of evaluations that may have moved.

        A last line that is half written is read again. A journal that was replaced, shortened or removed is read anew.

        Raises
        ------
        OSError
            It is there and cannot be read.
        """
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return set()
            with self._path.open("rb") as file:
                moved = self._unless_continued(file)
                for lines in _pieces(file):
                    moved |= self._take(lines)
        except FileNotFoundError:
            moved = set(self.evaluations)
            self._forget()
            return moved
        self._stamp = stamp  # of before the reading: what came meanwhile gives another one
        return moved

    def _unless_continued(self, file: BinaryIO) -> set[str]:
        """Go to what is new; forget all, and give the keys, where the file does not go on from what was read."""
        file.seek(self._offset - len(self._last))
        if file.read(len(self._last)) == self._last:
            return set()
        forgotten = set(self.evaluations)
        self._forget()
        file.seek(0)
        return forgotten

    def _take(self, text: bytes) -> set[str]:
        whole, newline, rest = text.rpartition(b"\n")
        read = whole + newline if len(rest) <= _LONGEST else text
        self._offset += len(read)
        self._last = (self._last + read)[-_REMEMBERED:]
        return _apply_all(self.evaluations, [*whole.splitlines(), rest])


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, some lines at a time; what is too long to be a step comes in parts that are none."""
    rest = b""
    while piece := file.read(_PIECE):
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        yield whole + newline
        if len(rest) > _LONGEST:
            yield rest
            rest = b""
    yield rest


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no file")  # to open a pipe would wait for ever
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read(folder: Path) -> dict[str, Evaluation]:
    """The evaluations of the study whose `.panorama` folder this is, by key, in the order they came."""
    reader = Reader(folder)
    reader.advance()
    return reader.evaluations


def _apply_all(evaluations: dict[str, Evaluation], lines: Iterable[bytes]) -> set[str]:
    """Take the steps that these lines tell of, and give the keys of their evaluations."""
    moved = set()
    for line in lines:
        try:
            moved.add(_apply(evaluations, msgspec.json.decode(line)))
        except (ValueError, TypeError, RecursionError):
            continue  # empty, half written by a server that was killed (the step was not taken), or no step at all
    return moved


def in_order(evaluations: Mapping[str, Evaluation]) -> list[Evaluation]:
    """Evaluations by Dakota's number; as they came where several runs of Dakota have given the same numbers."""
    chronological = list(evaluations.values())
    if len({evaluation.eval_id for evaluation in chronological}) < len(chronological):
        return chronological
    return sorted(chronological, key=lambda evaluation: _numbers(evaluation.eval_id))


@functools.lru_cache(maxsize=2**16)
def _numbers(eval_id: str) -> tuple[tuple[int, str], ...]:
    """What sorts 2 before 10, and 2:3 after 2; kept, since a study that runs is put in order at each of its steps."""
    digits = (part.lstrip("0") for part in re.findall(r"[0-9]+", eval_id))
    return tuple((len(part), part) for part in digits)


class _Head(msgspec.Struct):
    """What every step tells: when it was taken [s since 1970], and of which evaluation."""

    t: float
    key: str


def _apply(evaluations: dict[str, Evaluation], step: dict[str, Any]) -> str:
    """Take a step, and give the key of its evaluation."""
    head = msgspec.convert(step, _Head)
    key, changes = head.key, {name: value for name, value in step.items() if name not in ("t", "key")}
    known = evaluations.get(key)
    if step.get("state") == WITHDRAWN:
        evaluations.pop(key, None)
    elif known is None:
        evaluations[key] = msgspec.convert({"key": key, "started": head.t, **changes}, Evaluation)
    else:
        updated = msgspec.convert(msgspec.structs.asdict(known) | changes, Evaluation)
        ended = head.t if updated.over and not known.over else (known.ended if updated.over else None)
        evaluations[key] = msgspec.structs.replace(updated, ended=ended)
    return key
