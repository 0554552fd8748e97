"""Real jobs under the real probe."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.probe import PROBE
from tests.conftest import whole_lines

Record = dict[str, Any]


class Gone:
    """Waits for the end of processes that are not our children."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def watch(self, pid: int) -> int:
        self._open.append(os.pidfd_open(pid))
        return self._open[-1]

    def within(self, seconds: float, *pidfds: int) -> bool:
        left = set(pidfds)
        while left:
            ended, _, _ = select.select(list(left), [], [], seconds)
            if not ended:
                return False
            left -= set(ended)
        return True

    def close(self) -> None:
        for pidfd in self._open:
            os.close(pidfd)


@pytest.fixture
def gone() -> Iterator[Gone]:
    waiting = Gone()
    yield waiting
    waiting.close()


class Probe:
    """Starts the probe on a command and reads its trace."""

    def __init__(self, folder: Path) -> None:
        self.trace = folder / "trace.jsonl"
        self.folder = folder

    def words(self, *command: str | bytes, options: tuple[str, ...] = ()) -> list[str | bytes]:
        return [sys.executable, "-IS", str(PROBE), "--trace", str(self.trace), *options, "--", *command]

    def run(
        self, *command: str | bytes, options: tuple[str, ...] = (), **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.words(*command, options=options), capture_output=True, timeout=30, **more)

    def start(self, *command: str | bytes, options: tuple[str, ...] = (), **more: Any) -> subprocess.Popen[bytes]:
        more.setdefault("stdin", subprocess.PIPE)
        more.setdefault("stdout", subprocess.PIPE)
        return subprocess.Popen(self.words(*command, options=options), **more)

    def python(self, source: str, *arguments: str) -> tuple[str, ...]:
        """Give the command of a small Python job."""
        return (sys.executable, "-IS", "-c", source, *arguments)

    def records(self) -> list[Record]:
        return [json.loads(line) for line in whole_lines(self.trace)]

    def last(self) -> Record:
        return self.records()[-1]


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    return Probe(tmp_path)


@pytest.fixture
def started() -> Iterator[Callable[[subprocess.Popen[bytes]], subprocess.Popen[bytes]]]:
    """Keep started processes from outliving a failed test."""
    processes: list[subprocess.Popen[bytes]] = []

    def keep(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        processes.append(process)
        return process

    yield keep
    for process in processes:
        with process:
            if process.poll() is None:
                process.kill()
