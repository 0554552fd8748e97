"""What Pegasus' monitord would say: happenings in the logs of a run, turned into raw `stampede.*` events.

It counts attempts as monitord does (monitoring/workflow.py of 5.1: a new `job_inst_id` for each submission, through the
whole workflow), so that both tell of the same attempt. In a few places it knows better, and says so there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from . import payload
from .dagman import Happening
from .kickstart import File, Invocation, Records, epoch
from .plan import Braindump, Dag, Script, SubmitFile, within
from .stampede import exit_code, wait_status

Raw = dict[str, Any]

TEXT_LIMIT = 65535
"""Of a job's output no more comes into an event [characters], as with monitord."""
_JOB_TYPES = {
    "0": "unassigned",
    "1": "compute",
    "2": "stage-in-tx",
    "3": "stage-out-tx",
    "4": "registration",
    "5": "inter-site-tx",
    "6": "create-dir",
    "7": "stage_worker_tx",
    "8": "cleanup",
    "9": "chmod",
    "10": "dax",
    "11": "dag",
}
_REQUESTED = {
    "pegasus_cores": "req_cpus",
    "pegasus_gpus": "req_gpus",
    "pegasus_memory_mb": "req_memory_mb",
    "pegasus_diskspace_mb": "req_diskspace_mb",
}
_ANNOUNCED = frozenset({"DAGMAN_SUBMIT", "PRE_SCRIPT_SUCCESS"})
_UNKNOWN_END = 2  # exit status that monitord gives a DAGMan that died without a last word
# State of a job, the event it is told by, and that event's status.
_BRIEF: dict[str, tuple[tuple[str, int | None], ...]] = {
    "PRE_SCRIPT_STARTED": (("pre.start", None),),
    "PRE_SCRIPT_TERMINATED": (("pre.term", None),),
    "SUBMIT": (("submit.start", None), ("submit.end", 0)),
    "GRID_SUBMIT": (("grid.submit.start", None), ("grid.submit.end", 0)),
    "GLOBUS_SUBMIT": (("globus.submit.start", None), ("globus.submit.end", 0)),
    "GRID_SUBMIT_FAILED": (("grid.submit.start", None), ("grid.submit.end", -1)),
    "GLOBUS_SUBMIT_FAILED": (("globus.submit.start", None), ("globus.submit.end", -1)),
    "SUBMIT_FAILED": (("submit.start", None), ("submit.end", -1)),
    "REMOTE_ERROR": (("remote_error", None),),
    "IMAGE_SIZE": (("image.info", None),),
    "JOB_HELD_REASON": (("held.start", None),),
    "JOB_RELEASED": (("held.end", 0),),
    "JOB_TERMINATED": (("main.term", 0),),
    "JOB_EVICTED": (("main.term", -1),),
    "JOB_ABORTED": (("abort.info", None),),
    "POST_SCRIPT_STARTED": (("post.start", None),),
    "POST_SCRIPT_TERMINATED": (("post.term", None),),
}
_EARLY = frozenset({"SUBMIT", "EXECUTE", "JOB_TERMINATED", "JOB_EVICTED", "JOB_RELEASED", "GRID_SUBMIT", "JOB_ABORTED"})
"""What the jobs' own log may tell before DAGMan does."""
_FAILED_SUBMIT = frozenset({"SUBMIT_FAILED", "GLOBUS_SUBMIT_FAILED", "GRID_SUBMIT_FAILED"})


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt left in its files.

    Attributes
    ----------
    number : int or None
        Of the files `*.out.NNN` and `*.err.NNN`; None where they were not renamed.
    records : Records or None
        What the output file holds; None where there is no such file, so that nothing shows that the job ever ran.
    text : str
        The beginning of an output file without records.
    stderr : str or None
        The beginning of the job's own standard error, with what a wrapper such as PegasusLite wrote.
    """

    number: int | None = None
    records: Records | None = None
    text: str = ""
    stderr: str | None = None


class Attempt:
    """One try of a job, as far as it is known."""

    def __init__(self, job_id: str, number: int, submit: SubmitFile) -> None:
        self.job_id = job_id
        self.number = number
        self.submit = submit
        self.sched_id: str | None = None
        self.output_number: int | None = None
        self.state = ""
        self.begun: float | None = None
        self.done: float | None = None
        self.script_begun: dict[str, float] = {}
        self.script_done: dict[str, float] = {}
        self.ending: Raw | None = None
        self.recorded = False
        self.over = False
        self.told: set[tuple[str, float]] = set()

    @property
    def site(self) -> str | None:
        site = self.submit.classads.get("pegasus_site")
        return None if site == "!!SITE!!" else site


class Monitord:
    """Tells a run; give it everything that its logs say, in their order.

    Parameters
    ----------
    plan : Braindump
        The workflow.
    dag : Dag
        What its nodes are.
    submit_file : callable
        Gives the submit file of a job.
    output : callable
        Gives what an attempt left in its files; it is asked once, when nothing more can come.
    """

    def __init__(
        self,
        plan: Braindump,
        dag: Dag,
        submit_file: Callable[[str], SubmitFile],
        output: Callable[[Attempt], Output],
    ) -> None:
        self._plan = plan
        self._dag = dag
        self._submit_file = submit_file
        self._output = output
        self._latest: dict[str, Attempt] = {}
        self._by_sched: dict[str, Attempt] = {}
        self._outputs: dict[str, int] = {}
        self._noted: dict[tuple[str, str], str] = {}
        self._attempts = 0
        self._starts = 0
        self._runs = False
        self._reason: str | None = None

    def tell(self, happening: Happening) -> Iterator[Raw]:
        """Raw events for one happening of DAGMan's log."""
        if happening.what.startswith("DAGMAN_") and not happening.job_id:
            yield from self._workflow(happening)
        elif happening.what == "DAGMAN_SUBMIT":
            self._announce(happening)
        elif happening.what == "ASSIGNED":
            self._assign(happening)
        elif (attempt := self._attempt_of(happening)) is not None:
            yield from self._job(attempt, happening)

    def hint(self, happening: Happening) -> tuple[bool, list[Raw]]:
        """Raw events for one happening of the jobs' own log, which DAGMan may not have seen yet.

        The first value is False while the attempt is not known; try again after the next `tell`.
        """
        if happening.sched_id.startswith("0."):  # of a NOOP node: they share one id, and only DAGMan's log tells which
            return True, []
        attempt = self._by_sched.get(happening.sched_id)
        if attempt is None and happening.what == "SUBMIT":
            announced = self._latest.get(happening.job_id)
            if announced is not None and announced.state == "DAGMAN_SUBMIT" and announced.sched_id is None:
                attempt = self._bind(announced, happening.sched_id)
        if attempt is None:
            return False, []
        return True, [] if attempt.over else list(self._early(attempt, happening))

    def note(self, happening: Happening) -> None:
        """Remember what only the jobs' own log tells: why a job was removed, and its name in the batch system."""
        if happening.what in ("JOB_ABORTED", "GRID_SUBMIT") and happening.reason:
            self._noted[happening.sched_id, happening.what] = happening.reason

    def late(self, attempt: Attempt, output: Output) -> list[Raw]:
        """Raw events for a record that was written after the attempt had been given up."""
        return list(_Tale(self._plan, attempt, output).of_programs(attempt.done))

    def finish(self) -> list[Raw]:
        """Raw events of attempts that DAGMan left without a word about their end."""
        return [raw for attempt in list(self._latest.values()) for raw in self._abandoned(attempt)]

    def _abandoned(self, attempt: Attempt) -> Iterator[Raw]:
        if attempt.over or attempt.recorded or not attempt.state or attempt.state in _ANNOUNCED:
            return
        yield from self._record(attempt, attempt.done)

    def _workflow(self, happening: Happening) -> Iterator[Raw]:
        if happening.what == "DAGMAN_LAUNCHED":
            self._forget_finished()
        elif happening.what == "DAGMAN_STARTED":
            if self._runs:  # it died without a last word
                yield self._wf("xwf.end", happening.ts - 1, status=_UNKNOWN_END, reason=None)
            self._starts += 1
            self._runs = True
            yield self._wf("xwf.start", happening.ts, reason=self._take_reason())
        elif happening.what == "DAGMAN_ABORTED":
            self._reason = happening.reason
        elif happening.what == "DAGMAN_FINISHED":
            yield from self._flush()
            self._runs = False
            yield self._wf("xwf.end", happening.ts, status=happening.status, reason=self._take_reason())

    def _take_reason(self) -> str | None:
        reason, self._reason = self._reason, None
        return reason

    def _wf(self, name: str, ts: float, **fields: Any) -> Raw:
        own = {"event": f"stampede.{name}", "xwf_id": self._plan.wf_uuid, "ts": ts}
        return {**own, "restart_count": self._starts - 1, **fields}

    def _forget_finished(self) -> None:
        for job_id, attempt in list(self._latest.items()):
            if attempt.over:
                del self._latest[job_id]

    def _flush(self) -> Iterator[Raw]:
        """Ends that waited for a post script which never ran."""
        for attempt in list(self._latest.values()):
            if attempt.ending is not None and not attempt.recorded:
                yield from self._record(attempt, attempt.done)

    def _announce(self, happening: Happening) -> Attempt:
        """A submission begins: a new attempt, unless a pre script already began it."""
        attempt = self._latest.get(happening.job_id)
        if attempt is None or attempt.state not in _ANNOUNCED:
            attempt = self._new(happening.job_id)
        attempt.state = happening.what
        return attempt

    def _new(self, job_id: str) -> Attempt:
        self._attempts += 1
        attempt = self._latest[job_id] = Attempt(job_id, self._attempts, self._submit_file(job_id))
        return attempt

    def _assign(self, happening: Happening) -> None:
        attempt = self._latest.get(happening.job_id)
        if attempt is not None and attempt.sched_id is None:
            self._bind(attempt, happening.sched_id)

    def _bind(self, attempt: Attempt, sched_id: str) -> Attempt:
        attempt.sched_id = sched_id
        self._by_sched[sched_id] = attempt
        return attempt

    def _attempt_of(self, happening: Happening) -> Attempt | None:
        if happening.what == "PRE_SCRIPT_STARTED":
            return self._announce(happening)
        attempt = self._by_sched.get(happening.sched_id)
        if attempt is None or attempt.job_id != happening.job_id:  # all NOOP nodes have one id
            attempt = self._latest.get(happening.job_id)
        if happening.what in ("SUBMIT", "SUBMIT_FAILED"):
            known = attempt is not None and happening.sched_id and attempt.sched_id == happening.sched_id
            attempt = attempt if known else self._announce(happening)
        if attempt is not None and attempt.sched_id is None and happening.sched_id:
            self._bind(attempt, happening.sched_id)
        return attempt

    def _job(self, attempt: Attempt, happening: Happening) -> Iterator[Raw]:
        what, ts = happening.what, happening.ts
        attempt.state = what
        if what == "SUBMIT" or what == "PRE_SCRIPT_FAILURE":
            self._count_output(attempt)
        self._note_times(attempt, happening)
        if what == "EXECUTE":
            yield from self._begun(attempt, ts)
        elif what in ("JOB_SUCCESS", "JOB_FAILURE"):
            yield from self._ended(attempt, happening)
        elif what.endswith(("_SCRIPT_SUCCESS", "_SCRIPT_FAILURE")):
            yield from self._script_ended(attempt, happening)
        else:
            yield from self._brief(attempt, what, ts, happening.reason or self._removal(attempt, what))
        if what == "JOB_ABORTED" or what in _FAILED_SUBMIT:
            yield from self._gone(attempt, happening)
        elif what == "POST_SCRIPT_TERMINATED":
            yield from self._record(attempt, ts)

    def _count_output(self, attempt: Attempt) -> None:
        if attempt.output_number is None:
            number = self._outputs.get(attempt.job_id, -1) + 1
            self._outputs[attempt.job_id] = attempt.output_number = number

    def _note_times(self, attempt: Attempt, happening: Happening) -> None:
        what, ts = happening.what, happening.ts
        if what == "EXECUTE":
            attempt.begun = ts
        elif what in ("JOB_TERMINATED", "JOB_ABORTED") or what in _FAILED_SUBMIT:
            attempt.done = ts
        elif what.endswith("_SCRIPT_STARTED"):
            attempt.script_begun[what.partition("_")[0]] = ts
        elif what.endswith("_SCRIPT_TERMINATED"):
            attempt.script_done[what.partition("_")[0]] = ts

    def _early(self, attempt: Attempt, happening: Happening) -> Iterator[Raw]:
        what, ts = happening.what, happening.ts
        if what == "EXECUTE":
            yield from self._begun(attempt, ts)
        elif what == "POST_SCRIPT_TERMINATED" and attempt.ending is not None:
            yield from self._brief(attempt, what, ts)
            yield from self._record(attempt, ts)
        elif what in _EARLY:
            yield from self._brief(attempt, what, ts, self._removal(attempt, what))

    def _removal(self, attempt: Attempt, what: str) -> str | None:
        """Why it was removed, if that is what happens."""
        return self._noted.get((attempt.sched_id or "", what)) if what == "JOB_ABORTED" else None

    def _brief(self, attempt: Attempt, what: str, ts: float, reason: str | None = None) -> Iterator[Raw]:
        for name, status in _BRIEF.get(what, ()):
            if not self._is_new(attempt, name, ts):
                continue
            raw = {**self._of(attempt, f"job_inst.{name}", ts), "reason": reason, **_known(sched_id=attempt.sched_id)}
            if name == "submit.start":
                raw |= _known(site=attempt.site)
            yield raw if status is None else {**raw, "status": status}

    def _begun(self, attempt: Attempt, ts: float) -> Iterator[Raw]:
        if self._is_new(attempt, "main.start", ts):
            yield {
                **self._of(attempt, "job_inst.main.start", ts),
                **_known(
                    sched_id=attempt.sched_id,
                    stdin_file=self._path(attempt.submit.input),
                    stdout_file=self._path(attempt.submit.output),
                    stderr_file=self._path(attempt.submit.error),
                ),
            }

    def _is_new(self, attempt: Attempt, name: str, ts: float) -> bool:
        told = (name, ts)
        if told in attempt.told:
            return False
        attempt.told.add(told)
        return True

    def _of(self, attempt: Attempt, name: str, ts: float | None) -> Raw:
        key = {"xwf_id": self._plan.wf_uuid, "job_id": attempt.job_id, "job_inst_id": attempt.number}
        return {"event": f"stampede.{name}", **key, "ts": ts}

    def _path(self, path: str | None) -> str | None:
        return within(self._plan.submit_dir, path)

    def _ended(self, attempt: Attempt, happening: Happening) -> Iterator[Raw]:
        # monitord takes a signal for an exit code here: "failed with signal 9" becomes 2304, which is exit 9.
        status = wait_status(happening.status or 0, happening.signalled)
        attempt.ending = self._ending(attempt, happening.ts, 0 if happening.what == "JOB_SUCCESS" else -1, status)
        if attempt.job_id not in self._dag.post:
            yield from self._record(attempt, happening.ts)
            self._close(attempt)

    def _gone(self, attempt: Attempt, happening: Happening) -> Iterator[Raw]:
        """Removed or never accepted: it has no exit status, where monitord gives the raw status 1, which is SIGHUP."""
        attempt.ending = self._ending(attempt, happening.ts, -1, None)
        if attempt.job_id not in self._dag.post or happening.what in _FAILED_SUBMIT:
            yield from self._record(attempt, happening.ts)

    def _ending(self, attempt: Attempt, ts: float, status: int, exit_status: int | None) -> Raw:
        ran = None if attempt.begun is None or attempt.done is None else attempt.done - attempt.begun
        return {
            **self._of(attempt, "job_inst.main.end", ts),
            "site": attempt.site or "",
            **_known(
                user=self._plan.user,
                local_dur=ran,
                stdin_file=self._path(attempt.submit.input),
                multiplier_factor=attempt.submit.classads.get("pegasus_cores"),
                exitcode=None if exit_status is None else str(exit_status),
                sched_id=attempt.sched_id,
            ),
            "status": status,
            **_known(grid_job_id=self._noted.get((attempt.sched_id or "", "GRID_SUBMIT"))),
        }

    def _script_ended(self, attempt: Attempt, happening: Happening) -> Iterator[Raw]:
        kind = happening.what.partition("_")[0]
        exit_status = wait_status(happening.status or 0, happening.signalled)
        status = 0 if happening.what.endswith("SUCCESS") else -1
        ended = attempt.script_done.setdefault(kind, happening.ts)
        if kind == "POST":
            yield from self._record(attempt, ended)
        yield from self._script(attempt, kind, ended, exit_status)
        brief = {**self._of(attempt, f"job_inst.{kind.lower()}.end", happening.ts), "reason": None}
        yield {**brief, **_known(sched_id=attempt.sched_id), "status": status, "exitcode": str(exit_status)}
        if kind == "PRE" and status:
            attempt.ending = self._ending(attempt, happening.ts, -1, exit_status)
            yield from self._record(attempt, happening.ts)
        elif kind == "POST":
            self._close(attempt)

    def _script(self, attempt: Attempt, kind: str, ended: float, exit_status: int) -> Iterator[Raw]:
        """A script as an invocation, of number -1 before the job and -2 after it."""
        number = -1 if kind == "PRE" else -2
        of_kind = self._dag.pre if kind == "PRE" else self._dag.post
        script = of_kind.get(attempt.job_id, Script("", ""))
        begun = attempt.script_begun.get(kind, ended)
        yield {**self._of(attempt, "inv.start", begun), "inv_id": number}
        yield {
            **self._of(attempt, "inv.end", ended),
            "inv_id": number,
            "transformation": f"dagman::{kind.lower()}",
            "start_time": begun,
            "dur": ended - begun,
            "remote_cpu_time": 0 if ended == begun else ended - begun,
            "exitcode": str(exit_status),
            "executable": script.executable,
            "argv": script.arguments,
        }

    def _record(self, attempt: Attempt, ts: float | None) -> Iterator[Raw]:
        """Everything that the attempt's files tell; nothing more will be in them."""
        if attempt.recorded:
            return
        attempt.recorded = True
        output = self._output(attempt)
        tale = _Tale(self._plan, attempt, output)
        yield from tale.of_programs(ts)
        if attempt.ending is not None:
            yield from tale.of_job(attempt.ending)

    def _close(self, attempt: Attempt) -> None:
        attempt.over = True
        attempt.ending = None
        attempt.told.clear()


class _Tale:
    """What an attempt's files tell."""

    def __init__(self, plan: Braindump, attempt: Attempt, output: Output) -> None:
        self._plan = plan
        self._attempt = attempt
        self._output = output
        self._programs = output.records.invocations if output.records else ()
        self._multipart = output.records.multipart if output.records else ()
        self._host = _host(output.stderr)
        self._payloads: list[dict[str, Any]] = []
        self._text = self._gathered_text()

    def of_programs(self, ts: float | None) -> Iterator[Raw]:
        """Events of each program, and of what it printed and wrote; `ts` is when all that was read [s since 1970]."""
        for number, program in enumerate(self._programs, start=1):
            yield from self._program(number, program)
            yield from (meta for file in program.outputs for meta in self._metadata(file, ts))
            yield self._host_info(program, ts)
        if self._programs:
            yield from self._monitoring(ts)
        yield from self._integrity(ts)

    def of_job(self, ending: Raw) -> Iterator[Raw]:
        """The end of the job, short and with everything."""
        end = {**ending, **self._of_files(), **self._where()}
        yield end
        yield {**end, "event": "stampede.job_inst.composite", **self._composite()}
        yield from self._carried_home()

    def _of(self, name: str, ts: float | None) -> Raw:
        attempt = self._attempt
        key = {"xwf_id": self._plan.wf_uuid, "job_id": attempt.job_id, "job_inst_id": attempt.number}
        return {"event": f"stampede.{name}", **key, "ts": ts}

    def _program(self, number: int, program: Invocation) -> Iterator[Raw]:
        """monitord cuts a start to whole seconds, and so do we, that both tell the same; durations are exact."""
        if program.start is None:
            return
        start = int(program.start)
        yield {**self._of("inv.start", start), "inv_id": number}
        if not program.complete or program.duration is None:
            return
        cpu = None if program.utime is None or program.stime is None else program.utime + program.stime
        task = program.derivation or self._attempt.submit.classads.get("pegasus_wf_dax_job_id")
        yield {
            **self._of("inv.end", int(start + program.duration)),
            "inv_id": number,
            "transformation": program.transformation or self._attempt.submit.classads.get("pegasus_wf_xformation"),
            "start_time": start,
            "dur": program.duration,
            "exitcode": program.status,
            "executable": program.executable or "",
            **_known(
                task_id=None if task == "null" else task,
                remote_cpu_time=cpu,
                avg_cpu=cpu / program.duration if cpu is not None and program.duration else None,
                maxrss=program.maxrss,
                argv=self._attempt.submit.arguments or None,
                time_limit=program.time_limit,
            ),
        }

    def _host_info(self, program: Invocation, ts: float | None) -> Raw:
        """kickstart gives no host name, so that monitord writes `unknown` unless PegasusLite tells; uname does."""
        machine = program.machine
        parts = [str(machine[key]) for key in ("system", "release", "machine") if key in machine]
        return {
            **self._of("job_inst.host.info", ts),
            "hostname": self._host or program.hostname or program.nodename or "unknown",
            "ip": program.hostaddr or "unknown",
            "site": program.resource or "unknown",
            **_known(uname="-".join(parts) if len(parts) == 3 else None),
        }

    def _metadata(self, file: File, ts: float | None) -> Iterator[Raw]:
        told = {"user": file.user, "size": file.size, "ctime": file.ctime}
        if file.sha256:
            told |= {"checksum.type": "sha256", "checksum.value": file.sha256, "checksum.timing": file.checksum_timing}
        raw = {"event": "stampede.rc.meta", "xwf_id": self._plan.wf_uuid, "lfn_id": file.lfn, "ts": ts}
        yield from ({**raw, "key": key, "value": value} for key, value in told.items() if value is not None)

    def _monitoring(self, ts: float | None) -> Iterator[Raw]:
        for marked in self._payloads:
            name = marked.get("monitoring_event", "monitoring.additional")
            if name == "int.metric":
                continue
            raw = {**self._of("task.monitoring", marked.get("ts", ts)), "monitoring_event": name}
            for item in payload.items(marked):
                yield {**raw, **_known(sched_id=self._attempt.sched_id), **item}

    def _integrity(self, ts: float | None) -> Iterator[Raw]:
        for (kind, file_type), (count, failed, duration) in self._checks().items():
            raw = self._of("int.metric", ts)
            yield {**raw, "type": kind, "file_type": file_type, "count": count, "duration": duration}
            if failed:
                yield {**self._of("job_inst.tag", ts), "name": "int.error", "count": failed}

    def _checks(self) -> dict[tuple[str, str], tuple[int, int, float]]:
        """Checksums computed and compared: how many, how many of them failed, and how long that took [s]."""
        found: dict[tuple[str, str], tuple[int, int, float]] = {}
        for kind, file_type, told in self._told_checks():
            passed, failed = int(told.get("succeeded") or 0), int(told.get("failed") or 0)
            count = int(told.get("count") or 0) or passed + failed
            before = found.get((kind, file_type), (0, 0, 0.0))
            took = float(told.get("duration") or 0.0)
            found[kind, file_type] = (before[0] + count, before[1] + failed, before[2] + took)
        return found

    def _told_checks(self) -> Iterator[tuple[str, str, Raw]]:
        for item in self._multipart:
            if isinstance(summary := item.get("integrity_summary"), dict):
                yield "check", "input", summary
        for marked in self._payloads:
            if marked.get("monitoring_event") == "int.metric":
                for item in payload.items(marked):
                    yield str(item.get("event")), str(item.get("file_type")), item
        for file in (file for program in self._programs for file in program.outputs):
            if file.sha256 and file.checksum_timing:
                yield "compute", "output", {"count": 1, "duration": file.checksum_timing}

    def _of_files(self) -> Raw:
        attempt, number = self._attempt, self._output.number
        suffix = "" if number is None else f".{number:03d}"
        paths = {"stdout_file": attempt.submit.output, "stderr_file": attempt.submit.error}
        files = {key: f"{within(self._plan.submit_dir, path)}{suffix}" if path else "" for key, path in paths.items()}
        texts = _known(stdout_text=self._text, stderr_text=self._stderr())
        return files | texts

    def _stderr(self) -> str | None:
        told = self._output.stderr
        return None if told is None else _quoted(payload.split(told).text[: TEXT_LIMIT - 2000])[:TEXT_LIMIT]

    def _where(self) -> Raw:
        cluster = (self._output.records.cluster if self._output.records else None) or {}
        cwd = self._programs[0].cwd if self._programs else None
        begun = epoch(cluster.get("start"))
        told = {"cluster_start": None if begun is None else int(begun), "cluster_dur": cluster.get("duration")}
        return _known(work_dir=cwd or self._plan.submit_dir, **told)

    def _gathered_text(self) -> str | None:
        """Output of the programs, as monitord gives it, without the payloads; those are kept in passing."""
        if self._output.stderr:
            self._payloads += payload.split(self._output.stderr).payloads
        if self._output.records is None:
            return None
        if not self._programs:
            found = payload.split(self._output.text)
            self._payloads += found.payloads
            return _quoted(f"#@ 1 stdout\n{found.text[: TEXT_LIMIT - 2000]}")[:TEXT_LIMIT]
        parts: list[str] = []
        for number, program in enumerate(self._programs, start=1):
            for stream, text in (("stdout", program.stdout), ("stderr", program.stderr)):
                if text is None:
                    continue
                found = payload.split(text)
                self._payloads += found.payloads
                lead = " " if stream == "stderr" else ""
                parts.append(_quoted(f"#@ {number} {stream}\n{lead}{found.text[:TEXT_LIMIT]}\n"))
        return "".join(parts)[:TEXT_LIMIT]

    def _composite(self) -> Raw:
        classads = self._attempt.submit.classads
        told: Raw = {
            "int_error_count": sum(failed for _, failed, _ in self._checks().values()),
            "jobtype": _JOB_TYPES.get(classads.get("pegasus_job_class", ""), "unknown"),
            **(self._programs[0].machine if self._programs else {}),
            **{name: classads[key] for key, name in _REQUESTED.items() if key in classads},
        }
        nodename = self._programs[0].hostname or self._programs[0].nodename if self._programs else None
        told |= _known(hostname=self._host or nodename, app=self._plan.app, wf=self._plan.dax_label)
        if not self._programs:  # monitord makes up an invocation that names it
            told |= _known(transformation=classads.get("pegasus_wf_xformation"))
        for marked in self._payloads:
            if marked.get("monitoring_event") == "metadata":
                named = [item for item in payload.items(marked) if item.keys() >= {"name", "value"}]
                told |= {f"metadata_{item['name']}": item["value"] for item in named}
        for item in self._multipart:
            carried = item.get(payload.KEY)
            if payload.is_known(carried):
                told |= payload.thinned(carried)
            elif "integrity_summary" not in item:
                _merge(told, item)
        return {**told, "invocations": [_summary(program) for program in self._programs]}

    def _carried_home(self) -> Iterator[Raw]:
        """The probe's payloads; of a clustered job monitord would bring the first only."""
        raw = {**self._of("job_inst.composite", None), **_known(sched_id=self._attempt.sched_id)}
        for item in self._multipart:
            if payload.is_known(item.get(payload.KEY)):
                yield from payload.carried({**raw, payload.KEY: item[payload.KEY]})


def _merge(told: Raw, item: Raw) -> None:
    for key, value in item.items():
        known = told.get(key)
        if isinstance(known, list) and isinstance(value, list):
            known.extend(value)
        elif known is None:
            told[key] = list(value) if isinstance(value, list) else value


def _summary(program: Invocation) -> Raw:
    code = exit_code(program.status)
    return _known(
        transformation=program.transformation,
        exitcode=None if code is None or code < 0 else code,
        duration=program.duration,
        user=program.user,
        hostaddr=program.hostaddr,
        maxrss=program.maxrss,
        tot_ip_size_mb=round(program.read / 2**20, 6),
        tot_op_size_mb=round(program.written / 2**20, 6),
    )


def _host(stderr: str | None) -> str | None:
    """PegasusLite names the host, which kickstart in a container could not."""
    _, found, rest = (stderr or "").partition("Executing on host ")
    return rest.split(None, 1)[0] if found and rest.strip() else None


def _quoted(text: str) -> str:
    """As monitord encodes output: control characters, quotes, `%` and all that is not ASCII as `%XX`."""
    return quote(text, safe=_SAFE)


_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in "%'\"")


def _known(**fields: Any) -> Raw:
    return {key: value for key, value in fields.items() if value is not None}
