"""monitord's files, as they are, become the events that it sent."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from panorama_driver.errors import FormatError, UsageError
from panorama_driver.exchange.formats import detected, elasticsearch, monitord
from panorama_driver.exchange.formats._files import MOST_LETTERS
from panorama_driver.metrics import correlate
from panorama_driver.store import open_store
from tests.captured import CAPTURES, told_live
from tests.exchange.runs import imported, told

SINKS = CAPTURES / "sinks"
OLD = """\
ts=2012-03-13T12:35:36.000000Z event=stampede.wf.plan level=Info xwf.id=ea17e8ac dax.label=blackdiamond \
root.xwf.id=ea17e8ac planner.version=4.0.0 argv="--conf pegasusrc" dag.file.name=blackdiamond-0.dag dax.version=3.3
ts=2012-03-13T16:51:08.981414Z event=stampede.static.start level=Info
ts=2012-03-13T12:35:37.000000Z event=stampede.job.info level=Info type_desc=compute clustered=0 max_retries=3 \
task_count=1 job.id=analyze_j4 submit_file=analyze_j4.sub type=1 xwf.id=ea17e8ac executable=analyze.sh
ts=2012-03-13T12:35:38.000000Z event=stampede.xwf.start level=Info xwf.id=ea17e8ac restart_count=0
ts=2012-03-13T12:36:04.000000Z event=stampede.job_inst.main.start level=Info xwf.id=ea17e8ac js.id=2 job_inst.id=1 \
job.id=analyze_j4 sched.id=64.0 stdout.file=analyze_j4.out stderr.file=analyze_j4.err
ts=2012-03-13T12:36:04.000000Z event=stampede.inv.end level=Info xwf.id=ea17e8ac executable=analyze.sh job_inst.id=1 \
start_time=1331642164 job.id=analyze_j4 inv.id=1 dur=60.25 remote_cpu_time=59.500000 \
transformation=pegasus::analyze:4.0 exitcode=0
ts=2012-03-13T12:50:30.000000Z event=stampede.xwf.end level=Info status=0 xwf.id=ea17e8ac restart_count=0
"""
"""Lines as Pegasus 4.0 wrote them (doc/schemas/monitord/blackdiamond.bp), of which one names no workflow."""


@pytest.mark.parametrize("name", ["events.bp", "events.json", "events.bson"])
def test_each_encoding_gives_the_same_events_plain_and_compressed(tmp_path: Path, name: str) -> None:
    if name.endswith("bson"):
        pytest.importorskip("bson", reason="pymongo is not installed (pip install 'panorama-driver[bson]')")
    packed = tmp_path / "packed"  # whose name tells nothing
    packed.write_bytes(gzip.compress((SINKS / name).read_bytes()))
    whole, _ = told(monitord.read, SINKS / "events.json")
    assert len(whole) >= 55
    for path in (SINKS / name, packed):
        assert detected(path).name == "monitord"
        assert told(monitord.read, path) == (whole, [])


def test_a_file_and_the_broker_are_one_row_each(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        rows = store.put(told_live("mini-events", tmp_path).values())
        assert imported(monitord.read, SINKS / "events.bp", store) == (0, 0)
        assert store.count() == rows


def test_lines_of_pegasus_4_are_a_run(tmp_path: Path) -> None:
    path = tmp_path / "old.bp"
    path.write_text(OLD, encoding="utf-8")
    events, [letter] = told(monitord.read, path)
    metrics = correlate(events.values())
    assert (metrics.state, metrics.label, metrics.makespan) == ("succeeded", "blackdiamond", 892.0)
    assert metrics.cumulative_time == 60.25
    assert "'stampede.static.start' without its field 'xwf_id'" in letter.reason


def test_damaged_lines_are_dead_letters_with_their_places(tmp_path: Path) -> None:
    first, rest = (SINKS / "events.bp").read_bytes().split(b"\n", 1)
    path = tmp_path / "damaged.bp"
    path.write_bytes(first + b"\nno line of netlogger\n" + rest[:-40])
    whole, _ = told(monitord.read, SINKS / "events.bp")
    events, letters = told(monitord.read, path)
    assert events.keys() < whole.keys()
    assert len(events) == len(whole) - 1
    assert [(letter.offset, letter.head) for letter in letters[:1]] == [(len(first) + 1, b"no line of netlogger")]
    assert "the file ends within this line" in letters[1].reason
    with open_store(tmp_path / "store.db") as store:
        assert imported(monitord.read, path, store) == (len(events), 2)
        assert imported(monitord.read, path, store) == (0, 0)


def test_of_endless_damage_the_beginning_is_kept_and_the_rest_counted(tmp_path: Path) -> None:
    path = tmp_path / "garbage.bp"
    path.write_bytes(b"ts=1 event=stampede.x\n" + b"garbage\n" * (MOST_LETTERS + 500))
    _, letters = told(monitord.read, path)
    assert len({letter.letter_id for letter in letters}) == len(letters) == MOST_LETTERS + 2
    assert "500 more damaged places" in letters[-1].reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("readme.bp", b"# a text called as if it were something\n"),
        ("empty.json", b""),
        ("package.json", b'{"name": "something", "version": "1.0"}\n'),
        ("repository.json", b'{"tables": [{"name": "jobs", "columns": [{"name": "wf_uuid"}, {"name": "event"}]}]}\n'),
        ("store.db-shm", b"\x18\xe2-\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x10"),  # like BSON
        ("events.json.gz", b"\x1f\x8b\x08\x00damaged"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(64)),
    ],
)
def test_a_name_alone_makes_no_format(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UsageError, match="neither a repository nor one of"):
        detected(path)


def test_what_is_no_file_of_monitord_is_said_where_somebody_claims_it(tmp_path: Path) -> None:
    path = tmp_path / "claimed"
    path.write_bytes(b"a,b,c\n1,2,3\n")
    with pytest.raises(FormatError, match="neither JSON, nor NetLogger lines, nor BSON"):
        list(monitord.read(path))


def test_a_message_of_ours_is_no_document_of_theirs() -> None:
    head = (SINKS / "events.json").read_bytes()[:4096]
    assert not elasticsearch.detect(SINKS / "events.json", head)
