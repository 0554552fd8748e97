"""How soon anomalies are told while jobs run, and how often without a reason: real programs, real faults.

    python bench/online_detection.py [--quick] [--interval S] [--work S] [--json]

Small programs (a processor burner, one that computes and writes, one in phases, a sleeper, a bursty one) run under the
embedded engine and the probe; what they tell goes through a store to `StoreWatch`, as in a study's server. After ten
healthy attempts of each, faults are made at random moments in new ones: half of a core (a control group's quota, and
stops and continuations as cpulimit makes them), a disk ten times slower (a control group's limit, 10 in place of 100
MB/s), a stop, a leak of 20 MB/s, a host on which every job fails. Beside them, healthy attempts that the history has
not seen are watched, on a machine that is otherwise left alone, and with both cores made busy by others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from panorama_driver.analysis import Anomaly
from panorama_driver.analysis.following import StoreWatch
from panorama_driver.analysis.history import WARM
from panorama_driver.collector.files import RunFollower
from panorama_driver.engines.local import Group, Slots, Watch, run_bundle
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.store import Store, open_store
from panorama_driver.testing import faults

FOLDER = Path(__file__).resolve().parent / "online"
PROGRAMS = ("burner", "mix", "phases", "sleeper", "bursty")
DISK, SLOW_DISK = 100e6, 10e6  # bytes/s
POLL = 0.1  # s; a study's server polls every 0.5 s
LIMIT = 3  # sampling intervals
EXPECTED = {
    "half of a core (quota)": ("throttled", ("burner",)),  # the others want no more than that
    "half of a core (stop and go)": ("throttled", ("burner",)),
    "disk ten times slower": ("slow_disk", ("mix",)),
    "stopped": ("stalled", PROGRAMS),
    "leak of 20 MB/s": ("leaking", PROGRAMS),
}
FAILING = "host fails every job"


@dataclass
class Trial:
    """A fault that was made.

    `delay` is event time from onset to what showed it, `told` wall time from onset until it was told, both in sampling
    intervals; None where nothing was told. `since` is how wrong the estimated onset is [s].
    """

    fault: str
    program: str
    kind: str | None = None
    right: bool = False
    delay: float | None = None
    told: float | None = None
    since: float | None = None


@dataclass
class Healthy:
    """Attempts in which nothing was wrong."""

    name: str
    attempts: int = 0
    hours: float = 0.0
    told: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)


class Bench:
    """Runs workflows in a folder, and keeps all that is told while they do."""

    def __init__(self, home: Path, store: Store, interval: float, work: float, seed: int) -> None:
        self.home = home
        self.store = store
        self.interval = interval
        self.work = work
        self.draws = random.Random(seed)
        self.watch = StoreWatch(store)
        self.told: list[tuple[float, Anomaly]] = []
        os.environ["BENCH_FOLDER"] = str(home)
        os.environ["BENCH_DISK"] = json.dumps([str(faults.disk_groups()), faults.disk_rules(home, DISK)])

    async def run(self, programs: list[str], slots: Slots | None = None) -> str:
        """Run a job of each program, to the end, and look all the time."""
        async with self.running(programs, slots) as (wf_uuid, work):
            await work
        return wf_uuid

    @asynccontextmanager
    async def running(
        self, programs: list[str], slots: Slots | None = None
    ) -> AsyncIterator[tuple[str, asyncio.Task[object]]]:
        bundle = self.home / f"bundle{self.draws.randrange(10**9)}"
        wf_uuid = str(uuid.UUID(int=self.draws.getrandbits(128), version=4))
        folder = find_workflow(str(FOLDER), Path())
        wanted = {"draw": self.draws.randrange(10**9), "programs": ",".join(programs), "work": self.work}
        render(folder, find_site("local", Path()), *folder.split(wanted), bundle)
        shared = slots or Slots(2, 4096)
        work = asyncio.create_task(run_bundle(bundle, "local", wf_uuid, shared, Watch(interval=self.interval)))
        look = asyncio.create_task(self._look(RunFollower(bundle / "run", self.store)))
        try:
            yield wf_uuid, work
        finally:
            await work
            await asyncio.sleep(3 * POLL)
            look.cancel()
            shutil.rmtree(bundle)
            for group in faults.disk_groups().glob(f"panorama-bench-{wf_uuid}-*"):
                group.rmdir()

    async def _look(self, follower: RunFollower) -> None:
        while True:
            follower.poll()
            found = self.watch.poll()
            self.told += [(time.time(), anomaly) for anomaly in found]
            await asyncio.sleep(POLL)

    async def job(self, wf_uuid: str, job: str) -> list[int]:
        """Processes of a job, once it runs."""
        while True:
            found = faults.processes({"PEGASUS_WF_UUID": wf_uuid, "PANORAMA_ATTEMPT": job})
            if found:
                return found
            await asyncio.sleep(0.02)

    def leak(self, attempt: str) -> Path:
        return self.home / f"leak.{attempt}"


async def healthy(bench: Bench, programs: list[str], name: str) -> Healthy:
    """Run jobs in which nothing is wrong, two at a time."""
    result = Healthy(name)
    before = len(bench.told)
    wf_uuid = await bench.run(programs)
    for event in bench.store.events(wf_uuid, {"stampede.inv.end"}):
        if event.fields.get("transformation") in PROGRAMS:
            result.attempts += 1
            result.hours += float(event.fields["dur"]) / 3600
    for _, anomaly in bench.told[before:]:
        if anomaly.phase == "found":
            result.told[anomaly.kind] += 1
            result.messages.append(anomaly.message)
    return result


async def faulty(bench: Bench, fault: str, program: str) -> Trial:
    """Make a fault in one job at a random moment; again where the job ended before it could be seen."""
    while True:
        trial, onset, wf_uuid = await _tried(bench, fault, program)
        ended = max(event.ts or 0.0 for event in bench.store.events(wf_uuid, {"kickstart.inv.online"}))
        if trial.delay is not None or ended > onset + LIMIT * bench.interval:
            return trial


async def _tried(bench: Bench, fault: str, program: str) -> tuple[Trial, float, str]:
    """The fault lasts six intervals, or until it is told."""
    kind, _ = EXPECTED[fault]
    before = len(bench.told)
    async with bench.running([program]) as (wf_uuid, _):
        attempt = await _attempt(bench, wf_uuid)
        pids = await bench.job(wf_uuid, attempt)
        await asyncio.sleep(bench.draws.uniform(0.3, 0.6) * bench.work)
        with ExitStack() as made:
            onset = await _make(made, bench, fault, attempt, pids, wf_uuid)
            end = time.time() + 6 * bench.interval
            while time.time() < end and not any(each.kind == kind for _, each in bench.told[before:]):
                await asyncio.sleep(0.05)
    return _judged(Trial(fault, program), bench, before, kind, onset), onset, wf_uuid


async def _attempt(bench: Bench, wf_uuid: str) -> str:
    """Number of the attempt that computes; jobs that only stage come before it."""
    while True:
        for event in bench.store.events(wf_uuid, {"kickstart.inv.online"}):
            return str(event.attempt)
        await asyncio.sleep(0.05)


async def _make(stack: ExitStack, bench: Bench, fault: str, attempt: str, pids: list[int], wf_uuid: str) -> float:
    if fault == "stopped":
        return stack.enter_context(faults.stopped(pids))
    if fault == "disk ten times slower":
        group = faults.disk_groups() / f"panorama-bench-{wf_uuid}-{attempt}"
        onset = time.time()
        stack.callback(_set, group, faults.disk_rules(bench.home, DISK))
        _set(group, faults.disk_rules(bench.home, SLOW_DISK))
        return onset
    if fault == "leak of 20 MB/s":
        told = bench.leak(attempt)
        told.touch()
        while not told.read_text():
            await asyncio.sleep(0.01)
        onset = float(told.read_text())
        stack.callback(told.unlink)
        return onset
    return stack.enter_context(faults.throttled(pids, 0.5, "quota" if "quota" in fault else "cycle"))


def _set(group: Path, rules: list[tuple[str, str]]) -> None:
    for name, text in rules:
        (group / name).write_text(text)


def _judged(trial: Trial, bench: Bench, before: int, kind: str, onset: float) -> Trial:
    found = [(wall, each) for wall, each in bench.told[before:] if each.phase == "found" and each.found > onset]
    right = [(wall, each) for wall, each in found if each.kind == kind]
    if found:
        trial.kind = found[0][1].kind
        trial.right = found[0][1].kind == kind
    if right:
        wall, anomaly = right[0]
        trial.delay = (anomaly.found - onset) / bench.interval
        trial.told = (wall - onset) / bench.interval
        trial.since = anomaly.since - onset
    return trial


async def failing_host(bench: Bench) -> Trial:
    """Break the program that one group of slots has installed, while jobs use it."""
    for group in ("sound", "hurt"):
        (bench.home / group).mkdir(exist_ok=True)
        tool = bench.home / group / "tool"
        tool.write_text('#!/bin/sh\nexec sleep "$1"\n')
        tool.chmod(0o755)
    groups = (Group("sound", 1), Group("hurt", 1))
    await bench.run(["tool"] * 2 * WARM, Slots(2, 4096, groups))
    before = len(bench.told)
    async with bench.running(["tool"] * 3 * WARM, Slots(2, 4096, groups)) as (wf_uuid, _):
        await _attempt(bench, wf_uuid)
        await asyncio.sleep(bench.draws.uniform(1, 2))
        with faults.broken(bench.home / "hurt" / "tool") as onset:
            end = time.time() + 10
            while time.time() < end and not any(each.kind == "failing_host" for _, each in bench.told[before:]):
                await asyncio.sleep(0.05)
    return _judged(Trial(FAILING, "tool"), bench, before, "failing_host", onset)


@contextmanager
def busy(nice: int) -> Iterator[None]:
    """Two processes that compute all the time, on two cores."""
    hogs = [subprocess.Popen(["nice", "-n", str(nice), "sh", "-c", "while :; do :; done"]) for _ in range(2)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _shuffled(bench: Bench, each: int) -> list[str]:
    programs = list(PROGRAMS) * each
    bench.draws.shuffle(programs)
    return programs


async def measure(bench: Bench, rounds: int, unseen: int, quick: bool) -> tuple[list[Trial], list[Healthy]]:
    """History, faults, and healthy attempts that the history has not seen."""
    _say("history")
    seen = [await healthy(bench, _shuffled(bench, WARM + 1), "while the history is made")]
    trials: list[Trial] = []
    for fault, (_, programs) in EXPECTED.items():
        for turn in range(rounds):
            program = programs[turn % len(programs)]
            trials.append(await faulty(bench, fault, program))
            _say(f"{trials[-1]}")
    for _ in range(1 if quick else rounds // 2):
        trials.append(await failing_host(bench))
        _say(f"{trials[-1]}")
    seen.append(await healthy(bench, _shuffled(bench, unseen), "left alone"))
    if not quick:
        with busy(10):
            seen.append(await healthy(bench, _shuffled(bench, unseen), "two cores busy, at nice 10"))
        with busy(0):
            seen.append(await healthy(bench, _shuffled(bench, unseen), "two cores busy, with the same right"))
    return trials, seen


def _say(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)


def report(trials: list[Trial], seen: list[Healthy], bench: Bench) -> None:
    """Tables of both."""
    print(f"interval {bench.interval:g} s, jobs of {bench.work:g} s\n")
    print("| fault | made | told | kind right | delay, median | worst | until told, median | onset wrong by, median |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for fault in (*EXPECTED, FAILING):
        own = [trial for trial in trials if trial.fault == fault]
        found = [trial for trial in own if trial.delay is not None]
        if not own:
            continue
        delays = [trial.delay for trial in found if trial.delay is not None] or [float("nan")]
        told = [trial.told for trial in found if trial.told is not None] or [float("nan")]
        since = [abs(trial.since) for trial in found if trial.since is not None] or [float("nan")]
        print(
            f"| {fault} | {len(own)} | {len(found)} | {sum(trial.right for trial in own)} | "
            f"{statistics.median(delays):.2f} | {max(delays):.2f} | {statistics.median(told):.2f} | "
            f"{statistics.median(since):.2f} s |"
        )
    print("\nDelays are in sampling intervals.\n")
    print("| healthy attempts | number | hours | told | for each attempt-hour |")
    print("| --- | --- | --- | --- | --- |")
    for each in seen:
        told = ", ".join(f"{number} {kind}" for kind, number in sorted(each.told.items())) or "none"
        print(
            f"| {each.name} | {each.attempts} | {each.hours:.2f} | {told} | "
            f"{each.told.total() / max(each.hours, 1e-9):.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, in a minute")
    parser.add_argument("--interval", type=float, default=0.5, help="between samples [s]")
    parser.add_argument("--work", type=float, default=6.0, help="of a job [s]")
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault is made")
    parser.add_argument("--unseen", type=int, default=4, help="healthy attempts of each program beside them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rounds, unseen = (1, 1) if told.quick else (told.rounds, told.unseen)
    with tempfile.TemporaryDirectory(prefix="panorama-", dir=Path.cwd()) as folder:
        home = Path(folder)
        with open_store(home / "store.db") as store:
            bench = Bench(home, store, told.interval, told.work, told.seed)
            trials, seen = asyncio.run(measure(bench, rounds, unseen, told.quick))
    if told.json:
        print(json.dumps({"trials": [asdict(each) for each in trials], "healthy": [asdict(each) for each in seen]}))
    else:
        report(trials, seen, bench)
        for each in seen:
            for message in each.messages:
                _say(f"{each.name}: {message}")


if __name__ == "__main__":
    main()
