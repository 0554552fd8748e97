"""What a study's own files say of it: workflow, site, units, objectives and truth; read again when they change."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ..config import Scalar, load_study
from ..errors import PanoramaError
from ..findings import maximized, truth
from ..render import find_workflow
from ._numbers import METRICS

_PLAIN_METRIC = re.compile(r"\s*workflow\.(\w+)\s*")


class Facts:
    """Facts of the study in a directory; those that its files do not tell any more are None or empty.

    Parameters
    ----------
    home : str
        The study directory.

    Attributes
    ----------
    workflow, site, engine : str or None
        As study.yml says.
    units : dict of str to str
        Units of the workflow's parameters and options.
    truth : dict
        Parameter values that made the reference data.
    maximized : list of bool
        Of each objective in study.in, whether it is made large.
    """

    def __init__(self, home: str) -> None:
        self._home = Path(home)
        self._files = [self._home / name for name in ("study.yml", "study.in")]
        self._stamps: object = None
        self._responses: dict[str, object] = {}
        self._clear()

    def _clear(self) -> None:
        self.workflow: str | None = None
        self.site: str | None = None
        self.engine: str | None = None
        self.units: dict[str, str] = {}
        self.truth: dict[str, Scalar] = {}
        self.maximized = [False]
        self._responses = {}

    def advance(self) -> bool:
        """Read the files if they have changed; whether they had."""
        stamps = [_stamp(path) for path in self._files]
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        self._clear()
        with contextlib.suppress(PanoramaError, OSError, ValueError):  # what was run stands in the journal all the same
            self._read()
        return True

    def _read(self) -> None:
        self.maximized = maximized(self._home)
        study = load_study(self._home / "study.yml")
        self.workflow, self.site, self.engine = study.workflow, study.site, study.engine
        self._responses = study.responses
        self.truth = truth(self._home)
        spec = find_workflow(study.workflow, self._home).spec
        self.units = {name: one.unit for name, one in (spec.options | spec.parameters).items()}

    def response_unit(self, name: str) -> str:
        """Unit of a response that is just a metric of the workflow; others have none that is known."""
        expression = self._responses.get(name)
        plain = _PLAIN_METRIC.fullmatch(expression) if isinstance(expression, str) else None
        return METRICS.get(plain[1], "") if plain else ""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
