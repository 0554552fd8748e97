"""The fourteen defects of a predecessor: what the pages show is what is worked out by hand in tests/web/defects.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from tests.web.defects import DEFECTS, Defect, Value

from .browser import Browser
from .server import Served

ON_THE_WORKFLOW = frozenset(
    {"state", "wall_time", "queue_time", "cpu_time", "cpu_utilization", "bytes_read", "bytes_written"}
    | {"bytes_transferred", "exit_code"}
)
"""What the page of a workflow shows of each job as well."""


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.number:02}")
def test_a_defect_is_not_there(browser: Browser, server: Served, defect: Defect) -> None:
    home = server.path("defects.db", defect.label)
    browser.open(home, "workflow")
    _check(browser, defect.workflow, job=None, attempt=None)
    _check_reasons(browser, defect, None)
    _check_series(browser, defect, None)
    for job, values in defect.jobs.items():
        _check(browser, {name: value for name, value in values.items() if name in ON_THE_WORKFLOW}, job=job)
    for job, values in defect.jobs.items():
        browser.visit(f"{home}/jobs/{job}", "job")
        for name, value in values.items():
            _check(browser, {name: value}, job=job, attempt=_decisive(browser, name))
        _check_reasons(browser, defect, job)
        _check_series(browser, defect, job)
        for (of, attempt), told in defect.attempts.items():
            if of == job:
                _check(browser, told, job=job, attempt=attempt)


def _decisive(browser: Browser, metric: str) -> str | None:
    """Where the page of a job shows a value of the job: above its attempts, or else at the last, which decided it."""
    if browser.values(metric, attempt=None):
        return None
    return max((str(card.get_attribute("data-attempt")) for card in browser.all("article[data-attempt]")), key=int)


def _check(browser: Browser, values: Mapping[str, Value], **scope: object) -> None:
    for metric, expected in values.items():
        shown = browser.value(metric, **scope)
        if expected is None:
            assert (shown.value, bool(shown.unknown)) == (None, True), (metric, scope)
        elif isinstance(expected, str):
            assert shown.value == expected, (metric, scope)
        else:
            assert shown.number == pytest.approx(expected), (metric, scope)


def _check_reasons(browser: Browser, defect: Defect, job: str | None) -> None:
    for (of, metric), words in defect.reasons.items():
        if of == job:
            attempt = None if job is None else _decisive(browser, metric)
            assert words in str(browser.value(metric, job=job, attempt=attempt).unknown)


def _check_series(browser: Browser, defect: Defect, job: str | None) -> None:
    for (of, metric), amounts in defect.series.items():
        if of == job:
            browser.wait(partial(_drawn, browser, metric, amounts), f"{metric} over time")


def _drawn(browser: Browser, metric: str, amounts: Sequence[float]) -> bool:
    """Whether a panel draws these amounts of the metric."""
    traces = [trace for name in browser.charts() for trace in browser.panel(name).get("traces", [])]
    return any(_is_near(trace["y"], amounts) for trace in traces if trace.get("metric") == metric)


def _is_near(found: Sequence[Any], expected: Sequence[float]) -> bool:
    numbers = [math.nan if value is None else float(value) for value in found]
    return len(numbers) == len(expected) and numbers == pytest.approx(list(expected), abs=1e-9)


def test_defect_08_the_transfers_stand_where_they_happened(browser: Browser, server: Served) -> None:
    browser.open(f"{server.path('defects.db', DEFECTS[7].label)}/transfers", "transfers")
    assert _listed(browser, "begin") == [101, 107]
    assert _listed(browser, "bytes_transferred") == [60, 40]


def test_defect_10_the_speed_of_a_globus_transfer_is_that_of_all_its_progress(browser: Browser, server: Served) -> None:
    browser.open(f"{server.path('defects.db', DEFECTS[9].label)}/transfers", "transfers")
    assert _listed(browser, "bytes_transferred") == [460]
    [speed] = browser.panel("transfer-speed")["traces"]
    # 100 B in 2 s, 300 B in 2 s, 50 B in 2 s, and 10 B until its end
    assert [each for each in speed["y"] if each][:4] == [50, 150, 25, 5]


def test_defect_14_failed_and_local_transfers_are_listed(browser: Browser, server: Served) -> None:
    browser.open(f"{server.path('defects.db', DEFECTS[13].label)}/transfers", "transfers")
    assert sorted(shown.value or "" for shown in browser.values("state", transfer="*")) == [
        "failed",
        "failed",
        "succeeded",
    ]
    assert browser.value("bytes_transferred", transfer=None).number == 125


def _listed(browser: Browser, metric: str) -> list[float]:
    browser.wait(lambda: browser.values(metric, transfer="*"), metric)
    return [shown.number for shown in browser.values(metric, transfer="*")]
