"""monitord's `jobstate.log`: one line a state of a job, written seconds after DAGMan's own log, which is read instead.

It serves where that log is gone. Format: Pegasus 5.1, monitoring/workflow.py, `update_job_state`; times are those of
the epoch. Reasons for which jobs were held are not in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dagman import Happening

_STATE = re.compile(r"(\d+) (\S+) ([A-Z_]+) (\S+) \S+ \S+ \d+$")
_INTERNAL = re.compile(r"(\d+) INTERNAL \*\*\* (DAGMAN_STARTED|DAGMAN_FINISHED) (\S+) \*\*\*")
_ENDED = ("_SUCCESS", "_FAILURE")


def read(line: bytes) -> Iterator[Happening]:
    """What one line tells; a signal stands there like an exit code."""
    text = line.decode("utf-8", "replace").strip()
    if match := _INTERNAL.match(text):
        yield from _workflow(float(match[1]), match[2], match[3])
    elif match := _STATE.match(text):
        ts, job_id, what, value = float(match[1]), match[2], match[3], match[4]
        ended = what.endswith(_ENDED) and value.lstrip("-").isdigit()
        sched_id = value if "." in value else ""
        yield Happening(ts, what, job_id, sched_id, status=int(value) if ended else None)


def _workflow(ts: float, what: str, value: str) -> Iterator[Happening]:
    if what == "DAGMAN_FINISHED":
        yield Happening(ts, what, status=int(value) if value.lstrip("-").isdigit() else None)
    else:
        yield Happening(ts, "DAGMAN_LAUNCHED", sched_id=value)
        yield Happening(ts, what)
