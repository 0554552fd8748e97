"""`stampede.*` events: typed, and the same bit for bit whichever way they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.errors import FormatError
from panorama_driver.sources import parse, stampede
from panorama_driver.sources.catalogue import KINDS, Composite, InvocationEnd, SubworkflowMap, WorkflowPlan
from tests.captured import LIVE, raw_records

BRIEF = {"event": "stampede.job_inst.main.end", "xwf_id": "w", "job_id": "j", "job_inst_id": 3, "ts": 5}


def bits(raw: dict[str, Any]) -> bytes:
    return msgspec.json.encode(parse(raw), order="deterministic")


@pytest.mark.parametrize("run", LIVE)
def test_all_that_monitord_ever_sent_is_in_the_catalogue_and_typed(run: str, tmp_path: Path) -> None:
    events = [parse(raw) for raw in raw_records(run, tmp_path) if raw["event"].startswith("stampede.")]
    for event in events:
        assert stampede.typed(event).xwf_id == event.wf_uuid
    assert len(events) > 60


def test_the_catalogue_has_every_kind_that_the_released_monitord_accepts() -> None:
    names = (
        "wf.plan wf.map.task_job static.start static.end xwf.start xwf.end xwf.map.subwf_job task.info task.edge "
        "job.info job.edge job_inst.pre.start job_inst.pre.term job_inst.pre.end job_inst.submit.start "
        "job_inst.submit.end job_inst.held.start job_inst.held.end job_inst.main.start job_inst.main.term "
        "job_inst.main.end job_inst.post.start job_inst.post.term job_inst.post.end job_inst.host.info "
        "job_inst.image.info job_inst.abort.info job_inst.grid.submit.start job_inst.grid.submit.end "
        "job_inst.globus.submit.start job_inst.globus.submit.end job_inst.tag job_inst.composite inv.start inv.end "
        "static.meta.start xwf.meta task.meta rc.meta int.metric rc.pfn wf.map.file static.meta.end task.monitoring"
    )
    beyond = {"stampede.job_inst.remote_error"}  # which it sends nevertheless
    assert {f"stampede.{name}" for name in names.split()} | beyond == set(KINDS)


def test_numbers_that_came_as_text_are_numbers() -> None:
    text = {"local.dur": "65.000000", "exitcode": "768", "status": "-1", "multiplier_factor": "1", "sched.id": "35.10"}
    event = parse({**BRIEF, **text})
    told = {"local_dur": 65.0, "exitcode": 768, "status": -1, "multiplier_factor": 1, "sched_id": "35.10"}
    assert event.fields == told
    assert [type(event.fields[key]) for key in told] == [float, int, int, int, str]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"exitcode": "None"}, {}),  # monitord makes text of what it does not know
        ({"reason": None}, {}),
        ({"level": "Info"}, {}),  # which bp lines write out
        ({"xwf.id": "w", "xwf_id": "w", "stdout__text": "a"}, {"stdout_text": "a"}),
        ({"local_dur": 2}, {"local.dur": "2.0"}),
        ({"cluster.dur": 0.1 + 0.2}, {"cluster_dur": "0.300000"}),
        ({"exitcode": 256.0}, {"exitcode": "256"}),
        ({"user": 1000}, {"user": "1000"}),
    ],
)
def test_two_ways_to_say_the_same_give_the_same_bits(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert bits({**BRIEF, **one}) == bits({**BRIEF, **other})


def test_an_error_and_a_field_that_nobody_knows_are_kept() -> None:
    event = parse({**BRIEF, "level": "Error", "my.own": {"a": [1, None]}, "other": None, "007": "007"})
    assert event.fields == {"level": "Error", "my_own": {"a": [1, None]}, "other": None, "007": "007"}


def test_what_the_planner_calls_clustered_is_true_or_false() -> None:
    info = {"event": "stampede.job.info", "xwf_id": "w", "job_id": "j"}
    assert [parse({**info, "clustered": value}).fields["clustered"] for value in ("0", 1, "true", False)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"event": "stampede.job_inst.teleported", "xwf_id": "w"}, "'stampede.job_inst.teleported' is not among the"),
        ({"event": "stampede.job_inst.teleported", "xwf_id": "w"}, "requeue it after an update"),
        ({**BRIEF, "job_inst_id": None}, "'stampede.job_inst.main.end' without its field 'job_inst_id'"),
        ({"event": "stampede.job.edge", "xwf_id": "w", "parent_job_id": "a"}, "without its field 'child_job_id'"),
        ({"event": "stampede.xwf.start", "xwf_id": "w"}, "without its field 'restart_count'"),
        ({**BRIEF, "exitcode": "1.5"}, "field 'exitcode' is '1.5', not a whole number of 64 bits"),
        ({**BRIEF, "exitcode": 10**19}, "not a whole number of 64 bits"),
        ({**BRIEF, "local_dur": "soon"}, "field 'local_dur' is 'soon', not a finite number"),
        ({**BRIEF, "local_dur": "inf"}, "not a finite number"),
        ({**BRIEF, "site": ["a"]}, "field 'site' is .* not a text"),
        ({"event": "stampede.job.info", "xwf_id": "w", "job_id": "j", "clustered": "some"}, "not 0 or 1"),
    ],
)
def test_what_is_no_event_is_refused_in_words(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse(raw)


def test_what_a_user_asks_for_may_be_an_expression() -> None:
    composite = {**BRIEF, "event": "stampede.job_inst.composite", "req_cpus": "4", "req_memory_mb": "RequestMemory * 2"}
    typed = stampede.typed(parse(composite))
    assert isinstance(typed, Composite)
    assert (typed.req_cpus, typed.req_memory_mb) == (4, "RequestMemory * 2")


def test_a_workflow_of_workflows_keeps_its_root_its_parent_and_the_job_that_ran_the_inner_one(tmp_path: Path) -> None:
    events = [parse(raw) for raw in raw_records("hierarchical", tmp_path)]
    outer, inner = [typed for e in events if isinstance(typed := stampede.typed(e), WorkflowPlan)]
    assert (outer.dax_label, outer.root_xwf_id, outer.parent_xwf_id) == ("outer", outer.xwf_id, None)
    assert (inner.dax_label, inner.root_xwf_id, inner.parent_xwf_id) == ("inner", outer.xwf_id, outer.xwf_id)
    [link] = [typed for e in events if isinstance(typed := stampede.typed(e), SubworkflowMap)]
    assert (link.xwf_id, link.subwf_id, link.job_id, link.job_inst_id) == (
        outer.xwf_id,
        inner.xwf_id,
        "pegasus-plan_SUB1",
        6,
    )
    assert {e.fields.get("root_xwf_id", outer.xwf_id) for e in events} == {outer.xwf_id}
    ran = {
        e.wf_uuid: typed.task_id
        for e in events
        if isinstance(typed := stampede.typed(e), InvocationEnd) and typed.task_id
    }
    assert set(ran) == {outer.xwf_id, inner.xwf_id}


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.lists(st.integers())
)


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_an_event_made_a_record_again_is_the_same_event(kind: str, data: st.DataObject) -> None:
    names = [field.name for field in msgspec.structs.fields(KINDS[kind])]
    known = data.draw(st.dictionaries(st.sampled_from(names), VALUES))
    others = data.draw(st.dictionaries(st.text("ab._", min_size=1, max_size=5), VALUES, max_size=2))
    key = {"xwf_id": "w", "job_id": "j", "job_inst_id": 1, "inv_id": 1}
    try:
        event = parse({**others, **known, **key, "event": kind})
    except FormatError:
        return
    own = {"xwf_id": event.wf_uuid, "ts": event.ts, "job_id": event.job_id}
    again = parse({**event.fields, **own, "job_inst_id": event.attempt, "inv_id": event.invocation, "event": kind})
    assert again == event
    assert again.event_id == event.event_id
    stampede.typed(event)
