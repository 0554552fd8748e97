"""R19: of what is lost before it reaches us, all that is on disk is found and filled in, and the rest is told."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.collector._records import events_of
from panorama_driver.collector.reconcile import completeness, reconcile
from panorama_driver.store import Via, open_store

from .captures import RUNS, delivered, metrics, rows, submit_dir, uuid_of

SEEDS = range(20)
SHARE = 0.02
WF = "5f1e6a0c-0000-4000-8000-000000000001"
Figure = Callable[[str], None]


@pytest.mark.parametrize("run", RUNS)
def test_two_in_a_hundred_lost_are_all_found_and_filled_in(run: str, tmp_path: Path, figure: Figure) -> None:
    events, wf_uuid = delivered(run), uuid_of(run)
    on_disk = [event for event in events if not event.kind.startswith("kickstart.")]
    with open_store(tmp_path / "clean.db") as clean:
        clean.put(events, via=Via.BROKER)
        expected, told = rows(clean).keys(), metrics(clean, run)
    total = 0
    for seed in SEEDS:
        lost = {event.event_id for event in random.Random(seed).sample(on_disk, max(1, round(SHARE * len(events))))}
        with open_store(tmp_path / f"{seed}.db") as store:
            store.put((event for event in events if event.event_id not in lost), via=Via.BROKER)
            found = reconcile(store, wf_uuid, submit_dir(run))
            assert rows(store).keys() - {event.event_id for event in events if event.event_id not in lost} == lost
            assert sum(part.filled_from_disk for part in found.sources) == len(lost)
            assert sum(part.events_seen for part in found.sources) == len(expected) - len(lost)
            assert sum(part.missing for part in found.sources) == 0
            assert rows(store).keys() == expected
            assert metrics(store, run) == told
        total += len(lost)
    figure(f"R19 {run}: {total} events lost in {len(SEEDS)} runs, {total} found on disk and filled in")


def line(seq: int, last: int) -> bytes:
    raw = {"event": "kickstart.inv.online", "wf_uuid": WF, "dag_job_id": "a", "attempt": 1, "pid": 3, "hostname": "n"}
    return json.dumps({**raw, "ts": 1000.0 + seq, "seq": seq, "utime": 0.5 * seq, "final": seq == last}).encode()


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_that_did_not_come_online_are_found_in_the_trace(seed: int, tmp_path: Path) -> None:
    chance, number = random.Random(seed), 500
    lines = [line(seq, number - 1) for seq in range(number)]
    lost = set(chance.sample(range(number), round(SHARE * number)))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.trace.001.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with open_store(tmp_path / "store.db") as store:
        store.put((e for seq, body in enumerate(lines) if seq not in lost for e in events_of(body)), via=Via.HTTP)
        # The numbers alone show it before anybody has looked at the disk; but not that later ones are lost.
        seen = max(set(range(number)) - lost)
        assert completeness(store, WF).of("kickstart").missing == sum(seq < seen for seq in lost)
        part = reconcile(store, WF, folder).of("kickstart")
    assert (part.events_expected, part.events_seen) == (number, number - len(lost))
    assert (part.filled_from_disk, part.missing) == (len(lost), 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_that_are_lost_on_disk_too_are_told_to_be_missing(seed: int, tmp_path: Path) -> None:
    chance, number = random.Random(seed), 500
    lines = [line(seq, number - 1) for seq in range(number)]
    online = [seq for seq in range(number) if chance.random() > 0.2]
    on_disk = {seq for seq in range(number) if chance.random() > 0.2} | {number - 1}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.trace.001.jsonl").write_bytes(b"".join(lines[seq] + b"\n" for seq in sorted(on_disk)))
    with open_store(tmp_path / "store.db") as store:
        store.put((event for seq in online for event in events_of(lines[seq])), via=Via.HTTP)
        part = reconcile(store, WF, folder).of("kickstart")
    assert part.missing == number - len(set(online) | on_disk)
    assert (part.events_expected, part.events_seen) == (number, len(online))
    assert part.filled_from_disk == len(on_disk - set(online))
