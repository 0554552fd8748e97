"""Recorded runs of Pegasus in a store, and what is put into one, for the tests of formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from panorama_driver.collector.darshan import summarise
from panorama_driver.events import Event
from panorama_driver.exchange.records import Source
from panorama_driver.sources import expand, sink
from panorama_driver.store import DeadLetter, Store, open_store
from tests.captured import LIVE, told_live, unpacked

Read = Callable[[Path], Iterator[Event | DeadLetter]]


def captured(folder: Path, runs: list[str] | None = None) -> Source:
    """A store of recorded runs: those that monitord told live, and one of which probes came home."""
    path = folder / "captured.db"
    with open_store(path) as store:
        for name in LIVE if runs is None else runs:
            store.put(told_live(name, folder).values())
        if runs is None:
            store.put(clusters(folder).values())
            for run in store.workflows():
                assert not summarise(store, run.wf_uuid).problem
    return Source("captured", str(path))


def clusters(folder: Path) -> dict[str, Event]:
    """A run of clustered jobs with probes, transfers and Darshan logs."""
    raws = sink.read(unpacked("clusters/events.json.gz", folder))
    return {event.event_id: event for raw in raws for event in expand(raw)}


def told(read: Read, path: Path) -> tuple[dict[str, Event], list[DeadLetter]]:
    """What a format reads in a file: events by identity, and dead letters."""
    events: dict[str, Event] = {}
    letters: list[DeadLetter] = []
    for each in read(path):
        if isinstance(each, DeadLetter):
            letters.append(each)
        else:
            events.setdefault(each.event_id, each)
    return events, letters


def imported(read: Read, path: Path, store: Store) -> tuple[int, int]:
    """Bring a file into a store: new events, and new dead letters."""
    events, letters = told(read, path)
    return store.put(events.values()), store.bury(letters)
