"""Formats of others, by name: what `panorama import` reads, and what `panorama export --format` writes.

A module of this folder is a format. One that is read has

    detect(path: Path, head: bytes) -> bool
        whether this is one, as far as its name and its first bytes tell (b"" for a folder); never raises
    read(path: Path) -> Iterator[Event | DeadLetter]
        what it tells, in an order in which it may be put into a store; what is no event as a dead letter

or, where its records mean nothing without what the store knows already (`joins` of its `Format`), in place of `read`

    collect(paths: Sequence[Path], store: Store) -> Counts
        bring what all these files tell into the store

and one that is written

    write(sources: Sequence[Source], target: Path, about: About, progress: Progress) -> list[Path]
        write these studies and stores, which are anonymised already if they are to be; gives the files

It is imported when it is used, so that a format may need what is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from ...errors import StoreError, UsageError
from ...events import Event
from ...store import DeadLetter, Store
from ..records import About, Counts, Manifest, Progress, Source

HEAD = 4096
"""Bytes of a file that `detect` is given."""


class Reader(Protocol):
    """A module that reads a format."""

    def detect(self, path: Path, head: bytes) -> bool: ...

    def read(self, path: Path) -> Iterator[Event | DeadLetter]: ...


class Joiner(Protocol):
    """A module that reads a format whose records belong to what a store knows already."""

    def detect(self, path: Path, head: bytes) -> bool: ...

    def collect(self, paths: Sequence[Path], store: Store) -> Counts: ...


class Writer(Protocol):
    """A module that writes a format."""

    def write(self, sources: Sequence[Source], target: Path, about: About, progress: Progress) -> list[Path]: ...


class Format(NamedTuple):
    """A format by its name on the command line, what it is, and the module of this folder that knows it.

    `joins` where that module has `collect` in place of `read`.
    """

    name: str
    meaning: str
    module: str
    joins: bool = False

    @property
    def joiner(self) -> Joiner:
        return cast(Joiner, import_module(f"{__name__}.{self.module}"))

    @property
    def reader(self) -> Reader:
        return cast(Reader, import_module(f"{__name__}.{self.module}"))

    @property
    def writer(self) -> Writer:
        return cast(Writer, import_module(f"{__name__}.{self.module}"))


class Describer(Protocol):
    """A module that describes a repository in words of others."""

    def metadata(self, manifest: Manifest) -> bytes: ...


class Description(NamedTuple):
    """A file that a repository has beside `repository.json`, and the module of this folder that makes it."""

    file: str
    module: str

    @property
    def describer(self) -> Describer:
        return cast(Describer, import_module(f"{__name__}.{self.module}"))


READ: tuple[Format, ...] = (
    Format("elasticsearch", "documents of Panorama's Elasticsearch: answers of _search, elasticdump", "elasticsearch"),
    Format("monitord", "what monitord wrote into a file: NetLogger lines (.bp), JSON, BSON", "monitord"),
    Format("flowbench", "tables of FlowBench, CSV", "flowbench"),
    Format("darshan", "logs of Darshan", "darshan"),
    Format("tstat", "Tstat's log_tcp_complete, joined to transfers that the store knows", "tstat", joins=True),
)
"""What is read beside repositories, in the order in which a path is tried."""
WRITTEN: tuple[Format, ...] = (
    Format("wfformat", "WfFormat 1.6 of WfCommons, a file a workflow run", "wfformat"),
    Format("csv", "the tables of panorama ask as CSV, with units", "csvw"),
)
"""What is written beside repositories."""
DESCRIPTIONS: tuple[Description, ...] = (Description("ro-crate-metadata.json", "rocrate"),)
"""What a repository has beside its manifest; `metadata` is given the manifest with all other files in it."""


def named(name: str, formats: Sequence[Format]) -> Format:
    """The format of that name.

    Raises
    ------
    UsageError
        There is none.
    """
    for each in formats:
        if each.name == name:
            return each
    raise UsageError(f"no format {name!r}; --list-formats has those there are")


def detected(path: Path) -> Format:
    """The format of a file or folder.

    Raises
    ------
    UsageError
        It is none that is known.
    StoreError
        It cannot be read.
    """
    found = recognised(path)
    if found is None:
        known = ", ".join(each.name for each in READ)
        raise UsageError(f"{path}: neither a repository nor one of {known}; say with --from what it is")
    return found


def recognised(path: Path) -> Format | None:
    """The same, or None.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    head = b""
    try:
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(HEAD)
    except OSError as problem:
        raise StoreError(f"{path}: cannot be read: {problem.strerror or problem}") from None
    return next((each for each in READ if each.reader.detect(path, head)), None)
