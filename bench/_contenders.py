"""Who runs no-op evaluations here: panorama-driver and other drivers under Dakota, and tools without Dakota."""

from __future__ import annotations

import json
import os
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import ClassVar

HERE = Path(__file__).parent
NOOP = HERE / "noop"
OURS = "panorama"
DRIVERS = {
    OURS: "",
    "dakota-sh": '#!/bin/sh\necho "1.0 y" > "$2"\n',
    "dakota-python": f"#!{sys.executable}\nimport sys\nfile = open(sys.argv[2], 'w')\nfile.write('1.0 y\\n')\n",
}
"""Drivers under Dakota: the whole text of the smallest possible ones, and nothing for ours."""

PEERS = {"libensemble": "libensemble_local.py", "parsl-threads": "parsl_threads.py"}
"""Tools without Dakota: the script in peers/ that uses them."""

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


class ContenderError(Exception):
    """A contender cannot run, or has not done its work; the message says why."""


@dataclass(frozen=True)
class Contender(ABC):
    """One way of running evaluations.

    Attributes
    ----------
    name : str
        What it is called in `--only` and in tables.
    concurrency : int
        Evaluations at a time.
    """

    name: str
    concurrency: int
    scale: ClassVar[int] = 1
    """Runs have so many times the evaluations, where an evaluation costs little beside the start."""

    @property
    def label(self) -> str:
        """Name and concurrency."""
        return f"{self.name}/{self.concurrency}"

    @abstractmethod
    def prepare(self, folder: Path, evaluations: int) -> list[str]:
        """Write into an empty folder what a run needs; gives the command to be run there.

        Raises
        ------
        ContenderError
            A program is missing.
        """

    @abstractmethod
    def ended(self, folder: Path) -> list[float]:
        """When each result was there, in order [s since 1970].

        Raises
        ------
        ContenderError
            A result is a failure.
        """


@dataclass(frozen=True)
class Dakota(Contender):
    """Dakota, which starts a driver for each evaluation.

    The name is one of `DRIVERS`.
    """

    def prepare(self, folder: Path, evaluations: int) -> list[str]:
        """Make a study directory of the no-op workflow."""
        driver = self._driver(folder)
        template = Template((NOOP / "study.in.template").read_text(encoding="utf-8"))
        text = template.substitute(evaluations=evaluations, concurrency=self.concurrency, driver=driver)
        (folder / "study.in").write_text(text, encoding="utf-8")
        for name in ("workflow.yml", "workflow.py", "study.yml"):
            shutil.copy(NOOP / name, folder)
        return [program("dakota"), "-i", "study.in"]

    def ended(self, folder: Path) -> list[float]:
        """Take the times at which the results files were written."""
        files = sorted(folder.glob("work/eval.*/results.out.*"), key=lambda file: file.stat().st_mtime)
        for file in files:
            if file.read_text(encoding="utf-8").lstrip().lower().startswith("fail"):
                raise ContenderError(f"{file.parent.name} failed: {_last_line(folder / '.panorama' / 'server.log')}")
        return [file.stat().st_mtime for file in files]

    def _driver(self, folder: Path) -> str:
        if self.name == OURS:
            return program("panorama-driver")
        path = folder / "driver"
        path.write_text(DRIVERS[self.name], encoding="utf-8")
        path.chmod(0o755)
        return str(path)


@dataclass(frozen=True)
class Peer(Contender):
    """A tool that runs evaluations by itself.

    The name is one of `PEERS`.

    Attributes
    ----------
    python : Path
        Interpreter that has the tool.
    """

    python: Path
    scale: ClassVar[int] = 10

    def prepare(self, folder: Path, evaluations: int) -> list[str]:
        """Nothing to write: give the script its counts."""
        counts = ["--evaluations", str(evaluations), "--concurrency", str(self.concurrency)]
        return [
            str(self.python),
            str(HERE / "peers" / PEERS[self.name]),
            *counts,
            "--report",
            str(folder / "report.json"),
        ]

    def ended(self, folder: Path) -> list[float]:
        """Read what the script reports."""
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return sorted(map(float, report["ended"]))


def program(name: str) -> str:
    """Path of a program of this environment.

    Raises
    ------
    ContenderError
        There is none.
    """
    found = shutil.which(name, path=ENVIRONMENT["PATH"])
    if found is None:
        raise ContenderError(f"{name} is not installed here: pip install -e '.[test]'")
    return found


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return lines[-1] if lines else "no word why"
