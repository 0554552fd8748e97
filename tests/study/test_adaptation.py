"""What a study's server does by itself while workflows run, on real servers and real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.adapt import Action, Actions, read
from panorama_driver.adapt.journal import action_id
from panorama_driver.errors import UsageError
from panorama_driver.events import Event
from panorama_driver.findings import answered, best
from panorama_driver.sources.hosts import short_name
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.study import journal as study_journal
from panorama_driver.study.undoing import undo
from panorama_driver.testing import faults
from tests.conftest import PARABOLA, whole_lines
from tests.study.test_client_server import events, server_pid, wait_for

MakeStudy = Callable[..., Path]

QUICK = {"x": 0.1}
SLOW = {"x": 0.2, "pause": 30.0}
HOPELESS = {"responses": "{makespan: workflow.makespan}", "adapt": "{stop_hopeless: true}"}


def ask(home: Path, variables: dict[str, Any], eval_id: str = "1", label: str = "makespan") -> dict[str, Any]:
    request = {"eval_id": eval_id, "variables": variables, "asv": {label: 1}, "metadata": [label]}
    [reply] = client.evaluate(str(home / "study.yml"), [request], lambda words: None)
    return reply


def actions(home: Path) -> list[Action]:
    return read(home / ".panorama")


def evaluation(home: Path, eval_id: str) -> study_journal.Evaluation:
    found = study_journal.read(home / ".panorama").values()
    return next(each for each in found if each.eval_id == eval_id)


def running(home: Path, which: str, job: str) -> bool:
    """Whether a job of an evaluation has started a program."""
    started = [raw for path in home.glob(f"evaluations/{which}-*/run/events.jsonl") for raw in whole_lines(path)]
    return any(raw["event"] == "stampede.inv.start" and raw["job_id"] == job for raw in map(json.loads, started))


def test_an_evaluation_that_cannot_win_any_more_is_stopped_and_answered_with_its_bound(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    good = ask(home, QUICK)["responses"]["makespan"]
    begin = time.monotonic()
    reply = ask(home, SLOW, "2")
    assert time.monotonic() - begin < 25
    assert reply["state"] == "ok"
    assert good * 1.05 < reply["responses"]["makespan"] < 30
    [action] = actions(home)
    assert (action.what, action.state) == ("stop_evaluation", "done")
    assert "evaluation 2 cannot beat evaluation 1 any more: makespan is at least" in action.reason
    stopped = evaluation(home, "2")
    assert (stopped.state, stopped.over, stopped.failed) == ("stopped", True, False)
    assert stopped.message == action.reason
    assert not [raw for raw in events(home, "stampede.xwf.end") if raw["status"] == 0][1:]


def test_what_was_stopped_is_answered_again_and_is_never_the_best(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    ask(home, QUICK)
    first = ask(home, SLOW, "2")
    begin = time.monotonic()
    assert ask(home, SLOW, "2")["responses"] == first["responses"]
    assert time.monotonic() - begin < 3
    known = study_journal.read(home / ".panorama").values()
    assert [each.eval_id for each in answered(known, ["makespan"])] == ["1"]
    found = best(known, "makespan", largest=True)
    assert found is not None
    assert found.eval_id == "1"


@pytest.mark.parametrize("alive", [True, False])
def test_a_stop_that_is_undone_lets_it_run_to_its_end(alive: bool, make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    ask(home, QUICK)
    pause = SLOW | {"pause": 6.0}
    ask(home, pause, "2")
    pid = server_pid(home)
    if not alive and pid is not None:
        client.request(str(home / "study.yml"), {"op": "stop"})
        wait_for(lambda: server_pid(home) is None)
    [action] = actions(home)
    assert undo(home / "study.yml", action.action_id).state == "undone"
    assert evaluation(home, "2").state == "cancelled"
    assert evaluation(home, "2").responses == {}
    assert ask(home, pause, "2")["responses"]["makespan"] > 6
    assert evaluation(home, "2").state == "succeeded"
    assert [each.state for each in actions(home)] == ["undone"]
    with pytest.raises(UsageError, match="it is undone"):
        undo(home / "study.yml", action.action_id)


def test_with_several_responses_all_of_them_must_be_worse(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS | {"responses": "{makespan: workflow.makespan, active: workflow.active_time}"})
    ask(home, QUICK)
    ask(home, QUICK, "1", label="active")
    assert ask(home, SLOW, "2")["state"] == "ok"
    assert evaluation(home, "2").state == "stopped"


def test_values_that_were_made_otherwise_stop_nothing_and_bounds_of_them_answer_nothing(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS | {"responses": "{makespan: workflow.makespan / 1000}"})
    ask(home, QUICK)
    pause = SLOW | {"pause": 4.0}
    ask(home, pause, "2")
    assert evaluation(home, "2").state == "stopped"
    study = home / "study.yml"
    study.write_text(study.read_text().replace(" / 1000", ""))
    assert ask(home, pause, "2")["responses"]["makespan"] > 4
    assert evaluation(home, "2").state == "succeeded"


def test_a_bound_is_no_answer_where_true_values_are_wanted_by_now(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    ask(home, QUICK)
    pause = SLOW | {"pause": 3.0}
    ask(home, pause, "2")
    assert evaluation(home, "2").state == "stopped"
    study = home / "study.yml"
    study.write_text(study.read_text().replace("stop_hopeless: true", "stop_hopeless: false"))
    assert ask(home, pause, "2")["responses"]["makespan"] > 3
    assert evaluation(home, "2").state == "succeeded"


def test_an_action_that_nobody_took_cannot_be_undone(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    with pytest.raises(UsageError, match="nothing was done here"):
        undo(home / "study.yml", "0" * 16)
    ask(home, QUICK)
    with pytest.raises(UsageError, match="no action '0000000000000000'"):
        undo(home / "study.yml", "0" * 16)


@pytest.mark.parametrize(
    ("keys", "study_in", "words"),
    [
        ({"responses": "{y: {output: result.json, value: y}}"}, "", "response 'y' may still become smaller"),
        ({"responses": "{y: 1 / workflow.makespan}"}, "", "response 'y' may still become smaller"),
        ({"responses": "{y: workflow.makespan - workflow.cpu_time}"}, "", "response 'y' may still become smaller"),
        ({"responses": "{y: 1e6 * workflow.efficiency}"}, "", "response 'y' may still become smaller"),
        ({}, "objective_functions 1\nsense 'max'", "looks for the largest value"),
        ({}, "response_functions 1", "has response_functions, which needs true values"),
        ({}, "objective_functions 1\nnumerical_gradients", "has numerical_gradients"),
        ({}, "objective_functions 1\nsense 'MAXIMIZE'", "looks for the largest value"),
        ({}, "num_response_functions = 1", "has num_response_functions, which needs true values"),
        ({}, "num_objective_functions 1\nNumerical_grad", "has numerical_grad,"),
        ({"monitoring": "{anomalies: 'off'}"}, "", "nothing can be done about what is not looked for"),
    ],
)
def test_a_study_that_nothing_may_be_stopped_in_is_refused(
    keys: dict[str, Any], study_in: str, words: str, make_study: MakeStudy
) -> None:
    home = make_study(**(HOPELESS | keys))
    (home / "study.in").write_text(study_in)
    reply = ask(home, QUICK, label="y" if "responses" in keys else "makespan")
    assert reply["state"] == "failed"
    assert words in reply["message"]


def test_without_a_word_of_it_in_the_study_nothing_is_stopped(make_study: MakeStudy) -> None:
    home = make_study(responses="{makespan: workflow.makespan}")
    ask(home, QUICK)
    assert ask(home, SLOW | {"pause": 3.0}, "2")["responses"]["makespan"] > 3
    assert actions(home) == []


def test_what_a_killed_server_meant_to_stop_is_stopped_by_the_next(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    ask(home, QUICK)
    client.request(str(home / "study.yml"), {"op": "stop"})
    wait_for(lambda: server_pid(home) is None)
    journal = Actions(home / ".panorama")
    text = (home / "study.yml").read_text()
    (home / "study.yml").write_text(text.replace("stop_hopeless: true", "stop_hopeless: false"))
    thread = threading.Thread(target=ask, args=(home, SLOW, "2"))
    thread.start()
    wait_for(lambda: running(home, "0002", "sh_left"))
    pid = server_pid(home)
    assert pid is not None
    key = evaluation(home, "2").key
    journal.record(
        Action(action_id=action_id("stop_evaluation", key), what="stop_evaluation", reason="r", evaluation=key)
    )
    (home / "study.yml").write_text(text)
    os.kill(pid, signal.SIGKILL)
    thread.join(40)
    journal.close()
    assert evaluation(home, "2").state == "stopped"
    assert [each.state for each in actions(home)] == ["done"]
    lines = (home / ".panorama/actions.jsonl").read_text().split()
    assert [json.loads(line)["state"] for line in lines] == ["intended", "done"]


MANY = "{interval: 0.1 s}"
TWO = "{fast: 1, other: 1}"


def many(home: Path, number: int, first: int, **variables: Any) -> list[dict[str, Any]]:
    """Evaluations one after the other, so that there is a history."""
    return [ask(home, {"x": n / 100, **variables}, str(n), "y") for n in range(first, first + number)]


def in_group(home: Path, group: str) -> list[str]:
    """Ids of evaluations and jobs that ran in a group of slots, in their order."""
    return [raw["xwf_id"] for raw in events(home, "stampede.job_inst.host.info") if raw.get("slot_group") == group]


def found(home: Path, kind: str) -> list[Event]:
    with open_store(home / ".panorama/store.db", readonly=True) as store:
        return store.since(0, {f"anomalies.{kind}"}).events


def test_a_group_whose_jobs_take_far_longer_is_avoided_until_that_is_undone(make_study: MakeStudy) -> None:
    home = make_study(slots=TWO, monitoring=MANY, adapt="{avoid_hosts: true}", workflow=own_workflow(make_study))
    over = threading.Event()
    thread = threading.Thread(target=hold_up, args=("other", str(home), over))
    thread.start()
    try:
        number = 0
        while not actions(home):
            assert number < 30, "the group was not avoided"
            number += 1
            many(home, 1, number)
    finally:
        over.set()
        thread.join()
    [action] = actions(home)
    assert (action.what, action.state) == ("avoid_host", "done")
    assert action.host is not None
    assert action.host.endswith("/other")
    assert action.anomaly in {each.event_id for each in found(home, "slow_host")}
    before = len(in_group(home, "other"))
    many(home, 2, 40)
    assert len(in_group(home, "other")) == before
    client.request(str(home / "study.yml"), {"op": "stop"})
    wait_for(lambda: server_pid(home) is None)
    many(home, 1, 50)
    assert len(in_group(home, "other")) == before, "it is avoided by the next server as well"
    undo(home / "study.yml", action.action_id)
    many(home, 1, 60)
    assert len(in_group(home, "other")) > before


def own_workflow(make_study: MakeStudy) -> Path:
    """The parabola, its two middle jobs doing something for half a second, in steps that can be held up."""
    folder = Path(shutil.copytree(PARABOLA, make_study("workflow").parent / "steps"))
    text = (folder / "workflow.py").read_text()
    steps = "for i in 1 2 3 4 5; do sleep 0.05; done"
    (folder / "workflow.py").write_text(text.replace("sleep {options['pause']}", steps))
    return folder


def folder_of(pid: int) -> str:
    """Working directory of a process; empty once it has gone."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def hold_up(group: str, home: str, over: threading.Event) -> None:
    """Let the processes of a group of slots go on for a fifth of the time."""
    while not over.is_set():
        held = [pid for pid in faults.processes({"PANORAMA_SLOT_GROUP": group}) if home in folder_of(pid)]
        for number, share in ((signal.SIGSTOP, 0.4), (signal.SIGCONT, 0.1)):
            for pid in held:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            over.wait(share)


def test_an_attempt_that_stalls_is_ended_and_tried_again_in_another_group(make_study: MakeStudy) -> None:
    home = make_study(slots=TWO, monitoring=MANY, adapt="{retry_stalled: true}")
    many(home, 6, 1, pause=0.5)
    thread = threading.Thread(target=many, args=(home, 1, 50), kwargs={"pause": 5.0})
    thread.start()
    marks = {"PEGASUS_DAG_JOB_ID": "sh_left"}

    def ours() -> list[int]:
        return [pid for pid in faults.processes(marks) if str(home) in folder_of(pid)]

    wait_for(lambda: running(home, "0050", "sh_left") and ours())
    for pid in ours():
        os.kill(pid, signal.SIGSTOP)
    thread.join(60)
    assert evaluation(home, "50").state == "succeeded"
    [action] = actions(home)
    assert (action.what, action.state, action.job_id) == ("retry_attempt", "done", "sh_left")
    [removed] = list(events(home, "stampede.job_inst.abort.info"))
    assert removed["reason"] == f"ended by the study server: stalled on {action.host}"
    places = [raw for raw in events(home, "stampede.job_inst.host.info") if raw["job_id"] == "sh_left"]
    assert {raw["slot_group"] for raw in places if raw["xwf_id"] == removed["xwf_id"]} == {"fast", "other"}


def test_what_a_killed_server_meant_to_avoid_is_avoided_by_the_next(make_study: MakeStudy) -> None:
    home = make_study(slots=TWO, monitoring=MANY, adapt="{avoid_hosts: true}")
    (home / ".panorama").mkdir(mode=0o700)
    intended = Actions(home / ".panorama")
    host = f"{short_name(socket.gethostname())}/other"
    intended.record(Action(action_id=action_id("avoid_host", host), what="avoid_host", reason="r", host=host))
    intended.close()
    many(home, 2, 1, pause=0.3)
    assert in_group(home, "other") == []
    assert [each.state for each in actions(home)] == ["done"]


def test_a_watch_that_fails_is_told_once_and_the_study_goes_on(make_study: MakeStudy) -> None:
    home = make_study(**HOPELESS)
    (home / ".panorama/actions.jsonl").mkdir(parents=True)
    (home / ".panorama").chmod(0o700)
    assert ask(home, QUICK)["state"] == "ok"
    assert ask(home, {"x": 0.4}, "2")["state"] == "ok"
    assert (home / ".panorama/server.log").read_text().count("cannot begin to watch") == 1


def test_where_nothing_is_to_be_looked_for_nothing_is(make_study: MakeStudy) -> None:
    home = make_study(monitoring="{anomalies: 'off', interval: 0.1 s}")
    assert ask(home, QUICK, label="y")["state"] == "ok"
    assert not (home / ".panorama/actions.jsonl").exists()
