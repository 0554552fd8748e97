"""Where studies and stores are: what the paths on the command line name, and what lies in the folders among them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from ..study.client import FOLDER
from ..study.journal import NAME

_DEPTH = 3
_MOST_FOLDERS = 20_000  # of one look through: a home directory named by mistake must not take minutes
_DIGITS = 6
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class Place(NamedTuple):
    """A study directory, or a store by its path or URL; a path that is nothing yet counts as a study to come.

    Of one that is `hidden` nobody is told where it is.
    """

    kind: Literal["study", "store"]
    home: str
    hidden: bool = False

    @property
    def said(self) -> str:
        """Where it is, for whoever looks at it."""
        return self.name if self.hidden else self.home

    @property
    def name(self) -> str:
        """The directory's or the file's."""
        return os.path.basename(self.home.rstrip("/")) or self.home

    @property
    def identity(self) -> str:
        """A name that can stand in an address, with digits that tell it from others of that name."""
        digits = hashlib.blake2b(os.fsencode(self.home), digest_size=_DIGITS // 2).hexdigest()
        return f"{_UNFIT.sub('-', self.name).strip('-.')[:60] or 'study'}-{digits}"

    @property
    def folder(self) -> Path:
        """What the study's server keeps of it."""
        return Path(self.home) / FOLDER

    @property
    def store(self) -> str:
        """Path or URL of the store."""
        return str(self.folder / "store.db") if self.kind == "study" else self.home


def look_through(paths: Iterable[str | Path]) -> list[Place]:
    """What these paths name, each once: studies, stores, and the studies in folders down to depth 3.

    Folders that are hidden, work directories of Dakota or bundles are not looked into, and neither are studies.
    """
    return list(dict.fromkeys(place for path in paths for place in _at(os.fspath(path))))


def _at(path: str) -> Iterator[Place]:
    path = path.removeprefix("sqlite:///")  # a file, which may be replaced
    if "://" in path:
        yield Place("store", path)
        return
    where = os.path.realpath(os.path.expanduser(path))
    if os.path.isfile(where):
        yield Place("store", where)
    elif not os.path.isdir(where) or os.path.isfile(os.path.join(where, "study.yml")) or _is_study(where):
        yield Place("study", where)
    else:
        yield from _in(where)


def _in(top: str) -> Iterator[Place]:
    seen = {top}
    level = [top]
    for _ in range(_DEPTH):
        found = [child for folder in level for child in _children(folder)]
        new = [child for child in dict.fromkeys(found) if child not in seen][: _MOST_FOLDERS - len(seen)]
        seen.update(new)
        studies = {child for child in new if _is_study(child)}
        yield from (Place("study", child) for child in new if child in studies)
        level = [child for child in new if child not in studies and not _is_bundle(child)]


def _children(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _worth_a_look(entry.name) and entry.is_dir())
    except OSError:
        return []  # not ours to read, or gone meanwhile
    return [os.path.realpath(os.path.join(folder, name)) for name in names]


def _worth_a_look(name: str) -> bool:
    return not name.startswith((".", "workdir."))


def _is_study(folder: str) -> bool:
    kept = os.path.join(folder, FOLDER)
    both = os.path.isfile(os.path.join(folder, "study.yml")) and os.path.isdir(kept)
    return both or os.path.isfile(os.path.join(kept, NAME))


def _is_bundle(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "bundle.json"))
