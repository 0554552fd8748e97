"""Anomalies from when they were found until they were over, out of events in any order."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from panorama_driver.analysis import KINDS, Anomaly, Episodes, Evidence, as_event, episodes, worst_first
from panorama_driver.events import Event

FOUND = Anomaly(
    kind="throttled",
    wf_uuid="run",
    job_id="md",
    attempt=2,
    host="node7",
    since=100.0,
    found=103.0,
    confidence=0.9,
    message="md gets half of a core",
    evidence=(Evidence(metric="cpu_rate", observed=0.5, expected=1.0),),
    detector="online 1",
)
OVER = msgspec.structs.replace(FOUND, phase="over", found=120.0)
AGAIN = msgspec.structs.replace(FOUND, episode=1, since=200.0, found=203.0)


def taken(*anomalies: Anomaly) -> Episodes:
    known = Episodes()
    known.take(map(as_event, anomalies))
    return known


def test_an_episode_lasts_from_its_finding_to_its_end_whichever_is_heard_first() -> None:
    for order in itertools.permutations((FOUND, OVER, AGAIN)):
        first, second = sorted(taken(*order).known.values(), key=lambda each: each.anomaly.since)
        assert (first.anomaly, first.over) == (FOUND, 120.0)
        assert (second.anomaly, second.over) == (AGAIN, None)


def test_its_identity_is_that_of_the_event_that_tells_of_its_beginning() -> None:
    assert set(taken(OVER).known) == {as_event(FOUND).event_id} == set(taken(FOUND).known)


def test_only_what_is_new_or_has_changed_is_told_as_moved() -> None:
    known = Episodes()
    identity = as_event(FOUND).event_id
    assert known.take([as_event(FOUND)]) == {identity}
    assert known.take([as_event(FOUND)]) == set()
    assert known.take([as_event(OVER)]) == {identity}
    assert known.take([as_event(OVER), as_event(FOUND)]) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"since": "soon"},
        {"since": 1e300},
        {"since": -1.0},
        {"since": float("nan")},
        {"confidence": 1.5},
        {"confidence": float("inf")},
        {"evidence": [{"metric": "rss", "observed": float("inf")}]},
        {"evidence": [{"metric": "rss", "observed": 1.0, "expected": float("nan")}]},
        {"message": None},
        {"hostname": 7},
    ],
)
def test_an_event_that_tells_of_none_is_counted_once_and_its_fault_is_told(changes: dict[str, Any]) -> None:
    event = as_event(FOUND)
    bad = msgspec.structs.replace(event, fields=event.fields | changes)
    known = Episodes()
    assert known.take([bad, bad]) == known.take([bad]) == set()
    assert (known.known, known.damaged) == ({}, 1)
    assert "workflow run: event" in known.problem


def test_an_event_without_a_time_tells_of_none() -> None:
    known = Episodes()
    known.take([Event(kind="anomalies.leaking", wf_uuid="run", fields=as_event(FOUND).fields)])
    assert known.damaged == 1


def test_of_too_many_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "MOST", 3)
    many = [msgspec.structs.replace(FOUND, episode=number, found=103.0 + number) for number in range(5)]
    known = taken(*reversed(many))
    assert [each.anomaly.episode for each in known.newest_first()] == [4, 3, 2]
    assert known.left_out == 2


def test_long_words_of_a_job_are_cut() -> None:
    [each] = taken(msgspec.structs.replace(FOUND, message="long" * 5000)).known.values()
    assert len(each.anomaly.message) == 4000
    assert each.anomaly.message.endswith("\u2026")


def test_what_goes_on_is_worse_then_what_is_certain_then_what_lasted() -> None:
    sure = msgspec.structs.replace(AGAIN, confidence=0.99)
    long = msgspec.structs.replace(AGAIN, kind="leaking", since=0.0)
    found = worst_first(taken(FOUND, OVER, AGAIN, sure, long).known.values())
    assert [(each.anomaly.kind, each.anomaly.confidence, each.over) for each in found] == [
        ("throttled", 0.99, None),
        ("leaking", 0.9, None),
        ("throttled", 0.9, 120.0),
    ]


def test_the_kinds_are_those_that_a_store_is_asked_for() -> None:
    assert as_event(FOUND).kind in KINDS
    assert len(KINDS) == 13
