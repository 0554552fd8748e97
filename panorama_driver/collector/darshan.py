"""Reads the Darshan logs that came home into a store: each becomes one `darshan.report` event, once.

The logs travel whole, as `darshan.log` events, since no worker node has to have what reads them.
"""

from __future__ import annotations

import itertools
import time
from typing import NamedTuple

from ..events import Event
from ..sources.darshan import LOG, REPORT, LogReader, reader_name, report_event
from ..store import Store

TIME_LIMIT = 300.0
"""After this no further logs of a workflow are begun, unless told otherwise [s]."""
_SLOW = "reading its Darshan logs takes too long; panorama reconcile goes on with it"
_BATCH = 16  # logs in memory at once, and reports committed together


class Summarised(NamedTuple):
    """What one look at the logs of a workflow brought.

    Attributes
    ----------
    read : int
        Logs that were read.
    unreadable : int
        Logs that could not be, or never came; their reports say why.
    waiting : int
        Logs that nobody here can read.
    problem : str
        Why not; empty if there is none.
    """

    read: int = 0
    unreadable: int = 0
    waiting: int = 0
    problem: str = ""


def summarise(store: Store, wf_uuid: str, *, time_limit: float = TIME_LIMIT) -> Summarised:
    """Read the logs of a workflow that have no report yet; it does no harm to do it again.

    What another version of PyDarshan could not read is tried again. A log takes some 20 ms, and the first 0.5 s more:
    a server calls this in a thread.

    Parameters
    ----------
    store : Store
        Where the logs are, and the reports go.
    wf_uuid : str
        The workflow run.
    time_limit : float
        [s] after which no further log is begun.

    Raises
    ------
    StoreError
        The store could not be read or written; what it committed before stays, and another call adds the rest.
    """
    reader, until = reader_name(), time.monotonic() + time_limit
    done = {report.fields.get("log") for report in store.events(wf_uuid, {REPORT}) if _is_final(report, reader)}
    logs = (log for log in store.events(wf_uuid, {LOG}) if log.event_id not in done)
    total = Summarised()
    with LogReader() as log_reader:
        while batch := list(itertools.islice(logs, _BATCH)):
            if problem := log_reader.start() or (_SLOW if time.monotonic() > until else ""):
                return total._replace(waiting=len(batch) + sum(1 for _ in logs), problem=problem)
            total = _added(total, [report_event(log, log_reader) for log in batch], store)
    return total


def _is_final(report: Event, reader: str | None) -> bool:
    """Whether another try would say the same."""
    return report.fields.get("reason") is None or report.fields.get("reader") in ("", reader)


def _added(total: Summarised, reports: list[Event], store: Store) -> Summarised:
    store.put(reports)
    failed = sum(report.fields["reason"] is not None for report in reports)
    return total._replace(read=total.read + len(reports) - failed, unreadable=total.unreadable + failed)
