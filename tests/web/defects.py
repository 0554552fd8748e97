"""Fourteen ways in which a predecessor's dashboard got its numbers wrong, each as a workflow run to look at.

The events are those of tests/metrics/test_metrics_defects.py. What a page must show of each is worked out by hand here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from panorama_driver import sources
from panorama_driver.events import Event
from tests.metrics.runs import Run

MB = 10**6
Value = float | int | str | None
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Defect:
    """A defect, and what a page shows that does not have it.

    Attributes
    ----------
    number : int
        1 to 14, as in the list of shared facts.
    words : str
        What went wrong; part of the run's label.
    tell : callable
        Tells a `Run` what happened.
    workflow : dict
        Values of the run, by the name of the metric.
    jobs : dict
        Values of each job.
    attempts : dict
        Values of attempts, by job and number.
    reasons : dict
        Part of the reason why a value is unknown, by job (None for the run) and metric.
    series : dict
        Amounts over time, by job (None for the run) and metric: what all bins together hold, and the most of one bin.
    """

    number: int
    words: str
    tell: Callable[[Run], Any]
    workflow: Values = field(default_factory=dict)
    jobs: Mapping[str, Values] = field(default_factory=dict)
    attempts: Mapping[tuple[str, int], Values] = field(default_factory=dict)
    reasons: Mapping[tuple[str | None, str], str] = field(default_factory=dict)
    series: Mapping[tuple[str | None, str], tuple[float, ...]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name of its run."""
        return f"defect-{self.number:02}: {self.words}"

    @property
    def wf_uuid(self) -> str:
        """Its run."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.label))

    def events(self) -> Iterator[Event]:
        """What a store has of it."""
        run = Run()
        self.tell(run)
        return renamed(run, self.wf_uuid, self.label)


def renamed(run: Run, wf_uuid: str, label: str) -> Iterator[Event]:
    """Events of a made-up run under a uuid and a label of its own."""
    begin = min(record["ts"] for record in run.raw if "ts" in record)
    yield sources.parse({"event": "stampede.wf.plan", "xwf_id": wf_uuid, "dax_label": label, "ts": begin})
    for record in run.raw:
        own = "xwf_id" if "xwf_id" in record else "wf_uuid"
        yield sources.parse({**record, own: wf_uuid})


def _accumulating(run: Run) -> None:
    run.start(0).jobs("a").attempt("a", 1, 0, 0, 4).end(4)
    run.trace("a", 1, 0, rchar=[136 * MB, 266 * MB, 403 * MB, 552 * MB], wchar=[0, 0, 0, 0])


def _written(run: Run) -> None:
    run.start(0).jobs("a").attempt("a", 1, 0, 0, 2).end(2)
    run.trace("a", 1, 0, rchar=[5, 700], wchar=[3, 40], bread=[0, 600], bwrite=[0, 30])


def _utilization(run: Run) -> None:
    run.start(0).jobs("busy", "idle").attempt("busy", 1, 0, 0, 4, user=3, system=1, cores=2)
    run.attempt("idle", 2, 0, 0, 4).end(4)


def _waiting(run: Run) -> None:
    run.start(0).jobs("a").attempt("a", 1, 0, 0, 4).trace("a", 1, 0, iowait=[0.5, 1.0, 1.0, 2.5]).end(4)


def _failing(run: Run) -> None:
    run.start(0).jobs("a", "b").attempt("a", 1, 0, 0, 4, raw_status=768)
    run.told("b", 2, "job_inst.pre.end", ts=5, status=-1, exitcode="256")
    run.told("b", 2, "inv.end", ts=5, inv_id=-1, start_time=5, dur=0, exitcode="256").end(6, status=1)


def _retrying(run: Run) -> None:
    run.start(0).jobs("a").attempt("a", 3, 0, 0, 2, raw_status=256, user=1).attempt("a", 4, 10, 10, 2, user=2).end(12)
    for sched, second, read in (("3.0", 1, 100), ("4.0", 11, 30)):
        run.sample("a", None, second, condor_job_id=sched, bread=read)


def _sampling(run: Run) -> None:
    run.start(0).jobs("a").attempt("a", 1, 0, 0, 2500).trace("a", 1, 0, bread=range(1, 2501)).end(2500)


def _arriving(run: Run) -> None:
    run.start(100).jobs("in", type=2).attempt("in", 1, 100, 100, 10).end(110)
    run.file("in", 101, 103, 60, attempt=1, received=9000).file("in", 107, 109, 40, attempt=1, received=8000)


def _naming(run: Run) -> None:
    first, second = "py_ID0000002", "py_ID0000002-b"
    run.start(0).jobs(first, second).attempt(first, 1, 0, 0, 2).attempt(second, 2, 0, 0, 5).end(5)


def _progressing(run: Run) -> None:
    progress = [
        {
            "code": "PROGRESS",
            "time": f"1970-01-01T00:01:{at:02d}+00:00",
            "details": json.dumps({"bytes_transferred": size, "duration": 2, "mbps": 1}),
        }
        for at, size in [(2, 100), (4, 300), (6, 50)]
    ]
    times = {"request_time": "1970-01-01T00:01:00+00:00", "completion_time": "1970-01-01T00:01:08+00:00"}
    run.start(60).jobs("in", type=2).attempt("in", 1, 60, 60, 8).end(68)
    run.transfer("in", "go", status="SUCCEEDED", bytes_transferred=460, files=3, transfer_events=progress, **times)


def _starting(run: Run) -> None:
    run.start(10).jobs("a").attempt("a", 1, submit=10, start=13, wall=20, user=2).end(33)


def _missing(run: Run) -> None:
    run.start(0).jobs("in", type=2).jobs("a").attempt("in", 1, 0, 0, 2).attempt("a", 2, 2, 2, 2).end(4)
    run.file("in", 0, 1, None, attempt=1)
    run.told("a", 2, "task.monitoring", ts=1, monitoring_event="darshan.perf", module="STDIO", STDIO_OPENS=3)


def _short(run: Run) -> None:
    run.start(0).jobs("a").attempt("a", 1, 0, 0, 3).trace("a", 1, 0, bread=[1, 2, 3]).end(3)


def _moving(run: Run) -> None:
    run.start(0).jobs("in", type=2).attempt("in", 1, 0, 0, 9, raw_status=256).end(9, status=1)
    run.file("in", 0, 1, 100, attempt=1).file("in", 2, 3, None, status=1, attempt=1)
    run.transfer("in", "go", status="FAILED", bytes_transferred=25, files=1, attempt=1)


DEFECTS = (
    Defect(
        1,
        "counters that accumulate were added up again",
        _accumulating,
        jobs={"a": {"chars_read": 552 * MB}},
        # 136, 266 - 136, 403 - 266, 552 - 403; the sum of the totals would be 1357 MB
        series={("a", "chars_read"): (136 * MB, 130 * MB, 137 * MB, 149 * MB)},
    ),
    Defect(
        2,
        "bytes written were bytes read",
        _written,
        jobs={"a": {"chars_read": 700, "chars_written": 40, "bytes_read": 600, "bytes_written": 30}},
        series={("a", "bytes_written"): (0, 30), (None, "bytes_written"): (0, 30)},
    ),
    Defect(
        3,
        "CPU utilization was the share of user time",
        _utilization,
        workflow={"cpu_utilization": 4 / (4 * 2 + 4 * 1)},
        # the user share would be 3/4 and 0/0
        jobs={"busy": {"cpu_utilization": 4 / (4 * 2)}, "idle": {"cpu_utilization": 0}},
    ),
    Defect(
        4,
        "I/O wait was divided by a million and began from 0 in each bin",
        _waiting,
        jobs={"a": {"io_wait": 2.5}},
        series={("a", "io_wait"): (0.5, 0.5, 0.0, 1.5)},
    ),
    Defect(
        5,
        "failed jobs looked completed",
        _failing,
        workflow={"state": "failed", "jobs_failed": 2},
        jobs={"a": {"state": "failed", "exit_code": 3}, "b": {"state": "failed", "exit_code": None}},
    ),
    Defect(
        6,
        "attempts were merged",
        _retrying,
        jobs={"a": {"state": "succeeded", "bytes_read": 30, "cpu_time": 2, "retries": 1}},
        attempts={
            ("a", 3): {"state": "failed", "bytes_read": 100},
            ("a", 4): {"state": "succeeded", "bytes_read": 30},
        },
    ),
    Defect(
        7,
        "what came after a thousand records was cut off",
        _sampling,
        jobs={"a": {"bytes_read": 2500}},
        series={("a", "bytes_read"): (12.5,) * 200},  # 2500 s in 200 bins
    ),
    Defect(
        8,
        "time was when it arrived",
        _arriving,
        workflow={"bytes_transferred": 100},
        jobs={"in": {"transfer_time": 4, "bytes_transferred": 100}},
    ),
    Defect(
        9,
        "names that share a part were taken for each other",
        _naming,
        jobs={"py_ID0000002": {"wall_time": 2}, "py_ID0000002-b": {"wall_time": 5}},
    ),
    Defect(
        10,
        "of the progress of a Globus transfer only the first event counted",
        _progressing,
        jobs={"in": {"bytes_transferred": 460}},
        # 460 - (100 + 300 + 50) = 10 bytes after the last report
        series={("in", "bytes_transferred"): (100, 300, 50, 10)},
    ),
    Defect(
        11,
        "the start was guessed from processor time",
        _starting,
        jobs={"a": {"queue_time": 3}},
        attempts={("a", 1): {"start": 13, "end": 33, "queue_time": 3}},  # 33 - 2 would be 31
    ),
    Defect(
        12,
        "what is missing was NaN or broke the page",
        _missing,
        workflow={"bytes_transferred": None},
        jobs={"in": {"bytes_transferred": None}, "a": {"io_time": None}},
        reasons={
            ("in", "bytes_transferred"): "does not know the size",
            ("a", "io_time"): "the Darshan log holds no times",
            (None, "bytes_transferred"): "in attempt 1",
        },
    ),
    Defect(
        13,
        "a run shorter than the number of bins never ended",
        _short,
        workflow={"makespan": 3},
        jobs={"a": {"bytes_read": 3}},
        series={("a", "bytes_read"): (1, 1, 1)},
    ),
    Defect(
        14,
        "local and failed transfers were not seen",
        _moving,
        jobs={"in": {"state": "failed", "bytes_transferred": 125, "files_transferred": 1, "transfers_failed": 2}},
    ),
)
