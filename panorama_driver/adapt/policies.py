"""Decides what to do about what is seen while workflows run; the hands of the study's server do it.

Each step is written down before it is taken and after, and is taken once for the same finding, also when the server
was ended and started again in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from ..analysis import Anomaly
from ..config import Adapt
from ..errors import PanoramaError, UsageError
from .journal import Action, Actions, action_id
from .load import Pressure
from .tuning import Tuner

SURE = 0.9
"""Least confidence of an anomaly that something is done about."""
MARGIN = 0.05
"""By what share of the best value a bound must be above it, for an evaluation to be hopeless."""

STALL = 10.0
"""How long an attempt must have stalled before it is ended [s]: what it has done so far is lost then."""

_HOSTS = ("slow_host", "failing_host")
_MOST_STALLED = 1000


class Hands(Protocol):
    """What can be done to a study that runs."""

    async def stop(self, key: str, reason: str, bounds: Mapping[str, float]) -> bool:
        """End an evaluation, which is answered with these bounds; whether it ran."""
        ...

    async def revive(self, key: str) -> None:
        """Let an evaluation that was stopped run again when it is asked for."""
        ...

    async def retry(self, wf_uuid: str, job_id: str, attempt: int, host: str) -> bool:
        """End an attempt and have it tried again elsewhere; whether it ran."""
        ...

    async def avoid(self, hosts: frozenset[str]) -> frozenset[str]:
        """Start nothing new on these hosts, and use all others; those that are avoided now."""
        ...

    async def limit(self, running: int | None) -> None:
        """Let no more than this run at a time; None is what study.yml says."""
        ...


class Candidate(msgspec.Struct, frozen=True):
    """An evaluation that runs, or one that has been answered.

    Attributes
    ----------
    key, eval_id : str
        Which.
    values : mapping of str to float
        Its responses, small ones being good; of one that runs, lower bounds of them.
    """

    key: str
    eval_id: str
    values: Mapping[str, float]


class Adapter:
    """The policies of one study.

    Parameters
    ----------
    adapt : Adapt
        Which of them are on.
    actions : Actions
        Where each step is written down.
    hands : Hands
        What takes it.
    """

    def __init__(self, adapt: Adapt, actions: Actions, hands: Hands) -> None:
        self._adapt = adapt
        self._actions = actions
        self._hands = hands
        self._tuner = Tuner()
        self._stalled: dict[tuple[object, ...], tuple[Anomaly, float]] = {}
        every = actions.known.values()
        self._stopped_before = {one.action_id for one in every if one.what == "stop_evaluation" and one.state == "done"}

    async def restore(self) -> None:
        """Have again what holds: a server that starts, and one whose study.yml was changed, know nothing of it.

        What was written down and perhaps not taken is taken now. Only evaluations that were to be stopped are not: they
        are when they run again and are still hopeless.
        """
        if self.avoided:
            await self._avoid_again()
        if (limit := self.limit) is not None:
            await self._hands.limit(limit)
        for action in self._open("set_running"):
            self._actions.record(action, state="done")
        for action in self._open("retry_attempt"):
            await self._take(action, self._retrying(action))

    def _open(self, what: str) -> list[Action]:
        return [each for each in self._actions.known.values() if each.what == what and each.state == "intended"]

    async def _avoid_again(self) -> None:
        avoided = await self._hands.avoid(self.avoided)
        for action in self._open("avoid_host"):
            self._done(action, "" if action.host in avoided else _LAST)
        if self.avoided != avoided:  # all that there are were asked for, and so none was avoided
            await self._hands.avoid(self.avoided)

    @property
    def avoided(self) -> frozenset[str]:
        """Hosts that are avoided."""
        held = (each for each in self._actions.known.values() if each.what == "avoid_host" and each.holds)
        return frozenset(each.host for each in held if each.host)

    @property
    def limit(self) -> int | None:
        """What may run at a time; None is what study.yml says."""
        tuned = self._tuned()
        if not tuned or any(each.state == "undone" for each in tuned):
            return None
        return tuned[-1].value if tuned[-1].value != self._most(tuned) else None

    def _tuned(self) -> list[Action]:
        return [each for each in self._actions.known.values() if each.what == "set_running" and each.state != "failed"]

    @staticmethod
    def _most(tuned: Sequence[Action]) -> int | None:
        """What study.yml said when the number was first changed."""
        return tuned[0].before

    async def see(self, anomalies: Iterable[Anomaly], now: float) -> None:
        """Do something about anomalies that were found, and about attempts that have stalled for long enough.

        Parameters
        ----------
        anomalies : iterable of Anomaly
            That are new.
        now : float
            This machine's time [s since 1970].
        """
        for anomaly in anomalies:
            sure = anomaly.phase == "found" and anomaly.confidence >= SURE
            if anomaly.kind in _HOSTS and sure and anomaly.host and self._adapt.avoid_hosts:
                await self._avoid(anomaly, anomaly.host)
            if anomaly.kind == "stalled":
                self._note(anomaly, sure, now)
        for key, (stalled, since) in list(self._stalled.items()):
            if now - since >= STALL:
                del self._stalled[key]
                await self._retry(stalled)

    def _note(self, anomaly: Anomaly, sure: bool, now: float) -> None:
        """Remember an attempt that stalls, until it goes on or has for too long, by this machine's clock."""
        key = anomaly.wf_uuid, anomaly.job_id, anomaly.attempt
        self._stalled.pop(key, None)
        if sure and anomaly.host and self._adapt.retry_stalled and len(self._stalled) < _MOST_STALLED:
            self._stalled[key] = anomaly, now - (anomaly.found - anomaly.since)

    async def _avoid(self, anomaly: Anomaly, host: str) -> None:
        action = Action(
            action_id=action_id("avoid_host", host),
            what="avoid_host",
            reason=anomaly.message,
            anomaly=anomaly.anomaly_id,
            wf_uuid=anomaly.wf_uuid,
            host=host,
        )

        async def avoid() -> str:
            return "" if host in await self._hands.avoid(self.avoided) else _LAST

        await self._take(action, avoid)

    async def _retry(self, anomaly: Anomaly) -> None:
        """At most once a job and host: what stalls there again may have a reason that no retry mends."""
        action = Action(
            action_id=action_id("retry_attempt", anomaly.wf_uuid, anomaly.job_id, anomaly.host),
            what="retry_attempt",
            reason=anomaly.message,
            anomaly=anomaly.anomaly_id,
            wf_uuid=anomaly.wf_uuid,
            job_id=anomaly.job_id,
            attempt=anomaly.attempt,
            host=anomaly.host,
        )
        await self._take(action, self._retrying(action))

    def _retrying(self, action: Action) -> Callable[[], Awaitable[str]]:
        async def retry() -> str:
            if action.wf_uuid is None or action.job_id is None or action.attempt is None or action.host is None:
                return "it does not tell which attempt"
            ended = await self._hands.retry(action.wf_uuid, action.job_id, action.attempt, action.host)
            return "" if ended else "the attempt had ended"

        return retry

    async def weigh(self, running: Iterable[Candidate], answered: Sequence[Candidate]) -> None:
        """Stop those that run and cannot be better than what has been answered in any response."""
        for each in running if self._adapt.stop_hopeless else ():
            beaten_by = next((other for other in answered if hopeless(each.values, other.values)), None)
            if beaten_by is not None:
                await self._stop(each, beaten_by)

    async def _stop(self, candidate: Candidate, better: Candidate) -> None:
        numbers = ", ".join(
            f"{name} is at least {value:.6g}, and {better.values[name]:.6g} there"
            for name, value in candidate.values.items()
        )
        action = Action(
            action_id=action_id("stop_evaluation", candidate.key),
            what="stop_evaluation",
            reason=f"evaluation {candidate.eval_id} cannot beat evaluation {better.eval_id} any more: {numbers}",
            evaluation=candidate.key,
        )

        async def stop() -> str:
            stopped = await self._hands.stop(candidate.key, action.reason, candidate.values)
            return "" if stopped else "it had ended"

        again = action.action_id in self._stopped_before  # and it runs: that server was killed before it had ended
        self._stopped_before.discard(action.action_id)
        await self._take(action, stop, again)

    async def tune(self, pressure: Pressure | None, capacity: int | None, now: float) -> None:
        """Let one less run at a time where storage is what they wait for, and one more again where it is not.

        Parameters
        ----------
        pressure : Pressure or None
            Of the last seconds; None where it is not known.
        capacity : int or None
            What study.yml says; None where nobody has said.
        now : float
            [s since 1970]
        """
        tuned = self._tuned()
        if not self._adapt.tune_running or capacity is None or any(each.state == "undone" for each in tuned):
            return
        before = self.limit or capacity
        wanted = self._tuner.next(pressure, before, capacity, now)
        if wanted is None or pressure is None:
            return
        action = Action(
            action_id=action_id("set_running", len(tuned), before, wanted),
            what="set_running",
            reason=(
                f"jobs wait for storage {pressure.blocked:.0%} of their time and compute {pressure.busy:.0%} of it: "
                f"{'too many' if wanted < before else 'room for more'} at a time"
            ),
            value=wanted,
            before=before,
        )

        async def limit() -> str:
            await self._hands.limit(None if wanted >= capacity else wanted)
            return ""

        await self._take(action, limit)

    async def _take(self, action: Action, act: Callable[[], Awaitable[str]], again: bool = False) -> None:
        """Write an action down, take it, and write down how that went; one that was taken before only if `again`."""
        known = self._actions.known.get(action.action_id)
        if known is not None and known.state != "intended" and not again:
            return
        intended = known if known is not None and known.state == "intended" else self._actions.record(action)
        try:
            problem = await act()
        except (PanoramaError, OSError) as error:
            problem = str(error)
        self._done(intended, problem)

    def _done(self, action: Action, problem: str) -> None:
        self._actions.record(action, state="failed" if problem else "done", message=problem)

    async def undo(self, wanted: str) -> Action:
        """Take an action back, as far as it can be.

        Raises
        ------
        UsageError
            There is none of that id, or nothing of it holds.
        """
        action = self._actions.known.get(wanted)
        if action is None:
            raise UsageError(f"no action {wanted!r}; `panorama adapt` lists them")
        if not action.holds or action.what == "retry_attempt":
            why = "a retried attempt stays as it is" if action.holds else f"it is {action.state}"
            raise UsageError(f"action {wanted}: nothing of it can be taken back: {why}")
        if action.what == "stop_evaluation" and action.evaluation:
            await self._hands.revive(action.evaluation)
        undone = self._actions.record(action, state="undone")
        if action.what == "avoid_host":
            await self._hands.avoid(self.avoided)
        if action.what == "set_running":
            await self._hands.limit(None)
        return undone


_LAST = "it is the last host that jobs can run on"


def hopeless(bounds: Mapping[str, float], answer: Mapping[str, float]) -> bool:
    """Whether responses of which these are lower bounds are worse than an answer, in each of them, by the margin.

    Then no objective, and no front of several, can gain by them. The margin keeps what is nearly as good.
    """
    return bool(bounds) and all(
        name in answer and bound > answer[name] + MARGIN * abs(answer[name]) for name, bound in bounds.items()
    )
