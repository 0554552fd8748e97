"""What a repository says of itself as RO-Crate: read by its library, valid to its validator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.exchange import About, Creator, export, merge, read_manifest
from panorama_driver.exchange.formats import rocrate
from panorama_driver.exchange.records import Column, File, Manifest, Software, Study, Table
from tests.exchange.runs import captured

pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'panorama-driver[parquet]')")
ABOUT = About(
    title="Recorded runs",
    description="Runs of Pegasus, recorded.",
    license="CC-BY-4.0",
    creators=[
        Creator(name="Ann Example", email="ann@example.org", orcid="0000-0002-1825-0097", affiliation="Example Lab"),
        Creator(name="Bob"),
    ],
    keywords=["workflows", "Pegasus"],
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rocrate")
    source = captured(folder, ["slurm-ok", "mini-fail"])
    export([source], folder / "shared", about=ABOUT)
    return folder / "shared"


def graph(folder: Path) -> dict[str, dict[str, Any]]:
    document = json.loads((folder / rocrate.FILE).read_bytes())
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    return entities


def references(value: Any) -> list[str]:
    """Every entity that is referred to."""
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if isinstance(value, dict):
        own = [value["@id"]] if value.keys() == {"@id"} else []
        return own + [found for each in value.values() for found in references(each)]
    return []


def test_the_library_of_ro_crate_reads_it(repository: Path) -> None:
    library = pytest.importorskip("rocrate.rocrate", reason="rocrate is not installed")
    crate = library.ROCrate(repository)
    assert (crate.name, crate.description) == (ABOUT.title, ABOUT.description)
    assert crate.license["@id"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert [person["name"] for person in crate.root_dataset["author"]] == ["Ann Example", "Bob"]
    files = {entity.id for entity in crate.data_entities if entity.type == "File"}
    assert {file.path for file in read_manifest(repository).files} - {rocrate.FILE} <= files
    jobs = crate.dereference("jobs/")
    wall_time = next(column for column in jobs["variableMeasured"] if column["name"] == "wall_time")
    assert wall_time["unitText"] == "s"


def test_everything_in_the_folder_is_in_it_and_nothing_else(repository: Path) -> None:
    files = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
    told = {name for name, entity in graph(repository).items() if entity["@type"] == "File"}
    assert told == files - {rocrate.FILE}
    for name in told - {"repository.json"}:
        assert int(graph(repository)[name]["contentSize"]) == (repository / name).stat().st_size


def test_what_is_referred_to_is_there(repository: Path) -> None:
    entities = graph(repository)
    outside = {"https://w3id.org/ro/crate/1.1"}
    assert set(references(list(entities.values()))) <= entities.keys() | outside


def test_a_list_of_one_is_that_one_and_what_is_not_known_is_left_out(repository: Path) -> None:
    """As the recommendations of RO-Crate 1.1 for JSON-LD have it."""
    for entity in graph(repository).values():
        for value in entity.values():
            assert value is not None
            assert not isinstance(value, list) or len(value) > 1
        if entity["@type"] == "File":
            assert "/" in entity["encodingFormat"]


def test_a_merged_repository_has_its_own(repository: Path, tmp_path: Path) -> None:
    export([captured(tmp_path, ["slurm-pend"])], tmp_path / "other", about=ABOUT)
    merge([repository, tmp_path / "other"], tmp_path / "merged", about=About(title="merged"))
    entities = graph(tmp_path / "merged")
    assert entities["./"]["name"] == "merged"


def test_without_a_licence_it_says_so() -> None:
    entities = {each["@id"]: each for each in json.loads(rocrate.metadata(Manifest(created="2026-11-23")))["@graph"]}
    licence = entities[entities["./"]["license"]["@id"]]
    assert "No licence was given" in licence["description"]
    assert "author" not in entities["./"]


def test_odd_names_are_addresses_all_the_same() -> None:
    manifest = Manifest(
        title="odd",
        created="2026-11-23T00:00:00Z",
        license="CC-BY-4.0 OR MIT",
        creators=[Creator(name="Zoë <z>", affiliation="Inst. für X")],
        software=[Software(name="a b", version="1 2"), Software(name="panorama-driver", version="1", role="exporter")],
        studies=[Study(id="s", name="s", kind="store", first=0.0, last=86400.0)],
        tables=[Table(name="t", description="d", columns=[Column(name="x_q h", type="REAL", unit="s")])],
        files=[File(path="t/study=a b%/part-0.parquet", bytes=1, sha256="0" * 64, rows=3)],
    )
    entities = {each["@id"]: each for each in json.loads(rocrate.metadata(manifest))["@graph"]}
    assert not [name for name in entities if set(name) & set(' <>"{}|\\^`')]
    assert entities["./"]["temporalCoverage"] == "1970-01-01T00:00:00+00:00/1970-01-02T00:00:00+00:00"
    assert entities["t/study=a%20b%25/part-0.parquet"]["description"] == "3 rows"
    assert entities[entities["./"]["license"]["@id"]]["name"] == "CC-BY-4.0 OR MIT"
