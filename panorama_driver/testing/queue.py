"""The stand-in for HTCondor's queue: one file a job with its ClassAd, in a folder that all commands share."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

IDLE, RUNNING, REMOVED, COMPLETED, HELD = 1, 2, 3, 4, 5
SCHEDULER, VANILLA, GRID, LOCAL = 7, 5, 9, 12
UNIVERSES = {"scheduler": SCHEDULER, "vanilla": VANILLA, "grid": GRID, "local": LOCAL}

Ad = dict[str, Any]


class Queue:
    """The jobs of a pool.

    Parameters
    ----------
    folder : Path
        Where it keeps them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._jobs = folder / "queue"
        self._jobs.mkdir(parents=True, exist_ok=True)
        self._alone = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the queue, among all processes; who is already, may ask again."""
        if self._alone:
            yield
            return
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._alone = True
            try:
                yield
            finally:
                self._alone = False

    def submit(self, ad: Ad) -> int:
        """Add a job; gives its cluster."""
        now = int(time.time())
        with self.locked():
            counter = self.folder / "cluster"
            cluster = int(counter.read_text()) + 1 if counter.exists() else 1
            counter.write_text(str(cluster))
        given = {"ClusterId": cluster, "ProcId": 0, "QDate": now, "EnteredCurrentStatus": now, "JobStatus": IDLE}
        self._write(given | ad | {"GlobalJobId": f"standin#{cluster}.0#{now}"})
        return cluster

    def jobs(self) -> list[Ad]:
        """Every job that is in the queue, in order."""
        ads = [ad for ad in map(self._read, self._jobs.glob("*.json")) if ad]
        return sorted(ads, key=lambda ad: int(ad["ClusterId"]))

    def job(self, cluster: int) -> Ad | None:
        """One job, if it is there."""
        return self._read(self._jobs / f"{cluster}.json")

    def change(self, cluster: int, **values: Any) -> None:
        """Set attributes of a job; None takes one away. A job that has left the queue stays away."""
        with self.locked():  # else one of two changes at the same time would be lost
            ad = self.job(cluster)
            if ad is None:
                return
            if values.get("JobStatus", ad["JobStatus"]) != ad["JobStatus"]:
                values.setdefault("EnteredCurrentStatus", int(time.time()))
                values.setdefault("LastJobStatus", ad["JobStatus"])
            self._write({key: value for key, value in (ad | values).items() if value is not None})

    def remove(self, cluster: int) -> None:
        """Let a job leave the queue."""
        (self._jobs / f"{cluster}.json").unlink(missing_ok=True)

    def _read(self, path: Path) -> Ad | None:
        try:
            ad: Ad = msgspec.json.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        return ad

    def _write(self, ad: Ad) -> None:
        path = self._jobs / f"{ad['ClusterId']}.json"
        new = path.with_suffix(f".{os.getpid()}")
        new.write_bytes(msgspec.json.encode(ad))
        new.replace(path)


def ask(queue: Queue, ad: Ad, what: str, reason: str) -> None:
    """Ask for a job's removal, hold, release or return to the queue.

    DAGMan's own job hears of it by the signal of its submit file.
    """
    if ad["JobUniverse"] == SCHEDULER:
        if what == "remove":
            queue.change(ad["ClusterId"], JobStatus=REMOVED, RemoveReason=reason)
            _signal(int(ad["ServerPid"]), signal.SIGUSR1)
        return
    queue.change(ad["ClusterId"], Asked=what, AskedReason=reason)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended
