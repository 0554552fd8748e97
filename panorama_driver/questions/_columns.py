"""What may be asked for: every table with its columns, their types and their units."""

from __future__ import annotations

from typing import Literal, NamedTuple

Type = Literal["TEXT", "REAL", "INTEGER", "ANY"]


class Column(NamedTuple):
    """One column.

    Attributes
    ----------
    name : str
        As SQL has it.
    type : str
        Of SQLite; `ANY` is a number or a text, as it came. Yes and no are 1 and 0.
    unit : str
        Empty for a plain number and for a text.
    meaning : str
        In words for a person.
    """

    name: str
    type: Type
    unit: str
    meaning: str


class Table(NamedTuple):
    """One table; `columns` in their order."""

    name: str
    meaning: str
    columns: tuple[Column, ...]


_SINCE = "s since 1970"


def _columns(type_: Type, unit: str, **named: str) -> tuple[Column, ...]:
    return tuple(Column(name, type_, unit, meaning) for name, meaning in named.items())


def _prefixed(prefix: str, columns: tuple[Column, ...], whose: str) -> tuple[Column, ...]:
    return tuple(c._replace(name=f"{prefix}{c.name}", meaning=f"{whose}: {c.meaning}") for c in columns)


_COSTS = (
    *_columns("REAL", "s", cpu_time="processor time", user_time="of it, in the program"),
    *_columns("REAL", "s", system_time="of it, in the kernel"),
    *_columns("REAL", "1", cpu_utilization="processor time over time and cores"),
    *_columns("INTEGER", "bytes", peak_memory="largest resident set"),
)
_MOVED = (
    *_columns("INTEGER", "bytes", bytes_read="read from storage", bytes_written="written to storage"),
    *_columns("INTEGER", "bytes", chars_read="asked for by reads, cache included", chars_written="and by writes"),
    *_columns("INTEGER", "calls", read_calls="calls that read", write_calls="calls that write"),
    *_columns("REAL", "s", io_wait="waited for block input and output", io_time="input and output"),
)
DARSHAN = (
    *_columns("INTEGER", "", logs="Darshan logs in these numbers", logs_unread="logs that are not"),
    *_columns("INTEGER", "", processes="processes of these logs", complete="whether the logs tell all"),
    *_columns("REAL", _SINCE, start="first start of a process", end="last end of a process"),
    *_columns("INTEGER", "bytes", bytes_read="read, as Darshan counts", bytes_written="written, as Darshan counts"),
    *_columns("REAL", "s", read_time="spent reading", write_time="spent writing", meta_time="spent on metadata"),
    *_columns("REAL", "s", io_time="all three"),
)
"""Fields of `DarshanSummary` that are one value; columns have `darshan_` before them."""
TCP = (
    *_columns("INTEGER", "", connections="TCP connections to other hosts"),
    *_columns("INTEGER", "bytes", bytes="payload in both directions"),
    *_columns("REAL", "1", retransmitted="segments sent again over segments with data"),
    *_columns("REAL", "s", rtt="mean round trip", active_time="time with at least one connection"),
    *_columns("REAL", "bytes/s", throughput="payload over that time"),
    *_columns("REAL", "1", confidence="that all of them are of this attempt"),
)
"""Fields of `TcpSummary`; columns have `tcp_` before them."""
MEASURES = (
    *_columns("TEXT", "", state="`succeeded`, `failed`, `running`, `held`, `submitted`, `unsubmitted`"),
    *_columns("INTEGER", "", ran="whether it ever ran on a worker"),
    *_columns("TEXT", "", type="`compute`, `stage-in-tx`, ...", transformation="logical program"),
    *_columns("TEXT", "", host="the worker", site="of the catalog"),
    *_columns("INTEGER", "", exit_code="of the program", signal="that ended it; 0 if none did"),
    *_columns("TEXT", "", failure="why it failed, in words"),
    *_columns("INTEGER", "cores", cores="asked for"),
    *_columns("REAL", "s", queue_time="from submission to start", held_time="held by the scheduler"),
    *_columns("REAL", "s", wall_time="from first start to last end on the worker", stage_time="spent on moving files"),
    *_COSTS,
    *_columns("INTEGER", "bytes", peak_memory_below="bound of a peak too small to be told"),
    *_MOVED,
    *_columns("REAL", "s", transfer_time="during which files were moved"),
    *_columns("INTEGER", "bytes", bytes_transferred="moved by transfer tools", bytes_staged="of files put in place"),
    *_columns("INTEGER", "", files_transferred="files put in place", transfers_failed="transfers that failed"),
    *_columns("INTEGER", "", transfer_faults="tries of transfers that had to be made again"),
    *_prefixed("darshan_", DARSHAN, "Darshan"),
    *_prefixed("tcp_", TCP, "TCP"),
)
"""What attempts and jobs have: fields of `metrics.Measures` under their names."""
ATTEMPT = (
    *_columns("INTEGER", "", attempt="`job_inst_id`: Pegasus counts it through the whole workflow"),
    *_columns("TEXT", "", sched_id="the scheduler's name for it"),
    *_columns("REAL", _SINCE, submit="handed to the scheduler", start="on the worker", end="on the worker"),
    *_columns("REAL", "s", local_time="from start to end as the scheduler saw them"),
    *_columns("INTEGER", "", guessed="worker records that are its own by their time alone"),
)
"""Fields that only `metrics.AttemptMetrics` has."""
MORE_OF_ATTEMPT = (
    *_columns("INTEGER", "", last="whether it is the job's last attempt, which decided"),
    *_columns("INTEGER", "bytes", memory_asked="asked for, where the submission tells"),
)
WORKFLOW = (
    *_columns("TEXT", "", label="name of the run", state="`planned`, `running`, `succeeded`, `failed`"),
    *_columns("REAL", _SINCE, start="first start", end="last end"),
    *_columns("INTEGER", "", restarts="how often it was started again"),
    *_columns("REAL", "s", makespan="from first start to last end", active_time="without pauses before a restart"),
    *_columns("INTEGER", "", jobs_total="jobs", jobs_succeeded="of them succeeded", jobs_failed="failed"),
    *_columns("INTEGER", "", jobs_active="submitted, held or running", jobs_unsubmitted="not yet submitted"),
    *_columns("INTEGER", "", jobs_retried="with more than one attempt"),
    *_columns("REAL", "s", cumulative_time="sum of `wall_time`", core_time="sum of `wall_time * cores`"),
    *_columns("REAL", "s", queue_time="sum over attempts that ran", stage_in_time="of stage-in jobs"),
    *_columns("REAL", "s", stage_out_time="of stage-out jobs"),
    *_COSTS,
    *_MOVED,
    *_columns("INTEGER", "bytes", bytes_transferred="moved by transfer tools", bytes_staged="of files put in place"),
    *_columns("REAL", "s", critical_path="longest chain of queue and wall times"),
    *_columns("TEXT", "", critical_path_jobs="the jobs of that chain, a JSON list"),
    *_columns("REAL", "s", ideal_makespan="longest chain of the last attempts' wall times"),
    *_columns("REAL", "1", efficiency="`ideal_makespan / makespan`, of runs that succeeded"),
    *_columns("REAL", "1", parallel_efficiency="`core_time / (active_time * slots)`"),
    *_columns("REAL", "1", j_s="succeeded attempts over those that ended", j_f="failed ones over those"),
    *_columns("REAL", "s", t_s="mean time of succeeded attempts", t_f="mean time of failed attempts"),
    *_columns("REAL", "1", o_1_s="succeeded jobs over all jobs"),
    *_columns("INTEGER", "", unmatched="worker records of no attempt", guessed="worker records given by their time"),
    *_prefixed("darshan_", DARSHAN, "Darshan"),
)
"""Fields of `metrics.WorkflowMetrics` that are one value."""
TRANSFER = (
    *_columns("TEXT", "", job_id="the job that it was for"),
    *_columns("INTEGER", "", attempt="`job_inst_id`, where it could be given to one"),
    *_columns("TEXT", "", tool="`pegasus-transfer` or `globus`", name="of the file, or of the Globus task"),
    *_columns("TEXT", "", source="URL or Globus collection", destination="URL or Globus collection"),
    *_columns("TEXT", "", method="`copy`, `link`, `hardlink` or `move`"),
    *_columns("TEXT", "", state="`succeeded`, `failed`, `unknown`, `active`, `paused`, `inactive`"),
    *_columns("REAL", _SINCE, begin="when it began", end="when it ended"),
    *_columns("REAL", "s", duration="`end - begin`"),
    *_columns("INTEGER", "", files="number of files"),
    *_columns("INTEGER", "bytes", size="of the files", bytes_transferred="moved"),
    *_columns("REAL", "bytes", rounding="by which the two may be wrong"),
    *_columns("REAL", "bytes/s", effective_speed="over all its time", average_speed="over seconds with a move"),
    *_columns("INTEGER", "", faults="errors met on the way", retried="whether another try followed"),
    *_columns("TEXT", "", error="why it failed, or what it waits for"),
)
"""Fields of `metrics.TransferMetrics`."""
MORE_OF_TRANSFER = _columns(
    "TEXT", "", source_place="scheme and host of `source`", destination_place="scheme and host of `destination`"
)
ANOMALY = (
    *_columns("TEXT", "", anomaly="identity", kind="what is wrong: `stalled`, `slow_host`, ...", job_id="whose it is"),
    *_columns("INTEGER", "", attempt="`job_inst_id`"),
    *_columns("TEXT", "", host="the worker", transformation="logical program"),
    *_columns("REAL", _SINCE, since="when it began", found="when it showed", over="when it was as it should be again"),
    *_columns("INTEGER", "", episode="how many there had been before"),
    *_columns("REAL", "1", confidence="share of such findings that would be right"),
    *_columns("TEXT", "", message="in words", evidence="the numbers, a JSON list", detector="which, and its version"),
)
EVALUATION = (
    *_columns("TEXT", "", evaluation="Dakota's number; in a store without a study, the run's name"),
    *_columns("TEXT", "", key="identity: hash of all that defines it; in such a store, the run's `wf_uuid`"),
    *_columns("TEXT", "", state="`succeeded`, `failed`, `timeout`, ...; in such a store, the run's"),
    *_columns("INTEGER", "", over="nothing of it runs any more", failed="has ended without an answer"),
    *_columns("INTEGER", "", current="of the study's latest definition"),
    *_columns("TEXT", "", definition="fingerprint of its definition", message="why it failed"),
    *_columns("TEXT", "", decided_by="what told its end: `engine`, `dagman` or `manager`", directory="its bundle"),
    *_columns("REAL", _SINCE, started="when it was received", ended="when it ended"),
)
ACTION = (
    *_columns("TEXT", "", action="identity", what="`stop_evaluation`, `retry_attempt`, ...", reason="why, in words"),
    *_columns("TEXT", "", anomaly="that it answers", key="of the evaluation", wf_uuid="run", job_id="job"),
    *_columns("INTEGER", "", attempt="`job_inst_id`"),
    *_columns("TEXT", "", host="that is avoided, or left"),
    *_columns("INTEGER", "cores", value="that may be used from then on", before="before"),
    *_columns("TEXT", "", state="`intended`, `done`, `failed`, `undone`", message="what came of it"),
    *_columns("REAL", _SINCE, t="when it was last written down"),
)

_STUDY = _columns("TEXT", "", study="name of the study, or of the store")
RUN = _columns("TEXT", "", wf_uuid="the workflow run")
_OF_EVALUATION = _columns(
    "TEXT", "", evaluation="Dakota's number of the evaluation that it was for", key="identity of that evaluation"
)
JOB = _columns("TEXT", "", job_id="node of the executable workflow")
ROOT = _columns("TEXT", "", root="the run at the top, itself unless it is a sub-workflow")
NAMED_VALUE = (*_columns("TEXT", "", name="of it"), *_columns("ANY", "", value="of it"))
NAMED_NUMBER = (*_columns("TEXT", "", name="of it"), *_columns("REAL", "", value="of it"))
OF_JOB = (
    *_columns("INTEGER", "", attempts="number of attempts", retries="those after the first"),
    *_columns("REAL", "s", cumulative_time="sum of `wall_time` over all attempts"),
)

TABLES = (
    Table(
        "attempts",
        "one row a try of a job, with all that is known of its job, its workflow run and its evaluation",
        (
            *_STUDY,
            *_OF_EVALUATION,
            *_columns("TEXT", "", evaluation_state="state of that evaluation"),
            *_columns("INTEGER", "", evaluation_failed="ended without an answer", current="`evaluations.current`"),
            *RUN,
            *_prefixed("workflow_", WORKFLOW, "the run"),
            *JOB,
            *_columns("TEXT", "", job_state="state of the job"),
            *_prefixed("job_", OF_JOB, "the job"),
            *ATTEMPT,
            *MORE_OF_ATTEMPT,
            *MEASURES,
        ),
    ),
    Table(
        "evaluations",
        "one row an evaluation, also where nothing was run for it",
        (*_STUDY, *EVALUATION, *RUN, *_prefixed("workflow_", WORKFLOW, "its run")),
    ),
    Table(
        "parameters",
        "one row a parameter of an evaluation",
        (*_STUDY, *_OF_EVALUATION, *NAMED_VALUE),
    ),
    Table(
        "responses",
        "one row a response that went back to Dakota",
        (*_STUDY, *_OF_EVALUATION, *NAMED_NUMBER),
    ),
    Table(
        "workflows",
        "one row a workflow run",
        (
            *_STUDY,
            *_OF_EVALUATION,
            *RUN,
            *ROOT,
            *WORKFLOW,
        ),
    ),
    Table(
        "jobs",
        "one row a job, with the measures of its last attempt",
        (*_STUDY, *_OF_EVALUATION, *RUN, *JOB, *OF_JOB, *MEASURES),
    ),
    Table(
        "transfers",
        "one row a transfer",
        (*_STUDY, *_OF_EVALUATION, *RUN, *TRANSFER, *MORE_OF_TRANSFER),
    ),
    Table(
        "anomalies",
        "one row an anomaly that was found",
        (*_STUDY, *_OF_EVALUATION, *RUN, *ANOMALY),
    ),
    Table("actions", "one row a step that was taken about an anomaly", (*_STUDY, *ACTION)),
)
"""What SQL may ask for. `evaluations` and `attempts` have besides a column `x_NAME` for each parameter of the studies
that are asked, and `r_NAME` for each response."""
