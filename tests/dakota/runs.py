"""What the tests of this folder share: the driver in front of a study server that is only a function, and its runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import panorama_driver

REPOSITORY = Path(panorama_driver.__file__).parent.parent

DRIVER = """\
#!{python}
import sys, types
import panorama_driver.study
from panorama_driver.dakota import driver
from panorama_driver.errors import *

client = types.ModuleType("panorama_driver.study.client")
client.find_study = lambda start, name="study.yml": name

def evaluate(study_file, evaluations, report):
{body}

client.evaluate = evaluate
panorama_driver.study.client = sys.modules[client.__name__] = client
driver.run()
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@dataclass(frozen=True)
class Ran:
    """What became of a study."""

    code: int
    said: str
    folder: Path

    def table(self) -> list[dict[str, str]]:
        head, *rows = (self.folder / "dakota_tabular.dat").read_text().splitlines()
        return [_row(head.lstrip("%").split(), row.split()) for row in rows]


def _row(names: list[str], values: list[str]) -> dict[str, str]:
    """By name from the right, because a string variable may have blanks; the id is the first all the same."""
    return {**dict(zip(reversed(names), reversed(values), strict=False)), "eval_id": values[0]}
