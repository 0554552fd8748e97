"""Behind a path prefix, as a proxy or a portal puts it, and with a token."""

from __future__ import annotations

import pytest

from .browser import Browser
from .conftest import Stores
from .server import serving


def test_everything_works_behind_a_prefix(
    anywhere: Browser, made: Stores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(made.embedded, folder=tmp_path_factory.mktemp("prefix"), root="/node/login-1/panorama") as served:
        browser = anywhere.at(served.base)
        browser.open("", "studies")
        browser.find("main a[href*='studies/']").click()
        browser.ready("study")
        assert browser.driver.current_url.startswith(f"{served.base}studies/")
        browser.open(served.path("embedded", "2"), "workflow")
        browser.open(served.path("embedded", "2", "jobs", "sh_left"), "job")
        browser.wait(lambda: "live" in browser.find("#live").text, "the stream")
        loaded = browser.js("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert [name for name in loaded if not name.startswith(served.base)] == []


def test_with_a_token_who_has_the_address_sees_all_and_who_has_not_sees_nothing(
    anywhere: Browser, made: Stores, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(made.embedded, folder=tmp_path_factory.mktemp("token"), token="secret-of-this-test") as served:
        browser = anywhere.at(served.base)
        browser.open("")
        assert browser.find("[role=alert]")
        assert "embedded" not in browser.text()
        browser.forgive()  # the browser itself tells of the answer 401
        browser.driver.get("about:blank")
        browser.open(f"#token={served.token}", "studies")
        assert "embedded" in browser.text()
        assert served.token not in browser.driver.current_url
        browser.open(served.path("embedded", "2"), "workflow")
        browser.wait(lambda: "live" in browser.find("#live").text, "the stream")
