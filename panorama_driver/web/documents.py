"""What the dashboard's API hands out: one record a page, all numbers in [s] and [bytes] unless a unit is named.

A field that is not known is null, and `reasons` beside it says why; it is never 0 in its place.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ..adapt import Action
from ..analysis import Anomaly
from ..collector.completeness import Completeness
from ..config import Scalar
from ..metrics import JobMetrics, Series, TimeShares, TransferMetrics, WorkflowMetrics, WorkflowState
from ..study.journal import Evaluation

StudyState = Literal["running", "interrupted", "finished", "empty", "unreadable"]
ColumnKind = Literal["parameter", "response", "metric"]


class StudySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One study, or one store without a study, as the list of studies shows it.

    Attributes
    ----------
    study : str
        Its name in addresses: the directory's, with a few digits that tell it from others of that name.
    name : str
        Name of its directory, or of the store's file.
    home : str
        Its directory, or the store's path or URL.
    kind : str
        `study`, or `store` for what `panorama collect` has filled: its workflow runs stand for evaluations.
    state : str
        `running` while its server is there, between two evaluations as well, `interrupted` if it is gone and
        evaluations are left, `finished`, `empty` before the first one, `unreadable` for the reason in `problem`. A
        store's is that of its workflow runs.
    problem : str or None
        Why it cannot be read.
    workflow, site, engine : str or None
        As study.yml says; None for a store, or where study.yml is gone.
    evaluations, done, failed, running, stopped : int
        All of them; answered; ended without an answer; going on; ended early, as they could not be the best any more.
    objective : str or None
        The response that is made small, or large where `maximized`: the first that Dakota asked for.
    best : float or None
        Its best value so far.
    best_evaluation : str or None
        Key of the evaluation that gave it.
    started, ended : float or None
        First start, last end; `ended` is None while it runs [s since 1970].
    anomalies, anomalies_open : int
        Anomalies that were found in its runs, and those of them that go on, as far as anybody told.
    actions : int
        What its server did about them, or about what else it saw.
    """

    study: str
    name: str
    home: str
    kind: Literal["study", "store"]
    state: StudyState
    problem: str | None = None
    workflow: str | None = None
    site: str | None = None
    engine: str | None = None
    evaluations: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    objective: str | None = None
    maximized: bool = False
    best: float | None = None
    best_evaluation: str | None = None
    started: float | None = None
    ended: float | None = None
    stopped: int = 0
    anomalies: int = 0
    anomalies_open: int = 0
    actions: int = 0


class StudyList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the list of studies, newest first.

    Attributes
    ----------
    studies : list of StudySummary
        Those of this page.
    total : int
        How many match the search.
    page, size : int
        Number of this page, from 1, and how many a page has.
    """

    studies: list[StudySummary]
    total: int
    page: int
    size: int


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the table of evaluations.

    Attributes
    ----------
    name : str
        Of the parameter, the response or the metric of a workflow.
    kind : str
        `parameter`, `response` or `metric`.
    unit : str
        `s`, `bytes`, `1`, or what workflow.yml says of the parameter; empty if it is not known.
    """

    name: str
    kind: ColumnKind
    unit: str = ""


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """A response that Dakota makes small, or large where `maximized`."""

    name: str
    maximized: bool = False


class EvaluationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation as a line of the table, or one workflow run of a store without a study.

    Attributes
    ----------
    key : str
        Of the evaluation; of a store, the workflow run.
    eval_id : str
        Dakota's number of it; of a store, the workflow's label.
    state : str
        As in the journal, but `running` once its workflow does; of a store, the state of the workflow. What is
        `stopped` was ended early: its responses are lower bounds.
    wf_uuid : str or None
        Its workflow run.
    message : str
        Why it failed, or was ended early.
    failed, over : bool
        Whether it has ended without an answer; whether it has ended.
    started, ended : float or None
        [s since 1970]
    jobs, jobs_done : int or None
        Jobs of its workflow, and those that have succeeded; None while that is not read.
    values : list
        A value a column of `StudyDocument.columns`, null where it is not known.
    reasons : dict of str to str
        Why, by the name of the column; metrics of a run that is still to be read (`read`) go without.
    times : TimeShares or None
        Where its time went; None while the workflow goes on or is not read.
    read : bool
        Whether the numbers of its workflow are in: they are read in the background.
    """

    key: str
    eval_id: str
    state: str
    wf_uuid: str | None = None
    message: str = ""
    failed: bool = False
    over: bool = False
    started: float | None = None
    ended: float | None = None
    jobs: int | None = None
    jobs_done: int | None = None
    values: list[Scalar | None] = []
    reasons: dict[str, str] = {}
    times: TimeShares | None = None
    read: bool = True


class StudyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A study with all its evaluations.

    Attributes
    ----------
    summary : StudySummary
        As in the list.
    columns : list of Column
        Parameters, responses, then metrics of the workflow.
    objectives : list of Objective
        In Dakota's order; empty for a store.
    truth : dict
        Parameter values that made the reference data, where they are known.
    front : list of str
        Keys of the evaluations on the Pareto front, where there are several objectives.
    evaluations : list of EvaluationRow
        In their order.
    outdated : int
        Evaluations left out because workflow, programs, site, or what study.yml fixes was another then.
    unread : int
        Evaluations whose workflow is still being read.
    """

    summary: StudySummary
    columns: list[Column]
    objectives: list[Objective] = []
    truth: dict[str, Scalar] = {}
    front: list[str] = []
    evaluations: list[EvaluationRow] = []
    outdated: int = 0
    unread: int = 0


class ActionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a study's server did about what it saw.

    Attributes
    ----------
    study : str
        The study.
    action : Action
        What, why, and how it ended.
    eval_id : str or None
        Dakota's number of the evaluation that it concerns.
    undo : str or None
        The command that takes it back; None where nothing of it holds any more, or can be taken back.
    """

    study: str
    action: Action
    eval_id: str | None = None
    undo: str | None = None


class AnomalyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it should be, or was not.

    Attributes
    ----------
    anomaly_id : str
        `event_id` of the event that told of it.
    study : str
        The study.
    evaluation, eval_id : str or None
        Key and number of the evaluation whose run it was found in; of a store, the run and its label. None where the
        run belongs to none.
    anomaly : Anomaly
        What, where, since when, how sure, and the numbers that speak for it.
    over : float or None
        When it was as it should be again [s since 1970]; None while nobody told so.
    actions : list of ActionRow
        What was done about it.
    """

    anomaly_id: str
    study: str
    evaluation: str | None = None
    eval_id: str | None = None
    anomaly: Anomaly
    over: float | None = None
    actions: list[ActionRow] = []


class AnomalyList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of anomalies, the one that was found last first.

    Attributes
    ----------
    anomalies : list of AnomalyRow
        Those of this page.
    total, open : int
        How many are as was asked for, and how many of these go on.
    page, size : int
        Number of this page, from 1, and how many a page has.
    kinds : dict of str to int
        How many there are of each kind, whichever was asked for.
    actions : list of ActionRow
        What was done in the studies asked for, the last first, whether an anomaly led to it or not; at most 200.
    actions_total : int
        How many of these there are.
    problems : list of str
        What could not be read of it, and what was left out because there is too much, in words.
    """

    anomalies: list[AnomalyRow]
    total: int
    page: int
    size: int
    open: int = 0
    kinds: dict[str, int] = {}
    actions: list[ActionRow] = []
    actions_total: int = 0
    problems: list[str] = []


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt as the Gantt chart and the list of failures show it; times in [s since 1970]."""

    attempt: int
    state: str
    submit: float | None = None
    start: float | None = None
    end: float | None = None
    host: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    failure: str | None = None


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the workflow page shows it: fields as in `JobMetrics`, without the reasons, which its own page has."""

    job_id: str
    state: str
    type: str | None = None
    transformation: str | None = None
    site: str | None = None
    host: str | None = None
    tasks: int = 0
    attempts: list[AttemptRow] = []
    queue_time: float | None = None
    wall_time: float | None = None
    cpu_time: float | None = None
    cpu_utilization: float | None = None
    peak_memory: int | None = None
    bytes_read: int | None = None
    bytes_written: int | None = None
    bytes_transferred: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    failure: str | None = None


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What ran under the name of a transformation.

    Attributes
    ----------
    transformation : str
        Logical name.
    executable : str or None
        The program, as the planner or the engine named it.
    candidate : str or None
        Which of the transformation's candidates it is, where workflow and site tell.
    jobs : int
        How many jobs ran it.
    """

    transformation: str
    executable: str | None = None
    candidate: str | None = None
    jobs: int = 0


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What made a run: who planned and ran what, where, with which values.

    Attributes
    ----------
    variables, responses : dict
        Of its evaluation, with what it left to defaults where its bundle is there; empty where the run belongs to none.
    site, engine, planner, submit_host, submit_dir, user : str or None
        As the events and the study tell.
    hosts : list of str
        Workers that jobs ran on.
    codes : list of Code
        What ran.
    """

    variables: dict[str, Scalar] = {}
    responses: dict[str, float] = {}
    site: str | None = None
    engine: str | None = None
    planner: str | None = None
    submit_host: str | None = None
    submit_dir: str | None = None
    user: str | None = None
    hosts: list[str] = []
    codes: list[Code] = []


class WorkflowDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One workflow run.

    Attributes
    ----------
    study : str
        The study it belongs to.
    wf_uuid : str
        The run.
    evaluation : Evaluation or None
        The evaluation it was for.
    metrics : WorkflowMetrics
        Its numbers; `jobs` is empty here.
    jobs : list of JobRow
        By job id.
    edges : list of (int, int)
        Parent and child, as places in `jobs`.
    times : TimeShares or None
        Where its time went.
    provenance : Provenance
        What made it.
    completeness : Completeness or None
        How complete its events are; None while traces are being read.
    samples, samples_read : int
        Rows of traces there are, and how many of them are in these numbers: while they are fewer, what traces tell is
        still being read and stands as null.
    anomalies : list of AnomalyRow
        What was found in it, the last first; at most 500.
    actions : list of ActionRow
        What was done in it, whether an anomaly led to it or not.
    """

    study: str
    wf_uuid: str
    evaluation: Evaluation | None = None
    metrics: WorkflowMetrics
    jobs: list[JobRow] = []
    edges: list[tuple[int, int]] = []
    times: TimeShares | None = None
    provenance: Provenance
    completeness: Completeness | None = None
    samples: int = 0
    samples_read: int = 0
    anomalies: list[AnomalyRow] = []
    actions: list[ActionRow] = []


class MetricsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `panorama show --json` writes, the same numbers to the last digit."""

    evaluation: Evaluation | None
    metrics: WorkflowMetrics
    completeness: Completeness


class AttemptDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an attempt beside its numbers.

    Attributes
    ----------
    attempt : int
        `job_inst_id`.
    command : str or None
        Program and arguments.
    work_dir : str or None
        Where it ran.
    stdout, stderr : str or None
        The ends of what it said, at most 64 KiB each; None where nobody kept them.
    heatmaps : list of Heatmap
        Of its Darshan logs.
    """

    attempt: int
    command: str | None = None
    work_dir: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    heatmaps: list[Heatmap] = []


class Heatmap(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes over time as Darshan saw them, a row a process.

    Attributes
    ----------
    module : str
        `posix`, `stdio` or `mpiio`.
    width : float
        [s] of a bin.
    start : float or None
        When the first bin begins [s since 1970].
    rows : list of str
        Process or rank of each row.
    read, written : list of list of int
        [bytes] a row and bin.
    """

    module: str
    width: float
    start: float | None = None
    rows: list[str] = []
    read: list[list[int]] = []
    written: list[list[int]] = []


class JobDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One job with all its attempts.

    Attributes
    ----------
    study, wf_uuid : str
        Where it belongs.
    job : JobMetrics
        All its numbers.
    details : list of AttemptDetails
        By attempt.
    parents, children : list of str
        Jobs before and after it.
    anomalies : list of AnomalyRow
        What was found in it, and on the hosts that its attempts ran on, the last first; at most 500.
    """

    study: str
    wf_uuid: str
    job: JobMetrics
    details: list[AttemptDetails] = []
    parents: list[str] = []
    children: list[str] = []
    anomalies: list[AnomalyRow] = []


class SeriesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A run, a job or an attempt over time; amounts are those of each bin, not running totals."""

    study: str
    wf_uuid: str
    job_id: str | None = None
    attempt: int | None = None
    series: Series


class TransferRow(msgspec.Struct, frozen=True, kw_only=True):
    """One transfer.

    Attributes
    ----------
    transfer : TransferMetrics
        Its numbers.
    speed : list of (float, float, float)
        Begin and end of a span [s since 1970], and bytes moved in it, from every progress event.
    tcp : bool
        Whether connections of its job were joined to it: they stand on the job's page.
    """

    transfer: TransferMetrics
    speed: list[tuple[float, float, float]] = []
    tcp: bool = False


class TransferList(msgspec.Struct, frozen=True, kw_only=True):
    """The transfers of a run in order of time, failed and local ones as well."""

    study: str
    wf_uuid: str
    transfers: list[TransferRow]


class StudyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What moved in a study.

    Attributes
    ----------
    summary, columns, front, outdated, unread
        As in `StudyDocument`, as they are now.
    evaluations : list of EvaluationRow
        Those that are new or have changed.
    removed : list of str
        Keys of those that are gone.
    anomalies : list of AnomalyRow
        Those that are new or over now, or that something was done about; at most 100.
    actions : list of ActionRow
        Those that are new or have another state; at most 100.
    """

    summary: StudySummary
    columns: list[Column]
    evaluations: list[EvaluationRow] = []
    removed: list[str] = []
    front: list[str] = []
    outdated: int = 0
    unread: int = 0
    anomalies: list[AnomalyRow] = []
    actions: list[ActionRow] = []


class AnomalyChange(msgspec.Struct, frozen=True, kw_only=True):
    """What moved in the anomalies of a study; fields as in `StudyChange`."""

    study: str
    anomalies: list[AnomalyRow] = []
    actions: list[ActionRow] = []


class WorkflowChange(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow stands that has moved; its documents tell the rest.

    Attributes
    ----------
    state : str
        As in `WorkflowMetrics`.
    jobs_total, jobs_succeeded, jobs_failed, jobs_active : int
        Of its jobs.
    samples, samples_read : int
        As in `WorkflowDocument`.
    anomalies, anomalies_open : int
        Found in it, and those of them that go on.
    """

    state: WorkflowState
    jobs_total: int = 0
    jobs_succeeded: int = 0
    jobs_failed: int = 0
    jobs_active: int = 0
    samples: int = 0
    samples_read: int = 0
    anomalies: int = 0
    anomalies_open: int = 0


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no answer."""

    problem: str
