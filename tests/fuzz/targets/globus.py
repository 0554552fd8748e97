"""A Globus task's document and its event list, as the Transfer API gives them and as they were published."""

from __future__ import annotations

import json

from panorama_driver.collector._records import events_of
from panorama_driver.errors import FormatError
from panorama_driver.metrics import series, transfers
from panorama_driver.sources import globus
from panorama_driver.testing.globus import FakeTask, Step

_TASK = FakeTask(
    "0a1b2c3d-1111-2222-3333-444455556666 - stage_in_0",
    [
        Step(1, "STARTED"),
        Step(5, "PROGRESS", 4000, 4),
        Step(6, "PAUSED"),
        Step(7, "UNPAUSED"),
        Step(8, "ENDPOINT_ERROR", description="x"),
        Step(10, "SUCCEEDED"),
    ],
    task_id="11111111-aaaa-4bbb-8ccc-000000000000",
)


def _published(at: float) -> bytes:
    now = _TASK.requested + at
    return json.dumps(globus.published(_TASK.document(now), _TASK.events(now))).encode()


SEEDS = [
    _published(5),
    _published(10),
    json.dumps(globus.happened(_TASK.document(_TASK.requested), _TASK.events(_TASK.requested + 5)[0])).encode(),
]


def one(data: bytes) -> None:
    """Events of which transfers can be made, or a reason why there are none."""
    try:
        events = events_of(data)
    except FormatError:
        return
    for event in events:
        assert len(event.event_id) == 32
        globus.task(event.fields)
        globus.task_event(event.fields)
    if events and events[0].kind in (globus.TASK, globus.PROGRESS):
        transfers(events)
        series(events)
