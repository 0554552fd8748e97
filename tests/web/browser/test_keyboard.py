"""All that a mouse reaches, a keyboard reaches, and what has the focus is seen to have it."""

from __future__ import annotations

from collections.abc import Iterator

from .browser import Browser
from .server import Served

TAB, ENTER, SHIFT = "\ue004", "\ue007", "\ue008"


def _tabbed(browser: Browser, most: int = 400) -> Iterator[dict[str, str | bool | None]]:
    """What gets the focus, one after another, until it leaves the page."""
    for _ in range(most):
        browser.press(TAB)
        focused = browser.call("focused")
        if focused["tag"] == "BODY":
            return
        yield focused


def test_the_first_stop_skips_to_the_page(browser: Browser) -> None:
    browser.open("", "studies")
    first = next(_tabbed(browser))
    assert first["text"] == "Skip to the page"
    browser.press(ENTER)
    assert browser.js("return document.activeElement.id") == "main"


def test_from_the_list_of_studies_enter_opens_a_study(browser: Browser, server: Served) -> None:
    browser.open("", "studies")
    study = server.study("embedded")
    for focused in _tabbed(browser):
        if focused["study"] == study and focused["tag"] == "A":
            break
    else:
        raise AssertionError("no way to the study")
    assert focused["outlined"]
    browser.press(ENTER)
    browser.ready("study")
    assert browser.driver.current_url.endswith(f"/studies/{study}")


def test_the_rows_of_a_study_are_reached_and_enter_opens_one(browser: Browser, server: Served) -> None:
    browser.open(server.path("embedded"), "study")
    stops = list(_tabbed(browser))
    assert {stop["evaluation"] for stop in stops} - {None} != set()
    row = next(stop for stop in stops if stop["evaluation"] and stop["tag"] == "A")
    browser.js("document.querySelector(`[data-evaluation='${arguments[0]}'] a`).focus()", row["evaluation"])
    browser.press(ENTER)
    browser.ready("workflow")


def test_the_jobs_of_a_workflow_are_reached_in_the_drawings_too(browser: Browser, server: Served) -> None:
    browser.open(server.path("captures.db", "mini-events"), "workflow")
    stops = list(_tabbed(browser))
    assert {"dag", "gantt"} <= {stop["panel"] for stop in stops}
    assert all(stop["outlined"] for stop in stops), [stop for stop in stops if not stop["outlined"]]
    row = next(stop for stop in stops if stop["job"] == "py_ID0000004" and stop["tag"] == "A")
    browser.js(
        "[...document.querySelectorAll('main a')].find((a) => a.getAttribute('href') === arguments[0]).focus()",
        row["href"],
    )
    browser.press(ENTER)
    browser.ready("job")
    assert browser.driver.current_url.endswith("/jobs/py_ID0000004")


def test_what_is_unknown_tells_its_reason_on_focus(browser: Browser, server: Served) -> None:
    browser.open(server.path("captures.db", "mini-events", "jobs", "py_ID0000004"), "job")
    unknown = next(stop for stop in _tabbed(browser) if stop["metric"] == "io_wait")
    assert unknown["label"] == "unknown: the kernel's delay accounting is off"
    said = "return [...document.querySelectorAll('*')].map((n) => getComputedStyle(n, '::after').content).join(' ')"
    assert "delay accounting is off" in browser.js(said) or "delay accounting is off" in browser.text()


def test_the_way_back_is_the_same(browser: Browser) -> None:
    browser.open("", "studies")
    forth = [stop for _, stop in zip(range(6), _tabbed(browser), strict=False)]
    back = []
    for _ in forth[1:]:
        browser.press(TAB, held=SHIFT)
        back.append(browser.call("focused"))
    assert back[::-1] == forth[:-1]
