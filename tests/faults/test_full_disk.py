"""A file system runs full under a study: Dakota is answered in words, and once there is space nothing is corrupt."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.engines.local.log import EventLog
from panorama_driver.engines.local.plan import Plan
from panorama_driver.errors import StoreError
from panorama_driver.study.journal import Journal, read

from .studies import OFFSET, Ran, Study, wait_for

SIZE = 3 * 2**20


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 3 MB, mounted where `make` puts its study."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    point = folder / "disk"
    point.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", point], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"no small file system can be mounted here: {mount.stderr.strip()}")
    yield point
    subprocess.run(["umount", "--lazy", point], check=True)


@pytest.fixture
def study(small_disk: Path, make: Callable[..., Study]) -> Study:
    """A study on the small disk; what Dakota and the drivers exchange lies there as well."""
    return make([0.5], name="disk/study", options="{pause: 1}", capture="recover 99")


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all the space but some."""
    rubbish = disk / "rubbish"
    with rubbish.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - leave))
    return rubbish


def check_sound(study: Study) -> None:
    ran = study.run()
    assert ran.code == 0, ran.said[-3000:]
    assert study.table() == {1: pytest.approx((0.5 - OFFSET) ** 2)}
    assert (study.double_submissions(), study.repeated_jobs()) == (0, 0)
    with sqlite3.connect(study.home / ".panorama" / "store.db") as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def said(ran: Ran) -> list[str]:
    return [line for line in ran.said.splitlines() if line.startswith("panorama-driver:")]


@pytest.mark.parametrize("job", ["sh_left", pytest.param("stage_in_local_local_0_0", marks=pytest.mark.long)])
def test_a_disk_that_runs_full_in_mid_run_is_told_of_and_corrupts_nothing(
    job: str, study: Study, small_disk: Path, figure: Callable[[str], None]
) -> None:
    dakota = study.start()
    wait_for(lambda: study.started(job), job)
    rubbish = fill(small_disk)
    ran = study.ended(dakota)
    assert study.complete(1)
    why, unwritten = said(ran)[-2:]
    assert str(study.home / ".panorama") in why or str(study.home / "evaluations") in why
    assert "free" in why
    assert "results.out.1: [Errno 28] No space left on device" in unwritten
    assert "-read_restart" in unwritten
    wait_for(lambda: not study.find("sleep"), "the end of the jobs")
    rubbish.unlink()
    check_sound(study)
    figure(f"disk full at {job}: told of, no partial file, Dakota ended with {ran.code}; with space again: all well")


@pytest.mark.long
@pytest.mark.parametrize("leave", [16384, 65536])
def test_a_disk_that_is_full_from_the_start_is_told_of(
    leave: int, study: Study, small_disk: Path, figure: Callable[[str], None]
) -> None:
    rubbish = fill(small_disk, leave)
    ran = study.run()
    assert study.complete(1)
    assert f"{study.home / '.panorama' / 'store.db'}: cannot open the store: database or disk is full" in said(ran)[0]
    assert "free space and try again" in said(ran)[0]
    rubbish.unlink()
    check_sound(study)
    result = "no room for a results file" if ran.code else "Dakota got its `fail`"
    figure(f"disk with {leave} bytes free at the start: told of, {result}; with space again: all well")


@contextmanager
def room_for(path: Path, size: int) -> Iterator[None]:
    """Let no file grow further than this one and `size` bytes: the write that goes beyond is cut short."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_step_that_a_full_disk_cut_spoils_none_that_follows(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    step: dict[str, Any] = {"eval_id": "1", "variables": {"x": 0.5}, "directory": "evaluations/0001"}
    journal.record("first", **step)
    with (
        room_for(tmp_path / "journal.jsonl", 20),
        pytest.raises(StoreError, match=r"journal\.jsonl: .*free some space"),
    ):
        journal.record("cut", **step)
    journal.record("last", **step)
    assert list(read(tmp_path)) == ["first", "last"]


def test_an_event_that_a_full_disk_cut_spoils_none_that_follows(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(tmp_path, Plan("label", "local", tmp_path, tmp_path, {}, [], []), "u")
    log.write("first")
    with room_for(path, 20), pytest.raises(StoreError, match=r"events\.jsonl: cannot be written: .*free some space"):
        log.write("cut")
    log.write("last")
    log.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in (lines[0], lines[-1])] == ["first", "last"]
