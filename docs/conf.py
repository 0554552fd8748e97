"""How Sphinx builds these pages: `make docs`, or `sphinx-build -W docs docs/_build/html`.

The pages are plain Markdown. Which ones belong to a folder, and in which order, its README says: the links of that page
are the navigation, and a page that is not named there comes last.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from panorama_driver import __version__

project = "Panorama Driver"
author = "The Panorama Driver authors"
version = release = __version__

root_doc = "README"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 5
myst_links_external_new_tab = False
smartquotes = False  # options begin with two dashes
suppress_warnings = ["myst.header"]
highlight_language = "text"

linkcheck_ignore = [r"http://127\.0\.0\.1"]
linkcheck_anchors = False  # some forges make them by script

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["panorama.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

_LINK = re.compile(r"\]\(([\w-]+(?:/README)?)\.md\)")


def _with_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page of a folder a table of contents: pages that it links to, then those that it does not."""
    if name.rpartition("/")[2] == "README":
        app.env.note_reread()  # pages come and go beside it
        named = dict.fromkeys(_LINK.findall(source[0]))
        pages = {page.stem for page in Path(app.srcdir, name).parent.glob("*.md")} - {"README"}
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *named, *sorted(pages - named.keys()), "```\n"])


def _with_index(app: Sphinx, problem: Exception | None) -> None:
    """Servers look for index.html, forges for README.md."""
    if problem is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir, "README.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Join in."""
    app.connect("source-read", _with_navigation)
    app.connect("build-finished", _with_index)
