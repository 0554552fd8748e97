#!/usr/bin/env python3
"""Make the inputs of this workflow: who has which variant (real or simulated), and an annotation (always synthetic).

    python make_inputs.py real [--from PATH] [--lines N] [--out DIR]
    python make_inputs.py simulate --people N --lines N [--chromosome C]... [--seed N] [--out DIR]

`real` takes the first lines of a piece of the 1000 Genomes Project, Phase 3 (chr20, 300 Europeans, phased), that Debian
ships with shapeit4-example: from PATH (reference.vcf.gz, a folder or the .deb), from the installed package, or from
`apt-get download`. It needs the standard library only. `simulate` draws people from the coalescent with msprime.
Both give the same bytes each time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import math
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    import msprime
    import tskit

HERE = Path(__file__).resolve().parent

PACKAGE = "shapeit4-example"
REFERENCE = "usr/share/doc/shapeit4/examples/test/reference.vcf.gz"
REFERENCE_SHA256 = "20afe8b05faafd482c2f134a1a43aaa8aa839f2f37646b68fe080d015d1f8515"
"""Of the file in shapeit4-example 4.2.2+dfsg-1."""
LINES = 5000

PARTS = {
    "GBR": ("HG00096-HG00160", "HG00231-HG00265", "HG01334-HG01334", "HG01789-HG01791", "HG02215-HG02215"),
    "FIN": ("HG00171-HG00190", "HG00266-HG00384"),
    "IBS": ("HG01500-HG01788", "HG02219-HG02239"),
}
"""Populations by the first and last names of their samples: GBR equals the published list, FIN and IBS are by range."""
NOT_EUR = {"HG00096", "HG00171", "HG01500", "NA06984"}
"""Europeans that the published list of EUR leaves out: the first of each of its populations here."""

SCORED = 0.015
"""Share of the variants that the synthetic annotation gives a SIFT prediction."""
GENE_LENGTH = 50_000
"""Stretch of the chromosome that is one synthetic gene [bp]."""
CSQ = (
    "Allele|Gene|Feature|Feature_type|Consequence|cDNA_position|CDS_position|Protein_position|Amino_acids|Codons|"
    "Existing_variation|DISTANCE|STRAND|SIFT|PolyPhen|MOTIF_NAME|MOTIF_POS|HIGH_INF_POS|MOTIF_SCORE_CHANGE"
)
"""Entries of CSQ in the annotation of Phase 3; the published sifting.py counts on this order, and on AA before it."""

GROUPS = ("AFR", "EUR", "EAS", "AMR")
MUTATION_RATE = 2.36e-8
"""Of a base pair and generation: Browning et al. 2018."""
RECOMBINATION_RATE = 1e-8
"""Of a base pair and generation."""
GROUP_AF = ("EAS_AF", "AMR_AF", "AFR_AF", "EUR_AF", "SAS_AF")
"""In the order of Phase 3."""


class Variant(NamedTuple):
    """A line of the VCF before its genotypes.

    Attributes
    ----------
    ac, an : int
        Alternative alleles, and all alleles.
    groups : dict
        Frequency in a super-population by its INFO name, where it is known.
    """

    chromosome: str
    position: int
    name: str
    reference: str
    alternative: str
    ac: int
    an: int
    groups: Mapping[str, str]

    def fields(self, info: str) -> str:
        """The first eight columns."""
        first = (self.chromosome, self.position, self.name, self.reference, self.alternative)
        return "\t".join([*map(str, first), ".", ".", info])

    @property
    def info(self) -> str:
        """INFO in the order of Phase 3; what is not known is a point."""
        groups = ";".join(f"{name}={self.groups.get(name, '.')}" for name in GROUP_AF)
        return f"AC={self.ac};AF={share(self.ac, self.an)};AN={self.an};NS={self.an // 2};DP=.;{groups}"


def share(part: int, whole: int) -> str:
    """A frequency as it is written."""
    return f"{part / whole:.6g}"


# --- the files -------------------------------------------------------------------------------------------------------


class Blocks:
    """A blocked gzip file, as bcftools and pysam want a VCF: the same text, the same bytes.

    BGZF: https://samtools.github.io/hts-specs/SAMv1.pdf, section 4.1.
    """

    SIZE = 0xFF00
    """Bytes of text of a block."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.text = bytearray()

    def write(self, text: bytes) -> None:
        """Add text."""
        self.text += text
        while len(self.text) >= self.SIZE:
            self.flush()

    def flush(self) -> None:
        """Write a block of what is there; an empty one ends the file."""
        text = bytes(self.text[: self.SIZE])
        del self.text[: self.SIZE]
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(text) + packer.flush()
        head = struct.pack("<4BI2BH2s2H", 31, 139, 8, 4, 0, 0, 255, 6, b"BC", 2, len(body) + 25)
        self.file.write(head + body + struct.pack("<2I", zlib.crc32(text), len(text)))


@contextmanager
def packed(path: Path) -> Iterator[Blocks]:
    """A file to write text to that comes out blocked and packed."""
    with path.open("wb") as raw:
        blocks = Blocks(raw)
        yield blocks
        if blocks.text:
            blocks.flush()
        blocks.flush()


def columns(names: Iterable[str]) -> str:
    """The line of the columns."""
    return "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *names]) + "\n"


def header(chromosome: str, source: str, names: Sequence[str]) -> str:
    """Header of the variants."""
    groups = (
        f'##INFO=<ID={name},Number=A,Type=Float,Description="Allele frequency in {name[:3]}">' for name in GROUP_AF
    )
    lines = [
        "##fileformat=VCFv4.2",
        f"##source={source}",
        f"##contig=<ID={chromosome}>",
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Alternative alleles among the people of this file">',
        '##INFO=<ID=AF,Number=A,Type=Float,Description="AC / AN">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Alleles among the people of this file">',
        '##INFO=<ID=NS,Number=1,Type=Integer,Description="People">',
        '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth; not known">',
        *groups,
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">',
    ]
    return "\n".join(lines) + "\n" + columns(names)


def annotation_header(chromosome: str) -> str:
    """Header of the annotation, which says what it is."""
    return (
        "##fileformat=VCFv4.2\n"
        "##source=make_inputs.py, SYNTHETIC annotation: genes, SIFT and PolyPhen scores are hashes of the IDs\n"
        f"##contig=<ID={chromosome}>\n"
        '##INFO=<ID=AA,Number=1,Type=String,Description="Ancestral allele; not known">\n'
        f'##INFO=<ID=CSQ,Number=.,Type=String,Description="SYNTHETIC, in the form of VEP. Format: {CSQ}">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    )


def annotation(variant: Variant) -> str:
    """The synthetic annotation of a variant, the same for the same ID."""
    digest = hashlib.sha256(variant.name.encode()).digest()
    draws = [int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in (0, 4, 8)]
    scored = draws[0] < SCORED
    entry = dict.fromkeys(CSQ.split("|"), "")
    entry["Allele"] = variant.alternative.partition(",")[0]
    entry["Consequence"] = "intergenic_variant"
    if scored:
        entry["Gene"] = f"SYNTHETIC{variant.position // GENE_LENGTH:04d}"
        entry["Feature_type"], entry["Consequence"] = "Transcript", "missense_variant"
        entry["SIFT"] = f"{'deleterious' if draws[1] < 0.05 else 'tolerated'}({draws[1]:.2f})"
        entry["PolyPhen"] = f"{polyphen(draws[2])}({draws[2]:.3f})"
    return variant.fields(f"AA=.|||;CSQ={'|'.join(entry.values())}") + "\n"


def polyphen(score: float) -> str:
    """PolyPhen-2's words for its scores."""
    return "benign" if score <= 0.446 else "possibly_damaging" if score <= 0.908 else "probably_damaging"


def write_variants(folder: Path, source: str, names: Sequence[str], rows: Iterable[tuple[Variant, bytes]]) -> int:
    """Write the variants with their genotypes, and the annotation beside them; gives the number of lines."""
    rows = iter(rows)
    count = 0
    with tempfile.TemporaryDirectory(dir=folder) as partial, ExitStack() as stack:
        variants = stack.enter_context(packed(Path(partial, "variants")))
        notes = stack.enter_context(packed(Path(partial, "annotation")))
        for count, (variant, genotypes) in enumerate(rows, 1):
            chromosome = variant.chromosome
            if count == 1:
                variants.write(header(chromosome, source, names).encode())
                notes.write(annotation_header(chromosome).encode())
            variants.write(variant.fields(variant.info).encode() + b"\tGT\t" + genotypes + b"\n")
            notes.write(annotation(variant).encode())
        stack.close()
        Path(partial, "variants").replace(folder / f"ALL.chr{chromosome}.{count}.vcf.gz")
        Path(partial, "annotation").replace(folder / f"ALL.chr{chromosome}.synthetic.annotation.vcf.gz")
    return count


def write_people(folder: Path, names: Sequence[str], populations: Mapping[str, Iterable[str]]) -> None:
    """Write columns.txt and a file for each population.

    Raises
    ------
    SystemExit
        The folder has other people.
    """
    path = folder / "columns.txt"
    if path.exists() and path.read_text() != columns(names):
        raise SystemExit(f"make_inputs: {path}: is of other people; remove it or name another folder with --out")
    path.write_text(columns(names))
    for population, people in {"ALL": names, **populations}.items():
        (folder / population).write_text("".join(f"{name}\n" for name in people))


# --- real data -------------------------------------------------------------------------------------------------------


@contextmanager
def reference(given: Path | None) -> Iterator[Path]:
    """The piece of Phase 3, wherever it is.

    Raises
    ------
    SystemExit
        It cannot be had, or it is another file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = find(given, Path(folder))
        if hashlib.sha256(path.read_bytes()).hexdigest() != REFERENCE_SHA256:
            raise SystemExit(f"make_inputs: {path}: is not the file of {PACKAGE} 4.2.2+dfsg-1; give that one")
        yield path


def find(given: Path | None, scratch: Path) -> Path:
    """Where the file is: given, installed, or unpacked below `scratch`."""
    if given is None and Path("/", REFERENCE).exists():
        return Path("/", REFERENCE)
    if given is not None and given.is_file() and given.suffix != ".deb":
        return given
    if given is not None and given.is_dir():
        return next((path for path in (given / REFERENCE, given / "reference.vcf.gz") if path.exists()), given / "?")
    call("dpkg-deb", "-x", str(given.resolve() if given else download(scratch)), str(scratch))
    return scratch / REFERENCE


def download(scratch: Path) -> Path:
    """The Debian package."""
    call("apt-get", "download", PACKAGE, cwd=scratch)
    return next(scratch.glob(f"{PACKAGE}_*.deb"))


def call(*command: str, cwd: Path | None = None) -> None:
    """Run a program of the system.

    Raises
    ------
    SystemExit
        It is not there or fails.
    """
    try:
        subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise SystemExit(f"make_inputs: {problem}; install {PACKAGE}, or name its .deb with --from") from None


def population_of(name: str) -> str:
    """Population of a sample; empty if it is none of `PARTS`."""
    for population, ranges in PARTS.items():
        if any(first <= name <= last for first, _, last in (part.partition("-") for part in ranges)):
            return population
    return ""


def make_real(folder: Path, given: Path | None, lines: int) -> None:
    """Write the first lines of the piece of Phase 3 with INFO in the order of Phase 3."""
    with reference(given) as path, gzip.open(path, "rt") as file:
        names = next(line for line in file if line.startswith("#CHROM")).rstrip("\n").split("\t")[9:]
        rows = (real_row(line) for _, line in zip(range(lines), file, strict=False))
        source = (
            "1000 Genomes Project Phase 3, doi:10.1038/nature15393, by way of Debian's shapeit4-example 4.2.2+dfsg-1; "
            "EUR_AF is of 503 Europeans"
        )
        populations = {population: [n for n in names if population_of(n) == population] for population in PARTS}
        write_people(folder, names, {"EUR": [name for name in names if name not in NOT_EUR], **populations})
        print(f"{write_variants(folder, source, names, rows)} lines of {len(names)} people in {folder}")


def real_row(line: str) -> tuple[Variant, bytes]:
    """A line of the piece: its AF is a multiple of 1/1006, the frequency in the 503 Europeans of Phase 3."""
    chromosome, position, name, reference, alternative, _, _, items, _, genotypes = line.rstrip("\n").split("\t", 9)
    info = dict(item.split("=", 1) for item in items.split(";"))
    counts = int(info["AC"]), int(info["AN"])
    variant = Variant(chromosome, int(position), name, reference, alternative, *counts, {"EUR_AF": info["AF"]})
    return variant, genotypes.encode()


# --- simulated data --------------------------------------------------------------------------------------------------


def demography() -> msprime.Demography:
    """Africans, Europeans, East Asians and an admixed American population.

    Browning et al., PLoS Genet. 14, e1007385 (2018), after Gravel et al., PNAS 108, 11983 (2011); times in generations.
    """
    import msprime

    model = msprime.Demography()
    model.add_population(name="AFR", initial_size=14474)
    model.add_population(name="EUR", initial_size=1032 * math.exp(0.0038 * 920), growth_rate=0.0038)
    model.add_population(name="EAS", initial_size=554 * math.exp(0.0048 * 920), growth_rate=0.0048)
    model.add_population(name="AMR", initial_size=30000 * math.exp(0.05 * 12), growth_rate=0.05)
    model.add_population(name="OUT", initial_size=1861)
    model.add_population(name="ANCIENT", initial_size=7310)
    for pair, rate in ((("AFR", "EUR"), 2.5e-5), (("AFR", "EAS"), 0.78e-5), (("EUR", "EAS"), 3.11e-5)):
        model.set_symmetric_migration_rate(pair, rate)
    model.add_admixture(12, derived="AMR", ancestral=["AFR", "EUR", "EAS"], proportions=[1 / 6, 2 / 6, 3 / 6])
    model.add_population_split(920, derived=["EUR", "EAS"], ancestral="OUT")
    model.add_symmetric_migration_rate_change(920, ["AFR", "OUT"], 15e-5)
    model.add_population_split(2040, derived=["OUT", "AFR"], ancestral="ANCIENT")
    model.add_population_parameters_change(5920, population="ANCIENT", initial_size=7310)
    return model


def simulate(people: Mapping[str, int], lines: int, seed: int) -> tskit.TreeSequence:
    """A piece of a chromosome with at least so many sites of two alleles.

    It is made anew, half as long again, as long as there are too few: what comes out depends on the arguments alone.
    """
    import msprime

    length = 100.0 * lines
    while True:
        ancestry = msprime.sim_ancestry(
            people,
            demography=demography(),
            sequence_length=round(length),
            recombination_rate=RECOMBINATION_RATE,
            random_seed=seed,
        )
        tree = msprime.sim_mutations(ancestry, rate=MUTATION_RATE, random_seed=seed)
        if sum(len(site.mutations) == 1 for site in tree.sites()) >= lines:
            return tree
        length *= 1.5


def simulated_rows(
    tree: tskit.TreeSequence, chromosome: str, people: Mapping[str, int]
) -> Iterator[tuple[Variant, bytes]]:
    """The sites of two alleles."""
    import numpy as np

    ends = np.cumsum([2 * size for size in people.values()]).tolist()
    parts = dict(zip(people, map(slice, [0, *ends], ends), strict=False))
    text = np.frombuffer(b"0|0\t" * (ends[-1] // 2), dtype=np.uint8).copy()
    for site in tree.variants():
        if len(site.site.mutations) != 1:
            continue
        has = site.genotypes
        text[0::4], text[2::4] = has[0::2] + 48, has[1::2] + 48
        position = int(site.site.position) + 1
        groups = {f"{name}_AF": share(int(has[part].sum()), 2 * people[name]) for name, part in parts.items()}
        alleles = (str(site.alleles[0]), str(site.alleles[1]))
        variant = Variant(
            chromosome, position, f"sim{chromosome}_{position}", *alleles, int(has.sum()), len(has), groups
        )
        yield variant, text[:-1].tobytes()


def make_simulated(folder: Path, people: int, lines: int, chromosomes: Sequence[str], seed: int) -> None:
    """Write simulated people, a quarter of each group."""
    sizes = {group: len(range(i, people, len(GROUPS))) for i, group in enumerate(GROUPS)}
    names = {group: [f"SIM-{group}-{i:05d}" for i in range(1, size + 1)] for group, size in sizes.items()}
    everybody = [name for group in names.values() for name in group]
    write_people(folder, everybody, names)
    for chromosome in chromosomes:
        tree = simulate(sizes, lines, seed + 1000 * int(chromosome))
        rows = (row for _, row in zip(range(lines), simulated_rows(tree, chromosome, sizes), strict=False))
        source = f"SIMULATED by make_inputs.py with msprime, seed {seed}; no real people"
        print(f"{write_variants(folder, source, everybody, rows)} lines of chromosome {chromosome} in {folder}")


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    real = what.add_parser("real")
    real.add_argument("--from", dest="given", type=Path, metavar="PATH")
    real.add_argument("--lines", type=int, default=LINES)
    real.add_argument("--out", type=Path, default=HERE / "data")
    simulated = what.add_parser("simulate")
    simulated.add_argument("--people", type=int, required=True)
    simulated.add_argument("--lines", type=int, required=True)
    simulated.add_argument("--chromosome", action="append", choices=[str(number) for number in range(1, 23)])
    simulated.add_argument("--seed", type=int, default=1)
    simulated.add_argument("--out", type=Path, default=Path("simulated"))
    found = parser.parse_args(arguments)
    if found.lines < 1 or getattr(found, "people", len(GROUPS)) < len(GROUPS):
        parser.error(f"at least one line and {len(GROUPS)} people are needed")
    return found


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    found = read_arguments(arguments)
    found.out.mkdir(parents=True, exist_ok=True)
    if found.what == "real":
        make_real(found.out, found.given, found.lines)
    else:
        make_simulated(found.out, found.people, found.lines, found.chromosome or ["22"], found.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
