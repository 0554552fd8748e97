"""The records that `metrics.correlate` and `metrics.series` return: their field names are what study.yml may say.

Every field is None where it cannot be known, and `reasons[field]` then says why. `sources[field]` names where a known
value came from when several places could have told:

| source | what it is |
| --- | --- |
| `probe` | a trace with its final record: complete |
| `trace` | a trace that lacks its final record: what was used up to the last sample, a lower bound |
| `kickstart` | the invocation record of kickstart or of our own engine (`stampede.inv.end`) |
| `scheduler` | HTCondor's view from the submit host (`stampede.job_inst.*`), whole seconds, late by its polling |
| `transfer`, `darshan` | records of the transfer tool, of Darshan |
| `tcp_info`, `tstat`, `tcp_info+tstat` | the kernel's counters of the job's sockets, flows of Tstat joined to it |
"""

from __future__ import annotations

import itertools
from typing import Literal

import msgspec

State = Literal["unsubmitted", "submitted", "held", "running", "succeeded", "failed"]
WorkflowState = Literal["planned", "running", "succeeded", "failed"]


class DarshanModule(msgspec.Struct, frozen=True, kw_only=True):
    """What one module of Darshan counted, all processes together.

    Attributes
    ----------
    bytes_read, bytes_written, bytes_total : int or None
        [bytes] read, written, and both together, which old payloads tell alone.
    opens, reads, writes, seeks, stats, flushes : int or None
        [calls] of MPI-IO independent, collective, split and nonblocking ones; `flushes` is `fsync` and `fdatasync`,
        `fflush`, `MPI_File_sync`, `H5Fflush`.
    read_time, write_time, meta_time, io_time : float or None
        [s] summed over processes and threads, `F_READ_TIME` and so on; `io_time` is all of them.
    read_sizes, write_sizes : tuple of int or None
        [calls] that moved 0-100 B, 100 B-1 kB, -10 kB, -100 kB, -1 MB, -4 MB, -10 MB, -100 MB, -1 GB, more.
    common_sizes : tuple of (int, int)
        [bytes, calls] the most frequent access sizes, and how often; of each file Darshan keeps four.
    files, files_read_only, files_write_only, files_read_write : int or None
        Files (data sets of `h5d`), each once however many processes used it, by what was moved.
    files_shared, files_unique : int or None
        Those that several processes or ranks used, and the others.
    agg_time_by_slowest : float or None
        [s] of the slowest process; of an MPI program as Darshan derives it from its ranks.
    agg_perf_by_slowest : float or None
        [MiB/s] `bytes_total` over that time: Darshan's estimate for one log. Of several, it takes the processes as if
        they ran side by side.
    partial : bool
        Whether Darshan ran out of memory for its records, so that all numbers are lower bounds.
    reasons : dict of str to str
        Why a field is None.
    """

    bytes_read: int | None = None
    bytes_written: int | None = None
    bytes_total: int | None = None
    opens: int | None = None
    reads: int | None = None
    writes: int | None = None
    seeks: int | None = None
    stats: int | None = None
    flushes: int | None = None
    read_time: float | None = None
    write_time: float | None = None
    meta_time: float | None = None
    io_time: float | None = None
    read_sizes: tuple[int, ...] | None = None
    write_sizes: tuple[int, ...] | None = None
    common_sizes: tuple[tuple[int, int], ...] = ()
    files: int | None = None
    files_read_only: int | None = None
    files_write_only: int | None = None
    files_read_write: int | None = None
    files_shared: int | None = None
    files_unique: int | None = None
    agg_time_by_slowest: float | None = None
    agg_perf_by_slowest: float | None = None
    partial: bool = False
    reasons: dict[str, str]


class DarshanFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file with much input or output.

    Attributes
    ----------
    name : str
        Its path on the worker.
    bytes_read, bytes_written : int
        [bytes] of the processes that had it among the largest of theirs.
    processes : int
        How many had.
    """

    name: str
    bytes_read: int
    bytes_written: int
    processes: int


class DarshanLustre(msgspec.Struct, frozen=True, kw_only=True):
    """How the files lie on Lustre.

    Attributes
    ----------
    stripe_sizes : tuple of int
        [bytes] of a stripe, each value once.
    stripe_counts : tuple of int
        Targets of a file, each value once.
    osts : tuple of int
        The object storage targets that were used.
    """

    stripe_sizes: tuple[int, ...] = ()
    stripe_counts: tuple[int, ...] = ()
    osts: tuple[int, ...] = ()


class TcpSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The TCP connections of an attempt to other hosts, each once, as Tstat or the kernel counted them.

    Attributes
    ----------
    connections : int
        Their number.
    bytes : int or None
        [bytes] of payload in both directions, without what was sent again; unknown where a kernel (before Linux 4.19)
        counts one direction only.
    retransmitted : float or None
        [1] segments that were sent again over segments with data, of the directions of which both are known: the
        kernel of one end knows what that end sent, and Tstat both.
    rtt : float or None
        [s] mean round trip, weighted by bytes.
    active_time : float
        [s] during which at least one was there.
    throughput : float or None
        [bytes/s] `bytes / active_time`; None below 1 s of what the probe saw, which misses beginnings.
    confidence : float
        [1] that all of them are this attempt's, above 0: the least of any one. 1 where the job's own sockets were seen.
    reasons : dict of str to str
        Why a field is None.
    """

    connections: int
    bytes: int | None = None
    retransmitted: float | None = None
    rtt: float | None = None
    active_time: float
    throughput: float | None = None
    confidence: float
    reasons: dict[str, str]


class DarshanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All Darshan logs of an attempt, or of a run, as one; no byte is counted twice.

    Attributes
    ----------
    logs, logs_unread : int
        Logs in these numbers, one a program that ended, and logs that are known of and not in them.
    processes : int
        MPI ranks and other processes.
    complete : bool
        Whether the logs tell all; where not, every number is a lower bound, and an expression refuses it.
    problems : tuple of str
        Why they do not.
    start, end : float or None
        [s since 1970] first start and last end of a process.
    bytes_read, bytes_written : int or None
        [bytes] of POSIX and STDIO; of MPI-IO in place of POSIX, where a log has only that.
    read_time, write_time, meta_time, io_time : float or None
        [s] of the same modules, summed over processes and threads; `io_time` is all of them.
    posix, stdio, mpiio, h5f, h5d : DarshanModule or None
        By module. MPI-IO and HDF5 move their bytes through POSIX, so their numbers stand beside it.
    lustre : DarshanLustre or None
        How the files lie.
    largest_files : tuple of DarshanFile
        The 20 with most bytes.
    reasons : dict of str to str
        Why a field is None.
    """

    logs: int
    logs_unread: int
    processes: int
    complete: bool
    problems: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    read_time: float | None = None
    write_time: float | None = None
    meta_time: float | None = None
    io_time: float | None = None
    posix: DarshanModule | None = None
    stdio: DarshanModule | None = None
    mpiio: DarshanModule | None = None
    h5f: DarshanModule | None = None
    h5d: DarshanModule | None = None
    lustre: DarshanLustre | None = None
    largest_files: tuple[DarshanFile, ...] = ()
    reasons: dict[str, str]


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured of an attempt, and so of the job whose outcome that attempt decided.

    Attributes
    ----------
    state : str
        `unsubmitted`, `submitted` (waits in a queue), `held`, `running`, `succeeded` or `failed`. The post script's
        verdict decides, then the program's own wait status; the scheduler's return value only where neither exists,
        since batch systems report 0 for jobs that were cancelled or hit their time limit.
    ran : bool
        Whether anything shows that it ever ran on a worker.
    type : str or None
        Pegasus' word for the kind of job: `compute`, `stage-in-tx`, `stage-out-tx`, `create-dir`, `cleanup`, ...
    transformation, host, site : str or None
        Logical program, short name of the worker in lower case (`HOST/GROUP` where slots are in groups), site of the
        catalog.
    exit_code : int or None
        Exit code of the program; minus the signal where one ended it; negative also if it could not be started.
    signal : int or None
        Signal that ended it; 0 if none did.
    failure : str or None
        Why it failed, in words for a person: what HTCondor, the batch system, the program or its wrapper said.
    cores : int or None
        [cores] asked for.
    queue_time : float or None
        [s] start on the worker - submission; the two clocks differ by the hosts' skew.
    held_time : float or None
        [s] spent held by the scheduler, part of `queue_time` if it ran later.
    wall_time : float or None
        [s] last end - first start of its invocations on the worker's clock. Without scheduler latency.
    stage_time : float or None
        [s] spent on moving files: `wall_time` of a staging job, `transfer_time` of any other.
    cpu_time, user_time, system_time : float or None
        [s] of processor time, all processes and threads; `cpu_time` is the sum of the two others, of
        which kickstart's record tells the sum only.
    cpu_utilization : float or None
        [1] `cpu_time / (wall_time * cores)`; 1 is every core busy all the time.
    peak_memory : int or None
        [bytes] largest resident set. A trace counts all processes at once, kickstart its largest process only.
    peak_memory_below : int or None
        [bytes] bound of a job too small for its own peak to be told from that of the probe that started it.
    bytes_read, bytes_written : int or None
        [bytes] moved from and to storage (`read_bytes`, `write_bytes` of proc(5)).
    chars_read, chars_written : int or None
        [bytes] asked for by read and write calls, cache and pipes included (`rchar`, `wchar`).
    read_calls, write_calls : int or None
        [calls] of these two kinds.
    io_wait : float or None
        [s] waited for block input/output, summed over threads; needs the kernel's delay accounting.
    io_time : float or None
        [s] of input and output: `transfer_time` for a staging job, otherwise the sum over processes of Darshan's
        `F_READ_TIME + F_WRITE_TIME + F_META_TIME` of its POSIX and STDIO modules (MPI-IO calls end up in POSIX, and
        stand in for it in a log that has no POSIX). Unknown unless `darshan.complete`.
    darshan : DarshanSummary or None
        What Darshan's logs say, all processes together.
    transfer_time : float or None
        [s] during which files were being moved, overlaps counted once.
    bytes_transferred : int or None
        [bytes] moved by transfer tools, those of failed transfers included; a link moves none.
    bytes_staged : int or None
        [bytes] of the files that transfer tools put where they belong, by copy or by link: the same on every engine.
    files_transferred, transfers_failed : int or None
        Number of files put in place, number of transfers that failed in the end.
    transfer_faults : int or None
        Number of attempts that had to be made again, faults of Globus tasks included.
    tcp : TcpSummary or None
        Its connections to other hosts.
    reasons : dict of str to str
        Why a field is None.
    sources : dict of str to str
        Where a field's value came from.
    """

    state: State
    ran: bool
    type: str | None = None
    transformation: str | None = None
    host: str | None = None
    site: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    failure: str | None = None
    cores: int | None = None
    queue_time: float | None = None
    held_time: float | None = None
    wall_time: float | None = None
    stage_time: float | None = None
    cpu_time: float | None = None
    user_time: float | None = None
    system_time: float | None = None
    cpu_utilization: float | None = None
    peak_memory: int | None = None
    peak_memory_below: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    chars_read: int | None = None
    chars_written: int | None = None
    read_calls: int | None = None
    write_calls: int | None = None
    io_wait: float | None = None
    io_time: float | None = None
    darshan: DarshanSummary | None = None
    transfer_time: float | None = None
    bytes_transferred: int | None = None
    bytes_staged: int | None = None
    files_transferred: int | None = None
    transfers_failed: int | None = None
    transfer_faults: int | None = None
    tcp: TcpSummary | None = None
    reasons: dict[str, str]
    sources: dict[str, str]


class AttemptMetrics(Measures, frozen=True, kw_only=True):
    """One try of one job.

    Attributes
    ----------
    job_id : str
        Node of the executable workflow.
    attempt : int
        `job_inst_id`, which Pegasus counts through the whole workflow: the third attempt may bear number 17.
    sched_id : str or None
        The scheduler's name for it.
    submit, start, end : float or None
        [s since 1970] handed to the scheduler; started and ended on the worker (where only the scheduler knows, its).
    local_time : float or None
        [s] between start and end as the scheduler saw them (`local_dur`), whole seconds.
    guessed : int
        Worker records that name no attempt and were given to this one by their time; they are in its sums.
    """

    job_id: str
    attempt: int
    sched_id: str | None = None
    submit: float | None = None
    start: float | None = None
    end: float | None = None
    local_time: float | None = None
    guessed: int = 0


class TaskMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One program of the last attempt of a compute job: a job of the abstract workflow, whether clustered or not.

    Attributes
    ----------
    job_id : str
        The job that ran it.
    attempt, invocation : int
        The try, and its number in that, from 1.
    task_id : str or None
        Its id in the abstract workflow.
    start : float or None
        [s since 1970] on the worker.
    transformation, exit_code : str or None, int or None
        As of a job, of this program alone.
    wall_time, cpu_time, user_time, system_time : float or None
        [s] as of a job, of this program alone.
    peak_memory, peak_memory_below : int or None
        [bytes] as of a job, of this program alone.
    bytes_read, bytes_written, chars_read, chars_written : int or None
        [bytes] as of a job, of this program alone; unknown where its trace cannot be told from others'.
    read_calls, write_calls : int or None
        [calls] likewise.
    io_wait : float or None
        [s] likewise.
    reasons, sources : dict of str to str
        Why a field is None; where a field's value came from.
    """

    job_id: str
    attempt: int
    invocation: int
    task_id: str | None = None
    transformation: str | None = None
    exit_code: int | None = None
    start: float | None = None
    wall_time: float | None = None
    cpu_time: float | None = None
    user_time: float | None = None
    system_time: float | None = None
    peak_memory: int | None = None
    peak_memory_below: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    chars_read: int | None = None
    chars_written: int | None = None
    read_calls: int | None = None
    write_calls: int | None = None
    io_wait: float | None = None
    reasons: dict[str, str]
    sources: dict[str, str]


class JobMetrics(Measures, frozen=True, kw_only=True):
    """One job: the measures of its last attempt, which decided its outcome, and all attempts.

    Attributes
    ----------
    job_id : str
        Node of the executable workflow.
    attempts : tuple of AttemptMetrics
        In order of submission; empty if it was never submitted.
    cumulative_time : float or None
        [s] sum of `wall_time` over all attempts: what the job cost, failures included.
    tasks : tuple of TaskMetrics
        What a compute job ran in that attempt: several programs where jobs are clustered.
    """

    job_id: str
    attempts: tuple[AttemptMetrics, ...] = ()
    tasks: tuple[TaskMetrics, ...] = ()
    cumulative_time: float | None = None

    @property
    def retries(self) -> int:
        """Attempts after the first."""
        return max(0, len(self.attempts) - 1)


class WorkflowMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a workflow. Sums run over all attempts of all jobs: they are what the run cost, failures included.

    A sum is None as soon as one attempt that ran lacks the value: a number too small would mislead an optimiser.

    Attributes
    ----------
    wf_uuid, label : str
        Identity and name of the run.
    state : str
        `planned`, `running`, `succeeded` or `failed`, by the last `xwf.start` or `xwf.end`.
    start, end : float or None
        [s since 1970] first `xwf.start`, last `xwf.end`.
    restarts : int
        How often it was started again after it had ended.
    makespan : float or None
        [s] `end - start`: what the user waited, pauses before a restart included.
    active_time : float or None
        [s] sum of the spans from each `xwf.start` to its `xwf.end`: `makespan` without those pauses, in which nobody
        may have looked.
    jobs_total, jobs_succeeded, jobs_failed, jobs_active, jobs_unsubmitted : int
        Jobs by their state; active is submitted, held or running.
    jobs_retried : int
        Jobs with more than one attempt.
    cumulative_time : float or None
        [s] sum of `wall_time`: "cumulative job wall time" of pegasus-statistics.
    core_time : float or None
        [s] sum of `wall_time * cores`.
    queue_time : float or None
        [s] sum over attempts that ran.
    stage_in_time, stage_out_time : float or None
        [s] sum of `wall_time` over stage-in and over stage-out jobs; 0 if the workflow has none.
    cpu_time, user_time, system_time : float or None
        [s] sum of processor time.
    cpu_utilization : float or None
        [1] `cpu_time / core_time`.
    peak_memory : int or None
        [bytes] largest of any one attempt of a compute job.
    bytes_read, bytes_written, chars_read, chars_written : int or None
        [bytes] sums over compute jobs; what staging jobs move is `bytes_transferred`.
    read_calls, write_calls : int or None
        [calls] sums over compute jobs.
    io_wait : float or None
        [s] sum over compute jobs.
    io_time : float or None
        [s] sum over compute and staging jobs; needs Darshan's records of the compute jobs.
    darshan : DarshanSummary or None
        All Darshan logs of compute jobs, a file that several jobs used counted once; None as soon as one attempt that
        ran lacks it.
    bytes_transferred, bytes_staged : int or None
        [bytes] sums over staging jobs and whatever else has transfer records; a link moves none and puts its
        file in place.
    critical_path : float or None
        [s] longest chain along the job edges, a job weighing the sum of `queue_time + wall_time` of its attempts.
    critical_path_jobs : tuple of str or None
        The jobs of that chain, in order.
    ideal_makespan : float or None
        [s] longest chain, a job weighing the `wall_time` of its last attempt: no queue, no failure, no other job in
        the way.
    efficiency : float or None
        [1] `ideal_makespan / makespan`, the inverse of the schedule length ratio of Topcuoglu, Hariri and Wu,
        doi:10.1109/71.993206; whatever delays the chain, queue, retry, full slots, workflow system, lowers it.
        Only of a run that succeeded.
    parallel_efficiency : float or None
        [1] `core_time / (active_time * slots)`, only where the number of slots [cores] is known, from the engine or as
        given to `correlate`.
    j_s, j_f : float or None
        [1] succeeded and failed attempts over those that ended.
    t_s, t_f : float or None
        [s] mean `local_time` (else `wall_time`) of succeeded and of failed attempts; 0 by definition if there is none.
    o_1_s : float or None
        [1] succeeded jobs over all jobs. These five are the features of doi:10.1109/HPEC43674.2020.9286139.
    jobs : tuple of JobMetrics
        By job id.
    unmatched : int
        Worker records that could not be given to one attempt and so are in no sum.
    guessed : int
        Worker records that were given to an attempt by their time alone.
    reasons, sources : dict of str to str
        As in `Measures`.
    """

    wf_uuid: str
    state: WorkflowState
    label: str | None = None
    start: float | None = None
    end: float | None = None
    restarts: int = 0
    makespan: float | None = None
    active_time: float | None = None
    jobs_total: int
    jobs_succeeded: int
    jobs_failed: int
    jobs_active: int
    jobs_unsubmitted: int
    jobs_retried: int
    cumulative_time: float | None = None
    core_time: float | None = None
    queue_time: float | None = None
    stage_in_time: float | None = None
    stage_out_time: float | None = None
    cpu_time: float | None = None
    user_time: float | None = None
    system_time: float | None = None
    cpu_utilization: float | None = None
    peak_memory: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    chars_read: int | None = None
    chars_written: int | None = None
    read_calls: int | None = None
    write_calls: int | None = None
    io_wait: float | None = None
    io_time: float | None = None
    darshan: DarshanSummary | None = None
    bytes_transferred: int | None = None
    bytes_staged: int | None = None
    critical_path: float | None = None
    critical_path_jobs: tuple[str, ...] | None = None
    ideal_makespan: float | None = None
    efficiency: float | None = None
    parallel_efficiency: float | None = None
    j_s: float | None = None
    j_f: float | None = None
    t_s: float | None = None
    t_f: float | None = None
    o_1_s: float | None = None
    jobs: tuple[JobMetrics, ...] = ()
    unmatched: int = 0
    guessed: int = 0
    reasons: dict[str, str]
    sources: dict[str, str]

    def job(self, job_id: str) -> JobMetrics:
        """The job of that name.

        Raises
        ------
        KeyError
            The workflow has no such job.
        """
        for job in self.jobs:
            if job.job_id == job_id:
                return job
        raise KeyError(f"workflow {self.wf_uuid} has no job {job_id!r}")


class TimeShares(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a run went: its makespan, each moment counted once, under the first of these that holds.

    Attributes
    ----------
    compute : float
        [s] a compute job ran.
    stage_in, stage_out : float
        [s] a stage-in job ran; a stage-out job.
    other : float
        [s] any other job ran: create-dir, cleanup, ...
    queue : float
        [s] a job was submitted, and waited or was held.
    wait : float
        [s] none of these: the workflow system was at work, or the run stood still before a restart.
    unknown : float
        [s] cannot be told, since the times of an attempt that may have come before what is known are missing.
    reasons : dict of str to str
        Why `unknown` is not 0.
    """

    compute: float = 0.0
    stage_in: float = 0.0
    stage_out: float = 0.0
    other: float = 0.0
    queue: float = 0.0
    wait: float = 0.0
    unknown: float = 0.0
    reasons: dict[str, str] = {}


class TransferMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer: an attempt at one file, all files of a job where no more is told, or a Globus task.

    Attributes
    ----------
    job_id : str or None
        The job that it was for.
    attempt : int or None
        `job_inst_id`; None where it could not be given to one.
    tool : str
        `globus`, or `pegasus-transfer` for it and for all that speaks its words.
    name : str or None
        Logical name of the file, or id of the Globus task.
    source, destination : str or None
        URLs, or names of Globus collections.
    method : str or None
        `copy`, `link`, `hardlink` or `move`, where that is told.
    state : str
        `succeeded`, `failed`, `unknown`; of a Globus task also `active`, `paused` or `inactive`.
    begin, end : float or None
        [s since 1970]; of a task that is not over, the end is that of the last that is known of it. A log tells of a
        file only when it began.
    duration : float or None
        [s] `end - begin`.
    files : int or None
        Number of files.
    size, bytes_transferred : int or None
        [bytes] of the files, and moved.
    rounding : float
        [bytes] by which the two may be wrong.
    effective_speed : float or None
        [bytes/s] over all its time, waiting included.
    average_speed : float or None
        [bytes/s] over the seconds in which something was moved.
    faults : int
        Errors met on the way.
    retried : bool
        Whether another attempt followed.
    error : str or None
        Why it failed, or what it waits for.
    """

    job_id: str | None = None
    attempt: int | None = None
    tool: Literal["pegasus-transfer", "globus"]
    name: str | None = None
    source: str | None = None
    destination: str | None = None
    method: str | None = None
    state: str
    begin: float | None = None
    end: float | None = None
    duration: float | None = None
    files: int | None = None
    size: int | None = None
    bytes_transferred: int | None = None
    rounding: float = 0.0
    effective_speed: float | None = None
    average_speed: float | None = None
    faults: int = 0
    retried: bool = False
    error: str | None = None


Column = tuple[float, ...] | None


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What a workflow, a job or an attempt used over time, in bins of equal width.

    A column holds one value a bin, or is None as a whole with its reason. Amounts of a bin are sums: adding up a
    column gives the total of the metric of that name.

    Attributes
    ----------
    time : tuple of float
        [s since 1970] where each bin begins, on the workers' clocks.
    width : float
        [s] width of a bin, never 0.
    user_time, system_time, cpu_time, io_wait : tuple of float or None
        [s] in the bin.
    bytes_read, bytes_written, chars_read, chars_written, bytes_transferred : tuple of float or None
        [bytes] in the bin.
    read_calls, write_calls : tuple of float or None
        [calls] in the bin.
    cpu_utilization : tuple of (float or None) or None
        [1] CPU seconds over (cores x seconds observed) in the bin; None in bins where nothing was observed.
    threads, procs : tuple of float or None
        Largest number in the bin, summed over processes that were traced; 0 where none was.
    rss : tuple of float or None
        [bytes] resident memory, likewise.
    reasons : dict of str to str
        Why a column is None.
    """

    time: tuple[float, ...]
    width: float
    user_time: Column = None
    system_time: Column = None
    cpu_time: Column = None
    cpu_utilization: tuple[float | None, ...] | None = None
    bytes_read: Column = None
    bytes_written: Column = None
    chars_read: Column = None
    chars_written: Column = None
    read_calls: Column = None
    write_calls: Column = None
    io_wait: Column = None
    bytes_transferred: Column = None
    threads: Column = None
    procs: Column = None
    rss: Column = None
    reasons: dict[str, str]

    def cumulative(self, name: str) -> Column:
        """Running total of a column, such as `bytes_read` [bytes], at the end of each bin."""
        column: Column = getattr(self, name)
        return None if column is None else tuple(itertools.accumulate(column))
