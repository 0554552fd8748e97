"""What the way through Pegasus costs beside Pegasus itself: four waits of an evaluation that are ours.

    python bench/pegasus.py [--site condorpool] [--evaluations 4]

Dakota's call to the manager's READY, the manager's RUNNING to our first event of the run, DAGMan's end (its own
`*.dag.metrics`, to the millisecond) to Dakota's results file, and, for comparison, to the manager's word of it. Needs a
real Pegasus and HTCondor, and a user other than root; elsewhere it says what is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from _machine import describe

from panorama_driver.engines.pegasus import record, service
from panorama_driver.engines.pegasus.manager import Manager
from panorama_driver.errors import ManagerError

ROOT = Path(__file__).parent.parent
PROGRAMS = ("pegasus-plan", "pegasus-em", "condor_q")
AIMS = {"call to READY": 1.0, "DAGMan's end to results": 2.0}
_PAUSE = 0.1


@dataclass
class Watch:
    """What the manager said, and when it was heard: seen every tenth of a second."""

    manager: Manager
    ensemble: str
    seen: dict[tuple[str, str], float] = field(default_factory=dict)
    over: bool = False

    def run(self) -> None:
        """Look until told that it is over."""
        while not self.over:
            with contextlib.suppress(ManagerError):
                for workflow in self.manager.workflows(self.ensemble):
                    self.seen.setdefault((workflow.name, workflow.state), time.time())
            time.sleep(_PAUSE)


def main() -> None:
    """Run evaluations one after another, as Dakota would, and print the waits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", default="condorpool")
    parser.add_argument("--evaluations", type=int, default=4)
    options = parser.parse_args()
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.getuid() == 0:
        why = f"{', '.join(missing)} not on PATH" if missing else "the Ensemble Manager refuses to run as root"
        print(f"skipped: no real Pegasus here: {why}")
        return
    service.up(service.own_account(), 2.0, print)
    with tempfile.TemporaryDirectory(prefix="panorama-", dir="/var/tmp") as folder:
        _report(_measured(Path(folder) / "study", options.site, options.evaluations), options.site)


def _measured(home: Path, site: str, count: int) -> list[dict[str, float]]:
    home.mkdir()
    workflow = ROOT / "tests" / "data" / "workflows" / "parabola"
    ensemble = f"bench-{os.getpid()}"
    (home / "study.yml").write_text(
        f"workflow: {workflow}\nengine: pegasus\nsite: {site}\nsite_variables: {{python: {sys.executable}}}\n"
        f"ensemble: {{name: {ensemble}}}\nresponses: {{y: {{output: result.json, value: y}}}}\ntimeout: 10 min\n"
    )
    watch = Watch(service.connect(), ensemble)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        return [_evaluation(home, number, watch) for number in range(1, count + 1)]
    finally:
        watch.over = True
        thread.join()


def _evaluation(home: Path, number: int, watch: Watch) -> dict[str, float]:
    """One call of the driver, and its waits [s]."""
    (home / "params.in").write_text(
        f"1 variables\n{number / 10} x\n1 functions\n1 ASV_1:y\n1 derivative_variables\n1 DVV_1:x\n"
        f"1 analysis_components\nstudy.yml AC_1:panorama-driver\n{number} eval_id\n"
    )
    called = time.time()
    driver = [shutil.which("panorama-driver") or "panorama-driver", "params.in", "results.out"]
    subprocess.run(driver, cwd=home, check=True, stderr=subprocess.DEVNULL)
    answered = (home / "results.out").stat().st_mtime
    [bundle] = (home / "evaluations").glob(f"{number:04d}-*")
    name = (record.load(bundle) or sys.exit(f"{bundle}: {(home / 'results.out').read_text()}")).name
    submit = Path((bundle / "run" / "submitdir").read_text().strip())
    [metrics] = submit.glob("*.dag.metrics")
    end = json.loads(metrics.read_text())["end_time"]
    while (name, "SUCCESSFUL") not in watch.seen:
        time.sleep(_PAUSE)
    workflow = watch.manager.workflow(watch.ensemble, name)
    assert workflow is not None
    return {
        "call to READY": workflow.created - called,
        "RUNNING to first event": _first_event(home, workflow.wf_uuid or "") - watch.seen[name, "RUNNING"],
        "DAGMan's end to results": answered - end,
        "DAGMan's end to the manager's SUCCESSFUL": watch.seen[name, "SUCCESSFUL"] - end,
    }


def _first_event(home: Path, wf_uuid: str) -> float:
    """When the first thing that DAGMan did was stored [s since 1970]."""
    store = sqlite3.connect(f"file:{home / '.panorama' / 'store.db'}?mode=ro", uri=True)
    with contextlib.closing(store):
        query = "SELECT min(ingested) FROM events WHERE wf_uuid = ? AND kind = 'stampede.xwf.start'"
        [(when,)] = store.execute(query, (wf_uuid,))
    return float(when)


def _report(waits: list[dict[str, float]], site: str) -> None:
    print("; ".join(f"{name}: {value}" for name, value in describe().items()))
    print(f"{len(waits)} evaluations at site {site}, one after another; [s], median and range")
    for name in waits[0]:
        values = sorted(wait[name] for wait in waits)
        aim = f"   aim: at most {AIMS[name]:g}" if name in AIMS else ""
        print(f"  {name:<42} {statistics.median(values):5.2f}   ({values[0]:.2f} to {values[-1]:.2f}){aim}")


if __name__ == "__main__":
    main()
