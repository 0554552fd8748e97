"""What one transfer's verdict is: from one vantage with a model of normal ones, or from both ends without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import msgspec

from ._tcp_forest import Deviation, Kin, Normals
from ._tcp_model import Model
from ._tcp_pairs import Crossing, crossings
from ._tcp_rules import TROUBLES, Excess, Trouble, hidden, needed, suspects, together
from ._tcp_sights import Place, Sight
from .records import Evidence

Name = Literal["normal", "loss", "duplication", "reordering", "not observable"]

_LEAST_SEGMENTS = 300
"""With fewer even 1 % of the segments may be lost without a trace, once in twenty times."""
_RULE_OF_THREE = 3.0
_SURE = 0.95
_TYPICAL = 0.05  # share of normal transfers that are as unlike as this one or more, from which it is called typical
_EVIDENCE = 6
_UNSURE = 0.5
_DONE = {"loss": "lost", "duplication": "doubled", "reordering": "reordered"}
_OTHER = {"client": "server", "server": "client"}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one transfer.

    Attributes
    ----------
    name : str
        `normal`, `loss`, `duplication`, `reordering`, or `not observable`: whoever saw it cannot tell.
    confidence : float
        Of the name, in (0, 1); 0 for `not observable`, which claims nothing.
    place : str
        `sender`, `receiver` or `both` ends of the data, or `unknown`.
    direction : str or None
        In which the segments went that something happened to: `client to server`, `server to client`, `both`.
    score, threshold : float or None
        How unlike normal transfers it is, and from where on it is called so; None where no model was asked.
    suspects : tuple of str
        What may have happened, where that is not one thing; more likely first.
    absent : dict of str to float
        What did not happen, with the rate per segment from which on it would have been seen [1]: beyond what normal
        transfers have; where both ends were seen 3 / segments, at 95 %.
    hidden : dict of str to str
        What would not have been seen, and why.
    rates : dict of str to float
        What left and did not arrive, or arrived twice or late, as a share of what was sent [1], by direction; where
        both ends were seen.
    evidence : tuple of Evidence
        The numbers that speak for it, the strongest first.
    message : str
        In words.
    """

    name: Name
    confidence: float
    place: Place | Literal["both"]
    direction: str | None = None
    score: float | None = None
    threshold: float | None = None
    suspects: tuple[Trouble, ...] = ()
    absent: dict[Trouble, float] = {}
    hidden: dict[Trouble, str] = {}
    rates: dict[str, float] = {}
    evidence: tuple[Evidence, ...] = ()
    message: str = ""


def judge_sights(sights: Sequence[Sight], model: Model) -> list[Verdict]:
    """Judge transfers, each by what one observer saw.

    Raises
    ------
    FormatError
        The model's forests give other scores here than where they were learnt.
    EnvironmentMissingError
        scikit-learn is not installed.
    """
    found: dict[int, Verdict] = {}
    alike: dict[Kin, list[int]] = defaultdict(list)
    known: dict[Kin, Normals] = {}
    for number, sight in enumerate(sights):
        near = model.near(sight) if sight.data.segments >= _LEAST_SEGMENTS else None
        if near is None or near[1].missing(sight):
            found[number] = _nothing(sight, near[1] if near else None)
            continue
        alike[near[0]].append(number)
        known[near[0]] = near[1]
    for kin, numbers in alike.items():
        scores = known[kin].scores([sights[number] for number in numbers])
        for number, score in zip(numbers, scores, strict=True):
            found[number] = _judged(sights[number], kin, known[kin], float(score))
    return [found[number] for number in range(len(sights))]


def _nothing(sight: Sight, normals: Normals | None) -> Verdict:
    segments = int(sight.data.segments)
    if segments < _LEAST_SEGMENTS:
        reason = f"{segments} segments with data are too few: 1 % of them may be lost without a trace"
    elif normals is None:
        reason = f"no normal transfer of {sight.source} from the {sight.place} end was learnt"
    else:
        reason = f"the record has no {', '.join(normals.missing(sight))}, with which the normal ones were learnt"
    return Verdict(
        name="not observable",
        confidence=0.0,
        place=sight.place,
        hidden=dict.fromkeys(TROUBLES, reason),
        message=f"cannot be judged: {reason}",
    )


def _judged(sight: Sight, kin: Kin, normals: Normals, score: float) -> Verdict:
    deviations = normals.deviations(sight)
    by_way = {way: _suspected(sight, way, deviations) for way in ("data", "acks")}
    likely = together(by_way["data"], by_way["acks"])
    told = Verdict(
        name="normal",
        confidence=_SURE,
        place=sight.place,
        score=score,
        threshold=normals.threshold,
        hidden=hidden(sight),
        evidence=_evidence(sight, deviations, normals, kin),
    )
    if not likely:
        if score > normals.threshold:
            return _unexplained(told)
        return _typical(told, _absent(sight, deviations), normals.tail(score))
    found = _single(likely, sight)
    if found is None:
        return _undecided(told, sight, likely, 1 - normals.tail(score))
    sure = (1 - normals.tail(score)) * (1.0 if len(likely) == 1 else _UNSURE)
    direction = _direction(sight, {way for way, some in by_way.items() if found in some})
    return msgspec.structs.replace(
        told,
        name=found,
        confidence=sure,
        direction=direction,
        suspects=_ordered(likely),
        message=f"segments were {_DONE[found]}, {direction}, as seen at the {sight.place} end of the data",
    )


def _suspected(sight: Sight, way: str, deviations: Sequence[Deviation]) -> frozenset[Trouble]:
    """What may have happened in a direction; of the acknowledgements the observer is at the other end."""
    own = [one for one in deviations if one.feature.startswith(way)]
    excess = Excess(
        far=frozenset(one.name for one in own if one.far),
        above={one.name: one.above for one in own if one.above > 0},
    )
    swap: dict[Place, Place] = {"sender": "receiver", "receiver": "sender", "unknown": "unknown"}
    return suspects(way, sight.way(way), excess, sight.place if way == "data" else swap[sight.place], sight.source)


def _typical(told: Verdict, absent: dict[Trouble, float], tail: float) -> Verdict:
    """Nothing deviates: normal if all that could have happened would have been seen."""
    limit = max(absent.values(), default=0.0)
    told = msgspec.structs.replace(told, absent=absent)
    if told.hidden:
        seen = (
            f"no {' and no '.join(absent)} above {limit:.2g} of the segments beyond what is normal; " if absent else ""
        )
        unseen = "; ".join(f"{trouble}: {reason}" for trouble, reason in told.hidden.items())
        return msgspec.structs.replace(
            told, name="not observable", confidence=0.0, message=f"{seen}not observable from this vantage: {unseen}"
        )
    sure = min(_SURE, _UNSURE + (_SURE - _UNSURE) * tail / _TYPICAL)
    return msgspec.structs.replace(
        told,
        confidence=sure,
        message=f"like the normal ones: nothing was lost, doubled or reordered above {limit:.2g} of the segments",
    )


def _absent(sight: Sight, deviations: Sequence[Deviation]) -> dict[Trouble, float]:
    """What would have been seen and was not, with the rate from which on it would."""
    least = {one.feature: one.least for one in deviations}
    unseen = hidden(sight)
    return {
        trouble: max(least.get(f"data.{name}", 0.0) for name in needed(sight, trouble))
        for trouble in TROUBLES
        if trouble not in unseen
    }


def _unexplained(told: Verdict) -> Verdict:
    return msgspec.structs.replace(
        told,
        name="not observable",
        confidence=0.0,
        message="unlike the normal ones, but no counter that this vantage has is beyond theirs",
    )


def _single(likely: frozenset[Trouble], sight: Sight) -> Trouble | None:
    """The one thing that happened; Tstat at the receiver calls few segments reordered that were lost."""
    if len(likely) == 1:
        return next(iter(likely))
    return "loss" if sight.source == "tstat" and sight.place == "receiver" and "loss" in likely else None


def _undecided(told: Verdict, sight: Sight, likely: frozenset[Trouble], sure: float) -> Verdict:
    ordered = _ordered(likely)
    words = " or ".join(_DONE[trouble] for trouble in ordered)
    return msgspec.structs.replace(
        told,
        name="not observable",
        confidence=0.0,
        suspects=ordered,
        hidden=told.hidden | dict.fromkeys(ordered, f"which of {' and '.join(ordered)} it was cannot be told"),
        message=f"segments were {words}, with confidence {sure:.2f}; which cannot be told from the {sight.place} end",
    )


def _ordered(likely: frozenset[Trouble]) -> tuple[Trouble, ...]:
    """The more common in networks first."""
    return tuple(trouble for trouble in ("reordering", "loss", "duplication") if trouble in likely)


def _direction(sight: Sight, ways: set[str]) -> str:
    if len(ways) == 2:
        return "both"
    sender = sight.sender if "data" in ways else _OTHER[sight.sender]
    return f"{sender} to {_OTHER[sender]}"


def _evidence(sight: Sight, deviations: Sequence[Deviation], normals: Normals, kin: Kin) -> tuple[Evidence, ...]:
    basis = f"median of {len(normals.counts)} normal transfers ({kin.variant}, 1e{kin.magnitude} bytes), 99 % below "
    strongest = [one for one in deviations if one.far] or deviations[:1]
    return tuple(
        Evidence(
            metric=f"{_column(sight, one.feature)} per data segment",
            observed=one.rate,
            expected=one.median,
            basis=f"{basis}{one.limit:.2g}",
        )
        for one in strongest[:_EVIDENCE]
    )


def _column(sight: Sight, feature: str) -> str:
    """The counter by the name that its record gives it."""
    way, _, name = feature.partition(".")
    sender = sight.sender if way == "data" else _OTHER[sight.sender]
    if name in ("dsack", "reord_seen"):
        return {"dsack": "dsack_dups", "reord_seen": "reord_seen"}[name]
    return f"{_OTHER[sender][0]}_sack_cnt" if name == "sack" else f"{sender[0]}_pkts_{name}"


def judge_both(one: Sight, other: Sight) -> Verdict:
    """Judge a connection that was seen from both its ends; no model is needed."""
    found = crossings(one, other)
    troubled = [crossing for crossing in found if crossing.trouble]
    limit = _RULE_OF_THREE / max(1.0, min(one.data.segments, other.data.segments))
    if not found or (not troubled and one.data.segments < _LEAST_SEGMENTS):
        reason = "too few segments, or an observer counts too little" if found else "an observer counts too little"
        return Verdict(name="not observable", confidence=0.0, place="both", message=f"cannot be judged: {reason}")
    if not troubled:
        missing = "" if len(found) == 2 else ", of the data's direction alone"
        return Verdict(
            name="normal",
            confidence=_SURE,
            place="both",
            absent=dict.fromkeys(TROUBLES, limit),
            evidence=tuple(_balance(crossing) for crossing in found),
            message=f"all that left either end arrived at the other, once and in order{missing}",
        )
    name = troubled[0].trouble
    assert name is not None
    ways = [crossing for crossing in troubled if crossing.trouble == name]
    direction = "both" if len(ways) == 2 else f"{ways[0].sender} to {_OTHER[ways[0].sender]}"
    told = " and ".join(f"{crossing.rate:.3%} {_way(crossing)}" for crossing in ways)
    return Verdict(
        name=name,
        confidence=0.99,
        place="both",
        direction=direction,
        suspects=tuple(dict.fromkeys(crossing.trouble for crossing in troubled if crossing.trouble)),
        rates={_way(crossing): crossing.rate for crossing in troubled},
        evidence=tuple(_balance(crossing) for crossing in found),
        message=f"segments were {_DONE[name]} between the two ends: {told}",
    )


def _way(crossing: Crossing) -> str:
    return f"{crossing.sender} to {_OTHER[crossing.sender]}"


def _balance(crossing: Crossing) -> Evidence:
    return Evidence(
        metric=f"{crossing.unit} that arrived, {_way(crossing)}",
        observed=crossing.arrived,
        expected=crossing.sent,
        unit=crossing.unit,
        basis=f"what left the {crossing.sender}",
    )
