"""The released Ensemble Manager drives the stand-ins as it drives the real commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.testing import Standins
from panorama_driver.testing.manager import Manager, find_venv
from tests.testing.conftest import wait_for

LAST = ("SUCCESSFUL", "FAILED", "PLAN_FAILED", "RUN_FAILED")
Rendering = Callable[..., Path]


class Watched:
    """A workflow in ensemble `e`."""

    def __init__(self, manager: Manager, bundle: Path) -> None:
        self._manager, self.bundle = manager, bundle
        self.seen: list[str] = []
        manager.request("/ensembles", name="e")
        manager.request("/ensembles/e/workflows", name="w", basedir=str(bundle), plan_command="./plan.sh")

    def now(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._manager.request("/ensembles/e/workflows/w"))
        if self.seen[-1:] != [value["state"]]:
            self.seen.append(value["state"])
        return value

    def reach(self, *states: str) -> str:
        wait_for(lambda: self.now()["state"] in states, " or ".join(states), pause=0.1)
        return self.seen[-1]

    def ask(self, state: str) -> None:
        self._manager.request("/ensembles/e/workflows/w", state=state)

    def analyze(self) -> str:
        return self._manager.request("/ensembles/e/workflows/w/analyze").decode()


def test_a_workflow_goes_through_the_managers_states(manager: Manager, bundle: Rendering) -> None:
    workflow = Watched(manager, bundle())
    assert workflow.reach(*LAST) == "SUCCESSFUL"
    rest = iter(["READY", "PLANNING", "QUEUED", "RUNNING", "SUCCESSFUL"])
    assert all(state in rest for state in workflow.seen), workflow.seen
    assert {"PLANNING", "RUNNING"} <= set(workflow.seen)
    assert workflow.now()["submitdir"] == (workflow.bundle / "run" / "submitdir").read_text().strip()
    assert (workflow.bundle / "output" / "result.json").exists()


def test_a_plan_that_fails_brings_the_planners_words(manager: Manager, bundle: Rendering, standins: Standins) -> None:
    standins.set(plan_error="no such luck")
    workflow = Watched(manager, bundle())
    assert workflow.reach(*LAST) == "PLAN_FAILED"
    assert "no such luck" in Path(workflow.now()["log"]).read_text()
    standins.set(plan_error="")
    workflow.ask("READY")
    assert workflow.reach("SUCCESSFUL", "FAILED") == "SUCCESSFUL"


def test_a_failed_workflow_is_resumed_by_a_rerun(manager: Manager, bundle: Rendering) -> None:
    workflow = Watched(manager, bundle(trouble="fail"))
    assert workflow.reach(*LAST) == "FAILED"
    assert "asked to fail" in workflow.analyze()
    submit = Path(workflow.now()["submitdir"])
    script = submit / "00" / "00" / "square_last.sub"
    script.write_text(script.read_text().replace("square fail", "square none"))
    wait_for(lambda: not (submit / "monitord.pid").exists(), "monitord to leave")
    workflow.ask("QUEUED")
    assert workflow.reach("SUCCESSFUL", "RUN_FAILED") == "SUCCESSFUL"
    assert (submit / "parabola-0.dag.rescue001").exists()


def test_a_manager_killed_while_planning_picks_the_plan_up(
    manager: Manager, bundle: Rendering, standins: Standins
) -> None:
    standins.set(plan_seconds=2.0)
    workflow = Watched(manager, bundle())
    workflow.reach("PLANNING")
    manager.kill()
    wait_for((workflow.bundle / "run" / "submitdir").exists, "the planner, which goes on alone")
    manager.restart()
    assert workflow.reach(*LAST) == "SUCCESSFUL"
    submit = Path(workflow.now()["submitdir"])
    assert (submit / "parabola-0.dag.dagman.out").read_text().count("STARTING UP") == 1
    assert len(list(submit.parent.glob("run*"))) == 1


@pytest.mark.usefixtures("manager")
def test_the_manager_can_be_told_its_user_where_the_kernel_grants_no_namespace(place: Path, standins: Standins) -> None:
    assert find_venv()
    with Manager(standins, isolated=False) as second:
        second.request("/ensembles", name="told")
        assert json.loads(second.request("/ensembles"))[0]["name"] == "told"
    assert second.pid is None
