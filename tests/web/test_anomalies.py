"""What was found and what was done, as the library hands it out: with its end, its actions, at once, and bounded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from panorama_driver.adapt import Action, Actions, read
from panorama_driver.analysis import Anomaly, as_event
from panorama_driver.errors import NotFoundError
from panorama_driver.metrics import correlate
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.web import Dashboard, Library, _anomalies
from panorama_driver.web._changes import Change
from panorama_driver.web.documents import AnomalyChange, AnomalyRow, StudyChange, StudySummary, WorkflowChange
from tests.metrics.runs import WF, Run
from tests.web import found as made
from tests.web.serving import ask, streaming
from tests.web.stores import HOSTILE, Growing, hostile

GROWN = Growing.wf_uuid(1)
STALLED = Anomaly(
    kind="stalled",
    wf_uuid=GROWN,
    job_id="first",
    attempt=1,
    host="node7",
    since=1795400030.0,
    found=1795400034.0,
    confidence=0.9,
    message="first neither computes nor moves anything",
    detector="online 1",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.found(tmp_path_factory.mktemp("found") / "found")


@pytest.fixture(scope="module")
def library(home: Path) -> Iterator[Library]:
    with Library([home], cache=None) as opened:
        yield opened


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    with Growing(tmp_path / "growing") as study:
        study.begin(1, x=0.1)
        yield study


def only(library: Library) -> StudySummary:
    [summary] = library.studies().studies
    return summary


def told(changes: list[Change], topic: str) -> list[Any]:
    return [change.data for change in changes if change.topic == topic]


def by_kind(library: Library) -> dict[str, AnomalyRow]:
    return {row.anomaly.kind: row for row in library.anomalies().anomalies}


def test_an_anomaly_is_told_as_its_event_told_it_with_its_end_and_its_evaluation(library: Library) -> None:
    row = by_kind(library)["throttled"]
    assert row.anomaly == made.throttled()
    assert row.anomaly_id == as_event(made.throttled()).event_id
    assert row.over == made.BEGIN + 33 + 9
    assert (row.study, row.evaluation, row.eval_id) == (only(library).study, "found-1", "1")
    assert by_kind(library)["leaking"].over is None


def test_the_last_that_was_found_comes_first_page_by_page_and_kind_by_kind(library: Library) -> None:
    every = library.anomalies()
    assert [row.anomaly.kind for row in every.anomalies] == ["slow_host", "leaking", "throttled"]
    assert (every.total, every.open, every.kinds) == (3, 2, {"leaking": 1, "slow_host": 1, "throttled": 1})
    assert [row.anomaly.kind for row in library.anomalies(page=2, size=2).anomalies] == ["throttled"]
    one = library.anomalies(only(library).study, "leaking")
    assert ([row.anomaly.kind for row in one.anomalies], one.total, one.kinds) == (["leaking"], 1, every.kinds)
    with pytest.raises(NotFoundError):
        library.anomalies("nobody")


def test_actions_stand_at_the_anomaly_that_they_name_or_else_at_that_of_their_attempt(library: Library) -> None:
    avoided, tried, ended, limited = made.acted()
    rows = by_kind(library)
    assert [each.action.action_id for each in rows["slow_host"].actions] == [avoided.action_id]
    assert [each.action.action_id for each in rows["throttled"].actions] == [tried.action_id]
    assert rows["leaking"].actions == []
    every = library.anomalies().actions
    assert [each.action.action_id for each in every] == [each.action_id for each in (limited, ended, tried, avoided)]
    assert [each.action.state for each in every] == ["failed", "done", "done", "done"]


def test_what_holds_and_can_be_taken_back_has_the_command_for_it(library: Library, home: Path) -> None:
    undo = {each.action.what: each.undo for each in library.anomalies().actions}
    avoided = made.acted()[0].action_id
    assert undo["avoid_host"] == f"panorama adapt undo {home} {avoided}"
    assert undo["retry_attempt"] is None
    assert undo["set_running"] is None


def test_an_action_that_names_no_known_anomaly_stands_at_those_of_its_host(tmp_path: Path) -> None:
    home = made.found(tmp_path / "a b")
    with_space = Actions(home / client.FOLDER)
    with_space.record(Action(action_id="ab", what="avoid_host", reason="why", anomaly="0" * 32, host="node7", t=1.0))
    with_space.close()
    with Library([home], cache=None) as library:
        [again] = [each for each in by_kind(library)["leaking"].actions if each.action.action_id == "ab"]
        assert again.undo == f"panorama adapt undo '{home}' ab"


def test_a_run_and_a_job_have_what_was_found_in_them(library: Library) -> None:
    study = only(library).study
    run = library.workflow(study, made.wf_uuid(1))
    assert [row.anomaly.kind for row in run.anomalies] == ["slow_host", "leaking", "throttled"]
    assert [row.action.what for row in run.actions] == ["retry_attempt"]
    of_job = library.job(study, made.wf_uuid(1), "simulate").anomalies
    assert [row.anomaly.kind for row in of_job] == ["slow_host", "leaking", "throttled"]
    of_other = library.job(study, made.wf_uuid(1), "prepare").anomalies
    assert [row.anomaly.kind for row in of_other] == ["slow_host"]  # it ran there
    assert library.workflow(study, made.wf_uuid(2)).anomalies == []
    assert [row.action.what for row in library.workflow(study, made.wf_uuid(3)).actions] == ["stop_evaluation"]


def test_the_summary_counts_them_and_an_evaluation_that_was_ended_early(library: Library) -> None:
    summary = only(library)
    assert (summary.anomalies, summary.anomalies_open, summary.actions) == (3, 2, 4)
    assert (summary.evaluations, summary.done, summary.failed, summary.stopped) == (3, 2, 0, 1)
    row = library.evaluations(summary.study, {"found-3"})[0]
    assert (row.state, row.failed, row.over) == ("stopped", False, True)
    assert summary.best_evaluation == "found-1"


def test_what_is_found_appears_in_documents_and_in_all_topics(growing: Growing) -> None:
    with Library([growing.home], cache=None) as library:
        study = only(library).study
        assert library.workflow(study, GROWN).anomalies == []
        library.changes()
        growing.find(STALLED)
        changes = library.changes()
        [change] = told(changes, "anomalies")
        assert isinstance(change, AnomalyChange)
        assert [row.anomaly for row in change.anomalies] == [STALLED]
        [moved] = told(changes, f"study/{study}")
        assert isinstance(moved, StudyChange)
        assert (moved.summary.anomalies, [row.anomaly for row in moved.anomalies]) == (1, [STALLED])
        of_run = told(changes, f"workflow/{study}/{GROWN}")[0]
        assert isinstance(of_run, WorkflowChange)
        assert (of_run.anomalies, of_run.anomalies_open) == (1, 1)
        assert [row.anomaly for row in library.workflow(study, GROWN).anomalies] == [STALLED]
        assert [row.anomaly for row in library.job(study, GROWN, "first").anomalies] == [STALLED]
        growing.find(msgspec.structs.replace(STALLED, phase="over", found=1795400050.0))
        assert told(library.changes(), "anomalies")[0].anomalies[0].over == 1795400050.0
        assert told(library.changes(), "anomalies") == []


def test_what_is_done_appears_at_its_anomaly(growing: Growing) -> None:
    growing.find(STALLED)
    with Library([growing.home], cache=None) as library:
        library.changes()
        actions = Actions(growing.home / client.FOLDER)
        action = Action(action_id="ab", what="retry_attempt", reason="stalled", anomaly=STALLED.anomaly_id)
        intended = actions.record(action)
        [change] = told(library.changes(), "anomalies")
        assert [row.action.state for row in change.actions] == ["intended"]
        assert [row.action.state for row in change.anomalies[0].actions] == ["intended"]
        actions.record(intended, state="done")
        actions.close()
        assert told(library.changes(), "anomalies")[0].anomalies[0].actions[0].action.state == "done"
        assert told(library.changes(), "anomalies") == []
        assert only(library).actions == 1


def test_actions_are_read_again_only_when_their_file_has_changed(
    growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counted(folder: Path) -> list[Action]:
        reads.append(folder)
        return read(folder)

    monkeypatch.setattr("panorama_driver.web._anomalies.read", counted)
    actions = Actions(growing.home / client.FOLDER)
    with Library([growing.home], cache=None) as library:
        before = len(reads)
        for _ in range(5):
            library.changes()
        assert len(reads) == before
        actions.record(Action(action_id="ab", what="set_running", reason="it waits", value=1, before=2))
        library.changes()
        library.changes()
        assert len(reads) == before + 1
    actions.close()


def test_after_a_restart_over_a_cache_nothing_is_stale(growing: Growing, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Library([growing.home], cache=cache) as library:
        study = only(library).study
        library.metrics(study, GROWN)
    growing.find(STALLED)
    with Library([growing.home], cache=cache) as library:
        assert only(library).anomalies == 1
        assert [row.anomaly for row in library.workflow(study, GROWN).anomalies] == [STALLED]


def test_of_a_store_that_was_replaced_the_new_one_counts(tmp_path: Path) -> None:
    path, other = tmp_path / "runs.db", tmp_path / "other.db"
    for name, kind in ((path, "stalled"), (other, "leaking")):
        with open_store(name) as store:
            store.put([as_event(msgspec.structs.replace(STALLED, kind=kind))])
    with Library([path], cache=None) as library:
        assert list(library.anomalies().kinds) == ["stalled"]
        for beside in ("-wal", "-shm"):
            (tmp_path / f"runs.db{beside}").unlink(missing_ok=True)
        shutil.move(other, path)
        library.changes()
        assert list(library.anomalies().kinds) == ["leaking"]
        assert only(library).anomalies == 1


def test_of_a_store_the_label_stands_for_the_evaluation(tmp_path: Path) -> None:
    with open_store(tmp_path / "runs.db") as store:
        store.put([as_event(STALLED)])
    with Library([tmp_path / "runs.db"], cache=None) as library:
        [row] = library.anomalies().anomalies
        assert (row.evaluation, row.eval_id) == (GROWN, GROWN)


def test_what_an_enemy_wrote_costs_a_line_and_nothing_else(tmp_path: Path) -> None:
    with Library([hostile(tmp_path / "hostile")], cache=None) as library:
        every = library.anomalies(size=500)
        assert every.total == 2 * len(HOSTILE)
        assert len(every.actions) == len(HOSTILE)
        [problem] = every.problems
        assert f"{2 * len(HOSTILE)} events tell of no anomaly" in problem


@pytest.mark.parametrize("what", ["pipe", "folder", "large"])
def test_a_file_of_actions_that_is_none_is_told(growing: Growing, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = growing.home / client.FOLDER / "actions.jsonl"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.write_text("no step\n")
        monkeypatch.setattr(_anomalies, "_LARGEST", 1)
    with Library([growing.home], cache=None) as library:
        [problem] = library.anomalies().problems
        assert "it is no file of actions" in problem


def test_an_anomaly_of_a_job_that_the_run_does_not_know_changes_none_of_its_numbers() -> None:
    run = Run().start(0).jobs("a").attempt("a", 1, 0, 1, 5).end(9)
    ghost = msgspec.structs.replace(STALLED, wf_uuid=WF, job_id="ghost", found=500.0)
    of_host = msgspec.structs.replace(ghost, kind="slow_host", job_id=None, attempt=None)
    assert correlate([*run.events, as_event(ghost), as_event(of_host)]) == correlate(run.events)


def test_the_live_stream_tells_of_them_to_whoever_follows(growing: Growing) -> None:
    with Library([growing.home], cache=None) as library, Dashboard(library, port=0) as serving:
        cursor = ask(serving, "/api/anomalies").headers["x-panorama-cursor"]
        growing.find(STALLED)
        with streaming(serving, f"?topic=anomalies&last={cursor}") as stream:
            [event] = stream.wait(lambda events: len(events) > 0)
        assert event.json["topic"] == "anomalies"
        assert [row["anomaly"]["kind"] for row in event.json["data"]["anomalies"]] == ["stalled"]


@pytest.mark.parametrize(
    ("query", "status"), [("", 200), ("?kind=", 200), ("?kind=stalled", 200), ("?kind=odd", 400), ("?study=odd", 404)]
)
def test_the_api_takes_kinds_and_studies_that_there_are(library: Library, query: str, status: int) -> None:
    with Dashboard(library, port=0) as serving:
        assert ask(serving, f"/api/anomalies{query}").status == status


def test_what_the_detector_has_found_stands_where_it_found_it(tmp_path: Path) -> None:
    path, anomaly = made.detected(tmp_path / "runs.db")
    with Library([path], cache=None) as library:
        [row] = library.anomalies().anomalies
        assert (row.anomaly, row.over) == (anomaly, None)
        assert row.anomaly.kind == "stalled"
        of_job = library.job(only(library).study, anomaly.wf_uuid, anomaly.job_id or "").anomalies
        assert [each.anomaly_id for each in of_job] == [row.anomaly_id]
