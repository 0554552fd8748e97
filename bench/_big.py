"""Large stores for the dashboard's measurements, made up in the words of the embedded engine; the same every time.

    python bench/_big.py genome FOLDER [--rows N]       FOLDER/store.db: one run of the published 1000genome, 906 jobs
    python bench/_big.py study FOLDER [--evaluations N] FOLDER/.panorama: a study of many small runs of it

The jobs, edges, arguments and retries of the first are those of workflows/1000genome at its published size, on 40
slots; its traces have as many rows as told, one a second, as wide as those of the probe. The second has five jobs an
evaluation. Work, chance and clocks are made up.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import shutil
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from panorama_driver import sources
from panorama_driver.engines.local.plan import CLEANUP, COMPUTE, CREATE_DIR, STAGE_IN, STAGE_OUT, TYPE_NAMES
from panorama_driver.events import Event
from panorama_driver.render import WorkflowFolder
from panorama_driver.store import open_store

FOLDER = Path(__file__).resolve().parents[1] / "workflows" / "1000genome"
LABEL = "1000genome"
SLOTS = 40
BEGIN = 1_780_000_000.0
_WORK = {
    "individuals": 1600.0,
    "individuals_merge": 500.0,
    "sifting": 300.0,
    "mutation_overlap": 400.0,
    "frequency": 700.0,
}
"""How long a program takes beside the others [s]."""
_BATCH = 20_000
_PROGRAMS = {CREATE_DIR: "pegasus::dirmanager", CLEANUP: "pegasus::cleanup"}


@dataclass
class Job:
    """A node of the executable workflow."""

    job_id: str
    type: int
    program: str
    argv: str = ""
    task: str | None = None
    parents: list[str] = field(default_factory=list)


@dataclass
class Attempt:
    """A try of a job: `length` [s] of running from `start` [s since 1970], `rows` of trace."""

    job: Job
    number: int
    submit: float
    start: float
    length: float
    rows: int
    status: int = 0

    @property
    def end(self) -> float:
        return self.start + self.length


def genome(folder: Path, rows: int = 1_000_000) -> Path:
    """A store with one run of 906 jobs and that many rows of traces."""
    jobs, task_edges = _published()
    chance = random.Random(1000)
    attempts = _scheduled(jobs, _rows(jobs, rows, chance), chance)
    run = Run(str(uuid.UUID(int=chance.getrandbits(128), version=4)), jobs, attempts, "/scratch/genome", task_edges)
    return _fill(folder / "store.db", [run.events()])


def study(folder: Path, evaluations: int = 10_000) -> Path:
    """A study directory with a journal and a store of small runs."""
    home = folder / ".panorama"
    home.mkdir(parents=True, mode=0o700, exist_ok=True)
    for name in ("study.in", "study.yml"):
        shutil.copy(FOLDER / name, folder / name)
    chance = random.Random(10_000)
    told = [_evaluation(number, folder, chance) for number in range(1, evaluations + 1)]
    with (home / "journal.jsonl").open("wb") as journal:
        for _, steps in told:
            journal.writelines(msgspec.json.encode(step) + b"\n" for step in steps)
    _fill(home / "store.db", (run.events() for run, _ in told))
    return folder


class Run:
    """One run of a workflow, told in the engine's words."""

    def __init__(
        self,
        wf_uuid: str,
        jobs: Sequence[Job],
        attempts: Sequence[Attempt],
        home: str,
        task_edges: list[tuple[str, str]],
    ) -> None:
        self.wf_uuid = wf_uuid
        self._jobs, self._attempts, self._home, self._task_edges = jobs, attempts, home, task_edges
        self._common = {"xwf_id": wf_uuid, "root_xwf_id": wf_uuid, "wf_label": LABEL}
        self.begin = min(attempt.submit for attempt in attempts) - 0.01
        self.end = max(attempt.end for attempt in attempts) + 0.01
        self.cumulative_time = sum(attempt.length for attempt in attempts)
        self.status = _outcome(attempts)

    def events(self) -> Iterator[Event]:
        """All events in the order of their time, as the study's server takes them in."""
        yield from self._plan()
        yield from heapq.merge(*map(self._attempt, self._attempts), key=lambda event: event.ts or 0.0)
        reason = None if self.status == 0 else "1 job failed"
        yield self._event("xwf.end", self.end, status=self.status, restart_count=0, reason=reason)

    def _event(self, name: str, ts: float | None, **fields: Any) -> Event:
        return sources.parse({"event": f"stampede.{name}", "ts": ts, **self._common, **fields})

    def _plan(self) -> Iterator[Event]:
        at = self.begin - 0.5
        names = {"dax_label": LABEL, "dax_index": "0", "dax_version": "5.0", "dax_file": f"{self._home}/workflow.yml"}
        where = {"dag_file_name": f"{LABEL}-0.dag", "submit_hostname": "login1", "submit_dir": f"{self._home}/run"}
        yield self._event("wf.plan", at, **names, **where, user="scientist", planner_version="panorama-driver 0.1.0")
        yield self._event("static.start", None)
        compute = [job for job in self._jobs if job.task]
        for job in compute:
            told = {"transformation": job.program, "argv": job.argv, "type": "1", "type_desc": "compute"}
            yield self._event("task.info", None, task_id=job.task, **told)
        for parent, child in self._task_edges:
            yield self._event("task.edge", None, parent_task_id=parent, child_task_id=child)
        for job in self._jobs:
            yield from self._job(job)
        for job in self._jobs:
            for parent in job.parents:
                yield self._event("job.edge", None, parent_job_id=parent, child_job_id=job.job_id)
        yield self._event("static.end", None)
        yield self._event("xwf.start", self.begin, restart_count=0)
        yield self._event("xwf.meta", self.begin, key="slots", value=str(SLOTS))

    def _job(self, job: Job) -> Iterator[Event]:
        kind = {"type": str(job.type), "type_desc": TYPE_NAMES[job.type], "clustered": "0", "max_retries": "1"}
        program = {"executable": self._executable(job), "argv": job.argv, "submit_file": ""}
        yield self._event("job.info", None, job_id=job.job_id, **kind, task_count=str(int(bool(job.task))), **program)
        if job.task:
            yield self._event("wf.map.task_job", None, job_id=job.job_id, task_id=job.task)

    def _executable(self, job: Job) -> str:
        return f"{self._home}/bin/{job.program}" if job.type == COMPUTE else job.program

    def _attempt(self, attempt: Attempt) -> Iterator[Event]:
        """All of one attempt in the order of time."""
        yield from self._started(attempt)
        if attempt.job.type == COMPUTE:
            yield from self._trace(attempt)
        elif attempt.job.type in (STAGE_IN, STAGE_OUT):
            yield from self._transfers(attempt)
        yield from self._ended(attempt)

    def _told(self, attempt: Attempt, step: int, name: str, ts: float, **fields: Any) -> Event:
        own = {"job_id": attempt.job.job_id, "job_inst_id": attempt.number, "js_id": step}
        return self._event(f"job_inst.{name}", ts, **own, sched_id=f"{attempt.number}.0", **fields)

    def _invoked(self, attempt: Attempt, name: str, ts: float, **fields: Any) -> Event:
        own = {"job_id": attempt.job.job_id, "job_inst_id": attempt.number, "inv_id": 1}
        return self._event(f"inv.{name}", ts, **own, **fields)

    def _started(self, attempt: Attempt) -> Iterator[Event]:
        streams = _streams(attempt)
        yield self._told(attempt, 1, "submit.start", attempt.submit, site="local")
        yield self._told(attempt, 2, "submit.end", attempt.submit, status=0)
        yield self._told(attempt, 3, "main.start", attempt.start, **streams)
        yield self._invoked(attempt, "start", attempt.start)
        if attempt.job.type == COMPUTE:
            host = {"hostname": _host(attempt), "ip": "10.0.0.1", "total_memory": 131_072_000}
            yield self._told(attempt, 4, "host.info", attempt.start, site="local", **host, uname="linux-6.1-x86_64")

    def _ended(self, attempt: Attempt) -> Iterator[Event]:
        job, end, failed = attempt.job, attempt.end, attempt.status != 0
        program = {"transformation": job.program, "task_id": job.task, "executable": self._executable(job)}
        used = {"remote_cpu_time": 0.97 * attempt.length, "utime": 0.9 * attempt.length, "stime": 0.07 * attempt.length}
        sizes = {"maxrss": 48_000 + attempt.number % 1000} if job.type == COMPUTE else {}
        times = {"start_time": attempt.start, "dur": attempt.length}
        yield self._invoked(
            attempt, "end", end, **times, **program, argv=job.argv, exitcode=attempt.status, **used, **sizes
        )
        text = "Traceback (most recent call last):\n  ...\nMemoryError: chunk of 10000 lines\n" if failed else ""
        status = -1 if failed else 0
        yield self._told(attempt, 5, "main.term", end, status=status)
        asked = {"multiplier_factor": "1", "req_cpus": 1, "req_memory_mb": None}
        said = {**_streams(attempt), "stdout_text": "", "stderr_text": text, "work_dir": f"{self._home}/run/scratch"}
        outcome = {"local_dur": attempt.length, "exitcode": str(attempt.status), "status": status}
        yield self._told(attempt, 6, "main.end", end, site="local", **outcome, **said, **asked)
        ended = {"status": status, "exitcode": str(attempt.status), "reason": "exit code 1" if failed else ""}
        yield self._told(attempt, 7, "post.end", end, **ended)

    def _trace(self, attempt: Attempt) -> Iterator[Event]:
        """Rows of the probe, one a second, the last of them final."""
        job, rows = attempt.job, attempt.rows
        chance = random.Random(attempt.number)
        whose = {"wf_uuid": self.wf_uuid, "dag_job_id": job.job_id, "attempt": attempt.number, "site": "local"}
        what = {"wf_label": LABEL, "condor_job_id": f"{attempt.number}.0", "xformation": job.program}
        where = {"hostname": _host(attempt), "task_id": job.task, "pid": 10_000 + attempt.number}
        fixed = {"event": sources.traces.TRACE, **whose, **what, **where, "rank": 0, "interval": 1.0}
        busy, idle, read, written, calls, rss = 0.0, 0.0, 0, 0, 0, 20_000
        for seq in range(rows):
            last = seq == rows - 1
            share = chance.random()
            busy, idle = busy + 0.8 + 0.19 * share, idle + 0.01 * share
            read, written = read + int(4e6 * share), written + (int(3e5 * share) if seq % 7 == 0 else 0)
            calls, rss = calls + 40 + int(100 * share), min(90_000, rss + int(60 * share) - 10)
            yield sources.parse(
                {
                    **fixed,
                    "ts": attempt.end if last else attempt.start + attempt.length * (seq + 0.01 * share) / rows,
                    "seq": seq,
                    "exe": self._executable(job),
                    "utime": round(busy, 6),
                    "stime": round(0.06 * busy, 6),
                    "iowait": round(idle, 6),
                    "rchar": 2 * read + 5900,
                    "wchar": written,
                    "syscr": calls,
                    "syscw": calls // 3,
                    "bread": read // 4096 * 4096,
                    "bwrite": written // 4096 * 4096,
                    "vm": rss + 110_000,
                    "rss": 0 if last else rss,
                    "procs": 0 if last else 1 + (seq % 60 == 30),
                    "threads": 0 if last else 1 + 3 * (seq % 97 > 60),
                    "final": last,
                    **(_final(attempt, busy) if last else {}),
                }
            )

    def _transfers(self, attempt: Attempt) -> Iterator[Event]:
        """Files one after the other, as big as the number of the file tells."""
        inward = attempt.job.type == STAGE_IN
        number = 3 if len(self._jobs) < 10 else 53 if inward else 308
        step = attempt.length / number
        common = {**self._common, "wf_uuid": self.wf_uuid, "dag_job_id": attempt.job.job_id, "attempt": attempt.number}
        common |= {"level": "INFO", "hostname": "login1", "condor_job_id": f"{attempt.number}.0"}
        sizes = [1_000_000 * (1 + i % 50) for i in range(number)]
        for i, size in enumerate(sizes):
            name, begin, end = (
                f"{'in' if inward else 'out'}.{i}.vcf",
                attempt.start + i * step,
                attempt.start + (i + 1) * step,
            )
            places = [f"file:///archive/{name}", f"file://{self._home}/run/scratch/{name}"]
            source, target = places if inward else places[::-1]
            yield sources.parse(
                {
                    "event": "transfer.inv.local.single",
                    "ts": end,
                    **common,
                    "status": 0,
                    "filename": name,
                    "source_url": source,
                    "source_site_name": "local",
                    "destination_url": target,
                    "destination_site_name": "local",
                    **_moved(begin, end, size),
                }
            )
        whole = _moved(attempt.start, attempt.end, sum(sizes)) | {
            "effective_bytes_per_second": sum(sizes) / attempt.length
        }
        yield sources.parse(
            {"event": "transfer.inv.local", "ts": attempt.end, **common, "total_files": number, **whole}
        )


def _moved(begin: float, end: float, size: int) -> dict[str, Any]:
    times = {"transfer_start_time": begin, "transfer_completion_time": end, "transfer_duration": end - begin}
    return {**times, "bytes_transferred": size}


def _streams(attempt: Attempt) -> dict[str, str]:
    name = attempt.job.job_id
    return {"stdout_file": f"{name}.out.000", "stderr_file": f"{name}.err.000"}


def _final(attempt: Attempt, busy: float) -> dict[str, Any]:
    times = {"start_ts": attempt.start, "dur": attempt.length, "rusage_utime": round(busy + 0.001, 6)}
    told = {"maxrss": 91_000, "exitcode_raw": attempt.status, "problems": None}
    return {**times, **told, "rusage_stime": round(0.06 * busy, 6)}


def _host(attempt: Attempt) -> str:
    return f"nid{attempt.number % 10:05d}"


def _outcome(attempts: Iterable[Attempt]) -> int:
    last = {attempt.job.job_id: attempt.status for attempt in attempts}
    return -1 if any(last.values()) else 0


def _published() -> tuple[list[Job], list[tuple[str, str]]]:
    """Jobs of the published workflow with those that the planner adds, parents first; edges of its tasks."""
    folder = WorkflowFolder(FOLDER)
    values = {**folder.spec.published, "chromosomes": "1-22"}
    dag = folder.build(*folder.values(*folder.split(values)))
    edges = [(edge["id"], child) for edge in dag["jobDependencies"] for child in edge["children"]]
    names = {job["id"]: f"{job['name']}_{job['id']}" for job in dag["jobs"]}
    compute = [
        Job(names[job["id"]], COMPUTE, job["name"], " ".join(job["arguments"]), job["id"]) for job in dag["jobs"]
    ]
    by_id = {job.job_id: job for job in compute}
    for parent, child in edges:
        by_id[names[child]].parents.append(names[parent])
    return _surrounded(compute), edges


def _surrounded(compute: list[Job]) -> list[Job]:
    """Compute jobs between those that the planner adds on a shared file system."""
    create = Job(f"create_dir_{LABEL}_0_local", CREATE_DIR, "pegasus::dirmanager")
    inward = Job("stage_in_local_local_0_0", STAGE_IN, "pegasus::transfer", parents=[create.job_id])
    inner = {parent for job in compute for parent in job.parents}
    for job in compute:
        job.parents += [inward.job_id] if not job.parents else []
    last = [job.job_id for job in compute if job.job_id not in inner]
    outward = Job("stage_out_local_local_0_0", STAGE_OUT, "pegasus::transfer", parents=last)
    clean = Job(f"cleanup_{LABEL}_0_local", CLEANUP, "pegasus::cleanup", parents=[outward.job_id])
    return [create, inward, *compute, outward, clean]


def _rows(jobs: Sequence[Job], rows: int, chance: random.Random) -> dict[str, list[int]]:
    """How many rows the attempts of each compute job have; a few jobs fail at first and are tried again."""
    shares: list[tuple[str, float]] = []
    for job in jobs:
        if job.type == COMPUTE:
            work = _WORK[job.program] * (0.7 + 0.6 * chance.random())
            shares += [(job.job_id, work / 3)] if chance.random() < 0.03 else []
            shares.append((job.job_id, work))
    whole = sum(share for _, share in shares)
    bounds = [0, *(round(rows * sofar / whole) for sofar in itertools.accumulate(share for _, share in shares))]
    found: dict[str, list[int]] = defaultdict(list)
    for (job_id, _), (before, after) in zip(shares, itertools.pairwise(bounds), strict=True):
        found[job_id].append(max(2, after - before))
    return found


def _scheduled(
    jobs: Sequence[Job],
    rows: dict[str, list[int]],
    chance: random.Random,
    *,
    begin: float = BEGIN,
    slots: int = SLOTS,
    staging: float = 30.0,
) -> list[Attempt]:
    """Attempts as a scheduler with so many slots would run them, parents first."""
    free = [begin] * slots
    done: dict[str, float] = {}
    attempts: list[Attempt] = []
    for job in sorted(jobs, key=_level_of(jobs)):
        ready = max((done[parent] for parent in job.parents), default=begin) + 0.05
        tries = rows.get(job.job_id, [0])
        for number, count in enumerate(tries):
            start = max(ready + 0.02, heapq.heappop(free))
            length = count + chance.random() if count else 0.5 if job.type in _PROGRAMS else staging
            status = 256 if number < len(tries) - 1 else 0
            attempts.append(Attempt(job, len(attempts) + 1, ready, start, length, count, status))
            heapq.heappush(free, start + length)
            ready = start + length + 0.05
        done[job.job_id] = attempts[-1].end
    return attempts


def _level_of(jobs: Sequence[Job]) -> Any:
    levels: dict[str, int] = {}
    for job in jobs:
        levels[job.job_id] = 1 + max((levels[parent] for parent in job.parents), default=0)
    return lambda job: levels[job.job_id]


def _evaluation(number: int, home: Path, chance: random.Random) -> tuple[Run, list[dict[str, Any]]]:
    """One evaluation's run, and what the journal says of it; one in a hundred fails."""
    variables = {name: chance.choice(values) for name, values in _VARIABLES.items()}
    key = f"{chance.getrandbits(128):032x}"
    began = BEGIN + 60.0 * number
    fails = number % 100 == 0
    run = _small(variables, str(uuid.UUID(int=chance.getrandbits(128), version=4)), began, chance, fails)
    common = {"key": key}
    asked = {"eval_id": str(number), "variables": variables, "directory": f"evaluations/{number:04d}-{key[:8]}"}
    steps: list[dict[str, Any]] = [
        {"t": began - 0.2, **common, "state": "received", **asked, "definition": "5ca1ab1e"},
        {"t": began - 0.1, **common, "state": "submitted", "wf_uuid": run.wf_uuid},
    ]
    if fails:
        return run, [*steps, {"t": run.end, **common, "state": "failed", "message": "frequency_f failed: exit code 1"}]
    responses = {
        "makespan": run.end - run.begin,
        "cumulative_time": run.cumulative_time,
        "bytes_read": 1e6 * variables["individuals_jobs"] * (1 + chance.random()),
        "peak_memory": 91_000 * 1024,
    }
    answered = {"t": run.end + 0.1, **common, "responses": responses, "decided_by": "engine"}
    return run, [*steps, {"t": run.end, **common, "state": "succeeded", "message": ""}, answered]


_VARIABLES = {"individuals_jobs": [1, 2, 5, 10, 20], "slots": [1, 2], "cluster_size": [1, 2, 5]}


def _small(variables: dict[str, int], wf_uuid: str, begin: float, chance: random.Random, fails: bool) -> Run:
    compute = [
        Job("individuals_i", COMPUTE, "individuals", f"ALL.chr20.vcf 20 1 {variables['individuals_jobs']}", "i"),
        Job("frequency_f", COMPUTE, "frequency", "-c 20 -pop EUR", "f", ["individuals_i"]),
    ]
    jobs = _surrounded(compute)
    rows = {job.job_id: [2 + int(8 * chance.random())] for job in compute}
    attempts = _scheduled(jobs, rows, chance, begin=begin, slots=variables["slots"], staging=1.0)
    if fails:
        attempts = attempts[:4]
        attempts[-1].status = 256
    return Run(wf_uuid, jobs, attempts, f"/scratch/{wf_uuid[:8]}", [("i", "f")])


def _fill(path: Path, runs: Iterable[Iterator[Event]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    events = itertools.chain.from_iterable(runs)
    with open_store(path) as store:
        while batch := list(itertools.islice(events, _BATCH)):
            store.put(batch, ingested=BEGIN)
    return path


def main() -> int:
    """Make what is asked for, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("genome", "study"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--evaluations", type=int, default=10_000)
    given = parser.parse_args()
    before = time.perf_counter()
    made = genome(given.folder, given.rows) if given.what == "genome" else study(given.folder, given.evaluations)
    size = sum(path.stat().st_size for path in given.folder.rglob("*") if path.is_file())
    print(f"{made}: {size / 1e6:.0f} MB in {time.perf_counter() - before:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
