"""Tstat's logs, recognised by what is in them, are joined to what the store knows."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from panorama_driver.exchange.formats import Format, detected, tstat
from panorama_driver.sources import expand
from panorama_driver.store import Store, open_store
from tests.collector.test_tstat import BEGIN, EARLY, LATE, MIB, STRANGER, connections, moved, write
from tests.tstat_logs import ADVANCED, CORE, FULL, VERSION_2, header, line, log


@pytest.fixture
def known(tmp_path: Path) -> Store:
    """A store with two transfers."""
    store = open_store(tmp_path / "store.db")
    raws = [*moved("early", BEGIN, BEGIN + 10, 50 * MIB), *moved("late", BEGIN + 100, BEGIN + 120, 90 * MIB)]
    store.put(event for raw in raws for event in expand(raw))
    return store


def test_connections_of_logs_of_any_name_are_given_to_their_jobs(known: Store, tmp_path: Path) -> None:
    first = write(tmp_path, "monday", log(FULL, EARLY, STRANGER))
    second = write(tmp_path, "tuesday.gz", gzip.compress(log(VERSION_2, LATE)))
    assert [detected(path) for path in (first, second)] == [
        Format("tstat", "Tstat's log_tcp_complete, joined to transfers that the store knows", "tstat", joins=True)
    ] * 2
    found = tstat.collect([first, second], known)
    assert (found.read, found.new, found.letters) == (2, 2, 0)
    assert "0 of 3 connections joined by socket, 2 by host and time" in found.notes
    assert any("1 fit no transfer that the store knows" in note for note in found.notes)
    assert connections(known) == [("early", 1), ("late", 2)]
    again = tstat.collect([first, second], known)
    assert (again.read, again.new, again.letters) == (2, 0, 0)


def test_damaged_lines_are_counted_once(known: Store, tmp_path: Path) -> None:
    path = write(tmp_path, "log", f"{header(FULL)}\n1 2 3\n{line(told=EARLY)}\n".encode())
    assert tstat.collect([path], known).letters == 1
    assert tstat.collect([path], known).letters == 0


@pytest.mark.parametrize("columns", [CORE, FULL, VERSION_2, ADVANCED], ids=len)
def test_every_set_of_columns_is_recognised(tmp_path: Path, columns: tuple[str, ...]) -> None:
    path = write(tmp_path, "unnamed", log(columns))
    assert detected(path).name == "tstat"
    headless = write(tmp_path, "headless", log(columns, headed=False))
    assert tstat.detect(headless, headless.read_bytes()[:4096]) is (columns is not ADVANCED)


@pytest.mark.parametrize("text", [b"#c_ip:1 c_port:2\n", b"# a comment\n", b"1 2 3\n", b"\n\n", b"#" * 9000])
def test_other_logs_are_none(tmp_path: Path, text: bytes) -> None:
    assert not tstat.detect(tmp_path / "log_tcp_complete", text[:4096])
