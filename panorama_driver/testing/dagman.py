"""The stand-in for condor_dagman: walks through a DAG and writes what monitord and people read of it.

It submits a node's job, runs its POST script, tries again, writes rescue files. The lines of its log are those of the
DAGMan of HTCondor 23.9, without the statistics.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

import msgspec

from . import userlog
from .dag import Dag, Node, rescue_file
from .pool import Job
from .queue import HELD, Queue
from .settings import Settings, load, root
from .userlog import Event

VERSION = "$CondorVersion: 23.9.6 2026-07-12 PackageID: 23.9.6+standin $"
_OPENING = """\
******************************************************
** condor_scheduniv_exec.{cluster}.0 (CONDOR_DAGMAN) STARTING UP
** {program}
** SubsystemInfo: name=DAGMAN type=DAGMAN(9) class=CLIENT(2)
** Configuration: subsystem:DAGMAN local:<NONE> class:CLIENT
** {version}
** $CondorPlatform: X86_64-Debian_13 $
** PID = {pid} RealUID = {uid}
** Log last touched time unavailable (No such file or directory)
******************************************************
Using config source: /etc/condor/condor_config
Daemon Log is logging: D_ALWAYS D_ERROR D_STATUS
DaemonCore: No command port requested.
DAGMAN_USE_STRICT setting: 1
DAGMAN_USER_LOG_SCAN_INTERVAL setting: {scan:.0f}
argv[0] == "condor_scheduniv_exec.{cluster}.0"
argv[1] == "-Lockfile"
argv[2] == "{dag}.lock"
argv[3] == "-Dag"
argv[4] == "{dag}"
Workflow batch-id: <{cluster}.0>
Workflow batch-name: <{dag}+{cluster}>
"""
_CLOSING = """\
Note: {deferred} total job deferrals because of -MaxJobs limit ({most})
Note: 0 total job deferrals because of -MaxIdle limit (1000)
Note: 0 total job deferrals because of node category throttles
Note: 0 total PRE script deferrals because of -MaxPre limit (20) or DEFER
Note: 0 total POST script deferrals because of -MaxPost limit (20) or DEFER
Note: 0 total HOLD script deferrals because of -MaxHold limit (20) or DEFER"""
_TICK = 0.05
"""Interval at which the pool goes on [s]."""
_STATUS = {0: "DAG_STATUS_OK", 2: "DAG_STATUS_NODE_FAILED", 4: "DAG_STATUS_RM"}


class Dagman:
    """One run of a DAG, in the current directory.

    Parameters
    ----------
    dag : str
        Name of the DAG file.
    cluster : int
        Cluster of this run's own job.
    folder : Path
        Of the stand-ins.
    most : int
        Jobs that may be in the queue at once, 0 for any number.
    """

    def __init__(self, dag: str, cluster: int, folder: Path, most: int = 0) -> None:
        self._name, self._cluster, self._root = dag, cluster, folder
        self._here = Path.cwd()
        self._queue = Queue(folder / "pool")
        self._out = self._here / f"{dag}.dagman.out"
        self._nodes_log = self._here / f"{dag}.nodes.log"
        self._lock = self._here / f"{dag}.lock"
        self._jobs: dict[str, Job] = {}
        self._posts: dict[str, subprocess.Popen[bytes]] = {}
        self._events: deque[Event] = deque()
        self._began = time.time()
        self._run_jobs = 0
        self._most, self._deferred = most, 0
        self._dag_status = 0
        self._removed = False

    @property
    def _settings(self) -> Settings:
        return load(self._root)

    def say(self, text: str) -> None:
        """Write lines with the time of day, local as the real one's."""
        stamp = time.strftime("%m/%d/%y %H:%M:%S ")
        with self._out.open("a", encoding="utf-8") as out:
            out.write("".join(f"{stamp}{line}\n" for line in text.rstrip("\n").split("\n")))

    def run(self) -> int:
        """Run the DAG to its end; gives the exit status: 0, 1 failed, 2 removed."""
        signal.signal(signal.SIGUSR1, self._hear)
        self._open()
        refusal = self._refusal()
        if refusal:
            self.say(refusal)
            return self._exit(1)
        self._lock.write_text(f"{os.getpid()}\n")
        try:
            return self._exit(self._walk())
        finally:
            self._lock.unlink(missing_ok=True)

    def _hear(self, number: int, frame: object) -> None:
        self._removed = True

    def _open(self) -> None:
        program = self._root / "bin" / "condor_dagman"
        values = {
            "cluster": self._cluster,
            "program": program,
            "version": VERSION,
            "pid": os.getpid(),
            "uid": os.getuid(),
        }
        self.say(_OPENING.format(**values, dag=self._name, scan=max(1, self._settings.scan)))

    def _refusal(self) -> str:
        log = f"{self._here}/./{self._nodes_log.name}"
        if self._here.parts[1] == "tmp" and not self._settings.tmp_allowed:
            return f"Warning: default node log file {log} is in /tmp\nAborting DAG..."
        if self._lock.exists() and _alive(int(self._lock.read_text() or 0)):
            return (
                f"Duplicate DAGMan PID {self._lock.read_text().strip()} is alive; this DAGMan should abort.\n"
                "Aborting because it looks like another instance of DAGMan is currently running on this DAG; "
                f"if that is not the case, delete the lock file ({self._lock.name}) and re-submit the DAG."
            )
        return ""

    def _walk(self) -> int:
        self.say(f"Default node log file is: <{self._here}/./{self._nodes_log.name}>")
        self.say(f"DAG Lockfile will be written to {self._lock.name}\nDAG Input file is {self._name}")
        self.dag = dag = Dag(self._here / self._name)
        self.say(f"Parsing 1 dagfiles\nParsing {self._name} ...\nAdjusting edges")
        if dag.rescue:
            rescue = rescue_file(dag.path, dag.rescue).name
            self.say(f"Found rescue DAG number {dag.rescue}; running {rescue} in combination with normal DAG file")
            self.say(f"{'~' * 54}\nUSING RESCUE DAG {rescue}")
        self.say(f"Dag contains {len(dag.nodes)} total jobs\nBootstrapping...")
        self.say(f"Number of pre-completed nodes: {dag.count('done')}")
        self.say(f"MultiLogFiles: truncating log file {self._here}/./{self._nodes_log.name}")
        self._nodes_log.write_bytes(b"")
        self._status()
        self.say("Registering condor_event_timer...")
        self._pass(self._settings.startup)
        while not self._removed and dag.count("ready", "queued", "post"):
            self._read_events()
            self._submit()
            self._pass(self._settings.scan)
        return self._end()

    def _pass(self, seconds: float) -> None:
        """Let time go by, in which the pool works and POST scripts end."""
        until = time.monotonic() + seconds
        while True:
            for job in list(self._jobs.values()):
                for event in job.poll(self._settings):
                    userlog.append(event, self._nodes_log, job.log)
                    self._events.append(event)
            self._reap()
            left = until - time.monotonic()
            if left <= 0 or self._removed:
                return
            time.sleep(min(_TICK, left))

    def _reap(self) -> None:
        for name, process in list(self._posts.items()):
            if process.poll() is not None:
                node = self.dag.nodes[name]
                log = f"Initializing user log writer for {self._here}/./{self._nodes_log.name}, ({node.cluster}.0.0)"
                self.say(log)
                event = Event(userlog.POST, node.cluster, name, time.time(), process.returncode << 8)
                userlog.append(event, self._nodes_log)
                self._events.append(event)
                del self._posts[name]

    def _submit(self) -> None:
        ready = self.dag.ready()
        if self._most:
            allowed = max(0, self._most - len(self._jobs))
            self._deferred += len(ready[allowed:])
            ready = ready[:allowed]
        for node in ready:
            self.say(f"Submitting HTCondor Node {node.name} job(s)...")
            if node.cluster > 0:
                self.say(f"Reassigning the id of job {node.name} from ({node.cluster}.0.0) to (-1.-1.-1)")
            self.say(f"Submitting node {node.name} from file {node.submit_file} using direct job submission")
            path = self._here / node.submit_file
            job = Job(self._queue, node.name, path, self._cluster, self._here, node.tries)
            node.cluster, node.state = job.cluster, "queued"
            self._jobs[node.name] = job
            self._run_jobs += 1
            self.say(f"\tassigned HTCondor ID ({job.cluster}.0.0)")
            userlog.append(job.submitted, self._nodes_log, job.log)
            self._events.append(job.submitted)
        if ready:
            self.say(f"Just submitted {len(ready)} job{'s' * (len(ready) > 1)} this cycle...")
            self._status()

    def _read_events(self) -> None:
        if self._events:
            self.say("Currently monitoring 1 HTCondor log file(s)")
        while self._events:
            self._event(self._events.popleft())

    def _event(self, event: Event) -> None:
        node = self.dag.nodes[event.node]
        number = f"({event.cluster}.0.0)"
        if event.number == userlog.SUBMIT:
            self.say(f"Reassigning the id of job {node.name} from {number} to {number}")
        stamp = time.strftime("%m/%d/%y %H:%M:%S", time.localtime(event.when))
        self.say(f"Event: ULOG_{userlog.NAMES[event.number]} for HTCondor Node {node.name} {number} {{{stamp}}}")
        if event.number == userlog.POST:
            self._post_ended(node, event)
            return
        if event.number == userlog.HELD:
            self.say("  Hold reason: " + event.detail.split("\n")[0])
        ads = [ad for ad in self._queue.jobs() if ad.get("DAGManJobId") == self._cluster]
        self.say(f"Number of idle job procs: {sum(ad['JobStatus'] in (1, HELD) for ad in ads)}")
        if event.number in (userlog.TERMINATED, userlog.ABORTED):
            self._job_ended(node, event)
        elif event.number in (userlog.HELD, userlog.RELEASED):
            self._status()

    def _job_ended(self, node: Node, event: Event) -> None:
        job = f"Node {node.name} job proc ({event.cluster}.0.0)"
        code = -1002
        if event.number == userlog.TERMINATED:
            code = os.waitstatus_to_exitcode(event.status)
            ended = (
                "completed successfully."
                if code == 0
                else f"failed with {'signal' if code < 0 else 'status'} {abs(code)}."
            )
            self.say(f"{job} {ended}")
        node.error = {0: "", -1002: "Job failed due to DAGMAN error -1002"}.get(code, f"Job exited with status {code}")
        self.say(f"Node {node.name} job completed")
        del self._jobs[node.name]
        if node.post:
            self.say(f"Running POST script of Node {node.name}...")
            self._posts[node.name] = subprocess.Popen(_post_words(node, code), stdin=subprocess.DEVNULL, cwd=self._here)
            node.state = "post"
            self._status()
        else:
            self._node_ended(node, code)

    def _post_ended(self, node: Node, event: Event) -> None:
        code = os.waitstatus_to_exitcode(event.status)
        if code == 0:
            self.say(f"POST Script of node {node.name} completed successfully.")
        else:
            self.say(f"POST Script of node {node.name} failed with status {code}")
            self.say(f"POST for Node {node.name} returned {code}")
            node.error += (" and " if node.error else "") + f"POST Script failed with status {code}"
        self._node_ended(node, code)

    def _node_ended(self, node: Node, code: int) -> None:
        if code == 0:
            node.state = "done"
        elif node.tries < node.retry:
            node.tries += 1
            node.state = "ready"
            self.say(f"Retrying node {node.name} (retry #{node.tries} of {node.retry})...")
        else:
            node.state = "failed"
            self._dag_status = 2
        self.dag.update()
        self._status()

    def _status(self) -> None:
        dag = self.dag
        states = [
            dag.count(state) for state in ("done", "pre", "queued", "post", "ready", "waiting", "failed", "futile")
        ]
        numbers = " {:>5d}   {:>5d}    {:>5d}   {:>5d}   {:>5d}      {:>5d}    {:>5d}    {:>5d}".format(*states)
        ads = [ad for ad in self._queue.jobs() if ad.get("DAGManJobId") == self._cluster]
        self.say(
            f"DAG status: {self._dag_status} ({_STATUS[self._dag_status]})\nOf {len(dag.nodes)} nodes total:\n"
            " Done     Pre   Queued    Post   Ready   Un-Ready   Failed   Futile\n"
            "  ===     ===      ===     ===     ===        ===      ===      ===\n"
            f"{numbers}\n{sum(ad['JobStatus'] == HELD for ad in ads)} job proc(s) currently held"
        )

    def _end(self) -> int:
        dag = self.dag
        code = 0
        if self._removed:
            self.say("Received SIGUSR1")
            self._dag_status, code = 4, 2
        elif dag.count("failed"):
            self.say("ERROR: the following job(s) failed:")
            for number, node in enumerate(dag.nodes.values()):
                if node.state == "failed":
                    self._tell(number, node)
            code = 1
        else:
            self.say("All jobs Completed!")
        if code:
            self.say("Aborting DAG...")
            self.say(f"Writing Rescue DAG to {dag.write_rescue().name}...")
            self.say("Removing submitted jobs...\nRemoving any/all submitted HTCondor jobs...")
            why = "DAG Abort: DAG is exiting and writing rescue file."
            if self._removed:
                why = "DAG Removed: User removed scheduler job from queue. (by user)"
            for job in self._jobs.values():
                userlog.append(job.abort(why), self._nodes_log, job.log)
            for process in self._posts.values():
                process.kill()
                process.wait()
        self.say(_CLOSING.format(deferred=self._deferred, most=self._most))
        self._status()
        self._metrics(code)
        return code

    def _tell(self, number: int, node: Node) -> None:
        retried = f" (after {node.tries} node retries)" if node.tries else ""
        retry = [f"          Retry: {node.tries}"] if node.tries else []
        lines = [
            "---------------------- Job ----------------------",
            f"      Node Name: {node.name}",
            "           Noop: false",
            f"         NodeID: {number}",
            "    Node Status: STATUS_ERROR    ",
            "Node return val: 1",
            f"          Error: {node.error}{retried}",
            f"Job Submit File: {node.submit_file}",
            f"    POST Script: {' '.join(node.post)}",
            *retry,
            f" HTCondor Job ID: ({node.cluster}.0.0)",
            f"PARENTS: {' '.join(node.parents)} WAITING: 0 CHILDREN: {' '.join(node.children)}",
            "---------------------------------------\t<END>",
        ]
        self.say("\n".join(lines))

    def _metrics(self, code: int) -> None:
        dag, end = self.dag, time.time()
        values = {
            "client": "condor_dagman",
            "version": "23.9.6",
            "type": "metrics",
            "start_time": round(self._began, 3),
            "end_time": round(end, 3),
            "duration": round(end - self._began, 3),
            "exitcode": code,
            "dagman_id": str(self._cluster),
            "parent_dagman_id": "",
            "rescue_dag_number": dag.rescue,
            "jobs": len(dag.nodes),
            "jobs_failed": dag.count("failed"),
            "jobs_succeeded": dag.count("done"),
            "dag_jobs": 0,
            "dag_jobs_failed": 0,
            "dag_jobs_succeeded": 0,
            "total_jobs": len(dag.nodes),
            "total_jobs_run": self._run_jobs,
            "DagStatus": self._dag_status,
        }
        text = msgspec.json.format(msgspec.json.encode(values), indent=4)
        (self._here / f"{self._name}.metrics").write_bytes(text + b"\n")
        self.say(f"Wrote metrics file {self._name}.metrics.")

    def _exit(self, code: int) -> int:
        pid = os.getpid()
        self.say(f"**** condor_scheduniv_exec.{self._cluster}.0 (condor_DAGMAN) pid {pid} EXITING WITH STATUS {code}")
        return code


def _post_words(node: Node, code: int) -> list[str]:
    given = {"$RETURN": str(code), "$RETRY": str(node.tries)}
    return [given.get(word, word) for word in shlex.split(" ".join(node.post))]


def _alive(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def main(words: list[str]) -> int:
    """Run the DAG that the command line names, under the cluster that HTCondor gave it."""
    most = int(words[words.index("-MaxJobs") + 1]) if "-MaxJobs" in words else 0
    return Dagman(words[words.index("-Dag") + 1], int(float(os.environ["CONDOR_ID"])), root(), most).run()
