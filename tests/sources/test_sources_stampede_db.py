"""The stampede database of a run tells what monitord told, as far as it holds it."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.metrics import correlate
from panorama_driver.sources import expand, stampede_db
from tests.captured import told_live, unpacked

RUNS = ["mini-events", "mini-fail", "slurm-ok", "slurm-timeout", "slurm-pend", "slurm-badpart", "hierarchical"]
ABSENT = {"stampede.static.start", "stampede.static.end", "stampede.static.meta.start", "stampede.static.meta.end"} | {
    "stampede.job_inst.composite",
    "stampede.task.monitoring",
}
"""Kinds of monitord's that the database does not hold."""
NOT_KEPT = {"level", "dax_index"}


def told(path: Path) -> tuple[dict[str, Event], list[str]]:
    problems: list[str] = []
    events = [event for raw in stampede_db.read(path, problems.append) for event in expand(raw)]
    assert len({event.event_id for event in events}) == len(events)
    return {event.event_id: event for event in events}, problems


@pytest.mark.parametrize("run", RUNS)
def test_its_events_are_those_that_monitord_sent(run: str, tmp_path: Path) -> None:
    live = told_live(run, tmp_path)
    kept, problems = told(unpacked(f"databases/{run}.stampede.db.gz", tmp_path))
    assert kept.keys() <= live.keys()
    lost = Counter(event.kind for id_, event in live.items() if id_ not in kept and event.kind.startswith("stampede."))
    if run == "hierarchical":
        assert lost.pop("stampede.rc.meta") == 25
        assert "18 notes on files do not tell which workflow's they are" in problems[0]
    assert set(lost) <= ABSENT


@pytest.mark.parametrize("run", RUNS)
def test_what_it_holds_of_an_event_is_what_was_sent(run: str, tmp_path: Path) -> None:
    live = told_live(run, tmp_path)
    kept, _ = told(unpacked(f"databases/{run}.stampede.db.gz", tmp_path))
    for event_id, event in kept.items():
        sent = live[event_id]
        assert event.ts in (sent.ts, None)
        assert event.fields.items() <= sent.fields.items()
        unsaid = sent.fields.keys() - event.fields.keys() - NOT_KEPT
        assert unsaid <= ({"exitcode"} if event.kind == "stampede.job_inst.main.end" else set())


@pytest.mark.parametrize("run", [run for run in RUNS if run != "hierarchical"])
def test_metrics_are_the_same_in_what_it_can_know(run: str, tmp_path: Path) -> None:
    kept, _ = told(unpacked(f"databases/{run}.stampede.db.gz", tmp_path))
    sent = [event for event in told_live(run, tmp_path).values() if event.kind.startswith("stampede.")]
    by_database, by_broker = correlate(kept.values()), correlate(sent)
    for key in ("state", "start", "end", "makespan", "jobs_total", "jobs_succeeded", "jobs_failed", "critical_path"):
        assert getattr(by_database, key) == getattr(by_broker, key), key
    for job, same in zip(by_database.jobs, by_broker.jobs, strict=True):
        for key in ("job_id", "state", "queue_time", "wall_time", "cpu_time", "peak_memory", "site", "retries"):
            assert getattr(job, key) == getattr(same, key), (job.job_id, key)


def test_it_is_not_written_to_and_may_lie_where_nobody_may_write(tmp_path: Path) -> None:
    path = unpacked("databases/mini-fail.stampede.db.gz", tmp_path)
    before = path.read_bytes()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(told(path)[0]) == 71
        assert sorted(tmp_path.iterdir()) == [path]
    finally:
        tmp_path.chmod(0o755)
    assert path.read_bytes() == before


def test_it_is_read_while_monitord_writes(tmp_path: Path) -> None:
    path = unpacked("databases/mini-fail.stampede.db.gz", tmp_path)
    with sqlite3.connect(path) as monitord:
        monitord.execute("UPDATE jobstate SET timestamp = 0")
        assert 0 not in {event.ts for event in told(path)[0].values()}
    monitord.close()


def test_what_is_missing_or_damaged_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    path = unpacked("databases/mini-fail.stampede.db.gz", tmp_path)
    with sqlite3.connect(path) as base:
        base.execute("DROP TABLE integrity")
        base.execute("ALTER TABLE invocation DROP COLUMN avg_cpu")
    base.close()
    events, problems = told(path)
    assert len(events) == 71
    assert problems == [f"{path}: no table 'integrity'"]


def test_a_view_in_place_of_a_table_is_not_asked(tmp_path: Path) -> None:
    path = unpacked("databases/mini-fail.stampede.db.gz", tmp_path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS wf_id FROM n"
    with sqlite3.connect(path) as base:
        base.execute("DROP TABLE job_edge")
        base.execute(f"CREATE VIEW job_edge AS {endless}")
    base.close()
    assert told(path)[1] == [f"{path}: no table 'job_edge'"]


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be looked at" * 9])
def test_what_is_no_stampede_database_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.stampede.db"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="no stampede database"):
        told(path)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        told(tmp_path / "gone.db")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0, 266_239), st.binary(min_size=1, max_size=40)), min_size=1, max_size=8))
def test_no_damage_brings_anything_but_events_and_words(damage: list[tuple[int, bytes]], tmp_path: Path) -> None:
    path = unpacked("databases/mini-events.stampede.db.gz", tmp_path)
    with path.open("r+b") as file:
        for place, content in damage:
            os.pwrite(file.fileno(), content, place)
    try:
        records: list[dict[str, Any]] = list(stampede_db.read(path))
    except FormatError:
        return
    msgspec.json.encode(records)
