"""What was found and what was done, on every page that shows it: as the events tell it, where it belongs, at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from panorama_driver.adapt import Action, Actions
from panorama_driver.analysis import Anomaly, as_event
from panorama_driver.study import client
from panorama_driver.web import Library
from panorama_driver.web._offline import write_study
from tests.web import found, stores
from tests.web.test_anomalies import GROWN, STALLED

from .browser import Browser
from .conftest import Stores
from .server import Served, serving

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

THROTTLED, LEAKING, SLOW = found.throttled(), found.leaking(), found.slow_host()
ENTER = "\ue007"
_ORDER = "return [...document.querySelectorAll('[data-anomaly] [data-metric=kind]')].map((each) => each.dataset.value)"
_CARD = "[data-list] [data-anomaly='{}']"
_BARS = """
return [...document.querySelectorAll(`.gantt-rows [data-anomaly='${arguments[0]}'] rect`)].map((rect) => {
  const bar = rect.closest("[data-key]");
  return { x: +rect.getAttribute("x"), width: +rect.getAttribute("width"), job: bar.dataset.job,
    attempt: +bar.dataset.attempt, label: bar.getAttribute("aria-label") };
});
"""
_SHAPES = """
return [...document.querySelectorAll(".chart")].filter((place) => place.layout).map((place) => place.layout.shapes);
"""


def identity(anomaly: Anomaly) -> str:
    return as_event(anomaly).event_id


def attribute(element: WebElement, name: str) -> str:
    return element.get_attribute(name) or ""


def check_card(browser: Browser, anomaly: Anomaly, over: float | None) -> None:
    """A card tells what the event told."""
    of = {"anomaly": identity(anomaly)}
    for metric in ("kind", "message", "detector"):
        assert browser.value(metric, **of).value == getattr(anomaly, metric), metric
    for metric in ("since", "found", "confidence"):
        assert browser.value(metric, **of).number == getattr(anomaly, metric), metric
    if over is None:
        assert browser.value("over", **of).unknown == "nobody told that it is over"
    else:
        assert browser.value("over", **of).number == over
    for evidence in anomaly.evidence:
        shown = {name: browser.value(name, **of, evidence=evidence.metric) for name in ("observed", "expected")}
        assert shown["observed"].number == evidence.observed
        if evidence.expected is None:
            assert shown["expected"].unknown == "nothing is known to compare with"
        else:
            assert shown["expected"].number == evidence.expected
        row = browser.find(f"{_CARD.format(identity(anomaly))} [data-evidence='{evidence.metric}']")
        assert evidence.basis in attribute(row, "textContent")


def test_the_list_shows_what_the_events_tell_the_last_first(browser: Browser, server: Served) -> None:
    browser.open(f"anomalies?study={server.study('found')}", "anomalies")
    assert browser.js(_ORDER) == ["slow_host", "leaking", "throttled"]
    check_card(browser, THROTTLED, THROTTLED.found + 9)
    check_card(browser, LEAKING, None)
    check_card(browser, SLOW, None)
    card = browser.find(_CARD.format(identity(THROTTLED)))
    assert "△" in card.text
    assert "over" in card.text
    goes_on = browser.find(_CARD.format(identity(LEAKING)))
    assert "▲" in goes_on.text
    assert "goes on" in goes_on.text


def test_it_leads_to_the_study_the_run_and_the_job(browser: Browser, server: Served) -> None:
    browser.open("anomalies", "anomalies")
    card = browser.find(_CARD.format(identity(LEAKING)))
    leads = [attribute(link, "href").removeprefix(browser.base) for link in card.find_elements("css selector", "a")]
    job = server.path("found", "1", "jobs", "simulate")
    assert leads == [server.path("found"), server.path("found", "1"), f"{job}?attempt=3"]


def test_the_kinds_can_be_chosen_and_the_address_tells_which(browser: Browser, server: Served) -> None:
    from selenium.webdriver.support.select import Select

    browser.open("anomalies", "anomalies")
    Select(browser.find("select[aria-label='Kind of anomaly']")).select_by_value("leaking")
    browser.wait(lambda: browser.js(_ORDER) == ["leaking"], "the one that is asked for")
    browser.driver.refresh()
    browser.ready("anomalies")
    assert browser.js(_ORDER) == ["leaking"]


def test_what_was_done_is_told_with_the_way_back(browser: Browser, server: Served, made: Stores) -> None:
    browser.open(f"anomalies?study={server.study('found')}", "anomalies")
    avoided, tried, ended, limited = found.acted()
    for action, state in ((avoided, "done"), (tried, "done"), (ended, "done"), (limited, "failed")):
        of = {"action": action.action_id}
        assert browser.value("what", **of).value == action.what
        assert browser.value("reason", **of).value == action.reason
        assert browser.value("action", **of).value == state
    assert (
        browser.value("undo", action=avoided.action_id).value == f"panorama adapt undo {made.found} {avoided.action_id}"
    )
    assert browser.values("undo", action=tried.action_id) == []
    assert len(browser.all(f"{_CARD.format(identity(SLOW))} [data-action='{avoided.action_id}']")) == 1


def test_the_study_shows_the_newest_with_their_number(browser: Browser, server: Served) -> None:
    browser.open(server.path("found"), "study")
    assert browser.value("total", panel="anomalies").number == 3
    check_card(browser, THROTTLED, THROTTLED.found + 9)
    assert browser.value("anomalies", panel=None).number == 3
    assert browser.value("anomalies_open", panel=None).number == 2
    browser.visit("", "studies")
    assert browser.value("anomalies", study=server.study("found")).number == 3


def test_a_study_in_which_nothing_was_found_says_nothing_of_it(browser: Browser, server: Served) -> None:
    browser.open(server.path("front"), "study")
    assert browser.values("anomalies") == []
    assert not browser.find("[data-panel=anomalies]").is_displayed()


def test_an_evaluation_that_was_ended_early_has_its_own_state_and_bounds(browser: Browser, server: Served) -> None:
    browser.open(server.path("found"), "study")
    shown = browser.value("state", evaluation="found-3", panel="table")
    assert (shown.value, shown.text) == ("stopped", "■ended early")
    assert browser.value("y", evaluation="found-3", panel="table").text == "≥ 30"
    assert browser.value("y", evaluation="found-2", panel="table").text == "20"
    assert browser.value("stopped", panel=None).number == 1
    for panel in ("objective", "scatter"):
        [bounds] = [trace for trace in browser.panel(panel)["traces"] if "ended early" in trace["name"]]
        assert (bounds["keys"], bounds["y"], bounds["marker"]["symbol"]) == (["found-3"], [30], "triangle-up")
    [best] = [trace for trace in browser.panel("objective")["traces"] if trace["name"] == "best so far"]
    assert best["x"] == [1, 2]
    browser.visit(server.path("found", "3"), "workflow")
    assert browser.value("state", job=None, panel=None, action=None).value == "stopped"
    assert "lower bounds" in browser.text()
    assert browser.values("what", action="*")[0].value == "stop_evaluation"


def test_the_run_marks_them_on_its_jobs_and_on_the_bars_of_attempts(browser: Browser, server: Served) -> None:
    """The first try ran from 24 s to 44 s, and was throttled from 30 s to 42 s; the second, from 46 s to 66 s, leaks
    from 50 s on, as far as anybody told: to its end. The host is slow from 2 s on."""
    browser.open(server.path("found", "1"), "workflow")
    gantt, begin = browser.panel("gantt"), found.BEGIN
    drawn = {(each["kind"], each["attempt"]): each for each in gantt["anomalies"]}
    spans = {key: (each["since"] - begin, each["to"] - begin) for key, each in drawn.items()}
    assert spans == {
        ("throttled", 2): (30, 42),
        ("leaking", 3): (50, 66),
        ("slow_host", 1): (2, 22),
        ("slow_host", 2): (22, 44),
        ("slow_host", 3): (44, 66),
        ("slow_host", 4): (66, 88),
    }
    from_, to = gantt["window"]
    assert (from_, to) == (begin, begin + 90)
    wide = browser.js("return +document.querySelector('.gantt-rows').getAttribute('width')")
    for anomaly, attempt, since, until in ((THROTTLED, 2, 30, 42), (LEAKING, 3, 50, 66)):
        [bar] = browser.js(_BARS, identity(anomaly))
        assert (bar["job"], bar["attempt"]) == ("simulate", attempt)
        assert bar["x"] == pytest.approx(wide * since / 90, abs=0.5)
        assert bar["width"] == pytest.approx(wide * (until - since) / 90, abs=0.5)
    assert "throttled since" in browser.js(_BARS, identity(THROTTLED))[0]["label"]
    assert len(browser.js(_BARS, identity(SLOW))) == 4
    assert browser.panel("dag")["anomalies"] == {"simulate": ["leaking", "throttled"]}
    flagged = browser.all(".dag [data-anomalies]")
    assert [flag.get_attribute("data-anomalies") for flag in flagged] == ["2"]
    node = browser.find(".dag [data-job='simulate']")
    assert "2 anomalies" in attribute(node, "aria-label")


def test_the_run_lists_the_attempts_on_a_host(browser: Browser, server: Served) -> None:
    browser.open(server.path("found", "1"), "workflow")
    assert browser.value("attempts there", anomaly=identity(SLOW)).number == 4
    card = browser.find(_CARD.format(identity(SLOW)))
    links = {attribute(link, "href").rpartition("/jobs/")[2] for link in card.find_elements("css selector", "a")}
    assert links == {"prepare?attempt=1", "simulate?attempt=2", "simulate?attempt=3", "analyse?attempt=4"}


def test_charts_of_an_attempt_are_shaded_while_it_was_not_as_it_should_be(browser: Browser, server: Served) -> None:
    """A line where it was found; of the host, the attempt's own time, from 24 s to 44 s."""
    browser.open(f"{server.path('found', '1', 'jobs', 'simulate')}?attempt=2", "job")
    begin = found.BEGIN
    for name in ("job-cpu", "job-memory", "job-bytes-total"):
        spans = {each["kind"]: each for each in browser.panel(name)["spans"]}
        throttled, slow = spans["throttled"], spans["slow_host"]
        assert [throttled[at] - begin for at in ("since", "found", "to")] == [30, 33, 42]
        assert (slow["since"] - begin, slow["to"] - begin, slow["found"]) == (24, 44, None)
        assert "leaking" not in spans
    times = {
        (shape["type"], shape["x0"][11:19], shape["x1"][11:19]) for shapes in browser.js(_SHAPES) for shape in shapes
    }
    assert times == {("rect", *_clock(30, 42)), ("line", *_clock(33, 33)), ("rect", *_clock(24, 44))}
    browser.find("[data-choose='3']").click()
    browser.wait(lambda: {each["kind"] for each in browser.panel("job-cpu")["spans"]} == {"leaking", "slow_host"}, "it")


def _clock(*after: float) -> list[str]:
    """Moments after the begin of the first run on a clock in UTC."""
    return [time.strftime("%H:%M:%S", time.gmtime(found.BEGIN + seconds)) for seconds in after]


def test_cards_are_reached_and_opened_by_keys(browser: Browser, server: Served) -> None:
    browser.open("anomalies", "anomalies")
    card = _CARD.format(identity(THROTTLED))
    assert browser.js(f"return document.querySelector(`{card} details`).open") is False
    browser.js(f"document.querySelector(`{card} summary`).focus()")
    browser.press(ENTER)
    assert browser.js(f"return document.querySelector(`{card} details`).open") is True
    assert "cpu.stat of its control group" in browser.find(card).text


def test_what_the_detector_has_found_is_shown_with_its_evidence(
    anywhere: Browser, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, anomaly = found.detected(tmp_path / "runs.db")
    with serving(path, folder=tmp_path_factory.mktemp("server")) as served:
        browser = anywhere.at(served.base)
        browser.open("anomalies", "anomalies")
        check_card(browser, anomaly, None)
        browser.visit(f"studies/{served.study('runs.db')}/workflows/{anomaly.wf_uuid}", "workflow")
        [mark] = browser.panel("gantt")["anomalies"]
        assert (mark["kind"], mark["job"], mark["since"]) == ("stalled", anomaly.job_id, anomaly.since)
        anywhere.driver.get("about:blank")


# --- live ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[stores.Growing]:
    with stores.Growing(tmp_path / "growing") as study:
        study.begin(1, x=0.1)
        yield study


def _opened(browser: Browser, path: str, page: str) -> None:
    browser.open(path, page)
    browser.js("window.untouched = true")
    browser.wait(lambda: "live" in browser.find("#live").text, "the stream")


@pytest.mark.parametrize("page", ["anomalies", "study", "workflow", "job"])
def test_what_is_found_and_done_appears_without_loading_anew(
    anywhere: Browser, growing: stores.Growing, page: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(growing.home, folder=tmp_path_factory.mktemp("server")) as served:
        browser = anywhere.at(served.base)
        places = {
            "anomalies": "anomalies",
            "study": served.path("growing"),
            "workflow": served.path("growing", "1"),
            "job": served.path("growing", "1", "jobs", "first"),
        }
        _opened(browser, places[page], page)
        assert browser.values("kind", anomaly="*") == []
        growing.find(STALLED)
        identity = STALLED.anomaly_id
        browser.wait(lambda: browser.value("kind", anomaly=identity).value == "stalled", "the anomaly")
        actions = Actions(growing.home / client.FOLDER)
        actions.record(Action(action_id="ab", what="retry_attempt", reason="it stalled", anomaly=identity))
        actions.close()
        browser.wait(lambda: browser.values("reason", anomaly=identity), "what was done")
        growing.find(msgspec.structs.replace(STALLED, phase="over", found=STALLED.found + 30))
        browser.wait(lambda: browser.value("over", anomaly=identity).number == STALLED.found + 30, "its end")
        assert browser.js("return window.untouched") is True


def test_what_is_found_while_the_server_is_away_appears_once_it_is_back(
    anywhere: Browser, growing: stores.Growing, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("restarted")
    with serving(growing.home, folder=folder) as first:
        browser = anywhere.at(first.base)
        _opened(browser, f"studies/{first.study('growing')}/workflows/{GROWN}", "workflow")
    browser.wait(lambda: "lost" in browser.find("#live").text, "that the connection is lost")
    growing.find(STALLED)
    with serving(growing.home, folder=folder, port=int(first.base.split(":")[2].strip("/"))):
        browser.wait(lambda: browser.values("kind", anomaly=STALLED.anomaly_id), "the anomaly", seconds=30)
        assert browser.js("return window.untouched") is True
        browser.forgive()  # the browser itself tells of what did not answer


# --- in one file -----------------------------------------------------------------------------------------------------


def test_a_report_has_them_on_all_its_pages(anywhere: Browser, made: Stores, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with Library([made.found], cache=None) as library:
        study = library.studies().studies[0].study
        write_study(library, study, path)
    run = f"studies/{study}/workflows/{found.wf_uuid(1)}"
    for place, page in (("anomalies", "anomalies"), (run, "workflow"), (f"{run}/jobs/simulate", "job")):
        anywhere.driver.get("about:blank")
        anywhere.driver.get(f"{path.as_uri()}#/{place}")
        anywhere.ready(page)
        check_card(anywhere, THROTTLED, THROTTLED.found + 9)
    anywhere.driver.get("about:blank")
    anywhere.driver.get(path.as_uri())
    anywhere.ready("study")
    check_card(anywhere, LEAKING, None)
    assert anywhere.js("return document.querySelector('a.to-anomalies').getAttribute('href')") == "#/anomalies"
    anywhere.driver.get("about:blank")
