"""Fills the pages of docs/reference with what the code says; with `--check` it tells where they say something else.

A page is prose by hand, and between two comments what is made of the code:

    <!-- generated: keys panorama_driver.config:Study -->
    ...
    <!-- end -->

The first word says how, the second of what, which is a record or a module. A docstring that leaves out a field of its
record is an error.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _commands import commands
from _events import events
from _markdown import codes, prose, slug, table
from _python import described
from _records import Links, fields_table, keys_table
from sphinx.pycode import ModuleAnalyzer

REFERENCE = Path(__file__).parent / "reference"
_BLOCK = re.compile(r"^(<!-- generated: (\w+) ?(.*?) -->)\n.*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_GAP = re.compile(r"\n{3,}")
_NAME = re.compile(r"\{(\w+)\}")


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` tell how they differ; 1 if they do."""
    wrong = False
    for page in sorted(REFERENCE.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = filled(old, page)
        if new != old and arguments == ["--check"]:
            wrong = True
            sys.stdout.writelines(
                difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(page), "the code")
            )
        elif new != old:
            page.write_text(new, encoding="utf-8")
            print(f"{os.path.relpath(page)}: written")
    return int(wrong)


def filled(text: str, page: Path) -> str:
    """The text of a page with all that is generated made anew."""
    links = {name: target.removeprefix(page.name) for name, target in _places().items()}
    return _BLOCK.sub(lambda found: "\n".join([found[1], *_made(found[2], found[3], links), found[4]]), text)


def _made(how: str, of: str, links: Links) -> list[str]:
    """Lines with an empty one before and after, so that a comment ends where Markdown begins."""
    text = "\n".join(line.rstrip() for line in _MAKERS[how](of, links))
    return ["", _GAP.sub("\n\n", text).strip("\n"), ""]


def _places() -> dict[str, str]:
    """Name of a record to the page and heading where it is told of."""
    return dict(_of_pages())


def _of_pages() -> Iterator[tuple[str, str]]:
    for page in sorted(REFERENCE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            if block[2] in ("keys", "fields", "members"):
                heading = _HEADING.findall(text, 0, block.start())[-1]
                yield block[3], f"{page.name}#{slug(heading)}"


def _found(of: str) -> Any:
    module, _, name = of.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def _words(of: str, links: Links) -> list[str]:
    """What a module says of itself, or of a name in it."""
    module, _, name = of.partition(":")
    if name:
        return ModuleAnalyzer.for_module(module).find_attr_docs()["", name]
    return inspect.cleandoc(_found(of).__doc__ or "").splitlines()


def _commands(of: str, links: Links) -> list[str]:
    details = _HEADING.findall((REFERENCE / "command-details.md").read_text(encoding="utf-8"))
    return commands(set(details))


def _python(of: str, links: Links) -> list[str]:
    """What programs may import, by full names with blanks between them."""
    return [line for name in of.split() for line in described(name, _found(":".join(name.rsplit(".", 1))))]


def _tables(of: str, links: Links) -> list[str]:
    """The tables that `panorama ask` answers from."""
    from panorama_driver.questions import TABLES

    lines: list[str] = []
    for one in TABLES:
        cells = ((f"`{c.name}`", c.type.replace("ANY", "any"), c.unit, prose(c.meaning)) for c in one.columns)
        lines += ["", f"## Table {one.name}", "", f"{one.meaning.capitalize()}.", ""]
        lines += table(("column", "type", "unit", "what it is"), cells)
    return lines


def _functions(of: str, links: Links) -> list[str]:
    from panorama_driver.questions import FUNCTIONS

    return table(("function", "what it gives"), ((f"`{name}`", prose(words)) for name, words in FUNCTIONS.items()))


def _operations(of: str, links: Links) -> list[str]:
    """The addresses of the dashboard's API."""
    from panorama_driver.web._operations import OPERATIONS

    return table(
        ("address", "what it gives", "may be asked"),
        (
            (
                f"`/api{_NAME.sub(lambda found: found[1].upper(), one.path)}`",
                prose(one.summary),
                codes(one.query.__struct_fields__),
            )
            for one in OPERATIONS
        ),
    )


def _indices(of: str, links: Links) -> list[str]:
    """Fields of a search engine's documents, by their types."""
    from panorama_driver.store._documents import MAPPINGS

    by_type: dict[str, list[str]] = {}
    for name, mapping in sorted(MAPPINGS["properties"].items()):
        spelled = f"`{name}` (`{mapping['path']}`)" if "path" in mapping else f"`{name}`"
        by_type.setdefault(mapping["type"], []).append(spelled)
    return table(("type", "fields"), ((f"`{kind}`", ", ".join(names)) for kind, names in sorted(by_type.items())))


_MAKERS: dict[str, Callable[[str, Links], list[str]]] = {
    "keys": lambda of, links: keys_table(_found(of), links),
    "fields": lambda of, links: fields_table(_found(of), links),
    "members": lambda of, links: fields_table(_found(of), links, computed=True),
    "events": lambda of, links: events(_found(of).KINDS, links),
    "words": _words,
    "commands": _commands,
    "python": _python,
    "tables": _tables,
    "functions": _functions,
    "operations": _operations,
    "indices": _indices,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
