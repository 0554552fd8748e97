"""Where events are kept, each once: one interface, `Store`, over interchangeable engines."""

from __future__ import annotations

import os

from ..errors import StoreError
from ._base import Arrivals, Changes, DeadLetter, Page, Store, Via, WorkflowSummary
from ._filesystem import network_filesystem

__all__ = [
    "Arrivals",
    "Changes",
    "DeadLetter",
    "Page",
    "Store",
    "Via",
    "WorkflowSummary",
    "network_filesystem",
    "open_store",
]


def open_store(path_or_url: str | os.PathLike[str], readonly: bool = False, *, durable: bool = False) -> Store:
    """Open a store, and make it where it is missing.

    Parameters
    ----------
    path_or_url : str or path
        A path or `sqlite:///path` is one SQLite file (`sqlite:////path` an absolute one).
    readonly : bool
        Only look: nothing is created, changed or locked.
    durable : bool
        What `put` returned from survives a power cut as well, for events that are nowhere else any more.

    Raises
    ------
    StoreError
        The store cannot be opened, its format is newer than this program, or the URL names an unknown engine.
    """
    from .sqlite import SQLiteStore

    text = os.fspath(path_or_url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return SQLiteStore(text, readonly=readonly, durable=durable)
    if scheme != "sqlite" or not rest.startswith("/"):
        raise StoreError(f"{text}: no engine for this store; give the path of a file, or sqlite:///PATH")
    return SQLiteStore(rest[1:], readonly=readonly, durable=durable)
