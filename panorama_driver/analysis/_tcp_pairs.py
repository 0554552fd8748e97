"""One connection seen from both its ends: what one observer saw leave and the other did not see arrive.

No model is needed for it. With S the bytes of payload that passed the observer at the sender of a direction, what was
sent again included, and R those that passed the one at its receiver,

    lost = (S - R) / S        doubled = (R - S) / S

are what the network between the two lost and doubled, as shares of what was sent; where both are 0 and segments still
arrived out of sequence, they were reordered. Kernels count segments in place of bytes, and the receiver's calls all out
of sequence that comes while a gap is open; so of kernels the sender's word on reordering is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..sources.tcp import SKEW
from ._tcp_rules import Trouble
from ._tcp_sights import End, Sight, Way

_LEAST_SEGMENTS = 1.5  # a probe of a closed window, or what passed while an observer began, is less
_LEAST_LATE = 4  # segments


class Crossing(NamedTuple):
    """What happened to a direction's segments between two observers.

    `sent` and `arrived` are in `unit`, `late` is the share of segments that arrived out of sequence.
    """

    sender: End
    trouble: Trouble | None
    rate: float
    sent: float
    arrived: float
    unit: str


def pairs(sights: Iterable[Sight]) -> Iterator[tuple[Sight, Sight]]:
    """Sights of one connection from both its ends, of the same source, by addresses, ports and time."""
    by_ends: dict[object, list[Sight]] = defaultdict(list)
    for sight in sights:
        if sight.near is not None and sight.final:
            by_ends[sight.source, sight.ends].append(sight)
    for same in by_ends.values():
        right = [sight for sight in same if _far_end(sight)]
        for left in same:
            meeting = [sight for sight in right if not _far_end(left) and _meet(left, sight)]
            if len(meeting) == 1:
                yield left, meeting[0]


def _far_end(sight: Sight) -> bool:
    """Whether the observer was near the end with the larger address, whoever is told to have opened it."""
    return _address(sight) == max(sight.client, sight.server)


def _address(sight: Sight) -> tuple[str, int]:
    return sight.client if sight.near == "client" else sight.server


def _meet(one: Sight, other: Sight) -> bool:
    return one.first <= other.last + SKEW and other.first <= one.last + SKEW


def crossings(one: Sight, other: Sight) -> list[Crossing]:
    """Both directions between two observers, that of the data first; one of which too little is known is left out."""
    found = []
    for sender in (one.sender, _opposite(one.sender)):
        leaving, arriving = (one, other) if one.near == sender else (other, one)
        crossing = _crossing(
            sender, _sent_by(leaving, _as_called(leaving, one, sender)), _arriving(arriving, one, sender)
        )
        found += [crossing] if crossing else []
    return found


def _opposite(end: End) -> End:
    return "server" if end == "client" else "client"


def _as_called(sight: Sight, reference: Sight, end: End) -> End:
    """An end by the name that this observer gives it: kernels guess at times who opened a connection."""
    return end if sight.client == reference.client else _opposite(end)


def _sent_by(sight: Sight, end: End) -> Way:
    return sight.data if sight.sender == end else sight.acks


def _arriving(sight: Sight, reference: Sight, end: End) -> Way:
    return _sent_by(sight, _as_called(sight, reference, end))


def _crossing(sender: End, left: Way, arrived: Way) -> Crossing | None:
    if left.payload and arrived.payload and left.segments:
        return _balanced(sender, left, float(left.payload), float(arrived.payload), "bytes", arrived.rate("ooo"))
    if left.segments and arrived.segments:
        late = left.rate("reord_seen")
        return _balanced(sender, left, left.segments, arrived.segments, "segments", late, trusted=True)
    return None


def _balanced(
    sender: End, left: Way, sent: float, came: float, unit: str, late: float, *, trusted: bool = False
) -> Crossing:
    """Decide by what is missing, then by the share `late`; a sender's word of more late segments than are missing is
    `trusted`, for lost ones are not late, and late ones may not have arrived when the receiver's kernel was asked."""
    share = (sent - came) / sent
    reordered = late * left.segments >= _LEAST_LATE
    if abs(share) * left.segments >= _LEAST_SEGMENTS and not (trusted and reordered and late >= abs(share)):
        return Crossing(sender, "loss" if share > 0 else "duplication", abs(share), sent, came, unit)
    if reordered:
        return Crossing(sender, "reordering", late, sent, came, unit)
    return Crossing(sender, None, 0.0, sent, came, unit)
