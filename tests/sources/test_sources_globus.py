"""Tasks of Globus and their event lists become events that do not depend on who tells of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.errors import FormatError
from panorama_driver.sources import globus, parse
from panorama_driver.testing.globus import FakeTask, Step

WF = "0a1b2c3d-1111-2222-3333-444455556666"
TASK = FakeTask(
    f"{WF} - stage_in_remote_0_0",
    [Step(1, "STARTED"), Step(5, "PROGRESS", 4000, 4), Step(6, "ENDPOINT_ERROR"), Step(10, "SUCCEEDED")],
    task_id="11111111-aaaa-4bbb-8ccc-000000000000",
)
START = TASK.requested


def final() -> dict[str, Any]:
    return globus.published(TASK.document(START + 99), TASK.events(START + 99))


def test_a_document_becomes_what_panorama_published() -> None:
    raw = final()
    assert raw.keys() - TASK.document(START + 99).keys() == {"event", "wf_uuid", "dag_job_id", "transfer_events"}
    assert TASK.document(START + 99).keys() - raw.keys() == {"event_link"}
    event = parse(raw)
    assert (event.kind, event.wf_uuid, event.job_id, event.ts) == (
        "transfer.inv.go",
        WF,
        "stage_in_remote_0_0",
        START + 10,
    )


def test_all_fields_of_a_task_are_read_with_their_units() -> None:
    task = globus.task(final())
    assert (task.status, task.is_final, task.request_time, task.completion_time) == (
        "SUCCEEDED",
        True,
        START,
        START + 10,
    )
    assert (task.bytes_transferred, task.effective_bytes_per_second, task.faults) == (4000, 400, 1)
    assert (task.files, task.files_transferred, task.subtasks_succeeded, task.verify_checksum) == (1, 1, 1, True)
    assert (task.source_endpoint_display_name, task.deadline) == ("source collection", START + 86400)
    failed = globus.task({"status": "FAILED", "fatal_error": {"code": "EXPIRED", "description": "too late"}})
    assert (failed.is_final, failed.error_code, failed.error) == (True, "EXPIRED", "too late")


def test_an_entry_of_the_list_is_read_with_its_details() -> None:
    entry = TASK.events(START + 5)[0]
    event = globus.task_event(entry)
    assert (event.code, event.time, event.bytes_transferred, event.duration, event.speed) == (
        "PROGRESS",
        START + 5,
        4000,
        4,
        1000,
    )
    assert parse(globus.happened(TASK.document(START + 5), entry)).ts == START + 5
    assert globus.task_event({"code": "PERMISSION_DENIED", "is_error": True, "details": "Error (transfer)"}).is_error
    # the documentation's own spelling of a time has a space
    assert globus.moment("2014-07-08 18:50:18+00:00") == globus.moment("2014-07-08T18:50:18Z") == 1404845418


def test_one_end_is_one_row_however_much_the_teller_knew() -> None:
    whole, short = final(), final() | {"transfer_events": [], "ts": START + 11, "bytes_transferred": 4000.0}
    assert parse(whole).event_id == parse(short).event_id
    other = final() | {"task_id": "22222222-aaaa-4bbb-8ccc-000000000000"}
    assert parse(other).event_id != parse(whole).event_id
    assert parse(final() | {"status": "FAILED"}).event_id != parse(whole).event_id


def test_each_state_on_the_way_is_a_row_of_its_own_and_hides_no_end() -> None:
    ids = set()
    for at in (0, 1, 5, 6, 10):
        ids.add(parse(globus.published(TASK.document(START + at), [])).event_id)
        ids.add(parse(globus.published(TASK.document(START + at), [])).event_id)
    assert len(ids) == 4  # STARTED alone changes nothing in the document


def test_each_entry_is_a_row_once() -> None:
    document = TASK.document(START + 99)
    ids = [parse(globus.happened(document, entry)).event_id for entry in TASK.events(START + 99) * 2]
    assert len(set(ids)) == 4
    # what the document says meanwhile does not matter
    assert parse(globus.happened(TASK.document(START + 5), TASK.events(START + 5)[0])).event_id in ids


@pytest.mark.parametrize(
    "label",
    [
        None,
        3,
        "",
        "pictures",
        WF,
        f"{WF} - ",
        f"{WF} - a b",
        f"{WF}  - a",
        f"{WF} - a\n",
        f"x{WF} - a",
        f"{WF} - " + "a" * 200,
        "'; DROP TABLE events; --",
        f"../../{WF} - a",
    ],
)
def test_a_hostile_label_belongs_to_no_workflow(label: object) -> None:
    with pytest.raises(FormatError, match="is not '<wf_uuid> - <dag_job_id>'"):
        globus.owner(label)
    with pytest.raises(FormatError):
        globus.published({**TASK.document(START), "label": label}, [])


def test_a_record_without_ids_has_those_of_its_label_and_without_either_is_none() -> None:
    raw = {key: value for key, value in final().items() if key not in ("wf_uuid", "dag_job_id")}
    assert (parse(raw).wf_uuid, parse(raw).job_id) == (WF, "stage_in_remote_0_0")
    with pytest.raises(FormatError):
        parse(raw | {"label": "mine"})
    with pytest.raises(FormatError, match="task_id"):
        parse(globus.happened(TASK.document(START), {"code": "STARTED"}) | {"task_id": ""})


hostile = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*globus.Task.__struct_fields__, "fatal_error"]), hostile))
def test_readings_of_tasks_are_total_and_of_their_types(fields: dict[str, Any]) -> None:
    task = globus.task(fields)
    assert msgspec.convert(msgspec.to_builtins(task), globus.Task) == task


@given(st.dictionaries(st.sampled_from(["code", "time", "details", "description", "is_error"]), hostile | st.just("{")))
def test_readings_of_entries_are_total_and_of_their_types(fields: dict[str, Any]) -> None:
    event = globus.task_event(fields)
    assert msgspec.convert(msgspec.to_builtins(event), globus.TaskEvent) == event


@given(st.dictionaries(st.sampled_from(["bytes_transferred", "duration", "mbps"]), hostile))
def test_details_of_any_content_are_read(details: dict[str, Any]) -> None:
    event = globus.task_event({"code": "PROGRESS", "details": json.dumps(details)})
    assert event.bytes_transferred is None or event.bytes_transferred >= 0
