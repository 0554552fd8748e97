"""A bundle: one directory that the Pegasus planner takes as it is, and that the embedded engine runs.

workflow.yml sites.yml transformations.yml replicas.yml pegasus.properties   what the planner reads (JSON is YAML)
inputs/  bin/      rendered and copied input files; our own programs that the jobs run. What a study's own folders of
                   inputs have is read where it is.
plan.sh            plans it by hand or for the Ensemble Manager
bundle.json        where it all came from: parameters, site, which program does each transformation
run/  output/      made when it runs
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..config import BUNDLE, Monitoring, Scalar
from ..errors import WorkflowError
from . import monitoring as _monitoring
from .clusters import cluster
from .plan import plan_script
from .site import Site, SiteNotes
from .templates import read_text, render_text
from .workflow import Candidate, Resources, WorkflowFolder

_EARLY_END = 300  # [s] Pegasus ends a job of a longer run time five minutes early, one of 310 s after 10 s, unless told
_PYTHON = "/usr/bin/python3"
_DOCSTRING = re.compile(r"""((?:[ \t]*(?:#[^\n]*)?\n)*)[rRuU]?(\"{3}|'{3})""")
_PLAIN_PATH = re.compile(r"[\w./+,:@=~-]+", re.ASCII)
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
    inputs: Sequence[Path] = (),
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
    inputs : sequence of Path
        Folders with raw input files, searched after the workflow's templates/ and before its data/; what is found there
        is used where it is.

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
    abstract, clustered = build_for(folder, site, parameters, options, watched=monitoring is not None)
    chosen = {
        name: site.choose(name, folder.spec.transformations[name].candidates)
        for name in _transformations(abstract, folder)
    }
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
    values = {**options, **parameters}
    replicas = _inputs(folder, abstract, values, directory, site, inputs)
    if monitoring is not None:
        _monitoring.enable(abstract, site, monitoring, planner)
        _monitoring.provide_probe(directory / "inputs")
        replicas.append(_replica(_monitoring.PROBE_FILE, site, _own_path(_monitoring.PROBE_FILE)))
    _stdin_last(abstract)
    write_json(directory / "workflow.yml", abstract)
    write_json(directory / "sites.yml", _monitoring.with_published_transfers(site.catalog(BUNDLE), planner))
    write_json(directory / "transformations.yml", _transformation_catalog(folder, site, chosen, directory))
    write_json(directory / "replicas.yml", {"pegasus": "5.0", "replicas": replicas})
    (directory / "pegasus.properties").write_text(
        _properties(site, monitoring, folder.properties(values)), encoding="utf-8"
    )
    _write_program(directory / "plan.sh", plan_script(site, monitoring, clustered))
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


def build_for(
    folder: WorkflowFolder,
    site: Site,
    parameters: Mapping[str, Scalar],
    options: Mapping[str, Scalar],
    *,
    watched: bool = True,
) -> tuple[dict[str, Any], bool]:
    """The abstract workflow with what its jobs need at a site, and whether some of them run as one.

    Raises
    ------
    WorkflowError
        It cannot be built, or no engine could run it.
    """
    abstract = folder.build(parameters, options)
    check_jobs(abstract, folder)
    _give_resources(abstract, folder.spec.resources.get(site.notes.resources, {}))
    if watched:
        _give_defaults(abstract, site.notes)
    clustered = cluster(abstract, folder.path / "workflow.py")
    if watched:
        _give_threads(abstract, site.notes)
    return abstract, clustered


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


def _give_threads(abstract: dict[str, Any], notes: SiteNotes) -> None:
    """Say what a job's cores come to: its threads, and nodes of a batch system."""
    for job in abstract["jobs"]:
        profile = job["profiles"]["pegasus"]
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


def raw_inputs(abstract: Mapping[str, Any]) -> list[str]:
    """Files that jobs read and none makes."""
    uses = [use for job in abstract["jobs"] for use in job.get("uses", [])]
    made = {use["lfn"] for use in uses if use["type"] == "output"}
    return list(dict.fromkeys(use["lfn"] for use in uses if use["type"] == "input" and use["lfn"] not in made))


def _inputs(
    folder: WorkflowFolder,
    abstract: dict[str, Any],
    variables: Mapping[str, Any],
    directory: Path,
    site: Site,
    inputs: Sequence[Path],
) -> list[dict[str, Any]]:
    lfns = raw_inputs(abstract)
    return [_replica(lfn, site, _provide(folder, lfn, variables, directory, inputs)) for lfn in lfns]


def _replica(lfn: str, site: Site, path: str) -> dict[str, Any]:
    return {"lfn": lfn, "pfns": [{"site": "local", "pfn": f"{_server(site)}{path}"}]}


def _own_path(lfn: str) -> str:
    """Path in a catalog of an input file that is in the bundle; nothing of Pegasus decodes one of `%41`."""
    return f"{BUNDLE}/inputs/{lfn}"


def _provide(
    folder: WorkflowFolder, lfn: str, variables: Mapping[str, Any], directory: Path, inputs: Sequence[Path]
) -> str:
    """Put a raw input into the bundle, unless it is one of the study's own; gives its path as it stands in a catalog.

    pegasus-transfer puts in environment variables for every `$NAME` of a path, and cannot be told not to; a file with a
    path like that is linked to from the bundle.
    """
    source, target = find_source(folder, lfn, inputs), directory / "inputs" / lfn
    if source is None:
        looked = ", ".join(map(str, (folder.path / "templates", *inputs, folder.path / "data")))
        raise WorkflowError(f"{folder.path}: a job needs the file {lfn!r}, which is in none of {looked}")
    ours = next((kind for kind in ("templates", "data") if source.is_relative_to(folder.path / kind)), "")
    target.unlink(missing_ok=True)  # of an earlier rendering; to write through a link would change the user's file
    if not ours and _PLAIN_PATH.fullmatch(str(source)):
        return str(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if ours == "templates":
        text = read_text(source, WorkflowError)
        target.write_text(render_text(text, variables, source, WorkflowError), encoding="utf-8")
    elif ours == "data":
        shutil.copyfile(source, target)
    else:
        target.symlink_to(source)
    return _own_path(lfn)


def find_source(folder: WorkflowFolder, lfn: str, inputs: Sequence[Path] = ()) -> Path | None:
    """Where a raw input is: a template, a file of the study's own folders, or one that comes with the workflow."""
    templates, data = folder.path / "templates", folder.path / "data"
    places = (templates / f"{lfn}.j2", templates / lfn, *(path / lfn for path in inputs), data / lfn)
    return next((place for place in places if place.is_file()), None)


def check_jobs(abstract: Mapping[str, Any], folder: WorkflowFolder) -> None:
    """Refuse what no engine could run, of all that build() may make.

    Raises
    ------
    WorkflowError
        A file name leads out of the bundle; a job's name is no file name, as records are called so; it needs what is no
        number; or a dependency is on a job that the workflow does not have.
    """
    where = folder.path / "workflow.py"
    for job in abstract["jobs"]:
        _check_names(job, where)
        _check_needs(job, where)
    known = {job["id"] for job in abstract["jobs"]}
    for edge in abstract.get("jobDependencies", []):
        for name in (edge["id"], *edge["children"]):
            if name not in known:
                raise WorkflowError(
                    f"{where}: a dependency names job {name!r}, which is not there: give it to add_jobs"
                )


def _check_names(job: Mapping[str, Any], where: Path) -> None:
    streams = [job[name] for name in ("stdin", "stdout", "stderr") if name in job]
    for name in [use["lfn"] for use in job.get("uses", [])] + streams:
        if not name or os.path.isabs(name) or ".." in name.split("/"):
            raise WorkflowError(f"{where}: file name {name!r} leads out of the bundle")
    for name in (job["id"], job["name"]):
        if "/" in name:
            raise WorkflowError(f"{where}: job {name!r}: its name may not have a '/'")


def _check_needs(job: Mapping[str, Any], where: Path) -> None:
    profile = job.get("profiles", {}).get("pegasus", {})
    for key in filter(profile.__contains__, Resources.__struct_fields__):
        try:
            profile[key] = msgspec.convert(profile[key], int, strict=False)
        except msgspec.ValidationError:
            raise WorkflowError(
                f"{where}: job {job['id']!r}: {key} is {profile[key]!r}, which is no whole number"
            ) from None


def _transformation_catalog(
    folder: WorkflowFolder, site: Site, chosen: Mapping[str, tuple[Candidate, str]], directory: Path
) -> dict[str, Any]:
    catalog = []
    for name, (candidate, found) in chosen.items():
        if candidate.script is None:
            entry = {"name": site.notes.execution, "pfn": found, "type": "installed"}
        else:
            elsewhere = site.notes.python is None and not site.notes.this_machine
            path = list(dict.fromkeys(filter(None, (os.path.dirname(site.program(n) or "") for n in candidate.needs))))
            text = read_text(folder.path / candidate.script, WorkflowError)
            program = _started_by(found, text, path, elsewhere=elsewhere)
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


def _started_by(interpreter: str, text: str, path: Sequence[str] = (), *, elsewhere: bool = False) -> str | None:
    """A program of ours as `interpreter` runs it; None where it has no first line that says what does.

    Where the path is too long or has blanks, sh starts it, and for a worker `elsewhere`, which may not have it and then
    takes its own Python; also where folders shall come first on its PATH, since it starts programs of the site. What sh
    reads stands in the docstring: nothing else may come before `from __future__`.
    """
    first, _, rest = text.partition("\n")
    if not first.startswith("#!"):
        return None
    if not elsewhere and not path and " " not in interpreter and len(interpreter) < 120:
        return f"#!{interpreter}\n{rest}"
    chosen = f"$(command -v '{interpreter}' || echo {_PYTHON})" if elsewhere else interpreter
    match = _DOCSTRING.match(rest)
    before, quotes, after = (match[1], match[2], rest[match.end() :]) if match else ("", '"""', f'"""\n{rest}')
    search = f"PATH={shlex.quote(':'.join(path))}${{PATH:+:$PATH}}; "
    first = f"export{quotes[0]} {search}exec" if path else f"exec{quotes[0]}"
    return f'#!/bin/sh\n{before}{quotes}{first} "{chosen}" "$0" "$@"\n{after}'


def _properties(site: Site, monitoring: Monitoring | None, own: Mapping[str, str]) -> str:
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
    lines += [f"{key} = {value}\n" for key, value in own.items()]
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
