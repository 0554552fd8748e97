"""Where things are: in a repository, and in a study directory that goes into one or comes out of it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from .. import adapt
from ..study import journal
from ..study.client import FOLDER
from .records import Source, Study

STUDIES = "studies"
"""Folder of the repository for what makes a study directory, beside the events."""
STUDY_FILES = {
    "study.yml": "study.yml",
    "study.in": "study.in",
    "journal.jsonl": f"{FOLDER}/{journal.NAME}",
    "actions.jsonl": f"{FOLDER}/{adapt.NAME}",
}
"""Files of a study by their names there, and where they are in its directory."""
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def identity(name: str, first: str) -> str:
    """ID of a study: its name as it fits into a path, and digits of the first thing in it, which no other study has."""
    digits = hashlib.blake2b(first.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{_UNFIT.sub('-', name).strip('-._')[:60] or 'study'}-{digits}"


def place(folder: Path, study: Study) -> Source:
    """The study directory, or store, that a study is below a folder."""
    if study.kind == "store":
        return Source(study.name, str(folder / f"{study.id}.db"))
    home = folder / study.id
    return Source(study.name, str(home / FOLDER / "store.db"), home)


def make_private(source: Source) -> None:
    """Make the folders of a study directory, for their owner alone."""
    if source.home is not None:
        source.home.mkdir(parents=True, exist_ok=True)
        (source.home / FOLDER).mkdir(mode=0o700, exist_ok=True)


def sync_all(folder: Path) -> None:
    """The same for all that is below a folder."""
    for top, _, names in os.walk(folder):
        for name in (*names, ""):
            sync(Path(top, name))


def sync(path: Path) -> None:
    """See that a file, or what a folder lists, survives a power cut."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
