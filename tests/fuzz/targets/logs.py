"""The logs of a run, line by line: DAGMan's, the jobs' own, and monitord's jobstate.log."""

from __future__ import annotations

from panorama_driver.sources import dagman, jobstate, userlog

from ...captured import lines

_RUN = "submitdirs/reruns"
SEEDS = [
    lines(f"{_RUN}/sub-0.dag.dagman.out", 0, 40),
    lines(f"{_RUN}/sub-0.dag.dagman.out", 150, 260),
    lines("submitdirs/slurm-badpart/st-badpart-0.dag.dagman.out", -120, -1),
    lines("submitdirs/mini-fail/mini-fail-0.dag.nodes.log", 0, 60),
    lines("submitdirs/slurm-pend/st-pend-0.dag.nodes.log", 0, 80),
    lines("submitdirs/mini-fail/jobstate.log", 0, 40),
]


def one(data: bytes) -> None:
    """Happenings, each with a time."""
    readers = (dagman.Reader().read, userlog.Reader().read, jobstate.read)
    for line in data.split(b"\n"):
        for read in readers:
            for happening in read(line):
                assert happening.ts == happening.ts
