"""A run digested: the same numbers as of all its events, light at first, whole afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.collector.completeness import Numbers, completeness
from panorama_driver.collector.submitdir import drain_submit_dir
from panorama_driver.metrics import Measures, WorkflowMetrics, correlate, series, times, transfers
from panorama_driver.sources import darshan
from panorama_driver.sources.darshan import LogReport
from panorama_driver.store import Store, Via, open_store
from panorama_driver.web import _digest
from panorama_driver.web._digest import TAIL, Digest, digest
from panorama_driver.web._heatmaps import heatmaps

from ..captured import CAPTURES
from ..metrics.runs import WF, Run, captured

TRACE = "kickstart.inv.online"


def traced(rows: int = 3000) -> Run:
    """Two jobs with traces and one that moves files, and samples of the second that have got lost."""
    run = Run().jobs("a", "b").jobs("in", type=2).edges(("in", "a"), ("a", "b")).start(0).end(2 * rows + 100)
    run.attempt("in", 1, 0, 1, 9).file("in", 2, 4, 700, attempt=1).file("in", 4, 9, 50, attempt=1)
    run.attempt("a", 2, 10, 11, rows, raw_status=256).attempt("b", 3, rows + 20, rows + 21, rows)
    for job_id, number, start in (("a", 2, 11), ("b", 3, rows + 21)):
        steps = [(i % 50) / 100 for i in range(rows)]
        reads = [4096 * i for i in range(rows)]
        run.trace(job_id, number, start, utime=list(itertools.accumulate(steps)), bread=reads, rss=[9] * rows)
    run.raw = [raw for raw in run.raw if not (raw.get("dag_job_id") == "b" and raw.get("seq") in (5, 6, 9))]
    return run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db") as opened:
        yield opened


def test_its_numbers_are_those_of_all_events(store: Store) -> None:
    events = traced().events
    store.put(events, via=Via.BROKER)
    found = digest(store, WF)
    assert found.metrics == correlate(events)
    assert found.times == times(found.metrics)
    assert tuple(row.transfer for row in found.transfers) == transfers(events)
    assert found.edges == [("a", "b"), ("in", "a")]
    assert found.completeness == completeness(store, WF)
    assert found.completeness is not None
    assert found.completeness.of("kickstart").missing == 3
    assert (found.samples, found.samples_read) == (5997, 5997)


def test_recorded_runs_give_the_same_numbers(store: Store) -> None:
    events = captured("stampede-events-fail.jsonl")
    store.put(events)
    for summary in store.workflows():
        own = [event for event in events if event.wf_uuid == summary.wf_uuid]
        assert digest(store, summary.wf_uuid).metrics == correlate(own)


def test_series_of_run_job_and_attempt_are_those_of_all_samples_where_none_is_left_out(store: Store) -> None:
    events = traced(2000).events
    store.put(events)
    found = digest(store, WF)
    assert found.series() == series(events)
    assert found.series("a") == series(events, "a")
    assert found.series("b", 3, 7.0) == series(events, "b", 3, width=7.0)
    with pytest.raises(ValueError, match="wider than 0"):
        found.series(width=0.0)
    with pytest.raises(ValueError, match="attempt 3 of which job"):
        found.series(attempt=3)


def test_a_transfers_pieces_are_what_it_moved_when(store: Store) -> None:
    store.put(traced(10).events)
    rows = digest(store, WF).transfers
    assert [row.speed for row in rows] == [[(2.0, 4.0, 700.0)], [(4.0, 9.0, 50.0)]]
    assert not any(row.tcp for row in rows)


def test_a_small_run_is_whole_at_once_with_all_its_traces(store: Store) -> None:
    events = traced(100).events
    store.put(events)
    found = digest(store, WF, light=True)
    assert found == digest(store, WF)
    assert found.metrics == correlate(events)
    assert sum(map(len, found.traces)) == found.samples == found.samples_read == 197


def test_a_light_one_tells_what_the_whole_one_tells_or_why_not_yet_and_how_many_samples_there_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_digest, "_MANY", 1000)
    store.put(traced().events)
    found, whole = digest(store, WF, light=True), digest(store, WF)
    assert_tells_no_other(found.metrics, whole.metrics)
    for job, same in zip(found.metrics.jobs, whole.metrics.jobs, strict=True):
        assert_tells_no_other(job, same)
        for attempt, tried in zip(job.attempts, same.attempts, strict=True):
            assert_tells_no_other(attempt, tried)
    assert found.metrics.makespan == 6100
    assert (found.metrics.cpu_time, found.metrics.reasons["cpu_time"]) == (None, "traces are still being read")
    assert (found.samples, found.samples_read) == (5997, 0)
    assert (found.completeness, found.traces) == (None, [])


def assert_tells_no_other(light: WorkflowMetrics | Measures, whole: WorkflowMetrics | Measures) -> None:
    for name in {*light.__struct_fields__} - {"jobs", "attempts", "tasks", "reasons", "sources"}:
        value = getattr(light, name)
        assert value == getattr(whole, name) or (value is None and light.reasons[name]), name


def test_a_run_without_traces_is_whole_at_once(store: Store) -> None:
    store.put(Run().jobs("a").start(0).attempt("a", 1, 0, 1, 2).end(4).events)
    found = digest(store, WF, light=True)
    assert found == digest(store, WF)
    assert found.completeness is not None


def test_a_run_of_which_only_traces_are_known_is_read_all_the_same(store: Store) -> None:
    events = [event for event in traced(1500).events if event.kind == TRACE]
    store.put(events)
    assert digest(store, WF, light=True).metrics == correlate(events)


def test_a_run_that_nobody_knows_is_none(store: Store) -> None:
    with pytest.raises(ValueError, match="exactly one workflow run"):
        digest(store, "no such run")


def test_it_tells_how_far_it_is(store: Store) -> None:
    store.put(traced(12_000).events)
    told: list[int] = []
    digest(store, WF, progress=told.append)
    assert told == [10_000, 20_000]


def test_it_comes_back_from_bytes_as_it_was(store: Store) -> None:
    store.put(traced(100).events)
    found = digest(store, WF)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Digest) == found


def test_an_attempt_has_its_command_its_folder_and_the_end_of_what_it_said(store: Store) -> None:
    run = Run().jobs("a").start(0).attempt("a", 1, 0, 1, 2, raw_status=256).end(4)
    said = {"stdout_text": "first\n" + "ü" * TAIL + "last", "stderr_text": "boom\n100%20 sure", "work_dir": "/scratch"}
    end = next(raw for raw in run.raw if raw["event"].endswith("main.end"))
    program = next(raw for raw in run.raw if raw["event"].endswith("inv.end"))
    end |= said
    program |= {"executable": "/bin/md", "argv": "-n 3"}
    store.put(run.events)
    [details] = digest(store, WF).details["a"]
    assert (details.attempt, details.command, details.work_dir) == (1, "/bin/md -n 3", "/scratch")
    assert details.stderr == "boom\n100%20 sure"
    assert details.stdout is not None
    assert details.stdout.endswith("last")
    assert len(details.stdout.encode()) <= TAIL


def test_what_the_probe_ran_is_the_program_and_not_the_probes_interpreter(store: Store) -> None:
    drain_submit_dir(CAPTURES / "submitdirs" / "clusters", store)
    [known] = store.workflows()
    found = digest(store, known.wf_uuid)
    programs = "/home/user/study/evaluations/0001/bin"
    assert [(code.transformation, code.executable) for code in found.codes if "::" not in code.transformation] == [
        ("join", f"{programs}/join"),
        ("part", f"{programs}/part"),
    ]
    commands = {job_id: details[-1].command for job_id, details in found.details.items()}
    assert commands["join_total"] == f"{programs}/join total.txt joined0.txt joined1.txt"
    assert commands["stage_in_remote_local_0_0"] == "/usr/bin/pegasus-transfer --threads 2"
    assert (commands["merge_group0"] or "").splitlines() == [
        *(f"{programs}/part g0-{number}.txt 0.3 none" for number in (2, 1, 0)),
        f"{programs}/join joined0.txt g0-0.txt g0-1.txt g0-2.txt",
    ]


def test_what_monitord_has_put_into_one_text_is_told_apart(store: Store) -> None:
    run = Run().jobs("a").start(0).attempt("a", 1, 0, 1, 2, raw_status=256).end(4)
    end = next(raw for raw in run.raw if raw["event"].endswith("main.end"))
    end["stdout_text"] = "#@ 1 stdout%0Aabout to%0A%0A#@ 1 stderr%0A oops%0A"
    store.put(run.events)
    [details] = digest(store, WF).details["a"]
    assert details.stdout is not None
    assert details.stderr is not None
    assert (details.stdout.strip(), details.stderr.strip()) == ("about to", "oops")


def test_nothing_said_is_not_known_to_have_been_nothing(store: Store) -> None:
    store.put(Run().jobs("a").start(0).attempt("a", 1, 0, 1, 2).end(4).events)
    [details] = digest(store, WF).details["a"]
    assert (details.stdout, details.stderr, details.command) == (None, None, None)


def test_heat_maps_of_several_logs_share_a_grid_and_lose_no_byte() -> None:
    first = darshan.Heatmap(width=1.0, read=(10, 20, 0), written=(0, 0, 5))
    second = darshan.Heatmap(width=2.0, read=(7, 8), written=(1, 0))
    reports = [
        LogReport(exe="/bin/md -n 3", jobid=7, start=100.0, heatmaps={"POSIX": first}),
        LogReport(exe="sassena", jobid=8, nprocs=4, start=101.0, heatmaps={"POSIX": second, "STDIO": first}),
        LogReport(name="unread", reason="damaged"),
    ]
    posix, stdio = heatmaps(reports)
    assert (posix.module, posix.start, posix.width, posix.rows) == ("posix", 100.0, 1.0, ["md 7", "sassena 8, 4 ranks"])
    assert posix.read == [[10, 20, 0, 0, 0], [0, 4, 3, 4, 4]]
    assert posix.written == [[0, 0, 5, 0, 0], [0, 0, 1, 0, 0]]
    assert (stdio.module, stdio.read) == ("stdio", [[10, 20, 0]])


@given(numbers=st.lists(st.integers(0, 40)))
def test_missing_numbers_are_counted_in_whatever_order_the_others_come(numbers: list[int]) -> None:
    found = Numbers()
    for number in numbers:
        found.add(number)
    assert found.missing == max(numbers, default=-1) + 1 - len(set(numbers))
