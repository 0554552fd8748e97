"""What tests on a real Pegasus need: its programs, a place where it runs, and its Ensemble Manager."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from panorama_driver.engines.pegasus import service

PROGRAMS = ("pegasus-plan", "pegasus-em", "condor_q")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
ON_REAL_PEGASUS = [
    pytest.mark.skipif(bool(MISSING), reason=f"no real Pegasus: {', '.join(MISSING)} not on PATH"),
    pytest.mark.skipif(os.getuid() == 0, reason="Pegasus' Ensemble Manager refuses to run as root"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that is not under /tmp, where DAGMan refuses to run."""
    with tempfile.TemporaryDirectory(prefix="panorama-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def manager() -> Iterator[None]:
    """The user's manager; ended afterwards if it was not there before."""
    started = service.up(service.own_account(), 2.0, print)
    yield
    if started.fresh:
        service.down(service.own_account())
