"""Bytes, speeds and faults of transfers, whoever told of them, each once and none invented."""

from __future__ import annotations

import itertools
import re
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from panorama_driver import sources
from panorama_driver.events import Event
from panorama_driver.metrics import JobMetrics, correlate, series, transfers
from panorama_driver.sources import globus
from panorama_driver.testing.globus import FakeTask, Step

from .runs import CAPTURES, WF, Run, captured

FOLDER = CAPTURES / "pegasus-transfer"
ENDED = 1795376100.0
REAL = 12345 + 3_000_000  # bytes that the captured run copied; 3,000,000 more it linked


def ended(run: Run, attempt: int = 1, **fields: Any) -> list[Event]:
    """Events of a run whose staging job `in` ended so."""
    run.told("in", attempt, "job_inst.submit.start", ts=ENDED - 60)
    run.told("in", attempt, "job_inst.main.end", ts=ENDED, exitcode="0", status=0)
    run.told("in", attempt, "job_inst.composite", ts=ENDED, exitcode="0", status=0, sched_id="7.0", **fields)
    return [event for raw in run.raw for event in sources.expand(raw)]


def listed(name: str = "retried") -> list[dict[str, Any]]:
    return list(yaml.safe_load((FOLDER / f"{name}.yml").read_text())[0]["transfer_attempts"])


def log(name: str = "retried") -> str:
    return quote((FOLDER / f"{name}.log").read_text())


def sized(run: Run, **sizes: int) -> Run:
    for lfn, size in sizes.items():
        run.tell("rc.meta", lfn_id=lfn.replace("__", "/").replace("_dot_", "."), key="size", value=str(size))
    return run


def job(events: list[Event]) -> JobMetrics:
    return correlate(events).job("in")


def staging() -> Run:
    return Run().jobs("in", type=2)


def test_the_attempts_of_stock_pegasus_give_exact_bytes() -> None:
    found = job(ended(staging(), transfer_attempts=listed()))
    assert (found.bytes_transferred, found.bytes_staged) == (REAL, REAL + 3_000_000)
    assert (found.files_transferred, found.transfers_failed, found.transfer_faults) == (4, 0, 1)
    assert found.sources["bytes_transferred"] == "transfer"


def test_a_file_that_never_arrived_is_one_failure_and_moved_nothing() -> None:
    found = job(ended(staging(), transfer_attempts=listed("failed"), stderr_text=log("failed")))
    assert (found.bytes_transferred, found.bytes_staged) == (0, 3_000_000)  # what arrived was linked
    assert (found.files_transferred, found.transfers_failed, found.transfer_faults) == (1, 1, 0)


def test_a_recorded_run_of_stock_pegasus_knows_its_bytes_exactly() -> None:
    workflow = correlate(captured("stampede-events.jsonl", "f6eff249-7020-4ed5-86d6-ffbf4ca46b9d"))
    assert (workflow.bytes_transferred, workflow.bytes_staged) == (200524, 200524)
    assert [workflow.job(f"stage_{name}_local_0_0").bytes_transferred for name in ("in_local", "in_remote")] == [
        100000,
        524,
    ]
    assert workflow.job("stage_out_local_local_0_0").sources["bytes_transferred"] == "transfer"


def test_sizes_of_the_files_make_the_total_of_a_log_exact() -> None:
    run = sized(staging(), a_dot_dat=12345, big=3_000_000, big2=3_000_000, sub__empty=0)
    found = job(ended(run, stdout_text=log()))
    assert (found.bytes_transferred, found.bytes_staged) == (REAL, REAL + 3_000_000)
    assert (found.files_transferred, found.transfers_failed, found.transfer_faults) == (4, 0, 1)
    assert found.sources["bytes_transferred"] == "transfer"


def without_links(text: str) -> str:
    return text.replace(quote("ln -f -s"), quote("/bin/cp -f -R -L"))


def test_a_total_of_a_log_alone_is_told_to_be_rounded() -> None:
    found = job(ended(staging(), stdout_text=without_links(log())))
    assert found.bytes_transferred == pytest.approx(REAL + 3_000_000, abs=0.05 * 2**20)
    assert found.sources["bytes_transferred"] == "transfer log, rounded: up to 52429 bytes more or less"
    assert found.transfer_faults is None


def test_sizes_that_contradict_the_log_are_not_believed() -> None:
    run = sized(staging(), a_dot_dat=99_000_000, big=3_000_000, big2=3_000_000, sub__empty=0)
    found = job(ended(run, stdout_text=without_links(log())))
    assert found.bytes_transferred == pytest.approx(REAL + 3_000_000, abs=0.05 * 2**20)
    assert "rounded" in found.sources["bytes_transferred"]


def test_a_rounded_total_with_links_in_it_is_no_number_of_bytes_moved() -> None:
    found = job(ended(staging(), stdout_text=log()))
    assert found.bytes_transferred is None
    assert "without links" in found.reasons["bytes_transferred"]
    assert found.bytes_staged == pytest.approx(REAL + 3_000_000, abs=0.05 * 2**20)


def test_bytes_that_the_log_counts_of_attempts_that_failed_were_not_moved() -> None:
    found = job(ended(staging(), stdout_text=log("refused")))
    assert (found.bytes_transferred, found.files_transferred) == (0, 0)
    assert (found.transfers_failed, found.transfer_faults) == (1, 2)


def test_a_log_without_its_end_leaves_the_bytes_unknown_with_the_reason() -> None:
    text = log()
    found = job(ended(staging(), stdout_text=text[: text.index("Stats")]))
    assert found.bytes_transferred is None
    assert "no record tells the sizes" in found.reasons["bytes_transferred"]


def published(run: Run, urls: list[tuple[str, str, int]]) -> None:
    for source, destination, size in urls:
        times = {"ts": ENDED - 5, "transfer_start_time": ENDED - 6, "transfer_completion_time": ENDED - 5}
        url = {"source_url": source, "destination_url": destination, "condor_job_id": "7.0"}
        run.transfer("in", "local.single", status=0, bytes_transferred=size, **times, **url)


def test_panoramas_events_beside_the_list_count_no_byte_twice() -> None:
    run = staging()
    succeeded = [item for item in listed() if item["success"]]
    published(run, [(item["src_url"], item["dst_url"], item.get("bytes", 0)) for item in succeeded])
    times = {"ts": ENDED - 5, "transfer_start_time": ENDED - 6, "transfer_completion_time": ENDED - 5}
    run.transfer("in", "local", total_files=4, bytes_transferred=6_012_345, condor_job_id="7.0", **times)
    found = job(ended(run, transfer_attempts=listed()))
    assert (found.bytes_transferred, found.files_transferred) == (REAL, 4)


def test_panoramas_exact_events_come_before_a_rounded_log() -> None:
    run = staging()
    published(run, [("file:///a", "file:///b", 777)])
    assert job(ended(run, stdout_text=log())).bytes_transferred == 777


def test_a_record_of_the_job_stands_in_for_files_that_the_broker_lost() -> None:
    run = staging()
    published(run, [("file:///a", "file:///b", 10)])
    times = {"ts": ENDED - 5, "transfer_start_time": ENDED - 6, "transfer_completion_time": ENDED - 5}
    run.transfer("in", "local", total_files=3, bytes_transferred=60, condor_job_id="7.0", **times)
    assert job(ended(run)).bytes_transferred == 60


def test_links_of_the_embedded_engine_move_nothing_and_stage_what_pegasus_would_copy() -> None:
    run = staging().attempt("in", 1, 0, 1, 9)
    for method, size, moved in (("link", 100, 0), ("hardlink", 10, 0), ("copy", 1, 1)):
        url = {"source_url": f"file:///{method}", "destination_url": f"file:///to/{method}"}
        times = {"ts": 5, "transfer_start_time": 4, "transfer_completion_time": 5}
        more = {"attempt": 1, "method": method, "size": size, "bytes_transferred": moved}
        run.transfer("in", "local.single", status=0, **times, **url, **more)
    found = job(run.events)
    assert (found.bytes_transferred, found.bytes_staged, found.files_transferred) == (1, 111, 3)


def task(steps: list[Step], until: float, documents: bool = True) -> list[Event]:
    """What a follower stores of a Globus task that it looked at each second."""
    made = FakeTask(f"{WF} - in", steps, task_id="t-1")
    raws: list[dict[str, Any]] = []
    for at in range(int(until) + 1):
        now = made.requested + at
        raws += [globus.happened(made.document(now), entry) for entry in made.events(now)]
        if documents:
            raws.append(globus.published(made.document(now), []))
    return [sources.parse(raw) for raw in raws]


STEPS = [
    Step(1, "STARTED"),
    Step(4, "PROGRESS", 300, 2),
    Step(6, "CONNECTION_RESET"),
    Step(9, "PROGRESS", 100, 3),
    Step(10, "SUCCEEDED"),
]


@pytest.mark.parametrize("documents", [True, False])
def test_progress_makes_a_series_before_there_is_an_end(documents: bool) -> None:
    events = task(STEPS, 9, documents)
    column = series(events, width=1).bytes_transferred
    assert column is not None
    assert sum(column) == pytest.approx(400)
    (found,) = transfers(events)
    assert (found.state, found.bytes_transferred, found.faults) == ("active", 400, 1)
    assert found.average_speed == 400 / 5


def test_the_end_of_a_task_replaces_what_was_known_on_the_way() -> None:
    events = task(STEPS, 12)
    (found,) = transfers(events)
    assert (found.tool, found.state, found.bytes_transferred, found.faults) == ("globus", "succeeded", 400, 1)
    assert (found.duration, found.effective_speed, found.average_speed) == (10, 40, 80)
    assert (found.source, found.destination, found.name) == ("source collection", "destination collection", "t-1")
    assert sum(series(events, width=1).bytes_transferred or ()) == pytest.approx(400)


def test_any_order_and_any_repetition_gives_the_same_transfers() -> None:
    events = task(STEPS, 12)
    assert transfers(events) == transfers([*reversed(events), *events])
    for lost in itertools.islice(itertools.combinations(events, len(events) - 2), 20):
        kept = list(lost)
        assert transfers(kept)[0].bytes_transferred == 400


def test_a_failed_task_fails_and_tells_why() -> None:
    (found,) = transfers(task([Step(1, "STARTED"), Step(3, "EXPIRED", description="the deadline passed")], 5))
    assert (found.state, found.error, found.bytes_transferred) == ("failed", "the deadline passed", 0)


def test_faults_of_globus_are_faults_of_the_job() -> None:
    run = staging().attempt("in", 1, 1_600_000_000, 1_600_000_001, 1_600_000_020)
    found = job([*run.events, *task(STEPS, 12)])
    assert (found.bytes_transferred, found.transfers_failed, found.transfer_faults) == (400, 0, 1)


@pytest.mark.parametrize("listing", [True, False])
def test_what_pegasus_left_to_globus_counts_once_and_as_globus_tells_it(listing: bool) -> None:
    urls = {"src_url": "go://source/a", "dst_url": "go://destination/a"}
    item = {**urls, "success": True, "start": 1_600_000_001, "duration": 10.0}
    head, *lines = log().split(quote("\n"))
    untold = [line for line in lines if not any(quote(f) in line for f in ("/bin/cp", "ln -f", "ERROR", "Between"))]
    said = [re.sub("Stats.*", quote("Unable to provide stats for third party gsiftp/srm"), line) for line in untold]
    told = {"transfer_attempts": [item]} if listing else {"stdout_text": quote("\n").join([head, *said])}
    found = job([*ended(staging(), **told), *task(STEPS, 12)])
    assert (found.bytes_transferred, found.bytes_staged, found.files_transferred) == (400, 400, 1)
    assert (found.transfers_failed, found.transfer_faults) == (0, 1)
    assert "third party" in job(ended(staging(), **told)).reasons["bytes_transferred"]


def test_files_that_were_copied_side_by_side_get_no_speed_from_the_log() -> None:
    run = sized(staging(), a_dot_dat=12345, big=3_000_000, big2=3_000_000, sub__empty=0)
    logged = [t for t in transfers(ended(run, stdout_text=log())) if t.method == "copy"]
    assert [(t.end, t.duration, t.effective_speed) for t in logged] == [(None, None, None)] * len(logged)


def test_every_transfer_of_a_run_is_listed_with_its_speed() -> None:
    events = ended(staging(), transfer_attempts=listed())
    found = {transfer.destination: transfer for transfer in transfers(events) if transfer.state == "succeeded"}
    last = found["file:///home/runs/tx/out/a.dat"]
    assert (last.job_id, last.attempt, last.name, last.size, last.method) == ("in", 1, "a.dat", 12345, "copy")
    assert [transfer.retried for transfer in transfers(events) if transfer.state == "failed"] == [True]
    copied = [t for t in found.values() if t.duration]
    assert all(t.effective_speed == (t.bytes_transferred or 0) / (t.duration or 1) for t in copied)
