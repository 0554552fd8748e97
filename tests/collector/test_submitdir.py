"""A submit directory comes into the store while Pegasus still writes it, exactly once and without monitord."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panorama_driver.collector import Drained, SubmitDirFollower
from panorama_driver.errors import StoreError
from panorama_driver.events import Event
from panorama_driver.store import Store, open_store

SUBMIT_DIRS = Path(__file__).parents[1] / "data" / "captures" / "submitdirs"
RUNS = ["mini-events", "mini-fail", "slurm-ok", "slurm-timeout", "slurm-pend", "slurm-badpart", "reruns"]


@pytest.fixture
def submit_dir(run_dir: Path) -> Path:
    """An empty submit directory that the run names."""
    folder = run_dir.parent / "submit"
    folder.mkdir()
    (run_dir / "submitdir").write_text(f"{folder}\n")
    return folder


def events(store: Store) -> dict[str, Event]:
    return {e.event_id: e for summary in store.workflows() for e in store.events(summary.wf_uuid)}


def kinds(store: Store) -> list[str]:
    return [event.kind.removeprefix("stampede.") for event in events(store).values()]


def one(directory: Path, pattern: str) -> Path:
    [found] = directory.glob(pattern)
    return found


def copy(name: str, to: Path, without: str = "") -> Path:
    """A run's directory; `without` is a pattern of files that are not there yet."""
    ignored = shutil.ignore_patterns(without) if without else None
    shutil.copytree(SUBMIT_DIRS / name, to, dirs_exist_ok=True, ignore=ignored)
    return to


def test_the_submit_directory_may_be_named_and_written_later(run_dir: Path, store: Store) -> None:
    follower = SubmitDirFollower(run_dir, store)
    assert follower.poll() == Drained()
    target = run_dir.parent / "submit"
    (run_dir / "submitdir").write_text(f"{target}"[:-2])  # half a line
    assert follower.poll() == Drained()
    assert follower.submit_dir is None
    (run_dir / "submitdir").write_text(f"{target}\n")
    assert follower.poll() == Drained()
    copy("mini-fail", target)
    assert follower.poll() == Drained(stored=79)
    assert follower.submit_dir == target
    assert follower.poll() == follower.finish() == Drained()


def test_a_plan_half_written_is_told_and_waited_for(submit_dir: Path, run_dir: Path, store: Store) -> None:
    (submit_dir / "braindump.yml").write_text('user: "wf"\n')
    follower = SubmitDirFollower(run_dir, store)
    [problem] = follower.poll().problems
    assert "braindump.yml does not tell dag and wf_uuid" in problem
    copy("mini-fail", submit_dir)
    assert follower.poll() == Drained(stored=79)


def test_the_plan_is_there_before_dagman_starts(submit_dir: Path, run_dir: Path, store: Store) -> None:
    copy("mini-fail", submit_dir, without="*.dag.*")
    (submit_dir / "jobstate.log").unlink()
    SubmitDirFollower(run_dir, store).poll()
    assert set(kinds(store)) == {
        "wf.plan",
        "static.start",
        "task.info",
        "task.edge",
        "static.meta.start",
        "xwf.meta",
        "static.meta.end",
        "job.info",
        "wf.map.task_job",
        "job.edge",
        "static.end",
    }
    assert store.workflows()[0].label == "mini-fail"


@pytest.mark.parametrize("name", RUNS)
def test_a_new_follower_adds_nothing(name: str, submit_dir: Path, run_dir: Path, store: Store) -> None:
    copy(name, submit_dir)
    first = SubmitDirFollower(run_dir, store).finish()
    again = SubmitDirFollower(run_dir, store).finish()
    assert (again.stored, again.duplicates) == (0, first.stored)
    assert first.duplicates == first.dead == 0


STAMP = re.compile(rb"^(\d\d)/(\d\d)/(\d\d) (\d\d:\d\d:\d\d)", re.MULTILINE)
BLOCK = re.compile(rb"^\d{3} \(\S+\) (\S+ \S+) .*?^\.\.\.\n", re.MULTILINE | re.DOTALL)


def told_by(log: bytes, dagman: bytes) -> int:
    """How much of the jobs' own log [bytes] DAGMan must have read to have written this much of its own."""
    stamps = STAMP.findall(dagman)
    if not stamps:
        return 0
    month, day, year, clock = stamps[-1]
    last = b"20%s-%s-%s %s" % (year, month, day, clock)
    return max((block.end() for block in BLOCK.finditer(log) if block[1] <= last), default=0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["mini-fail", "slurm-badpart", "slurm-timeout"]),  # none ran twice: nodes.log is whole
    cuts=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=8),
    restarts=st.booleans(),
)
def test_events_do_not_depend_on_when_the_logs_are_looked_at(
    name: str,
    cuts: list[tuple[float, float]],
    restarts: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("cuts")
    submit_dir = copy(name, home / "submit", without="*.dag.*")
    (submit_dir / "jobstate.log").unlink()
    (home / "submitdir").write_text(f"{submit_dir}\n")
    logs = [one(SUBMIT_DIRS / name, f"*.{suffix}") for suffix in ("dagman.out", "nodes.log")]
    dagman, jobs = (log.read_bytes() for log in logs)
    with open_store(home / "store.db") as store:
        follower = SubmitDirFollower(home, store)
        ahead = 0
        for place, lead in sorted(cuts):
            written = dagman[: int(place * len(dagman))]
            ahead = max(ahead, told_by(jobs, written), int(lead * place * len(jobs)))
            (submit_dir / logs[0].name).write_bytes(written)
            (submit_dir / logs[1].name).write_bytes(jobs[:ahead])
            follower.poll()
            follower = SubmitDirFollower(home, store) if restarts else follower
        (submit_dir / logs[0].name).write_bytes(dagman)
        (submit_dir / logs[1].name).write_bytes(jobs)
        follower.finish()
        assert events(store) == expected(name, home)


def expected(name: str, home: Path) -> dict[str, Event]:
    """Events of the whole directory at once."""
    other = home / "other"
    other.mkdir()
    (other / "submitdir").write_text(f"{SUBMIT_DIRS / name}\n")
    with open_store(other / "store.db") as store:
        SubmitDirFollower(other, store).finish()
        return events(store)


def test_the_jobs_own_log_tells_before_dagman_does(submit_dir: Path, run_dir: Path, store: Store) -> None:
    copy("slurm-ok", submit_dir)
    log = one(submit_dir, "*.dagman.out")
    text = log.read_bytes()
    log.write_bytes(text[: text.index(b"Event: ULOG_EXECUTE")].rsplit(b"\n", 1)[0] + b"\n")
    follower = SubmitDirFollower(run_dir, store)
    follower.poll()
    # DAGMan has seen nothing but the first submission; *.nodes.log holds the whole run.
    assert kinds(store).count("job_inst.main.start") == 1
    assert kinds(store).count("job_inst.main.term") == 1
    log.write_bytes(text)
    follower.finish()
    assert events(store) == expected("slurm-ok", run_dir)


def test_without_dagmans_log_monitords_serves(submit_dir: Path, run_dir: Path, store: Store) -> None:
    copy("mini-fail", submit_dir, without="*.dag.*")
    follower = SubmitDirFollower(run_dir, store)
    follower.finish()
    found = kinds(store)
    assert (found.count("xwf.end"), found.count("inv.end"), found.count("job_inst.main.end")) == (1, 8, 4)
    copy("mini-fail", submit_dir)
    follower.finish()
    assert len(events(store)) == 79  # and adds nothing once that log is there


def test_a_record_says_itself_which_attempt_it_is_of(submit_dir: Path, run_dir: Path, store: Store) -> None:
    # The first attempt left no output, so the post script gave the second one's the number that was free.
    copy("mini-fail", submit_dir)
    records = submit_dir / "00" / "00"
    (records / "sh_ID0000002.out.001").replace(records / "sh_ID0000002.out.000")
    SubmitDirFollower(run_dir, store).finish()
    ends = [e for e in events(store).values() if e.kind == "stampede.inv.end" and e.job_id == "sh_ID0000002"]
    assert sorted((e.attempt, e.invocation) for e in ends) == [(3, -2), (4, -2), (4, 1)]


def test_a_store_that_fails_loses_nothing(
    submit_dir: Path, run_dir: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy("slurm-ok", submit_dir)
    follower = SubmitDirFollower(run_dir, store)

    def fail(*_: object) -> int:
        raise StoreError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put", fail)
        for _ in range(3):
            with pytest.raises(StoreError, match="disk full"):
                follower.poll()
    follower.finish()
    assert events(store) == expected("slurm-ok", run_dir)


def test_a_record_that_is_no_yaml_is_told_and_the_rest_of_the_run_comes_in(
    submit_dir: Path, run_dir: Path, store: Store
) -> None:
    copy("mini-fail", submit_dir)
    broken = submit_dir / "00/00/nap_ID0000001.out.000"
    broken.write_text("- invocation: True\n  start: [\n  mainjob: }\n")
    assert SubmitDirFollower(run_dir, store).finish().dead == 1
    [letter] = store.dead_letters()
    assert letter.source == str(broken)
    assert "invocation record is no YAML" in letter.reason
    assert "xwf.end" in kinds(store)


def payload() -> dict[str, object]:
    identity = {"wf_uuid": "w", "dag_job_id": "nap_ID0000001", "condor_job_id": "42.0", "pid": 7, "hostname": "node7"}
    samples = [
        {"event": "kickstart.inv.online", "ts": 1795347645.5 + seq, "seq": seq, "utime": 0.1 * seq, "final": seq == 2}
        for seq in range(3)
    ]
    return {"format": 1, "identity": identity, "records": samples, "thinned": {"kept": 3, "of": 9}}


@pytest.mark.parametrize("way", ["multipart", "marker"])
def test_traces_that_came_home_with_a_job_are_those_that_came_online(
    way: str, submit_dir: Path, run_dir: Path, store: Store
) -> None:
    copy("mini-fail", submit_dir)
    record = submit_dir / "00/00/nap_ID0000001.out.000"
    text = record.read_text()
    carried = {**payload(), "darshan": [{"name": "nap.darshan", "size": 3, "data": "YWJj"}]}
    if way == "multipart":
        text += f"\n---------------pegasus-multipart\n- panorama: {json.dumps(carried)}\n"
    else:
        marked = {"ts": 1795347647, "monitoring_event": "panorama", "payload": [{"panorama": carried}]}
        line = f"@@@MONITORING_PAYLOAD - START@@@{json.dumps(marked)}@@@MONITORING_PAYLOAD - END@@@"
        text = text.replace("    stderr:\n", f"    stderr:\n      data: |\n        {line}\n", 1)
    record.write_text(text)
    SubmitDirFollower(run_dir, store).finish()
    samples = list(store.events("w", kinds={"kickstart.inv.online"}))
    assert [(e.fields["seq"], e.fields["pid"], e.job_id) for e in samples] == [
        (seq, 7, "nap_ID0000001") for seq in range(3)
    ]
    [log] = store.events("w", kinds={"darshan.log"})
    assert (log.fields["name"], log.fields["data"]) == ("nap.darshan", "YWJj")
    assert all("panorama" not in event.fields for event in events(store).values())
    home = "stampede.job_inst.composite" if way == "multipart" else "stampede.task.monitoring"
    [kept] = [e for e in events(store).values() if e.kind == home and "thinned" in e.fields]
    assert kept.fields["thinned"] == {"kept": 3, "of": 9}


@pytest.mark.measures
def test_looking_at_a_directory_in_which_nothing_happens_costs_next_to_nothing(
    submit_dir: Path, run_dir: Path, store: Store
) -> None:
    copy("slurm-ok", submit_dir)
    follower = SubmitDirFollower(run_dir, store)
    follower.poll()
    begin = time.process_time()
    for _ in range(100):
        assert follower.poll() == Drained()
    each = (time.process_time() - begin) / 100
    assert each < 0.005, f"measured {each * 1e3:.1f} ms"


def test_a_file_that_may_not_be_read_is_told(submit_dir: Path, run_dir: Path, store: Store) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    copy("mini-fail", submit_dir)
    one(submit_dir, "*.dagman.out").chmod(0)
    [problem] = SubmitDirFollower(run_dir, store).poll().problems
    assert "dagman.out: cannot be read: Permission denied" in problem


def test_a_log_of_the_jobs_that_dagman_begins_anew_with_each_run_is_followed(
    submit_dir: Path, run_dir: Path, store: Store
) -> None:
    # Three runs of one directory, of which *.nodes.log holds the last.
    copy("reruns", submit_dir)
    dagman, jobs = one(submit_dir, "*.dagman.out"), one(submit_dir, "*.nodes.log")
    text, last = dagman.read_bytes(), jobs.read_bytes()
    begun = [match.start() for match in re.finditer(rb"^.{18}\*{10,}\n.*STARTING UP", text, re.MULTILINE)]
    follower = SubmitDirFollower(run_dir, store)
    for place in [*begun[1:], len(text)]:
        dagman.write_bytes(text[:place])
        jobs.write_bytes(last if place == len(text) else b"000 (9999.000.000) 2026-11-22 16:00:00 Job submitted\n...\n")
        follower.poll()
    follower.finish()
    assert events(store) == expected("reruns", run_dir)


def test_another_log_in_the_place_of_dagmans_is_read_from_its_beginning(
    submit_dir: Path, run_dir: Path, store: Store
) -> None:
    copy("mini-fail", submit_dir)
    follower = SubmitDirFollower(run_dir, store)
    follower.poll()
    log = one(submit_dir, "*.dagman.out")
    log.write_bytes(log.read_bytes()[:20000])
    assert follower.poll().stored == 0
    assert events(store) == expected("mini-fail", run_dir)
