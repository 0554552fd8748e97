"""How true the probe's numbers are and what it costs: the job's own getrusage and known bytes against the last record.

    python bench/probe.py [--json] [--runs N] [--darshan LIBRARY]

Runs with and without the probe alternate, so that a busy machine disturbs both alike; CPU time is compared, since wall
time on a shared machine says little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from panorama_driver.probe import command

PRELUDE = """
import os, resource, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
def work(rounds):
    for _ in range(rounds): sum(range(1000))
def tell():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    with open(sys.argv[1], "w") as file: file.write(repr(cpu))
    os._exit(0)
"""
JOBS = {
    "CPU burner, 1 s": "burn(1)",
    "forks 100 children of 10 ms": (
        "for _ in range(100):\n    if os.fork() == 0: burn(0.01); os._exit(0)\n    os.wait()"
    ),
}
WRITES = """
file = os.open(sys.argv[1] + ".data", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
for _ in range(1024): os.write(file, bytes(65536))
os.fsync(file)
os._exit(0)
"""
WRITTEN = 1024 * 65536
CONNECTIONS = """
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=200)
pairs = []
for _ in range(100):
    client = socket.create_connection(server.getsockname())
    pairs.append((client, server.accept()[0]))
end = time.monotonic() + 4
while time.monotonic() < end:
    for one, other in pairs: one.send(bytes(500)); other.recv(500)
    time.sleep(0.2)
os._exit(0)
"""


@dataclass(frozen=True)
class Accuracy:
    """One quantity of one job: medians over the runs, their error [%] and the worst of a single run [%]."""

    job: str
    quantity: str
    truth: float
    probe: float
    error: float
    worst: float


@dataclass(frozen=True)
class Cost:
    """What the probe adds, each a median: CPU [s], time [s] or a ratio [%]."""

    name: str
    value: float
    unit: str


class Bench:
    """Runs jobs in a folder of their own."""

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self.runs = runs

    def job(self, body: str) -> list[str]:
        return [sys.executable, "-IS", "-c", PRELUDE + body + "\ntell()", str(self.folder / "truth")]

    def probed(self, job: list[str], interval: float = 1.0, *more: str) -> list[str]:
        return [*command(), *more, "--interval", str(interval), "--trace", str(self.folder / "trace"), "--", *job]

    def truth(self) -> float:
        return float((self.folder / "truth").read_text())

    def last(self) -> dict[str, float]:
        record: dict[str, float] = json.loads((self.folder / "trace").read_text().splitlines()[-1])
        return record


def usage_of(words: list[str]) -> tuple[float, float]:
    """Run a command; return its CPU time with all its children's [s] and its wall time [s]."""
    begin = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"wait status {status} of {words}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - begin


def accuracy(name: str, quantity: str, pairs: list[tuple[float, float]]) -> Accuracy:
    truth = statistics.median(truth for truth, _ in pairs)
    probe = statistics.median(probe for _, probe in pairs)
    errors = [100 * (probe - truth) / truth for truth, probe in pairs]
    return Accuracy(name, quantity, truth, probe, 100 * (probe - truth) / truth, max(errors, key=abs))


def accuracies(bench: Bench) -> list[Accuracy]:
    """Compare the last record with what each job knows of itself; the short one with what it uses without a probe."""

    def cpu(body: str) -> tuple[float, float]:
        usage_of(bench.probed(bench.job(body)))
        return bench.truth(), bench.last()["utime"] + bench.last()["stime"]

    def short() -> tuple[float, float]:
        job = bench.job("burn(0.02); os._exit(0)")
        truth, _ = usage_of(job)
        usage_of(bench.probed(job))
        return truth, bench.last()["utime"] + bench.last()["stime"]

    def written() -> tuple[float, float]:
        usage_of(bench.probed(bench.job(WRITES)))
        return WRITTEN, bench.last()["wchar"]

    rows = [accuracy(name, "CPU [s]", [cpu(body) for _ in range(bench.runs)]) for name, body in JOBS.items()]
    rows.append(accuracy("burns 20 ms", "CPU [s]", [short() for _ in range(10 * bench.runs)]))
    rows.append(accuracy("writer, 64 MiB and fsync", "wchar [bytes]", [written() for _ in range(bench.runs)]))
    return rows


def slow_down(bench: Bench, darshan: str) -> list[Cost]:
    """Give the same work to a job without the probe, with it, and with everything it can do, in turn.

    The least disturbed run of each is compared.
    """
    job = bench.job("work(600000)")
    everything = ["--tcp", *(["--darshan", darshan] if darshan else [])]
    ways: dict[str, list[str] | None] = {"": None, "by samples": [], f"by {' '.join(everything[:2])}": everything}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(bench.runs):
        for name, options in ways.items():
            wall[name].append(usage_of(job if options is None else bench.probed(job, 1.0, *options))[1])
            cpu[name].append(bench.truth())
    return [
        Cost(f"{what}, slow-down {name}", 100 * (min(times[name]) / min(times[""]) - 1), "%")
        for what, times in (("job's own CPU time", cpu), ("wall time of the command", wall))
        for name in ways
        if name
    ]


def own_cost(bench: Bench) -> list[Cost]:
    """Measure what a start and a sample cost, from jobs that do nothing."""
    true = ["/bin/true"]
    pairs = [(usage_of(true), usage_of(bench.probed(true))) for _ in range(4 * bench.runs)]
    one = sample_cost(bench, ["/bin/sleep", "1"])
    many = sample_cost(bench, ["/bin/sh", "-c", "for i in $(seq 99); do sleep 1 & done; wait"])
    return [
        Cost("start and end of the probe, CPU", statistics.median(probed[0] - bare[0] for bare, probed in pairs), "s"),
        Cost("start and end of the probe, wall", statistics.median(probed[1] - bare[1] for bare, probed in pairs), "s"),
        Cost("share of a core at a 1 s interval, 1 process", 100 * one, "%"),
        Cost("share of a core at a 1 s interval, 100 processes", 100 * many, "%"),
        Cost("share of a core, --tcp and 200 active sockets", 100 * watching_cost(bench), "%"),
    ]


def watching_cost(bench: Bench) -> float:
    """CPU time of the probe itself beside a job with connections, all ends of which are its own [s/s]."""
    costs = []
    for _ in range(bench.runs):
        words = bench.probed(bench.job(CONNECTIONS), 1.0, "--tcp")
        pid = os.posix_spawn(words[0], words, os.environ)
        time.sleep(1.5)
        begun, used = time.monotonic(), own_cpu(pid)
        time.sleep(2)
        costs.append((own_cpu(pid) - used) / (time.monotonic() - begun))
        os.waitpid(pid, 0)
    return statistics.median(costs)


def own_cpu(pid: int) -> float:
    """CPU time of a process without its children [s]."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def sample_cost(bench: Bench, job: list[str]) -> float:
    """CPU time of one sample [s]: what many of them add to the same job."""
    costs = []
    for _ in range(bench.runs):
        few, _ = usage_of(bench.probed(job, 0))
        many, _ = usage_of(bench.probed(job, 0.02))
        costs.append((many - few) / (bench.last()["seq"] - 1))
    return statistics.median(costs)


def main() -> None:
    parser = argparse.ArgumentParser(description="accuracy and cost of the probe")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--darshan", default="", metavar="LIBRARY", help="libdarshan.so, built without MPI")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.runs)
        rows, costs = accuracies(bench), slow_down(bench, options.darshan) + own_cost(bench)
    if options.json:
        print(json.dumps({"accuracy": [asdict(row) for row in rows], "cost": [asdict(cost) for cost in costs]}))
        return
    print(f"{'job':30}{'quantity':16}{'truth':>14}{'probe':>14}{'error %':>9}{'worst %':>9}")
    for row in rows:
        print(f"{row.job:30}{row.quantity:16}{row.truth:14.6g}{row.probe:14.6g}{row.error:9.3f}{row.worst:9.3f}")
    for cost in costs:
        print(f"{cost.name:54}{cost.value:12.6f} {cost.unit}")


if __name__ == "__main__":
    main()
