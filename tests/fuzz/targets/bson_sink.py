"""BSON documents one after another, as monitord sends them."""

from __future__ import annotations

import pytest

from ...captured import CAPTURES
from ..sinks import read_all

pytest.importorskip("bson")

_ALL = (CAPTURES / "sinks" / "events.bson").read_bytes()
_FIRST = int.from_bytes(_ALL[:4], "little")
SEEDS = [_ALL[:_FIRST], _ALL[:4000], _ALL[-6000:], b"\x05\x00\x00\x00\x00" + _ALL[:_FIRST]]


def one(data: bytes) -> None:
    """Events, or a reason why there are none."""
    read_all(data)
