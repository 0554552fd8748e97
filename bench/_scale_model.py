"""Workflows through submit hosts, and their events through a broker into a store: the simulation behind `scale.py`.

A submit host is simulated workflow by workflow and job by job (discrete events): the Ensemble Manager's looks, its two
limits and the planner, the schedd that starts one job after another, a pool of slots. Events are so many that they are
a fluid: how many are sent in each interval, and what a broker and a store that take no more than so many a second do
with them (Lindley's recursion, doi:10.1017/S0305004100027638).
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from _scale_constants import value

INTERVAL = 60.0
"""Of the fluid [s]."""


@dataclass(frozen=True)
class Level:
    """Nodes of a workflow that may run at the same time; auxiliary ones run on the submit host and are not sampled."""

    width: int
    auxiliary: bool = False


@dataclass(frozen=True)
class Workload:
    """The same workflow again and again.

    Attributes
    ----------
    levels : tuple of Level
        One after the other.
    runtime, spread : float
        Mean of a compute job's time [s], and the standard deviation of its logarithm (log-normal).
    auxiliary : float
        Time of an auxiliary job [s].
    samples : float
        Time between two samples of a job [s].
    """

    levels: tuple[Level, ...]
    runtime: float
    spread: float
    auxiliary: float
    samples: float

    @property
    def nodes(self) -> int:
        """Of a workflow."""
        return sum(level.width for level in self.levels)

    @property
    def jobs(self) -> int:
        """Compute jobs of a workflow."""
        return sum(level.width for level in self.levels if not level.auxiliary)

    @property
    def events(self) -> float:
        """Of a workflow, on average."""
        return value("events_a_node") * self.nodes + self.jobs * self.runtime / self.samples


@dataclass(frozen=True)
class Host:
    """A submit host: its cores, its pool's slots, and what its ensemble may plan and run at the same time."""

    cores: int
    slots: int
    max_planning: int
    max_running: int


@dataclass(frozen=True)
class Centre:
    """Broker and store: what both can take [events/s], and how many broker queues, collectors and engine nodes there
    are; no engine nodes: one SQLite file, which one collector writes."""

    queues: int = 1
    broker_cores: int = 4
    collectors: int = 1
    engine_nodes: int = 0
    engine_cores: int = 8

    @property
    def broker(self) -> float:
        """Events a second that the broker takes and gives."""
        return min(self.queues * value("broker_queue"), self.broker_cores / value("broker_cpu"))

    @property
    def store(self) -> float:
        """Events a second that get into the store."""
        if not self.engine_nodes:
            return 1 / value("collector_cpu")
        engine = self.engine_nodes * self.engine_cores / value("engine_cpu")
        return min(self.collectors / value("engine_collector_cpu"), engine)


@dataclass
class Run:
    """How one submit host did its workflows.

    Attributes
    ----------
    ends : list of float
        When each workflow had ended, by the manager's word [s].
    sent : list of float
        Events sent in each interval.
    planning, starting, computing, in_flight : float
        Time that planners, the schedd and slots were busy, and that workflows ran, added up [s].
    manager : float
        Time that the manager was at work, and not waiting for its next look [s].
    most : int
        Workflows that ran at the same time, at most.
    """

    ends: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    planning: float = 0.0
    starting: float = 0.0
    computing: float = 0.0
    in_flight: float = 0.0
    manager: float = 0.0
    most: int = 0

    @property
    def makespan(self) -> float:
        """Until all had ended [s]."""
        return max(self.ends)

    def send(self, when: float, events: float) -> None:
        """Count events at a moment."""
        place = int(when // INTERVAL)
        self.sent.extend(0.0 for _ in range(place + 1 - len(self.sent)))
        self.sent[place] += events

    def trickle(self, begin: float, end: float, every: float) -> None:
        """Count events that come regularly from one moment to another."""
        while begin < end:
            stop = min(end, (begin // INTERVAL + 1) * INTERVAL)
            self.send(begin, (stop - begin) / every)
            begin = stop


class Schedd:
    """Starts jobs of one host, one after another, each when a slot is free: both first come, first served."""

    def __init__(self, host: Host, workload: Workload, run: Run, seed: int) -> None:
        self._workload = workload
        self._run = run
        self._slots = [0.0] * min(host.slots, int(value("running")))
        self._free = 0.0
        self._dice = random.Random(seed)
        self._middle = math.log(workload.runtime) - workload.spread**2 / 2

    def level(self, ready: float, level: Level) -> float:
        """Run a level whose jobs are ready at a time; when the next may begin."""
        return max(self._node(ready, level.auxiliary) for _ in range(level.width)) + value("edge")

    def _node(self, ready: float, auxiliary: bool) -> float:
        busy = 1 / value("starts")
        self._free = max(ready, self._free) + busy
        self._run.starting += busy
        begin, end = self._auxiliary() if auxiliary else self._compute()
        self._run.send(begin, value("events_a_node") / 2)
        self._run.send(end, value("events_a_node") / 2)
        return end

    def _auxiliary(self) -> tuple[float, float]:
        return self._free, self._free + self._workload.auxiliary

    def _compute(self) -> tuple[float, float]:
        begin = max(self._free, self._slots[0])
        end = begin + self._dice.lognormvariate(self._middle, self._workload.spread)
        heapq.heapreplace(self._slots, end)
        self._run.computing += end - begin
        self._run.trickle(begin, end, self._workload.samples)
        return begin, end


class Manager:
    """The Ensemble Manager of one host: looks, sees to each workflow in turn, and sleeps until its next look."""

    def __init__(self, host: Host, workload: Workload, workflows: int, seed: int) -> None:
        self.run = Run()
        self._host, self._workload = host, workload
        self._schedd = Schedd(host, workload, self.run, seed)
        self._waiting = workflows
        self._planning: deque[float] = deque()  # when each plan is there: all take the same time
        self._queued = 0
        self._levels: list[tuple[float, int, int]] = []  # when a level may begin, whose, and which
        self._ended: list[tuple[float, int]] = []  # when monitord has told, and of which
        self._begun: dict[int, float] = {}
        self._number = workflows
        crowded = host.max_planning * value("plan_cpu") / value("plan") / host.cores
        self._plan = value("plan") * max(1.0, crowded)

    def go(self) -> Run:
        """See all workflows to their ends."""
        now = 0.0
        while len(self.run.ends) < self._number:
            now += self._look(now) + value("manager_look")
        return self.run

    def _look(self, now: float) -> float:
        """One look; how long it took [s]."""
        self._advance(now)
        self._finish(now)
        known = self._number - self._waiting
        took = value("manager_known") * known
        while self._planning and self._planning[0] <= now:
            self._planning.popleft()
            self._queued += 1
        while self._queued and len(self._begun) < self._host.max_running:
            took += value("pegasus_run")
            self._begin(now + took)
        while self._waiting and len(self._planning) < self._host.max_planning:
            self._waiting -= 1
            self._planning.append(now + took + self._plan)
            self.run.planning += self._plan
        self.run.manager += took
        return took

    def _begin(self, now: float) -> None:
        self._queued -= 1
        number = len(self.run.ends) + len(self._begun)
        self._begun[number] = now
        self.run.most = max(self.run.most, len(self._begun))
        heapq.heappush(self._levels, (now, number, 0))

    def _advance(self, now: float) -> None:
        """Run the levels that may begin before the look."""
        while self._levels and self._levels[0][0] <= now:
            ready, number, place = heapq.heappop(self._levels)
            over = self._schedd.level(ready, self._workload.levels[place])
            if place + 1 < len(self._workload.levels):
                heapq.heappush(self._levels, (over, number, place + 1))
            else:
                heapq.heappush(self._ended, (over + value("ended"), number))
                self.run.in_flight += over - self._begun[number]

    def _finish(self, now: float) -> None:
        """Hear which workflows have ended."""
        while self._ended and self._ended[0][0] <= now:
            _, number = heapq.heappop(self._ended)
            del self._begun[number]
            self.run.ends.append(now)


@dataclass(frozen=True)
class Flow:
    """What became of events that were sent to something that takes only so many.

    Attributes
    ----------
    passed : list of float
        Events that came out in each interval.
    waiting : list of float
        Events that were held up at the end of each interval.
    delay : float
        The longest time that an event was held up [s].
    """

    passed: list[float]
    waiting: list[float]
    delay: float

    @property
    def most(self) -> float:
        """Events that were held up at the same time, at most."""
        return max(self.waiting)


def through(sent: Sequence[float], capacity: float) -> Flow:
    """Send events through something that takes `capacity` a second, until all have come out."""
    passed, waiting = list[float](), list[float]()
    left = 0.0
    place = 0
    while place < len(sent) or left > 0:
        here = left + (sent[place] if place < len(sent) else 0.0)
        out = min(here, capacity * INTERVAL)
        left = here - out
        passed.append(out)
        waiting.append(left)
        place += 1
    return Flow(passed, waiting, max(waiting) / capacity)


@dataclass(frozen=True)
class Outcome:
    """All hosts, and what they all send to.

    Attributes
    ----------
    hosts : int
        Submit hosts.
    run : Run
        One of them; the others are like it.
    sent : list of float
        Events of all hosts in each interval.
    broker, store : Flow
        What became of them.
    busy : dict of str to float
        Share of what each part can do that it did, over the time in which it had work: the largest is the bottleneck.
    """

    hosts: int
    run: Run
    sent: list[float]
    broker: Flow
    store: Flow
    busy: dict[str, float]

    @property
    def events(self) -> float:
        """That were sent."""
        return sum(self.sent)

    @property
    def stored(self) -> float:
        """When the last event was in the store [s]."""
        return max(self.run.makespan, len(self.store.passed) * INTERVAL)

    @property
    def bottleneck(self) -> str:
        """The part that had the most to do."""
        return max(self.busy, key=lambda part: self.busy[part])


def simulate(workload: Workload, workflows: int, hosts: int, host: Host, centre: Centre, seed: int) -> Outcome:
    """Run workflows on several submit hosts, as many on each.

    Hosts meet in the broker only, so they differ only by chance, which many jobs even out: one is simulated, and the
    others are taken to be like it.
    """
    run = Manager(host, workload, math.ceil(workflows / hosts), seed).go()
    sent = [hosts * events for events in run.sent]
    broker = through(sent, centre.broker)
    store = through(broker.passed, centre.store)
    return Outcome(hosts, run, sent, broker, store, _busy(run, host, sent, centre))


def _busy(run: Run, host: Host, sent: list[float], centre: Centre) -> dict[str, float]:
    rate = _steady(sent)
    span = run.makespan
    return {
        "planners": run.planning / span / host.max_planning,
        "max_running": run.in_flight / span / host.max_running,
        "manager": run.manager / span,
        "schedd": run.starting / span,
        "slots": run.computing / span / min(host.slots, int(value("running"))),
        "broker": rate / centre.broker,
        "store": rate / centre.store,
    }


def _steady(sent: Sequence[float]) -> float:
    """Events a second in the middle half of the time."""
    quarter = len(sent) // 4
    middle = sent[quarter : len(sent) - quarter] or sent
    return sum(middle) / len(middle) / INTERVAL
