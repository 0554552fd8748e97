"""CSV has the values that SQL gives, each with its unit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from panorama_driver.errors import UsageError
from panorama_driver.exchange.formats import csvw
from panorama_driver.exchange.records import About, Column, Creator, Source, silent
from panorama_driver.questions import TABLES, Place, Questions
from panorama_driver.store import open_store
from tests.exchange.made import odd_store
from tests.exchange.runs import captured

ABOUT = About(title="Recorded runs", license="CC-BY-4.0", creators=[Creator(name="Ann")], keywords=["workflows"])
UNITS = {each.name: {column.name: column.unit for column in each.columns} for each in TABLES}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return captured(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def folder(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("csv")
    paths = csvw.write([source], target, ABOUT, silent)
    assert sorted(path.name for path in paths) == sorted(path.name for path in target.iterdir())
    return target


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def read(text: str, like: object) -> object:
    """A field as SQL has the value: by the type that it has there."""
    if text == "":
        return None
    return like.__class__(text) if isinstance(like, int | float) else text


def test_every_value_is_that_of_sql_digit_by_digit(source: Source, folder: Path) -> None:
    compared = 0
    with Questions([Place(source.name, source.store)], None, rows=100_000) as asked:
        for path in folder.glob("*.csv"):
            header, *found = rows(path)
            names = [title.partition(" [")[0] for title in header]
            wanted = asked.sql(f"SELECT {', '.join(names)} FROM {path.stem}").rows
            assert len(found) == len(wanted) > 0
            pairs = zip(found, wanted, strict=True)
            told = [tuple(map(read, texts, values)) for texts, values in pairs]
            assert sorted(map(repr, told)) == sorted(map(repr, wanted))
            compared += len(wanted) * len(names)
    assert compared > 10_000


def test_the_header_names_units(folder: Path) -> None:
    [jobs, attempts] = [rows(folder / f"{name}.csv")[0] for name in ("jobs", "attempts")]
    assert {"job_id", "wall_time [s]", "bytes_read [bytes]", "cpu_utilization [1]", "tcp_throughput [bytes/s]"} <= {
        *jobs
    }
    assert jobs[0] == attempts[0] == "study"
    for title in attempts:
        name, _, unit = title.removesuffix("]").partition(" [")
        assert UNITS["attempts"][name] == unit


def test_a_description_of_the_w3c_tells_types_units_and_meanings(folder: Path) -> None:
    told = json.loads((folder / csvw.METADATA).read_bytes())
    assert told["@context"] == "http://www.w3.org/ns/csvw"
    assert (told["dc:title"], told["dc:license"], told["dc:creator"]) == ("Recorded runs", "CC-BY-4.0", ["Ann"])
    assert {table["url"] for table in told["tables"]} == {path.name for path in folder.glob("*.csv")}
    for table in told["tables"]:
        columns = table["tableSchema"]["columns"]
        assert [column["titles"] for column in columns] == rows(folder / table["url"])[0]
        by_name = {column["name"]: column for column in columns}
        if "wall_time" in by_name:
            assert by_name["wall_time"]["schema:unitText"] == "s"
            assert by_name["wall_time"]["datatype"] == "double"
        assert all(column["dc:description"] for column in columns)


def test_pandas_reads_numbers_as_numbers(folder: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    jobs = pandas.read_csv(folder / "jobs.csv")
    with (folder / "jobs.csv").open(encoding="utf-8", newline="") as file:
        known = [float(row["wall_time [s]"]) for row in csv.DictReader(file) if row["wall_time [s]"]]
    assert jobs["wall_time [s]"].sum() == pytest.approx(sum(known))
    assert jobs["wall_time [s]"].count() == len(known) < len(jobs)  # unknown is not zero


def test_studies_of_one_name_stay_apart_and_one_that_is_named_twice_is_written_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (captured(tmp_path / name, [run]) for name, run in (("a", "slurm-ok"), ("b", "mini-fail")))
    csvw.write([one, other, one], tmp_path, About(), silent)
    found = [(row[0], row[1]) for row in rows(tmp_path / "workflows.csv")[1:]]
    assert found == [("captured", "st-ok"), ("captured 2", "mini-fail")]


def test_what_is_odd_is_written_all_the_same(tmp_path: Path) -> None:
    assert csvw.write([odd_store(tmp_path / "odd.db")], tmp_path / "out", About(), silent)
    for path in (tmp_path / "out").glob("*.csv"):
        assert len({len(row) for row in rows(path)}) == 1


def test_an_empty_store_is_told(tmp_path: Path) -> None:
    open_store(tmp_path / "s.db").close()
    with pytest.raises(UsageError, match="nothing to write"):
        csvw.write([Source("s", str(tmp_path / "s.db"))], tmp_path / "out", About(), silent)


def test_a_title() -> None:
    assert csvw.title(Column(name="wall_time", type="REAL", unit="s")) == "wall_time [s]"
    assert csvw.title(Column(name="host", type="TEXT")) == "host"
