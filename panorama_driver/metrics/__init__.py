"""Events of one workflow run, turned into metrics of its attempts, its jobs and the run as a whole.

The room stands between `store/`, which hands over events, and `objective.py`, which hands numbers to Dakota. All
functions are pure: the same events, in any order and however often repeated, give the same records bit for bit.
Times are in [s], sizes in [bytes]; what cannot be known is None, and the record's `reasons` say why.
"""

from __future__ import annotations

from ._failure import failure_words
from ._run import Run
from ._series import Trace, series, series_of
from ._thin import thin, thinned
from ._times import times
from ._transfer_list import transfers
from ._transfers import Piece
from ._workflow import correlate
from .records import (
    AttemptMetrics,
    DarshanFile,
    DarshanLustre,
    DarshanModule,
    DarshanSummary,
    JobMetrics,
    Measures,
    Series,
    TaskMetrics,
    TcpSummary,
    TimeShares,
    TransferMetrics,
    WorkflowMetrics,
    WorkflowState,
)

__all__ = [
    "AttemptMetrics",
    "DarshanFile",
    "DarshanLustre",
    "DarshanModule",
    "DarshanSummary",
    "JobMetrics",
    "Measures",
    "Piece",
    "Run",
    "Series",
    "TaskMetrics",
    "TcpSummary",
    "TimeShares",
    "Trace",
    "TransferMetrics",
    "WorkflowMetrics",
    "WorkflowState",
    "correlate",
    "failure_words",
    "series",
    "series_of",
    "thin",
    "thinned",
    "times",
    "transfers",
]
