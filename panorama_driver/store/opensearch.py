"""The store in OpenSearch or Elasticsearch: many machines write and read it, and other people's dashboards as well.

One index a generation, with one primary shard each, holds the events, under their own identity and never changed:
putting again is harmless also when a new generation has begun, as a workflow stays in the one it was first seen in.
(A data stream knows of repetitions in its newest index only.) What `put` returned from is in the engine's log on disk,
on all copies that are in step.

Both engines are spoken to in what they share: index templates, `_bulk`, `_search` with `search_after`, `_mget`,
`_stats`, `_refresh` (https://docs.opensearch.org/docs/latest/api-reference/).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..errors import StoreError
from ..events import Event
from ._base import Arrivals, Changes, DeadLetter, Kept, Page, Store, Via, WorkflowSummary
from ._documents import document, event
from ._rows import READ_ONLY, record, workflow_names
from ._search_address import Address
from ._search_bulk import CREATED, KNOWN, TOO_LARGE, Outcome, bulk, creation
from ._search_generations import Generations, Horizon, cursor_of, parts_of
from ._search_http import Client
from ._search_letters import Letters
from ._search_reading import Hit, columns, condition, count, documents, groups, pages
from ._search_schema import Schema
from ._search_ways import Ways
from ._search_workflows import Workflows

LARGEST = 100_000_000
"""Documents of a generation, before the next one begins for workflows that are new."""
LARGEST_SIZE = 40 << 30
"""What they may take on disk [bytes]."""

_NUMBER = [{"_seq_no": "asc"}]
_TIME = [{"at": "asc"}, {"_seq_no": "asc"}]
_HOW = ("via", "ingested", "wf_uuid", "event")
_HEAD = 64 << 10  # bytes kept of an event that is too large for a request
_SOURCES = {Via.BROKER: "search engine: broker", Via.HTTP: "http"}  # which is how dead letters tell their way


class _Made(NamedTuple):
    """An event and its document."""

    event: Event
    body: bytes


class OpenSearchStore(Store):
    """Events in indices of a search engine.

    What `put` was refused in the middle of is kept as far as it came; the same put again adds the rest. An event that
    the engine can never take becomes a dead letter.

    Parameters
    ----------
    url : str
        `opensearch://HOST[:PORT][/PREFIX]`, or `elasticsearch://...`; PREFIX, which the names of its indices begin
        with, is `panorama` unless told.
    readonly : bool
        Only look. The store must be there.
    largest : int
        Documents of a generation.

    Raises
    ------
    StoreError
        The engine cannot be reached or refuses, there is no store (`readonly`), or a newer version wrote it.
    """

    def __init__(self, url: str, *, readonly: bool = False, largest: int = LARGEST) -> None:
        self.address = Address.read(url)
        self.readonly = readonly
        self._largest = largest
        self._client = Client(self.address)
        self._schema = Schema(self._client)
        self._workflows = Workflows(self._client)
        self._ways = Ways(self._client)
        self._letters = Letters(self._client)
        self._events = Generations(self._client, f"{self.address.prefix}-events")
        try:
            self._schema.check() if readonly else self._schema.prepare()
        except BaseException:
            self._client.close()
            raise

    def put(self, events: Iterable[Event], *, ingested: float | None = None, via: Via = Via.DISK) -> int:
        self._check_writable()
        now = time.time() if ingested is None else ingested
        made: dict[str, _Made] = {}
        for each in events:
            one = _Made(each, document(each, now, via))
            made.setdefault(each.event_id, one)
        if not made:
            return 0
        names = workflow_names(one.event for one in made.values())
        generations = self._workflows.register(names, self._current)
        batches: dict[int, dict[str, _Made]] = defaultdict(dict)
        for key, one in made.items():
            batches[generations[one.event.wf_uuid]][key] = one
        return sum(self._create(generation, batch, now, via) for generation, batch in sorted(batches.items()))

    def events(
        self, wf_uuid: str, kinds: Collection[str] | None = None, *, without: Collection[str] = ()
    ) -> Iterator[Event]:
        generation = self._workflows.generation(wf_uuid)
        if generation is None:
            return
        query = condition(wf_uuid=wf_uuid, kinds=kinds, without=without, upto=self._upto(generation))
        for page in pages(self._client, self._events.index(generation), query, _TIME):
            yield from map(_event, page)

    def workflows(self) -> list[WorkflowSummary]:
        told = {}
        numbers = {"first": {"min": {"field": "ts"}}, "last": {"max": {"field": "ts"}}, "seq": _min_seq()}
        for generation in self._events.seen():
            index = self._events.index(generation)
            found = groups(self._client, index, condition(), ["wf_uuid"], numbers)
            for group in sorted(found, key=lambda group: group.seq.value or 0.0):
                told[group.key["wf_uuid"]] = group.first.value, group.last.value
        registered = self._workflows.read(told)
        return [
            WorkflowSummary(wf_uuid=wf_uuid, first=first, last=last, **registered[wf_uuid].names._asdict())
            for wf_uuid, (first, last) in told.items()
            if wf_uuid in registered
        ]

    def since(self, cursor: int = 0, kinds: Collection[str] | None = None, *, limit: int = 1000) -> Page:
        horizon = self._events.seen()
        reached = parts_of(cursor, horizon)
        found: list[Event] = []
        for generation, upto in horizon.items():
            if len(found) == limit:
                break
            hits = self._after(generation, reached[generation], upto, kinds, limit - len(found))
            found += map(_event, hits)
            full = len(found) == limit
            reached[generation] = hits[-1].sort[0] + 1 if full and hits else max(reached[generation], upto + 1)
        return Page(found, cursor_of(reached))

    def changed(self, cursor: int = 0) -> Changes:
        horizon: Horizon = {number: each.checkpoint for number, each in self._events.look().items()}
        reached = parts_of(cursor, horizon)
        moved = {number for number, upto in horizon.items() if upto >= reached[number]}
        if not moved:
            return Changes({}, cursor)
        horizon = self._events.seen()
        newest: dict[str, int] = {}
        for generation in moved:
            query = condition(above=reached[generation] - 1, upto=horizon[generation])
            index, numbers = self._events.index(generation), {"seq": {"max": {"field": "_seq_no"}}}
            for group in groups(self._client, index, query, ["wf_uuid"], numbers):
                newest[group.key["wf_uuid"]] = int(group.seq.value or 0) + 1
            reached[generation] = horizon[generation] + 1
        return Changes(newest, cursor_of(reached))

    def ingested(self, event: Event) -> float | None:
        generation = self._workflows.generation(event.wf_uuid)
        if generation is None:
            return None
        index = self._events.index(generation)
        for found in documents(self._client, index, [event.event_id]):
            return float(found.source["ingested"])
        return None

    def kept(self) -> Iterator[Kept]:
        ways = self._ways.generations.seen()
        for generation, upto in self._events.seen().items():
            for page in pages(self._client, self._events.index(generation), condition(upto=upto), _NUMBER):
                more = self._ways.of(generation, [hit.key for hit in page], ways.get(generation, -1))
                for hit in page:
                    via = Via(hit.source["via"]) | more.get(hit.key, Via(0))
                    yield Kept(_event(hit), hit.source["ingested"], via)

    def arrivals(self, wf_uuid: str) -> list[Arrivals]:
        generation = self._workflows.generation(wf_uuid)
        if generation is None:
            return []
        numbers = self._ways.numbers(generation, wf_uuid)  # first: the events of all that it tells of are found then
        self._events.seen()
        index = self._events.index(generation)
        for group in groups(self._client, index, condition(wf_uuid=wf_uuid), ["event", "via"]):
            numbers[group.key["event"], Via(group.key["via"])] += group.doc_count
        return [Arrivals(kind, via, number) for (kind, via), number in sorted(numbers.items()) if number]

    def count(self, wf_uuid: str | None = None, kinds: Collection[str] | None = None) -> int:
        self._events.seen()
        return count(self._client, self._events.all, condition(wf_uuid=wf_uuid, kinds=kinds))

    def bury(self, letters: Iterable[DeadLetter]) -> int:
        self._check_writable()
        return self._letters.put(letters)

    def dead_letters(self) -> Iterator[DeadLetter]:
        return self._letters.all()

    def exhume(self, letter_ids: Collection[str]) -> int:
        self._check_writable()
        return self._letters.take(letter_ids)

    def close(self) -> None:
        self._client.close()

    def _check_writable(self) -> None:
        if self.readonly:
            raise StoreError(f"{self.address}: the store is open to be read; {READ_ONLY}")

    def _current(self) -> int:
        """Generation of workflows that are new; it is made where the one before is full."""
        number, newest = max(self._events.look().items())
        if newest.checkpoint + 1 < self._largest and newest.size < LARGEST_SIZE:
            return number
        self._schema.make_generation(number + 1)
        return number + 1

    def _create(self, generation: int, batch: dict[str, _Made], now: float, via: Via) -> int:
        items = (creation(key, one.body) for key, one in batch.items())
        new = 0
        known: list[Outcome] = []
        refused: list[Outcome] = []
        for outcome in bulk(self._client, self._events.index(generation), items):
            if outcome.status == CREATED:
                new += 1
            else:
                (known if outcome.status == KNOWN else refused).append(outcome)
        new += self._meet_again(generation, known, now, via)
        self._letters.put(_letter(batch[outcome.key], outcome, via) for outcome in refused)
        return new

    def _meet_again(self, generation: int, outcomes: Sequence[Outcome], now: float, via: Via) -> int:
        """Add the way to events that were there; how many of them a request without an answer had put there before."""
        doubtful = {outcome.key for outcome in outcomes if outcome.again}
        ours, others = 0, {}
        for key, told in self._known(generation, [outcome.key for outcome in outcomes]):
            if key in doubtful and told["ingested"] == now and told["via"] == via:
                ours += 1
            elif via & ~Via(told["via"]):
                others[key] = told
        self._ways.add(generation, others, via)
        return ours

    def _known(self, generation: int, keys: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What tells how events came that are there; those that have just been put cannot be searched for yet."""
        index = self._events.index(generation)
        left = set(keys)
        for key, told in columns(self._client, index, keys, _HOW):
            left.discard(key)
            yield key, told
        yield from ((found.key, found.source) for found in documents(self._client, index, left))

    def _upto(self, generation: int) -> int:
        horizon = self._events.seen()
        if generation not in horizon:
            raise StoreError(f"{self.address}: {self._events.index(generation)} does not answer; try again later")
        return horizon[generation]

    def _after(self, generation: int, following: int, upto: int, kinds: Collection[str] | None, most: int) -> list[Hit]:
        if upto < following:
            return []
        query, index = condition(kinds=kinds, above=following - 1, upto=upto), self._events.index(generation)
        return [hit for page in pages(self._client, index, query, _NUMBER, limit=most) for hit in page]


def _event(hit: Hit) -> Event:
    return event(hit.source)


def _min_seq() -> dict[str, Any]:
    return {"min": {"field": "_seq_no"}}


def _letter(made: _Made, outcome: Outcome, via: Via) -> DeadLetter:
    told = record(made.event)
    head = told[:_HEAD] if outcome.status == TOO_LARGE else told
    return DeadLetter(reason=outcome.reason, source=_SOURCES.get(via, "search engine"), size=len(told), head=head)
