"""R16: the search engine answers 429, 503, nothing, 409 and 400, in a pattern; the numbers add up exactly."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from urllib3.util import Retry, Timeout

from panorama_driver.errors import StoreError
from panorama_driver.events import Event
from panorama_driver.sources import parse
from panorama_driver.store import Store, Via, _search_bulk, _search_http, open_store
from panorama_driver.testing import opensearch
from panorama_driver.testing.opensearch import Node

from ..search.proxy import FAULTS, Proxy

WRITERS, BATCH = 3, 50


def trace(workflow: int, number: int) -> Event:
    """One record of a job of a workflow."""
    fields = {"seq": number, "rss": 1000 + number, "utime": number / 100, "hostname": "w1"}
    return Event(kind="kickstart.inv.online", wf_uuid=f"wf-{workflow}", ts=1000.0 + number, job_id="j", fields=fields)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not wait a minute for a slow answer."""
    monkeypatch.setattr(_search_http, "_TIMEOUT", Timeout(connect=5.0, read=0.7))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("seed", "number"), [(1, 240), *(pytest.param(seed, 2400, marks=pytest.mark.long) for seed in (2, 3, 4))]
)
def test_nothing_is_lost_or_counted_twice_whatever_the_engine_answers(
    search_node: Node, search_url: str, seed: int, number: int, figure: Callable[[str], None]
) -> None:
    """Each event is put by two of three writers, in batches that overlap, through the faults."""
    events = [trace(each % 5, each) for each in range(number)]
    misfits = {event.event_id for event in events[::37]}
    proxy = Proxy(search_node.port, seed=seed, share=0.6, slow=1.0, misfit=misfits.__contains__)
    with proxy.running():
        stores = [open_store(_through(proxy, search_node, search_url)) for _ in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as pool:
            new = list(pool.map(_written, stores, (events[writer::3] + events[writer + 1 :: 3] for writer in range(3))))
        for store in stores:
            store.close()
    with open_store(search_url, readonly=True) as store:
        kept = {event.event_id for number in range(5) for event in store.events(f"wf-{number}")}
        letters = [parse_letter(letter.head).event_id for letter in store.dead_letters()]
        assert kept == {event.event_id for event in events} - misfits
        assert sorted(letters) == sorted(misfits)
        assert store.count() == sum(new) == len(kept)
        arrivals = Counter[Via]()
        for number in range(5):
            for one in store.arrivals(f"wf-{number}"):
                arrivals[one.via] += one.number
        assert arrivals == {Via.BROKER: len(kept)}
    assert all(proxy.done[fault] for fault in FAULTS)
    told = ", ".join(f"{number} {fault or 'as asked'}" for fault, number in sorted(proxy.done.items()))
    figure(f"R16 seed {seed}: {len(events)} events, each put twice; {told}; {len(kept)} kept, {len(letters)} buried")


@pytest.mark.usefixtures("impatient")
def test_what_a_put_could_not_keep_is_kept_when_it_is_put_again(
    search_node: Node, search_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "sleep", lambda self, response=None: None)  # half a minute in all
    monkeypatch.setattr(_search_bulk, "_MOST", 100)  # documents of a request
    events = [trace(0, number) for number in range(300)]
    proxy = Proxy(search_node.port, rejected=lambda name: name == events[150].event_id)
    with proxy.running(), open_store(_through(proxy, search_node, search_url)) as store:
        with pytest.raises(StoreError, match=r"queue of writes is full.*put the same again"):
            store.put(events)
        assert store.count() == 199  # of the first two requests, without the one
        proxy.rejected = lambda name: False
        assert store.put(events) == 101
        assert list(store.events("wf-0")) == events
        proxy.broken = True
        with pytest.raises(StoreError, match="try again later"):
            store.put([trace(0, 300)])
        with pytest.raises(StoreError, match="try again later"):
            store.count()
        proxy.broken = False
        assert store.put([trace(0, 300)]) == 1


@pytest.mark.long
def test_what_was_acknowledged_survives_the_death_of_the_engine(tmp_path: Path) -> None:
    if reason := opensearch.why_not():
        pytest.skip(reason)
    batches = [[trace(0, number) for number in range(start, start + BATCH)] for start in range(0, 3000, BATCH)]
    with opensearch.running(tmp_path) as node, open_store(node.url) as store:
        killer = threading.Timer(1.0, node.kill)
        killer.start()
        acknowledged = list(itertools.takewhile(lambda batch: _kept(store, batch), itertools.cycle(batches)))
        killer.join()
        node.start()
        known = {event.event_id for event in store.events("wf-0")}
        assert {event.event_id for batch in acknowledged for event in batch} <= known
        store.put(itertools.chain.from_iterable(batches))
        assert list(store.events("wf-0")) == list(itertools.chain.from_iterable(batches))


def _kept(store: Store, batch: list[Event]) -> bool:
    try:
        store.put(batch)
    except StoreError:
        return False
    return True


def _through(proxy: Proxy, node: Node, url: str) -> str:
    return url.replace(f":{node.port}/", f":{proxy.port}/")


def _written(store: Store, events: list[Event]) -> int:
    return sum(store.put(events[at : at + BATCH], via=Via.BROKER) for at in range(0, len(events), BATCH))


def parse_letter(head: bytes) -> Event:
    """The event that a letter is of, as `panorama deadletters retry` makes it."""
    return parse(msgspec.json.decode(head))
