"""Where events are kept, each once: one interface, `Store`, over interchangeable engines."""

from __future__ import annotations

import os

from ..errors import EnvironmentMissingError, StoreError
from ._base import Arrivals, Changes, DeadLetter, Kept, Page, Store, Via, WorkflowSummary
from ._filesystem import network_filesystem

__all__ = [
    "Arrivals",
    "Changes",
    "DeadLetter",
    "Kept",
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
        A path or `sqlite:///path` is one SQLite file (`sqlite:////path` an absolute one);
        `opensearch://HOST[:PORT][/PREFIX]` or `elasticsearch://...` are indices of a search engine, over HTTPS unless
        HOST is this machine, or as `opensearch+http://` and `opensearch+https://` say.
    readonly : bool
        Only look: nothing is created, changed or locked.
    durable : bool
        What `put` returned from survives a power cut as well, for events that are nowhere else any more. It always
        does in a search engine.

    Raises
    ------
    StoreError
        The store cannot be opened, its format is newer than this program, or the URL names an unknown engine.
    EnvironmentMissingError
        A package that this engine needs is not installed.
    """
    text = os.fspath(path_or_url)
    scheme, separator, rest = text.partition("://")
    if scheme.partition("+")[0] in ("opensearch", "elasticsearch") and separator:
        return _search_store(text, readonly)
    from .sqlite import SQLiteStore

    if not separator:
        return SQLiteStore(text, readonly=readonly, durable=durable)
    if scheme != "sqlite" or not rest.startswith("/"):
        raise StoreError(
            f"{text}: no engine for this store; give the path of a file, or opensearch://HOST[:PORT][/PREFIX]"
        )
    return SQLiteStore(rest[1:], readonly=readonly, durable=durable)


def _search_store(url: str, readonly: bool) -> Store:
    try:
        from .opensearch import OpenSearchStore
    except ModuleNotFoundError as problem:
        if problem.name != "urllib3":
            raise
        raise EnvironmentMissingError(
            f"{url}: a search engine needs a package: pip install 'panorama-driver[search]'"
        ) from None
    return OpenSearchStore(url, readonly=readonly)
