"""The driver is told to end: it cancels its evaluation, answers `fail`, and leaves no process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from .studies import DRIVER, OFFSET, Study, wait_for

JOBS = "sleep 60"


@pytest.mark.measures
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_to_the_driver_cancels_its_evaluation(
    number: signal.Signals, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make([0.5], options="{pause: 60}", capture="recover 99")
    dakota = study.start()
    wait_for(lambda: len(study.find(JOBS)) >= 2, "the jobs")
    [driver] = study.find(DRIVER)
    start = time.monotonic()
    os.kill(driver, number)
    assert study.ended(dakota).code == 0
    answered = time.monotonic() - start
    wait_for(lambda: not study.find(JOBS), "the end of the jobs", 15)
    wait_for(lambda: list(study.states().values()) == ["cancelled"], "the journal", 15)
    took = time.monotonic() - start
    figure(f"{number.name} to the driver: answered after {answered:.2f} s, jobs gone {took:.2f} s")
    assert study.result(1) == "FAIL\n"
    assert study.table() == {1: 99.0}
    assert took < 5, f"measured {took:.1f} s"


def test_an_evaluation_that_was_cancelled_goes_on_when_it_is_asked_again(make: Callable[..., Study]) -> None:
    study = make([0.5], options="{pause: 2}", capture="recover 99")
    dakota = study.start()
    wait_for(lambda: study.started("sh_left"), "the jobs")
    os.kill(study.find(DRIVER)[0], signal.SIGTERM)
    study.ended(dakota)
    assert study.run().code == 0
    assert study.table() == {1: pytest.approx((0.5 - OFFSET) ** 2)}
    assert (study.double_submissions(), study.repeated_jobs()) == (0, 0)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_dakota_leaves_its_evaluations_to_end_well(number: int, make: Callable[..., Study]) -> None:
    study = make([0.5, 0.6], options="{pause: 0.5}")
    dakota = study.start()
    wait_for(lambda: len(study.events("stampede.inv.start", "sh_left")) == 2, "the jobs")
    os.kill(dakota.pid, number)
    assert study.ended(dakota).code in (2, 15)
    study.end_by_themselves()
    assert list(study.states().values()) == ["succeeded", "succeeded"]
