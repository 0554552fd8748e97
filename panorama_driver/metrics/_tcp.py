"""TCP connections of one attempt: each once, whoever told of it, and what they amount to."""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ..events import Event
from ..sources import tcp
from ._findings import Finding, both, unknown
from ._transfers import union
from .records import TcpSummary

KIND = tcp.KIND
_SAME = tcp.SKEW  # s; the same four numbers within this are the same connection
_TIMED = 1.0  # s; the probe sees what begins at its next look only, so it gives what is shorter too short a time


def finding(events: Iterable[Event]) -> Finding[TcpSummary]:
    """Sum up an attempt's connections to other hosts."""
    found = connections(events)
    if not found:
        return unknown("no connection of it to another host was recorded (monitoring.tcp, panorama tstat)")
    return Finding(_summary(found), "+".join(sorted({connection.source for connection in found})))


def connections(events: Iterable[Event]) -> list[tcp.Connection]:
    """Connections to other hosts, each once: the newest record of it, of several observers the kernel's."""
    newest: dict[object, tcp.Connection] = {}
    for event in events:
        connection = tcp.connection(event.fields)
        if connection is None or connection.loopback:
            continue
        when = event.ts if _whole(event) else None
        key = (connection.source, _both_ends(connection), event.fields.get("socket_id"), when)
        known = newest.setdefault(key, connection)
        if (connection.last, connection.final) >= (known.last, known.final):
            newest[key] = connection
    return _each_once(newest.values())


def _both_ends(connection: tcp.Connection) -> frozenset[tuple[str, int]]:
    """Addresses and ports, whoever opened it: the probe guesses that at times, and may learn better."""
    return frozenset(((connection.client.ip, connection.client.port), (connection.server.ip, connection.server.port)))


def _whole(event: Event) -> bool:
    """Whether an event tells of a connection from its beginning to its end, not up to now."""
    return event.fields.get("seq") is None


def _each_once(found: Iterable[tcp.Connection]) -> list[tcp.Connection]:
    by_ends: dict[object, list[tcp.Connection]] = defaultdict(list)
    for connection in sorted(found, key=lambda c: (c.source != "tcp_info", -c.confidence, c.first)):
        same = by_ends[_both_ends(connection)]
        if not any(c.first <= connection.last + _SAME and connection.first <= c.last + _SAME for c in same):
            same.append(connection)
    every = (connection for same in by_ends.values() for connection in same)
    return sorted(every, key=lambda connection: (connection.first, connection.ends))


def _summary(found: Sequence[tcp.Connection]) -> TcpSummary:
    total, active = _moved(found), union((connection.first, connection.last) for connection in found)
    seconds = Finding(active) if active > 0 else unknown("no connection was seen twice, or for any time")
    if 0 < active < _TIMED and any(connection.source == "tcp_info" for connection in found):
        seconds = unknown(f"they lasted less than {_TIMED:g} s, which the probe cannot time")
    findings: dict[str, Finding[Any]] = {
        "bytes": total,
        "retransmitted": _retransmitted(found),
        "rtt": _rtt(found),
        "throughput": both(total, seconds, operator.truediv),
    }
    return TcpSummary(
        connections=len(found),
        active_time=active,
        confidence=min(connection.confidence for connection in found),
        **{name: finding.value for name, finding in findings.items()},
        reasons={name: finding.note for name, finding in findings.items() if finding.value is None},
    )


def _moved(found: Sequence[tcp.Connection]) -> Finding[int]:
    moved = [connection.moved for connection in found]
    if any(size is None for size in moved):
        return unknown("the kernel of a worker does not count the bytes of a connection")
    return Finding(sum(size or 0 for size in moved))


def _rtt(found: Sequence[tcp.Connection]) -> Finding[float]:
    weighted = [(connection.rtt, (connection.moved or 0) + 1) for connection in found if connection.rtt]
    if not weighted:
        return unknown("no round trip of any connection was measured")
    return Finding(math.fsum(rtt * share for rtt, share in weighted) / sum(share for _, share in weighted) / 1e3)


def _retransmitted(found: Sequence[tcp.Connection]) -> Finding[float]:
    """Share of segments with data that were sent again, of the directions of which that is known."""
    ends = [end for connection in found for end in (connection.client, connection.server)]
    known = [(end.pkts_retx, end.pkts_data) for end in ends if end.pkts_retx is not None and end.pkts_data is not None]
    sent = sum(data for _, data in known)
    return Finding(sum(again for again, _ in known) / sent) if sent else unknown("no direction with data was counted")
