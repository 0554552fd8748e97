"""Reading whole lines out of files that somebody is still writing, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

HEAD = 4096
"""How much is kept of a line that is too long [bytes]."""
_MARK = 64  # bytes


class Line(NamedTuple):
    """A line without its end; of one that is too long only the head.

    `offset` and `size` are [bytes], the size with the line's end; `ended` is False for a last line still unfinished.
    """

    offset: int
    size: int
    body: bytes
    too_long: bool
    ended: bool

    @property
    def after(self) -> int:
        """Offset of the next line [bytes]."""
        return self.offset + self.size


class Tail:
    """How far one file was read: `offset` [bytes], all before which is in the store."""

    def __init__(self) -> None:
        self.offset = 0
        self.seen: tuple[object, ...] = ()
        self._mark = b""

    def continues_in(self, file: BinaryIO) -> bool:
        """Whether what was read is still there: a file that was truncated or replaced has to be read anew."""
        return _before(self.offset, file) == self._mark

    def move_to(self, offset: int, file: BinaryIO) -> None:
        self.offset = offset
        self._mark = _before(offset, file)

    def restart(self) -> None:
        self.offset, self._mark = 0, b""


def _before(offset: int, file: BinaryIO) -> bytes:
    """The few bytes before `offset`, fewer where the file has become shorter."""
    start = max(0, offset - _MARK)
    return os.pread(file.fileno(), offset - start, start)


def lines(file: BinaryIO, offset: int, limit: int) -> Iterator[Line]:
    """Lines of `file` from `offset` on, the last of which may be unfinished; none longer than `limit` is held."""
    file.seek(offset)
    while body := file.readline(limit + 1):
        size = len(body)
        ended = body.endswith(b"\n")
        too_long = not ended and size > limit
        if too_long:
            body = body[:HEAD]
            more, ended = _skip_line(file, limit)
            size += more
        yield Line(offset, size, body.removesuffix(b"\n"), too_long, ended)
        offset += size


def lots(source: Iterable[Line], count: int, size: int) -> Iterator[list[Line]]:
    """Group lines by at most `count`, and so that a group ends when it has `size` bytes."""
    lot: list[Line] = []
    held = 0
    for line in source:
        lot.append(line)
        held += len(line.body)
        if len(lot) >= count or held >= size:
            yield lot
            lot, held = [], 0
    if lot:
        yield lot


def _skip_line(file: BinaryIO, limit: int) -> tuple[int, bool]:
    """Go to the end of the line: how far that was [bytes], and whether it had an end."""
    skipped = 0
    while part := file.readline(limit):
        skipped += len(part)
        if part.endswith(b"\n"):
            return skipped, True
    return skipped, False
