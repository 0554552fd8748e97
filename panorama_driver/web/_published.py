"""A repository that is served to everybody: what it says of itself, and its files as they are, ranges of them included.

Readers of Parquet ask a server for the end of a file first, and then only for the columns they need, by `Range`
(RFC 9110, section 14): DuckDB, polars and pandas read a table of many gigabytes from here without taking it whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.responses import FileResponse

from ..errors import NotFoundError
from ..exchange import Manifest, read_manifest
from ..exchange.records import MANIFEST

_MEDIA = {".parquet": "application/vnd.apache.parquet", ".json": "application/json"}
_DIGITS = 16
_TEXT = "text/plain; charset=utf-8"  # whatever somebody has put there: no browser runs it


class Published:
    """A repository on disk.

    Parameters
    ----------
    folder : Path
        Holds `repository.json`.

    Attributes
    ----------
    manifest : Manifest
        What it says of itself.
    identity : str
        Unlike that of any repository which says something else.

    Raises
    ------
    FormatError
        It is no repository, or one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest = read_manifest(folder)
        self._folder = folder.resolve()
        self._tags = {file.path: file.sha256 for file in self.manifest.files}
        self.identity = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:_DIGITS]

    def answer(self, name: str) -> FileResponse:
        """A file that the manifest names, or the manifest itself.

        Raises
        ------
        NotFoundError
            It names no such file, or the file is gone.
        """
        path = (self._folder / name).resolve() if name == MANIFEST or name in self._tags else None
        if path is None or not path.is_relative_to(self._folder) or not path.is_file():
            raise NotFoundError(f"the repository has no file {name!r}; its repository.json lists those it has")
        headers = {"Cache-Control": "no-cache", "Access-Control-Expose-Headers": "Content-Range, ETag"}
        if name in self._tags:
            headers["ETag"] = f'"{self._tags[name]}"'
        return FileResponse(path, headers=headers, media_type=_MEDIA.get(path.suffix, _TEXT))
