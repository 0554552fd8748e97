"""Reads what the planner reads, and refuses what it refuses, in its words.

The keys are those that the readers of Pegasus 5.1.3 take; its schemas allow more in some places (`x-` keys), which
the readers behind them then refuse, and silently lose a replica catalog with a key they do not know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

_PROFILES = "profiles"
_SYSTEM = {"arch", "os.type", "os.release", "os.version"}
_SITE = _SYSTEM | {"name", "directories", "grids", _PROFILES, "x-tags"}
_DIRECTORY = {"type", "path", "sharedFileSystem", "freeSize", "totalSize", "fileServers"}
_SERVER = {"url", "operation", _PROFILES}
_GRID = {"type", "contact", "scheduler", "jobtype", "freeMem", "totalMem", "maxCount", "maxCPUTime", "runningJobs"}
_GRID |= {"jobsInQueue", "idleNodes", "totalNodes"}
_TRANSFORMATION = {"namespace", "name", "version", "requires", "sites", _PROFILES, "hooks", "metadata", "checksum"}
_TRANSFORMATION_SITE = _SYSTEM | {"name", "pfn", "type", "bypass", "container", _PROFILES, "metadata"}
_REPLICA = {"lfn", "pfns", "regex", "checksum", "metadata"}
_PFN = {"site", "pfn"}
_JOB = {"type", "name", "namespace", "version", "id", "nodeLabel", "arguments", "stdin", "stdout", "stderr", "uses"}
_JOB |= {_PROFILES, "metadata", "hooks"}
_USE = {"lfn", "type", "stageOut", "registerReplica", "bypass", "forPlanning", "optional", "metadata", "size"}
_USE |= {"checksum"}
_WORKFLOW = {"pegasus", "name", "jobs", "jobDependencies", "siteCatalog", "replicaCatalog", "transformationCatalog"}
_WORKFLOW |= {"hooks", _PROFILES, "metadata"}
_TC_READER = "edu.isi.pegasus.planner.catalog.transformation.impl.YAML"

Catalog = dict[str, Any]


class PlanError(Exception):
    """The planner's fatal error, with its exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


def read(path: Path) -> Any:
    """Read a YAML file, or one in JSON syntax under whatever name.

    Raises
    ------
    PlanError
        It is missing or malformed.
    """
    if not path.is_file():
        raise PlanError(f"java.lang.RuntimeException: File does not exist or with read bit set to false {path}")
    text = expand(path.read_text(encoding="utf-8"))
    try:
        return msgspec.json.decode(text) if text.lstrip().startswith("{") else yaml.load(text, yaml.CSafeLoader)
    except (msgspec.DecodeError, yaml.YAMLError) as problem:
        raise PlanError(f"java.lang.RuntimeException: Exception while parsing yaml file {path}: {problem}") from None


def expand(text: str) -> str:
    r"""Put environment variables in for `${NAME}`, in whatever case; `\${` stands for itself.

    Raises
    ------
    PlanError
        There is no such variable.
    """
    variables = {key.lower(): value for key, value in os.environ.items()}

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2].lower() not in variables:
            raise PlanError(f"java.lang.RuntimeException: Unable to expand variable {match[2]}")
        return variables[match[2].lower()]

    return re.sub(r"(\\?)\$\{([^}]*)\}", value, text)


def _check(entry: Mapping[str, Any], legal: set[str], element: str, code: int = 1) -> None:
    for key in entry:
        if key not in legal and not (key.startswith("x-") and element in ("workflow", "top")):
            shown = msgspec.json.encode(entry).decode()
            raise PlanError(f"Illegal key {key} for element {element} - {shown}", code)


def _check_profiles(entry: Mapping[str, Any], where: str, code: int) -> None:
    for namespace, profiles in entry.get(_PROFILES, {}).items():
        for key, value in profiles.items() if not namespace.startswith("x-") else ():
            if isinstance(value, bool):
                raise PlanError(f"Error 1:{{{where}.profiles.{namespace}.{key}: boolean found, string expected}}", code)


def sites(path: Path) -> dict[str, Catalog]:
    """The site catalog, by name.

    Raises
    ------
    PlanError
        It has something that the planner does not take.
    """
    catalog = read(path)
    for number, site in enumerate(catalog["sites"]):
        unknown = [key for key in site if key not in _SITE and not key.startswith("x-")]
        if unknown:
            where = f"$.sites[{number}].{unknown[0]}"
            raise PlanError(
                f"Error 1:{{{where}: is not defined in the schema and the schema does not allow additional properties}}"
            )
        _check_profiles(site, f"$.sites[{number}]", 1)
        _check(site, _SITE, "sites")
        for directory in site.get("directories", []):
            _check(directory, _DIRECTORY, "directories")
            for server in directory.get("fileServers", []):
                _check(server, _SERVER, "fileServers")
        for grid in site.get("grids", []):
            _check(grid, _GRID, "grids")
    return {site["name"]: site for site in catalog["sites"]}


def transformations(catalog: Any) -> dict[str, Catalog]:
    """The transformation catalog, by name.

    Raises
    ------
    PlanError
        It has something that the planner does not take.
    """
    for key in catalog:
        if key not in ("pegasus", "transformations", "containers") and not key.startswith("x-"):
            shown = msgspec.json.encode(catalog).decode()
            raise PlanError(f"Illegal key {key} for element transformations - {shown}", 2)
    for number, entry in enumerate(catalog["transformations"]):
        _check(entry, _TRANSFORMATION, "transformations", 2)
        _check_profiles(entry, f"$.transformations[{number}]", 2)
        for place in entry["sites"]:
            if not place.keys() <= _TRANSFORMATION_SITE:
                raise PlanError(f"Invalid static initializer method name for {_TC_READER}", 2)
            _check_profiles(place, f"$.transformations[{number}].sites", 2)
    return {entry["name"]: entry for entry in catalog["transformations"]}


def replicas(path: Path) -> dict[str, list[Catalog]] | None:
    """Where files are, by logical name; None if the catalog is lost: missing, or with any key that is not known."""
    try:
        catalog = read(path)
        for entry in catalog["replicas"]:
            _check(entry, _REPLICA, "replicas")
            for place in entry["pfns"]:
                _check(place, _PFN, "pfns")
    except (PlanError, KeyError, TypeError):
        return None
    return {entry["lfn"]: entry["pfns"] for entry in catalog["replicas"]}


def workflow(path: Path) -> Catalog:
    """The abstract workflow.

    Raises
    ------
    PlanError
        It has something that the planner does not take.
    """
    abstract: Catalog = read(path)
    _check(abstract, _WORKFLOW, "workflow")
    for job in abstract["jobs"]:
        _check(job, _JOB, "jobs")
        for use in job.get("uses") or []:
            _check(use, _USE, "uses")
    return abstract
