"""What a study of a workflow needs at a site: values of the published scale, time, programs, variables, files."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Scalar
from ..errors import SiteError
from .bundle import build_for, find_source, raw_inputs
from .clusters import together
from .site import Site, _how_to_give, _sources, find_site
from .workflow import WorkflowFolder

LARGE = "hpc"  # the set of resources that goes with the published scale
_RUNTIME = 1800  # [s] that a job is taken to need which nobody says anything of


@dataclass(frozen=True)
class Demands:
    """What a workflow asks for at a site.

    Attributes
    ----------
    site : Site
        The site; variables without a value stand as `unset`.
    unset : dict
        Variable of the site file that has no value yet, to the environment variables that could give one.
    programs : dict
        Transformation to the candidate that the site has, None where it has none.
    values : dict
        Published values of parameters and options, at sites that are large enough for them.
    path_time : float
        Time of the longest chain of jobs, if each takes all that its `runtime` allows [s].
    missing : tuple of str
        Raw inputs that neither the workflow's folder nor the study's own have.
    """

    site: Site
    unset: Mapping[str, tuple[str, ...]]
    programs: Mapping[str, str | None]
    values: Mapping[str, Scalar]
    path_time: float
    missing: tuple[str, ...]


def demands(
    folder: WorkflowFolder,
    site: str,
    relative_to: Path,
    values: Mapping[str, Scalar],
    inputs: Sequence[Path] = (),
) -> Demands:
    """What `folder` asks for at the site that a name or a path means.

    Parameters
    ----------
    folder : WorkflowFolder
        The workflow.
    site : str
        Name or path of the site.
    relative_to : Path
        Where a path of a site starts.
    values : mapping
        What the study sets by itself; the published values come over it.
    inputs : sequence of Path
        The study's own folders with raw input files.

    Raises
    ------
    SiteError
        There is no such site, or its file is wrong.
    WorkflowError, ParameterError
        The workflow cannot be built with these values.
    """
    where, unset = _without_variables(site, relative_to)
    published = folder.spec.published if where.notes.resources == LARGE else {}
    abstract, _ = build_for(folder, where, *folder.values(*folder.split({**values, **published})))
    return Demands(
        site=where,
        unset=unset,
        programs={name: _program(where, folder, name) for name in folder.spec.transformations},
        values=published,
        path_time=_path_time(abstract),
        missing=tuple(lfn for lfn in raw_inputs(abstract) if find_source(folder, lfn, inputs) is None),
    )


def resources_at(site: str, relative_to: Path) -> str:
    """Name of the set of resources that jobs get at the site that a name or a path means.

    Raises
    ------
    SiteError
        There is no such site, or its file is wrong.
    """
    return _without_variables(site, relative_to)[0].notes.resources


def _without_variables(name: str, relative_to: Path) -> tuple[Site, dict[str, tuple[str, ...]]]:
    """The site, whether its variables have values or not, and those that have none."""
    given: dict[str, Scalar] = {}
    while True:
        try:
            return find_site(name, relative_to, given), {each: _sources(each) for each in given}
        except SiteError as problem:
            lacking = unset_variable(str(problem))
            if lacking is None or lacking in given:
                raise
            given[lacking] = "unset"


def unset_variable(message: str) -> str | None:
    """The variable that a site's complaint is about, if it is about one without a value."""
    words = message.partition("variable '")[2].partition("'")[0]
    return words if words and _how_to_give(words) in message else None


def _program(site: Site, folder: WorkflowFolder, name: str) -> str | None:
    candidates = folder.spec.transformations[name].candidates
    return next((candidate.name for candidate in candidates if not site.lacking(candidate)), None)


def _path_time(abstract: Mapping[str, Any]) -> float:
    """Of the executable workflow, where the tasks of a clustered job run one after the other."""
    clusters = together(abstract["jobs"])
    unit = {job["id"]: number for number, members in enumerate(clusters) for job in members}
    before: dict[int, set[int]] = {number: set() for number in range(len(clusters))}
    for edge in abstract.get("jobDependencies", []):
        for child in edge["children"]:
            before[unit[child]] |= {unit[edge["id"]]} - {unit[child]}
    ends: dict[int, float] = {}
    for number in graphlib.TopologicalSorter(before).static_order():
        start = max((ends[parent] for parent in before[number]), default=0.0)
        ends[number] = start + sum(map(_time, clusters[number]))
    return max(ends.values(), default=0.0)


def _time(job: Mapping[str, Any]) -> float:
    return float(job["profiles"]["pegasus"].get("runtime", _RUNTIME))
