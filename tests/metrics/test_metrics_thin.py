"""Thinned traces tell the same: numbers to the last digit, and nearly the same shape over time."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Collection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.events import Event
from panorama_driver.metrics import Series, WorkflowMetrics, correlate, series, thinned

from .runs import WF, Run, captured

COUNTERS = ("utime", "stime", "iowait", "bread", "bwrite", "rchar", "wchar", "syscr", "syscw")
LEVELS = ("rss", "threads", "procs")
TRACE = "kickstart.inv.online"


def thin(events: list[Event], most: int) -> list[Event]:
    return thinned(read_of(sorted(events, key=lambda event: event.ts or 0.0)), most)


def read_of(events: list[Event]) -> Callable[..., list[Event]]:
    """Reads these as a store would."""

    def read(kinds: Collection[str] | None = None, *, without: Collection[str] = ()) -> list[Event]:
        return [event for event in events if (kinds is None or event.kind in kinds) and event.kind not in without]

    return read


def samples(events: list[Event]) -> int:
    return sum(event.kind == TRACE for event in events)


def steady(rows: int, jobs: int = 1) -> list[Event]:
    """Jobs that count upwards, with a burst of memory and threads in the middle."""
    run = Run().start(0).end(rows + 10)
    for number in range(1, jobs + 1):
        run.jobs(f"j{number}").attempt(f"j{number}", number, 0, 1, rows)
        columns: dict[str, list[float]] = {name: [0.1 * i for i in range(rows)] for name in COUNTERS[:3]}
        columns |= {name: [1000 * i for i in range(rows)] for name in COUNTERS[3:]}
        columns |= {name: [1 + 50 * (i == rows // 2 + 1) for i in range(rows)] for name in LEVELS}
        run.trace(f"j{number}", number, 1, **columns)
    return run.events


def test_a_long_trace_becomes_short_and_its_numbers_stay() -> None:
    events = steady(5000, jobs=3)
    few = thin(events, 300)
    assert samples(few) <= 300
    assert samples(events) == 15000
    assert correlate(few) == correlate(events)


def test_few_samples_stay_all_as_they_are() -> None:
    events = steady(50)
    assert series(thin(events, 300)) == series(events)


def test_the_highest_memory_and_threads_stay_where_they_were_but_for_the_bin_beside() -> None:
    events = steady(20_000)
    all_of_it, few = (series(which, width=1000.0) for which in (events, thin(events, 400)))
    for name in ("threads", "procs", "rss"):
        column, known = getattr(few, name), getattr(all_of_it, name)
        place = known.index(max(known))
        assert column[place] == known[place]
        assert column[: place - 1] == known[: place - 1]
        assert column[place + 1 :] == known[place + 1 :]


def test_a_series_keeps_its_totals_and_its_shape() -> None:
    chance = random.Random(1)
    burst = [chance.random() * (20 if 3000 < i < 4000 else 1) for i in range(10_000)]
    run = Run().start(0).end(10_010).jobs("a").attempt("a", 1, 0, 1, 10_000)
    run.trace("a", 1, 1, utime=list(itertools.accumulate(burst)), rss=[100 + i % 7 for i in range(10_000)])
    all_of_it, few = (series(which, width=100.0) for which in (run.events, thin(run.events, 1000)))
    assert all_of_it.user_time is not None
    assert few.user_time is not None
    assert math.fsum(few.user_time) == pytest.approx(math.fsum(all_of_it.user_time))
    assert max(abs(a - b) for a, b in zip(few.user_time, all_of_it.user_time, strict=True)) < 0.1 * max(few.user_time)


def test_more_process_trees_have_fewer_samples_each() -> None:
    few = thin(steady(400, jobs=40), 1000)
    assert samples(few) <= 1000
    assert {event.job_id for event in few if event.kind == TRACE} == {f"j{n}" for n in range(1, 41)}


def test_samples_that_name_no_attempt_are_counted_as_before() -> None:
    run = Run().start(0).end(2000).jobs("a")
    run.attempt("a", 1, 0, 1, 900, raw_status=256).attempt("a", 2, 950, 960, 900)
    for i in range(0, 1900, 2):
        run.sample("a", None, float(i), utime=0.5 * i, rss=10, threads=3, procs=2)
    for i in range(500):
        run.sample("b", None, float(i), utime=1.0 * i)
    events = run.events
    few, whole = thin(events, 100), correlate(events)
    assert samples(few) < 200
    assert correlate(few) == whole
    assert whole.unmatched > 500
    assert whole.guessed > 400


def test_an_attempt_that_only_samples_tell_of_is_known_before_samples_are_given_away() -> None:
    run = Run().start(0).end(100).jobs("a").attempt("a", 1, 0, 1, 90)
    for i in range(40):
        run.sample("a", None, float(i), utime=1.0 * i, pid=5)
    run.sample("a", 2, 60.0, seq=0, utime=1.0)
    assert correlate(thin(run.events, 20)) == correlate(run.events)


def test_recorded_runs_are_the_same() -> None:
    for name in ("stampede-events.jsonl", "stampede-events-fail.jsonl"):
        events = captured(name)
        for wf_uuid in {event.wf_uuid for event in events}:
            own = [event for event in events if event.wf_uuid == wf_uuid]
            assert correlate(thin(own, 10)) == correlate(own)


values = st.one_of(st.none(), st.integers(0, 50), st.floats(0, 50, allow_nan=False), st.sampled_from(["7", "x", True]))
rows = st.fixed_dictionaries(
    dict.fromkeys((*COUNTERS[:4], "rss", "threads", "procs"), values),
    optional={
        "final": st.booleans(),
        "rusage_utime": st.floats(0, 80, allow_nan=False),
        "problems": st.lists(st.sampled_from(["no Darshan: x", "y"]), max_size=2),
        "site": st.sampled_from(["local", "cori"]),
        "xformation": st.sampled_from(["md", "sassena"]),
        "start_ts": st.integers(0, 9),
        "dur": st.integers(0, 99),
        "exitcode_raw": st.integers(0, 300),
        "maxrss": values,
    },
)
whose = st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([1, 2, 3, None]), st.integers(1, 2))
moments = st.floats(0, 40, allow_nan=False)
told = st.lists(st.tuples(whose, moments, st.one_of(st.none(), st.integers(0, 30)), rows), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(told=told, most=st.integers(1, 40), order=st.randoms(use_true_random=False), again=st.booleans())
def test_whatever_samples_say_and_however_they_come_the_numbers_are_the_same(
    told: list[tuple[Any, float, int | None, dict[str, Any]]], most: int, order: random.Random, again: bool
) -> None:
    run = Run().start(0).end(60).jobs("a", "b").attempt("a", 1, 0, 1, 20).attempt("a", 2, 25, 26, 10)
    plain = run.attempt("b", 1, 0, 1, 30).events
    traced: list[Event] = []
    for (job_id, attempt, pid), ts, seq, fields in told:
        own = {"seq": seq, **fields} if seq is not None else fields
        known = {"pid": pid, "hostname": f"n{pid}", **own}
        traced.append(Event(kind=TRACE, wf_uuid=WF, ts=ts, job_id=job_id, attempt=attempt, fields=known))
    unique = {event.event_id: event for event in traced}
    traced = list(unique.values()) + (
        [event for event in unique.values() if event.job_id is not None and event.attempt is not None] if again else []
    )
    order.shuffle(traced)
    events = [*plain, *traced]
    few = thinned(read_of(events), most)
    assert _differences(correlate(few), correlate(events)) == {}
    assert _same(series(few), series(events))


def _differences(few: WorkflowMetrics, whole: WorkflowMetrics) -> dict[str, tuple[object, object]]:
    """Fields of the run and of its attempts that are not equal, to the last digit."""
    told = [{"": whole} | {f"{a.job_id} {a.attempt} ": a for job in whole.jobs for a in job.attempts}]
    told += [{"": few} | {f"{a.job_id} {a.attempt} ": a for job in few.jobs for a in job.attempts}]
    left, right = (
        {who + name: getattr(one, name) for who, one in all_of_them.items() for name in one.__struct_fields__}
        for all_of_them in told
    )
    return {name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)}


def _same(few: Series, whole: Series) -> bool:
    """Whether columns are known alike and have equal sums."""
    for name in ("user_time", "system_time", "io_wait", "bytes_read"):
        left, right = getattr(few, name), getattr(whole, name)
        if (left is None) != (right is None):
            return False
        if left is not None and math.fsum(left) != pytest.approx(math.fsum(right), abs=1e-6):
            return False
    return True
