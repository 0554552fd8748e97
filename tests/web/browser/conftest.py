"""One browser and one server for all tests of this folder; what the browser complains of fails the test.

Pictures of all pages go to the folder that the environment variable PANORAMA_SCREENSHOTS names, or to one of pytest's
that is told at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.web import found, stores

from . import browser as browsers
from .browser import Browser
from .server import Served, serving

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PICTURES = "PANORAMA_SCREENSHOTS"
_taken: list[Path] = []


class Stores(NamedTuple):
    """What the server serves."""

    captures: Path
    defects: Path
    embedded: Path
    front: Path
    hostile: Path
    found: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Every store and study, made once."""
    folder = tmp_path_factory.mktemp("stores")
    return Stores(
        stores.captures(folder / "captures.db"),
        stores.defects(folder / "defects.db"),
        stores.embedded(folder / "embedded"),
        stores.front(folder / "front"),
        stores.hostile(folder / HOSTILE_NAME),
        found.found(folder / "found"),
    )


HOSTILE_NAME = "<img src=x onerror=pwned=9>'\""
"""The directory of the hostile study."""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The browser."""
    reason = browsers.why_not()
    if reason:
        pytest.skip(reason)
    driver = browsers.start(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def server(chromium: Chrome, made: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of all of them."""
    with serving(*made, folder=tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get(PICTURES) or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    _taken.append(folder)
    return folder


@pytest.fixture
def anywhere(chromium: Chrome, pictures: Path) -> Iterator[Browser]:
    """The browser at no server yet; what it complains of fails the test."""
    browser = Browser(chromium, "about:blank", pictures)
    yield browser
    complaints, alive = browser.complaints(), browser.alive()
    chromium.get("about:blank")  # so that no stream stays open
    assert complaints == []
    assert alive == []


@pytest.fixture
def browser(anywhere: Browser, server: Served) -> Browser:
    """The browser at the server of all studies and stores."""
    return anywhere.at(server.base)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for folder in _taken:
        number = len(list(folder.glob("*.png")))
        terminalreporter.write_line(f"{number} pictures of the dashboard's pages in {folder}")
