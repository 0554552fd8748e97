"""NetLogger lines, as monitord writes them into a file."""

from __future__ import annotations

from ...captured import lines
from ..sinks import read_all

SEEDS = [
    lines("sinks/events.bp", 0, 2),
    lines("sinks/events.bp", 20, 22),
    lines("sinks/events.bp", -8, -4),
    b"ts=2026-11-22T11:39:22.000000Z event=stampede.task.monitoring xwf.id=w job.id=j job_inst.id=1 a=0.250000 b=None "
    b'c="[{\'x\': 1, \'y\': "it\'s"}]" d="two\nlines" e="say \\"so\\""\n',
]


def one(data: bytes) -> None:
    """Events, or a reason why there are none."""
    read_all(data)
