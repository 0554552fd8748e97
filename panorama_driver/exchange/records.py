"""What a repository tells of itself: the records of its manifest, and what whoever exports it says about it.

A repository is a folder of Parquet files (https://parquet.apache.org) that anybody can read without this package. What
it holds stands in `repository.json`: a `Manifest`, as JSON, with the names of the fields below.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

FORMAT = "panorama-repository"
VERSION = 1
"""Counts up when a reader of the version before could not understand what is written now."""
MANIFEST = "repository.json"

Type = Literal["TEXT", "REAL", "INTEGER", "BLOB"]

Progress = Callable[[str, int, int | None], None]
"""Is told what is being done, how much of it is, and of how much, where that is known."""


def silent(what: str, done: int, of: int | None) -> None:
    """Progress that nobody wants to see."""


class Source(NamedTuple):
    """What is exported: a study directory, or a store that belongs to none.

    Attributes
    ----------
    name : str
        What it is called.
    store : str
        Path or URL of the store; that of a study need not be there.
    home : Path or None
        The directory that holds study.yml; None for a store alone.
    """

    name: str
    store: str
    home: Path | None = None


class Creator(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who made the data.

    Attributes
    ----------
    name : str
        As it is to be cited.
    email : str or None
        To be asked at.
    orcid : str or None
        https://orcid.org identifier, such as `0000-0002-1825-0097`.
    affiliation : str or None
        Institution.
    """

    name: str
    email: str | None = None
    orcid: str | None = None
    affiliation: str | None = None


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever exports says about the data.

    Attributes
    ----------
    title : str
        In a line; made of the studies' names where it is empty.
    description : str
        In a paragraph.
    license : str or None
        SPDX licence expression (https://spdx.org/licenses), such as `CC-BY-4.0`; None where nothing was said, and then
        nobody else may use the data.
    creators : list of Creator
        Who made them; nobody is named who was not told.
    keywords : list of str
        For catalogues.
    """

    title: str = ""
    description: str = ""
    license: str | None = None
    creators: list[Creator] = []
    keywords: list[str] = []


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a table.

    Attributes
    ----------
    name : str
        Its name.
    type : str
        `TEXT` (UTF-8), `REAL` (64 bits), `INTEGER` (64 bits, signed) or `BLOB` (bytes); yes and no are 1 and 0.
    unit : str
        Such as `s` or `bytes`; `1` for a ratio, empty where there is none.
    description : str
        In words for a person.
    """

    name: str
    type: Type
    unit: str = ""
    description: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table: all Parquet files below the folder of its name, partitioned by study (`study=ID`)."""

    name: str
    description: str
    columns: list[Column]


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the repository.

    Attributes
    ----------
    path : str
        Relative to the repository, with `/`.
    bytes : int
        Its size [bytes].
    sha256 : str
        Of its content, 64 hexadecimal digits.
    rows : int or None
        Of a Parquet file.
    """

    path: str
    bytes: int
    sha256: str
    rows: int | None = None


class Software(msgspec.Struct, frozen=True, kw_only=True):
    """A program that had a part in the data, as the events of its runs tell.

    Attributes
    ----------
    name : str
        Such as `panorama-driver`, or the name of a transformation.
    version : str or None
        As it was recorded; None where nothing told.
    role : str
        `exporter`, `planner` or `transformation`.
    """

    name: str
    version: str | None = None
    role: Literal["exporter", "planner", "transformation"] = "transformation"


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """One study, or one store that belonged to none.

    Attributes
    ----------
    id : str
        What `study=` is in the paths of its files; unlike that of any other study.
    name : str
        What it was called.
    kind : str
        `study` or `store`.
    events, dead_letters, workflows, evaluations : int
        How many.
    first, last : float or None
        Earliest and latest event time [s since 1970, UTC].
    workflow, site, engine : str or None
        As study.yml has them.
    sites : list of str
        Where its jobs ran, as their events tell.
    """

    id: str
    name: str
    kind: Literal["study", "store"]
    events: int = 0
    dead_letters: int = 0
    workflows: int = 0
    evaluations: int = 0
    first: float | None = None
    last: float | None = None
    workflow: str | None = None
    site: str | None = None
    engine: str | None = None
    sites: list[str] = []


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a repository holds, who made it, and what it may be used for.

    Attributes
    ----------
    format, version : str, int
        What this is, and how to read it.
    title, description, license, creators, keywords
        See `About`.
    created : str
        When it was exported, ISO 8601 in UTC.
    software : list of Software
        Programs that had a part in it.
    sites : list of str
        Where jobs ran.
    studies : list of Study
        What is in it.
    tables : list of Table
        Their columns with units.
    files : list of File
        Every file but this one.
    pseudonyms : str or None
        None where names are as they were. Else what tells whether two repositories were anonymised with the same key,
        so that the same name has the same pseudonym in both; the key cannot be found from it.
    """

    format: str = FORMAT
    version: int = VERSION
    title: str = ""
    description: str = ""
    license: str | None = None
    creators: list[Creator] = []
    keywords: list[str] = []
    created: str = ""
    software: list[Software] = []
    sites: list[str] = []
    studies: list[Study] = []
    tables: list[Table] = []
    files: list[File] = []
    pseudonyms: str | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an import.

    Attributes
    ----------
    read : int
        Events that were read.
    new : int
        Of these, events that the store did not have.
    letters : int
        What could not be made an event and is now among the store's dead letters, as far as it was not there before.
    notes : tuple of str
        What else whoever imports should know, such as what could be joined to nothing.
    """

    read: int = 0
    new: int = 0
    letters: int = 0
    notes: tuple[str, ...] = ()
