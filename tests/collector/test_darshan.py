"""Darshan logs in a store are read once each, and what a job did with its files is told in its metrics."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from panorama_driver.collector import darshan as collector
from panorama_driver.collector.darshan import Summarised, summarise
from panorama_driver.events import Event
from panorama_driver.metrics import DarshanSummary, correlate
from panorama_driver.probe import PROBE
from panorama_driver.sources import darshan, expand
from panorama_driver.store import Store

CAPTURES = Path(__file__).parent.parent / "data" / "captures" / "darshan"
needs_pydarshan = pytest.mark.skipif(darshan.reader_name() is None, reason=darshan.MISSING)


def captured(name: str, attempt: int = 1) -> list[Event]:
    """Logs of a captured job, as they came home."""
    logs = sorted((CAPTURES / name).glob("*.darshan"))
    return [
        log_event(path.name, attempt=attempt, data=base64.b64encode(path.read_bytes()).decode(), job_id=name)
        for path in logs
    ]


def log_event(name: str, attempt: int = 1, job_id: str = "a", **fields: object) -> Event:
    return Event(
        kind="darshan.log",
        wf_uuid="w",
        job_id=job_id,
        attempt=attempt,
        fields={"name": name, "hostname": "n", **fields},
    )


def started(job_id: str, attempt: int = 1) -> Event:
    return Event(kind="stampede.job_inst.main.start", wf_uuid="w", job_id=job_id, attempt=attempt, ts=1.0)


def summary(store: Store, job_id: str) -> DarshanSummary:
    found = correlate(store.events("w")).job(job_id).darshan
    assert found is not None
    return found


@needs_pydarshan
def test_every_log_becomes_one_report_however_often_it_is_asked_for(store: Store) -> None:
    store.put([started("A"), started("B", 2), *captured("A"), *captured("B", 2)])
    assert summarise(store, "w") == Summarised(read=5)
    assert summarise(store, "w") == Summarised()
    assert sum(1 for _ in store.events("w", {"darshan.report"})) == 5
    assert summary(store, "A").bytes_written == 16_777_216
    assert summary(store, "B").bytes_written == 2_457_600
    whole = correlate(store.events("w")).darshan
    assert whole is not None
    assert (whole.logs, whole.bytes_written) == (5, 16_777_216 + 2_457_600)


@needs_pydarshan
def test_logs_that_come_later_are_read_then(store: Store) -> None:
    first, *others = captured("B")
    store.put([started("B"), first])
    summarise(store, "w")
    store.put(others)
    assert summarise(store, "w").read == 3
    assert summary(store, "B").logs == 4


@needs_pydarshan
def test_logs_of_other_workflows_stay_as_they_are(store: Store) -> None:
    store.put(captured("A"))
    assert summarise(store, "another") == Summarised()


@needs_pydarshan
def test_a_log_that_cannot_be_read_is_told_and_not_tried_again(store: Store) -> None:
    [log] = captured("A")
    store.put([started("A"), log, log_event("empty.darshan", job_id="A", data="")])
    store.put([log_event("big.darshan", job_id="A", reason="no room in the payload")])
    assert summarise(store, "w") == Summarised(read=1, unreadable=2)
    assert summarise(store, "w") == Summarised()
    found = summary(store, "A")
    assert (found.complete, found.logs, found.logs_unread) == (False, 1, 2)
    assert "1 of 3 Darshan logs: no room in the payload (big.darshan)" in found.problems


@needs_pydarshan
def test_what_another_pydarshan_could_not_read_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    [log] = captured("A")
    with darshan.LogReader() as reader:
        old = darshan.report_event(log, reader)
    fields = {**old.fields, "reader": "PyDarshan 2.0", "reason": "incompatible darshan file", "modules": {}}
    failed = Event(kind=old.kind, wf_uuid="w", job_id="A", attempt=1, ts=None, fields=fields)
    store.put([started("A"), log, failed])
    assert summarise(store, "w").read == 1
    assert summary(store, "A").complete


@needs_pydarshan
def test_a_longer_log_of_the_same_name_is_read_too_and_counts(store: Store) -> None:
    [whole] = captured("A")
    cut = base64.b64encode(base64.b64decode(whole.fields["data"])[:2000]).decode()
    store.put([started("A"), log_event(whole.fields["name"], job_id="A", data=cut)])
    assert summarise(store, "w").unreadable == 1
    store.put([whole])
    assert summarise(store, "w").read == 1
    found = summary(store, "A")
    assert (found.complete, found.bytes_written) == (True, 16_777_216)


@needs_pydarshan
def test_it_takes_no_longer_than_it_may(store: Store) -> None:
    store.put([started("A"), *captured("A")])
    done = summarise(store, "w", time_limit=-1)
    assert (done.read, done.waiting) == (0, 1)
    assert "takes too long" in done.problem
    assert summarise(store, "w").read == 1


def test_without_pydarshan_the_logs_wait(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "darshan.py").write_text("raise ImportError('none here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for module in (darshan, collector):
        monkeypatch.setattr(module, "reader_name", lambda: None)
    store.put([started("A"), *captured("A")])
    assert summarise(store, "w") == Summarised(waiting=1, problem=darshan.MISSING)
    job = correlate(store.events("w")).job("A")
    assert job.reasons["darshan"] == "no Darshan log: its Darshan logs have not been read"


def library() -> str | None:
    """Darshan's runtime: named in PANORAMA_TEST_DARSHAN, else next to its darshan-config."""
    config = shutil.which("darshan-config")
    beside = Path(config).parent.parent / "lib" / "libdarshan.so" if config else None
    named = os.environ.get("PANORAMA_TEST_DARSHAN") or (str(beside) if beside else None)
    return named if named and Path(named).is_file() else None


needs_runtime = pytest.mark.skipif(
    library() is None, reason="no Darshan runtime: set PANORAMA_TEST_DARSHAN to libdarshan.so, built without MPI"
)


def watched(script: str, folder: Path, store: Store) -> None:
    """Run a shell script under the probe, with Darshan, and bring what came home into the store."""
    home = folder / "home"
    home.mkdir()
    own = {"PEGASUS_MULTIPART_DIR": str(home), "TMPDIR": str(folder), "PANORAMA_PROBE_DARSHAN": str(library())}
    words = [sys.executable, "-IS", str(PROBE), "--payload", "sh", "-ec", script]
    subprocess.run(words, env={**os.environ, **own}, cwd=folder, check=True, timeout=120)
    [path] = home.iterdir()
    raw = {"event": "stampede.job_inst.composite", "xwf_id": "w", "job_id": "a", "job_inst_id": 1, "ts": 1}
    payload = json.loads(path.read_text().partition(": ")[2])
    store.put([started("a"), *expand({**raw, "panorama": payload})])


@needs_pydarshan
@needs_runtime
def test_a_script_of_dozens_of_processes_has_the_bytes_that_they_moved(store: Store, tmp_path: Path) -> None:
    """Each of 12 rounds: `dd` reads and writes i kB, `grep` reads them, another `dd` reads and writes them."""
    (tmp_path / "base").write_bytes((b"x" * 999 + b"\n") * 12)
    script = """
    for i in $(seq 1 12); do
        dd if=base of=f$i bs=1000 count=$i 2>/dev/null
        grep -c yy f$i >/dev/null || true
        dd if=f$i of=g$i bs=1000 2>/dev/null
    done
    """
    watched(script, tmp_path, store)
    done = summarise(store, "w")
    assert (done.unreadable, done.waiting) == (0, 0)
    assert done.read >= 36
    found = summary(store, "a")
    moved = sum(range(1, 13)) * 1000
    files = {file.name.rpartition("/")[2]: file for file in found.largest_files}
    assert found.complete
    assert found.bytes_written == 2 * moved
    assert files["f12"].bytes_read == 2 * 12_000
    assert (files["f12"].bytes_written, files["f12"].processes) == (12_000, 3)
    assert files["base"].bytes_read == moved
    assert found.bytes_read is not None
    assert found.bytes_read >= 3 * moved  # grep and the shell read other files too
    assert correlate(store.events("w")).job("a").io_time == found.io_time


@needs_pydarshan
@needs_runtime
def test_a_child_that_is_forked_does_not_repeat_what_its_parent_did(store: Store, tmp_path: Path) -> None:
    """The child opens a file of its own; Darshan does not see what it writes through the file that it inherited."""
    program = """
import os
out = open('p', 'wb', buffering=0)
out.write(b'x' * 5000)
if os.fork() == 0:
    open('c', 'wb', buffering=0).write(b'z' * 300)
else:
    os.wait()
    out.write(b'w' * 11)
"""
    (tmp_path / "fork.py").write_text(program)
    watched(f"{sys.executable} -S fork.py", tmp_path, store)
    summarise(store, "w")
    assert summary(store, "a").bytes_written == 5000 + 300 + 11
