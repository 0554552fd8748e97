"""Runs evaluations, each once: rendered, journalled, run, measured, answered."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..collector.files import RunFollower
from ..config import spell
from ..engines.local import Outcome, Slots, machine_slots, run_bundle
from ..errors import EvaluationTimeoutError, PanoramaError, ResponseError, StoreError, UsageError
from ..metrics import WorkflowMetrics, correlate
from ..objective import Responses
from ..render import load_bundle, render
from ..store import Store
from .definition import GRADIENT, HESSIAN, VALUE, Definition, Request
from .journal import Evaluation, Journal

Report = Callable[[str], None]
Reply = dict[str, Any]

_log = logging.getLogger(__name__)
_POLL = 0.5
_ANSWERABLE = ("succeeded", "unanswered")


class Evaluations:
    """The evaluations of one study.

    Parameters
    ----------
    study_file : Path
        study.yml.
    journal : Journal
        Where each step is written down.
    store : Store
        Where what happened is kept.
    on_end : callable
        Called when an evaluation has ended, whether someone waits for it or not.
    """

    def __init__(self, study_file: Path, journal: Journal, store: Store, on_end: Callable[[], None]) -> None:
        self._file = study_file
        self._home = study_file.parent
        self._journal = journal
        self._store = store
        self._on_end = on_end
        self._definition: Definition | None = None
        self._slots: Slots | None = None
        self._running: dict[str, _Running] = {}
        self._rendering = asyncio.Lock()

    @property
    def idle(self) -> bool:
        """Nothing runs."""
        return not self._running

    async def reply(self, request: Request, report: Report) -> Reply:
        """Have one evaluation run, unless it has been or is running, and give what Dakota gets.

        Cancelled, it leaves the evaluation running for others who wait for it; `cancel` ends it.
        """
        on_failure: str | float = "fail"
        key = ""
        try:
            definition = self._define()
            on_failure = definition.study.on_failure.then
            definition.check_request(request)
            key = definition.key(request)
            self._journal.withdraw(_refusal(request))
            evaluation = await self._settled(definition, key, request, report)
            return self._answer(definition, evaluation, request, report)
        except PanoramaError as problem:
            _log.warning("evaluation %s%s: %s", request.eval_id, "" if key else " refused", problem)
            if not key:
                self._refuse(request, str(problem))
            return {"state": "failed", "message": str(problem), "on_failure": on_failure}
        except Exception as problem:  # noqa: BLE001 (a mistake of ours costs one evaluation, not the study)
            _log.exception("evaluation %s", request.eval_id)
            words = f"internal error {type(problem).__name__}: {problem}; server.log has the traceback"
            return {"state": "failed", "message": words, "on_failure": on_failure}

    def _refuse(self, request: Request, message: str) -> None:
        """Tell those who look at the study later of an evaluation that cannot be run."""
        wrong = {"eval_id": request.eval_id, "variables": request.variables, "state": "refused", "message": message}
        try:
            self._journal.record(_refusal(request), durably=False, **wrong)
        except StoreError as problem:
            _log.warning("%s", problem)  # whoever asked is told the refusal all the same

    def cancel(self, requests: Iterable[Request]) -> None:
        """End evaluations that nobody waits for but those who asked these."""
        for key, asked in Counter(map(self._key, requests)).items():
            running = self._running.get(key)
            if running and running.waiting <= asked:
                running.task.cancel()

    def _key(self, request: Request) -> str:
        """Its key, or nothing where it has none and so does not run."""
        try:
            return self._define().key(request)
        except UsageError:
            return ""

    async def cancel_all(self) -> None:
        """End all that runs, and wait for that."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _define(self) -> Definition:
        if self._definition is None or self._definition.stale:
            self._definition = Definition(self._file)
        if self._slots is None or self.idle:
            wanted = self._definition.study.slots
            self._slots = machine_slots(None if wanted == "auto" else wanted)
        return self._definition

    async def _settled(self, definition: Definition, key: str, request: Request, report: Report) -> Evaluation:
        known = self._journal.evaluations.get(key)
        if known is not None and known.state in _ANSWERABLE:
            report("known, its workflow has finished before")
            self._refill(known)
            return known
        running = self._running.get(key)
        if running is None:
            running = _Running(asyncio.create_task(self._run(definition, key, request)))
            self._running[key] = running
            running.task.add_done_callback(lambda _: self._ended(key))
        report(spell(request.variables))
        running.waiting += 1
        try:
            await asyncio.shield(running.task)
        except asyncio.CancelledError:
            if not running.task.cancelled():
                raise
        finally:
            running.waiting -= 1
        return self._journal.evaluations[key]

    def _refill(self, known: Evaluation) -> None:
        """A power cut may have taken the store's last commits, and a user the store: the run folder has it all."""
        if not any(self._store.events(known.wf_uuid or "", {"stampede.xwf.end"})):
            _finish(RunFollower(self._home / known.directory / "run", self._store))

    def _ended(self, key: str) -> None:
        del self._running[key]
        self._on_end()

    async def _run(self, definition: Definition, key: str, request: Request) -> None:
        """Run one evaluation to its end, and write down how it ended."""
        evaluation = self._journal.evaluations.get(key) or self._journal.record(
            key,
            durably=False,
            state="received",
            eval_id=request.eval_id,
            variables=request.variables,
            directory=f"evaluations/{_folder(request.eval_id)}-{key[:8]}",
            definition=definition.fingerprint,
        )
        state, message = "failed", ""
        try:
            outcome = await self._run_workflow(definition, evaluation)
            state, message = ("succeeded", "") if outcome.succeeded else ("failed", outcome.reason)
        except EvaluationTimeoutError as problem:
            state, message = "timeout", str(problem)
        except asyncio.CancelledError:
            state, message = "cancelled", "asked again, it goes on where it stopped"
            raise
        except (PanoramaError, OSError) as problem:
            message = str(problem)
        except Exception as problem:
            message = f"internal error {type(problem).__name__}: {problem}; server.log has the traceback"
            raise
        finally:
            self._journal.record(key, state=state, message=message)
            _log.info("evaluation %s %s %s", evaluation.eval_id, state, message)

    async def _run_workflow(self, definition: Definition, evaluation: Evaluation) -> Outcome:
        directory = self._home / evaluation.directory
        limit = definition.study.timeout_seconds
        follower = RunFollower(directory / "run", self._store)
        watch = asyncio.create_task(_keep_polling(follower))
        try:
            async with asyncio.timeout(limit):
                evaluation = await self._submitted(definition, evaluation, directory)
                return await self._with_retries(definition, evaluation, directory)
        except TimeoutError:
            raise EvaluationTimeoutError(f"ran longer than {definition.study.timeout}; study.yml: timeout") from None
        finally:
            watch.cancel()
            _finish(follower)

    async def _submitted(self, definition: Definition, evaluation: Evaluation, directory: Path) -> Evaluation:
        """Render the bundle, unless that is done, and write down that it is about to run."""
        if evaluation.wf_uuid is None or not (directory / "bundle.json").is_file():
            parameters, options = definition.values(evaluation.variables)
            async with (
                self._rendering
            ):  # in a thread, since a user's build() may never return; one, as it may be unsafe
                await asyncio.to_thread(render, definition.folder, definition.site, parameters, options, directory)
            return self._journal.record(evaluation.key, state="submitted", wf_uuid=str(uuid.uuid4()))
        if evaluation.over:
            return self._journal.record(evaluation.key, state="submitted", message="")
        return evaluation

    async def _with_retries(self, definition: Definition, evaluation: Evaluation, directory: Path) -> Outcome:
        assert self._slots is not None
        assert evaluation.wf_uuid is not None
        site = load_bundle(directory).execution
        rank = list(self._journal.evaluations).index(evaluation.key)
        outcome = Outcome(succeeded=False)
        for _ in range(definition.study.on_failure.retry + 1):
            outcome = await run_bundle(
                directory, site, evaluation.wf_uuid, self._slots, definition.study.interval_seconds, rank
            )
            if outcome.succeeded:
                break
        return outcome

    def _answer(self, definition: Definition, evaluation: Evaluation, request: Request, report: Report) -> Reply:
        """What goes back to Dakota: responses out of metrics and output files, computed from what is stored."""
        on_failure = definition.study.on_failure.then
        if evaluation.state not in _ANSWERABLE:
            return {"state": evaluation.state, "message": evaluation.message, "on_failure": on_failure}
        measured = self._measured(evaluation)
        asked = [label for label, active in request.asv.items() if active & VALUE]
        if not request.asv:
            asked = list(definition.responses.forms)
        output = self._home / evaluation.directory / "output"
        try:
            found = definition.responses.only(asked).evaluate(measured, output)
            responses = {label: found[label] for label in asked}  # in Dakota's order: the first is the objective
        except ResponseError as problem:
            self._journal.record(evaluation.key, durably=False, state="unanswered", message=str(problem))
            raise
        known = {label: value for label, value in evaluation.responses.items() if label in definition.responses.forms}
        together = responses | {label: value for label, value in known.items() if label not in responses}
        if together != evaluation.responses or evaluation.state != "succeeded":
            changes = {"state": "succeeded", "message": "", "responses": together}
            self._journal.record(evaluation.key, durably=False, **changes)
        report(f"{spell(responses)}, makespan {_seconds(measured.makespan)}")
        return {
            "state": "ok",
            "responses": responses,
            "gradients": self._derivatives(request, GRADIENT, definition.responses.gradient, output),
            "hessians": self._derivatives(request, HESSIAN, definition.responses.hessian, output),
            "metadata": _metadata(definition.responses, request.metadata, measured, output),
            "message": "",
            "on_failure": on_failure,
            "wf_uuid": evaluation.wf_uuid,
        }

    @staticmethod
    def _derivatives(request: Request, bit: int, find: Callable[..., Any], output: Path) -> dict[str, Any]:
        return {label: find(label, request.dvv, output) for label, active in request.asv.items() if active & bit}

    def _measured(self, evaluation: Evaluation) -> WorkflowMetrics:
        assert evaluation.wf_uuid is not None
        events = list(self._store.events(evaluation.wf_uuid))
        if not events:
            raise StoreError(
                f"nothing is left of evaluation {evaluation.eval_id}: neither the store nor "
                f"{self._home / evaluation.directory / 'run'} has its events; restore that folder"
            )
        return correlate(events)


class _Running:
    """An evaluation in progress, and how many wait for it."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.waiting = 0


def _finish(follower: RunFollower) -> None:
    """Collect the rest of a run that is over; what could not be collected is told."""
    drained = follower.finish()
    for problem in drained.problems:
        _log.warning("%s", problem)
    if drained.dead:
        _log.warning("%s: %d lines are no events; the store keeps them as dead letters", follower.run_dir, drained.dead)


async def _keep_polling(follower: RunFollower) -> None:
    while True:
        await asyncio.sleep(_POLL)
        follower.poll()


def _refusal(request: Request) -> str:
    """Key in the journal of an evaluation that nothing was run for; one that is asked rightly later replaces it."""
    return f"refused-{request.eval_id}"


def _metadata(known: Responses, names: list[str], measured: WorkflowMetrics, output: Path) -> dict[str, float]:
    """Responses and metrics of the workflow by name; one that is unknown is left out, since Dakota can do without."""
    found: dict[str, float] = {}
    for name in names:
        try:
            found |= known.only([name]).evaluate(measured, output)
        except ResponseError as problem:
            _log.warning("metadata %s: %s", name, problem)
        metric = getattr(measured, name, None)
        if isinstance(metric, int | float) and math.isfinite(metric):
            found.setdefault(name, float(metric))
    return found


def _folder(eval_id: str) -> str:
    """A folder's name from Dakota's number: 7 is 0007, 2:3 is 0002.0003."""
    return ".".join(part.zfill(4) for part in re.findall(r"\w+", eval_id)) or time.strftime("%H%M%S")


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"
