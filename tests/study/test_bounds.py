"""Lower bounds of responses while a workflow runs, by hand-computed events; and that they are bounds, by a real run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.files import RunFollower
from panorama_driver.events import Event
from panorama_driver.metrics import correlate
from panorama_driver.objective import Responses
from panorama_driver.store import open_store
from panorama_driver.study.bounds import MONOTONE, Bounds, metrics_of, spans, sums
from tests.engines.test_local import bundle, run


def forms(**responses: str) -> Any:
    return Responses.parse(responses).forms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("workflow.makespan", {"makespan"}),
        ("2 * workflow.makespan / 60", {"makespan"}),
        ("workflow.cpu_time + 0.5 * workflow.core_time + 3", {"cpu_time", "core_time"}),
        ("(workflow.user_time + workflow.system_time) * 1.5", {"user_time", "system_time"}),
        ("-1 * workflow.makespan", None),
        ("workflow.makespan - 1", None),
        ("workflow.makespan * workflow.makespan", None),
        ("1 / workflow.makespan", None),
        ("0 * workflow.makespan", None),
        ("True * workflow.makespan", None),
        ("workflow.efficiency", None),
        ("sum(job.cpu_time for job in jobs)", None),
        ("3 + 4", None),
    ],
)
def test_a_response_is_bounded_where_it_can_only_grow(text: str, found: set[str] | None) -> None:
    assert metrics_of(forms(r=text)["r"]) == found


def step(kind: str, ts: float, count: int = 0, **fields: Any) -> Event:
    return Event(kind=f"stampede.xwf.{kind}", wf_uuid="w", ts=ts, fields={"restart_count": count, **fields})


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], (0.0, 0.0)),
        ([step("start", 100.0)], (20.0, 20.0)),
        ([step("start", 100.0), step("end", 104.0), step("start", 110.0, 1)], (20.0, 14.0)),
        ([step("start", 100.0), step("start", 110.0, 1)], (20.0, 10.0)),
        ([step("start", 130.0)], (0.0, 0.0)),
    ],
)
def test_makespan_and_active_time_so_far(steps: Iterable[Event], expected: tuple[float, float]) -> None:
    assert spans(steps, 120.0) == {"makespan": expected[0], "active_time": expected[1]}


def test_every_bound_of_a_run_grows_and_ends_no_higher_than_its_metric(tmp_path: Path) -> None:
    path = bundle(tmp_path / "b", pause=0.4)
    assert run(path).succeeded
    with open_store(tmp_path / "whole.db") as store, open_store(tmp_path / "part.db") as part:
        RunFollower(path / "run", store).finish()
        bounds = Bounds(forms(**{name: f"workflow.{name}" for name in MONOTONE}), part)
        before = dict.fromkeys(MONOTONE, 0.0)
        events = [event for event in store.since(limit=10_000).events if event.ts is not None]
        measured = correlate(store.events("11111111-0000"))
        for event in sorted(events, key=lambda each: each.ts or 0.0)[:-1]:
            part.put([event])
            now = bounds.of("11111111-0000", event.ts or 0.0)
            assert all(now[name] >= before[name] - 1e-9 for name in MONOTONE), event
            before = now
        known = {name: value for name in MONOTONE if (value := getattr(measured, name)) is not None}
        assert known.keys() == set(MONOTONE) - {"user_time", "system_time"}, "staging tells only the sum of the two"
        assert all(0 < before[name] <= value + 1e-6 for name, value in known.items())
        assert sums(measured)["cpu_time"] == pytest.approx(measured.cpu_time)
