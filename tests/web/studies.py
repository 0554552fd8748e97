"""The files of a study of the parabola, which the stores of these tests are made around."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.conftest import PARABOLA

_STUDY_IN = """\
# Where is the parabola smallest?
method
  list_parameter_study
    list_of_points {points}
variables
  continuous_design 1
    descriptors 'x'
interface
  analysis_drivers 'panorama-driver'
    fork
  analysis_components 'study.yml'
responses
  objective_functions {objectives}
    descriptors {names}
  no_gradients
  no_hessians
"""


def write_study(home: Path, responses: dict[str, str], points: Iterable[float], more: str = "") -> None:
    """Write study.yml and study.in into a new folder."""
    home.mkdir()
    asked = "".join(f"  {name}: {where}\n" for name, where in responses.items())
    (home / "study.yml").write_text(
        f"workflow: {PARABOLA}\nresponses:\n{asked}  makespan: workflow.makespan\n"
        f"monitoring: {{interval: 0.1 s}}\ntimeout: 60 s\n{more}"
    )
    names = " ".join(f"'{name}'" for name in responses)
    listed = " ".join(map(str, points))
    (home / "study.in").write_text(_STUDY_IN.format(points=listed, objectives=len(responses), names=names))
