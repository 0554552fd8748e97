"""A study directory as the dashboard shows it: evaluations out of its journal, what they cost out of its store."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from ..findings import Front, best, comparable, pareto_front, response_names
from ..study.journal import STOPPED, Evaluation, Reader
from ._alive import Watch
from ._facts import Facts
from ._numbers import Numbers
from ._places import Place
from ._source import COSTS, Source
from .documents import Column, EvaluationRow, Objective, StudyDocument, StudyState

_NOT_GIVEN = "this evaluation did not set it"


class StudySource(Source):
    """A study directory: its evaluations come from the journal, what they cost from the store."""

    def __init__(self, place: Place, cache: Path | None = None) -> None:
        super().__init__(place, cache)
        self._journal = Reader(place.folder)
        self._watch = Watch(place.folder)
        self._facts = Facts(place.home)
        self._evaluations: dict[str, Evaluation] = {}
        self._by_run: dict[str, str] = {}
        self._asked: list[str] = []
        self._columns = list(COSTS)
        self._front: Front | None = None
        self._trouble: str | None = None
        self._state: object = None

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def front(self) -> list[str]:
        return [evaluation.key for evaluation in self._front.evaluations] if self._front else []

    @property
    def outdated(self) -> int:
        return len(self._journal.evaluations) - len(self._evaluations)

    def _advance(self) -> None:
        moved = self._read_journal()
        told = self._facts.advance()
        if moved or told:
            self._order(moved)
        self._look_into_store()
        state = self._watch.alive(), self._shelf.problem, self._trouble
        if moved or told or state != self._state:
            self._state = state
            self._summarise()

    def _read_journal(self) -> set[str]:
        try:
            moved = self._journal.advance()
        except OSError as problem:
            self._trouble = f"{self.place.folder}: the journal cannot be read: {problem.strerror or problem}"
            return set()
        there = bool(self._journal.evaluations) or os.path.isdir(self.place.home)
        self._trouble = None if there else f"{self.place.said}: there is no such study, and no such store"
        return moved

    def _order(self, moved: set[str]) -> None:
        """Take in what the journal tells now."""
        before = self._evaluations
        self._evaluations = {evaluation.key: evaluation for evaluation in comparable(self._journal.evaluations)}
        self._by_run = {each.wf_uuid: each.key for each in self._evaluations.values() if each.wf_uuid}
        self._asked = response_names(self._evaluations.values())
        self._front = self._found_front(moved, before)
        self._touch(moved | (before.keys() ^ self._evaluations.keys()))
        columns = self._new_columns()
        if columns != self._columns:
            self._columns = columns
            self._rows.clear()
        self.runs.want(self._by_run)
        ended = (self._evaluations[key] for key in moved & self._evaluations.keys())
        self.runs.hurry(each.wf_uuid for each in ended if each.over and each.wf_uuid)

    def _found_front(self, moved: set[str], before: dict[str, Evaluation]) -> Front | None:
        """The Pareto front: as long as nothing is taken back, only what is new can join those that are on it."""
        senses = self._facts.maximized
        if not self._asked or len(senses) < 2:
            return None
        large = dict(zip(self._asked, senses, strict=False))
        known, now = self._front, self._evaluations
        grown = before.keys() <= now.keys() and all(
            before[key].responses.items() <= now[key].responses.items() for key in moved & before.keys()
        )
        if known is None or known.maximized != large or not grown:
            return pareto_front(now.values(), large)
        candidates = moved | {each.key for each in known.evaluations}
        return pareto_front((each for each in now.values() if each.key in candidates), large)

    def _summarise(self) -> None:
        problem = self._trouble or self._shelf.problem
        every = list(self._evaluations.values())
        going_on = sum(not each.over for each in every)
        stopped = sum(each.state == STOPPED for each in every)
        failed = sum(each.failed for each in every)
        state = self._stands(going_on > 0)
        objective = self._asked[0] if self._asked else None
        largest = self._facts.maximized[0]
        found = best(every, objective, largest)
        ends = [each.ended for each in every if each.ended is not None]
        self._tell_summary(
            self._blank(
                state,
                problem=problem,
                workflow=self._facts.workflow,
                site=self._facts.site,
                engine=self._facts.engine,
                evaluations=len(every),
                done=len(every) - going_on - failed - stopped,
                failed=failed,
                running=going_on,
                stopped=stopped,
                objective=objective,
                maximized=largest,
                best=found.responses[objective] if found and objective else None,
                best_evaluation=found.key if found else None,
                started=min((each.started for each in every if each.started is not None), default=None),
                ended=None if state == "running" else max(ends, default=None),
            )
        )

    def _stands(self, going_on: bool) -> StudyState:
        if self._trouble:
            return "unreadable"
        if self._watch.alive():
            return "running"
        if going_on:
            return "interrupted"
        return "finished" if self._evaluations else "empty"

    def columns(self) -> list[Column]:
        return self._columns

    def _new_columns(self) -> list[Column]:
        units = self._facts.units
        variables = dict.fromkeys(name for each in self._evaluations.values() for name in each.variables)
        return [
            *(Column(name=name, kind="parameter", unit=units.get(name, "")) for name in variables),
            *(Column(name=name, kind="response", unit=self._facts.response_unit(name)) for name in self._asked),
            *COSTS,
        ]

    def document(self) -> StudyDocument:
        large = dict(zip(self._asked, self._facts.maximized, strict=False))
        return StudyDocument(
            summary=self.summary,
            columns=self.columns(),
            objectives=[Objective(name=name, maximized=most) for name, most in large.items()],
            truth=self._facts.truth,
            front=self.front,
            evaluations=self.rows(),
            outdated=self.outdated,
            unread=self.unread,
        )

    def keys(self) -> Collection[str]:
        return self._evaluations.keys()

    def _row(self, key: str) -> EvaluationRow:
        evaluation = self._evaluations[key]
        variables = [column.name for column in self._columns if column.kind == "parameter"]
        values, reasons = self._costs(evaluation.wf_uuid)
        found = self.runs.numbers.get(evaluation.wf_uuid or "")
        given = [evaluation.variables.get(name) for name in variables]
        answers = [evaluation.responses.get(name) for name in self._asked]
        reasons = (
            {name: _NOT_GIVEN for name in variables if name not in evaluation.variables}
            | {name: _unanswered(evaluation) for name in self._asked if name not in evaluation.responses}
            | reasons
        )
        return EvaluationRow(
            key=evaluation.key,
            eval_id=evaluation.eval_id,
            state="running" if evaluation.state == "submitted" and _has_begun(found) else evaluation.state,
            wf_uuid=evaluation.wf_uuid,
            message=evaluation.message,
            failed=evaluation.failed,
            over=evaluation.over,
            started=evaluation.started,
            ended=evaluation.ended,
            jobs=found.jobs_total if found else None,
            jobs_done=found.jobs_succeeded if found else None,
            values=[*given, *answers, *values],
            reasons=reasons,
            times=found.times if found else None,
            read=self._read(evaluation.wf_uuid),
        )

    def evaluation(self, wf_uuid: str) -> Evaluation | None:
        journal = self._journal.evaluations
        key = self._by_run.get(wf_uuid)
        if key is not None:
            return journal[key]
        return next((each for each in journal.values() if each.wf_uuid == wf_uuid), None)

    def key(self, wf_uuid: str) -> str | None:
        return self._by_run.get(wf_uuid)

    def close(self) -> None:
        super().close()
        self._watch.close()


def _has_begun(found: Numbers | None) -> bool:
    """Whether a run is more than planned."""
    return found is not None and found.state not in ("planned", "unreadable")


def _unanswered(evaluation: Evaluation) -> str:
    if not evaluation.over:
        return "the evaluation goes on"
    return evaluation.message or f"the evaluation has {evaluation.state}"
