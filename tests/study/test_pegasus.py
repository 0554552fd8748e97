"""Studies through the released Ensemble Manager, on stand-ins for planner and HTCondor that keep their contracts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.engines.pegasus import service
from panorama_driver.engines.pegasus.manager import Workflow
from panorama_driver.engines.pegasus.record import load
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.study.journal import Evaluation, read
from panorama_driver.testing import Standins
from panorama_driver.testing.manager import Manager
from tests.conftest import PARABOLA
from tests.engines.conftest import manager, place, standins

__all__ = ["manager", "place", "standins"]
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def study(place: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Makes study directories whose evaluations go through the manager."""
    monkeypatch.setenv("PANORAMA_ENSEMBLE_URL", manager.url)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_USER", manager.user)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_PASSWORD", manager.password)
    homes = []

    def make(name: str = "study", **keys: object) -> Path:
        home = place / name
        home.mkdir()
        homes.append(home)
        defaults: dict[str, object] = {
            "workflow": PARABOLA,
            "engine": "pegasus",
            "site": "condorpool",
            "responses": "{y: {output: result.json, value: y}, makespan: workflow.makespan}",
            "timeout": "120 s",
            "monitoring": "{interval: 0.2 s}",
            "site_variables": f"{{python: {sys.executable}, probe_python: {sys.executable}}}",
        }
        text = "".join(f"{key}: {value}\n" for key, value in (defaults | keys).items())
        (home / "study.yml").write_text(text, encoding="utf-8")
        return home

    yield make
    for home in homes:
        client.request(str(home / "study.yml"), {"op": "stop"})


def ask(home: Path, *values: float, **options: object) -> list[dict[str, Any]]:
    """Evaluate at each value of x at the same time, as Dakota's concurrent drivers do."""

    def one(item: tuple[int, float]) -> dict[str, Any]:
        number, x = item
        request = {"eval_id": str(number), "variables": {"x": x, **options}}
        return client.evaluate(str(home / "study.yml"), [request], lambda words: None)[0]

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(one, enumerate(values, start=1)))


def workflows(home: Path) -> list[Workflow]:
    manager = service.connect()
    return manager.workflows(home.name) if manager.ensemble(home.name) else []


def journal(home: Path) -> dict[str, Evaluation]:
    return {evaluation.eval_id: evaluation for evaluation in read(home / ".panorama").values()}


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def server_pid(home: Path) -> int:
    log = (home / ".panorama/server.log").read_text()
    return int(log.rpartition("listening pid=")[2].split()[0])


def ran(home: Path, number: int, job: str) -> int:
    """How many attempts of a job kickstart has recorded."""
    [bundle] = (home / "evaluations").glob(f"{number:04d}-*")
    return len(list(bundle.glob(f"submit/*/*/*/run*/00/00/{job}.out.[0-9]*")))


def test_an_evaluation_runs_through_the_manager_and_is_measured(study: Callable[..., Path]) -> None:
    home = study()
    [reply] = ask(home, 1.3)
    assert (reply["state"], reply["message"]) == ("ok", "")
    assert reply["responses"]["y"] == pytest.approx(1.0)
    assert reply["responses"]["makespan"] > 0
    [workflow] = workflows(home)
    assert reply["wf_uuid"] == workflow.wf_uuid


@pytest.mark.long
def test_twenty_evaluations_keep_the_limits_and_the_order_and_each_is_submitted_once(
    study: Callable[..., Path], standins: Standins
) -> None:
    home = study(ensemble="{max_running: 3, max_planning: 2}", timeout="200 s")
    running = []

    def watch() -> None:
        while len(done) < 20:
            running.append(sum(w.state == "RUNNING" for w in workflows(home)))
            time.sleep(0.3)

    done: list[dict[str, Any]] = []
    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        done += ask(home, *(0.3 + number for number in range(9)), *(-number for number in range(1, 10)), 0.1, 0.2)
        watcher.result()
    assert [reply["state"] for reply in done] == ["ok"] * 20
    assert [reply["responses"]["y"] for reply in done[:9]] == pytest.approx([n**2 for n in range(9)])
    assert max(running) <= 3
    assert len(workflows(home)) == 20


def test_a_planning_failure_is_told_in_the_planners_words(study: Callable[..., Path], standins: Standins) -> None:
    standins.set(
        plan_error=" [1] java.lang.RuntimeException: Site Selector could not map the job sh_split at a.B.c(B.java:9)"
    )
    home = study()
    [reply] = ask(home, 1.0)
    assert reply["state"] == "failed"
    assert "planning failed" in reply["message"]
    assert "could not map the job sh_split" in reply["message"]


def test_a_planner_that_is_missing_is_named(study: Callable[..., Path], standins: Standins) -> None:
    (standins.bin / "pegasus-plan").unlink()
    home = study()
    [reply] = ask(home, 1.0)
    assert reply["state"] == "failed"
    assert "the manager did not run plan.sh" in reply["message"]
    assert "has it pegasus-plan on its PATH" in reply["message"]


def test_a_higher_priority_is_planned_and_run_first(study: Callable[..., Path]) -> None:
    home = study(ensemble="{max_running: 1, max_planning: 1}")
    service.connect().create(home.name, 1, 1)
    service.connect().pause(home.name)
    for number, priority in enumerate((1, 9, None, 5), start=1):
        request = {"eval_id": str(number), "variables": {"x": float(number)}, "priority": priority}
        client.evaluate(str(home / "study.yml"), [request], lambda words: None, until_handed=True)
    service.connect().activate(home.name)
    until(lambda: all(evaluation.responses for evaluation in journal(home).values()), 120)  # though nobody waits
    ended = sorted(journal(home).values(), key=lambda evaluation: evaluation.ended or 0.0)
    assert [evaluation.eval_id for evaluation in ended] == ["2", "4", "1", "3"]


def test_a_manager_that_is_killed_while_it_plans_picks_the_plan_up(
    study: Callable[..., Path], standins: Standins, manager: Manager
) -> None:
    standins.set(plan_seconds=3.0)
    home = study()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, 1.3)
        until(lambda: any(w.state == "PLANNING" for w in workflows(home)))
        manager.kill()
        time.sleep(4)  # what it has started holds its port until it ends
        manager.restart()
        [reply] = asked.result()
    assert reply["state"] == "ok"
    assert (len(workflows(home)), ran(home, 1, "sh_split")) == (1, 1)


def test_a_planning_failure_that_has_passed_is_planned_again(study: Callable[..., Path], standins: Standins) -> None:
    standins.set(plan_error="no space left")
    home = study()
    assert ask(home, 1.0)[0]["state"] == "failed"
    standins.set(plan_error="")
    assert ask(home, 1.0)[0]["state"] == "ok"
    assert len(workflows(home)) == 1


def test_a_job_that_fails_is_named_with_its_last_words(study: Callable[..., Path]) -> None:
    home = study(options="{trouble: fail}")
    [reply] = ask(home, 1.0)
    assert reply["state"] == "failed"
    assert "square_last" in reply["message"]
    assert "exit code 1" in reply["message"]
    assert "asked to fail" in reply["message"]


def test_a_failed_evaluation_asked_again_runs_only_what_had_not_finished(study: Callable[..., Path]) -> None:
    home = study(options="{trouble: fail}", on_failure="{retry: 1, then: fail}")
    assert ask(home, 1.0)[0]["state"] == "failed"
    first = ran(home, 1, "square_last")
    assert first >= 2
    assert ask(home, 1.0)[0]["state"] == "failed"
    assert ran(home, 1, "square_last") > first
    assert ran(home, 1, "sh_split") == 1
    assert len(workflows(home)) == 1


def test_a_manager_that_is_killed_and_comes_back_loses_nothing(study: Callable[..., Path], manager: Manager) -> None:
    home = study(ensemble="{max_running: 3, max_planning: 2}")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, *(float(n) for n in range(6)))
        until(lambda: any(w.state == "RUNNING" for w in workflows(home)))
        manager.kill()
        time.sleep(3)
        manager.restart()
        replies = asked.result()
    assert [(reply["state"], reply["message"]) for reply in replies] == [("ok", "")] * 6
    assert len(workflows(home)) == 6


def test_a_server_that_is_killed_finds_its_workflow_by_name(study: Callable[..., Path]) -> None:
    home = study(options="{pause: 3}")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, 1.3)
        until(lambda: any((home / "evaluations").glob("0001-*/submit/*/*/*/run*/00/00/sh_split.out.000")))
        os.kill(server_pid(home), signal.SIGKILL)
        [reply] = asked.result()
    assert (reply["state"], reply["responses"]["y"]) == ("ok", pytest.approx(1.0))
    assert len(workflows(home)) == 1
    assert ran(home, 1, "sh_left") == 1


def test_stop_removes_what_runs_and_it_goes_on_when_asked_again(study: Callable[..., Path], standins: Standins) -> None:
    home = study(options="{pause: 30}")
    request = {"eval_id": "1", "variables": {"x": 1.3}}
    client.evaluate(str(home / "study.yml"), [request], lambda words: None, until_handed=True)
    until(lambda: any((home / "evaluations").glob("0001-*/submit/*/*/*/run*/00/00/sh_split.out.000")))
    client.request(str(home / "study.yml"), {"op": "stop"})
    until(lambda: not standins.jobs())
    assert journal(home)["1"].state == "cancelled"


@pytest.mark.measures
def test_an_evaluation_over_its_time_is_answered_at_once_and_removed(
    study: Callable[..., Path], standins: Standins
) -> None:
    home = study(options="{pause: 60}", timeout="12 s")
    begin = time.monotonic()
    [reply] = ask(home, 1.0)
    took = time.monotonic() - begin
    assert (reply["state"], "ran longer than 12 s" in reply["message"]) == ("timeout", True)
    assert took < 12 + 5, f"measured {took:.1f} s"
    until(lambda: not standins.jobs())
    with open_store(home / ".panorama/store.db", readonly=True) as store:
        wf_uuid = journal(home)["1"].wf_uuid or ""
        until(lambda: any(store.events(wf_uuid, {"stampede.xwf.end"})))  # which comes after the answer


def test_a_workflow_removed_by_hand_is_told_as_removed(study: Callable[..., Path], standins: Standins) -> None:
    home = study(options="{pause: 60}")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, 1.3)
        until(lambda: any((home / "evaluations").glob("0001-*/submit/*/*/*/run*/00/00/sh_split.out.000")))
        [pointer] = (home / "evaluations").glob("0001-*/run/submitdir")
        subprocess.run(["pegasus-remove", pointer.read_text().strip()], check=True, capture_output=True)
        [reply] = asked.result()
    assert reply["state"] == "failed"
    assert "removed" in reply["message"]


def test_a_held_job_is_told_with_the_reason(study: Callable[..., Path], standins: Standins) -> None:
    standins.set(hold={"sh_left*": "Failed to initialize user log to /nowhere"})
    home = study(timeout="15 s")
    words: list[str] = []
    request = {"eval_id": "1", "variables": {"x": 1.3}}
    client.evaluate(str(home / "study.yml"), [request], words.append)
    assert "sh_left is held: Failed to initialize user log to /nowhere" in words


def test_a_job_that_fits_no_slot_is_reported_with_what_it_asks_for(
    study: Callable[..., Path], standins: Standins
) -> None:
    standins.set(idle=["sh_left*"])
    home = study(idle_timeout="2 s", timeout="15 s")
    words: list[str] = []
    request = {"eval_id": "1", "variables": {"x": 1.3}}
    client.evaluate(str(home / "study.yml"), [request], words.append)
    told = next(line for line in words if "is idle" in line)
    assert told.startswith("nothing has moved for ")
    assert "sh_left is idle: it asks for 1 cores" in told


def test_two_studies_in_places_of_the_same_name_do_not_meet(study: Callable[..., Path], place: Path) -> None:
    first = study("first", ensemble="{name: shared}")
    second = study("second", ensemble="{name: shared}")
    assert [ask(home, 1.0)[0]["state"] for home in (first, second)] == ["ok", "ok"]
    names = {workflow.name for workflow in service.connect().workflows("shared")}
    assert len(names) == 2


def test_a_study_that_was_deleted_and_made_again_gets_a_new_name(study: Callable[..., Path]) -> None:
    home = study()
    ask(home, 1.0)
    client.request(str(home / "study.yml"), {"op": "stop"})
    until(lambda: client.connect(str(home / ".panorama")) is None)
    shutil.rmtree(home)
    assert ask(study(), 1.0)[0]["state"] == "ok"
    assert len({workflow.name for workflow in workflows(home)}) == 2


def test_the_record_of_what_was_submitted_is_written_before_it_is(study: Callable[..., Path]) -> None:
    home = study()
    ask(home, 1.0)
    [bundle] = (home / "evaluations").iterdir()
    record = load(bundle)
    assert record is not None
    [workflow] = workflows(home)
    assert (record.ensemble, record.name, record.tries) == (home.name, workflow.name, 1)
    assert json.loads((bundle / "run/pegasus.json").read_text())["manager"].startswith("http://127.0.0.1:")


def dagmans(standins: Standins) -> int:
    return sum(job.get("JobUniverse") == 7 for job in standins.jobs())


def hand_in(home: Path, x: float, number: int = 1) -> None:
    request = {"eval_id": str(number), "variables": {"x": x}}
    client.evaluate(str(home / "study.yml"), [request], lambda words: None, until_handed=True)


def begun(home: Path) -> bool:
    """Whether the first job of evaluation 1 has run."""
    return any((home / "evaluations").glob("0001-*/submit/*/*/*/run*/00/00/sh_split.out.000"))


def test_what_is_cancelled_while_it_is_planned_leaves_room_for_the_next(
    study: Callable[..., Path], standins: Standins
) -> None:
    """A plan whose braindump.yml is gone would keep the manager in PLANNING for ever, and the ensemble with it."""
    home = study(ensemble="{max_running: 1, max_planning: 1}")
    hand_in(home, 1.0)
    until(lambda: any(home.glob("evaluations/*/run/submitdir")))
    client.request(str(home / "study.yml"), {"op": "cancel", "keys": [journal(home)["1"].key]})
    hand_in(home, 2.0, 2)
    until(lambda: journal(home)["2"].state == "succeeded", 90)
    assert journal(home)["1"].state == "cancelled"
    until(lambda: not standins.jobs())


def test_a_manager_that_has_forgotten_a_workflow_does_not_get_it_again(
    study: Callable[..., Path], standins: Standins, manager: Manager
) -> None:
    home = study(options="{pause: 10}")
    hand_in(home, 1.3)
    until(lambda: begun(home))
    os.kill(server_pid(home), signal.SIGTERM)
    until(lambda: client.connect(str(home / ".panorama")) is None)
    manager.kill()
    with contextlib.closing(sqlite3.connect(manager.home / ".pegasus/workflow.db")) as database:
        database.execute("DELETE FROM ensemble_workflow")
        database.commit()
    manager.restart()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, 1.3)
        most = 0
        while not asked.done():
            most = max(most, dagmans(standins))
            time.sleep(0.2)
    assert (most, asked.result()[0]["state"], ran(home, 1, "sh_split")) == (1, "ok", 1)


def test_limits_that_a_study_does_not_name_are_left_as_they_are(study: Callable[..., Path]) -> None:
    service.connect().create("shared", 9, 5)
    ask(study("one", ensemble="{name: shared}"), 1.0)
    found = service.connect().ensemble("shared")
    assert found is not None
    assert (found.max_running, found.max_planning) == (9, 5)
    ask(study("two", ensemble="{name: shared, max_running: 3}"), 1.0)
    found = service.connect().ensemble("shared")
    assert found is not None
    assert (found.max_running, found.max_planning) == (3, 5)


@pytest.mark.long
def test_an_evaluation_that_failed_in_another_ensemble_is_run_again_there(
    study: Callable[..., Path], standins: Standins
) -> None:
    standins.set(plan_error="no space left")
    home = study(ensemble="{name: one}")
    assert ask(home, 1.0)[0]["state"] == "failed"
    standins.set(plan_error="")
    text = (home / "study.yml").read_text()
    (home / "study.yml").write_text(text.replace("name: one", "name: two"))
    assert ask(home, 1.0)[0]["state"] == "ok"
    assert len(service.connect().workflows("one")) == 1


@pytest.mark.long
def test_a_server_killed_when_it_was_asked_for_another_try_still_makes_it(
    study: Callable[..., Path], manager: Manager
) -> None:
    home = study(options="{pause: 4}")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, 1.3)
        until(lambda: begun(home))
        [pointer] = (home / "evaluations").glob("0001-*/run/submitdir")
        subprocess.run(["pegasus-remove", pointer.read_text().strip()], check=True, capture_output=True)
        assert asked.result()[0]["state"] == "failed"
        manager.kill()
        asked = pool.submit(ask, home, 1.3)
        record = pointer.with_name("pegasus.json")
        until(lambda: json.loads(record.read_text())["wanted"] == 2)
        os.kill(server_pid(home), signal.SIGKILL)
        manager.restart()
        assert asked.result()[0]["state"] == "ok"


def test_a_driver_whose_server_is_told_to_end_hears_that_the_workflow_goes_on(study: Callable[..., Path]) -> None:
    home = study(options="{pause: 6}")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, 1.3)
        until(lambda: begun(home))
        os.kill(server_pid(home), signal.SIGTERM)
        [reply] = asked.result()
    assert (reply["state"], "the workflow goes on" in reply["message"]) == ("cancelled", True)
    assert ask(home, 1.3)[0]["state"] == "ok"
    assert ran(home, 1, "sh_left") == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_submissions_to_a_manager_that_is_away_for_a_minute_arrive_once_each(
    study: Callable[..., Path], manager: Manager
) -> None:
    home = study(ensemble="{max_running: 8, max_planning: 4}", timeout="800 s", monitoring="{interval: 5 s}")
    manager.kill()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, home, *(float(number) / 10 for number in range(50)))
        time.sleep(60)
        manager.restart()
        replies = asked.result()
    assert [reply["state"] for reply in replies] == ["ok"] * 50
    assert len(workflows(home)) == 50
    assert [ran(home, number, "sh_split") for number in range(1, 51)] == [1] * 50
