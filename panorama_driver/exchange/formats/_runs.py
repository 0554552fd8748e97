"""The workflow runs of studies and stores, one after another, for the formats that are written a run at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from ...errors import StoreError
from ...events import Event
from ...metrics import thinned
from ...store import open_store
from ...store._base import printable
from ..records import Progress, Source


class StoredRun(NamedTuple):
    """A run: the source that it is of, its identity, and its events, of its samples enough for the same metrics."""

    source: Source
    wf_uuid: str
    events: list[Event]


def runs(sources: Sequence[Source], progress: Progress, what: str) -> Iterator[StoredRun]:
    """All runs of these sources in the order of arrival; a study that has no store yet has none.

    Raises
    ------
    StoreError
        A store cannot be read.
    """
    for source in sources:
        if "://" not in source.store and not Path(source.store).exists():
            if source.home is None:
                raise StoreError(f"{source.store}: there is no store there; give the path of one, or a study")
            continue
        with open_store(source.store, readonly=True) as store:
            known = store.workflows()
            for number, summary in enumerate(known, 1):
                yield StoredRun(source, summary.wf_uuid, thinned(partial(store.events, summary.wf_uuid)))
                progress(f"{source.name}: {what}", number, len(known))


def printed(value: Any) -> Any:
    """What JSON can hold, with texts that are no UTF-8 (PEP 383) as `printable` has them."""
    match value:
        case str():
            return printable(value)
        case dict():
            return {printable(str(key)): printed(each) for key, each in value.items()}
        case list():
            return [printed(each) for each in value]
    return value


@contextmanager
def fresh(path: Path) -> Iterator[BinaryIO]:
    """A file to be written, which gets its name when it is whole; its folder is made where it is missing.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            name = file.name
            yield cast(BinaryIO, file)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}; free some space") from error
    finally:
        with suppress(OSError):
            os.unlink(name)


def put(path: Path, data: bytes) -> Path:
    """Write a file whole, or not at all.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    with fresh(path) as file:
        file.write(data)
    return path


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
