#!/usr/bin/env python3
"""Write down, for each person, the variants of one chunk of a VCF by which they differ from most people.

Usage: individuals.py VCF C COUNTER STOP TOTAL

COUNTER and STOP count data lines from 1, STOP is not among them, and no chunk goes beyond line TOTAL: chunks laid end
to end have each line once. The VCF is plain or gzip; columns.txt has its column names. A variant is a person's when
their first haplotype has the rarer allele: 1 where AF < 0.5, 0 otherwise. Out comes chr{C}n-{COUNTER}-{STOP}.tar.gz
with a file chr{C}.{NAME} for each person, a line `POS        ID    REF    ALT    AF` for each variant.
VCF: https://samtools.github.io/hts-specs/VCFv4.3.pdf. One file, standard library only: a job's program travels alone.
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
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

USAGE = "usage: individuals.py VCF C COUNTER STOP TOTAL"
COLUMNS = "columns.txt"
FIXED = 9
"""Columns before the first person."""
PROGRESS = 10_000
"""Lines between two lines of progress."""
GZIP_LEVEL = 5
_ALLELES = b"0123456789."
_PHASED = re.compile(rb"(\d+|\.)(?:\|(?:\d+|\.))*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Member = tuple[str, bytes]


class InputError(Exception):
    """An input is not what it should be; the message is one sentence for the user."""


class Chunk(NamedTuple):
    """Which data lines are wanted.

    Attributes
    ----------
    first, stop : int
        The first one, and the one after the last, counted from 1.
    total : int
        The last one of all chunks.
    """

    first: int
    stop: int
    total: int

    @property
    def end(self) -> int:
        """The line after the last that is read."""
        return min(self.stop, self.total + 1)


class Row(NamedTuple):
    """A data line: what is written of it, and each person's first allele, one byte each."""

    text: bytes
    rarer: bytes
    alleles: bytes


class People:
    """The columns of the VCF, and how their genotypes look where all are diploid, phased and of one digit."""

    def __init__(self, columns: Sequence[bytes]) -> None:
        self.columns = columns
        self.names = [name.decode(errors="replace") for name in columns[FIXED:]]
        self.width = 4 * len(self.names) - 1
        self.bars = b"|" * len(self.names)
        self.tabs = b"\t" * (len(self.names) - 1)

    def first_alleles(self, genotypes: bytes, where: str) -> bytes:
        """First allele of each person: a digit, `.` where it is missing, `2` for any other than the first two.

        Raises
        ------
        InputError
            A genotype is not phased, or none; there are more or fewer than people.
        """
        if len(genotypes) == self.width and genotypes[1::4] == self.bars and genotypes[3::4] == self.tabs:
            first = genotypes[::4]
            if not first.translate(None, _ALLELES) and not genotypes[2::4].translate(None, _ALLELES):
                return first
        return self._one_by_one(genotypes.split(b"\t"), where)

    def _one_by_one(self, genotypes: list[bytes], where: str) -> bytes:
        if len(genotypes) != len(self.names):
            raise InputError(
                f"{where} has {FIXED + len(genotypes)} columns, {COLUMNS} has {len(self.columns)}; "
                "take both from the same file, or copy this one again"
            )
        return b"".join(_first_allele(*pair, where) for pair in zip(genotypes, self.names, strict=True))


def _first_allele(genotype: bytes, name: str, where: str) -> bytes:
    alleles = genotype.partition(b":")[0]
    if found := _PHASED.fullmatch(alleles):
        return found[1] if len(found[1]) == 1 else b"2"
    if set(alleles) == set(b"./"):
        return b"."
    kind = "not phased" if b"/" in alleles else "no genotype"
    words = alleles.decode(errors="replace")
    raise InputError(f"{where}: {words!r} of {name} is {kind}; phase the file first, genotypes look like 0|1")


# --- reading ---------------------------------------------------------------------------------------------------------


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


def read_columns(path: str) -> People:
    """The people of the first line of columns.txt.

    Raises
    ------
    InputError
        It is no header of a VCF with people; a name is there twice or is no name for a file.
    """
    with open(path, "rb") as file:
        columns = file.readline().rstrip(b"\r\n").split(b"\t")
    people = People(columns)
    if columns[0] != b"#CHROM" or not people.names:
        raise InputError(f"{path}: its first line is no header of a VCF with people; copy the #CHROM line of the VCF")
    seen: set[str] = set()
    for name in people.names:
        if not _NAME.fullmatch(name) or name in seen:
            raise InputError(
                f"{path}: {name!r} is {'there twice' if name in seen else 'no name for a file'}; rename it"
            )
        seen.add(name)
    return people


def skip_header(lines: Iterable[bytes], people: People, path: str) -> tuple[int, Iterator[bytes]]:
    """Number of header lines, and the data lines.

    Raises
    ------
    InputError
        The columns are not those of columns.txt.
    """
    rest = iter(lines)
    for count, line in enumerate(rest):
        if not line.startswith(b"#"):
            return count, itertools.chain([line], rest)
        if line.startswith(b"#CHROM"):
            check_columns(line.rstrip(b"\r\n").split(b"\t"), people, path)
    raise InputError(f"{path}: has no data lines; copy it again")


def check_columns(found: list[bytes], people: People, path: str) -> None:
    """Hold the header of the VCF against columns.txt.

    Raises
    ------
    InputError
        They differ.
    """
    for number, (one, other) in enumerate(itertools.zip_longest(found, people.columns, fillvalue=b"nothing"), 1):
        if one != other:
            raise InputError(
                f"{path}: column {number} is {one.decode(errors='replace')}, in {COLUMNS} it is "
                f"{other.decode(errors='replace')}; take both from the same file"
            )


def read_rows(lines: Iterable[bytes], chunk: Chunk, chromosome: bytes, people: People, path: str) -> Iterator[Row]:
    """Rows of the data lines of a chunk, which come next.

    Raises
    ------
    InputError
        A line is no data line of this chromosome.
    """
    for number, line in enumerate(itertools.islice(lines, chunk.end - chunk.first), chunk.first):
        yield read_row(line, chromosome, people, f"{path}: data line {number}")


def read_row(line: bytes, chromosome: bytes, people: People, where: str) -> Row:
    """One data line.

    Raises
    ------
    InputError
        It has too few columns, is of another chromosome, has no AF, or a genotype is not phased.
    """
    fields = line.rstrip(b"\r\n").split(b"\t", FIXED)
    if len(fields) <= FIXED:
        raise InputError(f"{where} has {len(fields)} columns, {COLUMNS} has {len(people.columns)}; copy the file again")
    found, position, name, reference, alternative = fields[:5]
    if found.removeprefix(b"chr") != chromosome:
        raise InputError(
            f"{where} is of chromosome {found.decode(errors='replace')}, not {chromosome.decode()}; "
            "give the file and its own number"
        )
    if not fields[8].startswith(b"GT"):
        raise InputError(f"{where} has FORMAT {fields[8].decode(errors='replace')!r}, not GT first; write genotypes")
    frequency = read_frequency(fields[7], where)
    rarer = b"0" if float(frequency.partition(b",")[0]) >= 0.5 else b"1"
    text = b"%s        %s    %s    %s    %s\n" % (position, name, reference, alternative, frequency)
    return Row(text, rarer, people.first_alleles(fields[FIXED], where))


def read_frequency(info: bytes, where: str) -> bytes:
    """AF as it is written in INFO: a number for each alternative allele.

    Raises
    ------
    InputError
        It is not there or not between 0 and 1.
    """
    _, _, after = (b";" + info).partition(b";AF=")
    value = after.partition(b";")[0]
    try:
        valid = 0 <= float(value.partition(b",")[0]) <= 1
    except ValueError:
        valid = False
    if not valid:
        what = f"AF={value.decode(errors='replace')}" if after else "no AF"
        raise InputError(f"{where} has {what} in INFO; a frequency between 0 and 1 is needed (bcftools +fill-tags)")
    return value


# --- writing ---------------------------------------------------------------------------------------------------------


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


# --- the program -----------------------------------------------------------------------------------------------------


def process(path: str, chromosome: str, chunk: Chunk) -> None:
    """Make the archive of one chunk.

    Raises
    ------
    InputError
        A file is not what it should be.
    """
    people = read_columns(COLUMNS)
    print(f"{path}: data lines {chunk.first} to {chunk.end - 1}, {len(people.names)} people", flush=True)
    texts: list[list[bytes]] = [[] for _ in people.names]
    count = missing = 0
    with opened(path) as file:
        header, lines = skip_header(file, people, path)
        skipped = sum(1 for _ in itertools.islice(lines, chunk.first - 1))
        for count, row in enumerate(read_rows(lines, chunk, chromosome.encode(), people, path), 1):
            missing += row.alleles.count(b".")
            give(row, texts)
            if count % PROGRESS == 0:
                print(f"{count} lines", flush=True)
    check_length(path, header, chunk, skipped + count)
    names = sorted(range(len(texts)), key=people.names.__getitem__)
    members = ((f"chr{chromosome}.{people.names[i]}", b"".join(texts[i])) for i in names)
    result = f"chr{chromosome}n-{chunk.first}-{chunk.stop}.tar.gz"
    write_archive(result, members)
    print(f"{result}: {count} lines, {sum(map(len, texts))} variants of people, {missing} genotypes missing")


def give(row: Row, texts: list[list[bytes]]) -> None:
    """Give a variant to each person whose first haplotype has the rarer allele."""
    person = row.alleles.find(row.rarer)
    while person >= 0:
        texts[person].append(row.text)
        person = row.alleles.find(row.rarer, person + 1)


def check_length(path: str, header: int, chunk: Chunk, last: int) -> None:
    """Tell a file that ends too early from one whose TOTAL counts its header as well, as the published files do.

    Raises
    ------
    InputError
        The file has fewer than TOTAL lines, header and all.
    """
    if last < chunk.end - 1 and last + header < chunk.end - 1:
        raise InputError(f"{path}: ends after data line {last} of {chunk.total}; copy it again or give a smaller TOTAL")


def read_arguments(arguments: Sequence[str]) -> tuple[str, str, Chunk]:
    """The VCF, the chromosome and the chunk.

    Raises
    ------
    InputError
        One is missing or no number, or the chunk is empty.
    """
    if len(arguments) != 5:
        raise InputError(f"{len(arguments)} arguments where there should be 5; {USAGE}")
    path, chromosome, *numbers = arguments
    for name, text in zip(("COUNTER", "STOP", "TOTAL"), numbers, strict=True):
        if not (text.isascii() and text.isdigit()):
            raise InputError(f"{name} is {text!r}, not a whole number; {USAGE}")
    chunk = Chunk(*map(int, numbers))
    if not _NAME.fullmatch(chromosome):
        raise InputError(f"C is {chromosome!r}, not a chromosome such as 20; {USAGE}")
    if not 1 <= chunk.first < chunk.end:
        raise InputError(f"no lines from {chunk.first} up to {chunk.stop} of {chunk.total}; COUNTER counts from 1")
    return path, chromosome, chunk


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit status."""
    try:
        process(*read_arguments(arguments))
    except InputError as error:
        print(f"individuals: {error}", file=sys.stderr)
    except OSError as error:
        where = error.filename or "output"
        print(f"individuals: {where}: {error.strerror or error}; check the job's inputs and the disk", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
