"""Whatever a job, a user or a file is called, the pages show it as text, and nothing of it comes to life."""

from __future__ import annotations

import unicodedata

import pytest

from tests.web.stores import HOSTILE, JAVASCRIPT

from .browser import Browser
from .conftest import HOSTILE_NAME
from .server import Served


def _flat(text: str) -> str:
    return "".join(text.split())


def _spelt_out(text: str) -> str:
    """Signs that nobody sees or that turn the direction of reading, as the page writes them."""
    unseen = ("Cc", "Cf")
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in unseen and c not in "\t\r\n" else c for c in text)


def _shows(browser: Browser, text: str) -> bool:
    """Whether the page holds the text as it is, white space aside; of a long one the beginning."""
    shown = browser.call("words")
    return _flat(_spelt_out(text))[:40] in _flat(str(shown))


def test_the_list_of_studies(browser: Browser) -> None:
    browser.open("", "studies")
    assert _shows(browser, HOSTILE_NAME)


def test_the_study(browser: Browser, server: Served) -> None:
    browser.open(server.path(HOSTILE_NAME), "study")
    assert _shows(browser, HOSTILE["script"])
    assert _shows(browser, HOSTILE["image"])
    browser.picture("hostile-study")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_workflow_its_jobs_and_its_transfers(browser: Browser, server: Served, name: str) -> None:
    text = HOSTILE[name]
    number = str(list(HOSTILE).index(name) + 1)
    home = server.path(HOSTILE_NAME, number)
    browser.open(home, "workflow")
    assert _shows(browser, text)
    assert browser.alive() == []
    for part in ("fails", "moves", "runs"):
        browser.visit(server.path(HOSTILE_NAME, number, "jobs", f"{text}-{part}"), "job")
        assert browser.alert() == ""
        assert _shows(browser, text)
        assert browser.alive() == []
    browser.visit(f"{home}/transfers", "transfers")
    assert _shows(browser, JAVASCRIPT)
    assert browser.alive() == []
    browser.size(390, 844)
    assert browser.fits()


def test_what_was_found_and_what_was_done(browser: Browser, server: Served) -> None:
    """Of every run: kinds are ours, all else is text, also once all cards are open."""
    browser.open("anomalies", "anomalies")
    browser.js("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for name, text in HOSTILE.items():
        assert _shows(browser, text), name
    assert "tell of no anomaly" in browser.text()
    assert browser.values("since", anomaly="*") != []
    assert browser.alive() == []
    browser.size(390, 844)
    assert browser.fits()
    browser.visit(server.path(HOSTILE_NAME), "study")
    browser.wait(lambda: browser.values("message", anomaly="*"), "the panel of the study")
    assert browser.alive() == []


def test_the_net_would_catch_what_comes_alive(anywhere: Browser, server: Served) -> None:
    """Elements, handlers and links made of hostile names are found, though the policy lets none of them act."""
    browser = anywhere.at(server.base)
    for name in ("image", "quotes", "link"):
        browser.open("", "studies")
        browser.js("document.getElementById('main').innerHTML = arguments[0]", HOSTILE[name])
        assert browser.alive() != [], name
    assert browser.complaints() != []
    browser.open("", "studies")
    browser.forgive()
