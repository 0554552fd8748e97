"""`panorama show`: what one evaluation cost, job by job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..config import spell
from ..errors import UsageError
from ._common import json_option, open_chosen, safe, store_option, study_option, study_or_store, write_json
from ._runs import started, workflow_in

if TYPE_CHECKING:
    from ..collector.completeness import Completeness
    from ..metrics import JobMetrics, TaskMetrics, WorkflowMetrics
    from ..study.journal import Evaluation

_MIB = 2**20


@click.command("show")
@click.argument("which", metavar="EVAL|WF", required=False)
@study_option
@store_option
@json_option
def command(which: str | None, study: Path, store: str | None, as_json: bool) -> int:
    """Show the metrics of evaluation EVAL (Dakota's number), or of the workflow run WF (its uuid or its beginning).

    With --store it is a workflow run of that store, which `panorama collect` has filled; without WF all of them are
    listed. Exit code 1 if it has failed.

    \b
    Examples:
      panorama show 3
      panorama show 3 --json | jq '.metrics.jobs[] | {job_id, cpu_time}'
      panorama show --store panorama.db
      panorama show 0a1b --store panorama.db
    """
    import msgspec

    from ..web._digest import digest

    if which is None:
        return _list(study, store, as_json)
    evaluation = None if store else started(which, study_or_store(study))
    with open_chosen(study, store, readonly=True) as opened:
        wf_uuid = (evaluation and evaluation.wf_uuid) or workflow_in(opened, which)
        read = digest(opened, wf_uuid)
    metrics, complete = read.metrics, read.completeness
    assert complete is not None  # all of it is read
    if as_json:
        told = {"evaluation": evaluation, "metrics": metrics, "completeness": complete}
        write_json({name: msgspec.to_builtins(value) for name, value in told.items()})
    else:
        head = _asked(evaluation) if evaluation else []
        for line in [*head, *_head(metrics, evaluation), *_completeness(complete), "", *_jobs(metrics)]:
            click.echo(line)
    return 1 if metrics.state == "failed" or (evaluation and evaluation.failed) else 0


def _list(study: Path, store: str | None, as_json: bool) -> int:
    """All workflow runs of a store, a line each.

    Raises
    ------
    UsageError
        No store is named: the evaluations of a study are what `panorama status` lists.
    """
    import msgspec

    if store is None:
        raise UsageError("say which evaluation: `panorama status` lists them; or name a store with --store")
    with open_chosen(study, store, readonly=True) as opened:
        known = list(opened.workflows())
    if as_json:
        write_json({"workflows": msgspec.to_builtins(known)})
        return 0
    for one in known:
        last = "unknown" if one.last is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.last))
        click.echo(f"{one.wf_uuid}  {last}  {safe(one.label or 'of unknown name')}")
    if not known:
        click.echo("no workflow runs yet")
    return 0


def _asked(evaluation: Evaluation) -> list[str]:
    return [
        f"evaluation {evaluation.eval_id}: {evaluation.state} {evaluation.message}".rstrip(),
        f"  parameters       {spell(evaluation.variables)}",
        f"  responses        {spell(evaluation.responses) or 'none'}",
    ]


def _head(metrics: WorkflowMetrics, evaluation: Evaluation | None) -> list[str]:
    where = (
        f"in {evaluation.directory}" if evaluation else f"{safe(metrics.label or 'of unknown name')}: {metrics.state}"
    )
    return [
        f"  workflow         {metrics.wf_uuid} {where}",
        f"  makespan         {_seconds(metrics.makespan)}   critical path {_seconds(metrics.critical_path)}",
        f"  CPU              {_seconds(metrics.cpu_time)}   utilisation {_share(metrics.cpu_utilization)}",
        f"  read, written    {_mib(metrics.bytes_read)}, {_mib(metrics.bytes_written)} of storage; "
        f"staged {_mib(metrics.bytes_staged)}",
        f"  peak memory      {_mib(metrics.peak_memory)}",
    ]


def _completeness(complete: Completeness) -> list[str]:
    telling = [p for p in complete.sources if p.missing or p.thinned or (complete.watched_live and p.events_expected)]
    return [
        f"  events           {complete.words}",
        *(f"    {part.source:<14} {part.words}" for part in telling),
        *(f"    not read       {safe(problem)}" for problem in complete.problems),
    ]


def _jobs(metrics: WorkflowMetrics) -> list[str]:
    times = f"{'queue':>9} {'wall':>9} {'CPU':>9} {'util':>6}"
    head = f"{'job':<34} {'state':<10} {'tries':>5} {times} {'memory':>12} {'read':>12} {'written':>12}"
    return [head, *(line for job in sorted(metrics.jobs, key=_order) for line in _job(job))]


def _order(job: JobMetrics) -> tuple[float, str]:
    starts = [attempt.start for attempt in job.attempts if attempt.start is not None]
    return (min(starts, default=float("inf")), job.job_id)


def _job(job: JobMetrics) -> Iterator[str]:
    """The line of a job, and those of its tasks if they are several."""
    several = len(job.tasks) > 1
    name = f"{job.job_id} ({len(job.tasks)} tasks)" if several else job.job_id
    tries, queue, share = str(len(job.attempts)), _seconds(job.queue_time), _share(job.cpu_utilization)
    yield _line(job, name, job.state, tries, queue, share)
    for task in job.tasks if several else ():
        state = "unknown" if task.exit_code is None else f"exit {task.exit_code}"
        yield _line(task, f"  {task.transformation or 'unknown'}_{task.task_id or 'unknown'}", state)


def _line(
    of: JobMetrics | TaskMetrics, name: str, state: str, tries: str = "", queue: str = "", share: str = ""
) -> str:
    return (
        f"{safe(name):<34} {state:<10} {tries:>5} {queue:>9} {_seconds(of.wall_time):>9} {_seconds(of.cpu_time):>9} "
        f"{share:>6} {_mib(of.peak_memory):>12} {_mib(of.bytes_read):>12} {_mib(of.bytes_written):>12}"
    )


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:.0f} %"


def _mib(value: int | None) -> str:
    return "unknown" if value is None else f"{value / _MIB:.2f} MiB"
