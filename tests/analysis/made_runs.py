"""Made-up runs of one workflow: six jobs of two programs, each on one of two hosts, with what may go wrong."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

from panorama_driver.events import Event
from panorama_driver.metrics import WorkflowMetrics, correlate
from tests.metrics.runs import Run
from tests.web.defects import renamed

JOBS = ("a1", "a2", "a3", "b1", "b2", "b3")
BEGIN = 1795400000.0


def wf_uuid(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"made run {number}"))


def events(
    number: int,
    *,
    label: str = "made",
    noise: float = 0.02,
    factor: float = 1.0,
    slow: tuple[str, ...] = JOBS,
    failing: tuple[str, ...] = (),
    for_good: bool = False,
    ended: bool = True,
    user: float | None = 0.5,
) -> Iterator[Event]:
    """Events of a run: jobs take 10 s, and those in `slow` `factor` times that; `failing` ones fail at first."""
    draw = random.Random(number)
    begin = BEGIN + 1000 * number
    run = Run().start(begin).jobs(*JOBS)
    attempt, now = 0, begin
    for job in JOBS:
        wall = 10 * (factor if job in slow else 1.0) * (1 + noise * draw.uniform(-1, 1))
        for status in [256, *([] if for_good else [0])] if job in failing else [0]:
            attempt += 1
            took = wall if status == 0 else 2.0
            used = None if user is None else user * min(took, 10.0)
            run.attempt(job, attempt, now, now + 1, took, raw_status=status, user=used)
            now += took + 1
    if ended:
        run.end(now + 1, status=-1 if failing and for_good else 0)
    yield from renamed(run, wf_uuid(number), label)


def made(number: int, **how: object) -> WorkflowMetrics:
    """Metrics of such a run."""
    return correlate(events(number, **how))  # type: ignore[arg-type]  # as `events` has them


def alike(count: int, first: int = 0, **how: object) -> list[WorkflowMetrics]:
    return [made(number, **how) for number in range(first, first + count)]
