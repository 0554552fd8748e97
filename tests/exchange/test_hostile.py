"""A repository that somebody else has made is believed nothing: what is damaged or crafted is refused with words."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import FormatError
from panorama_driver.exchange import _parquet, import_events, read_manifest, restore
from panorama_driver.store import open_store

from .made import exported, odd_store

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'panorama-driver[parquet]'")
pq = pytest.importorskip("pyarrow.parquet")

EVENTS = "events/study={}/family=stampede/part-00000.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("sound")
    exported(top / "repository", odd_store(top / "odd.db"))
    return top / "repository"


@pytest.fixture
def repository(sound: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(sound, tmp_path / "repository"))


def changed(repository: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest."""
    path = repository / "repository.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def part(repository: Path) -> Path:
    return repository / EVENTS.format(read_manifest(repository).studies[0].id)


def replaced(repository: Path, path: Path) -> None:
    """Have the manifest list a file as it is now."""
    name, data = path.relative_to(repository).as_posix(), path.read_bytes()

    def list_it(manifest: dict[str, Any]) -> None:
        for file in manifest["files"]:
            if file["path"] == name:
                file.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    changed(repository, list_it)


def rewritten(repository: Path, change: Callable[[dict[str, list[Any]]], object]) -> None:
    """Change the rows of a part, with all that the manifest says of it."""
    path = part(repository)
    table = pq.read_table(path, partitioning=None)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema if set(columns) == set(table.column_names) else None), path)
    replaced(repository, path)


def refused(repository: Path, tmp_path: Path, said: str) -> None:
    """It is refused with these words, and nothing is left of it."""
    with pytest.raises(FormatError, match=said):
        restore(repository, tmp_path / "restored")
    assert not [path for path in (tmp_path / "restored").glob("*") if not path.name.startswith(".")]
    with open_store(tmp_path / "again.db") as store, pytest.raises(FormatError, match=said):
        import_events(repository, store)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "events/../../x", "./a", "a//b", "", "a\\..\\b", "events/.."]
)
def test_paths_that_leave_the_folder(path: str, repository: Path, tmp_path: Path) -> None:
    changed(repository, lambda manifest: manifest["files"].append({"path": path, "bytes": 1, "sha256": "0" * 64}))
    refused(repository, tmp_path, "not below the repository|no name that every machine")


@pytest.mark.parametrize("identity", ["..", "../../x", "a/b", "", ".hidden", "x" * 200, "a\0b", "a b"])
def test_studies_that_would_be_made_elsewhere(identity: str, repository: Path, tmp_path: Path) -> None:
    changed(repository, lambda manifest: manifest["studies"][0].update(id=identity))
    refused(repository, tmp_path, "cannot be the ID of a study")


def test_links_to_what_is_elsewhere(repository: Path, tmp_path: Path) -> None:
    path = part(repository)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(repository, tmp_path, "is a link")


def test_folders_that_are_links_to_elsewhere(repository: Path, tmp_path: Path) -> None:
    folder = part(repository).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    refused(repository, tmp_path, "is a link")


def test_files_that_are_pipes(repository: Path, tmp_path: Path) -> None:
    part(repository).unlink()
    os.mkfifo(part(repository))
    refused(repository, tmp_path, "or no file")


def test_a_file_with_one_bit_changed(repository: Path, tmp_path: Path) -> None:
    data = bytearray(part(repository).read_bytes())
    data[len(data) // 2] ^= 1
    part(repository).write_bytes(data)
    refused(repository, tmp_path, "damaged or changed")


def test_a_file_that_is_missing(repository: Path, tmp_path: Path) -> None:
    part(repository).unlink()
    refused(repository, tmp_path, "cannot be read")


def test_a_file_that_is_no_parquet(repository: Path, tmp_path: Path) -> None:
    part(repository).write_bytes(b"PAR1 not really PAR1")
    replaced(repository, part(repository))
    refused(repository, tmp_path, "cannot be read as Parquet")


def test_columns_of_another_type(repository: Path, tmp_path: Path) -> None:
    rewritten(repository, lambda columns: columns.update(more=columns.pop("via")))
    refused(repository, tmp_path, "column via is missing")


def test_an_event_that_is_not_the_one_it_says_it_is(repository: Path, tmp_path: Path) -> None:
    rewritten(repository, lambda columns: columns["fields"].__setitem__(0, '{"seq":0,"status":"forged","pid":7}'))
    refused(repository, tmp_path, "is not the event")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("fields", "[1]", "no JSON object"),
        ("fields", "{", "no JSON"),
        ("fields", "[" * 100_000, "no JSON"),
        ("fields", None, "lacks"),
        ("kind", None, "lacks"),
        ("ingested", None, "lacks"),
        ("via", 8, "on way 8"),
        ("via", 0, "on way 0"),
        ("seq", 10**9, "comes after"),
    ],
)
def test_rows_that_are_no_events(column: str, value: object, said: str, repository: Path, tmp_path: Path) -> None:
    rewritten(repository, lambda columns: columns[column].__setitem__(0, value))
    refused(repository, tmp_path, said)


def test_a_small_file_of_which_texts_of_gigabytes_would_come_takes_no_memory(repository: Path, tmp_path: Path) -> None:
    """A text of 900 kB stands once in the file, for 400 rows."""
    path = part(repository)
    table = pq.read_table(path, partitioning=None)
    row = {name: [values[0]] * 400 for name, values in table.to_pydict().items()}
    row |= {"seq": list(range(400)), "fields": ['{"x":"' + "a" * 900_000 + '"}'] * 400}
    pq.write_table(pa.table(row, schema=table.schema), path, compression="zstd", dictionary_pagesize_limit=1 << 20)
    assert path.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    number = sum(len(each["fields"]) for each in _parquet.rows(path, table.schema))
    assert number == 400 * 900_008
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # [kB]


def test_a_text_that_is_too_long(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parquet, "_LONGEST", 20)
    refused(repository, tmp_path, "nothing that was exported has such")


def test_a_row_group_that_claims_too_much(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parquet, "_MOST_ROWS", 1)
    refused(repository, tmp_path, "claims . rows")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not as a manifest should be"),
        ("[]", "not as a manifest should be"),
        ("[" * 100_000, "not as a manifest should be"),
        ("{}", "this is no repository"),
        ('{"format": "other"}', "this is no repository"),
        ('{"format": "panorama-repository", "version": 99}', "update with"),
        ('{"format": "panorama-repository", "version": 1, "files": [{"path": 7}]}', "not as a manifest should be"),
    ],
)
def test_manifests_that_are_none(text: str, said: str, repository: Path, tmp_path: Path) -> None:
    (repository / "repository.json").write_text(text)
    refused(repository, tmp_path, said)


def test_two_studies_of_one_id(repository: Path, tmp_path: Path) -> None:
    changed(repository, lambda manifest: manifest["studies"].append(manifest["studies"][0]))
    refused(repository, tmp_path, "the same ID")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="is no repository"):
        read_manifest(tmp_path / "empty")
