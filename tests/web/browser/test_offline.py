"""Reports in one file, opened from disk: the same panels and numbers as the server's pages, and no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from panorama_driver.store import open_store
from panorama_driver.web._library import Library
from panorama_driver.web._offline import write_study, write_workflow
from tests.metrics.runs import Run
from tests.web.defects import renamed
from tests.web.stores import DARSHAN, HOSTILE

from .browser import PHONE, Browser
from .conftest import Stores
from .server import Served

_PANELS = "return [...document.querySelectorAll('[data-panel]')].map((panel) => panel.dataset.panel).sort()"
_VALUES = """
const of = (element) => `${element.dataset.metric}=${element.dataset.value ?? element.dataset.unknown}`;
return [...document.querySelectorAll("#main [data-metric]")].map(of).sort();
"""
_PLOTTED = "return JSON.stringify(globalThis.panorama?.panels ?? {})"
_FETCHED = """
const names = performance.getEntriesByType("resource").map((entry) => entry.name);
return names.filter((name) => !name.startsWith("data:"));
"""
_JOBS = "return [...document.querySelectorAll('a[href*=\"/jobs/\"]')].map((link) => link.getAttribute('href'))"
_HELD = "return JSON.parse(document.getElementById('panorama-report').textContent)"
MANY = 3000
PAGES = {"workflow": (), "job": ("jobs", "four"), "transfers": ("transfers",)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def run(made: Stores, folder: Path) -> Path:
    """A report of the run with Darshan logs."""
    with Library([made.captures]) as library:
        study = library.studies().studies[0].study
        [wf_uuid] = [row.wf_uuid for row in library.study(study).evaluations if row.eval_id == DARSHAN]
        assert wf_uuid is not None
        write_workflow(library, study, wf_uuid, folder / "run.html")
    return folder / "run.html"


@pytest.fixture(scope="module")
def hostile(made: Stores, folder: Path) -> Path:
    """A report of the hostile study."""
    with Library([made.hostile]) as library:
        write_study(library, library.studies().studies[0].study, folder / "hostile.html")
    return folder / "hostile.html"


@pytest.fixture
def disk(anywhere: Browser) -> Iterator[Browser]:
    """The browser, for files; they fetch nothing."""
    yield anywhere
    assert anywhere.js(_FETCHED) == []
    anywhere.driver.get("about:blank")


def show(browser: Browser, report: Path, place: str = "", page: str = "") -> None:
    """Open a place of a report as a person does who was sent its address."""
    browser.driver.get("about:blank")  # else another place of the same file would not be loaded anew
    browser.driver.get(f"{report.as_uri()}#/{place}")
    browser.ready(page)


def shown(browser: Browser) -> dict[str, Any]:
    """What a page shows."""
    return {"panels": browser.js(_PANELS), "values": browser.js(_VALUES), "plotted": browser.js(_PLOTTED)}


@pytest.mark.parametrize("page", PAGES)
def test_a_report_has_the_panels_and_the_numbers_of_the_servers_page(
    disk: Browser, server: Served, run: Path, page: str
) -> None:
    place = server.path("captures.db", DARSHAN, *PAGES[page])
    disk.at(server.base).open(place, page)
    served = shown(disk)
    show(disk, run, place, page)
    assert shown(disk) == served
    assert served["panels"] != []
    disk.picture(f"report-{page}")


def test_a_report_opens_with_what_it_is_of_and_its_links_lead_to_the_jobs(disk: Browser, run: Path) -> None:
    disk.driver.get(run.as_uri())
    disk.ready("workflow")
    jobs = disk.js(_JOBS)
    assert {link.rpartition("/")[2] for link in jobs} == {"one", "four"}
    disk.js(
        "document.querySelector('a[href$=\"/jobs/four\"]').dispatchEvent(new MouseEvent('click', { bubbles: true }))"
    )
    disk.ready("job")
    disk.driver.back()
    disk.ready("workflow")


def test_a_place_that_is_not_in_it_says_so(disk: Browser, run: Path) -> None:
    show(disk, run, "studies/another")
    assert "this report does not hold that" in disk.alert()


def test_every_job_of_a_hostile_study_is_found_and_stays_text(disk: Browser, hostile: Path) -> None:
    show(disk, hostile, page="study")
    jobs = [key for key in disk.js(_HELD) if "/jobs/" in key]
    names = {quote(f"{text}-runs", safe="!~*'()") for text in HOSTILE.values()}
    found = [key for key in jobs if key.partition("/jobs/")[2] in names]
    assert len(found) > len(HOSTILE) // 2
    for key in found:
        show(disk, hostile, key, "job")
        assert disk.alert() == ""
        assert disk.panel("job-cpu") is not None
        assert [each for each in disk.alive() if 'href="#' not in each] == []


def test_it_fits_a_phone(disk: Browser, run: Path) -> None:
    disk.size(*PHONE)
    show(disk, run, page="workflow")
    disk.fits()
    disk.picture("report-phone")


def test_thousands_of_transfers_are_sorted_and_filtered_with_few_rows_in_the_page(disk: Browser, folder: Path) -> None:
    run = Run().start(0).jobs("in", type=2).attempt("in", 1, 0, 0, MANY + 2).end(MANY + 2)
    for number in range(MANY):
        size = 1000 * (number * 7919 % MANY)
        run.file("in", number, number + 2, size, attempt=1, filename=f"f{number}")
    with open_store(folder / "many.db") as store:
        store.put(renamed(run, "many", "many"))
    with Library([folder / "many.db"]) as library:
        write_workflow(library, library.studies().studies[0].study, "many", folder / "many.html")
    show(disk, folder / "many.html")
    show(disk, folder / "many.html", f"{disk.js(_HELD)['start']}/transfers", "transfers")
    assert disk.value("transfers").number == MANY
    assert disk.value("bytes_transferred", transfer=None).number == 1000 * MANY * (MANY - 1) // 2
    assert 0 < len(disk.all("tr[data-transfer]")) < 100
    assert sum(disk.panel("transfer-bytes")["traces"][0]["y"]) == pytest.approx(1000 * MANY * (MANY - 1) // 2)
    for _ in range(2):  # the second press turns the order round
        disk.js("[...document.querySelectorAll('th button')].find((each) => each.textContent === 'moved').click()")
    assert disk.values("bytes_transferred", transfer="*")[0].number == 1000 * (MANY - 1)
    disk.find("input[type=search]").send_keys("f2999")
    disk.wait(lambda: len(disk.all("tr[data-transfer]")) == 1, "the one that is asked for")
    disk.find("tr[data-transfer] button").click()
    assert disk.panel("transfer-speed")["traces"][0]["name"] == "f2999"
