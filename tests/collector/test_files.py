"""A run folder comes into the store exactly once, whatever its files are doing meanwhile."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.collector import Drained, RunFollower, drain
from panorama_driver.errors import EnvironmentMissingError, StoreError
from panorama_driver.sources import expand
from panorama_driver.store import DeadLetter, Store, open_store, sqlite

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
WORKFLOW = "f6eff249-7020-4ed5-86d6-ffbf4ca46b9d"

COLLECTOR = """
import sys
from panorama_driver.collector import RunFollower
from panorama_driver.store import open_store
with open_store(sys.argv[2]) as store:
    follower = RunFollower(sys.argv[1], store)
    print("ready", flush=True)
    while True:
        follower.poll()
"""

MEASURED = """
import sys
from panorama_driver.collector import drain
from panorama_driver.store import open_store
with open_store(sys.argv[2]) as store:
    print(drain(sys.argv[1], store))
# Not getrusage: its mark is handed on by execve from the process that forked, here a large pytest.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def bodies(name: str) -> list[dict[str, object]]:
    return [json.loads(line)["body"] for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()]


def record(seq: int, **more: object) -> bytes:
    raw = {"event": "kickstart.inv.online", "wf_uuid": "w1", "dag_job_id": "a_ID1", "ts": 1000.5 + seq, "seq": seq}
    return json.dumps({**raw, **more}).encode() + b"\n"


def seqs(store: Store) -> list[int]:
    return [event.fields["seq"] for event in store.events("w1")]


def letters(store: Store) -> list[DeadLetter]:
    return list(store.dead_letters())


def test_a_run_comes_in_once_however_often_it_is_drained(run_dir: Path, store: Store) -> None:
    records = bodies("stampede-events")
    own = [raw for raw in records if str(raw["event"]).startswith("stampede")]
    traces = [raw for raw in records if not str(raw["event"]).startswith("stampede")]
    (run_dir / "events.jsonl").write_text("".join(json.dumps(raw) + "\n" for raw in own))
    (run_dir / "io_ID0000002.trace.001.jsonl").write_text("".join(json.dumps(raw) + "\n" for raw in traces))
    (run_dir / "io_ID0000002.out.001").write_text("not ours\n")
    expected = {event.event_id: event for raw in records for event in expand(raw)}
    assert drain(run_dir, store) == Drained(stored=len(expected))
    assert drain(run_dir, store) == Drained(duplicates=len(expected))
    back = [event for summary in store.workflows() for event in store.events(summary.wf_uuid)]
    assert {event.event_id: event for event in back} == expected
    assert store.workflows()[0].label == "mini-events"


def test_following_sees_new_lines_only_and_leaves_one_half_written(run_dir: Path, store: Store) -> None:
    follower = RunFollower(run_dir, store)
    assert follower.poll() == Drained()
    with (run_dir / "events.jsonl").open("ab", buffering=0) as file:
        file.write(record(1) + record(2)[:30])
        assert follower.poll() == Drained(stored=1)
        assert follower.poll() == Drained()
        file.write(record(2)[30:] + record(3))
        assert follower.poll() == Drained(stored=2)
        (run_dir / "a_ID1.trace.001.jsonl").write_bytes(record(4))
        assert follower.poll() == Drained(stored=1)
        file.write(record(5).rstrip(b"\n"))
        assert follower.poll() == Drained()
        assert follower.finish() == Drained(stored=1)
        assert follower.finish() == Drained()
    assert seqs(store) == [1, 2, 3, 4, 5]
    assert letters(store) == []


def test_the_folder_may_appear_later_but_a_run_that_ended_has_one(tmp_path: Path, store: Store) -> None:
    follower = RunFollower(tmp_path / "later", store)
    assert follower.poll() == Drained()
    with pytest.raises(EnvironmentMissingError, match="later: no such run folder"):
        drain(tmp_path / "later", store)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "events.jsonl").write_bytes(record(1))
    assert follower.poll() == Drained(stored=1)


MALFORMED = [
    (b"not json\n", "not JSON"),
    (b"[1, 2]\n", "no object"),
    (b'{"event": "kickstart.inv.online", "ts": 1}\n', "without its field 'wf_uuid'"),
    (b'{"ts": 1}\n', "without a name"),
    (b'{"event": "unheard.of", "wf_uuid": "w1"}\n', "family 'unheard'"),
    (record(1, ts="soon"), "not a time in seconds"),
    (record(1, attempt="first"), "not a whole number"),
    (record(1, attempt=10**30), "cannot be stored"),
    (b'{"event": "kickstart.inv.online", "wf_uuid": "w1", "attempt": 1e999}\n', "not a whole number"),
    (record(1, dag_job_id=["a"]), "not a name"),
    (record(1, wf_uuid="\ud800"), "cannot be stored"),
    (b"[" * 200_000 + b"\n", "recursion"),
    (b"\x00" * 50 + b"\n", "not JSON"),
    (b'{"event": "kick\n', "not JSON"),
]


@pytest.mark.parametrize(("line", "reason"), MALFORMED)
def test_a_malformed_line_is_a_dead_letter_and_the_rest_is_stored(
    run_dir: Path, store: Store, line: bytes, reason: str
) -> None:
    (run_dir / "events.jsonl").write_bytes(record(7) + line + record(8))
    assert drain(run_dir, store) == Drained(stored=2, dead=1)
    assert drain(run_dir, store) == Drained(duplicates=2, dead=1)
    (letter,) = letters(store)
    whole = line.removesuffix(b"\n")
    assert (letter.source, letter.offset, letter.size) == (str(run_dir / "events.jsonl"), len(record(7)), len(whole))
    assert letter.head == whole
    assert letter.whole
    assert reason in letter.reason
    assert seqs(store) == [7, 8]


def test_one_in_a_hundred_malformed_does_not_cost_a_valid_line(run_dir: Path, store: Store) -> None:
    chance = random.Random(6)
    lines = [record(seq) for seq in range(3000)]
    bad = [line[: chance.randrange(2, 20)] + b"\n" for line in chance.sample(lines, 30)]
    whole = b"x" * 10_000_000 + b"\n"
    mixed = [*lines, *bad, whole, b"\n", b"  \n"]
    chance.shuffle(mixed)
    (run_dir / "events.jsonl").write_bytes(b"".join(mixed))
    assert drain(run_dir, store) == Drained(stored=3000, dead=31)
    assert seqs(store) == list(range(3000))
    (giant,) = [letter for letter in letters(store) if letter.size == len(whole)]
    assert "10000001 bytes" in giant.reason
    assert giant.head == b"x" * 4096


def test_a_line_too_long_is_skipped_in_little_memory(run_dir: Path, tmp_path: Path) -> None:
    with (run_dir / "events.jsonl").open("wb") as file:
        file.write(record(1))
        for _ in range(300):
            file.write(b"x" * 1_000_000)
        file.write(b"\n" + record(2))
    told = subprocess.check_output([sys.executable, "-c", MEASURED, run_dir, tmp_path / "store.db"], text=True)
    counted, peak = told.splitlines()
    assert counted == str(Drained(stored=2, dead=1))
    assert int(peak) < 100_000  # kB


def test_a_run_that_broke_off_in_the_middle_of_a_line_says_so(run_dir: Path, store: Store) -> None:
    (run_dir / "events.jsonl").write_bytes(record(1) + record(2)[:30])
    assert RunFollower(run_dir, store).poll() == Drained(stored=1)
    assert drain(run_dir, store) == Drained(duplicates=1, dead=1)
    assert "the file ends within this line" in letters(store)[0].reason


def test_names_that_are_no_utf8_come_through_and_nan_is_unknown(run_dir: Path, store: Store) -> None:
    escaped = record(1, exe="/data/\udcff file 'x'")
    raw = record(2).replace(b'"w1"', b'"w1", "exe": "/data/\xff \xc3\xa4", "iowait": NaN')
    (run_dir / "events.jsonl").write_bytes(escaped + raw)
    assert drain(run_dir, store) == Drained(stored=2)
    first, second = store.events("w1")
    assert first.fields["exe"] == "/data/\udcff file 'x'"
    assert (second.fields["exe"], second.fields["iowait"]) == ("/data/\udcff ä", None)


def test_a_file_renamed_by_rotation_is_read_to_its_end(run_dir: Path, store: Store) -> None:
    follower = RunFollower(run_dir, store)
    current = run_dir / "events.jsonl"
    current.write_bytes(record(1))
    follower.poll()
    with current.open("ab") as file:
        file.write(record(2))
    current.rename(run_dir / "events.jsonl.1")
    current.write_bytes(record(3))
    assert follower.poll() == Drained(stored=2)
    assert drain(run_dir, store) == Drained(duplicates=3)


@pytest.mark.parametrize("content", [record(2), record(2) + record(3) + record(4)])
def test_a_file_truncated_and_written_anew_is_read_from_its_beginning(
    run_dir: Path, store: Store, content: bytes
) -> None:
    follower = RunFollower(run_dir, store)
    (run_dir / "events.jsonl").write_bytes(record(0) + record(1))
    assert follower.poll() == Drained(stored=2)
    (run_dir / "events.jsonl").write_bytes(content)
    assert follower.poll() == Drained(stored=content.count(b"\n"))


def test_what_cannot_be_read_is_told_and_does_not_stop_the_rest(run_dir: Path, store: Store) -> None:
    (run_dir / "a_ID1.trace.001.jsonl").symlink_to("a_ID1.trace.001.jsonl")
    os.mkfifo(run_dir / "b_ID2.trace.001.jsonl")
    (run_dir / "c_ID3.trace.001.jsonl").write_bytes(record(1))
    (run_dir / "d_ID4.trace.001.jsonl").symlink_to("deleted")
    drained = drain(run_dir, store)
    assert (drained.stored, drained.dead) == (1, 0)
    assert len(drained.problems) == 1
    assert "a_ID1.trace.001.jsonl: cannot be read: Too many levels of symbolic links" in drained.problems[0]


def test_a_store_that_fails_costs_nothing_when_it_works_again(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT", 0.05)
    (run_dir / "events.jsonl").write_bytes(b"".join(record(seq) for seq in range(600)))
    with open_store(tmp_path / "store.db") as store:
        follower = RunFollower(run_dir, store)
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="another process has been writing"):
                follower.poll()
        assert follower.poll() == Drained(stored=600)


def test_a_collector_killed_at_any_time_leaves_nothing_out_and_nothing_twice(run_dir: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    path = tmp_path / "store.db"
    written = 0
    with (run_dir / "events.jsonl").open("ab", buffering=0) as file:
        for _ in range(6):
            command = [sys.executable, "-c", COLLECTOR, str(run_dir), str(path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as collector:
                assert collector.stdout is not None
                collector.stdout.readline()
                for _ in range(chance.randrange(2, 20)):
                    lot = b"".join(record(written + seq) for seq in range(100))
                    middle = chance.randrange(len(lot))
                    file.write(lot[:middle])
                    file.write(lot[middle:])
                    written += 100
                collector.kill()
    with open_store(path) as store:
        before = store.count()
        assert drain(run_dir, store) == Drained(stored=written - before, duplicates=before)
        assert seqs(store) == list(range(written))
        assert letters(store) == []


LINES = st.integers(0, 30).map(record) | st.binary(max_size=40).map(lambda junk: junk.replace(b"\n", b"") + b"\n")


@settings(max_examples=30, deadline=None)
@given(
    lines=st.lists(LINES),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
)
def test_however_the_bytes_arrive_the_store_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    content = b"".join(lines)
    ends = sorted({min(cut, len(content)) for cut in [*cuts, len(content)]})
    with open_store(folder / "pieces.db") as pieces, open_store(folder / "whole.db") as whole:
        follower = RunFollower(folder / "run", pieces)
        (folder / "run").mkdir()
        with (folder / "run" / "events.jsonl").open("ab", buffering=0) as file:
            for start, end in zip([0, *ends], ends, strict=False):
                file.write(content[start:end])
                follower.poll()
        follower.finish()
        drain(folder / "run", whole)
        assert list(pieces.events("w1")) == list(whole.events("w1"))
        mine, theirs = ([(x.offset, x.reason, x.head) for x in s.dead_letters()] for s in (pieces, whole))
        assert mine == theirs
    shutil.rmtree(folder)
