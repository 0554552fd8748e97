"""What holds for all runs: order, repetition and loss of events, restarted counters, any width of bin."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.events import Event
from panorama_driver.metrics import correlate, series

from .runs import Run, captured, missing_reasons, records

REAL = {name: captured(name) for name in ("stampede-events.jsonl", "stampede-events-fail.jsonl")}
REAL["transfers"] = Run().attempt("in", 1, 0, 0, 9).file("in", 1, 3, 7, attempt=1).file("in", 2, 3, 8, attempt=1).events
ASIDE = settings(max_examples=20, deadline=None)
names = st.sampled_from(sorted(REAL))
steps = st.lists(st.integers(0, 10**9), min_size=1, max_size=8)


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        yield from itertools.chain.from_iterable(map(numbers, value))
    elif isinstance(value, float):
        yield value


@ASIDE
@given(name=names, order=st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(name: str, order: random.Random) -> None:
    events = REAL[name] + order.sample(REAL[name], 7)
    order.shuffle(events)
    assert msgspec.json.encode(correlate(events)) == msgspec.json.encode(correlate(REAL[name]))
    assert msgspec.json.encode(series(events)) == msgspec.json.encode(series(REAL[name]))


@given(first=st.integers(0, 100), second=st.integers(0, 100))
def test_two_tellings_of_one_event_give_one_result_whichever_comes_first(first: int, second: int) -> None:
    told = [
        Event(kind="stampede.job_inst.submit.end", wf_uuid="w", ts=1, job_id="a", attempt=1, fields={"status": status})
        for status in (first, second)
    ]
    assert correlate(told) == correlate(told[::-1])


@ASIDE
@given(name=names, order=st.randoms(use_true_random=False), kept=st.floats(0.01, 1))
def test_whatever_is_lost_all_that_is_unknown_has_its_reason(name: str, order: random.Random, kept: float) -> None:
    events = order.sample(REAL[name], max(1, int(kept * len(REAL[name]))))
    workflow = correlate(events)
    assert [missing_reasons(record) for record in records(workflow) if missing_reasons(record)] == []
    column = series(events)
    assert missing_reasons(column) == []
    assert all(map(math.isfinite, numbers(msgspec.to_builtins([workflow, column]))))


@given(lives=st.lists(steps, min_size=1, max_size=4))
def test_a_counter_that_starts_again_counts_all_its_lives(lives: list[list[int]]) -> None:
    values = [value for life in lives for value in (0, *itertools.accumulate(life))]
    run = Run().attempt("a", 1, 0, 0, len(values)).trace("a", 1, 0, bread=values)
    assert correlate(run.events).job("a").bytes_read == sum(map(sum, lives))


@given(read=steps, times=st.data(), width=st.one_of(st.none(), st.floats(0.05, 1000)))
def test_a_column_sums_to_the_metric_of_its_name(read: list[int], times: st.DataObject, width: float | None) -> None:
    gaps = times.draw(st.lists(st.floats(0, 30), min_size=len(read), max_size=len(read)))
    run = Run().attempt("a", 1, 0, 0, 1)
    for seq, (ts, value) in enumerate(zip(itertools.accumulate(gaps), itertools.accumulate(read), strict=True)):
        run.sample("a", 1, ts, seq=seq, bread=value)
    column = series(run.events, width=width)
    assert math.fsum(column.bytes_read or ()) == pytest.approx(correlate(run.events).job("a").bytes_read)
    assert column.width > 0
