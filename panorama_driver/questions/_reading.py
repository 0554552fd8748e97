"""Many runs of a store read side by side, by as many processes as there are processors to use."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from ..errors import StoreError
from ..store import Store, open_store
from ._rows import RunRows, read

_FEW = 200
"""Runs that one process has read before others have started."""
_BATCH = 32


def read_all(store: Store, where: str, runs: Sequence[str]) -> Iterator[tuple[str, RunRows]]:
    """Rows of these runs, in any order; `where` is the path of `store`. Runs that are gone are left out.

    Raises
    ------
    StoreError
        It cannot be read, or a process that read it has ended.
    """
    workers = min(len(os.sched_getaffinity(0)), len(runs) // _FEW)
    if workers < 2:
        yield from _read(store, runs)
        return
    # Not forked: other threads may hold locks.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            yield from _side_by_side(pool, where, runs, 2 * workers)
        except BrokenProcessPool:
            raise StoreError(
                f"{where}: a process that read it has ended, perhaps for want of memory; "
                "ask again: what was read is kept"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _side_by_side(
    pool: ProcessPoolExecutor, where: str, runs: Sequence[str], ahead: int
) -> Iterator[tuple[str, RunRows]]:
    """A few batches ahead of what is taken, so that what was read and is not yet kept takes little memory."""
    waiting: list[Future[list[tuple[str, RunRows]]]] = []
    batches = (runs[first : first + _BATCH] for first in range(0, len(runs), _BATCH))
    while True:
        waiting += [pool.submit(_read_batch, where, each) for each in islice(batches, ahead - len(waiting))]
        if not waiting:
            return
        yield from waiting.pop(0).result()


def _begin() -> None:
    gc.disable()  # it would go through all events again and again


def _read_batch(where: str, runs: Sequence[str]) -> list[tuple[str, RunRows]]:
    with open_store(where, readonly=True) as store:
        found = list(_read(store, runs))
    gc.collect()
    return found


def _read(store: Store, runs: Sequence[str]) -> Iterator[tuple[str, RunRows]]:
    for wf_uuid in runs:
        try:
            yield wf_uuid, read(store, wf_uuid)
        except ValueError:
            continue  # no events of it any more
