"""The programs of 1000genome against slow and independent readings, its data, and what they say of bad input."""

from __future__ import annotations

import ast
import contextlib
import gzip
import importlib.util
import io
import itertools
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflows.genome_truth import FIRST_COLUMNS, Carriers, Genome, annotation, archive, members, texts

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "1000genome"
DATA = FOLDER / "data"
VCF = DATA / "ALL.chr20.5000.vcf.gz"
ANNOTATION = "ALL.chr20.synthetic.annotation.vcf.gz"
PROGRAMS = ("individuals", "individuals_merge", "sifting", "mutation_overlap", "frequency")


def load(path: str) -> ModuleType:
    """A program of the folder as a module."""
    name = f"genome_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, FOLDER / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


make_inputs = load("make_inputs.py")
modules = {name: load(f"bin/{name}.py") for name in PROGRAMS}


def execute(
    folder: Path, program: str, *arguments: object, environment: dict[str, str] | None = None, flags: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program as a job would."""
    return subprocess.run(
        [sys.executable, *flags, str(FOLDER / "bin" / f"{program}.py"), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run(folder: Path, program: str, *arguments: object, environment: dict[str, str] | None = None) -> None:
    """Run a program that has to succeed."""
    done = execute(folder, program, *arguments, environment=environment)
    assert done.returncode == 0, done.stderr


def call(folder: Path, program: str, *arguments: object) -> None:
    """Run a program that has to succeed in this process: for many small inputs."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        assert modules[program].main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after all jobs of the real data with GBR."""
    folder = tmp_path_factory.mktemp("real")
    for file in DATA.iterdir():
        (folder / file.name).symlink_to(file)
    for first in range(1, 5001, 1000):
        call(folder, "individuals", VCF.name, "20", first, first + 1000, 5000)
    call(folder, "individuals_merge", "20", *(path.name for path in folder.glob("chr20n-*")))
    call(folder, "sifting", ANNOTATION, "20")
    call(folder, "mutation_overlap", "-c", "20", "-pop", "GBR", "--plots", "no")
    return folder


# --- individuals -----------------------------------------------------------------------------------------------------

alleles = st.sampled_from(["0|0", "0|1", "1|0", "1|1"])
anything = st.sampled_from(
    ["0|0", "0|1", "1|0", "1|1", "2|0", "10|1", "1|10", "0", "1", ".", ".|.", "./.", ".|1", "1|."]
)
frequencies = st.sampled_from(["0", "0.1", "0.499999", "0.5", "0.75", "1", "1e-3", "0.2,0.9", "0.6,0.1"])


@st.composite
def genomes(draw: st.DrawFn) -> Genome:
    """VCFs of any genotypes and any order in INFO."""
    people = [f"P{i}" for i in draw(st.permutations(range(draw(st.integers(1, 6)))))]
    genotypes = draw(st.sampled_from([alleles, anything]))
    lines = []
    for number in range(draw(st.integers(1, 12))):
        items = ["AC=1", f"AF={draw(frequencies)}", "EUR_AF=0.9", "DB", "XAF=0.7"]
        row = draw(st.lists(genotypes, min_size=len(people), max_size=len(people)))
        lines.append((f"rs{number}", ";".join(draw(st.permutations(items))), row))
    return Genome(people, lines, headers=draw(st.integers(1, 4)))


@settings(max_examples=80, deadline=None)
@given(genomes())
def test_each_person_has_the_variants_that_a_slow_reading_finds(genome: Genome) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, stop = Path(name), 1 + len(genome.lines)
        genome.write(folder)
        call(folder, "individuals", "v.vcf", "20", 1, stop, len(genome.lines))
        assert texts(folder / f"chr20n-1-{stop}.tar.gz") == dict(sorted(genome.carried().items()))


@settings(max_examples=40, deadline=None)
@given(genomes(), st.data())
def test_chunks_end_to_end_have_each_line_once(genome: Genome, data: st.DataObject) -> None:
    total = len(genome.lines)
    cuts = sorted(data.draw(st.sets(st.integers(2, total)))) if total > 1 else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        genome.write(folder, "v.vcf.gz")
        edges = [1, *cuts, total + 1]
        for first, stop in itertools.pairwise(edges):
            call(folder, "individuals", "v.vcf.gz", "20", first, stop, total)
            assert texts(folder / f"chr20n-{first}-{stop}.tar.gz") == dict(sorted(genome.carried(first, stop).items()))
        chunks = data.draw(st.permutations([path.name for path in folder.glob("chr20n-*")]))
        call(folder, "individuals_merge", "20", *chunks)
        assert texts(folder / "chr20n.tar.gz") == dict(sorted(genome.carried().items()))


def test_genotypes_may_have_more_than_alleles(tmp_path: Path) -> None:
    genome = Genome(["A", "B"], [("rs1", "AF=0.1", ["1|0:0.9", "0|1:."])], format="GT:DS")
    genome.write(tmp_path)
    run(tmp_path, "individuals", "v.vcf", "20", 1, 2, 1)
    assert texts(tmp_path / "chr20n-1-2.tar.gz") == genome.carried()


def example(people: int = 5, lines: int = 40, seed: int = 1) -> Genome:
    """A random genome."""
    numbers = random.Random(seed)
    rows = []
    for line in range(lines):
        frequency = numbers.choice([0.02, 0.3, 0.7])
        row = ["|".join(str(int(numbers.random() < frequency)) for _ in range(2)) for _ in range(people)]
        rows.append((f"rs{line}", f"AC=1;AF={frequency}", row))
    return Genome([f"HG{i:05d}" for i in range(people)], rows)


def test_plain_gzip_and_blocked_gzip_give_the_same_bytes(tmp_path: Path) -> None:
    results = set()
    for name in ("v.vcf", "v.vcf.gz", "blocks"):
        genome = example()
        path = genome.write(tmp_path, name)
        if name == "blocks":
            data = genome.text.encode()
            path.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
        run(tmp_path, "individuals", name, "20", 1, 41, 40)
        results.add((tmp_path / "chr20n-1-41.tar.gz").read_bytes())
    assert len(results) == 1


def test_total_may_count_the_header_as_that_of_the_published_files_does(tmp_path: Path) -> None:
    genome = example(lines=36)
    assert genome.headers + 1 == 4
    genome.write(tmp_path)
    run(tmp_path, "individuals", "v.vcf", "20", 21, 41, 40)
    assert texts(tmp_path / "chr20n-21-41.tar.gz") == genome.carried(21)
    assert execute(tmp_path, "individuals", "v.vcf", "20", 21, 42, 41).returncode == 1


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    genome = Genome([f"P{i}" for i in range(500)], [("rs1", "AF=0.1", ["0|0"] * 500)] * 15_000)
    path = genome.write(tmp_path)
    assert path.stat().st_size > 30e6
    peak = "; print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    arguments = [path.name, "20", "1", "15001", "15000"]
    code = f"import sys; sys.path.insert(0, {str(FOLDER / 'bin')!r}); import individuals; individuals.main({arguments})"
    done = subprocess.run([sys.executable, "-c", code + peak], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 25_000  # kB


def split_for_everybody(genome: Genome) -> int:
    """The way of the published program: the line is split anew for each person."""
    rows = genome.rows
    found = 0
    for person in range(len(genome.people)):
        for row in rows:
            first, second = row.split("\t")[9 + person], row.split("\t")[0:8]
            common = float(second[7].split(";")[1].split("=")[1]) >= 0.5
            found += first.split("|")[0] == ("0" if common else "1")
    return found


@pytest.mark.measures
def test_a_line_is_parsed_once_and_not_for_each_person(tmp_path: Path) -> None:
    genome = example(people=300, lines=300)
    genome.write(tmp_path)
    began = time.process_time()
    split_for_everybody(genome)
    slow = time.process_time() - began
    fast = []
    for _ in range(3):
        began = time.process_time()
        call(tmp_path, "individuals", "v.vcf", "20", 1, 301, 300)
        fast.append(time.process_time() - began)
    assert slow > 20 * statistics.median(fast), f"measured {slow:.3f} s and {fast}"


# --- individuals_merge -----------------------------------------------------------------------------------------------


def test_archives_of_the_published_program_are_merged_too(tmp_path: Path) -> None:
    for first in (1, 2):
        with tarfile.open(tmp_path / f"chr20n-{first}-{first + 1}.tar.gz", "w:gz") as packed:
            (tmp_path / "chr20.A").write_text(f"{first}\n")
            packed.add(tmp_path / "chr20.A", "chr20.A")
            root = tarfile.TarInfo("")
            root.type = tarfile.DIRTYPE
            packed.addfile(root)
    run(tmp_path, "individuals_merge", "20", "chr20n-1-2.tar.gz", "chr20n-2-3.tar.gz")
    assert texts(tmp_path / "chr20n.tar.gz") == {"chr20.A": "1\n2\n"}


@pytest.mark.parametrize("program", ["individuals_merge", "mutation_overlap", "frequency"])
@pytest.mark.parametrize("name", ["../chr20.A", "/chr20.A", "chr20.A/../../B", "chr21.A", "chr20.", "chr20.A/B"])
def test_an_archive_with_odd_names_is_refused_and_nothing_is_unpacked(tmp_path: Path, program: str, name: str) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    Carriers({"A": {"rs1"}}, ["rs1"]).write(folder)
    chunk = folder / ("chr20n-1-2.tar.gz" if program == "individuals_merge" else "chr20n.tar.gz")
    archive(chunk, {name: "1 rs1 A C 0.1\n"})
    before = sorted(tmp_path.rglob("*"))
    done = execute(folder, program, *(["20", chunk.name] if "merge" in program else ["-c", "20", "-pop", "POP"]))
    assert done.returncode == 1
    assert f"{name!r} is no file chr20.NAME" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "chr20n-1-2.tar.gz", "w:gz") as packed:
        link = tarfile.TarInfo("chr20.A")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    assert "'chr20.A' is no file" in execute(tmp_path, "individuals_merge", "20", "chr20n-1-2.tar.gz").stderr


# --- sifting ---------------------------------------------------------------------------------------------------------


def sifted(folder: Path, text: str) -> list[str]:
    """Lines that sifting makes of an annotation."""
    (folder / "a.vcf").write_text(text)
    run(folder, "sifting", "a.vcf", "20")
    return (folder / "sifted.SIFT.chr20.txt").read_text().splitlines()


def test_scores_are_found_by_name_whatever_comes_before_them(tmp_path: Path) -> None:
    entry = "CSQ=C|GENE|T|Transcript|missense|tolerated(0.4)|benign(0.01)|"
    rows = [("rs1", f"AA=.|||;AF=0.1;{entry}"), ("rs2", entry), ("rs3", "AF=0.1;CSQ=C|G||||||")]
    assert sifted(tmp_path, annotation(rows)) == ["1 rs1 GENE 0.4 0.01", "2 rs2 GENE 0.4 0.01"]


def test_the_line_number_does_not_depend_on_the_length_of_the_header(tmp_path: Path) -> None:
    rows = [("rs0", "AF=0.1"), ("rs1", "CSQ=C|GENE|||missense|deleterious_low_confidence(0.01)||")]
    assert sifted(tmp_path, annotation(rows, headers=1500)) == ["2 rs1 GENE 0.01"]


def test_the_last_column_ends_without_its_newline(tmp_path: Path) -> None:
    csq = "Allele|Gene|SIFT|PolyPhen"
    rows = [("rs1", "CSQ=C|GENE|deleterious(0)|probably_damaging(1)"), ("rs2", "CSQ=C|GENE|deleterious(0)|")]
    assert sifted(tmp_path, annotation(rows, csq)) == ["1 rs1 GENE 0 1", "2 rs2 GENE 0"]


def test_the_transcript_with_the_prediction_is_taken_and_words_elsewhere_are_none(tmp_path: Path) -> None:
    two = "CSQ=C|ONE|T1||synonymous|||,C|TWO|T2||missense|tolerated(0.2)|benign(0.1)|"
    rows = [("rs1", two), ("rs2", "NOTE=tolerated;CSQ=C|ONE||||||"), (".", two), ("esv3", two.replace("TWO", ""))]
    assert sifted(tmp_path, annotation(rows)) == ["1 rs1 TWO 0.2 0.1", "4 esv3 . 0.2 0.1"]


# --- mutation_overlap and frequency ----------------------------------------------------------------------------------


def carriers(people: int, variants: int = 12, seed: int = 3) -> Carriers:
    """Random carriers."""
    numbers = random.Random(seed)
    names = [f"rs{i}" for i in numbers.sample(range(1000), variants)]
    sets = {f"HG{i:05d}": {name for name in names if numbers.random() < 0.4} for i in range(people)}
    return Carriers(sets, names)


def analyse(folder: Path, program: str, truth: Carriers, *more: object) -> dict[str, str]:
    """Tables that a program makes, by what their names begin with."""
    truth.write(folder)
    call(folder, program, "-c", "20", "-pop", "POP", "--plots", "no", *more)
    suffix = "-freq" if program == "frequency" else ""
    start = f"./chr20-POP{suffix}/output_no_sift/"
    found = texts(folder / f"chr20-POP{suffix}.tar.gz")
    assert all(name.startswith(start) for name in found)
    return {name.removeprefix(start): text for name, text in found.items()}


def numbers(text: str) -> list[list[int]]:
    """A table."""
    return [[int(word) for word in line.split()] for line in text.splitlines()]


@pytest.mark.parametrize("people", [1, 2, 7, 25, 26, 31])
def test_overlaps_are_those_of_plain_sets(tmp_path: Path, people: int) -> None:
    truth = carriers(people)
    found = analyse(tmp_path, "mutation_overlap", truth)
    sets = list(truth.sets.values())
    half = (people + 1) // 2
    assert numbers(found["total_individual_pairs_overlap_chr20_sNO-SIFT_POP.txt"]) == truth.pairs()
    assert numbers(found["individual_half_pairs_overlap_chr20_sNO-SIFT_POP.txt"]) == [
        [len(a & b) for b in sets[half:]] for a in sets[:half]
    ]
    totals = found["total_mutations_individual20_sNO-SIFT_POP.txt"].splitlines()
    assert totals == [f"{name}\t{len(has)}" for name, has in truth.sets.items()]
    group = numbers(found["random_mutations_individual20_sNO-SIFT_POP_run_0.txt"])
    assert len(group) == min(26, people)
    shared = (line.split("\t") for line in found["gene_pairs_count_chr20_sNO-SIFT_POP.txt"].splitlines())
    assert {pair: count for pair, count in shared} == truth.shared()  # noqa: C416


def test_lists_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    truth = carriers(4)
    found = analyse(tmp_path, "mutation_overlap", truth)
    lists = found["mutation_index_array20_sNO-SIFT_POP.txt"].splitlines()
    assert lists == [str([name for name in truth.variants if name in has]) for has in truth.sets.values()]
    genes = found["map_variations20_sNO-SIFT_POP.txt"].splitlines()
    assert genes == [f"{name}\tGENE{number}" for number, name in enumerate(truth.variants, 1)]


def test_nobody_is_paired_with_themselves(tmp_path: Path) -> None:
    """Each person has one variant of their own: a pair of two people shares nothing."""
    truth = Carriers({f"P{i}": {f"rs{i}"} for i in range(9)}, [f"rs{i}" for i in range(9)])
    found = analyse(tmp_path, "mutation_overlap", truth, "--runs", 5)
    assert numbers(found["100_individual_overlap_chr20_sNO-SIFT_POP.txt"]) == [[0] * 4] * 5


@pytest.mark.parametrize(("people", "chosen"), [(1, 1), (7, 4), (91, 46), (150, 52)])
def test_frequencies_are_those_of_plain_sets(tmp_path: Path, people: int, chosen: int) -> None:
    truth = carriers(people)
    found = analyse(tmp_path, "frequency", truth, "--runs", 3)
    for run_number in range(3):
        end = f"_sNO-SIFT_POP_{run_number}.txt"
        title, *names = found[f"random_indiv20{end}"].splitlines()
        assert title == "Individuals "
        assert len(set(names)) == chosen
        counts = {v: sum(v in truth.sets[name] for name in names) for v in truth.variants}
        title, *lines = found[f"Mutation_overlap_chr20{end}"].splitlines()
        assert title == "Mutation Index- Number Overlapings "
        assert lines == [f"{variant}-{count}" for variant, count in counts.items() if count]
        title, *lines = found[f"Histogram_mutation_overlap_chr20{end}"].splitlines()
        assert title == "Number Individuals - Number Mutations  "
        assert lines == [f"{i}-{list(counts.values()).count(i)}" for i in range(1, 53)]


def test_samples_differ_between_runs_seeds_and_populations_only(tmp_path: Path) -> None:
    truth = carriers(40)
    first = analyse(tmp_path, "frequency", truth, "--runs", 2)
    names = [first[f"random_indiv20_sNO-SIFT_POP_{i}.txt"] for i in (0, 1)]
    again = analyse(tmp_path, "frequency", truth, "--runs", 1)
    other = analyse(tmp_path, "frequency", truth, "--runs", 1, "--seed", 2)
    assert names[0] != names[1]
    assert again["random_indiv20_sNO-SIFT_POP_0.txt"] == names[0]
    assert other["random_indiv20_sNO-SIFT_POP_0.txt"] != names[0]


def test_tables_need_the_standard_library_only(tmp_path: Path) -> None:
    carriers(5).write(tmp_path)
    for program in ("mutation_overlap", "frequency"):
        arguments = ("-c", "20", "-pop", "POP", "--plots")
        assert execute(tmp_path, program, *arguments, "no", flags=["-I", "-S"]).returncode == 0
        done = execute(tmp_path, program, *arguments, "yes", flags=["-I", "-S"])
        assert done.returncode == 1
        assert done.stderr == f"{program}: matplotlib is not installed; install it or say --plots no\n"


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("mutation_overlap", [f"{kind}_distribution_c20" for kind in ("half", "total", "100", "colormap")]),
        ("frequency", ["Frequency_mutations20"]),
    ],
)
@pytest.mark.parametrize(
    "truth", [carriers(6), Carriers({"A": set(), "B": set()}, ["rs1"]), Carriers({"A": set()}, [])]
)
def test_pictures_are_drawn_even_where_nothing_is_shared(
    tmp_path: Path, program: str, names: list[str], truth: Carriers
) -> None:
    pytest.importorskip("matplotlib")
    truth.write(tmp_path)
    call(tmp_path, program, "-c", "20", "-pop", "POP", "--runs", "1")
    suffix, run_number = ("-freq", "0") if program == "frequency" else ("", "")
    found = members(tmp_path / f"chr20-POP{suffix}.tar.gz")
    for name in names:
        picture = found[f"./chr20-POP{suffix}/plots_no_sift/{name}_sNO-SIFT_POP{run_number}.png"]
        assert picture.startswith(b"\x89PNG\r\n")


# --- all of them -----------------------------------------------------------------------------------------------------


def whole_run(folder: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """Every output of a small run of all programs."""
    truth = example(people=9, lines=20)
    truth.write(folder, "v.vcf.gz")
    (folder / "POP").write_text("\n".join(truth.people))
    info = "CSQ=C|GENE|||missense|tolerated(0.4)|benign(0.01)|"
    (folder / "a.vcf").write_text(annotation((name, info) for name, _, _ in truth.lines))
    for first in (1, 11):
        run(folder, "individuals", "v.vcf.gz", 20, first, first + 10, 20, environment=environment)
    run(folder, "individuals_merge", 20, "chr20n-1-11.tar.gz", "chr20n-11-21.tar.gz", environment=environment)
    run(folder, "sifting", "a.vcf", 20, environment=environment)
    run(folder, "mutation_overlap", "-c", 20, "-pop", "POP", environment=environment)
    run(folder, "frequency", "-c", 20, "-pop", "POP", "--runs", 2, environment=environment)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bytes_come_out_whatever_the_hash_seed_and_the_threads(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = []
    for hash_seed, threads in (("1", "1"), ("2", "4")):
        folder = tmp_path / hash_seed
        folder.mkdir()
        found.append(whole_run(folder, {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": threads, "TZ": "Asia/Tokyo"}))
    assert found[0] == found[1]
    assert "chr20-POP-freq.tar.gz" in found[0]


def test_jobs_of_one_directory_do_not_disturb_each_other(real: Path, tmp_path: Path) -> None:
    for name in ("chr20n.tar.gz", "sifted.SIFT.chr20.txt", "columns.txt", "GBR", "FIN", VCF.name):
        (tmp_path / name).symlink_to(real / name)
    commands = [
        ("mutation_overlap", "-c", "20", "-pop", "GBR", "--plots", "no"),
        ("mutation_overlap", "-c", "20", "-pop", "GBR", "--plots", "no"),
        ("frequency", "-c", "20", "-pop", "FIN", "--plots", "no"),
        *(("individuals", VCF.name, "20", str(first), str(first + 1000), "5000") for first in (1, 1001)),
    ]
    jobs = [
        subprocess.Popen(
            [sys.executable, FOLDER / "bin" / f"{program}.py", *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        for program, *arguments in commands
    ]
    assert [job.wait(timeout=120) for job in jobs] == [0] * len(jobs)
    for name in ("chr20-GBR.tar.gz", "chr20n-1-1001.tar.gz", "chr20n-1001-2001.tar.gz"):
        assert (tmp_path / name).read_bytes() == (real / name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 6 + 4


def test_functions_that_programs_share_have_one_text() -> None:
    """Programs travel alone, so they cannot import what they share; it must not drift apart."""
    own = {"main", "process", "results", "read_arguments"}
    seen: dict[str, tuple[str, str]] = {}
    for program in PROGRAMS:
        source = (FOLDER / "bin" / f"{program}.py").read_text()
        for node in ast.parse(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name not in own:
                text = ast.get_source_segment(source, node) or ""
                where, first = seen.setdefault(node.name, (program, text))
                assert text == first, f"{node.name} differs between {where} and {program}"


# --- bad input -------------------------------------------------------------------------------------------------------

GOOD = "v.vcf 20 1 3 2"
BAD_VCF: dict[str, tuple[Callable[[str], str], str]] = {
    "unphased": (lambda text: text.replace("1|0", "1/0"), "data line 1: '1/0' of B is not phased"),
    "no genotype": (lambda text: text.replace("1|0", "1+0"), "data line 1: '1+0' of B is no genotype"),
    "a column less": (lambda text: text.replace("\t0|1\n", "\n"), "data line 2 has 11 columns, columns.txt has 12"),
    "a column more": (lambda text: text.replace("0|1\n", "0|1\t0|0\n"), "data line 2 has 13 columns"),
    "cut in a line": (lambda text: text[:-20], "data line 2 has"),
    "other people": (lambda text: text.replace("\tB\t", "\tX\t"), "column 11 is X, in columns.txt it is B"),
    "no AF": (lambda text: text.replace("AF=0.2", "EUR_AF=0.2"), "data line 2 has no AF in INFO"),
    "unknown AF": (lambda text: text.replace("AF=0.2", "AF=."), "data line 2 has AF=. in INFO"),
    "AF beyond 1": (lambda text: text.replace("AF=0.2", "AF=1.2"), "data line 2 has AF=1.2 in INFO"),
    "another chromosome": (lambda text: text.replace("\n20\t2", "\n21\t2"), "data line 2 is of chromosome 21, not 20"),
    "no genotypes": (lambda text: text.replace("GT", "DS"), "data line 1 has FORMAT 'DS'"),
    "no lines": (lambda text: text[: text.index("\n20\t") + 1], "has no data lines"),
    "a line less": (
        lambda text: text[: text.index("\n20\t2") + 1].replace("##more\n", ""),
        "ends after data line 1 of 5",
    ),
}


def told(done: subprocess.CompletedProcess[str], program: str) -> str:
    """The one sentence of a program that has met bad input."""
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"{program}: ")
    assert "; " in done.stderr  # what to do
    return done.stderr


@pytest.mark.parametrize("change", BAD_VCF)
def test_individuals_says_which_line_of_a_bad_file_is_wrong(tmp_path: Path, change: str) -> None:
    rows = [("rs1", "AC=1;AF=0.1", ["0|0", "1|0", "0|0"]), ("rs2", "AC=1;AF=0.2", ["0|0", "0|0", "0|1"])]
    path = Genome(["A", "B", "C"], rows).write(tmp_path)
    make, words = BAD_VCF[change]
    path.write_text(make(path.read_text()))
    total = 5 if change == "a line less" else 2
    message = told(execute(tmp_path, "individuals", "v.vcf", 20, 1, total + 1, total), "individuals")
    assert f"v.vcf: {words}" in message
    assert {path.name for path in tmp_path.iterdir()} == {"v.vcf", "columns.txt"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["v.vcf", "20", "1", "3"], "4 arguments"),
        (["v.vcf", "20", "one", "3", "2"], "COUNTER is 'one'"),
        (["v.vcf", "20", "1", "3", "2.5"], "TOTAL is '2.5'"),
        (["v.vcf", "20", "-1", "3", "2"], "COUNTER is '-1'"),
        (["v.vcf", "20", "0", "3", "2"], "COUNTER counts from 1"),
        (["v.vcf", "20", "3", "3", "9"], "no lines from 3 up to 3"),
        (["v.vcf", "2/0", "1", "3", "2"], "C is '2/0'"),
        (["absent.vcf", "20", "1", "3", "2"], "absent.vcf: No such file"),
    ],
)
def test_individuals_refuses_arguments_that_make_no_sense(tmp_path: Path, arguments: list[str], words: str) -> None:
    example().write(tmp_path)
    assert words in told(execute(tmp_path, "individuals", *arguments), "individuals")


@pytest.mark.parametrize("text", ["", "A\tB\n", "\t".join(FIRST_COLUMNS) + "\n"])
def test_columns_without_people_are_refused(tmp_path: Path, text: str) -> None:
    example().write(tmp_path)
    (tmp_path / "columns.txt").write_text(text)
    assert "columns.txt: its first line is no header" in told(
        execute(tmp_path, "individuals", *GOOD.split()), "individuals"
    )


@pytest.mark.parametrize(("names", "words"), [("A\tA", "'A' is there twice"), ("../A\tB", "'../A' is no name")])
def test_people_whose_names_make_no_files_are_refused(tmp_path: Path, names: str, words: str) -> None:
    example().write(tmp_path)
    (tmp_path / "columns.txt").write_text("\t".join([*FIRST_COLUMNS, names]) + "\n")
    assert words in told(execute(tmp_path, "individuals", *GOOD.split()), "individuals")


@pytest.mark.parametrize("program", ["individuals", "sifting"])
@pytest.mark.parametrize("cut", [0.5, -4, 30])
def test_a_truncated_gzip_is_told(tmp_path: Path, program: str, cut: float) -> None:
    name = VCF.name if program == "individuals" else ANNOTATION
    data = (DATA / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * cut)] if cut == 0.5 else data[: int(cut)])
    (tmp_path / "columns.txt").write_bytes((DATA / "columns.txt").read_bytes())
    arguments = [name, 20, 1, 5002, 5001] if program == "individuals" else [name, 20]
    message = told(execute(tmp_path, program, *arguments), program)
    assert f"{name}: the gzip data are damaged or end too early" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (annotation([("rs1", "AF=0.1")], csq=""), "its header has no CSQ"),
        (annotation([("rs1", "AF=0.1")], csq="Allele|Gene"), "its header has no CSQ with Gene and SIFT"),
        ("", "its header has no CSQ"),
        (annotation([("rs1", "")]) + "20\t2\ttolerated\n", "data line 2 has 3 columns"),
    ],
)
def test_sifting_refuses_what_is_no_annotation(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.vcf").write_text(text)
    assert f"a.vcf: {words}" in told(execute(tmp_path, "sifting", "a.vcf", 20), "sifting")
    assert {path.name for path in tmp_path.iterdir()} == {"a.vcf"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"1-2": "AB", "2-3": "A"}, "chr20n-2-3.tar.gz: chr20.B is missing"),
        ({"1-2": "B", "2-3": "AB"}, "chr20n-1-2.tar.gz: chr20.A is missing"),
        ({"1-2": "A", "5-6": "A"}, "chr20n-5-6.tar.gz: lines 2 to 4 are in no chunk"),
        ({"1-5": "A", "4-6": "A"}, "chr20n-4-6.tar.gz: line 4 is in two chunks"),
        ({"1": "A"}, "chr20n-1.tar.gz: is no name of a chunk"),
    ],
)
def test_chunks_that_do_not_fit_are_not_merged(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for lines, people in files.items():
        archive(tmp_path / f"chr20n-{lines}.tar.gz", {f"chr20.{name}": "" for name in people})
    names = [path.name for path in tmp_path.iterdir()]
    assert words in told(execute(tmp_path, "individuals_merge", 20, *names), "individuals_merge")
    assert len(list(tmp_path.iterdir())) == len(names)


@pytest.mark.parametrize("program", ["individuals_merge", "mutation_overlap", "frequency"])
@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_archive_is_told(tmp_path: Path, program: str, content: bytes | None) -> None:
    carriers(30).write(tmp_path)
    path = tmp_path / ("chr20n-1-2.tar.gz" if program == "individuals_merge" else "chr20n.tar.gz")
    path.write_bytes((tmp_path / "chr20n.tar.gz").read_bytes()[:500] if content is None else content)
    arguments = [20, path.name] if program == "individuals_merge" else ["-c", 20, "-pop", "POP"]
    assert f"{path.name}: the archive is damaged or ends too early" in told(
        execute(tmp_path, program, *arguments), program
    )


BAD_ANALYSIS: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "empty": (lambda folder: (folder / "POP").write_text("\n"), [], "POP: the population is empty"),
    "nobody": (lambda folder: (folder / "POP").write_text("X\nY\n"), [], "POP: none of its 2 people is in columns.txt"),
    "no population": (lambda folder: (folder / "POP").unlink(), [], "POP: No such file"),
    "not in the archive": (
        lambda folder: archive(folder / "chr20n.tar.gz", {"chr20.A": ""}),
        [],
        "chr20n.tar.gz: chr20.HG00000 is missing",
    ),
    "lines of another kind": (
        lambda folder: archive(folder / "chr20n.tar.gz", {"chr20.HG00000": "1 rs1\n"}),
        [],
        "chr20.HG00000 has a line that is not of 5 words",
    ),
    "other list": (
        lambda folder: (folder / "sifted.SIFT.chr20.txt").write_text("1 rs1\n"),
        [],
        "sifted.SIFT.chr20.txt: line 1 has 2 words",
    ),
    "seed": (lambda folder: None, ["--seed", "x"], "argument --seed: invalid int value: 'x'"),
    "runs": (lambda folder: None, ["--runs", "0"], "argument --runs: 0 is less than 1"),
    "plots": (lambda folder: None, ["--plots", "maybe"], "argument --plots: invalid choice"),
    "path": (lambda folder: None, ["-pop", "../POP"], "argument -pop: '../POP' is no name"),
}


@pytest.mark.parametrize("program", ["mutation_overlap", "frequency"])
@pytest.mark.parametrize("case", BAD_ANALYSIS)
def test_analyses_say_what_is_wrong_with_their_input(tmp_path: Path, program: str, case: str) -> None:
    carriers(3).write(tmp_path)
    change, more, words = BAD_ANALYSIS[case]
    change(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert words in told(execute(tmp_path, program, "-c", 20, "-pop", "POP", *more), program)
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    example(people=50, lines=200).write(tmp_path)
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, str(FOLDER / "bin" / "individuals.py")]
    done = subprocess.run(
        [*limited, "v.vcf", "20", "1", "201", "200"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told(done, "individuals") == "individuals: output: File too large; check the job's inputs and the disk\n"
    assert {path.name for path in tmp_path.iterdir()} == {"v.vcf", "columns.txt"}


def sound(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Inputs of all programs; for each file a program that reads it, with its arguments."""
    analysis = ["-c", "20", "-pop", "POP", "--plots", "no", "--runs", "1"]
    carriers(3).write(folder)
    genome = Genome(["HG00000", "HG00001", "HG00002"], [("rs1", "AF=0.1", ["0|1", "1|0", "0|0"])] * 9)
    (folder / "v.vcf").write_text(genome.text)
    (folder / "v.vcf.gz").write_bytes(gzip.compress(genome.text.encode(), mtime=0))
    (folder / "a.vcf").write_text(annotation([("rs1", "CSQ=C|GENE|||missense|tolerated(0.4)|benign(0.01)|")] * 3))
    (folder / "chr20n-1-2.tar.gz").write_bytes((folder / "chr20n.tar.gz").read_bytes())
    plain = gzip.decompress((folder / "chr20n.tar.gz").read_bytes())
    (folder / "chr20n-2-3.tar.gz").write_bytes(gzip.compress(plain, 0, mtime=0))
    return {
        "v.vcf": ("individuals", ["v.vcf", "20", "1", "10", "9"]),
        "v.vcf.gz": ("individuals", ["v.vcf.gz", "20", "1", "10", "9"]),
        "columns.txt": ("individuals", ["v.vcf", "20", "1", "10", "9"]),
        "a.vcf": ("sifting", ["a.vcf", "20"]),
        "chr20n-1-2.tar.gz": ("individuals_merge", ["20", "chr20n-1-2.tar.gz"]),
        "chr20n-2-3.tar.gz": ("individuals_merge", ["20", "chr20n-2-3.tar.gz"]),
        "chr20n.tar.gz": ("mutation_overlap", analysis),
        "sifted.SIFT.chr20.txt": ("frequency", analysis),
        "POP": ("frequency", analysis),
    }


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_input_ends_in_a_sentence_and_never_in_a_traceback(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        name, (program, arguments) = data.draw(st.sampled_from(sorted(sound(folder).items())))
        content = bytearray((folder / name).read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.none() | st.integers(0, len(content)))
        (folder / name).write_bytes(content[:cut])
        words = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(words):
            status = modules[program].main(arguments)
        assert (status, words.getvalue().count("\n")) in {(0, 0), (1, 1)}, words.getvalue()
        assert not list(folder.glob(".*"))


# --- the data --------------------------------------------------------------------------------------------------------


def test_an_independent_reading_of_the_real_data_agrees(real: Path) -> None:
    pysam = pytest.importorskip("pysam")
    wanted = {line.split()[1] for line in (real / "sifted.SIFT.chr20.txt").read_text().splitlines()}
    people = (DATA / "GBR").read_text().split()
    sets: dict[str, set[str]] = {name: set() for name in people}
    for record in pysam.VariantFile(str(VCF)):
        if record.id in wanted:
            rarer = 0 if record.info["AF"][0] >= 0.5 else 1
            for name in people:
                if record.samples[name]["GT"][0] == rarer:
                    sets[name].add(record.id)
    found = texts(real / "chr20-GBR.tar.gz")
    start = "./chr20-GBR/output_no_sift/"
    totals = found[f"{start}total_mutations_individual20_sNO-SIFT_GBR.txt"].splitlines()
    agreeing = [line for line in totals if int(line.split("\t")[1]) == len(sets[line.split("\t")[0]])]
    matrix = numbers(found[f"{start}total_individual_pairs_overlap_chr20_sNO-SIFT_GBR.txt"])
    assert (len(agreeing), len(totals)) == (91, 91)
    assert sum(map(sum, matrix)) == sum(len(a & b) for a, b in itertools.combinations(sets.values(), 2))
    assert sum(map(sum, matrix)) > 1000  # else it would say little


def test_frequencies_of_the_real_data_are_those_of_its_genotypes() -> None:
    with gzip.open(VCF, "rt") as file:
        for line in file:
            if not line.startswith("#"):
                fields = line.split("\t", 9)
                info = dict(item.split("=") for item in fields[7].split(";"))
                assert int(info["AC"]) == fields[9].count("1")
                assert float(info["AF"]) == pytest.approx(fields[9].count("1") / 600, rel=1e-5)


def test_populations_of_the_real_data_are_of_its_people() -> None:
    people = (DATA / "columns.txt").read_text().split()[9:]
    sizes = {name: len((DATA / name).read_text().split()) for name in ("ALL", "EUR", "GBR", "FIN", "IBS")}
    assert sizes == {"ALL": 300, "EUR": 296, "GBR": 91, "FIN": 99, "IBS": 107}
    for name in sizes:
        assert set((DATA / name).read_text().split()) <= set(people)


def test_the_annotation_is_the_one_that_follows_from_the_variants_and_says_that_it_is_synthetic() -> None:
    with gzip.open(DATA / ANNOTATION, "rt") as file:
        text = file.read()
    with gzip.open(VCF, "rt") as file:
        rows = [make_inputs.real_row(line.replace(";EUR_AF", ";AF_", 1))[0] for line in file if line[0] != "#"]
    assert text == make_inputs.annotation_header("20") + "".join(map(make_inputs.annotation, rows))
    assert "SYNTHETIC" in text.splitlines()[1]


def test_the_real_data_can_be_made_again(tmp_path: Path) -> None:
    if not Path("/", make_inputs.REFERENCE).exists():
        pytest.skip("Debian's shapeit4-example is not installed")
    make_inputs.main(["real", "--out", str(tmp_path)])
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (DATA / path.name).read_bytes()


def test_another_file_is_not_taken_for_the_real_data(tmp_path: Path) -> None:
    (tmp_path / "reference.vcf.gz").write_bytes(b"other")
    with pytest.raises(SystemExit, match=r"is not the file of shapeit4-example 4\.2\.2"):
        make_inputs.main(["real", "--from", str(tmp_path), "--out", str(tmp_path / "out")])


def test_simulated_people_come_out_the_same_each_time_and_run(tmp_path: Path) -> None:
    pytest.importorskip("msprime")
    arguments = ["simulate", "--people", "30", "--lines", "400", "--chromosome", "21", "--chromosome", "22", "--out"]
    for name in ("one", "two"):
        make_inputs.main([*arguments, str(tmp_path / name)])
    folder = tmp_path / "one"
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    with gzip.open(folder / "ALL.chr21.400.vcf.gz", "rt") as file:
        header, text = file.readlines()[1], (folder / "columns.txt").read_text()
    assert header.startswith("##source=SIMULATED")
    assert [len((folder / group).read_text().split()) for group in ("AFR", "EUR", "EAS", "AMR", "ALL")] == [
        8,
        8,
        7,
        7,
        30,
    ]
    assert len(text.split()) == 9 + 30
    call(folder, "individuals", "ALL.chr21.400.vcf.gz", "21", 1, 401, 400)
    call(folder, "individuals_merge", "21", "chr21n-1-401.tar.gz")
    call(folder, "sifting", "ALL.chr21.synthetic.annotation.vcf.gz", "21")
    call(folder, "mutation_overlap", "-c", "21", "-pop", "AFR", "--plots", "no")


def test_a_folder_of_other_people_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "columns.txt").write_text("#CHROM\n")
    with pytest.raises(SystemExit, match="is of other people"):
        make_inputs.write_people(tmp_path, ["A"], {})
