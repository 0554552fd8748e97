"""Text between monitoring markers."""

from __future__ import annotations

from panorama_driver.sources import payload

SEEDS = [
    b'before\n@@@MONITORING_PAYLOAD - START@@@{"ts": 1, "monitoring_event": "x", "payload": [{"a": 1}, {"b": [2]}]}'
    b"@@@MONITORING_PAYLOAD - END@@@\nafter @@@MONITORING_PAYLOAD - START@@@{}@@@MONITORING_PAYLOAD - END@@@",
]


def one(data: bytes) -> None:
    """Payloads, and the text without them."""
    text = data.decode("utf-8", "replace")
    found = payload.split(text)
    assert len(found.text) <= len(text)
    for marked in found.payloads:
        payload.items(marked)
