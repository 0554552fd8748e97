"""HTCondor's log of a workflow's jobs, `*.dag.nodes.log`: happenings as in DAGMan's log, before DAGMan sees them.

DAGMan looks into it every 5 s unless told otherwise. Only it holds why a job was removed, and the batch system's own
name of a job. Format: HTCondor manual, "Job Event Log Codes"; DAGMan begins it anew with each run.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator

from .dagman import Clock, Happening, local_clock

END = b"..."
"""The line that ends a happening."""
_WORDS = {
    0: "SUBMIT",
    1: "EXECUTE",
    4: "JOB_EVICTED",
    5: "JOB_TERMINATED",
    9: "JOB_ABORTED",
    13: "JOB_RELEASED",
    16: "POST_SCRIPT_TERMINATED",
    27: "GRID_SUBMIT",
}
# HTCondor before 8.9 wrote no year; DAGMan's own log has to do there.
_HEAD = re.compile(r"(\d{3}) \((\d+)\.(\d+)\.\d+\) (\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z?) ")
_NODE = re.compile(r"^\s*DAG Node: (\S+)", re.MULTILINE)
_GRID_JOB = re.compile(r"^\s*GridJobId: (.+?)\s*$", re.MULTILINE)
_LIMIT = 1000  # lines; a happening has a few dozen


class Reader:
    """Turns lines of a job event log into happenings."""

    def __init__(self, clock: Clock = local_clock) -> None:
        self._clock = clock
        self._lines: list[str] = []

    def read(self, line: bytes) -> Iterator[Happening]:
        """What a line completes; `reason` is the batch system's name of the job where it was submitted there."""
        if line.rstrip() != END:
            if len(self._lines) < _LIMIT:
                self._lines.append(line.decode("utf-8", "replace"))
            return
        lines, self._lines = self._lines, []
        match = _HEAD.match(lines[0]) if lines else None
        what = _WORDS.get(int(match[1])) if match else None
        if match is None or what is None:
            return
        body = "\n".join(lines[1:])
        node = _NODE.search(body)
        sched_id = f"{int(match[2])}.{int(match[3])}"
        yield Happening(self._time(match), what, node[1] if node else "", sched_id, reason=_reason(what, body))

    def _time(self, match: re.Match[str]) -> float:
        year, month, day, hour, minute, second = (int(part) for part in match.group(4, 5, 6, 7, 8, 9))
        clock = _utc if match[10] else self._clock
        return clock(year, month, day, hour, minute, second)


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    return calendar.timegm((year, month, day, hour, minute, second))


def _reason(what: str, body: str) -> str:
    if what == "JOB_ABORTED":
        return " ".join(body.partition("\n")[0].split())
    if what == "GRID_SUBMIT" and (match := _GRID_JOB.search(body)):
        return match[1]
    return ""
