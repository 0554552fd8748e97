"""The stand-in for pegasus-monitord: follows DAGMan's log, writes jobstate.log and the dashboard's rows.

It reads the same lines as the real one and is as far behind as `lag` says. It fills no stampede database and sends
nothing to a broker: for those, `monitord: released` runs the real one.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from pathlib import Path

import yaml

from .settings import load, root
from .submitfile import SubmitFile

_STAMP = re.compile(r"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d)")
_EVENT = re.compile(r"Event:\s+ULOG_(\S+) for HTCondor Node (\S+)\s+\((-?[0-9]+\.[0-9]+)(\.[0-9]+)?\)")
_SUBMIT = re.compile(r"Submitting HTCondor Node (.+) job")
_POST_RUNS = re.compile(r"Running POST script of Node (.+)\.\.\.")
_POST_DONE = re.compile(r"POST Script of node (\S+) (?:completed successfully|failed with status (-?\d+))")
_JOB_DONE = re.compile(
    r"Node (\S+) job proc \(([0-9.]+)\) (?:completed successfully|failed with (?:status|signal)\s+(-?\d+))\.$"
)
_STARTED = re.compile(r"condor_scheduniv_exec\.([0-9.]+) \(CONDOR_DAGMAN\) STARTING UP")
_PARSING = re.compile(r"Parsing (.+) \.\.\.$")
_FINISHED = re.compile(r"\(condor_DAGMAN\)[\w\s]+EXITING WITH STATUS (\d+)$")
_PID = re.compile(r"\*\* PID = (\d+)")
_REMOVED = re.compile(r"Received SIGUSR1")
_HOLD = re.compile(r"\s*Hold reason:(.*)")
_SUDDEN_DEATH = 42

_TABLES = """
CREATE TABLE IF NOT EXISTS master_workflow (wf_id INTEGER NOT NULL PRIMARY KEY, wf_uuid VARCHAR(255) NOT NULL UNIQUE,
  dax_label VARCHAR(255), dax_version VARCHAR(255), dax_file VARCHAR(255), dag_file_name VARCHAR(255),
  timestamp NUMERIC(16, 6), submit_hostname VARCHAR(255), submit_dir TEXT, planner_arguments TEXT, user VARCHAR(255),
  grid_dn VARCHAR(255), planner_version VARCHAR(255), db_url TEXT, archived BOOLEAN NOT NULL);
CREATE TABLE IF NOT EXISTS master_workflowstate (wf_id INTEGER NOT NULL, state VARCHAR(19) NOT NULL,
  timestamp NUMERIC(16, 6) NOT NULL, restart_count INTEGER NOT NULL, status INTEGER, reason TEXT,
  PRIMARY KEY (wf_id, state, timestamp));
"""


class Dashboard:
    """The rows of one workflow in the database that the Ensemble Manager reads.

    Parameters
    ----------
    path : Path
        The database.
    config : dict
        braindump.yml of the workflow.
    """

    def __init__(self, path: Path, config: dict[str, str]) -> None:
        self._path, self._config = path, config

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(self._path, timeout=60)

    def plan(self, when: float) -> int:
        """Write the workflow's own row if it is not there; gives how often it has been started."""
        config = self._config
        row = {
            "wf_uuid": config["wf_uuid"],
            "dax_label": config["dax_label"],
            "dax_version": config["dax_version"],
            "dax_file": config["dax"],
            "dag_file_name": config["dag"],
            "timestamp": when,
            "submit_hostname": config["submit_hostname"],
            "submit_dir": config["submit_dir"],
            "planner_arguments": config["planner_arguments"],
            "user": config["user"],
            "planner_version": config["planner_version"],
            "db_url": f"sqlite:///{config['submit_dir']}/{config['pegasus_wf_name']}.stampede.db",
            "archived": 0,
        }
        with self._connect() as base:
            base.executescript(_TABLES)
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            base.execute(f"INSERT OR IGNORE INTO master_workflow ({names}) VALUES ({marks})", list(row.values()))
            [[count]] = base.execute(
                "SELECT count(*) FROM master_workflowstate JOIN master_workflow USING (wf_id) "
                "WHERE wf_uuid = ? AND state = 'WORKFLOW_STARTED'",
                [config["wf_uuid"]],
            )
        base.close()
        return int(count)

    def state(self, state: str, when: float, restarts: int, status: int | None, reason: str | None = None) -> None:
        """Write a state of the workflow."""
        with self._connect() as base:
            base.execute(
                "INSERT OR IGNORE INTO master_workflowstate SELECT wf_id, ?, ?, ?, ?, ? FROM master_workflow "
                "WHERE wf_uuid = ?",
                [state, when, restarts, status, reason, self._config["wf_uuid"]],
            )
        base.close()


class Monitord:
    """Follows one run of DAGMan.

    Parameters
    ----------
    log : Path
        DAGMan's log.
    config : dict
        braindump.yml.
    base : Path
        The dashboard's database.
    """

    def __init__(self, log: Path, config: dict[str, str], base: Path) -> None:
        self._log = log
        self._here = log.parent
        self._jobstate = self._here / config["jsd"]
        self._dashboard = Dashboard(base, config)
        self._sites: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._ids: dict[str, str] = {}
        self._last_number = self._read_last_number()
        self._restarts = -1
        self._dagman = self._pid = ""
        self._reason: str | None = None
        self._held = ""
        self._when = time.time()
        self._at = self.lines = 0
        self._starts = self._dashboard.plan(time.time())
        self.finished = False

    def _read_last_number(self) -> int:
        lines = self._jobstate.read_text().splitlines() if self._jobstate.exists() else []
        return max((int(line.split()[-1]) for line in lines if "INTERNAL" not in line), default=0)

    def write(self, line: str) -> None:
        """Add a line to jobstate.log."""
        with self._jobstate.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def take(self, line: str) -> None:
        """Understand one line of DAGMan's log."""
        stamps = _STAMP.findall(line)
        if not stamps:
            return
        self._when = time.mktime(time.strptime(stamps[-1], "%m/%d/%y %H:%M:%S"))
        if match := _EVENT.search(line):
            self._event(*match.group(1, 2, 3))
        elif match := _SUBMIT.search(line):
            self._submitted(match[1])
        elif match := _POST_RUNS.search(line):
            self._state(match[1], "POST_SCRIPT_STARTED")
        elif match := _POST_DONE.search(line):
            self._state(match[1], "POST_SCRIPT_FAILURE" if match[2] else "POST_SCRIPT_SUCCESS", match[2] or "0")
        elif match := _JOB_DONE.search(line):
            self._state(match[1], "JOB_FAILURE" if match[3] else "JOB_SUCCESS", match[3] or "0")
        elif (match := _HOLD.search(line)) and self._held:
            self._state(self._held, "JOB_HELD_REASON")
            self._held = ""
        else:
            self._workflow(line)

    def _event(self, name: str, job: str, number: str) -> None:
        self._ids[job] = number
        self._state(job, name)
        self._held = job if name == "JOB_HELD" else ""

    def _submitted(self, job: str) -> None:
        self._last_number += 1
        self._numbers[job] = self._last_number
        path = next(self._here.glob(f"*/*/{job}.sub"), None)
        self._sites[job] = str(SubmitFile(path, {}).attribute("pegasus_site")) if path else "-"

    def _state(self, job: str, state: str, value: str | None = None) -> None:
        which = value or self._ids.get(job, "-")
        self.write(f"{self._when:.0f} {job} {state} {which} {self._sites.get(job, '-')} - {self._numbers.get(job, 0)}")

    def _workflow(self, line: str) -> None:
        if match := _STARTED.search(line):
            self._dagman = match[1]
        elif match := _PID.search(line):
            self._pid = match[1]
        elif _PARSING.search(line):
            self._restarts = self._starts
            self.write(f"{self._when:.0f} INTERNAL *** DAGMAN_STARTED {self._dagman} ***")
            self._dashboard.state("WORKFLOW_STARTED", self._when, self._restarts, None)
        elif _REMOVED.search(line):
            self._reason = "DAGMan aborted as it received SIGUSR1 signal."
        elif match := _FINISHED.search(line):
            self._end(int(match[1]))

    def _end(self, status: int) -> None:
        self.write(f"{self._when:.0f} INTERNAL *** DAGMAN_FINISHED {status} ***")
        self._dashboard.state("WORKFLOW_TERMINATED", self._when, self._restarts, status, self._reason)
        self.finished = True

    def follow(self, folder: Path) -> int:
        """Take each line when it is `lag` old, to DAGMan's end; gives the exit status.

        If DAGMan was killed there is no end to write down: the dashboard has the workflow running for ever.
        """
        known = _known(self._here / "monitord.info")
        waiting: list[tuple[float, str]] = []
        while not self.finished:
            lag = load(folder).lag
            gone = self._pid and not Path(f"/proc/{self._pid}").exists()
            for line in self._new_lines():
                self.lines += 1
                waiting += [(time.monotonic(), line)] if self.lines > known else []
            while waiting and time.monotonic() - waiting[0][0] >= lag and not self.finished:
                self.take(waiting.pop(0)[1])
            if gone and not waiting and not self.finished:
                return _SUDDEN_DEATH
            time.sleep(0.05)
        return 0

    def _new_lines(self) -> list[str]:
        if not self._log.exists():
            return []
        with self._log.open("rb") as file:
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        return whole.decode("utf-8", "replace").split("\n") if newline else []

    def info(self) -> str:
        """What monitord.info keeps for the next run."""
        return (
            f"monitord_job_sequence {self._last_number + 1}\nmonitord_dagman_out_sequence {self.lines}\n"
            f"monitord_workflow_restart_count {max(self._restarts, 0) + 1}\n"
        )


def _known(info: Path) -> int:
    """How many lines of DAGMan's log an earlier run of monitord has read."""
    found = (
        re.search(r"^monitord_dagman_out_sequence (\d+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    )
    return int(found[1]) if found else 0


def main(words: list[str]) -> int:
    """Follow the log that the command line names to its end."""
    log = Path(words[-1]).resolve()
    here, folder = log.parent, root()
    if load(folder).monitord == "released":
        from .manager import find_venv

        python = str(find_venv() / "bin" / "python")
        os.execv(python, [python, "-m", "Pegasus.cli.pegasus-monitord", "-N", str(log)])
    config = yaml.safe_load((here / "braindump.yml").read_text())
    pid = here / "monitord.pid"
    pid.write_text(f"pid {os.getpid()}\ntimestamp {_now()}\n")
    began = time.time()
    (here / "monitord.done").unlink(missing_ok=True)
    (here / "monitord.started").write_text(f"pid {os.getpid()}\ntimestamp {_now()}\n")
    monitord = Monitord(log, config, folder / "home" / ".pegasus" / "workflow.db")
    monitord.write(f"{time.time():.0f} INTERNAL *** MONITORD_STARTED ***")
    code = monitord.follow(folder)
    monitord.write(f"{time.time():.0f} INTERNAL *** MONITORD_FINISHED {code} ***")
    (here / "monitord.info").write_text(monitord.info())
    (here / "monitord.done").write_text(f"{_now()} {time.time() - began:.3f}\n")
    pid.unlink(missing_ok=True)
    return code


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
