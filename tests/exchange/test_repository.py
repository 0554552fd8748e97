"""A repository holds what went into it: events bit for bit, studies with the same answers, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panorama_driver.errors import StoreError, UsageError
from panorama_driver.events import Event
from panorama_driver.exchange import About, Source, _parquet, import_events, merge, read_manifest, restore
from panorama_driver.store import Via, open_store
from panorama_driver.study.client import FOLDER
from tests.questions.studies import Made, Try, study
from tests.web.found import found

from .made import exported, odd_store, panorama, rows, study_source

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'panorama-driver[parquet]'")

TEXT = st.text(st.characters()).filter(lambda text: not re.search("[\ud800-\udbff][\udc00-\udfff]", text))
"""JSON has no way to tell the two halves of a character from the character."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def small_study(home: Path, *points: int) -> Path:
    study(home, [Made({"x": x, "how": "fast"}, [[Try(1 + x)], [Try(2)]], {"y": float(x)}) for x in points])
    (home / "study.yml").write_text("workflow: parabola\nsite: local\n")
    (home / "study.in").write_text("method\n  list_parameter_study\n")
    return home


def test_rows_of_a_store_come_back_bit_for_bit(tmp_path: Path) -> None:
    source = odd_store(tmp_path / "odd.db")
    manifest = exported(tmp_path / "repository", source)
    with open_store(tmp_path / "again.db") as store:
        counts = import_events(tmp_path / "repository", store)
    assert (counts.read, counts.new, counts.letters) == (24, 24, 2)
    assert rows(tmp_path / "again.db") == rows(source.store)
    [restored] = restore(tmp_path / "repository", tmp_path / "restored")
    assert rows(restored) == rows(source.store)
    assert (manifest.studies[0].events, manifest.studies[0].dead_letters, manifest.studies[0].workflows) == (24, 2, 3)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.lists(st.dictionaries(TEXT, JSON, max_size=4), min_size=4, max_size=20))
def test_whatever_fields_a_store_can_keep_come_back(fields: list[dict[str, object]], tmp_path: Path) -> None:
    number = len(list(tmp_path.iterdir()))
    path = tmp_path / f"{number}.db"
    with open_store(path) as store:
        for seq, each in enumerate(fields):
            store.put([Event(kind="kickstart.inv.online", wf_uuid="w", fields={**each, "seq": seq})], ingested=2.0)
    exported(tmp_path / f"{number}", Source("any", str(path)))
    [again] = restore(tmp_path / f"{number}", tmp_path / f"{number}-again")
    assert rows(again) == rows(path)


def test_what_is_imported_twice_is_there_once(tmp_path: Path) -> None:
    source = odd_store(tmp_path / "odd.db")
    exported(tmp_path / "repository", source)
    with open_store(tmp_path / "again.db") as store:
        import_events(tmp_path / "repository", store)
        counts = import_events(tmp_path / "repository", store)
    assert (counts.read, counts.new, counts.letters) == (24, 0, 0)
    assert rows(tmp_path / "again.db") == rows(source.store)


@pytest.mark.parametrize("words", [["status", "HOME"], ["show", "2", "--study", "HOME"], ["ask", "QUESTION", "HOME"]])
def test_a_restored_study_gives_the_same_answers(words: list[str], tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1, 2, 3)
    exported(tmp_path / "repository", study_source(home))
    [again] = restore(tmp_path / "repository", tmp_path / "restored")
    question = "SELECT evaluation, x_x, x_how, r_y, workflow_makespan, key FROM evaluations"
    answers = []
    for each in (home, again):
        told = [{"HOME": str(each), "QUESTION": question}.get(word, word) for word in words]
        answer = panorama(*told, "--json", XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert answer.returncode == 0, answer.stderr
        answers.append(json.loads(answer.stdout.replace(str(each), "HOME")))
    assert answers[0] == answers[1]
    for name in ("study.yml", "study.in", f"{FOLDER}/journal.jsonl"):
        assert (again / name).read_text() == (home / name).read_text()
    assert (again / FOLDER).stat().st_mode & 0o777 == 0o700


def test_anomalies_and_what_was_done_about_them_come_along(tmp_path: Path) -> None:
    home = found(tmp_path / "found")
    exported(tmp_path / "repository", study_source(home))
    [again] = restore(tmp_path / "repository", tmp_path / "restored")
    assert (again / FOLDER / "actions.jsonl").read_text() == (home / FOLDER / "actions.jsonl").read_text()
    assert rows(again / FOLDER / "store.db") == rows(home / FOLDER / "store.db")


def test_a_study_without_a_store_is_a_study_all_the_same(tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1)
    (home / FOLDER / "store.db").unlink()
    manifest = exported(tmp_path / "repository", study_source(home))
    [again] = restore(tmp_path / "repository", tmp_path / "restored")
    assert (manifest.studies[0].events, manifest.studies[0].evaluations) == (0, 1)
    assert not (again / FOLDER / "store.db").exists()


def test_what_was_restored_is_left_as_it_is(tmp_path: Path) -> None:
    exported(tmp_path / "repository", odd_store(tmp_path / "odd.db"))
    [first] = restore(tmp_path / "repository", tmp_path / "restored")
    before = first.stat()
    assert restore(tmp_path / "repository", tmp_path / "restored") == [first]
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / first.name).write_text("somebody's own")
    with pytest.raises(StoreError, match="not made of this repository"):
        restore(tmp_path / "repository", tmp_path / "other")
    assert (tmp_path / "other" / first.name).read_text() == "somebody's own"


def test_several_may_restore_the_same_at_once(tmp_path: Path) -> None:
    source = odd_store(tmp_path / "odd.db")
    exported(tmp_path / "repository", source)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: restore(tmp_path / "repository", tmp_path / "restored"), range(4)))
    assert made == [made[0]] * 4
    assert rows(made[0][0]) == rows(source.store)
    assert not list((tmp_path / "restored").glob("*.unfinished"))


def test_the_manifest_tells_who_when_which_codes_and_where(tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1, 2)
    manifest = exported(tmp_path / "repository", study_source(home))
    assert manifest == read_manifest(tmp_path / "repository")
    assert (manifest.title, manifest.license, manifest.creators) == ("made up", "CC-BY-4.0", [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", manifest.created)
    assert {(each.name, each.role) for each in manifest.software} >= {
        ("panorama-driver", "exporter"),
        ("md", "transformation"),
    }
    [one] = manifest.studies
    assert (one.name, one.workflow, one.site, one.evaluations) == ("mine", "parabola", "local", 2)
    assert manifest.sites == one.sites
    listed = {file.path: file.bytes for file in manifest.files}
    there = {path.relative_to(tmp_path / "repository").as_posix(): path for path in _files(tmp_path / "repository")}
    assert listed == {name: path.stat().st_size for name, path in there.items() if name != "repository.json"}
    units = {each.name: each.unit for table in manifest.tables if table.name == "attempts" for each in table.columns}
    assert (units["wall_time"], units["peak_memory"], units["cpu_utilization"]) == ("s", "bytes", "1")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_is_written_over_and_a_failed_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = odd_store(tmp_path / "odd.db")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        exported(tmp_path / "there", source)
    with pytest.raises(UsageError, match="nothing to export"):
        exported(tmp_path / "none")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_parquet.Parts, "_flush", full)
    with pytest.raises(StoreError, match="No space left"):
        exported(tmp_path / "full", source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.db", "there"]


def test_an_export_that_is_killed_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    source = small_study(tmp_path / "mine", *range(40))
    words = ["export", str(source), "-o", str(tmp_path / "repository")]
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".repository.*.unfinished/repository/events")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "repository").exists()
    assert panorama(*words).returncode == 0
    assert read_manifest(tmp_path / "repository").studies[0].evaluations == 40


def test_secrets_are_never_exported(tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1)
    (home / "study.yml").write_text("workflow: w\nmonitoring: {broker: 'amqps://me:hunter22@broker.example.org/x'}\n")
    said = {"stdout_text": "export AWS_SECRET_ACCESS_KEY=AKIAhunter22", "argv": "--password hunter22 --n 3", "seq": 1}
    with open_store(home / FOLDER / "store.db") as store:
        store.put([Event(kind="stampede.inv.end", wf_uuid="w", fields=said)])
    with open_store(home / FOLDER / "store.db") as store:
        before = store.count()
    manifest = exported(tmp_path / "repository", study_source(home))
    [again] = restore(tmp_path / "repository", tmp_path / "restored")
    assert "amqps://me:LEFT-OUT@broker.example.org/x" in (again / "study.yml").read_text()
    with open_store(again / FOLDER / "store.db", readonly=True) as store:
        [event] = store.events("w")
    assert event.fields["argv"] == "--password LEFT-OUT --n 3"
    assert manifest.studies[0].events == before
    assert not any("hunter22" in str(row) for row in rows(again / FOLDER / "store.db"))


def test_repositories_are_merged_and_what_several_have_is_put_together(tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1)
    exported(tmp_path / "early", study_source(home), about=About(title="early", license="CC0-1.0"))
    exported(tmp_path / "other", odd_store(tmp_path / "odd.db"))
    with open_store(home / FOLDER / "store.db") as store:
        store.put([Event(kind="stampede.xwf.meta", wf_uuid="new", fields={"key": "a"})], ingested=3.0, via=Via.HTTP)
    with (home / FOLDER / "journal.jsonl").open("a") as journal:
        journal.write('{"t":5.0,"key":"ff","state":"received","eval_id":"9","variables":{}}\n')
    exported(tmp_path / "late", study_source(home))
    manifest = merge([tmp_path / "early", tmp_path / "other", tmp_path / "late"], tmp_path / "all")
    assert [(each.name, each.evaluations) for each in manifest.studies] == [("mine", 2), ("odd", 0)]
    assert (manifest.title, manifest.license) == ("early + made up", "CC0-1.0 AND CC-BY-4.0")
    mine, odd = restore(tmp_path / "all", tmp_path / "restored")
    assert rows(mine / FOLDER / "store.db") == rows(home / FOLDER / "store.db")
    assert rows(odd) == rows(tmp_path / "odd.db")
    assert (mine / FOLDER / "journal.jsonl").read_text() == (home / FOLDER / "journal.jsonl").read_text()


def test_studies_that_went_on_in_two_ways_are_not_merged(tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1)
    for number, name in enumerate(("one", "two")):
        with (home / FOLDER / "journal.jsonl").open("r+") as journal:
            lines = journal.readlines()[:3]
            journal.seek(0)
            journal.truncate()
            journal.writelines(
                [*lines, f'{{"t":5.0,"key":"f{number}","state":"received","eval_id":"9","variables":{{}}}}\n']
            )
        exported(tmp_path / name, study_source(home))
    with pytest.raises(UsageError, match="went on in another way"):
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_studies_without_a_journal_are_merged_and_the_later_journal_of_actions_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    (home / FOLDER).mkdir(parents=True)
    (home / "study.yml").write_text("workflow: parabola\nsite: local\n")
    with open_store(home / FOLDER / "store.db") as store:
        store.put([Event(kind="stampede.xwf.meta", wf_uuid="w", fields={"key": "a"})])
    exported(tmp_path / "early", study_source(home))
    (home / FOLDER / "actions.jsonl").write_text('{"t":1.0}\n')
    exported(tmp_path / "late", study_source(home))
    for names in (("early", "late"), ("late", "early")):
        merge([tmp_path / name for name in names], tmp_path / "-".join(names))
        [made] = restore(tmp_path / "-".join(names), tmp_path / f"of-{names[0]}")
        assert (made / FOLDER / "actions.jsonl").read_text() == '{"t":1.0}\n'


def test_the_same_run_under_names_that_differ_in_case_makes_two_studies(tmp_path: Path) -> None:
    event = Event(kind="stampede.xwf.meta", wf_uuid="w", fields={"key": "a"})
    for name in ("one.db", "two.db"):
        with open_store(tmp_path / name) as store:
            store.put([event])
    exported(tmp_path / "r", Source("Study", str(tmp_path / "one.db")), Source("study", str(tmp_path / "two.db")))
    assert len(read_manifest(tmp_path / "r").studies) == 2


@pytest.mark.parametrize("ts", [1e18, -1e18, float("inf")])
def test_events_of_no_time_of_this_era_are_exported(ts: float, tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        store.put([Event(kind="stampede.xwf.meta", wf_uuid="w", ts=ts, fields={"key": "a"})])
    exported(tmp_path / "r", Source("s", str(tmp_path / "s.db")))
    assert "1970" not in (tmp_path / "r" / "README.md").read_text()


def test_a_private_key_in_study_yml_is_left_out_to_its_last_line(tmp_path: Path) -> None:
    home = small_study(tmp_path / "mine", 1)
    with (home / "study.yml").open("a") as file:
        file.write("k: |\n  -----BEGIN PRIVATE KEY-----\n  MIIEvQ\n  IBADAN\n  -----END PRIVATE KEY-----\nn: 1\n")
    exported(tmp_path / "r", study_source(home))
    [told] = [path.read_text() for path in (tmp_path / "r").rglob("study.yml")]
    assert "MIIEvQ" not in told
    assert "IBADAN" not in told
    assert told.endswith("n: 1\n")


@pytest.mark.long
def test_a_million_events_take_bounded_memory(tmp_path: Path) -> None:
    with open_store(tmp_path / "large.db") as store:
        for first in range(0, 1_000_000, 10_000):
            store.put(
                Event(
                    kind="kickstart.inv.online",
                    wf_uuid=f"run{seq % 100}",
                    ts=1e9 + seq / 10,
                    job_id=f"job{seq % 7}",
                    attempt=1,
                    fields={"seq": seq, "utime": seq / 3, "hostname": f"node{seq % 50}", "rss": seq * 7},
                )
                for seq in range(first, first + 10_000)
            )
    program = (
        "import resource, sys; from pathlib import Path; from panorama_driver.exchange import *;"
        "export([Source('large', sys.argv[1])], Path(sys.argv[2]), about=About());"
        "restore(Path(sys.argv[2]), Path(sys.argv[3]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    words = [str(tmp_path / name) for name in ("large.db", "repository", "restored")]
    found = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 800_000  # [kB]
    [restored] = (tmp_path / "restored").glob("*.db")
    assert rows(restored) == rows(tmp_path / "large.db")
