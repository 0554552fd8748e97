"""What jobs send home with themselves becomes the events that it would have been online."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.errors import FormatError
from panorama_driver.sources import expand, parse, payload

IDENTITY = {"wf_uuid": "u", "dag_job_id": "a_ID1", "condor_job_id": "7.0", "hostname": "n1", "pid": 9, "task_id": "ID1"}
RECORDS = [{"event": "kickstart.inv.online", "ts": 5.0 + seq, "seq": seq, "utime": 0.5} for seq in range(3)]


def carried(**more: Any) -> dict[str, Any]:
    return {"format": 1, "identity": IDENTITY, "records": RECORDS, **more}


def event(**fields: Any) -> dict[str, Any]:
    own = {"event": "stampede.task.monitoring", "xwf_id": "u", "job_id": "a_ID1", "job_inst_id": 3, "sched_id": "7.0"}
    return {**own, "ts": 9, "monitoring_event": "panorama", **fields}


def test_an_event_without_a_payload_is_itself() -> None:
    assert expand(event(a=1)) == [parse(event(a=1))]


def test_a_trace_that_came_home_is_the_trace_that_came_online() -> None:
    [envelope, *samples] = expand(event(panorama=carried()))
    assert envelope == parse(event())
    assert samples == [parse({**IDENTITY, **record}) for record in RECORDS]


def test_a_job_that_the_probe_was_not_told_of_is_named_by_the_event() -> None:
    [_, sample] = expand(event(panorama={"format": 1, "identity": {"pid": 9}, "records": RECORDS[:1]}))
    assert (sample.wf_uuid, sample.job_id, sample.fields["condor_job_id"]) == ("u", "a_ID1", "7.0")


def test_darshan_logs_are_events_of_their_own() -> None:
    logs = [{"name": "a.darshan", "size": 4, "data": "AAAA"}, {"name": "b.darshan", "size": 9, "reason": "too big"}]
    found = expand(event(panorama=carried(records=[], darshan=logs)))[1:]
    assert [(e.kind, e.job_id, e.fields["name"], e.fields.get("reason")) for e in found] == [
        ("darshan.log", "a_ID1", "a.darshan", None),
        ("darshan.log", "a_ID1", "b.darshan", "too big"),
    ]
    assert found[0].event_id != found[1].event_id


def test_records_that_were_left_out_are_told() -> None:
    [envelope, *_] = expand(event(panorama=carried(thinned={"kept": 3, "of": 99})))
    assert envelope.fields["thinned"] == {"kept": 3, "of": 99}


def test_a_payload_of_another_format_stays_whole() -> None:
    [kept] = expand(event(panorama={"format": 2, "records": "later"}))
    assert kept.fields["panorama"] == {"format": 2, "records": "later"}


@pytest.mark.parametrize("broken", [{"records": 7}, {"records": ["x"]}, {"identity": "me"}, {"darshan": {"a": 1}}])
def test_a_damaged_payload_is_refused_in_words(broken: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="payload of the probe"):
        expand(event(panorama=carried(**broken)))


def test_payloads_are_cut_out_of_a_programs_output() -> None:
    marked = f'{payload.START}{{"ts": 1,\n "payload": [{{"a": 1}}]}}{payload.END}'
    found = payload.split(f"before\n{marked}\nmiddle {marked} after\n")
    assert found.text == "before\n\nmiddle  after\n"
    assert [payload.items(p) for p in found.payloads] == [[{"a": 1}], [{"a": 1}]]
    assert found.broken == 0


@pytest.mark.parametrize("half", [f"{payload.START}{{", f"{payload.START}[1]{payload.END}"])
def test_half_a_payload_is_counted_and_no_output(half: str) -> None:
    found = payload.split(f"before {half}")
    assert (found.text, found.payloads, found.broken) == ("before ", (), 1)


@given(st.lists(st.one_of(st.text(alphabet="ab @\n"), st.dictionaries(st.text(), st.integers(), max_size=2))))
def test_output_and_payloads_are_told_apart_in_any_mixture(parts: list[str | dict[str, int]]) -> None:
    texts = [part for part in parts if isinstance(part, str)]
    dicts = [part for part in parts if isinstance(part, dict)]
    mixed = "".join(p if isinstance(p, str) else f"{payload.START}{json.dumps(p)}{payload.END}" for p in parts)
    found = payload.split(mixed)
    assert (found.text, list(found.payloads)) == ("".join(texts), dicts)
