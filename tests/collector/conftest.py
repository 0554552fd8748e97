"""A store and a run folder, both empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from panorama_driver.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
