"""Reading whole lines out of files that somebody is still writing, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

HEAD = 4096
"""How much is kept of a line that is too long [bytes]."""


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
