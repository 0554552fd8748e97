"""What monitord wrote into a file instead of a broker: JSON objects, NetLogger bp lines, or BSON documents.

monitord of Pegasus 5.1.3 has the three encodings (monitoring/event_output.py). A file is read from its beginning, in
bounded memory; damaged places are told and passed over. JSON and BSON keep all that was sent. A bp line does not
(netlogger/nlapi.py): numbers have six decimals, None, lists and text that looks like a number are plain words, quotes
are escaped and nothing else is, and a time that has a fraction may lose its last microsecond.
"""

from __future__ import annotations

import ast
import calendar
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..errors import EnvironmentMissingError, FormatError
from ._fields import spelled
from .catalogue import KINDS

Raw = dict[str, Any]
Problem = Callable[[str], object]
"""Is told, in words, of each damaged place."""

RECORD_LIMIT = 16 << 20
"""A longer record is passed over [bytes]."""

LITERAL_LIMIT = 1 << 20
"""A longer list in a bp line stays the text that it is there [characters]."""

_CHUNK = 1 << 20  # bytes
_SQLITE = b"SQLite format 3\x00"
_MARK = re.compile(rb'\\.|["{}]', re.DOTALL)
_BETWEEN = b" \t\r\n,[]"
_PAIR = re.compile(
    r'([\w.-]+)=(?:"(?P<quoted>.*?)(?<!\\)"(?= [\w.-]+=| *\Z)|(?!")(?P<bare>[^ ]*))(?: | *\Z)', re.DOTALL
)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?Z")
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?\d{1,18}\.\d{6}")


def ignore(problem: str) -> None:
    """Tell nobody."""


def read(path: Path, problem: Problem = ignore) -> Iterator[Raw]:
    """Raw records of a file that monitord wrote, in their order; its encoding is recognised by how it begins.

    Parameters
    ----------
    path : Path
        The file.
    problem : callable
        Is told of each damaged place, in words; what follows is read where its beginning can be found.

    Raises
    ------
    FormatError
        It is no file of monitord's.
    EnvironmentMissingError
        It holds BSON, and no package to read that is installed.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        yield from read_from(file, str(path), problem)


def read_from(file: BinaryIO, name: str, problem: Problem = ignore) -> Iterator[Raw]:
    """The same of an open file, which is called `name` in what is told.

    Raises
    ------
    FormatError, EnvironmentMissingError, OSError
        As of `read`.
    """
    head = file.read(_HEAD)
    file.seek(0)
    yield from _reader(name, head)(file, lambda words: problem(f"{name}: {words}"))


def _reader(name: str, head: bytes) -> Callable[[BinaryIO, Problem], Iterator[Raw]]:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text or text.startswith(b"{"):
        return _json
    if text.startswith((b"ts=", b"event=")):
        return _bp
    if is_bson(head):
        return _bson
    if head.startswith(_SQLITE):
        raise FormatError(f"{name}: a stampede database, not a file of events")
    raise FormatError(f"{name}: neither JSON, nor NetLogger lines, nor BSON; it begins with {head[:32]!r}")


def is_bson(head: bytes) -> bool:
    """Whether a file that begins so may hold BSON documents."""
    return _document_size(head) is not None


def _json(file: BinaryIO, problem: Problem) -> Iterator[Raw]:
    """JSON objects one after another, each in one line or in several, or several in one."""
    for at, text in objects(file, problem):
        try:
            yield decoded(text)
        except (ValueError, RecursionError) as error:
            problem(f"byte {at}: no JSON object: {str(error)[:200]}")


def decoded(text: bytes) -> Raw:
    """A JSON object as monitord may write it: with names that are no UTF-8, and with NaN, which becomes None.

    Raises
    ------
    ValueError, RecursionError
        It is none.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Names of PEP 383.
        found = json.loads(text.decode("utf-8", "surrogateescape"), parse_constant=lambda _: None)
    if not isinstance(found, dict):
        raise ValueError("something else")
    return found


def objects(file: BinaryIO, problem: Problem, limit: int = RECORD_LIMIT) -> Iterator[tuple[int, bytes]]:
    """Where each outermost JSON object of a file begins, and its text; one longer than `limit` [bytes] is passed over.

    monitord ends no line within an object, so that an object which begins a line ends one that was not closed before.
    """
    cutter, at, new_line = _Cutter(problem), 0, True
    while piece := _piece(file):
        if cutter.pending and ((new_line and piece.startswith(b"{")) or len(cutter.pending) > limit):
            cutter.give_up()
        yield from cutter.take(at, piece)
        at += len(piece)
        new_line = piece.endswith(b"\n")
    if cutter.pending:
        cutter.give_up()


def _piece(file: BinaryIO) -> bytes:
    """A line, or as much of a long one as may be held, not cut after a backslash."""
    piece = file.readline(_CHUNK)
    while piece.endswith(b"\\") and len(piece) < 2 * _CHUNK and (more := file.read(1)):
        piece += more
    return piece


class _Cutter:
    """Cuts a text into its outermost objects."""

    def __init__(self, problem: Problem) -> None:
        self.pending = bytearray()
        self._problem = problem
        self._begin = 0
        self._depth = 0
        self._quoted = False

    def give_up(self) -> None:
        """Pass over what has begun."""
        self._problem(f"byte {self._begin}: an object that does not end; {len(self.pending)} bytes are passed over")
        self.pending.clear()
        self._depth, self._quoted = 0, False

    def take(self, at: int, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """Go on with a piece that lies at byte `at`."""
        done = 0  # what is before it has been handed on
        for match in _MARK.finditer(piece):
            place = match.start()
            if not self._depth and match[0] == b"{":
                self._skip(at + done, piece[done:place])
                self._begin, done, self._depth = at + place, place, 1
            elif self._depth and self._closes(match[0]):
                yield self._begin, bytes(self.pending + piece[done : place + 1])
                self.pending.clear()
                done = place + 1
        if self._depth:
            self.pending += piece[done:]
        else:
            self._skip(at + done, piece[done:])

    def _closes(self, mark: bytes) -> bool:
        if mark == b'"':
            self._quoted = not self._quoted
        elif not self._quoted:
            self._depth += (mark == b"{") - (mark == b"}")
        return not self._depth

    def _skip(self, at: int, between: bytes) -> None:
        if stray := between.strip(_BETWEEN):
            self._problem(f"byte {at}: no JSON object: {stray[:40]!r}")


def _bp(file: BinaryIO, problem: Problem) -> Iterator[Raw]:
    """NetLogger lines. A text with a line end in it, which nothing escapes, goes on in the lines after it."""
    for at, line in _records(file):
        found = _pairs(line.decode("utf-8", "surrogateescape")) if line.endswith(b"\n") else None
        if found is not None:
            yield _typed(found)
        elif line.endswith(b"\n"):
            problem(f"byte {at}: no NetLogger line: {line[:40]!r}")
        else:
            problem(f"byte {at}: the file ends within this line, or it is longer than {RECORD_LIMIT} bytes")


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where each record begins, and its text: a line, and those after it if a quote in it stays open."""
    at, begin, parts, size = 0, 0, list[bytes](), 0
    while line := file.readline(RECORD_LIMIT):
        if parts and not line.startswith(b"ts=") and size + len(line) <= RECORD_LIMIT:
            parts.append(line)
            size += len(line)
        else:
            if parts:
                yield begin, b"".join(parts)
            parts = []
            if line.startswith(b"ts=") and _pairs(line.decode("utf-8", "surrogateescape")) is None:
                begin, parts, size = at, [line], len(line)
            elif line.strip():
                yield at, line
        at += len(line)
    if parts:
        yield begin, b"".join(parts)


def _pairs(line: str) -> dict[str, str | None] | None:
    """The pairs of a record; None where something in it is no pair, or it names no event."""
    found: dict[str, str | None] = {}
    at, line = 0, line.removesuffix("\n")
    while at < len(line):
        match = _PAIR.match(line, at)
        if match is None:
            return None
        quoted, bare = match["quoted"], match["bare"]
        found[match[1]] = quoted.replace('\\"', '"') if quoted is not None else None if bare == "None" else bare
        at = match.end()
    return found if "event" in found else None


def _typed(found: dict[str, str | None]) -> Raw:
    """What the catalogue does not know gets the type that it most likely had; the rest `stampede.parse` reads."""
    known = _DECLARED.get(found["event"] or "", frozenset())
    return {key: value if value is None or spelled(key) in known else _guess(value) for key, value in found.items()} | {
        "ts": _epoch(found.get("ts"))
    }


_DECLARED = {
    kind: frozenset(field.name for field in msgspec.structs.fields(record)) - {"invocations"}
    for kind, record in KINDS.items()
}


def _epoch(stamp: str | None) -> float | str | None:
    match = _TIME.fullmatch(stamp or "")
    if match is None:
        return stamp
    year, month, day, hour, minute, second, fraction = match.groups(default="0")
    try:
        whole = calendar.timegm((int(year), int(month), int(day), int(hour), int(minute), int(second)))
    except ValueError:
        return stamp
    return whole + int(fraction.ljust(6, "0")) / 1e6


def _guess(value: str) -> Any:
    if _INTEGER.fullmatch(value):
        return int(value)
    if _DECIMAL.fullmatch(value):
        return float(value)
    if value[:1] in ("[", "{") and len(value) <= LITERAL_LIMIT:
        return _literal(value)
    return value


def _literal(value: str) -> Any:
    """A list or dict as Python writes it, which is what a bp line holds of a list."""
    try:
        found = ast.literal_eval(value)
        json.dumps(found)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return value
    return found


def _bson(file: BinaryIO, problem: Problem) -> Iterator[Raw]:
    """BSON documents one after another."""
    decode = _decoder()
    for at, document in _documents(file, problem):
        try:
            yield decode(document)
        except ValueError as error:
            problem(f"byte {at}: no BSON document: {str(error)[:200]}")


def _decoder() -> Callable[[bytes], Raw]:
    try:
        import bson
    except ImportError:
        raise EnvironmentMissingError(
            "the file holds BSON, and the package that reads it is not installed: pip install 'panorama-driver[bson]'"
        ) from None
    strange = (bson.errors.BSONError, ValueError, OverflowError, RecursionError, struct.error)

    def decode(document: bytes) -> Raw:
        try:
            return {key: _simple(value) for key, value in bson.decode(document).items()}
        except strange as error:
            raise ValueError(str(error)) from error

    return decode


def _simple(value: Any) -> Any:
    """A value in JSON's types; those that only BSON has become text."""
    if value is None or value.__class__ in (str, bool, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, dict):
        return {str(key): _simple(item) for key, item in value.items()}
    return [_simple(item) for item in value] if isinstance(value, list) else str(value)


def _documents(file: BinaryIO, problem: Problem) -> Iterator[tuple[int, bytes]]:
    """Where each document begins, and its bytes."""
    at = 0
    while head := _bytes_at(file, at, _HEAD):
        size = _document_size(head) or 0
        document = _bytes_at(file, at, size)
        if size and len(document) == size and document.endswith(b"\x00"):
            yield at, document
            at += size
        else:
            lost = _lost(_bytes_at(file, at, _CHUNK))
            problem(f"byte {at}: no BSON document, or not to its end; {lost} bytes are passed over")
            at += lost


def _bytes_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _document_size(head: bytes, at: int = 0) -> int | None:
    """Length of the document that begins there [bytes]; None if what stands there is no length, type and name."""
    if _DOCUMENT.match(head, at) is None:
        return None
    size = int.from_bytes(head[at : at + 4], "little")
    return size if 5 <= size <= RECORD_LIMIT else None


def _lost(held: bytes) -> int:
    """How far the next document is that ends in these bytes, or all of them [bytes]."""
    for match in _ELEMENT.finditer(held, 5):
        begin = match.start() - 4
        size = _document_size(held, begin)
        if size is not None and held[begin + size - 1 : begin + size] == b"\x00":
            return begin
    return len(held)


_HEAD = 256  # bytes; names of fields are shorter
_ELEMENT = re.compile(rb"[\x01-\x13\x7f\xff](?=[\w.]{1,200}\x00)")
_DOCUMENT = re.compile(rb"....(?:\x00|[\x01-\x13\x7f\xff][\w.]{1,200}\x00)", re.DOTALL)
