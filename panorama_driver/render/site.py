"""Sites: a Pegasus site catalog a file, and which programs a site has.

A site file is a jinja2 template of a Pegasus site catalog. Its key `x-panorama` says what the catalog has no words for.
Its variables come from study.yml, from the environment, or from a default in the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..config import Scalar, load_yaml, shared_folder
from ..errors import EnvironmentMissingError, SiteError
from ._names import nearest
from .templates import _environment, _line, read_text
from .workflow import Candidate, Resources

CONVENTIONS: dict[str, tuple[str, ...]] = {
    "user": ("USER", "LOGNAME"),
    "home": ("HOME",),
    "project": ("SBATCH_ACCOUNT", "SLURM_ACCOUNT", "LSB_DEFAULTPROJECT", "PROJECT"),
    "queue": ("SBATCH_PARTITION", "LSB_DEFAULTQUEUE"),
    "qos": ("SBATCH_QOS",),
    "constraint": ("SBATCH_CONSTRAINT",),
    "scratch": ("PSCRATCH", "SCRATCH"),
    "pegasus_home": ("PEGASUS_HOME",),
}
"""Environment variables that batch systems and facilities set, by the variable of a site file that they stand for.

OLCF's MEMBERWORK is not among them: it holds a directory a project, and is not to be written to itself.
"""

_ALWAYS = {"memory": 1024, "diskspace": 1024}  # Pegasus' own 2048 and 5120 MB leave jobs idle for ever on small slots
_WATCHING = ("darshan", "engines", "online", "probe_python")
_BUNDLE = "\ue002"
_PLACE = re.compile("\ue000([0-9]+)\ue001")
_TAME = re.compile(r"[\w./:@%+=,~ -]*")


class SiteNotes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `x-panorama` of a site file says.

    Attributes
    ----------
    execution : str
        Name of the catalog's site that runs the jobs.
    resources : str
        Which set of a workflow's `resources` its jobs get.
    defaults : Resources
        What a job gets that says nothing itself; memory and disk always have a value, 1024 MB unless told.
    node_cores : int or None
        Cores of a node: a job that says nothing of nodes gets as many as its cores fill. None where nodes mean nothing.
    retries : int
        How often a failed job is tried again in the same run.
    data_configuration : str
        How jobs come to their files: goes to `pegasus.properties`.
    engines : tuple of str
        Engines that can run jobs there.
    this_machine : bool
        Programs are also looked for on this machine's PATH; otherwise only in `software`.
    software : dict
        Name of a program to its path at the site.
    python : str or None
        The site's Python that has the packages of our own programs; None is the one that runs now.
    probe_python : str
        The workers' Python that runs the probe, 3.6 or newer.
    darshan : str or None
        Path of libdarshan.so at the site.
    online : bool
        Whether workers may open connections to the outside, to send traces while the job runs.
    staging : str or None
        Name of the catalog's site that files are staged at; None is the one that runs the jobs.
    output_site : str
        Name of the catalog's site that results go to.
    cleanup : str
        When scratch is cleaned: `leaf`, in the end, `inplace`, as soon as a file is not needed any more, or `none`.
    globus : str or None
        Globus endpoint of the submit host: files there are then named `go://ENDPOINT/PATH`.
    """

    execution: str
    resources: str = "local"
    defaults: Resources = Resources(**_ALWAYS)
    node_cores: int | None = None
    retries: int = 1
    data_configuration: Literal["sharedfs", "condorio", "nonsharedfs"] = "sharedfs"
    engines: tuple[Literal["local", "pegasus"], ...] = ("pegasus",)
    this_machine: bool = False
    software: dict[str, str] = {}
    python: str | None = None
    probe_python: str = "python3"
    darshan: str | None = None
    online: bool = False
    staging: str | None = None
    output_site: str = "local"
    cleanup: Literal["leaf", "inplace", "none"] = "leaf"
    globus: str | None = None


class Site:
    """A site file with its variables filled in, ready for bundles.

    Parameters
    ----------
    path : Path
        The site file.
    variables : mapping
        Values for its variables; the environment's and the file's defaults stand in for the others.

    Attributes
    ----------
    notes : SiteNotes
        What it says under `x-panorama`.
    variables : dict
        The values that were used, apart from defaults in the file.
    digest : str
        Hash of what it comes to, whatever the bundle: another queue is another digest, another comment is not.

    Raises
    ------
    SiteError
        It is missing or malformed, a variable has no value, or one is given that the file does not use.
    """

    def __init__(self, path: Path, variables: Mapping[str, Scalar] | None = None) -> None:
        self.path = path
        self.name = path.stem
        text = read_text(path, SiteError)
        self._stamp = path.stat().st_mtime_ns
        names = _names(text)
        self.variables = _values(names, variables or {}, path)
        raw = _fill(text, names, self.variables, path)
        if "x-panorama" not in raw or not isinstance(raw.get("sites"), list):
            raise SiteError(f"{path}: a site file needs the keys x-panorama and sites")
        self._sites: list[Any] = raw["sites"]
        self.notes = _notes(raw["x-panorama"], path)
        self.digest = _digest(raw)
        self._check_names()

    @property
    def stale(self) -> bool:
        """Whether the file has changed since it was read."""
        return not self.path.exists() or self.path.stat().st_mtime_ns != self._stamp

    def catalog(self, bundle: Path | str) -> dict[str, Any]:
        """The Pegasus site catalog for one bundle directory."""
        return {"pegasus": "5.0", "sites": _replace(self._sites, lambda text: text.replace(_BUNDLE, str(bundle)))}

    @property
    def system(self) -> dict[str, str]:
        """Processor and operating system of the executing site, which its transformations have to name as well."""
        [site] = (site for site in self._sites if site["name"] == self.notes.execution)
        return {key: site[key] for key in ("arch", "os.type") if key in site}

    @property
    def batch_system(self) -> str | None:
        """Which one HTCondor hands the jobs to, such as `slurm`; None where it runs them itself."""
        [site] = (site for site in self._sites if site["name"] == self.notes.execution)
        found = (grid.get("scheduler") for grid in site.get("grids") or () if grid.get("jobtype") == "compute")
        return next((str(name) for name in found if name), None)

    def check_engine(self, engine: str) -> None:
        """Refuse an engine that cannot run jobs here.

        Raises
        ------
        SiteError
            It cannot.
        """
        if engine not in self.notes.engines:
            able = " or ".join(self.notes.engines)
            raise SiteError(
                f"engine {engine!r} cannot run jobs at site {self.name!r}: write `engine: {able}`, or choose another "
                f"site (x-panorama.engines in {self.path})"
            )

    def choose(self, transformation: str, candidates: list[Candidate]) -> tuple[Candidate, str]:
        """The first candidate that the site has, and its path there (of a script: its interpreter).

        Raises
        ------
        EnvironmentMissingError
            The site has none of them.
        """
        missing = []
        for candidate in candidates:
            lacking = self.lacking(candidate)
            if not lacking:
                return candidate, self._path(candidate)
            missing.append(f"{candidate.name} ({lacking})")
        raise EnvironmentMissingError(
            f"transformation {transformation!r}: site {self.name!r} has none of its candidates: {'; '.join(missing)}; "
            f"install one, or name its path under x-panorama.software in {self.path}"
        )

    def lacking(self, candidate: Candidate) -> str:
        """What keeps the site from having a candidate, in words; empty if it has it."""
        if candidate.script is None:
            return "" if self.program(candidate.program or "") else "not on PATH nor in the site file"
        packages = _missing(candidate.packages) if self.notes.python is None else []
        words = [f"lacks Python packages {', '.join(packages)}"] if packages else []
        programs = [name for name in candidate.needs if self.program(name) is None]
        words += [f"needs {', '.join(programs)}, not on PATH nor in the site file"] if programs else []
        renamed = [name for name in candidate.needs if Path(self.program(name) or name).name != name]
        words += [f"the site file has another name for {', '.join(renamed)}"] if renamed else []
        return "; ".join(words)

    def program(self, name: str) -> str | None:
        """Path of an installed program there, None if the site has none."""
        if name in self.notes.software:
            return self.notes.software[name]
        return shutil.which(name) if self.notes.this_machine else None

    def _path(self, candidate: Candidate) -> str:
        if candidate.script is not None:
            return self.notes.python or sys.executable
        return self.program(candidate.program or "") or ""

    def _check_names(self) -> None:
        known = [site.get("name") for site in self._sites if isinstance(site, dict)]
        for key in ("execution", "staging", "output_site"):
            name = getattr(self.notes, key)
            if name is not None and name not in known:
                raise SiteError(f"{self.path}: x-panorama.{key}: {name!r} is none of its sites")


def find_site(name: str, relative_to: Path, variables: Mapping[str, Scalar] | None = None) -> Site:
    """The site that a name or a path means.

    Raises
    ------
    SiteError
        There is none, or it lacks a variable.
    """
    given = (relative_to / Path(name).expanduser()).resolve()
    shipped = shared_folder("sites") / f"{name}.yml"
    if given.is_file():
        return Site(given, variables)
    if os.sep not in name and shipped.is_file():
        return Site(shipped, variables)
    raise SiteError(f"site {name!r}: no file {given}; {nearest(name, site_names())}")


def site_names() -> list[str]:
    """Names of the sites that come with the package."""
    return sorted(path.stem for path in shared_folder("sites").glob("*.yml"))


def _names(text: str) -> set[str]:
    """Variables that a template asks for; none of one that cannot be parsed, which is told when it is rendered."""
    from jinja2 import TemplateSyntaxError, meta

    try:
        return meta.find_undeclared_variables(_environment().parse(text)) - {"bundle"}
    except TemplateSyntaxError:
        return set()


def _values(names: set[str], given: Mapping[str, Scalar], path: Path) -> dict[str, str]:
    for name in given:
        if name not in names:
            raise SiteError(f"{path}: it has no variable {name!r}; {nearest(name, names)}")
    values = {name: _given(name, value, path) for name, value in given.items()}
    return values | {
        name: found for name in sorted(names - set(given)) if (found := _from_environment(name, path)) is not None
    }


def _given(name: str, value: Scalar, path: Path) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text.isprintable():
        raise SiteError(f"{path}: variable {name!r} is {text!r}: a value is one line of printable characters")
    return text


def _from_environment(name: str, path: Path) -> str | None:
    """Value that the environment has for a variable; what could mean something to a shell or HTCondor is refused."""
    for source in _sources(name):
        text = os.environ.get(source, "")
        if text and not _TAME.fullmatch(text):
            raise SiteError(
                f"{path}: variable {name!r}: ${source} is {text!r}, which has characters that a batch script may take "
                f"for its own; correct it, or write `site_variables: {{{name}: ...}}` in study.yml"
            )
        if text:
            return text
    return _known_here(name)


def _sources(name: str) -> tuple[str, ...]:
    return (f"PANORAMA_{name.upper()}", *CONVENTIONS.get(name, ()))


def _known_here(name: str) -> str | None:
    """What this machine knows of a variable by itself."""
    if name == "pegasus_home":
        planner = shutil.which("pegasus-plan")
        return str(Path(planner).parent.parent) if planner else None
    if name in ("user", "home"):
        import pwd

        try:
            entry = pwd.getpwuid(os.getuid())
        except KeyError:
            return None
        return entry.pw_name if name == "user" else entry.pw_dir
    return None


def _fill(text: str, names: set[str], values: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Render and read a site file. What an expression gives is put in after YAML has been read: it stays one text."""
    import yaml
    from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError

    results: list[str] = []

    def keep(value: object) -> str:
        results.append(str(value))
        return f"\ue000{len(results) - 1}\ue001"

    missing = {name: StrictUndefined(hint=_how_to_give(name)) for name in names if name not in values}
    try:
        template = _environment().overlay(finalize=keep).from_string(text)
        rendered = template.render({**missing, **values, "bundle": _BUNDLE})
        raw = load_yaml(rendered, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except TemplateSyntaxError as problem:
        raise SiteError(f"{path}:{problem.lineno}: {problem.message}") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError) as problem:
        raise SiteError(f"{path}:{_line(problem)}: {problem}") from None
    except yaml.YAMLError as problem:
        raise SiteError(f"{path}: not YAML: {problem}") from None
    if not isinstance(raw, dict):
        raise SiteError(f"{path}: not a site catalog, but {type(raw).__name__}")
    filled: dict[str, Any] = _replace(raw, lambda part: _PLACE.sub(lambda match: results[int(match[1])], part))
    return filled


def _how_to_give(name: str) -> str:
    also = ", ".join(f"${source}" for source in CONVENTIONS.get(name, ()))
    return (
        f"variable {name!r} has no value; write `site_variables: {{{name}: ...}}` in study.yml, "
        f"or set ${_sources(name)[0]}{f' (or {also})' if also else ''}, "
        f"or give it a default in this file: {{{{ {name} | default('...') }}}}"
    )


def _replace(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_replace(item, change) for item in value]
    if isinstance(value, dict):
        return {_replace(key, change): _replace(item, change) for key, item in value.items()}
    return value


def _notes(raw: Any, path: Path) -> SiteNotes:
    """Notes from YAML; a variable's value is a text: an empty one says nothing, and numbers are read from texts too."""
    if isinstance(raw, dict):
        raw = {key: value for key, value in raw.items() if value != ""}
        if isinstance(raw.get("defaults"), dict):
            raw["defaults"] = _ALWAYS | raw["defaults"]
    try:
        return msgspec.convert(raw, SiteNotes, strict=False)
    except msgspec.ValidationError as problem:
        words = str(problem).replace("`", "'").replace("$", "x-panorama")
        raise SiteError(f"{path}: {words}; the keys are {', '.join(SiteNotes.__struct_fields__)}") from None


def _digest(raw: Mapping[str, Any]) -> str:
    """Hash of all that decides what a job does; how it is watched does not."""
    notes = {key: value for key, value in raw["x-panorama"].items() if key not in _WATCHING}
    return hashlib.sha256(msgspec.json.encode([notes, raw["sites"]], order="sorted")).hexdigest()[:16]


def _missing(packages: list[str]) -> list[str]:
    import importlib.util

    return [package for package in packages if importlib.util.find_spec(package) is None]
