"""A TCP connection as one observer saw it: what was counted in each direction, over how many segments, from which end.

Counters are divided by the segments with data of their direction, since what a network does to segments grows with
their number. Where the observer's card or kernel merges segments (segmentation offload), Tstat counts what was merged
as one packet, so that the number of segments is

    segments = max(data packets, bytes of payload / largest segment that both ends allow)

The observer is near an end whose answers reach it at once: the smallest round trip from the probe to that end is below
a tenth of both together. Where that tells nothing, the time to live does (`sources.tstat.Flow.vantage`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ..sources import plain, tcp, tstat

End = Literal["client", "server"]
Place = Literal["sender", "receiver", "unknown"]
COUNTERS = ("retx", "ooo", "rto", "fs", "reor", "dup", "unk", "sack", "dsack", "reord_seen")
"""What is counted of a direction's segments.

`retx` sent again, `rto` after a timeout, `fs` by fast retransmit; `ooo` out of sequence, `reor` reordered, `dup`
doubled by the network, `unk` out of sequence or double of unknown cause; `sack` selective acknowledgements that came
back; `dsack` of these that told of a segment received twice (RFC 2883), `reord_seen` reorderings that the sender
concluded: both only the kernel counts.
"""
FEATURES = tuple(f"{way}.{name}" for way in ("data", "acks") for name in COUNTERS)
"""Counters of the direction that moved more, then of the other."""

_PARTS = {feature: (feature[:4], feature[5:]) for feature in FEATURES}
_NEAR = 0.1  # share of the whole round trip
_OF_SENDER = {name: f"pkts_{name}" for name in ("retx", "ooo", "rto", "fs", "reor", "dup", "unk")}
_OF_KERNEL = {"dsack": "dsack_dups", "reord_seen": "reord_seen", "rto": "total_rto"}


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a connection.

    Attributes
    ----------
    segments : float
        With data, as computed above; 0 where nothing was sent or nothing is known.
    counts : dict of str to float
        By name in `COUNTERS`; only what the observer counts.
    payload : int or None
        [bytes] of payload that passed the observer, what was sent again included.
    """

    segments: float
    counts: dict[str, float]
    payload: int | None = None

    def rate(self, name: str) -> float:
        """A counter over the segments with data [1]."""
        return self.counts.get(name, 0.0) / max(self.segments, 1.0)


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, seen by one observer.

    Attributes
    ----------
    source : str
        `tstat` or `tcp_info`.
    client, server : tuple of str and int
        Address and port of the end that opened it, and of the other.
    first, last : float
        [s since 1970] on the observer's clock.
    sender : str
        The end that sent more, `client` or `server`.
    near : str or None
        The end that the observer was near; None where that cannot be told.
    data, acks : Way
        What that end sent, and what the other did.
    size : int
        [bytes] of payload in the larger direction, each once.
    sack : bool or None
        Whether both ends allowed selective acknowledgements.
    variant : str or None
        Congestion control of the sender, where the kernel told it.
    final : bool
        Whether these are the last counters.
    """

    source: str
    client: tuple[str, int]
    server: tuple[str, int]
    first: float
    last: float
    sender: End
    near: End | None
    data: Way
    acks: Way
    size: int
    sack: bool | None = None
    variant: str | None = None
    final: bool = True

    @property
    def place(self) -> Place:
        """At which end of the data the observer was."""
        if self.near is None:
            return "unknown"
        return "sender" if self.near == self.sender else "receiver"

    @property
    def magnitude(self) -> int:
        """Size class: the power of ten that is nearest to the size in bytes."""
        return round(math.log10(max(self.size, 1)))

    @property
    def ends(self) -> frozenset[tuple[str, int]]:
        """Both ends, whoever opened the connection."""
        return frozenset((self.client, self.server))

    def way(self, name: str) -> Way:
        """The direction called `data` or `acks`."""
        return self.data if name == "data" else self.acks

    def counted(self, feature: str) -> tuple[float, float] | None:
        """Count and segments of a feature; None where the observer does not count it."""
        called, name = _PARTS[feature]
        way = self.way(called)
        count = way.counts.get(name)
        return None if count is None else (count, max(way.segments, 1.0))


def sight_of_flow(flow: tstat.Flow, variant: str | None = None) -> Sight:
    """A line of Tstat's log."""
    found = sight_of(flow.columns() | {"source": "tstat", "vantage": flow.vantage}, variant)
    assert found is not None  # a flow has addresses and times
    return found


def sight_of(fields: Mapping[str, Any], variant: str | None = None) -> Sight | None:
    """The fields of a `transfer.tcp` event; None where they tell of no connection, or of none with another host."""
    seen = tcp.connection(fields)
    if seen is None or seen.loopback or seen.source not in ("tstat", "tcp_info"):
        return None
    moved = {"client": seen.client.bytes_uniq or 0, "server": seen.server.bytes_uniq or 0}
    sender: End = "client" if moved["client"] >= moved["server"] else "server"
    ways = {"client": _way(seen.client, seen.server), "server": _way(seen.server, seen.client)}
    told = _near(seen)
    if seen.source == "tcp_info" and told is not None:
        ways[told].counts.update(_of_kernel(fields))
    return Sight(
        source=seen.source,
        client=(seen.client.ip, seen.client.port),
        server=(seen.server.ip, seen.server.port),
        first=seen.first,
        last=seen.last,
        sender=sender,
        near=told,
        data=ways[sender],
        acks=ways["server" if sender == "client" else "client"],
        size=moved[sender],
        sack=_sack(fields),
        variant=variant or (plain.text(fields.get("congestion")) if told == sender else None),
        final=seen.final,
    )


def _way(sender: tstat.End, receiver: tstat.End) -> Way:
    allowed = [end.mss for end in (sender, receiver) if end.mss]
    merged = (sender.bytes_all or 0) / min(allowed) if allowed else 0.0
    counts = {name: getattr(sender, column) for name, column in _OF_SENDER.items()} | {"sack": receiver.sack_cnt}
    return Way(
        segments=max(float(sender.pkts_data or 0), merged),
        counts={name: float(count) for name, count in counts.items() if count is not None},
        payload=sender.bytes_all,
    )


def _of_kernel(fields: Mapping[str, Any]) -> dict[str, float]:
    told = {name: plain.number(fields.get(field)) for name, field in _OF_KERNEL.items()}
    return {name: count for name, count in told.items() if count is not None}


def _near(seen: tcp.Connection) -> End | None:
    told: End | None = {"client": "client", "server": "server"}.get(seen.vantage or "")  # type: ignore[assignment]
    if seen.source == "tcp_info":
        return told
    timed = _nearer(seen.client, seen.server)
    if timed is None or told is None:
        return timed or told
    return timed if timed == told else None


def _nearer(client: tstat.End, server: tstat.End) -> End | None:
    """By round trips; those of what the client sent lead from the probe to the server and back."""
    if not (client.rtt_cnt and server.rtt_cnt) or client.rtt_min is None or server.rtt_min is None:
        return None
    whole = client.rtt_min + server.rtt_min
    if server.rtt_min < _NEAR * whole:
        return "client"
    return "server" if client.rtt_min < _NEAR * whole else None


def _sack(fields: Mapping[str, Any]) -> bool | None:
    allowed = [plain.number(fields.get(end + "sack_opt")) for end in ("c_", "s_")]
    if any(value is None for value in allowed):
        return None
    return all(allowed)
