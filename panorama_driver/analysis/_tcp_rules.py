"""What a deviation means, and what an observer cannot see: explainable rules over the counters of each direction.

Near the receiver of a direction Tstat sees what arrives: the segments that the network doubled (`dup`), those that came
late within a round trip (`reor`), and gaps that are filled by what is sent again. Near its sender it sees what leaves:
loss shows as what is sent again, while doubled and reordered segments show only in what the receiver acknowledges, as
selective acknowledgements without anything sent again; which of the two they tell of cannot be seen there. The kernel
of the sender knows more, from the blocks in these: segments that arrived twice although they were sent once (RFC 2883,
RFC 3708), and late ones; that of the receiver knows less, only that some came out of sequence.

The direction of the data and that of the acknowledgements are judged each by itself; where both have suspects, what
explains both is kept.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal, NamedTuple

from ._tcp_sights import Place, Sight, Way

Trouble = Literal["loss", "duplication", "reordering"]
TROUBLES: tuple[Trouble, ...] = ("loss", "duplication", "reordering")

_Suspects = frozenset[Trouble]
_NONE: _Suspects = frozenset()
_LOSS: _Suspects = frozenset({"loss"})
_DOUBLED: _Suspects = frozenset({"duplication"})
_LATE: _Suspects = frozenset({"reordering"})
_REORDERED = 0.02
"""Share of the segments out of sequence that Tstat calls reordered; it seldom does so of what fills a gap."""
_RESENT = {"data": 0.01, "acks": 0.002}
"""Segments sent again per selective acknowledgement, at least: a lost segment is reported for a round trip only. What
answers acknowledgements rides on every segment of the data until the gap is filled."""
_AGAIN = frozenset({"retx", "rto", "fs", "unk"})


class Excess(NamedTuple):
    """How a direction's counters stand against normal transfers: `far` are clearly beyond them, `above` by how many."""

    far: frozenset[str]
    above: dict[str, float]

    def some(self, name: str) -> float:
        return self.above.get(name, 0.0)


def suspects(called: str, way: Way, excess: Excess, place: Place, source: str) -> _Suspects:
    """What may have happened to a direction's segments, none where nothing deviates.

    Parameters
    ----------
    called : str
        `data` or `acks`.
    way : Way
        The direction.
    excess : Excess
        Its counters that are beyond those of normal transfers.
    place : str
        At which end of this direction the observer was.
    source : str
        `tstat` or `tcp_info`.
    """
    if source == "tcp_info":
        return _kernel_sent(way, excess.far) if place == "sender" else _kernel_received(excess.far)
    if place == "receiver":
        return _arrived(called, way, excess)
    return _left(called, way, excess) if place == "sender" else _passed(called, way, excess)


def _arrived(called: str, way: Way, excess: Excess) -> _Suspects:
    """Late by more than three segments looks like sent again to Tstat; the acknowledgements are too few to tell."""
    far, late = excess.far, excess.some("reor")
    if "dup" in far:
        return _DOUBLED
    if far & {"ooo", *_AGAIN}:
        if late and late >= _REORDERED * way.counts.get("ooo", 0):
            return _LATE
        return _LOSS | _LATE if late or (called == "acks" and "ooo" in far) else _LOSS
    if "sack" not in far:
        return _NONE
    if excess.some("ooo"):
        return _LOSS | _LATE
    return _LOSS | _DOUBLED if excess.some("retx") else _DOUBLED


def _left(called: str, way: Way, excess: Excess) -> _Suspects:
    again = excess.some("retx")
    if excess.far & {"sack", *_AGAIN} and again and again >= _RESENT[called] * way.counts.get("sack", 0):
        return _LOSS
    return _DOUBLED | _LATE if "sack" in excess.far else _NONE


def _passed(called: str, way: Way, excess: Excess) -> _Suspects:
    """Somewhere between: a gap may be loss before the probe, what is sent again loss behind it."""
    if excess.far & {"dup", "reor"}:
        return _arrived(called, way, excess)
    return _LOSS | _LATE if "ooo" in excess.far else _left(called, way, excess)


def _kernel_sent(way: Way, far: Set[str]) -> _Suspects:
    """What arrived twice was sent again for nothing; what did so beyond that, the network made."""
    sent, twice = way.counts.get("retx", 0.0), way.counts.get("dsack", 0.0)
    if "dsack" in far and twice > 2 * sent:
        return _DOUBLED
    if "reord_seen" in far and (twice >= sent / 2 or way.counts["reord_seen"] >= sent / 2):
        return _LATE
    return _LOSS if far & {"retx", "rto"} else (_LATE if "reord_seen" in far else _NONE)


def _kernel_received(far: Set[str]) -> _Suspects:
    return _LOSS | _LATE if "ooo" in far else _NONE


def together(data: _Suspects, acks: _Suspects) -> _Suspects:
    """What explains both directions; where nothing does, what the data's own tells."""
    return data & acks or data or acks


def hidden(sight: Sight) -> dict[Trouble, str]:
    """What the observer would not see of the data if it happened, with the reason."""
    way, place = sight.data, sight.place
    if sight.source == "tcp_info" and place == "receiver":
        return {
            "loss": "the receiver's kernel does not tell lost segments from late ones",
            "duplication": "the receiver's kernel does not count segments that arrive twice",
            "reordering": "the receiver's kernel does not tell late segments from lost ones",
        }
    needs = _NEEDS[sight.source, place] if place != "unknown" else {}
    found: dict[Trouble, str] = {}
    for trouble in TROUBLES:
        missing = [name for name in needs.get(trouble, ()) if name not in way.counts]
        if missing:
            found[trouble] = f"the record has no {', '.join(missing)}"
    return found | _behind(sight)


_NEEDS: dict[tuple[str, Place], dict[Trouble, tuple[str, ...]]] = {
    ("tstat", "receiver"): {"loss": ("retx", "ooo"), "duplication": ("dup",), "reordering": ("reor", "ooo")},
    ("tstat", "sender"): {"loss": ("retx",), "reordering": ("sack",)},
    ("tcp_info", "sender"): {"loss": ("retx",), "duplication": ("dsack",), "reordering": ("reord_seen",)},
}


def needed(sight: Sight, trouble: Trouble) -> tuple[str, ...]:
    """The counters of the data that would tell of it."""
    return _NEEDS[sight.source, sight.place].get(trouble, ())


def _behind(sight: Sight) -> dict[Trouble, str]:
    if sight.place == "unknown":
        return dict.fromkeys(
            TROUBLES, "which end the probe was near cannot be told, and it misses what happens behind it"
        )
    if sight.source == "tcp_info" or sight.place == "receiver":
        return {}
    found: dict[Trouble, str] = {
        "duplication": "what is doubled behind the sender's probe reaches the receiver only, which need not say so"
    }
    if not sight.sack:
        found["reordering"] = "without selective acknowledgements on both ends the sender does not learn of it"
    return found
