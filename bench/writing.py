"""Writing the abstract workflow of many jobs: ours against Pegasus.api's own `write()`, interleaved in one run.

python bench/writing.py [--jobs 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _machine import describe
from Pegasus.api import File, Job, Workflow

from panorama_driver.render.bundle import write_json
from panorama_driver.render.workflow import plain


def arguments_only(count: int) -> Workflow:
    """Independent jobs of two arguments."""
    workflow = Workflow("many")
    for number in range(count):
        workflow.add_jobs(Job("work").add_args("--number", str(number)))
    return workflow


def with_files(count: int) -> Workflow:
    """Chains of ten jobs, each with a file that it reads and one that it makes."""
    workflow = Workflow("many")
    for number in range(count):
        source = File(f"made.{number - 1}" if number % 10 else f"given.{number}")
        job = Job("work").add_args(source, number).add_inputs(source)
        workflow.add_jobs(job.add_outputs(File(f"made.{number}"), stage_out=False))
    return workflow


def ours(workflow: Workflow, path: Path) -> None:
    """What `render` does between the workflow folder and the file."""
    write_json(path, plain(workflow))


def theirs(workflow: Workflow, path: Path) -> None:
    """What a user of Pegasus.api does."""
    workflow.write(str(path))


def cpu(write: Callable[[Workflow, Path], None], workflow: Workflow, path: Path) -> float:
    """CPU time of one writing [s]."""
    begin = time.process_time()
    write(workflow, path)
    return time.process_time() - begin


def main() -> None:
    """Print a line a kind of workflow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    print("; ".join(f"{name}: {value}" for name, value in describe().items()))
    print(f"writing {options.jobs} jobs, CPU time [s], median of {options.rounds} interleaved rounds")
    with tempfile.TemporaryDirectory() as folder:
        for make in (arguments_only, with_files):
            times: dict[str, list[float]] = {"write()": [], "ours": []}
            for _ in range(options.rounds):
                for name, write in (("write()", theirs), ("ours", ours)):
                    times[name].append(cpu(write, make(options.jobs), Path(folder) / "workflow.yml"))
            slow, fast = (statistics.median(times[name]) for name in ("write()", "ours"))
            print(f"  {make.__name__:<16} write() {slow:.3f}   ours {fast:.3f}   {slow / fast:.1f} times less")


if __name__ == "__main__":
    main()
