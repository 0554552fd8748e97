"""What pegasus-transfer leaves: its list of attempts, its log, and the records that Panorama's publishes."""

from __future__ import annotations

import json
import math
from pathlib import Path

from panorama_driver.events import Event
from panorama_driver.metrics import correlate, series, transfers
from panorama_driver.sources import kickstart
from panorama_driver.sources.transfers import of_job, runs, single, summary

_FOLDER = Path(__file__).parents[2] / "data" / "captures" / "pegasus-transfer"
SEEDS = [
    *(f"{kickstart.MULTIPART}\n".encode() + (_FOLDER / f"{name}.yml").read_bytes() for name in ("retried", "failed")),
    *((_FOLDER / f"{name}.log").read_bytes() for name in ("retried", "failed")),
    b'{"status":0,"source_url":"file:///a","destination_url":"file:///b","transfer_start_time":1795348507,'
    b'"transfer_completion_time":1795348507,"bytes_transferred":null,"total_files":3,"size":1.5,"size_rounding":0.05}',
]
_WF = "0a1b2c3d-1111-2222-3333-444455556666"


def one(data: bytes) -> None:
    """Events with finite numbers, of which metrics can be made; or none."""
    text = data.decode("utf-8", "replace")
    found = [run for run in runs(text) if run.size is not None]
    assert all(math.isfinite(run.size or 0.0) and run.rounding >= 0 for run in found)
    fields = {"stdout_text": text, "transfer_attempts": _attempts(data), **_record(text)}
    ended = Event(kind="stampede.job_inst.composite", wf_uuid=_WF, ts=1e9, job_id="j", attempt=1, fields=fields)
    events = [ended, *of_job(ended)]
    assert len({event.event_id for event in events}) == len(events)
    for record in (*events, Event(kind="transfer.inv.local.single", wf_uuid=_WF, fields=fields)):
        single(record.fields)
        summary(record.fields)
    correlate(events)
    transfers(events)
    series(events)


def _attempts(data: bytes) -> object:
    import io

    for item in kickstart.read(io.BytesIO(data)).multipart:
        if "transfer_attempts" in item:
            return item["transfer_attempts"]
    return None


def _record(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
