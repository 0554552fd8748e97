"""Stand-ins for the commands of Pegasus that are not the planner's, nor run within jobs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from .queue import SCHEDULER, Queue
from .settings import load, root
from .userlog import EXECUTE, SUBMIT, TERMINATED, Event, append

VERSION = "5.1.3"
_DAGMAN_ID = re.compile(r"\.([0-9.]+) \(CONDOR_DAGMAN\) STARTING UP")

_COUNTS = re.compile(r"\d\d:\d\d:\d\d ((?: +\d+){8})$", re.MULTILINE)
_STREAMS = {
    kind: re.compile(rf"^    {kind}:\n(?:      .*\n)*?      data: \|\n((?:        .*\n)*)", re.MULTILINE)
    for kind in ("stdout", "stderr")
}


def _error(text: str, stream: str = "stdout") -> int:
    print(f"Error: {text}", file=getattr(sys, stream))
    return 1


def _braindump(directory: Path) -> dict[str, str] | None:
    path = directory / "braindump.yml"
    value = yaml.safe_load(path.read_text()) if path.is_file() else None
    return value if isinstance(value, dict) else None


def pegasus_run(words: list[str]) -> int:
    """Start a planned workflow, or start it again where its rescue file says."""
    given = next((word for word in words if not word.startswith("-")), ".")
    directory = Path(given).resolve()
    if not directory.is_dir():
        print(
            f"Usage: pegasus-run [OPTIONS] [SUBMIT_DIR]\n\n"
            f"Error: Invalid value for '[SUBMIT_DIR]': Directory '{given}' does not exist.",
            file=sys.stderr,
        )
        return 2
    config = _braindump(directory)
    if config is None:
        return _error(f"{directory} is not a valid submit-dir")
    os.chdir(directory)
    sub = Path(f"{config['dag']}.condor.sub")
    for path in (Path(config["dag"]), sub):
        if not path.is_file():
            return _error(f"{path} not found")
    if Path("monitord.pid").exists():
        return _error(
            "It looks like the workflow is already running! If you are sure\n"
            "       that is not the case, please remove the monitord.pid file and try\n       again.",
            "stderr",
        )
    if shutil.which("condor_submit") is None:
        return _error("condor_submit not found")
    _salvage(Path(config["condor_log"]))
    print(f"Submitting to condor {sub}", file=sys.stderr)
    ran = subprocess.run(["condor_submit", "-terse", str(sub)], capture_output=True, text=True, check=False)
    if ran.returncode:
        print(
            f"Error: Running condor_submit failed with {ran.returncode}\nMessage: {(ran.stdout or ran.stderr).strip()}"
        )
        return ran.returncode
    print(f"Submitting job(s).\n1 job(s) submitted to cluster {float(ran.stdout.split('-')[0]):.0f}.", file=sys.stderr)
    print(
        f"\nYour workflow has been started and is running in the base directory:\n\n{directory}\n\n"
        f"*** To monitor the workflow you can run ***\n\npegasus-status -l {directory}\n\n"
        f"*** To remove your workflow run ***\n\npegasus-remove {directory}"
    )
    return 0


def _salvage(log: Path) -> None:
    if log.exists():
        copy = next(path for n in range(1000) if not (path := Path(f"{log}.{n:03d}")).exists())
        shutil.copyfile(log, copy)
        print(f"Rescued {log} as {copy}", file=sys.stderr)


def pegasus_remove(words: list[str]) -> int:
    """End a workflow: removes DAGMan's job, which removes all others."""
    directory = Path(next((word for word in words if not word.startswith("-")), ".")).resolve()
    config = _braindump(directory)
    if config is None:
        return _error(f"{directory} is not a valid submit-dir")
    log = directory / f"{config['dag']}.dagman.out"
    found = _DAGMAN_ID.findall(log.read_text()) if log.is_file() else []
    if not found:
        return _error("You must provide either a dag-id or dag-directory to remove a workflow.")
    ran = subprocess.run(["condor_rm", found[-1]], capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"{ran.stderr.strip()}\nError ")
        return 42
    print(f"{ran.stdout.strip()}\n✨ Success")
    return 0


def pegasus_status(words: list[str]) -> int:
    """Say how many nodes of a workflow are done."""
    directory = Path(next((word for word in words if not word.startswith("-")), ".")).resolve()
    config = _braindump(directory)
    if config is None:
        return _error(f"{directory} is not a valid submit-dir")
    log = directory / f"{config['dag']}.dagman.out"
    rows = _COUNTS.findall(log.read_text()) if log.exists() else []
    done, pre, queued, post, ready, waiting, failed, futile = map(int, rows[-1].split() if rows else "00000000")
    total = done + pre + queued + post + ready + waiting + failed + futile
    jobs = [ad for ad in Queue(root() / "pool").jobs() if ad.get("pegasus_wf_uuid") == config["wf_uuid"]]
    print(f"Summary: {len(jobs)} Condor jobs total\n" if jobs else "\n(No matching jobs found in Condor Q)\n")
    print("UNREADY READY  PRE  IN_Q  POST  DONE  FAIL %DONE  STATE  DAGNAME")
    state = "Running" if jobs else "Success" if done == total else "Failure"
    numbers = f"{waiting + futile:>4} {ready:>6} {pre:>4} {queued:>4} {post:>4} {done:>5} {failed:>5}"
    print(f"{numbers} {100 * done / max(total, 1):>7.1f} {state} {config['dag']}\nSummary: 1 DAG total ({state}:1)")
    return 0


def pegasus_analyzer(words: list[str]) -> int:
    """Tell which jobs failed, with what they printed; gives 2 if the workflow failed."""
    directory = Path(next((word for word in words if not word.startswith("-")), ".")).resolve()
    if _braindump(directory) is None:
        return _error(f"{directory} is not a valid submit-dir")
    last, ended = _last_states(directory / "jobstate.log")
    failed = [job for job, state in last.items() if state.endswith(("FAILURE", "ABORTED"))]
    good = sum(state == "POST_SCRIPT_SUCCESS" for state in last.values())
    total = len(list(directory.glob("*/*/*.sub")))
    print(f"\n{'Summary':*^80}\n\n Submit Directory   : {directory}")
    print(f" Workflow Status    : {'success' if ended == '0' else 'failure' if ended else 'running'}")
    counts = {"jobs succeeded": good, "jobs failed": len(failed), "jobs held": 0, "jobs unsubmitted": total - len(last)}
    print(f" Total jobs         : {total:>6} (100.00%)")
    for name, number in counts.items():
        print(f" # {name:<17}: {number:>6} ({100 * number / max(total, 1):.2f}%)")
    print(f"\n{'Failed jobs details':*^80}\n" if failed else "")
    for job in failed:
        _tell(directory, job, last[job])
    return 2 if ended not in ("0", "") else 0


def _last_states(log: Path) -> tuple[dict[str, str], str]:
    """The last state of each job, and DAGMan's exit status if it has ended."""
    last: dict[str, str] = {}
    ended = ""
    for line in log.read_text().splitlines() if log.exists() else []:
        _, job, state, value, *_ = line.split()
        if job != "INTERNAL":
            last[job] = state
        elif value in ("DAGMAN_STARTED", "DAGMAN_FINISHED"):
            ended = line.split()[4] if value == "DAGMAN_FINISHED" else ""
    return last, ended


def _tell(directory: Path, job: str, state: str) -> None:
    words = {"POST_SCRIPT_FAILURE": "POST_SCRIPT_FAILED"}
    files = {"submit file": "sub", "output file": "out", " error file": "err"}
    print(f"{job:=^80}\n\n last state: {words.get(state, state)}")
    print("\n".join(f"{label}: 00/00/{job}.{suffix}" for label, suffix in files.items()))
    records = sorted(directory.glob(f"*/*/{job}.out.[0-9]*"))[-1:]
    text = records[0].read_text(errors="replace") if records else ""
    for kind, pattern in _STREAMS.items():
        match = pattern.search(text)
        print(f"\n{f' Task {kind} ':-^80}\n\n{match[1] if match else ''}")


def pegasus_version(words: list[str]) -> int:
    """Print the version."""
    print(VERSION)
    return 0


def pegasus_config(words: list[str]) -> int:
    """Print the version or a folder of the installation."""
    places = {"--version": VERSION, "-V": VERSION, "--bin": str(root() / "bin"), "--sh": str(root() / "share" / "sh")}
    for word in words:
        if word in places:
            print(places[word])
            return 0
    return _error("this stand-in knows --version, --bin and --sh", "stderr")


class _Children:
    """DAGMan and monitord, both started by pegasus-dagman."""

    def __init__(self, words: list[str]) -> None:
        bin = root() / "bin"
        self.dagman = subprocess.Popen([str(bin / "condor_dagman"), *words])
        with open("monitord.log", "ab") as log:
            command = [str(bin / "pegasus-monitord"), "-N", os.environ["_CONDOR_DAGMAN_LOG"]]
            self.monitord = subprocess.Popen(command, stdout=log, stderr=log)

    def hear(self, number: int, frame: object) -> None:
        """Hand a signal on to DAGMan; monitord shall see DAGMan's end."""
        if self.dagman.poll() is None:
            self.dagman.send_signal(number)

    def running(self) -> bool:
        """Whether one of them is."""
        codes = (self.dagman.poll(), self.monitord.poll())
        return None in codes


def pegasus_dagman(words: list[str]) -> int:
    """Run DAGMan and monitord, and leave the queue when both have ended: it looks every 15 s, so that takes a while."""
    cluster = int(float(os.environ["CONDOR_ID"]))
    queue = Queue(root() / "pool")
    log = Path(os.environ["_CONDOR_DAGMAN_LOG"].removesuffix(".out") + ".log")
    append(Event(SUBMIT, cluster, "", time.time()), log)
    append(Event(EXECUTE, cluster, "", time.time()), log)
    print(f"Pegasus DAGMAN is {sys.argv[0]}")
    children = _Children(words)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, children.hear)
    while children.running():
        time.sleep(load(root()).linger)
    code = children.dagman.returncode & children.monitord.returncode
    append(Event(TERMINATED, cluster, "", time.time(), code << 8), log)
    for ad in queue.jobs():
        if ad["ClusterId"] == cluster and ad["JobUniverse"] == SCHEDULER:
            queue.remove(cluster)
    return code


def main(words: list[str]) -> int:
    """Run the command that the first word names."""
    command: Callable[[list[str]], int] = globals()[words[0].replace("-", "_")]
    return command(words[1:])
