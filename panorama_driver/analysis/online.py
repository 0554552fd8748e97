"""Looks at events as they come, and says at once what is not as it should be.

A `Watch` knows nothing of stores and of clocks: it is given events in the order in which they arrive, and now and then
the time. What it says depends on these alone, so that a second one that is given the same says the same. Each attempt
is compared with the earlier ones of its transformation; where there are fewer than ten, only what speaks for itself is
told, with little confidence.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from ..events import Event
from ..sources.hosts import place, short_name
from ..sources.stampede import exit_code
from ..sources.traces import TRACE
from ._online_attempts import Attempt, AttemptKey, Open, StreamKey
from ._online_hosts import Hosts, Outcome, slow_outcome
from ._online_rules import RULES, Sign
from ._online_stream import Reading, Stream, quantity
from ._online_waiting import in_queue, overdue, silence
from .history import UNKNOWN, History, Limits
from .records import Anomaly, Kind

DETECTOR = "online 1"
MOST_ATTEMPTS = 20_000
"""Attempts that are watched at a time; of more, those that came first are forgotten."""
MOST_RUNS = 500
"""Workflow runs whose plan is known at a time."""
EPISODES = 8
"""How often one kind is told of one attempt."""

_QUIET = 3  # readings after which something is over
_WAITING = 256  # attempts that have ended, and whose last samples may still be on their way


class _Run:
    """The plan of a workflow run."""

    def __init__(self) -> None:
        self.tasks: dict[str, str] = {}
        self.jobs: dict[str, str] = {}


class Watch:
    """Finds anomalies in attempts and hosts while they run.

    Memory is bounded, whatever comes: attempts that have ended are kept as one `Portrait` each, see `history`.

    Parameters
    ----------
    history : History, optional
        What attempts were like so far; none unless told.

    Attributes
    ----------
    began : int
        Workflow runs that began while it watched.
    """

    def __init__(self, history: History | None = None) -> None:
        self.history = history if history is not None else History()
        self._hosts = Hosts()
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._attempts: OrderedDict[AttemptKey, Attempt] = OrderedDict()
        self._names: dict[tuple[str, str, str], AttemptKey] = {}
        self._ended: deque[tuple[int, Attempt]] = deque()
        self._open_hosts: dict[tuple[str, Kind], Anomaly] = {}
        self._told_hosts: OrderedDict[tuple[str, Kind], int] = OrderedDict()
        self._running: OrderedDict[str, None] = OrderedDict()
        self.began = 0
        self._ticks = 0
        self._newest = 0.0

    def __len__(self) -> int:
        """Number of attempts that are watched."""
        return len(self._attempts)

    def see(self, event: Event) -> list[Anomaly]:
        """Look at an event; gives what it shows.

        Parameters
        ----------
        event : Event
            Of any kind; those that are not in `KINDS` show nothing.
        """
        handler = _HANDLERS.get(event.kind)
        if handler is None:
            return []
        found = handler(self, event)
        while len(self._ended) > _WAITING:
            found += self._settle(self._ended.popleft()[1])
        return found

    def tick(self, now: float) -> list[Anomaly]:
        """Look for what should have come and has not.

        Parameters
        ----------
        now : float
            This machine's time [s since 1970].
        """
        found: list[Anomaly] = []
        while self._ended and self._ended[0][0] < self._ticks:  # the last samples have had a whole turn to come
            found += self._settle(self._ended.popleft()[1])
        self._ticks += 1
        for attempt in list(self._attempts.values()):
            if attempt.ended is None:
                found += self._waiting(attempt, now)
        return found

    def goes_on(self, anomaly: Anomaly) -> bool:
        """Whether that is still so, as far as the events tell."""
        if anomaly.job_id is None:
            return anomaly.host is not None and self._open_hosts.get((anomaly.host, anomaly.kind)) == anomaly
        attempt = self._attempts.get((anomaly.wf_uuid, anomaly.job_id, anomaly.attempt))
        known = attempt.open.get(anomaly.kind) if attempt is not None and attempt.ended is None else None
        return known is not None and known.anomaly == anomaly

    @property
    def running(self) -> int:
        """Number of workflow runs that began and have not ended, as far as told."""
        return len(self._running)

    @property
    def ending(self) -> int:
        """Number of attempts that have ended, and whose last samples may still come."""
        return sum(not attempt.settled for _, attempt in self._ended)

    # What the workflow system tells.

    def _opened(self, event: Event) -> list[Anomaly]:
        self.began += 1
        self._running[event.wf_uuid] = None
        if len(self._running) > MOST_RUNS:
            self._running.popitem(last=False)
        return []

    def _plan(self, event: Event) -> list[Anomaly]:
        task, name = event.fields.get("task_id"), event.fields.get("transformation")
        if isinstance(task, str) and isinstance(name, str):
            self._run(event.wf_uuid).tasks[task] = name
        return []

    def _map(self, event: Event) -> list[Anomaly]:
        run, task = self._run(event.wf_uuid), event.fields.get("task_id")
        name = run.tasks.get(task) if isinstance(task, str) else None
        if name is not None and event.job_id is not None:
            run.jobs[event.job_id] = name if run.jobs.get(event.job_id, name) == name else ""
        return []

    def _submitted(self, event: Event) -> list[Anomaly]:
        attempt = self._attempt(event)
        if attempt is not None and event.ts is not None and attempt.submitted is None:
            attempt.submitted = event.ts
        return []

    def _started(self, event: Event) -> list[Anomaly]:
        attempt = self._attempt(event)
        if attempt is None or event.ts is None:
            return []
        attempt.started = event.ts if attempt.started is None else attempt.started
        return self._over(attempt, "idle_in_queue", event.ts, "it runs")

    def _placed(self, event: Event) -> list[Anomaly]:
        attempt, host = self._attempt(event), event.fields.get("hostname")
        if attempt is not None and isinstance(host, str) and host not in ("", "unknown"):
            group = event.fields.get("slot_group")
            attempt.host = place(short_name(host), group if isinstance(group, str) else None)
        return []

    def _ran(self, event: Event) -> list[Anomaly]:
        attempt, name = self._attempt(event), event.fields.get("transformation")
        if attempt is not None and (event.invocation or 0) > 0 and isinstance(name, str):
            attempt.transformation = attempt.transformation or name
            attempt.programs = max(attempt.programs, event.invocation or 0)
        return []

    def _left(self, event: Event) -> list[Anomaly]:
        """The scheduler saw it end; a post script may still have a word on how."""
        attempt = self._attempt(event)
        if attempt is None or event.ts is None:
            return []
        status = _status(event)
        if status is not None:
            attempt.ok = status == 0
        if attempt.ended is None:
            attempt.ended = event.ts
            self._ended.append((self._ticks, attempt))
        return []

    def _judged(self, event: Event) -> list[Anomaly]:
        attempt = self._attempt(event)
        if attempt is None or event.ts is None:
            return []
        found = self._left(event) + self._count(attempt)
        attempt.judged = True
        return found + self._settle_complete(attempt)

    def _given_up(self, event: Event) -> list[Anomaly]:
        attempt = self._attempt(event)
        if attempt is not None and event.ts is not None and attempt.ended is None:
            attempt.ended, attempt.counted = event.ts, True
            self._ended.append((self._ticks, attempt))
        return []

    def _finished(self, event: Event) -> list[Anomaly]:
        """A run is over, and all that it had running with it."""
        self._runs.pop(event.wf_uuid, None)
        self._running.pop(event.wf_uuid, None)
        left = [each for key, each in self._attempts.items() if key[0] == event.wf_uuid and each.ended is None]
        for attempt in left:
            attempt.ended, attempt.counted = event.ts or attempt.latest, True
            self._ended.append((self._ticks, attempt))
        return []

    # What the probe tells.

    def _sampled(self, event: Event) -> list[Anomaly]:
        ts, fields = event.ts, event.fields
        attempt = self._attempt(event) if ts is not None else None
        if attempt is None or ts is None:
            return []
        get = fields.get
        key = (get("pid"), get("task_id"), get("rank"), get("hostname"))
        try:
            stream = attempt.stream(key)
        except TypeError:  # a list where a name belongs
            return []
        reading = stream.take(ts, fields)
        attempt.latest = max(attempt.latest, ts)
        if stream.jumped and attempt.started is not None:
            attempt.started += stream.jumped
        self._newest = max(self._newest, ts)
        if attempt.host is None or attempt.transformation is None:
            self._identify(attempt, event)
        found: list[Anomaly] = []
        if reading is not None:
            attempt.interval = stream.interval
            found = self._judge(attempt, key, stream, reading)
        if stream.ended:
            attempt.close(key)
            self._end_of_trace(attempt)
            found += self._settle_complete(attempt)
        return found

    def _identify(self, attempt: Attempt, event: Event) -> None:
        host, name = event.fields.get("hostname"), event.fields.get("xformation")
        if attempt.host is None and isinstance(host, str) and host:
            attempt.host = short_name(host)
        if attempt.transformation is None and isinstance(name, str) and name:
            attempt.transformation = name

    def _end_of_trace(self, attempt: Attempt) -> None:
        """A trace of which no scheduler tells, or one that told of the end long ago: nothing more will come."""
        if attempt.started is None and not attempt.streams and attempt.ended is None:
            attempt.ended, attempt.counted = attempt.latest, True
            self._ended.append((self._ticks, attempt))

    def _judge(self, attempt: Attempt, key: StreamKey, stream: Stream, reading: Reading) -> list[Anomaly]:
        limits = self.history.limits(attempt.transformation)
        found: list[Anomaly] = []
        for kind, rule in RULES.items():
            sign = rule(stream, limits, attempt.transformation or "")
            known = attempt.open.get(kind)
            if known is None:
                if sign is not None:
                    found += self._found(attempt, sign, reading.end, key)
            elif known.stream == key:
                known.quiet = known.quiet + 1 if sign is None else 0
                if known.quiet >= _QUIET:
                    found += self._over(attempt, kind, reading.end, f"not any more since {_QUIET} intervals")
        return found + self._overdue(attempt, limits, reading.end)

    # What should have come.

    def _waiting(self, attempt: Attempt, now: float) -> list[Anomaly]:
        limits = self.history.limits(attempt.transformation) if attempt.transformation else UNKNOWN
        if attempt.started is None and not attempt.latest:
            sign = in_queue(attempt, limits, now)
            return [] if sign is None else self._found(attempt, sign, now, None)
        silent = silence(attempt, now, self._newest)
        found = [] if silent is None else self._found(attempt, silent, now, None)
        return found + self._overdue(attempt, limits, now)

    def _overdue(self, attempt: Attempt, limits: Limits, now: float) -> list[Anomaly]:
        sign = overdue(attempt, limits, now)
        return [] if sign is None else self._found(attempt, sign, now, None)

    # Telling.

    def _found(self, attempt: Attempt, sign: Sign, ts: float, stream: StreamKey | None) -> list[Anomaly]:
        episode = attempt.episodes.get(sign.kind, 0)
        if sign.kind in attempt.open or episode >= EPISODES:
            return []
        wf_uuid, job_id, number = attempt.key
        anomaly = Anomaly(
            kind=sign.kind,
            wf_uuid=wf_uuid,
            job_id=job_id,
            attempt=number,
            host=attempt.host,
            transformation=attempt.transformation,
            since=sign.since,
            found=ts,
            episode=episode,
            confidence=sign.confidence,
            message=f"{job_id}{f' on {attempt.host}' if attempt.host else ''} {sign.message}",
            evidence=sign.evidence,
            detector=DETECTOR,
        )
        attempt.open[sign.kind] = Open(anomaly, stream)
        attempt.episodes[sign.kind] = episode + 1
        return [anomaly]

    def _over(self, attempt: Attempt, kind: Kind, ts: float, why: str) -> list[Anomaly]:
        known = attempt.open.pop(kind, None)
        return [] if known is None else [_ended(known.anomaly, ts, f"{attempt.key[1]}: {kind} is over: {why}")]

    # When it has ended.

    def _settle_complete(self, attempt: Attempt) -> list[Anomaly]:
        """Nothing of it need be waited for: in a store that is caught up with, the next attempt comes at once."""
        return self._settle(attempt) if attempt.complete else []

    def _settle(self, attempt: Attempt) -> list[Anomaly]:
        """Put an attempt into the history, and forget it."""
        if attempt.settled:
            return []
        attempt.settled = True
        found = self._count(attempt)
        self._forget(attempt)
        name, ts = attempt.transformation, attempt.ended or attempt.latest
        if name and attempt.ok:
            self.history.add(name, attempt.portrait(), flagged=bool(set(attempt.episodes) - {"idle_in_queue"}))
        for kind in list(attempt.open):
            found += self._over(attempt, kind, ts, "the attempt has ended")
        return found

    def _forget(self, attempt: Attempt) -> None:
        self._attempts.pop(attempt.key, None)
        if attempt.sched is not None:
            self._names.pop((attempt.key[0], attempt.key[1], attempt.sched), None)

    def _count(self, attempt: Attempt) -> list[Anomaly]:
        """Tell the host how it ended; gives what that says of the host."""
        wf_uuid, job_id, _ = attempt.key
        host, name, ok = attempt.host, attempt.transformation, attempt.ok
        begun, ended = attempt.started, attempt.ended
        if attempt.counted or host is None or not name or ok is None or begun is None or ended is None:
            return []
        attempt.counted = True
        outcome = Outcome(job_id, name, ok, begun, ended)
        self._hosts.add(host, slow_outcome(self.history, host, outcome) if ok else outcome)
        found = self._recovered(host, ended)
        for sign in (self._hosts.failing(host), self._hosts.slow(host)):
            if sign is not None and (host, sign.kind) not in self._open_hosts:
                found.append(self._found_host(host, wf_uuid, sign, ended))
        return found

    def _found_host(self, host: str, wf_uuid: str, sign: Sign, ts: float) -> Anomaly:
        key = (host, sign.kind)
        episode = self._told_hosts.pop(key, 0)
        self._told_hosts[key] = episode + 1
        if len(self._told_hosts) > MOST_ATTEMPTS:
            self._open_hosts.pop(self._told_hosts.popitem(last=False)[0], None)
        self._open_hosts[key] = Anomaly(
            kind=sign.kind,
            wf_uuid=wf_uuid,
            host=host,
            since=sign.since,
            found=ts,
            episode=episode,
            confidence=sign.confidence,
            message=f"{host}: {sign.message}",
            evidence=sign.evidence,
            detector=DETECTOR,
        )
        return self._open_hosts[key]

    def _recovered(self, host: str, ts: float) -> list[Anomaly]:
        kinds: tuple[Kind, ...] = ("failing_host", "slow_host")
        well = [kind for kind in kinds if (host, kind) in self._open_hosts and self._hosts.well_again(host, kind)]
        return [_ended(self._open_hosts.pop((host, kind)), ts, f"{host}: {kind} is over") for kind in well]

    # Who is who.

    def _run(self, wf_uuid: str) -> _Run:
        run = self._runs.get(wf_uuid)
        if run is None:
            run = self._runs[wf_uuid] = _Run()
            if len(self._runs) > MOST_RUNS:
                self._runs.popitem(last=False)
        return run

    def _attempt(self, event: Event) -> Attempt | None:
        """The attempt that an event is of; one that names none goes by the scheduler's name for it."""
        wf_uuid, job_id, number = event.wf_uuid, event.job_id, event.attempt
        if job_id is None:
            return None
        if number is None:
            sched = event.fields.get("condor_job_id")
            key = self._names.get((wf_uuid, job_id, sched)) if isinstance(sched, str) else None
            key = key or (wf_uuid, job_id, None)
        else:
            key = (wf_uuid, job_id, number)
        attempt = self._attempts.get(key)
        return attempt if attempt is not None else self._begun(key, event)

    def _begun(self, key: AttemptKey, event: Event) -> Attempt:
        attempt = self._attempts[key] = Attempt(key)
        run = self._runs.get(key[0])
        attempt.transformation = (run.jobs.get(key[1]) if run else None) or None
        sched = event.fields.get("sched_id")
        if isinstance(sched, str) and sched:
            attempt.sched = sched
            self._names[(key[0], key[1], sched)] = key
        if len(self._attempts) > MOST_ATTEMPTS:
            self._forget(next(iter(self._attempts.values())))
        return attempt


def _ended(anomaly: Anomaly, ts: float, message: str) -> Anomaly:
    return msgspec.structs.replace(anomaly, phase="over", found=ts, message=message)


def _status(event: Event) -> int | None:
    """0 where it ended well, as the event has it: `status` is -1 where not, `exitcode` what wait(2) gives."""
    try:
        code = exit_code(event.fields.get("exitcode"))
    except ValueError:
        code = None
    status = event.fields.get("status")
    if status is not None and quantity(status) != 0:
        return -1
    return code if code is not None else 0 if status is not None else None


_JOB = "stampede.job_inst."
_HANDLERS: dict[str, Callable[[Watch, Event], list[Anomaly]]] = {
    TRACE: Watch._sampled,
    "stampede.xwf.start": Watch._opened,
    "stampede.task.info": Watch._plan,
    "stampede.wf.map.task_job": Watch._map,
    _JOB + "submit.start": Watch._submitted,
    _JOB + "main.start": Watch._started,
    _JOB + "host.info": Watch._placed,
    "stampede.inv.end": Watch._ran,
    _JOB + "main.end": Watch._left,
    _JOB + "post.end": Watch._judged,
    _JOB + "abort.info": Watch._given_up,
    "stampede.xwf.end": Watch._finished,
}
KINDS = frozenset(_HANDLERS)
"""Kinds of events that a `Watch` looks at."""
