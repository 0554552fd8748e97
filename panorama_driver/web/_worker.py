"""Reads long runs in a process of its own, so that the server answers meanwhile and gets its memory back.

    python -P -m panorama_driver.web._worker        what the server starts

One process reads one run and ends. It is asked on its standard input, which the server holds open for as long as it
lives: its end ends the process, whatever it does. Answers are packed words, each after its length.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Self

import msgspec

from ..errors import StoreError
from ..store import Store, open_store
from ._digest import Digest, digest
from ._encoding import packed

LONG = 20_000
"""A run of more events is read in a process of its own."""

_COMMAND = (sys.executable, "-P", "-m", "panorama_driver.web._worker")
_PATIENCE = 300.0  # seconds without a word, after which it is given up
_TRIES = 2
_NICE = 10
_LENGTH = struct.Struct(">Q")


class _Question(msgspec.Struct, frozen=True):
    where: bytes
    wf_uuid: str


class _Progress(msgspec.Struct, frozen=True, tag="progress"):
    samples_read: int


class _Answer(msgspec.Struct, frozen=True, tag="answer"):
    digest: Digest


class _Problem(msgspec.Struct, frozen=True, tag="problem"):
    words: str
    of_store: bool


_Word = _Progress | _Answer | _Problem


class _DiedError(Exception):
    """The process has ended without an answer."""


class Reader:
    """Reads runs: short ones at once, long ones one at a time in a process of its own; for many threads.

    Raises
    ------
    ValueError
        On use, where the store has no events of the run.
    StoreError
        Likewise, where it cannot be read, or the process that should has ended twice.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is being read; those who wait for it get a StoreError."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    def digest(
        self,
        store: Store,
        where: str | os.PathLike[str],
        wf_uuid: str,
        *,
        light: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Digest:
        """As of `digest`; `where` is the path or the URL of `store`."""
        if light or store.count(wf_uuid) <= LONG:
            return digest(store, wf_uuid, light=light, progress=progress)
        with self._turn:
            return self._elsewhere(_Question(os.fsencode(where), wf_uuid), progress or _ignore)

    def _elsewhere(self, question: _Question, progress: Callable[[int], None]) -> Digest:
        died = ""
        for _ in range(_TRIES):
            if self._closed:
                break
            try:
                return self._ask(question, progress)
            except _DiedError as problem:
                died = f": {problem}"
        raise StoreError(
            f"{os.fsdecode(question.where)}: workflow {question.wf_uuid} could not be read{died}; "
            "look at the page again, and at what this machine has left of memory"
        )

    def _ask(self, question: _Question, progress: Callable[[int], None]) -> Digest:
        with _started() as process:
            self._process = process
            if self._closed:
                process.kill()
            assert process.stdin is not None  # both are pipes
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended: that shows below
                _tell(process.stdin, packed(question))
            for word in _words(process.stdout):
                if isinstance(word, _Answer):
                    return word.digest
                if isinstance(word, _Problem):
                    raise (StoreError if word.of_store else ValueError)(word.words)
                progress(word.samples_read)
            raise _DiedError(f"its process ended with {process.wait()}")


@contextlib.contextmanager
def _started() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def _words(pipe: IO[bytes]) -> Iterator[_Word]:
    """What the process says, until it ends.

    Raises
    ------
    _DiedError
        It has said nothing for long.
    """
    decoder = msgspec.msgpack.Decoder(_Word)
    while (head := _taken(pipe, _LENGTH.size)) and (body := _taken(pipe, *_LENGTH.unpack(head))):
        yield decoder.decode(body)


def _taken(pipe: IO[bytes], size: int) -> bytes:
    """So many bytes; none if there are no more."""
    taken = bytearray()
    while len(taken) < size:
        if not select.select([pipe], [], [], _PATIENCE)[0]:
            raise _DiedError(f"it has said nothing for {_PATIENCE:.0f} s")
        piece = os.read(pipe.fileno(), min(size - len(taken), 1 << 20))
        if not piece:
            return b""
        taken += piece
    return bytes(taken)


def _tell(pipe: IO[bytes], word: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(word)) + word)
    while view:
        view = view[os.write(pipe.fileno(), view) :]


def _ignore(samples_read: int) -> None:
    pass


def _serve() -> None:
    """Answer one question, then end."""
    os.nice(_NICE)
    asked, answers = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else is printed is no answer
    [head] = _LENGTH.unpack(_taken(asked, _LENGTH.size))
    question = msgspec.msgpack.decode(_taken(asked, head), type=_Question)
    threading.Thread(target=_end_with_the_server, args=(asked,), daemon=True).start()
    _tell(answers, packed(_answer(question, answers)))


def _answer(question: _Question, answers: IO[bytes]) -> _Word:
    try:
        with open_store(os.fsdecode(question.where), readonly=True) as store:
            return _Answer(digest(store, question.wf_uuid, progress=lambda read: _tell_progress(answers, read)))
    except StoreError as problem:
        return _Problem(str(problem), True)
    except ValueError as problem:
        return _Problem(str(problem), False)


def _tell_progress(answers: IO[bytes], samples_read: int) -> None:
    _tell(answers, packed(_Progress(samples_read)))


def _end_with_the_server(asked: IO[bytes]) -> None:
    while os.read(asked.fileno(), 1):
        time.sleep(0)
    os._exit(1)


if __name__ == "__main__":
    _serve()
