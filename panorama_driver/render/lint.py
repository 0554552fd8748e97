"""Looks a workflow folder through and tells, before anything runs, what is wrong with it and what to do.

The workflow is built, and its templates are rendered, at its defaults, at its published values, at the ends of each
parameter's range and at corners of them all. No job is run, and nothing is written into the folder.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..config import Scalar, spell
from ..errors import ParameterError, SiteError, WorkflowError
from ._names import nearest
from ._trials import Point, Problem, Trial, trials
from .site import Site, find_site
from .workflow import Candidate, Parameter, WorkflowFolder, _value

__all__ = ["Finding", "Point", "Report", "check", "key_lines", "line_of"]

Level = Literal["error", "warning", "note"]
_MOST = 64  # points at which a workflow is built
_DEEPEST = 4  # keys that lead to another in workflow.yml and study.yml; YAML itself may go round in circles
_SHOWN = 3  # names of many that have the same trouble
_JOB_NAME = re.compile(r"[\w.+-]+", re.ASCII)
_PYTHON = re.compile(r"#!.*\bpython[0-9.]*\b")
_ABOUT_THE_FOLDER = re.compile(r"(README|LICEN[CS]E|NOTICE|COPYING|ORIGIN)\b.*|\..*", re.IGNORECASE)
_KEYS = re.compile(r"'\$((?:\.[\w-]+|\[[^]]*\])+)'|(?<!\w)(published|properties)\b")
_STRANGER = re.compile(r"unknown field '([^']+)'")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to change or to know about a workflow folder.

    Attributes
    ----------
    path, line
        Where: a file of the folder, and its line counted from 1, None where it is of no line.
    level
        `error`: some evaluation cannot run; `warning`: something does not do what it seems to; `note`: good to know.
    keyword
        What it is about: a key, a parameter, a job, a file.
    message
        What is wrong, and what to do.
    """

    path: Path
    line: int | None
    level: Level
    keyword: str
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.level}: {self.keyword}: {self.message}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at a workflow folder has found.

    Attributes
    ----------
    findings
        All that is wrong, or worth knowing.
    trials
        What the workflow came to at each point where it was built.
    """

    findings: list[Finding]
    trials: list[Trial]

    def staged(self, name: str) -> dict[str, bool] | None:
        """Files that jobs make at a point, by its name, and whether they go to `output/`; None if it was not built."""
        for trial in self.trials:
            if trial.point.name == name and trial.abstract is not None:
                return {use["lfn"]: bool(use.get("stageOut")) for _, use in _uses(trial.abstract, "output")}
        return None


def check(path: Path, studies: Sequence[Point] = ()) -> Report:
    """Look a workflow folder through.

    Parameters
    ----------
    path : Path
        The folder.
    studies : sequence of Point
        Values that its studies give to parameters and options, where it is built too.

    Returns
    -------
    Report
        Findings in the order of files and lines.
    """
    path = path.resolve()
    try:
        folder = WorkflowFolder(path)
    except WorkflowError as problem:
        return Report([_of_spec(path / "workflow.yml", str(problem))], [])
    look = _Look(folder, studies)
    findings = list(dict.fromkeys(finding for each in _CHECKS for finding in each(look)))
    return Report(sorted(findings, key=lambda f: (_LEVELS.index(f.level), str(f.path), f.line or 0)), look.trials)


class _Look:
    """A folder with all that the checks need to know of it."""

    def __init__(self, folder: WorkflowFolder, studies: Sequence[Point]) -> None:
        self.path = folder.path
        self.spec = folder.spec
        self.known: dict[str, Parameter] = folder.spec.parameters | folder.spec.options
        self.file = folder.path / "workflow.yml"
        self.program = folder.path / "workflow.py"
        self.lines = key_lines(self.file)
        self.points = [*itertools.islice(_points(folder, studies), _MOST)]

    @cached_property
    def trials(self) -> list[Trial]:
        """The workflow at every point, or as far as it could be built."""
        return list(trials(self.path, self.points))

    @property
    def built(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.abstract is not None]

    @cached_property
    def jobs(self) -> set[str]:
        """Ids of all jobs, at whatever values."""
        return {job["id"] for trial in self.built for job in _jobs(trial)}

    @cached_property
    def steps(self) -> set[str]:
        """Transformations that jobs use, at whatever values."""
        return {job["name"] for trial in self.built for job in _jobs(trial)}

    def at(self, level: Level, keys: tuple[str, ...], message: str, name: str = "") -> Finding:
        """A finding at a key of workflow.yml."""
        return Finding(self.file, line_of(self.lines, keys), level, name or ".".join(keys), message)


def _points(folder: WorkflowFolder, studies: Sequence[Point]) -> Iterator[Point]:
    """Where to build: the defaults first, then what somebody asked for, then what is only allowed."""
    yield Point("default", "the defaults")
    yield from studies
    if folder.spec.published:
        yield Point("published", "the published values", folder.spec.published)
    known = folder.spec.parameters | folder.spec.options
    for name, parameter in known.items():
        for value in _others(parameter):
            yield _point("single" if _vouched(parameter) else "guess", {name: value})
    ends = {name: _ends(parameter) for name, parameter in folder.spec.parameters.items() if len(_ends(parameter)) > 1}
    if len(ends) > 1:
        for corner in itertools.product(*ends.values()):
            yield _point("corner", dict(zip(ends, corner, strict=True)))


def _point(kind: Literal["single", "guess", "corner"], values: dict[str, Scalar]) -> Point:
    return Point(kind, spell(values), values)


def _vouched(parameter: Parameter) -> bool:
    """Whether workflow.yml says what other values may be given."""
    return parameter.type == "bool" or parameter.bounds is not None or parameter.choices is not None


def _ends(parameter: Parameter) -> list[Scalar]:
    """Outermost values that workflow.yml allows."""
    if parameter.type == "bool":
        return [False, True]
    if parameter.choices:
        return list(dict.fromkeys((parameter.choices[0], parameter.choices[-1])))
    if parameter.bounds is None or parameter.type == "str":
        return []
    return [int(end) if parameter.type == "int" else end for end in parameter.bounds if math.isfinite(end)]


def _others(parameter: Parameter) -> list[Scalar]:
    """Values to try in place of the default."""
    values: list[Scalar] = [*(parameter.choices or _ends(parameter))]
    if not values and isinstance(parameter.default, str):
        values = [f"{parameter.default}x"]
    elif not values and not isinstance(parameter.default, str):
        values = [parameter.default * 2 or 1]
    return [value for value in values[:8] if value != parameter.default]


def _jobs(trial: Trial) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = trial.abstract["jobs"] if trial.abstract else []
    return jobs


def _uses(abstract: Mapping[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for job in abstract["jobs"]:
        for use in job.get("uses", []):
            if use["type"] == kind:
                yield job["id"], use


def _values(look: _Look) -> Iterator[Finding]:
    """Parameters and options that contradict themselves."""
    for group in ("parameters", "options"):
        for name, parameter in getattr(look.spec, group).items():
            keys = (group, name)
            if not name.isidentifier():
                yield look.at("error", keys, "no template can use it: write letters, digits and _, a letter first")
            if group == "options" and name in look.spec.parameters:
                yield look.at("error", keys, "is a parameter too: rename one of them")
            yield from _of_parameter(look, keys, parameter)


def _of_parameter(look: _Look, keys: tuple[str, str], parameter: Parameter) -> Iterator[Finding]:
    bounds = parameter.bounds
    if bounds and bounds[0] >= bounds[1]:
        yield look.at(
            "error", (*keys, "bounds"), f"{bounds[0]:g} is not below {bounds[1]:g}: write [smallest, largest]"
        )
        return
    if bounds and parameter.type in ("str", "bool"):
        yield look.at("warning", (*keys, "bounds"), f"a {parameter.type} has none: write choices, or remove them")
    for key in ("default", "truth"):
        value = getattr(parameter, key)
        try:
            if value is not None:
                _value("the value of", key, value, parameter)
        except ParameterError as problem:
            yield look.at("error", (*keys, key), f"{problem}: correct it, or what it may be")
    for choice in parameter.choices or []:
        try:
            _value("choice", str(choice), choice, parameter)
        except ParameterError as problem:
            yield look.at("error", (*keys, "choices"), f"{problem}: correct it, or the type")


def _candidates(look: _Look) -> Iterator[Finding]:
    """Candidates that cannot work, and transformations that this machine can do nothing for."""
    here = _this_machine()
    for name, transformation in look.spec.transformations.items():
        keys = ("transformations", name)
        if not transformation.candidates:
            yield look.at("error", keys, "has no candidates: write {program: NAME} or {script: bin/NAME.py}")
        for candidate in transformation.candidates:
            if (candidate.program is None) == (candidate.script is None):
                yield look.at("error", keys, "a candidate has either a program or a script: write one of them")
            elif candidate.script is not None:
                yield from _script(look, candidate)
        lacking = [(each.name, here.lacking(each)) for each in transformation.candidates] if here else []
        if lacking and all(words for _, words in lacking):
            told = "; ".join(f"{program} ({words})" for program, words in lacking)
            words = f"nothing can do it on this machine: {told}; install one, or run at a site that has it"
            yield look.at("warning", keys, words)


def _this_machine() -> Site | None:
    try:
        return find_site("local", Path("/"))
    except SiteError:
        return None


def _script(look: _Look, candidate: Candidate) -> Iterator[Finding]:
    """A program of the folder's own: that it is there, and that Python can start it."""
    script = candidate.script or ""
    path = look.path / script
    if not path.resolve().is_relative_to(look.path):
        yield look.at("error", ("transformations",), f"{script} is not in the folder: put it there, below bin/", script)
    elif not path.is_file():
        yield Finding(path, None, "error", script, "no such file: write it, or correct its name in workflow.yml")
    else:
        yield from _python(look, candidate, path)


def _python(look: _Look, candidate: Candidate, path: Path) -> Iterator[Finding]:
    name = candidate.script or ""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        yield Finding(path, None, "error", name, f"cannot be read: {problem}")
        return
    first = text.partition("\n")[0]
    if not first.startswith("#!"):
        yield Finding(path, 1, "error", name, "begins with something else: its first line is #!/usr/bin/env python3")
    elif not _PYTHON.match(first):
        words = f"{first} is replaced by the site's Python: write it in Python, or let a program run it from data/"
        yield Finding(path, 1, "error", name, words)
    else:
        yield from _imports(look, candidate, path, text)


def _imports(look: _Look, candidate: Candidate, path: Path, text: str) -> Iterator[Finding]:
    """What a program needs and does not say: the site is chosen by `packages`."""
    name = candidate.script or ""
    try:
        tree = ast.parse(text)
    except SyntaxError as problem:
        yield Finding(path, problem.lineno, "error", name, f"is not Python: {problem.msg}; correct it")
        return
    packages = {package.partition(".")[0] for package in candidate.packages}
    for module, line in _imported(tree):
        if (path.parent / f"{module}.py").is_file():
            words = f"imports {module} from beside it, but runs alone: put the code into one file, or give it as data"
            yield Finding(path, line, "error", name, words)
        elif module not in packages | sys.stdlib_module_names:
            words = f"imports {module}, which is not under packages: write packages: [{module}, ...] in workflow.yml"
            yield Finding(path, line, "warning", name, words)


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Modules that the program cannot begin without, each with its line; others are its own affair."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0], node.lineno


def _building(look: _Look) -> Iterator[Finding]:
    """What build() and the templates complain of, each complaint where it is met first."""
    known: set[Problem] = set()
    for trial in look.trials:
        where = "" if trial.point.kind == "default" else f"with {trial.point.name}: "
        for problem in trial.problems:
            if trial.point.kind == "guess" or problem in known:
                continue
            known.add(problem)
            level = _gravity(trial.point.kind, problem)
            yield Finding(problem.path, problem.line, level, _subject(look, problem), f"{where}{problem.message}")
    if len(look.trials) < len(look.points) and not (look.trials and look.trials[-1].problems):
        words = f"is slow: it was built at {len(look.trials)} of {len(look.points)} sets of values only"
        yield Finding(look.program, None, "note", "build", words)


def _gravity(kind: str, problem: Problem) -> Level:
    """A ValueError at values that nobody asked for is build()'s way to refuse them."""
    if kind not in ("single", "corner"):
        return "error"
    if problem.message.startswith("ValueError: "):
        return "note"
    return "warning" if kind == "corner" else "error"


def _subject(look: _Look, problem: Problem) -> str:
    return "build" if problem.path == look.program else problem.path.name


def _graph(look: _Look) -> Iterator[Finding]:
    """What is wrong with jobs and their edges; many of a kind are told together."""
    told: dict[tuple[Level, str, str], list[str]] = {}
    for trial in look.built:
        for level, noun, name, words in itertools.chain(_names(trial), _strangers(look, trial), _producers(trial)):
            names = told.setdefault((level, noun, words), [])
            if len(names) <= _SHOWN and name not in names:
                names.append(name)
    for (level, noun, words), names in told.items():
        yield Finding(look.program, None, level, f"{noun} {_some(names)}", words)
    cycle = next((found for trial in look.built if (found := _cycle(trial))), None)
    if cycle:
        words = f"wait for each other: {' -> '.join(cycle)}; look at their inputs and outputs"
        yield Finding(look.program, None, "error", "jobs", words)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and more" if len(names) > _SHOWN else "")


_Odd = Iterator[tuple[Level, str, str, str]]


def _names(trial: Trial) -> _Odd:
    for job in _jobs(trial):
        name = f"{job['name']}_{job['id']}"
        if not _JOB_NAME.fullmatch(name):
            yield "error", "job", job["id"], "its name may have letters, digits, _ and - only: write others in _id"
        elif "." in name or "+" in name:
            words = "Pegasus writes _ for . and +, and calls the job otherwise than the embedded engine: write _ in _id"
            yield "warning", "job", job["id"], words


def _strangers(look: _Look, trial: Trial) -> _Odd:
    for name in dict.fromkeys(job["name"] for job in _jobs(trial)):
        if name not in look.spec.transformations:
            words = f"a job's, is not in workflow.yml; {nearest(name, look.spec.transformations)}: write its candidates"
            yield "error", "transformation", name, words


def _producers(trial: Trial) -> _Odd:
    makers: dict[str, list[str]] = {}
    for job, use in _uses(trial.abstract or {"jobs": []}, "output"):
        makers.setdefault(use["lfn"], []).append(job)
    for lfn, jobs in makers.items():
        if len(jobs) > 1:
            words = f"is an output of {' and of '.join(jobs[:_SHOWN])}: give each job a file of its own"
            yield "error", "file", lfn, words


def _cycle(trial: Trial) -> list[str] | None:
    graph: dict[str, set[str]] = {}
    for edge in (trial.abstract or {}).get("jobDependencies", []):
        for child in edge["children"]:
            graph.setdefault(child, set()).add(edge["id"])
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as problem:
        cycle: list[str] = problem.args[1]
        return cycle
    return None


def _inputs(look: _Look) -> Iterator[Finding]:
    """Files that no job makes and nobody has."""
    told: set[str] = set()
    for trial in look.built:
        missing = [lfn for lfn, path in trial.sources.items() if path is None and lfn not in told]
        if not missing or trial.point.kind == "guess":
            continue
        told.update(missing)
        if trial.point.kind in ("default", "study"):
            where = "" if trial.point.kind == "default" else f"for {trial.point.name} "
            words = f"jobs need it {where}and none makes it: put it into templates/ or data/, or declare who does"
            yield Finding(look.program, None, "error", f"file {_some(missing)}", words)
        else:
            words = f"with {trial.point.name} jobs need {_some(missing)}, which a study must have under `inputs`"
            yield Finding(look.program, None, "note", "inputs", words)


def _unused_values(look: _Look) -> Iterator[Finding]:
    """Parameters and options that no job's input or argument depends on, as far as the values tried can tell."""
    if not look.built or look.built[0].point.kind != "default" or look.built[0].problems:
        return
    base, *others = look.trials
    idle = {name for name in look.known if _tried(others, name) == {base.signature}} - _named_in_templates(look)
    for name in sorted(idle - _needed_with_others(look, others, idle), key=list(look.known).index):
        group = "parameters" if name in look.spec.parameters else "options"
        words = "nothing depends on it: use it in build() or in a template that a job reads, or remove it"
        yield look.at("warning", (group, name), words)


def _tried(others: Sequence[Trial], name: str) -> set[str]:
    return {trial.signature for trial in others if trial.point.values.keys() == {name}}


def _needed_with_others(look: _Look, others: Sequence[Trial], idle: set[str]) -> set[str]:
    """Those of `idle` that make a difference once another value is not at its default, as a step of a range does."""
    bases = sorted((trial for trial in others if trial.abstract and trial.point.kind != "corner"), key=_size)
    return {name for name in idle if _makes_a_difference(look, name, bases)}


def _makes_a_difference(look: _Look, name: str, bases: Sequence[Trial]) -> bool:
    pairs = [
        (base, _point("guess", {**base.point.values, name: value}))
        for base in bases
        for value in _others(look.known[name])[:1]
        if name not in base.point.values
    ][:_MOST]
    found = trials(look.path, [point for _, point in pairs])
    return any(trial.signature != base.signature for (base, _), trial in zip(pairs, found, strict=False))


def _size(trial: Trial) -> int:
    return len(_jobs(trial))


def _named_in_templates(look: _Look) -> set[str]:
    """Variables of the templates that jobs read: some matter only together with others."""
    from .site import _names as variables_of

    templates = {path for path in _sources(look) if path.is_relative_to(look.path / "templates")}
    return {name for path in templates for name in variables_of(path.read_text(encoding="utf-8", errors="replace"))}


def _sources(look: _Look) -> set[Path]:
    return {path for trial in look.built for path in trial.sources.values() if path is not None}


def _unused_files(look: _Look) -> Iterator[Finding]:
    """Files of the folder that no job gets to see."""
    scripts = {
        look.path / candidate.script
        for transformation in look.spec.transformations.values()
        for candidate in transformation.candidates
        if candidate.script
    }
    if not look.built:
        return
    for folder, used, words in (
        ("templates", _sources(look), "no job reads it: declare it as an input in build(), or remove it"),
        ("data", _sources(look), "no job reads it: declare it as an input in build(), or remove it"),
        ("bin", scripts, "no transformation names it: write it as a candidate in workflow.yml, or remove it"),
    ):
        for path in sorted((look.path / folder).rglob("*")):
            if path.is_file() and path not in used and not _beside_the_point(path):
                yield Finding(path, None, "warning", str(path.relative_to(look.path)), words)


def _beside_the_point(path: Path) -> bool:
    return "__pycache__" in path.parts or _ABOUT_THE_FOLDER.fullmatch(path.name) is not None


def _unused_names(look: _Look) -> Iterator[Finding]:
    """Transformations and resources that are no job's."""
    if not look.built:
        return
    for name in look.spec.transformations:
        if name not in look.steps:
            yield look.at("warning", ("transformations", name), "no job uses it: remove it, or correct its name")
    known = look.jobs | look.steps
    for kind, table in look.spec.resources.items():
        for name in table:
            if name not in known:
                words = f"is no job and no transformation; {nearest(name, known)}: correct or remove it"
                yield look.at("warning", ("resources", kind, name), words)


def key_lines(path: Path) -> dict[tuple[str, ...], int]:
    """Lines of the keys of a YAML file, counted from 1, by the keys that lead to them."""
    import yaml

    found: dict[tuple[str, ...], int] = {}

    def walk(node: Any, keys: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*keys, str(key.value))
                found[here] = key.start_mark.line + 1
                if len(here) < _DEEPEST:
                    walk(value, here)

    walk(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), ())
    return found


def line_of(lines: Mapping[tuple[str, ...], int], keys: tuple[str, ...]) -> int | None:
    """Line of a key, or of the nearest above it that there is."""
    return next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), None)


def _of_spec(path: Path, message: str) -> Finding:
    """A workflow.yml that cannot be used, with the line of the key that the message speaks of."""
    told = re.match(rf"{re.escape(str(path))}:(?:(\d+):)? ", message)
    words = message[told.end() :] if told else message
    if told is None or told[1]:
        return Finding(path, int(told[1]) if told else None, "error", "workflow.yml", words)
    lines = key_lines(path) if path.is_file() else {}
    stranger = _STRANGER.search(words)
    if stranger:
        line = next((line for keys, line in lines.items() if keys[-1] == stranger[1]), None)
    else:
        keys = _KEYS.search(words)
        line = line_of(lines, tuple(filter(None, re.split(r"[.\[\]]+", (keys[1] or keys[2]) if keys else ""))))
    return Finding(path, line, "error", "workflow.yml", words)


_LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_CHECKS: Iterable[Any] = (
    _values,
    _candidates,
    _building,
    _graph,
    _inputs,
    _unused_values,
    _unused_files,
    _unused_names,
)
