"""Why the store is no data stream: that knows of repetitions in its newest index alone."""

from __future__ import annotations

import uuid

import pytest

from panorama_driver.errors import ServerError
from panorama_driver.events import Event
from panorama_driver.store.opensearch import OpenSearchStore
from panorama_driver.testing.opensearch import Node


def test_a_data_stream_doubles_what_comes_again_after_a_rollover(search_node: Node) -> None:
    name = f"stream-{uuid.uuid4().hex[:12]}"
    search_node.ask("PUT", f"/_index_template/{name}", {"index_patterns": [name], "data_stream": {}, "priority": 900})
    document = {"@timestamp": "2026-11-22T11:39:22Z"}
    search_node.ask("PUT", f"/{name}/_create/same", document)
    with pytest.raises(ServerError, match=r": 409: .*version_conflict"):
        search_node.ask("PUT", f"/{name}/_create/same", document)
    search_node.ask("POST", f"/{name}/_rollover")
    assert search_node.ask("PUT", f"/{name}/_create/same", document)["result"] == "created"
    search_node.ask("POST", f"/{name}/_refresh")
    assert search_node.ask("GET", f"/{name}/_count")["count"] == 2
    search_node.ask("DELETE", f"/_data_stream/{name}")


def test_a_store_does_not(search_url: str) -> None:
    once, other = (Event(kind="k", wf_uuid=wf_uuid, ts=1.0, fields={"seq": 1}) for wf_uuid in ("w1", "w2"))
    with OpenSearchStore(search_url, largest=1) as store:
        assert store.put([once]) == 1
        assert store.put([other]) == 1  # in the next generation
        assert store.put([once, other]) == 0
        assert store.count() == 2
