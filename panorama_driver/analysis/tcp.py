"""What the network did to a transfer's segments: lost, doubled or reordered them, or nothing; or it cannot be told.

A transfer is compared with normal ones of its TCP variant and size class that were seen from the same end: an Isolation
Forest on rates per segment (`_tcp_forest`) says whether it is unlike them, rules over the counters that deviate
(`_tcp_rules`) say what that means. What an observer could not have seen is never called normal. A connection that was
seen from both its ends needs no model (`_tcp_pairs`): what left one end and did not arrive at the other was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ..events import Event
from ..sources import tcp as connections
from ._tcp_forest import Kin, Parameters
from ._tcp_model import ANY, Model, learn, load
from ._tcp_pairs import pairs
from ._tcp_rules import TROUBLES, Trouble
from ._tcp_sights import Sight, sight_of, sight_of_flow
from ._tcp_verdicts import Verdict, judge_both, judge_sights
from .records import Anomaly, Kind

__all__ = [
    "ANY",
    "TROUBLES",
    "Judged",
    "Kin",
    "Model",
    "Parameters",
    "Sight",
    "Verdict",
    "judge",
    "judge_all",
    "judge_both",
    "judge_sights",
    "learn",
    "load",
    "pairs",
    "sight_of",
    "sight_of_flow",
]

DETECTOR = "tcp 1"

_KINDS: dict[Trouble, Kind] = {"loss": "tcp_loss", "duplication": "tcp_duplication", "reordering": "tcp_reordering"}
_HALF = 0.5


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict and whose it is; `anomaly` is None where nothing was found.

    Attributes
    ----------
    wf_uuid, job_id, attempt : str, str or None, int or None
        The job whose transfer it was.
    sight : Sight
        What was seen; of two observers what the one nearer the sender saw.
    verdict : Verdict
        What it means.
    anomaly : Anomaly or None
        The record that tells of it.
    """

    wf_uuid: str
    job_id: str | None
    attempt: int | None
    sight: Sight
    verdict: Verdict
    anomaly: Anomaly | None = None


def judge(events: Iterable[Event], model: Model | None) -> list[Judged]:
    """Judge the transfers of workflow runs.

    Parameters
    ----------
    events : iterable of Event
        Of one or several runs; those that are no `transfer.tcp` do no harm. Of a connection that was told of several
        times the newest counts.
    model : Model or None
        Normal transfers; None judges only the connections that were seen from both ends.

    Returns
    -------
    list of Judged
        In the order of their beginning; one that was seen from both ends comes once.
    """
    seen = _with_variants(_newest(events))
    owner = {id(sight): event for event, sight in seen}
    found = []
    for several, verdict in _each([sight for _, sight in seen], model):
        whose = next((owner[id(s)] for s in several if owner[id(s)].job_id), owner[id(several[0])])
        found.append(_told(whose, several[0], verdict))
    return found


def judge_all(sights: Sequence[Sight], model: Model | None) -> list[tuple[Sight, Verdict]]:
    """Judge connections: from both ends those that were seen so, by the model, if there is one, the others.

    Returns
    -------
    list of tuple of Sight and Verdict
        In the order of their beginning; of two observers what the one at the sender saw.
    """
    return [(several[0], verdict) for several, verdict in _each(sights, model)]


def _each(sights: Sequence[Sight], model: Model | None) -> list[tuple[tuple[Sight, ...], Verdict]]:
    found: list[tuple[tuple[Sight, ...], Verdict]] = []
    for one, other in pairs(sights):
        first, second = (one, other) if one.place == "sender" else (other, one)
        found.append(((first, second), judge_both(first, second)))
    joined = {id(sight) for several, _ in found for sight in several}
    alone = [sight for sight in sights if id(sight) not in joined]
    if model is not None:
        found += [((sight,), verdict) for sight, verdict in zip(alone, judge_sights(alone, model), strict=True)]
    return sorted(found, key=lambda judged: judged[0][0].first)


def _newest(events: Iterable[Event]) -> list[tuple[Event, Sight]]:
    """Each connection of each observer once, by the newest that it told."""
    newest: dict[object, tuple[Event, Sight]] = {}
    for event in events:
        sight = sight_of(event.fields) if event.kind == connections.KIND else None
        if sight is None:
            continue
        moment = sight.first if sight.source == "tstat" else event.fields.get("socket_id")
        key = (event.wf_uuid, event.job_id, event.attempt, sight.source, sight.ends, sight.near, str(moment))
        known = newest.get(key)
        if known is None or (sight.last, sight.final) >= (known[1].last, known[1].final):
            newest[key] = event, sight
    return list(newest.values())


def _with_variants(seen: list[tuple[Event, Sight]]) -> list[tuple[Event, Sight]]:
    """Tstat's sights with the TCP variant that a kernel told of the same connection."""
    told = {sight.ends: sight.variant for _, sight in seen if sight.variant}
    return [
        (event, sight if sight.variant else msgspec.structs.replace(sight, variant=told.get(sight.ends)))
        for event, sight in seen
    ]


def _told(event: Event, sight: Sight, verdict: Verdict) -> Judged:
    return Judged(
        wf_uuid=event.wf_uuid,
        job_id=event.job_id,
        attempt=event.attempt,
        sight=sight,
        verdict=verdict,
        anomaly=_anomaly(event, sight, verdict),
    )


def _anomaly(event: Event, sight: Sight, verdict: Verdict) -> Anomaly | None:
    """The record of what was found; of several suspects it has the more common one's kind, and half the confidence."""
    if not verdict.suspects:
        return None
    host = event.fields.get("hostname")
    return Anomaly(
        kind=_KINDS[verdict.suspects[0] if verdict.name == "not observable" else verdict.name],  # type: ignore[index]
        wf_uuid=event.wf_uuid,
        job_id=event.job_id,
        attempt=event.attempt,
        host=host if isinstance(host, str) else None,
        since=sight.first,
        found=sight.last,
        confidence=verdict.confidence or _HALF,
        message=f"{_address(sight.client)} to {_address(sight.server)}: {verdict.message}",
        evidence=verdict.evidence,
        detector=DETECTOR,
    )


def _address(end: tuple[str, int]) -> str:
    return f"[{end[0]}]:{end[1]}" if ":" in end[0] else f"{end[0]}:{end[1]}"
