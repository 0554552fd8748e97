"""A store that belongs to no study as the dashboard shows it: its workflow runs stand for evaluations."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..errors import StoreError
from ..store import WorkflowSummary
from ..study.journal import Evaluation
from ._numbers import Numbers
from ._places import Place
from ._source import COSTS, Source
from .documents import Column, EvaluationRow, StudyDocument, StudyState

_OVER = ("succeeded", "failed")


class StoreSource(Source):
    """A store that belongs to no study: its workflow runs stand for evaluations."""

    def __init__(self, place: Place, cache: Path | None = None) -> None:
        super().__init__(place, cache)
        self._runs: dict[str, WorkflowSummary] = {}
        self._summarised = False
        self._listed = True

    def _advance(self) -> None:
        moved = self._look_into_store().marks
        if not self._listed or any(self._unnamed(wf_uuid) for wf_uuid in moved):
            self._list()
        self._touch(moved)
        if moved or not self._summarised or self._problem != self.summary.problem:
            self._summarise()

    def take(self, wf_uuid: str, found: Numbers, mark: int, seconds: float = 0.0) -> None:
        super().take(wf_uuid, found, mark, seconds)
        self._summarised = False

    def _unnamed(self, wf_uuid: str) -> bool:
        known = self._runs.get(wf_uuid)
        return known is None or known.label is None or known.root is None

    def _list(self) -> None:
        try:
            self._runs = {run.wf_uuid: run for run in self.store().workflows()}
        except StoreError:
            self._listed = False  # the next look tells, and lists them
            return
        self._listed = True
        self.runs.want(self._runs)

    def _summarise(self) -> None:
        self._summarised = True
        read = [self.runs.numbers[wf_uuid] for wf_uuid in self._runs if wf_uuid in self.runs.numbers]
        states = [each.state for each in read]
        going_on = sum(state in ("planned", "running") for state in states)
        ends = [each.end for each in read if each.end is not None]
        firsts = [run.first for run in self._runs.values() if run.first is not None]
        self._tell_summary(
            self._blank(
                self._stands(going_on > 0),
                problem=self._problem,
                evaluations=len(self._runs),
                done=states.count("succeeded"),
                failed=states.count("failed"),
                running=going_on,
                started=min(firsts, default=None),
                ended=None if going_on else max(ends, default=None),
            )
        )

    def _stands(self, going_on: bool) -> StudyState:
        if self._problem:
            return "unreadable"
        if going_on:
            return "running"
        return "finished" if self._runs else "empty"

    def columns(self) -> list[Column]:
        return list(COSTS)

    def document(self) -> StudyDocument:
        return StudyDocument(summary=self.summary, columns=self.columns(), evaluations=self.rows(), unread=self.unread)

    def keys(self) -> Collection[str]:
        return self._runs.keys()

    def _row(self, key: str) -> EvaluationRow:
        run = self._runs[key]
        values, reasons = self._costs(run.wf_uuid)
        found = self.runs.numbers.get(run.wf_uuid)
        state = found.state if found else "unknown"
        return EvaluationRow(
            key=run.wf_uuid,
            eval_id=self._label(run),
            state=state,
            wf_uuid=run.wf_uuid,
            failed=state == "failed",
            over=state in _OVER,
            started=found.start if found and found.start is not None else run.first,
            ended=found.end if found else None,
            jobs=found.jobs_total if found else None,
            jobs_done=found.jobs_succeeded if found else None,
            values=list(values),
            reasons=reasons,
            times=found.times if found else None,
            read=self._read(run.wf_uuid),
        )

    def _label(self, run: WorkflowSummary) -> str:
        """Its name, and for a sub-workflow that of the run at the top."""
        own = run.label or run.wf_uuid
        if run.root in (None, run.wf_uuid):
            return own
        root = self._runs.get(run.root or "")
        return f"{own} (part of {(root.label if root else None) or run.root})"

    def evaluation(self, wf_uuid: str) -> Evaluation | None:
        return None

    def key(self, wf_uuid: str) -> str | None:
        return wf_uuid
