"""The pages' shell, modules and style out of this package, the chart library out of plotly's: no network is needed."""

from __future__ import annotations

import html
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from ._answers import Encoded

_FOLDER = Path(__file__).parent / "static"
_PLOTLY = "plotly.min.js"
_NAME = re.compile(r"([A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_MEDIA = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".html": "text/html",
}
_BASE = '<base href="/">'
_FRESH = "no-cache"
_FOREVER = "public, max-age=31536000, immutable"


class File(NamedTuple):
    """A file as it is served; the address with its `version` may be kept for ever."""

    encoded: Encoded
    version: str = ""

    def caching(self, query: str) -> str:
        """Its Cache-Control, by the query it was asked for with."""
        return _FOREVER if self.version and query == f"v={self.version}" else _FRESH


class Static:
    """Files by name; each read and compressed once, and again when it has changed.

    Parameters
    ----------
    root : str
        Path prefix of all addresses.
    repository : bool
        There is a page of the data themselves.
    """

    def __init__(self, root: str, *, repository: bool = False) -> None:
        self._root = root
        self._repository = repository
        self._files: dict[Path, tuple[tuple[int, int], Encoded]] = {}
        self._plotly = chart_library()

    def file(self, name: str) -> File | None:
        """The file of that name; None if there is none."""
        if name == _PLOTLY:
            return None if self._plotly is None else File(self._read(self._plotly[0]), self._plotly[1])
        path = _FOLDER / name
        fits = _NAME.fullmatch(name) and path.suffix in _MEDIA and path.is_file()
        return File(self._read(path)) if fits else None

    def shell(self) -> Encoded:
        """The page that all addresses of pages give: it draws what its address names, from the API."""
        return self._read(_FOLDER / "index.html")

    def _read(self, path: Path) -> Encoded:
        found = path.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        known = self._files.get(path)
        if known is None or known[0] != stamp:
            self._files[path] = known = (stamp, Encoded(self._body(path), _MEDIA[path.suffix]))
        return known[1]

    def _body(self, path: Path) -> bytes:
        if path.suffix != ".html":
            return path.read_bytes()
        version = self._plotly[1] if self._plotly else ""
        told = f'<base href="{html.escape(self._root)}/">\n<meta name="plotly" content="{html.escape(version)}">'
        told += '\n<meta name="repository" content="data">' if self._repository else ""
        return path.read_text(encoding="utf-8").replace(_BASE, told, 1).encode()


def chart_library() -> tuple[Path, str] | None:
    """The chart library's file and version, without importing the package."""
    found = importlib.util.find_spec("plotly")
    for folder in found.submodule_search_locations or () if found else ():
        path = Path(folder) / "package_data" / _PLOTLY
        if path.is_file():
            return path, importlib.metadata.version("plotly")
    return None
