"""A store that is followed: each finding once, whatever is started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.analysis import Anomaly, anomaly_of, as_event
from panorama_driver.analysis.following import StoreWatch
from panorama_driver.analysis.history import WARM
from panorama_driver.events import Event
from panorama_driver.sources import parse
from panorama_driver.store import Store, open_store
from tests.analysis.traces import BUSY, START, STOPPED, WORKFLOW, attempt, ending, samples, told

NOW = START + 5010


def past(number: int = WARM) -> list[Event]:
    return [event for i in range(number) for event in attempt(i, [BUSY] * 12, START + 100 * i)]


def stopped() -> list[Event]:
    return [told(50, "main.start", START + 5000), *samples(50, [*[BUSY] * 6, *[STOPPED] * 4], START + 5000)]


def clock() -> float:
    return NOW


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store.db")


def test_what_is_found_is_an_event_of_the_store_and_published_once(store: Store) -> None:
    published: list[dict[str, object]] = []
    watch = StoreWatch(store, publish=published.extend, clock=clock)
    store.put(past())
    assert watch.poll() == []
    store.put(stopped())
    (found,) = watch.poll()
    assert found.kind == "stalled"
    assert watch.poll() == []
    (event,) = store.events(WORKFLOW, {"anomalies.stalled"})
    assert anomaly_of(event) == found
    assert [parse(record) for record in published] == [as_event(found)]


def test_one_that_is_started_again_tells_nothing_twice_and_goes_on(store: Store) -> None:
    store.put(past())
    store.put(stopped())
    assert len(StoreWatch(store, clock=clock).poll()) == 1
    again = StoreWatch(store, clock=clock)
    assert again.poll() == []
    store.put(ending(50, NOW))
    ended = [*again.poll(), *again.poll(), *again.poll()]
    assert [(each.kind, each.phase) for each in ended] == [("stalled", "over")]


def test_two_that_watch_one_store_tell_it_once(store: Store) -> None:
    watches = [StoreWatch(store, clock=clock), StoreWatch(store, clock=clock)]
    store.put([*past(), *stopped()])
    assert sorted(len(watch.poll()) for watch in watches) == [0, 1]


@pytest.mark.parametrize(("whole", "number"), [(False, 0), (True, 2)])
def test_what_was_over_long_ago_is_history_unless_asked_for(store: Store, whole: bool, number: int) -> None:
    store.put([*past(), *stopped(), *ending(50, NOW)])
    watch = StoreWatch(store, past=whole, clock=lambda: NOW + 3600)
    told_of: list[Anomaly] = [*watch.poll(), *watch.poll(), *watch.poll()]
    assert len(told_of) == number
    assert store.count(kinds={"anomalies.stalled"}) == number


def test_what_began_while_nobody_watched_and_goes_on_is_told(store: Store) -> None:
    store.put([*past(), *stopped()])
    assert len(StoreWatch(store, clock=lambda: NOW + 3600).poll()) == 1


def test_a_call_takes_bounded_time_and_the_next_goes_on(store: Store) -> None:
    for i in range(40):
        store.put([event for j in range(10) for event in attempt(1000 + 10 * i + j, [BUSY] * 20, START + j)])
    watch = StoreWatch(store, clock=clock)
    calls = 0
    while not watch.caught_up:
        begin = time.monotonic()
        watch.poll(budget=0.0)
        assert time.monotonic() - begin < 1.0
        calls += 1
    assert calls > 5


def test_a_store_that_cannot_be_written_is_told_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = StoreWatch(store, clock=clock)
    store.put([*past(), *stopped()])

    def full(events: object) -> int:
        raise OSError("no space")

    put: Callable[..., int] = store.put
    monkeypatch.setattr(store, "put", full)
    with pytest.raises(OSError, match="no space"):
        watch.poll()
    monkeypatch.setattr(store, "put", put)
    assert len(watch.poll()) == 1
