"""The library: which studies there are, how they stand, what their evaluations gave and cost, and what has moved."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import NotFoundError, StoreError
from panorama_driver.events import Event
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.web import Library, _library
from panorama_driver.web._numbers import Numbers, Runs
from panorama_driver.web._studies import StudySource
from panorama_driver.web.documents import EvaluationRow, StudyChange, StudyDocument, StudySummary, WorkflowChange
from tests.metrics.runs import WF, Run
from tests.web import stores
from tests.web.defects import renamed

MakeStudy = Callable[..., Path]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of the embedded engine in it, whose server has ended."""
    home = stores.embedded(tmp_path_factory.mktemp("ran") / "embedded")
    wait_for(lambda: not (home / ".panorama/server.sock").exists())
    return home


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stores.captures(tmp_path_factory.mktemp("recorded") / "captures.db")


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def only(library: Library) -> StudySummary:
    [summary] = library.studies().studies
    return summary


def all_read(library: Library, study: str) -> bool:
    return not library.study(study).unread


def whole(library: Library) -> StudyDocument:
    """The only study, once all its runs are read."""
    study = only(library).study
    wait_for(lambda: not library.study(study).unread)
    return library.study(study)


def values(document: StudyDocument, row: EvaluationRow) -> dict[str, Any]:
    return dict(zip([column.name for column in document.columns], row.values, strict=True))


def told(*words: str, code: int = 0) -> Any:
    """What the command line answers as JSON."""
    done = subprocess.run(["panorama", *words, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def listing(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {str(path): path.lstat() for path in [folder, *folder.rglob("*")]}
    return {path: (at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_mode) for path, at in found.items()}


def locked() -> set[int]:
    """Inodes of the files that a process has locked."""
    with contextlib.suppress(FileNotFoundError):
        return {int(line.split()[-3].rpartition(":")[2]) for line in Path("/proc/locks").read_text().splitlines()}
    return set()


def journal(home: Path, *steps: dict[str, Any]) -> Path:
    """A study directory with these steps in its journal."""
    (home / ".panorama").mkdir(parents=True, exist_ok=True)
    with (home / ".panorama/journal.jsonl").open("a") as file:
        file.writelines(json.dumps({"t": 1.0, **step}) + "\n" for step in steps)
    return home


def step(key: str, state: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {"key": key, "eval_id": key, "variables": {"x": 0.5}, "state": state, **more}


def test_studies_are_found_in_folders_down_to_depth_three(tmp_path: Path) -> None:
    for place in (
        "a",
        "b/c",
        "b/d/e",
        "b/d/f/too-deep",
        ".hidden/a",
        "workdir.3/a",
        "bundle/a",
        "a/evaluations/within",
    ):
        journal(tmp_path / place, step("1"))
    (tmp_path / "bundle/bundle.json").touch()
    (tmp_path / "defined/.panorama").mkdir(parents=True)
    (tmp_path / "defined/study.yml").touch()
    (tmp_path / "never-run").mkdir()
    (tmp_path / "never-run/study.yml").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    with Library([tmp_path]) as library:
        assert sorted(found.name for found in library.studies().studies) == ["a", "c", "defined", "e"]


def test_a_path_named_on_the_command_line_is_listed_whatever_is_there(tmp_path: Path) -> None:
    (tmp_path / "never-run").mkdir()
    (tmp_path / "never-run/study.yml").touch()
    (tmp_path / "rubbish.db").write_text("no store")
    with open_store(tmp_path / "good.db"):
        pass
    paths = ["never-run", "rubbish.db", "good.db", "missing"]
    with Library([*(tmp_path / path for path in paths), "nosuchengine://localhost:9200/x"]) as library:
        found = {summary.name: summary for summary in library.studies().studies}
    assert {name: (each.kind, each.state) for name, each in found.items()} == {
        "never-run": ("study", "empty"),
        "rubbish.db": ("store", "unreadable"),
        "good.db": ("store", "empty"),
        "missing": ("study", "unreadable"),
        "x": ("store", "unreadable"),
    }
    assert "this is no store" in (found["rubbish.db"].problem or "")
    assert "no such" in (found["missing"].problem or "")
    assert "no engine for this store" in (found["x"].problem or "")


def test_studies_of_one_name_have_addresses_of_their_own(tmp_path: Path) -> None:
    for place in ("a/study", "b/study", "c/<b>&?#%2F\n"):
        journal(tmp_path / place, step("1"))
    with Library([tmp_path]) as library:
        found = [summary.study for summary in library.studies().studies]
        assert len(set(found)) == 3
        for study in found:
            assert study.replace("-", "").replace(".", "").isalnum()
            assert library.study(study).summary.study == study


def test_the_list_is_searched_and_given_in_pages_the_newest_first(tmp_path: Path) -> None:
    for number in range(7):
        journal(tmp_path / f"study{number}", step("1") | {"t": float(number)})
    journal(tmp_path / "other", step("1"))
    with Library([tmp_path]) as library:
        page = library.studies("STUDY finished", page=2, size=3)
        assert ([found.name for found in page.studies], page.total) == (["study3", "study2", "study1"], 7)
        assert library.studies(page=9).studies == []


def test_what_is_new_is_found_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "_LOOK", 0.0)
    with Library([tmp_path]) as library:
        assert library.studies().total == 0
        journal(tmp_path / "new", step("1"))
        wait_for(lambda: "studies" in [change.topic for change in library.changes()])
        assert only(library).name == "new"


def test_a_study_tells_what_the_report_tells(ran: Path) -> None:
    report = told("report", str(ran), code=1)
    with Library([ran]) as library:
        found = whole(library)
    best = found.summary.best_evaluation
    assert [row.key for row in found.evaluations] == [row["evaluation"]["key"] for row in report["rows"]]
    assert (found.summary.objective, found.summary.maximized) == (report["objective"], report["maximized"])
    assert found.truth == report["truth"] == {"x": 0.3}
    assert best == min(report["rows"], key=lambda row: row["evaluation"]["responses"].get("y", 9))["evaluation"]["key"]
    assert (found.summary.evaluations, found.summary.done, found.summary.failed, found.summary.running) == (6, 5, 1, 0)
    assert found.summary.state == "finished"
    names = {column.name for column in found.columns if column.kind == "metric"}
    for row, reported in zip(found.evaluations, report["rows"], strict=True):
        cells = values(found, row)
        assert {name: cells[name] for name in names} == {name: reported["metrics"][name] for name in names}
        assert all(row.reasons[name] == reported["metrics"]["reasons"][name] for name in names if cells[name] is None)
        assert cells["x"] == reported["evaluation"]["variables"]["x"]
        assert cells["y"] == reported["evaluation"]["responses"].get("y")
        assert (row.state, row.message) == (reported["evaluation"]["state"], reported["evaluation"]["message"])


def test_columns_have_their_kinds_and_units(make_study: MakeStudy) -> None:
    home = make_study(responses="{y: {output: result.json, value: y}, waited: workflow.queue_time}")
    journal(home, step("1", variables={"x": 0.1, "pause": 0.5}, responses={"y": 1.0, "waited": 2.0}))
    with Library([home]) as library:
        units = {column.name: (column.kind, column.unit) for column in library.study(only(library).study).columns}
    assert units["x"] == ("parameter", "")
    assert units["pause"] == ("parameter", "s")
    assert units["waited"] == ("response", "s")
    assert units["y"] == ("response", "")
    assert units["peak_memory"] == ("metric", "bytes")
    assert units["cpu_utilization"] == ("metric", "1")


def test_every_value_that_is_not_known_has_its_reason(tmp_path: Path) -> None:
    failed = step("2", "failed", message="no space left", wf_uuid="gone", variables={"n": 3})
    journal(tmp_path, step("1", responses={"y": 1.0}), failed, step("3", "received"))
    with Library([tmp_path]) as library:
        found = library.study(only(library).study)
    for row in found.evaluations:
        lacking = {name for name, value in values(found, row).items() if value is None}
        assert lacking == row.reasons.keys()
        assert all(row.reasons.values())
    assert found.evaluations[1].reasons["y"] == "no space left"
    assert found.evaluations[2].reasons["y"] == "the evaluation goes on"
    assert found.evaluations[2].reasons["makespan"] == "no workflow was started"


def test_evaluations_of_an_earlier_definition_are_left_out_and_counted(tmp_path: Path) -> None:
    journal(tmp_path, *(step(str(number), definition="old" if number < 4 else "new") for number in range(1, 6)))
    with Library([tmp_path]) as library:
        study = only(library).study
        assert (library.study(study).outdated, len(library.study(study).evaluations)) == (3, 2)
        library.changes()
        journal(tmp_path, step("6", definition="newer"))
        [change] = [change.data for change in library.changes() if change.topic == f"study/{study}"]
        assert isinstance(change, StudyChange)
        assert (change.outdated, change.removed) == (5, ["4", "5"])
        assert [row.key for row in change.evaluations] == ["6"]


@pytest.mark.parametrize("senses", ["", "sense 'min' 'max'"])
def test_the_front_is_that_of_the_report_at_every_step(tmp_path: Path, senses: str) -> None:
    open_store(journal(tmp_path) / ".panorama/store.db").close()
    (tmp_path / "study.yml").touch()
    (tmp_path / "study.in").write_text(f"responses\n objective_functions 2\n {senses}\n")
    points = [(4.0, 1.0), (2.0, 2.0), (3.0, 3.0), (1.0, 5.0), (2.0, 4.0), (2.0, 2.0), (0.0, 0.0)]
    with Library([tmp_path]) as library:
        for number, (a, b) in enumerate([*points, (9.0, 9.0)], 1):
            journal(tmp_path, step(str(number % 8), responses={"a": a, "b": b}, message=str(number)))
            library.changes()
            found = library.study(only(library).study).front
            assert found == [each["key"] for each in told("report", str(tmp_path))["front"]["evaluations"]]
        journal(tmp_path, step("7", "failed", responses={}))
        assert library.study(only(library).study).front == [
            each["key"] for each in told("report", str(tmp_path), code=1)["front"]["evaluations"]
        ]


def test_a_store_without_a_study_shows_its_runs(recorded: Path) -> None:
    with Library([recorded]) as library:
        found = whole(library)
        runs = {row.key: row for row in found.evaluations}
        with open_store(recorded, readonly=True) as store:
            known = store.workflows()
        assert list(runs) == [run.wf_uuid for run in known]
        assert found.summary.kind == "store"
        assert "inner (part of outer)" in {row.eval_id for row in runs.values()}
        states = [row.state for row in runs.values()]
        assert found.summary.done == states.count("succeeded") > 0
        assert found.summary.failed == states.count("failed") > 0
        for run in known:
            shown = told("show", run.wf_uuid, "--store", str(recorded), code=int(runs[run.wf_uuid].state == "failed"))
            cells = values(found, runs[run.wf_uuid])
            assert cells == {name: shown["metrics"][name] for name in cells}


def test_looking_creates_changes_and_locks_nothing(ran: Path, recorded: Path) -> None:
    before = listing(ran.parent) | listing(recorded.parent)
    with Library([ran.parent, recorded]) as library:
        for summary in library.studies().studies:
            wait_for(partial(all_read, library, summary.study))
            for row in library.study(summary.study).evaluations[:3]:
                assert row.wf_uuid is not None
                library.workflow(summary.study, row.wf_uuid)
                library.metrics(summary.study, row.wf_uuid)
        library.changes()
        assert listing(ran.parent) | listing(recorded.parent) == before
        assert not locked() & {inode for inode, *_ in before.values()}
    assert listing(ran.parent) | listing(recorded.parent) == before


def can_mount() -> bool:
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


READ_ALL = """
import sys, time
from panorama_driver.web import Library
with Library(sys.argv[1:]) as library:
    [summary] = library.studies().studies
    while library.study(summary.study).unread:
        time.sleep(0.01)
    found = library.study(summary.study)
    print(found.summary.state, sum(row.jobs_done for row in found.evaluations))
"""


@pytest.mark.skipif(not can_mount(), reason="needs a private mount (user namespaces), for a folder nobody may write")
def test_a_study_on_a_readonly_disk_is_read_like_any_other(ran: Path) -> None:
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    words = ["unshare", "-Urm", "sh", "-c", mount, str(ran.parent), sys.executable, "-c", READ_ALL, str(ran.parent)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout == "finished 45\n", done.stderr


def test_a_store_of_an_older_schema_is_listed_with_what_to_do(ran: Path, tmp_path: Path) -> None:
    home = tmp_path / "old"
    shutil.copytree(ran, home)
    base = sqlite3.connect(home / ".panorama/store.db")
    base.execute("PRAGMA user_version = 1")
    base.close()
    with Library([tmp_path]) as library:
        found = library.study(only(library).study)
        assert "open it once for writing" in (found.summary.problem or "")
        assert (found.summary.state, found.summary.done, found.unread) == ("finished", 5, 0)
        assert "open it once for writing" in found.evaluations[0].reasons["makespan"]
        with pytest.raises(StoreError, match="open it once for writing"):
            library.workflow(found.summary.study, found.evaluations[0].wf_uuid or "")


@pytest.mark.parametrize("damage", ["no database", "torn", "missing"])
def test_a_damaged_store_breaks_no_page(ran: Path, tmp_path: Path, damage: str) -> None:
    home = tmp_path / "damaged"
    shutil.copytree(ran, home)
    store = home / ".panorama/store.db"
    if damage == "missing":
        store.unlink()
    elif damage == "torn":
        text = bytearray(store.read_bytes())
        text[8192:-4096] = b"\xff" * (len(text) - 12288)
        store.write_bytes(text)
    else:
        store.write_text("no database")
    with Library([home, ran]) as library:
        for summary in library.studies().studies:
            wait_for(partial(all_read, library, summary.study))
        found = {summary.name: library.study(summary.study) for summary in library.studies().studies}
        assert all(row.jobs_done for row in found["embedded"].evaluations)
        assert len(found["damaged"].evaluations) == 6
        assert all(row.reasons["makespan"] for row in found["damaged"].evaluations)
        assert found["damaged"].summary.best == found["embedded"].summary.best


def test_a_study_whose_definition_is_gone_is_still_shown(ran: Path, tmp_path: Path) -> None:
    home = tmp_path / "gone"
    shutil.copytree(ran, home)
    (home / "study.yml").unlink()
    (home / "study.in").unlink()
    with Library([tmp_path]) as library:
        found = whole(library)
    assert (found.summary.workflow, found.truth, found.summary.done) == (None, {}, 5)
    assert found.summary.best is not None


def test_a_study_is_followed_from_before_its_first_evaluation_to_its_end(make_study: MakeStudy) -> None:
    home = make_study(options="{pause: 0.4}")
    with Library([home]) as library:
        study = only(library).study
        assert only(library).state == "empty"
        assert library.changes()[0].topic == "studies"
        assert library.changes() == []
        requests = [{"eval_id": str(n), "variables": {"x": 0.1 * n}, "asv": {"y": 1}} for n in (1, 2)]
        client.evaluate(str(home / "study.yml"), requests, lambda words: None, until_handed=True)
        seen = Seen(library, study)
        wait_for(lambda: seen.look().done == 2)
        assert seen.summary.state == "running"
        client.request(str(home / "study.yml"), {"op": "stop"})
        wait_for(lambda: seen.look().state == "finished")
        assert {"running", "finished"} <= seen.states
        assert "succeeded" in seen.rows_states
        assert {"submitted", "running"} & seen.rows_states
        wait_for(lambda: seen.look() and set(seen.runs.values()) == {"succeeded"} and len(seen.runs) == 2)
        final = library.study(study)
        assert final.unread == seen.unread == 0
        assert sorted(seen.rows.values(), key=lambda row: row.eval_id) == final.evaluations
        assert seen.columns == final.columns
        assert [(row.jobs, row.jobs_done) for row in final.evaluations] == [(8, 8), (8, 8)]
        assert {topic.split("/")[0] for topic in seen.topics} == {"studies", "study", "workflow"}
        assert seen.runs == {row.wf_uuid: "succeeded" for row in final.evaluations}
        assert library.changes() == []


class Seen:
    """What a page makes of the changes that it is told."""

    def __init__(self, library: Library, study: str) -> None:
        self.library, self.study = library, study
        document = library.study(study)
        self.summary, self.columns, self.unread = document.summary, document.columns, document.unread
        self.rows = {row.key: row for row in document.evaluations}
        self.runs: dict[str | None, str] = {}
        self.states: set[str] = set()
        self.rows_states: set[str] = set()
        self.topics: set[str] = set()

    def look(self) -> StudySummary:
        for change in self.library.changes():
            self.topics.add(change.topic)
            self._take(change.topic, change.data)
        self.states.add(self.summary.state)
        return self.summary

    def _take(self, topic: str, data: Any) -> None:
        if topic == "studies":
            self.summary = data
        elif topic == f"study/{self.study}":
            self.columns, self.unread = data.columns, data.unread
            self.rows |= {row.key: row for row in data.evaluations}
            self.rows_states |= {row.state for row in data.evaluations}
            for key in data.removed:
                self.rows.pop(key, None)
        else:
            self.runs[topic.rpartition("/")[2]] = data.state


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A study whose evaluations take long."""
    home = tmp_path / "slow"
    stop = stores.begin_slow(home, 2, 30.0)
    yield home
    stop()


def test_a_study_whose_server_was_killed_is_interrupted_at_once(slow: Path) -> None:
    with Library([slow]) as library:
        assert only(library).state == "running"
        os.kill(server_pid(slow), signal.SIGKILL)
        wait_for(lambda: only(library).state == "interrupted", 2.0)
        assert [change.topic for change in library.changes()][-2:] == ["studies", f"study/{only(library).study}"]
        assert only(library).running == 2
        requests = [{"eval_id": "1", "variables": {"x": 1.0}, "asv": {"y": 1}}]
        client.evaluate(str(slow / "study.yml"), requests, lambda words: None, until_handed=True)
        assert only(library).state == "running"


def server_pid(home: Path) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if "panorama_driver.study" in words and str(home / "study.yml") in words:
            return int(process.name)
    raise AssertionError("no server")


OWNER = """
import sys
from panorama_driver.study import client
client.evaluate(sys.argv[1], [{"variables": {"x": 1.0}, "asv": {"y": 1}}], print)
"""


def test_who_looks_does_not_keep_a_server_from_ending(make_study: MakeStudy) -> None:
    home = make_study()
    with Library([home]) as library:
        subprocess.run([sys.executable, "-c", OWNER, str(home / "study.yml")], check=True, capture_output=True)
        wait_for(lambda: only(library).state == "finished", 20.0)
        wait_for(lambda: not (home / ".panorama/server.sock").exists(), 5.0)


def test_an_evaluation_runs_once_its_workflow_does(tmp_path: Path) -> None:
    with stores.Growing(tmp_path / "growing") as growing, Library([growing.home]) as library:
        study = only(library).study
        growing.begin(1, x=0.1)
        seen = Seen(library, study)
        wait_for(lambda: seen.look() and [row.state for row in seen.rows.values()] == ["running"])
        assert [row.state for row in library.evaluations(study)] == ["running"]


@pytest.mark.parametrize(("samples", "most"), [(0, 2.0), (1_000_000, 900.0)])
def test_what_was_long_in_the_reading_since_the_machine_is_busy_rests_no_longer_than_it_costs(
    samples: int, most: float
) -> None:
    runs = Runs()
    runs.take("run", Numbers(state="running", jobs_total=20, samples=samples, samples_read=samples), 1, seconds=36.0)
    assert runs._rests_until["run"] - time.monotonic() == pytest.approx(most, abs=0.5)


def test_a_running_workflow_is_read_again_seldom_and_its_last_state_at_once(tmp_path: Path) -> None:
    with stores.Growing(tmp_path / "growing") as growing, Library([growing.home]) as library:
        key = growing.begin(1, x=0.5)
        study, wf_uuid = only(library).study, growing.wf_uuid(1)
        assert library.workflow(study, wf_uuid).metrics.jobs_succeeded == 0
        with library._sources[study].lock:
            library._sources[study].runs._rests_until[wf_uuid] = time.monotonic() + 3600
        growing.end_first(1)
        library.changes()
        assert library.workflow(study, wf_uuid).metrics.jobs_succeeded == 0
        growing.succeed(1, key, 0.25)
        seen = Seen(library, study)
        wait_for(lambda: seen.look() and seen.runs.get(wf_uuid) == "succeeded")
        assert library.study(study).evaluations[0].jobs_done == 2


def test_a_run_that_moves_in_the_store_alone_is_told_though_nobody_reads_it_again(tmp_path: Path) -> None:
    with stores.Growing(tmp_path / "growing") as growing, Library([growing.home]) as library:
        growing.begin(1, x=0.5)
        study, wf_uuid = only(library).study, growing.wf_uuid(1)
        library.workflow(study, wf_uuid)
        growing.end_first(1)
        wait_for(
            lambda: any(
                isinstance(change.data, WorkflowChange) and change.data.jobs_succeeded == 1
                for change in library.changes()
            )
        )


def test_nothing_that_comes_while_it_reads_is_missed(tmp_path: Path) -> None:
    """Many small steps, each committed while another thread reads: in the end all is as in a library made anew."""
    with stores.Growing(tmp_path / "growing") as growing, Library([growing.home]) as library:
        seen = Seen(library, only(library).study)
        for number in range(1, 30):
            key = growing.begin(number, x=float(number))
            seen.look()
            growing.succeed(number, key, float(number))
        wait_for(lambda: seen.look() and not seen.unread and len(seen.runs) == 29)
        wait_for(lambda: seen.look() and set(seen.runs.values()) == {"succeeded"})
        with Library([growing.home]) as fresh:
            document = whole(fresh)
        assert sorted(seen.rows.values(), key=lambda row: int(row.eval_id)) == document.evaluations


def test_hostile_names_are_text_like_any_other(tmp_path: Path) -> None:
    stores.hostile(tmp_path / "hostile")
    with Library([tmp_path]) as library:
        found = whole(library)
        assert {row.values[1] for row in found.evaluations} == set(stores.HOSTILE.values())
        for row in found.evaluations:
            assert row.read
            document = library.workflow(found.summary.study, row.wf_uuid or "")
            for job in document.jobs:
                library.job(found.summary.study, row.wf_uuid or "", job.job_id)


def test_a_run_that_cannot_be_read_costs_its_own_line_alone(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        store.put(renamed(Run().start(0).jobs("a").attempt("a", 1, 0, 1, 2, user=1).end(3), "good", "good"))
        store.put(
            [Event(kind="stampede.job.edge", wf_uuid="bad", ts=0.0, fields={"parent_job_id": {}, "child_job_id": []})]
        )
        store.put([Event(kind="stampede.inv.end", wf_uuid="bad", ts=0.0, job_id="a", attempt=1, fields={"argv": [5]})])
    with Library([tmp_path / "s.db"]) as library:
        found = {row.key: row for row in whole(library).evaluations}
    assert found["good"].state == "succeeded"
    assert found["bad"].reasons["makespan"]


def test_a_study_that_is_at_fault_costs_its_own_line_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "bad"):
        journal(tmp_path / name, step("1"))
    order = StudySource._order

    def at_fault(self: StudySource, moved: set[str]) -> None:
        if self.place.name == "bad":
            raise RuntimeError("made up")
        order(self, moved)

    monkeypatch.setattr(StudySource, "_order", at_fault)
    with Library([tmp_path], cache=None) as library:
        found = {each.name: each for each in library.studies().studies}
        assert {name: each.state for name, each in found.items()} == {"good": "finished", "bad": "unreadable"}
        assert "RuntimeError: made up" in (found["bad"].problem or "")
        library.changes()
        assert library.studies("bad").studies[0].state == "unreadable"
        monkeypatch.setattr(StudySource, "_order", order)
        library._next_look = 0.0
        assert library.studies("bad").studies[0].state == "finished"


def test_nobody_waits_for_a_look_through_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal(tmp_path / "study", step("1"))
    with Library([tmp_path], cache=None) as library:
        begun, ended = threading.Event(), threading.Event()

        def slow(paths: object) -> list[Any]:
            begun.set()
            ended.wait(30)
            return []

        monkeypatch.setattr(_library, "look_through", slow)
        library._next_look = 0.0
        looking = threading.Thread(target=library.changes)
        looking.start()
        try:
            assert begun.wait(10)
            begin = time.monotonic()
            assert only(library).name == "study"
            assert time.monotonic() - begin < 10
        finally:
            ended.set()
            looking.join()


def test_a_store_that_was_replaced_by_one_as_long_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for end in (4.0, 9.0):
        with open_store(tmp_path / "new.db") as store:
            store.put(Run().jobs("a").start(0).attempt("a", 1, 0, 1, 2).end(end).events)
        (tmp_path / "new.db").replace(path)
        if end == 4.0:
            library = Library([path], cache=None)
        study = only(library).study
        assert library.metrics(study, WF).metrics.makespan == end
    library.close()


def test_what_is_not_known_is_told(ran: Path) -> None:
    with Library([ran]) as library:
        found = whole(library)
        study, wf_uuid = found.summary.study, found.evaluations[0].wf_uuid or ""
        for ask in (
            lambda: library.study("nothing"),
            lambda: library.evaluations("nothing"),
            lambda: library.workflow(study, "nothing"),
            lambda: library.job(study, wf_uuid, "nothing"),
            lambda: library.series(study, wf_uuid, "nothing"),
            lambda: library.series(study, wf_uuid, "sh_left", 99),
        ):
            with pytest.raises(NotFoundError, match=r"nothing|99"):
                ask()


@pytest.mark.measures
def test_a_study_of_ten_thousand_evaluations_is_usable(tmp_path: Path) -> None:
    every = (step(str(number), responses={"y": number / 7}, wf_uuid=f"w{number}") for number in range(1, 10_001))
    journal(tmp_path, *every)
    with Library([tmp_path]) as library:
        study = only(library).study
        taken = timed(lambda: library.study(study))
        library.changes()
        idle = min(timed(library.changes) for _ in range(20))
        one = []
        for number in range(5):
            journal(tmp_path, {"key": str(number + 1), "responses": {"y": 0.5}})
            one.append(timed(library.changes))
    assert idle < 0.001, f"measured {idle:.6f} s where nothing moved"
    assert min(one) < 0.2, f"measured {min(one):.4f} s for a step"
    assert taken < 1.5, f"measured {taken:.3f} s for all"


def timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin
