"""Tables hold what metrics say of the same runs, and nothing else; what is kept is what is there now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from panorama_driver.analysis import Anomaly, as_event
from panorama_driver.metrics import AttemptMetrics, JobMetrics, Measures, TransferMetrics, WorkflowMetrics, correlate
from panorama_driver.metrics.records import DarshanSummary, TcpSummary
from panorama_driver.questions import TABLES, Place, Questions, _columns, _kept, _reading
from panorama_driver.store import open_store
from panorama_driver.study.client import FOLDER
from panorama_driver.study.journal import Journal
from tests.captured import LIVE, told_live
from tests.questions.studies import Made, Try, asked, events, run_of, study
from tests.web import stores

_NESTED = {"reasons", "sources", "jobs", "tasks", "attempts", "darshan", "tcp"}


def scalars(record: type[msgspec.Struct], *without: str) -> set[str]:
    """Fields that are one value."""
    nested = _NESTED | {"problems", "posix", "stdio", "mpiio", "h5f", "h5d", "lustre", "largest_files", *without}
    return set(record.__struct_fields__) - nested


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        (_columns.MEASURES, scalars(Measures)),
        (_columns.ATTEMPT, scalars(AttemptMetrics, "job_id") - scalars(Measures)),
        (_columns.OF_JOB, {"attempts", "retries", *scalars(JobMetrics, "job_id") - scalars(Measures)}),
        (_columns.WORKFLOW, scalars(WorkflowMetrics, "wf_uuid")),
        (_columns.TRANSFER, scalars(TransferMetrics)),
        (_columns.DARSHAN, scalars(DarshanSummary)),
        (_columns.TCP, scalars(TcpSummary)),
    ],
)
def test_every_field_of_the_records_has_a_column_and_no_column_is_made_up(columns: Any, fields: set[str]) -> None:
    assert {c.name for c in columns if not c.name.startswith(("darshan_", "tcp_"))} == fields


def test_no_table_has_a_column_twice() -> None:
    for table in TABLES:
        assert len({column.name for column in table.columns}) == len(table.columns), table.name


# --- the same as metrics ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of recorded runs of a real Pegasus, and of recorded Darshan logs."""
    return stores.captures(tmp_path_factory.mktemp("captures") / "captures.db")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of what monitord sent."""
    folder = tmp_path_factory.mktemp("live")
    with open_store(folder / "live.db") as store:
        for run in LIVE:
            store.put(told_live(run, folder).values())
    return folder / "live.db"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that the embedded engine has run, with an evaluation that failed."""
    return stores.embedded(tmp_path_factory.mktemp("embedded") / "study")


@pytest.fixture(params=["captures", "live", "embedded"])
def place(request: pytest.FixtureRequest) -> Place:
    path: Path = request.getfixturevalue(request.param)
    folder = path / FOLDER
    return Place("it", str(folder / "store.db"), folder) if path.is_dir() else Place("it", str(path))


def test_every_value_is_that_of_the_metrics_of_the_run(place: Place) -> None:
    with Questions([place], None) as questions, open_store(place.store, readonly=True) as store:
        runs = store.workflows()
        assert questions.sql("SELECT count(*) FROM workflows").rows == [(len(runs),)]
        for run in runs:
            metrics = correlate(store.events(run.wf_uuid))
            whose = f"WHERE wf_uuid = '{run.wf_uuid}'"
            [workflow] = records(questions, f"SELECT * FROM workflows {whose}")
            same(workflow, metrics, _columns.WORKFLOW)
            jobs = {row["job_id"]: row for row in records(questions, f"SELECT * FROM jobs {whose}")}
            tries = records(questions, f"SELECT * FROM attempts {whose}")
            by_attempt = {(row["job_id"], row["attempt"]): row for row in tries}
            assert len(jobs) == len(metrics.jobs)
            assert len(tries) == len(by_attempt) == sum(len(job.attempts) for job in metrics.jobs)
            for job in metrics.jobs:
                same(jobs[job.job_id], job, _columns.MEASURES)
                assert jobs[job.job_id]["attempts"] == len(job.attempts)
                for attempt in job.attempts:
                    row = by_attempt[job.job_id, attempt.attempt]
                    same(row, attempt, (*_columns.ATTEMPT, *_columns.MEASURES))
                    same({c.name: row[f"workflow_{c.name}"] for c in _columns.WORKFLOW}, metrics, _columns.WORKFLOW)
                    assert (row["job_state"], row["job_retries"]) == (job.state, job.retries)
                    assert row["last"] == (attempt is job.attempts[-1])


def records(questions: Questions, sql: str) -> list[dict[str, Any]]:
    answer = questions.sql(sql)
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def same(row: dict[str, Any], record: Any, columns: tuple[_columns.Column, ...]) -> None:
    for column in columns:
        assert row[column.name] == expected(record, column.name), column.name


def expected(record: Any, name: str) -> Any:
    for whole in ("darshan", "tcp"):
        if name.startswith(f"{whole}_"):
            part = getattr(record, whole)
            return None if part is None else getattr(part, name.removeprefix(f"{whole}_"))
    value = getattr(record, name)
    return msgspec.json.encode(value).decode() if isinstance(value, tuple) else value


def test_recorded_transfers_and_darshan_logs_are_in(captures: Path) -> None:
    with Questions([Place("it", str(captures))], None) as questions:
        assert questions.sql("SELECT count(*) FROM attempts WHERE darshan_logs > 0").rows[0][0]
        assert questions.sql("SELECT count(*) FROM transfers WHERE source_place LIKE 'file://%'").rows[0][0]
        # A store without a study: its runs stand for evaluations, sub-workflows are part of them.
        known = "SELECT count(*) FROM workflows WHERE root = wf_uuid"
        assert questions.sql("SELECT count(*) FROM evaluations").rows == questions.sql(known).rows


def test_memory_that_was_asked_for_is_what_the_submission_told(live: Path) -> None:
    with Questions([Place("it", str(live))], None) as questions:
        [(least, most)] = questions.sql("SELECT min(memory_asked), max(memory_asked) FROM attempts").rows
        assert isinstance(least, int)
        assert least % 2**20 == 0
        assert most is not None


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each look had to read."""
    seen: list[int] = []
    real = _reading.read_all

    def read_all(store: Any, where: str, runs: list[str]) -> Any:
        seen.append(len(runs))
        return real(store, where, runs)

    monkeypatch.setattr(_kept, "read_all", read_all)
    return seen


def test_only_runs_with_new_events_are_read_again(tmp_path: Path, counted: list[int]) -> None:
    cache, count = tmp_path / "cache", "SELECT count(*), sum(wall_time) FROM attempts"
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]]), Made({"x": 2}, [[Try(3)]])])
    with asked(home, cache=cache) as questions:
        assert questions.sql(count).rows == [(2, 5)]
    with asked(home, cache=cache) as questions:
        assert questions.sql(count).rows == [(2, 5)]
    with open_store(home / FOLDER / "store.db") as store:  # the second goes on
        more = events(Made({"x": 2}, [[Try(3)], [Try(5)]]), run_of(home, 2))
        store.put(more)
    with asked(home, cache=cache) as questions:
        assert questions.sql(count).rows == [(3, 10)]
        fresh = correlate(_events(home, 2))
        [row] = questions.sql(f"SELECT workflow_makespan FROM evaluations WHERE wf_uuid = '{run_of(home, 2)}'").rows
        assert row == (fresh.makespan,)
    assert counted == [2, 1]


def _events(home: Path, number: int) -> Any:
    with open_store(home / FOLDER / "store.db", readonly=True) as store:
        return list(store.events(run_of(home, number)))


def test_an_evaluation_that_has_moved_is_told_as_it_is(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]])])
    with asked(home, cache=tmp_path) as questions:
        assert questions.sql("SELECT state, failed FROM evaluations").rows == [("succeeded", 0)]
    journal = Journal(home / FOLDER)
    journal.record(f"{1:032x}", state="timeout")
    journal.record(f"{2:032x}", state="received", eval_id="2", variables={"y": "text"}, definition="one")
    journal.close()
    with asked(home, cache=tmp_path) as questions:
        found = questions.sql("SELECT evaluation, state, failed, x_x, x_y, wf_uuid IS NULL FROM evaluations").rows
        assert found == [("1", "timeout", 1, 1, None, 0), ("2", "received", None, None, "text", 1)]


def test_another_store_in_the_same_place_is_read_anew(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]])])
    with asked(home, cache=tmp_path) as questions:
        assert questions.sql("SELECT wall_time FROM attempts").rows == [(2,)]
    other = study(tmp_path / "other" / "one", [Made({"x": 1}, [[Try(7)]]), Made({"x": 2}, [[Try(8)]])])
    shutil.rmtree(home)
    other.rename(home)
    with asked(home, cache=tmp_path) as questions:
        assert questions.sql("SELECT wall_time FROM attempts ORDER BY 1").rows == [(7,), (8,)]
    (home / FOLDER / "store.db").unlink()
    with asked(home, cache=tmp_path) as questions:
        assert questions.sql("SELECT count(*) FROM attempts").rows == [(0,)]
        assert questions.sql("SELECT count(*) FROM evaluations").rows == [(2,)]


def test_a_store_that_went_back_to_a_backup_is_read_anew(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]])])
    store, backup = home / FOLDER / "store.db", tmp_path / "backup.db"
    shutil.copy(store, backup)
    with open_store(store) as opened:
        opened.put(events(Made({}, [[Try(9)]]), run_of(home, 2)))
    with asked(home, cache=tmp_path) as questions:
        assert questions.sql("SELECT count(*) FROM attempts").rows == [(2,)]
    shutil.copy(backup, store)
    with open_store(store) as opened:
        opened.put(events(Made({}, [[Try(4)], [Try(5)]]), run_of(home, 3)))
    with asked(home, cache=tmp_path) as questions:
        assert questions.sql("SELECT wall_time FROM attempts ORDER BY 1").rows == [(2,), (4,), (5,)]


def test_a_damaged_cache_is_made_anew_and_one_that_cannot_be_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]])])
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / _kept.NAME).write_bytes(b"no database" * 1000)
    for folder, told in ((cache, ""), (home / "study.yml" / "below", "cannot be used")):
        (home / "study.yml").touch()
        with asked(home, cache=folder) as questions:
            assert questions.sql("SELECT wall_time FROM attempts").rows == [(2,)]
        assert told in caplog.text
    assert (cache / _kept.NAME).stat().st_mode & 0o777 == 0o600


def test_what_nobody_asks_for_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (study(tmp_path / name, [Made({"x": 1}, [[Try(2)]])]) for name in ("one", "two"))
    with asked(one, cache=tmp_path):
        pass
    monkeypatch.setattr(_kept, "ROOM", 1)
    with asked(two, cache=tmp_path) as questions:
        assert questions.sql("SELECT study FROM attempts").rows == [("two",)]
        assert questions._guarded._connection.execute("SELECT count(*) FROM _workflows").fetchone() == (1,)


def test_many_runs_are_read_by_several_processes_and_no_run_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = study(tmp_path / "one", [Made({"x": x}, [[Try(1 + x)]]) for x in range(10)])
    monkeypatch.setattr("panorama_driver.questions._reading._FEW", 2)
    monkeypatch.setattr("panorama_driver.questions._reading._BATCH", 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    told: list[tuple[int, int]] = []
    place = Place("one", str(home / FOLDER / "store.db"), home / FOLDER)
    with Questions([place], tmp_path, lambda done, of: told.append((done, of))) as questions:
        assert questions.sql("SELECT sum(wall_time - x_x), count(*) FROM attempts").rows == [(10, 10)]
    assert told == [(0, 10), (10, 10)]


# --- studies as they come --------------------------------------------------------------------------------------------


def test_a_study_that_runs_tells_what_is_known_and_null_of_the_rest(tmp_path: Path) -> None:
    with stores.Growing(tmp_path / "growing") as growing:
        growing.begin(1, x=0.5)
        with asked(growing.home, cache=tmp_path) as questions:
            wanted = "x_x, evaluation_state, evaluation_failed, state, wall_time, job_id"
            assert questions.sql(f"SELECT {wanted} FROM attempts").rows == [
                (0.5, "submitted", None, "running", None, "first")
            ]
            assert questions.sql("SELECT state FROM jobs ORDER BY job_id").rows == [("running",), ("unsubmitted",)]
        growing.end_first(1)
        with asked(growing.home, cache=tmp_path) as questions:
            assert questions.sql("SELECT state FROM jobs ORDER BY job_id").rows[0] == ("succeeded",)


def test_an_empty_study_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "one" / FOLDER).mkdir(parents=True)
    with asked(tmp_path / "one", cache=tmp_path) as questions:
        for table in TABLES:
            assert questions.sql(f"SELECT * FROM {table.name}").rows == []


def test_several_studies_are_told_apart(tmp_path: Path) -> None:
    one = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]], {"y": 3.0})])
    two = study(tmp_path / "two", [Made({"z": 1}, [[Try(4)]], {"y": 5.0})])
    with asked(one, two, cache=tmp_path) as questions:
        found = questions.sql("SELECT study, evaluation, wall_time, x_x, x_z, r_y FROM attempts ORDER BY study").rows
        assert found == [("one", "1", 2, 1, None, 3), ("two", "1", 4, None, 1, 5)]
    with asked(two, cache=tmp_path) as questions:  # what is kept of the other one is no part of it
        assert questions.sql("SELECT study FROM attempts").rows == [("two",)]
        assert "x_x" not in questions.columns["attempts"]


_HOSTILE = ['a"b', "a'b", "a; DROP TABLE _attempts; --", "X", "x", "x_2", "study", "\0", "é\n", "*", ""]


def test_hostile_names_of_parameters_are_columns_or_rows_and_no_sql(tmp_path: Path) -> None:
    variables = {name: number for number, name in enumerate(_HOSTILE)}
    home = study(tmp_path / "one", [Made(variables, [[Try(2)]], dict.fromkeys(_HOSTILE, 1.5))])
    with asked(home, cache=tmp_path) as questions:
        named = questions.columns["attempts"]
        assert len({name.lower() for name in named}) == len(named)
        row = records(questions, "SELECT * FROM attempts")[0]
        assert row['x_a"b'] == 0
        assert row["x_a; DROP TABLE _attempts; --"] == 2
        assert (row["x_X"], row["x_x_2_2" if "x_x_2_2" in row else "x_x_2"]) == (3, 5)
        told = records(questions, "SELECT name, value FROM parameters")
        assert {each["name"]: each["value"] for each in told} == variables


def test_there_are_no_more_columns_than_sqlite_has(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({f"p{n}": n for n in range(3000)}, [[Try(2)]])])
    with asked(home) as questions:
        assert questions.sql("SELECT x_p7 FROM attempts").rows == [(7,)]
        assert questions.sql("SELECT value FROM parameters WHERE name = 'p2999'").rows == [(2999,)]


def test_hostile_studies_are_tables_like_any(tmp_path: Path) -> None:
    home = stores.hostile(tmp_path / "hostile")
    with asked(home, cache=tmp_path) as questions:
        for table in TABLES:
            questions.sql(f"SELECT * FROM {table.name}")
        assert questions.sql("SELECT count(*) FROM attempts").rows[0][0]


def test_anomalies_and_what_was_done_are_tables(tmp_path: Path) -> None:
    home = study(tmp_path / "one", [Made({"x": 1}, [[Try(2)]])])
    base: dict[str, Any] = {"kind": "stalled", "wf_uuid": run_of(home, 1), "job_id": "job0", "attempt": 1}
    base |= {"since": 10.0, "confidence": 0.9, "message": "stands still", "detector": "online 1", "host": "node1"}
    found = Anomaly(**base, found=12.0)
    with open_store(home / FOLDER / "store.db") as store:
        store.put([as_event(found), as_event(Anomaly(**base, found=20.0, phase="over"))])
    from panorama_driver.adapt import Action, Actions

    actions = Actions(home / FOLDER)
    actions.record(Action(action_id="a1", what="avoid_host", reason="slow", host="node1", evaluation="k"), state="done")
    actions.close()
    with asked(home, cache=tmp_path) as questions:
        told = questions.sql("SELECT evaluation, anomaly, kind, job_id, since, found, over, host FROM anomalies").rows
        assert told == [("1", found.anomaly_id, "stalled", "job0", 10, 12, 20, "node1")]
        done = questions.sql("SELECT what, host, state, key, reason FROM actions").rows
        assert done == [("avoid_host", "node1", "done", "k", "slow")]
