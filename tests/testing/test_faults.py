"""Faults that are real: what they do to a process is measured; where this machine cannot make one, it says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from panorama_driver.analysis import Anomaly
from panorama_driver.analysis.online import Watch
from panorama_driver.errors import EnvironmentMissingError
from panorama_driver.probe import command
from panorama_driver.sources import parse
from panorama_driver.testing import faults
from tests.conftest import whole_lines

BURN = "while True: sum(range(10000))"
WRITE = """
import mmap, os, sys
block, file = mmap.mmap(-1, 1 << 20), os.open(sys.argv[1], os.O_CREAT | os.O_RDWR | os.O_DIRECT)
number = 0
while True:
    os.pwrite(file, block, number % 64 << 20)
    number += 1
"""
_PATIENCE = 20.0


class Job:
    """A program under the probe, and what a `Watch` says of it; an interval is 0.1 s."""

    def __init__(self, folder: Path, source: str, *arguments: str) -> None:
        self.trace = folder / "trace.jsonl"
        options = ["--interval", "0.1", "--trace", str(self.trace), "--end-leftovers"]
        told = {"PEGASUS_WF_UUID": "w", "PEGASUS_DAG_JOB_ID": "j", "PANORAMA_ATTEMPT": str(os.getpid())}
        program = [sys.executable, "-IS", "-c", source, *arguments]
        self.process = subprocess.Popen([*command(), *options, "--", *program], env=os.environ | told)
        self.watch = Watch()
        self._read = 0

    @property
    def pids(self) -> list[int]:
        return faults.processes({"PANORAMA_ATTEMPT": str(os.getpid()), "PEGASUS_WF_UUID": "w"})

    def last(self) -> dict[str, float]:
        return parse(_decoded(whole_lines(self.trace)[-1])).fields

    def until(self, kind: str) -> Anomaly:
        """What is said of it first, of that kind."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            lines = whole_lines(self.trace) if self.trace.exists() else []
            for line in lines[self._read :]:
                for anomaly in self.watch.see(parse(_decoded(line))):
                    if anomaly.kind == kind:
                        return anomaly
            self._read = len(lines)
        raise AssertionError(f"no {kind} in {_PATIENCE:g} s")

    def runs(self) -> None:
        """Wait until it has been seen to work."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self.trace.exists() and len(whole_lines(self.trace)) > 8 and self.pids:
                return
        raise AssertionError("it does not run")


def _decoded(line: str) -> dict[str, object]:
    return dict(json.loads(line))


@pytest.fixture
def job(tmp_path: Path) -> Iterator[list[Job]]:
    jobs: list[Job] = []
    yield jobs
    for each in jobs:
        each.process.terminate()
        each.process.wait()


def test_a_stopped_process_is_told_with_the_moment_it_was_stopped(job: list[Job], tmp_path: Path) -> None:
    job.append(Job(tmp_path, BURN))
    job[0].runs()
    with faults.stopped(job[0].pids) as onset:
        found = job[0].until("stalled")
    assert found.since == pytest.approx(onset, abs=0.3)
    assert "state T" in found.message


def test_half_of_a_core_by_a_quota_is_told(job: list[Job], tmp_path: Path) -> None:
    problem = faults.cannot("quota")
    if problem is not None:
        pytest.skip(problem)
    job.append(Job(tmp_path, BURN))
    job[0].runs()
    with faults.throttled(job[0].pids, 0.25, "quota") as onset:
        found = job[0].until("throttled")
    assert found.found > onset
    assert found.evidence[0].metric == "starved"
    assert found.evidence[0].observed > 0.3


def test_stops_and_continuations_leave_a_share_of_the_processor(job: list[Job], tmp_path: Path) -> None:
    job.append(Job(tmp_path, BURN))
    job[0].runs()
    with faults.throttled(job[0].pids, 0.3, "cycle") as onset:
        end, before = time.monotonic() + 2, job[0].last()["utime"]
        while time.monotonic() < end:
            time.sleep(0.05)
        used = job[0].last()["utime"] - before
    assert time.time() - onset > 2
    assert used < 0.5 * 2


def test_a_slow_disk_lets_through_no_more_than_it_says(job: list[Job], tmp_path: Path) -> None:
    problem = faults.cannot("slow_disk", tmp_path)
    if problem is not None:
        pytest.skip(problem)
    data = tmp_path / "data"
    job.append(Job(tmp_path, WRITE, str(data)))
    job[0].runs()
    with faults.slow_disk(job[0].pids, tmp_path, 5e6):
        time.sleep(0.5)
        begin, before = time.monotonic(), job[0].last()["bwrite"]
        time.sleep(2)
        rate = (job[0].last()["bwrite"] - before) / (time.monotonic() - begin)
    assert rate < 3 * 5e6


def test_a_leak_tells_since_when(job: list[Job], tmp_path: Path) -> None:
    told = tmp_path / "since"
    job.append(Job(tmp_path, faults.LEAKING, "0.3", "2e7", str(told)))
    job[0].runs()
    end = time.monotonic() + _PATIENCE
    while not (told.exists() and told.read_text()) and time.monotonic() < end:
        pass
    since = float(told.read_text())
    assert since < time.time()
    before = job[0].last()["rss"]
    while job[0].last()["rss"] - before < 10_000 and time.monotonic() < end:  # kB
        time.sleep(0.05)
    assert job[0].last()["rss"] - before >= 10_000


def test_a_broken_program_fails_and_is_mended(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    with faults.broken(tool):
        assert subprocess.run([tool], stderr=subprocess.DEVNULL).returncode == 127
    assert subprocess.run([tool]).returncode == 0
    with pytest.raises(EnvironmentMissingError, match="cannot break"), faults.broken(tmp_path / "none"):
        pass


def test_what_is_on_no_disk_cannot_be_slowed_down() -> None:
    words = faults.cannot("slow_disk", Path("/proc"))
    assert words is not None
    assert "on no disk" in words
