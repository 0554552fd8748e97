"""Reports as one HTML file: what is in them, that nothing is fetched, what is left out where room is short."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from panorama_driver.cli.report import command
from panorama_driver.errors import EnvironmentMissingError, NotFoundError, UsageError
from panorama_driver.metrics import correlate
from panorama_driver.store import open_store
from panorama_driver.web._library import Library
from panorama_driver.web._offline import modules, write_study, write_workflow
from tests.metrics.runs import Run
from tests.web import found
from tests.web.defects import DEFECTS, renamed
from tests.web.stores import HOSTILE, Growing

_NAMED = re.compile(r'"(panorama/[^"]+)"')
_SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)
JOBS = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of many jobs, the last of which failed; one with hostile names; one with two attempts of a job."""
    path = tmp_path_factory.mktemp("offline") / "runs.db"
    names = [f"j{number}" for number in range(JOBS)]
    many = Run().start(0).jobs(*names)
    for number, name in enumerate(names):
        many.attempt(name, number, 0, 1, JOBS - number, raw_status=256 * (number == JOBS - 1))
    enemy = "</script><!--<script>\u2028" + HOSTILE["image"]
    told = Run().start(0).jobs(enemy).attempt(enemy, 1, 0, 1, 2).trace(enemy, 1, 1, rchar=[1, 2]).end(3)
    with open_store(path) as opened:
        opened.put(renamed(many.end(JOBS + 1, status=1), "many", "many"))
        opened.put(renamed(told, "enemy", enemy))
        opened.put(DEFECTS[5].events())
    return path


@pytest.fixture
def library(store: Path) -> Iterator[Library]:
    with Library([store]) as opened:
        yield opened


def study_of(library: Library) -> str:
    return library.studies().studies[0].study


def documents(path: Path) -> dict[str, Any]:
    """What a report holds, read as a browser reads it: up to the first end of the element."""
    found = re.search(
        r'<script type="application/json" id="panorama-report">(.*?)</script', path.read_text(), re.DOTALL
    )
    assert found is not None
    held: dict[str, Any] = json.loads(found[1])
    return held


def size(held: dict[str, Any]) -> int:
    return sum(len(json.dumps(each, separators=(",", ":"))) for each in held.values())


def test_every_module_is_reachable_by_its_name_and_none_by_an_address() -> None:
    held = modules()
    seen, new = set(), {"panorama/app.js"}
    while new:
        seen |= new
        new = {name for module in new for name in _NAMED.findall(held[module])} - seen
    assert seen == set(held)
    assert not any(re.search(r'(from|import\(?)\s*"\.', text) for text in held.values())


def test_a_report_of_a_run_holds_its_documents_by_the_addresses_of_the_pages(library: Library, tmp_path: Path) -> None:
    study, run = study_of(library), DEFECTS[5].wf_uuid
    contents = write_workflow(library, study, run, tmp_path / "run.html")
    held, where = documents(tmp_path / "run.html"), f"studies/{study}/workflows/{run}"
    attempts = {f"{where}/series?job=a&attempt={attempt}" for attempt in (3, 4)}
    found = {"anomalies", f"studies/{study}/anomalies"}
    own = {"studies", "start", where, f"{where}/series", f"{where}/transfers", f"{where}/jobs/a"}
    assert set(held) == own | found | attempts
    assert held["start"] == where
    assert [attempt["bytes_read"] for attempt in held[f"{where}/jobs/a"]["job"]["attempts"]] == [100, 30]
    assert contents.size == (tmp_path / "run.html").stat().st_size
    assert contents.words == "the workflow run with 1 of 1 jobs"


def test_its_numbers_are_those_of_the_command_line(library: Library, store: Path, tmp_path: Path) -> None:
    study, run = study_of(library), DEFECTS[5].wf_uuid
    write_workflow(library, study, run, tmp_path / "run.html")
    with open_store(store, readonly=True) as opened:
        metrics = correlate(opened.events(run))
    told = documents(tmp_path / "run.html")[f"studies/{study}/workflows/{run}"]["metrics"]
    assert (told["cpu_time"], told["makespan"]) == (metrics.cpu_time, metrics.makespan)


def test_hostile_names_are_data_and_nothing_else(library: Library, tmp_path: Path) -> None:
    study = study_of(library)
    write_workflow(library, study, "enemy", tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    job = next(value for key, value in documents(tmp_path / "run.html").items() if "/jobs/" in key)
    assert job["job"]["job_id"] == "</script><!--<script>\u2028" + HOSTILE["image"]
    assert "<!--" not in text
    assert "onerror=" not in _SCRIPT.sub("", text)
    assert [kind.split()[0] for kind, _ in _SCRIPT.findall(text) if kind] == [
        'type="importmap"',
        'type="application/json"',
        'type="module"',
    ]


def test_nothing_is_fetched_and_no_script_runs_but_those_of_the_policy(library: Library, tmp_path: Path) -> None:
    write_workflow(library, study_of(library), "many", tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text()
    outside = _SCRIPT.sub("", text)
    assert re.findall(r'(?:src|href)="(?!data:|#|\."|\.")([^"]*)"', outside) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src data: 'sha256-")
    assert "unsafe-eval" not in policy[1]
    assert "http" not in policy[1]
    for kind, script in _SCRIPT.findall(text):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert ("application/json" in kind) != (f"'sha256-{digest}'" in policy[1])


def test_where_room_is_short_jobs_that_failed_and_that_took_longest_come_first(
    library: Library, tmp_path: Path
) -> None:
    study, told = study_of(library), list[str]()
    whole = write_workflow(library, study, "many", tmp_path / "whole.html", progress=told.append)
    assert whole.jobs == whole.jobs_timed == whole.jobs_total == JOBS
    assert f"0 of {JOBS} jobs" in told
    held = documents(tmp_path / "whole.html")
    jobs, series = (size({key: held[key] for key in held if part in key}) for part in ("/jobs/", "/series?"))
    rest = size(held) - jobs - series
    few = write_workflow(library, study, "many", tmp_path / "few.html", bound=rest + jobs // 2)
    assert 1 < few.jobs < JOBS
    assert few.jobs_timed < few.jobs
    kept = [key.rpartition("/")[2] for key in documents(tmp_path / "few.html") if "/jobs/" in key]
    assert kept == [f"j{JOBS - 1}", *(f"j{number}" for number in range(few.jobs - 1))]
    half = write_workflow(library, study, "many", tmp_path / "half.html", bound=rest + jobs + series // 2)
    assert half.jobs == JOBS
    assert 1 < half.jobs_timed < JOBS
    assert f"{JOBS} of {JOBS} jobs, {half.jobs_timed} of them over time" in (tmp_path / "half.html").read_text()


def test_a_report_of_a_study_holds_the_runs_that_tell_most_and_says_which(tmp_path: Path) -> None:
    home = tmp_path / "growing"
    with Growing(home) as growing:
        for number in range(1, 6):
            key = growing.begin(number, x=float(number))
            if number == 3:
                growing.fail(number, key, "it broke")
            else:
                growing.succeed(number, key, abs(number - 2.0))
    with Library([home]) as library:
        study = study_of(library)
        contents = write_study(library, study, tmp_path / "study.html")
    held = documents(tmp_path / "study.html")
    assert contents.chosen == {"best": ["2"], "front": [], "last": ["5"], "failed": ["3"]}
    assert (contents.workflows, contents.workflows_total, contents.failed) == (3, 5, True)
    assert len(held[f"studies/{study}"]["evaluations"]) == 5
    runs = {key.split("/")[3] for key in held if "/workflows/" in key}
    assert runs == {Growing.wf_uuid(number) for number in (2, 3, 5)}
    assert "best: 2; last: 5; failed: 3" in (tmp_path / "study.html").read_text()


def test_a_report_is_there_whole_or_not_at_all(library: Library, tmp_path: Path) -> None:
    (tmp_path / "run.html").write_text("the one before")
    with pytest.raises(NotFoundError):
        write_workflow(library, study_of(library), "nobody's", tmp_path / "run.html")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the one before"]


def test_a_file_that_cannot_be_written_is_named_as_it_was_told(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "report.html"
    with pytest.raises(UsageError, match=f"^{re.escape(str(path))}: cannot be written: No such file"):
        write_workflow(library, study_of(library), "many", path)


def test_without_the_chart_library_it_says_how_to_get_it(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "plotly" else found(name, *more)
    )
    with pytest.raises(EnvironmentMissingError, match=re.escape("pip install 'panorama-driver[web]'")):
        write_workflow(library, study_of(library), "many", tmp_path / "run.html")


# --- the command -----------------------------------------------------------------------------------------------------


def report(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)


def test_the_command_writes_the_run_whose_uuid_begins_so(store: Path, tmp_path: Path) -> None:
    done = report("man", "--store", store, "-o", tmp_path / "run.html")
    assert (done.exception, done.return_value) == (None, 1)
    size = (tmp_path / "run.html").stat().st_size / 2**20
    assert done.stdout == f"page: {tmp_path / 'run.html'} ({size:.1f} MiB), with the workflow run with 30 of 30 jobs\n"
    assert documents(tmp_path / "run.html")["start"].endswith("/workflows/many")


def test_the_command_writes_a_study_and_an_evaluation_by_its_number(tmp_path: Path) -> None:
    home = tmp_path / "growing"
    with Growing(home) as growing:
        growing.succeed(1, growing.begin(1, x=0.5), 2.0)
    done = report(home, "-o", tmp_path / "study.html", "--json")
    assert done.return_value == 0
    assert json.loads(done.stdout)["chosen"] == {"best": ["1"], "front": [], "last": ["1"], "failed": []}
    assert report("1", "--study", home, "-o", tmp_path / "one.HTML").return_value == 0
    assert documents(tmp_path / "one.HTML")["start"].endswith(f"/workflows/{Growing.wf_uuid(1)}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--store", "STORE"), "a store has no table and no picture; name a page with -o report.html"),
        (("--store", "STORE", "-o", "x.png"), "name a page with -o report.html"),
        (("7", "-o", "x.png"), "7: no such directory; of an evaluation or a workflow run, name a page"),
        (("7", "-o", "x.html"), "or name a store with --store"),
        (("nosuch", "--store", "STORE", "-o", "x.html"), "the store knows none that begins so"),
        (("--store", "nosuch.db", "-o", "x.html"), "there is no store there"),
    ],
)
def test_the_command_says_what_it_cannot_do(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = report(*(str(store) if word == "STORE" else word for word in words))
    assert told in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_report_holds_what_was_found_and_what_was_done(tmp_path: Path) -> None:
    with Library([found.found(tmp_path / "found")], cache=None) as library:
        study = study_of(library)
        write_study(library, study, tmp_path / "study.html")
        write_workflow(library, study, found.wf_uuid(1), tmp_path / "run.html")
    whole, run = documents(tmp_path / "study.html"), documents(tmp_path / "run.html")
    for held in (whole, run):
        assert [row["anomaly"]["kind"] for row in held["anomalies"]["anomalies"]] == [
            "slow_host",
            "leaking",
            "throttled",
        ]
        assert held["anomalies"] == held[f"studies/{study}/anomalies"]
    assert [row["action"]["what"] for row in whole["anomalies"]["actions"]][-1] == "avoid_host"
    assert [row["action"]["what"] for row in run["anomalies"]["actions"]] == ["retry_attempt"]
    of_job = run[f"studies/{study}/workflows/{found.wf_uuid(1)}/jobs/prepare"]["anomalies"]
    assert [row["anomaly"]["kind"] for row in of_job] == ["slow_host"]
