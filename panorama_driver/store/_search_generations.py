"""A store's indices of one kind, a generation each, and up to which sequence number each of them can be read.

A generation has one primary shard, whose sequence numbers are in the order of indexing. What its global checkpoint
covers is on all copies of the shard, and nothing can appear at or below it any more; all of that can be found after a
refresh. So what is at most at a checkpoint that was read before a refresh is a snapshot, without a lock or a scroll.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import StoreError
from ._search_http import Client

_BITS = 48
_MASK = (1 << _BITS) - 1
_SHARDS = "indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no.global_checkpoint"
_SIZES = "indices.*.primaries.store.size_in_bytes"
_FEW = 50  # names of indices that an address has room for

Horizon = dict[int, int]
"""By generation, the highest sequence number that can be read; -1 where there is none yet."""


class Generation(NamedTuple):
    """What a generation holds.

    Attributes
    ----------
    checkpoint : int
        Its global checkpoint; as nothing in it is ever changed, one less than the number of its documents.
    size : int
        What they take on disk [bytes].
    """

    checkpoint: int
    size: int


class _Size(msgspec.Struct):
    size_in_bytes: int = 0


class _Primaries(msgspec.Struct):
    store: _Size = msgspec.field(default_factory=_Size)


class _Routing(msgspec.Struct):
    primary: bool


class _Numbers(msgspec.Struct):
    global_checkpoint: int


class _Copy(msgspec.Struct):
    routing: _Routing
    seq_no: _Numbers | None = None


class _Index(msgspec.Struct):
    shards: dict[str, list[_Copy]] = {}
    primaries: _Primaries = msgspec.field(default_factory=_Primaries)


class _Stats(msgspec.Struct):
    indices: dict[str, _Index] = {}


class _Shards(msgspec.Struct):
    failed: int = 0


class _Refreshed(msgspec.Struct):
    shards: _Shards = msgspec.field(name="_shards")


class Generations:
    """All indices `PREFIX-000001`, `PREFIX-000002`, ... of one store; for many threads.

    Parameters
    ----------
    client : Client
        The engine.
    prefix : str
        What their names begin with.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self.prefix = prefix
        self.all = f"{prefix}-0*"
        self._client = client
        self._name = re.compile(re.escape(prefix) + r"-(\d{6})")
        self._visible: Horizon = {}
        self._lock = threading.Lock()

    def index(self, generation: int) -> str:
        """Its index's name."""
        return f"{self.prefix}-{generation:06}"

    def look(self) -> dict[int, Generation]:
        """What there is now, the oldest first.

        Raises
        ------
        StoreError
            One of them is not available.
        """
        only = f"filter_path={_SHARDS},{_SIZES}"
        told = self._client.get("GET", f"/{self.all}/_stats/store?level=shards&{only}", _Stats)
        found = {}
        for name, index in told.indices.items():
            match, primary = self._name.fullmatch(name), _primary(index)
            if match and primary is not None:
                found[int(match[1])] = Generation(primary, index.primaries.store.size_in_bytes)
        self._check_whole(found)
        return dict(sorted(found.items()))

    def seen(self) -> Horizon:
        """Up to where all can be found; it is refreshed where more has come since the last time.

        Raises
        ------
        StoreError
            It cannot be told.
        """
        horizon = {number: generation.checkpoint for number, generation in self.look().items()}
        moved = [number for number, checkpoint in horizon.items() if checkpoint > self._visible.get(number, -1)]
        if moved:
            names = ",".join(map(self.index, moved)) if len(moved) <= _FEW else self.all
            if self._client.get("POST", f"/{names}/_refresh", _Refreshed).shards.failed:
                raise StoreError(f"{self._client.address}: {names} could not be refreshed; try again")
            with self._lock:
                for number in moved:
                    self._visible[number] = max(horizon[number], self._visible.get(number, -1))
        return horizon

    def _check_whole(self, found: Mapping[int, Any]) -> None:
        """Generations have no gaps, so that one that does not answer is missed."""
        gone = [number for number in range(1, max(found, default=1) + 1) if number not in found]
        if gone:
            raise StoreError(
                f"{self._client.address}: {self.index(gone[0])} does not answer: its node is away, starting, or the "
                "index was deleted; try again when the cluster is whole"
            )


def _primary(index: _Index) -> int | None:
    """Global checkpoint of an index' one primary shard, where that is there."""
    for copy in index.shards.get("0", []):
        if copy.routing.primary and copy.seq_no is not None:
            return max(copy.seq_no.global_checkpoint, -1)  # -2 is not known yet: an index that has just been made
    return None


def cursor_of(reached: Mapping[int, int]) -> int:
    """The next sequence number of each generation in one number, 48 bits each, the first lowest."""
    return sum(following << (_BITS * (number - 1)) for number, following in reached.items())


def parts_of(cursor: int, generations: Iterable[int]) -> dict[int, int]:
    """The next sequence number of each generation."""
    return {number: (max(cursor, 0) >> (_BITS * (number - 1))) & _MASK for number in generations}
