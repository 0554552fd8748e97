"""Stand-ins for Pegasus and HTCondor, quick ones, and the released Ensemble Manager on top of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from panorama_driver.errors import EnvironmentMissingError
from panorama_driver.testing import Standins, install
from panorama_driver.testing.manager import Manager, find_venv

QUICK = {"scan": 0.05, "lag": 0.2, "linger": 0.2, "periodic": 0.5}


@contextmanager
def folder_for_evaluations() -> Iterator[Path]:
    """A folder that is not under /tmp, where DAGMan refuses to run."""
    path = Path(tempfile.mkdtemp(prefix="panorama-", dir="/var/tmp")).resolve()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def quick_standins(folder: Path) -> Iterator[Standins]:
    """The stand-ins, first on PATH; what they have started is ended afterwards."""
    found = install(folder, **QUICK)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        for name in ("PEGASUS_HOME", "CONDOR_HOME"):
            patch.delenv(name, raising=False)
        try:
            yield found
        finally:
            found.end()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for evaluations."""
    with folder_for_evaluations() as path:
        yield path


@pytest.fixture
def standins(place: Path) -> Iterator[Standins]:
    """The stand-ins, first on PATH, and quick."""
    with quick_standins(place / "standins") as found:
        yield found


@pytest.fixture
def manager(standins: Standins) -> Iterator[Manager]:
    """The released Ensemble Manager, which looks twice a second."""
    try:
        find_venv()
    except EnvironmentMissingError as missing:
        pytest.skip(str(missing))
    with Manager(standins) as running:
        yield running
