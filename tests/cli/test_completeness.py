"""`reconcile`, `deadletters` and `show` as a person and as a program meet them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from panorama_driver.collector._records import events_of
from panorama_driver.store import DeadLetter, Via, open_store
from tests.conftest import PARABOLA
from tests.faults.captures import delivered, submit_dir, uuid_of

WF = uuid_of("mini-fail")


def panorama(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store into which a broker has brought three quarters of a run."""
    path = tmp_path / "panorama.db"
    with open_store(path) as opened:
        opened.put((event for number, event in enumerate(delivered("mini-fail")) if number % 4), via=Via.BROKER)
    return path


def test_reconcile_fills_in_and_says_what(store: Path) -> None:
    done = panorama("reconcile", WF[:8], "--store", store, "--from", submit_dir("mini-fail"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"workflow {WF}: compared with the disk: 20 events that did not come live were found on disk",
        "  stampede   79 events, 59 came live, 20 filled from disk",
    ]
    again = panorama("reconcile", WF, "--store", store, "--from", submit_dir("mini-fail"), "--json")
    [told] = json.loads(again.stdout)["workflows"]
    assert told["sources"][0] == {
        "source": "stampede",
        "events_expected": 79,
        "events_seen": 59,
        "filled_from_disk": 20,
        "missing": 0,
        "thinned": 0,
    }
    assert told["reconciled"] is told["watched_live"] is True


def test_reconcile_of_what_is_not_there_says_what_to_do(store: Path, tmp_path: Path) -> None:
    done = panorama("reconcile", "ffff", "--store", store)
    assert done.returncode == 2
    assert f"the store knows none that begins so; there are {WF}" in done.stderr
    done = panorama("reconcile", WF, "--store", store)  # the plan's directory is of another machine
    assert done.returncode == 3
    assert "/home/runs/" in done.stderr
    assert "--from" in done.stderr
    done = panorama("reconcile", WF, "--store", tmp_path / "none.db")
    assert done.returncode == 1
    assert "there is no store there" in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_reconcile_tells_by_its_exit_code_that_something_is_missing(store: Path) -> None:
    trace = {"event": "kickstart.inv.online", "wf_uuid": WF, "dag_job_id": "a", "pid": 1}
    with open_store(store) as opened:
        for seq in (0, 3):
            opened.put(events_of(json.dumps({**trace, "seq": seq, "ts": float(seq)}).encode()), via=Via.HTTP)
    done = panorama("reconcile", WF, "--store", store, "--from", submit_dir("mini-fail"))
    assert done.returncode == 1
    assert "  kickstart  4 events, 2 came live, 0 filled from disk, 2 missing" in done.stdout


def test_a_workflow_below_whose_files_are_gone_is_told_and_keeps_nothing_from_the_rest(store: Path) -> None:
    start = {"event": "stampede.xwf.start", "xwf_id": "below", "ts": 1.0, "restart_count": 0, "root_xwf_id": WF}
    with open_store(store) as opened:
        opened.put(events_of(json.dumps(start).encode()), via=Via.BROKER)
    done = panorama("reconcile", WF, "--store", store, "--from", submit_dir("mini-fail"))
    assert done.returncode == 1
    assert "79 events, 59 came live, 20 filled from disk" in done.stdout
    assert "workflow below: came live, not yet compared with the disk" in done.stdout
    assert "  not read: workflow below: no event tells where its files are" in done.stdout


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one evaluation."""
    home = tmp_path_factory.mktemp("run") / "study"
    done = panorama("run", PARABOLA, "--set", "x=0.5", "-o", home)
    assert done.returncode == 0, done.stderr
    return home


def test_the_server_notes_at_the_end_of_a_workflow_how_complete_it_is(evaluation: Path) -> None:
    told = json.loads(panorama("show", 1, "--study", evaluation, "--json").stdout)["completeness"]
    assert (told["reconciled"], told["watched_live"]) == (True, False)
    assert told["reconciled_from"].startswith(str(evaluation / "evaluations"))
    counts = {part["source"]: part["events_expected"] for part in told["sources"]}
    assert counts["stampede"] > 50
    assert counts["kickstart"] > 3
    assert all(part["missing"] == 0 for part in told["sources"])
    lines = panorama("show", 1, "--study", evaluation).stdout.splitlines()
    assert "  events           read from disk; nothing came by a broker or by HTTP" in lines


def test_in_a_study_reconcile_knows_the_place(evaluation: Path) -> None:
    done = panorama("reconcile", 1, "--study", evaluation)
    assert (done.returncode, done.stderr) == (0, "")
    assert "read from disk; nothing came by a broker or by HTTP" in done.stdout


HOSTILE = b'{"event": "\x1b]0;owned\x07\xe2\x80\xaetxt"}\r\n'


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """A store with three dead letters: one that is an event now, a hostile one, one of which only the head is left."""
    path = tmp_path / "letters.db"
    good = b'{"event": "kickstart.inv.online", "wf_uuid": "w", "ts": 1.0, "seq": 0}'
    with open_store(path) as opened:
        opened.bury([
            DeadLetter(reason="unknown then", source="http", size=len(good), head=good),
            DeadLetter(reason="not \x1b[31mred", source="/a/b\x07", offset=7, size=len(HOSTILE), head=HOSTILE),
            DeadLetter(reason="too long", source="http", size=9_000_000, head=b"x" * 5000),
        ])  # fmt: skip
    return path


def ids(store: Path) -> list[str]:
    told = json.loads(panorama("deadletters", "list", "--store", store, "--json").stdout)
    return [letter["id"] for letter in told["deadletters"]]


def test_dead_letters_are_listed_in_letters_a_terminal_can_take(letters: Path) -> None:
    for words in (["deadletters"], ["deadletters", "list"]):
        done = panorama(*words, "--store", letters)
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 4
        assert "/a/b\\x07 at byte 7: not \\x1b[31mred" in done.stdout
        assert done.stdout.endswith("3 dead letters\n")
        assert done.stdout.replace("\n", "").isprintable()


def test_a_dead_letter_is_shown_with_what_is_known_of_it(letters: Path) -> None:
    hostile = ids(letters)[1]
    done = panorama("deadletters", "show", hostile[:8], "--store", letters)
    assert done.stdout.replace("\n", "").isprintable()
    assert "\\x1b]0;owned\\x07\\u202etxt" in done.stdout
    assert re.search(r"^buried    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", done.stdout, re.MULTILINE)
    told = json.loads(panorama("deadletters", "show", hostile, "--store", letters, "--json").stdout)
    assert (told["source"], told["offset"], told["whole"]) == ("/a/b\x07", 7, True)
    assert base64.b64decode(told["body"]) == HOSTILE
    assert (
        "(904 bytes more; --json has all)"
        in panorama("deadletters", "show", ids(letters)[2], "--store", letters).stdout
    )


def test_requeue_stores_what_is_an_event_now(letters: Path) -> None:
    done = panorama("deadletters", "requeue", "--all", "--store", letters)
    assert done.returncode == 1
    assert "1 events, 1 of them new" in done.stdout
    assert "stays: only 5000 of 9000000 bytes were kept" in done.stdout
    assert done.stdout.endswith("1 of 3 are events now\n")
    assert len(ids(letters)) == 2
    with open_store(letters, readonly=True) as opened:
        assert opened.count() == 1


def test_one_can_be_requeued_or_dropped_by_the_beginning_of_its_id(letters: Path) -> None:
    first, second, third = ids(letters)
    done = panorama("deadletters", "requeue", first[:10], "--store", letters, "--json")
    [told] = json.loads(done.stdout)["requeued"]
    assert (done.returncode, told["id"], told["gone"], told["stored"]) == (0, first, True, 1)
    assert panorama("deadletters", "drop", second, "--store", letters).stdout == "1 dropped\n"
    assert ids(letters) == [third]
    assert panorama("deadletters", "drop", "--all", "--store", letters).returncode == 0
    said = panorama("deadletters", "--store", letters).stdout
    assert said == "no dead letters\n"


def test_which_must_be_said_and_must_be_one(letters: Path) -> None:
    done = panorama("deadletters", "requeue", "--store", letters)
    assert (done.returncode, "or --all" in done.stderr) == (2, True)
    done = panorama("deadletters", "drop", "zz", "--store", letters)
    assert (done.returncode, "there is none" in done.stderr) == (2, True)
    done = panorama("deadletters", "drop", "", "--store", letters)
    assert (done.returncode, "3 begin so" in done.stderr) == (2, True)


def test_a_study_is_as_good_as_its_store(evaluation: Path) -> None:
    for words in (["deadletters", "--study", evaluation], ["deadletters", "list", "--study", evaluation]):
        assert panorama(*words).stdout == "no dead letters\n"


def test_a_store_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    for words in (["show", "1"], ["globus", "0a1b"], ["deadletters"], ["tstat", tmp_path]):
        done = panorama(*words, "--store", missing)
        assert (done.returncode, "there is no store there" in done.stderr) == (1, True), words
    assert not missing.exists()


def test_globus_refuses_a_workflow_that_the_store_does_not_know(store: Path) -> None:
    done = panorama("globus", "ffff", "--store", store)
    assert (done.returncode, "knows none that begins so" in done.stderr) == (2, True)


def test_show_lists_the_workflows_of_a_store(store: Path, tmp_path: Path) -> None:
    done = panorama("show", "--store", store)
    assert (done.returncode, done.stdout.startswith(f"{WF}  20"), done.stdout.count("\n")) == (0, True, 1)
    [told] = json.loads(panorama("show", "--store", store, "--json").stdout)["workflows"]
    assert told["wf_uuid"] == WF
    with open_store(tmp_path / "empty.db"):
        pass
    assert panorama("show", "--store", tmp_path / "empty.db").stdout == "no workflow runs yet\n"
    done = panorama("show", cwd=tmp_path)
    assert (done.returncode, "panorama status" in done.stderr) == (2, True)


def test_tstat_says_where_there_is_no_log(store: Path, tmp_path: Path) -> None:
    done = panorama("tstat", tmp_path, "--store", store)
    assert (done.returncode, "no log_tcp_complete" in done.stderr) == (0, True)


def test_show_tells_of_a_workflow_that_was_collected_without_a_study(store: Path) -> None:
    done = panorama("show", WF[:8], "--store", store)
    assert (done.returncode, done.stderr) == (1, "")  # it has failed
    assert f"  workflow         {WF} of unknown name: failed" in done.stdout
    assert "came live, not yet compared with the disk" in done.stdout
    told = json.loads(panorama("show", WF, "--store", store, "--json").stdout)
    assert (told["evaluation"], told["metrics"]["wf_uuid"]) == (None, WF)
    assert "the store knows none that begins so" in panorama("show", "ffff", "--store", store).stderr
