"""`panorama up`: from its start to the first event in the store, what it takes meanwhile, and how soon a part is back.

    python bench/back_end.py [--rounds 5] [--json]

In turn, with a broker and without one: a first start in an empty folder, and another one in the same folder. An event
is sent as soon as what goes into study.yml has been told; the clock stops when another process can read it in the
store. CPU time is that of all processes of the back end from its start until then, and of its orderly end; the rest is
what they take when nothing comes. Needs a RabbitMQ server; without one only what needs none is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from _machine import describe

from panorama_driver.backend import rabbitmq
from panorama_driver.backend.up import State, state_of
from panorama_driver.collector.broker import Address, Publisher
from panorama_driver.config import netrc_login
from panorama_driver.errors import StoreError
from panorama_driver.store import open_store

EVENT = b'{"event":"kickstart.inv.online","wf_uuid":"w","dag_job_id":"a","ts":1795345908.5,"seq":%d}'
IDLE = 10.0  # seconds
WITHIN = 120.0  # seconds
_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass
class Start:
    """One start.

    Attributes
    ----------
    told, stored : float
        From the start of the command until what goes into study.yml was told, and until the first event was in the
        store [s].
    cpu : float
        Of all its processes until then [s].
    """

    told: float
    stored: float
    cpu: float


@dataclass
class Results:
    """All that was measured, by what it was measured of."""

    machine: dict[str, str]
    starts: dict[str, list[Start]] = field(default_factory=dict)
    back: dict[str, list[float]] = field(default_factory=dict)
    ends: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    skipped: str = ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="every number, for programs")
    told = parser.parse_args()
    results = Results(describe(), skipped=rabbitmq.why_not())
    ways = ["without a broker"] if results.skipped else ["with a broker", "without a broker"]
    with tempfile.TemporaryDirectory(prefix="pd-") as folder:
        for number in range(told.rounds):
            for way in ways:
                measure(results, way, Path(folder) / f"{way}-{number}", last=number == told.rounds - 1)
    print(json.dumps(asdict(results), indent=1) if told.json else "\n".join(_lines(results)))


def measure(results: Results, way: str, folder: Path, last: bool) -> None:
    """One round of one way: a start, an end, a start, kills, an end; at last what it takes when nothing comes."""
    options = [] if way == "with a broker" else ["--no-broker"]
    for which in ("first", "again"):
        with running(folder, *options) as back_end:
            results.starts.setdefault(f"{way}, {which} start", []).append(back_end.start())
            if which == "again":
                wait_for(lambda: back_end.state.well)
                for part in back_end.state.parts:
                    results.back.setdefault(f"{part.name}, {way}", []).append(back_end.kill(part.name))
                if last:
                    results.memory |= {f"{each}, {way}": size for each, size in back_end.memory()}
                    results.idle[way] = back_end.idle()
            results.ends.setdefault(way, []).append(back_end.end())


class BackEnd:
    """A back end that runs, in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._before = _count(folder / "store.db")
        self._began = time.perf_counter()
        words: list[str | Path] = [Path(sys.executable).with_name("panorama"), "up", "--json", folder, *options]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    @property
    def state(self) -> State:
        """How it is doing."""
        state = state_of(self.folder)
        if state is None:
            raise SystemExit(f"bench/back_end.py: {self.folder}: it has ended")
        return state

    def start(self) -> Start:
        """Wait until it has told where it is, send an event, and wait until that is in the store."""
        assert self.process.stdout is not None
        lines = (json.loads(line) for line in self.process.stdout)
        monitoring = next(told["monitoring"] for told in lines if "monitoring" in told)
        told = time.perf_counter() - self._began
        send = _publish if "broker" in monitoring else _post
        send(monitoring, EVENT % self._before, self.folder)
        wait_for(lambda: _count(self.folder / "store.db") > self._before)
        return Start(told, time.perf_counter() - self._began, _cpu(self.process.pid))

    def kill(self, name: str) -> float:
        """Kill a part with SIGKILL; time until another one is well [s]."""
        pid = self._pid(name)
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self._pid(name) not in (0, pid) and self._is_ready(name))
        return time.perf_counter() - began

    def memory(self) -> Iterator[tuple[str, int]]:
        """Of each part with all that it has started, shared pages by their share (Pss) [bytes]."""
        for part in self.state.parts:
            yield part.name, sum(map(_pss, _tree(part.pid or 0)))
        yield "panorama up itself", _pss(self.process.pid)

    def idle(self) -> float:
        """CPU time a second when nothing comes."""
        before = _cpu(self.process.pid)
        time.sleep(IDLE)
        return (_cpu(self.process.pid) - before) / IDLE

    def end(self) -> float:
        """End it in order; how long that took [s]."""
        began = time.perf_counter()
        self.process.terminate()
        if self.process.wait(WITHIN):
            raise SystemExit(f"bench/back_end.py: it ended with {self.process.returncode}")
        return time.perf_counter() - began

    def _pid(self, name: str) -> int:
        return next(part.pid or 0 for part in self.state.parts if part.name == name)

    def _is_ready(self, name: str) -> bool:
        return any(part.state == "ready" for part in self.state.parts if part.name == name)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[BackEnd]:
    """A back end that is gone afterwards."""
    back_end = BackEnd(folder, *options)
    try:
        yield back_end
    finally:
        back_end.process.kill()
        back_end.process.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises
    ------
    SystemExit
        It is not, after `WITHIN`.
    """
    end = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench/back_end.py: waited for {WITHIN:g} s in vain")
        time.sleep(0.005)


def _publish(monitoring: dict[str, str], event: bytes, folder: Path) -> None:
    address = Address.read(monitoring["broker"], monitoring["credentials"])
    with Publisher(address, folder / "bench-spool") as publisher:
        publisher.offer("kickstart.inv.online", [event])
        publisher.flush(WITHIN)


def _post(monitoring: dict[str, str], event: bytes, _: Path) -> None:
    token = netrc_login(Path(monitoring["worker_credentials"]), "127.0.0.1")[1]
    request = urllib.request.Request(monitoring["online"], event, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=WITHIN):
        pass


def _count(store: Path) -> int:
    if not store.exists():
        return 0
    try:
        with open_store(store, readonly=True) as opened:
            return opened.count()
    except StoreError:  # it is being made
        return 0


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _cpu(pid: int) -> float:
    """Of a process, all below it, and all of those that have ended [s]; proc_pid_stat(5)."""
    ticks = 0
    for each in _tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK


def _pss(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _lines(results: Results) -> Iterator[str]:
    yield "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    yield "panorama up, medians (and range):"
    for name, starts in results.starts.items():
        told, stored, cpu = ([getattr(start, field) for start in starts] for field in ("told", "stored", "cpu"))
        yield f"  {name}: told {_spread(told)} s, first event stored {_spread(stored)} s, CPU {_spread(cpu)} s"
    yield from (f"  killed: {name}: well again after {_spread(times)} s" for name, times in results.back.items())
    yield from (f"  ended in order {way}: {_spread(times)} s" for way, times in results.ends.items())
    yield from (
        f"  CPU when nothing comes, {way}: {1e3 * share:.0f} ms a second" for way, share in results.idle.items()
    )
    yield from (f"  memory: {name}: {size / 1e6:.0f} MB" for name, size in results.memory.items())
    if results.skipped:
        yield f"  with a broker: nothing measured: {results.skipped}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
