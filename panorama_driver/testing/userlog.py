"""The event log of HTCondor jobs, as HTCondor 23.9 writes it: one entry an event, closed by a line of three dots."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

SUBMIT, EXECUTE, EVICTED, TERMINATED, ABORTED, HELD, RELEASED, POST, GRID_SUBMIT = 0, 1, 4, 5, 9, 12, 13, 16, 27
NAMES = {
    SUBMIT: "SUBMIT",
    EXECUTE: "EXECUTE",
    EVICTED: "JOB_EVICTED",
    TERMINATED: "JOB_TERMINATED",
    ABORTED: "JOB_ABORTED",
    HELD: "JOB_HELD",
    RELEASED: "JOB_RELEASED",
    POST: "POST_SCRIPT_TERMINATED",
    GRID_SUBMIT: "GRID_SUBMIT",
}
_ADDRESS = "<127.0.0.1:9618?addrs=127.0.0.1-9618&alias=standin&noUDP&sock={}>"
_USAGE = "".join(
    f"\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  {what}\n"
    for what in ("Run Remote Usage", "Run Local Usage", "Total Remote Usage", "Total Local Usage")
) + "".join(f"\t0  -  {when} Bytes {way} By Job\n" for when in ("Run", "Total") for way in ("Sent", "Received"))


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a job.

    Attributes
    ----------
    number : int
        Number of the event.
    cluster : int
        The job.
    node : str
        The node of the DAG; empty for a job of no DAG.
    when : float
        Time [s since 1970].
    status : int
        Wait status of an end.
    detail : str
        Reason, or what else belongs to the event.
    """

    number: int
    cluster: int
    node: str
    when: float
    status: int = 0
    detail: str = ""


def append(event: Event, *paths: Path) -> None:
    """Write an event at the end of these logs."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.when))
    text = f"{event.number:03d} ({event.cluster:03d}.000.000) {stamp} {_words(event)}...\n"
    for path in paths:
        with path.open("a", encoding="utf-8") as log:
            log.write(text)


def _words(event: Event) -> str:
    node = f"    DAG Node: {event.node}\n" if event.node else ""
    match event.number:
        case 0:
            notes = f"    {event.detail}\n" if event.detail else ""
            return f"Job submitted from host: {_ADDRESS.format('schedd_1_1')}\n{node}{notes}"
        case 1:
            return f"Job executing on host: {_ADDRESS.format('startd_1_1')}\n{event.detail}"
        case 5:
            return f"Job terminated.\n{_ended(event.status)}{_USAGE}{event.detail}"
        case 4:
            return f"Job was evicted.\n\t(0) CPU times\n{_USAGE}"
        case 9:
            return f"Job was aborted.\n\t{event.detail}\n"
        case 12:
            return f"Job was held.\n\t{event.detail}\n"
        case 13:
            return f"Job was released.\n\t{event.detail}\n"
        case 16:
            return f"POST Script terminated.\n{_ended(event.status)}{node}"
        case _:
            return f"Job submitted to grid resource\n{event.detail}"


def _ended(status: int) -> str:
    if status & 0x7F:
        return f"\t(0) Abnormal termination (signal {status & 0x7F})\n\t(0) No core file\n"
    return f"\t(1) Normal termination (return value {status >> 8})\n"
