"""What the planner leaves: braindump.yml, static.bp, the DAG and the submit files."""

from __future__ import annotations

import contextlib

from panorama_driver.errors import FormatError
from panorama_driver.sources import plan

from ...captured import CAPTURES, lines

_RUN = CAPTURES / "submitdirs" / "mini-events"
SEEDS = [
    (_RUN / "braindump.yml").read_bytes(),
    lines("submitdirs/mini-events/mini-events-0.static.bp", 0, 20),
    (_RUN / "mini-events-0.dag").read_bytes(),
    (_RUN / "00/00/payload_ID0000001.sub").read_bytes(),
]


def one(data: bytes) -> None:
    """What they say, or a reason why they say nothing."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(FormatError):
        plan.wf_plan(plan.braindump(text))
    told = text.splitlines()
    assert all("event" in raw for raw in plan.static_events(told, "w"))
    plan.dag(told)
    submit = plan.submit_file(told)
    plan.within("/home/runs", submit.output)
