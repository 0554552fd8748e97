"""A log of Tstat, as text or compressed."""

from __future__ import annotations

import gzip
import io
import math

from panorama_driver.sources.tcp import connection
from panorama_driver.sources.tstat import Damage, read
from tests.tstat_logs import CORE, FULL, VERSION_2, log

SEEDS = [
    log(CORE),
    log(FULL, headed=False),
    log(VERSION_2, headed=False),
    log(VERSION_2) + log(FULL),
    gzip.compress(log(CORE) * 3, mtime=0),
]


def one(data: bytes) -> None:
    """Flows with finite times, or why a line is none."""
    for told in read(io.BytesIO(data)):
        if isinstance(told, Damage):
            assert told.reason
            continue
        assert math.isfinite(told.first)
        assert told.duration >= 0
        assert connection(told.columns()) is not None
