"""Writes the submit directory of an executable workflow: the DAG, submit files, scripts, lists and static events."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import scripts
from .executable import CHMOD, CLEANUP, COMPUTE, CREATE_DIR, STAGE_IN, STAGE_OUT, Executable, Job
from .submitfile import quote

VERSION = "5.1.3"
_CLASSES = {
    COMPUTE: "compute",
    STAGE_IN: "stage-in-tx",
    STAGE_OUT: "stage-out-tx",
    CREATE_DIR: "create-dir",
    CLEANUP: "cleanup",
    CHMOD: "chmod",
}
_PRIORITIES = {CREATE_DIR: 800, STAGE_IN: 700, STAGE_OUT: 900, CLEANUP: 1000}
_RULE = "#" * 70
_HEAD = (_RULE, "# PEGASUS WMS GENERATED SUBMIT FILE")
_TAIL = ("queue", _RULE, "# END OF SUBMIT FILE", _RULE)


class SubmitDirectory:
    """The submit directory of one plan.

    Parameters
    ----------
    executable : Executable
        The workflow.
    standins : Path
        Folder of the stand-ins, whose commands the jobs name.
    identity : str
        UUID of the workflow.

    Attributes
    ----------
    stamp : str
        Time of planning, as it is in every submit file.
    """

    def __init__(self, executable: Executable, standins: Path, identity: str) -> None:
        self._executable, self._standins, self._identity = executable, standins, identity
        self._path, self._label = executable.directory, executable.label
        self._bin = standins / "bin"
        self.stamp = time.strftime("%Y%m%dT%H%M%S%z")
        self._wf_stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())

    def write(self) -> None:
        """Write all of it."""
        jobs = self._executable.jobs
        (self._path / "00" / "00").mkdir(parents=True, exist_ok=True)
        common = scripts.LITE_COMMON.replace("@VERSION@", VERSION).replace("@BIN@", str(self._bin))
        self._put("pegasus-lite-common.sh", common)
        for job in jobs.values():
            self._write_job(job)
        name = f"{self._label}-0"
        self._put(f"{name}.dag", "\n".join(self._dag()) + "\n")
        attributes = self._attributes({"wf_xformation": "pegasus::dagman", "job_class": 11, "site": "local"})
        most = self._executable.properties.get("dagman.maxjobs")
        limit = f"-MaxJobs {most} " if most else ""
        words = {"dag": f"{name}.dag", "bin": self._bin, "most": limit, "attributes": "\n".join(attributes)}
        text = scripts.DAGMAN_SUB.format(**words)
        self._put(f"{name}.dag.condor.sub", text)
        self._put(f"{name}.static.bp", "".join(f"{line} \n" for line in self._static()))
        self._put(f"{name}.notify", "")
        about = {"root_workflow_uuid": self._identity, "workflow_uuid": self._identity, "wf_metadata": {}}
        self._put(f"{name}.metadata", json.dumps(about | {"graph": {"jobs": {job: {} for job in jobs}}}))

    def _put(self, name: str, text: str) -> Path:
        path = self._path / name
        path.write_text(text, encoding="utf-8")
        return path

    def _dag(self) -> Iterator[str]:
        jobs, label = self._executable.jobs.values(), self._label
        yield from (_RULE, "# PEGASUS WMS GENERATED DAG FILE", f"# DAG {label}", "# Index = 0, Count = null", _RULE)
        yield from ("MAXJOBS cleanup 4", "MAXJOBS registration 1", "MAXJOBS stageout 10", "MAXJOBS stagein 10", "")
        for job in jobs:
            lite = " -s PegasusLite:+exitcode+0" if self._is_lite(job) else ""
            yield f"JOB {job.name} 00/00/{job.name}.sub"
            yield (
                f"SCRIPT POST {job.name} {self._bin}/pegasus-exitcode  -r $RETURN -R $RETRY{lite} "
                f"-l {label}-0.exitcode.log -M {label}-0.cache.meta   .//00/00/{job.name}.out"
            )
            yield f"PRIORITY {job.name} {_priority(job)}"
            yield f"RETRY {job.name} {self._retry(job)}"
            if job.kind in (STAGE_IN, STAGE_OUT):
                yield f"CATEGORY {job.name} {'stagein' if job.kind == STAGE_IN else 'stageout'}"
            yield f'VARS {job.name} My.DAGNodeRetry="$(RETRY)"'
            yield ""
        for job in jobs:
            yield from (f"PARENT  {parent} CHILD {job.name}" for parent in dict.fromkeys(job.parents))
        yield from (_RULE, "# End of DAG", _RULE)

    def _is_lite(self, job: Job) -> bool:
        return job.kind == COMPUTE and self._executable.mode != "sharedfs"

    def _retry(self, job: Job) -> int:
        own = {key.upper(): value for key, value in job.profiles.get("dagman", {}).items()}
        return int(own.get("RETRY", self._executable.properties.get("dagman.retry", "1")))

    def _site(self, job: Job) -> str:
        return self._executable.execution if job.kind == COMPUTE else "local"

    def _universe(self, job: Job) -> str:
        if job.kind != COMPUTE or self._executable.execution == "local":
            return "local"
        return "grid" if job.pegasus.get("style") == "glite" else "vanilla"

    def _write_job(self, job: Job) -> None:
        here = f"00/00/{job.name}"
        for suffix, names in _lists(job).items():
            self._put(f"{here}.{suffix}.lof", "".join(f"{name}={name}\n" for name in names))
        if job.entries:
            entries = [" " + json.dumps(entry | {"id": number}) for number, entry in enumerate(job.entries, 1)]
            self._put(f"{here}.in", "[\n" + "\n ,\n".join(entries) + "\n]\n")
        if self._is_lite(job):
            text = scripts.LITE.format(stage_in=_deep_files(job), arguments=self._kickstart(job))
            self._put(f"{here}.sh", text).chmod(0o755)
        commands = sorted(f"{key} = {value}" for key, value in self._commands(job).items())
        about = (f"# DAG : {self._label}, Index = 0, Count = null", f"# SUBMIT FILE NAME : {job.name}.sub", _RULE)
        own = {"wf_xformation": job.transformation, "wf_dax_job_id": job.task.get("id", "null")}
        own |= {"wf_dag_job_id": job.name, "job_class": job.kind, "site": self._site(job)}
        lines = [*_HEAD, *about, *commands, *self._resources(job), *self._attributes(own), *_TAIL]
        self._put(f"{here}.sub", "\n".join(lines) + "\n")

    def _kickstart(self, job: Job) -> str:
        """The arguments of kickstart, in the order in which the planner gives them."""
        grid = self._universe(job) == "grid"
        streams = (("i", "stdin"), ("o", "stdout"), ("e", "stderr"))
        words = [f" -n {job.transformation}", f"-N {job.task.get('id', 'null')}"]
        words += [f"-{letter} {job.task[name]}" for letter, name in streams if name in job.task]
        words += ["-i -"] if job.entries else []
        words += [f"-R {self._site(job)} "]
        words += [f"-w {self._executable.scratch} "] if grid else []
        box = "." if grid else "$_CONDOR_SCRATCH_DIR"
        words += [f"-{'S' if suffix == 'in' else 's'} @{box}/{job.name}.{suffix}.lof " for suffix in _lists(job)]
        words += [f"-L {self._label}", f"-T {self._wf_stamp}"]
        words += [_limits(int(job.pegasus["runtime"]))] if "runtime" in job.pegasus else []
        words += [str(job.pegasus["gridstart.arguments"])] if "gridstart.arguments" in job.pegasus else []
        program = job.program or f"{self._bin}/../bin/pegasus-transfer "
        return " ".join([*words, program, *map(str, job.task.get("arguments") or [])])

    def _commands(self, job: Job) -> dict[str, str]:
        """The commands of the submit file; profiles of the namespace condor are put on top."""
        base, universe = f"{self._path}//00/00/{job.name}", self._universe(job)
        values = {
            "stream_error": "false",
            "stream_output": "false",
            "error": f"{base}.err",
            "output": f"{base}.out",
            "log": f"{self._path}/{self._label}-0.log",
            "notification": "NEVER",
            "periodic_release": "False",
            "periodic_remove": "(JobStatus == 5) && ((CurrentTime - EnteredCurrentStatus) > 1800)",
            "priority": str(_priority(job)),
            "submit_event_user_notes": f"pool:{self._site(job)}",
            "transfer_executable": "false",
            "universe": universe,
            "wf_submit_dir": str(self._path),
        }
        values |= {"input": f"{base}.in"} if job.entries else {}
        values |= self._local(job) if universe == "local" else self._remote(job, universe)
        values |= self._environment(job, universe)
        mapped = ("universe", "request_disk", "request_memory", "request_cpus")
        return values | {k: str(v) for k, v in job.profiles.get("condor", {}).items() if k not in mapped}

    def _local(self, job: Job) -> dict[str, str]:
        kickstart = f"{self._bin}/../bin/pegasus-kickstart"
        if job.kind in (CREATE_DIR, CLEANUP, CHMOD):
            return {"executable": kickstart, "arguments": _quoted(self._kickstart(job))}
        launcher = self._standins / "share" / "sh" / "pegasus-lite-local.sh"
        values = {"executable": str(launcher), "arguments": _quoted(f"{kickstart} {self._kickstart(job)}")}
        return values | ({"initialdir": self._executable.scratch} if job.kind == COMPUTE else {})

    def _remote(self, job: Job, universe: str) -> dict[str, str]:
        lists = [f"$(wf_submit_dir)/00/00/{job.name}.{suffix}.lof" for suffix in _lists(job)]
        values = {"should_transfer_files": "YES", "when_to_transfer_output": "ON_EXIT"}
        if self._executable.mode == "sharedfs":
            home = job.profiles["env"]["PEGASUS_HOME"]
            values |= {"executable": f"{home}/bin/pegasus-kickstart", "arguments": _quoted(self._kickstart(job))}
            values |= {"transfer_input_files": ",".join(lists)}
            values |= {"remote_initialdir": self._executable.scratch} if universe == "vanilla" else {}
        else:
            values |= self._condorio(job, lists)
        if universe == "grid":
            grid_resource = job.profiles.get("condor", {}).get("grid_resource", "batch slurm")
            values |= {"grid_resource": grid_resource, "batch_runtime": "$(pegasus_job_runtime)"}
            values |= {f"batch_{key}": f"$(pegasus_{key})" for key in ("queue", "project") if key in job.pegasus}
        return values

    def _condorio(self, job: Job, lists: list[str]) -> dict[str, str]:
        outputs = job.uses("output")
        staged = [job.program[2:]] if job.program.startswith("./") else []
        inputs = [*job.uses("input"), *staged, *lists, "$(wf_submit_dir)/pegasus-lite-common.sh"]
        remaps = [f"{os.path.basename(lfn)}={lfn}" for lfn in outputs if "/" in lfn]
        values = {
            "+WantIOProxy": "True",
            "initialdir": self._executable.scratch,
            "executable": f"{self._path}/00/00/{job.name}.sh",
            "transfer_executable": "true",
            "transfer_input_files": ",".join(inputs),
        }
        values |= {"transfer_output_files": ",".join(outputs)} if outputs else {"+TransferOutput": '""'}
        return values | ({"transfer_output_remaps": f'"{";".join(remaps)}"'} if remaps else {})

    def _environment(self, job: Job, universe: str) -> dict[str, str]:
        values = {"LANG": "en_US.UTF-8"} | {key: str(value) for key, value in job.profiles.get("env", {}).items()}
        if universe == "local":
            values.setdefault("PATH", os.environ.get("PATH", os.defpath))
        values |= {
            "CONDOR_JOBID": "$(cluster).$(process)",
            "PEGASUS_WF_UUID": self._identity,
            "PEGASUS_WF_LABEL": self._label,
            "PEGASUS_DAG_JOB_ID": job.name,
            "PEGASUS_SITE": self._site(job),
        }
        lists = [f"{job.name}.{suffix}.lof" for suffix in _lists(job)]
        values |= {"GRIDSTART_CLEANUP": f"/bin/rm -rf {' '.join(lists)} "} if lists else {}
        if universe == "local":
            values |= self._local_environment(job, lists)
        elif self._executable.mode == "sharedfs":
            values["PEGASUS_SCRATCH_DIR"] = self._executable.scratch
        if universe == "grid":
            values |= {"_CONDOR_SCRATCH_DIR": ".", "PEGASUS_CORES": "$(pegasus_cores)"}
            keys = ("nodes", "ppn", "queue", "project", "runtime")
            values |= {f"PEGASUS_{key.upper()}": str(job.pegasus[key]) for key in keys if key in job.pegasus}
            requirements = f'JOBNAME=="{job.name}" && PASSENV==1 && CORES=="$(pegasus_cores)"'
            text = {"environment": '""', "+remote_cerequirements": requirements}
            return text | {"+remote_environment": _environment_text(values)}
        return {"environment": _environment_text(values)}

    def _local_environment(self, job: Job, lists: list[str]) -> dict[str, str]:
        values = {"_PEGASUS_WF_SUBMIT_DIR": str(self._path), "PEGASUS_BIN_DIR": str(self._bin)}
        if job.kind == COMPUTE:
            values |= {"_PEGASUS_INITIAL_DIR": self._executable.scratch, "_PEGASUS_EXECUTE_IN_INITIAL_DIR": "true"}
        if lists:
            files = ",".join(f"$(wf_submit_dir)/00/00/{name}" for name in lists)
            values["_PEGASUS_TRANSFER_INPUT_FILES"] = f"{files},"
        return values | ({"_PEGASUS_CONNECT_STDIN": "true"} if job.kind in (STAGE_IN, STAGE_OUT) else {})

    def _resources(self, job: Job) -> Iterator[str]:
        pegasus = job.pegasus
        if job.kind == COMPUTE and self._universe(job) != "grid":
            yield "request_cpus = $(pegasus_cores)"
            yield "request_disk = $(pegasus_diskspace_mb) MB"
            yield "request_memory = $(pegasus_memory_mb) MB"
        yield f"pegasus_job_runtime = {pegasus.get('runtime', 0)}"
        yield f"pegasus_cores = {pegasus.get('cores', 1)}"
        yield f"pegasus_gpus = {pegasus.get('gpus', 0)}"
        if job.kind == COMPUTE:
            yield f"pegasus_memory_mb = {pegasus.get('memory', 2048)}"
            yield f"pegasus_diskspace_mb = {pegasus.get('diskspace', 5120)}"
        yield from (f"pegasus_{key} = '{pegasus[key]}'" for key in ("queue", "project") if key in pegasus)

    def _attributes(self, own: Mapping[str, Any]) -> list[str]:
        values = {
            "generator": "Pegasus",
            "root_wf_uuid": self._identity,
            "wf_uuid": self._identity,
            "version": VERSION,
            "wf_name": f"{self._label}-0",
            "wf_time": self.stamp,
            **own,
            "cluster_size": 1,
        }
        shown = {key: value if isinstance(value, int) else f'"{value}"' for key, value in values.items()}
        return [f"+pegasus_{key} = {value}" for key, value in shown.items()]

    def _static(self) -> Iterator[str]:
        """Static events; their time is the uptime of the machine, as the real planner writes it."""
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(uptime)) + f".{int(uptime % 1 * 1e6):06d}Z"

        def event(name: str, **values: object) -> str:
            pairs = {key.replace("__", "."): str(value).replace('"', '\\"') for key, value in values.items()}
            words = [f'{key}="{value}"' for key, value in pairs.items()]
            return " ".join([f"ts={stamp} event={name} xwf.id={self._identity}", *words])

        abstract, jobs = self._executable.abstract, self._executable.jobs.values()
        for task in abstract["jobs"]:
            argv = " ".join(map(str, task.get("arguments") or []))
            own = {"type": "1", "type_desc": "compute", "transformation": task["name"], "argv": argv}
            yield event("task.info", task__id=task["id"], **own)
        for edge in abstract.get("jobDependencies") or []:
            for child in edge["children"]:
                yield event("task.edge", parent__task__id=edge["id"], child__task__id=child)
        yield event("static.meta.start")
        yield event("static.meta.end")
        for job in jobs:
            own = {"submit_file": f"00/00/{job.name}.sub", "type": job.kind, "type_desc": _CLASSES[job.kind]}
            own |= {"clustered": "0", "max_retries": self._retry(job)}
            own |= {"executable": f"{self._bin}/../bin/pegasus-kickstart", "argv": self._kickstart(job)}
            yield event("job.info", job__id=job.name, **own, task_count=int(job.kind == COMPUTE))
        for job in jobs:
            if job.task:
                yield event("wf.map.task_job", job__id=job.name, task__id=job.task["id"])
        for job in jobs:
            for parent in dict.fromkeys(job.parents):
                yield event("job.edge", parent__job__id=parent, child__job__id=job.name)


def _priority(job: Job) -> int:
    return _PRIORITIES.get(job.kind, 20 + 10 * job.level)


def _lists(job: Job) -> dict[str, list[str]]:
    """Lists of files that the invocation record tells of."""
    if job.kind == STAGE_IN:
        return {"out": [entry["lfn"] for entry in job.entries]}
    names = {"in": job.uses("input"), "out": job.uses("output")}
    return {suffix: lfns for suffix, lfns in names.items() if lfns}


def _deep_files(job: Job) -> str:
    """HTCondor puts all inputs into one directory; PegasusLite moves those that have one of their own."""
    inputs = [lfn for lfn in job.uses("input") if "/" in lfn]
    lines = [f"mkdir -p {os.path.dirname(lfn)} && mv {os.path.basename(lfn)} {lfn}\n" for lfn in inputs]
    lines += [f"mkdir -p {os.path.dirname(lfn)}\n" for lfn in job.uses("output") if "/" in lfn]
    return "".join(lines)


def _limits(runtime: int) -> str:
    """Kickstart ends a job early enough for its outputs to be saved: 300 s before its time is over, or 10 s.

    A run time between 300 s and 310 s leaves it next to none.
    """
    term = runtime - 300 if runtime >= 300 else runtime - 10
    return f"-k {term} -K {(runtime - term) // 2}"


def _environment_text(values: Mapping[str, str]) -> str:
    return '"' + " ".join(f"{key}={quote(value)}" for key, value in values.items()) + '"'


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
