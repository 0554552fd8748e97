"""Small pieces of Markdown that read well on a forge and in the built pages alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`+[^`]+`+)")
_SPECIAL = re.compile(r"[<*]|(?<!\w)_|_(?!\w)")
_OPTION = re.compile(r"(?<![\w`-])--[a-z][\w-]*")
_DOI = re.compile(r"\bdoi:(10\.\d+/[^\s,;)]*[^\s,;.)])")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; `|` within a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"|{'|'.join(f' {_escaped(cell)} ' if cell else ' ' for cell in line)}|" for line in lines]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def prose(text: str) -> str:
    """Plain words as Markdown: on one line, options as code, DOIs as links, nothing that would be taken for markup."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if at % 2 else _marked(part) for at, part in enumerate(parts))


def _marked(words: str) -> str:
    words = _SPECIAL.sub(lambda found: f"\\{found[0]}", words)
    words = _DOI.sub(r"[doi:\1](https://doi.org/\1)", words)
    return _OPTION.sub(lambda found: f"`{found[0]}`", words)


def codes(names: Iterable[str]) -> str:
    """Names as code, with commas between them."""
    return ", ".join(f"`{name}`" for name in names)


def slug(heading: str) -> str:
    """The anchor that GitHub and MyST give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
