"""What drives a result: rank correlation of parameters and metrics with it."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import UsageError
from . import _columns as columns
from . import _statistics as statistics
from ._rows import Row, Value
from ._sql import Table
from ._views import quoted

BY_TRANSFORMATION = """SELECT study, key, transformation,
  sum(wall_time), sum(queue_time), sum(cpu_time), sum(bytes_read), max(peak_memory)
FROM attempts WHERE current AND key IS NOT NULL AND transformation IS NOT NULL
GROUP BY study, key, transformation"""

_SUMMED = ("wall_time", "queue_time", "cpu_time", "bytes_read", "peak_memory")
_METRICS = [
    column.name
    for column in columns.WORKFLOW
    if column.type != "TEXT" and column.name not in ("start", "end", "darshan_start", "darshan_end")
]
_SAME = {"makespan": {"active_time"}, "active_time": {"makespan"}}
"""What is the same as another by its definition."""
_COLUMNS = ["kind", "name", "n", "rho", "p", "p_holm", "method"]


class _Candidate(NamedTuple):
    kind: str
    name: str
    values: list[Value]


def target(of: str | None, known: Sequence[str]) -> str:
    """Column of `evaluations` that is to be explained: a response, else a metric of the run; its makespan unless told.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    if of is None:
        return "workflow_makespan"
    for name in (f"r_{of}", f"workflow_{of}"):
        if name in known:
            return name
    names = [name.partition("_")[2] for name in known if name.startswith(("r_", "workflow_"))]
    near = difflib.get_close_matches(of, names, 3)
    hint = f"do you mean {' or '.join(near)}?" if near else f"there are {', '.join(dict.fromkeys(names))}"
    raise UsageError(f"--of {of}: no response and no metric of a workflow; {hint}")


def query(what: str, known: Sequence[str]) -> str:
    """SQL for `what` beside all that may drive it."""
    names = [*(name for name in known if name.startswith("x_")), *(f"workflow_{name}" for name in _METRICS)]
    shown = ", ".join(quoted(name) if name.startswith("x_") else name for name in names)
    # The responses of an evaluation that was stopped are lower bounds, which are no values.
    ended = " AND workflow_state = 'succeeded'" if what.startswith("workflow_") else " AND state <> 'stopped'"
    known_only = f"current{ended} AND {quoted(what)} IS NOT NULL"
    return f"SELECT study, key, {quoted(what)}, {shown}\nFROM evaluations WHERE {known_only}"


def drivers(ask: Callable[[str], Table], known: Sequence[str], of: str | None) -> tuple[Table, list[str]]:
    """Parameters, metrics of the run and sums by transformation by how strongly they go with a result; and notes.

    `rho` is Spearman's rank correlation over the `n` evaluations that have both; `p` its two-sided probability without
    any relation, and `p_holm` that for all of them together.
    """
    what = target(of, known)
    asked = ask(query(what, known))
    whole = [(study, key) for study, key, *_ in asked.rows]
    result = [float(row[2] or 0) for row in asked.rows]
    ranked = statistics.ranks(result)
    candidates = _of_evaluations(asked, what) + _of_transformations(ask(BY_TRANSFORMATION), whole)
    found = [(each, _correlation(each.values, result, ranked)) for each in candidates]
    known_ones = [(each, c) for each, c in found if c is not None]
    together = statistics.holm([c.p for _, c in known_ones])
    rows: list[Row] = [
        (each.kind, each.name, c.n, c.rho, c.p, p, "all orders" if c.exact else "t")
        for (each, c), p in zip(known_ones, together, strict=True)
    ]
    rows.sort(key=lambda row: (float(row[5] or 0), -abs(float(row[3] or 0)), str(row[1])))
    return Table(_COLUMNS, rows), _notes(what, len(result), found)


def _of_evaluations(asked: Table, what: str) -> list[_Candidate]:
    skipped = {what, *(f"workflow_{name}" for name in _SAME.get(what.removeprefix("workflow_"), ()))}
    values = list(zip(*asked.rows, strict=True)) or [()] * len(asked.columns)
    return [
        _Candidate("parameter", name[2:], list(each))
        if name.startswith("x_")
        else _Candidate("workflow", name.removeprefix("workflow_"), list(each))
        for name, each in list(zip(asked.columns, values, strict=True))[3:]
        if name not in skipped
    ]


def _of_transformations(asked: Table, whole: list[tuple[Value, Value]]) -> list[_Candidate]:
    place = {who: number for number, who in enumerate(whole)}
    told: dict[tuple[str, str], list[Value]] = defaultdict(lambda: [None] * len(whole))
    for study, key, transformation, *sums in asked.rows:
        if (study, key) in place:
            for name, value in zip(_SUMMED, sums, strict=True):
                told[name, str(transformation)][place[study, key]] = value
    return [_Candidate("transformation", f"{name} of {which}", values) for (name, which), values in told.items()]


def _correlation(values: list[Value], result: list[float], ranked: list[float]) -> statistics.Correlation | None:
    """Of the pairs that are numbers on both sides; `ranked` are the ranks of all of `result`."""
    if any(isinstance(value, str) for value in values):
        return None
    x = [value for value in values if value is not None and not isinstance(value, str)]
    if len(set(x)) < 2:
        return None
    if len(x) < len(values):
        ranked = statistics.ranks([y for value, y in zip(values, result, strict=True) if value is not None])
    return statistics.of_ranks(statistics.ranks(x), ranked)


def _notes(what: str, n: int, found: list[tuple[_Candidate, statistics.Correlation | None]]) -> list[str]:
    name = what.removeprefix("workflow_").removeprefix("r_")
    texts = [each.name for each, c in found if c is None and any(isinstance(v, str) for v in each.values)]
    notes = [
        f"rank correlation with {name} of {n} evaluations; p_holm is for all {sum(c is not None for _, c in found)}"
    ]
    if texts:
        notes.append(f"without order, and so left out: {', '.join(texts[:12])}")
    return notes
