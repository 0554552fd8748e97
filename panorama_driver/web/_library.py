"""Studies and stores as the dashboard shows them: finds them, reads them in the background, tells what has moved."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from ..errors import NotFoundError, StoreError
from ..store._caches import cache_folder
from ._anomaly_list import listed
from ._cache import Cache
from ._changes import Change, changes_of
from ._details import job_document, metrics_document, series_document, transfer_list, workflow_document
from ._digest import Digest
from ._numbers import numbers, unreadable
from ._places import Place, look_through
from ._provenance import provenance
from ._published import Published
from ._source import Source
from ._stores import StoreSource
from ._studies import StudySource
from ._worker import Reader
from .documents import (
    AnomalyList,
    EvaluationRow,
    JobDocument,
    MetricsDocument,
    SeriesDocument,
    StudyDocument,
    StudyList,
    StudySummary,
    TransferList,
    WorkflowDocument,
)

_log = logging.getLogger(__name__)
_LOOK = 10.0  # seconds between two looks for new studies
_PATIENCE = 50  # times what a look takes, where that is more
_KEPT, _KEPT_BYTES = 8, 64 << 20  # digests of runs that somebody looks at, and what their traces may take
_POLL = 0.5  # seconds
_WORTH = 0.5  # seconds of reading, from which on a digest is kept on disk


class Library:
    """Studies and stores, read only; for many threads.

    Parameters
    ----------
    paths : sequence of str or path
        Study directories, folders that hold studies, store files, store URLs.
    cache : Path or None
        Folder that keeps what was read, by default that of the user's caches; None keeps nothing.
    published : Published, optional
        The repository that the studies and stores were made of.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        cache: Path | Literal["default"] | None = "default",
        published: Published | None = None,
    ) -> None:
        self._paths = list(paths)
        self._published = published
        self._cache = cache_folder() if cache == "default" else cache
        self._reader = Reader()
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._sources: dict[str, Source] = {}
        self._next_look = 0.0
        self._digests: OrderedDict[tuple[str, int, str], tuple[int, Digest]] = OrderedDict()
        self._turns: dict[tuple[str, str, bool], threading.Lock] = {}
        self._wake = threading.Event()
        self._closing = False
        self._look()
        self._worker = threading.Thread(target=self._work, name="library", daemon=True)
        self._worker.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        self._closing = True
        self._wake.set()
        self._reader.close()
        self._worker.join()
        for each in self._known():
            with each.lock:
                each.close()

    def _look(self) -> None:
        """Look for new studies, if it is time to and nobody else does."""
        begin = time.monotonic()
        if begin < self._next_look or not self._looking.acquire(blocking=False):
            return  # whoever asks meanwhile does not wait for a slow disk
        try:
            for found in look_through(self._paths):
                place = found._replace(hidden=self.public)
                known = self._sources.get(place.identity)
                if known is None or known.place != place or known.at_fault:
                    self._add(place)
            end = time.monotonic()
            self._next_look = end + max(_LOOK, _PATIENCE * (end - begin))
        finally:
            self._looking.release()

    def _add(self, place: Place) -> None:
        new = StudySource(place, self._cache) if place.kind == "study" else StoreSource(place, self._cache)
        new.begin()
        with self._lock:
            before = self._sources.get(place.identity)
            self._sources[place.identity] = new
        if before is not None:
            with before.lock:
                before.close()

    def _every(self) -> list[Source]:
        self._look()
        return self._known()

    def _known(self) -> list[Source]:
        with self._lock:
            return list(self._sources.values())

    @contextlib.contextmanager
    def _of(self, study: str) -> Iterator[Source]:
        """The source of that name, locked, as it stands now.

        Raises
        ------
        NotFoundError
            There is none.
        """
        self._look()
        found = self._sources.get(study)
        if found is None:
            raise NotFoundError(f"no study {study!r} is known here; the list of studies has those that are")
        with found.lock:
            found.advance()
            self._wake.set()
            yield found

    def studies(self, search: str = "", page: int = 1, size: int = 50) -> StudyList:
        """A page of the list of studies, the one that started last first.

        Parameters
        ----------
        search : str
            Words that all stand in the name, the directory, the workflow, the site or the state of a study.
        page, size : int
            Number of the page, from 1, and how many studies it has.
        """
        found = [summary for summary in self._summaries() if _matches(summary, search)]
        found.sort(key=lambda summary: (-(summary.started or 0.0), summary.name, summary.study))
        begin = (page - 1) * size
        return StudyList(studies=found[begin : begin + size], total=len(found), page=page, size=size)

    def _summaries(self) -> Iterator[StudySummary]:
        for each in self._every():
            with each.lock:
                each.advance()
                yield each.summary
        self._wake.set()

    @property
    def public(self) -> bool:
        """Whether what is shown comes out of a repository that is for everybody."""
        return self._published is not None

    def repository(self) -> Published:
        """The repository that what is shown comes out of.

        Raises
        ------
        NotFoundError
            It comes out of none.
        """
        if self._published is None:
            raise NotFoundError("no repository is served here; `panorama serve --repository DIR` serves one")
        return self._published

    def study(self, study: str) -> StudyDocument:
        """A study with all its evaluations.

        Raises
        ------
        NotFoundError
            There is none of that name.
        """
        with self._of(study) as found:
            return found.document()

    def evaluations(self, study: str, keys: Collection[str] | None = None) -> list[EvaluationRow]:
        """Rows of a study, or those of these keys.

        Raises
        ------
        NotFoundError
            There is no study of that name.
        """
        with self._of(study) as found:
            return found.rows(keys)

    def workflow(self, study: str, wf_uuid: str) -> WorkflowDocument:
        """A run; the first answer may be a light one, in which what traces tell is still to come.

        Raises
        ------
        NotFoundError
            There is no such study or run.
        StoreError
            Its store cannot be read.
        """
        found, read = self._look_at(study, wf_uuid, light=True)
        with found.lock:
            evaluation, facts = found.evaluation(wf_uuid), found.facts
            anomalies, actions = found.anomalies(wf_uuid), found.actions(wf_uuid)
        home, engine = (Path(found.place.home), facts.engine) if facts else (None, None)
        made = provenance(read, evaluation, home, engine)
        return workflow_document(study, read, evaluation, made, anomalies, actions)

    def metrics(self, study: str, wf_uuid: str) -> MetricsDocument:
        """What `panorama show --json` tells of a run; waits until all of it is read.

        Raises
        ------
        NotFoundError, StoreError
            As `workflow`.
        """
        found, read = self._look_at(study, wf_uuid)
        with found.lock:
            return metrics_document(read, found.evaluation(wf_uuid))

    def series(
        self,
        study: str,
        wf_uuid: str,
        job_id: str | None = None,
        attempt: int | None = None,
        width: float | None = None,
    ) -> SeriesDocument:
        """What a run, one of its jobs or one attempt used over time.

        Raises
        ------
        NotFoundError
            There is no such study, run, job or attempt.
        UsageError
            `width` is not above 0.
        StoreError
            The store cannot be read.
        """
        _, read = self._look_at(study, wf_uuid)
        return series_document(study, read, job_id, attempt, width)

    def job(self, study: str, wf_uuid: str, job_id: str) -> JobDocument:
        """A job with all its attempts.

        Raises
        ------
        NotFoundError, StoreError
            As `workflow`.
        """
        found, read = self._look_at(study, wf_uuid)
        with found.lock:
            anomalies = found.anomalies(wf_uuid)
        return job_document(study, read, job_id, anomalies)

    def transfers(self, study: str, wf_uuid: str) -> TransferList:
        """The transfers of a run.

        Raises
        ------
        NotFoundError, StoreError
            As `workflow`.
        """
        _, read = self._look_at(study, wf_uuid)
        return transfer_list(study, read)

    def anomalies(self, study: str = "", kind: str = "", page: int = 1, size: int = 50) -> AnomalyList:
        """A page of what was found in all studies, or in one, the last first; with what was done.

        Parameters
        ----------
        study : str
            Only this study.
        kind : str
            Only anomalies of this kind.
        page, size : int
            Number of the page, from 1, and how many anomalies it has.

        Raises
        ------
        NotFoundError
            There is no study of that name.
        """
        sources = self._every()
        if study:
            with self._of(study) as found:
                sources = [found]
        return listed(sources, kind, page, size)

    def changes(self) -> list[Change]:
        """What has moved since the last call; cheap where nothing has."""
        told: list[Change] = []
        for each in self._every():
            with each.lock:
                each.advance()
                told += changes_of(each)
        if told or self._waiting():
            self._wake.set()
        return told

    def _look_at(self, study: str, wf_uuid: str, *, light: bool = False) -> tuple[Source, Digest]:
        with self._of(study) as found:
            found.check(wf_uuid)
            found.runs.follow(wf_uuid)
        read = self._read(found, wf_uuid, light=light)
        with found.lock:
            found.runs.hasten(wf_uuid)
        self._wake.set()
        return found, read

    def _read(self, found: Source, wf_uuid: str, *, light: bool = False) -> Digest:
        """A run as it is kept, if that will do; else it is read, by one thread at a time.

        A light reading does not wait for a whole one, which may take long.
        """
        kept = self._kept(found, wf_uuid, light)
        if kept is not None:
            return kept
        with self._lock:
            turn = self._turns.setdefault((found.identity, wf_uuid, light), threading.Lock())
        with turn:
            kept = self._kept(found, wf_uuid, light)
            return kept if kept is not None else self._read_now(found, wf_uuid, light)

    def _read_now(self, found: Source, wf_uuid: str, light: bool) -> Digest:
        with found.lock:
            found.check(wf_uuid)
            store, cache, mark, place = found.store(), found.cache, found.runs.marks[wf_uuid], _place(found, wf_uuid)
        begin = time.monotonic()
        read = cache.get(Digest, wf_uuid, mark) if cache is not None else None
        if read is None:
            read = self._reader.digest(store, found.place.store, wf_uuid, light=light)
            if cache is not None and read.samples_read >= read.samples:
                self._put(cache, mark, read, time.monotonic() - begin)
        with found.lock:
            if place != _place(found, wf_uuid):
                return read  # of a store that was replaced meanwhile
            found.take(wf_uuid, numbers(read), mark, time.monotonic() - begin)
            followed = found.runs.followed(wf_uuid)
        if followed:
            self._keep(place, mark, read)
        return read

    @staticmethod
    def _put(cache: Cache, mark: int, read: Digest, seconds: float) -> None:
        wf_uuid = read.metrics.wf_uuid
        cache.put(mark, wf_uuid, numbers(read))
        if seconds > _WORTH:
            cache.put(mark, wf_uuid, read)

    def _kept(self, found: Source, wf_uuid: str, light: bool) -> Digest | None:
        with found.lock, self._lock:
            mark, kept = self._digests.get(_place(found, wf_uuid), (-1, None))
            if kept is None or not found.runs.serves(wf_uuid, mark):
                return None
            return kept if light or kept.samples_read >= kept.samples else None

    def _keep(self, place: tuple[str, int, str], mark: int, read: Digest) -> None:
        """Keep it, unless a newer one is, or a whole one of the same."""
        with self._lock:
            before = self._digests.get(place)
            if before is None or (before[0], before[1].samples_read) < (mark, read.samples_read + 1):
                self._digests[place] = mark, read
            self._digests.move_to_end(place)
            while len(self._digests) > _KEPT or (len(self._digests) > 1 and self._kept_bytes() > _KEPT_BYTES):
                self._digests.popitem(last=False)

    def _kept_bytes(self) -> int:
        return sum(len(trace.packed) for _, read in self._digests.values() for trace in read.traces)

    def _work(self) -> None:
        """Read in the background what tables lack, until the library is closed."""
        while not self._closing:
            found = self._next()
            if found is None:
                self._wake.wait(_POLL if self._waiting() else None)
                self._wake.clear()
                continue
            self._read_quietly(*found)

    def _read_quietly(self, found: Source, wf_uuid: str) -> None:
        """Read a run; one that cannot be read costs its own line and no other."""
        try:
            self._read(found, wf_uuid)
        except StoreError as problem:
            self._cannot(found, wf_uuid, str(problem), again=True)
        except NotFoundError:
            return  # its store was replaced meanwhile
        except Exception as problem:  # noqa: BLE001 (events come from jobs, and may be anything)
            self._cannot(found, wf_uuid, f"cannot be read: {type(problem).__name__}: {problem}")

    def _cannot(self, found: Source, wf_uuid: str, problem: str, *, again: bool = False) -> None:
        if self._closing:
            return
        _log.warning("%s: workflow %s: %s", found.place.home, wf_uuid, problem)
        with found.lock:
            found.take(wf_uuid, unreadable(problem), found.runs.marks.get(wf_uuid, 0))
            if again:
                found.runs.again(wf_uuid)

    def _next(self) -> tuple[Source, str] | None:
        for each in self._known():
            with each.lock:
                wf_uuid = each.runs.next()
            if wf_uuid is not None:
                return each, wf_uuid
        return None

    def _waiting(self) -> bool:
        return any(each.runs.waiting for each in self._known())


def _place(found: Source, wf_uuid: str) -> tuple[str, int, str]:
    """What tells a run of one store from all others."""
    return found.identity, found.runs.store, wf_uuid


def _matches(summary: StudySummary, search: str) -> bool:
    known = (summary.name, summary.home, summary.workflow, summary.site, summary.engine, summary.state)
    text = "\n".join(word for word in known if word).casefold()
    return all(word in text for word in search.casefold().split())
