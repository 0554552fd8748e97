"""The 1000genome workflow: the published DAG at every scale, a bundle the planner takes, and the loop on real data."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.config import Monitoring
from panorama_driver.errors import WorkflowError
from panorama_driver.render import WorkflowFolder, find_site, render
from panorama_driver.study.journal import read as read_journal

Evaluate = Callable[..., subprocess.CompletedProcess[str]]

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "1000genome"
POPULATIONS = ("AFR", "ALL", "AMR", "EAS", "EUR", "GBR", "SAS")
ANNOTATION = "ALL.chr{}.phase3_shapeit2_mvncall_integrated_v5.20130502.sites.annotation.vcf"


@pytest.fixture(scope="module")
def genome() -> WorkflowFolder:
    """The folder as it is shipped."""
    return WorkflowFolder(FOLDER)


def built(genome: WorkflowFolder, **values: Any) -> dict[str, Any]:
    """The abstract workflow for some parameters and options; the others have their defaults."""
    return genome.build(*genome.values(*genome.split(values)))


def published(genome: WorkflowFolder, **values: Any) -> dict[str, Any]:
    """The same at the published scale."""
    return built(genome, **{**genome.spec.published, **values})


def edges(dag: dict[str, Any]) -> list[tuple[str, str]]:
    """Parent and child of each edge."""
    return [(edge["id"], child) for edge in dag["jobDependencies"] for child in edge["children"]]


def files(job: dict[str, Any], kind: str) -> set[str]:
    """Logical names of a job's inputs or outputs."""
    return {use["lfn"] for use in job["uses"] if use["type"] == kind}


def all_files(dag: dict[str, Any]) -> set[str]:
    """Logical names of all files."""
    return {use["lfn"] for job in dag["jobs"] for use in job["uses"]}


def by_name(dag: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Jobs by their ids."""
    return {job["id"]: job for job in dag["jobs"]}


# --- the published structure -----------------------------------------------------------------------------------------

SCALES = [("1-2", 25, 82, 94), ("1-10", 10, 260, 288), ("1-10", 25, 410, 438), ("1-22", 25, 902, 954)]
"""Chromosomes, individuals jobs of each, and the tasks and files of WfInstances' runs of that size."""


@pytest.mark.measures
@pytest.mark.parametrize(("chromosomes", "jobs", "tasks", "named"), SCALES)
def test_it_has_the_tasks_files_and_edges_of_the_published_runs(
    genome: WorkflowFolder, chromosomes: str, jobs: int, tasks: int, named: int
) -> None:
    before = time.process_time()
    dag = published(genome, chromosomes=chromosomes, individuals_jobs=jobs)
    used = time.process_time() - before
    assert used < 2, f"measured {used:.2f} s of CPU time"
    count = int(chromosomes.partition("-")[2])
    assert len(dag["jobs"]) == len(by_name(dag)) == tasks == count * (jobs + 2 + 2 * 7)
    assert len(all_files(dag)) == named
    assert len(edges(dag)) == len(set(edges(dag))) == count * (jobs + 4 * 7)


def test_every_edge_is_a_file_that_one_job_makes_and_another_reads(genome: WorkflowFolder) -> None:
    dag = published(genome)
    maker = {name: job["id"] for job in dag["jobs"] for name in files(job, "output")}
    needed = {(maker[name], job["id"]) for job in dag["jobs"] for name in files(job, "input") if name in maker}
    assert set(edges(dag)) == needed


def test_arguments_files_and_names_are_those_published(genome: WorkflowFolder) -> None:
    jobs = by_name(published(genome, individuals_jobs=10))
    vcf, annotation = "ALL.chr3.250000.vcf", ANNOTATION.format(3)
    second = jobs["individuals_chr3_2"]
    assert second["arguments"] == [vcf, "3", "25001", "50001", "250000"]
    assert (files(second, "input"), files(second, "output")) == ({vcf, "columns.txt"}, {"chr3n-25001-50001.tar.gz"})
    chunks = [f"chr3n-{first}-{first + 25000}.tar.gz" for first in range(1, 250000, 25000)]
    merge = jobs["individuals_merge_chr3"]
    assert merge["arguments"] == ["3", *chunks]
    assert (files(merge, "input"), files(merge, "output")) == (set(chunks), {"chr3n.tar.gz"})
    sifting = jobs["sifting_chr3"]
    assert sifting["arguments"] == [annotation, "3"]
    assert (files(sifting, "input"), files(sifting, "output")) == ({annotation}, {"sifted.SIFT.chr3.txt"})
    for program, made in (("mutation_overlap", "chr3-EUR.tar.gz"), ("frequency", "chr3-EUR-freq.tar.gz")):
        job = jobs[f"{program}_chr3_EUR"]
        assert job["arguments"][:4] == ["-c", "3", "-pop", "EUR"]
        assert files(job, "input") == {"chr3n.tar.gz", "sifted.SIFT.chr3.txt", "EUR", "columns.txt"}
        assert files(job, "output") == {made}


def test_only_what_the_analyses_find_is_staged_out(genome: WorkflowFolder) -> None:
    for job in published(genome)["jobs"]:
        kept = {use["stageOut"] for use in job["uses"] if use["type"] == "output"}
        assert kept == {job["name"] in ("mutation_overlap", "frequency")}


def test_what_the_published_programs_do_not_take_comes_after_their_arguments(genome: WorkflowFolder) -> None:
    jobs = by_name(built(genome, seed=3, runs=7, plots=True, populations="ALL", chromosomes="20"))
    assert jobs["mutation_overlap_chr20_ALL"]["arguments"][4:] == ["--seed", "3", "--plots", "yes"]
    assert jobs["frequency_chr20_ALL"]["arguments"][4:] == ["--runs", "7", "--seed", "3", "--plots", "yes"]


def test_chunks_laid_end_to_end_have_each_line_once_whatever_their_number(genome: WorkflowFolder) -> None:
    for number in (1, 3, 12):
        jobs = built(genome, lines=12, individuals_jobs=number)["jobs"]
        parts = [job["arguments"][2:] for job in jobs if job["name"] == "individuals"]
        lines = [line for first, stop, _ in parts for line in range(int(first), int(stop))]
        assert (len(parts), lines) == (number, list(range(1, 13)))
        assert {total for _, _, total in parts} == {"12"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"individuals_jobs": 7}, "individuals_jobs = 7 does not divide the 1000 lines of a chromosome; 5 and 8 do"),
        ({"individuals_jobs": 999}, "500 and 1000 do"),
        ({"individuals_jobs": 64, "lines": 60}, "the 60 lines of a chromosome; 60 does"),
        ({"chromosomes": "0-3"}, "chromosomes: '0-3' is none of 1 to 22"),
        ({"chromosomes": "5-3"}, "chromosomes: '5-3' is none of 1 to 22"),
        ({"chromosomes": "1,X"}, "chromosomes: 'X' is none of 1 to 22"),
        ({"chromosomes": "1-3,2"}, "chromosomes: 2 is named twice"),
        ({"populations": "ALL,,GBR"}, "populations: '' is no name of a population"),
        ({"populations": "ALL,../GBR"}, "populations: '../GBR' is no name of a population"),
        ({"populations": "ALL,ALL"}, "populations: ALL is named twice"),
        ({"vcf": "chr{d}.vcf"}, "'d' is no field of a file's name; there are {c} and {lines}"),
        ({"cluster": "label", "cluster_size": 2}, "cluster is label and cluster_size is 2"),
    ],
)
def test_values_that_make_no_workflow_are_refused_with_what_to_write(
    genome: WorkflowFolder, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(WorkflowError) as refused:
        built(genome, **{"lines": 1000, **values})
    assert words in str(refused.value)


def test_lists_and_ranges_name_chromosomes(genome: WorkflowFolder) -> None:
    jobs = built(genome, chromosomes="1-2, 20")["jobs"]
    assert [job["id"] for job in jobs if job["name"] == "sifting"] == ["sifting_chr1", "sifting_chr2", "sifting_chr20"]


# --- clustering and slots --------------------------------------------------------------------------------------------


def profiles(dag: dict[str, Any], key: str) -> dict[str, Any]:
    """Values of a Pegasus profile by job, of the jobs that have it."""
    of_jobs = {job["id"]: job.get("profiles", {}).get("pegasus", {}) for job in dag["jobs"]}
    return {name: profile[key] for name, profile in of_jobs.items() if key in profile}


def test_a_label_takes_individuals_and_merge_of_a_chromosome_together(genome: WorkflowFolder) -> None:
    labels = profiles(built(genome, chromosomes="1-2", individuals_jobs=2, cluster="label"), "label")
    assert labels == {
        f"{name}_chr{c}{part}": f"chr{c}"
        for c in (1, 2)
        for name, part in (("individuals", "_1"), ("individuals", "_2"), ("individuals_merge", ""))
    }


def test_a_cluster_size_is_of_the_individuals_jobs(genome: WorkflowFolder) -> None:
    sizes = profiles(built(genome, chromosomes="1", individuals_jobs=4, cluster_size=2), "clusters.size")
    assert sizes == {f"individuals_chr1_{number}": 2 for number in (1, 2, 3, 4)}
    dag = built(genome, individuals_jobs=4)
    assert profiles(dag, "clusters.size") == profiles(dag, "label") == {}


def test_slots_are_what_dagman_may_run_at_once(genome: WorkflowFolder) -> None:
    assert genome.properties({"slots": 3}) == {"dagman.maxjobs": "3"}
    assert genome.properties({"slots": 0}) == {}


# --- bundles at the published scale ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for one of the files of the 1000 Genomes Project: the names are right, the files empty."""
    folder = tmp_path_factory.mktemp("archive")
    pairs = ((f"ALL.chr{c}.250000.vcf", ANNOTATION.format(c)) for c in range(1, 23))
    for name in ("columns.txt", *POPULATIONS, *(name for pair in pairs for name in pair)):
        (folder / name).touch()
    return folder


def render_published(genome: WorkflowFolder, target: Path, archive: Path, site: str, **values: Any) -> dict[str, Any]:
    """A bundle of 22 chromosomes and 25 individuals jobs each; its abstract workflow."""
    parameters, options = genome.split({**genome.spec.published, "chromosomes": "1-22", **values})
    render(genome, find_site(site, FOLDER), parameters, options, target, Monitoring(), inputs=[archive])
    dag: dict[str, Any] = json.loads((target / "workflow.yml").read_text())
    return dag


@pytest.mark.measures
def test_a_bundle_of_902_jobs_names_the_published_files_where_they_are(
    genome: WorkflowFolder, archive: Path, tmp_path: Path
) -> None:
    before = time.process_time()
    dag = render_published(genome, tmp_path / "b", archive, "condorpool", slots=40)
    used = time.process_time() - before
    assert used < 5, f"measured {used:.2f} s of CPU time"
    replicas = json.loads((tmp_path / "b" / "replicas.yml").read_text())["replicas"]
    where = {entry["lfn"]: entry["pfns"][0]["pfn"] for entry in replicas if entry["lfn"] != "panorama_probe.py"}
    assert where == {path.name: f"file://{path}" for path in archive.iterdir()}
    assert not list((tmp_path / "b" / "inputs").glob("ALL.*"))
    assert len(dag["jobs"]) == 902
    assert "dagman.maxjobs = 40\n" in (tmp_path / "b" / "pegasus.properties").read_text()


def test_on_cori_jobs_have_the_published_walltimes(genome: WorkflowFolder, archive: Path, tmp_path: Path) -> None:
    variables = {"user": "me", "project": "m1", "scratch": "/scratch", "pegasus_home": "/pegasus"}
    parameters, options = genome.split(genome.spec.published)
    site = find_site("cori", FOLDER, variables)
    render(genome, site, parameters, options, tmp_path / "b", Monitoring(), inputs=[archive])
    jobs = json.loads((tmp_path / "b" / "workflow.yml").read_text())["jobs"]
    asked = [(job["name"], job["profiles"]["pegasus"]) for job in jobs]
    assert {name: (profile["cores"], profile["runtime"]) for name, profile in asked} == {
        "individuals": (1, 18000),
        "individuals_merge": (1, 1800),
        "sifting": (1, 1800),
        "mutation_overlap": (1, 1800),
        "frequency": (1, 1800),
    }
    assert len(jobs) == 410


def planned(genome: WorkflowFolder, folder: Path, archive: Path, **values: Any) -> list[str]:
    """Names of the compute jobs that the real planner makes of a bundle; a clustered one is called merge_..."""
    render_published(genome, folder / "b", archive, "condorpool", **values)
    with (folder / "b" / "pegasus.properties").open("a") as properties:
        properties.write(f"pegasus.catalog.master.url = sqlite:///{folder}/master.db\n")
    done = subprocess.run([folder / "b" / "plan.sh"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    submit = Path((folder / "b" / "run" / "submitdir").read_text().strip())
    kinds = ("individuals_", "sifting_", "mutation_overlap_", "frequency_", "merge_")
    return sorted(path.stem for path in submit.rglob("*.sub") if path.stem.startswith(kinds))


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that is not below /tmp: DAGMan refuses that, and so plan.sh."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


real_planner = pytest.mark.skipif(not shutil.which("pegasus-plan"), reason="no Pegasus: pegasus-plan is not on PATH")


@real_planner
@pytest.mark.long
def test_the_real_planner_takes_902_jobs(genome: WorkflowFolder, archive: Path, elsewhere: Path) -> None:
    assert len(planned(genome, elsewhere, archive)) == 902


@real_planner
@pytest.mark.parametrize(
    ("values", "clustered", "jobs"),
    [
        ({"cluster": "label"}, ["merge_chr1", "merge_chr2"], 2 * (1 + 1 + 14)),
        ({"cluster_size": 5}, [f"merge_individuals_PID1_ID{n}" for n in range(1, 11)], 2 * (5 + 2 + 14)),
    ],
    ids=["label", "horizontal"],
)
def test_the_real_planner_makes_the_clustered_jobs_that_are_asked_for(
    genome: WorkflowFolder, archive: Path, elsewhere: Path, values: dict[str, Any], clustered: list[str], jobs: int
) -> None:
    names = planned(genome, elsewhere, archive, chromosomes="1-2", **values)
    assert [name for name in names if name.startswith("merge_")] == sorted(clustered)
    assert len(names) == jobs


# --- the loop, on real data ------------------------------------------------------------------------------------------

SMALL = {"lines": 400, "populations": "GBR,FIN", "runs": 3}


def panorama(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, as a person calls it."""
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def evaluate(tmp_path: Path) -> Iterator[Evaluate]:
    """Runs small evaluations in one study directory with `panorama run`."""
    home = tmp_path / "trial"

    def run(inputs: Path | None = None, **values: object) -> subprocess.CompletedProcess[str]:
        pairs = [word for name, value in {**SMALL, **values}.items() for word in ("--set", f"{name}={value}")]
        where = ["--inputs", inputs] if inputs else []
        return panorama("run", "1000genome", "-o", home, *where, *pairs, "--json")

    yield run
    panorama("stop", home)


def outputs(done: subprocess.CompletedProcess[str], home: Path) -> dict[str, bytes]:
    """Result files of the evaluation that `panorama run` has told of, by name."""
    assert done.returncode == 0, done.stdout + done.stderr
    evaluations = read_journal(home / ".panorama").values()
    [folder] = [each.directory for each in evaluations if each.wf_uuid == json.loads(done.stdout)["wf_uuid"]]
    return {path.name: path.read_bytes() for path in sorted((home / folder / "output").iterdir())}


def test_however_the_work_is_cut_and_run_the_results_are_the_same_bytes(evaluate: Evaluate, tmp_path: Path) -> None:
    home = tmp_path / "trial"
    one = outputs(evaluate(individuals_jobs=2, slots=1), home)
    assert set(one) == {f"chr20-{name}{kind}.tar.gz" for name in ("GBR", "FIN") for kind in ("", "-freq")}
    assert outputs(evaluate(individuals_jobs=2, slots=2), home) == one
    assert outputs(evaluate(individuals_jobs=4, cluster_size=3), home) == one
    assert outputs(evaluate(individuals_jobs=1, cluster="label"), home) == one


def members(archive: bytes) -> dict[str, bytes]:
    """Contents of a .tar.gz by the files' names."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {Path(member.name).name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read() for name, file in found.items() if file}


def test_another_seed_draws_other_people_and_counts_the_same_overlaps(evaluate: Evaluate, tmp_path: Path) -> None:
    results = (outputs(evaluate(individuals_jobs=1, seed=seed), tmp_path / "trial") for seed in (1, 2))
    first, second = ({name: members(archive) for name, archive in each.items()} for each in results)
    pairs = "total_individual_pairs_overlap_chr20_sNO-SIFT_GBR.txt"
    assert first["chr20-GBR.tar.gz"][pairs] == second["chr20-GBR.tar.gz"][pairs]
    drawn = "random_indiv20_sNO-SIFT_GBR_0.txt"
    assert first["chr20-GBR-freq.tar.gz"][drawn] != second["chr20-GBR-freq.tar.gz"][drawn]


def test_the_shipped_data_give_the_numbers_of_the_readme(evaluate: Evaluate, tmp_path: Path) -> None:
    made = outputs(evaluate(lines=5000, populations="ALL,EUR,GBR,FIN,IBS"), tmp_path / "trial")
    rows = []
    for name in ("ALL", "EUR", "GBR", "FIN", "IBS"):
        files = members(made[f"chr20-{name}.tar.gz"])
        each = [
            int(line.split()[1]) for line in files[f"total_mutations_individual20_sNO-SIFT_{name}.txt"].splitlines()
        ]
        lines = files[f"total_individual_pairs_overlap_chr20_sNO-SIFT_{name}.txt"].splitlines()
        shared = [int(number) for row, line in enumerate(lines) for number in line.split()[row + 1 :]]
        mean, overlap = statistics.mean(each), statistics.mean(shared)
        pairs = f"{len(shared):,}".replace(",", " ")
        rows.append(f"| {name} | {len(each)} | {mean:.2f} | {pairs} | {overlap:.3f} | {max(shared)} |")
    assert "\n".join(rows) in (FOLDER / "README.md").read_text()


def spoiled(folder: Path, spoil: Callable[[bytes], bytes]) -> Path:
    """A folder with the shipped variants, spoiled."""
    folder.mkdir()
    name = "ALL.chr20.5000.vcf.gz"
    (folder / name).write_bytes(spoil((FOLDER / "data" / name).read_bytes()))
    return folder


def unphased(content: bytes) -> bytes:
    """The same genotypes without their phase."""
    return gzip.compress(gzip.decompress(content).replace(b"0|0", b"0/0"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[: len(content) // 50], "the gzip data are damaged or end too early"),
        (unphased, "'0/0' of HG00096 is not phased; phase the file first"),
    ],
    ids=["truncated", "unphased"],
)
def test_bad_data_end_an_evaluation_with_the_sentence_of_the_job_that_met_them(
    evaluate: Evaluate, tmp_path: Path, spoil: Callable[[bytes], bytes], words: str
) -> None:
    done = evaluate(spoiled(tmp_path / "spoiled", spoil), individuals_jobs=1)
    assert done.returncode == 1
    sentence = "individuals_chr20_1 failed with exit code 1: individuals: ALL.chr20.5000.vcf.gz: "
    assert sentence in done.stderr
    assert words in done.stderr
    told = json.loads(panorama("status", tmp_path / "trial", "--json").stdout)["evaluations"]
    assert sentence in told[0]["evaluation"]["message"]


def test_a_number_of_jobs_that_cuts_no_lines_even_fails_the_evaluation_with_those_that_do(evaluate: Evaluate) -> None:
    done = evaluate(individuals_jobs=3)
    assert done.returncode != 0
    assert "individuals_jobs = 3 does not divide the 400 lines of a chromosome; 2 and 4 do" in done.stderr


# --- the study -------------------------------------------------------------------------------------------------------


def small_study(home: Path) -> Path:
    """The shipped study with few evaluations of little data."""
    assert panorama("init", "1000genome", home).returncode == 0
    text = (home / "study.in").read_text()
    for much, little in (("max_function_evaluations 30", "max_function_evaluations 6"), ("size 12", "size 5")):
        assert much in text
        text = text.replace(much, little)
    (home / "study.in").write_text(text)
    with (home / "study.yml").open("a") as study:
        study.write(f"options: {json.dumps(SMALL)}\n")
    return home


def test_the_shipped_study_has_no_mistakes(tmp_path: Path) -> None:
    assert panorama("init", "1000genome", tmp_path / "study").returncode == 0
    checked = panorama("check", tmp_path / "study" / "study.in")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_dakota_tunes_the_workflow_and_the_report_tells_the_front(tmp_path: Path, dakota: str) -> None:
    home = small_study(tmp_path / "study")
    try:
        done = subprocess.run([dakota, "-i", "study.in"], cwd=home, capture_output=True, text=True, timeout=120)
    finally:
        panorama("stop", home)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(panorama("report", home, "--json").stdout)
    answers = [row["evaluation"] for row in told["rows"]]
    assert 5 <= len(answers) <= 6
    assert {each["state"] for each in answers} == {"succeeded"}
    assert list(told["front"]["maximized"]) == ["makespan", "cumulative_time", "bytes_read"]
    fastest = min(answers, key=lambda each: float(each["responses"]["makespan"]))
    assert told["front"]["evaluations"][0]["eval_id"] == fastest["eval_id"]
    by_jobs = sorted((each["variables"]["individuals_jobs"], each["responses"]["bytes_read"]) for each in answers)
    assert by_jobs[0][1] < by_jobs[-1][1]  # each job reads the file from its beginning
    assert all(10e6 < each["responses"]["peak_memory"] < 128e6 for each in answers)
