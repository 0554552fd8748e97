"""Flows of Tstat with numbers that tests choose: 100 MB from client to server in 50,000 segments."""

from __future__ import annotations

import io
import random
from typing import Any

from panorama_driver.analysis.tcp import Sight, sight_of_flow
from panorama_driver.sources.tstat import Damage, Flow, read
from tests.tstat_logs import FULL, log, values

SEGMENTS, ANSWERS = 50_000, 1_000
_BASE = {
    "c_pkts_data": SEGMENTS,
    "c_bytes_uniq": 100_000_000,
    "c_bytes_all": 100_000_000,
    "c_pkts_retx": 0,
    "s_pkts_data": ANSWERS,
    "s_bytes_uniq": 36_000,
    "s_bytes_all": 36_000,
    "c_sack_opt": 1,
    "s_sack_opt": 1,
    "c_rtt_cnt": 900,
    "s_rtt_cnt": 900,
}
_AT = {
    "receiver": {"c_rtt_min": 0.01, "s_rtt_min": 30.0, "c_ttl_max": 63, "s_ttl_max": 64, "s_ttl_min": 64},
    "sender": {
        "c_rtt_min": 30.0,
        "s_rtt_min": 0.01,
        "c_ttl_max": 64,
        "c_ttl_min": 64,
        "s_ttl_min": 63,
        "s_ttl_max": 63,
    },
}


def told(place: str = "receiver", **more: Any) -> dict[str, Any]:
    """Columns of one flow."""
    return values(**{**_BASE, **_AT.get(place, {}), **more})


def flow(place: str = "receiver", **more: Any) -> Flow:
    """A line of a log, read."""
    (found,) = read(io.BytesIO(log(FULL, told(place, **more))))
    assert not isinstance(found, Damage), found
    return found


def sight(place: str = "receiver", variant: str | None = "cubic", **more: Any) -> Sight:
    """A flow as it is seen at one end of its data."""
    return sight_of_flow(flow(place, **more), variant)


def normals(place: str = "receiver", number: int = 60, **more: Any) -> list[Sight]:
    """Normal flows of different lengths, some with a segment sent again."""
    chance = random.Random(7)
    return [
        sight(place, c_pkts_data=SEGMENTS + chance.randrange(5000), c_pkts_retx=chance.randrange(2), **more)
        for _ in range(number)
    ]
