"""What evaluations that failed have in common, and whether that is an accident."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from . import _statistics as statistics
from ._rows import Row, Value
from ._sql import Table

EVALUATIONS = "SELECT study, key, evaluation, failed FROM evaluations WHERE over AND current"
PARAMETERS = "SELECT study, key, name, value FROM parameters"
HOSTS = "SELECT DISTINCT study, key, host FROM attempts WHERE current AND host IS NOT NULL"
FAILED = """SELECT DISTINCT study, key, transformation, exit_code, failure FROM attempts
WHERE current AND state = 'failed'"""
ANOMALIES = "SELECT DISTINCT study, key, kind FROM anomalies WHERE key IS NOT NULL"
QUERIES = (EVALUATIONS, PARAMETERS, HOSTS, FAILED, ANOMALIES)

_FEW = 10
"""Values of a parameter up to which each counts for itself; of more, ranges."""
_CUTS = 8  # equal parts of the values, whose borders are tried as the ends of a range
_LEAST = 2  # evaluations that must have it to share it
_LONGEST = 120  # characters
_VARYING = (
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE), "UUID"),
    (re.compile(r"(?<![\w.])/[^\s:'\",;]+"), "PATH"),
    (re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE), "N"),
)
_COLUMNS = [
    "what", "value", "failed_with", "failed", "others_with", "others", "lift", "odds_ratio", "p", "p_holm",
]  # fmt: skip

_Who = tuple[Value, Value]


class _Shared(NamedTuple):
    """Something that evaluations have, and who has it."""

    what: str
    value: Value
    who: frozenset[_Who]


def shared(ask: Callable[[str], Table]) -> tuple[Table, list[str]]:
    """What failed evaluations have more often than others, the least accidental first; and a line about it.

    `lift` is the share of those that have it and failed, over the share of all that failed. `p` is that of Fisher's
    exact test, two-sided, and `p_holm` the same for all that was looked at together. Of the ranges of one parameter the
    least accidental is told.
    """
    evaluations = ask(EVALUATIONS).rows
    failed = {(study, key) for study, key, _, gone in evaluations if gone}
    others = {(study, key) for study, key, _, gone in evaluations if not gone}
    several = len({study for study, *_ in evaluations}) > 1
    names = [f"{study} {number}" if several else str(number) for study, _, number, gone in evaluations if gone]
    told = f"{len(failed)} of {len(evaluations)} evaluations failed" + (f": {_some(names)}" if names else "")
    if not failed or not others:
        lacking = "none has succeeded: there is nothing to compare them with" if failed else "they share nothing"
        return Table(_COLUMNS, []), [f"{told}; {lacking}"]
    known = failed | others
    found = [each._replace(who=each.who & known) for each in _features(ask)]
    found = [each for each in found if len(each.who) >= _LEAST and len(each.who) < len(known)]
    rows = _compared(found, failed, others)
    nothing = [] if rows else ["nothing that two of those that failed have is more frequent among them"]
    return Table(_COLUMNS, rows), [told, *nothing, f"p_holm is for all {len(found)} comparisons together"]


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more (panorama ask failures)" if len(names) > 12 else "")


def _compared(found: list[_Shared], failed: set[_Who], others: set[_Who]) -> list[Row]:
    counts = [(len(each.who & failed), len(each.who & others)) for each in found]
    chances = [statistics.fisher(a, len(failed), b, len(others)) for a, b in counts]
    together = statistics.holm(chances)
    best: dict[tuple[str, object], Row] = {}
    order = sorted(range(len(found)), key=lambda place: (chances[place], found[place].what, str(found[place].value)))
    for place in order:
        each, (a, b) = found[place], counts[place]
        lift = a / (a + b) / (len(failed) / (len(failed) + len(others)))
        if lift <= 1 or a < _LEAST:
            continue
        row = (each.what, each.value, a, len(failed), b, len(others), lift, _odds(a, len(failed), b, len(others)))
        ranged = each.what.startswith("range of ")
        best.setdefault((each.what, None if ranged else each.value), (*row, chances[place], together[place]))
    return list(best.values())


def _odds(a: int, failed: int, b: int, others: int) -> float | None:
    """Odds of having it, of those that failed over those of the others; None where it has no end."""
    below = (failed - a) * b
    return a * (others - b) / below if below else None


def _features(ask: Callable[[str], Table]) -> Iterator[_Shared]:
    by_name: dict[str, dict[_Who, Value]] = defaultdict(dict)
    for study, key, name, value in ask(PARAMETERS).rows:
        by_name[str(name)][study, key] = value
    for name, values in by_name.items():
        yield from _of_parameter(name, values)
    yield from _grouped("host", ((study, key, host) for study, key, host in ask(HOSTS).rows))
    failures = ask(FAILED).rows
    yield from _grouped("failed attempt of", ((study, key, name) for study, key, name, *_ in failures))
    yield from _grouped("exit code", ((study, key, code) for study, key, _, code, _ in failures))
    yield from _grouped("failure", ((study, key, _words(words)) for study, key, *_, words in failures))
    yield from _grouped("anomaly", ((study, key, kind) for study, key, kind in ask(ANOMALIES).rows))


def _grouped(what: str, rows: Iterable[tuple[Value, Value, Value]]) -> Iterator[_Shared]:
    groups: dict[Value, set[_Who]] = defaultdict(set)
    for study, key, value in rows:
        if value is not None:
            groups[value].add((study, key))
    return (_Shared(what, value, frozenset(who)) for value, who in groups.items())


def _of_parameter(name: str, values: dict[_Who, Value]) -> Iterator[_Shared]:
    numbers = {who: value for who, value in values.items() if isinstance(value, int | float)}
    if len(set(values.values())) <= _FEW or len(numbers) < len(values):
        yield from _grouped(f"parameter {name}", ((*who, value) for who, value in values.items()))
        return
    cuts = {statistics.quantile(numbers.values(), part / _CUTS) for part in range(1, _CUTS)}
    for cut in sorted(cuts):
        below = frozenset(who for who, value in numbers.items() if value <= cut)
        yield _Shared(f"range of {name}", f"<= {cut:.6g}", below)
        yield _Shared(f"range of {name}", f"> {cut:.6g}", frozenset(numbers.keys() - below))


def _words(failure: Value) -> str | None:
    """What is said, without what differs each time."""
    if not isinstance(failure, str) or not failure.strip():
        return None
    text = " ".join(failure.split())
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return text[:_LONGEST]
