"""A bundle: one directory that the Pegasus planner takes as it is, and that the embedded engine runs.

workflow.yml sites.yml transformations.yml replicas.yml pegasus.properties   what the planner reads (JSON is YAML)
inputs/  bin/      rendered and copied input files; our own programs that the jobs run
plan.sh            plans it by hand or for the Ensemble Manager
bundle.json        where it all came from: parameters, site, which program does each transformation
run/  output/      made when it runs
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from .. import __version__
from ..config import BUNDLE, Monitoring, Scalar
from ..errors import WorkflowError
from . import monitoring as _monitoring
from .plan import plan_script
from .site import Site, SiteNotes
from .templates import read_text, render_text
from .workflow import Candidate, Resources, WorkflowFolder

_EARLY_END = 300  # [s] Pegasus ends a job of a longer run time five minutes early, one of 310 s after 10 s, unless told
_PYTHON = "/usr/bin/python3"
_DOCSTRING = re.compile(r"""((?:[ \t]*(?:#[^\n]*)?\n)*)[rRuU]?(\"{3}|'{3})""")
_LEAST_MEMORY = 128  # [MB] that kickstart, PegasusLite and the probe need beside the smallest program
_GRACE = 10  # [s] that it wants between TERM and the end


class Bundle(msgspec.Struct, frozen=True):
    """Where a bundle came from; written to bundle.json.

    Attributes
    ----------
    path : str
        The directory.
    workflow, workflow_path, workflow_digest : str
        Name of the workflow, its folder, and a hash of what defines it.
    site, execution : str
        Name of the site file, and of the site in its catalog that runs the jobs.
    parameters, options : dict
        Every value, defaults included.
    programs : dict
        Transformation to the candidate that does its work at this site.
    version : str
        Of panorama-driver.
    """

    path: str
    workflow: str
    workflow_path: str
    workflow_digest: str
    site: str
    execution: str
    parameters: dict[str, Scalar]
    options: dict[str, Scalar]
    programs: dict[str, str]
    version: str = __version__


def render(
    folder: WorkflowFolder,
    site: Site,
    parameters: Mapping[str, Scalar],
    options: Mapping[str, Scalar],
    directory: Path,
    monitoring: Monitoring | None = None,
    planner: str = "",
) -> Bundle:
    """Write the bundle of one parameter set.

    Parameters
    ----------
    folder, site : WorkflowFolder, Site
        What to run, and where.
    parameters, options : mapping
        Values by name; what is not given has its default.
    directory : Path
        Where to write; made if it is missing, files of an earlier rendering are replaced.
    monitoring : Monitoring or None
        How Pegasus shall have the jobs watched; None leaves that to the embedded engine, which does it by itself.
    planner : str
        What `pegasus-version` says, where it matters.

    Raises
    ------
    ParameterError
        A value is unknown, of the wrong type or out of bounds.
    WorkflowError
        The workflow uses a file or a transformation that its folder does not have.
    EnvironmentMissingError
        The site has no program for a transformation.
    """
    parameters, options = folder.values(parameters, options)
    directory = directory.resolve()
    abstract = folder.build(parameters, options)
    _check_names(abstract, folder)
    chosen = {
        name: site.choose(name, folder.spec.transformations[name].candidates)
        for name in _transformations(abstract, folder)
    }
    _give_resources(abstract, folder.spec.resources.get(site.notes.resources, {}))
    if monitoring is not None:
        _give_defaults(abstract, site.notes)
    bundle = Bundle(
        path=str(directory),
        workflow=folder.spec.name,
        workflow_path=str(folder.path),
        workflow_digest=folder.digest,
        site=site.name,
        execution=site.notes.execution,
        parameters=parameters,
        options=options,
        programs={name: candidate.name for name, (candidate, _) in chosen.items()},
    )
    (directory / "inputs").mkdir(parents=True, exist_ok=True)
    (directory / "bundle.json").unlink(missing_ok=True)  # written last: a bundle that has it is whole
    replicas = _inputs(folder, abstract, {**options, **parameters}, directory, site)
    if monitoring is not None:
        _monitoring.enable(abstract, site, monitoring, planner)
        _monitoring.provide_probe(directory / "inputs")
        replicas.append(_replica(_monitoring.PROBE_FILE, site))
    _stdin_last(abstract)
    write_json(directory / "workflow.yml", abstract)
    write_json(directory / "sites.yml", _monitoring.with_published_transfers(site.catalog(BUNDLE), planner))
    write_json(directory / "transformations.yml", _transformation_catalog(folder, site, chosen, directory))
    write_json(directory / "replicas.yml", {"pegasus": "5.0", "replicas": replicas})
    (directory / "pegasus.properties").write_text(_properties(site, monitoring), encoding="utf-8")
    _write_program(directory / "plan.sh", plan_script(site, monitoring))
    write_json(directory / "bundle.json", bundle)
    return bundle


def load_bundle(directory: Path) -> Bundle:
    """Read bundle.json of a directory that `render` wrote.

    Raises
    ------
    WorkflowError
        The directory is no bundle.
    """
    path = directory / "bundle.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bundle)
    except (OSError, msgspec.DecodeError) as problem:
        raise WorkflowError(f"{path}: not a bundle that can be run: {problem}; render it again") from None


def _transformations(abstract: dict[str, Any], folder: WorkflowFolder) -> list[str]:
    names = list(dict.fromkeys(job["name"] for job in abstract["jobs"]))
    for name in names:
        if name not in folder.spec.transformations:
            raise WorkflowError(
                f"{folder.path / 'workflow.yml'}: no transformation {name!r}, which a job of workflow.py uses"
            )
    return names


def _give_resources(abstract: dict[str, Any], table: Mapping[str, Resources]) -> None:
    """Put cores, memory and run time on the jobs; on nothing else, since Pegasus lets site and transformation win.

    A job that the table does not name keeps what workflow.py gave it.
    """
    for job in abstract["jobs"]:
        profile = job.setdefault("profiles", {}).setdefault("pegasus", {})
        needs = table.get(job["id"]) or table.get(job["name"])
        if needs is not None:
            profile |= {key: value for key, value in msgspec.structs.asdict(needs).items() if value is not None}
        profile.setdefault("cores", Resources().cores)


def _give_defaults(abstract: dict[str, Any], notes: SiteNotes) -> None:
    """Say what every job needs: Pegasus' own 2048 MB and 5120 MB of disk leave it idle for ever on smaller slots."""
    known = {key: value for key, value in msgspec.structs.asdict(notes.defaults).items() if value is not None}
    for job in abstract["jobs"]:
        profile = job["profiles"]["pegasus"] = known | job["profiles"]["pegasus"]
        profile["memory"] = max(_LEAST_MEMORY, profile["memory"])
        if profile.get("runtime", 0) >= _EARLY_END:
            profile.setdefault("checkpoint.time", (profile["runtime"] - _GRACE) // 60)  # [min]
        job["profiles"]["env"] = {"OMP_NUM_THREADS": str(profile["cores"])} | job["profiles"].get("env", {})
        if notes.node_cores:
            profile.setdefault("nodes", math.ceil(profile["cores"] / notes.node_cores))


def _stdin_last(abstract: dict[str, Any]) -> None:
    """Write `stdin` after `uses`: Pegasus 5.1's planner forgets one that comes before, as its own Python API has it.

    Its Job.java lacks a break there; the job would read nothing, and nobody would say so.
    """
    for job in abstract["jobs"]:
        if "stdin" in job:
            job["stdin"] = job.pop("stdin")


def _raw_inputs(abstract: dict[str, Any]) -> list[str]:
    uses = [use for job in abstract["jobs"] for use in job.get("uses", [])]
    made = {use["lfn"] for use in uses if use["type"] == "output"}
    return list(dict.fromkeys(use["lfn"] for use in uses if use["type"] == "input" and use["lfn"] not in made))


def _inputs(
    folder: WorkflowFolder, abstract: dict[str, Any], variables: Mapping[str, Any], directory: Path, site: Site
) -> list[dict[str, Any]]:
    replicas = []
    for lfn in _raw_inputs(abstract):
        target = directory / "inputs" / lfn
        target.parent.mkdir(parents=True, exist_ok=True)
        _provide(folder, lfn, variables, target)
        replicas.append(_replica(lfn, site))
    return replicas


def _replica(lfn: str, site: Site) -> dict[str, Any]:
    server = _server(site)
    return {"lfn": lfn, "pfns": [{"site": "local", "pfn": f"{server}{BUNDLE}/inputs/{quote(lfn)}"}]}


def _provide(folder: WorkflowFolder, lfn: str, variables: Mapping[str, Any], target: Path) -> None:
    for template in (folder.path / "templates" / f"{lfn}.j2", folder.path / "templates" / lfn):
        if template.is_file():
            text = read_text(template, WorkflowError)
            target.write_text(render_text(text, variables, template, WorkflowError), encoding="utf-8")
            return
    data = folder.path / "data" / lfn
    if not data.is_file():
        raise WorkflowError(f"{folder.path}: a job needs the file {lfn!r}, which is neither in templates/ nor in data/")
    shutil.copyfile(data, target)


def _check_names(abstract: dict[str, Any], folder: WorkflowFolder) -> None:
    """Refuse file names that lead out of the bundle, and job names that are no file names: records are called so."""
    for job in abstract["jobs"]:
        streams = [job[name] for name in ("stdin", "stdout", "stderr") if name in job]
        for name in [use["lfn"] for use in job.get("uses", [])] + streams:
            if not name or os.path.isabs(name) or ".." in name.split("/"):
                raise WorkflowError(f"{folder.path / 'workflow.py'}: file name {name!r} leads out of the bundle")
        for name in (job["id"], job["name"]):
            if "/" in name:
                raise WorkflowError(f"{folder.path / 'workflow.py'}: job {name!r}: its name may not have a '/'")


def _transformation_catalog(
    folder: WorkflowFolder, site: Site, chosen: Mapping[str, tuple[Candidate, str]], directory: Path
) -> dict[str, Any]:
    catalog = []
    for name, (candidate, found) in chosen.items():
        if candidate.script is None:
            entry = {"name": site.notes.execution, "pfn": found, "type": "installed"}
        else:
            elsewhere = site.notes.python is None and not site.notes.this_machine
            program = _started_by(found, read_text(folder.path / candidate.script, WorkflowError), elsewhere=elsewhere)
            if program is None:
                raise WorkflowError(f"{folder.path / candidate.script}:1: a program starts with #!/usr/bin/env python3")
            _write_program(directory / "bin" / name, program)
            # A program of ours lives on the submit host; a shared file system lets the site run it from there.
            kind = "installed" if site.notes.this_machine else "stageable"
            where = site.notes.execution if site.notes.this_machine else "local"
            entry = {"name": where, "pfn": f"{_server(site)}{BUNDLE}/bin/{name}", "type": kind}
        entry |= site.system  # the planner maps a program only to a site of its own kind
        catalog.append({"name": name, "sites": [entry]})
    return {"pegasus": "5.0", "transformations": catalog}


def _server(site: Site) -> str:
    return f"go://{site.notes.globus}" if site.notes.globus else "file://"


def _started_by(interpreter: str, text: str, *, elsewhere: bool = False) -> str | None:
    """A program of ours as `interpreter` runs it; None where it has no first line that says what does.

    Where the path is too long or has blanks, sh starts it, and for a worker `elsewhere`, which may not have it and then
    takes its own Python. What sh reads stands in the docstring: nothing else may come before `from __future__`.
    """
    first, _, rest = text.partition("\n")
    if not first.startswith("#!"):
        return None
    if not elsewhere and " " not in interpreter and len(interpreter) < 120:
        return f"#!{interpreter}\n{rest}"
    chosen = f"$(command -v '{interpreter}' || echo {_PYTHON})" if elsewhere else interpreter
    match = _DOCSTRING.match(rest)
    before, quotes, after = (match[1], match[2], rest[match.end() :]) if match else ("", '"""', f'"""\n{rest}')
    return f'#!/bin/sh\n{before}{quotes}exec{quotes[0]} "{chosen}" "$0" "$@"\n{after}'


def _properties(site: Site, monitoring: Monitoring | None) -> str:
    lines = [
        "pegasus.catalog.site.file = sites.yml\n",
        "pegasus.catalog.transformation.file = transformations.yml\n",
        "pegasus.catalog.replica.file = replicas.yml\n",
        f"pegasus.data.configuration = {site.notes.data_configuration}\n",
        "pegasus.register = false\n",
        f"dagman.retry = {site.notes.retries}\n",
    ]
    if site.notes.data_configuration == "sharedfs" and not site.notes.this_machine:
        # kickstart makes our programs executable; the planner's own chmod jobs run on this machine, which may not reach
        # the site's scratch
        lines += [
            "pegasus.gridstart.kickstart.set.xbit = true\n",
            f"pegasus.transfer.disable.chmod.sites = {site.notes.execution}\n",
        ]
    return "".join([*lines, *(_monitoring.broker_properties(monitoring) if monitoring else [])])


def write_json(path: Path, value: Any) -> None:
    """Write a file of a bundle.

    The planner puts environment variables in for every `${NAME}` of a file's text, a job's arguments included, and
    fails where there is none; so a `$` that is not ours is spelled in the way that only a reader of JSON knows.
    """
    text = msgspec.json.format(msgspec.json.encode(value), indent=1)
    text = text.replace(b"${", b"\\u0024{").replace(BUNDLE.encode().replace(b"$", b"\\u0024"), BUNDLE.encode())
    path.write_bytes(text + b"\n")


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
