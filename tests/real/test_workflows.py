"""1000genome and mcvine through a real Pegasus: the same jobs, bytes and measurements as by the embedded engine.

Run where test_pegasus.py runs, with what mcvine needs (NCrystal, h5py) for the Python of the site.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from panorama_driver.config import shared_folder
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.metrics.records import JobMetrics, TaskMetrics
from panorama_driver.store import open_store
from panorama_driver.study.journal import Evaluation, read
from tests.real.conftest import ON_REAL_PEGASUS
from tests.real.test_pegasus import NOISE

pytestmark = ON_REAL_PEGASUS
VCF = "ALL.chr20.5000.vcf.gz"
SMALL = ("individuals_jobs=4", "populations=GBR,FIN")
SHAPES: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "by-size": ("cluster_size=2",),
    "by-label": ("cluster=label",),
    "one-at-a-time": ("slots=1",),
}
CLUSTERS = {
    "plain": {},
    "by-size": {
        "merge_individuals_PID1_ID1": ["individuals_chr20_1", "individuals_chr20_2"],
        "merge_individuals_PID1_ID2": ["individuals_chr20_3", "individuals_chr20_4"],
    },
    "by-label": {"merge_chr20": [*(f"individuals_chr20_{n}" for n in range(1, 5)), "individuals_merge_chr20"]},
    "one-at-a-time": {},
}
"""Clustered jobs, and the tasks of each."""
POWDER = ("angle_count=3", "ncount=50000")
SITES = ("condorpool", "condorpool-sharedfs")
MEASURED = ("cpu_time", "peak_memory", "bytes_written", "chars_read", "chars_written", "read_calls", "write_calls")
_EVENT = re.compile(r"^(\d{3}) \(\d", re.MULTILINE)
_SUBMITTED, _ENDED = "000", ("005", "009")


class Trial:
    """One evaluation, in a study directory of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.evaluation.over:
            assert time.monotonic() < end, f"{self.home.name} goes on after {seconds} s"
            time.sleep(1)

    @property
    def evaluation(self) -> Evaluation:
        [found] = read(self.home / ".panorama").values()
        return found

    @property
    def metrics(self) -> WorkflowMetrics:
        assert self.evaluation.state == "succeeded", self.evaluation.message
        assert self.evaluation.wf_uuid is not None
        with open_store(self.home / ".panorama/store.db", readonly=True) as store:
            return correlate(store.events(self.evaluation.wf_uuid))

    @property
    def jobs(self) -> dict[str, JobMetrics]:
        return {job.job_id: job for job in self.metrics.jobs if job.type == "compute"}

    @property
    def outputs(self) -> dict[str, str]:
        folder = self.home / self.evaluation.directory / "output"
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    @property
    def most_at_once(self) -> int:
        """Jobs that DAGMan had submitted and that had not ended, at most."""
        submit_dir = Path((self.home / self.evaluation.directory / "run/submitdir").read_text().strip())
        [log] = submit_dir.glob("*.dag.nodes.log")
        now = most = 0
        for kind in _EVENT.findall(log.read_text()):
            now += (kind == _SUBMITTED) - (kind in _ENDED)
            most = max(most, now)
        return most


def panorama(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("panorama")), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def given(values: tuple[str, ...], inputs: Path | None) -> list[str]:
    folders = [] if inputs is None else [f"--inputs={inputs}"]
    return [*(f"--set={value}" for value in values), *folders]


def embedded(home: Path, workflow: str, values: tuple[str, ...], inputs: Path | None = None) -> Trial:
    panorama("run", workflow, *given(values, inputs), "-o", home)
    return Trial(home)


def submitted(home: Path, workflow: str, values: tuple[str, ...], site: str, inputs: Path | None = None) -> Trial:
    where = ("--site", site, "--ensemble", "panorama-tests", "-o", home)
    done = panorama("submit", workflow, *given(values, inputs), *where)
    assert done.returncode == 0, done.stderr
    return Trial(home)


class Genome:
    """1000genome in every shape, by both engines; Pegasus has several at once, which takes minutes all the same."""

    def __init__(self, place: Path) -> None:
        blank, damaged = place / "raw data", place / "damaged"
        whole = (shared_folder("workflows") / "1000genome/data" / VCF).read_bytes()
        for folder, content in ((blank, whole), (damaged, whole[: len(whole) // 2])):
            folder.mkdir()
            (folder / VCF).write_bytes(content)
        self.here = {
            name: embedded(place / f"here-{name}", "1000genome", SMALL + values) for name, values in SHAPES.items()
        }
        self.there = {
            name: submitted(place / name, "1000genome", SMALL + values, "condorpool") for name, values in SHAPES.items()
        }
        self.from_blank = submitted(place / "from-blank", "1000genome", SMALL, "condorpool-sharedfs", blank)
        self.from_damaged = {
            name: submitted(place / f"damaged-{name}", "1000genome", SMALL + SHAPES[name], "condorpool", damaged)
            for name in ("plain", "by-label")
        }
        for trial in (*self.there.values(), self.from_blank, *self.from_damaged.values()):
            trial.wait(900)


class Mcvine:
    """mcvine with three angles, by both engines."""

    def __init__(self, place: Path) -> None:
        self.here = embedded(place / "mcvine-here", "mcvine", POWDER)
        self.there = {site: submitted(place / f"mcvine-{site}", "mcvine", POWDER, site) for site in SITES}
        for trial in self.there.values():
            trial.wait(900)


@pytest.fixture(scope="module")
def genome(place: Path) -> Genome:
    return Genome(place)


@pytest.fixture(scope="module")
def mcvine(place: Path) -> Mcvine:
    return Mcvine(place)


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_the_genomes_outputs_are_the_same_bytes_however_its_work_is_clustered_and_by_either_engine(
    genome: Genome,
) -> None:
    expected = genome.here["plain"].outputs
    assert expected.keys() == {f"chr20-{people}{what}.tar.gz" for people in ("GBR", "FIN") for what in ("", "-freq")}
    for trial in (*genome.there.values(), *genome.here.values()):
        assert trial.outputs == expected


def test_jobs_have_the_same_names_and_clusters_the_same_tasks_by_either_engine(genome: Genome, shape: str) -> None:
    there, here = genome.there[shape].jobs, genome.here[shape].jobs
    assert there.keys() == here.keys()
    for jobs in (there, here):
        clusters = {name: sorted(str(task.task_id) for task in job.tasks) for name, job in jobs.items()}
        assert {name: tasks for name, tasks in clusters.items() if len(tasks) > 1} == {
            name: sorted(tasks) for name, tasks in CLUSTERS[shape].items()
        }


def test_every_task_of_a_cluster_is_measured_and_the_job_is_their_sum(genome: Genome) -> None:
    wrong = []
    for shape, clusters in CLUSTERS.items():
        for name in clusters:
            there, here = genome.there[shape].jobs[name], genome.here[shape].jobs[name]
            wrong += different(name, there, here)
            known = {task.task_id: task for task in here.tasks}
            for task in there.tasks:
                wrong += different(f"{name} {task.task_id}", task, known[task.task_id])
            for job in (there, here):
                assert [task.invocation for task in job.tasks] == list(range(1, len(clusters[name]) + 1))
                assert job.chars_read == sum(task.chars_read or 0 for task in job.tasks)
                assert job.peak_memory == max(task.peak_memory or 0 for task in job.tasks)
    assert not wrong, "\n".join(wrong)


def different(what: str, there: JobMetrics | TaskMetrics, here: JobMetrics | TaskMetrics) -> list[str]:
    return [
        f"{what}.{field}: {getattr(there, field)} and {getattr(here, field)}"
        for field in MEASURED
        if not near(field, getattr(there, field), getattr(here, field))
    ]


def near(field: str, one: float | None, other: float | None) -> bool:
    part, amount = NOISE[field]
    return one is not None and other is not None and math.isclose(one, other, rel_tol=part, abs_tol=amount)


def test_the_studys_responses_are_there_and_agree_where_they_tell_of_the_work_alone(genome: Genome, shape: str) -> None:
    there, here = (trial.evaluation.responses for trial in (genome.there[shape], genome.here[shape]))
    print(shape, json.dumps([there, here]))
    assert there.keys() == here.keys() == {"makespan", "cumulative_time", "bytes_read", "peak_memory"}
    assert near("chars_read", there["bytes_read"], here["bytes_read"])
    assert near("peak_memory", there["peak_memory"], here["peak_memory"])
    assert 0 < here["makespan"] < there["makespan"]  # which has the pool's waiting as well
    assert 0 < here["cumulative_time"] < there["cumulative_time"]  # which has the transfers as well


def test_slots_is_how_many_jobs_dagman_has_submitted_at_once(genome: Genome) -> None:
    assert genome.there["one-at-a-time"].most_at_once == 1
    assert genome.there["plain"].most_at_once > 1


def test_show_has_a_line_for_a_clustered_job(genome: Genome) -> None:
    shown = panorama("show", "1", "--study", genome.there["by-label"].home)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^merge_chr20 \(5 tasks\) +succeeded +1 ", shown.stdout, re.MULTILINE), shown.stdout


@pytest.mark.parametrize("site", SITES)
def test_mcvines_folders_of_events_and_its_fit_are_the_same_bytes_by_either_engine(mcvine: Mcvine, site: str) -> None:
    outputs = mcvine.there[site].outputs
    angles = {f"experiment/scattering/work_{angle}/sim_{angle}.nxs" for angle in (0.0, 5.0, 10.0)}
    assert outputs.keys() == {"fit.json", "iqe.h5", "spectrum.json", *angles}
    assert outputs == mcvine.here.outputs


@pytest.mark.parametrize("site", SITES)
def test_no_node_of_a_plan_is_left_unaccounted_for(mcvine: Mcvine, site: str) -> None:
    """Those that DAGMan only pretends to run are among them, with a shared file system."""
    metrics = mcvine.there[site].metrics
    assert (metrics.jobs_succeeded, metrics.jobs_unsubmitted) == (metrics.jobs_total, 0)


def test_raw_files_are_found_under_a_path_with_a_blank(genome: Genome) -> None:
    assert genome.from_blank.outputs == genome.here["plain"].outputs


@pytest.mark.parametrize("shape", ["plain", "by-label"])
def test_what_the_job_says_of_damaged_data_is_why_the_evaluation_failed(genome: Genome, shape: str) -> None:
    evaluation = genome.from_damaged[shape].evaluation
    assert evaluation.state == "failed"
    assert f"individuals: {VCF}: the gzip data are damaged or end too early" in evaluation.message
    assert "copy it again" in evaluation.message
