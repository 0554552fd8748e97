"""A Darshan log that names no workflow becomes a run of its own."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from panorama_driver.collector.darshan import summarise
from panorama_driver.exchange.formats import darshan, detected
from panorama_driver.metrics import correlate
from panorama_driver.store import open_store
from tests.captured import CAPTURES
from tests.exchange.runs import imported, told

pytest.importorskip("darshan", reason="PyDarshan is not installed (pip install 'panorama-driver[darshan]')")
[ONE] = (CAPTURES / "darshan" / "A").iterdir()
FAMILY = sorted((CAPTURES / "darshan" / "B").iterdir())


def test_a_log_is_a_run_of_its_program(tmp_path: Path) -> None:
    """The program wrote 64 times 262,144 B, and then read the whole file."""
    assert detected(ONE).name == "darshan"
    events, letters = told(darshan.read, ONE)
    assert letters == []
    run = correlate(events.values())
    [job] = run.jobs
    assert (run.label, run.state, job.state) == ("python3", "succeeded", "succeeded")
    assert job.exit_code is None  # Darshan does not tell
    assert job.darshan is not None
    assert job.darshan.complete
    assert job.darshan.bytes_written == 64 * 262_144
    assert job.darshan.posix is not None
    assert job.darshan.posix.writes == 64
    assert job.wall_time == pytest.approx(0.0294, abs=1e-4)
    assert job.attempts[0].sched_id == "140922"  # without a scheduler, the process id


def test_each_log_is_one_run_whatever_it_is_called(tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    renamed.write_bytes(gzip.compress(FAMILY[0].read_bytes()))
    assert detected(renamed).name == "darshan"
    with open_store(tmp_path / "store.db") as store:
        assert all(imported(darshan.read, path, store)[0] > 5 for path in FAMILY)
        assert [imported(darshan.read, path, store) for path in FAMILY] == [(0, 0)] * len(FAMILY)
        imported(darshan.read, renamed, store)
        runs = [run.wf_uuid for run in store.workflows()]
        assert len(runs) == len(FAMILY)
        written = [correlate(store.events(run)).darshan for run in runs]
        assert sum(told.bytes_written or 0 for told in written if told is not None) == 600 * 4_096
        assert [summarise(store, run).read for run in runs[1:]] == [0] * (len(runs) - 1)  # nothing is left to read


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-200], lambda data: data[:400] + b"\xff" * 50 + data[450:]], ids=["cut", "changed"]
)
def test_a_damaged_log_is_a_dead_letter(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "damaged.darshan"
    assert callable(damage)
    path.write_bytes(damage(ONE.read_bytes()))
    assert detected(path).name == "darshan"
    events, [letter] = told(darshan.read, path)
    assert events == {}
    assert "damaged" in letter.reason or "cannot be read" in letter.reason
    assert letter.size == path.stat().st_size


def test_a_log_larger_than_any_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "endless.gz"
    path.write_bytes(gzip.compress(ONE.read_bytes() + bytes(65 << 20), 9))
    events, [letter] = told(darshan.read, path)
    assert events == {}
    assert "longer than" in letter.reason
