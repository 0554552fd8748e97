"""An attempt while it is watched: its process trees, what is wrong with it now, and what it was like in the end."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from ._online_stream import Stream
from .history import Portrait, Shape, together
from .records import Anomaly, Kind

StreamKey = tuple[object, ...]
AttemptKey = tuple[str, str, int | None]
"""Workflow run, job, and number of the attempt."""

MOST_STREAMS = 1024
"""Process trees of an attempt that are watched at a time; more are ranks of one program, and like these."""


class Open(msgspec.Struct):
    """Something that is wrong now.

    Attributes
    ----------
    anomaly : Anomaly
        As it was told.
    stream : tuple or None
        The process tree it was found in.
    quiet : int
        Readings since it was last to be seen.
    """

    anomaly: Anomaly
    stream: StreamKey | None
    quiet: int = 0


class Attempt:
    """One try of one job.

    Attributes
    ----------
    key : tuple
        Of it.
    transformation, host, sched : str or None
        What it runs, where, and the scheduler's name for it.
    submitted, started, ended : float or None
        [s since 1970]
    ok : bool or None
        Whether it ended well, once that is told; None also for one that was cancelled.
    streams : dict
        Process trees that are alive.
    open : dict
        What is wrong now, by kind.
    episodes : dict
        How often each kind was told.
    fresh : bool
        Whether its samples come while it runs, and not all with its end.
    counted : bool
        Whether its host has been told how it ended.
    judged, settled : bool
        Whether the last word on how it ended was said; whether it is in the history.
    programs, trees : int
        Programs that it ran as far as told, and process trees whose last sample has come.
    latest, interval : float
        Time of its newest sample [s since 1970], and between two [s].
    """

    __slots__ = (
        "_cpu",
        "_seen",
        "_shape",
        "counted",
        "ended",
        "episodes",
        "fresh",
        "host",
        "interval",
        "judged",
        "key",
        "latest",
        "ok",
        "open",
        "programs",
        "sched",
        "settled",
        "started",
        "streams",
        "submitted",
        "traced",
        "transformation",
        "trees",
    )  # fmt: skip

    def __init__(self, key: AttemptKey) -> None:
        self.key = key
        self.transformation: str | None = None
        self.host: str | None = None
        self.sched: str | None = None
        self.submitted: float | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self.ok: bool | None = None
        self.streams: OrderedDict[StreamKey, Stream] = OrderedDict()
        self.open: dict[Kind, Open] = {}
        self.episodes: dict[Kind, int] = {}
        self.fresh = self.counted = self.traced = self.judged = self.settled = False
        self.programs = self.trees = 0
        self.latest = self.interval = 0.0
        self._shape: Shape | None = None
        self._cpu = 0.0
        self._seen = 0

    @property
    def complete(self) -> bool:
        """Whether nothing more of it will come, as far as anybody has told."""
        return self.judged and not self.streams and self.trees >= max(1, self.programs)

    def stream(self, key: StreamKey) -> Stream:
        """The process tree of that origin."""
        found = self.streams.get(key)
        if found is None:
            found = self.streams[key] = Stream()
            if len(self.streams) > MOST_STREAMS:
                self._drop(next(iter(self.streams)))
        return found

    def close(self, key: StreamKey) -> None:
        """A process tree has ended: what is kept of it is the most that it did."""
        if key in self.streams:
            self.traced = True
            self.trees += 1
            self._drop(key)

    def _drop(self, key: StreamKey) -> None:
        stream = self.streams.pop(key)
        self._cpu += stream.cpu_time
        self._seen += stream.readings
        shape = _shape(stream)
        self._shape = shape if self._shape is None else Shape(**together([self._shape, shape]))

    def portrait(self) -> Portrait:
        """What it was like, all of its process trees having ended."""
        for key in list(self.streams):
            self._drop(key)
        wall = None if self.started is None or self.ended is None else self.ended - self.started
        queue = None if self.submitted is None or self.started is None else self.started - self.submitted
        shape = {} if self._shape is None else msgspec.structs.asdict(self._shape)
        return Portrait(
            host=self.host,
            wall_time=wall if wall is not None and wall >= 0 else None,
            queue_time=queue if queue is not None and queue >= 0 else None,
            readings=self._seen,
            cpu_rate=self._cpu / wall if wall else 0.0,
            **shape,
        )


def _shape(stream: Stream) -> Shape:
    return Shape(
        busiest=stream.busiest,
        write_rate=stream.write_rate,
        peak_memory=stream.peak,
        written=stream.written,
        idle=stream.idle.longest,
        part=stream.part.longest,
        starved=stream.starved.longest,
        blocked=stream.blocked.longest,
        stopped=stream.stopped.longest,
        growing=stream.growing.longest,
        io_speed=stream.io_speed,
        blocked_speed=stream.blocked_speed,
    )
