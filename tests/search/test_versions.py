"""R17: a store of version N opened by the program of version N + 1, and the other way round; nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from panorama_driver.errors import StoreError
from panorama_driver.events import Event
from panorama_driver.store import _documents, _search_schema, open_store
from panorama_driver.store._documents import MAPPINGS, VERSION
from panorama_driver.testing.opensearch import Node

KIND = "kickstart.inv.online"


def coloured(number: int) -> Event:
    """A record with a field that version N does not know."""
    return Event(kind=KIND, wf_uuid="w1", ts=float(number), fields={"seq": number, "colour": "red"})


@contextmanager
def next_version(monkeypatch: pytest.MonkeyPatch, mapping: dict[str, Any]) -> Iterator[None]:
    """The program of version N + 1, which has a place for the field."""
    properties = {**MAPPINGS["properties"], "colour": {"type": "keyword"}, **mapping}
    events = {**_search_schema._EVENTS, "mappings": {**MAPPINGS, "properties": properties}}
    with monkeypatch.context() as patch:
        patch.setattr(_search_schema, "VERSION", VERSION + 1)
        patch.setitem(_search_schema._GENERATIONS, "events", events)
        patch.setitem(_documents._FITS, "colour", _documents._is_word)
        yield


def found(node: Node, url: str) -> int:
    """Number of events that the engine finds by the field."""
    prefix = url.rpartition("/")[2]
    body = {"query": {"term": {"colour": "red"}}}
    return int(node.ask("POST", f"/{prefix}_kickstart/_count", body)["count"])


def test_the_next_version_brings_a_store_up_to_date_in_place_and_this_one_then_refuses_it(
    search_node: Node, search_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = [coloured(number) for number in range(50)], [coloured(number) for number in range(50, 60)]
    with open_store(search_url) as ours:
        ours.put(before)
        assert found(search_node, search_url) == 0
        with next_version(monkeypatch, {}):
            with pytest.raises(StoreError, match="open it once for writing"):
                open_store(search_url, readonly=True)
            with open_store(search_url) as theirs:
                assert list(theirs.events("w1")) == before
                assert theirs.put([*before, *after]) == 10
                assert theirs.count() == 60
                assert found(search_node, search_url) == 10
            with open_store(search_url, readonly=True) as theirs:
                assert list(theirs.events("w1")) == before + after
        # one that has been open all the time goes on, and harms nothing
        assert list(ours.events("w1")) == before + after
        assert ours.put([*after, coloured(60)]) == 1
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"newer panorama-driver .*update with .*nothing was changed"):
            open_store(search_url, readonly=readonly)
    with next_version(monkeypatch, {}), open_store(search_url) as theirs:
        assert list(theirs.events("w1")) == [*before, *after, coloured(60)]


def test_many_may_bring_it_up_to_date_at_the_same_time(search_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened_and_put(number: int) -> int:
        with open_store(search_url) as store:
            return store.put([coloured(number), coloured(1000)])

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(opened_and_put, range(4))) == 5
        with next_version(monkeypatch, {}):
            assert sum(pool.map(opened_and_put, range(8))) == 4
    with next_version(monkeypatch, {}), open_store(search_url, readonly=True) as store:
        assert store.count() == 9


def test_an_update_that_the_engine_refuses_leaves_the_store_to_this_version(
    search_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(search_url) as ours:
        ours.put([coloured(1)])
    with next_version(monkeypatch, {"seq": {"type": "keyword"}}), pytest.raises(StoreError, match="mapper \\[seq\\]"):
        open_store(search_url)
    with open_store(search_url) as ours:
        assert ours.put([coloured(1), coloured(2)]) == 1
        assert list(ours.events("w1")) == [coloured(1), coloured(2)]
