"""The identity of an event: the same from any source, different for different things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.sources import parse
from panorama_driver.sources.stampede import exit_code

CAPTURES = Path(__file__).parent / "data" / "captures"


def bodies(name: str) -> list[dict[str, Any]]:
    lines = (CAPTURES / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["body"] for line in lines]


@pytest.mark.parametrize(
    "name",
    ["stampede-events.jsonl", "stampede-events-fail.jsonl", "kickstart-online.jsonl", "transfer-events.jsonl"],
)
def test_every_recorded_message_is_an_event_of_its_own(name: str) -> None:
    events = [parse(body) for body in bodies(name)]
    assert len({event.event_id for event in events}) == len(events)


def test_both_spellings_of_keys_and_numbers_as_text_give_the_same_identity() -> None:
    flat = {"event": "stampede.inv.end", "xwf_id": "u", "job_id": "j", "job_inst_id": 4, "inv_id": 1, "ts": 5.0}
    dotted = {"event": "stampede.inv.end", "xwf.id": "u", "job.id": "j", "job_inst.id": "4", "inv.id": "1", "ts": "5"}
    assert parse(flat).event_id == parse(dotted).event_id
    assert parse(flat).attempt == parse(dotted).attempt == 4


@pytest.mark.parametrize(("one", "other"), [("12.1", "12.10"), ("01", "1.0"), ("1e3", "1000")])
def test_names_that_look_like_numbers_stay_names(one: str, other: str) -> None:
    events = [Event(kind="stampede.rc.meta", wf_uuid="u", fields={"lfn_id": name}) for name in (one, other)]
    assert events[0].event_id != events[1].event_id


def test_retries_are_kept_apart() -> None:
    first, second = (Event(kind="stampede.inv.end", wf_uuid="u", ts=5.0, job_id="j", attempt=n) for n in (3, 4))
    assert first.event_id != second.event_id


def test_samples_of_one_trace_are_told_apart_by_their_number_and_not_by_the_clock() -> None:
    samples = [
        Event(kind="kickstart.inv.online", wf_uuid="u", ts=5.0, job_id="j", fields={"pid": 7, "seq": seq})
        for seq in (0, 1)
    ]
    assert samples[0].event_id != samples[1].event_id


def told(kind: str, **fields: Any) -> Event:
    raw = {"event": f"stampede.{kind}", "xwf_id": "u", "job_id": "j", "job_inst_id": 3, "sched_id": "7.0", **fields}
    return parse(raw)


@pytest.mark.parametrize(
    ("kind", "monitord", "disk"),
    [
        ("job_inst.submit.start", {"ts": 5, "js_id": 1, "site": "s"}, {"ts": 5.0, "site": "s"}),
        ("job_inst.main.start", {"ts": 5, "js_id": 2}, {"ts": 5.0, "stdout_file": "j.out"}),
        ("job_inst.main.end", {"ts": 6, "js_id": 4, "exitcode": "1"}, {"ts": 6.0, "exitcode": None}),
        ("job_inst.host.info", {"ts": 9, "ip": "h", "hostname": "unknown"}, {"ts": 8, "ip": "h", "hostname": "n"}),
        ("inv.end", {"inv_id": 1, "ts": 8, "maxrss": 9, "dax": "/d"}, {"inv_id": 1, "ts": 8, "maxrss": 9}),
        ("int.metric", {"ts": 9, "type": "check", "file_type": "input"}, {"type": "check", "file_type": "input"}),
        ("task.monitoring", {"ts": 1, "a": 1, "dag": "d", "submit_dir": "/s"}, {"ts": 1, "a": 1}),
        ("xwf.end", {"ts": 9.0, "restart_count": 1, "js_id": 4}, {"ts": 9, "restart_count": 1}),
    ],
)
def test_monitord_and_a_reader_of_the_submit_directory_tell_the_same_event(
    kind: str, monitord: dict[str, Any], disk: dict[str, Any]
) -> None:
    assert told(kind, **monitord).event_id == told(kind, **disk).event_id


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("job_inst.main.start", {"ts": 5}, {"ts": 9}),  # started again after an eviction
        ("job_inst.held.start", {"ts": 5}, {"ts": 9}),
        ("job_inst.submit.start", {"job_inst_id": 3}, {"job_inst_id": 4}),
        ("inv.end", {"inv_id": 1}, {"inv_id": 2}),  # programs of a clustered job
        ("job_inst.host.info", {"ip": "a"}, {"ip": "b"}),
        ("xwf.start", {"restart_count": 0}, {"restart_count": 1}),  # run again from a rescue DAG
        ("task.monitoring", {"ts": 1, "a": 1}, {"ts": 1, "a": 2}),
        ("inv.end", {"inv_id": 1, "exitcode": "0"}, {"inv_id": 1, "exitcode": "0", "maxrss": 9}),  # made up, and real
    ],
)
def test_what_may_come_again_is_told_apart(kind: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert told(kind, **one).event_id != told(kind, **other).event_id


def test_static_events_have_no_time_since_the_planner_writes_the_uptime_of_its_host() -> None:
    [info, *_] = [parse(body) for body in bodies("stampede-events.jsonl") if body["event"] == "stampede.job.info"]
    assert info.ts is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "without a name in its field 'event'"),
        ({"event": "weather.report"}, "family 'weather' is not one of"),
        ({"event": "stampede.inv.end"}, "without its field 'xwf_id'"),
        ({"event": "stampede.inv.end", "xwf_id": "u", "ts": "noon"}, "'noon', not a time in seconds"),
        ({"event": "stampede.inv.end", "xwf_id": "u", "ts": "nan"}, "not a finite time"),
        ({"event": "stampede.inv.end", "xwf_id": "u", "job_inst_id": "first"}, "not a whole number"),
        ({"event": "stampede.inv.end", "xwf_id": "u", "job_inst_id": 3.7}, "not a whole number"),
        ({"event": "stampede.inv.end", "xwf_id": "u", "job_inst_id": float("inf")}, "not a whole number"),
        ({"event": "kickstart.inv.online", "ts": 1.0}, "without its field 'wf_uuid'"),
    ],
)
def test_a_record_that_is_no_event_is_refused_in_words(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse(raw)


@pytest.mark.parametrize(
    ("status", "code"), [("0", 0), (768, 3), ("256", 1), (15, -15), (139, -11), (-127, -127), (None, None), ("", None)]
)
def test_raw_wait_statuses_are_decoded(status: object, code: int | None) -> None:
    assert exit_code(status) == code
