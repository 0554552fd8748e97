"""What pegasus-transfer leaves of its work, in a list or in its log only, becomes an event for each attempt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.events import Event
from panorama_driver.sources import expand
from panorama_driver.sources.transfers import ATTEMPT, SINGLE, STATS, SUMMARY, of_job, runs, single, summary

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
FOLDER = CAPTURES / "pegasus-transfer"
ENDED = 1795376078.0 + 3
WF = "0a1b2c3d-1111-2222-3333-444455556666"


def attempts(name: str) -> list[dict[str, Any]]:
    (item,) = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return list(item["transfer_attempts"])


def log(name: str) -> str:
    return (FOLDER / f"{name}.log").read_text()


def ended(**fields: Any) -> list[Event]:
    """Events of the transfers of a job that ended so."""
    key = {"xwf_id": WF, "job_id": "stage_in_0", "job_inst_id": 4, "sched_id": "9.0", "ts": ENDED}
    first, *rest = expand({"event": "stampede.job_inst.composite", **key, **fields})
    assert first.kind == "stampede.job_inst.composite"
    assert all(
        (e.wf_uuid, e.job_id, e.attempt, e.fields["condor_job_id"]) == (WF, "stage_in_0", 4, "9.0") for e in rest
    )
    assert len({event.event_id for event in rest}) == len(rest)
    return rest


def told(events: list[Event]) -> list[tuple[str, bool | None, str | None, float | None, float | None]]:
    found = [single(event.fields) for event in events if event.kind == ATTEMPT]
    return [(str(s.source).rpartition("/")[2], s.succeeded, s.method, s.size, s.moved) for s in found]


def test_each_attempt_of_the_list_is_an_event_with_its_exact_size() -> None:
    events = ended(transfer_attempts=attempts("retried"))
    assert sorted(told(events), key=str) == [
        ("a.dat", True, "copy", 12345, 12345),
        ("big", True, "copy", 3000000, 3000000),
        ("big", True, "link", 3000000, 0),  # a link moves nothing
        ("empty", True, "copy", 0, 0),  # the list leaves a size of 0 out
        ("nothere", False, "copy", None, None),
    ]
    names = {event.fields["filename"] for event in events}
    assert names == {"a.dat", "big", "big2", "sub/empty"}
    assert {(event.fields["source_site_name"], event.fields["destination_site_name"]) for event in events} == {
        ("local", "pool"),
        ("gone", "pool"),
    }


def test_the_log_tells_that_files_of_the_list_were_linked() -> None:
    events = ended(transfer_attempts=attempts("failed"), stderr_text=quote(log("failed")))
    assert told(events) == [("big", True, "link", 3000000, 0), ("nothere", False, "copy", None, None)]


def test_a_list_brings_a_log_no_events_of_its_own() -> None:
    kinds = {event.kind for event in ended(transfer_attempts=attempts("retried"), stdout_text=quote(log("retried")))}
    assert kinds == {ATTEMPT}


def test_a_log_alone_tells_of_each_attempt_and_of_all_together() -> None:
    events = ended(stdout_text=quote(f"#@ 1 stderr\n {log('retried')}"))
    assert [entry[:3] for entry in told(events)] == [
        ("big", True, "copy"),
        ("empty", True, "copy"),
        ("big", True, "link"),
        ("nothere", False, None),
        ("a.dat", True, "copy"),
    ]
    assert [event.fields.get("retried") for event in events if event.kind == ATTEMPT].count(True) == 1
    (total,) = [summary(event.fields) for event in events if event.kind == STATS]
    assert (total.files, total.succeeded, total.linked) == (5, True, 1)
    assert total.size is not None
    assert abs(total.size - (12345 + 3000000 + 3000000)) <= total.rounding == 0.05 * 2**20


def test_a_log_of_a_failure_tells_what_failed_and_that_something_did() -> None:
    events = ended(stdout_text=quote(log("failed")))
    assert [entry[:2] for entry in told(events)] == [("big", True), ("nothere", False)]
    assert [event.fields["retried"] for event in events if event.kind == ATTEMPT] == [False, False]
    assert [event.fields["status"] for event in events if event.kind == STATS] == [1]


def test_times_of_a_log_whose_zone_is_not_told_lie_next_to_the_end_of_the_job() -> None:
    (total,) = [event for event in ended(stdout_text=quote(log("failed"))) if event.kind == STATS]
    for hours in (-9.5, 0, 5.75):
        key = {"xwf_id": WF, "job_id": "j", "job_inst_id": 1, "ts": ENDED + hours * 3600}
        *_, shifted = expand({"event": "stampede.job_inst.composite", **key, "stdout_text": quote(log("failed"))})
        assert shifted.ts == pytest.approx((total.ts or 0) + hours * 3600, abs=0.001)
        assert abs(key["ts"] - (shifted.ts or 0)) <= 450  # type: ignore[operator]  # it is a float


def test_a_file_that_was_linked_long_before_the_job_ended_keeps_its_time() -> None:
    early = log("failed").replace("19:34:37,551    INFO:  ln", "19:14:37,551    INFO:  ln")
    link, _, total = ended(stdout_text=quote(early))
    assert total.fields["transfer_completion_time"] - link.fields["transfer_start_time"] == pytest.approx(1202)


@pytest.mark.parametrize(
    ("source", "destination", "size"),
    [
        ("file:///a/empty", "file:///b/empty", 0),  # the list leaves a size of 0 out
        ("https://example.org/empty", "file:///b/empty", 0),
        ("file:///a/big", "moveto:///b/big", None),  # the source is no longer there when its size is asked for
        ("symlink:///a/big", "symlink:///b/big", None),
        ("go://here/a/big", "go://there/b/big", None),
    ],
)
def test_a_size_that_the_list_does_not_know_is_not_zero(source: str, destination: str, size: int | None) -> None:
    item = {"src_url": source, "dst_url": destination, "success": True, "start": ENDED - 5, "duration": 0.1}
    (event,) = ended(transfer_attempts=[item])
    assert single(event.fields).size == size


def test_a_command_that_the_log_names_as_failed_has_failed_in_the_last_attempt_as_well() -> None:
    events = ended(stdout_text=quote(log("refused")))
    assert [(event.kind, event.fields["status"], event.fields.get("retried")) for event in events] == [
        (ATTEMPT, 1, True),
        (ATTEMPT, 1, True),
        (ATTEMPT, 1, False),
        (STATS, 1, None),
    ]
    other = log("refused").replace(
        "03:04:05,400   ERROR:  Command exited", "03:04:05,400   ERROR:  Some command exited"
    )
    *_, last, _ = ended(stdout_text=quote(other))
    assert single(last.fields).succeeded is None  # an error that names no command may be of any


def test_a_log_that_was_cut_off_tells_no_total() -> None:
    text = log("retried")
    (run,) = runs(text[: text.index("Stats:")])
    assert (run.attempts, run.size, run.succeeded) == (None, None, None)
    assert [event.kind for event in ended(stdout_text=quote(text[: text.index("Stats:")]))] == [STATS]


def test_a_run_that_only_made_directories_is_no_transfer() -> None:
    text = log("retried").split("\n")
    text = [line for line in text if "/bin/cp" not in line and "ln -f" not in line and "ERROR" not in line]
    idle = "\n".join(
        line.split("Stats:")[0] + "Stats: no local files in the transfer set" if "Stats:" in line else line
        for line in text
    )
    assert ended(stdout_text=quote(idle)) == []


@pytest.mark.parametrize(
    ("shown", "size", "rounding"),
    [("524.0 B", 524, 0), ("97.7 KB", 97.7 * 1024, 51.2), ("1.5 TB", 1.5 * 2**40, 0.05 * 2**40), ("19 B", 19, 0)],
)
def test_a_total_is_known_to_the_half_of_its_last_digit(shown: str, size: float, rounding: float) -> None:
    head = "2026-11-22 11:39:43,993    INFO:  "
    (run,) = runs(
        f"{head}Starting transfers - attempt 1\n{head}Stats: Total 3 transfers, {shown} transferred in 2 seconds."
    )
    assert run.attempts == 3
    assert (run.size, run.rounding) == pytest.approx((size, rounding))


def test_the_real_jobs_of_a_recorded_run_tell_the_same_live_and_from_disk() -> None:
    bodies = [json.loads(line)["body"] for line in (CAPTURES / "stampede-events.jsonl").read_text().splitlines()]
    events = [event for body in bodies for event in expand(body) if event.kind in (ATTEMPT, STATS)]
    assert sorted((event.kind, event.job_id) for event in events) == sorted(
        (kind, job)
        for kind in (ATTEMPT, STATS)
        for job in ("stage_in_local_local_0_0", "stage_in_remote_local_0_0", "stage_out_local_local_0_0")
    )


def test_records_of_panorama_are_read_with_their_types() -> None:
    first, second = [json.loads(line)["body"] for line in (CAPTURES / "transfer-events.jsonl").read_text().splitlines()]
    one, together = single(first), summary(second)
    assert (one.filename, one.size, one.moved, one.succeeded) == ("/home/runs/ks2/a.bin", 300000, 300000, True)
    assert (together.files, together.size, together.begin, together.end) == (1, 300000, 1795348505, 1795348507)
    assert single(first | {"bytes_transferred": None}).moved is None
    assert single(first | {"status": 1}).succeeded is False
    assert {expand(raw)[0].kind for raw in (first, second)} == {SINGLE, SUMMARY}


hostile = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["src_url", "dst_url", "success", "start", "duration", "bytes", "lfn"]), hostile
        )
    )
)
def test_no_list_of_attempts_costs_the_end_of_a_job(found: list[Any]) -> None:
    for event in ended(transfer_attempts=found):
        single(event.fields)


@given(hostile, hostile, hostile)
def test_nothing_under_the_keys_of_a_log_costs_the_end_of_a_job(listed: Any, stdout: Any, stderr: Any) -> None:
    fields = {"transfer_attempts": listed, "stdout_text": stdout, "stderr_text": stderr}
    key = {"wf_uuid": WF, "job_id": "j", "attempt": 1, "ts": ENDED}
    list(of_job(Event(kind="stampede.job_inst.composite", fields=fields, **key)))  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(log("retried").splitlines() + log("failed").splitlines()), max_size=30))
def test_lines_of_a_log_in_any_order_give_runs(lines: list[str]) -> None:
    for run in runs("\n".join(lines)):
        assert run.size is None or run.size >= 0


@given(
    st.dictionaries(
        st.sampled_from(["bytes_transferred", "size", "status", "transfer_start_time", "total_files", "method"]),
        hostile,
    )
)
def test_readings_of_records_are_total(fields: dict[str, Any]) -> None:
    assert single(fields).size is None or single(fields).size >= 0  # type: ignore[operator]  # it is not None
    assert summary(fields).rounding >= 0
