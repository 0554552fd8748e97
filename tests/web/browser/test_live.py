"""A study that goes on is followed without loading anything anew."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.web import stores

from .browser import Browser
from .server import Served, serving


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Growing]:
    with stores.Growing(tmp_path_factory.mktemp("growing") / "growing") as growing:
        growing.succeed(1, growing.begin(1, x=0.1), 0.04)
        yield growing


@pytest.fixture(scope="module")
def growing(study: stores.Growing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(study.home, folder=tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def page(anywhere: Browser, growing: Served) -> Iterator[Browser]:
    """The browser, and that no page was loaded but the first."""
    browser = anywhere.at(growing.base)
    yield browser
    assert browser.js("return window.untouched") is True


def _open(browser: Browser, path: str, page: str) -> None:
    browser.open(path, page)
    browser.js("window.untouched = true")
    browser.wait(lambda: "live" in browser.find("#live").text, "the stream")


def test_the_study_shows_an_evaluation_from_its_start_to_its_end(
    page: Browser, growing: Served, study: stores.Growing
) -> None:
    _open(page, growing.path("growing"), "study")
    key = study.begin(2, x=0.2)
    page.wait(lambda: page.value("state", evaluation=key).value in ("submitted", "running"), "the evaluation")
    assert page.value("x", evaluation=key).number == 0.2
    study.succeed(2, key, 0.01)
    page.wait(lambda: page.value("state", evaluation=key).value == "succeeded", "its end")
    page.wait(lambda: page.value("y", evaluation=key).number == 0.01, "its answer")
    page.wait(lambda: page.value("best", evaluation=None).number == 0.01, "the best")


def test_the_study_shows_why_an_evaluation_failed(page: Browser, growing: Served, study: stores.Growing) -> None:
    _open(page, growing.path("growing"), "study")
    key = study.begin(3, x=0.3)
    study.fail(3, key, "job first failed with exit code 3")
    page.wait(lambda: page.value("state", evaluation=key).value == "failed", "its end")
    assert "job first failed with exit code 3" in page.text()


def test_the_list_counts_on(page: Browser, growing: Served, study: stores.Growing) -> None:
    _open(page, "", "studies")
    before = page.value("evaluations", study=growing.study("growing")).number
    key = study.begin(4, x=0.4)
    page.wait(lambda: page.value("evaluations").number == before + 1, "one more")
    page.wait(lambda: page.value("running").number == 1, "the one that runs")
    study.succeed(4, key, 0.01)
    page.wait(lambda: page.value("running").number == 0, "its end")


def test_the_workflow_shows_its_jobs_going_on(page: Browser, growing: Served, study: stores.Growing) -> None:
    key = study.begin(5, x=0.5)
    growing_path = growing.path("growing", "5")
    _open(page, growing_path, "workflow")
    assert page.value("state", job="first", attempt=None).value == "running"
    assert page.value("state", job="second", attempt=None).value == "unsubmitted"
    study.end_first(5)
    page.wait(lambda: page.value("state", job="first", attempt=None).value == "succeeded", "the end of the first")
    study.succeed(5, key, 0.04)
    page.wait(lambda: page.value("state", job="second", attempt=None).value == "succeeded", "the end of the second")
    page.wait(lambda: page.value("jobs_succeeded", job=None).number == 2, "the count")


def test_a_server_that_comes_back_is_followed_on(
    anywhere: Browser, study: stores.Growing, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The stream breaks with the server; the page says so, and goes on with the next one at the same address."""
    folder = tmp_path_factory.mktemp("restarted")
    with serving(study.home, folder=folder) as first:
        browser = anywhere.at(first.base)
        _open(browser, first.path("growing"), "study")
    browser.wait(lambda: "lost" in browser.find("#live").text, "that the connection is lost")
    port = int(first.base.split(":")[2].strip("/"))
    key = study.begin(6, x=0.6)
    with serving(study.home, folder=folder, port=port):
        browser.wait(lambda: _state(browser, key) is not None, "the evaluation that began meanwhile", seconds=30)
        assert browser.js("return window.untouched") is True
    browser.forgive()  # the browser itself tells of what did not answer


def _state(browser: Browser, key: str) -> str | None:
    """State of an evaluation as its row has it."""
    return next((shown.value for shown in browser.values("state", evaluation=key)), None)


def _succeeded(browser: Browser, key: str) -> bool:
    return _state(browser, key) == "succeeded"


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Path]:
    """A real study, of three evaluations of a second each."""
    stop = stores.begin_slow(tmp_path / "slow", 3, pause=1.0)
    yield tmp_path / "slow"
    stop()


def test_a_real_study_is_followed_to_its_end(
    anywhere: Browser, slow: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(slow, folder=tmp_path_factory.mktemp("server")) as served:
        browser = anywhere.at(served.base)
        _open(browser, served.path("slow"), "study")
        rows = served.get(f"studies/{served.study('slow')}")["evaluations"]
        for row in rows:
            browser.wait(partial(_succeeded, browser, row["key"]), "its end", seconds=30)
        assert browser.js("return window.untouched") is True
