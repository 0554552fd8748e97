"""The stand-in for what is behind HTCondor's queue: matches jobs to slots, runs them, holds and removes them."""

from __future__ import annotations

import fnmatch
import getpass
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from . import userlog
from .classad import holds
from .queue import GRID, HELD, IDLE, LOCAL, RUNNING, UNIVERSES, VANILLA, Ad, Queue
from .settings import Settings
from .submitfile import SubmitFile
from .userlog import Event

_RAW15_AFTER = 1.0
"""How long a job runs whose fate is `raw15` [s]."""


class Job:
    """One job, from its submission until it has left the queue.

    Parameters
    ----------
    queue : Queue
        Where it is put.
    node : str
        The DAG's name for it.
    path : Path
        Its submit file.
    dagman : int
        Cluster of the DAGMan that it belongs to.
    folder : Path
        The submit directory.

    Attributes
    ----------
    cluster : int
        Its number.
    over : bool
        It has ended, or was removed.
    """

    def __init__(self, queue: Queue, node: str, path: Path, dagman: int, folder: Path, retry: int) -> None:
        self._queue, self.node, self._folder = queue, node, folder
        self._sub = SubmitFile(path, {})
        self.universe = UNIVERSES[self._sub.get("universe", "vanilla")]
        self.cluster = queue.submit(self._ad(dagman, retry))
        self._sub = SubmitFile(path, {"cluster": str(self.cluster), "process": "0"})
        self._directory = Path(self._sub.get("initialdir") or folder)
        self._remaps = dict(
            pair.split("=") for pair in self._sub.get("transfer_output_remaps").strip('"').split(";") if pair
        )
        self._sandbox = queue.folder / "execute" / f"dir_{self.cluster}"
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._looked = 0.0
        self.over = False
        self.log = Path(self._sub.get("log"))
        self.submitted = Event(
            userlog.SUBMIT, self.cluster, node, time.time(), detail=self._sub.get("submit_event_user_notes")
        )

    def _ad(self, dagman: int, retry: int) -> Ad:
        sub = self._sub
        ad: Ad = {
            "JobUniverse": self.universe,
            "Owner": getpass.getuser(),
            "Cmd": sub.get("executable"),
            "Arguments": sub.get("arguments"),
            "Iwd": sub.get("initialdir") or str(self._folder),
            "Out": sub.get("output"),
            "Err": sub.get("error"),
            "UserLog": sub.get("log"),
            "DAGManJobId": dagman,
            "DAGNodeName": self.node,
            "DAGNodeRetry": retry,
            "JobPrio": int(sub.get("priority", "0")),
            "NumJobStarts": 0,
            "PeriodicRemove": sub.get("periodic_remove", "false"),
            "Requirements": sub.get("requirements", "true"),
            "RequestCpus": int(sub.get("request_cpus") or 1),
            "RequestMemory": sub.megabytes("request_memory"),
            "RequestDisk": sub.megabytes("request_disk") * 1024,
        }
        if self.universe == GRID:
            ad["GridResource"] = sub.get("grid_resource")
            ad["BatchQueue"] = sub.get("batch_queue")
        return ad | {name: sub.attribute(name) for name in sub.attributes}

    def poll(self, settings: Settings) -> Iterator[Event]:
        """Go on with the job; yields what has happened."""
        ad = self._queue.job(self.cluster)
        if ad is None:
            return
        if "Asked" in ad:
            yield from self._asked(ad)
        elif ad["JobStatus"] == IDLE:
            yield from self._match(ad, settings)
        elif ad["JobStatus"] == RUNNING:
            yield from self._look(settings)
        elif ad["JobStatus"] == HELD:
            yield from self._held(ad, settings)

    def kill(self) -> None:
        """End the job's processes, all of them."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _sweep(self) -> None:
        """Kill what the job has left behind, as the starter does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def abort(self, reason: str) -> Event:
        """Take the job out of the queue."""
        self.kill()
        self._leave()
        return self._event(userlog.ABORTED, detail=reason)

    def _event(self, number: int, status: int = 0, detail: str = "") -> Event:
        return Event(number, self.cluster, self.node, time.time(), status, detail)

    def _leave(self) -> None:
        self.over = True
        self._queue.remove(self.cluster)
        shutil.rmtree(self._sandbox, ignore_errors=True)

    def _asked(self, ad: Ad) -> Iterator[Event]:
        what, reason = ad["Asked"], ad.get("AskedReason", "")
        self._queue.change(self.cluster, Asked=None, AskedReason=None)
        if what == "remove":
            yield self.abort(reason)
        elif what == "hold" and ad["JobStatus"] != HELD:
            if ad["JobStatus"] == RUNNING:
                yield self._event(userlog.EVICTED)
            yield self._hold(reason, 1)
        elif what == "vacate" and ad["JobStatus"] == RUNNING:
            self.kill()
            self._queue.change(self.cluster, JobStatus=IDLE, Slot=None, RemoteHost=None)
            yield self._event(userlog.EVICTED)
        elif what == "release" and ad["JobStatus"] == HELD:
            self._queue.change(
                self.cluster, JobStatus=IDLE, HoldReason=None, HoldReasonCode=None, HoldReasonSubCode=None
            )
            yield self._event(userlog.RELEASED, detail=reason)

    def _hold(self, reason: str, code: int, subcode: int = 0) -> Event:
        self.kill()
        self._looked = time.monotonic()
        values = {"HoldReason": reason, "HoldReasonCode": code, "HoldReasonSubCode": subcode}
        self._queue.change(self.cluster, JobStatus=HELD, NumHolds=1, Slot=None, **values)
        return self._event(userlog.HELD, detail=f"{reason}\n\tCode {code} Subcode {subcode}")

    def _held(self, ad: Ad, settings: Settings) -> Iterator[Event]:
        """Remove a held job if its own rule says so; HTCondor looks once in a while only."""
        rule = ad["PeriodicRemove"]
        if time.monotonic() - self._looked > settings.periodic:
            self._looked = time.monotonic()
            if holds(rule, ad):
                yield self.abort(f"The job attribute PeriodicRemove expression '{rule}' evaluated to TRUE")

    def _match(self, ad: Ad, settings: Settings) -> Iterator[Event]:
        reason = _first(settings.hold, self.node)
        queue = ad.get("BatchQueue", "").strip("'")
        if reason is not None:
            yield self._hold(reason, 0)
        elif self.universe == GRID and queue and settings.queues is not None and queue not in settings.queues:
            yield self._hold(_no_partition(queue), 0)
        elif _first(dict.fromkeys(settings.idle, ""), self.node) is None and self._claim(ad, settings):
            yield from self._start(settings)

    def _claim(self, ad: Ad, settings: Settings) -> bool:
        """Take a slot if one has enough left; only the vanilla universe needs one."""
        if self.universe != VANILLA:
            return True
        with self._queue.locked():
            running = [job for job in self._queue.jobs() if job["JobStatus"] == RUNNING and "Slot" in job]
            for number, slot in enumerate(settings.slots):
                mine = [job for job in running if job["Slot"] == number]
                if holds(ad["Requirements"], {"Machine": slot.machine} | ad) and all(
                    sum(job[name] for job in mine) + ad[name] <= size
                    for name, size in (
                        ("RequestCpus", slot.cpus),
                        ("RequestMemory", slot.memory),
                        ("RequestDisk", slot.disk * 1024),
                    )
                ):
                    host = f"slot1_1@{slot.machine}"
                    self._queue.change(self.cluster, JobStatus=RUNNING, Slot=number, RemoteHost=host)
                    return True
        return False

    def _start(self, settings: Settings) -> Iterator[Event]:
        if not self._directory.is_dir():
            yield self._hold(
                f"Cannot access initial working directory {self._directory}: No such file or directory", 14, 2
            )
            return
        shutil.rmtree(self._sandbox, ignore_errors=True)
        self._sandbox.mkdir(parents=True)
        if self.universe != LOCAL:
            for name in _names(self._sub.get("transfer_input_files")):
                source = self._directory / name
                if not source.exists():
                    yield self._hold(_transfer_failure("input", source, "access", "sending", "execution"), 13, 2)
                    return
                _copy(source, self._sandbox / source.name)
        fate = _first(settings.fate, self.node)
        self._queue.change(
            self.cluster,
            JobStatus=RUNNING,
            NumJobStarts=1,
            JobCurrentStartDate=int(time.time()),
        )
        if self.universe == GRID:
            yield self._event(userlog.GRID_SUBMIT, detail=self._grid_job())
        else:
            yield self._event(userlog.EXECUTE, detail=self._slot(settings) if self.universe == VANILLA else "")
        self._began = time.monotonic()
        if fate != "vanish":
            self._process = self._spawn()

    def _grid_job(self) -> str:
        resource, now = self._sub.get("grid_resource"), time.time()
        job = f"{resource} 127.0.0.1_standin_{self.cluster}.0_{now:.0f} slurm/{time.strftime('%Y%m%d')}/{self.cluster}"
        return f"    GridResource: {resource}\n    GridJobId: {job}\n"

    def _slot(self, settings: Settings) -> str:
        slot = settings.slots[(self._queue.job(self.cluster) or {}).get("Slot", 0)]
        scratch = f'\tSlotName: slot1_1@{slot.machine}\n\tCondorScratchDir = "{self._sandbox}"\n'
        return f"{scratch}\tCpus = {slot.cpus}\n\tDisk = {slot.disk * 1024}\n\tGPUs = 0\n\tMemory = {slot.memory}\n"

    def _spawn(self) -> subprocess.Popen[bytes]:
        sub, local = self._sub, self.universe == LOCAL
        executable = sub.get("executable")
        if sub.get("transfer_executable").lower() == "true":
            _copy(Path(executable), self._sandbox / "condor_exec.exe")
            executable = str(self._sandbox / "condor_exec.exe")
        streams = [Path(sub.get("output")), Path(sub.get("error"))]
        if not local:
            streams = [self._sandbox / "_condor_stdout", self._sandbox / "_condor_stderr"]
        stdin = sub.get("input") or os.devnull
        with open(stdin, "rb") as source, streams[0].open("wb") as out, streams[1].open("wb") as err:
            return subprocess.Popen(
                [executable, *sub.arguments],
                cwd=self._directory if local else self._sub.get("remote_initialdir") or self._sandbox,
                env=sub.environment | self._own_environment(),
                stdin=source,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _own_environment(self) -> dict[str, str]:
        box = str(self._sandbox)
        if self.universe == GRID:
            return {"SLURM_JOB_ID": str(self.cluster), "SLURM_SUBMIT_DIR": box}
        return {
            "BATCH_SYSTEM": "HTCondor",
            "TEMP": box,
            "TMP": box,
            "TMPDIR": box,
            "_CONDOR_SCRATCH_DIR": box,
            "_CONDOR_JOB_IWD": box if self.universe == VANILLA else str(self._directory),
            "_CONDOR_SLOT": "slot1",
        }

    def _look(self, settings: Settings) -> Iterator[Event]:
        fate = _first(settings.fate, self.node)
        lasted = time.monotonic() - self._began
        if fate == "vanish" or (fate == "empty" and self._process is not None):
            if fate == "empty":
                for key in ("output", "error"):
                    Path(self._sub.get(key)).write_bytes(b"")
            self._process = None
            self._queue.remove(self.cluster)
            self.over = True
            yield self._event(userlog.TERMINATED)
        elif self._process is not None and fate == "raw15" and lasted > _RAW15_AFTER and self._process.poll() is None:
            for child in _tasks(self._process.pid):
                os.kill(child, signal.SIGTERM)
            self._process.wait()
            yield from self._ended(0)
        elif self._process is not None and (code := self._process.poll()) is not None:
            yield from self._ended(-code if code < 0 else code << 8)

    def _ended(self, status: int) -> Iterator[Event]:
        if self.universe != LOCAL:
            for name, key in (("_condor_stdout", "output"), ("_condor_stderr", "error")):
                _copy(self._sandbox / name, Path(self._sub.get(key)))
            for name in _names(self._sub.get("transfer_output_files")):
                source = self._sandbox / name
                if not source.exists():
                    yield self._event(userlog.EVICTED)
                    yield self._hold(_transfer_failure("output", source, "execution", "sending", "access"), 12, 2)
                    return
                target = self._directory / self._remaps.get(source.name, source.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(source, target)
        self._sweep()
        self._leave()
        yield self._event(userlog.TERMINATED, status=status)


def _first(patterns: dict[str, str], node: str) -> str | None:
    return next((value for pattern, value in patterns.items() if fnmatch.fnmatchcase(node, pattern)), None)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def _tasks(pid: int) -> list[int]:
    """The processes that kickstart, somewhere below this process, has started."""
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    if words[0].endswith(b"/pegasus-kickstart") or any(word.endswith(b"/kickstart.py") for word in words):
        return children
    return [task for child in children for task in _tasks(child)]


def _no_partition(queue: str) -> str:
    return (
        "submission command failed (exit code = 1) (stdout:) (stderr:sbatch: error: invalid partition specified: "
        f"{queue}-sbatch: error: Batch job submission failed: Invalid partition name specified-Error from sbatch: )"
    )


def _transfer_failure(what: str, path: Path, here: str, doing: str, there: str) -> str:
    place = {"access": "access point standin", "execution": "execution point slot1@standin"}
    return (
        f"Transfer {what} files failure at {place[here]} while {doing} files to {place[there]}. "
        f"Details: reading from file {path}: (errno 2) No such file or directory"
    )
