"""Heat maps of an attempt's Darshan logs: bytes over time, a row a process, all on one grid."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..sources import darshan
from ..sources.darshan import LogReport
from .documents import Heatmap

_ROWS = 64
_BINS = 200
_NAMES = {"POSIX": "posix", "STDIO": "stdio", "MPIIO": "mpiio", "MPI-IO": "mpiio"}


class _Row(NamedTuple):
    """What one log tells of a layer; `begin` in [s since 1970], 0 where it does not tell."""

    name: str
    begin: float
    heat: darshan.Heatmap

    @property
    def end(self) -> float:
        return self.begin + self.heat.width * max(len(self.heat.read), len(self.heat.written))

    @property
    def moved(self) -> int:
        return sum(self.heat.read) + sum(self.heat.written)


def heatmaps(reports: Iterable[LogReport]) -> list[Heatmap]:
    """A heat map a layer, with the processes that moved most."""
    layers: dict[str, list[_Row]] = defaultdict(list)
    for report in reports:
        for layer, heat in report.heatmaps.items():
            row = _Row(_name(report), report.start or 0.0, heat)
            if heat.width > 0 and row.end > row.begin:
                layers[_NAMES.get(layer, layer.lower())].append(row)
    return [_heatmap(layer, rows) for layer, rows in sorted(layers.items())]


def _name(report: LogReport) -> str:
    program = report.exe.split(" ", 1)[0].rpartition("/")[2] or report.name
    ranks = f", {report.nprocs} ranks" if report.nprocs > 1 else ""
    return f"{program} {report.jobid}{ranks}"


def _heatmap(layer: str, rows: Sequence[_Row]) -> Heatmap:
    chosen = sorted(sorted(rows, key=lambda row: -row.moved)[:_ROWS], key=lambda row: (row.begin, row.name))
    begin, end = min(row.begin for row in chosen), max(row.end for row in chosen)
    width = max((end - begin) / _BINS, min(row.heat.width for row in chosen))
    edges = [begin + width * place for place in range(max(1, round((end - begin) / width)) + 1)]
    edges[-1] = max(edges[-1], end)
    return Heatmap(
        module=layer,
        width=width,
        start=begin or None,
        rows=[row.name for row in chosen],
        read=[_regridded(row, row.heat.read, edges) for row in chosen],
        written=[_regridded(row, row.heat.written, edges) for row in chosen],
    )


def _regridded(row: _Row, bins: Sequence[int], edges: Sequence[float]) -> list[int]:
    """Bytes shared out by time over other bins: whole ones, none lost."""
    sums = [0, *itertools.accumulate(bins)]
    reached = [round(_until(sums, (edge - row.begin) / row.heat.width)) for edge in edges]
    return [after - before for before, after in itertools.pairwise(reached)]


def _until(sums: Sequence[int], place: float) -> float:
    """What was moved up to a place among the bins."""
    whole = min(max(int(place), 0), len(sums) - 1)
    part = min(max(place - whole, 0.0), 1.0) if whole + 1 < len(sums) else 0.0
    return sums[whole] + (part * (sums[whole + 1] - sums[whole]) if part else 0)
