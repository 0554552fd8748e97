"""What is not as it should be, in transfers, jobs, workflows and hosts: found, explained, told as events."""

from __future__ import annotations

from .episodes import KINDS, Episode, Episodes, worst_first
from .records import FAMILY, Anomaly, Evidence, Kind, anomaly_of, as_event, as_record

__all__ = [
    "FAMILY",
    "KINDS",
    "Anomaly",
    "Episode",
    "Episodes",
    "Evidence",
    "Kind",
    "anomaly_of",
    "as_event",
    "as_record",
    "worst_first",
]
