"""A queue in a real broker and the `panorama collect` processes on it: fed, killed, counted from what they leave."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from panorama_driver.collector._records import events_of
from panorama_driver.collector.broker import Address, _topology
from panorama_driver.errors import StoreError
from panorama_driver.events import Event
from panorama_driver.store import open_store
from panorama_driver.testing.rabbitmq import Node

from .captures import CAPTURES
from .studies import Kill, arm, kill, wait_for

STREAM = 20_000
"""Events of a stream, as facts for fault tests have it."""

Message = tuple[str, bytes]
"""Routing key and body."""
_SOURCES = ("stampede-events.jsonl", "kickstart-online.jsonl")


def messages(number: int) -> Iterator[Message]:
    """That many different events: those of real runs, again and again under other workflows' names."""
    return islice(_turns(), number)


def _turns() -> Iterator[Message]:
    real = _captured()
    turn = 0
    while True:
        for wf_uuid, key, text in real:
            yield key, text.replace(wf_uuid, f"{turn:08x}{wf_uuid[8:]}").encode()
        turn += 1


def _captured() -> list[tuple[str, str, str]]:
    """Workflow, routing key and body of recorded messages, each event once."""
    found: dict[str, tuple[str, str, str]] = {}
    for name in _SOURCES:
        for line in (CAPTURES / name).read_text(encoding="utf-8").splitlines():
            message = json.loads(line)
            text = json.dumps(message["body"])
            events = events_of(text.encode())
            if len(events) == 1 and len(events[0].wf_uuid) == 36:
                found.setdefault(events[0].event_id, (events[0].wf_uuid, message["routing_key"], text))
    return list(found.values())


def identities(bodies: Iterable[Message]) -> set[str]:
    """Of the events that they hold."""
    return {event.event_id for _, body in bodies for event in events_of(body)}


def stored(path: Path) -> int:
    """Number of events in a store that another process may write; no connection stays open."""
    try:
        with open_store(path, readonly=True) as store:
            return store.count()
    except StoreError:
        return 0


def until(store: Path, events: int, seconds: float = 60.0) -> None:
    """Wait until a store has that many."""
    wait_for(lambda: stored(store) >= events, f"{events} events in the store", seconds)


def contents(*paths: Path) -> list[Event]:
    """Every row of some stores."""
    found: list[Event] = []
    for path in paths:
        with open_store(path, readonly=True) as store:
            found += [event for workflow in store.workflows() for event in store.events(workflow.wf_uuid)]
    return found


def sound(path: Path) -> bool:
    """Whether a store opens for writing and SQLite finds no fault in it."""
    with open_store(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def check_whole(sent: list[Message], *paths: Path) -> tuple[int, int]:
    """How many events of those sent are not in the stores, and how many rows are there beyond one for each."""
    rows = [event.event_id for event in contents(*paths)]
    wanted = identities(sent)
    return len(wanted - set(rows)), len(rows) - len(set(rows) & wanted)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another writer that has the store and does not let go."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


class Collector:
    """`panorama collect` as a process of its own."""

    def __init__(self, words: list[str], environment: dict[str, str], output: Path) -> None:
        self._output = output
        with output.open("wb") as said, output.with_suffix(".err").open("wb") as errors:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("panorama")), "collect", "--json", *words],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=errors,
            )
        self.usage: resource.struct_rusage | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.usage is None and not self._reaped(os.WNOHANG)

    @property
    def counts(self) -> dict[str, Any]:
        """What it told last."""
        lines = self._output.read_text().splitlines()
        counts: dict[str, Any] = json.loads(lines[-1])
        return counts

    @property
    def complaints(self) -> str:
        return self._output.with_suffix(".err").read_text()

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.send(signal.SIGKILL)
        self.ended()

    def send(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def ended(self, seconds: float = 60.0) -> int:
        """Its exit status, once it has ended."""
        wait_for(lambda: not self.running, "the collector's end", seconds)
        return self.process.returncode

    def stopped(self) -> float:
        """Ask it to end; how long it took [s]."""
        began = time.monotonic()
        self.send(signal.SIGTERM)
        assert self.ended() == 0, self.complaints
        return time.monotonic() - began

    def _reaped(self, how: int) -> bool:
        pid, status, usage = os.wait4(self.pid, how)
        if pid:
            self.process.returncode, self.usage = os.waitstatus_to_exitcode(status), usage
        return bool(pid)


class Queue:
    """The collector's queue in a vhost of a node, and all who work on it.

    Parameters
    ----------
    node : Node
        The broker.
    vhost : str
        A vhost that nobody else uses.
    folder : Path
        Where the collectors' words go.
    """

    def __init__(self, node: Node, vhost: str, folder: Path) -> None:
        self.node, self.vhost, self.folder = node, vhost, folder
        self.url = f"amqp://127.0.0.1:{node.port}/{vhost}"
        self.address = Address.read(self.url, node.credentials)
        self._collectors: list[Collector] = []

    def collect(
        self, store: Path, *options: str, kill: Kill | None = None, environment: dict[str, str] | None = None
    ) -> Collector:
        """Start a collector; `kill` says where it shall die."""
        words = ["--broker", self.url, "--credentials", str(self.node.credentials), "--store", str(store), *options]
        output = self.folder / f"collector-{len(self._collectors)}.out"
        armed = arm(self.folder, kill) if kill else {}
        self._collectors.append(Collector(words, armed | (environment or {}), output))
        return self._collectors[-1]

    def consuming(self, store: Path, *options: str, environment: dict[str, str] | None = None) -> Collector:
        """Start a collector, and wait until the broker has it as one more consumer."""
        with self.channel() as channel:
            others = consumers(channel)
            collector = self.collect(store, *options, environment=environment)
            wait_for(lambda: consumers(channel) > others or not collector.running, "the collector to consume")
        assert collector.running, collector.complaints
        return collector

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """Somebody else's channel, on which all that a collector needs has been declared."""
        import pika

        with pika.BlockingConnection(self.address.parameters()) as connection:
            channel = connection.channel()
            _topology.declare(channel, self.address.exchange, False)
            yield channel

    def publish(self, some: Iterable[Message]) -> None:
        """Publish; the broker has all when this returns."""
        with self.channel() as channel:
            feed(channel, some)

    def left(self) -> int:
        """Messages in the broker, when nobody consumes any more."""
        with self.channel() as channel:
            wait_for(lambda: consumers(channel) == 0, "the broker to see that all collectors have gone")
            return sum(waiting(channel, name) for name in (_topology.EVENTS, _topology.DEAD))

    def finish(self, collector: Collector, store: Path, events: int, seconds: float = 60.0) -> None:
        """Wait until the store has that many events, end the collector, and see that the broker has nothing left."""
        until(store, events, seconds)
        collector.stopped()
        assert self.left() == 0

    def close(self) -> None:
        kill([collector.pid for collector in self._collectors if collector.running])
        for collector in self._collectors:
            collector.ended()


def feed(channel: Any, some: Iterable[Message]) -> None:
    """Publish on a channel; the broker has all when this returns."""
    import pika

    persistent = pika.BasicProperties(delivery_mode=2)
    for key, body in some:
        channel.basic_publish(_topology.EXCHANGE, key, body, persistent)
    channel.queue_declare(_topology.EVENTS, passive=True)  # answered after all that was published before


def consumers(channel: Any) -> int:
    """How many consume from the collector's queue."""
    return int(channel.queue_declare(_topology.EVENTS, passive=True).method.consumer_count)


def waiting(channel: Any, name: str = _topology.EVENTS) -> int:
    """How many messages are in a queue that nobody was given."""
    return int(channel.queue_declare(name, passive=True).method.message_count)


def cpu_time(pid: int) -> float:
    """Of a running process [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def starved(pid: int) -> float:
    """How long one thread of a process was ready and had no processor [s] (Linux, scheduler/sched-stats.rst)."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return max(int(file.read_text().split()[1]) for file in files) / 1e9


def memory(pid: int, name: str = "VmRSS") -> int:
    """Resident memory of a process, or `VmHWM`: the most that it ever had [bytes]."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
