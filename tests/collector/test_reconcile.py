"""What was lost on its way is found on disk; how complete a workflow is can be told, and is not guessed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from panorama_driver.collector import RunFollower
from panorama_driver.collector._records import events_of
from panorama_driver.collector.completeness import RECONCILED, Completeness, completeness
from panorama_driver.collector.ended import EndedWorkflows
from panorama_driver.collector.reconcile import family, reconcile
from panorama_driver.errors import EnvironmentMissingError, UsageError
from panorama_driver.events import Event
from panorama_driver.store import Store, Via, open_store

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
FAIL = CAPTURES / "submitdirs" / "mini-fail"
WF = "632d40da-c133-448b-82b4-5394126f0208"


def delivered(name: str) -> list[Event]:
    """The messages of a recorded run, as the broker's consumer reads them."""
    lines = (CAPTURES / f"{name}.jsonl").read_text().splitlines()
    return [event for line in lines for event in events_of(json.dumps(json.loads(line)["body"]).encode())]


def counts(found: Completeness, source: str = "stampede") -> tuple[int, int, int, int]:
    part = found.of(source)
    return part.events_expected, part.events_seen, part.filled_from_disk, part.missing


def sample(seq: int, **more: object) -> dict[str, object]:
    raw = {"event": "kickstart.inv.online", "wf_uuid": WF, "dag_job_id": "a", "condor_job_id": "7.0", "pid": 3}
    return {**raw, "hostname": "n", "ts": 1000.0 + seq, "seq": seq, "final": False, **more}


def events(*raws: dict[str, object]) -> list[Event]:
    return [event for raw in raws for event in events_of(json.dumps(raw).encode())]


def rows(store: Store) -> dict[str, Event]:
    found = (event for summary in store.workflows() for event in store.events(summary.wf_uuid))
    return {event.event_id: event for event in found}


def test_what_the_broker_lost_is_filled_in_from_the_submit_directory(store: Store) -> None:
    live = delivered("stampede-events-fail")
    lost = live[::4]
    store.put([event for event in live if event not in lost], via=Via.BROKER)
    before = completeness(store, WF)
    assert (counts(before), before.reconciled) == ((59, 59, 0, 0), False)
    assert before.words == "came live, not yet compared with the disk: `panorama reconcile` does that"
    found = reconcile(store, WF, FAIL)
    assert counts(found) == (79, 59, 20, 0)
    assert (found.reconciled, found.watched_live, found.problems) == (True, True, ())
    assert found.words == "compared with the disk: 20 events that did not come live were found on disk"
    assert found.of("stampede").words == "79 events, 59 came live, 20 filled from disk"
    assert {event.event_id for event in lost} <= rows(store).keys()


def test_a_second_time_changes_nothing(store: Store) -> None:
    store.put(delivered("stampede-events-fail")[::2], via=Via.BROKER)
    first = reconcile(store, WF, FAIL)
    before = rows(store)
    assert reconcile(store, WF, FAIL) == first
    assert rows(store) == before
    [told] = store.events(WF, {RECONCILED})
    assert told.ts is None  # it is no event of the workflow's own time
    assert told.fields["reconciled_from"] == str(FAIL)


def test_what_comes_after_all_is_seen_and_noted_the_next_time(store: Store) -> None:
    live = delivered("stampede-events-fail")
    store.put(live[:40], via=Via.BROKER)
    assert counts(reconcile(store, WF, FAIL)) == (79, 40, 39, 0)
    store.put(live, via=Via.BROKER)
    assert counts(completeness(store, WF)) == (79, 79, 0, 0)
    found = reconcile(store, WF, FAIL)
    assert found.words == "compared with the disk: all came live"
    assert [event.fields["seq"] for event in store.events(WF, {RECONCILED})] == [0, 1]


def test_a_workflow_that_nobody_watched_live_has_lost_nothing(store: Store) -> None:
    found = reconcile(store, WF, FAIL)
    assert (found.watched_live, counts(found)) == (False, (79, 0, 79, 0))
    assert found.words == "read from disk; nothing came by a broker or by HTTP"
    assert found.of("stampede").words == "79 events, all from disk, none came live"


def test_one_of_which_nothing_is_known_says_so(store: Store) -> None:
    assert completeness(store, "none").words == "nothing is known of it"
    assert completeness(store, "none").of("darshan").words == "no events"


def test_the_directory_is_the_one_that_the_plan_names(store: Store, tmp_path: Path) -> None:
    submit_dir = tmp_path / 'it\'s a \u00fc"dir"'
    shutil.copytree(FAIL, submit_dir)
    live = delivered("stampede-events-fail")
    [planned] = [event for event in live if event.kind == "stampede.wf.plan"]
    store.put(live[:20], via=Via.BROKER)
    named = Event(
        kind=planned.kind, wf_uuid=WF, ts=planned.ts, fields={**planned.fields, "submit_dir": str(submit_dir)}
    )
    assert named.event_id == planned.event_id
    with open_store(tmp_path / "other.db") as other:
        other.put([named], via=Via.BROKER)
        assert counts(reconcile(other, WF)) == (79, 1, 78, 0)
    with pytest.raises(EnvironmentMissingError, match=r"/home/runs/.*: no such directory.*--from"):
        reconcile(store, WF)


def test_without_a_plan_the_place_must_be_told(store: Store) -> None:
    store.put(events(sample(0)), via=Via.HTTP)
    with pytest.raises(UsageError, match="no event tells where its files are"):
        reconcile(store, WF)


def run_folder(to: Path, lost: int = 0) -> Path:
    """A folder as the embedded engine leaves it."""
    to.mkdir()
    plan = {"event": "stampede.wf.plan", "xwf_id": WF, "ts": 1.0, "submit_dir": str(to), "dax_label": "x"}
    needed = {"submit_hostname": "n", "dax_version": "5.0", "dax_file": "f", "dag_file_name": "d", "root_xwf_id": WF}
    start = {"event": "stampede.xwf.start", "xwf_id": WF, "ts": 2.0, "restart_count": 0}
    lines = [{**plan, "planner_version": "5", **needed}, start]
    (to / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    trace = [sample(seq, final=seq == 4) for seq in range(lost, 5)]
    (to / "a.trace.000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in trace))
    return to


def test_a_run_of_the_embedded_engine_is_compared_with_its_folder(store: Store, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    store.put(events(sample(0), sample(2)), via=Via.HTTP)
    found = reconcile(store, WF, folder)
    assert counts(found, "kickstart") == (5, 2, 3, 0)
    assert counts(found) == (2, 0, 2, 0)
    assert found.of("stampede").words == "2 events, all from disk, none came live"
    with open_store(tmp_path / "other.db") as other:
        RunFollower(folder, other).finish()
        assert counts(reconcile(other, WF), "kickstart") == (5, 0, 5, 0)


def test_the_directory_of_an_evaluation_will_do(store: Store, tmp_path: Path) -> None:
    run_folder(tmp_path / "run")
    (tmp_path / "bundle.json").write_text("{}")
    assert counts(reconcile(store, WF, tmp_path), "kickstart") == (5, 0, 5, 0)


def test_a_run_folder_names_the_submit_directory(store: Store, run_dir: Path) -> None:
    (run_dir / "submitdir").write_text(f"{FAIL}\n")
    assert counts(reconcile(store, WF, run_dir)) == (79, 0, 79, 0)


@pytest.mark.parametrize("bundle", [False, True])
def test_a_place_where_nothing_of_a_run_is_proves_nothing(store: Store, tmp_path: Path, bundle: bool) -> None:
    if bundle:
        (tmp_path / "bundle.json").write_text("{}")
        (tmp_path / "run").mkdir()
    store.put(events(sample(0)), via=Via.HTTP)
    with pytest.raises(EnvironmentMissingError, match=r"nothing of a run is there.*--from"):
        reconcile(store, WF, tmp_path)
    assert not completeness(store, WF).reconciled


def test_a_submit_directory_that_is_gone_is_a_problem(store: Store, run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "submitdir").write_text(f"{tmp_path / 'gone'}\n")
    store.put(events(sample(0)), via=Via.HTTP)
    [problem] = reconcile(store, WF, run_dir).problems
    assert problem.startswith(f"{tmp_path / 'gone'}: no such directory")


@pytest.mark.parametrize("make", ["submit", "run", "file"])
def test_files_of_another_workflow_are_not_taken(make: str, store: Store, tmp_path: Path) -> None:
    if make == "submit":
        place = FAIL
    elif make == "run":
        place = run_folder(tmp_path / "run")
    else:
        place = sink_of(delivered_raw("stampede-events-fail"), tmp_path / "sink.json")
    with pytest.raises(UsageError, match=f"these are files of workflow {WF}, not of another"):
        reconcile(store, "another", place)
    assert store.count() == 0


def delivered_raw(name: str) -> list[dict[str, Any]]:
    return [json.loads(line)["body"] for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()]


def sink_of(raws: Iterable[dict[str, Any]], to: Path) -> Path:
    to.write_text("".join(json.dumps(raw) + "\n" for raw in raws))
    return to


def test_a_file_that_monitord_wrote_will_do_and_gives_its_own_workflow_only(store: Store, tmp_path: Path) -> None:
    both = [*delivered_raw("stampede-events-fail"), *delivered_raw("stampede-events")]
    found = reconcile(store, WF, sink_of(both, tmp_path / "sink.json"))
    assert counts(found) == (79, 0, 79, 0)
    assert [summary.wf_uuid for summary in store.workflows()] == [WF]


def test_damage_in_such_a_file_is_told(store: Store, tmp_path: Path) -> None:
    path = sink_of(delivered_raw("stampede-events-fail"), tmp_path / "sink.json")
    path.write_bytes(path.read_bytes()[:-30] + b"\n")
    found = reconcile(store, WF, path)
    assert counts(found) == (78, 0, 78, 0)
    assert len(found.problems) == 1
    path.write_bytes(b"\x7fELF" + b"\0" * 100)
    with pytest.raises(UsageError, match=r"sink\.json"):
        reconcile(store, WF, path)


def test_gaps_in_the_numbers_of_samples_are_missing(store: Store) -> None:
    store.put(events(sample(0), sample(1), sample(5, final=True)), via=Via.HTTP)
    store.put(events(sample(0, pid=4), sample(2, pid=4)), via=Via.DISK)
    part = completeness(store, WF).of("kickstart")
    assert (part.events_expected, part.events_seen, part.filled_from_disk, part.missing) == (9, 3, 2, 4)
    assert part.words == "9 events, 3 came live, 2 filled from disk, 4 missing"


def test_samples_of_one_probe_prove_no_gap_where_some_came_live_and_the_others_from_disk(store: Store) -> None:
    """The probe names no task where it was told of none; its payload leaves the name out."""
    store.put(events(*(sample(seq, task_id="") for seq in range(3))), via=Via.HTTP)
    store.put(events(*(sample(seq) for seq in range(3, 5))))
    assert completeness(store, WF).of("kickstart").missing == 0


def test_records_of_panoramas_kickstart_have_no_numbers_and_so_prove_no_gap(store: Store) -> None:
    raws = (json.loads(line) for line in (CAPTURES / "kickstart-online.jsonl").read_text().splitlines())
    store.put([event for raw in raws for event in events_of(json.dumps(raw.get("body", raw)).encode())])
    assert all(completeness(store, summary.wf_uuid).of("kickstart").missing == 0 for summary in store.workflows())


def thinned(kept: int, of: int) -> dict[str, object]:
    raw = {"event": "stampede.job_inst.composite", "xwf_id": WF, "job_id": "a", "job_inst_id": 2, "sched_id": "7.0"}
    ended = {
        "stdout_file": "o",
        "stderr_file": "e",
        "site": "local",
        "multiplier_factor": 1,
        "status": 0,
        "exitcode": 0,
    }
    return {**raw, **ended, "ts": 9.0, "int_error_count": 0, "jobtype": "compute", "thinned": {"kept": kept, "of": of}}


def test_what_the_probe_left_out_to_save_space_is_not_missing(store: Store) -> None:
    store.put(events(sample(0), sample(4), sample(8, final=True), thinned(3, 9)))
    part = completeness(store, WF).of("kickstart")
    assert (part.events_expected, part.missing, part.thinned) == (3, 0, 6)
    assert part.words == "3 events, all from disk, none came live, 6 more left out by the probe to save space"


def test_more_gaps_than_the_probe_left_out_are_missing(store: Store) -> None:
    store.put(events(sample(0), sample(8, final=True), thinned(4, 9)))
    part = completeness(store, WF).of("kickstart")
    assert (part.missing, part.thinned) == (2, 5)


def test_darshan_logs_that_came_home_are_read_and_their_reports_counted_as_no_arrivals(
    store: Store, tmp_path: Path
) -> None:
    pytest.importorskip("darshan", reason="no reader of Darshan's logs: pip install 'panorama-driver[darshan]'")
    folder = run_folder(tmp_path / "run")
    log = {"event": "darshan.log", "wf_uuid": WF, "dag_job_id": "a", "attempt": 1, "name": "a.darshan", "size": 3}
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps({**log, "data": "YWJj"}) + "\n")
    found = reconcile(store, WF, folder)
    [report] = store.events(WF, {"darshan.report"})
    assert report.fields["reason"]  # three letters are no log
    assert counts(found, "darshan") == (1, 0, 1, 0)


def test_a_workflow_has_those_below_it(store: Store) -> None:
    root = {"event": "stampede.xwf.start", "xwf_id": WF, "ts": 1.0, "restart_count": 0, "root_xwf_id": WF}
    store.put(events(root, {**root, "xwf_id": "below"}, {**root, "xwf_id": "other", "root_xwf_id": "other"}))
    assert family(store, WF) == [WF, "below"]


def test_a_workflow_that_has_ended_is_compared_with_the_disk_without_being_asked(store: Store, tmp_path: Path) -> None:
    submit_dir = tmp_path / "run0001"
    shutil.copytree(FAIL, submit_dir)
    live = [event if event.kind != "stampede.wf.plan" else _moved(event, submit_dir) for event in DELIVERED]
    with EndedWorkflows(store, settle=0.0):
        store.put((event for number, event in enumerate(live) if number % 3 or event.kind in ENDS), via=Via.BROKER)
        _wait_for(lambda: completeness(store, WF).reconciled)
    found = completeness(store, WF)
    assert (found.of("stampede").events_expected, found.of("stampede").missing) == (79, 0)
    assert found.of("stampede").filled_from_disk > 20


def test_files_that_are_not_here_or_of_another_user_are_left_alone(store: Store) -> None:
    moved = [event if event.kind != "stampede.wf.plan" else _moved(event, Path("/proc/1")) for event in DELIVERED]
    store.put(moved, via=Via.BROKER)
    with EndedWorkflows(store, settle=0.0) as workflows:
        workflows.finish()
    assert not completeness(store, WF).reconciled


DELIVERED = delivered("stampede-events-fail")
ENDS = ("stampede.wf.plan", "stampede.xwf.end")


def _moved(plan: Event, submit_dir: Path) -> Event:
    return msgspec.structs.replace(plan, fields={**plan.fields, "submit_dir": str(submit_dir)})


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
