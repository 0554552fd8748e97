#!/usr/bin/env python3
"""Take the variants that have a SIFT prediction out of an annotation by Ensembl's Variant Effect Predictor.

Usage: sifting.py ANNOTATION_VCF C

Writes sifted.SIFT.chr{C}.txt, a variant a line: number of its data line from 1, ID, gene, SIFT score and, where there
is one, PolyPhen score. Of the transcripts of a variant it takes the first that has a SIFT prediction.
CSQ: https://www.ensembl.org/info/docs/tools/vep/vep_formats.html. One file, standard library only: a job's program
travels alone.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

USAGE = "usage: sifting.py ANNOTATION_VCF C"
PROGRESS = 100_000
"""Lines between two lines of progress."""
_PREDICTIONS = ("deleterious", "tolerated")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SCORE = re.compile(r"\((\d[^()]*)\)")


class InputError(Exception):
    """An input is not what it should be; the message is one sentence for the user."""


class Consequence(NamedTuple):
    """Where the parts of an entry of CSQ are, counted from 0."""

    gene: int
    sift: int
    polyphen: int | None

    def scores(self, entry: Sequence[str]) -> list[str]:
        """Gene, SIFT score and PolyPhen score as far as the entry has them; empty if there is no SIFT prediction."""
        if len(entry) <= max(self.gene, self.sift) or not entry[self.sift].startswith(_PREDICTIONS):
            return []
        polyphen = "" if self.polyphen is None else "".join(entry[self.polyphen : self.polyphen + 1])
        scores = [found[1] for found in map(_SCORE.search, (entry[self.sift], polyphen)) if found]
        return [entry[self.gene] or ".", *scores] if _SCORE.search(entry[self.sift]) else [entry[self.gene] or "."]


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A plain or gzip file for reading.

    Raises
    ------
    InputError
        The gzip data are damaged or end too early.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 17) if packed else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise InputError(f"{path}: the gzip data are damaged or end too early ({problem}); copy it again") from None


def read_format(lines: Iterable[bytes], path: str) -> Consequence:
    """How an entry of CSQ is made up, as the header says; reads up to the line of the columns.

    Raises
    ------
    InputError
        The header says nothing of CSQ, or of no gene or SIFT.
    """
    format: list[str] | None = None
    for line in lines:
        if line.startswith(b"##INFO=<ID=CSQ,"):
            format = line.decode(errors="replace").partition("Format: ")[2].rstrip('">\r\n').split("|")
        if not line.startswith(b"##"):
            break
    if format is None or "Gene" not in format or "SIFT" not in format:
        raise InputError(f"{path}: its header has no CSQ with Gene and SIFT; annotate it with VEP (--sift b --gene)")
    return Consequence(*(format.index(key) if key in format else None for key in ("Gene", "SIFT", "PolyPhen")))  # type: ignore[arg-type]  # the first two are there


def sifted(lines: Iterable[bytes], consequence: Consequence, path: str) -> Iterator[str]:
    """A line for each variant that has a name and a SIFT prediction.

    Raises
    ------
    InputError
        A line has too few columns.
    """
    for number, line in enumerate(lines, 1):
        if number % PROGRESS == 0:
            print(f"{number} lines", flush=True)
        if b"deleterious" not in line and b"tolerated" not in line:
            continue
        fields = line.decode(errors="replace").rstrip("\r\n").split("\t")
        if len(fields) < 8:
            raise InputError(f"{path}: data line {number} has {len(fields)} columns, not 8; copy it again")
        found = next(filter(None, map(consequence.scores, entries(fields[7]))), [])
        if found and fields[2] != ".":
            yield " ".join([str(number), fields[2], *found]) + "\n"


def entries(info: str) -> Iterator[list[str]]:
    """Entries of CSQ, one a transcript."""
    for item in info.split(";"):
        if item.startswith("CSQ="):
            yield from (entry.split("|") for entry in item[4:].split(","))


def write_text(path: str, lines: Iterable[str]) -> None:
    """Write lines under a name of its own, then rename."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path}.", dir=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)
            file.writelines(lines)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def process(path: str, chromosome: str) -> None:
    """Write the list of one chromosome.

    Raises
    ------
    InputError
        The annotation is not what it should be.
    """
    print(f"{path}: looking for SIFT predictions", flush=True)
    result = f"sifted.SIFT.chr{chromosome}.txt"
    with opened(path) as file:
        found = list(sifted(file, read_format(file, path), path))
    write_text(result, found)
    print(f"{result}: {len(found)} variants")


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit status."""
    try:
        if len(arguments) != 2 or not _NAME.fullmatch(arguments[1]):
            raise InputError(f"an annotation and a chromosome are needed; {USAGE}")
        process(*arguments)
    except InputError as error:
        print(f"sifting: {error}", file=sys.stderr)
    except OSError as error:
        where = error.filename or "output"
        print(f"sifting: {where}: {error.strerror or error}; check the job's inputs and the disk", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
