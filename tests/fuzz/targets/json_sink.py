"""JSON objects one after another, as monitord writes them into a file."""

from __future__ import annotations

from ...captured import lines
from ..sinks import read_all

SEEDS = [
    lines("sinks/events.json", 0, 2),
    lines("sinks/events.json", 20, 22).replace(b"\n", b""),
    lines("sinks/events.json", -8, -4),
    b'{"event": "stampede.xwf.start",\n "xwf.id": "w", "restart_count": 0, "reason": "a } { \\" \\\\"}\n{}',
]


def one(data: bytes) -> None:
    """Events, or a reason why there are none."""
    read_all(data)
