"""The supervisor with real processes: they are started in order, again, given up with words, and none outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.backend._logs import LIMIT, Log
from panorama_driver.backend.supervisor import Condition, Part, Patience, Supervisor
from panorama_driver.errors import ServiceError

WITHIN = 20.0
QUICK = Patience(first=0.05, longest=0.4, steady=0.15, looking=0.05, starting=0.02)
SLEEP = "exec sleep 1000"


async def well() -> str:
    return ""


def exists(path: Path) -> Callable[[], Awaitable[str]]:
    async def check() -> str:
        return "" if path.exists() else f"no {path.name}"

    return check


class Watched:
    """A supervisor that runs beside a test, and all that it has told."""

    def __init__(self, folder: Path, patience: Patience = QUICK) -> None:
        self.folder, self.patience = folder, patience
        self.told_to_end, self.at_once = asyncio.Event(), asyncio.Event()
        self.told: list[tuple[float, str, str, str]] = []
        self.parts: list[Part] = []

    def add(self, name: str, script: str, check: Callable[[], Awaitable[str]] = well, **more: object) -> None:
        words = ["sh", "-c", script]
        self.parts.append(Part(name, words, dict(os.environ), self.folder, check, **more))  # type: ignore[arg-type]

    def run(self, scene: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Play a scene while the parts are kept running, and end them."""
        asyncio.run(self._run(scene))

    async def _run(self, scene: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self.supervisor = Supervisor(self.parts, self.folder, self._changed, self.patience)
        running = asyncio.create_task(self.supervisor.run(self.told_to_end, self.at_once))
        playing = asyncio.create_task(scene())
        try:
            async with asyncio.timeout(WITHIN):
                await asyncio.wait([running, playing], return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    playing.result()
        finally:
            playing.cancel()
            self.told_to_end.set()
            await running

    def _changed(self, condition: Condition) -> None:
        self.told.append((time.monotonic(), condition.name, condition.state, condition.words))

    def states(self, name: str) -> list[str]:
        return [state for _, part, state, _ in self.told if part == name]

    def condition(self, name: str) -> Condition:
        return next(each for each in self.supervisor.conditions if each.name == name)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0.005)

    async def until_state(self, name: str, state: str) -> int:
        """Wait until a part is in a state; its process."""
        await self.until(lambda: self.condition(name).state == state)
        return self.condition(name).pid or 0


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_part_is_started_when_those_that_it_needs_are_ready(watched: Watched, tmp_path: Path) -> None:
    watched.add("first", f"sleep 0.2; touch up; {SLEEP}", exists(tmp_path / "up"))
    watched.add("second", f"test -e up && touch seen; {SLEEP}", after=("first",))

    async def scene() -> None:
        await watched.until_state("second", "ready")
        await watched.until((tmp_path / "seen").exists)

    watched.run(scene)
    assert watched.states("first")[:2] == ["starting", "ready"]
    began = next(at for at, name, state, _ in watched.told if (name, state) == ("second", "starting"))
    assert began >= next(at for at, name, state, _ in watched.told if (name, state) == ("first", "ready"))


def test_what_is_killed_is_started_again_soon_and_others_are_not(watched: Watched) -> None:
    watched.add("one", SLEEP)
    watched.add("other", SLEEP, after=("one",))
    took = []

    async def scene() -> None:
        other = await watched.until_state("other", "ready")
        for _ in range(3):
            pid = await watched.until_state("one", "ready")
            await asyncio.sleep(QUICK.steady)
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await watched.until(lambda: watched.condition("one").pid not in (None, pid))  # noqa: B023
            await watched.until_state("one", "ready")
            took.append(time.monotonic() - began)
        assert watched.condition("one").starts == 4
        assert (watched.condition("other").pid, watched.condition("other").starts) == (other, 1)

    watched.run(scene)
    assert max(took) < 1.0, took
    assert "was ended by SIGKILL" in " ".join(words for *_, words in watched.told)


def test_pauses_double_up_to_a_limit_and_no_two_are_alike() -> None:
    patience = Patience(first=0.5, longest=30.0)
    for failures in range(1, 12):
        nominal = min(30.0, 0.5 * 2 ** (failures - 1))
        some = [patience.pause(failures) for _ in range(200)]
        assert nominal / 2 <= min(some) < 0.6 * nominal
        assert 0.9 * nominal < max(some) <= nominal
        assert len(set(some)) == len(some)
    assert patience.pause(10_000) <= 30.0


def test_what_never_comes_up_is_given_up_with_its_last_words_after_growing_pauses(
    watched: Watched, tmp_path: Path
) -> None:
    watched.patience = Patience(first=0.1, longest=10.0, first_tries=4)
    watched.add(
        "broken", "date +%s.%N >> starts; echo cannot read; echo the license; exit 7", exists(tmp_path / "never")
    )
    watched.add("waits", "touch started", after=("broken",))
    with pytest.raises(ServiceError) as problem:
        watched.run(asyncio.Event().wait)
    assert str(problem.value) == (
        "broken: ended with exit code 7: cannot read | the license; given up after 4 failures in a row"
    )
    starts = [float(line) for line in (tmp_path / "starts").read_text().split()]
    pauses = [after - before for before, after in pairwise(starts)]
    assert all(low <= pause <= 2 * low + 0.3 for low, pause in zip((0.05, 0.1, 0.2), pauses, strict=True))
    assert not (tmp_path / "started").exists()


def test_what_was_well_for_long_begins_with_a_short_pause_again(watched: Watched) -> None:
    watched.patience = Patience(first=0.05, steady=0.1, tries=3, looking=0.05)
    watched.add("weak", "sleep 0.2; exit 1")

    async def scene() -> None:
        await watched.until(lambda: watched.condition("weak").starts == 5)

    watched.run(scene)
    assert "given up" not in watched.states("weak")


def test_what_is_not_needed_is_given_up_alone(watched: Watched) -> None:
    watched.add("needed", SLEEP)
    watched.add("luxury", "exit 3", exists(watched.folder / "never"), needed=False)

    async def scene() -> None:
        await watched.until_state("luxury", "given up")
        assert watched.condition("needed").state == "ready"

    watched.run(scene)
    assert watched.states("needed")[-1] == "ended"
    assert watched.condition("luxury").state == "given up"


def test_what_cannot_be_started_is_told(watched: Watched) -> None:
    watched.parts.append(Part("none", ["/nowhere/server"], {}, watched.folder, well))
    with pytest.raises(
        ServiceError, match=r"none: cannot be started: /nowhere/server: No such file.*; given up after 3"
    ):
        watched.run(asyncio.Event().wait)


def test_what_hangs_is_killed_and_started_again(watched: Watched, tmp_path: Path) -> None:
    """It touches a file as long as it is not stopped, and takes no notice of SIGTERM when it is."""

    async def fresh() -> str:
        with suppress(FileNotFoundError):
            return "" if time.time() - (tmp_path / "alive").stat().st_mtime < 0.3 else "has not moved"
        return "has not begun"

    watched.add("hangs", "while :; do touch alive; sleep 0.05; done", fresh, silence=0.4, grace=0.2)

    async def scene() -> None:
        pid = await watched.until_state("hangs", "ready")
        os.kill(pid, signal.SIGSTOP)
        await watched.until(lambda: watched.condition("hangs").starts == 2)
        await watched.until_state("hangs", "ready")
        assert not lives(pid)

    watched.run(scene)
    assert "unwell" in watched.states("hangs")
    assert "was not well for 0.4 s: has not moved" in " ".join(words for *_, words in watched.told)


def test_all_are_ended_in_the_reverse_order_and_who_will_not_is_killed(watched: Watched, tmp_path: Path) -> None:
    for name in ("a", "b"):
        watched.add(
            name,
            f"trap 'sleep 0.1; echo {name} >> ended; exit 0' TERM; touch {name}; while :; do sleep 0.01; done",
            exists(tmp_path / name),
        )
    watched.add("deaf", f"trap '' TERM; touch deaf; {SLEEP}", exists(tmp_path / "deaf"), grace=0.3)
    pids = []

    async def scene() -> None:
        pids.extend([await watched.until_state(name, "ready") for name in ("a", "b", "deaf")])

    watched.run(scene)
    assert (tmp_path / "ended").read_text().split() == ["b", "a"]
    assert [name for _, name, state, _ in watched.told if state == "ended"] == ["deaf", "b", "a"]
    assert not any(map(lives, pids))


def test_at_once_takes_no_grace(watched: Watched, tmp_path: Path) -> None:
    watched.add("one", f"trap '' TERM; touch one; {SLEEP}", exists(tmp_path / "one"), grace=100.0)
    watched.add("two", f"trap '' TERM; touch two; {SLEEP}", exists(tmp_path / "two"), grace=100.0)

    async def scene() -> None:
        await watched.until(lambda: all(each.state == "ready" for each in watched.supervisor.conditions))
        watched.told_to_end.set()
        await asyncio.sleep(0.1)
        watched.at_once.set()

    began = time.monotonic()
    watched.run(scene)
    assert time.monotonic() - began < 10


def test_what_a_part_has_left_behind_ends_with_it(watched: Watched, tmp_path: Path) -> None:
    watched.add("leaves", "sleep 1000 & echo $! > left; wait")

    async def scene() -> None:
        await watched.until(lambda: (tmp_path / "left").exists() and bool((tmp_path / "left").read_text()))
        left = int((tmp_path / "left").read_text())
        assert lives(left)
        os.kill(watched.condition("leaves").pid or 0, signal.SIGKILL)
        await watched.until(lambda: not lives(left))

    watched.run(scene)


SUPERVISED = """
import asyncio, sys
from pathlib import Path
from panorama_driver.backend.supervisor import Part, Supervisor
async def well(): return ""
parts = [Part(name, ["sh", "-c", "trap '' TERM HUP; echo $$; while :; do sleep 1; done"], {}, Path("."), well)
         for name in ("one", "two", "three")]
asyncio.run(Supervisor(parts, Path(sys.argv[1])).run(asyncio.Event(), asyncio.Event()))
"""


def test_no_process_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISED, str(tmp_path)], cwd=tmp_path) as process:
        logs = [tmp_path / f"{name}.log" for name in ("one", "two", "three")]
        wait(lambda: all(log.exists() and log.read_text().strip() for log in logs))
        pids = [int(log.read_text()) for log in logs]
        assert all(map(lives, pids))
        process.kill()
        process.wait()
        wait(lambda: not any(map(lives, pids)), 2.0)


def test_a_log_keeps_the_end_and_is_bounded(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log", hear=lambda line: line.startswith("{"))
    for number in range(100):
        log.take(b"".join(b"%04d line %s\n" % (number, b"x" * 1000) for _ in range(60)) + b'{"told": 1}\n')
    log.take(b"\x1b[31mthe very \xff la")
    log.take(b"st\x1b[0m\r\n")
    log.end()
    log.close()
    written = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert 1 <= len(written) <= 2
    assert sum(map(len, written)) <= 2 * LIMIT
    assert written[0].endswith("the very \\xff last\n")
    assert "{" not in "".join(written)
    assert log.last_words.endswith(" | the very \\xff last")


def test_what_never_ends_a_line_takes_no_memory(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log")
    for _ in range(64):
        log.take(b"x" * 65536)
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * LIMIT


def test_a_full_disk_ends_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(Path("/dev/full"))
    log.take(b"a line\n")
    assert log.last_words == "a line"
    log.close()
    assert capfd.readouterr().err == ""


def wait(true: Callable[[], bool], seconds: float = WITHIN) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
