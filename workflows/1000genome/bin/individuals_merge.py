#!/usr/bin/env python3
"""Put the chunks of a chromosome together: each person's variants in the order of the lines.

Usage: individuals_merge.py C CHUNK.tar.gz...

Reads chr{C}n-{COUNTER}-{STOP}.tar.gz as individuals.py writes them, all side by side and a person at a time, so that
memory does not grow with people or chunks; writes chr{C}n.tar.gz. Chunks are taken in the order of their lines,
whatever the order of the arguments. One file, standard library only: a job's program travels alone.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import re
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

USAGE = "usage: individuals_merge.py C CHUNK.tar.gz..."
PROGRESS = 500
"""People between two lines of progress."""
GZIP_LEVEL = 5
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Member = tuple[str, bytes]


class InputError(Exception):
    """An input is not what it should be; the message is one sentence for the user."""


def read_members(path: str, chromosome: str) -> Iterator[Member]:
    """Name and content of each person's file, in memory: nothing of an archive is put on the disk.

    Raises
    ------
    InputError
        The archive is damaged or has something else in it.
    """
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # a tarfile keeps all it has seen
                if member.isdir() and member.name in {"", "."}:
                    continue
                start, _, person = member.name.removeprefix("./").partition(".")
                content = archive.extractfile(member) if member.isfile() else None
                if content is None or start != f"chr{chromosome}" or not _NAME.fullmatch(person):
                    raise InputError(f"{path}: {member.name!r} is no file chr{chromosome}.NAME; make the archive again")
                yield f"{start}.{person}", content.read()
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as problem:
        raise InputError(f"{path}: the archive is damaged or ends too early ({problem}); make it again") from None


def write_archive(path: str, members: Iterable[Member]) -> None:
    """Write a tar.gz under a name of its own, then rename: same members, same bytes."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path}.", dir=".")
    try:
        with (
            os.fdopen(descriptor, "wb") as raw,
            gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            os.fchmod(descriptor, 0o644)
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def in_order(paths: Sequence[str], chromosome: str) -> list[str]:
    """The chunks by their lines.

    Raises
    ------
    InputError
        One has another name, or a line is in none or in two of them.
    """
    pattern = re.compile(rf"chr{re.escape(chromosome)}n-(\d+)-(\d+)\.tar\.gz")
    chunks = []
    for path in paths:
        found = pattern.fullmatch(os.path.basename(path))
        if found is None:
            raise InputError(f"{path}: is no name of a chunk; it should be chr{chromosome}n-COUNTER-STOP.tar.gz")
        chunks.append((int(found[1]), int(found[2]), path))
    chunks.sort()
    for (_, stop, _), (first, _, path) in itertools.pairwise(chunks):
        if stop != first:
            what = f"lines {stop} to {first - 1} are in no chunk" if stop < first else f"line {first} is in two chunks"
            raise InputError(f"{path}: {what}; give each chunk of the chromosome once")
    return [path for _, _, path in chunks]


def merged(paths: Sequence[str], chromosome: str) -> Iterator[Member]:
    """Each person's file: that of the first chunk, then of the second.

    Raises
    ------
    InputError
        A person is not in all of them.
    """
    nobody: Member = ("", b"")
    with ExitStack() as stack:
        archives = [read_members(path, chromosome) for path in paths]
        for archive in archives:
            stack.callback(archive.close)  # type: ignore[attr-defined]  # a generator
        for count, row in enumerate(itertools.zip_longest(*archives, fillvalue=nobody), 1):
            check_same(row, paths)
            yield row[0][0], b"".join(content for _, content in row)
            if count % PROGRESS == 0:
                print(f"{count} people", flush=True)


def check_same(row: Sequence[Member], paths: Sequence[str]) -> None:
    """See that all chunks are at the same person; they are in the order of the names.

    Raises
    ------
    InputError
        One is not.
    """
    names = [name for name, _ in row]
    if len(set(names)) > 1:
        expected = min(filter(None, names))
        lacking, having = (
            paths[i] for i in (next(i for i, n in enumerate(names) if n != expected), names.index(expected))
        )
        raise InputError(f"{lacking}: {expected} is missing, {having} has it; make both from the same VCF")


def process(chromosome: str, paths: Sequence[str]) -> None:
    """Make the archive of a chromosome.

    Raises
    ------
    InputError
        A chunk is not what it should be.
    """
    print(f"chromosome {chromosome}: {len(paths)} chunks", flush=True)
    result = f"chr{chromosome}n.tar.gz"
    write_archive(result, merged(in_order(paths, chromosome), chromosome))
    print(f"{result}: {len(paths)} chunks")


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit status."""
    try:
        if len(arguments) < 2 or not _NAME.fullmatch(arguments[0]):
            raise InputError(f"a chromosome and its chunks are needed; {USAGE}")
        process(arguments[0], arguments[1:])
    except InputError as error:
        print(f"individuals_merge: {error}", file=sys.stderr)
    except OSError as error:
        where = error.filename or "output"
        print(
            f"individuals_merge: {where}: {error.strerror or error}; check the job's inputs and the disk",
            file=sys.stderr,
        )
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
