"""A study that is run by a server of our own, with faults from outside, and what it cost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from panorama_driver.adapt import read as read_actions
from panorama_driver.study import client
from panorama_driver.study.journal import Evaluation
from panorama_driver.study.journal import read as read_journal
from panorama_driver.testing import faults

MARK = "PANORAMA_BENCH_STUDY"
"""Variable that all processes of one study have, so that a fault finds them and no others."""

STAGES = Path(__file__).parent / "stages"
_LOOK = 0.05  # [s] between two looks for new processes
_PERIOD = 0.1  # [s] in which a slow process is stopped and continued once


@dataclass
class Run:
    """What one run of a study gave.

    Attributes
    ----------
    wall : float
        From the first request to the last answer [s].
    cpu, server_cpu : float
        Processor time of all, and of the server alone [s].
    replies : list of dict
        What Dakota would get.
    makespans : list of float
        [s]
    values : dict of str to float
        `y` of the result file, by the evaluation's number; those that have none are left out.
    states : list of str
        Of the evaluations.
    actions : list of tuple
        What was done, and its state.
    """

    wall: float = 0.0
    cpu: float = 0.0
    server_cpu: float = 0.0
    replies: list[dict[str, Any]] = field(default_factory=list)
    makespans: list[float] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    actions: list[tuple[str, str]] = field(default_factory=list)


def write_study(home: Path, keys: Mapping[str, object]) -> Path:
    """A study directory; values are written as they are."""
    home.mkdir(parents=True)
    defaults: dict[str, object] = {
        "workflow": STAGES,
        "responses": "{makespan: workflow.makespan}",
        "monitoring": "{interval: 0.1 s}",
        "timeout": "60 s",
    }
    lines = [f"{key}: {value}\n" for key, value in (defaults | dict(keys)).items()]
    (home / "study.yml").write_text("".join(lines), encoding="utf-8")
    return home


def run(home: Path, points: Sequence[float], fault: contextlib.AbstractContextManager[object] | None, mark: str) -> Run:
    """Run the evaluations of a study one after the other, as Dakota does."""
    found = Run()
    with fault or contextlib.nullcontext(), _server(home, mark, found):
        begin = time.perf_counter()
        for number, x in enumerate(points, 1):
            found.replies += client.evaluate(str(home / "study.yml"), [_request(number, x)], lambda words: None)
        found.wall = time.perf_counter() - begin
    evaluations = sorted(read_journal(home / client.FOLDER).values(), key=lambda each: int(each.eval_id))
    found.states = [each.state for each in evaluations]
    found.values = {each.eval_id: value for each in evaluations if (value := _value(home, each)) is not None}
    found.makespans = [each.responses["makespan"] for each in evaluations if "makespan" in each.responses]
    found.actions = [(each.what, each.state) for each in read_actions(home / client.FOLDER)]
    return found


def _request(number: int, x: float) -> dict[str, Any]:
    return {"eval_id": str(number), "variables": {"x": x}, "asv": {"makespan": 1}}


def _value(home: Path, evaluation: Evaluation) -> float | None:
    results = list((home / evaluation.directory / "output").glob("*.json"))
    return json.loads(results[0].read_text(encoding="utf-8"))["y"] if results else None


@contextlib.contextmanager
def _server(home: Path, mark: str, found: Run) -> Iterator[None]:
    """A study server that is our own child, so that its processor time and that of its jobs can be told."""
    folder = home / client.FOLDER
    folder.mkdir(mode=0o700)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "panorama_driver.study", str(home / "study.yml")],
            env=os.environ | {MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    while not (folder / client.SOCKET).exists():
        time.sleep(0.01)
    try:
        yield
        found.server_cpu = _own_cpu(process.pid)
    finally:
        client.request(str(home / "study.yml"), {"op": "stop"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found.cpu = usage.ru_utime + usage.ru_stime


def _own_cpu(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def slow_host(mark: str, group: str, share: float) -> Iterator[None]:
    """Let what runs in a group of slots go on for no more than `share` of the time: it is stopped and continued."""
    with _alongside(_take_turns, {MARK: mark, "PANORAMA_SLOT_GROUP": group}, share):
        yield


def _take_turns(marks: Mapping[str, str], share: float, over: threading.Event) -> None:
    there: set[int] = set()
    held: set[int] = set()
    while not over.is_set():
        now = _pids()
        held = (held & now) | {pid for pid in now - there if _is_job(pid, marks)}
        there = now
        _signal(held, signal.SIGSTOP)
        over.wait((1 - share) * _PERIOD)
        _signal(held, signal.SIGCONT)
        over.wait(share * _PERIOD)


def _is_job(pid: int, marks: Mapping[str, str]) -> bool:
    """Whether it has these variables, and is no probe; a probe that has not become one yet is none, either."""
    environment = _environment(pid)
    if not environment or any(environment.get(name) != value for name, value in marks.items()):
        return False
    try:
        return b"burn" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0--\0")[0]
    except OSError:
        return False


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def stall(mark: str, job: str, run: int) -> Iterator[None]:
    """Stop the processes of one attempt of a job, of the study's run of that number, for good."""
    with _alongside(_stop, {MARK: mark, "PEGASUS_DAG_JOB_ID": job}, run):
        yield


@contextlib.contextmanager
def _alongside(work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Have it done in a thread, which is told to end by the event that it gets last."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(*arguments, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _stop(marks: Mapping[str, str], run: int, over: threading.Event) -> None:
    runs: list[str] = []
    for pid in _new(marks, over):
        environment = _environment(pid)
        wf_uuid = environment.get("PEGASUS_WF_UUID", "")
        if wf_uuid not in runs:
            runs.append(wf_uuid)
        while len(runs) == run:
            victims = faults.processes({"PEGASUS_WF_UUID": wf_uuid, **marks})
            if victims or over.wait(_LOOK):
                time.sleep(0.3)  # it has to have computed something
                _signal(victims, signal.SIGSTOP)
                return


def _new(marks: Mapping[str, str], over: threading.Event) -> Iterator[int]:
    """Processes with these variables in their environment as they come, each once; probes, too."""
    seen: set[int] = set()
    while not over.wait(_LOOK):
        there = _pids()
        for pid in there - seen:
            environment = _environment(pid)
            if environment and all(environment.get(name) == value for name, value in marks.items()):
                yield pid
        seen = there


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _environment(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(line.decode(errors="replace").partition("=")[::2] for line in lines)


def new_mark() -> str:
    """A value for `MARK` that no other study has."""
    return uuid.uuid4().hex
