"""Anomalies of several studies as one list, with what was done about them."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence

from ..analysis import Episode
from ._anomalies import MOST_ACTIONS
from ._source import Source
from .documents import AnomalyList, AnomalyRow

_MOST_PROBLEMS = 20


def listed(sources: Sequence[Source], kind: str, page: int, size: int) -> AnomalyList:
    """A page of what was found in studies and stores, the last first; `kind` may be empty for all kinds."""
    found: list[tuple[Source, Episode]] = []
    actions, problems, kinds = [], [], Counter[str]()
    for source in sources:
        with source.lock:
            source.advance()
            every = source.book.episodes()
            kinds.update(each.anomaly.kind for each in every)
            found += [(source, each) for each in every if kind in ("", each.anomaly.kind)]
            actions += source.actions()
            problems += source.book.problems
    found.sort(key=lambda one: -one[1].anomaly.found)
    actions.sort(key=lambda row: -row.action.t)
    begin = (page - 1) * size
    return AnomalyList(
        anomalies=[_row(*one) for one in found[begin : begin + size]],
        total=len(found),
        page=page,
        size=size,
        open=sum(each.over is None for _, each in found),
        kinds=dict(sorted(kinds.items(), key=operator.itemgetter(0))),
        actions=actions[:MOST_ACTIONS],
        actions_total=len(actions),
        problems=problems[:_MOST_PROBLEMS],
    )


def _row(source: Source, each: Episode) -> AnomalyRow:
    with source.lock:
        return source.book.row(each, source.named)
