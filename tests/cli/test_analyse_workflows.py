"""`panorama analyse workflows`, on stores of made-up runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from panorama_driver.store import open_store
from tests.analysis.made_runs import events, wf_uuid

pytest.importorskip("sklearn")


def panorama(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "analyse", "workflows"]
    return subprocess.run([*command, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120)


def stored(path: Path, *numbers: int, **how: object) -> Path:
    with open_store(path) as store:
        for number in numbers:
            store.put(events(number, **how))  # type: ignore[arg-type]  # as `events` has them
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = stored(tmp_path / "runs.db", *range(12))
    return stored(path, 50, factor=4.0)


def test_it_tells_kinds_and_the_run_that_is_like_no_other(store: Path) -> None:
    done = panorama(store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("made: 13 runs, all alike: one kind\n  why: no cut is clear and stable")
    assert "unlike the usual ones: 1 run\n" in done.stdout
    assert f"    {wf_uuid(50)[:8]}  kind 1  confidence 0." in done.stdout
    assert "not used: io_share: unknown for 13 of 13 runs" in done.stdout


def test_several_stores_are_looked_at_together(store: Path, tmp_path: Path) -> None:
    more = stored(tmp_path / "more.db", *range(100, 112), factor=4.0)
    found = json.loads(panorama(store, more, "--json").stdout)["analyses"]
    assert [len(each["runs"]) for each in found] == [25]
    assert [len(kind["runs"]) for kind in found[0]["kinds"]] == [13, 12]


def test_each_workflow_is_compared_with_itself(store: Path) -> None:
    stored(store, *range(200, 203), label="other")
    done = panorama(store)
    assert "\nother: too few: 3 runs have ended, and kinds are sought from 8 on\n" in done.stdout
    one = panorama(store, "--label", "other")
    assert "made" not in one.stdout
    missing = panorama(store, "--label", "none")
    assert missing.returncode == 2
    assert missing.stderr == "panorama: --label none: no run is called so; there are made, other\n"


def test_a_study_directory_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / ".panorama").mkdir()
    (tmp_path / "study.yml").write_text("workflow: x\n")
    stored(tmp_path / ".panorama" / "store.db", *range(9))
    assert panorama(cwd=tmp_path).stdout.startswith("made: 9 runs, ")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    done = panorama(tmp_path / "no.db")
    assert done.returncode != 0
    assert "no.db" in done.stderr
    empty = stored(tmp_path / "empty.db")
    assert panorama(empty).stdout == "no run of a workflow is stored there\n"


def test_too_many_kinds_are_refused(store: Path) -> None:
    done = panorama(store, "--kinds", 99)
    assert done.returncode == 2
    assert done.stderr == "panorama: --kinds 99: made has only 13 runs; ask for fewer\n"
    assert "leave out --kinds" in panorama(store, "--kinds", 2, "--method", "hdbscan").stderr


def test_names_from_outside_do_no_harm(tmp_path: Path) -> None:
    hostile = "\x1b[31m$\\frac{x}$\n" + "long" * 100
    path = stored(tmp_path / "runs.db", *range(12), label=hostile)
    picture = tmp_path / "runs.png"
    done = panorama(path, "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[0].startswith("\\x1b[31m$\\frac{x}$\\nlong")
    assert picture.read_bytes().startswith(b"\x89PNG")
