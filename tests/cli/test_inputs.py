"""`--inputs` of run, render and submit: raw input files that are used where they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import PARABOLA


def panorama(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from panorama_driver.cli import main; sys.argv[0] = 'panorama'; main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "my_inputs"
    (folder / "constants").mkdir(parents=True)
    (folder / "constants/offset.txt").write_text("0.7\n")
    yield folder
    panorama("stop", tmp_path / "trial", cwd=tmp_path)


def test_a_run_takes_its_inputs_from_a_folder_and_keeps_that_in_its_study(tmp_path: Path, own: Path) -> None:
    words = ("run", PARABOLA, "--set", "x=0.5", "-o", "trial", "--json")
    done = panorama(*words, "--inputs", "my_inputs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [bundle] = (tmp_path / "trial/evaluations").iterdir()
    assert json.loads((bundle / "output/result.json").read_text())["inputs"] == [0.5, 0.7]
    assert yaml.safe_load((tmp_path / "trial/study.yml").read_text())["inputs"] == [str(own)]
    again = panorama(*words, "--inputs", own, cwd=tmp_path)
    assert json.loads(again.stdout)["wf_uuid"] == json.loads(done.stdout)["wf_uuid"]
    os.utime(own / "constants/offset.txt", ns=(1, 1))
    changed = panorama(*words, cwd=tmp_path)
    assert json.loads(changed.stdout)["wf_uuid"] != json.loads(done.stdout)["wf_uuid"]


def test_a_run_with_other_inputs_than_its_study_has_is_refused(tmp_path: Path, own: Path) -> None:
    words = ("run", PARABOLA, "--set", "x=0.5", "-o", "trial")
    assert panorama(*words, cwd=tmp_path).returncode == 0
    done = panorama(*words, "--inputs", own, cwd=tmp_path)
    assert (done.returncode, "has another inputs; choose another directory" in done.stderr) == (2, True), done.stderr


def test_a_bundle_names_the_files_of_the_folders_given(tmp_path: Path, own: Path) -> None:
    done = panorama("render", PARABOLA, "--inputs", tmp_path, "--inputs", "my_inputs", "-o", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"file://{tmp_path}/my_inputs/constants/offset.txt" in (tmp_path / "b/replicas.yml").read_text()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = panorama("run", PARABOLA, "--inputs", "nowhere", "-o", "trial", cwd=tmp_path)
    assert (done.returncode, "nowhere" in done.stderr) == (2, True)
    assert not (tmp_path / "trial").exists()
