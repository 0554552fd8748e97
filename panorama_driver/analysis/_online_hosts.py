"""Hosts on which jobs fail that succeed elsewhere, or take longer: exact tests on the newest attempts of each."""

from __future__ import annotations

import math
import statistics
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from ._online_rules import Sign
from .history import History
from .records import Evidence

KEPT = 32
"""Attempts of a host that are remembered."""
MOST = 4096
"""Hosts that are remembered."""
DOUBT = 0.01
"""A host is told of when what it does would come by chance less often than this."""

_ELSEWHERE = 5  # attempts of a transformation on other hosts, to compare with
_WINDOW = 8  # newest attempts of a host: it may have become slow just now
_SLOWER = 1.2  # median, in comparison with elsewhere
_WELL = 2  # attempts in a row after which a host is as it should be


class Outcome(NamedTuple):
    """How an attempt ended, where; `slow` is its wall time over the median elsewhere, and `chance` that of being
    longer than all of them; None where there are too few."""

    job_id: str
    transformation: str
    ok: bool
    start: float
    end: float
    slow: float | None = None
    longest: bool = False
    chance: float = 1.0


class Hosts:
    """The newest attempts of each host."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, deque[Outcome]] = OrderedDict()
        self._totals: dict[str, Counter[bool]] = {}

    def __len__(self) -> int:
        """Number of hosts."""
        return len(self._outcomes)

    def add(self, host: str, outcome: Outcome) -> None:
        """Remember how an attempt ended."""
        outcomes = self._outcomes.setdefault(host, deque())
        self._outcomes.move_to_end(host)
        outcomes.append(outcome)
        self._totals.setdefault(outcome.transformation, Counter())[outcome.ok] += 1
        if len(outcomes) > KEPT:
            self._forget(outcomes.popleft())
        if len(self._outcomes) > MOST:
            for old in self._outcomes.popitem(last=False)[1]:
                self._forget(old)

    def _forget(self, outcome: Outcome) -> None:
        totals = self._totals[outcome.transformation]
        totals[outcome.ok] -= 1
        if not totals.total():
            del self._totals[outcome.transformation]

    def failing(self, host: str) -> Sign | None:
        """Whether jobs fail there, one after the other, that succeed elsewhere or did before (Fisher's exact test)."""
        outcomes = self._outcomes.get(host, ())
        run = _failures(outcomes)
        if len({outcome.job_id for outcome in run}) < 2:
            return None
        ours = Counter(outcome.transformation for outcome in run)
        totals = [self._totals[name] for name in ours]
        succeeded = sum(total[True] for total in totals)
        failed = sum(total[False] for total in totals) - len(run)
        if not all(total[True] for total in totals):
            return None  # a program that succeeds nowhere is at fault itself
        chance = fisher(len(run), failed, succeeded)
        if chance >= DOUBT or not self._succeeds_elsewhere(host, run[0].start, ours):
            return None
        others = succeeded + failed
        return Sign(
            "failing_host",
            run[0].start,
            round(1 - chance, 4),
            f"the last {len(run)} attempts there failed, of {', '.join(sorted(ours)[:3])}; elsewhere, or before, "
            f"{succeeded} of {others} succeeded (p = {chance:.2g})",
            (
                Evidence(
                    metric="failed_share", observed=1.0, expected=failed / others, basis=f"of {others} other attempts"
                ),
            ),
        )

    def _succeeds_elsewhere(self, host: str, since: float, names: Collection[str]) -> bool:
        """Whether any of these programs has succeeded on another host since then; or has not been tried there."""
        tried = [
            outcome.ok
            for other, outcomes in self._outcomes.items()
            if other != host
            for outcome in outcomes
            if outcome.start >= since and outcome.transformation in names
        ]
        return any(tried) or not tried

    def slow(self, host: str) -> Sign | None:
        """Whether attempts take longer there than all others of their transformation do elsewhere (binomial test)."""
        timed = [outcome for outcome in self._outcomes.get(host, ()) if outcome.slow is not None][-_WINDOW:]
        found: tuple[float, list[Outcome]] = (1.0, [])
        for number in range(2, len(timed) + 1):
            newest = timed[-number:]
            hits = sum(outcome.longest for outcome in newest)
            chance = binomial(hits, number, max(outcome.chance for outcome in newest)) * (len(timed) - 1)
            found = min(found, (chance, newest), key=lambda each: each[0])
        chance, newest = found
        ratio = statistics.median(outcome.slow or 1.0 for outcome in newest) if newest else 1.0
        if chance >= DOUBT or ratio < _SLOWER:
            return None
        names = sorted({outcome.transformation for outcome in newest})
        return Sign(
            "slow_host",
            newest[0].start,
            round(1 - chance, 4),
            f"the last {len(newest)} attempts there, of {', '.join(names[:3])}, took {ratio:.2g} times as long as "
            f"elsewhere (p = {chance:.2g})",
            (Evidence(metric="wall_time", observed=ratio, expected=1.0, basis="median elsewhere"),),
        )

    def well_again(self, host: str, kind: str) -> bool:
        """Whether the newest attempts of a host that was told of show nothing of it any more."""
        newest = list(self._outcomes.get(host, ()))[-_WELL:]
        if kind == "failing_host":
            return len(newest) == _WELL and all(outcome.ok for outcome in newest)
        return len(newest) == _WELL and all(outcome.ok and not outcome.longest for outcome in newest)


def compared(wall: float, elsewhere: Sequence[float]) -> tuple[float | None, bool, float]:
    """A wall time over the median of others, whether it is longer than all of them, and the chance of that."""
    if len(elsewhere) < _ELSEWHERE:
        return None, False, 1.0
    return wall / (statistics.median(elsewhere) or math.inf), wall > max(elsewhere), 1 / (len(elsewhere) + 1)


def slow_outcome(history: History, host: str, outcome: Outcome) -> Outcome:
    """The outcome of an attempt that ended well, compared with others of its transformation on other hosts."""
    slow, longest, chance = compared(outcome.end - outcome.start, history.wall_times(outcome.transformation, host))
    return outcome._replace(slow=slow, longest=longest, chance=chance)


def _failures(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those since the last success."""
    run: list[Outcome] = []
    for outcome in outcomes:
        run = [] if outcome.ok else [*run, outcome]
    return run


def fisher(failures: int, failed: int, succeeded: int) -> float:
    """Chance that `failures` attempts all failed, if they fail as `failed` and `succeeded` others did.

    One-sided, with the margins fixed (Fisher 1935): the hypergeometric probability
    `C(F, failures) / C(F + S, failures)` of drawing failures alone, F being all failures and S the successes.
    """
    every = failures + failed
    return math.comb(every, failures) / math.comb(every + succeeded, failures)


def binomial(hits: int, number: int, chance: float) -> float:
    """Chance of at least `hits` of `number`, each with `chance`."""
    return math.fsum(math.comb(number, k) * chance**k * (1 - chance) ** (number - k) for k in range(hits, number + 1))
