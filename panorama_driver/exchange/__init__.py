"""Data that leave this machine: a repository of Parquet files that anybody can read, and the formats of others.

The room stands above `questions` and below `web`: it writes what stores and studies hold as a folder of files, makes
stores and study directories of such a folder again, and never shows anything itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .records import (
    About,
    Column,
    Counts,
    Creator,
    File,
    Manifest,
    Progress,
    Software,
    Source,
    Study,
    Table,
    silent,
)

if TYPE_CHECKING:
    from ..store import Store
    from ._key import Key

_NOTHING = About()

__all__ = [
    "About",
    "Column",
    "Counts",
    "Creator",
    "File",
    "Manifest",
    "Progress",
    "Software",
    "Source",
    "Study",
    "Table",
    "export",
    "export_as",
    "import_as",
    "import_events",
    "merge",
    "read_manifest",
    "restore",
]


def export(
    sources: Sequence[Source],
    folder: Path,
    *,
    about: About,
    anonymise: Key | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Write studies and stores as a repository: whole, or not at all.

    Parameters
    ----------
    sources : sequence of Source
        What is exported.
    folder : Path
        The repository; it must not be there yet.
    about : About
        Title, licence, who made the data.
    anonymise : Key, optional
        Hosts, users and paths get pseudonyms by this key.
    progress : callable
        Is told how far it is.

    Raises
    ------
    UsageError
        The folder is there already, or there is nothing to export.
    StoreError
        A store cannot be read, or the folder cannot be written.
    EnvironmentMissingError
        pyarrow is not installed.
    """
    from ._export import export

    return export(sources, folder, about=about, anonymise=anonymise, progress=progress)


def export_as(
    name: str,
    sources: Sequence[Source],
    folder: Path,
    *,
    about: About,
    anonymise: Key | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Write studies and stores in a format of others, into a folder: whole, or not at all.

    Parameters
    ----------
    name : str
        One of `formats.WRITTEN`.
    sources, folder, about, anonymise, progress
        As of `export`.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    UsageError
        As of `export`, or there is no such format, or it cannot say what is to be said.
    """
    from ._export import export_as

    return export_as(name, sources, folder, about=about, anonymise=anonymise, progress=progress)


def import_as(name: str, paths: Sequence[Path], store: Store, *, progress: Progress = silent) -> Counts:
    """Put what other tools wrote into a store.

    Parameters
    ----------
    name : str
        One of `formats.READ`, or `auto`: each path is what it looks like, a repository too.
    paths : sequence of Path
        Files and folders.
    store : Store
        What it has already is left as it is.
    progress : callable
        Is told how far it is.

    Raises
    ------
    UsageError
        There is no such format, or a path is none of them.
    FormatError
        One is damaged.
    StoreError
        The store cannot be written.
    """
    from ._import import import_as

    return import_as(name, paths, store, progress=progress)


def read_manifest(folder: Path) -> Manifest:
    """What a repository says of itself; nothing else of it is read.

    Raises
    ------
    FormatError
        It is no repository, a newer one, or one whose manifest cannot be trusted; says why.
    """
    from ._manifest import read_manifest

    return read_manifest(folder)


def restore(folder: Path, target: Path, *, progress: Progress = silent) -> list[Path]:
    """Make study directories and stores of a repository, each under `target` by its ID.

    The dashboard, `show`, `status` and `ask` say the same of them as of those that were exported.

    What is there already, made from the same files, is left as it is; each study is put in place whole.

    Parameters
    ----------
    folder : Path
        The repository.
    target : Path
        Folder that gets `ID/` (a study directory) and `ID.db` (a store); made where it is missing.
    progress : callable
        Is told how far it is.

    Returns
    -------
    list of Path
        Study directories and stores, in the order of the manifest.

    Raises
    ------
    FormatError
        The repository is damaged, or not to be trusted; says which file and why.
    StoreError
        The target cannot be written.
    """
    from ._restore import restore

    return restore(folder, target, progress=progress)


def import_events(folder: Path, store: Store, *, progress: Progress = silent) -> Counts:
    """Put all events and dead letters of a repository into a store; what it has already is left as it is.

    Raises
    ------
    FormatError
        The repository is damaged, or not to be trusted; says which file and why.
    StoreError
        The store cannot be written.
    """
    from ._restore import import_events

    return import_events(folder, store, progress=progress)


def merge(folders: Sequence[Path], folder: Path, *, about: About = _NOTHING, progress: Progress = silent) -> Manifest:
    """Make one repository of several: whole, or not at all.

    A study that is in several of them is put together: events of all, each once. What `about` leaves out is put
    together of what they say: their titles, all licences, all creators.

    Raises
    ------
    FormatError
        One of them is damaged, or not to be trusted.
    UsageError
        They do not go together, or `folder` is there already.
    """
    from ._merge import merge

    return merge(folders, folder, about=about, progress=progress)
