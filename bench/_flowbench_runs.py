"""Runs of FlowBench as our metrics have them: its tables as events, and those through the same code as any other's.

FlowBench: Papadimitriou et al., github.com/PoSeiDon-Workflows/FlowBench, CC-BY-4.0; a table a run, a row a job. What
was wrong with a run is the `anomaly_type` of the jobs that ran on the workers that it was made on; no run has two.
Times are whole seconds. A job's program ran between the ends of its staging in and out, where it had any.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from panorama_driver import sources
from panorama_driver.metrics import WorkflowMetrics, correlate

NORMAL = "normal"
_TYPES = {"create_dir": 6, "stage_in": 2, "stage_out": 3, "cleanup": 8}
_Row = dict[str, str]
_Raw = dict[str, Any]


def workflows(path: Path) -> list[Path]:
    """Folders of unpacked tables below `path`, one a workflow."""
    return sorted({table.parent for table in path.rglob("*-run*.csv")})


def labelled(folder: Path) -> Iterator[tuple[WorkflowMetrics, str]]:
    """Each run of a workflow, and what was wrong with it."""
    for number, table in enumerate(sorted(folder.glob("*-run*.csv"))):
        with table.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        kinds = {row["anomaly_type"] for row in rows} - {"None", ""}
        events = (sources.parse(raw) for raw in _run(folder.name, f"{folder.name}-{number:04}", rows))
        yield correlate(events), "+".join(sorted(kinds)) or NORMAL


def _run(label: str, wf_uuid: str, rows: list[_Row]) -> Iterator[_Raw]:
    key = {"xwf_id": wf_uuid}
    begin = min(value for row in rows if (value := _number(row["ready"])))
    end = max(value for row in rows if (value := _number(row["post_script_end"])))
    yield {"event": "stampede.wf.plan", "ts": begin, "dax_label": label, **key}
    yield {"event": "stampede.xwf.start", "ts": begin, "restart_count": 0, **key}
    for number, row in enumerate(rows, 1):
        job = {"job_id": row[""], **key}
        yield {"event": "stampede.job.info", "ts": begin, "type": str(_type(row)), **job}
        yield from _attempt(row, {"job_inst_id": number, **job})
    yield {"event": "stampede.xwf.end", "ts": end, "restart_count": 0, "status": 0, **key}


def _attempt(row: _Row, key: _Raw) -> Iterator[_Raw]:
    start, end = _number(row["execute_start"]), _number(row["execute_end"])
    if not start or not end:
        return
    begun, ended = _program(row, start, end)
    program = {"start_time": begun, "dur": ended - begun, "transformation": row["kickstart_transformations"]}
    used = {"inv_id": 1, "exitcode": 0, "remote_cpu_time": _number(row["kickstart_executables_cpu_time"])}
    common = {"sched_id": f"{key['job_inst_id']}.0", **key}
    yield {"event": "stampede.job_inst.submit.start", "ts": _number(row["submit"]), **common}
    yield {"event": "stampede.job_inst.main.start", "ts": start, **common}
    yield {"event": "stampede.inv.end", "ts": ended, **program, **used, **key}
    yield {"event": "stampede.job_inst.host.info", "ts": ended, "hostname": row["kickstart_hostname"], **key}
    how = {"exitcode": "0", "status": 0, "local_dur": end - start, "req_cpus": 1}
    yield {"event": "stampede.job_inst.main.end", "ts": end, **how, **common}
    if row["type"] == "compute":
        yield from _moved(row, "stage_in", key)
        yield from _moved(row, "stage_out", key)


def _program(row: _Row, start: float, end: float) -> tuple[float, float]:
    begun, ended = _number(row["stage_in_end"]), _number(row["stage_out_start"])
    return (begun, ended) if begun and ended and ended >= begun else (start, end)


def _moved(row: _Row, way: str, key: _Raw) -> Iterator[_Raw]:
    begin, end, size = (_number(row[f"{way}_{name}"]) for name in ("start", "end", "bytes"))
    if begin and end and size:
        whose = {"wf_uuid": key["xwf_id"], "dag_job_id": key["job_id"], "attempt": key["job_inst_id"]}
        times = {"ts": end, "transfer_start_time": begin, "transfer_completion_time": end}
        where = {"source_url": f"file:///{way}/from", "destination_url": f"file:///{way}/to"}
        what = {"status": 0, "bytes_transferred": int(size)}
        yield {"event": "transfer.inv.local.single", **whose, **times, **where, **what}


def _type(row: _Row) -> int:
    if row["type"] == "compute":
        return 1
    return next((number for name, number in _TYPES.items() if row[""].startswith(name)), 0)


def _number(text: str) -> float | None:
    return float(text) if text else None
