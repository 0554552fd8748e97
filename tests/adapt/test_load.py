"""What attempts do with their time, by hand-computed traces."""

from __future__ import annotations

from typing import Any

import pytest

from panorama_driver.adapt import Load
from panorama_driver.events import Event


def sample(ts: float, job: str = "j", final: bool = False, **fields: Any) -> Event:
    told = {"pid": 1, "utime": 0.0, "stime": 0.0, "final": final} | fields
    return Event(kind="kickstart.inv.online", wf_uuid="w", ts=ts, job_id=job, attempt=1, fields=told)


def test_shares_are_of_the_time_of_all_attempts_in_the_window() -> None:
    load = Load()
    for n in range(9):
        load.see(sample(100.0 + n, "reads", utime=0.1 * n, iowait=0.8 * n))
        load.see(sample(100.0 + n, "computes", utime=0.9 * n, stime=0.1 * n, iowait=0.0))
    found = load.pressure(108.0)
    assert found is not None
    assert found.seconds == 2 * 5
    assert found.blocked == pytest.approx(0.4)
    assert found.busy == pytest.approx((0.1 + 1.0) / 2)


def test_without_an_account_of_waiting_the_state_of_the_processes_tells() -> None:
    load = Load()
    for n in range(6):
        load.see(sample(100.0 + n, iowait=None, blocked=n % 2))
    found = load.pressure(105.0)
    assert found is not None
    assert found.blocked == pytest.approx(3 / 5)


def test_what_does_not_tell_of_waiting_is_not_known() -> None:
    load = Load()
    for n in range(6):
        load.see(sample(100.0 + n))
    assert load.pressure(105.0) is None


def test_a_program_that_ends_and_a_counter_that_falls_make_no_step() -> None:
    load = Load()
    load.see(sample(100.0, iowait=0.0))
    load.see(sample(101.0, iowait=0.0, final=True))
    load.see(sample(104.0, iowait=0.0))
    load.see(sample(105.0, iowait=0.0, utime=-1.0))
    found = load.pressure(105.0)
    assert found is not None
    assert found.seconds == 1.0


def test_what_is_older_than_the_window_is_forgotten() -> None:
    load = Load()
    for n in range(6):
        load.see(sample(100.0 + n, iowait=0.0))
    assert load.pressure(120.0) is None


def test_a_clock_that_is_ahead_keeps_nothing_in_the_window() -> None:
    load = Load()
    load.see(sample(1e9, "ahead", iowait=0.0))
    load.see(sample(1e9 + 1, "ahead", iowait=1.0))
    for n in range(100):
        load.see(sample(100.0 + n, iowait=min(n, 50.0)))
    found = load.pressure(199.0)
    assert found is not None
    assert (found.blocked, found.seconds) == (0.0, 5.0)


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), "1", [], None])
def test_numbers_that_cannot_be_tell_nothing(value: Any) -> None:
    load = Load()
    load.see(sample(100.0, pid=value, utime=0.0, iowait=0.0))
    load.see(sample(101.0, pid=value, utime=value, iowait=0.0))
    load.see(sample(102.0, pid=value, utime=0.0, iowait=value))
    assert load.pressure(102.0) is None
