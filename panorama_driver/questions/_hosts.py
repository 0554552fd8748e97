"""Which host is slow: times of its attempts over those of the same transformation on all other hosts."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Sequence

from . import _statistics as statistics
from ._rows import Row
from ._sql import Table

QUERY = """SELECT host, transformation, wall_time FROM attempts
WHERE current AND state = 'succeeded' AND type = 'compute' AND host IS NOT NULL AND wall_time > 0"""

_ERROR = 0.05  # that any interval of them does not hold the host's ratio
_WORTH = 1.1  # times as slow, at least, to be called so
_COLUMNS = ["host", "attempts", "transformations", "ratio", "from", "to", "verdict"]


def slow_hosts(ask: Callable[[str], Table]) -> tuple[Table, list[str]]:
    """Hosts, the slowest first; and a line about it.

    Each attempt's time is divided by the median of the same transformation on all other hosts; `ratio` is the median
    of these. `from` and `to` hold it with 95 % for all hosts together (Bonferroni), whatever the distribution.
    """
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for host, transformation, wall_time in ask(QUERY).rows:
        times[str(transformation)][str(host)].append(float(wall_time or 0))
    ratios: dict[str, list[float]] = defaultdict(list)
    compared: dict[str, set[str]] = defaultdict(set)
    for transformation, by_host in times.items():
        every = sorted(time for own in by_host.values() for time in own)
        for host, own in by_host.items():
            elsewhere = median_without(every, sorted(own))
            if elsewhere is not None:
                ratios[host] += [time / elsewhere for time in own]
                compared[host].add(transformation)
    rows = [_row(host, own, len(compared[host]), _ERROR / len(ratios)) for host, own in ratios.items()]
    rows.sort(key=lambda row: -float(row[3] or 0))
    seen = {host for by_host in times.values() for host in by_host}
    alone = f"; {len(seen) - len(ratios)} others ran nothing that ran elsewhere" if len(seen) > len(ratios) else ""
    return Table(_COLUMNS, rows), [f"{len(ratios)} hosts compared{alone}"]


def _row(host: str, ratios: list[float], transformations: int, error: float) -> Row:
    interval = statistics.median_interval(ratios, error)
    low, high = interval or (None, None)
    verdict = "too few" if low is None else "slow" if low >= _WORTH else ""
    return host, len(ratios), transformations, statistics.quantile(ratios, 0.5), low, high, verdict


def median_without(every: Sequence[float], own: Sequence[float]) -> float | None:
    """Median of what is in `every` and not in `own`; both sorted. None where that is nothing."""
    left = len(every) - len(own)
    if not left:
        return None

    def at(place: int) -> float:
        """The value before which so many of those that are left lie."""
        return every[bisect.bisect_right(range(len(every)), place, key=upto)]

    def upto(index: int) -> int:
        """How many of those that are left are no larger than the value there."""
        return bisect.bisect_right(every, every[index]) - bisect.bisect_right(own, every[index])

    return (at((left - 1) // 2) + at(left // 2)) / 2
