"""Copies of what is exported, without secrets and, if they are to be, without names: all that is written is made of
them, so that no number in a table can tell what the events do not."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..config import load_study
from ..errors import PanoramaError, StoreError, UsageError
from ..store import DeadLetter, Kept, Store, open_store
from ..store._rows import decoded, encoded
from ..study import journal
from ..study.client import FOLDER
from ._codes import Codes
from ._events import bury_all, put_all
from ._key import Key
from ._layout import STUDY_FILES, identity, make_private, place
from ._names import Pseudonyms
from ._secrets import redacted, without_private_keys, without_secrets
from .records import Progress, Software, Source, Study

_MOST_TEXT = 16 << 20  # bytes of study.yml and study.in


@dataclass(frozen=True)
class Staged:
    """A copy.

    Attributes
    ----------
    study : Study
        What it is.
    source : Source
        Where it is.
    software : set of Software
        What its events say made it.
    """

    study: Study
    source: Source
    software: set[Software]


def stage(sources: Sequence[Source], folder: Path, key: Key | None, progress: Progress) -> list[Staged]:
    """Copy studies and stores into a folder, each under its ID.

    Raises
    ------
    UsageError
        There is nothing in one of them.
    StoreError
        A store cannot be read, or the copy cannot be written.
    """
    names = None if key is None else _learnt(sources, key, progress)
    found: list[Staged] = []
    for each in sources:
        found.append(_Copy(each, names, progress).into(folder, {one.study.id.casefold() for one in found}))
    return found


def _learnt(sources: Sequence[Source], key: Key, progress: Progress) -> Pseudonyms:
    """All names in all sources, and those of whoever exports, so that none of them is overlooked in the first."""
    names = Pseudonyms(key)
    names.host(socket.gethostname())
    with contextlib.suppress(OSError, KeyError):  # a user without an entry in the password file
        names.user(getpass.getuser())
    names.place(os.path.expanduser("~"))
    for source in sources:
        _look_at_files(names, source)
        with _opened(source) as store:
            for number, kept in enumerate(store.kept() if store else (), 1):
                names.learn(kept.event)
                if number % 10_000 == 0:
                    progress(f"{source.name}: events looked through", number, None)
    return names


def _look_at_files(names: Pseudonyms, source: Source) -> None:
    if source.home is None:
        store = source.store if "://" in source.store else os.path.abspath(source.store)
        names.look(store, "path")
        return
    names.place(str(source.home.absolute()))
    for name in STUDY_FILES:
        text = _read(source, name) or b""
        if name.endswith(".jsonl"):
            names.look(list(_lines(text)))
        else:
            names.look(text.decode("utf-8", "replace").splitlines())


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[Store | None]:
    """The store; None where a study has none yet."""
    if source.home is not None and not os.path.exists(source.store):
        yield None
        return
    with open_store(source.store, readonly=True) as store:
        yield store


def _read(source: Source, name: str) -> bytes | None:
    """One of the files of a study; None where it has none."""
    assert source.home is not None  # only studies have files
    path = source.home / STUDY_FILES[name]
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StoreError(f"{path}: cannot be read: {problem.strerror}") from None
    if not name.endswith(".jsonl") and len(text) > _MOST_TEXT:
        raise UsageError(f"{path}: has {len(text)} bytes; a study's file of more than {_MOST_TEXT} is none")
    return text


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    """Steps of a journal; half a line, of a server that was killed, is none."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            step = decoded(line)
            if isinstance(step, dict):
                yield step


@dataclass
class _Copy:
    """Copies one source."""

    source: Source
    names: Pseudonyms | None
    progress: Progress
    codes: Codes = field(default_factory=Codes)
    renamed: dict[str, str] = field(default_factory=dict)

    def into(self, folder: Path, taken: set[str]) -> Staged:
        steps = _read(self.source, "journal.jsonl") if self.source.home else None  # what it tells of has its events
        with _opened(self.source) as store:
            study = self._study(store, steps, taken)
            source = place(folder, study)
            make_private(source)
            self._store(store, source.store)
        if source.home is not None:
            self._files(source.home, steps)
        return Staged(counted(study, source), source, self.codes.found())

    def _study(self, store: Store | None, steps: bytes | None, taken: set[str]) -> Study:
        known = store.since(0, limit=1).events if store else []
        key = next((step["key"] for step in _lines(steps or b"") if isinstance(step.get("key"), str)), "")
        name = self._text(self.source.name)
        own = chosen = identity(name, known[0].wf_uuid if known else key)
        while chosen.casefold() in taken:
            chosen = f"{own}-{len(taken) + 1}"
        return Study(id=chosen, name=name, kind="store" if self.source.home is None else "study")

    def _store(self, store: Store | None, path: str) -> None:
        """Copy events and dead letters."""
        if store is None:
            return

        def told(done: int) -> None:
            self.progress(f"{self.source.name}: events copied", done, None)

        with open_store(path) as copy:
            put_all(copy, map(self._kept, store.kept()), told)
            if self.names is None:  # of what is no event nobody knows where in it a name may be
                bury_all(copy, map(_letter, store.dead_letters()))

    def _kept(self, kept: Kept) -> Kept:
        event = kept.event
        fields = without_secrets(event.fields)
        if fields is not event.fields:
            event = msgspec.structs.replace(event, fields=fields)
        if self.names is not None:
            event = self.names.event(event)
        self.codes.see(event)
        if event is not kept.event and event.kind.startswith("anomalies."):
            self.renamed[kept.event.event_id] = event.event_id
        return kept._replace(event=event)

    def _files(self, home: Path, steps: bytes | None) -> None:
        for name, where in STUDY_FILES.items():
            text = steps if name == "journal.jsonl" else _read(self.source, name)
            if text is None:
                continue
            made = self._journal(_lines(text)) if name.endswith(".jsonl") else self._document(text)
            target = home / where
            target.touch(0o600)
            target.write_bytes(made)

    def _journal(self, steps: Iterable[dict[str, Any]]) -> bytes:
        return b"".join(encoded(self._step(step)).encode() + b"\n" for step in steps)

    def _step(self, step: dict[str, Any]) -> dict[str, Any]:
        step = without_secrets(step)
        anomaly = step.get("anomaly")
        if isinstance(anomaly, str) and anomaly in self.renamed:
            step = step | {"anomaly": self.renamed[anomaly]}
        changed: dict[str, Any] = step if self.names is None else self.names.value(step)
        return changed

    def _document(self, text: bytes) -> bytes:
        lines = without_private_keys(text.decode("utf-8", "surrogateescape")).split("\n")
        return "\n".join(self._text(redacted(line)) for line in lines).encode("utf-8", "surrogateescape")

    def _text(self, text: str) -> str:
        return text if self.names is None else self.names.text(text)


def _letter(letter: DeadLetter) -> DeadLetter:
    head = redacted(letter.head.decode("latin-1")).encode("latin-1")
    return letter if head == letter.head else msgspec.structs.replace(letter, head=head)


def counted(study: Study, source: Source) -> Study:
    """What a study is, with what there is of it in the directory or the store that `source` names."""
    told: dict[str, Any] = {}
    if os.path.exists(source.store):
        with open_store(source.store, readonly=True) as store:
            runs = store.workflows()
            told = {
                "events": store.count(),
                "workflows": len(runs),
                "dead_letters": sum(1 for _ in store.dead_letters()),
            }
        told["first"] = min((each.first for each in runs if each.first is not None), default=None)
        told["last"] = max((each.last for each in runs if each.last is not None), default=None)
    if source.home is not None:
        told |= _facts(source.home)
    return msgspec.structs.replace(study, **told)


def _facts(home: Path) -> dict[str, Any]:
    """What study.yml and the journal say."""
    told: dict[str, Any] = {"evaluations": len(journal.read(home / FOLDER))}
    with contextlib.suppress(PanoramaError, OSError, ValueError):  # what was run stands in the journal all the same
        study = load_study(home / "study.yml")
        told |= {"workflow": study.workflow, "site": study.site, "engine": study.engine}
    return told
