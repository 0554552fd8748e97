"""`panorama analyse jobs`, on stores of made-up runs and on a study that was run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.store import open_store
from panorama_driver.study import client
from tests.analysis.made_runs import events, wf_uuid


def panorama(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()"]
    return subprocess.run([*command, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=200)


def stored(path: Path, *numbers: int, **how: object) -> Path:
    with open_store(path) as store:
        for number in numbers:
            store.put(events(number, **how))  # type: ignore[arg-type]  # as `events` has them
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return stored(stored(tmp_path / "runs.db", *range(12)), 50, factor=4.0, slow=("a1",))


def test_hosts_and_the_attempt_that_is_most_unlike_its_history_are_told(store: Path) -> None:
    done = panorama("analyse", "jobs", store, "--most", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("host ")
    assert "most unlike their history, of 78 attempts" in done.stdout
    row = next(line for line in done.stdout.splitlines() if f" {wf_uuid(50)[:8]}  a1 " in line)
    assert "wall_time 40" in row
    assert "expected 10" in row
    told = [line for line in done.stdout.splitlines() if line.startswith("  ") and "a1" in line]
    assert any("confidence 0.9" in line for line in told), done.stdout


def test_as_json_nothing_is_left_out(store: Path) -> None:
    found = json.loads(panorama("analyse", "jobs", store, "--json").stdout)
    assert len(found["analysis"]["jobs"]) == 78
    assert {each["run"] for each in found["analysis"]["hosts_in_runs"]} == {wf_uuid(n) for n in [*range(12), 50]}
    assert [each["job_id"] for each in found["anomalies"] if each["job_id"]] == ["a1"]


def test_too_little_history_is_unknown_with_its_reason(tmp_path: Path) -> None:
    done = panorama("analyse", "jobs", stored(tmp_path / "few.db", 0))
    assert done.returncode == 0
    assert "unknown: 6 attempts" in done.stdout
    assert "  6: 6 of 10 attempts of " in done.stdout
    assert "\n0 anomalies\n" in done.stdout


def test_several_stores_are_one_history(store: Path, tmp_path: Path) -> None:
    few = stored(tmp_path / "few.db", 100, 101)
    found = json.loads(panorama("analyse", "jobs", store, few, "--json").stdout)
    assert all(each["score"] is not None for each in found["analysis"]["jobs"])
    assert len(found["analysis"]["jobs"]) == 90


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    missing = panorama("analyse", "jobs", tmp_path / "no.db")
    assert missing.returncode == 2
    assert "no.db: no such file or folder" in missing.stderr
    assert "--store" not in missing.stderr + panorama("analyse", "jobs", tmp_path).stderr
    assert panorama("analyse", "jobs", stored(tmp_path / "empty.db")).stdout == "no attempt has run there yet\n"


def test_names_from_outside_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with open_store(path) as opened:
        for number in range(3):
            hostile = [
                event
                if event.job_id is None
                else type(event)(
                    **{name: getattr(event, name) for name in event.__struct_fields__} | {"job_id": "\x1b[2J"}
                )
                for event in events(number)
            ]
            opened.put(hostile)
    done = panorama("analyse", "jobs", path)
    assert "\x1b" not in done.stdout


def test_a_study_that_was_run_is_looked_into_with_its_parameters(make_study: Callable[..., Path]) -> None:
    home = make_study()
    requests = [
        {"eval_id": str(n), "variables": {"x": 0.1 * n}, "asv": {"y": 1}, "metadata": ["makespan"]} for n in range(1, 5)
    ]
    client.evaluate(str(home / "study.yml"), requests, lambda words: None)
    found = json.loads(panorama("analyse", "jobs", home, "--json").stdout)["analysis"]["jobs"]
    compared = [each for each in found if each["score"] is not None]
    assert {each["sample"]["transformation"] for each in compared} >= {"sh"}
    assert {each["sample"]["inputs"]["x"] for each in found} == {0.1, 0.2, 0.1 * 3, 0.4}
    assert all(each["reason"] for each in found if each["score"] is None)
