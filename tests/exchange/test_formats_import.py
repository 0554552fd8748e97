"""`panorama import` finds out by itself what is in a folder, and `panorama export` writes what others read."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from panorama_driver.errors import UsageError
from panorama_driver.exchange import About, Source, export_as, import_as
from panorama_driver.exchange.formats import READ, WRITTEN
from panorama_driver.exchange.records import silent
from panorama_driver.store import open_store
from tests.captured import CAPTURES
from tests.collector.test_tstat import BEGIN, EARLY, MIB, moved
from tests.exchange.made import panorama
from tests.exchange.test_formats_flowbench import COMPUTE, CREATE, table
from tests.tstat_logs import FULL, log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something of everything, below one folder, and something of nothing."""
    top = tmp_path / "given"
    (top / "a" / "b").mkdir(parents=True)
    (top / "0-tstat").write_bytes(log(FULL, EARLY))  # comes first by name, and needs what comes after
    (top / "a" / "transfers.json").write_text(
        "".join(json.dumps({"_index": "panorama_transfer", "_source": raw}) + "\n" for raw in
                moved("early", BEGIN, BEGIN + 10, 50 * MIB)), encoding="utf-8"
    )  # fmt: skip
    (top / "a" / "b" / "events.gz").write_bytes(gzip.compress((CAPTURES / "sinks" / "events.bp").read_bytes()))
    table(top / "demo-run0001.csv", CREATE, COMPUTE)
    table(top / "empty-run0001.csv")
    [darshan] = (CAPTURES / "darshan" / "A").iterdir()
    shutil.copy(darshan, top / "program.darshan")
    (top / "notes.txt").write_text("nothing of the kind\n", encoding="utf-8")
    return top


def test_a_folder_is_gone_through_file_by_file(folder: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        counts = import_as("auto", [folder], store, progress=silent)
        labels = {run.label for run in store.workflows()}
        assert {"mini-events", "demo", "python3"} <= labels
        assert store.count("w", {"transfer.tcp"}) == 1
        assert counts.new == counts.read == store.count()
        [strange] = [note for note in counts.notes if "of no known format" in note]
        assert strange.endswith("1 of 7 files are of no known format, such as " + str(folder / "notes.txt"))
        assert any("empty-run0001.csv: no row of it names a job" in note for note in counts.notes)
        again = import_as("auto", [folder], store, progress=silent)
        assert (again.read, again.new, again.letters) == (counts.read, 0, 0)


def test_an_event_that_no_store_can_hold_is_a_dead_letter_among_others(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    odd = {"event": "stampede.job_inst.main.term", "xwf_id": "w", "job_inst_id": 2**70, "job_id": "a\udcff", "ts": 1}
    data = (CAPTURES / "sinks" / "events.json").read_bytes()
    path.write_bytes(data + json.dumps(odd).encode() + b"\n")
    with open_store(tmp_path / "store.db") as store:
        counts = import_as("auto", [path], store, progress=silent)
        assert (counts.new, counts.letters) == (store.count(), 1)
        assert store.count() >= 55
        again = import_as("auto", [path], store, progress=silent)
        assert (again.new, again.letters) == (0, 0)


def test_a_folder_of_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing of the kind\n", encoding="utf-8")
    with open_store(tmp_path / "store.db") as store, pytest.raises(UsageError, match="nor a folder with files of"):
        import_as("auto", [tmp_path], store, progress=silent)


def test_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    first = panorama("import", folder, "--store", store, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["new"] > 90
    again = panorama("import", folder / "a", folder / "0-tstat", "--store", store)
    assert " 0 new events" in again.stdout
    assert "connections joined" in again.stderr
    wrong = panorama("import", folder / "notes.txt", "--store", store)
    assert wrong.returncode == 2
    assert all(each.name in wrong.stderr for each in READ)
    for name in (each.name for each in WRITTEN):
        out = tmp_path / name
        done = panorama("export", store, "-o", out, "--format", name)
        assert done.returncode == 0, done.stderr
        assert list(out.iterdir())


def test_another_name_makes_another_format_of_nothing(folder: Path, tmp_path: Path) -> None:
    for given, claimed in (("demo-run0001.csv", "darshan"), ("program.darshan", "flowbench")):
        store = tmp_path / f"{claimed}.db"
        done = panorama("import", folder / given, "--from", claimed, "--store", store)
        assert "Traceback" not in done.stderr
        with open_store(store) as opened:
            assert opened.count() == 0


def test_what_is_exported_with_pseudonyms_names_no_host(folder: Path, tmp_path: Path) -> None:
    from panorama_driver.exchange._key import key_file

    with open_store(tmp_path / "store.db") as store:
        import_as("flowbench", [folder / "demo-run0001.csv"], store, progress=silent)
    source = Source("s", str(tmp_path / "store.db"))
    for name in (each.name for each in WRITTEN):
        plain = export_as(name, [source], tmp_path / name, about=About(), anonymise=None, progress=silent)
        assert any(b"worker-2" in path.read_bytes() for path in plain)
        key = key_file(tmp_path / "key")
        hidden = export_as(name, [source], tmp_path / f"{name}-hidden", about=About(), anonymise=key, progress=silent)
        assert not any(b"worker-2" in path.read_bytes().lower() for path in hidden)
