"""`submit`, `cancel` and `rerun`, through the released Ensemble Manager on stand-ins for planner and HTCondor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.engines.pegasus import service
from panorama_driver.testing import Standins
from panorama_driver.testing.manager import Manager
from tests.conftest import PARABOLA
from tests.engines.conftest import manager, place, standins

__all__ = ["manager", "place", "standins"]
pytestmark = pytest.mark.timeout(240)
VARIABLES = ("--var", f"python={sys.executable}", "--var", f"probe_python={sys.executable}")


class Panorama:
    """The command line, in a directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.study = home / "runs" / "parabola-condorpool"

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["panorama", *words], cwd=self.home, capture_output=True, text=True, timeout=200)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def submit(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self("submit", str(PARABOLA), "--site", "condorpool", *VARIABLES, *words, code=code)

    def states(self) -> list[str]:
        done = subprocess.run(
            ["panorama", "status", str(self.study), "--json"], capture_output=True, text=True, check=False
        )
        rows: list[dict[str, Any]] = json.loads(done.stdout)["evaluations"]
        return [row["evaluation"]["state"] for row in rows]


@pytest.fixture
def panorama(place: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Panorama]:
    monkeypatch.setenv("PANORAMA_ENSEMBLE_URL", manager.url)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_USER", manager.user)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_PASSWORD", manager.password)
    home = place / "home"
    home.mkdir()
    program = Panorama(home)
    yield program
    if (program.study / "study.yml").exists():
        program("stop", str(program.study))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def test_a_submission_is_watched_to_its_end_by_nobody_in_particular(panorama: Panorama) -> None:
    done = panorama.submit("--set", "x=1.3", "--ensemble", "nightly")
    assert done.stdout.startswith("nightly.parabola-")
    until(lambda: panorama.states() == ["succeeded"])
    assert "y = 1" in panorama("status", str(panorama.study)).stdout
    [workflow] = service.connect().workflows("nightly")
    assert workflow.state in ("RUNNING", "SUCCESSFUL")


def test_a_submission_can_be_waited_for_and_is_not_run_twice(panorama: Panorama) -> None:
    assert "y = 1" in panorama.submit("--set", "x=1.3", "--wait").stdout
    assert "y = 1" in panorama.submit("--set", "x=1.3", "--wait").stdout
    assert "y = 0.49" in panorama.submit("--set", "x=1.0", "--wait").stdout
    assert len(service.connect().workflows("parabola-condorpool")) == 2


def test_a_directory_that_asks_for_something_else_is_left_alone(panorama: Panorama) -> None:
    panorama.submit("--set", "x=1.3", "--ensemble", "nightly", "--wait")
    done = panorama.submit("--set", "x=1.3", "--ensemble", "daily", code=2)
    assert "has another ensemble; choose another directory with -o" in done.stderr


def test_a_cancelled_evaluation_is_removed_and_a_rerun_finishes_it(panorama: Panorama, standins: Standins) -> None:
    panorama.submit("--set", "pause=20")
    until(lambda: any(job["JobStatus"] == 2 and "sh_left" in str(job) for job in standins.jobs()))
    assert "evaluation 1: is being ended" in panorama("cancel", "1", "--study", str(panorama.study)).stdout
    until(lambda: not standins.jobs())
    assert panorama.states() == ["cancelled"]
    assert "evaluation 1: had ended already" in panorama("cancel", "1", "--study", str(panorama.study)).stdout
    panorama("rerun", "1", "--wait", "--study", str(panorama.study))
    assert panorama.states() == ["succeeded"]
    [bundle] = (panorama.study / "evaluations").iterdir()
    assert len(list(bundle.glob("submit/*/*/*/run*/00/00/sh_split.out.[0-9]*"))) == 1


def test_what_has_succeeded_is_not_run_again(panorama: Panorama) -> None:
    panorama.submit("--wait")
    done = panorama("rerun", "1", "--study", str(panorama.study), code=2)
    assert "succeeded; there is nothing to run again" in done.stderr


def test_the_bundle_of_a_render_can_be_handed_to_the_manager_by_hand(panorama: Panorama, manager: Manager) -> None:
    bundle = panorama.home / "bundle"
    panorama("render", str(PARABOLA), "--site", "condorpool", *VARIABLES, "--set", "x=1.3", "-o", str(bundle))
    client = service.connect()
    client.create("nightly", 1, 1)
    client.submit("nightly", "run42", 0, bundle, "./plan.sh")
    until(lambda: (found := client.workflow("nightly", "run42")) and found.state == "SUCCESSFUL")
    assert json.loads((bundle / "output/result.json").read_text())["y"] == pytest.approx(1.0)
