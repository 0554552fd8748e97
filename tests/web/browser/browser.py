"""A real browser looking at the real pages: opens them, waits, reads what they show, and takes pictures."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tests.web.stores import MARK

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")

WIDE, PHONE = (1280, 900), (390, 844)
SECONDS = 15.0
"""How long a page may take to show what a test waits for [s]."""
_READING = Path(__file__).with_name("reading.js").read_text(encoding="utf-8")


class Shown(NamedTuple):
    """A value as a page shows it: to the last digit, or why it is unknown; and what a person reads."""

    value: str | None
    unknown: str | None
    text: str

    @property
    def number(self) -> float:
        """The value as a number, NaN where it is unknown."""
        return math.nan if self.value is None else float(self.value)


def why_not() -> str:
    """Why no browser can be had here; empty if one can."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "no selenium: pip install selenium, or '.[test]' in a clone"
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)}: apt-get install chromium chromium-driver" if missing else ""


def start(folder: Path) -> Chrome:
    """A headless Chromium whose profile and log are in `folder`."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    # By a pipe: the port that is free may be one that chromedriver, like a browser, refuses to connect to.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    flags = [
        "--remote-debugging-pipe",
        "--headless=new",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--force-device-scale-factor=1",
    ]
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium refuses to start as root with it
    for flag in [*flags, *sandbox, "--no-first-run", "--lang=en-GB", f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    service = Service(shutil.which("chromedriver"), log_output=str(folder / "chromedriver.log"))
    driver = Chrome(options=options, service=service)
    driver.set_page_load_timeout(30)
    driver.set_script_timeout(30)
    return driver


class Browser:
    """One browser, at the pages of one server.

    Parameters
    ----------
    driver : Chrome
        The browser.
    base : str
        Address of the server, with its prefix if any, and a `/` at the end.
    pictures : Path
        Where screenshots go.
    """

    def __init__(self, driver: Chrome, base: str, pictures: Path) -> None:
        self.driver = driver
        self.base = base
        self.pictures = pictures

    def at(self, base: str) -> Browser:
        """The same browser at another server, as a person's first visit: no storage, light, wide, in UTC."""
        there = Browser(self.driver, base, self.pictures)
        there._reset()
        return there

    def _reset(self) -> None:
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": self.base, "storageTypes": "all"})
        self.size(*WIDE)
        self.colours("light")
        self.zone("UTC")
        self.forgive()

    # --- moving ------------------------------------------------------------------------------------------------------

    def open(self, path: str = "", page: str = "") -> None:
        """Load a page, and wait until it is drawn; `page` is the name of its module."""
        self.driver.get(f"{self.base}{path}")
        self.ready(page)

    def visit(self, path: str, page: str = "") -> None:
        """Go to another page of the same server as a link does: without loading anything anew."""
        script = """
        delete document.getElementById("main").dataset.ready;
        history.pushState(null, "", arguments[0]);
        dispatchEvent(new PopStateEvent("popstate"));
        """
        self.js(script, f"{self.base}{path}")
        self.ready(page)

    def ready(self, page: str = "") -> None:
        """Wait until a page is drawn, with its charts."""
        self.wait(lambda: self.js("return document.getElementById('main')?.dataset.ready ?? ''"), f"page {page}")
        if page:
            self.wait(lambda: self.js("return document.getElementById('main').dataset.ready") == page, f"page {page}")
        self.drawn()

    def drawn(self) -> None:
        """Wait until each panel that has a chart has drawn it."""
        self.wait(lambda: self.call("undrawn") == 0, "the charts")

    def size(self, width: int, height: int) -> None:
        """Make the window so large [px]."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colours(self, scheme: str) -> None:
        """Ask for `light` or `dark`, as the system of a person does."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def zone(self, name: str) -> None:
        """Put the person into a time zone."""
        self.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": name})

    def press_link(self, path: str) -> None:
        """Press the first link that leads to a path; those in drawings are no HTML and cannot be clicked by script."""
        script = "document.querySelector(`main a[href$='${arguments[0]}']`)"
        self.js(f"{script}.dispatchEvent(new MouseEvent('click', {{ bubbles: true, cancelable: true }}))", path)

    def press(self, key: str, held: str = "") -> None:
        """Press a key, wherever the focus is, while another one is held."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.driver)
        (chain.key_down(held).send_keys(key).key_up(held) if held else chain.send_keys(key)).perform()

    # --- reading -----------------------------------------------------------------------------------------------------

    def js(self, script: str, *arguments: Any) -> Any:
        """What a script gives."""
        return self.driver.execute_script(script, *arguments)

    def call(self, function: str, *arguments: Any) -> Any:
        """What a function of reading.js gives."""
        return self.driver.execute_script(f"{_READING}\nreturn {function}(...arguments);", *arguments)

    def wait(self, condition: Callable[[], T], what: str | Callable[[], str], seconds: float = SECONDS) -> T:
        """Wait until something is true, and give it."""
        from selenium.common.exceptions import (
            JavascriptException,
            NoSuchElementException,
            StaleElementReferenceException,
            TimeoutException,
        )
        from selenium.webdriver.support.wait import WebDriverWait

        passing = (JavascriptException, NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, seconds, poll_frequency=0.02, ignored_exceptions=passing)
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException:
            wanted = what if isinstance(what, str) else what()
            words = f"waited in vain for {wanted} at {self.driver.current_url}: {self.text()[:200]!r}"
            raise AssertionError(words) from None

    def find(self, selector: str) -> WebElement:
        """The first element of a selector, when it is there."""
        return self.wait(lambda: self.all(selector), selector)[0]

    def all(self, selector: str) -> list[WebElement]:
        """The elements of a selector."""
        return self.driver.find_elements("css selector", selector)

    def text(self) -> str:
        """All that a person reads."""
        return str(self.js("return document.getElementById('main')?.innerText ?? document.body?.innerText ?? ''"))

    def values(self, metric: str, **scope: object) -> list[Shown]:
        """Each place where a metric is shown, within what `scope` names: `job="a"`, `attempt=None`, `transfer="*"`."""
        found = self.call("values", metric, {kind: name if name is None else str(name) for kind, name in scope.items()})
        return [Shown(**each) for each in found]

    def value(self, metric: str, **scope: object) -> Shown:
        """The first of them, when it is there; all that are there must be the same."""
        found = self.wait(lambda: self.values(metric, **scope), f"{metric} of {scope}")
        assert len({(each.value, each.unknown is None) for each in found}) == 1, found
        return found[0]

    def panel(self, name: str) -> Any:
        """What the drawing of a panel shows, as data, when it is there."""
        return json.loads(self.wait(lambda: self.call("panel", name), f"panel {name}"))

    def charts(self) -> list[str]:
        """Names of the panels that draw something."""
        return [str(name) for name in self.call("charts")]

    def alert(self) -> str:
        """What the page says that it cannot do; empty if nothing."""
        return str(self.js("return document.querySelector('[role=alert]')?.innerText ?? ''"))

    # --- judging -----------------------------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """What the browser has complained of since the last call: errors, and what the policy forbade."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        bad = [e for e in entries if e["level"] == "SEVERE" or "Content Security Policy" in e["message"]]
        return [f"{entry['level']} {entry['message'][:400]}" for entry in bad]

    def forgive(self) -> None:
        """Forget what the browser has complained of: it tells of every answer that is an error, wanted or not."""
        self.complaints()

    def alive(self) -> list[str]:
        """What of a hostile name came to life in the page, or left it."""
        return [str(each) for each in self.call("alive", MARK)]

    def fits(self) -> bool:
        """Whether nothing makes the page wider than its window, once the charts have followed its size."""
        self.wait(lambda: not self.call("tooWide"), lambda: f"a page that fits: {self.call('tooWide')}", seconds=5)
        return True

    def picture(self, name: str) -> Path:
        """Take a picture of the whole page."""
        size = self.js("return [innerWidth, Math.min(document.documentElement.scrollHeight, 6000)]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path = self.pictures / f"{name}.png"
        path.write_bytes(base64.b64decode(taken["data"]))
        return path
