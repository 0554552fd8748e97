"""`panorama adapt`: actions listed, and taken back through the server or without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.adapt import Action, Actions, read
from panorama_driver.study.journal import Journal
from panorama_driver.study.journal import read as read_journal


@pytest.fixture
def home(make_study: Callable[..., Path]) -> Path:
    """A study whose server has avoided a host, and stopped an evaluation, and runs no more."""
    home = make_study()
    folder = home / ".panorama"
    folder.mkdir(mode=0o700)
    actions, journal = Actions(folder), Journal(folder)
    journal.record("k", state="stopped", eval_id="7", variables={"x": 1.0}, responses={"y": 9.0})
    avoided = Action(action_id="a" * 16, what="avoid_host", reason="m/slow: three times as long", host="m/slow")
    actions.record(avoided, state="done")
    actions.record(Action(action_id="b" * 16, what="stop_evaluation", reason="no hope", evaluation="k"), state="done")
    actions.record(
        Action(action_id="c" * 16, what="retry_attempt", reason="idle\x1b[31m", job_id="j", attempt=2, host="m/slow"),
        state="failed",
        message="the attempt had ended",
    )
    actions.record(Action(action_id="d" * 16, what="set_running", reason="storage", value=3, before=4), state="done")
    actions.close()
    journal.close()
    return home


def panorama(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["panorama", "adapt", *map(str, words)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("verb", [[], ["list"]])
def test_actions_are_listed_with_their_reasons(verb: list[str], home: Path) -> None:
    told = panorama(*verb, home)
    assert told.returncode == 0
    lines = told.stdout.splitlines()
    assert lines[0].startswith("a" * 16)
    assert lines[0].endswith("done      avoid m/slow")
    assert lines[1] == "    m/slow: three times as long"
    assert lines[5] == "    idle\\x1b[31m (the attempt had ended)"
    assert lines[-3].endswith("let 3 run at a time, not 4")
    assert lines[-1] == "4 actions"


@pytest.mark.parametrize("words", [["--json"], ["list", "--json"]])
def test_actions_as_json(words: list[str], home: Path) -> None:
    told = json.loads(panorama(*words[:-1], home, words[-1]).stdout)["actions"]
    assert [each["what"] for each in told] == ["avoid_host", "stop_evaluation", "retry_attempt", "set_running"]
    assert told[0]["host"] == "m/slow"


def test_a_study_that_nothing_was_done_to_says_so(make_study: Callable[..., Path]) -> None:
    home = make_study()
    assert panorama(home).stdout == "nothing was done about anything\n"
    told = panorama("undo", home, "a" * 16)
    assert (told.returncode, "nothing was done here yet" in told.stderr) == (2, True)


def test_a_name_below_a_study_that_is_not_there_is_not_that_study(home: Path) -> None:
    told = panorama(home / "typo")
    assert (told.returncode, "no such folder" in told.stderr) == (2, True)


def test_an_action_is_taken_back_where_no_server_runs(home: Path) -> None:
    assert panorama("undo", home, "a" * 16).stdout == f"{'a' * 16}: avoid m/slow: undone\n"
    assert json.loads(panorama("undo", home, "b" * 16, "--json").stdout)["state"] == "undone"
    assert {each.action_id[0]: each.state for each in read(home / ".panorama")} == {
        "a": "undone",
        "b": "undone",
        "c": "failed",
        "d": "done",
    }
    revived = read_journal(home / ".panorama")["k"]
    assert (revived.state, revived.responses) == ("cancelled", {})


@pytest.mark.parametrize(("which", "words"), [("c", "it is failed"), ("e", "no action 'eeeeeeeeeeeeeeee'")])
def test_what_cannot_be_taken_back_is_refused_in_words(which: str, words: str, home: Path) -> None:
    told = panorama("undo", home, which * 16)
    assert told.returncode == 2
    assert words in told.stderr
