"""Sites: a Pegasus site catalog a file, and which programs a site has.

A site file is a jinja2 template of a Pegasus site catalog. Its key `x-panorama` says what the catalog has no words for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from ..config import convert, shared_folder
from ..errors import EnvironmentMissingError, SiteError
from ._names import nearest
from .templates import read_text, render_text
from .workflow import Candidate


class SiteNotes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `x-panorama` of a site file says.

    Attributes
    ----------
    execution : str
        Name of the catalog's site that runs the jobs.
    resources : str
        Which set of a workflow's `resources` its jobs get.
    data_configuration : str
        `sharedfs`, `condorio` or `nonsharedfs`.
    this_machine : bool
        Programs are looked up on this machine's PATH; otherwise only in `software`.
    software : dict
        Name of a program to its path at the site.
    python : str or None
        The site's Python that has the packages of our own programs; None is the one that runs now.
    """

    execution: str
    resources: str = "local"
    data_configuration: str = "sharedfs"
    this_machine: bool = False
    software: dict[str, str] = {}
    python: str | None = None


class Site:
    """A site file, ready to be rendered into bundles.

    Parameters
    ----------
    path : Path
        The site file.

    Raises
    ------
    SiteError
        It is missing or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.text = read_text(path, SiteError)
        self._stamp = path.stat().st_mtime_ns
        self.digest = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        raw = self._load({"bundle": "/bundle"})
        if "x-panorama" not in raw or not isinstance(raw.get("sites"), list):
            raise SiteError(f"{path}: a site file needs the keys x-panorama and sites")
        self.notes = convert(raw["x-panorama"], SiteNotes, path, SiteError)
        if self.notes.execution not in [site.get("name") for site in raw["sites"]]:
            raise SiteError(f"{path}: x-panorama.execution: {self.notes.execution!r} is none of its sites")

    @property
    def stale(self) -> bool:
        """Whether the file has changed since it was read."""
        return not self.path.exists() or self.path.stat().st_mtime_ns != self._stamp

    def catalog(self, bundle: Path) -> dict[str, Any]:
        """The Pegasus site catalog for one bundle directory."""
        raw = self._load({"bundle": json.dumps(str(bundle), ensure_ascii=False)[1:-1]})  # inside double quotes of YAML
        return {"pegasus": "5.0", "sites": raw["sites"]}

    def choose(self, transformation: str, candidates: list[Candidate]) -> tuple[Candidate, str]:
        """The first candidate that the site has, and its path there (of a script: its interpreter).

        Raises
        ------
        EnvironmentMissingError
            The site has none of them.
        """
        missing = []
        for candidate in candidates:
            found = self._find(candidate)
            if found:
                return candidate, found
            missing.append(f"{candidate.name} ({_lack(candidate)})")
        raise EnvironmentMissingError(
            f"transformation {transformation!r}: site {self.name!r} has none of its candidates: {'; '.join(missing)}; "
            f"install one, or name its path under x-panorama.software in {self.path}"
        )

    def _find(self, candidate: Candidate) -> str | None:
        if candidate.script is not None:
            here = self.notes.python is None
            return (self.notes.python or sys.executable) if not here or _importable(candidate.packages) else None
        program = candidate.program or ""
        if program in self.notes.software:
            return self.notes.software[program]
        return shutil.which(program) if self.notes.this_machine else None

    def _load(self, variables: dict[str, str]) -> dict[str, Any]:
        import yaml

        text = render_text(self.text, variables, self.path, SiteError)
        try:
            raw = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as problem:
            raise SiteError(f"{self.path}: not YAML: {problem}") from None
        if not isinstance(raw, dict):
            raise SiteError(f"{self.path}: not a site catalog, but {type(raw).__name__}")
        return raw


def find_site(name: str, relative_to: Path) -> Site:
    """The site that a name or a path means.

    Raises
    ------
    SiteError
        There is none.
    """
    given = (relative_to / Path(name).expanduser()).resolve()
    shipped = shared_folder("sites") / f"{name}.yml"
    if given.is_file():
        return Site(given)
    if os.sep not in name and shipped.is_file():
        return Site(shipped)
    raise SiteError(f"site {name!r}: no file {given}; {nearest(name, site_names())}")


def site_names() -> list[str]:
    """Names of the sites that come with the package."""
    return sorted(path.stem for path in shared_folder("sites").glob("*.yml"))


def _importable(packages: list[str]) -> bool:
    import importlib.util

    return all(importlib.util.find_spec(package) for package in packages)


def _lack(candidate: Candidate) -> str:
    if candidate.script is None:
        return "not on PATH nor in the site file"
    return f"needs Python packages {', '.join(candidate.packages)}"
