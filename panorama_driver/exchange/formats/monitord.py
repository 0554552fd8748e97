"""Files of Pegasus' monitord, as they are: NetLogger lines (`*.bp`), JSON objects, BSON; and our own `events.jsonl`.

Formats: Pegasus 5.1.3, monitoring/event_output.py; the schemas in its folder doc/schemas/monitord, with samples that
Pegasus 4.0 wrote, which this reads too. Of those the events `static.start` and `static.end` name no workflow, and
become dead letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...sources import sink
from ._files import Damage, Told, beginning, events_of, told, unpacked

_KEY = re.compile(rb'"(?:event|xwf[._]id|wf_uuid|job[._]id)"\s*:')
_NAMES = (b"event\0", b"xwf_id\0", b"wf_uuid\0", b"job_id\0")


def detect(path: Path, head: bytes) -> bool:
    """Whether this is one, as far as its first bytes tell."""
    text = beginning(head)
    if text.startswith(b"{"):
        return _KEY.search(text) is not None
    start = unpacked(head)
    return text.startswith(b"ts=") or (sink.is_bson(start) and any(name in start for name in _NAMES))


def read(path: Path) -> Iterator[Told]:
    """Events of a file of monitord's; damaged places become dead letters, and what follows them is read.

    Raises
    ------
    FormatError
        It is no file of monitord's.
    EnvironmentMissingError
        It holds BSON, and no package to read that is installed.
    StoreError
        It cannot be read.
    """

    def records(file: BinaryIO, damage: Damage) -> Iterator[Told]:
        for raw in sink.read_from(file, str(path), damage):
            yield from events_of(raw, path)

    return told(path, records)
