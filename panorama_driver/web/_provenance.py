"""What made a run: who planned it, which programs really ran under the names of its transformations, and where."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..config import Scalar
from ..errors import PanoramaError
from ..render.bundle import Bundle, load_bundle
from .documents import Code, Provenance

if TYPE_CHECKING:
    from ..study.journal import Evaluation
    from ._digest import Digest

_LOGICAL = re.compile(r"(?:.*::)?([^:]*)(?::[^:]*)?")
_OURS = "panorama-driver"


def provenance(digest: Digest, evaluation: Evaluation | None, home: Path | None, engine: str | None) -> Provenance:
    """What made a run.

    Parameters
    ----------
    digest : Digest
        What its events tell.
    evaluation : Evaluation or None
        The evaluation it was for.
    home : Path or None
        The study directory that has its bundle.
    engine : str or None
        What study.yml says, where the planner's name does not tell.
    """
    bundle = _bundle(home, evaluation) if home is not None and evaluation is not None else None
    attempts = [attempt for job in digest.metrics.jobs for attempt in job.attempts]
    plan = digest.plan
    return Provenance(
        variables=_variables(bundle, evaluation),
        responses=evaluation.responses if evaluation else {},
        site=bundle.site if bundle else _most(attempt.site for attempt in attempts if attempt.type == "compute"),
        engine=_engine(plan.get("planner_version"), engine),
        planner=plan.get("planner_version"),
        submit_host=plan.get("submit_hostname"),
        submit_dir=plan.get("submit_dir"),
        user=plan.get("user") or plan.get("wf_user"),
        hosts=sorted({attempt.host for attempt in attempts if attempt.host}),
        codes=[_with_candidate(code, bundle.programs if bundle else {}) for code in digest.codes],
    )


def _bundle(home: Path, evaluation: Evaluation) -> Bundle | None:
    """The bundle of an evaluation, if it is still there; a journal that names a folder elsewhere is not followed."""
    directory = Path(os.path.realpath(home / evaluation.directory))
    if not evaluation.directory or not directory.is_relative_to(os.path.realpath(home)):
        return None
    try:
        return load_bundle(directory)
    except PanoramaError:
        return None


def _variables(bundle: Bundle | None, evaluation: Evaluation | None) -> dict[str, Scalar]:
    given = evaluation.variables if evaluation else {}
    return given | bundle.parameters | bundle.options if bundle else given


def _engine(planner: str | None, engine: str | None) -> str | None:
    if planner is None:
        return engine
    return "local" if planner.startswith(_OURS) else "pegasus"


def _most(sites: Iterable[str | None]) -> str | None:
    known = [site for site in sites if site]
    return max(sorted(set(known)), key=known.count, default=None)


def _with_candidate(code: Code, programs: dict[str, str]) -> Code:
    """Pegasus names a transformation with its namespace and version, a workflow folder without."""
    logical = _LOGICAL.fullmatch(code.transformation)
    candidate = programs.get(code.transformation) or (programs.get(logical[1]) if logical else None)
    return msgspec.structs.replace(code, candidate=candidate)
