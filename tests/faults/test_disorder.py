"""R7: events that come three times, shuffled, late or half from disk give the rows and metrics of the clean run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from panorama_driver.collector.reconcile import completeness, reconcile
from panorama_driver.events import Event
from panorama_driver.metrics import WorkflowMetrics
from panorama_driver.store import Store, Via, open_store

from .captures import RUNS, delivered, metrics, rows, submit_dir, uuid_of

SEEDS = range(10)
FIXED = {"dag", "dax", "pegasus_version", "root_xwf_id", "submit_dir", "submit_hostname", "wf_ts", "wf_user"}
"""What monitord adds to every message, and what says nothing about the event."""
DIFFERENT = FIXED | {
    "js_id",  # how many states monitord saw of the attempt; nobody else counts them
    "level",  # monitord's word for a status that stands beside it
    "hostname",  # monitord knows the hosts of PegasusLite's jobs only; kickstart's record names all
    "ts",  # of what stands in a record without a time: when monitord read it, or when the job ended
    "stdout_text",  # monitord leaves a marker in the output where there were two payloads
}
Figure = Callable[[str], None]


@pytest.fixture(params=list(RUNS))
def run(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def clean(run: str, tmp_path: Path) -> Iterator[Store]:
    """Every event once and in order, from the broker."""
    with open_store(tmp_path / "clean.db") as store:
        store.put(delivered(run), via=Via.BROKER)
        yield store


def deliver(store: Store, events: Sequence[Event], chance: random.Random) -> None:
    """In lots as they happen to be, on a collector's clock that is up to an hour wrong."""
    left = list(events)
    while left:
        size = chance.randrange(1, 40)
        lot, left = left[:size], left[size:]
        store.put(lot, via=Via.BROKER, ingested=1795347600 + chance.uniform(-3600, 3600))


def bits(found: WorkflowMetrics) -> bytes:
    return msgspec.json.encode(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_times_and_shuffled_they_are_the_same_rows_and_metrics(
    run: str, seed: int, clean: Store, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    events = delivered(run) * 3
    chance.shuffle(events)
    with open_store(tmp_path / "disorder.db") as store:
        deliver(store, events, chance)
        assert rows(store) == rows(clean)
        assert bits(metrics(store, run)) == bits(metrics(clean, run))


@pytest.mark.parametrize("seed", SEEDS)
def test_with_half_of_them_missing_and_found_on_disk_they_are_the_same(
    run: str, seed: int, clean: Store, tmp_path: Path, figure: Figure
) -> None:
    chance = random.Random(seed)
    events = delivered(run)
    # Panorama's kickstart sends its traces and leaves them nowhere else; Pegasus' own events are on disk too.
    lost = {e.event_id for e in events if not e.kind.startswith("kickstart.") and chance.random() < 0.5}
    came = [event for event in events if event.event_id not in lost] * 3
    chance.shuffle(came)
    with open_store(tmp_path / "half.db") as store:
        deliver(store, came, chance)
        found = reconcile(store, uuid_of(run), submit_dir(run))
        assert sum(part.filled_from_disk for part in found.sources) == len(lost)
        assert rows(store).keys() == rows(clean).keys()
        assert bits(metrics(store, run)) == bits(metrics(clean, run))
    if seed == SEEDS[-1]:
        figure(f"R7 {run}: {len(lost)} of {len(events)} events lost, all found on disk; metrics equal bit for bit")


def test_a_row_from_disk_differs_from_the_brokers_only_in_what_monitord_adds_and_does_not_know(
    run: str, clean: Store, tmp_path: Path
) -> None:
    with open_store(tmp_path / "disk.db") as store:
        reconcile(store, uuid_of(run), submit_dir(run))
        disk, broker = rows(store), rows(clean)
    assert {event.kind for key, event in broker.items() if key not in disk} <= {"kickstart.inv.online"}
    assert disk.keys() <= broker.keys()
    assert {name for key in disk for name in differences(disk[key], broker[key])} <= DIFFERENT
    timed = {disk[key].kind for key in disk if disk[key].ts != broker[key].ts}
    assert timed <= {"stampede.job_inst.host.info", "stampede.int.metric", "stampede.rc.meta"}


def differences(ours: Event, theirs: Event) -> Iterator[str]:
    if ours.ts != theirs.ts:
        yield "ts"
    for name in ours.fields.keys() | theirs.fields.keys():
        if ours.fields.get(name) != theirs.fields.get(name):
            yield name


def test_a_run_seen_only_from_disk_has_the_metrics_of_the_brokers_but_for_what_only_the_broker_had(
    run: str, clean: Store, tmp_path: Path
) -> None:
    with open_store(tmp_path / "disk.db") as store:
        reconcile(store, uuid_of(run), submit_dir(run))
        store.put(event for event in delivered(run) if event.kind.startswith("kickstart."))
        assert bits(metrics(store, run)) == bits(metrics(clean, run))


def test_the_order_in_which_broker_and_disk_come_makes_no_difference(run: str, clean: Store, tmp_path: Path) -> None:
    wf_uuid = uuid_of(run)
    told = []
    for disk_first in (True, False):
        with open_store(tmp_path / f"{disk_first}.db") as store:
            for step in (disk_first, not disk_first):
                if step:
                    reconcile(store, wf_uuid, submit_dir(run))
                else:
                    store.put(delivered(run), via=Via.BROKER)
            told.append(completeness(store, wf_uuid).sources)
            assert rows(store).keys() == rows(clean).keys()
            assert bits(metrics(store, run)) == bits(metrics(clean, run))
    assert told[0] == told[1]
    assert all(part.filled_from_disk == 0 for part in told[0])
