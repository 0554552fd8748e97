"""Anomalies as events: there and back, on every way, each once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from panorama_driver.analysis import Anomaly, Evidence, anomaly_of, as_event, as_record
from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.sources import parse
from panorama_driver.store import open_store

STALLED = Anomaly(
    kind="stalled",
    wf_uuid="11111111-2222-3333-4444-555555555555",
    job_id="md_ID0000001",
    attempt=4,
    host="vm/slow",
    transformation="md",
    since=1795347038.5,
    found=1795347041.25,
    confidence=0.9,
    message="md_ID0000001 has not moved for 2.8 s",
    evidence=(Evidence(metric="cpu_time", observed=0.0, expected=0.97, unit="s/s", basis="median of 12 attempts"),),
    detector="online 1",
)


def test_there_and_back() -> None:
    assert anomaly_of(as_event(STALLED)) == STALLED


def test_a_host_has_no_job() -> None:
    host = msgspec.structs.replace(STALLED, kind="slow_host", job_id=None, attempt=None, transformation=None)
    assert anomaly_of(as_event(host)) == host


def test_a_record_becomes_the_same_event() -> None:
    record = msgspec.json.decode(msgspec.json.encode(as_record(STALLED)))
    assert parse(record).event_id == STALLED.anomaly_id
    assert anomaly_of(parse(record)) == STALLED


def test_found_again_with_other_numbers_it_is_the_same(tmp_path: Path) -> None:
    again = msgspec.structs.replace(STALLED, found=STALLED.found + 1, confidence=0.95, message="still")
    assert again.anomaly_id == STALLED.anomaly_id
    with open_store(tmp_path / "store.db") as store:
        assert store.put([as_event(STALLED), as_event(again)]) == 1


@pytest.mark.parametrize(
    "other",
    [{"phase": "over"}, {"episode": 1}, {"kind": "leaking"}, {"attempt": 5}, {"host": "vm/fast"}, {"job_id": "x"}],
)
def test_what_differs_is_another(other: dict[str, object]) -> None:
    assert msgspec.structs.replace(STALLED, **other).anomaly_id != STALLED.anomaly_id


@pytest.mark.parametrize(
    "event",
    [
        Event(kind="kickstart.inv.online", wf_uuid="w"),
        Event(kind="anomalies.nothing_known", wf_uuid="w", ts=1.0),
        Event(kind="anomalies.stalled", wf_uuid="w", ts=1.0),
        Event(kind="anomalies.stalled", wf_uuid="w", fields=as_event(STALLED).fields),
    ],
)
def test_what_tells_none_is_refused(event: Event) -> None:
    with pytest.raises(FormatError, match=r"^event '"):
        anomaly_of(event)
