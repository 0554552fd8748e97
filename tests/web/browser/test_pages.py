"""Every page of recorded runs and of the embedded engine's, in light and dark, on a screen and on a phone."""

from __future__ import annotations

import itertools

import pytest

from tests.web.stores import DARSHAN

from .browser import PHONE, WIDE, Browser
from .server import Served

MINI = ("captures.db", "mini-events")
PAGES = {
    "studies": ("studies", ()),
    "study-embedded": ("study", ("embedded",)),
    "study-front": ("study", ("front",)),
    "study-captures": ("study", ("captures.db",)),
    "workflow-embedded": ("workflow", ("embedded", "2")),
    "workflow-embedded-failed": ("workflow", ("embedded", "6")),
    "workflow-mini": ("workflow", MINI),
    "workflow-hierarchical": ("workflow", ("captures.db", "outer")),
    "workflow-clusters": ("workflow", ("captures.db", "clusters")),
    "workflow-slurm-pending": ("workflow", ("captures.db", "st-pend")),
    "workflow-traces-only": ("workflow", ("captures.db", "demo")),
    "job-embedded-failed": ("job", ("embedded", "6", "jobs", "square_last")),
    "job-mini": ("job", (*MINI, "jobs", "py_ID0000004")),
    "job-darshan": ("job", ("captures.db", DARSHAN, "jobs", "four")),
    "job-retried": ("job", ("captures.db", "mini-fail", "jobs", "sh_ID0000002")),
    "transfers-mini": ("transfers", (*MINI, "transfers")),
    "transfers-globus": ("transfers", ("defects.db", "defect-10: of the progress of a Globus transfer", "transfers")),
    "anomalies": ("anomalies", ("anomalies",)),
    "study-found": ("study", ("found",)),
    "workflow-found": ("workflow", ("found", "1")),
    "workflow-stopped": ("workflow", ("found", "3")),
    "job-found": ("job", ("found", "1", "jobs", "simulate")),
    "transfers-none": ("transfers", ("captures.db", "demo", "transfers")),
}
"""Name of the module, and what address it has."""


def address(server: Served, where: tuple[str, ...]) -> str:
    if where in ((), ("anomalies",)):
        return "".join(where)
    name, *more = where
    if more:
        more[0] = next(label for label in server.runs(name) if label.startswith(more[0]))
    return server.path(name, *more)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_drawn_without_a_complaint_at_any_size_and_in_all_colours(
    browser: Browser, server: Served, name: str
) -> None:
    page, where = PAGES[name]
    browser.open(address(server, where), page)
    assert browser.alert() == ""
    assert browser.js("return document.querySelectorAll('h1').length") == 1
    for (size, window), scheme in itertools.product({"wide": WIDE, "phone": PHONE}.items(), ("light", "dark")):
        browser.size(*window)
        browser.colours(scheme)
        browser.drawn()
        assert browser.fits()
        browser.picture(f"{name}-{size}-{scheme}")


def test_every_link_of_the_pages_leads_to_a_page(browser: Browser, server: Served) -> None:
    """From the list down to a job by links alone, without loading anything anew."""
    browser.open("", "studies")
    browser.js("window.untouched = true")
    study, wf = server.study("embedded"), server.runs("embedded")["2"]
    for page, path in {
        "study": f"studies/{study}",
        "workflow": f"studies/{study}/workflows/{wf}",
        "job": f"studies/{study}/workflows/{wf}/jobs/sh_left",
    }.items():
        browser.find(f'main a[href$="{path}"]')
        browser.press_link(path)
        browser.ready(page)
        assert browser.driver.current_url == browser.base + path
    assert browser.js("return window.untouched") is True
    browser.driver.back()
    browser.ready("workflow")
    assert browser.js("return window.untouched") is True


def test_nothing_comes_from_anywhere_else(browser: Browser, server: Served) -> None:
    browser.open(server.path(*MINI), "workflow")
    loaded = browser.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert any("plotly.min.js" in name for name in loaded)
    assert [name for name in loaded if not name.startswith(server.base)] == []


def test_an_address_of_nothing_says_so(anywhere: Browser, server: Served) -> None:
    browser = anywhere.at(server.base)
    browser.open("studies/nobody-knows-it")
    assert "nobody-knows-it" in browser.text()
    assert browser.find("[role=alert]")
    browser.forgive()  # the browser itself tells of the answer 404


# --- numbers of recorded runs: expected values as in tests/metrics/test_metrics_captures.py --------------------------


def test_a_recorded_workflow_shows_what_its_stampede_database_says(browser: Browser, server: Served) -> None:
    browser.open(server.path(*MINI), "workflow")
    wf = server.runs("captures.db")["mini-events"]
    for metric, expected in {
        "makespan": 26,
        "cumulative_time": 26.874,
        "cpu_time": 7.979,
        "cpu_utilization": 7.979 / 26.874,
        "peak_memory": 71220 * 1024,
        "jobs_total": 8,
        "jobs_succeeded": 8,
        "critical_path": (0 + 2.408) + (1 + 2.424) + (0 + 0.003) + (2 + 6.392),
    }.items():
        assert browser.value(metric, workflow=wf, job=None).number == pytest.approx(expected), metric
    assert browser.value("state", workflow=wf, job=None, attempt=None).value == "succeeded"
    for metric, expected in {"wall_time": 6.392, "peak_memory": 71220 * 1024, "cpu_time": 3.436}.items():
        assert browser.value(metric, job="py_ID0000004").number == pytest.approx(expected), metric


def test_an_unknown_sum_says_which_job_it_lacks(browser: Browser, server: Served) -> None:
    browser.open(server.path(*MINI), "workflow")
    shown = browser.value("bytes_read", job=None)
    assert (shown.value, shown.text) == (None, "unknown")
    assert "1 of 4 attempts, such as payload_ID0000001" in str(shown.unknown)


def test_a_recorded_job_shows_what_kickstart_says(browser: Browser, server: Served) -> None:
    browser.open(server.path(*MINI, "jobs", "py_ID0000004"), "job")
    for metric, expected in {
        "wall_time": 6.392,
        "cpu_time": 3.260 + 0.176,
        "peak_memory": 71220 * 1024,
        "bytes_read": 159744,
        "bytes_written": 8192,
        "exit_code": 0,
    }.items():
        assert browser.value(metric, job="py_ID0000004", attempt=None).number == pytest.approx(expected), metric
    assert browser.value("chars_read", attempt="*").number == 1360391
    assert browser.value("io_wait", attempt="*").unknown == "the kernel's delay accounting is off"


def test_a_job_that_failed_twice_shows_both_attempts_side_by_side(browser: Browser, server: Served) -> None:
    browser.open(server.path("captures.db", "mini-fail", "jobs", "sh_ID0000002"), "job")
    for attempt in (3, 4):
        assert browser.value("state", attempt=attempt).value == "failed"
        assert browser.value("exit_code", attempt=attempt).number == 3
        assert browser.value("wall_time", attempt=attempt).number == 1.006


def test_darshan_logs_of_four_processes_are_added_up(browser: Browser, server: Served) -> None:
    """Each wrote pieces of 4096 B: 0, 100, 200 and 300 of them."""
    browser.open(server.path("captures.db", DARSHAN, "jobs", "four"), "job")
    assert browser.value("bytes_written", module="posix").number == 600 * 4096
    assert browser.value("opens", module="stdio").value is not None
    assert browser.values("processes", panel="darshan")[0].number == 4
    assert any(trace["type"] == "heatmap" for name in browser.charts() for trace in browser.panel(name)["traces"])


def test_transfers_of_a_recorded_run(browser: Browser, server: Served) -> None:
    browser.open(server.path(*MINI, "transfers"), "transfers")
    assert sorted(shown.number for shown in browser.values("bytes_transferred", transfer="*")) == [524, 100000, 100000]
    assert browser.value("bytes_transferred", transfer=None).number == 200524


# --- numbers of the embedded engine ----------------------------------------------------------------------------------


def test_a_study_shows_each_evaluation_with_its_answer(browser: Browser, server: Served) -> None:
    browser.open(server.path("embedded"), "study")
    rows = server.get(f"studies/{server.study('embedded')}")["evaluations"]
    for row, y in zip(rows, (0.09, 0.01, 0.0, 0.04, 1.0, None), strict=True):
        shown = browser.value("y", evaluation=row["key"])
        assert shown.value is None if y is None else shown.number == pytest.approx(y)
    failed = rows[-1]["key"]
    assert browser.value("state", evaluation=failed).value == "failed"
    assert "asked to fail" in browser.text()


def test_the_best_of_a_study_is_told(browser: Browser, server: Served) -> None:
    browser.open(server.path("embedded"), "study")
    assert browser.value("best", evaluation=None).number == 0
    browser.visit("", "studies")
    assert browser.value("best", study=server.study("embedded")).number == 0
    for metric, count in {"evaluations": 6, "done": 5, "failed": 1, "running": 0}.items():
        assert browser.value(metric, study=server.study("embedded")).number == count


def test_a_front_of_two_objectives_is_shown(browser: Browser, server: Served) -> None:
    browser.open(server.path("front"), "study")
    drawn = [sorted(zip(trace["x"], trace["y"], strict=True)) for trace in browser.panel("front")["traces"]]
    expected = [(0.0, 0.3), (0.09, 0.0), (0.64, -0.5)]
    assert any(each == [pytest.approx(point) for point in expected] for each in drawn)


# --- who looks -------------------------------------------------------------------------------------------------------


def test_times_are_in_the_zone_of_who_looks_and_in_utc_on_hover(browser: Browser, server: Served) -> None:
    browser.zone("America/Los_Angeles")
    browser.open(server.path(*MINI), "workflow")
    start = browser.find("time[data-metric=start]")
    # 1795347576 is 2026-11-22 11:39:36 UTC, eight hours earlier there
    assert "3:39:36" in start.text
    assert start.get_attribute("title") == "2026-11-22 11:39:36 UTC"


def test_colours_follow_the_system_until_chosen(browser: Browser) -> None:
    browser.open("", "studies")
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = browser.js(paper)
    browser.colours("dark")
    assert browser.js(paper) != light
    while browser.js("return document.documentElement.dataset.theme") != "light":
        browser.find("#theme").click()
    assert browser.js(paper) == light
    browser.open("", "studies")
    assert browser.js(paper) == light
