"""Copies of a store come back whole, taken while it is written to, and what is no copy changes nothing."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from panorama_driver.backend import volumes
from panorama_driver.collector._intake import Record, keep
from panorama_driver.config import shared_folder
from panorama_driver.errors import StoreError
from panorama_driver.store import Store, Via, open_store
from panorama_driver.store._search_address import Address
from panorama_driver.store._search_http import Client
from panorama_driver.testing import opensearch
from tests.conftest import DATA


def fill(store: Store, name: str) -> None:
    lines = (DATA / "captures" / name).read_text().splitlines()
    drained = keep(store, [Record(json.dumps(json.loads(line)["body"]).encode(), "file") for line in lines], Via.BROKER)
    assert drained.stored


def dump(where: str | Path) -> list[str]:
    with open_store(where, readonly=True) as store:
        return sorted(repr(event) for flow in store.workflows() for event in store.events(flow.wf_uuid))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "store.db", durable=True) as store:
        fill(store, "stampede-events.jsonl")
    return tmp_path / "store.db"


def saved(path: Path) -> bytes:
    copy = io.BytesIO()
    volumes.save(path, copy)
    return copy.getvalue()


def test_a_copy_comes_back_in_the_place_of_what_there_is(path: Path) -> None:
    before, copy = dump(path), saved(path)
    with open_store(path, durable=True) as store:
        fill(store, "stampede-events-fail.jsonl")
    assert dump(path) != before
    volumes.load(path, io.BytesIO(copy))
    assert dump(path) == before
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".copy")] == []


def test_a_copy_taken_while_the_store_is_written_to_is_whole(path: Path, tmp_path: Path) -> None:
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path)) as store:
            store.execute("CREATE TABLE pairs (a, b)")
            number = 0
            while not ended.is_set():
                number += 1
                with store:
                    store.execute("INSERT INTO pairs VALUES (?, NULL)", (number,))
                    store.execute("UPDATE pairs SET b = a WHERE a = ?", (number,))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [saved(path) for _ in range(3)]
    finally:
        ended.set()
        writer.join()
    for copy in copies:
        (tmp_path / "copy.db").write_bytes(copy)
        with closing(sqlite3.connect(tmp_path / "copy.db")) as store:
            assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("damage", [lambda copy: b"", lambda copy: b"no store", lambda copy: copy[: len(copy) // 2]])
def test_what_is_no_copy_leaves_the_store_alone(path: Path, damage: object) -> None:
    before = dump(path)
    with pytest.raises(StoreError):
        volumes.load(path, io.BytesIO(damage(saved(path))))  # type: ignore[operator]  # one of the functions above
    assert dump(path) == before


def test_it_is_called_as_a_program_in_the_container(path: Path) -> None:
    words = [sys.executable, "-m", "panorama_driver.backend.volumes"]
    copy = subprocess.run([*words, "save", path], stdout=subprocess.PIPE, check=True).stdout
    before = dump(path)
    path.unlink()
    subprocess.run([*words, "load", path], input=copy, check=True)
    assert dump(path) == before
    wrong = subprocess.run([*words, "save", path.with_name("nothing.db")], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "no store there" in wrong.stderr
    assert subprocess.run([*words, "frobnicate", path], capture_output=True, check=False).returncode == 2


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[opensearch.Node]:
    """A search engine with the settings of a deployment, but for TLS and passwords, which the image's plugin knows."""
    if reason := opensearch.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("search")
    settings = yaml.safe_load((shared_folder("deploy") / "search" / "opensearch.yml").read_text())
    kept = {key: value for key, value in settings.items() if not key.startswith("plugins.security.")}
    assert len(settings) > len(kept) > 5
    kept["path.repo"] = [str(folder / "data" / "snapshots")]
    (folder / "config").mkdir()
    (folder / "config" / "opensearch.yml").write_text(yaml.safe_dump(kept))
    with opensearch.running(folder) as running:
        yield running


@pytest.mark.long
def test_a_snapshot_comes_back_in_the_place_of_what_there_is(node: opensearch.Node, tmp_path: Path) -> None:
    url = f"{node.url}/panorama"
    with open_store(url, durable=True) as store:
        fill(store, "stampede-events.jsonl")
    before = dump(url)
    with closing(Client(Address.read(url))) as client:
        volumes.snapshot(client)
        snapshots = node.folder / "data" / "snapshots"
        shutil.copytree(snapshots, tmp_path / "kept")
        with open_store(url, durable=True) as store:
            fill(store, "stampede-events-fail.jsonl")
        volumes.snapshot(client)
        assert dump(url) != before
        shutil.rmtree(snapshots)
        shutil.copytree(tmp_path / "kept", snapshots)
        volumes.restore(client)
        assert dump(url) == before
        with open_store(url, durable=True) as store:
            fill(store, "stampede-events-fail.jsonl")
        shutil.rmtree(snapshots)
        snapshots.mkdir()
        with pytest.raises(StoreError):
            volumes.restore(client)
    assert len(dump(url)) > len(before)
