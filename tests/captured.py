"""Recorded runs, as events."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from panorama_driver.events import Event
from panorama_driver.sources import expand, sink

CAPTURES = Path(__file__).parent / "data" / "captures"
LIVE = {
    "mini-events": "stampede-events.jsonl",
    "mini-fail": "stampede-events-fail.jsonl",
    "slurm-ok": "slurm-ok/events.json",
    "slurm-timeout": "slurm-timeout/events.json",
    "slurm-pend": "slurm-pend/events.json",
    "slurm-badpart": "slurm-badpart/events.json",
    "reruns": "reruns/events.json",
    "hierarchical": "databases/hierarchical.events.json.gz",
}
"""What monitord sent of each run, to a broker or into a file."""


def unpacked(name: str, folder: Path) -> Path:
    """A recorded file, unpacked if it is packed."""
    source = CAPTURES / name
    if source.suffix != ".gz":
        return source
    path = folder / source.stem
    path.write_bytes(gzip.decompress(source.read_bytes()))
    return path


def raw_records(run: str, folder: Path) -> Iterator[dict[str, Any]]:
    """What monitord sent of a run."""
    problems: list[str] = []
    for raw in sink.read(unpacked(LIVE[run], folder), problems.append):
        body = raw.get("body", raw)
        yield json.loads(body) if isinstance(body, str) else body
    assert problems == []


def told_live(run: str, folder: Path) -> dict[str, Event]:
    """The same as events, by identity."""
    return {event.event_id: event for raw in raw_records(run, folder) for event in expand(raw)}


def lines(name: str, first: int, last: int) -> bytes:
    """Some lines of a recorded file, counted from 0."""
    return b"".join((CAPTURES / name).read_bytes().splitlines(keepends=True)[first:last])
