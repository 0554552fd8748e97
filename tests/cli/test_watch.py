"""`panorama watch` and `panorama anomalies` on a store with a known fault in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from panorama_driver.analysis import anomaly_of
from panorama_driver.sources import parse
from panorama_driver.store import open_store
from tests.analysis.test_following import past, stopped
from tests.analysis.traces import START, WORKFLOW, ending


def panorama(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from panorama_driver.cli import main; main()"]
    return subprocess.run([*program, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=60)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store as `panorama collect` leaves it: ten healthy attempts, and one that was stopped."""
    path = tmp_path / "panorama.db"
    with open_store(path) as opened:
        opened.put([*past(), *stopped(), *ending(50, START + 5010)])
    return path


def test_once_tells_all_that_is_in_a_store(store: Path) -> None:
    told = panorama("watch", store, "--once")
    assert told.returncode == 0, told.stderr
    found, over = told.stdout.splitlines()
    assert "stalled" in found
    assert "j50 on vm has neither computed nor moved anything" in found
    assert "kill -CONT" in found
    assert "over" in over


def test_json_lines_are_records_that_become_the_same_events(store: Path) -> None:
    records = [json.loads(line) for line in panorama("watch", store, "--once", "--json").stdout.splitlines()]
    with open_store(store, readonly=True) as opened:
        kept = list(opened.events(WORKFLOW, {"anomalies.stalled"}))
    assert [parse(record) for record in records] == kept
    assert [anomaly_of(event).phase for event in kept] == ["found", "over"]


def test_the_list_says_what_where_and_since_when(store: Path) -> None:
    assert "no anomalies" in panorama("anomalies", store).stdout
    panorama("watch", store, "--once")
    told = panorama("anomalies", store).stdout
    assert "stalled" in told
    assert WORKFLOW in told
    listed = json.loads(panorama("anomalies", store, WORKFLOW[:8], "--json").stdout)["anomalies"]
    assert [(each["kind"], each["job_id"], each["since"], each["actions"]) for each in listed] == [
        ("stalled", "j50", START + 5006, [])
    ]
    assert listed[0]["over"] == START + 5010


def test_a_path_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    told = panorama("watch", tmp_path / "none", "--once")
    assert told.returncode == 2
    assert "no such file or folder" in told.stderr
    assert panorama("anomalies", tmp_path / "none", "3").returncode == 2


def test_once_where_nothing_has_run_is_said(tmp_path: Path) -> None:
    told = panorama("watch", tmp_path, "--once")
    assert (told.returncode, "no study has been run there" in told.stderr) == (2, True)


@pytest.mark.parametrize("words", [["nosuch"], ["nosuch", "3"]])
def test_a_path_that_leads_nowhere_is_no_run_of_another_study(words: list[str], tmp_path: Path) -> None:
    told = panorama("anomalies", *words, cwd=tmp_path)
    assert (told.returncode, "nosuch: no such file or folder" in told.stderr) == (2, True)
