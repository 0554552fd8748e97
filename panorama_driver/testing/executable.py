"""The executable workflow of the stand-in planner: the jobs that it adds, and what each of them does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .catalogs import Catalog, PlanError

COMPUTE, STAGE_IN, STAGE_OUT, CREATE_DIR, CLEANUP, CHMOD = 1, 2, 3, 6, 8, 9
_OWN_NAMES = {
    STAGE_IN: "pegasus::transfer",
    STAGE_OUT: "pegasus::transfer",
    CREATE_DIR: "pegasus::dirmanager",
    CLEANUP: "pegasus::cleanup",
    CHMOD: "system::chmod",
}


class Job:
    """A node of the executable workflow.

    Attributes
    ----------
    name : str
    kind : int
        Pegasus' class of the job.
    task : dict
        The job of the abstract workflow; empty for one of the planner's own.
    level : int
        How many compute jobs are before it.
    entries : list of dict
        What a job of the planner's own does, as pegasus-transfer reads it.
    parents : list of str
    program : str
        What it runs.
    profiles : dict
        By namespace, those of job, site and transformation merged.
    """

    def __init__(self, name: str, kind: int, task: Catalog | None = None) -> None:
        self.name, self.kind, self.task = name, kind, task or {}
        self.level = 0
        self.entries: list[Catalog] = []
        self.parents: list[str] = []
        self.program = ""
        self.profiles: dict[str, dict[str, Any]] = {}

    def uses(self, kind: str) -> list[str]:
        """Logical names of its inputs or outputs."""
        return [use["lfn"] for use in self.task.get("uses") or [] if use["type"] == kind]

    @property
    def transformation(self) -> str:
        """Its name as `namespace::name:version`."""
        if not self.task:
            return _OWN_NAMES[self.kind]
        namespace, version = self.task.get("namespace"), self.task.get("version")
        return (f"{namespace}::" if namespace else "") + str(self.task["name"]) + (f":{version}" if version else "")

    @property
    def pegasus(self) -> dict[str, Any]:
        """Its profiles of the namespace pegasus."""
        return self.profiles.get("pegasus", {})


class Executable:
    """The executable workflow, found before anything is written.

    Parameters
    ----------
    abstract, sites, programs, replicas
        What `catalogs` read.
    properties : dict
        Of pegasus.properties and the command line.
    execution, output : str
        The site that runs the jobs, and the one that results go to.
    base, directory : Path
        The folder that --dir names, and the submit directory in it.
    cleanup : bool
        Whether the working directory is removed in the end.

    Raises
    ------
    PlanError
        Something is missing.
    """

    def __init__(
        self,
        abstract: Catalog,
        sites: dict[str, Catalog],
        programs: dict[str, Catalog],
        replicas: dict[str, list[Catalog]],
        properties: dict[str, str],
        execution: str,
        output: str,
        base: Path,
        directory: Path,
        cleanup: bool,
    ) -> None:
        self.abstract, self.label = abstract, str(abstract["name"])
        self.properties, self.execution = properties, execution
        self.base, self.directory = base, directory
        self.mode = properties.get("pegasus.data.configuration", "condorio")
        self._sites, self._programs, self._replicas = sites, programs, replicas
        self._output = output
        self._staging = "local" if self.mode == "condorio" else execution
        self.jobs: dict[str, Job] = {}
        compute = [self._add(self._compute(task)) for task in abstract["jobs"]]
        self._connect(compute)
        self.scratch = self._scratch_directory()
        self._stage(compute, cleanup)

    def _add(self, job: Job) -> Job:
        self.jobs[job.name] = job
        return job

    def _compute(self, task: Catalog) -> Job:
        name, site = task["name"], self._sites[self.execution]
        if name not in self._programs:
            raise PlanError(
                f'java.lang.RuntimeException: There are no entries for the transformation "{name}" in the TC for sites '
                f"[{self.execution}]"
            )
        entry = self._programs[name]
        places = [place for place in entry["sites"] if _fits(place, self.execution)]
        if not places:
            raise PlanError(
                f"java.lang.RuntimeException: Site Selector could not map the job {name} with id {name}_{task['id']}\n"
                f"to any of the execution sites [{self.execution}]\nThis error is most likely due to an error in the "
                f"transformation catalog.\nMake sure that the {name} transformation exists with matching system "
                f"information for sites \n[{self.execution}] you are trying to plan for"
            )
        job = Job(f"{name}_{task['id']}", COMPUTE, task)
        for source in (task, site, entry, places[0]):  # the later one wins: transformation > site > job
            for namespace, profiles in (source.get("profiles") or {}).items():
                job.profiles.setdefault(namespace, {}).update(profiles)
        self._check_style(job)
        job.program = places[0]["pfn"].removeprefix("file://")
        if places[0].get("type") == "stageable":
            job.entries = [_transfer(name, "local", job.program, self._staging)]
            job.program = f"./{name}"
        return job

    def _check_style(self, job: Job) -> None:
        wanted = job.pegasus.get("data.configuration", self.mode)
        if wanted != self.mode and self.mode == "condorio":
            raise PlanError(
                "java.lang.RuntimeException: create_dir cannot be wrapped with PegasusLite. "
                f"Invalid data.configuration associated {wanted} for job {job.name}"
            )
        shared = self.mode == "sharedfs" and self.execution != "local"
        if shared and "PEGASUS_HOME" not in job.profiles.get("env", {}):
            raise PlanError(
                f"java.lang.RuntimeException: Unable to determine path to kickstart for site {self.execution}"
            )

    def _connect(self, compute: list[Job]) -> None:
        by_task = {job.task["id"]: job for job in compute}
        for edge in self.abstract.get("jobDependencies") or []:
            for child in edge["children"]:
                by_task[child].parents.append(by_task[edge["id"]].name)
        changed = True
        while changed:
            changed = False
            for job in compute:
                level = max((self.jobs[name].level + 1 for name in job.parents), default=0)
                changed, job.level = changed or level != job.level, level

    def _scratch_directory(self) -> str:
        for place in self._sites[self._staging].get("directories", []):
            if place["type"] == "sharedScratch" and place.get("fileServers"):
                return os.path.join(os.path.normpath(place["path"]), os.path.relpath(self.directory, self.base))
        raise PlanError(
            f"java.lang.RuntimeException: [Flat Directory Staging Mapper] For job ({next(iter(self.jobs), '')}). "
            f"File Server not specified for shared-scratch filesystem for site: {self._staging}"
        )

    def _storage(self) -> str:
        for place in self._sites[self._output].get("directories", []):
            if place["type"] in ("localStorage", "sharedStorage") and place.get("fileServers"):
                return str(place["path"])
        raise PlanError(
            "edu.isi.pegasus.planner.mapper.MapperException: [Flat] No Storage directory specified for site "
            f"{self._output}",
            2,
        )

    def _stage(self, compute: list[Job], cleanup: bool) -> None:
        """Add the planner's own jobs around the compute jobs."""
        made = {lfn for job in compute for lfn in job.uses("output")}
        create = self._add(Job(f"create_dir_{self.label}_0_{self._staging}", CREATE_DIR))
        create.entries = [{"type": "mkdir", "target": self._target()}]
        where = "remote" if self._staging == "local" else "local"
        stage_in = Job(f"stage_in_{where}_{self._staging}_0_0", STAGE_IN)
        for job in compute:
            self._stage_in(job, stage_in, made)
        if stage_in.entries:
            self._add(stage_in).parents = [create.name]
        for job in compute:
            job.parents = job.parents or [create.name]
        last = [*compute, *self._stage_out(compute)]
        if cleanup:
            inner = {name for job in self.jobs.values() for name in job.parents}
            remove = self._add(Job(f"cleanup_{self.label}_0_{self._staging}", CLEANUP))
            remove.parents = [job.name for job in last if job.name not in inner]
            remove.entries = [{"type": "remove", "target": self._target() | {"recursive": "True"}}]

    def _target(self) -> Catalog:
        return {"site_label": self._staging, "url": f"file://{self.scratch}"}

    def _stage_in(self, job: Job, stage_in: Job, made: set[str]) -> None:
        wanted, job.entries = job.entries, []
        if wanted and self.mode != "condorio":
            job.program = f"{self.scratch}/{job.program}"
            chmod = self._add(Job(f"chmod_{job.name}_0", CHMOD))
            chmod.program = f"/bin/chmod  +x  {job.program}"
            chmod.parents = [stage_in.name]
            job.parents.append(chmod.name)
        wanted = wanted + [self._replica(lfn, job) for lfn in job.uses("input") if lfn not in made]
        known = {entry["lfn"] for entry in stage_in.entries}
        for entry in wanted:
            if entry["lfn"] not in known:
                entry["dest_urls"][0]["url"] = f"file://{self.scratch}/./{entry['lfn']}"
                stage_in.entries.append(entry)
        if wanted:
            job.parents.append(stage_in.name)

    def _replica(self, lfn: str, job: Job) -> Catalog:
        if lfn not in self._replicas:
            raise PlanError(
                "java.lang.RuntimeException: TransferEngine.java: Can't determine a location to transfer input file "
                f"for lfn {lfn} for job {job.name}"
            )
        place = self._replicas[lfn][0]
        return _transfer(lfn, place["site"], place["pfn"], self._staging)

    def _stage_out(self, compute: list[Job]) -> list[Job]:
        """One job for the results of each level."""
        found: dict[int, Job] = {}
        for job in compute:
            for use in job.task.get("uses") or []:
                if use["type"] == "output" and use.get("stageOut"):
                    out = found.setdefault(job.level, Job(f"stage_out_local_{self._staging}_{job.level}_0", STAGE_OUT))
                    out.parents += [] if job.name in out.parents else [job.name]
                    lfn = use["lfn"]
                    entry = _transfer(lfn, self._staging, f"{self.scratch}/./{lfn}", self._output)
                    entry["dest_urls"][0]["url"] = f"file://{self._storage()}/{lfn}"
                    out.entries.append(entry | {"linkage": "output"})
        return [self._add(job) for job in found.values()]


def _fits(place: Catalog, site: str) -> bool:
    return place["name"] == site or place.get("type") == "stageable"


def _transfer(lfn: str, source: str, url: str, target: str) -> Catalog:
    return {
        "type": "transfer",
        "linkage": "input",
        "lfn": lfn,
        "src_urls": [{"site_label": source, "url": url if "://" in url else f"file://{url}", "priority": 100}],
        "dest_urls": [{"site_label": target, "url": ""}],
    }
