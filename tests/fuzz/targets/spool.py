"""A segment file of a spool, as a death, a disk or a hand may have left it."""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path

from panorama_driver.collector.spool import Spool


def _record(body: bytes) -> bytes:
    size = struct.pack("<I", len(body))
    return size + struct.pack("<I", zlib.crc32(body, zlib.crc32(size))) + body


_HEAD = struct.pack("<QQ", 1, 13)
SEEDS = [
    b"".join(map(_record, (b"one", b"", b'{"event":"stampede.inv.end"}'))),
    _record(b"x" * 300) + b"\x00" * 40,
    _HEAD + struct.pack("<I", zlib.crc32(_HEAD)),
]
_folder = tempfile.TemporaryDirectory()
_home = Path(_folder.name)


def one(data: bytes) -> None:
    """Sound records come out, what is not is left out or set aside, and the spool can be used."""
    for path in _home.iterdir():
        path.unlink()
    (_home / "0000000000000001.segment").write_bytes(data)
    (_home / "head").write_bytes(data[:20])
    with Spool(_home) as spool:
        count = len(spool)
        spool.append([b"next"])
        records = spool.read(1 << 30)
        assert len(records) == count + 1
        assert records[-1] == b"next"
        spool.drop(len(records))
        assert (len(spool), spool.size) == (0, 0)
