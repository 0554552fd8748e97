"""Runs evaluations, each once: rendered, journalled, run, measured, answered."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..collector.completeness import note
from ..collector.darshan import summarise
from ..config import Study, spell
from ..engines.outcome import Outcome
from ..errors import EvaluationTimeoutError, PanoramaError, StoreError, UsageError
from ..metrics import correlate, failure_words, thinned
from ..render import render
from ..store import Store
from .adaptation import Adaptation
from .answers import ANSWERABLE, Answers, Reply, Report, asked_of
from .client import FOLDER
from .definition import Definition, Request
from .journal import STOPPED, Evaluation, Journal
from .runners import Follower, Runner, Ticket, make_runner


class Listener(NamedTuple):
    """Who waits for an evaluation: gets words now and then, and what runs it calls it once it has been handed over."""

    report: Report
    handed: Report


_log = logging.getLogger(__name__)
_POLL = 0.5
_CANCELLED = "when it is asked for again, it goes on where it stopped"


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
        self._runner: Runner | None = None
        self._made_for: Study | None = None
        self._runners: list[Runner] = []
        self._running: dict[str, _Running] = {}
        self._alone: set[asyncio.Task[None]] = set()
        self._removals: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._rendering = asyncio.Lock()
        self._answers = Answers(self._home, journal, store)
        self.adaptation = Adaptation(self, journal, store, self._home / FOLDER)

    @property
    def idle(self) -> bool:
        """Nothing runs."""
        return not self._running and not self._removals

    async def reply(self, request: Request, listener: Listener) -> Reply:
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
            evaluation = await self._settled(definition, key, request, listener)
            return self._answers.answer(definition, evaluation, request, listener.report)
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
            if running and len(running.listeners) <= asked:
                running.task.cancel()

    def answer_alone(self, requests: Iterable[Request]) -> None:
        """See that evaluations whose client has gone are answered when they end, for those who look later."""
        for request in requests:
            key = self._key(request)
            if key in self._running:
                task = asyncio.create_task(self._answer_alone(key, request, self._running[key]))
                self._alone.add(task)
                task.add_done_callback(self._alone.discard)

    async def _answer_alone(self, key: str, request: Request, running: _Running) -> None:
        await asyncio.wait({running.task})
        try:
            self._answers.answer(self._define(), self._journal.evaluations[key], request, _log.info)
        except PanoramaError as problem:
            _log.warning("evaluation %s: %s", request.eval_id, problem)

    async def end(self, keys: Iterable[str]) -> tuple[list[str], dict[str, str]]:
        """End evaluations by their keys, whoever waits for them.

        Returns
        -------
        ended : list of str
            Keys of those that had not ended, and do now.
        problems : dict
            Keys of those that could not be ended, and why.
        """
        self._define()
        ended, problems = list[str](), dict[str, str]()
        for key in keys:
            evaluation = self._journal.evaluations.get(key)
            if key not in self._running and (evaluation is None or evaluation.over):
                continue
            try:
                await self._end(key)
                ended.append(key)
            except PanoramaError as problem:
                problems[key] = str(problem)
        return ended, problems

    def stop(self, key: str, reason: str, bounds: Mapping[str, float], formulas: str) -> bool:
        """End an evaluation that is hopeless, and answer it with what its responses, made by these formulas, have
        reached; whether it ran."""
        running = self._running.get(key)
        if running is None or running.ending or running.task.cancelling():
            return False
        running.stopped = _Stopped(reason, bounds, formulas)
        running.task.cancel()
        return True

    @property
    def running(self) -> list[Evaluation]:
        """Evaluations whose workflows run, and are not about to end."""
        going_on = [key for key, each in self._running.items() if not each.ending and not each.task.cancelling()]
        known = map(self._journal.evaluations.get, going_on)
        return [each for each in known if each is not None and not each.over and each.wf_uuid is not None]

    async def _end(self, key: str) -> None:
        if key in self._running:
            self._running[key].task.cancel()
        else:
            await self._end_left(key)

    async def _end_left(self, key: str) -> None:
        """End an evaluation that was left running when the server before this one ended."""
        assert self._runner is not None
        evaluation = self._journal.evaluations[key]
        await self._runner.end(self._ticket(evaluation, again=False))
        self._journal.record(key, state="cancelled", message=_CANCELLED)

    def _key(self, request: Request) -> str:
        """Its key, or nothing where it has none and so does not run."""
        try:
            return self._define().key(request)
        except UsageError:
            return ""

    async def cancel_all(self) -> None:
        """End all that runs, and wait for that."""
        await self.adaptation.close()
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(runner.close() for runner in self._runners))
        await asyncio.gather(*self._removals)

    def leave(self) -> None:
        """Let workflows that can run without this process go on when it ends."""
        self._leaving = True
        for runner in self._runners:
            runner.leave()

    def _define(self) -> Definition:
        if self._definition is None or self._definition.stale:
            self._definition = Definition(self._file)
        study = self._definition.study
        made_for = self._made_for
        if made_for is None or (made_for != study and self.idle) or made_for.engine != study.engine:
            self._runner, self._made_for = make_runner(study, self._home, self._definition.site, self._runners), study
            self._runners.append(self._runner)
        return self._definition

    async def _settled(self, definition: Definition, key: str, request: Request, listener: Listener) -> Evaluation:
        known = self._journal.evaluations.get(key)
        if known is not None and known.state == STOPPED and _suffices(known, definition, request):
            return known
        if known is not None and known.state in ANSWERABLE:
            listener.report("known, its workflow has finished before")
            self._refill(known)
            return known
        running = self._running.get(key)
        if running is None:
            running = _Running(asyncio.create_task(self._run(definition, key, request)), request.priority)
            self._running[key] = running
            running.task.add_done_callback(lambda _: self._ended(key))
        listener.report(spell(request.variables))
        if running.name:
            listener.handed(running.name)
        running.listeners.append(listener)
        try:
            await asyncio.shield(running.task)
        except asyncio.CancelledError:
            if not running.task.cancelled():
                raise
        finally:
            running.listeners.remove(listener)
        return self._journal.evaluations[key]

    def _refill(self, known: Evaluation) -> None:
        """A power cut may have taken the store's last commits, and a user the store: the run folder has it all."""
        if not any(self._store.events(known.wf_uuid or "", {"stampede.xwf.end"})):
            assert self._runner is not None
            _finish(self._runner.follower(self._home / known.directory, self._store), known.directory)

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
        if evaluation.state == STOPPED:  # it is asked for what it had not told
            evaluation = self._journal.record(key, durably=False, state="cancelled", responses={})
        state, message, decided_by = "failed", "", ""
        left = False
        reached: dict[str, Any] = {}
        try:
            outcome = await self._run_workflow(definition, evaluation)
            state, message = ("succeeded", "") if outcome.succeeded else ("failed", outcome.reason)
            decided_by = outcome.decided_by
        except EvaluationTimeoutError as problem:
            state, message = "timeout", str(problem)
        except asyncio.CancelledError:
            if (stopped := self._running[key].stopped) is not None:
                state, message = STOPPED, stopped.reason
                reached = {"responses": dict(stopped.bounds), "formulas": stopped.formulas}
                return
            state, message = "cancelled", _CANCELLED
            left = self._leaving and definition.study.engine != "local"
            raise
        except (PanoramaError, OSError) as problem:
            message = str(problem)
        except Exception as problem:
            message = f"internal error {type(problem).__name__}: {problem}; server.log has the traceback"
            raise
        finally:
            if not left:
                self._journal.record(key, state=state, message=message, decided_by=decided_by, **reached)
                told = f" (told by {decided_by})" if decided_by else ""
                _log.info("evaluation %s %s%s %s", evaluation.eval_id, state, told, message)

    async def _run_workflow(self, definition: Definition, evaluation: Evaluation) -> Outcome:
        assert self._runner is not None
        runner = self._runner
        directory = self._home / evaluation.directory
        follower = runner.follower(directory, self._store)
        watch = asyncio.create_task(_keep_polling(follower))
        outcome: Outcome | None = None
        try:
            async with asyncio.timeout(definition.study.timeout_seconds):
                again = evaluation.over
                evaluation = await self._submitted(definition, runner, evaluation, directory)
                await self.adaptation.prepare(definition, runner)
                outcome = await self._with_retries(definition, runner, evaluation, again)
                self._running[evaluation.key].ending = True
        except TimeoutError:
            pass  # told below, once what the run left has been collected
        finally:
            watch.cancel()
            problems = _finish(follower, evaluation.directory)
            if outcome is None:
                task = asyncio.create_task(self._follow_removal(runner, evaluation.directory))
                self._removals.add(task)
                task.add_done_callback(self._removals.discard)
        if (wf_uuid := self._journal.evaluations[evaluation.key].wf_uuid) is not None:
            ended = outcome is not None
            await asyncio.to_thread(_complete, self._store, wf_uuid, directory, problems, read_logs=ended)
        if outcome is None:
            raise EvaluationTimeoutError(f"ran longer than {definition.study.timeout}; study.yml: timeout")
        return self._explained(evaluation.key, outcome)

    async def _follow_removal(self, runner: Runner, where: str) -> None:
        """A workflow that was given up is removed in the background, and tells its end after its evaluation's."""
        await runner.removed()
        _finish(runner.follower(self._home / where, self._store), where)

    async def _submitted(
        self, definition: Definition, runner: Runner, evaluation: Evaluation, directory: Path
    ) -> Evaluation:
        """Render the bundle, unless that is done, and write down that it is about to run."""
        if not (directory / "bundle.json").is_file():
            parameters, options = definition.values(evaluation.variables)
            async with (
                self._rendering
            ):  # in a thread, since a user's build() may never return; one, as it may be unsafe
                await asyncio.to_thread(
                    lambda: render(
                        definition.folder,
                        definition.site,
                        parameters,
                        options,
                        directory,
                        runner.monitoring(),
                        runner.planner(),
                        definition.inputs,
                    )
                )
        changes: dict[str, Any] = {}
        if evaluation.wf_uuid is None and (wf_uuid := runner.new_uuid()):
            changes["wf_uuid"] = wf_uuid
        if evaluation.state == "submitted" and not changes:
            return evaluation
        return self._journal.record(evaluation.key, state="submitted", message="", **changes)

    async def _with_retries(
        self, definition: Definition, runner: Runner, evaluation: Evaluation, again: bool
    ) -> Outcome:
        outcome = Outcome(succeeded=False)
        for _ in range(definition.study.on_failure.retry + 1):
            outcome = await runner.run(self._ticket(self._journal.evaluations[evaluation.key], again))
            if outcome.succeeded:
                break
            again = True
        return outcome

    def _ticket(self, evaluation: Evaluation, again: bool) -> Ticket:
        key = evaluation.key
        return Ticket(
            directory=self._home / evaluation.directory,
            key=key,
            wf_uuid=evaluation.wf_uuid,
            rank=list(self._journal.evaluations).index(key),
            again=again,
            priority=self._running[key].priority if key in self._running else None,
            planned=lambda wf_uuid: self._planned(key, wf_uuid),
            tell=lambda words: self._tell(key, words),
            handed=lambda name: self._handed(key, name),
        )

    def _planned(self, key: str, wf_uuid: str) -> None:
        if self._journal.evaluations[key].wf_uuid != wf_uuid:
            self._journal.record(key, wf_uuid=wf_uuid)

    def _tell(self, key: str, words: str) -> None:
        """Pass on what people should know of an evaluation that goes on."""
        _log.warning("evaluation %s: %s", self._journal.evaluations[key].eval_id, words)
        self._journal.record(key, durably=False, message=words)
        for listener in self._running[key].listeners if key in self._running else ():
            listener.report(words)

    def _handed(self, key: str, name: str) -> None:
        """Tell those who wait only for that."""
        running = self._running[key]
        if not running.name:
            running.name = name
            for listener in running.listeners:
                listener.handed(name)

    def _explained(self, key: str, outcome: Outcome) -> Outcome:
        """Say which job failed and why, where the one who told the end knows only that something did."""
        wf_uuid = self._journal.evaluations[key].wf_uuid
        if outcome.succeeded or outcome.decided_by == "engine" or wf_uuid is None:
            return outcome
        events = thinned(partial(self._store.events, wf_uuid))
        why = failure_words(correlate(events)) if events else ""
        return Outcome(False, f"{why} ({outcome.reason})" if why else outcome.reason, outcome.decided_by)


class _Stopped(NamedTuple):
    """Why an evaluation is stopped, what its responses have reached, and what they were made by."""

    reason: str
    bounds: Mapping[str, float]
    formulas: str


class _Running:
    """An evaluation in progress, and who waits for it."""

    def __init__(self, task: asyncio.Task[None], priority: int | None) -> None:
        self.task = task
        self.priority = priority
        self.listeners: list[Listener] = []
        self.name = ""
        self.ending = False
        self.stopped: _Stopped | None = None


def _finish(follower: Follower, where: str) -> tuple[str, ...]:
    """Collect the rest of a run that is over; what could not be collected is told."""
    drained = follower.finish()
    for problem in drained.problems:
        _log.warning("%s", problem)
    if drained.dead:
        _log.warning("%s: %d records are no events; the store keeps them as dead letters", where, drained.dead)
    return drained.problems


def _complete(store: Store, wf_uuid: str, directory: Path, problems: Collection[str], read_logs: bool) -> None:
    """Read the Darshan logs that came home, and write down what was lost on its way: all that is on disk is in now."""
    try:
        done = summarise(store, wf_uuid) if read_logs else None
        if done and done.waiting:
            _log.warning("%d Darshan logs are not read: %s", done.waiting, done.problem)
        note(store, wf_uuid, directory, problems)
    except StoreError as problem:
        _log.warning("%s", problem)  # what the workflow did is known, and `panorama reconcile` does this again


async def _keep_polling(follower: Follower) -> None:
    while True:
        await asyncio.sleep(_POLL)
        follower.poll()


def _suffices(stopped: Evaluation, definition: Definition, request: Request) -> bool:
    """Whether lower bounds will do: of these responses as they are defined now, in a study that still allows them."""
    meant = definition.study.adapt.stop_hopeless and stopped.formulas == definition.formulas
    return meant and stopped.responses.keys() >= {*asked_of(definition, request)}


def _refusal(request: Request) -> str:
    """Key in the journal of an evaluation that nothing was run for; one that is asked rightly later replaces it."""
    return f"refused-{request.eval_id}"


def _folder(eval_id: str) -> str:
    """A folder's name from Dakota's number: 7 is 0007, 2:3 is 0002.0003."""
    return ".".join(part.zfill(4) for part in re.findall(r"\w+", eval_id)) or time.strftime("%H%M%S")
