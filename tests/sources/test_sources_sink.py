"""monitord's own files, of three encodings, whole and damaged."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.errors import FormatError
from panorama_driver.events import Event
from panorama_driver.sources import expand, sink
from tests.captured import CAPTURES, raw_records

SINKS = CAPTURES / "sinks"
JSON, BP = (SINKS / "events.json").read_bytes(), (SINKS / "events.bp").read_bytes()
BSON = (SINKS / "events.bson").read_bytes()


def read(data: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    problems: list[str] = []
    return list(sink.read_from(io.BytesIO(data), "here", problems.append)), problems


def events(data: bytes) -> list[Event]:
    records, problems = read(data)
    assert problems == []
    return [event for raw in records for event in expand(raw)]


def bits(data: bytes) -> list[bytes]:
    """Of each event; a replay may tell what it read from one record in another order."""
    return sorted(msgspec.json.encode(event, order="deterministic") for event in events(data))


def test_lines_of_netlogger_give_the_same_events_as_json_bit_for_bit() -> None:
    assert bits(BP) == bits(JSON)
    assert len({event.event_id for event in events(BP)}) >= 55


def test_documents_of_bson_give_the_same_events_as_json_bit_for_bit() -> None:
    pytest.importorskip("bson", reason="pymongo is not installed (pip install 'panorama-driver[bson]')")
    assert bits(BSON) == bits(JSON)


def test_a_file_and_a_broker_give_the_same_events(tmp_path: Path) -> None:
    broker = {event.event_id: event for raw in raw_records("mini-events", tmp_path) for event in expand(raw)}
    for event in events(JSON):
        assert broker[event.event_id].fields == event.fields


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n\r\n", b", ", b"\t"])
def test_json_objects_may_stand_in_lines_or_not(between: bytes) -> None:
    assert bits(between.join(JSON.splitlines())) == bits(JSON)


def test_a_json_object_may_go_over_many_lines() -> None:
    spread = "\n".join(json.dumps(json.loads(line), indent=1) for line in JSON.splitlines())
    assert bits(spread.encode()) == bits(JSON)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (b'{"event": "stampede.x", "a": "}\n', "an object that does not end"),
        (b'{"event" "stampede.x"}\n', "no JSON object"),
        (b"slurmstepd: error: *** killed\n", "no JSON object: b'slurmstepd"),
        (b'{"a": ' * 5000 + b"}" * 5000 + b"\n", "no JSON object"),
        (b'{"event": {"stampede"\n', "an object that does not end"),
    ],
)
def test_damage_between_json_objects_is_told_and_passed_over(damage: bytes, words: str) -> None:
    first, rest = JSON.split(b"\n", 1)
    records, problems = read(first + b"\n" + damage + rest)
    assert len(records) == len(JSON.splitlines())
    assert [words in problem for problem in problems] == [True]
    assert problems[0].startswith(f"here: byte {len(first) + 1}: ")


def test_a_json_file_that_is_still_written_tells_what_is_whole() -> None:
    records, problems = read(JSON[:-100])
    assert len(records) == len(JSON.splitlines()) - 1
    assert len(problems) == 1


def test_values_of_netlogger_lines() -> None:
    line = (
        b"ts=2026-11-22T11:39:22.250000Z event=stampede.task.monitoring level=Info xwf.id=w job.id=j job_inst.id=1 "
        b'a=7 b=0.250000 c=007 d=None e="" f="x=1 \\"y\\" z" g="[{\'n\': 1.5, \'t\': "it\'s"}]" '
        b'h="[1, os]" i=C:\\dir j=1e3\n'
    )
    [event] = events(line)
    assert event.ts == 1795347562.25
    assert {key: event.fields[key] for key in "abcdefghij"} == {
        "a": 7,
        "b": 0.25,
        "c": "007",
        "d": None,
        "e": "",
        "f": 'x=1 "y" z',
        "g": [{"n": 1.5, "t": "it's"}],
        "h": "[1, os]",
        "i": "C:\\dir",
        "j": "1e3",
    }


def test_a_text_in_a_netlogger_line_may_hold_line_ends() -> None:
    head = b"ts=2026-11-22T11:39:22.000000Z event=stampede.xwf.end level=Error xwf.id=w restart_count=0 "
    two = head + b'reason="first\nsecond third" status=1\n'
    first, second = events(two + head + b"status=0\n")
    assert (first.fields["reason"], first.fields["status"]) == ("first\nsecond third", 1)
    assert second.fields["status"] == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (b'ts=2026-11-22T11:39:22.000000Z event=stampede.inv.end argv="a b\n', "no NetLogger line"),
        (b"slurmstepd: error\n", "no NetLogger line: b'slurmstepd: error"),
        (b"ts=1 a=1\n", "no NetLogger line"),
    ],
)
def test_damage_between_netlogger_lines_is_told_and_passed_over(damage: bytes, words: str) -> None:
    first, rest = BP.split(b"\n", 1)
    records, problems = read(first + b"\n" + damage + rest)
    assert len(records) == len(BP.splitlines())
    assert [words in problem for problem in problems] == [True]


def test_a_netlogger_line_that_was_cut_is_no_event_since_its_last_value_may_be_cut_as_well() -> None:
    records, problems = read(BP[:-2])
    assert len(records) == len(BP.splitlines()) - 1
    assert "the file ends within this line" in problems[0]


def test_lines_that_pegasus_4_wrote_are_read() -> None:
    line = (
        b"ts=2012-03-13T12:36:04.000000Z event=stampede.inv.end level=Info xwf.id=ea17e8ac job.id=create_dir_0_local "
        b"job_inst.id=1 inv.id=1 start_time=1331642164 dur=0.000000 exitcode=0 transformation=pegasus::dirmanager "
        b'executable=/usr/share/pegasus/sh/pegasus-lite-local.sh argv="/usr/bin/pegasus-create-dir x"\n'
    )
    [event] = events(line)
    assert (event.job_id, event.attempt, event.fields["dur"], event.fields["exitcode"]) == (
        "create_dir_0_local",
        1,
        0,
        0,
    )


def test_damage_in_bson_is_passed_over_to_the_next_document() -> None:
    pytest.importorskip("bson", reason="pymongo is not installed")
    size = int.from_bytes(BSON[:4], "little")
    whole, _ = read(BSON)
    inserted, problems = read(BSON[:size] + b"\xff\x00garbage" + BSON[size:])
    assert (inserted, len(problems)) == (whole, 1)
    broken, problems = read(b"\x40\x00\x00\x00" + BSON[4:])
    assert (broken, len(problems)) == (whole[1:], 1)
    cut, problems = read(BSON[:-20])
    assert (cut, "or not to its end" in problems[0]) == (whole[:-1], True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SQLite format 3\x00" + bytes(100), "a stampede database, not a file of events"),
        (b"\x7fELF\x02\x01\x01", "neither JSON, nor NetLogger lines, nor BSON"),
        (b"<invocation xmlns", "neither JSON"),
    ],
)
def test_other_files_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read(data)


def test_an_empty_file_holds_nothing() -> None:
    assert read(b"") == read(b"\n\n") == ([], [])


@pytest.mark.parametrize(
    "line",
    [b'{"event": "x"', b'ts=1 event=x a="b', b'{"a": "' + b"x" * 999 + b'"}', b"ts=1 event=x a=" + b"b" * 999 + b"\n"],
)
def test_no_file_takes_more_memory_than_a_record_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    monkeypatch.setattr(sink, "RECORD_LIMIT", 1 << 18)
    path = tmp_path / "large"
    path.write_bytes(line * ((2 << 20) // len(line)))
    tracemalloc.start()
    count = Counter(type(raw) for raw in sink.read(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20, count


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12).filter(
    lambda t: not t.endswith("\\")
)


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(-(10**9), 10**9)), max_size=4), st.sampled_from(["json", "bp"]))
def test_what_is_written_as_monitord_writes_it_is_read_as_it_was(
    told: list[tuple[str, str, int]], encoding: str
) -> None:
    records = [
        {"event": "stampede.rc.meta", "xwf.id": "w", "lfn.id": f"f{lfn}", "key": f"k {key}", "n": n, "ts": 5.0}
        for lfn, key, n in told
    ]
    lines = [json.dumps(raw) if encoding == "json" else _bp_line(raw) for raw in records]
    found, problems = read("".join(line + "\n" for line in lines).encode())
    assert ([{**raw, "level": "Info"} for raw in found], problems) == (
        [{**raw, "level": "Info"} for raw in records],
        [],
    )


def _bp_line(raw: dict[str, Any]) -> str:
    """The rules of netlogger/nlapi.py."""
    pairs = ["ts=1970-01-01T00:00:05.000000Z", f"event={raw['event']}", "level=Info"]
    for key in ("xwf.id", "lfn.id", "key", "n"):
        value = str(raw[key])
        if any(letter in value for letter in ' \t"='):
            value = '"' + value.replace('"', '\\"') + '"'
        pairs.append(f"{key}={value}")
    return " ".join(pairs)
