"""Files from outside, compressed or not: their beginning, their records, and their damage as dead letters."""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from ...errors import FormatError, StoreError
from ...events import Event
from ...sources import expand
from ...store import DeadLetter

Told = Event | DeadLetter
Raw = Mapping[str, Any]

MOST_LETTERS = 1000
"""Damaged places of one file that are kept; of more the last letter tells the number."""

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_HEAD = 4096  # bytes of a damaged record that are kept
_PLACE = re.compile(r"byte (\d{1,18}): ")
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error)
_MISFITS = (FormatError, ValueError, TypeError, OverflowError, RecursionError)


def unpacked(head: bytes) -> bytes:
    """The first bytes of what a file holds, unpacked if it is packed."""
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD)
    except zlib.error:
        return b""


def beginning(head: bytes) -> bytes:
    """The same of a text, without white space before it."""
    return unpacked(head).removeprefix(_BOM).lstrip()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to be read, unpacked if it is packed; a pipe or a device is none.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StoreError(f"{path}: no regular file; give the path of one")
            packed = file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
    except StoreError:
        raise
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from error


def whole(path: Path, limit: int) -> bytes:
    """All that a file holds.

    Raises
    ------
    FormatError
        It is longer than `limit` [bytes], or its compression is damaged.
    StoreError
        It cannot be read.
    """
    try:
        with opened(path) as file:
            data = file.read(limit + 1)
    except _BROKEN as error:
        raise FormatError(f"{path}: damaged compression: {error}") from error
    if len(data) > limit:
        raise FormatError(f"{path}: longer than {limit} bytes, which no such file is")
    return data


def events_of(raw: Raw, path: Path) -> Iterator[Told]:
    """What a raw record tells, or itself as a dead letter that may be tried again."""
    try:
        yield from expand(raw)
    except _MISFITS as error:
        yield letter(path, str(error), encoded(raw))


def encoded(raw: Raw) -> bytes:
    """A record as a line of JSON, in which what JSON does not have is text; empty where even that cannot be."""
    try:
        return msgspec.json.encode(raw, enc_hook=str)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return repr(dict(raw)).encode("utf-8", "backslashreplace")[:_HEAD]


def letter(path: Path, reason: str, head: bytes, offset: int | None = None, size: int | None = None) -> DeadLetter:
    """A dead letter from a file."""
    size = len(head) if size is None else size
    return DeadLetter(reason=reason, source=os.path.abspath(path), offset=offset, size=size, head=head)


class Damage:
    """Collects what a reader says of damaged places, and makes dead letters of it.

    Parameters
    ----------
    path : Path
        The file, which is looked into again at each place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []
        self._told = 0

    def __call__(self, words: str) -> None:
        """Take what a reader says: `NAME: byte OFFSET: REASON`."""
        self._told += 1
        if self._told <= MOST_LETTERS:
            self._waiting.append(words.removeprefix(f"{self._path}: "))

    def letters(self) -> Iterator[DeadLetter]:
        """Of what was said since the last time."""
        waiting, self._waiting = self._waiting, []
        for words in waiting:
            match = _PLACE.match(words)
            offset = int(match[1]) if match else None
            yield letter(self._path, words, *_line_at(self._path, offset))

    def rest(self) -> Iterator[DeadLetter]:
        """As `letters`, and how many more places there were."""
        yield from self.letters()
        if self._told > MOST_LETTERS:
            yield letter(
                self._path, f"{self._told - MOST_LETTERS} more damaged places of this file are not listed", b""
            )


def _line_at(path: Path, offset: int | None) -> tuple[bytes, int | None, int | None]:
    """The line that begins there, cut if it is long, with its place and whole length as `letter` takes them."""
    if offset is None:
        return b"", None, None
    try:
        with opened(path) as file:
            file.seek(offset)
            head = file.read(_HEAD)
    except (*_BROKEN, StoreError):
        return b"", offset, None
    line, ended, _ = head.partition(b"\n")
    return line, offset, len(line) if ended or len(head) < _HEAD else _HEAD + 1


def told(path: Path, records: Callable[[BinaryIO, Damage], Iterator[Told]]) -> Iterator[Told]:
    """What a reader of an open file tells, with what is damaged among it, where that is.

    Raises
    ------
    StoreError
        The file cannot be read.
    """
    damage = Damage(path)
    try:
        with opened(path) as file:
            for each in records(file, damage):
                yield from damage.letters()
                yield each
    except _BROKEN as error:
        damage(f"the compressed file cannot be read to its end: {error}")
    yield from damage.rest()
