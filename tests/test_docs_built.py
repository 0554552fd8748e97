"""The pages are as the code says, build without a warning, lead nowhere that is not there, and need no network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from panorama_driver.cli import _VERBS
from panorama_driver.metrics import records

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]

_LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)|<(https?://[^>\s]+)>")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_HOST = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", re.IGNORECASE)

_TEA = '''
from typing import Literal
import msgspec

class Tea(msgspec.Struct):
    """A cup.

    Attributes
    ----------
    sugar, milk : float
        Spoons of each, such as `a|b`.
    """

    sugar: float | Literal["none"] = 0.5
    milk: float | Literal["none"] = 0.5
{more}
'''


class Built(HTMLParser):
    """What a built page links to, what it loads, and what in it can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors = {""}
        if page.suffix == ".html":
            self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value for name, value in attrs if value}
        self.anchors |= {told[key] for key in ("id", "name") if key in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif "src" in told or (tag == "link" and "href" in told):
            self.loads.append(told.get("src") or told["href"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built; a warning of the builder is an error."""
    pytest.importorskip("furo", reason="what builds the pages is not installed: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("built")
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "sphinx",
        "--nitpicky",
        "--fail-on-warning",
        "--quiet",
        "-d",
        folder / "doctrees",
    ]
    done = subprocess.run([*words, DOCS, folder / "html"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def built(home: Path) -> dict[Path, Built]:
    """All files of the built pages."""
    return {page: Built(page) for page in home.rglob("*") if page.is_file()}


def generate(docs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the generator of the pages in a folder, with the package that is tested."""
    pytest.importorskip("numpydoc", reason="what reads docstrings is not installed: pip install '.[docs]'")
    words: list[str | Path] = [sys.executable, docs / "generate.py", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(docs)])}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)


def test_the_reference_is_as_the_code_says() -> None:
    done = generate(DOCS, "--check")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nto write it anew: python docs/generate.py"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The generator and one page of its own, with two keys of a record."""
    for script in DOCS.glob("*.py"):
        shutil.copy(script, tmp_path)
    (tmp_path / "tea.py").write_text(_TEA.format(more=""), encoding="utf-8")
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "tea.md").write_text(
        "# Tea\n\n<!-- generated: keys tea:Tea -->\nold\n<!-- end -->\n\nBy hand.\n", encoding="utf-8"
    )
    return tmp_path


def test_a_page_gets_what_the_code_says_and_keeps_what_was_written_by_hand(copied: Path) -> None:
    done = generate(copied, "--check")
    assert done.returncode == 1
    assert "-old\n" in done.stdout
    assert generate(copied).returncode == 0
    rows = "| `sugar`, `milk` | number or `none` | `0.5` | Spoons of each, such as `a\\|b`. |"
    page = (copied / "reference" / "tea.md").read_text(encoding="utf-8")
    assert rows in page
    assert page.endswith("<!-- end -->\n\nBy hand.\n")
    assert generate(copied, "--check").returncode == 0


def test_a_key_that_no_docstring_tells_of_is_an_error(copied: Path) -> None:
    (copied / "tea.py").write_text(_TEA.format(more="    lemon: int = 0"), encoding="utf-8")
    done = generate(copied)
    assert done.returncode == 1
    assert "tea.Tea: the docstring and the record differ: ['lemon']" in done.stderr


def test_the_reference_has_every_verb_and_every_record_of_metrics() -> None:
    commands, metrics = ((DOCS / f"reference/{name}.md").read_text(encoding="utf-8") for name in ("cli", "metrics"))
    assert {verb for verb in _VERBS if f"\n## panorama {verb}\n" not in commands} == set()
    found = (name for name, one in vars(records).items() if isinstance(one, type) and issubclass(one, msgspec.Struct))
    assert {name for name in found if f"records:{name} -->" not in metrics} == set()


def test_every_option_has_a_help_text() -> None:
    rows = re.findall(r"^\| (`-.*?) \|.*\| \|$", (DOCS / "reference/cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == []


def test_every_measured_amount_has_a_unit() -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*?)\| ", (DOCS / "reference/metrics.md").read_text(), re.MULTILINE)
    amounts = re.compile(
        r"time|bytes|memory|speed|makespan|size|rtt|throughput|efficiency|utilization|io_wait|rss|path`"
    )
    bare = [names for names, unit in rows if amounts.search(names) and not unit.strip()]
    assert bare == []


def test_every_link_and_anchor_of_the_built_pages_is_there(built: dict[Path, Built]) -> None:
    broken = [
        f"{page.name}: {link}"
        for page, seen in built.items()
        for link in [*seen.links, *seen.loads]
        if not urlsplit(link).scheme and not _is_there(built, page, link)
    ]
    assert broken == []
    assert sum(len(seen.links) for seen in built.values()) > 1000


def _is_there(built: dict[Path, Built], page: Path, link: str) -> bool:
    parts = urlsplit(link)
    there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return there in built and (there.suffix != ".html" or unquote(parts.fragment) in built[there].anchors)


def test_the_built_pages_load_nothing_from_elsewhere(home: Path, built: dict[Path, Built]) -> None:
    assert [load for seen in built.values() for load in seen.loads if urlsplit(load).netloc] == []
    imported = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//")
    assert [page for page in home.rglob("*.css") if imported.search(page.read_text(encoding="utf-8"))] == []


def test_the_built_pages_have_a_first_page_and_a_search(home: Path) -> None:
    assert (home / "index.html").read_text() == (home / "README.html").read_text()
    assert "Getting started" in (home / "index.html").read_text()
    assert "makespan" in (home / "searchindex.js").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_a_title_and_its_links_lead_somewhere_on_a_forge(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    links = [link for pair in _LINK.findall(_FENCED.sub("", text)) for link in pair if link]
    assert [link for link in links if not (_well_formed(link) if "://" in link else _leads(page, link))] == []


def _well_formed(link: str) -> bool:
    """Whether an address of elsewhere could be one; `make docs-links` asks them all, where there is a network."""
    parts = urlsplit(link)
    if parts.hostname in ("127.0.0.1", "localhost"):
        return True
    return parts.scheme == "https" and bool(_HOST.fullmatch(parts.netloc))


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    there = page.parent / path if path else page
    return there.exists() and (not anchor or anchor in _anchors(there))


def _anchors(page: Path) -> set[str]:
    """Names that GitHub gives to headings."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("folder", [DOCS, DOCS / "how-to", DOCS / "reference"], ids=lambda folder: folder.name)
def test_the_first_page_of_a_folder_names_all_pages_of_it(folder: Path) -> None:
    named = (folder / "README.md").read_text(encoding="utf-8")
    unnamed = [page.name for page in folder.glob("*.md") if page.name != "README.md" and f"({page.name})" not in named]
    assert unnamed == []
