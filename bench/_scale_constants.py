"""What the simulation of `scale.py` is fed with: each number with its unit, how it is known, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Known = Literal["measured", "documented", "assumed"]


@dataclass(frozen=True)
class Constant:
    """A number that the simulation takes as given.

    Attributes
    ----------
    value : float
        The number.
    unit : str
        Its unit.
    known : str
        `measured` here, `documented` by those who make the program, or `assumed`.
    source : str
        Where it was measured or is documented; why it is assumed.
    """

    value: float
    unit: str
    known: Known
    source: str


CONSTANTS: dict[str, Constant] = {
    # the workload
    "events_a_node": Constant(22, "events", "measured", "tests/data/captures: 8 nodes of a real run sent 176"),
    "message": Constant(628, "bytes", "measured", "tests/faults/soak.py: mean of the captured messages"),
    # a submit host
    "manager_look": Constant(2, "s", "measured", "what `panorama ensemble up` sets; Pegasus' own is 60"),
    "manager_known": Constant(16e-6, "s/workflow", "measured", "Pegasus 5.1.3: CPU of a look, 30,000 known workflows"),
    "plan": Constant(5.1, "s", "measured", "pegasus-plan 5.1.3, 1000 jobs, load 3; 5.2 s for 10 jobs"),
    "plan_cpu": Constant(6.0, "CPU s", "measured", "pegasus-plan 5.1.3, 100 jobs, user + system"),
    "pegasus_run": Constant(0.4, "s", "measured", "pegasus-run 5.1.3: 0.2 to 0.6; the manager waits for it"),
    "edge": Constant(3, "s", "measured", "HTCondor 23.9: from job to job, by POST script and DAGMan's scan"),
    "ended": Constant(2, "s", "measured", "DAGMan's end to monitord.done, which the manager goes by"),
    "starts": Constant(10, "jobs/s", "assumed", "of one schedd, submission to start; it depends on disk and pool"),
    "running": Constant(10_000, "jobs", "documented", "of one schedd: CERN's batch service, its service limits"),
    "monitord_cpu": Constant(1 / 2620, "CPU s/event", "measured", "bench/capture.py: its database loader"),
    "monitord": Constant(54e6, "bytes/workflow", "measured", "pegasus-monitord 5.1.3 after its imports; one each"),
    "dagman": Constant(10e6, "bytes/workflow", "assumed", "condor_dagman of a small DAG; one each"),
    "shadow": Constant(1.5e6, "bytes/job", "documented", "glideinWMS, User Schedd: memory of a running job"),
    "submit_dir": Constant(19e6, "bytes/workflow", "measured", "pegasus-plan 5.1.3, 100 jobs; 17 MB are Pegasus"),
    "submit_files": Constant(2, "files/job", "measured", "pegasus-plan 5.1.3: 2018 files for 1000 jobs"),
    # the back end
    "broker_cpu": Constant(100e-6, "CPU s/event", "measured", "R18: RabbitMQ 3.10.8, one node, busy machine"),
    "broker_queue": Constant(25_000, "events/s", "assumed", "one quorum queue, whose leader is one Erlang process"),
    "broker": Constant(0.9e9, "bytes", "measured", "R18: RabbitMQ with at most 50,000 messages waiting"),
    "collector_cpu": Constant(68e-6, "CPU s/event", "measured", "R18: of 10^7 events into SQLite, busy machine"),
    "collector": Constant(61e6, "bytes", "measured", "R18: `panorama collect`"),
    "sqlite_row": Constant(751, "bytes/event", "measured", "R18: the file of 10^7 events"),
    "sqlite_written": Constant(11e3, "bytes/event", "measured", "R18: what the collector wrote, log and file"),
    "engine_cpu": Constant(61e-6, "CPU s/event", "measured", "bench/search.py: OpenSearch 2.19, load 9 to 17"),
    "engine_collector_cpu": Constant(53e-6, "CPU s/event", "measured", "R18 less its put, 31; bench/search.py, 22"),
    "engine_row": Constant(218, "bytes/event", "measured", "bench/search.py: 10^6 trace records, one copy"),
    "engine_heap": Constant(8e9, "bytes/node", "assumed", "half of a node of 16 GB"),
    "reader_cpu": Constant(0.016 / 20, "cores/page", "measured", "bench/dashboard.py: 20 open pages on a study"),
}
"""By name. `measured` was measured on two cores of a shared machine."""


def value(name: str) -> float:
    """One of them."""
    return CONSTANTS[name].value
