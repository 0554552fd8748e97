"""Workflow folders: what a workflow asks for, and how its graph is built from parameters."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..config import Scalar, convert, read_yaml, shared_folder
from ..errors import EnvironmentMissingError, ParameterError, WorkflowError
from ._names import nearest
from .templates import render_text

_TYPES: dict[str, tuple[type, ...]] = {"float": (float, int), "int": (int,), "str": (str,), "bool": (bool,)}
_DEFINING = ("workflow.py", "workflow.yml", "templates", "bin", "data")
_PROPERTY = re.compile(r"(?:pegasus|dagman)\.[\w.-]+", re.ASCII)
_OF_THE_BUNDLE = re.compile(
    r"pegasus\.(?:catalog\..*|data\.configuration|register|gridstart\.kickstart\.set\.xbit"
    r"|transfer\.disable\.chmod\.sites)|dagman\.retry"
)


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One parameter or option of a workflow.

    Attributes
    ----------
    type : str
        Kind of its value.
    default : scalar
        Its value where nobody gives another.
    unit : str
        Unit of the value, empty for none.
    bounds : tuple or None
        Smallest and largest value allowed.
    choices : list or None
        The only values allowed.
    truth : scalar or None
        The value that made the reference data, where that is known.
    about : str
        What it is, in a sentence.
    """

    type: Literal["float", "int", "str", "bool"]
    default: Scalar
    unit: str = ""
    bounds: tuple[float, float] | None = None
    choices: list[Scalar] | None = None
    truth: Scalar | None = None
    about: str = ""


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One program that can do a transformation's work.

    Attributes
    ----------
    program : str or None
        Name of an installed program: looked for in the site's `software`, and on PATH if the site is this machine.
    script : str or None
        A program of the workflow folder's own, as a path below it; its first line begins with `#!` and is replaced by
        the site's Python.
    packages : list of str
        Python modules that the script imports; if one is missing, the next candidate is tried.
    needs : list of str
        Programs of the site that the script starts itself, looked for as `program` is: their folders come first on its
        PATH; if one is missing, the next candidate is tried.
    """

    program: str | None = None
    script: str | None = None
    packages: list[str] = []
    needs: list[str] = []

    @property
    def name(self) -> str:
        """What it is called in records of what ran."""
        return self.program or self.script or "?"


class Transformation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who can do the work of a transformation.

    Attributes
    ----------
    candidates : list of Candidate
        In the order of preference: the first that the site has is used, and `bundle.json` records which.
    """

    candidates: list[Candidate]


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one job needs.

    Attributes
    ----------
    cores : int
        Cores it keeps busy; also its `OMP_NUM_THREADS`.
    memory : int or None
        Memory [MB].
    runtime : int or None
        Longest run time of an attempt [s].
    nodes : int or None
        Nodes of a batch system.
    diskspace : int or None
        Disk [MB].
    """

    cores: int = 1
    memory: int | None = None
    runtime: int | None = None
    nodes: int | None = None
    diskspace: int | None = None


class WorkflowSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workflow.yml, checked.

    Attributes
    ----------
    name, title : str
        What it is called, and what it does.
    transformations : dict
        Name of a transformation to its `Transformation`.
    parameters, options : dict
        Name to a `Parameter`: what Dakota may vary, and what a study sets once.
    resources : dict
        Name of a set (a site chooses one; `local` is usual) to id or transformation of a job to its `Resources`.
    published : dict
        Values of parameters and options at the scale that was published.
    properties : dict
        Properties of Pegasus (`pegasus.NAME` or `dagman.NAME`), each a template over parameters and options; one that
        comes out empty is left out.
    """

    name: str
    title: str
    transformations: dict[str, Transformation]
    parameters: dict[str, Parameter] = {}
    options: dict[str, Parameter] = {}
    resources: dict[str, dict[str, Resources]] = {}
    published: dict[str, Scalar] = {}
    properties: dict[str, Scalar] = {}


class WorkflowFolder:
    """A workflow folder on disk.

    Parameters
    ----------
    path : Path
        The folder that holds workflow.yml and workflow.py.

    Raises
    ------
    WorkflowError
        workflow.yml is missing or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = convert(
            read_yaml(path / "workflow.yml", WorkflowError), WorkflowSpec, path / "workflow.yml", WorkflowError
        )
        self._check()
        self.stamp = _stamp(path)
        self.digest = _digest(path)
        self._build: Callable[..., Any] | None = None

    @property
    def stale(self) -> bool:
        """Whether a file that defines the workflow has changed since it was read."""
        return _stamp(self.path) != self.stamp

    def _check(self) -> None:
        where = self.path / "workflow.yml"
        known = self.spec.parameters | self.spec.options
        for name, value in self.spec.published.items():
            if name not in known:
                raise WorkflowError(f"{where}: published: no parameter or option {name!r}; {nearest(name, known)}")
            try:
                _value("published", name, value, known[name])
            except ParameterError as problem:
                raise WorkflowError(f"{where}: {problem}") from None
        for key in self.spec.properties:
            if not _PROPERTY.fullmatch(key):
                raise WorkflowError(f"{where}: properties: {key!r} is no property pegasus.NAME or dagman.NAME")
            if _OF_THE_BUNDLE.fullmatch(key):
                raise WorkflowError(
                    f"{where}: properties: {key!r} is the bundle's own, from site and study; leave it out"
                )

    def properties(self, values: Mapping[str, Scalar]) -> dict[str, str]:
        """Properties of Pegasus for parameters and options `values`; those that come out empty are left out.

        Raises
        ------
        WorkflowError
            A template fails, or gives more than one line.
        """
        found = {}
        for key, template in self.spec.properties.items():
            where = self.path / f"workflow.yml: properties: {key}"
            text = render_text(str(template), values, where, WorkflowError).strip()
            if not text.isprintable():
                raise WorkflowError(f"{where}: {text!r}: a value is one line of printable characters")
            found[key] = text
        return {key: text for key, text in found.items() if text}

    def split(self, values: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """Values by name as parameters and options; what is neither is left among the parameters, to be refused."""
        options = {name: value for name, value in values.items() if name in self.spec.options}
        return {name: value for name, value in values.items() if name not in options}, options

    def values(
        self, parameters: Mapping[str, Scalar], options: Mapping[str, Scalar]
    ) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """Parameters and options, checked and completed by their defaults.

        Raises
        ------
        ParameterError
            One is unknown, of the wrong type, or out of its bounds.
        """
        where = self.path / "workflow.yml"
        return (
            _checked("parameter", self.spec.parameters, parameters, where),
            _checked("option", self.spec.options, options, where),
        )

    def build(self, parameters: Mapping[str, Scalar], options: Mapping[str, Scalar]) -> dict[str, Any]:
        """The abstract workflow (schema of Pegasus 5.0) that workflow.py builds, as plain data.

        Raises
        ------
        WorkflowError
            workflow.py has no `build`, or it fails.
        """
        if self._build is None:
            self._build = self._load_build()
        try:
            return plain(self._build(parameters, options))
        except Exception as problem:  # a user's own code may raise anything
            raise WorkflowError(
                f"{self.path / 'workflow.py'}: build({dict(parameters)}, ...): {type(problem).__name__}: {problem}"
            ) from problem

    def _load_build(self) -> Callable[..., Any]:
        path = self.path / "workflow.py"
        spec = importlib.util.spec_from_file_location(f"_panorama_workflow_{self.digest}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise WorkflowError(f"{path}: no such file; a workflow folder needs it")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look for the names in their annotations
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError as problem:
            raise EnvironmentMissingError(f"{path} imports {problem.name}, which is not installed here") from problem
        except Exception as problem:  # a user's own code may raise anything
            raise WorkflowError(f"{path}: {type(problem).__name__}: {problem}") from problem
        if not hasattr(module, "build"):
            raise WorkflowError(f"{path}: no function build(parameters, options)")
        build: Callable[..., Any] = module.build
        return build


def plain(workflow: Any) -> dict[str, Any]:
    """What `Pegasus.api.Workflow.write` writes, as plain data.

    `write` goes through JSON twice and then through YAML, which takes seconds for 10,000 jobs; the planner takes JSON.
    """
    if workflow._has_subworkflow_jobs:
        raise WorkflowError("a job that is itself a workflow cannot be watched; put its jobs into this one")
    workflow._infer_dependencies()
    encoded = msgspec.json.encode(workflow.__json__(), enc_hook=_own_json)
    abstract: dict[str, Any] = msgspec.json.decode(encoded)
    return abstract


def _own_json(thing: Any) -> Any:
    """What Pegasus.api's classes are in JSON; paths are texts."""
    return thing.__json__() if hasattr(thing, "__json__") else str(thing)


def find_workflow(name: str, relative_to: Path) -> WorkflowFolder:
    """The workflow folder that a name or a path means.

    Raises
    ------
    WorkflowError
        There is none.
    """
    given = (relative_to / Path(name).expanduser()).resolve()
    shipped = shared_folder("workflows")
    if (given / "workflow.yml").is_file():
        return WorkflowFolder(given)
    if os.sep not in name and (shipped / name / "workflow.yml").is_file():
        return WorkflowFolder(shipped / name)
    raise WorkflowError(f"workflow {name!r}: no folder {given} with a workflow.yml; {nearest(name, workflow_names())}")


def workflow_names() -> list[str]:
    """Names of the workflows that come with the package."""
    return sorted(path.parent.name for path in shared_folder("workflows").glob("*/workflow.yml"))


def _checked(what: str, known: Mapping[str, Parameter], given: Mapping[str, Scalar], where: Path) -> dict[str, Scalar]:
    for name in given:
        if name not in known:
            raise ParameterError(f"{what} {name!r} is not in {where}; {nearest(name, known)}")
    return {name: _value(what, name, given.get(name, spec.default), spec) for name, spec in known.items()}


def _value(what: str, name: str, value: Scalar, spec: Parameter) -> Scalar:
    if spec.type == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if spec.type == "str" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # to YAML, and to `--set`, the text 20 is a number
    if not isinstance(value, _TYPES[spec.type]) or (isinstance(value, bool) and spec.type != "bool"):
        raise ParameterError(f"{what} {name!r} is {value!r}; it must be of type {spec.type}")
    unit = f" {spec.unit}" if spec.unit else ""
    if spec.bounds and not isinstance(value, str) and not spec.bounds[0] <= value <= spec.bounds[1]:
        low, high = spec.bounds
        raise ParameterError(f"{what} {name!r} is {value!r}{unit}, out of its bounds {low:g} to {high:g}{unit}")
    if spec.choices is not None and value not in spec.choices:
        raise ParameterError(f"{what} {name!r} is {value!r}; it must be one of {', '.join(map(str, spec.choices))}")
    return float(value) if spec.type == "float" else value


def _files(path: Path) -> Iterator[Path]:
    for name in _DEFINING:
        yield from (p for p in [path / name, *sorted((path / name).rglob("*"))] if p.is_file())


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    return tuple((str(p), s.st_mtime_ns, s.st_size) for p in _files(path) for s in [p.stat()])


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    for file in _files(path):
        if "__pycache__" not in file.parts:
            content = file.read_bytes()
            whole.update(f"{file.relative_to(path)}\0{len(content)}\0".encode())
            whole.update(content)
    return whole.hexdigest()[:16]
