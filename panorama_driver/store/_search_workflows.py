"""The workflows that a store knows: in which generation each one's events are, for good, and what it is called."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec

from ..errors import StoreError
from ._rows import Names, encoded
from ._search_bulk import Item, bulk, creation, replacement
from ._search_http import Client
from ._search_reading import Document, documents

_MOST = 100_000  # workflows that are remembered
_ROUNDS = 10


class Entry(NamedTuple):
    """What is registered of a workflow, and the numbers of its document, which whoever replaces it must know."""

    generation: int
    names: Names
    registered: float
    seq_no: int
    primary_term: int


class _Registered(msgspec.Struct):
    generation: Annotated[int, msgspec.Meta(ge=1, le=999_999)]
    registered: float
    label: str | None = None
    root: str | None = None


class Workflows:
    """Documents of `PREFIX-workflows`; for many threads.

    Parameters
    ----------
    client : Client
        The engine.
    """

    def __init__(self, client: Client) -> None:
        self.index = f"{client.address.prefix}-workflows"
        self._client = client
        self._known: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def generation(self, wf_uuid: str) -> int | None:
        """Where a workflow's events are; None where it is not known."""
        entry = self._known.get(wf_uuid) or self.read([wf_uuid]).get(wf_uuid)
        return entry.generation if entry else None

    def read(self, wf_uuids: Collection[str]) -> dict[str, Entry]:
        """What is registered of workflows; those that are not known are left out."""
        by_key = {_key(wf_uuid): wf_uuid for wf_uuid in wf_uuids}
        found = {by_key[each.key]: self._entry(each) for each in documents(self._client, self.index, by_key)}
        self._remember(found)
        return found

    def register(self, told: Mapping[str, Names], current: Callable[[], int]) -> dict[str, int]:
        """Generations of workflows; those that are new belong to the `current` one, unless another writer was first.

        Names that were not known are added.
        """
        known = self._registered(told, current)
        for _ in range(_ROUNDS):
            more = [wf_uuid for wf_uuid, names in told.items() if _added(names, known[wf_uuid].names)]
            if not more:
                return {wf_uuid: entry.generation for wf_uuid, entry in known.items()}
            self._done(_replacement(wf_uuid, told[wf_uuid], known[wf_uuid]) for wf_uuid in more)
            known |= self._read_all(more)
        raise StoreError(f"{self._client.address}: {self.index} is changed all the time; put the same again")

    def _entry(self, document: Document) -> Entry:
        try:
            told = msgspec.convert(document.source, _Registered)
        except msgspec.ValidationError as problem:
            raise StoreError(
                f"{self._client.address}: {self.index}: {document.key} is no workflow: {problem}"
            ) from None
        names = Names(told.label, told.root)
        return Entry(told.generation, names, told.registered, document.seq_no, document.primary_term)

    def _registered(self, told: Mapping[str, Names], current: Callable[[], int]) -> dict[str, Entry]:
        known = {wf_uuid: entry for wf_uuid in told if (entry := self._known.get(wf_uuid)) is not None}
        if len(known) < len(told):
            known |= self.read(told.keys() - known.keys())
        new = [wf_uuid for wf_uuid in told if wf_uuid not in known]
        if new:
            generation, now = current(), time.time()
            entries = {wf_uuid: Entry(generation, told[wf_uuid], now, 0, 0) for wf_uuid in new}
            self._done(creation(_key(wf_uuid), _document(wf_uuid, entry)) for wf_uuid, entry in entries.items())
            known |= self._read_all(new)
        return known

    def _done(self, items: Iterable[Item]) -> None:
        """Write documents; those that somebody else has written meanwhile stay as he did."""
        for outcome in bulk(self._client, self.index, items):
            if outcome.refused:
                raise StoreError(f"{self._client.address}: {self.index} refuses a workflow: {outcome.reason}")

    def _read_all(self, wf_uuids: Collection[str]) -> dict[str, Entry]:
        found = self.read(wf_uuids)
        if len(found) < len(wf_uuids):
            raise StoreError(f"{self._client.address}: {self.index} has lost what was put into it; put the same again")
        return found

    def _remember(self, found: Mapping[str, Entry]) -> None:
        with self._lock:
            if len(self._known) > _MOST:
                self._known.clear()
            self._known.update(found)


def _key(wf_uuid: str) -> str:
    """Name of a workflow's document: any text may be a `wf_uuid`, not any text may be a name."""
    return hashlib.blake2b(wf_uuid.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _document(wf_uuid: str, entry: Entry) -> bytes:
    names = {name: value for name, value in entry.names._asdict().items() if value is not None}
    told = {"wf_uuid": wf_uuid, "generation": entry.generation, "registered": entry.registered, **names}
    return encoded(told).encode()


def _added(told: Names, known: Names) -> bool:
    return any(ours is not None and theirs is None for ours, theirs in zip(told, known, strict=True))


def _replacement(wf_uuid: str, told: Names, known: Entry) -> Item:
    names = Names(*(ours if theirs is None else theirs for ours, theirs in zip(told, known.names, strict=True)))
    return replacement(_key(wf_uuid), _document(wf_uuid, known._replace(names=names)), known.seq_no, known.primary_term)
