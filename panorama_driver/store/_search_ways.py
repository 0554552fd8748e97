"""The ways on which events have come beside the first, which is in their own documents: those are never changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from ._base import Via
from ._search_bulk import Item, bulk, creation
from ._search_generations import Generations
from ._search_http import Client
from ._search_reading import Query, columns, condition, groups, pages

_Key = tuple[str, Via]
"""A kind, and the ways on which events of it came."""


class Ways:
    """Documents of `PREFIX-ways-*`, one for each event and each further way of it.

    Parameters
    ----------
    client : Client
        The engine.
    """

    def __init__(self, client: Client) -> None:
        self.generations = Generations(client, f"{client.address.prefix}-ways")
        self._client = client

    def add(self, generation: int, known: Mapping[str, Mapping[str, Any]], via: Via) -> None:
        """Keep that events, of which these fields are there by `event_id`, came on the ways `via` as well."""
        items = (item for event_id, told in known.items() for item in _items(event_id, told, via))
        for outcome in bulk(self._client, self.generations.index(generation), items):
            assert not outcome.refused, outcome.reason  # five short fields, which it was made for

    def numbers(self, generation: int, wf_uuid: str) -> Counter[_Key]:
        """By how much the number of events of a workflow, kind and ways differs from what their documents tell."""
        self.generations.seen()
        index, query = self.generations.index(generation), condition(wf_uuid=wf_uuid)
        found: dict[_Key, dict[Via, int]] = defaultdict(dict)
        for bucket in groups(self._client, index, query, ("event", "first", "way")):
            kind, first, way = bucket.key["event"], Via(bucket.key["first"]), Via(bucket.key["way"])
            found[kind, first][way] = bucket.doc_count
        moved: Counter[_Key] = Counter()
        for (kind, first), ways in found.items():
            several = len(ways) > 1  # then some event may have come on more than one of them
            told = self._each(index, wf_uuid, kind, first) if several else ways
            for way, number in told.items():
                moved[kind, first | way] += number
                moved[kind, first] -= number
        return moved

    def of(self, generation: int, event_ids: Collection[str], upto: int) -> dict[str, Via]:
        """The further ways of events."""
        found: dict[str, Via] = {}
        index, keys = self.generations.index(generation), [_key(event_id, way) for event_id in event_ids for way in Via]
        for _, told in columns(self._client, index, keys, ("event_id", "way"), upto):
            found[told["event_id"]] = found.get(told["event_id"], Via(0)) | Via(told["way"])
        return found

    def _each(self, index: str, wf_uuid: str, kind: str, first: Via) -> Counter[Via]:
        wanted = condition(wf_uuid=wf_uuid, kinds={kind})
        wanted["bool"]["filter"].append({"term": {"first": int(first)}})
        return Counter(ways for _, ways in self._joined(index, wanted))

    def _joined(self, index: str, wanted: Query) -> Iterator[tuple[str, Via]]:
        """Events, each with all its further ways."""
        order = [{"event_id": "asc"}, {"way": "asc"}]
        hits = (hit for page in pages(self._client, index, wanted, order, _source=False) for hit in page)
        for event_id, some in groupby(hits, key=lambda hit: hit.sort[0]):
            ways = Via(0)
            for hit in some:
                ways |= Via(hit.sort[1])
            yield event_id, ways


def _items(event_id: str, told: Mapping[str, Any], via: Via) -> Iterator[Item]:
    for way in Via(via & ~Via(told["via"])):
        names = {"wf_uuid": told["wf_uuid"], "event": told["event"], "first": told["via"], "way": int(way)}
        yield creation(_key(event_id, way), msgspec.json.encode({"event_id": event_id, **names}))


def _key(event_id: str, way: Via) -> str:
    return f"{event_id}-{int(way)}"
