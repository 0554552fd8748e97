"""Tstat's log directories come into the store: rotating, compressed, still written, damaged, again and again."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.tstat import Collected, collect_tstat
from panorama_driver.errors import EnvironmentMissingError
from panorama_driver.metrics import correlate
from panorama_driver.sources import expand
from panorama_driver.store import Store, open_store
from tests.tstat_logs import FULL, VERSION_2, header, line, log, values

BEGIN = 1.7e9
MIB = 1 << 20


def moved(job: str, begin: float, end: float, size: int, **more: Any) -> list[dict[str, Any]]:
    """A worker sends a file to the server, as the stage-out job of a workflow."""
    owner = {"xwf_id": "w", "job_id": job, "job_inst_id": 1}
    host = {"event": "stampede.job_inst.host.info", "hostname": "nid01.example.org", "ip": "192.0.2.1", "ts": begin}
    transfer = {
        "event": "transfer.inv.local.single",
        "wf_uuid": "w",
        "dag_job_id": job,
        "attempt": 1,
        "ts": end,
        "hostname": "nid01",
        "status": 0,
        "source_url": "file:///scratch/out",
        "destination_url": "scp://198.51.100.7/out",
        "transfer_start_time": begin,
        "transfer_completion_time": end,
        "bytes_transferred": size,
    }
    return [{**owner, **host}, {**transfer, **more}]


def flow(port: int, begin: float, end: float, size: int) -> dict[str, Any]:
    times = {"first": begin * 1e3, "first_abs": begin * 1e3, "last": end * 1e3, "durat": (end - begin) * 1e3}
    return values(c_port=port, c_bytes_uniq=size, c_bytes_all=size, **times)


@pytest.fixture
def known(store: Store) -> Store:
    """A store with two transfers."""
    raws = [*moved("early", BEGIN, BEGIN + 10, 50 * MIB), *moved("late", BEGIN + 100, BEGIN + 120, 90 * MIB)]
    store.put(event for raw in raws for event in expand(raw))
    return store


def write(folder: Path, name: str, text: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def connections(store: Store) -> list[tuple[str | None, int]]:
    return sorted((event.job_id, event.fields["c_port"]) for event in store.events("w", {"transfer.tcp"}))


EARLY = flow(1, BEGIN + 1, BEGIN + 9, 50 * MIB)
LATE = flow(2, BEGIN + 102, BEGIN + 119, 90 * MIB)
STRANGER = flow(3, BEGIN + 5000, BEGIN + 5001, 90 * MIB)


def test_rotating_directories_are_read_compressed_or_not_and_in_every_version(known: Store, tmp_path: Path) -> None:
    logs = tmp_path / "tstat"
    write(logs, "2023_11_14_22_13.out/log_tcp_complete", log(FULL, EARLY))
    write(logs, "2023_11_14_22_15.out/log_tcp_complete.gz", gzip.compress(log(VERSION_2, LATE)))
    write(logs, "2023_11_14_22_15.out/log_udp_complete", b"#c_ip:1 c_port:2\n1 2\n")
    write(logs, "2023_11_14_23_15.out/log_tcp_nocomplete", log(FULL, STRANGER))
    found = collect_tstat(known, logs)
    assert found == Collected(files=3, flows=3, by_host=2, foreign=1, stored=2)
    assert connections(known) == [("early", 1), ("late", 2)]


def test_reading_again_adds_only_what_is_new(known: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "tstat", "a.out/log_tcp_complete", log(FULL, EARLY))
    collect_tstat(known, path.parent)
    with path.open("ab") as file:
        file.write(f"{line(told=LATE)}\n".encode())
    again = collect_tstat(known, path.parent)
    assert (again.known, again.by_host, again.stored) == (1, 1, 1)
    assert collect_tstat(known, path.parent).stored == 0


def test_a_log_that_was_compressed_meanwhile_doubles_nothing(known: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "tstat", "a.out/log_tcp_complete", log(FULL, EARLY))
    collect_tstat(known, tmp_path / "tstat")
    write(path.parent, "log_tcp_complete.gz", gzip.compress(path.read_bytes()))
    assert collect_tstat(known, tmp_path / "tstat").stored == 0  # both are there
    path.unlink()
    assert collect_tstat(known, tmp_path / "tstat").stored == 0
    assert connections(known) == [("early", 1)]


def test_a_later_transfer_that_fits_as_well_changes_nothing_that_was_told(known: Store, tmp_path: Path) -> None:
    write(tmp_path / "tstat", "log_tcp_complete", log(FULL, EARLY))
    collect_tstat(known, tmp_path / "tstat")
    known.put(event for raw in moved("twin", BEGIN, BEGIN + 10, 50 * MIB) for event in expand(raw))
    assert collect_tstat(known, tmp_path / "tstat").known == 1
    assert connections(known) == [("early", 1)]


def test_a_file_still_being_written_gives_what_is_whole_and_is_no_damage(known: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "tstat", "log_tcp_complete", log(FULL, EARLY) + line(told=LATE).encode()[:200])
    found = collect_tstat(known, path.parent)
    assert (found.by_host, found.damaged) == (1, 0)
    assert found.problems == (f"{path}, line 3: the last line has no end yet",)
    assert not list(known.dead_letters())


def test_damaged_lines_become_dead_letters_with_file_line_and_reason(known: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "tstat", "log_tcp_complete", f"{header(FULL)}\n1 2 3\n{line(told=EARLY)}\n".encode())
    assert collect_tstat(known, path.parent).damaged == 1
    collect_tstat(known, path.parent)
    [letter] = known.dead_letters()
    assert (letter.reason, letter.source, letter.head) == ("line 2: 3 values in 130 columns", str(path), b"1 2 3\n")


def test_of_very_many_damaged_lines_only_some_are_kept(known: Store, tmp_path: Path) -> None:
    damaged = "".join(f"{number}\n" for number in range(1000))
    write(tmp_path / "tstat", "log_tcp_complete", f"{header(FULL)}\n{damaged}".encode())
    assert collect_tstat(known, tmp_path / "tstat").damaged == 1000
    assert len(list(known.dead_letters())) == 100


def test_only_the_workflow_that_is_named_gets_its_own_but_all_are_compared(known: Store, tmp_path: Path) -> None:
    write(tmp_path / "tstat", "log_tcp_complete", log(FULL, EARLY, LATE))
    twin, alone = moved("twin", BEGIN, BEGIN + 10, 50 * MIB, wf_uuid="v"), moved("x", 0, 9, 1, wf_uuid="v")
    known.put(event for raw in [*twin, *alone] for event in expand(raw))
    found = collect_tstat(known, tmp_path / "tstat", "v")
    assert (found.ambiguous, found.foreign, found.stored) == (1, 1, 0)
    assert collect_tstat(known, tmp_path / "tstat", "w").stored == 1
    assert connections(known) == [("late", 2)]


def test_transfers_between_unknown_hosts_are_counted(store: Store, tmp_path: Path) -> None:
    task = {"event": "transfer.inv.go", "wf_uuid": "w", "dag_job_id": "j", "request_time": "2023-11-14T22:13:20"}
    store.put(expand({**task, "completion_time": "2023-11-14T22:13:40", "source_endpoint_id": "e"}))
    write(tmp_path / "tstat", "log_tcp_complete", log(FULL, EARLY))
    found = collect_tstat(store, tmp_path / "tstat")
    assert (found.unresolved, found.foreign) == (1, 1)


def test_a_directory_that_is_not_there_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissingError, match="no such directory"):
        collect_tstat(store, tmp_path / "nowhere")


def test_what_cannot_be_read_does_not_hide_the_rest(known: Store, tmp_path: Path) -> None:
    logs = tmp_path / "tstat"
    write(logs, "b/log_tcp_complete", log(FULL, EARLY))
    (logs / "a").mkdir()
    (logs / "a" / "log_tcp_complete").symlink_to(logs / "gone")
    (logs / "c" / "log_tcp_complete").mkdir(parents=True)
    write(logs, "d/log_tcp_complete.gz", gzip.compress(log(FULL, LATE))[:-20] + b"x" * 20)
    found = collect_tstat(known, logs)
    assert found.by_host >= 1
    assert ("early", 1) in connections(known)


def test_the_metrics_of_the_job_have_it(known: Store, tmp_path: Path) -> None:
    write(tmp_path / "tstat", "log_tcp_complete", log(FULL, EARLY))
    collect_tstat(known, tmp_path / "tstat")
    job = correlate(known.events("w")).job("early")
    assert job.tcp is not None
    assert (job.tcp.connections, job.tcp.bytes, job.sources["tcp"]) == (1, 50 * MIB + 43068, "tstat")


def panorama(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command_joins_and_tells(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        store.put(event for raw in moved("early", BEGIN, BEGIN + 10, 50 * MIB)[1:] for event in expand(raw))
    write(tmp_path / "tstat", "log_tcp_complete", log(FULL, EARLY, STRANGER))
    words = ("tstat", tmp_path / "tstat", "--store", tmp_path / "s.db")
    first = json.loads(panorama(*words, "--json").stdout)
    assert (first["by_host"], first["foreign"]) == (1, 1)  # by the server's address alone
    done = panorama(*words, "w", "--address", "nid01=192.0.2.1")
    assert done.returncode == 0
    assert "joined: 0 by socket, 0 by host and time, 1 before" in done.stdout
    for wrong, reason in ((["x"], "the store knows none that begins so"), (["--address", "x"], "HOST=ADDRESS")):
        done = panorama(*words, *wrong)
        assert done.returncode == 2
        assert reason in done.stderr
    shutil.rmtree(tmp_path / "tstat")
    assert panorama(*words).returncode == 3
