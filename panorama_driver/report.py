"""What a study found and what it cost: a table, and a picture of objective against parameter and of where time went."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .analysis import KINDS, Episode, Episodes, worst_first
from .config import Scalar
from .errors import EnvironmentMissingError, StudyError
from .findings import Front, answered, best, comparable, maximized, pareto_front, response_names, truth
from .metrics import WorkflowMetrics, correlate, thinned
from .store import Store, open_store
from .study.client import FOLDER
from .study.journal import STOPPED, Evaluation, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PANELS = 3
_MOST_ROWS = 60
_VISIBLE = 0.01
_NOTICE = 0.1
_WORST = 3  # anomalies that the summary tells
_PAGE = 1000
_LONGEST = 300  # characters of a line that tells one
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito's, which colour-blind people can tell apart."""


class Row(msgspec.Struct, frozen=True):
    """One evaluation of a report.

    Attributes
    ----------
    evaluation : Evaluation
        What was asked and what came back.
    metrics : WorkflowMetrics or None
        What it cost; None where no workflow ran.
    """

    evaluation: Evaluation
    metrics: WorkflowMetrics | None


class Report(msgspec.Struct, frozen=True):
    """A study, read from its directory.

    Attributes
    ----------
    home : str
        The study directory.
    rows : list of Row
        Its evaluations, in the order they came.
    objective : str or None
        The response that is made small: the first that Dakota asked for.
    truth : dict
        Parameter values that made the reference data, where they are known.
    outdated : int
        Evaluations left out because workflow, programs, site, or what study.yml fixes was another then.
    maximized : bool
        The objective is made large, not small.
    front : Front or None
        Its Pareto front, where it has two objectives or more.
    anomalies : list of Episode
        What was found in its runs, the worst first: what goes on, what is certain, what lasted longest.
    """

    home: str
    rows: list[Row]
    objective: str | None
    truth: dict[str, Scalar]
    outdated: int
    maximized: bool = False
    front: Front | None = None
    anomalies: list[Episode] = []

    @property
    def best(self) -> Row | None:
        """The evaluation with the smallest objective, or the largest where study.in has `sense 'max'`."""
        found = best((row.evaluation for row in self.rows), self.objective, self.maximized)
        return next((row for row in self.rows if row.evaluation is found), None)

    @property
    def failed(self) -> int:
        """Number of evaluations that ended without an answer."""
        return sum(row.evaluation.failed for row in self.rows)

    @property
    def wall_time(self) -> float | None:
        """From the first evaluation's start to the last one's end [s]."""
        starts = [row.evaluation.started for row in self.rows if row.evaluation.started is not None]
        ends = [row.evaluation.ended for row in self.rows if row.evaluation.ended is not None]
        return max(ends) - min(starts) if starts and ends else None

    @property
    def cpu_time(self) -> float:
        """CPU time of all jobs that it is known of [s]."""
        return sum(row.metrics.cpu_time for row in self.rows if row.metrics and row.metrics.cpu_time is not None)


def read_report(home: Path) -> Report:
    """Read the study in `home`.

    Raises
    ------
    StudyError
        It has not been run.
    """
    journal = read(home / FOLDER)
    evaluations = comparable(journal)
    if not evaluations:
        raise StudyError(f"{home}: no evaluation has been run here yet; start it with panorama study {home}")
    with open_store(home / FOLDER / "store.db", readonly=True) as store:
        rows = [
            Row(one, correlate(thinned(partial(store.events, one.wf_uuid))) if one.wf_uuid else None)
            for one in evaluations
        ]
        anomalies = worst_first(_found(store).known.values())
    asked = response_names(evaluations)
    left_out = len(journal) - len(evaluations)
    senses = maximized(home)
    front = pareto_front(evaluations, dict(zip(asked, senses, strict=False))) if asked and len(senses) > 1 else None
    return Report(str(home), rows, asked[0] if asked else None, truth(home), left_out, senses[0], front, anomalies)


def _found(store: Store) -> Episodes:
    """What was found in all runs of a store."""
    found, cursor, more = Episodes(), 0, store.count(kinds=KINDS) > 0
    while more:
        events, cursor = store.since(cursor, KINDS, limit=_PAGE)
        found.take(events)
        more = len(events) == _PAGE
    return found


def summary(report: Report) -> list[str]:
    """The study in a few lines."""
    best = report.best
    lines = []
    if report.front is not None:
        number = len(report.front.evaluations)
        lines.append(f"Pareto front of {', '.join(report.front.maximized)}: {number} of {len(report.rows)} evaluations")
    elif best is not None and report.objective is not None:
        value = best.evaluation.responses[report.objective]
        lines.append(f"best: {_values(best.evaluation.variables)} with {report.objective} = {value:.6g}")
        lines += [
            f"truth: {name} = {truth}, found {best.evaluation.variables[name]:.6g}, off by "
            f"{abs(float(best.evaluation.variables[name]) - float(truth)):.4f}"
            for name, truth in report.truth.items()
            if isinstance(truth, float | int) and name in best.evaluation.variables
        ]
    if report.outdated:
        lines.append(f"{report.outdated} evaluations of an earlier definition of the study are left out")
    wall = "unknown" if report.wall_time is None else f"{report.wall_time:.1f} s"
    stopped = sum(row.evaluation.state == STOPPED for row in report.rows)
    early = f", {stopped} ended early (>= is a lower bound)" if stopped else ""
    lines.append(
        f"{len(report.rows)} evaluations, {report.failed} failed{early}; "
        f"{wall} of wall time, {report.cpu_time:.1f} s of CPU time"
    )
    return lines + _worst(report.anomalies)


def _worst(anomalies: Sequence[Episode]) -> list[str]:
    """How many anomalies there are, and the worst of them."""
    if not anomalies:
        return []
    going_on = sum(each.over is None for each in anomalies)
    number = "1 anomaly" if len(anomalies) == 1 else f"{len(anomalies)} anomalies"
    worst = [f"  {_told(each)}" for each in anomalies[:_WORST]]
    rest = [f"  and {len(anomalies) - _WORST} more: panorama anomalies"] if len(anomalies) > _WORST else []
    return [f"{number} found, {going_on} without an end; the worst first:", *worst, *rest]


def _told(each: Episode) -> str:
    """An anomaly in a line; what a job wrote in it cannot lead the terminal."""
    found = each.anomaly
    job = "" if found.job_id is None else f" {found.job_id}"
    attempt = "" if found.attempt is None else f" attempt {found.attempt}"
    host = "" if found.host is None else f" on {found.host}"
    text = f"{found.kind}{job}{attempt}{host}: {found.message} (confidence {found.confidence:.2f})"
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of evaluations, as text."""
    parameters = list(dict.fromkeys(name for row in report.rows for name in row.evaluation.variables))
    responses = list(dict.fromkeys(name for row in report.rows for name in row.evaluation.responses))
    head = ["evaluation", *parameters, *responses, "makespan [s]", "CPU [s]", "state"]
    return head, [_cells(row, parameters, responses) for row in report.rows]


def front_table(front: Front) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of the Pareto front, as text."""
    parameters = list(dict.fromkeys(name for evaluation in front.evaluations for name in evaluation.variables))
    rows = [
        [
            evaluation.eval_id,
            *(_text(evaluation.variables.get(name)) for name in parameters),
            *(_text(evaluation.responses[name]) for name in front.maximized),
        ]
        for evaluation in front.evaluations
    ]
    return ["evaluation", *parameters, *front.maximized], rows


def _cells(row: Row, parameters: Sequence[str], responses: Sequence[str]) -> list[str]:
    evaluation, metrics = row.evaluation, row.metrics
    return [
        evaluation.eval_id,
        *(_text(evaluation.variables.get(name)) for name in parameters),
        *(_response(evaluation, name) for name in responses),
        _text(metrics.makespan if metrics else None, 4),
        _text(metrics.cpu_time if metrics else None, 4),
        evaluation.state,
    ]


def _response(evaluation: Evaluation, name: str) -> str:
    """A response; one of an evaluation that was ended early is a lower bound."""
    value = evaluation.responses.get(name)
    bound = value is not None and evaluation.state == STOPPED
    return f">= {_text(value)}" if bound else _text(value)


def _text(value: Scalar | None, digits: int = 6) -> str:
    if value is None:
        return "unknown"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _values(variables: dict[str, Scalar]) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in variables.items())


def draw(report: Report, path: Path) -> None:
    """Draw the study: its Pareto front if any, objective against each parameter, and each evaluation's time by job.

    Raises
    ------
    StudyError
        No evaluation has succeeded.
    EnvironmentMissingError
        matplotlib is not installed.
    """
    if report.best is None:
        raise StudyError("no evaluation has succeeded")
    try:
        import matplotlib
    except ImportError:
        raise EnvironmentMissingError(
            "pictures need matplotlib: pip install 'panorama-driver[plots]', in a clone '.[plots]'"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawings = _drawings(report)
    shown = report.rows[-_MOST_ROWS:]
    panels = len(drawings)
    figure, axes = pyplot.subplots(
        1,
        panels + 1,
        figsize=(4.6 * panels + 7.4, max(4.0, 0.26 * len(shown) + 1.6)),
        squeeze=False,
        gridspec_kw={"width_ratios": [1.0] * panels + [1.5]},
    )
    for axis, fill in zip(axes[0], drawings, strict=False):
        fill(axis)
    _draw_time(axes[0][-1], shown)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _drawings(report: Report) -> list[Callable[[Axes], None]]:
    """What fills the panels left of the one of time."""
    front = [partial(_draw_front, report=report, front=report.front)] if report.front is not None else []
    parameters = _varied(report)[: _MOST_PANELS - len(front)]
    return [*front, *(partial(_draw_objective, report=report, name=name) for name in parameters)]


def _varied(report: Report) -> list[str]:
    """Parameters with a number in any evaluation; studies of one folder may vary different ones."""
    pairs = itertools.chain.from_iterable(row.evaluation.variables.items() for row in report.rows)
    return list(dict.fromkeys(name for name, value in pairs if isinstance(value, float | int)))


def _draw_objective(axis: Axes, report: Report, name: str) -> None:
    objective = report.objective or ""
    every = (row.evaluation for row in report.rows)
    known = [one for one in every if objective in one.responses and name in one.variables]
    values, bounds = (
        [(float(one.variables[name]), one.responses[objective]) for one in known if (one.state == STOPPED) is early]
        for early in (False, True)
    )
    axis.plot([x for x, _ in values], [y for _, y in values], "o", color="#0072B2", label="evaluation")
    if bounds:
        axis.plot([x for x, _ in bounds], [y for _, y in bounds], "^", color="#CC79A7", label="ended early, at least")
    best = report.best.evaluation if report.best is not None else None
    if best is not None and name in best.variables:
        label = "best" if report.front is None else f"best {objective}"
        axis.plot([float(best.variables[name])], [best.responses[objective]], "*", ms=15, color="#D55E00", label=label)
    if name in report.truth:
        axis.axvline(float(report.truth[name]), color="#009E73", ls="--", label=f"truth {report.truth[name]}")
    if values and min(y for _, y in values) > 0:
        axis.set_yscale("log")
    axis.set(xlabel=name, ylabel=objective, title=f"{objective} against {name}")
    axis.grid(alpha=0.3)
    axis.legend()


def _draw_front(axis: Axes, report: Report, front: Front) -> None:
    """Evaluations by the first two objectives; with more of them, the front is no line there."""
    x, y, *more = front.maximized
    every = answered((row.evaluation for row in report.rows), front.maximized)
    axis.plot(_values_of(x, every), _values_of(y, every), "o", color="#0072B2", label="evaluation")
    best, line = front.evaluations, "" if more else "-"
    across, up = _values_of(x, best), _values_of(y, best)
    axis.plot(across, up, f"{line}*", drawstyle="steps-post", ms=13, color="#D55E00", label="Pareto front")
    axis.set(xlabel=x, ylabel=y, title=f"{y} against {x}")
    axis.grid(alpha=0.3)
    axis.legend()


def _values_of(name: str, evaluations: Iterable[Evaluation]) -> list[float]:
    return [evaluation.responses[name] for evaluation in evaluations]


class _Span(NamedTuple):
    """One attempt of a job: when it ran, since its workflow started [s], and beside which others."""

    job_id: str
    transformation: str
    start: float
    length: float
    lane: int


def _draw_time(axis: Axes, rows: Sequence[Row]) -> None:
    """One line an evaluation: when each of its jobs ran, and in between it waited."""
    spans = [_spans(row.metrics) if row.metrics else [] for row in rows]
    whole = max((row.metrics.makespan or 0.0 for row in rows if row.metrics), default=0.0)
    by, palette, visible = _legend(list(itertools.chain.from_iterable(spans)), _VISIBLE * whole)
    for place, (row, ran) in enumerate(zip(rows, spans, strict=True)):
        axis.barh(place, (row.metrics.makespan if row.metrics else None) or 0.0, color="#E5E5E5", height=0.8)
        lanes = max((span.lane for span in ran), default=0) + 1
        for span in ran:
            middle = place - 0.4 + 0.8 * (span.lane + 0.5) / lanes
            axis.barh(middle, span.length, left=span.start, height=0.8 / lanes, color=palette[by(span)])
    for name in visible:
        axis.barh(0, 0.0, color=palette[name], label=name)
    axis.set_yticks(range(len(rows)), [row.evaluation.eval_id for row in rows])
    axis.invert_yaxis()
    axis.set(xlabel="time since the workflow started [s]", ylabel="evaluation")
    axis.set_title("where the time went")
    if visible:
        axis.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _legend(spans: Sequence[_Span], least: float) -> tuple[Callable[[_Span], str], dict[str, str], list[str]]:
    """What a colour stands for, a job or where there are too many of them a transformation; the colours; who is seen.

    Seen is who took longer than `least` [s].
    """
    for by in (operator.attrgetter("job_id"), operator.attrgetter("transformation")):
        names = list(dict.fromkeys(map(by, spans)))
        seen = {by(span) for span in spans if span.length > least}
        if len(seen) <= len(_PALETTE):
            break
    return by, dict(zip(names, itertools.cycle(_PALETTE), strict=False)), [name for name in names if name in seen]


def _spans(metrics: WorkflowMetrics) -> list[_Span]:
    """Attempts in the order of their start, those that ran side by side in lanes of their own."""
    ran = sorted(
        (attempt.start, attempt.wall_time, job.job_id, job.transformation or job.job_id)
        for job in metrics.jobs
        for attempt in job.attempts
        if attempt.start is not None and attempt.wall_time is not None
    )
    free_at: list[float] = []
    spans = []
    for start, length, job_id, transformation in ran:
        # A job and the one after it may overlap by the time it takes to notice an end.
        lane = next((index for index, free in enumerate(free_at) if free <= start + _NOTICE), len(free_at))
        free_at[lane : lane + 1] = [start + length]
        spans.append(_Span(job_id, transformation, start - (metrics.start or ran[0][0]), length, lane))
    return spans
