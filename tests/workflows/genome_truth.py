"""Small genomes for the tests of 1000genome, and what is in them read in the slowest and most obvious way."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
CSQ = "Allele|Gene|Feature|Feature_type|Consequence|SIFT|PolyPhen|MOTIF"


@dataclass
class Genome:
    """A VCF: people, and lines of (ID, INFO, genotypes) at positions 1, 2, ...

    Attributes
    ----------
    headers : int
        Lines before that of the columns.
    """

    people: Sequence[str]
    lines: Sequence[tuple[str, str, Sequence[str]]]
    chromosome: str = "20"
    headers: int = 3
    format: str = "GT"

    @property
    def columns(self) -> str:
        """The line of columns."""
        return "\t".join([*FIRST_COLUMNS, *self.people]) + "\n"

    @property
    def rows(self) -> list[str]:
        """Data lines."""
        return [
            "\t".join([self.chromosome, str(position), name, "A", "C", "100", "PASS", info, self.format, *genotypes])
            + "\n"
            for position, (name, info, genotypes) in enumerate(self.lines, 1)
        ]

    @property
    def text(self) -> str:
        """The whole file."""
        return "##fileformat=VCFv4.2\n" + "##more\n" * (self.headers - 1) + self.columns + "".join(self.rows)

    def write(self, folder: Path, name: str = "v.vcf") -> Path:
        """The file and columns.txt, packed where the name says so."""
        data = self.text.encode()
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        (folder / "columns.txt").write_text(self.columns)
        return folder / name

    def carried(self, first: int = 1, stop: int | None = None) -> dict[str, str]:
        """What the file of each person has to be, for data lines `first` to `stop` (exclusive), by the rule alone."""
        found = {}
        for person, name in enumerate(self.people):
            text = ""
            for row in self.rows[first - 1 : None if stop is None else stop - 1]:
                fields = row.rstrip("\n").split("\t")
                frequency = dict(item.partition("=")[::2] for item in fields[7].split(";"))["AF"]
                common = float(frequency.split(",")[0]) >= 0.5
                if fields[9 + person].split(":")[0].split("|")[0] == ("0" if common else "1"):
                    text += f"{fields[1]}        {fields[2]}    {fields[3]}    {fields[4]}    {frequency}\n"
            found[f"chr{self.chromosome}.{name}"] = text
        return found


@dataclass
class Carriers:
    """Who has which of the variants that have a score; the order of people and of variants is that of the files."""

    sets: Mapping[str, set[str]]
    variants: Sequence[str]
    population: str = "POP"
    folder: Path = field(default_factory=Path)

    def write(self, folder: Path) -> None:
        """What mutation_overlap and frequency read."""
        (folder / "columns.txt").write_text("\t".join([*FIRST_COLUMNS, *self.sets]) + "\n")
        (folder / self.population).write_text("".join(f"{name}\n" for name in reversed(list(self.sets))))
        rows = [f"{number} {name} GENE{number} 0.01 0.9\n" for number, name in enumerate(self.variants, 1)]
        (folder / "sifted.SIFT.chr20.txt").write_text("".join(rows))
        files = {
            f"chr20.{name}": "".join(f"1        {variant}    A    C    0.1\n" for variant in sorted(has | {"rs_other"}))
            for name, has in self.sets.items()
        }
        archive(folder / "chr20n.tar.gz", files)

    def pairs(self) -> list[list[int]]:
        """Shared variants of each pair above the diagonal."""
        sets = list(self.sets.values())
        return [[len(a & b) if j > i else 0 for j, b in enumerate(sets)] for i, a in enumerate(sets)]

    def shared(self) -> dict[str, str]:
        """How many people have both of two variants, as it is written."""
        pairs = Counter(
            pair
            for has in self.sets.values()
            for pair in itertools.combinations([variant for variant in self.variants if variant in has], 2)
        )
        return {str(pair): str(count) for pair, count in pairs.items()}


def archive(path: Path, files: Mapping[str, str]) -> None:
    """A tar.gz."""
    with tarfile.open(path, "w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            packed.addfile(member, io.BytesIO(text.encode()))


def members(path: Path) -> dict[str, bytes]:
    """Files of an archive."""
    with tarfile.open(path) as packed:
        return {member.name: _content(packed, member) for member in packed if member.isfile()}


def _content(packed: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = packed.extractfile(member)
    assert file is not None
    return file.read()


def texts(path: Path) -> dict[str, str]:
    """Files of an archive as text."""
    return {name: content.decode() for name, content in members(path).items()}


def annotation(rows: Iterable[tuple[str, str]], csq: str = CSQ, headers: int = 1) -> str:
    """An annotated VCF of (ID, INFO)."""
    header = f'##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence. Format: {csq}">\n' if csq else ""
    lines = (f"20\t{i}\t{name}\tA\tC\t.\t.\t{info}\n" for i, (name, info) in enumerate(rows, 1))
    first = "##fileformat=VCFv4.2\n" + "##more #\n" * (headers - 1) + header
    return first + "\t".join(FIRST_COLUMNS[:8]) + "\n" + "".join(lines)
