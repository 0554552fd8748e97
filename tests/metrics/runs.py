"""Made-up runs, written in the raw words that engines and probes write, for tests with arithmetic one can follow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from panorama_driver import sources
from panorama_driver.events import Event
from panorama_driver.metrics import JobMetrics, WorkflowMetrics

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
WF = "0a1b2c3d-1111-2222-3333-444455556666"


def captured(name: str, wf_uuid: str | None = None) -> list[Event]:
    """Events of a recorded run: messages taken off a broker, or monitord's file of objects one after another."""
    text, decoder, at = (CAPTURES / name).read_text(), json.JSONDecoder(), 0
    events: list[Event] = []
    while text[at:].strip():
        record, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        events += sources.expand(record.get("body", record))
    return [event for event in events if wf_uuid in (None, event.wf_uuid)]


class Run:
    """Collects raw records; `events` are what a store would hand over."""

    def __init__(self) -> None:
        self.raw: list[dict[str, Any]] = []

    @property
    def events(self) -> list[Event]:
        return [sources.parse(record) for record in self.raw]

    def tell(self, name: str, **fields: Any) -> Run:
        self.raw.append({"event": f"stampede.{name}", "xwf_id": WF, **fields})
        return self

    def told(self, job_id: str, attempt: int, name: str, **fields: Any) -> Run:
        return self.tell(name, job_id=job_id, job_inst_id=attempt, **fields)

    def jobs(self, *job_ids: str, type: int = 1) -> Run:
        for job_id in job_ids:
            self.tell("job.info", job_id=job_id, type=str(type), ts=3245)
        return self

    def edges(self, *pairs: tuple[str, str]) -> Run:
        for parent, child in pairs:
            self.tell("job.edge", parent_job_id=parent, child_job_id=child, ts=3245)
        return self

    def start(self, ts: float, restart_count: int = 0) -> Run:
        return self.tell("xwf.start", ts=ts, restart_count=restart_count)

    def end(self, ts: float, status: int = 0, restart_count: int = 0) -> Run:
        return self.tell("xwf.end", ts=ts, status=status, restart_count=restart_count)

    def attempt(
        self,
        job_id: str,
        attempt: int,
        submit: float,
        start: float,
        wall: float,
        *,
        raw_status: int | str = 0,
        user: float | None = 0.0,
        system: float | None = 0.0,
        cores: int = 1,
        maxrss: int | None = 1000,
    ) -> Run:
        """One whole attempt, as the embedded engine tells it."""
        end = start + wall
        program = {"inv_id": 1, "transformation": "md", "start_time": start, "dur": wall, "maxrss": maxrss}
        times = {"utime": user, "stime": system} if user is not None else {}
        common = {"sched_id": f"{attempt}.0", "site": "local"}
        self.told(job_id, attempt, "job_inst.submit.start", ts=submit, **common)
        self.told(job_id, attempt, "job_inst.main.start", ts=start, **common)
        self.told(job_id, attempt, "inv.end", ts=end, exitcode=raw_status, **program, **times)
        self.told(job_id, attempt, "job_inst.host.info", ts=end, hostname="Node7.example.org", site="local")
        self.told(job_id, attempt, "job_inst.main.term", ts=end, status=0, **common)
        status = 0 if int(raw_status) == 0 else -1
        ending = {"exitcode": raw_status, "status": status, "local_dur": wall, "req_cpus": cores}
        return self.told(job_id, attempt, "job_inst.main.end", ts=end, **ending, **common)

    def sample(self, job_id: str, attempt: int | None, ts: float, seq: int | None = None, **fields: Any) -> Run:
        """One record of a trace: ours with `seq` and `attempt`, kickstart's without."""
        record = {"event": "kickstart.inv.online", "ts": ts, "wf_uuid": WF, "dag_job_id": job_id, "pid": 77, **fields}
        if attempt is not None:
            record["attempt"] = attempt
        if seq is not None:
            record["seq"] = seq
        self.raw.append(record)
        return self

    def trace(self, job_id: str, attempt: int, start: float, **counters: Iterable[float]) -> Run:
        """Samples of our probe, one a second after `start`, the last of them final."""
        rows = [dict(zip(counters, row, strict=True)) for row in zip(*counters.values(), strict=True)]
        for seq, row in enumerate(rows):
            last = seq == len(rows) - 1
            closing = {"final": True, "start_ts": start, "dur": float(len(rows))} if last else {}
            self.sample(job_id, attempt, start + seq + 1, seq=seq, **row, **closing)
        return self

    def transfer(self, job_id: str, name: str, **fields: Any) -> Run:
        self.raw.append({"event": f"transfer.inv.{name}", "wf_uuid": WF, "dag_job_id": job_id, **fields})
        return self

    def file(self, job_id: str, begin: float, end: float, size: int | None, *, status: int = 0, **fields: Any) -> Run:
        """One file moved by pegasus-transfer."""
        times = {"ts": end, "transfer_start_time": begin, "transfer_completion_time": end}
        url = {"source_url": f"file:///from/{begin}", "destination_url": f"file:///to/{begin}"}
        return self.transfer(job_id, "local.single", status=status, bytes_transferred=size, **times, **url, **fields)


def missing_reasons(record: msgspec.Struct) -> list[str]:
    """Fields that are unknown without a word."""
    reasons = getattr(record, "reasons", {})
    values = {field: getattr(record, field) for field in record.__struct_fields__}
    return [field for field, value in values.items() if value is None and not reasons.get(field)]


def records(workflow: WorkflowMetrics) -> list[msgspec.Struct]:
    """The workflow, its jobs and their attempts."""
    nested: list[JobMetrics] = list(workflow.jobs)
    return [workflow, *nested, *(attempt for job in nested for attempt in job.attempts)]
