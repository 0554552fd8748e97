"""From the abstract workflow of a bundle to the executable one: what the planner would add on a shared file system.

The names of the auxiliary jobs are the planner's own: `create_dir_<workflow>_0_<site>`, `stage_in_local_<site>_0_0`,
`stage_out_local_<site>_0_0`, `cleanup_<workflow>_0_<site>`; and so is that of a clustered job, `merge_<label>`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...config import BUNDLE, read_yaml
from ...errors import WorkflowError

COMPUTE, STAGE_IN, STAGE_OUT, CREATE_DIR, CLEANUP = 1, 2, 3, 6, 8
TYPE_NAMES = {
    COMPUTE: "compute",
    STAGE_IN: "stage-in-tx",
    STAGE_OUT: "stage-out-tx",
    CREATE_DIR: "create-dir",
    CLEANUP: "cleanup",
}
SEQUENCE = "pegasus::seqexec"
"""What the planner says that a clustered job runs."""


class Copy(msgspec.Struct, frozen=True):
    """One file to stage: its logical name, where it is, and where it goes."""

    lfn: str
    source: Path
    target: Path


class Task(msgspec.Struct, frozen=True):
    """A job of the abstract workflow: one program.

    Attributes
    ----------
    task_id : str
        Its id in the abstract workflow.
    transformation : str
        What it runs.
    argv : list of str
        Its command line.
    stdin, stdout, stderr : str or None
        File names that the streams come from or go to.
    environment : dict
        Variables set for it.
    outputs : list of str
        Files that it must leave.
    """

    task_id: str
    transformation: str
    argv: list[str]
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    environment: dict[str, str] = {}
    outputs: list[str] = []


class Job(msgspec.Struct, frozen=True):
    """A node of the executable workflow.

    Attributes
    ----------
    job_id : str
        Its name in every event.
    type : int
        Job type of Pegasus (1 compute, 2 stage-in, 3 stage-out, 6 create-dir, 8 cleanup).
    transformation : str
        What it runs.
    tasks : list of Task
        What a compute job runs, one after the other; several where jobs are clustered.
    cores : int
        Cores it needs.
    memory : int
        Memory it needs [MB], 0 if it does not say.
    runtime : float or None
        Longest run time [s].
    copies : list of Copy
        Files that a staging job moves.
    parents : list of str
        Jobs that must have finished.
    retries : int
        How many more times it is tried after a failure.
    """

    job_id: str
    type: int
    transformation: str
    tasks: list[Task] = []
    cores: int = 1
    memory: int = 0
    runtime: float | None = None
    copies: list[Copy] = []
    parents: list[str] = []
    retries: int = 0

    @property
    def executable(self) -> str:
        """The program of a job that runs one; the name of what it does, for any other."""
        return self.tasks[0].argv[0] if len(self.tasks) == 1 else self.transformation

    @property
    def arguments(self) -> str:
        """Those of the program of a job that runs one."""
        return " ".join(self.tasks[0].argv[1:]) if len(self.tasks) == 1 else ""


class Plan(msgspec.Struct, frozen=True):
    """An executable workflow.

    Attributes
    ----------
    label : str
        Name of the workflow.
    site : str
        Name of the site that runs it.
    scratch, output : Path
        Working directory that all jobs share, and where results go.
    jobs : dict
        Jobs by name, parents before children.
    tasks : list of tuple
        Abstract jobs as (task_id, transformation, command line).
    task_edges : list of tuple
        Their dependencies as (parent, child).
    max_jobs : int
        How many jobs may be submitted at once, 0 for any number.
    """

    label: str
    site: str
    scratch: Path
    output: Path
    jobs: dict[str, Job]
    tasks: list[tuple[str, str, str]]
    task_edges: list[tuple[str, str]]
    max_jobs: int = 0


def plan_bundle(directory: Path, site: str) -> Plan:
    """Plan the bundle in `directory` for one of its sites.

    Raises
    ------
    WorkflowError
        The bundle lacks something that its jobs need, or its graph has a cycle.
    """
    directory = directory.resolve()
    abstract = _read(directory / "workflow.yml")
    scratch, output = _directories(_read(directory / "sites.yml"), site, directory)
    programs = _programs(_read(directory / "transformations.yml"), site, directory)
    replicas = _replicas(_read(directory / "replicas.yml"), directory)
    properties = _properties(directory / "pegasus.properties")
    retries = _whole(properties, "dagman.retry", directory)
    label = str(abstract["name"])
    names = {job["id"]: _name(job) for job in abstract["jobs"]}
    edges = [(d["id"], child) for d in abstract.get("jobDependencies", []) for child in d["children"]]

    before = [Job(job_id=f"create_dir_{label}_0_{site}", type=CREATE_DIR, transformation="pegasus::dirmanager")]
    inputs = [Copy(lfn, _replica(replicas, lfn, directory), scratch / lfn) for lfn in _raw_inputs(abstract)]
    if inputs:
        before.append(_staging(STAGE_IN, f"stage_in_local_{site}_0_0", inputs, [before[0].job_id], retries))
    parents: dict[str, list[str]] = {name: [] for name in names.values()}
    for parent, child in edges:
        if names[parent] != names[child]:
            parents[names[child]].append(names[parent])
    compute = [
        _compute(name, jobs, programs, list(dict.fromkeys(parents[name])) or [before[-1].job_id], retries, directory)
        for name, jobs in _clusters(abstract["jobs"], edges, directory)
    ]
    results = [(names[job["id"]], use["lfn"]) for job in abstract["jobs"] for use in job["uses"] if use.get("stageOut")]
    after = []
    if results:
        copies = [Copy(lfn, scratch / lfn, output / lfn) for _, lfn in results]
        makers = list(dict.fromkeys(name for name, _ in results))
        after.append(_staging(STAGE_OUT, f"stage_out_local_{site}_0_0", copies, makers, retries))
    leaves = _leaves([*compute, *after])
    after.append(
        Job(job_id=f"cleanup_{label}_0_{site}", type=CLEANUP, transformation="pegasus::cleanup", parents=leaves)
    )
    return Plan(
        label=label,
        site=site,
        scratch=scratch,
        output=output,
        jobs=_in_order([*before, *compute, *after], directory),
        tasks=[(job["id"], job["name"], " ".join(map(str, job["arguments"]))) for job in abstract["jobs"]],
        task_edges=edges,
        max_jobs=_whole(properties, "dagman.maxjobs", directory),
    )


def _staging(kind: int, job_id: str, copies: list[Copy], parents: list[str], retries: int) -> Job:
    return Job(
        job_id=job_id, type=kind, transformation="pegasus::transfer", copies=copies, parents=parents, retries=retries
    )


def _read(path: Path) -> dict[str, Any]:
    text = path.read_bytes() if path.is_file() else b""
    # JSON is YAML, and reading it as what it is takes a fiftieth of the time.
    value = msgspec.json.decode(text) if text.lstrip().startswith(b"{") else read_yaml(path, WorkflowError)
    if not isinstance(value, dict):
        raise WorkflowError(f"{path}: not a file of a bundle")
    return value


def _properties(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
    return {key.strip(): value.strip() for key, _, value in pairs}


def _whole(properties: Mapping[str, str], key: str, directory: Path) -> int:
    text = properties.get(key, "0")
    if not text.isdecimal():
        raise WorkflowError(f"{directory / 'pegasus.properties'}: {key} is {text!r}, which is no whole number")
    return int(text)


def _directories(sites: Mapping[str, Any], site: str, directory: Path) -> tuple[Path, Path]:
    entry = _named(sites["sites"], site, directory / "sites.yml")
    home = _named(sites["sites"], "local", directory / "sites.yml")
    return _directory(entry, "sharedScratch", directory), _directory(home, "localStorage", directory)


def _directory(entry: Mapping[str, Any], kind: str, directory: Path) -> Path:
    for place in entry.get("directories", []):
        if place["type"] == kind:
            return _own(Path(os.path.normpath(_path(place["path"], directory))), kind, directory)
    raise WorkflowError(f"{directory / 'sites.yml'}: site {entry['name']!r} has no directory of type {kind}")


def _own(path: Path, kind: str, directory: Path) -> Path:
    """A folder of this bundle alone: other evaluations must not write into it, and scratch is removed in the end."""
    bundle = directory.resolve()
    if str(bundle) not in str(path) or path in (bundle, bundle / "run"):
        raise WorkflowError(
            f"{directory / 'sites.yml'}: {kind} is {path}, which this bundle does not have for itself; "
            "in the site file, write {{ bundle }} into its path, such as {{ bundle }}/run/scratch"
        )
    return path


def _named(entries: Iterable[Mapping[str, Any]], name: str, path: Path) -> Mapping[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise WorkflowError(f"{path}: no entry {name!r}")


def _programs(catalog: Mapping[str, Any], site: str, directory: Path) -> dict[str, tuple[str, dict[str, str]]]:
    found = {}
    for entry in catalog["transformations"]:
        for place in entry["sites"]:
            if place["name"] == site or place["type"] == "stageable":
                found[entry["name"]] = (_path(place["pfn"], directory), _env(entry) | _env(place))
    return found


def _env(entry: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in entry.get("profiles", {}).get("env", {}).items()}


def _replicas(catalog: Mapping[str, Any], directory: Path) -> dict[str, Path]:
    return {entry["lfn"]: Path(_path(entry["pfns"][0]["pfn"], directory)) for entry in catalog["replicas"]}


def _replica(replicas: Mapping[str, Path], lfn: str, directory: Path) -> Path:
    if lfn not in replicas:
        raise WorkflowError(f"{directory / 'replicas.yml'}: no replica of {lfn!r}, which a job needs")
    return replicas[lfn]


def _path(pfn: str, directory: Path) -> str:
    """A path or a file:// URL of a catalog, with the bundle's directory put in; decoded no more than by Pegasus."""
    return pfn.removeprefix("file://").replace(BUNDLE, str(directory))


def _raw_inputs(abstract: Mapping[str, Any]) -> list[str]:
    uses = [use for job in abstract["jobs"] for use in job["uses"]]
    made = {use["lfn"] for use in uses if use["type"] == "output"}
    return list(dict.fromkeys(use["lfn"] for use in uses if use["type"] == "input" and use["lfn"] not in made))


def _name(job: Mapping[str, Any]) -> str:
    """Name of the job that runs a job of the abstract workflow: its own, or that of its cluster."""
    label = _label(job)
    return f"{job['name']}_{job['id']}" if label is None else f"merge_{label}"


def _label(job: Mapping[str, Any]) -> str | None:
    label: str | None = job.get("profiles", {}).get("pegasus", {}).get("label")
    return label


def _clusters(
    jobs: list[Mapping[str, Any]], edges: list[tuple[str, str]], directory: Path
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Jobs of the abstract workflow by the job that runs them, those of a label in the order of their dependencies."""
    clustered: dict[str, list[Mapping[str, Any]]] = {}
    found = []
    for job in jobs if all(_label(job) is None for job in jobs) else _in_turn(jobs, edges, directory):
        label = _label(job)
        members = [] if label is None else clustered.setdefault(label, [])
        if not members:
            found.append((_name(job), members))
        members.append(job)
    return found


def _compute(
    name: str,
    members: list[Mapping[str, Any]],
    programs: Mapping[str, tuple[str, dict[str, str]]],
    parents: list[str],
    retries: int,
    directory: Path,
) -> Job:
    """The job that runs some jobs of the abstract workflow, which needs what the widest of them does."""
    profiles = [job.get("profiles", {}) for job in members]
    needs = [profile.get("pegasus", {}) for profile in profiles]
    runtimes = [float(need["runtime"]) for need in needs if "runtime" in need]
    return Job(
        job_id=name,
        type=COMPUTE,
        transformation=members[0]["name"] if len(members) == 1 else SEQUENCE,
        tasks=[_task(job, programs, directory) for job in members],
        cores=max(int(need.get("cores", 1)) for need in needs),
        memory=max(int(need.get("memory", 0)) for need in needs),
        runtime=sum(runtimes) if len(runtimes) == len(members) else None,
        parents=parents,
        retries=max(int(profile.get("dagman", {}).get("RETRY", retries)) for profile in profiles),
    )


def _task(job: Mapping[str, Any], programs: Mapping[str, tuple[str, dict[str, str]]], directory: Path) -> Task:
    name = job["name"]
    if name not in programs:
        raise WorkflowError(f"{directory / 'transformations.yml'}: no program for transformation {name!r} at this site")
    program, environment = programs[name]
    return Task(
        task_id=job["id"],
        transformation=name,
        argv=[program, *_words(job["arguments"])],
        stdin=job.get("stdin"),
        stdout=job.get("stdout"),
        stderr=job.get("stderr"),
        environment=environment | _env(job),
        outputs=[use["lfn"] for use in job["uses"] if use["type"] == "output"],
    )


def _words(arguments: Iterable[object]) -> list[str]:
    """Words as the job gets them: Pegasus joins arguments by blanks, and HTCondor splits them again.

    Single quotes keep blanks together (HTCondor manual, condor_submit, "arguments", new syntax).
    """
    lexer = shlex.shlex(" ".join(map(str, arguments)), posix=True)
    lexer.whitespace_split = True
    lexer.quotes, lexer.escape, lexer.commenters = "'", "", ""
    return list(lexer)


def _leaves(jobs: list[Job]) -> list[str]:
    inner = {parent for job in jobs for parent in job.parents}
    return [job.job_id for job in jobs if job.job_id not in inner]


def _in_order(jobs: list[Job], directory: Path) -> dict[str, Job]:
    """Jobs by name, parents before children, otherwise as they came."""
    by_name = {job.job_id: job for job in jobs}
    if len(by_name) < len(jobs):
        twice = next(job.job_id for job in jobs if job is not by_name[job.job_id])
        raise WorkflowError(f"{directory / 'workflow.yml'}: two jobs are called {twice!r}; give one another id")
    order = _sorted({job.job_id: job.parents for job in jobs}, directory)
    return {name: by_name[name] for name in order}


def _in_turn(
    jobs: list[Mapping[str, Any]], edges: list[tuple[str, str]], directory: Path
) -> Iterator[Mapping[str, Any]]:
    """Jobs of the abstract workflow, parents before children, otherwise as they came."""
    by_id = {job["id"]: job for job in jobs}
    parents: dict[str, list[str]] = {name: [] for name in by_id}
    for parent, child in edges:
        parents[child].append(parent)
    return (by_id[name] for name in _sorted(parents, directory))


def _sorted(parents: Mapping[str, list[str]], directory: Path) -> list[str]:
    from graphlib import CycleError, TopologicalSorter

    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError as cycle:
        raise WorkflowError(
            f"{directory / 'workflow.yml'}: jobs wait for each other: {' -> '.join(cycle.args[1])}"
        ) from None
