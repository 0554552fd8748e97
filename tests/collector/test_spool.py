"""What a spool accepted is there again, in its order, whatever happens to the process that holds it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from panorama_driver.collector import spool as spool_module
from panorama_driver.collector.spool import Spool
from panorama_driver.errors import SpoolFullError, StoreError

_SMALL = 200  # bytes a segment, so that tests cross many


def _emptied(spool: Spool, at_once: int = 7) -> list[bytes]:
    taken: list[bytes] = []
    while records := spool.read(at_once):
        spool.drop(len(records))
        taken += records
    return taken


def _bodies(count: int, start: int = 0) -> list[bytes]:
    return [f"record {number}".encode() for number in range(start, start + count)]


def test_records_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        for start in range(0, 100, 5):
            spool.append(_bodies(5, start))
        assert len(spool) == 100
        assert _emptied(spool) == _bodies(100)
        assert (len(spool), spool.size) == (0, 0)


def test_reading_does_not_remove(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        spool.append(_bodies(3))
        assert spool.read(2) == spool.read(2) == _bodies(2)
        assert len(spool) == 3


def test_only_what_was_read_can_be_dropped(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        spool.append(_bodies(3))
        spool.read(2)
        with pytest.raises(ValueError, match="3 records cannot be dropped: 2 were read"):
            spool.drop(3)
        spool.drop(1)
        assert spool.read(9) == _bodies(2, 1)


def test_what_was_not_dropped_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        spool.append(_bodies(50))
        spool.read(20)
        spool.drop(13)
        size = spool.size
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        assert (len(spool), spool.size) == (37, size)
        spool.append(_bodies(5, 50))
        assert _emptied(spool) == _bodies(42, 13)


def test_empty_records_and_large_ones_are_records(tmp_path: Path) -> None:
    records = [b"", b"\x00" * 10, b"", os.urandom(100_000), b"\n"]
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        spool.append(records)
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        assert _emptied(spool, 2) == records


def test_a_read_is_bounded_in_bytes_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "READ_LIMIT", 1000)
    with Spool(tmp_path / "spool") as spool:
        spool.append([b"x" * 300] * 10 + [b"y" * 5000])
        assert len(spool.read(100)) == 4
        assert _emptied(spool, 100)[-1] == b"y" * 5000


def test_a_full_spool_says_so_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", 1000, segment_bytes=_SMALL) as spool:
        spool.append([b"x" * 92] * 9)
        with pytest.raises(SpoolFullError, match=r"spool is full: 900 of 1000 bytes .* 9 records"):
            spool.append([b"y" * 50, b"z" * 50])
        assert len(spool) == 9
        spool.read(1)
        spool.drop(1)
        spool.append([b"y" * 50, b"z" * 50])
        assert _emptied(spool)[-2:] == [b"y" * 50, b"z" * 50]


def test_space_on_disk_comes_back(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        for start in range(0, 400, 4):
            spool.append(_bodies(4, start))
        _emptied(spool)
        spool.append(_bodies(1))
        assert len(list((tmp_path / "spool").glob("*.segment"))) <= 2


def test_a_disk_that_takes_no_more_is_told_and_loses_nothing(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\n"
        "from panorama_driver.collector.spool import Spool\n"
        "from panorama_driver.errors import SpoolFullError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "spool = Spool(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    while True: spool.append([b'%d' % len(spool) * 30])\n"
        "except SpoolFullError as error:\n"
        "    print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "count = len(spool)\n"
        "spool.append([b'after'])\n"
        "assert spool.read(99) == [b'%d' % number * 30 for number in range(count)] + [b'after']\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "spool"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cannot be written: File too large; free space there" in done.stdout
    with Spool(tmp_path / "spool") as spool:
        assert spool.read(99)[-1] == b"after"


def test_a_record_that_was_cut_off_at_any_byte_is_left_out_and_those_before_are_not(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        spool.append(_bodies(3))
    (segment,) = (tmp_path / "spool").glob("*.segment")
    whole = segment.read_bytes()
    record = len(whole) // 3
    for end in range(len(whole)):
        folder = tmp_path / f"cut-{end}"
        folder.mkdir()
        (folder / segment.name).write_bytes(whole[:end])
        with Spool(folder) as spool:
            assert spool.read(9) == _bodies(end // record)
            spool.append([b"next"])
            assert spool.read(9) == [*_bodies(end // record), b"next"]


def test_zeros_that_a_power_cut_left_are_no_records(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        spool.append(_bodies(2))
    (segment,) = (tmp_path / "spool").glob("*.segment")
    with segment.open("ab") as file:
        file.write(b"\x00" * 4096)
    with Spool(tmp_path / "spool") as spool:
        assert spool.read(9) == _bodies(2)


def test_what_stands_behind_damage_is_set_aside_and_told_and_the_next_segments_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        for start in range(0, 30, 10):
            spool.append(_bodies(10, start))
            spool.append([])
    first, *_ = sorted((tmp_path / "spool").glob("*.segment"))
    data = bytearray(first.read_bytes())
    data[-3] ^= 1
    first.write_bytes(data)
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:
        left = _emptied(spool)
    assert left == [body for body in _bodies(30) if body in left]
    assert len(left) == 29
    (damaged,) = (tmp_path / "spool").glob("*.damaged")
    assert b"record" in damaged.read_bytes()
    assert f"from there on is in {damaged}" in caplog.text


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 20, random.Random(7).randbytes(20)])
def test_without_a_usable_head_everything_is_read_again(tmp_path: Path, content: bytes) -> None:
    with Spool(tmp_path / "spool", segment_bytes=1 << 20) as spool:
        spool.append(_bodies(10))
        spool.read(5)
        spool.drop(5)
    (tmp_path / "spool" / "head").write_bytes(content)
    with Spool(tmp_path / "spool") as spool:
        assert _emptied(spool) == _bodies(10)


def test_one_process_has_it_and_others_are_told(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool"), pytest.raises(StoreError, match="another process has it"):
        Spool(tmp_path / "spool")
    Spool(tmp_path / "spool").close()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        spool.append([b"secret"])
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "spool").iterdir())


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/spool: cannot be used as a spool: Not a directory"):
        Spool(tmp_path / "file" / "spool")


def test_one_thread_appends_while_another_reads(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool", segment_bytes=_SMALL) as spool:

        def write() -> None:
            for start in range(0, 900, 3):
                spool.append(_bodies(3, start))

        writer = threading.Thread(target=write)
        writer.start()
        taken: list[bytes] = []
        while len(taken) < 900:
            records = spool.read(11)
            spool.drop(len(records))
            taken += records
        writer.join()
        assert taken == _bodies(900)
        assert (len(spool), spool.size) == (0, 0)


_ENDLESS = """
import sys
from panorama_driver.collector.spool import Spool
spool = Spool(sys.argv[1], segment_bytes=500)
number, step = int(sys.argv[2]), int(sys.argv[3])
while True:
    spool.append([b"%d" % each for each in range(number, number + step)])
    number += step
    print("accepted", number, flush=True)
    if len(spool) > 40:
        read = spool.read(23)
        print("taken", *(body.decode() for body in read), flush=True)
        spool.drop(len(read))
        print("dropped", flush=True)
"""


def test_a_killed_holder_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    chance = random.Random(4)
    accepted, begun, passed_on = 0, 0, set[int]()
    for step in range(1, 13):
        holder = subprocess.Popen(
            [sys.executable, "-c", _ENDLESS, tmp_path / "spool", str(begun), str(step)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        said = [holder.stdout.readline() for _ in range(chance.randrange(1, 120))]
        os.kill(holder.pid, signal.SIGKILL)
        said += holder.stdout.readlines()
        holder.wait()
        holder.stdout.close()
        said = [line for line in said if line.endswith("\n")]
        accepted = max([accepted, *(int(line.split()[1]) for line in said if line.startswith("accepted"))])
        passed_on |= {int(word) for line in said if line.startswith("taken") for word in line.split()[1:]}
        with Spool(tmp_path / "spool") as spool:
            held = [int(body) for body in _all(spool)]
        assert held == list(range(held[0], held[0] + len(held)))
        assert set(range(accepted)) <= passed_on | set(held)
        begun = held[-1] + 1
    assert begun >= accepted > 100


def _all(spool: Spool) -> list[bytes]:
    return spool.read(1 << 30)


class _Model(RuleBasedStateMachine):
    """A spool beside a plain deque, opened again at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        self.expected: deque[bytes] = deque()

    @initialize(segment=st.integers(1, 300))
    def begin(self, segment: int) -> None:
        self.segment = segment
        self.spool = Spool(self.home.name, 4000, segment_bytes=segment)

    @rule(bodies=st.lists(st.binary(max_size=60), max_size=6))
    def append(self, bodies: list[bytes]) -> None:
        taken = sum(len(body) + 8 for body in bodies)
        if self.spool.size + taken > 4000:
            with pytest.raises(SpoolFullError):
                self.spool.append(bodies)
        else:
            self.spool.append(bodies)
            self.expected.extend(bodies)

    @rule(limit=st.integers(1, 20), share=st.floats(0, 1))
    def read_and_drop(self, limit: int, share: float) -> None:
        records = self.spool.read(limit)
        assert records == list(self.expected)[:limit]
        count = int(len(records) * share)
        self.spool.drop(count)
        for _ in range(count):
            self.expected.popleft()

    @rule()
    def open_again(self) -> None:
        self.spool.close()
        self.spool = Spool(self.home.name, 4000, segment_bytes=self.segment)

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "spool"):
            assert len(self.spool) == len(self.expected)
            assert self.spool.size == sum(len(body) + 8 for body in self.expected)

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            assert _emptied(self.spool) == list(self.expected)
            self.spool.close()
        self.home.cleanup()


TestModel = _Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
