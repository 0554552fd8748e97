"""Driver client and study server on real sockets: one server a study, one run an evaluation, whatever dies."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import EvaluationCancelledError, ServerError, StoreError, StudyError
from panorama_driver.report import read_report
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.study.definition import Request
from panorama_driver.study.evaluations import Evaluations, Listener
from panorama_driver.study.journal import Evaluation, Journal, read
from tests.conftest import whole_lines

MakeStudy = Callable[..., Path]


def request(x: float, eval_id: str = "1", **more: Any) -> dict[str, Any]:
    return {"eval_id": eval_id, "variables": {"x": x, **more}, "asv": {"y": 1}, "metadata": ["makespan"]}


def evaluate(home: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    return client.evaluate(str(home / "study.yml"), list(requests), lambda words: None)


def journal(home: Path) -> list[Evaluation]:
    return list(read(home / ".panorama").values())


def server_pid(home: Path) -> int | None:
    """The process that holds the server's lock, found among our processes by its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if "panorama_driver.study" in words and str(home / "study.yml") in words:
            return int(process.name)
    return None


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def submissions(home: Path) -> int:
    lines = whole_lines(home / ".panorama/journal.jsonl")
    return sum(json.loads(line).get("wf_uuid") is not None for line in lines if line)


def events(home: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in home.glob("evaluations/*/run/events.jsonl"):
        yield from (raw for raw in map(json.loads, whole_lines(path)) if raw["event"] == name)


def test_an_evaluation_gives_its_responses_and_metadata(make_study: MakeStudy) -> None:
    [reply] = evaluate(make_study(), request(0.5))
    assert reply["state"] == "ok"
    assert reply["responses"] == {"y": pytest.approx(0.04)}
    assert 0 < reply["metadata"]["makespan"] < 30


def test_the_same_evaluation_is_run_once(make_study: MakeStudy) -> None:
    home = make_study()
    first, again = evaluate(home, request(0.5))[0], evaluate(home, request(0.5, eval_id="9"))[0]
    assert first["wf_uuid"] == again["wf_uuid"]
    assert first["responses"] == again["responses"]
    assert submissions(home) == 1


def test_eight_drivers_at_once_start_one_server_and_one_run_each(make_study: MakeStudy) -> None:
    home = make_study()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: evaluate(home, request(n / 10, str(n)))[0], range(8)))
    assert [reply["responses"]["y"] for reply in replies] == pytest.approx([(n / 10 - 0.3) ** 2 for n in range(8)])
    assert (home / ".panorama/server.log").read_text().count("listening") == 1
    assert submissions(home) == 8


def test_a_batch_is_answered_in_its_order(make_study: MakeStudy) -> None:
    replies = evaluate(make_study(), request(1.3, "1:1"), request(0.3, "1:2"))
    assert [reply["responses"]["y"] for reply in replies] == pytest.approx([1.0, 0.0])


def test_changed_responses_need_no_new_run(make_study: MakeStudy) -> None:
    home = make_study()
    evaluate(home, request(0.5))
    text = (home / "study.yml").read_text()
    (home / "study.yml").write_text(text.replace("value: y", "value: 'inputs[0]'"))
    [reply] = evaluate(home, request(0.5))
    assert reply["responses"] == {"y": 0.5}
    assert submissions(home) == 1


def test_a_changed_workflow_is_run_anew(make_study: MakeStudy, tmp_path: Path) -> None:
    import shutil

    from tests.conftest import PARABOLA

    folder = Path(shutil.copytree(PARABOLA, tmp_path / "own"))
    home = make_study(workflow=folder)
    assert evaluate(home, request(0.5))[0]["responses"]["y"] == pytest.approx(0.04)
    (folder / "data/constants/offset.txt").write_text("0.5\n")
    assert evaluate(home, request(0.5))[0]["responses"]["y"] == 0.0


@pytest.mark.parametrize(
    ("keys", "what", "words"),
    [
        ({}, request(0.5, speed=1.0), "parameter 'speed' is not in"),
        ({}, request(99.0), "out of its bounds"),
        ({}, request(0.5) | {"asv": {"y": 3}}, "asks for gradients"),
        ({}, request(0.5) | {"asv": {"z": 1}}, "'z' of study.in is not in"),
        ({}, request(0.5, trouble="fail"), "asked to fail"),
        ({}, request(0.5, trouble="no-value"), "result.json"),
        ({"timeout": "1 s"}, request(0.5, pause=30.0), "ran longer than 1 s"),
        ({"workflow": "nowhere"}, request(0.5), "workflow 'nowhere'"),
        ({"site": "mars"}, request(0.5), "site 'mars'"),
        ({"colour": "red"}, request(0.5), "unknown field 'colour'"),
        ({"timeout": "soon"}, request(0.5), "timeout: 'soon' is no duration"),
        ({"responses": "{y: workflow.makspan}"}, request(0.5), "nearest: makespan"),
    ],
)
def test_what_goes_wrong_is_answered_in_words(
    keys: dict[str, Any], what: dict[str, Any], words: str, make_study: MakeStudy
) -> None:
    [reply] = evaluate(make_study(**keys), what)
    assert reply["state"] in ("failed", "timeout")
    assert words in reply["message"]


def test_a_failure_goes_back_as_the_study_chose(make_study: MakeStudy) -> None:
    home = make_study(on_failure="{retry: 1, then: 1000.0}")
    [reply] = evaluate(home, request(0.5, trouble="fail"))
    assert reply["on_failure"] == 1000.0
    tries = [raw for raw in events(home, "stampede.job_inst.main.start") if raw["job_id"] == "square_last"]
    assert len(tries) == 4  # two tries a run, and the run twice


def test_a_failed_evaluation_that_is_asked_again_goes_on_where_it_stopped(make_study: MakeStudy) -> None:
    home = make_study()
    evaluate(home, request(0.5, trouble="fail"))
    evaluate(home, request(0.5, trouble="fail"))
    splits = [raw for raw in events(home, "stampede.job_inst.main.start") if raw["job_id"] == "sh_split"]
    assert len(splits) == 1
    assert submissions(home) == 1


def test_a_server_that_is_killed_in_mid_run_loses_and_doubles_nothing(make_study: MakeStudy) -> None:
    home = make_study()
    replies: list[dict[str, Any]] = []
    driver = threading.Thread(target=lambda: replies.extend(evaluate(home, request(0.5, pause=1.0))))
    driver.start()
    wait_for(lambda: [raw for raw in events(home, "stampede.inv.start") if raw["job_id"] == "sh_left"])
    pid = server_pid(home)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    driver.join(40)
    assert replies[0]["responses"] == {"y": pytest.approx(0.04)}
    assert submissions(home) == 1
    splits = [raw for raw in events(home, "stampede.job_inst.main.start") if raw["job_id"] == "sh_split"]
    assert len(splits) == 1


def test_a_stopped_server_answers_and_leaves_no_process(make_study: MakeStudy) -> None:
    home = make_study()
    replies: list[dict[str, Any]] = []
    driver = threading.Thread(target=lambda: replies.extend(evaluate(home, request(0.5, pause=30.0))))
    driver.start()
    wait_for(lambda: [raw for raw in events(home, "stampede.inv.start") if raw["job_id"] == "sh_left"])
    pid = server_pid(home)
    assert client.request(str(home / "study.yml"), {"op": "stop"}) == {
        "stopping": True,
        "pid": pid,
        "owners": [os.getpid()],
    }
    driver.join(20)
    assert replies[0]["state"] == "cancelled"
    assert "it goes on where it stopped" in replies[0]["message"]
    wait_for(lambda: server_pid(home) is None)
    assert journal(home)[0].state == "cancelled"


def test_the_server_ends_by_itself_when_its_owner_has_gone_though_the_shell_stays(make_study: MakeStudy) -> None:
    home = make_study()
    code = (
        "import sys; from panorama_driver.study import client;"
        "print(client.evaluate(sys.argv[1], [{'variables': {'x': 0.5}, 'asv': {'y': 1}}], print))"
    )
    command = f'"{sys.executable}" -c "{code}" "{home}/study.yml"; read line'
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE) as shell:
        wait_for((home / ".panorama/server.sock").exists)
        wait_for(lambda: server_pid(home) is None)
        assert shell.poll() is None
    assert not (home / ".panorama/server.sock").exists()
    assert "nothing left to do" in (home / ".panorama/server.log").read_text()


def test_only_the_user_can_reach_the_server(make_study: MakeStudy) -> None:
    home = make_study()
    evaluate(home, request(0.5))
    assert stat.S_IMODE((home / ".panorama").stat().st_mode) == 0o700
    for name in ("server.sock", "server.log", "journal.jsonl", "store.db"):
        assert stat.S_IMODE((home / ".panorama" / name).stat().st_mode) == 0o600, name


def test_a_study_folder_with_a_very_long_path_works(tmp_path: Path, make_study: MakeStudy) -> None:
    home = make_study("a folder " * 20 + "ü")
    assert evaluate(home, request(0.5))[0]["state"] == "ok"


def test_rubbish_on_the_socket_does_not_stop_the_server(make_study: MakeStudy) -> None:
    home = make_study()
    evaluate(home, request(0.5))
    for message in ({"op": "dance"}, {"op": "evaluate"}, {"op": "evaluate", "evaluations": [{"variables": 3}]}):
        assert client.request(str(home / "study.yml"), message) is None
    assert evaluate(home, request(0.7))[0]["state"] == "ok"


def test_a_server_that_cannot_start_is_reported_with_its_last_words(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_study()
    monkeypatch.setattr(client, "_TRIES", 1)
    (home / ".panorama").mkdir(mode=0o700)
    (home / ".panorama/store.db").write_text("no database")
    with pytest.raises(ServerError, match=r"its last words: .*store\.db"):
        evaluate(home, request(0.5))


def test_the_study_file_is_found_from_the_work_directory_upwards(make_study: MakeStudy) -> None:
    home = make_study()
    work = home / "work" / "eval.3"
    work.mkdir(parents=True)
    assert client.find_study(str(work)) == str(home / "study.yml")
    with pytest.raises(StudyError, match=r"no other\.yml in .*eval\.3 nor in any folder above"):
        client.find_study(str(work), "other.yml")


def test_derivatives_that_the_workflow_writes_go_to_dakota(make_study: MakeStudy) -> None:
    home = make_study(
        gradients="{y: {output: result.json, value: gradient}}", hessians="{y: {output: result.json, value: hessian}}"
    )
    [reply] = evaluate(home, request(0.5) | {"asv": {"y": 7}, "dvv": ["x"]})
    assert reply["gradients"] == {"y": [pytest.approx(0.4)]}
    assert reply["hessians"] == {"y": [[2.0]]}


def test_what_is_refused_is_told_to_those_who_look_later_until_it_is_asked_rightly(make_study: MakeStudy) -> None:
    home = make_study()
    evaluate(home, request(99.0))
    [refused] = journal(home)
    assert (refused.state, refused.eval_id, refused.failed) == ("refused", "1", True)
    assert "out of its bounds" in refused.message
    evaluate(home, request(0.5))
    assert [evaluation.state for evaluation in journal(home)] == ["succeeded"]


def test_a_response_that_cannot_be_found_is_no_success_and_needs_no_new_run_once_it_can(make_study: MakeStudy) -> None:
    home = make_study(responses="{y: workflow.io_time}")
    [reply] = evaluate(home, request(0.5))
    assert "no Darshan log" in reply["message"]
    assert (journal(home)[0].state, journal(home)[0].failed) == ("unanswered", True)
    (home / "study.yml").write_text((home / "study.yml").read_text().replace("io_time", "parallel_efficiency"))
    [reply] = evaluate(home, request(0.5))
    assert 0 < reply["responses"]["y"] < 1
    assert journal(home)[0].state == "succeeded"
    assert submissions(home) == 1


def test_another_active_set_needs_no_new_run(make_study: MakeStudy) -> None:
    home = make_study(gradients="{y: {output: result.json, value: gradient}}")
    evaluate(home, request(0.5))
    [reply] = evaluate(home, request(0.5) | {"asv": {"y": 2, "makespan": 1}, "dvv": ["x"]})
    assert reply["gradients"] == {"y": [pytest.approx(0.4)]}
    assert set(reply["responses"]) == {"makespan"}
    assert submissions(home) == 1


def test_a_cancelled_driver_does_not_ask_anew_when_the_server_has_just_died(make_study: MakeStudy) -> None:
    home = make_study()
    told: list[str] = []

    def report(words: str) -> None:
        told.append(words)
        pid = server_pid(home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise EvaluationCancelledError("cancelled by SIGTERM")

    with pytest.raises(EvaluationCancelledError):
        client.evaluate(str(home / "study.yml"), [request(0.5, pause=1.0)], report)
    assert len(told) == 1
    assert server_pid(home) is None


def test_a_module_of_the_users_in_the_work_directory_is_none_of_the_servers(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_study()
    (home / "logging.py").write_text("raise SystemExit('imported by mistake')\n")
    monkeypatch.chdir(home)
    assert evaluate(home, request(0.5))[0]["state"] == "ok"


def test_jobs_are_not_told_the_files_of_the_evaluation_that_started_the_server(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_study()
    monkeypatch.setenv("DAKOTA_PARAMETERS_FILE", "eval.1/params.in")
    evaluate(home, request(0.5))
    pid = server_pid(home)
    assert b"DAKOTA_PARAMETERS_FILE" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert os.readlink(f"/proc/{pid}/cwd") == str(home)


def test_a_server_whose_folder_was_removed_does_not_take_the_next_ones_socket_with_it(make_study: MakeStudy) -> None:
    home = make_study()
    evaluate(home, request(0.5))
    first = server_pid(home)
    assert first is not None
    shutil.rmtree(home / ".panorama")
    evaluate(home, request(0.6))
    os.kill(first, signal.SIGTERM)
    os.waitpid(first, 0)
    assert client.request(str(home / "study.yml"), {"op": "stop"}) is not None


def test_a_store_that_was_lost_is_filled_again_from_the_run_folders(make_study: MakeStudy) -> None:
    home = make_study()
    [first] = evaluate(home, request(0.5))
    stop(home)
    for file in (home / ".panorama").glob("store.db*"):
        file.unlink()
    [again] = evaluate(home, request(0.5))
    assert (again["responses"], again["metadata"]) == (first["responses"], first["metadata"])
    assert submissions(home) == 1


def test_an_evaluation_that_failed_and_whose_folder_was_removed_is_rendered_anew(make_study: MakeStudy) -> None:
    home = make_study(options="{trouble: fail}")
    assert evaluate(home, request(0.5))[0]["state"] == "failed"
    shutil.rmtree(home / "evaluations")
    assert "asked to fail" in evaluate(home, request(0.5))[0]["message"]


def test_responses_come_in_the_order_in_which_dakota_asks(make_study: MakeStudy) -> None:
    home = make_study(responses="{makespan: workflow.makespan, y: {output: result.json, value: y}}")
    [reply] = evaluate(home, request(0.5) | {"asv": {"y": 1, "makespan": 1}})
    assert list(reply["responses"]) == ["y", "makespan"]
    assert read_report(home).objective == "y"


def test_a_refusal_is_told_even_if_it_cannot_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "study.yml").write_text("workflow: nowhere\n")

    class Full(Journal):
        def record(self, key: str, *, durably: bool = True, **changes: Any) -> Evaluation:
            raise StoreError("no space left")

    with open_store(tmp_path / "store.db") as store:
        evaluations = Evaluations(tmp_path / "study.yml", Full(tmp_path), store, lambda: None)
        reply = asyncio.run(evaluations.reply(Request(), Listener(print, print)))
    assert "workflow 'nowhere'" in reply["message"]


def test_a_file_that_is_no_text_is_named(make_study: MakeStudy) -> None:
    home = make_study(site="./mine.yml")
    (home / "mine.yml").write_bytes(b"# caf\xe9\n")
    [reply] = evaluate(home, request(0.5))
    assert f"{home / 'mine.yml'}: cannot be read" in reply["message"]


def test_a_batch_that_is_cancelled_ends_also_where_it_asks_for_one_point_twice(make_study: MakeStudy) -> None:
    home = make_study()
    told: list[str] = []

    def report(words: str) -> None:
        told.append(words)
        if len(told) == 2:
            raise EvaluationCancelledError("cancelled by SIGTERM")

    batch = [request(0.5, eval_id, pause=30.0) for eval_id in ("1:1", "1:2")]
    with pytest.raises(EvaluationCancelledError):
        client.evaluate(str(home / "study.yml"), batch, report)
    wait_for(lambda: [evaluation.state for evaluation in journal(home)] == ["cancelled"])


def test_slots_that_are_changed_in_mid_run_hold_for_the_next(make_study: MakeStudy) -> None:
    home = make_study(slots=1)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(evaluate, home, request(0.5, pause=0.5))
        wait_for(lambda: submissions(home) == 1 if (home / ".panorama/journal.jsonl").exists() else 0)
        (home / "study.yml").write_text((home / "study.yml").read_text().replace("slots: 1", "slots: 2"))
        evaluate(home, request(0.6))
        first.result()
    evaluate(home, request(0.7))
    slots = [raw["value"] for raw in sorted(events(home, "stampede.xwf.meta"), key=lambda raw: raw["ts"])]
    assert (slots[0], slots[-1]) == ("1", "2")


def stop(home: Path) -> None:
    client.request(str(home / "study.yml"), {"op": "stop"})
    wait_for(lambda: server_pid(home) is None)


def test_a_build_that_never_returns_costs_its_time_and_not_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    import shutil

    from tests.conftest import PARABOLA

    folder = Path(shutil.copytree(PARABOLA, tmp_path / "own"))
    text = (folder / "workflow.py").read_text()
    stuck = "def build(parameters, options):\n    import time\n    time.sleep(1000 if parameters['x'] == 9 else 0)\n"
    (folder / "workflow.py").write_text(text.replace("def build(parameters, options):\n", stuck))
    home = make_study(workflow=folder, timeout="6 s")  # which the other evaluation keeps on a busy machine too
    [reply] = evaluate(home, request(9.0))
    assert "ran longer than 6 s" in reply["message"]
    assert evaluate(home, request(0.5))[0]["state"] == "ok"
    client.request(str(home / "study.yml"), {"op": "stop"})
    wait_for(lambda: server_pid(home) is None)


def test_another_program_for_a_transformation_is_another_evaluation(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panorama_driver.study.definition import Definition

    home = make_study()
    before = Definition(home / "study.yml").fingerprint
    program = tmp_path / "no-such-shell"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert Definition(home / "study.yml").fingerprint != before
