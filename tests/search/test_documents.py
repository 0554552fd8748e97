"""Any event becomes a document that the engine takes, and comes back as it was; what can be told has its type."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.errors import FormatError, StoreError
from panorama_driver.events import Event
from panorama_driver.sources import expand
from panorama_driver.store import Store, Via, open_store
from panorama_driver.store._documents import FAMILIES, MAPPINGS, SETTINGS, VERSION, aliases, document, event
from panorama_driver.store._rows import decoded
from panorama_driver.testing.opensearch import Node

from ..captured import CAPTURES, LIVE, told_live

OF_USERS = {"a", "metadata_temperature", "module", "POSIX_OPENS", "POSIX_BYTES_READ", "POSIX_F_READ_TIME"} | {
    "STDIO_OPENS",
    "integrity_verification_attempts",
}
"""What the programs of the recorded runs told beside what Pegasus tells."""

_FAMILIES = st.sampled_from(["stampede.inv.end", "kickstart.inv.online", "transfer.inv.go", "darshan.log", "x"])
_TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["\udcff", "\x00", "2026-11-22T11:39:22Z", "12", "x" * 9000]
)
_SINGLES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
    | st.sampled_from(["2026-02-30T00:00:00Z", "2020-01-01 00:00:00+00:00", "0000-01-01T00:00:00Z", 2**63, -(2**63)])
)
_VALUES = st.recursive(
    _SINGLES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=6
)
_NAMES = st.sampled_from([*MAPPINGS["properties"], "", ".", "a..b", "_id", "rest"]) | _TEXTS
_TIMES = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(0, 4e11) | st.integers(-1, 2**40)
_WHOLE = st.none() | st.integers(-(2**63), 2**63 - 1)
EVENTS = st.builds(
    Event,
    kind=_FAMILIES,
    wf_uuid=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    ts=_TIMES,
    job_id=st.none() | st.text(st.characters(codec="utf-8"), max_size=30),
    attempt=_WHOLE,
    invocation=_WHOLE,
    fields=st.dictionaries(_NAMES, _VALUES, max_size=8),
)


@pytest.fixture(scope="module")
def store(search_node: Node) -> Iterator[Store]:
    with open_store(f"{search_node.url}/test-documents") as opened:
        yield opened


def source(told: Event) -> dict[str, Any]:
    """A document, as the engine gives it back."""
    body = document(told, 1.0, Via.DISK)
    assert b"\n" not in body  # which would end it in a request of many
    found: dict[str, Any] = decoded(body)
    return found


@given(EVENTS)
def test_an_event_comes_back_from_its_document(told: Event) -> None:
    assert event(source(told)) == told


@settings(max_examples=25)
@given(st.lists(EVENTS, min_size=1, max_size=40))
def test_the_engine_takes_any_document_and_keeps_it_exactly(store: Store, told: list[Event]) -> None:
    own = str(uuid.uuid4())
    told = [msgspec.structs.replace(each, wf_uuid=own) for each in told]
    first = {each.event_id: each for each in reversed(told)}
    assert store.put(told) == len(first)
    assert {each.event_id: each for each in store.events(own)} == first
    assert list(store.dead_letters()) == []


def test_what_pegasus_tells_of_recorded_runs_has_its_place_and_its_type(tmp_path: Path) -> None:
    told = [each for run in LIVE for each in told_live(run, tmp_path).values()]
    for name in ("kickstart-online.jsonl", "transfer-events.jsonl"):
        lines = (CAPTURES / name).read_text().splitlines()
        told += [each for line in lines for each in expand(json.loads(line)["body"])]
    documents = [source(each) for each in told]
    assert {name for each in documents for name in each.get("rest", {})} == OF_USERS
    assert [event(each) for each in documents] == told


def test_a_value_of_another_type_than_its_field_does_not_keep_the_event_out() -> None:
    fields = {"maxrss": "much", "exitcode": 2**63, "site": "local", "clustered": 1, "dur": 1.5, "mine": {"": [1]}}
    found = source(Event(kind="stampede.inv.end", wf_uuid="w", ts=5.5, job_id="j", fields=fields))
    assert found["rest"] == {"maxrss": "much", "exitcode": 2**63, "clustered": 1, "mine": {"": [1]}}
    assert (found["site"], found["dur"], found["xwf_id"], found["job_id"], found["at"]) == ("local", 1.5, "w", "j", 5.5)


def test_event_time_is_the_time_of_dashboards_and_arrival_never_is() -> None:
    assert source(Event(kind="k", wf_uuid="w", ts=1795347562.25))["@timestamp"] == "2026-11-22T11:39:22.250000+00:00"
    for ts in (None, 1e300, -1.0, float("inf")):
        found = source(Event(kind="k", wf_uuid="w", ts=ts))
        assert "@timestamp" not in found
        assert found["at"] == (-1e300 if ts in (None, float("inf")) else ts)


@pytest.mark.parametrize(
    "part",
    [{"attempt": 2**63}, {"wf_uuid": "\ud800"}, {"kind": "\ud800"}, {"job_id": ["x"]}, {"fields": {"x": object()}}],
)
def test_an_event_that_is_none_is_named(part: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"event .* of workflow .* cannot be stored"):
        document(Event(**{"kind": "kickstart.inv.online", "wf_uuid": "w", **part}), 1.0, Via.DISK)


@pytest.mark.parametrize("told", [{}, {"event": 1, "wf_uuid": "w"}, {"event": "k", "wf_uuid": "w", "rest": 5}])
def test_a_document_that_is_no_event_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="no event of Panorama"):
        event(told)


def test_the_names_of_panoramas_indices() -> None:
    assert set(aliases("panorama")) == {f"panorama_{family}" for family in FAMILIES}


def test_whoever_changes_a_mapping_raises_its_version() -> None:
    text = json.dumps([MAPPINGS, SETTINGS], sort_keys=True).encode()
    assert (VERSION, hashlib.sha256(text).hexdigest()[:16]) == (1, "c291a33bba882a97")
