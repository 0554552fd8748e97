"""Series of made-up traces, worked out by hand."""

from __future__ import annotations

import pytest

from panorama_driver.metrics import series

from .runs import Run


def test_an_interval_over_the_edge_of_a_bin_is_shared_out_by_time() -> None:
    run = Run().attempt("a", 1, 0, 0, 4)
    run.sample("a", 1, 1.0, seq=0, bread=10, start_ts=0).sample("a", 1, 4.0, seq=1, bread=40, final=True, start_ts=0)
    # 10 in (0, 1], 30 in (1, 4]: 10 + 10 before 2 s, 20 after
    assert series(run.events, width=2).bytes_read == pytest.approx((20, 20))


def test_a_dropped_sample_loses_nothing() -> None:
    run = Run().attempt("a", 1, 0, 0, 4)
    for seq, ts, read in ((0, 1.0, 5), (3, 4.0, 20)):
        run.sample("a", 1, ts, seq=seq, bread=read)
    assert sum(series(run.events).bytes_read or ()) == pytest.approx(20)


def test_utilization_of_a_bin_is_over_the_cores_that_were_watched_then() -> None:
    run = Run().attempt("a", 1, 0, 0, 2, cores=2).attempt("b", 2, 1, 1, 3, cores=1)
    run.trace("a", 1, 0, utime=[1.0, 3.0], stime=[0.0, 0.0]).trace("b", 2, 1, utime=[0.5, 0.5, 1.0], stime=[0, 0, 0])
    column = series(run.events, width=1)
    assert column.cpu_time == pytest.approx((1.0, 2.5, 0.0, 0.5))
    assert column.cpu_utilization == pytest.approx((1 / 2, 2.5 / 3, 0 / 1, 0.5 / 1))


def test_a_bin_that_nobody_watched_has_no_utilization() -> None:
    run = Run().attempt("a", 1, 0, 0, 1).attempt("b", 2, 2, 2, 1)
    run.trace("a", 1, 0, utime=[1.0], stime=[0.0]).trace("b", 2, 2, utime=[0.5], stime=[0.0])
    assert series(run.events, width=1).cpu_utilization == (1, None, 0.5)


def test_levels_are_the_largest_of_each_trace_and_add_up() -> None:
    run = Run().attempt("a", 1, 0, 0, 4).attempt("b", 2, 0, 0, 4)
    run.trace("a", 1, 0, threads=[1, 5, 2, 1], rss=[10, 20, 30, 0]).trace("b", 2, 0, threads=[1, 1, 1, 9])
    column = series(run.events, width=2)
    assert column.threads == (5 + 1, 2 + 9)
    assert (column.rss, column.reasons["rss"]) == (None, "a trace does not hold it")
    assert series(run.events, "a", width=2).rss == (20 * 1024, 30 * 1024)


def test_kickstart_does_not_count_itself() -> None:
    run = Run().attempt("a", 1, 0, 0, 2).sample("a", None, 1, condor_job_id="1.0", procs=3, threads=6)
    column = series(run.events)
    assert (column.procs, column.threads) == ((2,), (4,))


def test_processes_of_one_attempt_are_separate_traces() -> None:
    run = Run().attempt("a", 1, 0, 0, 1)
    run.sample("a", 1, 1, seq=0, bread=10, pid=5).sample("a", 1, 1, seq=0, bread=7, pid=6)
    assert sum(series(run.events).bytes_read or ()) == pytest.approx(17)


def test_a_clock_that_was_set_back_keeps_the_order_of_the_samples() -> None:
    run = Run().attempt("a", 1, 0, 0, 4)
    for seq, (ts, read) in enumerate([(1, 10), (2, 20), (1.5, 30), (3, 40)]):
        run.sample("a", 1, ts, seq=seq, bread=read)
    column = series(run.events, width=1)
    assert column.bytes_read == pytest.approx((10, 10, 20))
    assert column.cumulative("bytes_read") == pytest.approx((10, 20, 40))


def test_bytes_of_a_transfer_lie_in_the_time_it_took() -> None:
    run = Run().attempt("in", 1, 0, 0, 10).file("in", 10, 14, 100, attempt=1)
    run.transfer(
        "in", "local", attempt=1, ts=14, transfer_start_time=9, transfer_completion_time=14, bytes_transferred=100
    )
    column = series(run.events, width=2)
    assert column.time == (10, 12)
    assert column.bytes_transferred == pytest.approx((50, 50))
    assert (column.cpu_time, column.reasons["cpu_time"]) == (None, "no trace")


def test_nothing_watched_is_an_empty_series_with_reasons() -> None:
    column = series(Run().attempt("a", 1, 0, 0, 1).events)
    assert (column.time, column.bytes_read, column.reasons["bytes_read"]) == ((), None, "no trace")
    assert column.cumulative("bytes_read") is None


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_bin_of_no_width_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="wider than 0 s"):
        series(Run().attempt("a", 1, 0, 0, 1).events, width=width)


def test_what_does_not_exist_is_refused() -> None:
    events = Run().attempt("a", 1, 0, 0, 1).events
    with pytest.raises(ValueError, match="no job 'b'"):
        series(events, "b")
    with pytest.raises(ValueError, match="of which job"):
        series(events, attempt=1)
