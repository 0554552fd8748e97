"""Long runs are read in a process of their own, which ends with its work, with the server, or is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from panorama_driver.errors import StoreError
from panorama_driver.store import Store, open_store
from panorama_driver.web import _worker
from panorama_driver.web._digest import digest
from panorama_driver.web._worker import Reader

from ..metrics.runs import WF
from .test_digest import traced


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 24,000 samples."""
    path = tmp_path_factory.mktemp("long") / "store.db"
    with open_store(path) as store:
        store.put(traced(12_000).events)
    return path


@pytest.fixture
def store(where: Path) -> Iterator[Store]:
    with open_store(where, readonly=True) as opened:
        yield opened


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader() as opened:
        yield opened


def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(reader: Reader) -> bool:
    return reader._process is not None and reader._process.poll() is None


def test_a_long_run_is_read_elsewhere_and_is_the_same(reader: Reader, store: Store, where: Path) -> None:
    told: list[int] = []
    assert reader.digest(store, where, WF, progress=told.append) == digest(store, WF)
    assert told == [10_000, 20_000]
    assert reader._process is not None
    assert not running(reader)


def test_a_short_one_and_a_light_one_are_read_here(reader: Reader, store: Store, where: Path, tmp_path: Path) -> None:
    assert reader.digest(store, where, WF, light=True).samples_read == 0
    with open_store(tmp_path / "small.db") as small:
        small.put(traced(10).events)
        assert reader.digest(small, tmp_path / "small.db", WF) == digest(small, WF)
    assert reader._process is None


def test_it_is_started_again_when_it_is_killed(reader: Reader, store: Store, where: Path) -> None:
    killed: list[int] = []

    def kill(samples_read: int) -> None:
        assert reader._process is not None
        if not killed:
            killed.append(reader._process.pid)
            os.kill(reader._process.pid, signal.SIGKILL)

    assert reader.digest(store, where, WF, progress=kill).samples_read == 23_997
    assert len(killed) == 1


def test_when_it_is_killed_again_that_is_told(reader: Reader, store: Store, where: Path) -> None:
    def kill(samples_read: int) -> None:
        assert reader._process is not None
        os.kill(reader._process.pid, signal.SIGKILL)

    with pytest.raises(StoreError, match=r"could not be read: its process ended with -9"):
        reader.digest(store, where, WF, progress=kill)


def test_what_it_could_not_read_is_told_in_its_words(reader: Reader, store: Store, where: Path) -> None:
    with pytest.raises(StoreError, match="there is no store yet"):
        reader.digest(store, where.with_name("gone.db"), WF)


def test_one_that_says_nothing_is_given_up(
    reader: Reader, store: Store, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(_worker, "_PATIENCE", 0.2)
    with pytest.raises(StoreError, match="has said nothing"):
        reader.digest(store, where, WF)
    assert not running(reader)


def test_it_ends_when_the_reader_is_closed(
    reader: Reader, store: Store, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    problems: list[StoreError] = []

    def read() -> None:
        try:
            reader.digest(store, where, WF)
        except StoreError as problem:
            problems.append(problem)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: running(reader))
    reader.close()
    thread.join(30)
    assert len(problems) == 1
    assert not running(reader)


def test_it_ends_with_the_server_that_was_killed(where: Path) -> None:
    script = f"""
import os, sys
from panorama_driver.store import open_store
from panorama_driver.web._worker import Reader
reader = Reader()
def stop(samples_read):
    print(reader._process.pid, flush=True)
    os.kill(os.getpid(), 9)
reader.digest(open_store({str(where)!r}, readonly=True), {str(where)!r}, {WF!r}, progress=stop)
"""
    server = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60)
    assert server.returncode == -signal.SIGKILL
    until(lambda: not _is_there(int(server.stdout)))


def _is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
