"""Studies to kill, what they leave behind, and the figures that the runs print at their end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.testing.rabbitmq import Node

from .brokers import Queue
from .studies import SERVER, Study, kill, processes_of, wait_for

_FIGURES = pytest.StashKey[list[str]]()
_GONE = 25.0
"""All of a study's processes must have gone by then [s]."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures:
        terminalreporter.section("figures of the fault tests")
        for line in figures:
            terminalreporter.write_line(line)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Notes a figure, to be shown when all tests have run."""

    def note(line: str) -> None:
        request.config.stash[_FIGURES].append(line)

    return note


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that no process may be left in once its server was asked to end; in a failed test all are killed."""
    yield tmp_path
    try:
        for pid in [pid for pid, words in processes_of(tmp_path).items() if SERVER in words]:
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not processes_of(tmp_path), "the end of all processes", _GONE)
    finally:
        left = processes_of(tmp_path)
        kill(list(left))
        assert not left, f"left behind: {left}"


@pytest.fixture
def make(folder: Path, make_study: Callable[..., Path], dakota: str) -> Callable[..., Study]:
    """Makes a study of the parabola at `points`; more keywords are those of `Study` and of study.yml."""

    def make_it(points: list[float], name: str = "study", **keys: Any) -> Study:
        own = {key: keys.pop(key) for key in ("concurrency", "capture", "batch") if key in keys}
        return Study(make_study(name, **keys), dakota, points, **own)

    return make_it


@pytest.fixture
def queue(broker: Node, vhost: str, tmp_path: Path) -> Iterator[Queue]:
    """A collector's queue in the broker that all share; whoever still works on it afterwards is killed."""
    queue = Queue(broker, vhost, tmp_path)
    yield queue
    queue.close()
