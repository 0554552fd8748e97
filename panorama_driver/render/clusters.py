"""Clustering: which jobs of an abstract workflow run as one, told by labels alone.

Pegasus clusters by label (profile `pegasus.label`), and per level and transformation (`pegasus.clusters.size`, jobs in
a cluster; `pegasus.clusters.num`, clusters). Which jobs of a level its planner puts together then depends on the order
of a hash table; so the second becomes the first here, and both engines run the same clustered jobs under the names that
the planner would give them: `merge_LABEL`, `merge_TRANSFORMATION_PIDlevel_IDnumber` (Horizontal.java of Pegasus 5.1).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from ..errors import WorkflowError

_LABEL = re.compile(r"[\w-]{1,100}", re.ASCII)
_SIZE, _NUMBER = "clusters.size", "clusters.num"
_WIDEST = ("cores", "nodes", "memory", "diskspace")

Graph = Mapping[str, Sequence[str]]
AbstractJob = dict[str, Any]


def cluster(abstract: dict[str, Any], where: Path) -> bool:
    """Label the jobs that run as one; a job that would be alone gets no label. Whether any is left.

    Parameters
    ----------
    abstract : dict
        The workflow; changed in place.
    where : Path
        What errors name: the file that made it.

    Raises
    ------
    WorkflowError
        A profile cannot be read, or jobs of one label cannot run as one.
    """
    jobs = {job["id"]: job for job in abstract["jobs"]}
    if not any(profile.keys() & {"label", _SIZE, _NUMBER} for profile in map(_profile, jobs.values())):
        return False
    parents: dict[str, list[str]] = {name: [] for name in jobs}
    for edge in abstract.get("jobDependencies", []):
        for child in edge["children"]:
            parents[child].append(edge["id"])
    depths = _levels_of_units(parents, {}, where)
    labels = _labels(jobs, where)
    units = _levels_of_units(parents, labels, where)
    labels |= _horizontal({name: job for name, job in jobs.items() if name not in labels}, depths, units, where)
    _levels_of_units(parents, labels, where)
    clusters = _by_label(labels)
    for label, members in clusters.items():
        _check_depths(label, sorted(depths[name] for name in members), where)
    for name, job in jobs.items():
        _relabel(job, labels.get(name))
    for members in clusters.values():
        _share([jobs[name] for name in members])
    return bool(clusters)


def together(jobs: Sequence[AbstractJob]) -> list[list[AbstractJob]]:
    """Jobs that run as one, once `cluster` has labelled them; a job without a label is alone."""
    clusters: dict[str, list[AbstractJob]] = defaultdict(list)
    for job in jobs:
        clusters[job_name(job)].append(job)
    return list(clusters.values())


def job_name(job: AbstractJob) -> str:
    """What the planner calls the job that runs a job of the abstract workflow."""
    label = _profile(job).get("label")
    return f"{job['name']}_{job['id']}" if label is None else f"merge_{label}"


def _levels(parents: Graph) -> dict[str, int]:
    """Length of the longest way from a first job to each, counted from 1."""
    found: dict[str, int] = {}
    for name in TopologicalSorter(parents).static_order():
        found[name] = 1 + max((found[parent] for parent in parents.get(name, ())), default=0)
    return found


def _profile(job: AbstractJob) -> dict[str, Any]:
    profile: dict[str, Any] = job.get("profiles", {}).get("pegasus", {})
    return profile


def _labels(jobs: Mapping[str, AbstractJob], where: Path) -> dict[str, str]:
    labels = {name: str(label) for name, job in jobs.items() if (label := _profile(job).get("label")) is not None}
    for name, label in labels.items():
        if not _LABEL.fullmatch(label):
            raise WorkflowError(f"{where}: job {name!r}: label {label!r}: letters, digits, _ and - only, at most 100")
    return {name: label for label, members in _by_label(labels).items() if len(members) > 1 for name in members}


def _by_label(labels: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, label in labels.items():
        found[label].append(name)
    return found


def _levels_of_units(parents: Graph, labels: Mapping[str, str], where: Path) -> dict[str, int]:
    """Level of each job, where those of a label are one."""
    units: dict[str, set[str]] = defaultdict(set)
    for name, before in parents.items():
        unit = _unit(name, labels)
        units[unit] |= {_unit(parent, labels) for parent in before} - {unit}
    try:
        found = _levels({unit: sorted(before) for unit, before in units.items()})
    except CycleError as cycle:
        names = " -> ".join(unit.removeprefix("merge_ ") for unit in cycle.args[1])
        raise WorkflowError(
            f"{where}: jobs would wait for each other: {names}; a job between two of a label has to bear it as well"
        ) from None
    return {name: found[_unit(name, labels)] for name in parents}


def _unit(name: str, labels: Mapping[str, str]) -> str:
    return f"merge_ {labels[name]}" if name in labels else name


def _horizontal(
    jobs: Mapping[str, AbstractJob], depths: Mapping[str, int], units: Mapping[str, int], where: Path
) -> dict[str, str]:
    """Labels for the jobs that are clustered by level and transformation.

    A level is that of the clustered graph; jobs of one level whose distance from the beginning differs stay apart, as
    the planner takes no label with a gap.
    """
    groups: dict[tuple[int, str, int], list[str]] = defaultdict(list)
    for name, job in jobs.items():
        if _profile(job).keys() & {_SIZE, _NUMBER}:
            groups[units[name], job["name"], depths[name]].append(name)
    labels: dict[str, str] = {}
    numbers: dict[tuple[int, str], int] = defaultdict(int)
    for (level, transformation, _), names in groups.items():
        for chunk in _chunks(names, _profile(jobs[names[0]]), where):
            numbers[level, transformation] += 1
            if len(chunk) > 1:
                label = f"{transformation}_PID{level}_ID{numbers[level, transformation]}"
                labels |= dict.fromkeys(chunk, re.sub(r"[^\w-]", "_", label, flags=re.ASCII))
    return labels


def _chunks(names: Sequence[str], profile: Mapping[str, Any], where: Path) -> Iterator[list[str]]:
    """Jobs by the number of clusters, which counts first, or by their size; as even as the planner makes them."""
    size, rest = _whole(profile, _SIZE, names[0], where), 0
    if _NUMBER in profile:
        size, rest = divmod(len(names), _whole(profile, _NUMBER, names[0], where))
    remaining = iter(names)
    while chunk := list(islice(remaining, size + (rest > 0))):
        rest -= 1
        yield chunk


def _whole(profile: Mapping[str, Any], key: str, name: str, where: Path) -> int:
    text = str(profile.get(key, 1))
    if not text.isdecimal() or int(text) < 1:
        raise WorkflowError(f"{where}: job {name!r}: {key} is {text!r}, which is no whole number above 0")
    return int(text)


def _check_depths(label: str, depths: Sequence[int], where: Path) -> None:
    """Refuse what the planner refuses (Label.java: "Invalid labelled graph")."""
    for before, after in pairwise(depths):
        if after > before + 1:
            raise WorkflowError(
                f"{where}: label {label!r} has jobs on levels {before} and {after} and none between; Pegasus cannot "
                "cluster them: give the second part another label"
            )


def _relabel(job: AbstractJob, label: str | None) -> None:
    profile = _profile(job)
    for key in ("label", _SIZE, _NUMBER):
        profile.pop(key, None)
    if label is not None:
        profile["label"] = label


def _share(members: Sequence[AbstractJob]) -> None:
    """Let all jobs of a cluster ask for what its widest needs: of most profiles the planner keeps the last one's.

    Times are added up, which means nothing where one of them is not known.
    """
    profiles = [_profile(job) for job in members]
    for key in _WIDEST:
        known = [int(profile[key]) for profile in profiles if key in profile]
        if known:
            for profile in profiles:
                profile[key] = max(known)
    if not all("runtime" in profile for profile in profiles):
        for profile in profiles:
            profile.pop("runtime", None)
            profile.pop("checkpoint.time", None)
