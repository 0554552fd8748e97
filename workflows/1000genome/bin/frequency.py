#!/usr/bin/env python3
"""Count how many people of a random sample have each variant with a SIFT prediction, again and again.

Usage: frequency.py -c C -pop POP [--seed N] [--runs N] [--plots yes|no]

Reads chr{C}n.tar.gz, sifted.SIFT.chr{C}.txt, columns.txt and the file POP; writes chr{C}-{POP}-freq.tar.gz with three
tables a run in output_no_sift/ and a picture a run in plots_no_sift/. Tables need the standard library only. One file:
a job's program travels alone.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import random
import re
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = "columns.txt"
FIXED = 9
"""Columns before the first person."""
WORDS = 5
"""Words on a line of a person's file."""
GZIP_LEVEL = 5
PEOPLE = 52
"""People of a sample, where a population has twice as many."""
RUNS = 20
"""Samples, if nothing is said; 1000 as published."""
PROGRESS = 100
"""Samples between two lines of progress."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Member = tuple[str, bytes]


class InputError(Exception):
    """An input is not what it should be; the message is one sentence for the user."""


class Request(NamedTuple):
    """What the command line asks for.

    Attributes
    ----------
    chromosome, population : str
        Which of them; the population is the name of a file with a person a line.
    seed : int
        Of the random samples.
    runs : int
        How many of them.
    plots : bool
        Whether pictures are wanted.
    """

    chromosome: str
    population: str
    seed: int
    runs: int
    plots: bool

    def generator(self, program: str) -> random.Random:
        """Random numbers of this job alone: other populations and chromosomes have others."""
        return random.Random(f"{self.seed} {program} {self.chromosome} {self.population}")


class Population(NamedTuple):
    """People, variants, and who has what.

    Attributes
    ----------
    names : list of str
        People in the order of columns.txt.
    genes : dict
        Gene by variant, in the order of the list of variants.
    carried : list of int
        For each person a set of variants: bit i is the i-th of `genes`.
    """

    names: list[str]
    genes: dict[str, str]
    carried: list[int]

    def listed(self, carried: int) -> list[str]:
        """Names of a set of variants."""
        return [name for i, name in enumerate(self.genes) if carried >> i & 1]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; {' '.join(self.format_usage().split())}")


def read_arguments(arguments: Sequence[str], program: str, runs: int) -> Request:
    """The options, with the default for `runs`.

    Raises
    ------
    InputError
        One is missing, no number or no name.
    """
    parser = _Parser(prog=f"{program}.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-c", required=True, metavar="C", help="chromosome")
    parser.add_argument("-pop", required=True, metavar="POP", help="file of people, one a line")
    parser.add_argument("--seed", type=int, default=1, help="of the random samples (default %(default)s)")
    parser.add_argument("--runs", type=int, default=runs, help="random samples (default %(default)s)")
    parser.add_argument("--plots", choices=["yes", "no"], default="yes", help="draw pictures (needs matplotlib)")
    found = parser.parse_args(arguments)
    for name, text in (("-c", found.c), ("-pop", found.pop)):
        if not _NAME.fullmatch(text):
            parser.error(f"argument {name}: {text!r} is no name")
    if found.runs < 1:
        parser.error(f"argument --runs: {found.runs} is less than 1")
    return Request(found.c, found.pop, found.seed, found.runs, found.plots == "yes")


def read_people(path: str) -> list[str]:
    """People of a population that the data have, in the order of columns.txt.

    Raises
    ------
    InputError
        There is nobody.
    """
    wanted = set(Path(path).read_text(encoding="utf-8", errors="replace").split())
    if not wanted:
        raise InputError(f"{path}: the population is empty; write a person's name on each line")
    with open(COLUMNS, encoding="utf-8", errors="replace") as file:
        names = [name for name in file.readline().split()[FIXED:] if name in wanted]
    if not names:
        raise InputError(f"{path}: none of its {len(wanted)} people is in {COLUMNS}; leave this population out")
    return names


def read_genes(path: str) -> dict[str, str]:
    """Gene by variant out of the list that sifting.py writes.

    Raises
    ------
    InputError
        A line is not of that list.
    """
    genes = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if not 3 <= len(words) <= 5:
                raise InputError(f"{path}: line {number} has {len(words)} words, not 3 to 5; make it with sifting.py")
            genes[words[1]] = words[2]
    return genes


def read_carried(path: str, request: Request, names: Iterable[str], genes: Iterable[str]) -> list[int]:
    """For each person the set of variants they have.

    Raises
    ------
    InputError
        Somebody is not in the archive.
    """
    files = {f"chr{request.chromosome}.{name}": name for name in names}
    bits = {gene.encode(): 1 << i for i, gene in enumerate(genes)}
    carried = {}
    for file, content in read_members(path, request.chromosome):
        if file in files:
            words = content.split()
            if len(words) != WORDS * content.count(b"\n"):
                raise InputError(f"{path}: {file} has a line that is not of {WORDS} words; make the archive again")
            carried[file] = sum(bits[name] for name in bits.keys() & set(words[1::WORDS]))
    lacking = [file for file in files if file not in carried]
    if lacking:
        raise InputError(f"{path}: {lacking[0]} is missing; make it from the VCF that {COLUMNS} is of")
    return [carried[file] for file in files]


def read_population(request: Request) -> Population:
    """Everything the job reads.

    Raises
    ------
    InputError
        A file is not what it should be.
    """
    chromosome = request.chromosome
    names = read_people(request.population)
    genes = read_genes(f"sifted.SIFT.chr{chromosome}.txt")
    print(f"chromosome {chromosome}: {len(names)} people of {request.population}, {len(genes)} variants", flush=True)
    return Population(names, genes, read_carried(f"chr{chromosome}n.tar.gz", request, names, genes))


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


# --- what is counted -------------------------------------------------------------------------------------------------


def sample(size: int, generator: random.Random) -> list[int]:
    """Numbers of half of `size` people, but not more than `PEOPLE`, drawn at random."""
    return generator.sample(range(size), min(PEOPLE, (size + 1) // 2))


def count_people(people: Sequence[int], chosen: Iterable[int]) -> list[int]:
    """How many of the chosen have each variant."""
    mask = sum(1 << person for person in chosen)
    return [(of_variant & mask).bit_count() for of_variant in people]


def histogram(counts: Sequence[int]) -> list[int]:
    """How many variants 1, 2, ... `PEOPLE` people have."""
    return [counts.count(number) for number in range(1, PEOPLE + 1)]


def transposed(sets: Sequence[int], size: int) -> list[int]:
    """For each of `size` variants the set of people: bit i is the i-th of `sets`."""
    people = [0] * size
    for person, carried in enumerate(sets):
        while carried:
            lowest = carried & -carried
            people[lowest.bit_length() - 1] |= 1 << person
            carried ^= lowest
    return people


# --- what is written -------------------------------------------------------------------------------------------------


def listing(items: Iterable[object]) -> bytes:
    """An item a line."""
    return "".join(f"{item}\n" for item in items).encode()


def results(population: Population, request: Request) -> Iterator[Member]:
    """Every file of the archive, under the published names."""
    end = f"{request.chromosome}_sNO-SIFT_{request.population}"
    folder = f"./chr{request.chromosome}-{request.population}-freq"
    tables = f"{folder}/output_no_sift/"
    names, genes, carried = population
    yield f"{tables}map_variations{end}.txt", listing(map("\t".join, genes.items()))
    yield f"{tables}mutation_index_array{end}.txt", listing(map(population.listed, carried))
    people = transposed(carried, len(genes))
    generator = request.generator("frequency")
    draw = Bars(request) if request.plots else None
    for run in range(request.runs):
        chosen = sample(len(names), generator)
        counts = count_people(people, chosen)
        bars = histogram(counts)
        having = (f"{name}-{count}" for name, count in zip(genes, counts, strict=True) if count)
        having_lines = listing(["Mutation Index- Number Overlapings ", *having])
        yield f"{tables}Mutation_overlap_chr{end}_{run}.txt", having_lines
        numbers = (f"{number}-{count}" for number, count in enumerate(bars, 1))
        number_lines = listing(["Number Individuals - Number Mutations  ", *numbers])
        yield f"{tables}Histogram_mutation_overlap_chr{end}_{run}.txt", number_lines
        yield f"{tables}random_indiv{end}_{run}.txt", listing(["Individuals ", *(names[i] for i in chosen)])
        if draw:
            yield f"{folder}/plots_no_sift/Frequency_mutations{end}{run}.png", draw(bars)
        if (run + 1) % PROGRESS == 0:
            print(f"{run + 1} samples", flush=True)


# --- pictures --------------------------------------------------------------------------------------------------------


class Bars:
    """One figure that is drawn again for each sample: making it costs more than drawing it."""

    def __init__(self, request: Request) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure()
        self.axes = self.figure.add_subplot()
        self.bars = self.axes.bar(range(1, PEOPLE + 1), [0] * PEOPLE, color="grey")
        title = f"chromosome {request.chromosome}, population {request.population}"
        self.axes.set(xlabel="people who have a variant", ylabel="variants", xlim=(0, PEOPLE + 1), title=title)

    def __call__(self, heights: Sequence[int]) -> bytes:
        """The picture of a histogram."""
        for bar, height in zip(self.bars, heights, strict=True):
            bar.set_height(height)
        self.axes.set_ylim(0, 1.05 * max(1, *heights))
        return png(self.figure)


def png(figure: Figure) -> bytes:
    """A picture without the version of what drew it."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


# --- the program -----------------------------------------------------------------------------------------------------


def process(request: Request) -> None:
    """Make the archive of one population.

    Raises
    ------
    InputError
        An input is not what it should be.
    """
    population = read_population(request)
    result = f"chr{request.chromosome}-{request.population}-freq.tar.gz"
    write_archive(result, results(population, request))
    print(f"{result}: {sum(map(int.bit_count, population.carried))} variants of people")


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit status."""
    try:
        process(read_arguments(arguments, "frequency", runs=RUNS))
    except InputError as error:
        print(f"frequency: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"frequency: {error.name} is not installed; install it or say --plots no", file=sys.stderr)
    except OSError as error:
        where = error.filename or "output"
        print(f"frequency: {where}: {error.strerror or error}; check the job's inputs and the disk", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
