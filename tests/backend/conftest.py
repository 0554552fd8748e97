"""A deployment that was written, as a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from panorama_driver.backend.containers import Written, write

IMAGE = {"image": "localhost/panorama-driver:test"}


@pytest.fixture
def podman(tmp_path: Path) -> str:
    """A podman that can do nothing but tell its version, which podman-compose asks before it reads a file."""
    path = tmp_path / "podman"
    path.write_text("#!/bin/sh\necho podman version 5.4.0\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def simple(tmp_path: Path) -> Written:
    """With SQLite and without TLS."""
    return write(tmp_path / "simple", IMAGE | {"store": "sqlite"})


@pytest.fixture
def full(tmp_path: Path) -> Written:
    """With OpenSearch, and TLS for others."""
    return write(tmp_path / "full", IMAGE | {"address": "0.0.0.0", "names": ("broker.example.org",)})


def prepare(written: Written, to: Path, names: list[str]) -> None:
    """Run the deployment's own prepare.sh for this user, with the secrets of these names, as compose mounts them."""
    secrets = to / "secrets"
    secrets.mkdir(parents=True)
    for name in names:
        (secrets / name).symlink_to(written.folder / "secrets" / name.removeprefix("tls-"))
    for service in ("broker", "collector", "dashboard", *(("search",) * written.settings.search)):
        (to / service).mkdir()
    user = {name: str(os.getuid()) for name in ("BROKER_USER", "SEARCH_USER", "PANORAMA_USER")}
    script = written.folder / "config" / "prepare.sh"
    words = ["/bin/sh", str(script), str(secrets), str(written.folder / "config"), str(to)]
    subprocess.run(words, env=os.environ | user, check=True)


def tool(name: str) -> str:
    """A program that was installed with the tests."""
    return str(Path(sys.executable).parent / name)
