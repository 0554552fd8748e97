"""Documents of one run: the numbers of `panorama show`, what made the run, its jobs, transfers and series."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import pytest

from panorama_driver.collector.completeness import completeness
from panorama_driver.errors import UsageError
from panorama_driver.metrics import Series, correlate, series, transfers
from panorama_driver.store import open_store
from panorama_driver.web import Library, _digest
from panorama_driver.web.documents import WorkflowDocument
from tests.metrics.runs import Run
from tests.web import stores
from tests.web.defects import renamed


class Opened:
    """A library of one study, and that study."""

    def __init__(self, library: Library) -> None:
        self.library = library
        [summary] = library.studies().studies
        self.study = summary.study
        self.runs = {row.eval_id: row.wf_uuid or "" for row in library.study(self.study).evaluations}

    def workflow(self, wf_uuid: str) -> WorkflowDocument:
        return self.library.workflow(self.study, wf_uuid)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the embedded engine; its sixth evaluation has failed."""
    return stores.embedded(tmp_path_factory.mktemp("ran") / "embedded")


@pytest.fixture(scope="module")
def embedded(ran: Path) -> Iterator[Opened]:
    with Library([ran]) as library:
        yield Opened(library)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stores.captures(tmp_path_factory.mktemp("recorded") / "captures.db")


@pytest.fixture(scope="module")
def recorded(store: Path) -> Iterator[Opened]:
    with Library([store]) as library:
        yield Opened(library)


def shown(*words: str) -> str:
    return subprocess.run(["panorama", "show", *words, "--json"], capture_output=True, text=True).stdout


def written(document: msgspec.Struct) -> str:
    """As the command line writes JSON."""
    return json.dumps(msgspec.to_builtins(document), indent=1) + "\n"


def test_metrics_are_byte_for_byte_those_of_show(ran: Path, embedded: Opened) -> None:
    for eval_id, wf_uuid in embedded.runs.items():
        assert written(embedded.library.metrics(embedded.study, wf_uuid)) == shown(eval_id, "--study", str(ran))


def test_metrics_of_recorded_runs_are_those_of_show(store: Path, recorded: Opened) -> None:
    for wf_uuid in recorded.runs.values():
        assert written(recorded.library.metrics(recorded.study, wf_uuid)) == shown(wf_uuid, "--store", str(store))


def test_a_run_has_its_jobs_edges_and_completeness(store: Path, recorded: Opened) -> None:
    with open_store(store, readonly=True) as opened:
        for wf_uuid in recorded.runs.values():
            document, metrics = recorded.workflow(wf_uuid), correlate(opened.events(wf_uuid))
            assert [job.job_id for job in document.jobs] == [job.job_id for job in metrics.jobs]
            assert [job.state for job in document.jobs] == [job.state for job in metrics.jobs]
            assert [[at.start for at in row.attempts] for row in document.jobs] == [
                [at.start for at in job.attempts] for job in metrics.jobs
            ]
            assert document.completeness == completeness(opened, wf_uuid)
            edges = {
                (event.fields["parent_job_id"], event.fields["child_job_id"])
                for event in opened.events(wf_uuid, {"stampede.job.edge"})
            }
            assert {(document.jobs[a].job_id, document.jobs[b].job_id) for a, b in document.edges} == edges
            assert document.metrics.jobs == ()
            assert document.samples == document.samples_read == opened.count(wf_uuid, {"kickstart.inv.online"})


def test_jobs_are_told_in_their_six_states_and_by_their_attempts(tmp_path: Path) -> None:
    names = ("waits", "queued", "held", "runs", "done", "failed", "again")
    run = Run().start(0).jobs(*names)
    for number, name in enumerate(names[1:4], 1):
        run.told(name, number, "job_inst.submit.start", ts=1, sched_id=f"{number}.0")
    run.told("held", 2, "job_inst.held.start", ts=2, sched_id="2.0")
    run.told("runs", 3, "job_inst.main.start", ts=2, sched_id="3.0", site="local")
    run.attempt("done", 5, 1, 2, 3, user=1).attempt("failed", 6, 1, 2, 3, raw_status=256)
    run.attempt("again", 7, 1, 2, 3, raw_status=256).attempt("again", 8, 4, 5, 6, user=1)
    with open_store(tmp_path / "s.db") as store:
        store.put(renamed(run, "w", "states"))
    with Library([tmp_path / "s.db"]) as library:
        jobs = Opened(library).workflow("w").jobs
    assert {job.job_id: (job.state, len(job.attempts)) for job in jobs} == {
        "waits": ("unsubmitted", 0),
        "queued": ("submitted", 1),
        "held": ("held", 1),
        "runs": ("running", 1),
        "done": ("succeeded", 1),
        "failed": ("failed", 1),
        "again": ("succeeded", 2),
    }


def test_provenance_tells_what_really_ran(ran: Path, embedded: Opened) -> None:
    made = embedded.workflow(embedded.runs["6"]).provenance
    assert made.variables == {"x": stores.FAILING_X, "pause": 0.0, "trouble": "fail"}
    assert (made.site, made.engine, made.responses) == ("local", "local", {})
    assert (made.planner or "").startswith("panorama-driver ")
    assert made.submit_host
    assert made.user
    assert made.hosts
    codes = {code.transformation: code for code in made.codes}
    assert codes["sh"].candidate == "sh"
    assert Path(codes["sh"].executable or "").name == "sh"
    assert codes["sh"].jobs == 3
    assert codes["square"].candidate == "bin/square.py"
    assert Path(codes["square"].executable or "").is_relative_to(ran)
    assert codes["pegasus::transfer"].candidate is None


def test_provenance_of_a_recorded_run_is_that_of_its_events(recorded: Opened) -> None:
    made = recorded.workflow(recorded.runs["mini-events"]).provenance
    assert (made.engine, made.planner, made.user, made.submit_host) == ("pegasus", "5.1.3", "wf", "localhost")
    assert made.submit_dir == "/home/runs/m-events/submit/wf/pegasus/mini-events/run0001"
    assert made.site == "condorpool"
    assert "demo::py:1.0" in {code.transformation for code in made.codes}
    assert made.variables == {}


def test_a_journal_cannot_name_a_bundle_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    home = tmp_path / "study"
    key = "0" * 32
    with stores.Growing(home) as growing, Library([home]) as library:
        growing.begin(1, x=0.5)
        bundle = {
            "path": "",
            "workflow": "",
            "workflow_path": "",
            "workflow_digest": "",
            "execution": "",
            "options": {},
        }
        bundle |= {"site": "stolen", "parameters": {"secret": 1}, "programs": {}}
        (tmp_path / "elsewhere/bundle.json").write_text(json.dumps(bundle))
        with (home / ".panorama/journal.jsonl").open("a") as file:
            step = {"t": 1, "key": key, "eval_id": "2", "variables": {}, "wf_uuid": growing.wf_uuid(1)}
            file.write(json.dumps(step | {"directory": "../elsewhere"}) + "\n")
        made = library.workflow(library.studies().studies[0].study, growing.wf_uuid(1)).provenance
    assert made.site != "stolen"
    assert "secret" not in made.variables


def test_a_job_has_its_attempts_side_by_side_with_what_they_said(embedded: Opened) -> None:
    document = embedded.library.job(embedded.study, embedded.runs["6"], "square_last")
    assert [attempt.state for attempt in document.job.attempts] == ["failed", "failed"]
    assert [each.attempt for each in document.details] == [attempt.attempt for attempt in document.job.attempts]
    for attempt in document.details:
        assert (attempt.command or "").endswith("bin/square fail")
        assert "asked to fail" in (attempt.stderr or "")
        assert (attempt.work_dir or "").endswith("scratch")
    assert document.parents == ["sh_left", "sh_right"]
    assert document.children == ["stage_out_local_local_0_0"]


def test_heat_maps_come_from_darshan_logs(recorded: Opened) -> None:
    document = recorded.library.job(recorded.study, recorded.runs[stores.DARSHAN], "four")
    [maps] = [attempt.heatmaps for attempt in document.details if attempt.heatmaps]
    assert {each.module for each in maps} <= {"posix", "stdio", "mpiio"}
    assert all(each.width > 0 and len(each.rows) == len(each.read) == len(each.written) for each in maps)
    assert len(maps[0].rows) == 4


def test_transfers_and_series_are_those_of_metrics(store: Path, recorded: Opened) -> None:
    with open_store(store, readonly=True) as opened:
        for wf_uuid in recorded.runs.values():
            events = list(opened.events(wf_uuid))
            listed = recorded.library.transfers(recorded.study, wf_uuid).transfers
            assert [row.transfer for row in listed] == list(transfers(events))
            check_same(recorded.library.series(recorded.study, wf_uuid).series, series(events))
            for job in correlate(events).jobs[:3]:
                found = recorded.library.series(recorded.study, wf_uuid, job.job_id, width=2.0)
                check_same(found.series, series(events, job.job_id, width=2.0))


def check_same(found: Series, expected: Series) -> None:
    """Equal but for the last digit: the digest adds up in another order."""
    for name in Series.__struct_fields__:
        one, other = getattr(found, name), getattr(expected, name)
        assert one == other or one == pytest.approx(other, rel=1e-12), name


@pytest.mark.parametrize(("attempt", "width"), [(1, None), (None, 0.0), (None, -1.0), (None, float("nan"))])
def test_a_series_that_makes_no_sense_is_refused(embedded: Opened, attempt: int | None, width: float | None) -> None:
    with pytest.raises(UsageError):
        embedded.library.series(embedded.study, embedded.runs["1"], None, attempt, width)


def test_a_long_run_is_shown_at_once_and_whole_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_digest, "_MANY", 100)
    run = Run().start(0).jobs("a").attempt("a", 1, 0, 0, 6000)
    run.trace("a", 1, 0, rchar=list(range(5000)), utime=[float(n) for n in range(5000)], stime=[0.0] * 5000)
    with open_store(tmp_path / "s.db") as store:
        store.put(renamed(run.end(6001), "w", "long"))
    with Library([tmp_path / "s.db"], cache=None) as library:
        study = Opened(library).study
        seen = {library.workflow(study, "w").samples_read}
        wait_for(lambda: library.workflow(study, "w").samples_read == 5000)
        whole = library.workflow(study, "w")
    assert seen <= {0, 5000}
    assert (whole.samples, whole.jobs[0].cpu_time) == (5000, 4999.0)
    assert whole.completeness is not None


def test_what_was_read_is_there_at_once_the_next_time(ran: Path, tmp_path: Path) -> None:
    with Library([ran], cache=tmp_path) as library:
        study = Opened(library).study
        wait_for(lambda: not library.study(study).unread)
        before = library.study(study)
    with Library([ran], cache=tmp_path) as library:
        assert library.study(study) == before


def test_many_threads_may_ask(ran: Path) -> None:
    with Library([ran], cache=None) as library, ThreadPoolExecutor(8) as pool:
        opened = Opened(library)
        answers = list(pool.map(partial(ask_all, opened), range(8)))
    assert answers == [answers[0]] * 8


def ask_all(opened: Opened, _: int) -> list[str]:
    opened.library.changes()
    return [written(opened.library.metrics(opened.study, wf_uuid)) for wf_uuid in opened.runs.values()]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
