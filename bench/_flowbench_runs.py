"""Runs of FlowBench as our metrics have them: its tables as events, and those through the same code as any other's.

FlowBench: Papadimitriou et al., github.com/PoSeiDon-Workflows/FlowBench, CC-BY-4.0; a table a run, a row a job. What
was wrong with a run is the `anomaly_type` of the jobs that ran on the workers that it was made on; no run has two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from panorama_driver.events import Event
from panorama_driver.exchange.formats import flowbench
from panorama_driver.metrics import WorkflowMetrics, correlate

NORMAL = "normal"
_END = "stampede.job_inst.main.end"


def workflows(path: Path) -> list[Path]:
    """Folders of unpacked tables below `path`, one a workflow."""
    return sorted({table.parent for table in path.rglob("*-run*.csv")})


def labelled(folder: Path) -> Iterator[tuple[WorkflowMetrics, str]]:
    """Each run of a workflow, and what was wrong with it."""
    for table in sorted(folder.glob("*-run*.csv")):
        events = [event for event in flowbench.read(table) if isinstance(event, Event)]
        told = (
            e.fields["value"] for e in events if e.kind == "stampede.xwf.meta" and e.fields["key"] == "anomaly_type"
        )
        yield correlate(map(_of_one_core, events)), next(told)


def _of_one_core(event: Event) -> Event:
    """The tables do not tell for how many cores a job asked; it is one where nobody asked for more."""
    if event.kind != _END:
        return event
    return msgspec.structs.replace(event, fields={**event.fields, "req_cpus": 1})
