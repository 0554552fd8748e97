"""A bounded queue of bytes in a folder: what was accepted and cannot be passed on yet survives the death of its holder.

Records stand in numbered segment files: length, CRC-32 of length and body (both little-endian, 4 bytes), body. The
file `head` says up to where they were dropped. A record that was cut off by a death was never accepted and is left
out; one that was damaged later is set aside with all behind it in its segment, in a `.damaged` file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from ..errors import SpoolFullError, StoreError

LIMIT = 256 << 20
"""How much a spool holds unless told [bytes]."""
SEGMENT = 8 << 20
"""A segment that has this size is followed by a new one [bytes]."""
READ_LIMIT = 8 << 20
"""`Spool.read` gives no more than this at once [bytes], except where a single record is larger."""

_log = logging.getLogger(__name__)
_HEADER = struct.Struct("<II")
_HEAD = struct.Struct("<QQI")


class _Place(NamedTuple):
    """Before which record: number of the segment, offset in it [bytes]."""

    segment: int = 0
    offset: int = 0


@dataclass
class _Segment:
    """A file of records, of which `size` [bytes] are sound and on disk."""

    number: int
    path: Path
    size: int = 0
    records: int = 0
    file: BinaryIO | None = field(default=None, repr=False)


class Spool:
    """A first-in first-out queue of byte strings on disk.

    One thread may append while another reads and drops; one process at a time has the folder.

    Parameters
    ----------
    folder : str or path
        Its own folder, made with mode 0700 where it is missing.
    limit_bytes : int
        What it holds at most [bytes]; on disk one segment more may be in use.
    segment_bytes : int
        Size of a segment [bytes]; space comes back segment by segment.

    Raises
    ------
    StoreError
        The folder cannot be used, or another process has it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], limit_bytes: int = LIMIT, *, segment_bytes: int = SEGMENT
    ) -> None:
        self.folder = Path(folder).absolute()
        self.limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._state = threading.Lock()
        self._appending = threading.Lock()
        try:
            self._claim = _claim(self.folder)
            self._head, self._segments = _recovered(self.folder)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be used as a spool: {error.strerror or error}") from error
        self._count = sum(segment.records for segment in self._segments)
        self._size = sum(segment.size for segment in self._segments) - self._head.offset
        self._count -= _records_before(self._segments, self._head)
        self._next_number = max([self._head.segment, *(segment.number for segment in self._segments)]) + 1
        self._writing: _Segment | None = None
        self._read: deque[_Place] = deque()

    def __len__(self) -> int:
        """Number of records."""
        return self._count

    @property
    def size(self) -> int:
        """What its records take [bytes]."""
        return self._size

    def append(self, items: Iterable[bytes]) -> None:
        """Accept records, all or none of them; they are on disk when this returns.

        Raises
        ------
        SpoolFullError
            The limit leaves no room for them, or the disk takes none.
        """
        records = [_record(item) for item in items]
        size = sum(map(len, records))
        if not records:
            return
        with self._appending:
            if self._size + size > self.limit_bytes:
                raise SpoolFullError(
                    f"{self.folder}: the spool is full: {self._size} of {self.limit_bytes} bytes are taken by "
                    f"{self._count} records that could not be passed on yet"
                )
            segment = self._segment_to_write()
            try:
                _write(segment, b"".join(records))
            except OSError as error:
                raise self._no_room(error) from error
            with self._state:
                segment.size += size
                segment.records += len(records)
                self._size += size
                self._count += len(records)

    def read(self, limit: int) -> list[bytes]:
        """The first records, at most `limit` of them and not more than `READ_LIMIT` bytes; they stay.

        Raises
        ------
        StoreError
            They cannot be read.
        """
        with self._state:
            ends = [(segment, segment.size) for segment in self._segments]
        bodies: list[bytes] = []
        places: deque[_Place] = deque()
        try:
            for place, body in _records(ends, self._head):
                bodies.append(body)
                places.append(place)
                if len(bodies) >= limit or _distance(self._head, place, ends) >= READ_LIMIT:
                    break
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.folder}: the spool cannot be read: {error}") from error
        self._read = places
        return bodies

    def drop(self, count: int) -> None:
        """Forget the first `count` of the records that `read` gave last.

        Raises
        ------
        ValueError
            `read` gave fewer.
        StoreError
            That could not be written down; they are still there.
        """
        if not 0 <= count <= len(self._read):
            raise ValueError(f"{count} records cannot be dropped: {len(self._read)} were read")
        if not count:
            return
        head = self._read[count - 1]
        try:
            _write_head(self.folder, head)
        except OSError as error:
            raise StoreError(f"{self.folder}: the spool cannot be written: {error.strerror or error}") from error
        for _ in range(count):
            self._read.popleft()
        with self._state:
            ends = [(segment, segment.size) for segment in self._segments]
            self._size -= _distance(self._head, head, ends)
            self._count -= count
            self._head = head
            done = [segment for segment in self._segments if segment.number < head.segment]
            self._segments = [segment for segment in self._segments if segment.number >= head.segment]
        for segment in done:
            _remove(segment)

    def close(self) -> None:
        """Give the folder back; what it holds stays."""
        with self._appending, self._state:
            for segment in self._segments:
                _close(segment)
            self._writing = None
            self._claim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _segment_to_write(self) -> _Segment:
        current = self._writing
        if current is not None and current.file is not None and current.size < self._segment_bytes:
            return current
        if current is not None:
            _close(current)
        segment = _Segment(self._next_number, self.folder / f"{self._next_number:016d}.segment")
        try:
            segment.file = _created(segment.path)
        except OSError as error:
            raise self._no_room(error) from error
        self._next_number += 1
        with self._state:
            self._segments.append(segment)
        self._writing = segment
        return segment

    def _no_room(self, error: OSError) -> SpoolFullError:
        return SpoolFullError(
            f"{self.folder}: the spool cannot be written: {error.strerror or error}; free space there"
        )


def _claim(folder: Path) -> BinaryIO:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _opened(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise OSError(error.errno, "another process has it; end that one or name another folder") from error
    return lock


def _opened(path: Path, flags: int) -> BinaryIO:
    return os.fdopen(os.open(path, flags | os.O_CLOEXEC, 0o600), "r+b", buffering=0)


def _created(path: Path) -> BinaryIO:
    file = _opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    _sync_folder(path.parent)
    return file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record(body: bytes) -> bytes:
    return _HEADER.pack(len(body), _checksum(body)) + body


def _checksum(body: bytes) -> int:
    """Of length and body, so that a stretch of zeros is no record."""
    return zlib.crc32(body, zlib.crc32(len(body).to_bytes(4, "little")))


def _write(segment: _Segment, data: bytes) -> None:
    """Write and sync behind what is sound; where that fails, cut off what was written."""
    assert segment.file is not None
    descriptor = segment.file.fileno()
    offset, rest = segment.size, memoryview(data)
    try:
        while rest:
            done = os.pwrite(descriptor, rest, offset)
            offset, rest = offset + done, rest[done:]
        os.fdatasync(descriptor)
    except OSError:
        with suppress(OSError):  # what stays behind is written over, or cut off when the spool is opened again
            os.ftruncate(descriptor, segment.size)
        raise


def _write_head(folder: Path, head: _Place) -> None:
    """Replace the file `head` as a whole; where a power cut takes that back, some records are read once more."""
    data = struct.pack("<QQ", *head)
    partial = folder / "head.partial"
    with _opened(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as file:
        file.write(data + zlib.crc32(data).to_bytes(4, "little"))
        os.fdatasync(file.fileno())
    partial.replace(folder / "head")


def _read_head(folder: Path) -> _Place:
    """Where reading goes on; at the beginning if the file is missing or damaged."""
    try:
        data = (folder / "head").read_bytes()
    except FileNotFoundError:
        return _Place()
    if len(data) != _HEAD.size or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        return _Place()
    segment, offset, _ = _HEAD.unpack(data)
    return _Place(segment, offset)


def _recovered(folder: Path) -> tuple[_Place, list[_Segment]]:
    """What is there, without what was dropped."""
    head = _read_head(folder)
    segments = []
    for path in sorted(folder.glob("*.segment")):
        if not path.stem.isdecimal():
            continue
        segment = _Segment(int(path.stem), path)
        boundaries = _examine(segment) if segment.number >= head.segment else set()
        if not segment.records:
            _remove(segment)
            continue
        if segment.number == head.segment and head.offset not in boundaries:
            head = _Place(segment.number)
        segments.append(segment)
    if not segments or segments[0].number != head.segment:
        head = _Place(segments[0].number if segments else head.segment)
    return head, segments


def _examine(segment: _Segment) -> set[int]:
    """Count a segment's sound records and cut off the rest, keeping a copy if it may have been accepted once."""
    boundaries = {0}
    with _opened(segment.path, os.O_RDWR) as raw, open(raw.fileno(), "rb", closefd=False) as file:
        end = os.fstat(raw.fileno()).st_size
        try:
            for after, _ in _read_from(file, 0, end):
                segment.records += 1
                segment.size = after
                boundaries.add(after)
        except ValueError:
            _set_aside(segment, file)
        if segment.size < end:
            os.ftruncate(raw.fileno(), segment.size)
    return boundaries


def _set_aside(segment: _Segment, file: BinaryIO) -> None:
    file.seek(segment.size)
    aside = segment.path.with_suffix(".damaged")
    with _opened(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as copy:
        while piece := file.read(1 << 20):
            copy.write(piece)
        os.fdatasync(copy.fileno())
    _log.warning("%s: damaged at byte %d; what stands from there on is in %s", segment.path, segment.size, aside)


def _read_from(file: BinaryIO, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Records of a file from `offset` to `end`, each with the offset behind it; one that is cut off ends it.

    Raises
    ------
    ValueError
        A record is whole and its checksum is wrong.
    """
    file.seek(offset)
    while offset + _HEADER.size <= end:
        length, checksum = _HEADER.unpack(file.read(_HEADER.size))
        if offset + _HEADER.size + length > end:
            return
        body = file.read(length)
        if _checksum(body) != checksum:
            raise ValueError(f"{file.name}: damaged at byte {offset}")
        offset += _HEADER.size + length
        yield offset, body


def _records(ends: list[tuple[_Segment, int]], head: _Place) -> Iterator[tuple[_Place, bytes]]:
    """Records behind `head`, each with the place behind it, which is in the next segment where there is one."""
    for (segment, end), following in zip_longest(ends, ends[1:]):
        offset = head.offset if segment.number == head.segment else 0
        if offset >= end:
            continue
        with segment.path.open("rb") as file:
            for after, body in _read_from(file, offset, end):
                last = after == end and following is not None
                yield _Place(following[0].number) if last and following else _Place(segment.number, after), body


def _distance(head: _Place, place: _Place, ends: list[tuple[_Segment, int]]) -> int:
    """Bytes of records from `head` to `place`."""
    between = sum(end for segment, end in ends if head.segment <= segment.number < place.segment)
    return between + place.offset - head.offset


def _records_before(segments: list[_Segment], head: _Place) -> int:
    if not segments or not head.offset:
        return 0
    with segments[0].path.open("rb") as file:
        return sum(1 for _ in _read_from(file, 0, head.offset))


def _close(segment: _Segment) -> None:
    if segment.file is not None:
        segment.file.close()
        segment.file = None


def _remove(segment: _Segment) -> None:
    _close(segment)
    segment.path.unlink(missing_ok=True)
