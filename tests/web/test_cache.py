"""What was read is kept beside the study, never in it, and never in the way."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from panorama_driver.store import Store, open_store
from panorama_driver.store._caches import cache_folder
from panorama_driver.web import _cache
from panorama_driver.web._cache import Cache
from panorama_driver.web._digest import Digest, digest

from ..metrics.runs import WF, Run


class Line(msgspec.Struct):
    """Something small."""

    number: int


class Other(msgspec.Struct):
    """Something else."""

    words: str


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "study").mkdir()
    with open_store(tmp_path / "study" / "store.db") as opened:
        opened.put(Run().jobs("a").start(0).attempt("a", 1, 0, 1, 2).end(4).events)
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "panorama"


def test_what_was_put_comes_back_to_another_process_too(store: Store, folder: Path) -> None:
    first, second = Cache(store, folder), Cache(store, folder)
    first.put(7, "w", Line(3))
    first.put(7, "w", Other("x"))
    assert second.get(Line, "w", 7) == Line(3)
    assert second.get(Other, "w", 7) == Other("x")
    assert second.get(Line, "v", 7) is None
    first.close()
    assert second.get(Line, "w", 7) == Line(3)
    second.close()


def test_a_digest_is_kept_until_an_event_of_its_run_arrives(store: Store, folder: Path) -> None:
    cache, mark = Cache(store, folder), store.changed().workflows[WF]
    found = digest(store, WF)
    cache.put(mark, WF, found)
    assert cache.get(Digest, WF, mark) == found
    store.put(Run().told("a", 2, "job_inst.submit.start", ts=9).events)
    assert cache.get(Digest, WF, store.changed().workflows[WF]) is None


def test_ten_thousand_lines_are_there_at_once_but_for_those_that_moved(store: Store, folder: Path) -> None:
    cache, marks = Cache(store, folder), {f"w{i}": i for i in range(10_000)}
    cache.put_all((mark, wf_uuid, Line(mark)) for wf_uuid, mark in marks.items())
    marks |= {"w3": 10_000}
    del marks["w4"]
    found = cache.all(Line, marks)
    assert len(found) == 9998
    assert found["w9999"] == Line(9999)
    assert found.keys() == marks.keys() - {"w3"}


def test_it_is_for_its_owner_alone_and_nothing_is_written_into_the_study(store: Store, folder: Path) -> None:
    before = sorted(os.listdir(folder.parent.parent / "study"))
    cache = Cache(store, folder)
    cache.put(1, "w", Line(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert sorted(os.listdir(folder.parent.parent / "study")) == before


def test_another_version_of_the_program_keeps_nothing_of_this_one(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cache(store, folder).put(1, "w", Line(1))
    monkeypatch.setattr(_cache, "FORMAT", _cache.FORMAT + 1)
    cache = Cache(store, folder)
    assert cache.get(Line, "w", 1) is None
    cache.put(1, "w", Line(2))
    assert cache.get(Line, "w", 1) == Line(2)


def test_another_store_has_a_cache_of_its_own(store: Store, folder: Path, tmp_path: Path) -> None:
    Cache(store, folder).put(1, "w", Line(1))
    with open_store(tmp_path / "other.db") as other:
        other.put(Run().start(77).events)
        assert Cache(other, folder).get(Line, "w", 1) is None
    assert len(list(folder.glob("*.db"))) == 2


def test_what_cannot_be_decoded_is_read_again(store: Store, folder: Path) -> None:
    cache = Cache(store, folder)
    cache.put(1, "w", Line(1))
    assert cache._connection is not None
    cache._connection.execute("UPDATE kept SET data = x'00'")
    assert cache.get(Line, "w", 1) is None


def test_a_damaged_file_is_made_anew(store: Store, folder: Path) -> None:
    Cache(store, folder).put(1, "w", Line(1))
    [file] = folder.glob("*.db")
    for path in folder.iterdir():
        path.unlink()
    file.write_bytes(b"no database, whatever its name says" * 100)
    cache = Cache(store, folder)
    assert cache.get(Line, "w", 1) is None
    cache.put(1, "w", Line(2))
    assert cache.get(Line, "w", 1) == Line(2)


def test_where_nothing_can_be_written_it_says_so_once_and_nothing_else_happens(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file, where a folder should be")
    with caplog.at_level(logging.WARNING):
        cache = Cache(store, tmp_path / "cache" / "panorama")
        cache.put(1, "w", Line(1))
        assert cache.get(Line, "w", 1) is None
        assert cache.all(Line, {"w": 1}) == {}
        cache.close()
    assert [record.message.count("the cache cannot be used") for record in caplog.records] == [1]


def test_a_file_that_breaks_while_it_is_used_is_given_up(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(store, folder)
    assert cache._connection is not None
    cache._connection.execute("DROP TABLE kept")
    cache.put(1, "w", Line(1))
    assert cache.get(Line, "w", 1) is None
    assert len(caplog.records) == 1


def test_what_is_too_large_is_not_kept_and_the_oldest_goes_first(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(store, folder)
    monkeypatch.setattr(_cache, "LARGEST", 3000)
    monkeypatch.setattr(_cache, "ROOM", 5000)
    noise = [os.urandom(1250).hex() for _ in range(5)]
    for number, words in enumerate(noise):
        cache.put(1, f"w{number}", Other(words))
    cache.put(1, "large", Other(os.urandom(4000).hex()))
    kept = cache.all(Other, dict.fromkeys(("w0", "w1", "w2", "w3", "w4", "large"), 1))
    assert set(kept) == {"w2", "w3", "w4"}


def test_none_keeps_nothing_and_an_empty_store_has_nothing_to_keep(store: Store, folder: Path, tmp_path: Path) -> None:
    Cache(store, None).put(1, "w", Line(1))
    with open_store(tmp_path / "empty.db") as empty:
        Cache(empty, folder).put(1, "w", Line(1))
    assert not folder.exists()


def test_it_lies_where_caches_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "panorama"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_folder() == tmp_path / "me" / ".cache" / "panorama"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it gives where nobody knows the user
    assert cache_folder() is None


def test_a_store_that_was_collected_anew_has_a_cache_of_its_own(store: Store, folder: Path, tmp_path: Path) -> None:
    Cache(store, folder).put(1, "w", Line(1))
    with open_store(tmp_path / "anew.db") as anew:
        anew.put(store.since(0).events)
        assert Cache(anew, folder).get(Line, "w", 1) is None
