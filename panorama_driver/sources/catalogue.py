"""Every `stampede.*` event as a typed record: what Pegasus 5.1.3's monitord sends and what its schema documents.

Names, types and units follow the Pegasus 5.1 reference guide, "Monitoring" (the NetLogger schema), keys in the
flattened spelling, and beyond it what `monitoring/workflow.py` and `job.py` of the release set. A field is required
here only if nothing could be told, or told apart, without it: much that the schema calls mandatory monitord leaves out
now and then (a job without an output file, a script that never started, a database that keeps no exit status of the
main job), and such an event still tells the rest. Fields beyond these are kept as they come.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Stampede(msgspec.Struct, frozen=True, kw_only=True):
    """What every event may carry; monitord adds all but the first three from braindump.yml.

    Attributes
    ----------
    xwf_id : str
        The workflow run; of `xwf.map.subwf_job` the parent's.
    ts : float or None
        [s since 1970]; of static events the uptime of the planner's host, which is left out.
    level : str or None
        `Error`; None for `Info`, which bp lines write out and JSON leaves out.
    root_xwf_id : str or None
        The run at the top of a hierarchy of workflows, of a flat one itself.
    dax, dag, submit_dir, submit_hostname, wf_user, pegasus_version : str or None
        Files, place, owner and planner of the run.
    wf_ts : int or None
        [s since 1970] when it was planned.
    """

    xwf_id: str
    ts: float | None = None
    level: str | None = None
    root_xwf_id: str | None = None
    dax: str | None = None
    dag: str | None = None
    submit_dir: str | None = None
    submit_hostname: str | None = None
    wf_user: str | None = None
    pegasus_version: str | None = None
    wf_ts: int | None = None


class WorkflowPlan(Stampede, frozen=True, kw_only=True):
    """`wf.plan`: a workflow was planned. `parent_xwf_id` is that of the workflow of which a job runs this one."""

    dax_label: str | None = None
    dax_index: str | None = None
    dax_version: str | None = None
    dax_file: str | None = None
    dag_file_name: str | None = None
    planner_version: str | None = None
    grid_dn: str | None = None
    user: str | None = None
    argv: str | None = None
    parent_xwf_id: str | None = None
    db_url: str | None = None


class StaticMark(Stampede, frozen=True, kw_only=True):
    """`static.start`, `static.end`, `static.meta.start`, `static.meta.end`: bounds of what the planner knew."""


class WorkflowStart(Stampede, frozen=True, kw_only=True):
    """`xwf.start`: DAGMan started, `restart_count` times before."""

    restart_count: int
    reason: str | None = None


class WorkflowEnd(WorkflowStart, frozen=True, kw_only=True):
    """`xwf.end`: DAGMan ended with this exit `status`, 0 where all went well."""

    status: int | None = None


class SubworkflowMap(Stampede, frozen=True, kw_only=True):
    """`xwf.map.subwf_job`: an attempt of job `job_id` of workflow `xwf_id` runs the workflow `subwf_id`."""

    subwf_id: str
    job_id: str
    job_inst_id: int


class WorkflowMeta(Stampede, frozen=True, kw_only=True):
    """`xwf.meta`: metadata of a workflow."""

    key: str
    value: str | None = None


class TaskInfo(Stampede, frozen=True, kw_only=True):
    """`task.info`: a task of the abstract workflow. `type` is a job type's number, `type_desc` its name."""

    task_id: str
    transformation: str | None = None
    argv: str | None = None
    type: int | None = None
    type_desc: str | None = None


class TaskEdge(Stampede, frozen=True, kw_only=True):
    """`task.edge`: a dependency of the abstract workflow."""

    parent_task_id: str
    child_task_id: str


class TaskMeta(Stampede, frozen=True, kw_only=True):
    """`task.meta`: metadata of a task."""

    task_id: str
    key: str
    value: str | None = None


class JobInfo(Stampede, frozen=True, kw_only=True):
    """`job.info`: a node of the executable workflow; `max_retries` and `task_count` are counts."""

    job_id: str
    submit_file: str | None = None
    type: int | None = None
    type_desc: str | None = None
    clustered: bool | None = None
    max_retries: int | None = None
    task_count: int | None = None
    executable: str | None = None
    argv: str | None = None


class JobEdge(Stampede, frozen=True, kw_only=True):
    """`job.edge`: a dependency of the executable workflow."""

    parent_job_id: str
    child_job_id: str


class TaskJobMap(Stampede, frozen=True, kw_only=True):
    """`wf.map.task_job`: a job runs a task; a clustered job runs several."""

    task_id: str
    job_id: str


class FileMap(Stampede, frozen=True, kw_only=True):
    """`wf.map.file`: a task reads or writes a file."""

    lfn_id: str
    task_id: str
    file_type: str | None = None


class ReplicaMeta(Stampede, frozen=True, kw_only=True):
    """`rc.meta`: metadata of a file: `size` [bytes], `checksum.value`, `checksum.timing` [s], `ctime`, `user`, ..."""

    lfn_id: str
    key: str
    value: str | None = None


class Replica(Stampede, frozen=True, kw_only=True):
    """`rc.pfn`: where a file lies."""

    lfn_id: str
    pfn: str | None = None
    site: str | None = None


class OfAttempt(Stampede, frozen=True, kw_only=True):
    """What events of an attempt share: the job, the number of the try, and HTCondor's `cluster.process`."""

    job_id: str
    job_inst_id: int
    sched_id: str | None = None


class Step(OfAttempt, frozen=True, kw_only=True):
    """A step without more to tell: `job_inst.pre.start`, `.main.term`, `.post.term`, ...

    Attributes
    ----------
    js_id : int or None
        Steps of the attempt that monitord had seen, this one included.
    reason : str or None
        Why: of `held.start` HTCondor's words, of `abort.info` those of whoever removed it.
    status : int or None
        0 if it went well, -1 if not; only events of something that ends have it.
    """

    js_id: int | None = None
    reason: str | None = None
    status: int | None = None


class Submit(Step, frozen=True, kw_only=True):
    """`job_inst.submit.start`: DAGMan submits the job, to the site that its submit file names."""

    site: str | None = None


class ScriptEnd(Step, frozen=True, kw_only=True):
    """`job_inst.pre.end`, `job_inst.post.end`: `exitcode` is the script's raw wait status."""

    exitcode: int | None = None


class ImageInfo(Step, frozen=True, kw_only=True):
    """`job_inst.image.info`: `size` of the program in memory [kB]."""

    size: int | None = None


class MainStart(Step, frozen=True, kw_only=True):
    """`job_inst.main.start`: the job runs; its files as seen from the submit directory."""

    stdin_file: str | None = None
    stdout_file: str | None = None  # mandatory in the schema; a job of a sub-workflow has none
    stderr_file: str | None = None


class MainEnd(MainStart, frozen=True, kw_only=True):
    """`job_inst.main.end`: the job ended.

    Attributes
    ----------
    stdout_text, stderr_text : str or None
        The programs' output and the wrapper's own, control characters as `%XX`.
    user, site, work_dir : str or None
        As whom and where it ran.
    local_dur : float or None
        From start to end as the scheduler saw it [s].
    cluster_start, cluster_dur : float or None
        Of a clustered job, as the clustering tool saw it [s since 1970], [s].
    exitcode : int or None
        Raw wait status; monitord writes "None" for an end that it never saw.
    multiplier_factor : int or None
        Cores that the job asked for.
    """

    stdout_text: str | None = None
    stderr_text: str | None = None
    user: str | None = None
    site: str | None = None
    work_dir: str | None = None
    local_dur: float | None = None
    cluster_start: float | None = None
    cluster_dur: float | None = None
    exitcode: int | None = None
    multiplier_factor: int | None = None
    grid_job_id: str | None = None


class Composite(MainEnd, frozen=True, kw_only=True):
    """`job_inst.composite`: all of `main.end`, and what is known of the job, the machine and the programs.

    Attributes
    ----------
    jobtype, hostname, app, wf : str or None
        Type of the job by name, worker, application and label of the workflow.
    int_error_count : int or None
        Checksums that did not match.
    req_cpus, req_gpus, req_memory_mb, req_diskspace_mb : int, str or None
        What was asked for, [MB] of memory and disk; text where the user wrote an expression.
    system, release, machine, cpu_vendor, cpu_model : str or None
        The worker, as kickstart saw it.
    cpu_count, ram : int or None
        Processors and memory [kB] of the worker.
    cpu_speed : float or None
        [MHz]
    invocations : list or None
        One summary a program; sizes are [MB] of 2**20 bytes, `maxrss` [kB], `duration` [s].
    """

    jobtype: str | None = None
    hostname: str | None = None
    app: str | None = None
    wf: str | None = None
    int_error_count: int | None = None
    req_cpus: int | str | None = None
    req_gpus: int | str | None = None
    req_memory_mb: int | str | None = None
    req_diskspace_mb: int | str | None = None
    system: str | None = None
    release: str | None = None
    machine: str | None = None
    cpu_vendor: str | None = None
    cpu_model: str | None = None
    cpu_count: int | None = None
    ram: int | None = None
    cpu_speed: float | None = None
    invocations: list[Any] | None = None


class HostInfo(OfAttempt, frozen=True, kw_only=True):
    """`job_inst.host.info`: the worker, `unknown` where kickstart told no name; `total_memory` in kB.

    `slot_group` is our engine's: the group of slots that the attempt runs in, where the study has groups.
    """

    site: str | None = None
    hostname: str | None = None
    ip: str | None = None
    total_memory: int | None = None
    uname: str | None = None
    slot_group: str | None = None


class Tag(OfAttempt, frozen=True, kw_only=True):
    """`job_inst.tag`: something that was counted, such as `int.error`."""

    name: str
    count: int | None = None


class InvocationStart(OfAttempt, frozen=True, kw_only=True):
    """`inv.start`: a program starts: from 1 on the job's own, -1 its pre script and -2 its post script."""

    inv_id: int


class InvocationEnd(InvocationStart, frozen=True, kw_only=True):
    """`inv.end`: a program ended.

    Attributes
    ----------
    start_time, dur : float or None
        [s since 1970], [s]; monitord cuts a start to whole seconds.
    remote_cpu_time : float or None
        User and system time together [s].
    avg_cpu : float or None
        `remote_cpu_time / dur`.
    maxrss : int or None
        [kB] of the largest process.
    exitcode : int or None
        Raw wait status.
    transformation, executable, argv, task_id : str or None
        What ran, and for which task.
    time_limit : float or None
        When the batch system would end it [s since 1970]; ours, monitord does not tell.
    """

    start_time: float | None = None
    dur: float | None = None
    remote_cpu_time: float | None = None
    avg_cpu: float | None = None
    maxrss: int | None = None
    exitcode: int | None = None
    transformation: str | None = None
    executable: str | None = None
    argv: str | None = None
    task_id: str | None = None
    time_limit: float | None = None


class IntegrityMetric(OfAttempt, frozen=True, kw_only=True):
    """`int.metric`: `count` checksums of files of `file_type` (input, output), which took `duration` [s] together.

    `type` is `check` or `compute`.
    """

    type: str
    file_type: str | None = None
    count: int | None = None
    duration: float | None = None


class Monitoring(OfAttempt, frozen=True, kw_only=True):
    """`task.monitoring`: what a program printed between monitoring markers, its payload's own fields beside these."""

    monitoring_event: str | None = None


KINDS: dict[str, type[Stampede]] = {
    f"stampede.{name}": kind
    for kind, names in (
        (WorkflowPlan, "wf.plan"),
        (StaticMark, "static.start static.end static.meta.start static.meta.end"),
        (WorkflowStart, "xwf.start"),
        (WorkflowEnd, "xwf.end"),
        (SubworkflowMap, "xwf.map.subwf_job"),
        (WorkflowMeta, "xwf.meta"),
        (TaskInfo, "task.info"),
        (TaskEdge, "task.edge"),
        (TaskMeta, "task.meta"),
        (JobInfo, "job.info"),
        (JobEdge, "job.edge"),
        (TaskJobMap, "wf.map.task_job"),
        (FileMap, "wf.map.file"),
        (ReplicaMeta, "rc.meta"),
        (Replica, "rc.pfn"),
        (Submit, "job_inst.submit.start"),
        (
            Step,
            "job_inst.pre.start job_inst.pre.term job_inst.submit.end job_inst.held.start job_inst.held.end "
            "job_inst.main.term job_inst.post.start job_inst.post.term job_inst.abort.info job_inst.remote_error "
            "job_inst.grid.submit.start job_inst.grid.submit.end job_inst.globus.submit.start "
            "job_inst.globus.submit.end",
        ),
        (ScriptEnd, "job_inst.pre.end job_inst.post.end"),
        (ImageInfo, "job_inst.image.info"),
        (MainStart, "job_inst.main.start"),
        (MainEnd, "job_inst.main.end"),
        (Composite, "job_inst.composite"),
        (HostInfo, "job_inst.host.info"),
        (Tag, "job_inst.tag"),
        (InvocationStart, "inv.start"),
        (InvocationEnd, "inv.end"),
        (IntegrityMetric, "int.metric"),
        (Monitoring, "task.monitoring"),
    )
    for name in names.split()
}
"""All kinds of events that monitord of Pegasus 5.1.3 sends, each with its record."""

STATIC = frozenset(
    f"stampede.{name}"
    for name in (
        "static.start",
        "static.end",
        "static.meta.start",
        "static.meta.end",
        "task.info",
        "task.edge",
        "task.meta",
        "job.info",
        "job.edge",
        "wf.map.task_job",
        "wf.map.file",
        "xwf.meta",
        "rc.pfn",
    )
)
"""Kinds that the planner wrote, with the uptime of its host (Java's nanoTime) where the time should be."""
