"""Plans a bundle for other hosts than it was rendered for, by a site catalog of its own beside what defines it.

The bundle stays what it was, and so does the evaluation: `plan.sh` takes `run/sites.yml` where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import WorkflowError
from .bundle import load_bundle, write_json
from .plan import STEERED

_JOINED = {"requirements": "({}) && ({})", "glite.arguments": "{} {}"}
"""Profiles of which a job needs both what it had and what is new."""

Profiles = Mapping[str, Mapping[str, str]]


def steer(directory: Path, profiles: Profiles) -> bool:
    """Have a bundle planned, from now on, with these profiles on top of those of the site that runs its jobs.

    A job that has a condor requirement of its own is told nothing here: for Pegasus the site's would take its place.

    Parameters
    ----------
    directory : Path
        The bundle.
    profiles : mapping
        Namespace to key to value; where there are none, it is planned as it was rendered.

    Returns
    -------
    bool
        Whether it was steered until now.

    Raises
    ------
    WorkflowError
        It is no bundle.
    """
    path = directory / STEERED
    before = path.exists()
    if not profiles or ("condor" in profiles and _asks_itself(directory)):
        path.unlink(missing_ok=True)
        return before
    catalog = _read(directory / "sites.yml")
    execution = load_bundle(directory).execution
    for site in catalog["sites"]:
        if site["name"] == execution:
            _join(site.setdefault("profiles", {}), profiles)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(".new")
    write_json(new, catalog)
    new.replace(path)
    return before


def _join(known: dict[str, Any], profiles: Profiles) -> None:
    for namespace, values in profiles.items():
        own = known.setdefault(namespace, {})
        for key, value in values.items():
            own[key] = _JOINED[key].format(own[key], value) if key in own and key in _JOINED else value


def _asks_itself(directory: Path) -> bool:
    """Whether a job of it says which machines it wants: of profiles of one name Pegasus takes the site's."""
    jobs = _read(directory / "workflow.yml")["jobs"]
    return any("requirements" in job.get("profiles", {}).get("condor", {}) for job in jobs)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as problem:
        raise WorkflowError(f"{path}: not a catalog of a bundle: {problem}; render it again") from None
    return found
