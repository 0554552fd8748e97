"""Whatever a file holds, a format reads events and dead letters in it, or says in words that it is none."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from panorama_driver.errors import PanoramaError
from panorama_driver.events import Event
from panorama_driver.exchange.formats import READ, Format
from panorama_driver.store import DeadLetter
from tests.captured import CAPTURES
from tests.exchange.test_formats_flowbench import COMPUTE, HEADER
from tests.tstat_logs import log

_LINES = (CAPTURES / "sinks" / "events.json").read_bytes().splitlines()
SAMPLES = (
    (CAPTURES / "sinks" / "events.bp").read_bytes()[:3000],
    b"\n".join(_LINES[:6]),
    (CAPTURES / "sinks" / "events.bson").read_bytes()[:2000],
    b'{"took": 1, "hits": {"hits": [' + b",".join(b'{"_source": %s}' % line for line in _LINES[:6]) + b"]}}",
    f"{HEADER}\n{','.join(COMPUTE.get(name, '') for name in HEADER.split(','))}\n".encode(),
    next((CAPTURES / "darshan" / "A").iterdir()).read_bytes(),
    log(),
    json.dumps({"_source": {"event": "transfer.inv.go", "wf_uuid": "w", "transfer_events": [{}]}}).encode(),
)
PURE = [each for each in READ if not each.joins and each.name != "darshan"]
"""Those that need neither a store nor a process of its own; of the others only what recognises them is tried."""


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real file with some bytes cut out, doubled or changed, packed or not."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(data)))
        last = draw(st.integers(first, min(len(data), first + 200)))
        data[first:last] = draw(st.one_of(st.binary(max_size=20), st.just(bytes(data[first:last]) * 2)))
    packed = gzip.compress(bytes(data), mtime=0) if draw(st.booleans()) else bytes(data)
    return packed[: draw(st.integers(0, len(packed)))] if draw(st.booleans()) else packed


@pytest.mark.parametrize("chosen", PURE, ids=lambda each: each.name)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged())
def test_a_damaged_file_is_read_or_refused_in_words(chosen: Format, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(data)
    with suppress(PanoramaError):
        for told in chosen.reader.read(path):
            assert isinstance(told, Event | DeadLetter)
            if isinstance(told, DeadLetter):
                assert told.reason
                assert told.source == str(path)


@settings(max_examples=150, deadline=None)
@given(data=st.one_of(damaged(), st.binary(max_size=300)))
def test_recognising_never_fails(data: bytes) -> None:
    for each in READ:
        assert each.reader.detect(Path("hostile"), data[:4096]) in (True, False)
