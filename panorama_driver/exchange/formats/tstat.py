"""Tstat's `log_tcp_complete`: connections, each given to the job whose transfer it was.

A connection names no workflow, so that only what can be joined to a transfer which the store knows is kept: import the
transfers first. The same as `panorama tstat`, which also takes addresses of hosts and a tolerance of their clocks.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ...collector.tstat import Collected, collect_logs
from ...errors import FormatError
from ...sources.tstat import Columns
from ...store import Store
from ..records import Counts
from ._files import beginning


def detect(path: Path, head: bytes) -> bool:
    """Whether this is one, as far as its first line tells."""
    line = io.BytesIO(beginning(head)).readline()
    text = line.decode("utf-8", "replace").strip()
    if not line.endswith(b"\n") or not text or "," in text:
        return False
    try:
        if text.startswith("#"):
            Columns.of_header(text)
        else:
            Columns.of_values(text.split())
    except FormatError:
        return False
    return True


def collect(paths: Sequence[Path], store: Store) -> Counts:
    """Join the connections of these logs to the transfers of a store, and keep those that belong to one.

    Raises
    ------
    StoreError
        The store cannot be read or written.
    """
    before = sum(1 for _ in store.dead_letters())
    found = collect_logs(store, paths)
    letters = sum(1 for _ in store.dead_letters()) - before
    joined = found.by_socket + found.by_host
    return Counts(read=joined + found.known, new=found.stored, letters=letters, notes=_notes(found))


def _notes(found: Collected) -> tuple[str, ...]:
    told = [f"{found.by_socket} of {found.flows} connections joined by socket, {found.by_host} by host and time"]
    if found.foreign or found.ambiguous:
        words = f"{found.foreign} fit no transfer that the store knows, {found.ambiguous} several or too badly"
        told.append(f"{words}: these are not kept; import the transfers before the log")
    if found.unresolved:
        told.append(f"{found.unresolved} transfers between hosts of unknown address: panorama tstat --address tells it")
    return (*told, *found.problems)
