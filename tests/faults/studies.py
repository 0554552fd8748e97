"""A study of the parabola under the real Dakota: started, killed, and counted afterwards from what it left on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import PARABOLA

OFFSET = 0.3
DRIVER, SERVER, PROBE = "/panorama-driver ", "panorama_driver.study", "panorama_probe"
COMPUTE = ("sh_split", "sh_left", "sh_right", "square_last")

_STUDY = """\
environment
  tabular_data
method
  list_parameter_study
    list_of_points {points}
variables
  continuous_design = 1
    descriptors 'x'
interface
{batch}  analysis_drivers = 'panorama-driver'
    analysis_components = 'study.yml'
    fork
      parameters_file 'params.in'
      results_file 'results.out'
      file_tag
      file_save
{more}
responses
  objective_functions = 1
    descriptors 'y'
  no_gradients
  no_hessians
"""
_COMPLETE = re.compile(r"FAIL\n|\s*[-+.\dE]+ y\n")


@dataclass(frozen=True)
class Kill:
    """Where a process kills itself; see `killer`."""

    role: str
    what: str
    match: str = "*"
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.role} {self.what} {self.match} {self.nth}"


@dataclass(frozen=True)
class Ran:
    """How Dakota ended."""

    code: int
    said: str
    seconds: float


class Study:
    """A study directory.

    Parameters
    ----------
    home : Path
        The directory, with its study.yml.
    dakota : str
        Path of the real Dakota.
    points : sequence of float
        Values of x.
    concurrency : int
        Evaluations at once.
    capture : str
        What stands behind `failure_capture`; empty for Dakota's default, which is to abort.
    batch : bool
        All evaluations in one call of the driver.
    """

    def __init__(
        self,
        home: Path,
        dakota: str,
        points: Sequence[float],
        concurrency: int = 2,
        capture: str = "",
        batch: bool = False,
    ) -> None:
        self.home = home
        self._dakota = dakota
        more = [] if batch else [f"  asynchronous evaluation_concurrency = {concurrency}"]
        more += [f"  failure_capture {capture}"] if capture else []
        self._text = _STUDY.format(points="{points}", batch="  batch\n" * batch, more="\n".join(more))
        self.evaluate_at(points)

    def evaluate_at(self, points: Sequence[float]) -> None:
        """Write study.in, and put away what Dakota and the drivers left of other points."""
        text = self._text.format(points=" ".join(f"{point:g}" for point in points))
        (self.home / "study.in").write_text(text)
        for path in (*self.home.glob("params.in*"), *self.home.glob("results.out*")):
            path.unlink()

    def start(self, *options: str, kill: Kill | None = None) -> subprocess.Popen[bytes]:
        """Start Dakota in a session of its own; `kill` says where a process of ours shall die."""
        with (self.home / "dakota.log").open("wb") as log:
            return subprocess.Popen(
                [self._dakota, "-i", "study.in", *options],
                cwd=self.home,
                env=os.environ | (arm(self.home, kill) if kill else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *options: str, kill: Kill | None = None) -> Ran:
        """Run Dakota to its end."""
        start = time.monotonic()
        return self.ended(self.start(*options, kill=kill), start)

    def ended(self, process: subprocess.Popen[bytes], start: float = 0.0) -> Ran:
        """Wait for Dakota's end."""
        code = process.wait(120)
        return Ran(code, (self.home / "dakota.log").read_text(errors="replace"), time.monotonic() - start)

    @property
    def armed(self) -> Path:
        """A file that is gone once the kill of `start` has happened."""
        return self.home / "hooks" / "kill.json"

    def result(self, evaluation: int) -> str | None:
        """What Dakota would read for an evaluation: None where there is no file."""
        path = self.home / f"results.out.{evaluation}"
        return path.read_text() if path.exists() else None

    def complete(self, evaluation: int) -> bool:
        """Whether the results file is whole, or not there at all."""
        text = self.result(evaluation)
        return text is None or _COMPLETE.fullmatch(text) is not None

    def table(self) -> dict[int, float]:
        """Dakota's own table: the response by evaluation."""
        lines = (self.home / "dakota_tabular.dat").read_text().splitlines()[1:]
        return {int(line.split()[0]): float(line.split()[-1]) for line in lines}

    def steps(self) -> list[dict[str, Any]]:
        """Every step in the journal."""
        return _records(self.home / ".panorama" / "journal.jsonl")

    def states(self) -> dict[str, str]:
        """Last state by evaluation's key."""
        return {step["key"]: step["state"] for step in self.steps() if "state" in step}

    def messages(self) -> list[str]:
        """Every reason in the journal."""
        return [step["message"] for step in self.steps() if step.get("message")]

    def submissions(self) -> Counter[str]:
        """How many workflows each evaluation was given, by its key."""
        return Counter(step["key"] for step in self.steps() if step.get("wf_uuid"))

    def double_submissions(self) -> int:
        """Workflows beyond the one that each evaluation may have."""
        return sum(number - 1 for number in self.submissions().values())

    def events(self, name: str = "", job: str = "") -> list[dict[str, Any]]:
        """Events of the engine by the beginnings of their names, of all evaluations."""
        paths = sorted(self.home.glob("evaluations/*/run/events.jsonl"))
        raws = (raw for path in paths for raw in _records(path))
        return [raw for raw in raws if raw["event"].startswith(name) and str(raw.get("job_id", "")).startswith(job)]

    def started(self, job: str, evaluation: int | None = None) -> bool:
        """Whether a job has begun, in one evaluation or in any."""
        folder = "*" if evaluation is None else f"{evaluation:04d}-*"
        paths = self.home.glob(f"evaluations/{folder}/run/events.jsonl")
        begun = ("stampede.inv.start", job)
        return any((raw["event"], raw.get("job_id")) == begun for path in paths for raw in _records(path))

    def attempts(self) -> Counter[tuple[str, str]]:
        """How often each compute job was started, by workflow and job."""
        started = self.events("stampede.job_inst.main.start")
        return Counter((raw["xwf_id"], raw["job_id"]) for raw in started if raw["job_id"] in COMPUTE)

    def repeated_jobs(self) -> int:
        """Compute jobs that were started again although they had finished well."""
        finished: set[tuple[str, str]] = set()
        repeated = 0
        for raw in self.events("stampede.job_inst."):
            job = (raw["xwf_id"], raw["job_id"])
            if raw["event"].endswith("post.end") and raw["status"] == 0 and raw["job_id"] in COMPUTE:
                finished.add(job)
            repeated += raw["event"].endswith("main.start") and job in finished
        return repeated

    def processes(self) -> dict[int, str]:
        """Everything that runs for this study: Dakota, drivers, server, probes, jobs."""
        return processes_of(self.home)

    def end_by_themselves(self) -> None:
        """Wait for the end of all that runs; the server lingers for 10 s when it never saw a Dakota."""
        wait_for(lambda: not self.processes(), "all processes to end by themselves")

    def find(self, words: str) -> list[int]:
        """Processes of this study that have these words in their command line."""
        return [pid for pid, command in self.processes().items() if words in command]


def arm(folder: Path, kill: Kill) -> dict[str, str]:
    """Environment of a process that shall die there; `folder`/hooks/kill.json is gone once it has."""
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("killer.py"), hooks / "sitecustomize.py")
    (hooks / "kill.json").write_text(json.dumps(kill.__dict__))
    path = os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "PANORAMA_TEST_KILL": str(hooks / "kill.json")}


def own_workflow(folder: Path, name: str, old: str, new: str) -> Path:
    """A copy of the parabola in which one text of a file is another."""
    copy = Path(shutil.copytree(PARABOLA, folder / "own"))
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new))
    return copy


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines of the processes that were started for a folder or work in it, zombies left out."""
    return {pid: command for pid, command in _processes(str(folder)) if pid != os.getpid()}


def _processes(folder: str) -> Iterator[tuple[int, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
            if command and (folder in command or os.readlink(process / "cwd").startswith(folder)):
                yield int(process.name), command
        except OSError:
            continue


def kill(pids: Sequence[int]) -> None:
    """KILL processes, all at once as far as that can be: stopped first, so that none can act on the others' deaths."""
    for number in (signal.SIGSTOP, signal.SIGKILL) if len(pids) > 1 else (signal.SIGKILL,):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.005)


def _records(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file that someone may be writing, or has died writing."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[:-1] if line.startswith(b"{") and line.endswith(b"}")]
