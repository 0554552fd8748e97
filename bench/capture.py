"""From a broker into the store: events per CPU-second, time until they can be asked for, memory, and an objective.

    python bench/capture.py [--events 50000] [--rounds 3] [--pegasus DIR] [--json]

Four ways take the same real events from the same RabbitMQ, in turn: ours, a consumer that keeps nothing, the obvious
json + executemany, and pegasus-monitord's own loader, which reads them from a file. CPU time is that of the whole
process less that of the same process with nothing to take. Needs a RabbitMQ server; `--pegasus` names an environment
with a released pegasus-wms, such as `make test` makes in `.pegasus`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from _intakes import QUEUE
from _machine import describe

from panorama_driver.metrics import correlate
from panorama_driver.sources import expand
from panorama_driver.store import open_store
from panorama_driver.testing import rabbitmq

ROOT = Path(__file__).parent.parent
CAPTURES = ROOT / "tests" / "data" / "captures"
INTAKES = Path(__file__).with_name("_intakes.py")
MILLION = 1_000_000
QUEUED = 100_000
RATE = 2000
_STARTING = 3  # seconds of it in which the collector starts
AIMS = {"events per CPU-second": 9000, "seconds to be asked for, 99 %": 1.0, "MB with 100,000 queued": 200}
Raw = dict[str, Any]


@dataclass(frozen=True)
class Spent:
    """What a process took: CPU time [s]."""

    cpu: float


@dataclass
class Results:
    """All that was measured."""

    machine: dict[str, str]
    per_second: dict[str, list[float]] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    memory: int = 0
    objective: list[float] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000, help="messages a round; default: 50000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pegasus", type=Path, default=ROOT / ".pegasus", help="environment with pegasus-wms")
    parser.add_argument("--json", action="store_true", help="every number, for programs")
    told = parser.parse_args()
    if reason := rabbitmq.why_not():
        print(f"bench/capture.py: nothing measured: {reason}")
        return
    results = Results(describe())
    with tempfile.TemporaryDirectory(prefix="pd-") as folder, rabbitmq.running(Path(folder) / "node") as node:
        bench = Bench(Path(folder), node, told.pegasus)
        bench.rates(results, told.events, told.rounds)
        results.delays = bench.delays(15)
        results.memory = bench.memory()
        results.objective = bench.objective()
    print(json.dumps(asdict(results), indent=1) if told.json else "\n".join(_lines(results)))


class Bench:
    """A broker and a folder to measure with."""

    def __init__(self, folder: Path, node: rabbitmq.Node, pegasus: Path) -> None:
        self._folder = folder
        self._node = node
        self._pegasus = pegasus / "bin" / "python"
        self._number = 0
        self._url = f"amqp://{rabbitmq.USER}:{node.password}@127.0.0.1:{node.port}/{rabbitmq.VHOST}"

    def rates(self, results: Results, events: int, rounds: int) -> None:
        """Events per CPU-second of each way, the ways taking turns."""
        ways = {"panorama collect": self._ours, "bare pika": self._bare, "json + executemany": self._obvious}
        if self._pegasus.exists():
            ways["pegasus-monitord's loader"] = self._monitord
        else:
            results.skipped["pegasus-monitord's loader"] = f"no {self._pegasus}; give --pegasus DIR"
        nothing = {name: min(way(0).cpu for _ in range(3)) for name, way in ways.items()}
        for _ in range(rounds):
            for name, way in ways.items():
                spent = way(events).cpu - nothing[name]
                results.per_second.setdefault(name, []).append(events / spent)

    def delays(self, seconds: int) -> list[float]:
        """Time from publishing an event to finding it in the store, at a steady rate [s]."""
        store = self._path()
        open_store(store).close()
        collector = self._collect(store, idle=3)
        reader = _Reader(store)
        reader.start()
        self._publish(self._paced(seconds), "monitoring")
        wait_for(lambda: len(reader.delays) >= seconds * RATE)
        reader.stop()
        _spent(collector)
        return reader.delays[_STARTING * RATE :]

    def memory(self) -> int:
        """The most that the collector has when many messages wait for it [bytes]."""
        self._publish(real_events(QUEUED), "monitoring")
        collector = self._collect(self._path())
        most = 0
        while os.waitid(os.P_PID, collector.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            most = max(most, _peak(collector.pid))
            time.sleep(0.05)
        _spent(collector)
        return most

    def objective(self) -> list[float]:
        """Time to compute the metrics of one workflow from a store of a million events [s]."""
        path = self._path()
        one = one_workflow()
        with open_store(path) as store:
            for number in range(MILLION // len(one) + 1):
                store.put([msgspec.structs.replace(event, wf_uuid=f"{number:08d}") for event in one])
        times = []
        with open_store(path, readonly=True) as store:
            for number in random.Random(4).sample(range(MILLION // len(one)), 50):
                began = time.perf_counter()
                correlate(store.events(f"{number:08d}"))
                times.append(time.perf_counter() - began)
        return times

    def _ours(self, events: int) -> Spent:
        self._publish(real_events(events), "monitoring")
        path = self._path()
        spent = _spent(self._collect(path))
        with open_store(path, readonly=True) as store:
            if store.count() != events:
                raise SystemExit(f"{store.count()} of {events} events are in the store")
        return spent

    def _bare(self, events: int) -> Spent:
        return self._other("bare", events)

    def _obvious(self, events: int) -> Spent:
        return self._other("obvious", events, str(self._path()))

    def _other(self, *words: object) -> Spent:
        self._publish(real_events(int(str(words[1]))), "")
        environment = {**os.environ, "BENCH_URL": self._url}
        return _spent(subprocess.Popen([sys.executable, INTAKES, *map(str, words)], env=environment))

    def _monitord(self, events: int) -> Spent:
        file = self._path()
        stampede = (raw for raw in real_events(2 * events) if raw["event"].startswith("stampede."))
        file.write_text("".join(json.dumps(raw) + "\n" for _, raw in zip(range(events), stampede, strict=False)))
        words = [self._pegasus, INTAKES, "monitord", file, self._path()]
        return _spent(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def _collect(self, store: Path, idle: float = 1) -> subprocess.Popen[bytes]:
        words = ["collect", "--broker", self._node.url, "--credentials", self._node.credentials, "--store", store]
        command = [Path(sys.executable).with_name("panorama"), *words, "--exit-when-idle", str(idle), "--json"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def _publish(self, raws: Iterator[Raw], exchange: str) -> None:
        """Publish, and return when the broker has all."""
        import pika

        properties = pika.BasicProperties(delivery_mode=2)
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            for raw in raws:
                key = raw["event"] if exchange else QUEUE
                channel.basic_publish(exchange, key, json.dumps(raw).encode(), properties)
            channel.queue_declare(QUEUE, passive=True)  # its answer comes after all that was published before it

    def _paced(self, seconds: int) -> Iterator[Raw]:
        began = time.time()
        for number, raw in enumerate(real_events(seconds * RATE)):
            while time.time() < began + number / RATE:
                time.sleep(0.002)
            yield raw | {"bench_published": time.time()}

    def _path(self) -> Path:
        self._number += 1
        return self._folder / f"{self._number}.db"


class _Reader(threading.Thread):
    """Follows a store as a dashboard would, and notes how late each event is."""

    def __init__(self, store: Path) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._over = threading.Event()
        self.delays: list[float] = []

    def run(self) -> None:
        cursor = 0
        with open_store(self._store, readonly=True) as store:
            while not self._over.is_set():
                page = store.since(cursor, limit=5000)
                now = time.time()
                self.delays += [now - event.fields["bench_published"] for event in page.events]
                cursor = page.cursor
                time.sleep(0.01)

    def stop(self) -> None:
        self._over.set()
        self.join()


def real_events(number: int) -> Iterator[Raw]:
    """That many different events: those of real runs, again and again under other workflows' names."""
    real = _captured("stampede-events", "kickstart-online")
    for count in range(number):
        turn, place = divmod(count, len(real))
        raw = real[place]
        key = "xwf_id" if "xwf_id" in raw else "wf_uuid"
        renamed = {name: f"{turn:08x}{raw[name][8:]}" for name in (key, "root_xwf_id") if name in raw}
        yield raw | renamed


def one_workflow() -> list[Any]:
    """The events of one real run."""
    events = [event for raw in _captured("stampede-events") for event in expand(raw)]
    uuids = [event.wf_uuid for event in events]
    most = max(set(uuids), key=uuids.count)
    return list({event.event_id: event for event in events if event.wf_uuid == most}.values())


def _captured(*names: str) -> list[Raw]:
    """Messages of captures, each event once."""
    lines = [line for name in names for line in (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    bodies = [json.loads(line)["body"] for line in lines]
    known: dict[str, Raw] = {}
    for body in bodies:
        events = expand(body)
        if len(events) == 1 and len(events[0].wf_uuid) == 36:
            known.setdefault(events[0].event_id, body)
    return list(known.values())


def wait_for(condition: Any, limit: float = 60.0) -> None:
    """Wait until something is so.

    Raises
    ------
    SystemExit
        It is not, after `limit` [s].
    """
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench/capture.py: waited for {limit:.0f} s in vain")
        time.sleep(0.05)


def _spent(process: subprocess.Popen[bytes]) -> Spent:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"bench/capture.py: {process.args}: exit status {process.returncode}")
    return Spent(usage.ru_utime + usage.ru_stime)


def _peak(pid: int) -> int:
    """The most memory that a process has had [bytes]; `ru_maxrss` would begin with that of its parent."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _lines(results: Results) -> Iterator[str]:
    yield from (f"{name:16} {value}" for name, value in results.machine.items())
    yield "\nFrom the broker to where it goes, events per CPU-second; median (least-most) of the rounds"
    yield from (f"  {name:28} {_spread(rates)}" for name, rates in results.per_second.items())
    ordered = sorted(results.delays)
    late = ordered[int(0.99 * len(ordered))]
    median = statistics.median(ordered)
    yield f"\nPublished to found in the store, {RATE} events/s: median {median:.3f} s, 99 % {late:.3f} s"
    yield f"Memory of the collector with {QUEUED} messages queued: {results.memory / 1e6:.0f} MB"
    times = [1e3 * took for took in results.objective]
    median = statistics.median(times)
    yield f"Metrics of a workflow out of {MILLION} events: median {median:.1f} ms, most {max(times):.1f} ms"
    yield "Aims: " + ", ".join(f"{name} {aim}" for name, aim in AIMS.items()) + ", metrics 20 ms"
    yield from (f"skipped {name}: {reason}" for name, reason in results.skipped.items())


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):8.0f} ({min(values):.0f}-{max(values):.0f})"


if __name__ == "__main__":
    main()
