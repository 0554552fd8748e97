"""Darshan is loaded into the job alone, and its logs come home in the payload."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.probe import PROBE

WORDS = [sys.executable, "-IS", str(PROBE), "--payload"]
HARMLESS = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc" in line)
LOGS = "$DARSHAN_LOGPATH/$(date +%Y/%-m/%-d)"  # where Darshan itself writes below its log path


def darshan() -> str | None:
    """Find the real library next to its darshan-config."""
    config = shutil.which("darshan-config")
    library = Path(config).parent.parent / "lib" / "libdarshan.so" if config else None
    return str(library) if library and library.exists() else None


class Job:
    """Runs commands in a folder of their own and reads what came home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.work = folder / "work"
        self.home.mkdir()
        self.work.mkdir()

    def run(self, script: str, library: str = HARMLESS, **names: str) -> subprocess.CompletedProcess[str]:
        own = {"PEGASUS_MULTIPART_DIR": str(self.home), "TMPDIR": str(self.work), "PANORAMA_PROBE_DARSHAN": library}
        words = [*WORDS, "sh", "-c", script]
        return subprocess.run(
            words, env={**os.environ, **own, **names}, cwd=self.folder, capture_output=True, text=True, timeout=30
        )

    def payload(self) -> dict[str, Any]:
        [path] = self.home.iterdir()
        payload: dict[str, Any] = json.loads(path.read_text().partition(": ")[2])
        return payload

    def problems(self) -> list[str]:
        return list(self.payload()["records"][-1]["problems"])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_the_job_has_the_library_and_a_log_folder_that_is_gone_afterwards(job: Job) -> None:
    done = job.run("echo $LD_PRELOAD; echo $DARSHAN_ENABLE_NONMPI; echo $DARSHAN_LOGPATH $DARSHAN_LOG_DIR_PATH")
    preload, nonmpi, folders = done.stdout.splitlines()
    assert (preload, nonmpi) == (HARMLESS, "1")
    assert {Path(folder).parent for folder in folders.split()} == {job.work}
    assert list(job.work.iterdir()) == []


def test_a_library_that_the_job_preloads_itself_comes_first(job: Job) -> None:
    assert job.run("echo $LD_PRELOAD", LD_PRELOAD=HARMLESS).stdout == f"{HARMLESS}:{HARMLESS}\n"


def test_the_probe_does_not_load_it(job: Job) -> None:
    library = shutil.copy(HARMLESS, job.folder / "libdarshan.so")
    done = job.run("grep -c libdarshan /proc/self/maps; grep -c libdarshan /proc/$PPID/maps", str(library))
    assert [int(number) > 0 for number in done.stdout.split()] == [True, False]


def test_logs_come_home_byte_for_byte(job: Job) -> None:
    job.run(f'printf "\\000log\\377" > {LOGS}/a.darshan; printf two > {LOGS}/b.darshan')
    first, second = job.payload()["darshan"]
    assert (first["name"], first["size"], base64.b64decode(first["data"])) == ("a.darshan", 5, b"\x00log\xff")
    assert (second["name"], base64.b64decode(second["data"])) == ("b.darshan", b"two")


def test_the_largest_logs_stay_away_where_the_budget_is_small(job: Job) -> None:
    script = f"for size in 100 900 20000 1000; do head -c $size /dev/urandom > {LOGS}/$size.darshan; done"
    job.run(script, PANORAMA_PROBE_BUDGET="8000")
    logs = {log["size"]: log for log in job.payload()["darshan"]}
    assert [size for size in sorted(logs) if "data" in logs[size]] == [100, 900, 1000]
    assert logs[20000] == {"name": "20000.darshan", "size": 20000, "reason": "no room in the payload"}
    assert len(next(job.home.iterdir()).read_bytes()) < 8000


def test_a_log_that_was_not_finished_is_named(job: Job) -> None:
    job.run(f"printf half > {LOGS}/a.darshan_partial")
    [log] = job.payload()["darshan"]
    assert "data" not in log
    assert log["reason"].startswith("not finished")


def test_thousands_of_logs_are_counted_and_some_named(job: Job) -> None:
    job.run(f"cd {LOGS}; for i in $(seq 1000); do : > $i.darshan; done")
    assert len(job.payload()["darshan"]) == 200
    assert "Darshan: 800 of 1000 logs are not in the payload" in job.problems()


def test_a_library_that_is_not_there_is_told_and_the_job_runs_without(job: Job) -> None:
    assert job.run("echo $LD_PRELOAD$DARSHAN_LOGPATH; exit 3", "/no/libdarshan.so").returncode == 3
    assert job.problems() == ["no Darshan: library not found at /no/libdarshan.so"]
    assert "darshan" not in job.payload()


def test_a_job_that_leaves_no_log_is_told_of(job: Job) -> None:
    job.run("true")
    assert any("left no log" in problem for problem in job.problems())


def test_without_a_payload_there_is_no_darshan() -> None:
    words = [*WORDS[:-1], "--end-leftovers", "--darshan", HARMLESS, "sh", "-c", "echo $LD_PRELOAD; exit 3"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "\n")
    assert "no Darshan: its logs travel in the payload" in done.stderr


def test_where_tmpdir_cannot_be_written_the_logs_go_to_the_working_folder(job: Job) -> None:
    job.run(f"printf two > {LOGS}/b.darshan", TMPDIR="/proc")
    assert [log["name"] for log in job.payload()["darshan"]] == ["b.darshan"]
    assert sorted(path.name for path in job.folder.iterdir()) == ["home", "work"]


def test_files_of_the_working_directory_are_recorded_also_where_darshan_leaves_files_out(job: Job) -> None:
    """Below /var, where HTCondor's jobs are by default; the name is one for a regular expression."""
    job.folder = job.folder / "var, {1}.*"
    job.folder.mkdir()
    job.run(f'cat "$DARSHAN_CONFIG_PATH"; cp "$DARSHAN_CONFIG_PATH" {job.home}/../settings')
    [line] = (job.home.parent / "settings").read_text().splitlines()
    key, expression, modules = line.split(" ")
    assert (key, modules) == ("NAME_INCLUDE", "*")
    assert "," not in expression
    found = ["grep", "-E", expression]
    assert subprocess.run(found, input=f"{job.folder}/data", text=True, capture_output=True).returncode == 0
    assert subprocess.run(found, input="/var/lib/data", text=True, capture_output=True).returncode == 1
    assert "darshan" not in job.payload() or job.payload()["darshan"] == []


def test_settings_of_the_site_for_darshan_stay(job: Job) -> None:
    assert (
        job.run("echo $DARSHAN_CONFIG_PATH", DARSHAN_CONFIG_PATH="/site/darshan.conf").stdout == "/site/darshan.conf\n"
    )


@pytest.mark.skipif(not darshan(), reason="no libdarshan (darshan-config on PATH)")
def test_the_real_darshan_logs_every_program_of_a_script(job: Job) -> None:
    done = job.run("head -c 100000 /dev/zero > data; cat data > copy; echo done", str(darshan()))
    assert (done.stdout, done.stderr) == ("done\n", "")
    logs = job.payload()["darshan"]
    assert {log["name"].split("_")[1] for log in logs} == {"sh", "head", "cat"}
    assert all(len(base64.b64decode(log["data"])) == log["size"] > 1000 for log in logs)
    assert list(job.work.iterdir()) == []
