"""Builds a workflow at several values in a process of its own: it may hang or die, and leaves nothing in the folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from ..config import Scalar
from ..errors import PanoramaError, ParameterError, WorkflowError
from .bundle import check_jobs, find_source, raw_inputs
from .clusters import cluster
from .templates import read_text, render_text
from .workflow import WorkflowFolder

Kind = Literal["default", "published", "study", "single", "guess", "corner"]
_LIMIT = 30.0  # [s] that one build may take
_TOTAL = 90.0  # [s] that all of them may take
_WORDS = 500  # characters of what the folder's own code complains of
_PLACE = re.compile(r":(?:(?P<line>\d+)|\?)?:? (?P<words>.*)", re.DOTALL)
_MEMORY = 4 << 30  # [bytes] that build() may ask for: a runaway shall not take the machine with it


@dataclass(frozen=True)
class Point:
    """Values at which a workflow is built.

    Attributes
    ----------
    kind : str
        Why: its defaults, `published`, a study's own values, one value at an end of its range, one that nobody vouches
        for, or several values at the ends of theirs.
    name : str
        In words, such as `q_h = 0.3`.
    values : dict
        Parameters and options that are not at their defaults.
    inputs : tuple of Path
        Folders in which raw inputs are looked for beside the workflow's own.
    """

    kind: Kind
    name: str
    values: Mapping[str, Scalar] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What went wrong at a point: the file, its line where that is known, and in words."""

    path: Path
    line: int | None
    message: str


@dataclass(frozen=True)
class Trial:
    """What a workflow came to at a point.

    Attributes
    ----------
    point : Point
        Where.
    abstract : dict or None
        The abstract workflow; None where it could not be built.
    sources : dict
        Raw input to the file that it comes from, None where there is none.
    problems : tuple of Problem
        What build() and the templates complained of.
    signature : str
        Hash of all that the jobs get to see.
    """

    point: Point
    abstract: dict[str, Any] | None = None
    sources: Mapping[str, Path | None] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    signature: str = ""


def trials(folder: Path, points: Sequence[Point], limit: float = _LIMIT) -> Iterator[Trial]:
    """Build the workflow of `folder` at each point, as long as that is quick enough.

    Parameters
    ----------
    folder : Path
        A workflow folder whose workflow.yml can be read.
    points : sequence of Point
        Where; fewer trials come back if one of them does not end, or all take longer than a minute and a half.
    limit : float
        Longest time of one build [s].
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(folder, points, sender), daemon=True)
    worker.start()
    sender.close()
    end = time.monotonic() + _TOTAL
    try:
        for point in points:
            if time.monotonic() > end:
                return
            trial = _next(receiver, folder / "workflow.py", point, limit)
            yield trial
            if not trial.signature:
                return
    finally:
        _end(worker.pid)
        worker.join()


def _next(receiver: Connection, program: Path, point: Point, limit: float) -> Trial:
    if not receiver.poll(limit):
        words = f"build() was still at work after {limit:g} s: look for a loop without an end"
        return Trial(point, problems=(Problem(program, None, words),))
    try:
        trial: Trial = receiver.recv()
    except (EOFError, OSError):  # OSError: in the middle of what it told
        return Trial(point, problems=(Problem(program, None, "build() ended the process that called it"),))
    return trial


def _end(pid: int | None) -> None:
    """End the worker, and what build() may have started."""
    if pid is None:
        return
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


def _work(path: Path, points: Sequence[Point], sender: Connection) -> None:
    os.setsid()
    sys.dont_write_bytecode = True
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard), hard))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for the rest of this process)
    folder = WorkflowFolder(path)
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        for point in points:
            sender.send(_try(folder, point))


def _try(folder: WorkflowFolder, point: Point) -> Trial:
    program = folder.path / "workflow.py"
    try:
        parameters, options = folder.values(*folder.split(point.values))
    except ParameterError as problem:  # of whoever gave the values: the defaults and the studies are checked for that
        return Trial(point, signature=f"refused: {problem}")
    try:
        abstract = folder.build(parameters, options)
        check_jobs(abstract, folder)
        told = json.dumps(abstract, sort_keys=True)
        cluster(abstract, program)
        properties = folder.properties({**options, **parameters})
    except PanoramaError as problem:
        return Trial(point, problems=(_placed(problem, program),), signature=f"fails: {problem}")
    sources = {lfn: find_source(folder, lfn, point.inputs) for lfn in raw_inputs(abstract)}
    texts, problems = _rendered(folder, sources, {**options, **parameters})
    told += json.dumps([{lfn: str(path) for lfn, path in sources.items()}, texts, properties], sort_keys=True)
    return Trial(point, abstract, sources, problems, hashlib.sha256(told.encode()).hexdigest())


def _rendered(
    folder: WorkflowFolder, sources: Mapping[str, Path | None], variables: Mapping[str, Scalar]
) -> tuple[dict[str, str], tuple[Problem, ...]]:
    texts, problems = {}, []
    for lfn, path in sources.items():
        if path is None or not path.is_relative_to(folder.path / "templates"):
            continue
        try:
            texts[lfn] = render_text(read_text(path, WorkflowError), variables, path, WorkflowError)
        except WorkflowError as problem:
            problems.append(_placed(problem, path))
    return texts, tuple(problems)


def _placed(problem: PanoramaError, path: Path) -> Problem:
    """A problem with its line: that of the user's own code if it came from there, else as its message begins."""
    if str(problem).startswith(f"{path.parent / 'workflow.yml'}"):
        path = path.parent / "workflow.yml"
    cause = problem.__cause__
    if cause is not None:
        return Problem(path, _line_in(path, cause), f"{type(cause).__name__}: {cause}"[:_WORDS])
    told = _PLACE.fullmatch(str(problem).removeprefix(str(path)))
    if told is None:
        return Problem(path, None, str(problem))
    return Problem(path, int(told["line"]) if told["line"] else None, told["words"])


def _line_in(path: Path, cause: BaseException) -> int | None:
    if isinstance(cause, SyntaxError) and cause.filename == str(path):
        return cause.lineno
    frames = traceback.extract_tb(cause.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
