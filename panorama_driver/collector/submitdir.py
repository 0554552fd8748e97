"""Watches a Pegasus run without a broker: reads its submit directory while the run goes on, and stores what it tells.

What is read, and for what:

| file | what it is to us |
| --- | --- |
| `braindump.yml`, `*.static.bp`, `*.dag`, `*.sub` | the plan, once |
| `*.dag.dagman.out` | primary: all that DAGMan knows, written at once; it also numbers the attempts |
| `*.dag.nodes.log` | the same seconds earlier, since DAGMan looks into it every 5 s; why a job was removed |
| `*.out.NNN`, `*.err.NNN` | what programs did, when a job's post script has ended: the truth about success |
| `jobstate.log` | only where there is no `dagman.out`: monitord wrote it out of that |

Nothing of monitord's is needed, and its database is not read: it holds what was made out of these same files, up to
30 s late, and stays empty where a broker could not be reached. The events are those that monitord sends to a broker,
with the same identity, so a run that is watched both ways, or replayed later, has one row for each.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import FormatError, StoreError
from ..events import Event
from ..sources import dagman, expand, jobstate, kickstart, plan, userlog
from ..sources.dagman import Happening
from ..sources.monitord import Attempt, Monitord, Output
from ..store import DeadLetter, Store
from ._intake import Drained
from ._lines import Tail, lines
from .files import BATCH
from .files import LINE_LIMIT as RECORD_LIMIT

LINE_LIMIT = 1 << 16
"""Longer lines of a log are cut [bytes]."""
TEXT_LIMIT = 4 << 20
"""Of a longer `*.err.NNN`, or output without records, only the beginning is read [bytes]."""

_Raw = dict[str, Any]
_LOT = 4096  # happenings read at once
_WAITING = 8192  # happenings of the jobs' own log that may wait for DAGMan to name the job


def drain_submit_dir(submit_dir: str | os.PathLike[str], store: Store) -> Drained:
    """Bring a run that has ended into the store from its submit directory; it does no harm to do it again.

    Raises
    ------
    StoreError
        The store could not be written; another call adds the rest.
    """
    return _collected(_Run(Path(submit_dir).absolute(), store), final=True)


class SubmitDirFollower:
    """Follows the submit directory that `run_dir/submitdir` names, both of which may appear later.

    A new follower reads everything again and the store keeps each event once, so one that dies loses nothing.

    Parameters
    ----------
    run_dir : str or path
        The `run/` folder of an evaluation.
    store : Store
        Where the events go.
    """

    def __init__(self, run_dir: str | os.PathLike[str], store: Store) -> None:
        self.run_dir = Path(run_dir).absolute()
        self._store = store
        self._run: _Run | None = None

    @property
    def submit_dir(self) -> Path | None:
        """The submit directory, once it is known."""
        return self._run.submit_dir if self._run else None

    def poll(self) -> Drained:
        """Collect what happened since the last time.

        Raises
        ------
        StoreError
            The store could not be written; the next `poll` goes on where it last committed.
        """
        return self._collect(final=False)

    def finish(self) -> Drained:
        """Collect everything, DAGMan having ended or being dead; it does no harm to do it again.

        Raises
        ------
        StoreError
            As of `poll`.
        """
        return self._collect(final=True)

    def _collect(self, final: bool) -> Drained:
        try:
            if (submit_dir := self._named()) is None:
                return Drained()
            if self._run is None or self._run.submit_dir != submit_dir:
                self._run = _Run(submit_dir, self._store)
        except OSError as error:
            return _unreadable(error)
        return _collected(self._run, final)

    def _named(self) -> Path | None:
        try:
            name = (self.run_dir / "submitdir").read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return None
        return Path(name.rstrip("\n")) if name.endswith("\n") and name.strip() else None


class _Run:
    """One submit directory and what was understood of it."""

    def __init__(self, submit_dir: Path, store: Store) -> None:
        self.submit_dir = submit_dir
        self._keeper = _Keeper(store, submit_dir)
        self._plan: plan.Braindump | None = None
        self._logs: _Logs | None = None

    def collect(self, final: bool) -> Drained:
        if self._plan is None:
            self._plan = self._planned()
        if self._plan is None:
            return self._keeper.told()
        if self._logs is None:
            self._keeper.keep(self._static(self._plan))
            self._logs = _Logs(self.submit_dir, self._plan, self._keeper)
        self._keeper.flush()
        self._logs.collect(final)
        self._keeper.flush()
        return self._keeper.told()

    def _planned(self) -> plan.Braindump | None:
        """The plan; None while the planner has not finished writing it."""
        path = self.submit_dir / "braindump.yml"
        try:
            return plan.braindump(path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None
        except FormatError as error:
            self._keeper.trouble(f"{path}: {error}")
            return None

    def _static(self, planned: plan.Braindump) -> Iterator[_Raw]:
        yield plan.wf_plan(planned)
        yield from plan.static_events(_text_lines(self.submit_dir / f"{planned.stem}.static.bp"), planned.wf_uuid)


def _collected(run: _Run, final: bool) -> Drained:
    try:
        return run.collect(final)
    except StoreError:
        raise
    except OSError as error:
        return _unreadable(error)


def _unreadable(error: OSError) -> Drained:
    return Drained(problems=(f"{error.filename}: cannot be read: {error.strerror}",))


class _Logs:
    """The logs of a run, and what they amount to."""

    def __init__(self, submit_dir: Path, planned: plan.Braindump, keeper: _Keeper) -> None:
        self._submit_dir = submit_dir
        self._planned = planned
        self._keeper = keeper
        self._begin()

    def _begin(self) -> None:
        clock = dagman.clock_of(self._planned.timestamp)
        dag = plan.dag(_text_lines(self._submit_dir / self._planned.dag))
        self._files = _JobFiles(self._submit_dir, dag, self._keeper)
        self._monitord = Monitord(self._planned, dag, self._files.submit_file, self._files.output)
        self._dagman = _Log(self._submit_dir / f"{self._planned.dag}.dagman.out", dagman.Reader(clock).read)
        self._jobs = _Log(self._submit_dir / f"{self._planned.dag}.nodes.log", userlog.Reader(clock).read)
        self._states = _Log(self._submit_dir / "jobstate.log", jobstate.read)
        self._todo: deque[Happening] = deque()
        self._early: list[Happening] = []

    def collect(self, final: bool) -> None:
        if self._dagman.was_replaced() or (self._states.tail.offset and self._dagman.path.exists()):
            self._begin()  # attempts are counted anew with it
        self._tell()
        log = self._dagman if self._dagman.tail.offset or self._dagman.path.exists() else self._states
        while True:
            lot = log.read(final)
            self._todo.extend(lot)
            self._look_ahead(final)
            self._tell()
            if len(lot) < _LOT:
                break
        self._hint()
        self._keeper.keep(self._files.late(self._monitord))
        if final:
            self._keeper.keep(self._monitord.finish())

    def _tell(self) -> None:
        while self._todo:
            self._keeper.keep(self._monitord.tell(self._todo.popleft()))
            self._keeper.flush(BATCH)

    def _look_ahead(self, final: bool) -> None:
        """Read the jobs' own log, after DAGMan's: so it holds all that DAGMan has told, and more."""
        while lot := self._jobs.read(final):
            for happening in lot:
                self._monitord.note(happening)
            self._early = [*self._early, *lot][-_WAITING:]

    def _hint(self) -> None:
        early, self._early = self._early, []
        for happening in early:
            known, raws = self._monitord.hint(happening)
            self._keeper.keep(raws)
            if not known:
                self._early.append(happening)


class _Log:
    """A log that grows, read as far as it is there."""

    def __init__(self, path: Path, read: Callable[[bytes], Iterable[Happening]]) -> None:
        self.path = path
        self.tail = Tail()
        self._read = read

    def was_replaced(self) -> bool:
        """Whether another file, or a shorter one, stands where some was read before."""
        try:
            with self.path.open("rb") as file:
                return not self.tail.continues_in(file)
        except FileNotFoundError:
            return False

    def read(self, final: bool) -> list[Happening]:
        """What was added since the last time, a lot at most; a log begun anew is read from its beginning."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            if not self.tail.continues_in(file):
                self.tail.restart()
            return self._lot(file, final)

    def _lot(self, file: BinaryIO, final: bool) -> list[Happening]:
        lot: list[Happening] = []
        offset = self.tail.offset
        for line in lines(file, offset, LINE_LIMIT):
            if not (line.ended or final):
                break
            lot += self._read(line.body)
            offset = line.after
            if len(lot) >= _LOT:
                break
        self.tail.move_to(offset, file)
        return lot


class _JobFiles:
    """The jobs' own files: how they were submitted, and what they left."""

    def __init__(self, submit_dir: Path, dag: plan.Dag, keeper: _Keeper) -> None:
        self._submit_dir = submit_dir
        self._dag = dag
        self._keeper = keeper
        self._unfinished: list[tuple[Attempt, Path, int]] = []

    def submit_file(self, job_id: str) -> plan.SubmitFile:
        path = self._dag.submit_files.get(job_id)
        return plan.submit_file(_text_lines(self._submit_dir / path)) if path else plan.SubmitFile()

    def output(self, attempt: Attempt) -> Output:
        """What an attempt left.

        The post script renames an output file to the first number that is free. So an attempt without output leaves
        its number to the next one, and a record says itself which attempt it is of.
        """
        stem = self._stem(attempt.job_id)
        rotated = attempt.job_id in self._dag.post and attempt.output_number is not None
        numbers: list[int | None] = [*range(attempt.output_number or 0, -1, -1)] if rotated else []
        for place, number in enumerate([*numbers, None]):
            path = Path(f"{stem}.out") if number is None else Path(f"{stem}.out.{number:03d}")
            records = self._records(path)
            if records is not None and _is_of(attempt, records, expected=place == 0):
                return self._found(attempt, path, number, records)
        return Output(number=numbers[0] if numbers else None, stderr=self._text(Path(f"{stem}.err")))

    def late(self, monitord: Monitord) -> list[_Raw]:
        """Events of records that were finished after their attempt was given up, as in a scheduler's outage."""
        raws: list[_Raw] = []
        unfinished, self._unfinished = self._unfinished, []
        for attempt, path, size in unfinished:
            now = _size(path)
            records = self._records(path) if now != size else None
            if records is not None and _complete(records):
                raws += monitord.late(attempt, Output(records=records))
            else:
                self._unfinished.append((attempt, path, now))
        return raws

    def _stem(self, job_id: str) -> str:
        path = self._dag.submit_files.get(job_id, job_id)
        return os.fspath(self._submit_dir / os.path.dirname(path) / job_id)

    def _found(self, attempt: Attempt, path: Path, number: int | None, records: kickstart.Records) -> Output:
        if not _complete(records):
            self._unfinished.append((attempt, path, _size(path)))
        for problem in records.problems:
            self._keeper.lost(path, problem)
        text = "" if records.invocations else self._text(path) or ""
        error = path.with_name(path.name.replace(f"{attempt.job_id}.out", f"{attempt.job_id}.err"))
        return Output(number=number, records=records, text=text, stderr=self._text(error))

    def _records(self, path: Path) -> kickstart.Records | None:
        try:
            with path.open("rb") as file:
                return kickstart.read(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._keeper.trouble(f"{path}: cannot be read: {error.strerror}")
            return None

    def _text(self, path: Path) -> str | None:
        try:
            with path.open("rb") as file:
                return file.read(TEXT_LIMIT).decode("utf-8", "replace")
        except OSError:
            return None


class _Keeper:
    """Brings events into the store; what it could not bring there it keeps for the next time."""

    def __init__(self, store: Store, submit_dir: Path) -> None:
        self._store = store
        self._source = os.fspath(submit_dir)
        self._events: list[Event] = []
        self._letters: list[DeadLetter] = []
        self._told = Drained()

    def keep(self, raws: Iterable[_Raw]) -> None:
        for raw in list(raws):
            try:
                self._events += expand(raw)
            except FormatError as error:
                head = json.dumps(raw, default=str).encode()  # as a line, so that it can be tried again
                self._letters.append(
                    DeadLetter(reason=str(error), source=self._source, size=len(head), head=head[:RECORD_LIMIT])
                )

    def lost(self, path: Path, reason: str) -> None:
        """Tell of something in a file that should have become an event and could not."""
        self._letters.append(DeadLetter(reason=reason, source=os.fspath(path)))

    def trouble(self, problem: str) -> None:
        if problem not in self._told.problems:
            self._told += Drained(problems=(problem,))

    def flush(self, least: int = 1) -> None:
        """Commit, unless there are fewer events than `least`."""
        if len(self._events) >= least:
            new = self._put(self._events)
            self._told += Drained(stored=new, duplicates=len(self._events) - new)
            self._events = []
        if self._letters:
            self._store.bury(self._letters)
            self._told += Drained(dead=len(self._letters))
            self._letters = []

    def told(self) -> Drained:
        """What came since this was last asked."""
        told, self._told = self._told, Drained()
        return told

    def _put(self, events: list[Event]) -> int:
        try:
            return self._store.put(events)
        except FormatError:
            return sum(self._put_one(event) for event in events)

    def _put_one(self, event: Event) -> int:
        try:
            return self._store.put([event])
        except FormatError as error:
            self._letters.append(DeadLetter(reason=str(error), source=self._source))
            return 0


def _is_of(attempt: Attempt, records: kickstart.Records, expected: bool) -> bool:
    """Whether a file is of an attempt: by what its record says, and where that says nothing, by its name."""
    named = {program.condor_id for program in records.invocations} - {None}
    return attempt.sched_id in named if named and attempt.sched_id else expected


def _complete(records: kickstart.Records) -> bool:
    return bool(records.invocations) and all(program.complete for program in records.invocations)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _text_lines(path: Path) -> Iterator[str]:
    """Lines of a file of the planner's; none where there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except FileNotFoundError:
        return
