"""A repository served to everybody: its pages, what it says of itself, and its files."""

from __future__ import annotations

import hashlib
import io
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from panorama_driver.errors import FormatError
from panorama_driver.exchange import About, Source, export, restore
from panorama_driver.web import Dashboard, Library, Limits, Published
from tests.web import stores
from tests.web.serving import ask

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open data of a study and of a store."""
    folder = tmp_path_factory.mktemp("published")
    study, store = stores.embedded(folder / "embedded"), stores.captures(folder / "captures.db")
    sources = [
        Source("embedded", str(study / ".panorama" / "store.db"), study),
        Source("captures", str(store)),
    ]
    export(sources, folder / "open", about=About(title="Two things", license="CC-BY-4.0"))
    return folder / "open"


@contextmanager
def served(repository: Path, folder: Path) -> Iterator[Dashboard]:
    published = Published(repository)
    paths = restore(repository, folder / "kept")
    with (
        Library(paths, cache=None, published=published) as library,
        Dashboard(library, port=0, public=Limits(burst=1000)) as dashboard,
    ):
        yield dashboard


@pytest.fixture
def dashboard(repository: Path, tmp_path: Path) -> Iterator[Dashboard]:
    with served(repository, tmp_path) as found:
        yield found


def test_it_shows_its_studies_and_tells_nobody_where_they_lie(dashboard: Dashboard, tmp_path: Path) -> None:
    answer = ask(dashboard, "/api/studies")
    assert {study["state"] for study in answer.json["studies"]} == {"finished"}
    assert len(answer.json["studies"]) == 2
    for study in answer.json["studies"]:
        answers = [ask(dashboard, f"/api/studies/{study['study']}{rest}").body for rest in ("", "/workflows/none")]
        assert str(tmp_path).encode() not in b"".join([answer.body, *answers])


def test_it_says_what_it_is_and_gives_every_file_as_its_checksum_says(dashboard: Dashboard, repository: Path) -> None:
    told = ask(dashboard, "/api/repository").json
    assert (told["title"], told["license"]) == ("Two things", "CC-BY-4.0")
    assert b'<meta name="repository"' in ask(dashboard, "/repository").body
    for file in told["files"]:
        answer = ask(dashboard, f"/data/{file['path']}")
        assert (answer.status, len(answer.body)) == (200, file["bytes"])
        assert hashlib.sha256(answer.body).hexdigest() == file["sha256"]
    assert json.loads(ask(dashboard, "/data/repository.json").body) == json.loads(
        (repository / "repository.json").read_bytes()
    )


def test_a_part_of_a_file_can_be_asked_for(dashboard: Dashboard, repository: Path) -> None:
    [path] = (repository / "workflows").glob("study=embedded*/*.parquet")
    name, whole = path.relative_to(repository), path.read_bytes()
    part = ask(dashboard, f"/data/{name}", Range="bytes=-8")
    assert (part.status, part.body) == (206, whole[-8:])
    assert part.headers["content-range"] == f"bytes {len(whole) - 8}-{len(whole) - 1}/{len(whole)}"
    head = ask(dashboard, f"/data/{name}", method="HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(whole)), b"")
    assert ask(dashboard, f"/data/{name}", Range=f"bytes={len(whole)}-").status == 416


def test_a_table_is_read_from_there(dashboard: Dashboard) -> None:
    import pyarrow.parquet

    files = ask(dashboard, "/api/repository").json["files"]
    [path] = (each["path"] for each in files if each["path"].startswith("workflows/study=embedded"))
    with urllib.request.urlopen(f"{dashboard.url}data/{path}", timeout=10) as answer:
        table = pyarrow.parquet.read_table(io.BytesIO(answer.read()))
    assert table.num_rows == next(each["rows"] for each in files if each["path"] == path)
    assert {"wf_uuid", "makespan"} <= set(table.column_names)


ELSEWHERE = (
    "/data/",
    "/data/none.parquet",
    "/data/../secret",
    "/data/%2e%2e/secret",
    "/data/workflows",
    "/data//etc/passwd",
    "/data/%2Fetc%2Fpasswd",
    "/data/not-in-the-manifest",
    "/data/a%00b",
)


def test_nothing_else_is_given(repository: Path, tmp_path: Path) -> None:
    (repository.parent / "secret").write_text("secret")
    (repository / "not-in-the-manifest").write_text("secret")
    try:
        with served(repository, tmp_path) as dashboard:
            answers = {path: ask(dashboard, path) for path in ELSEWHERE}
        assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(ELSEWHERE, 404)
    finally:
        (repository / "not-in-the-manifest").unlink()


def test_what_comes_out_of_no_repository_has_no_such_page(tmp_path: Path) -> None:
    store = stores.captures(tmp_path / "captures.db")
    with Library([store], cache=None) as library, Dashboard(library, port=0) as dashboard:
        assert ask(dashboard, "/api/repository").status == 404
        assert ask(dashboard, "/data/repository.json").status == 404
        assert b'<meta name="repository"' not in ask(dashboard, "/").body


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="repository"):
        Published(tmp_path)
