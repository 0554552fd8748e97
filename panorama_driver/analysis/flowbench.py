"""Reads runs as FlowBench publishes them, one CSV file a run and a line a job, with what was wrong beside each.

"Flow-Bench: A Dataset for Computational Workflow Anomaly Detection", PoSeiDon, CC-BY-4.0, made with Pegasus Panorama.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import FormatError
from ._job_samples import Sample

_NEEDED = frozenset({"anomaly_type", "type", "runtime", "kickstart_transformations", "kickstart_hostname"})
NORMAL = "None"


class Labelled(NamedTuple):
    """A job of a labelled run.

    Attributes
    ----------
    sample : Sample
        Its attempt.
    label : str
        What was wrong with its worker, `None` if nothing: `cpu_2`, `cpu_3`, `cpu_4` (cores that could not be used),
        `hdd_5`, `hdd_10` (MB/s that could be written at most, and half of what could be read).
    type : str
        `compute`, `transfer` or `auxiliary`.
    columns : mapping of str to str
        The line as it is.
    """

    sample: Sample
    label: str
    type: str
    columns: Mapping[str, str]


def read(path: Path) -> list[Labelled]:
    """The jobs of one file.

    Raises
    ------
    FormatError
        It is no such file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(parse(file, str(path), path.stem))
    except (OSError, UnicodeDecodeError) as problem:
        raise FormatError(f"{path}: cannot be read: {problem}") from None


def parse(lines: Iterable[str], name: str, run: str) -> Iterator[Labelled]:
    """The jobs of a table of the run `run`, which is called `name` in what is told.

    Raises
    ------
    FormatError
        It is no such table.
    """
    rows = csv.DictReader(lines)
    try:
        missing = _NEEDED - set(rows.fieldnames or ())
        if missing:
            raise FormatError(f"{name}: no table of FlowBench: it has no {', '.join(sorted(missing))}")
        yield from _jobs(run, rows)
    except csv.Error as problem:
        raise FormatError(f"{name}: cannot be read: {problem}") from None


def _jobs(run: str, rows: Iterable[dict[str, str]]) -> Iterator[Labelled]:
    for row in rows:
        columns = {name: value or "" for name, value in row.items() if isinstance(name, str)}
        yield Labelled(_sample(run, columns), columns["anomaly_type"] or NORMAL, columns["type"], columns)


def _sample(run: str, columns: Mapping[str, str]) -> Sample:
    staged = number(columns, "stage_in_bytes")
    return Sample(
        run=run,
        job_id=columns.get("", ""),
        transformation=columns["kickstart_transformations"] or "unknown",
        host=columns["kickstart_hostname"] or None,
        work=columns.get("", "") or None,
        inputs={} if staged is None else {"stage_in_bytes": staged},
        values=_values(columns),
        start=number(columns, "execute_start"),
        end=number(columns, "execute_end"),
        state="failed" if number(columns, "kickstart_executables_exitcode") else "succeeded",
    )


def _values(columns: Mapping[str, str]) -> dict[str, float]:
    wall, cpu = number(columns, "runtime"), number(columns, "kickstart_executables_cpu_time")
    staging = [number(columns, "stage_in_delay"), number(columns, "stage_out_delay")]
    rates = [number(columns, f"kickstart_online_bytes_{done}_per_second") for done in ("read", "written")]
    values = {
        "wall_time": wall,
        "cpu_time": cpu,
        "cpu_utilization": cpu / wall if cpu is not None and wall else None,
        "stage_time": _sum(staging),
        "io_rate": _sum(rates),
        "io_wait": number(columns, "kickstart_online_iowait"),
        "queue_time": number(columns, "queue_delay"),
        "bytes_written": number(columns, "kickstart_online_bytes_written"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def number(columns: Mapping[str, str], name: str) -> float | None:
    """A column as a number that is finite and not below 0; None where it is empty or anything else."""
    try:
        value = float(columns.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
