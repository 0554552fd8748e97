"""The published 1000genome workflow (pegasus-isi/1000genome-workflow): its jobs, files, arguments and edges.

C chromosomes, I individuals jobs each and P populations make C (I + 2 + 2 P) jobs. Pegasus infers the C (I + 4 P) edges
from the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from Pegasus.api import File, Job, Workflow

Values = Mapping[str, Any]
COLUMNS = File("columns.txt")
HIGHEST = 22

_RANGE = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?", re.ASCII)
_POPULATION = re.compile(r"\w+", re.ASCII)


class Chromosome(NamedTuple):
    """A chromosome, and how its files are called.

    Attributes
    ----------
    name : str
        1 to 22.
    vcf, annotation : str
        Raw inputs: who has which variant, and what the variants do to proteins.
    """

    name: str
    vcf: str
    annotation: str

    @property
    def merged(self) -> File:
        """What `individuals_merge` makes: each person's variants."""
        return File(f"chr{self.name}n.tar.gz")

    @property
    def sifted(self) -> File:
        """What `sifting` makes: the variants that have a SIFT score."""
        return File(f"sifted.SIFT.chr{self.name}.txt")

    def chunk(self, first: int, stop: int) -> File:
        """What an individuals job makes: each person's variants in the lines from `first` up to `stop`."""
        return File(f"chr{self.name}n-{first}-{stop}.tar.gz")


def build(parameters: Values, options: Values) -> Workflow:
    """The abstract workflow.

    Raises
    ------
    ValueError
        `individuals_jobs` does not divide `lines`; an option is no list of chromosomes or of populations; both kinds of
        clustering are asked for.
    """
    workflow = Workflow("1000genome", infer_dependencies=True)
    chromosomes = [name_files(name, options) for name in chromosome_names(options["chromosomes"])]
    for chromosome in chromosomes:
        workflow.add_jobs(*prepare(chromosome, parameters, options))
    for chromosome in chromosomes:
        workflow.add_jobs(*analyse(chromosome, options))
    return workflow


def prepare(chromosome: Chromosome, parameters: Values, options: Values) -> list[Job]:
    """The jobs that find out who has which variant, and which variants have a score."""
    lines = options["lines"]
    chunks = cut(lines, parameters["individuals_jobs"])
    parts = [individuals(chromosome, number, *chunk, lines) for number, chunk in enumerate(chunks, 1)]
    merge = individuals_merge(chromosome, [chromosome.chunk(*chunk) for chunk in chunks])
    cluster(parts, merge, f"chr{chromosome.name}", options["cluster"], parameters["cluster_size"])
    return [*parts, merge, sifting(chromosome)]


def analyse(chromosome: Chromosome, options: Values) -> Iterable[Job]:
    """Two jobs for each population."""
    sampled = ("--seed", options["seed"], "--plots", "yes" if options["plots"] else "no")
    runs = ("--runs", options["runs"], *sampled)
    for population in population_names(options["populations"]):
        result = f"chr{chromosome.name}-{population}"
        yield analysis("mutation_overlap", chromosome, population, sampled, f"{result}.tar.gz")
        yield analysis("frequency", chromosome, population, runs, f"{result}-freq.tar.gz")


def individuals(chromosome: Chromosome, number: int, first: int, stop: int, lines: int) -> Job:
    """Each person's variants, in one chunk of a chromosome."""
    vcf = File(chromosome.vcf)
    job = _job("individuals", f"chr{chromosome.name}_{number}")
    job.add_args(vcf, chromosome.name, str(first), str(stop), str(lines)).add_inputs(vcf, COLUMNS)
    return job.add_outputs(chromosome.chunk(first, stop), stage_out=False, register_replica=False)


def individuals_merge(chromosome: Chromosome, chunks: list[File]) -> Job:
    """Each person's variants, in the whole chromosome."""
    job = _job("individuals_merge", f"chr{chromosome.name}")
    job.add_args(chromosome.name, *chunks).add_inputs(*chunks)
    return job.add_outputs(chromosome.merged, stage_out=False, register_replica=False)


def sifting(chromosome: Chromosome) -> Job:
    """The variants that have a SIFT score."""
    annotation = File(chromosome.annotation)
    job = _job("sifting", f"chr{chromosome.name}").add_args(annotation, chromosome.name).add_inputs(annotation)
    return job.add_outputs(chromosome.sifted, stage_out=False, register_replica=False)


def analysis(program: str, chromosome: Chromosome, population: str, flags: Iterable[Any], result: str) -> Job:
    """What the people of a population share."""
    people = File(population)
    job = _job(program, f"chr{chromosome.name}_{population}")
    job.add_args("-c", chromosome.name, "-pop", people, *map(str, flags))
    job.add_inputs(chromosome.merged, chromosome.sifted, people, COLUMNS)
    return job.add_outputs(File(result), stage_out=True, register_replica=False)


def cluster(parts: list[Job], merge: Job, label: str, kind: str, size: int) -> None:
    """Have Pegasus make one job of a chromosome's individuals and merge, or of every `size` individuals jobs."""
    if kind == "label" and size > 1:
        raise ValueError(f"cluster is label and cluster_size is {size}; leave one of them at its default")
    if kind == "label":
        for job in (*parts, merge):
            job.add_pegasus_profile(label=label)
    elif size > 1:
        for job in parts:
            job.add_pegasus_profile(clusters_size=size)


def cut(lines: int, jobs: int) -> list[tuple[int, int]]:
    """First line and the one after the last of each chunk, counted as published: from 1."""
    if lines % jobs:
        divisors = [divisor for divisor in range(1, lines + 1) if lines % divisor == 0]
        near = [max(d for d in divisors if d < jobs), *[d for d in divisors if d > jobs][:1]]
        raise ValueError(
            f"individuals_jobs = {jobs} does not divide the {lines} lines of a chromosome; "
            f"{' and '.join(map(str, near))} {'do' if len(near) > 1 else 'does'}"
        )
    step = lines // jobs
    return [(first, first + step) for first in range(1, lines + 1, step)]


def chromosome_names(text: str) -> list[str]:
    """Names of a list such as `20`, `1-10` or `1,2,20-22`."""
    names: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= HIGHEST:
            raise ValueError(
                f"chromosomes: {part!r} is none of 1 to {HIGHEST}; write a list such as 20, 1-10 or 1,2,20"
            )
        names += range(first, last + 1)
    return [str(name) for name in _once(names, "chromosomes")]


def population_names(text: str) -> list[str]:
    """Names of a list such as `ALL,EUR,GBR`: each is a file with a person a line."""
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if not _POPULATION.fullmatch(name):
            raise ValueError(f"populations: {name!r} is no name of a population; write a list such as ALL,EUR,GBR")
    return _once(names, "populations")


def name_files(name: str, options: Values) -> Chromosome:
    """A chromosome with the names of its raw inputs, of which the options are the pattern."""
    try:
        vcf, annotation = (options[key].format(c=name, lines=options["lines"]) for key in ("vcf", "annotation"))
    except (LookupError, ValueError) as problem:
        raise ValueError(
            f"vcf or annotation: {problem} is no field of a file's name; there are {{c}} and {{lines}}"
        ) from None
    return Chromosome(name, vcf, annotation)


def _once(names: list[Any], what: str) -> list[Any]:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{what}: {twice[0]} is named twice")
    return names


def _job(transformation: str, of: str) -> Job:
    name = f"{transformation}_{of}"
    return Job(transformation, _id=name, node_label=name)
