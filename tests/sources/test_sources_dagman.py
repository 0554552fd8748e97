"""DAGMan's log, the jobs' own log and monitord's: what they tell, and when."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.sources import dagman, jobstate, userlog
from panorama_driver.sources.dagman import DagmanLog, DagmanState, Happening, clock_of, local_clock

SUBMIT_DIRS = Path(__file__).parents[1] / "data" / "captures" / "submitdirs"


def utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    return calendar.timegm((year, month, day, hour, minute, second))


def log_of(name: str, suffix: str = "dagman.out") -> Path:
    [path] = (SUBMIT_DIRS / name).glob(f"*.dag.{suffix}")
    return path


def happenings(read: Callable[[bytes], Iterator[Happening]], text: str) -> list[Happening]:
    return [happening for line in text.encode().split(b"\n") for happening in read(line)]


def told(text: str) -> list[Happening]:
    return happenings(dagman.Reader(utc).read, text)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets this host's time zone."""

    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "state"),
    [
        # jobstate.log: DAGMAN_STARTED, DAGMAN_FINISHED
        ("mini-events", DagmanState(1, "31.0", 1795347576, 1795347602, 0)),
        ("mini-fail", DagmanState(1, "40.0", 1795347636, 1795347660, 1)),
        ("reruns", DagmanState(3, "130.0", 1795364573, 1795364606, 0)),
    ],
)
def test_dagmans_state_is_that_of_its_last_run(name: str, state: DagmanState) -> None:
    found = DagmanLog(log_of(name), utc).poll()
    assert found == state
    assert not found.running


def test_dagmans_state_is_followed_through_reruns_and_a_removal(tmp_path: Path) -> None:
    path, text = tmp_path / "x.dag.dagman.out", log_of("reruns").read_bytes()
    log, seen = DagmanLog(path, utc), [DagmanState()]
    assert log.poll() == DagmanState()
    with path.open("ab", buffering=0) as file:
        for line in text.splitlines(keepends=True):
            file.write(line[:20])
            assert log.poll() == seen[-1]
            file.write(line[20:])
            if (state := log.poll()) != seen[-1]:
                seen.append(state)
    assert [(s.starts, s.running, s.status, s.aborted, *s.held) for s in seen] == [
        (0, False, None, False),
        (1, True, None, False),
        (1, True, None, False, "slow_J1"),
        (1, True, None, False),
        (1, False, 1, False),
        (2, True, None, False),
        (2, True, None, True),
        (2, False, 2, True),
        (3, True, None, False),
        (3, False, 0, False),
    ]


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.dag.dagman.out"
    path.write_bytes(log_of("reruns").read_bytes())
    log = DagmanLog(path, utc)
    assert log.poll().starts == 3
    path.write_bytes(log_of("mini-fail").read_bytes())
    assert log.poll() == DagmanState(1, "40.0", 1795347636, 1795347660, 1)


def test_a_dagman_that_could_not_start_has_ended() -> None:
    # Pegasus' own sample of a run that DAGMan refused at once: no DAG was ever parsed.
    text = """08/17/22 17:08:37 ** condor_scheduniv_exec.236561.0 (CONDOR_DAGMAN) STARTING UP
08/17/22 17:08:37
Unrecognized argument: -Condorlog
08/17/22 17:08:37 **** condor_scheduniv_exec.236561.0 (condor_DAGMAN) pid 349214 EXITING WITH STATUS 1"""
    assert [h.what for h in told(text)] == ["DAGMAN_LAUNCHED", "DAGMAN_FINISHED"]


def test_why_a_job_is_held_goes_with_the_job() -> None:
    [held, why] = told(
        "11/22/26 12:24:15 Event: ULOG_JOB_HELD for HTCondor Node a_ID1 (182.0.0) {11/22/26 12:24:10}\n"
        "11/22/26 12:24:15   Hold reason: sbatch: error: invalid partition: x"
    )
    assert (held.what, held.ts) == ("JOB_HELD", utc(2026, 11, 22, 12, 24, 10))
    assert why == Happening(
        utc(2026, 11, 22, 12, 24, 15), "JOB_HELD_REASON", "a_ID1", "182.0", reason="sbatch: error: invalid partition: x"
    )


def test_a_submission_that_fails_brings_htcondors_words() -> None:
    found = told(
        "11/22/26 12:00:00 Submitting HTCondor Node a_ID1 job(s)...\n"
        "11/22/26 12:00:01 ERROR: on Line 7 of submit file: no such universe\n"
        "11/22/26 12:00:01 ERROR: submit attempt failed, errno=2 No such file or directory"
    )
    assert [h.what for h in found] == ["DAGMAN_SUBMIT", "SUBMIT_FAILED"]
    assert found[1].reason == (
        "submit attempt failed, errno=2 No such file or directory (on Line 7 of submit file: no such universe)"
    )


def test_signals_are_no_exit_codes() -> None:
    found = told(
        "11/22/26 12:00:00 Node a_ID1 job proc (7.0.0) failed with signal 9.\n"
        "11/22/26 12:00:00 Node a_ID1 job proc (8.0.0) failed with status 9.\n"
        "11/22/26 12:00:00 Node a_ID1 job proc (9.0.0) completed successfully."
    )
    assert [(h.what, h.sched_id, h.status, h.signalled) for h in found] == [
        ("JOB_FAILURE", "7.0", 9, True),
        ("JOB_FAILURE", "8.0", 9, False),
        ("JOB_SUCCESS", "9.0", 0, False),
    ]


def test_what_dagman_repeats_in_recovery_is_left_out() -> None:
    event = "11/22/26 12:00:00 Event: ULOG_EXECUTE for HTCondor Node a_ID1 (7.0.0) {11/22/26 11:00:00}\n"
    text = (
        "11/22/26 12:00:00 Running in RECOVERY mode... >>>>>>>>\n"
        f"{event}"
        "11/22/26 12:00:00 ...done with RECOVERY mode <<<<<<<<\n"
        f"{event}"
    )
    assert len(told(text)) == 1


def test_the_jobs_own_log_tells_what_dagmans_does_with_the_same_times() -> None:
    for name in ("mini-fail", "slurm-ok", "slurm-badpart"):
        ours = happenings(userlog.Reader(utc).read, log_of(name, "nodes.log").read_text())
        theirs = told(log_of(name).read_text())
        key = [(h.ts, h.what, h.sched_id) for h in ours]
        assert key == [(h.ts, h.what, h.sched_id) for h in theirs if h.what in {k[1] for k in key}]


def test_the_jobs_own_log_knows_why_a_job_was_removed_and_its_batch_job() -> None:
    bad = happenings(userlog.Reader(utc).read, log_of("slurm-badpart", "nodes.log").read_text())
    [removed] = [h for h in bad if h.what == "JOB_ABORTED"]
    assert removed.reason.startswith("The job attribute PeriodicRemove expression '(JobStatus == 5)")
    good = happenings(userlog.Reader(utc).read, log_of("slurm-ok", "nodes.log").read_text())
    [first, *_] = [h.reason for h in good if h.what == "GRID_SUBMIT"]
    assert first == "batch slurm 127.0.0.1_vm_164.0_1795350007 slurm/20261122/3"


def test_a_jobs_log_in_utc_and_with_fractions_of_seconds_is_read() -> None:
    text = "001 (7.000.000) 2026-11-22 12:00:00.250Z Job executing on host: <x>\n...\n"
    [started] = happenings(userlog.Reader(clock_of("20261122T121935+0500")).read, text)
    assert started == Happening(utc(2026, 11, 22, 12, 0, 0), "EXECUTE", sched_id="7.0")


def test_monitords_log_tells_what_dagmans_does() -> None:
    # It begins a submission where DAGMan says that it was done, and names no node's script that ended well otherwise.
    for name in ("mini-fail", "slurm-timeout", "reruns"):
        ours = happenings(jobstate.read, (SUBMIT_DIRS / name / "jobstate.log").read_text())
        theirs = told(log_of(name).read_text())
        left = {"DAGMAN_SUBMIT", "ASSIGNED", "DAGMAN_ABORTED", "DAGMAN_LAUNCHED"}
        assert [(h.ts, h.what, h.job_id, h.status) for h in ours if h.what not in left] == [
            (h.ts, h.what, h.job_id, h.status) for h in theirs if h.what not in left
        ]


def test_times_are_those_of_the_zone_in_which_the_workflow_was_planned(zone: Callable[[str], None]) -> None:
    zone("UTC")
    assert clock_of("20261122T121935-0800")(2026, 11, 22, 4, 0, 0) == utc(2026, 11, 22, 12, 0, 0)
    zone("America/Los_Angeles")
    assert clock_of("20261122T121935+0000")(2026, 11, 22, 12, 0, 0) == utc(2026, 11, 22, 12, 0, 0)


def test_the_hosts_own_zone_knows_of_summer_time(zone: Callable[[str], None]) -> None:
    zone("America/Los_Angeles")
    clock = clock_of("20261031T121935-0700")  # planned on the last day of summer time
    assert clock is local_clock
    assert clock(2026, 11, 2, 4, 0, 0) == utc(2026, 11, 2, 12, 0, 0)


@pytest.mark.parametrize("planned", [None, "", "yesterday", "20261122T121935"])
def test_a_plan_without_a_time_leaves_the_hosts_zone(planned: str | None) -> None:
    assert clock_of(planned) is local_clock


@given(st.binary(max_size=200))
def test_no_line_upsets_the_readers(line: bytes) -> None:
    for prefix in (b"", b"11/22/26 12:00:00 ", b"11/22/26 12:00:00 Event: ULOG_", b"000 (1.0.0) "):
        for read in (dagman.Reader(utc).read, userlog.Reader(utc).read, jobstate.read):
            list(read(prefix + line.replace(b"\n", b"")))
            list(read(b"..."))
