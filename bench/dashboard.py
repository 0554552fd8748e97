"""What the dashboard costs whoever looks at it: large pages in a real browser, memory of the server, open pages.

    python bench/dashboard.py [--rounds N] [--rows N] [--evaluations N] [--pages N] [--stores DIR] [--json]

Two stores are made up (`_big.py`): one run of 906 jobs with a million rows of traces, one study of 10,000 evaluations.
Each round serves them anew. *Cold* is the first visit: a fresh server with an empty cache, a browser with an empty
one. *Warm* is the next visit: the server has read what the page shows, or goes on reading it in the background, and the
browser has the modules. Times are the browser's own, from the start of the navigation to the frame in which something
was there. The open pages are streams of server-sent events on a study that takes a step twice a second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import _big
import _machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' browser and stores

from tests.web.browser.browser import Browser, start, why_not
from tests.web.browser.server import Served, serving
from tests.web.stores import Growing

AIMS = {
    "workflow, cold, DAG": 1.0,
    "memory of server and worker": 300.0,
    "open pages": 5.0,
}
"""What is to be stayed below: [s], [MB], [% of a core]."""
UNITS = {"memory": "MB", "open pages": "% of a core", "runs of the study read": "a second"}
"""Of what is no time [s]."""
PATIENCE = 180.0
_TICK = os.sysconf("SC_CLK_TCK")
_STEP = 0.5
_MOVES = 20
_WATCH = 20.0
_MOMENTS = """
(() => {
  const wanted = %s;
  const moments = (globalThis.moments = {});
  const look = () => {
    for (const [name, met] of Object.entries(wanted)) {
      try { if (!(name in moments) && met()) moments[name] = performance.now() / 1000; } catch { /* not there yet */ }
    }
    if (Object.keys(wanted).some((name) => !(name in moments))) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
_PAINT = "return (performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN) / 1000"
_SETTLED = (
    "document.getElementById('main').dataset.ready"
    " && [...document.querySelectorAll('.chart')].every((place) => 'drawn' in place.dataset || place.firstChild)"
    " && !document.getElementById('main').textContent.includes('reading …')"
)
WORKFLOW = {
    "DAG": "() => panorama.panels.dag.drawn && document.querySelector('[data-panel=dag] [data-key]')",
    "Gantt": "() => panorama.panels.gantt.drawn && document.querySelector('[data-panel=gantt] [data-key]')",
    "all panels": f"() => {_SETTLED}",
    "all traces": f"() => {_SETTLED} && !document.querySelector('.reading')",
}
STUDY = {
    "table": "() => panorama.panels.table.rows && document.querySelector('[data-panel=table] [data-evaluation]')",
    "parallel coordinates": "() => panorama.panels.parallel.drawn",
    "all panels": f"() => {_SETTLED}",
}
_SORT = "document.querySelectorAll('[data-panel=table] th button')[3].click()"
_AXIS = """
globalThis.moves = [];
const took = (event) => moves.push((performance.now() - event.timeStamp) / 1000);
const painted = (event) => requestAnimationFrame(() => setTimeout(() => took(event)));
addEventListener("pointermove", painted, true);
document.querySelector("[data-panel=parallel]").scrollIntoView();
const box = document.querySelectorAll("[data-panel=parallel] .axis .hold")[3].getBoundingClientRect();
return [box.x + box.width / 2, box.y, box.height];
"""


class Bench:
    """One browser, and what was measured with it so far."""

    def __init__(self, browser: Browser, folder: Path, stores: dict[str, Path]) -> None:
        self.browser = browser
        self.samples: dict[str, list[float]] = {}
        self._folder, self._stores, self._rounds = folder, stores, 0

    def round(self, pages: int) -> None:
        """Measure everything once."""
        self._rounds += 1
        for what, measure in (("genome", self._workflow), ("study", self._study)):
            folder = self._folder / f"{what}-{self._rounds}"
            folder.mkdir()
            with serving(self._stores[what], folder=folder) as served:
                self.browser = self.browser.at(served.base)
                measure(served)
                self._note("memory of server and worker, " + what, _memory(served.pid))
                self.browser.driver.get("about:blank")
        self._note("open pages", self._open_pages(pages))

    def _note(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def _workflow(self, served: Served) -> None:
        [summary] = served.get("studies")["studies"]
        [row] = served.get(f"studies/{quote(summary['study'])}")["evaluations"]
        path = f"studies/{quote(summary['study'])}/workflows/{row['wf_uuid']}"
        self.browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        self._visit("workflow, cold", path, WORKFLOW)
        self._visit("workflow, warm", path, WORKFLOW)

    def _study(self, served: Served) -> None:
        [summary] = served.get("studies")["studies"]
        path = f"studies/{quote(summary['study'])}"
        self.browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        self._visit("study, cold", path, STUDY)
        self._visit("study, warm", path, STUDY)
        self._note("study, sort", self._until_next_frame(_SORT))
        self._note("study, slowest move of a brush", self._brush())
        self._note("runs of the study read", self._reading(served, summary["study"]))

    def _reading(self, served: Served, study: str) -> float:
        """How many runs a second the server reads in the background; NaN if it has read all."""
        path = f"studies/{quote(study)}"
        before, begin = served.get(path)["unread"], time.monotonic()
        time.sleep(_WATCH)
        after = served.get(path)["unread"]
        return (before - after) / (time.monotonic() - begin) if after else math.nan

    def _visit(self, name: str, path: str, wanted: dict[str, str]) -> None:
        script = _MOMENTS % ("{" + ", ".join(f"{json.dumps(what)}: {met}" for what, met in wanted.items()) + "}")
        driver, browser = self.browser.driver, self.browser
        added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        driver.get(f"{browser.base}{path}")
        browser.wait(lambda: len(browser.js("return globalThis.moments")) == len(wanted), f"{wanted}", PATIENCE)
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        self._note(f"{name}, first paint", browser.js(_PAINT))
        for what, moment in browser.js("return globalThis.moments").items():
            self._note(f"{name}, {what}", moment)

    def _until_next_frame(self, action: str) -> float:
        """How long the page takes from an action to the frame that shows it [s]."""
        script = """
        const [done] = [arguments[arguments.length - 1]];
        const begin = performance.now();
        %s;
        requestAnimationFrame(() => setTimeout(() => done((performance.now() - begin) / 1000), 0));
        """
        return float(self.browser.driver.execute_async_script(script % action))

    def _brush(self) -> float:
        """The slowest of the moves that draw a range on an axis, each until it is painted [s]."""
        browser = self.browser
        x, top, height = browser.js(_AXIS)
        self._mouse("mousePressed", x, top + 0.1 * height)
        for step in range(_MOVES):
            self._mouse("mouseMoved", x, top + (0.1 + 0.8 * step / _MOVES) * height)
        self._mouse("mouseReleased", x, top + 0.9 * height)
        browser.wait(lambda: browser.js("return moves.length"), "the moves")
        assert browser.panel("table")["selected"] > 0, "the brush chose nothing"
        return float(browser.js("return Math.max(...moves)"))

    def _mouse(self, what: str, x: float, y: float) -> None:
        told = {"type": what, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        self.browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", told)

    def _open_pages(self, pages: int) -> float:
        """Share of a core that the server takes for open pages on a study that goes on [%]."""
        folder = self._folder / f"pages-{self._rounds}"
        folder.mkdir()
        with Growing(folder / "growing") as study, serving(study.home, folder=folder) as served:
            first = study.begin(1, x=0.1)
            topic = quote(f"study/{served.study('growing')}", safe="")
            with contextlib.ExitStack() as open_streams:
                heard = [open_streams.enter_context(_stream(served, topic)) for _ in range(pages)]
                before, begin = _cpu(served.pid), time.monotonic()
                _grow(study, first, until=begin + _WATCH)
                spent, lasted = _cpu(served.pid) - before, time.monotonic() - begin
                assert all(count() > 0 for count in heard), "a page was not told anything"
            return 100 * spent / lasted


def _grow(study: Growing, key: str, until: float) -> None:
    """A step every half second: an evaluation ends and another begins."""
    number = 1
    while time.monotonic() < until:
        study.succeed(number, key, float(number))
        number += 1
        key = study.begin(number, x=float(number))
        time.sleep(_STEP)


@contextlib.contextmanager
def _stream(served: Served, topic: str) -> Iterator[Callable[[], int]]:
    """An open stream; what it gives tells how many bytes have come."""
    where = urlsplit(served.base)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    connection.request("GET", f"/api/live?topic={topic}")
    answer = connection.getresponse()
    come = [0]

    def read() -> None:
        while piece := answer.read1(65536):
            come[0] += len(piece)

    reader = threading.Thread(target=_quietly, args=(read,))
    reader.start()
    try:
        yield lambda: come[0]
    finally:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)  # ends the reading; to close under it would wait for it
        reader.join()
        connection.close()


def _quietly(read: Callable[[], None]) -> None:
    """Read until the connection is shut down in the middle of a piece."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        read()


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def _memory(pid: int) -> float:
    """Resident memory of a process and all below it [MB]; what they share counts for each."""
    total = 0
    for each in _family(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def _cpu(pid: int) -> float:
    """Processor time of a process, of all below it, and of those that it has waited for [s]."""
    total = 0
    for each in _family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICK


def _stores(folder: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The large stores, made unless they are there."""
    genome, study = folder / "genome", folder / "study"
    if not (genome / "store.db").is_file():
        _say(f"making a run of {options.rows} rows of traces in {genome}")
        _big.genome(genome, options.rows)
    if not (study / ".panorama" / "store.db").is_file():
        _say(f"making a study of {options.evaluations} evaluations in {study}")
        _big.study(study, options.evaluations)
    return {"genome": genome / "store.db", "study": study}


def _say(words: str) -> None:
    print(f"bench/dashboard.py: {words}", file=sys.stderr, flush=True)


def _lines(machine: dict[str, str], samples: dict[str, list[float]]) -> Iterator[str]:
    yield from (f"{name:16} {value}" for name, value in machine.items())
    yield "\nmedian (least-most) of the rounds"
    for name, values in samples.items():
        unit = next((unit for start, unit in UNITS.items() if name.startswith(start)), "s")
        aim = next((aim for start, aim in AIMS.items() if name.startswith(start)), None)
        median = statistics.median(values)
        verdict = "" if aim is None else f"   aim {aim:g}: {'met' if median <= aim else 'missed'}"
        yield f"{name:42} {median:8.2f} ({min(values):.2f}-{max(values):.2f}) {unit}{verdict}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of traces of the run of 906 jobs")
    parser.add_argument("--evaluations", type=int, default=10_000, help="of the study")
    parser.add_argument("--pages", type=int, default=20, help="open at once on a study that goes on")
    parser.add_argument("--stores", type=Path, help="where the large stores are, or are made and left")
    parser.add_argument("--json", action="store_true", help="print every sample as JSON instead of a table")
    return parser.parse_args()


def main() -> int:
    """Measure and print; gives the exit status: 0 whatever the numbers are, 3 where there is no browser."""
    options = _arguments()
    if reason := why_not():
        _say(f"{reason}: nothing was measured")
        return 3
    machine = _machine.describe()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = _stores(options.stores or folder, options)
        driver = start(folder)
        try:
            bench = Bench(Browser(driver, "about:blank", folder), folder, stores)
            bench.browser.size(1280, 900)
            for number in range(1, options.rounds + 1):
                _say(f"round {number} of {options.rounds}")
                bench.round(options.pages)
        finally:
            driver.quit()
    machine["load after"] = _machine.load()
    told: dict[str, Any] = {"machine": machine, "aims": AIMS, "samples": bench.samples}
    print(json.dumps(told, indent=2) if options.json else "\n".join(_lines(machine, bench.samples)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
