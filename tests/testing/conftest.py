"""Bundles of the parabola, planned and run by the stand-ins."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from panorama_driver.render import find_site, find_workflow, render
from tests.conftest import PARABOLA
from tests.engines.conftest import manager, place, standins

__all__ = ["manager", "place", "standins"]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60.0, pause: float = 0.02) -> None:
    """Wait until something is the case."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:.0f} s for {what}"
        time.sleep(pause)


class Planned:
    """A planned workflow: its bundle and its submit directory."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.path = Path((bundle / "run" / "submitdir").read_text().strip())

    def start(self) -> subprocess.CompletedProcess[str]:
        """Start it, or start it again."""
        return subprocess.run(["pegasus-run", self.path], capture_output=True, text=True, timeout=60)

    def run(self) -> str:
        """Run it; gives DAGMan's exit status."""
        started = self.start()
        assert started.returncode == 0, started
        self.end()
        return self.states()[-2].split()[4]

    def end(self) -> None:
        """Wait until monitord has seen its end."""
        wait_for((self.path / "monitord.done").exists, "monitord's end")

    def states(self) -> list[str]:
        """The lines of jobstate.log."""
        log = self.path / "jobstate.log"
        return log.read_text().splitlines() if log.exists() else []

    def of(self, job: str) -> list[str]:
        """The states of one job."""
        return [line.split()[2] for line in self.states() if line.split()[1] == job]

    def log(self) -> str:
        """What DAGMan said."""
        return (self.path / "parabola-0.dag.dagman.out").read_text()

    def record(self, job: str, attempt: int = 0) -> str:
        """The invocation record of a job."""
        return (self.path / "00" / "00" / f"{job}.out.{attempt:03d}").read_text()


def render_bundle(place: Path, site: str = "local", **options: float | str) -> Path:
    """Render the parabola for a site."""
    path = place / "bundle"
    render(find_workflow(str(PARABOLA), place), find_site(site, place), {"x": 0.5}, options, path)
    return path


def plan(bundle: Path) -> subprocess.CompletedProcess[str]:
    """Plan a bundle."""
    return subprocess.run(["./plan.sh"], cwd=bundle, capture_output=True, text=True, timeout=60)


def plan_well(bundle: Path) -> Planned:
    """Plan a bundle that can be planned."""
    ran = plan(bundle)
    assert ran.returncode == 0, ran
    return Planned(bundle)


@pytest.fixture
def bundle(place: Path) -> Callable[..., Path]:
    """Renders the parabola; keywords are options of the workflow."""
    return partial(render_bundle, place)


@pytest.fixture
def planned(standins: object, place: Path) -> Callable[..., Planned]:
    """Renders and plans the parabola."""
    return lambda *site, **options: plan_well(render_bundle(place, *site, **options))
