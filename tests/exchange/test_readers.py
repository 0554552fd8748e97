"""Others read a repository without us, and get the numbers that `panorama ask` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from panorama_driver.exchange import Manifest
from panorama_driver.questions import Place, Questions
from panorama_driver.study.client import FOLDER
from tests.questions.studies import Made, Try, study
from tests.web.found import found

from .made import exported, study_source

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'panorama-driver[parquet]'")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    top = tmp_path_factory.mktemp("read")
    one = study(
        top / "one", [Made({"x": x, "how": "fast"}, [[Try(1 + x)], [Try(2, "node2")]], {"y": x / 3}) for x in range(3)]
    )
    return [one, study(top / "two", [Made({"z": 1.5, "how": 7}, [[Try(4, fails=True)]])]), found(top / "three")]


@pytest.fixture(scope="module")
def repository(homes: list[Path]) -> tuple[Path, Manifest]:
    folder = homes[0].parent / "repository"
    return folder, exported(folder, *map(study_source, homes))


def test_duckdb_reads_every_table_as_ask_gives_it(repository: tuple[Path, Manifest], homes: list[Path]) -> None:
    duckdb = pytest.importorskip("duckdb")
    folder, manifest = repository
    places = [Place(home.name, str(home / FOLDER / "store.db"), home / FOLDER) for home in homes]
    with Questions(places, None) as questions:
        for table in manifest.tables[1:]:
            names = {column.name for column in table.columns} - {
                "text",
                "x_how",
                "value" * (table.name == "parameters"),
            }
            listed = ", ".join(f'"{name}"' for name in sorted(names))
            ours = questions.sql(f"SELECT {listed} FROM {table.name}").rows
            theirs = duckdb.sql(f"SELECT {listed} FROM '{folder}/{table.name}/*/*.parquet'").fetchall()
            assert sorted(map(repr, map(_plain, ours))) == sorted(map(repr, map(_plain, theirs))), table.name
        assert questions.sql("SELECT count(*) FROM anomalies").rows == [(3,)]


def _plain(row: Any) -> list[Any]:
    """Numbers as JSON has them, which a column of another type has as 1.0 or text."""
    return [float(value) if isinstance(value, int) else value for value in row]


def test_parameters_are_numbers_or_texts_in_columns_of_their_own(
    repository: tuple[Path, Manifest], homes: list[Path]
) -> None:
    duckdb = pytest.importorskip("duckdb")
    folder, _ = repository
    sql = "SELECT evaluation, value, text FROM '{}/parameters/*/*.parquet' WHERE name = 'how' ORDER BY ALL"
    assert duckdb.sql(sql.format(folder)).fetchall() == [
        ("1", 7.0, None),
        ("1", None, "fast"),
        ("2", None, "fast"),
        ("3", None, "fast"),
    ]
    wide = duckdb.sql(f"SELECT x_how, x_x, x_z FROM '{folder}/evaluations/study=two*/*.parquet'").fetchall()
    assert wide == [("7", None, 1.5)]


def test_pandas_reads_a_table_with_the_study_of_each_row(repository: tuple[Path, Manifest]) -> None:
    pandas = pytest.importorskip("pandas")
    folder, manifest = repository
    frame = pandas.read_parquet(folder / "evaluations")
    assert set(frame["study"].astype(str)) == {each.id for each in manifest.studies}
    one = frame[frame["study"].astype(str) == manifest.studies[0].id]
    assert sorted(one["r_y"]) == pytest.approx([0, 1 / 3, 2 / 3])
    assert frame[frame["study"].astype(str) == manifest.studies[1].id]["r_y"].isna().all()


def test_polars_reads_all_events(repository: tuple[Path, Manifest]) -> None:
    polars = pytest.importorskip("polars")
    folder, manifest = repository
    frame = polars.scan_parquet(f"{folder}/events/**/*.parquet", hive_partitioning=True).collect()
    assert len(frame) == sum(each.events for each in manifest.studies)
    assert set(frame["family"]) == {each.name.partition("=")[2] for each in folder.glob("events/*/*")}
    assert frame["event_id"].n_unique() == len(frame)


def test_the_page_of_the_repository_has_queries_that_work(repository: tuple[Path, Manifest]) -> None:
    duckdb = pytest.importorskip("duckdb")
    folder, _ = repository
    text = (folder / "README.md").read_text()
    block = text.partition("DuckDB:")[2].partition("pandas:")[0]
    queries = [query for query in block.split(";") if query.strip()]
    assert len(queries) == 3
    for query in queries:
        duckdb.sql(query.replace(" '", f" '{folder}/").replace(f"'{folder}/$", "'$")).fetchall()


def test_units_stand_in_the_files_too(repository: tuple[Path, Manifest]) -> None:
    from pyarrow.parquet import read_schema

    folder, _ = repository
    [path, *_] = folder.glob("attempts/*/*.parquet")
    schema = read_schema(path)
    assert schema.field("wall_time").metadata == {b"unit": b"s"}
    assert schema.field("bytes_read").metadata == {b"unit": b"bytes"}
