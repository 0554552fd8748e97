"""Driver client and study server on real sockets: one server a study, one run an evaluation, whatever dies."""

from __future__ import annotations

import json
import os
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

from panorama_driver.errors import ServerError, StudyError
from panorama_driver.study import client
from panorama_driver.study.journal import Evaluation, read

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
    text = (home / ".panorama/journal.jsonl").read_text()
    return sum(json.loads(line).get("wf_uuid") is not None for line in text.splitlines() if line)


def events(home: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in home.glob("evaluations/*/run/events.jsonl"):
        yield from (raw for raw in map(json.loads, path.read_text().splitlines()) if raw["event"] == name)


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
        "owners": [os.getppid()],
    }
    driver.join(20)
    assert replies[0]["state"] == "cancelled"
    assert "cancelled" in replies[0]["message"]
    wait_for(lambda: server_pid(home) is None)
    assert journal(home)[0].state == "cancelled"


def test_the_server_ends_by_itself_when_its_owner_has_gone(make_study: MakeStudy) -> None:
    home = make_study()
    code = (
        "import sys; from panorama_driver.study import client;"
        "print(client.evaluate(sys.argv[1], [{'variables': {'x': 0.5}, 'asv': {'y': 1}}], print))"
    )
    subprocess.run(["sh", "-c", f'"{sys.executable}" -c "{code}" "{home}/study.yml"; true'], check=True, timeout=60)
    wait_for(lambda: server_pid(home) is None, 15)
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
