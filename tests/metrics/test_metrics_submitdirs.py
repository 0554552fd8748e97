"""A run read from its submit directory has the metrics that the broker's messages gave, where those were right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from panorama_driver.collector import SubmitDirFollower
from panorama_driver.events import Event
from panorama_driver.metrics import JobMetrics, WorkflowMetrics, correlate
from panorama_driver.store import open_store

from .runs import CAPTURES, captured, missing_reasons, records

SUBMIT_DIRS = CAPTURES / "submitdirs"
RUNS = {
    "mini-events": "stampede-events.jsonl",
    "mini-fail": "stampede-events-fail.jsonl",
    "slurm-ok": "slurm-ok/events.json",
    "slurm-timeout": "slurm-timeout/events.json",
    "slurm-pend": "slurm-pend/events.json",
    "slurm-badpart": "slurm-badpart/events.json",
}
# monitord makes up an invocation, with the scheduler's status, for a job that left no record.
MADE_UP = [("stampede.inv.end", "step_ID0000001"), ("stampede.inv.start", "step_ID0000001")]
BROKER_ONLY: dict[str, list[tuple[str, str]]] = {"slurm-pend": MADE_UP, "slurm-badpart": MADE_UP}
TIME_LIMIT = "stopped by the batch system's time limit: SIGTERM although HTCondor said 0"
Collect = Callable[[Path], list[Event]]


@pytest.fixture
def collect(tmp_path: Path) -> Collect:
    """Collects a submit directory into a new store and gives its events."""

    def run(submit_dir: Path) -> list[Event]:
        home = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        home.mkdir()
        (home / "submitdir").write_text(f"{submit_dir}\n")
        with open_store(home / "store.db") as store:
            SubmitDirFollower(home, store).finish()
            assert list(store.dead_letters()) == []
            return [event for summary in store.workflows() for event in store.events(summary.wf_uuid)]

    return run


def told(name: str) -> list[Event]:
    """What the broker brought of Pegasus' own events and their transfers; traces do not pass through monitord."""
    events = captured(RUNS[name])
    return [event for event in events if event.kind.startswith(("stampede.", "transfer."))]


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
    elif ours != theirs:
        yield path, ours, theirs


def metrics(events: list[Event]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(correlate(events)))


def without_monitord(submit_dir: Path, to: Path) -> Path:
    """The directory as it is when monitord never ran."""
    shutil.copytree(submit_dir, to)
    (to / "jobstate.log").unlink()
    return to


@pytest.mark.parametrize("monitord_ran", [True, False])
@pytest.mark.parametrize("name", RUNS)
def test_metrics_from_disk_are_those_from_the_broker(
    name: str, monitord_ran: bool, collect: Collect, tmp_path: Path
) -> None:
    submit_dir = SUBMIT_DIRS / name
    events = collect(submit_dir if monitord_ran else without_monitord(submit_dir, tmp_path / "submit"))
    different = list(differences(metrics(events), metrics(told(name))))
    # monitord names the hosts of PegasusLite's jobs only; where a run had none of those, the address is all it tells.
    hosts = [entry for entry in different if entry[0].endswith(".host")]
    assert {(ours, theirs) for _, ours, theirs in hosts} == ({("vm", "192.0.2.2")} if "slurm" in name else set())
    # Only the record says when Slurm's limit was, and monitord does not pass that on.
    words = {ours for path, ours, _ in different if path.endswith(".failure")} - {
        found for found in (job_failures(events)) if found.startswith("held:")
    }
    assert words == ({TIME_LIMIT} if name == "slurm-timeout" else set())
    assert [entry for entry in different if not entry[0].endswith((".host", ".failure"))] == []


def job_failures(events: list[Event]) -> list[str]:
    return [job.failure for job in correlate(events).jobs if job.failure]


@pytest.mark.parametrize("disk_first", [True, False])
@pytest.mark.parametrize("name", RUNS)
def test_broker_and_disk_together_give_one_row_for_each_event(
    name: str, disk_first: bool, collect: Collect, tmp_path: Path
) -> None:
    disk, broker = collect(SUBMIT_DIRS / name), told(name)
    with open_store(tmp_path / "both.db") as store:
        for events in (disk, broker) if disk_first else (broker, disk):
            store.put(events)
        assert store.count() == len(broker)
    known = {event.event_id for event in disk}
    assert sorted((e.kind, e.job_id) for e in broker if e.event_id not in known) == BROKER_ONLY.get(name, [])
    assert known <= {event.event_id for event in broker}


@pytest.mark.parametrize("name", RUNS)
def test_metrics_of_both_together_are_right_whoever_comes_first(name: str, collect: Collect) -> None:
    disk, broker = collect(SUBMIT_DIRS / name), told(name)
    for events in (disk + broker, broker + disk):
        unexpected = [
            path
            for path, _, _ in differences(metrics(events), metrics(disk))
            if not path.endswith((".host", ".failure"))
        ]
        assert unexpected == []


@pytest.mark.parametrize("name", RUNS)
def test_every_unknown_of_a_run_from_disk_has_its_reason(name: str, collect: Collect) -> None:
    for record in records(correlate(collect(SUBMIT_DIRS / name))):
        assert missing_reasons(record) == []


def step(workflow: WorkflowMetrics) -> JobMetrics:
    return workflow.job("step_ID0000001")


def test_jobs_of_a_batch_system_that_went_well_succeeded(collect: Collect) -> None:
    workflow = correlate(collect(SUBMIT_DIRS / "slurm-ok"))
    assert (workflow.state, workflow.jobs_succeeded, workflow.jobs_failed) == ("succeeded", 7, 0)
    assert (step(workflow).failure, step(workflow).reasons["failure"]) == (None, "did not fail")


def test_a_job_at_its_time_limit_failed_and_says_so(collect: Collect) -> None:
    # HTCondor: return value 0. Record: raw 15, ended 12:25:31, 22 s after SLURM_JOB_END_TIME.
    workflow = correlate(collect(SUBMIT_DIRS / "slurm-timeout"))
    assert workflow.state == "failed"
    assert (step(workflow).state, step(workflow).failure) == ("failed", TIME_LIMIT)
    assert (step(workflow).signal, step(workflow).wall_time) == (15, 81.54)


def test_the_broker_alone_knows_of_the_time_limit_that_something_stopped_the_job() -> None:
    assert step(correlate(told("slurm-timeout"))).failure == (
        "stopped by the batch system's time limit or a cancellation there: SIGTERM although HTCondor said 0"
    )


@pytest.mark.parametrize("source", ["disk", "broker"])
def test_a_job_cancelled_while_pending_never_ran_and_says_so(source: str, collect: Collect) -> None:
    # HTCondor: return value 0; there is no output file, and the post script failed for that.
    events = collect(SUBMIT_DIRS / "slurm-pend") if source == "disk" else told("slurm-pend")
    job = step(correlate(events))
    assert (job.state, job.ran, job.wall_time, job.exit_code) == ("failed", False, None, None)
    assert job.failure == (
        "never ran: cancelled while pending in the batch system or scheduler outage, although HTCondor said 0"
    )


@pytest.mark.parametrize("source", ["disk", "broker"])
def test_a_refused_partition_is_told_in_the_words_of_sbatch(source: str, collect: Collect) -> None:
    events = collect(SUBMIT_DIRS / "slurm-badpart") if source == "disk" else told("slurm-badpart")
    job = step(correlate(events))
    assert (job.state, job.ran, job.held_time) == ("failed", False, 36)
    assert job.failure is not None
    assert job.failure.startswith("held: submission command failed (exit code = 1)")
    assert "sbatch: error: invalid partition specified: nosuchpart" in job.failure


def test_why_a_held_job_was_removed_is_known_from_disk_only(collect: Collect) -> None:
    # *.nodes.log, event 009; monitord's abort.info has no reason.
    ours, theirs = (
        step(correlate(events)).failure for events in (collect(SUBMIT_DIRS / "slurm-badpart"), told("slurm-badpart"))
    )
    assert ours is not None
    assert "then removed: The job attribute PeriodicRemove expression '(JobStatus == 5)" in ours
    assert theirs is not None
    assert theirs.endswith("then removed from the queue")


def outage(to: Path, record: bytes) -> Path:
    """A scheduler that answered nothing while BLAHP asked, as facts of a real one tell: the job is at work, its output
    file is there and empty, HTCondor says 0, the post script fails for the empty file."""
    shutil.copytree(SUBMIT_DIRS / "slurm-pend", to)
    (to / "00/00/step_ID0000001.out.000").write_bytes(record)
    (to / "00/00/step_ID0000001.err.000").write_bytes(b"")
    return to


def test_a_job_lost_from_sight_in_an_outage_failed_and_may_still_run(collect: Collect, tmp_path: Path) -> None:
    job = step(correlate(collect(outage(tmp_path / "submit", b""))))
    assert job.state == "failed"
    assert job.failure == (
        "lost in a scheduler outage: no kickstart record although HTCondor said 0; batch job 22 may still run"
    )
    assert (job.exit_code, job.wall_time) == (None, None)


def test_a_record_that_an_outage_delayed_still_tells_what_the_job_did(collect: Collect, tmp_path: Path) -> None:
    record = (SUBMIT_DIRS / "slurm-timeout/00/00/step_ID0000001.out.000").read_bytes()
    submit_dir = outage(tmp_path / "submit", b"")
    home = tmp_path / "home"
    home.mkdir()
    (home / "submitdir").write_text(f"{submit_dir}\n")
    with open_store(home / "store.db") as store:
        store.put(told("slurm-pend"))  # with the invocation that monitord made up
        follower = SubmitDirFollower(home, store)
        follower.finish()
        output = submit_dir / "00/00/step_ID0000001.out.000"
        output.write_bytes(record.replace(b"condor: 179.0", b"condor: 224.0"))
        assert follower.poll().stored > 0
        [summary] = store.workflows()
        job = step(correlate(store.events(summary.wf_uuid)))
    assert (job.state, job.ran, job.wall_time, job.signal) == ("failed", True, 81.54, 15)


def test_a_run_with_retries_a_hold_a_removal_and_two_rescues_keeps_its_attempts_apart(collect: Collect) -> None:
    # jobstate.log: DAGMAN_FINISHED 1, 2 and 0; slow_J1 held from ...499 to ...504 and started twice.
    workflow = correlate(collect(SUBMIT_DIRS / "reruns"))
    assert (workflow.state, workflow.restarts, workflow.makespan, workflow.active_time) == ("succeeded", 2, 119, 89)
    assert [(a.attempt, a.state, a.failure) for a in workflow.job("flaky_J2").attempts] == [
        (2, "failed", "exit code 3"),
        (4, "failed", "exit code 3"),
        (5, "succeeded", None),
    ]
    assert [(a.attempt, a.state, a.failure) for a in workflow.job("slow_J4").attempts] == [
        (7, "failed", "the workflow ended before it did"),
        (8, "succeeded", None),
    ]
    assert (workflow.job("slow_J1").held_time, workflow.job("slow_J1").retries) == (5, 0)


def test_a_record_that_monitord_looked_for_under_another_number_is_found(collect: Collect) -> None:
    # The first attempt of slow_J4 was removed and left no output, so the second one's is slow_J4.out.000. monitord
    # counts submissions and asked for slow_J4.out.001, made an invocation up, and knows neither CPU time nor memory.
    disk, broker = collect(SUBMIT_DIRS / "reruns"), captured("reruns/events.json")
    ours, theirs = ({e.event_id: (e.kind, e.job_id, e.attempt) for e in events} for events in (disk, broker))
    assert sorted(ours[key] for key in ours.keys() - theirs.keys()) == [
        ("stampede.inv.end", "slow_J4", 8),
        ("stampede.job_inst.host.info", "slow_J4", 8),
    ]
    assert [theirs[key] for key in theirs.keys() - ours.keys()] == [("stampede.inv.end", "slow_J4", 8)]
    job, made_up = (correlate(events).job("slow_J4") for events in (disk, broker))
    assert (job.wall_time, job.peak_memory, job.cpu_time) == (25.008, 1696 * 1024, 0.003)
    assert (made_up.wall_time, made_up.peak_memory, made_up.cpu_time) == (25, None, None)
    together = correlate(broker + disk).job("slow_J4")
    assert (together.wall_time, together.peak_memory) == (25.008, 1696 * 1024)
    other = [path for path, _, _ in differences(metrics(disk), metrics(broker)) if path.startswith("jobs[")]
    assert {path.split("]")[0] for path in other if not path.endswith("host")} == {"jobs[5"}  # slow_J4
