"""The recorded runs of tests/data/captures, as a broker delivered them and as they lie on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from panorama_driver.collector._records import events_of
from panorama_driver.events import Event
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.store import Store

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
RUNS = {"mini-events": "stampede-events.jsonl", "mini-fail": "stampede-events-fail.jsonl"}
"""Submit directories, and the messages of the same runs."""


def bodies(run: str) -> list[bytes]:
    """What each message said."""
    lines = (CAPTURES / RUNS[run]).read_text().splitlines()
    return [json.dumps(json.loads(line)["body"]).encode() for line in lines]


def delivered(run: str) -> list[Event]:
    """The events of all messages, in their order."""
    return [event for body in bodies(run) for event in events_of(body)]


def uuid_of(run: str) -> str:
    [wf_uuid] = {event.wf_uuid for event in delivered(run)}
    return wf_uuid


def submit_dir(run: str) -> Path:
    return CAPTURES / "submitdirs" / run


def copied(run: str, to: Path) -> Path:
    """A copy of a submit directory that can be changed."""
    return Path(shutil.copytree(submit_dir(run), to))


def rows(store: Store) -> dict[str, Event]:
    """Events by their identity, without the notes about how complete they are."""
    found = [event for summary in store.workflows() for event in store.events(summary.wf_uuid)]
    return {event.event_id: event for event in found if not event.kind.startswith("panorama.")}


def metrics(store: Store, run: str) -> WorkflowMetrics:
    return correlate(store.events(uuid_of(run)))
