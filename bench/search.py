"""A million trace records into OpenSearch and into SQLite through the same interface: rates, sizes, the same sums out.

    python bench/search.py [--events 1000000] [--batch 2000] [--rounds 5] [--heap 2g] [--json]

A node of its own is started on loopback (`python -m panorama_driver.testing make-search` fetches it). The records are
of 100 workflows, interleaved, as a collector gets them. CPU time is that of this process; the node's is told beside.
Afterwards both stores are asked the same questions, and have to give the same answers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _machine import describe, load

from panorama_driver.events import Event
from panorama_driver.store import Store, Via, open_store
from panorama_driver.testing import opensearch

WORKFLOWS, JOBS = 100, 20
BEGIN = 1_795_000_000.0  # s since 1970
SUMS = """SELECT wf_uuid, count(*), min(ts), max(ts), sum(fields ->> 'wchar'), max(fields ->> 'rss'),
    sum(fields ->> 'utime') FROM events GROUP BY wf_uuid"""
ROWS = dict[str, tuple[float, ...]]


@dataclass
class Filled:
    """What it took to fill a store: times [s], sizes [bytes]."""

    wall: float
    cpu: float
    engine: float
    size: int
    new: int
    again: float


@dataclass
class Results:
    """All that was measured; times of queries [s]."""

    machine: dict[str, str]
    events: int
    batch: int
    filled: dict[str, Filled] = field(default_factory=dict)
    queries: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def traces(count: int) -> Iterator[Event]:
    """Records of jobs as our probe sends them, one a second of each job."""
    for number in range(count):
        workflow, sample = number % WORKFLOWS, number // WORKFLOWS
        job, seq = sample % JOBS, sample // JOBS
        used = {"utime": seq * 0.93, "stime": seq * 0.04, "iowait": 0.0, "rss": 20_000 + 7 * seq, "vm": 108_868}
        moved = {"rchar": seq * 4096 * (job + 1), "wchar": seq * 65_536, "bread": 0, "bwrite": seq * 65_536}
        counts = {"procs": 2, "threads": 3, "syscr": seq, "syscw": 16 * seq, "bsend": 0, "brecv": 0, "rank": 0}
        names = {"hostname": f"worker-{(workflow + job) % 64}", "site": "condorpool", "xformation": f"step{job % 5}"}
        own = {"pid": 1000 + job, "seq": seq, "interval": 1.0, "wf_label": "bench", "condor_job_id": f"{job}.0"}
        yield Event(
            kind="kickstart.inv.online",
            wf_uuid=_uuid(workflow),
            ts=BEGIN + seq + job / JOBS,
            job_id=f"job_ID{job:07}",
            attempt=1,
            fields=names | own | used | moved | counts,
        )


def _uuid(workflow: int) -> str:
    return f"00000000-0000-4000-8000-{workflow:012}"


def batches(count: int, size: int) -> Iterator[list[Event]]:
    """The same in parts."""
    batch: list[Event] = []
    for event in traces(count):
        batch.append(event)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def fill(store: Store, results: Results, engine: Callable[[], float], size: Callable[[], int]) -> Filled:
    """Put all events, then a tenth of them again."""
    wall = cpu = 0.0
    new, before = 0, engine()
    for batch in batches(results.events, results.batch):
        at, used = time.perf_counter(), time.process_time()
        new += store.put(batch, via=Via.BROKER)
        wall, cpu = wall + time.perf_counter() - at, cpu + time.process_time() - used
        _progress(store, new, results.events)
    spent = engine() - before
    at = time.perf_counter()
    assert sum(store.put(batch, via=Via.BROKER) for batch in batches(results.events // 10, results.batch)) == 0
    return Filled(wall, cpu, spent, size(), new, time.perf_counter() - at)


def _progress(store: Store, done: int, all_of_them: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{type(store).__name__}: {done} of {all_of_them}", end="", file=sys.stderr)


def sums_of_sqlite(path: Path) -> ROWS:
    """By workflow: number, first, last, sum of wchar, most rss, sum of utime."""
    with closing(sqlite3.connect(path)) as connection:
        return {row[0]: tuple(row[1:]) for row in connection.execute(SUMS)}


def sums_of_search(node: opensearch.Node) -> ROWS:
    """The same by the engine, of the index that Panorama called so."""
    wanted = {"first": ("min", "ts"), "last": ("max", "ts"), "moved": ("sum", "wchar"), "most": ("max", "rss")} | {
        "used": ("sum", "utime")
    }
    numbers = {name: {how: {"field": what}} for name, (how, what) in wanted.items()}
    by_workflow = {"terms": {"field": "wf_uuid", "size": 2 * WORKFLOWS}, "aggs": numbers}
    body = {"size": 0, "aggs": {"wf": by_workflow}}
    told = node.ask("POST", "/panorama_kickstart/_search?request_cache=false", body)["aggregations"]["wf"]["buckets"]
    return {each["key"]: (each["doc_count"], *(each[name]["value"] for name in numbers)) for each in told}


def check(ours: Store, theirs: Store, sums: tuple[ROWS, ROWS], results: Results) -> None:
    """Both say the same.

    Raises
    ------
    AssertionError
        They do not.
    """
    assert results.filled["SQLite"].new == results.filled["OpenSearch"].new == results.events
    assert ours.count() == theirs.count() == results.events
    assert ours.workflows() == theirs.workflows()
    for workflow in (0, WORKFLOWS // 2, WORKFLOWS - 1):
        assert list(ours.events(_uuid(workflow))) == list(theirs.events(_uuid(workflow)))
        assert ours.arrivals(_uuid(workflow)) == theirs.arrivals(_uuid(workflow))
    one, other = sums
    assert one.keys() == other.keys()
    for wf_uuid, row in one.items():
        assert all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(row, other[wf_uuid], strict=True)), wf_uuid


def questions(store: Store) -> dict[str, Callable[[], Any]]:
    """What is asked of either store."""
    wf_uuid, near = _uuid(7), store.changed().cursor
    middle = store.since(0, limit=1).cursor
    return {
        "events of a workflow": lambda: list(store.events(wf_uuid)),
        "its first event": lambda: next(iter(store.events(wf_uuid))),
        "1000 events after a cursor": lambda: store.since(middle, limit=1000),
        "what changed, nothing": lambda: store.changed(near),
        "number of events of a workflow": lambda: store.count(wf_uuid),
        "how they came in": lambda: store.arrivals(wf_uuid),
        "all workflows with their times": lambda: store.workflows(),
    }


def of_dashboards(node: opensearch.Node) -> dict[str, Callable[[], Any]]:
    """What Panorama's dashboards ask of the engine."""
    clauses = [{"match": {"wf_uuid": _uuid(7)}}, {"match": {"event": "kickstart.inv.online"}}]
    plugin = {
        "query": {"bool": {"should": clauses, "minimum_should_match": 2}},
        "size": 1000,
        "sort": {"@timestamp": "asc"},
    }
    over_time = {"date_histogram": {"field": "@timestamp", "fixed_interval": "10s"}}
    panel = {"size": 0, "aggs": {"time": over_time | {"aggs": {"rss": {"max": {"field": "rss"}}}}}}
    path = "/panorama_kickstart/_search?request_cache=false"
    return {
        "the plugin's traces of a workflow": lambda: node.ask("POST", path, plugin),
        "a panel of Grafana over all traces": lambda: node.ask("POST", path, panel),
    }


def timed(ask: Callable[[], Any], rounds: int) -> list[float]:
    """Wall times of the same question [s], after one that does not count."""
    ask()
    times = []
    for _ in range(rounds):
        at = time.perf_counter()
        ask()
        times.append(time.perf_counter() - at)
    return times


def cpu_of(pid: int) -> float:
    """CPU time of a process [s]."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def size_of_indices(node: opensearch.Node) -> int:
    """What all indices take on disk once they are merged [bytes]."""
    node.ask("POST", "/panorama-events-*/_forcemerge?max_num_segments=1")
    node.ask("POST", "/panorama-*/_refresh")  # lets go of what was merged
    node.ask("POST", "/panorama-*/_flush")
    told = node.ask("GET", "/panorama-*/_stats/store")["_all"]["primaries"]["store"]["size_in_bytes"]
    return int(told)


def measure(folder: Path, results: Results, heap: str, rounds: int) -> None:
    """Fill both stores, compare them, ask both."""
    path = folder / "store.db"
    with (
        opensearch.running(folder / "node", heap=heap, quick=False) as node,
        open_store(path) as ours,
        open_store(node.url) as theirs,
    ):
        pid = node.pid or 0
        results.filled["SQLite"] = fill(ours, results, lambda: 0.0, lambda: path.stat().st_size)
        results.filled["OpenSearch"] = fill(theirs, results, lambda: cpu_of(pid), lambda: size_of_indices(node))
        check(ours, theirs, (sums_of_sqlite(path), sums_of_search(node)), results)
        for name, store in (("SQLite", ours), ("OpenSearch", theirs)):
            results.queries[name] = {what: timed(ask, rounds) for what, ask in questions(store).items()}
        results.queries["SQLite"]["sums by workflow"] = timed(lambda: sums_of_sqlite(path), rounds)
        results.queries["OpenSearch"]["sums by workflow"] = timed(lambda: sums_of_search(node), rounds)
        results.queries["OpenSearch"] |= {what: timed(ask, rounds) for what, ask in of_dashboards(node).items()}


def as_text(results: Results) -> Iterator[str]:
    """Two tables."""
    yield "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    yield f"{results.events} trace records of {WORKFLOWS} workflows, {results.batch} a batch; both stores gave the same"
    yield f"{'':34}{'SQLite':>12}{'OpenSearch':>12}"
    for what, tell in _FILLED.items():
        yield f"{what:34}" + "".join(f"{tell(results, each):>12}" for each in results.filled.values())
    yield "queries, median wall time [ms]"
    for what in results.queries["OpenSearch"]:
        cells = [results.queries[name].get(what) for name in ("SQLite", "OpenSearch")]
        yield f"{what:34}" + "".join(
            f"{statistics.median(each) * 1e3:12.1f}" if each else f"{'-':>12}" for each in cells
        )


_FILLED: dict[str, Callable[[Results, Filled], str]] = {
    "records a second": lambda results, each: f"{results.events / each.wall:.0f}",
    "CPU of ours a record [us]": lambda results, each: f"{each.cpu / results.events * 1e6:.1f}",
    "CPU of the engine a record [us]": lambda results, each: f"{each.engine / results.events * 1e6:.1f}",
    "bytes a record on disk": lambda results, each: f"{each.size / results.events:.0f}",
    "known records a second": lambda results, each: f"{results.events // 10 / each.again:.0f}",
}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heap", default="2g")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    reason = opensearch.why_not()
    if reason:
        raise SystemExit(f"skipped: {reason}")
    results = Results(describe(), options.events, options.batch)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), results, options.heap, options.rounds)
    results.machine["load after"] = load()
    print(json.dumps(asdict(results)) if options.json else "\n".join(as_text(results)))


if __name__ == "__main__":
    main()
