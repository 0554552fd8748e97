"""What the programs of workflows/1000genome cost beside the published ones on the same data, and whether they agree.

    python bench/genome.py [PATH_TO_PUBLISHED] [--json] [--runs N] [--lines N] [--people N] [--samples N] [--plots no]

PATH_TO_PUBLISHED is a copy of pegasus-isi/1000genome-workflow; without it only ours run. Theirs and ours alternate on
two chunks of `--lines` lines: of the real data, or of `--people` simulated people. The file is made so that what both
define is the same: one header line (they count it), and AF and EUR_AF alike (they take the latter). Their number of
random samples, fixed at 1000, is set to `--samples` in a copy. CPU time and peak memory are those of the process
itself; contents are compared where they do not depend on chance, and where they do, for their own random choice.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[1] / "workflows" / "1000genome"
PRELUDE = """
import atexit, resource, runpy, sys
def tell(path=sys.argv[1]):
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with open("/proc/self/status") as status: peak = next(line for line in status if line.startswith("VmHWM"))
    with open(path, "w") as file: print(sum(u.ru_utime + u.ru_stime for u in usages), peak.split()[1], file=file)
atexit.register(tell)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
OURS, THEIRS = "ours", "published"
ANNOTATION = "annotation.vcf"


@dataclass(frozen=True)
class Case:
    """The data: file, chromosome, population, lines of a chunk and random samples."""

    vcf: str
    chromosome: str
    population: str
    lines: int
    samples: int
    plots: str

    @property
    def steps(self) -> dict[str, list[list[str]]]:
        """Arguments that both take, by program; the two chunks are one step."""
        c, lines = self.chromosome, self.lines
        chunks = [(1, 1 + lines), (1 + lines, 1 + 2 * lines)]
        total = str(1 + 2 * lines)
        analysis = ["-c", c, "-pop", self.population]
        return {
            "individuals": [[self.vcf, c, str(first), str(stop), total] for first, stop in chunks],
            "individuals_merge": [[c, *(f"chr{c}n-{first}-{stop}.tar.gz" for first, stop in chunks)]],
            "sifting": [[ANNOTATION, c]],
            "mutation_overlap": [analysis],
            "frequency": [analysis],
        }

    def more(self, program: str) -> list[str]:
        """Arguments of ours alone."""
        plots = ["--plots", self.plots] if program in {"mutation_overlap", "frequency"} else []
        return [*plots, "--runs", str(self.samples)] if program == "frequency" else plots


@dataclass(frozen=True)
class Row:
    """Medians of one program: CPU time [s], highest resident memory [MB]; the published ones if they ran."""

    program: str
    cpu: float
    memory: float
    published_cpu: float | None
    published_memory: float | None


@contextlib.contextmanager
def module(path: Path) -> Iterator[ModuleType]:
    """A program of ours to call."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    yield loaded
    del sys.modules[path.stem]


# --- the data --------------------------------------------------------------------------------------------------------


def prepare(folder: Path, options: argparse.Namespace) -> Case:
    """Write the inputs into a folder."""
    source = FOLDER / "data"
    chromosome, population, lines = "20", "GBR", 2 * options.lines
    if options.people:
        source, chromosome, population = folder / "simulated", "22", "EUR"
        command = ["simulate", "--people", str(options.people), "--lines", str(lines), "--out", str(source)]
        subprocess.run([sys.executable, FOLDER / "make_inputs.py", *command], check=True, stdout=subprocess.DEVNULL)
    for name in ("columns.txt", population):
        (folder / name).write_bytes((source / name).read_bytes())
    vcf = f"ALL.chr{chromosome}.{lines}.vcf"
    write_variants(folder / vcf, next(source.glob(f"ALL.chr{chromosome}.*[0-9].vcf.gz")), lines)
    text = gzip.decompress((source / f"ALL.chr{chromosome}.synthetic.annotation.vcf.gz").read_bytes()).decode()
    (folder / ANNOTATION).write_text(text.replace("\tsim", "\trs"))
    return Case(vcf, chromosome, population, options.lines, options.samples, options.plots)


def write_variants(path: Path, source: Path, lines: int) -> None:
    """The first lines with one line of header, AF for EUR_AF and IDs that theirs takes for such."""
    with gzip.open(source, "rt") as rows, path.open("w") as file:
        count = 0
        for row in rows:
            if row.startswith("##") or count > lines:
                continue
            count += 1
            frequency = re.search(r";AF=([^;]*)", row)
            row = re.sub(r"EUR_AF=[^;]*", f"EUR_AF={frequency[1]}", row, count=1) if frequency else row
            file.write(row.replace("\tsim", "\trs", 1))
    if count <= lines:
        raise SystemExit(f"{source} has {count - 1} lines, {lines} are needed: choose fewer --lines")


def published(path: Path, folder: Path, samples: int) -> Path:
    """Their programs, with another number of samples."""
    folder.mkdir()
    for program in (path / "bin").glob("*.py"):
        text = program.read_text().replace("n_runs = 1000", f"n_runs = {samples}")
        (folder / program.name).write_text(text)
    return folder


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(program: Path, arguments: list[str], folder: Path) -> tuple[float, float]:
    """Run a program; its CPU time [s] and peak memory [MB]."""
    told = folder / "told"
    command = [sys.executable, "-c", PRELUDE, str(told), str(program), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} {' '.join(arguments)} failed: {done.stderr}")
    cpu, peak = told.read_text().split()
    return float(cpu), float(peak) / 1024


def run_step(name: str, case: Case, sides: dict[str, tuple[Path, Path]]) -> dict[str, tuple[float, float]]:
    """One program by each side."""
    found = {}
    for side, (programs, folder) in sides.items():
        more = case.more(name) if side == OURS else []
        costs = [measure(programs / f"{name}.py", [*arguments, *more], folder) for arguments in case.steps[name]]
        found[side] = sum(cpu for cpu, _ in costs), max(memory for _, memory in costs)
    return found


def rows(case: Case, sides: dict[str, tuple[Path, Path]], runs: int) -> list[Row]:
    """Medians over the runs, in which the sides take turns."""
    found: dict[str, list[dict[str, tuple[float, float]]]] = {name: [] for name in case.steps}
    for _ in range(runs):
        for name, costs in found.items():
            costs.append(run_step(name, case, sides))
    table = []
    for name, costs in found.items():
        ours, theirs = (
            [statistics.median(cost[side][i] for cost in costs) for i in (0, 1)] if side in sides else [None, None]
            for side in (OURS, THEIRS)
        )
        table.append(Row(name, *ours, *theirs))  # type: ignore[arg-type]  # ours always runs
    return table


# --- comparing -------------------------------------------------------------------------------------------------------


def members(path: Path) -> dict[str, bytes]:
    """Files of an archive by their last name."""
    with tarfile.open(path) as archive:
        files = {Path(member.name).name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def differences(case: Case, ours: Path, theirs: Path) -> Iterator[str]:
    """What of the defined content is not the same."""
    c = case.chromosome
    names = [f"chr{c}n.tar.gz", *(f"chr{c}n-{chunk[2]}-{chunk[3]}.tar.gz" for chunk in case.steps["individuals"])]
    yield from (name for name in names if members(ours / name) != members(theirs / name))
    sifted = f"sifted.SIFT.chr{c}.txt"
    if (theirs / sifted).read_text() != (ours / sifted).read_text():
        yield sifted
    if overlaps(case, ours) != overlaps(case, theirs):
        yield "mutation_overlap"
    if histograms(case, theirs, ours) != histograms(case, theirs, theirs):
        yield "frequency"


def overlaps(case: Case, folder: Path) -> dict[tuple[str, ...], int]:
    """Numbers of variants of people and of pairs of people, whatever the order of the people."""
    files = members(folder / f"chr{case.chromosome}-{case.population}.tar.gz")
    end = f"_sNO-SIFT_{case.population}.txt"
    totals = files[f"total_mutations_individual{case.chromosome}{end}"].decode().splitlines()
    matrix = files[f"total_individual_pairs_overlap_chr{case.chromosome}{end}"].decode().splitlines()
    names = [line.split("\t")[0] for line in totals]
    found: dict[tuple[str, ...], int] = {
        (name,): int(line.split("\t")[1]) for name, line in zip(names, totals, strict=True)
    }
    for i, row in enumerate(matrix):
        for j, value in enumerate(row.split()):
            if i < j:
                found[tuple(sorted((names[i], names[j])))] = int(value)
    return found


def histograms(case: Case, chosen: Path, folder: Path) -> list[bytes]:
    """Histograms of the samples that were drawn in the folder `chosen`: as written, or as ours makes them."""
    c, end = case.chromosome, f"_sNO-SIFT_{case.population}_"
    drawn = members(chosen / f"chr{c}-{case.population}-freq.tar.gz")
    runs = range(case.samples)
    if chosen == folder:
        return [drawn[f"Histogram_mutation_overlap_chr{c}{end}{run}.txt"] for run in runs]
    samples = [drawn[f"random_indiv{c}{end}{run}.txt"].decode().split("\n")[1:-1] for run in runs]
    with module(FOLDER / "bin" / "frequency.py") as ours, contextlib.chdir(folder):
        request = ours.Request(c, case.population, 1, 1, False)
        names, genes, carried = ours.read_population(request)
        people = ours.transposed(carried, len(genes))
        counts = [ours.histogram(ours.count_people(people, map(names.index, sample))) for sample in samples]
    title = "Number Individuals - Number Mutations  \n"
    return [(title + "".join(f"{i}-{n}\n" for i, n in enumerate(count, 1))).encode() for count in counts]


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of the programs of workflows/1000genome")
    parser.add_argument("published", nargs="?", type=Path, metavar="PATH_TO_PUBLISHED")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--lines", type=int, default=250, help="of each of the two chunks")
    parser.add_argument("--people", type=int, default=0, help="simulated; 0 for the real data")
    parser.add_argument("--samples", type=int, default=20, help="of frequency")
    parser.add_argument("--plots", choices=["yes", "no"], default="yes", help="by ours; theirs always draws")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = {OURS: (FOLDER / "bin", folder / OURS)}
        if options.published:
            sides[THEIRS] = published(options.published, folder / "programs", options.samples), folder / THEIRS
        for _, side in sides.values():
            side.mkdir()
            case = prepare(side, options)
        table = rows(case, sides, options.runs)
        differing = list(differences(case, sides[OURS][1], sides[THEIRS][1])) if THEIRS in sides else None
    if options.json:
        print(json.dumps({"programs": [asdict(row) for row in table], "differing": differing}))
        return
    print(f"{'program':20}{'CPU s':>9}{'MB':>8}{'published CPU s':>17}{'MB':>8}{'ratio':>8}")
    for row in table:
        print(f"{row.program:20}{row.cpu:9.3f}{row.memory:8.1f}", end="")
        theirs = row.published_cpu is not None
        print(
            f"{row.published_cpu:17.3f}{row.published_memory:8.1f}{row.published_cpu / row.cpu:8.1f}" if theirs else ""
        )
    if differing is not None:
        print(f"contents differ: {', '.join(differing)}" if differing else "contents are the same")


if __name__ == "__main__":
    main()
