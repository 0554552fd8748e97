"""What the SQLite engine promises beyond the contract: crashes, full disks, other processes, old and new schemas."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from panorama_driver.errors import StoreError
from panorama_driver.events import Event
from panorama_driver.sources import parse
from panorama_driver.store import network_filesystem, open_store, sqlite
from panorama_driver.store._filesystem import mounted
from panorama_driver.store.testing import sample

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
NAMES = ["stampede-events", "stampede-events-fail", "kickstart-online", "transfer-events"]
BATCH = 50

WRITER = """
import sys
from panorama_driver.store import open_store
from panorama_driver.store.testing import sample
batch = int(sys.argv[2])
with open_store(sys.argv[1]) as store:
    start = store.count()
    while True:
        store.put(sample(seq) for seq in range(start, start + batch))
        start += batch
        print(start, flush=True)
"""

OPENER = """
import sys
from panorama_driver.store import open_store
from panorama_driver.store.testing import sample
sys.stdin.readline()
with open_store(sys.argv[1]) as store:
    store.put([sample(int(sys.argv[2]))])
"""

# Each round lets the files of the store grow a little further before a write fails (SIGXFSZ is ignored by Python).
LIMITED = """
import resource, sys
from panorama_driver.errors import StoreError
from panorama_driver.store import open_store
from panorama_driver.store.testing import sample
failures = 0
for step in range(100):
    path = f"{sys.argv[1]}/{step}.db"
    returned = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * step + 2048 * (step % 2), resource.RLIM_INFINITY))
    try:
        with open_store(path) as store:
            for start in range(0, 400, 50):
                store.put(sample(seq) for seq in range(start, start + 50))
                returned = start + 50
    except StoreError as error:
        failures += 1
        assert path in str(error) and "bytes are free" in str(error), error
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with open_store(path) as store:
        assert returned <= store.count() and store.count() % 50 == 0, (step, returned, store.count())
        store.put(sample(seq) for seq in range(400))
        assert store.count() == 400
print(failures)
"""

FULL = """
import sys, os
from panorama_driver.errors import StoreError
from panorama_driver.store import open_store
from panorama_driver.store.testing import sample
path, ballast = sys.argv[1] + "/store.db", sys.argv[1] + "/ballast"
with open(ballast, "wb") as file:
    file.write(bytes(500_000))
returned = 0
with open_store(path) as store:
    try:
        while True:
            store.put(sample(seq) for seq in range(returned, returned + 50))
            returned += 50
    except StoreError as error:
        print(error)
    assert store.count() == returned
    os.unlink(ballast)
    assert store.put(sample(seq) for seq in range(returned + 50)) == 50
with open_store(path, readonly=True) as store:
    assert store.count() == returned + 50
"""


def captured() -> list[Event]:
    """303 records; the 16 traces of the run in the first file are in the third again."""
    lines = [line for name in NAMES for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()]
    events = [parse(json.loads(line)["body"]) for line in lines]
    assert len(events) == 303
    return list({event.event_id: event for event in events}.values())


def run(code: str, *arguments: object, before: tuple[str, ...] = ()) -> str:
    command = [*before, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_sound(path: Path) -> bool:
    with sqlite3.connect(path) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_captured_events_come_back_as_they_were(tmp_path: Path) -> None:
    events = captured()
    with open_store(tmp_path / "store.db") as store:
        assert store.put(events) == len(events) == 287
        back = [event for workflow in store.workflows() for event in store.events(workflow.wf_uuid)]
        labels = {workflow.label for workflow in store.workflows()}
    assert sorted(back, key=lambda event: event.event_id) == sorted(events, key=lambda event: event.event_id)
    assert labels >= {"mini-events", "mini-fail", "demo"}


def test_captured_events_thrice_and_shuffled_make_the_same_rows_in_the_same_order_of_time(tmp_path: Path) -> None:
    events = captured()
    chance = random.Random(7)
    disorder = events * 3
    chance.shuffle(disorder)
    with open_store(tmp_path / "clean.db") as clean, open_store(tmp_path / "disorder.db") as store:
        clean.put(events)
        new = sum(
            store.put(disorder[at : at + 64], ingested=time.time() + chance.uniform(-3600, 3600))
            for at in range(0, len(disorder), 64)
        )
        assert new == len(events) == store.count()
        for workflow in clean.workflows():
            mine, theirs = (list(s.events(workflow.wf_uuid)) for s in (store, clean))
            assert {event.event_id for event in mine} == {event.event_id for event in theirs}
            assert [event.ts for event in mine] == [event.ts for event in theirs]


def test_files_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_store(tmp_path / "store.db") as store:
            store.put([sample()])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_path_that_is_no_utf8_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff 'quoted' \xfe.db")
    with open_store(path) as store:
        store.put([sample()])
        assert list(store.events("w1")) == [sample()]
    assert path.exists()


def test_a_writer_killed_in_the_middle_has_what_put_returned_and_no_part_of_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(9)
    acknowledged = 0
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(BATCH)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                acknowledged = int(writer.stdout.readline())
            time.sleep(chance.uniform(0, 0.002))  # no condition to wait for: any instant of the next puts is meant
            writer.kill()
            acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        with open_store(path, readonly=True) as store:
            assert store.count() >= acknowledged
            assert store.count() % BATCH == 0
            assert [event.fields["seq"] for event in store.since(limit=10**6).events] == list(range(store.count()))
    assert is_sound(path)


@pytest.mark.measures
def test_a_long_reader_neither_holds_up_the_writer_nor_sees_its_writes(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, open_store(tmp_path / "store.db", readonly=True) as reader:
        store.put(sample(seq) for seq in range(2000))
        long = reader.events("w1")
        next(long)
        longest = 0.0
        for start in range(2000, 10000, 256):
            began = time.perf_counter()
            store.put(sample(seq) for seq in range(start, start + 256))
            longest = max(longest, time.perf_counter() - began)
        assert longest < 1.0, f"measured {longest:.2f} s"
        assert reader.count() == store.count() > 10000
        assert sum(1 for _ in long) == 1999


def test_many_processes_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", OPENER, str(path), str(seq)], stdin=subprocess.PIPE) for seq in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 6
    with open_store(path, readonly=True) as store:
        assert store.count() == 6


def test_threads_share_a_store(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, ThreadPoolExecutor(4) as pool:
        counts = list(
            pool.map(lambda start: store.put(sample(seq) for seq in range(start, start + 30)), range(0, 300, 15))
        )
        assert sum(counts) == store.count() == 315


def test_a_store_held_by_another_process_is_reported_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT", 0.05)
    path = tmp_path / "store.db"
    with open_store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has been writing"):
            store.put([sample()])
        other.close()
        assert store.put([sample()]) == 1


def test_wherever_a_write_fails_the_store_stays_sound_and_goes_on_when_it_can(tmp_path: Path) -> None:
    assert int(run(LIMITED, tmp_path)) > 20


def can_mount() -> bool:
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a private mount (user namespaces), for a disk small enough to fill")
def test_a_full_disk_is_reported_with_its_free_bytes_and_writing_resumes_when_there_is_room(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=2m none "$0" && exec "$@"'
    told = run(FULL, tmp_path, before=("unshare", "-Urm", "sh", "-c", mount, str(tmp_path)))
    assert f"{tmp_path}/store.db" in told
    assert "bytes are free there; free space and try again" in told


@pytest.mark.skipif(not can_mount(), reason="needs a private mount (user namespaces), for a folder nobody may write")
def test_an_archive_on_a_readonly_disk_can_be_read(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        store.put([sample(seq) for seq in range(3)])
    code = "import sys; from panorama_driver.store import open_store; print(open_store(sys.argv[1], True).count())"
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    told = run(code, tmp_path / "store.db", before=("unshare", "-Urm", "sh", "-c", mount, str(tmp_path)))
    assert told == "3\n"


def test_who_only_reads_leaves_nothing_behind_and_still_sees_what_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.put([sample(1)])
    with open_store(path, readonly=True) as reader:
        assert (reader.count(), len(list(reader.events("w1")))) == (1, 1)
        assert os.listdir(tmp_path) == ["store.db"]
        with open_store(path) as store:
            store.put([sample(2)])
            assert (reader.count(), len(list(reader.events("w1")))) == (2, 2)
        assert (reader.count(), len(list(reader.events("w1")))) == (2, 2)


def test_a_reader_is_told_when_a_resting_store_was_written_while_it_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.put(sample(seq) for seq in range(1000))
    with open_store(path, readonly=True) as reader:
        events = reader.events("w1")
        next(events)
        with open_store(path) as store:
            store.put(sample(seq) for seq in range(1000, 2000))
        with pytest.raises(StoreError, match=r"read it again|cannot read the store"):
            list(events)


def test_a_store_by_a_link_is_read_as_its_writer_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "store.db")
    (tmp_path / "real").mkdir()
    with open_store(tmp_path / "real" / "store.db") as store:
        store.put([sample(1)])
        with open_store(tmp_path / "link.db", readonly=True) as reader:
            assert (reader.count(), len(list(reader.events("w1")))) == (1, 1)
            store.put([sample(2)])
            assert (reader.count(), len(list(reader.events("w1")))) == (2, 2)


def test_what_a_writer_does_between_the_look_and_the_reading_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.put([sample(seq) for seq in range(10)])
    with open_store(path, readonly=True) as reader:
        look = reader._current  # type: ignore[attr-defined]

        def looked() -> sqlite3.Connection:
            found: sqlite3.Connection = look()
            monkeypatch.setattr(reader, "_current", look)
            with open_store(path) as store:
                store.put([sample(seq) for seq in range(10, 5000)])
            return found

        monkeypatch.setattr(reader, "_current", looked)
        assert reader.count() == 5000


def test_what_a_killed_writer_left_beside_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.put([sample(0)])
    with open_store(path, readonly=True) as reader:
        with subprocess.Popen([sys.executable, "-c", WRITER, path, "50"], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            put = int(writer.stdout.readline())
            writer.kill()
        assert (tmp_path / "store.db-wal").stat().st_size
        assert put <= reader.count() == len(list(reader.events("w1")))
        with open_store(path, readonly=True) as another:
            assert another.count() == reader.count()


@pytest.fixture
def second_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version of the program, which adds a column."""
    later = ("ALTER TABLE workflows ADD COLUMN site TEXT", "UPDATE workflows SET site = 'local'")
    monkeypatch.setattr(sqlite, "_MIGRATIONS", (*sqlite._MIGRATIONS, later))


def schema_version(path: Path) -> int:
    version: int = sqlite3.connect(path).execute("PRAGMA user_version").fetchone()[0]
    return version


def test_an_older_store_is_brought_up_to_date_in_place_and_backed_up_before(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    today = len(sqlite._MIGRATIONS)
    path, backup = tmp_path / "store.db", tmp_path / f"store.db.schema-{today}"
    with open_store(path) as store:
        store.put([sample(seq) for seq in range(100)])
    request.getfixturevalue("second_schema")
    with pytest.raises(StoreError, match="open it once for writing"):
        open_store(path, readonly=True)
    with open_store(path) as store:
        assert store.count() == 100
    assert (schema_version(path), schema_version(backup)) == (today + 1, today)
    assert sqlite3.connect(backup).execute("SELECT count(*) FROM events").fetchone() == (100,)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


@pytest.mark.usefixtures("second_schema")
def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.put([sample()])
    broken = ("ALTER TABLE events ADD COLUMN another", "UPDATE no_such_table SET a = 1")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "_MIGRATIONS", (*sqlite._MIGRATIONS, broken))
        with pytest.raises(StoreError, match="no_such_table"):
            open_store(path)
    with open_store(path) as store:
        assert list(store.events("w1")) == [sample()]


@pytest.mark.parametrize("readonly", [False, True])
def test_a_newer_store_is_refused_with_what_to_do_and_left_alone(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, readonly: bool
) -> None:
    path = tmp_path / "store.db"
    today = sqlite._MIGRATIONS
    request.getfixturevalue("second_schema")
    open_store(path).close()
    monkeypatch.setattr(sqlite, "_MIGRATIONS", today)
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer panorama-driver .*update with"):
        open_store(path, readonly=readonly)
    assert path.read_bytes() == content


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="belongs to another program"):
        open_store(path, readonly=readonly)
    assert path.read_bytes() == content


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "text.db"
    path.write_text("dear diary, " * 100)
    with pytest.raises(StoreError, match="give another path"):
        open_store(path, readonly=readonly)
    assert path.read_text() == "dear diary, " * 100


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere/store\.db.*check that its folder exists"):
        open_store(tmp_path / "nowhere" / "store.db")


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"mongodb://host/x: no engine"):
        open_store("mongodb://host/x")


MOUNTS = r"""
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
23 22 0:41 / /home/me/local rw - xfs /dev/vdb rw
24 21 0:42 / /my\040scratch rw - lustre mds@tcp:/scratch rw
25 21 0:43 / /twice rw - nfs server:/a rw
26 21 0:44 / /twice rw - tmpfs none rw
27 21 0:45 / /remote rw master:3 - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x.db", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/x.db", "nfs4"),
        ("/home/me/local/x.db", "xfs"),
        ("/homely/x.db", "ext4"),
        ("/my scratch/x.db", "lustre"),
        ("/twice/x.db", "tmpfs"),
        ("/remote/x.db", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_longest_mount_point(path: str, kind: str) -> None:
    found = mounted(path, MOUNTS)
    assert found is not None
    assert found[1] == kind


def test_a_network_file_system_is_warned_of_and_a_local_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr("panorama_driver.store._filesystem._MOUNTS", mounts)
    assert network_filesystem("/var/x.db") is None
    warning = network_filesystem("/remote/x.db")
    assert warning is not None
    assert "/remote/x.db lies on /remote, a network file system (fuse.sshfs)" in warning
