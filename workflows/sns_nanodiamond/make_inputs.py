#!/usr/bin/env python3
"""Make every input of this workflow that is not written by hand: topology, force field, start and reference spectrum.

    python make_inputs.py topology      # nanodiamond.psf, parameters, cell, orientations, scattering lengths
    python make_inputs.py start         # nanodiamond.pdb: a lattice of water around the diamond, then 50 ps at 290 K
    python make_inputs.py reference     # reference.json: the spectrum at the truth, from a longer run with another seed

`topology` gives the same bytes everywhere. The other two run molecular dynamics, which is chaotic: on another CPU they
give another sample of the same liquid. That is why their results are shipped.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import math
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import yaml
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent

LATTICE = 3.567
"""Lattice constant of diamond [Å]."""
RADIUS = 4.3
"""Carbon atoms are cut out of the lattice within this distance of the centre [Å]: gives C44H42."""
CELL = 17.2
"""Edge of the cubic cell [Å]."""
WATERS = 148
"""0.0334 waters/Å³ (0.997 g/cm³) in the cell less the 653 Å³ of the diamond (5.67 Å³ a carbon, 9.6 Å³ a surface CH)."""
CH, OH, HOH = 1.09, 0.9572, 104.52
"""Bond lengths [Å] and the TIP3P angle [degrees]."""
MASS = {"C": 12.011, "H": 1.008, "O": 15.9994}
"""Atomic masses [u]."""

TRUTH = {"q_h": 0.42, "temperature": 290.0}
"""What the synthetic reference was made with; a study has to find q_h again."""
REFERENCE_SEED = 77
REFERENCE_STEPS = 50_000
START_SEED = 1
START_STEPS = 25_000

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Atom:
    """One atom of the sample; `charge` [e] is None where it follows from the parameter q_h."""

    name: str
    residue: str
    residue_id: int
    segment: str
    type: str
    element: str
    charge: float | None


@dataclass(frozen=True)
class Sample:
    """Atoms with their positions [Å], bonds and angles (0-based)."""

    atoms: list[Atom]
    positions: Points
    bonds: list[tuple[int, int]]
    angles: list[tuple[int, int, int]]


# --- the diamond -----------------------------------------------------------------------------------------------------


def lattice(radius: float) -> Points:
    """Carbon sites of diamond well beyond `radius`, the middle of a bond near the origin [Å]."""
    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    basis = np.concatenate([face, face + 0.25]) - 0.125
    n = int(radius / LATTICE) + 2
    cells = np.array(list(itertools.product(range(-n, n + 1), repeat=3)))
    return (cells[:, None] + basis[None]).reshape(-1, 3) * LATTICE


def neighbours(a: Points, b: Points) -> NDArray[np.bool_]:
    """Which sites of `b` are bonded to which of `a` (nearest neighbours of diamond are 1.545 Å apart)."""
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return np.asarray((distance > 0.1) & (distance < 1.6))


def carbons(radius: float) -> Points:
    """Sites within `radius`, without those that would hang on by a single bond."""
    sites = lattice(radius)
    kept: Points = sites[np.linalg.norm(sites, axis=1) < radius]
    while (dangling := neighbours(kept, kept).sum(1) < 2).any():
        kept = kept[~dangling]
    return kept


def diamond(radius: float = RADIUS) -> Sample:
    """A sphere of diamond whose broken bonds end in hydrogen."""
    carbon = carbons(radius)
    bonds = [(int(i), int(j)) for i, j in np.argwhere(neighbours(carbon, carbon)) if i < j]
    sites = lattice(radius)
    hydrogen: list[Points] = []
    hydrogens_on = [0] * len(carbon)
    for i, j in np.argwhere(neighbours(carbon, sites)):
        if np.linalg.norm(carbon - sites[j], axis=1).min() < 0.1:
            continue
        bonds.append((int(i), len(carbon) + len(hydrogen)))
        step = sites[j] - carbon[i]
        hydrogen.append(carbon[i] + step * (CH / np.linalg.norm(step)))
        hydrogens_on[i] += 1
    atoms = [Atom(f"C{i + 1}", "DIA", 1, "DIAM", "CD", "C", 0.0 - 0.09 * n) for i, n in enumerate(hydrogens_on)]
    atoms += [Atom(f"H{i + 1}", "DIA", 1, "DIAM", "HD", "H", 0.09) for i in range(len(hydrogen))]
    return Sample(atoms, np.concatenate([carbon, np.array(hydrogen)]), bonds, angles_of(bonds))


def angles_of(bonds: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Every angle i-j-k that two bonds make at j, each once, in a fixed order."""
    around: dict[int, list[int]] = {}
    for i, j in bonds:
        around.setdefault(i, []).append(j)
        around.setdefault(j, []).append(i)
    return [(i, j, k) for j in sorted(around) for i, k in itertools.combinations(sorted(around[j]), 2)]


# --- the water -------------------------------------------------------------------------------------------------------


def water_sites(solute: Points, count: int) -> Points:
    """Sites of a cubic grid that lie furthest from the solute (minimum image) [Å]."""
    side = math.ceil((count + len(solute) / 2) ** (1 / 3))
    grid = (np.array(list(itertools.product(range(side), repeat=3))) + 0.5) * (CELL / side)
    offset = grid[:, None] - solute[None]
    clearance = np.linalg.norm(offset - CELL * np.round(offset / CELL), axis=-1).min(1)
    chosen = np.sort(np.argsort(-clearance, kind="stable")[:count])
    return np.asarray(grid[chosen], dtype=np.float64)


def water(site: Points, rng: np.random.Generator) -> Points:
    """Oxygen and two hydrogens of a TIP3P water at `site`, turned at random [Å]."""
    half = math.radians(HOH / 2)
    local = OH * np.array([[0, 0, 0], [math.cos(half), math.sin(half), 0], [math.cos(half), -math.sin(half), 0]])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(site + local @ turn.T, dtype=np.float64)


def hydrated(waters: int = WATERS) -> Sample:
    """The diamond in the middle of the cell with `waters` TIP3P around it, before any dynamics."""
    dry = diamond()
    solute = dry.positions + CELL / 2
    rng = np.random.default_rng(START_SEED)
    atoms, bonds, angles = list(dry.atoms), list(dry.bonds), list(dry.angles)
    for number in range(1, waters + 1):
        first = len(atoms)
        atoms += [
            Atom(name, "TIP3", number, "WAT", kind, element, None)
            for name, kind, element in (("OH2", "OT", "O"), ("H1", "HT", "H"), ("H2", "HT", "H"))
        ]
        bonds += [(first, first + 1), (first, first + 2)]
        angles.append((first + 1, first, first + 2))
    wet = [water(site, rng) for site in water_sites(solute, waters)]
    return Sample(atoms, np.concatenate([solute, *wet]), bonds, angles)


# --- files -----------------------------------------------------------------------------------------------------------


def psf(sample: Sample) -> str:
    """X-PLOR PSF as a jinja2 template: the charges of water follow from q_h."""
    out = [
        '{% set hydrogen = "%10.6f"|format(q_h) %}',
        '{% set oxygen = "%10.6f"|format(-2 * q_h) %}',
        "PSF",
        "",
        "       2 !NTITLE",
        " REMARKS hydrated nanodiamond, written by make_inputs.py topology",
        " REMARKS charge of a water hydrogen: {{ hydrogen }} e",
        "",
        f"{len(sample.atoms):8d} !NATOM",
    ]
    for number, atom in enumerate(sample.atoms, 1):
        charge = f"{atom.charge:10.6f}" if atom.charge is not None else _water_charge(atom)
        out.append(
            f"{number:8d} {atom.segment:<4s} {atom.residue_id:<4d} {atom.residue:<4s} {atom.name:<4s} {atom.type:<4s} "
            f"{charge} {MASS[atom.element]:13.4f} {0:11d}"
        )
    out += _index_block(sample.bonds, "!NBOND: bonds", 4) + _index_block(sample.angles, "!NTHETA: angles", 3)
    for title in ("!NPHI: dihedrals", "!NIMPHI: impropers", "!NDON: donors", "!NACC: acceptors", "!NNB"):
        out += ["", f"{0:8d} {title}", ""]
    return "\n".join([*out, ""])


def _water_charge(atom: Atom) -> str:
    return "{{ oxygen }}" if atom.element == "O" else "{{ hydrogen }}"


def _index_block(groups: Sequence[tuple[int, ...]], title: str, per_line: int) -> list[str]:
    words = ["".join(f"{i + 1:8d}" for i in group) for group in groups]
    lines = ["".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return ["", f"{len(groups):8d} {title}", *lines]


def pdb(sample: Sample) -> str:
    """PDB whose columns NAMD, cpptraj and sassena read."""
    rows = [
        f"ATOM  {number:5d} {atom.name:>4s} {atom.residue:<4s}{'X':1s}{atom.residue_id:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{0:6.2f}      {atom.segment:<4s}{atom.element:>2s}"
        for number, (atom, (x, y, z)) in enumerate(zip(sample.atoms, sample.positions, strict=True), 1)
    ]
    header = f"CRYST1{CELL:9.3f}{CELL:9.3f}{CELL:9.3f}{90:7.2f}{90:7.2f}{90:7.2f} P 1           1"
    return "\n".join([header, *rows, "END", ""])


PARAMETERS = """\
* Force field of the hydrated nanodiamond: CHARMM functional form, five atom types.
* CD HD: alkane values for a harmonic diamond, no dihedral terms (the cage is held by its angles).
* OT HT: TIP3P as CHARMM has it (Jorgensen et al. 1983, doi:10.1063/1.445869; with van der Waals on hydrogen).
*

ATOMS
MASS     1 CD    12.01100
MASS     2 HD     1.00800
MASS     3 OT    15.99940
MASS     4 HT     1.00800

BONDS
! V = Kb (b - b0)**2                Kb [kcal/mol/A**2], b0 [A]
CD   CD    222.500     1.5450
CD   HD    309.000     1.0900
OT   HT    450.000     0.9572

ANGLES
! V = Ktheta (theta - theta0)**2    Ktheta [kcal/mol/rad**2], theta0 [degrees]
CD   CD   CD     58.350    109.4700
CD   CD   HD     33.400    109.4700
HD   CD   HD     35.500    109.4700
HT   OT   HT     55.000    104.5200

DIHEDRALS

IMPROPER

NONBONDED nbxmod  5 atom cdiel shift vatom vdistance vswitch -
cutnb 14.0 ctofnb 12.0 ctonnb 10.0 eps 1.0 e14fac 1.0 wmin 1.5
! V = eps [(Rmin/r)**12 - 2 (Rmin/r)**6]    eps [kcal/mol], Rmin/2 [A]
CD     0.000000  -0.078000     2.000000
HD     0.000000  -0.024000     1.340000
OT     0.000000  -0.152100     1.768200
HT     0.000000  -0.046000     0.224500

END
"""

CELL_FILE = f"""\
# NAMD extended system configuration output file
#$LABELS step a_x a_y a_z b_x b_y b_z c_x c_y c_z o_x o_y o_z
0 {CELL} 0 0 0 {CELL} 0 0 0 {CELL} 0 0 0
"""

COHERENT = {"hydrogen": -3.7390, "carbon": 6.6460, "oxygen": 5.803}
"""Bound coherent scattering lengths [fm], natural elements: Sears, Neutron News 3(3), 26 (1992), as on NIST's site."""
INCOHERENT_CROSS_SECTION = {"hydrogen": 80.26, "carbon": 0.001, "oxygen": 0.0008}
"""Bound incoherent cross sections [barn], the same source."""
HARD_SPHERE = {"hydrogen": 1.20, "carbon": 1.70, "oxygen": 1.52}
"""Bondi's radii [Å]. Sassena wants them; with no solvent background they change nothing."""
SASSENA_NAMES = {"hydrogen": "^ *H.*", "carbon": "^ *C.*", "oxygen": "^ *O.*"}


def incoherent() -> dict[str, float]:
    """Incoherent scattering lengths b = sqrt(sigma/4 pi) [fm]; 1 barn is 100 fm²."""
    return {element: math.sqrt(100 * sigma / (4 * math.pi)) for element, sigma in INCOHERENT_CROSS_SECTION.items()}


def scattering_database(lengths: Mapping[str, float]) -> str:
    """A database as sassena reads it: names, masses, volumes and scattering lengths [fm] of three elements."""
    masses = {"hydrogen": MASS["H"], "carbon": MASS["C"], "oxygen": MASS["O"]}
    sections = {
        "masses": "".join(_element(e, f"<param>{m}</param>") for e, m in masses.items()),
        "sizes": "".join(_element(e, f"<type>1</type><param>{r}</param>") for e, r in HARD_SPHERE.items()),
        "exclusionfactors": "".join(_element(e, "<type>1</type><param>1</param>") for e in masses),
        "scatterfactors": "".join(_element(e, f"<type>0</type><param>{b:.4f}</param>") for e, b in lengths.items()),
    }
    names = "".join(_element(e, f"<param>{pattern}</param>") for e, pattern in SASSENA_NAMES.items())
    body = f"  <names>\n   <pdb>\n{names}   </pdb>\n  </names>\n"
    body += "".join(f"  <{name}>\n{elements}  </{name}>\n" for name, elements in sections.items())
    source = "<!-- bound scattering lengths [fm] after V. F. Sears, Neutron News 3(3), 26 (1992) -->"
    return f'<?xml version="1.0"?>\n{source}\n<root>\n{body}</root>\n'


def _element(name: str, content: str) -> str:
    return f"    <element><name>{name}</name>{content}</element>\n"


def tarball(files: Mapping[str, str]) -> bytes:
    """A gzipped tar whose bytes depend on names and contents only."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def orientations(count: int = 16) -> str:
    """Directions spread evenly over a half sphere (Fibonacci spiral); F(Q,t) and F(-Q,t) have the same real part."""
    z = (np.arange(count) + 0.5) / count
    turn = math.pi * (1 + math.sqrt(5)) * np.arange(count)
    rho = np.sqrt(1 - z * z)
    rows = np.stack([rho * np.cos(turn), rho * np.sin(turn), z], axis=1)
    return "".join(f"{x:10.6f} {y:10.6f} {w:10.6f}\n" for x, y, w in rows)


def topology() -> dict[str, bytes]:
    """Path below this folder and contents of every generated file that needs no dynamics."""
    databases = {
        "database/db-neutron-incoherent.xml": scattering_database(incoherent()),
        "database/db-neutron-coherent.xml": scattering_database(COHERENT),
    }
    return {
        "templates/nanodiamond.psf.j2": psf(hydrated()).encode(),
        "data/par_nanodiamond.inp": PARAMETERS.encode(),
        "data/init.xsc": CELL_FILE.encode(),
        "data/orientations.txt": orientations().encode(),
        "data/sassena_db.tar.gz": tarball(databases),
    }


# --- runs ------------------------------------------------------------------------------------------------------------


def defaults() -> dict[str, object]:
    """Parameters and options at the values workflow.yml gives them."""
    described = yaml.safe_load((HERE / "workflow.yml").read_text())
    both = {**described["parameters"], **described["options"]}
    return {name: entry["default"] for name, entry in both.items()}


def render(into: Path, values: Mapping[str, object]) -> None:
    """Put what a bundle's inputs would be into the directory `into`."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    for template in (HERE / "templates").iterdir():
        text = environment.from_string(template.read_text()).render(values)
        (into / template.name.removesuffix(".j2")).write_text(text)
    for file in (HERE / "data").iterdir():
        shutil.copy(file, into)


def program(directory: Path, script: str, *arguments: str, stdin: str | None = None) -> None:
    """Run one of this folder's own programs in `directory`."""
    command = [sys.executable, str(HERE / "bin" / script), *arguments]
    source = (directory / stdin).open() if stdin else None
    subprocess.run(command, cwd=directory, stdin=source, check=True)


def make_start() -> None:
    """Relax the lattice start at the truth and keep the last frame, molecules whole, as nanodiamond.pdb."""
    sample = hydrated()
    values = {**defaults(), **TRUTH, "seed": START_SEED, "eq_steps": START_STEPS}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        render(directory, values)
        (directory / "nanodiamond.pdb").write_text(pdb(sample))
        conf = directory / "equilibrate.conf"
        conf.write_text(conf.read_text().replace("\nrun ", "\nminimize 500\nrun "))
        program(directory, "openmm_md.py", conf.name)
        raw = (directory / "equilibrate.coor").read_bytes()
    positions = np.frombuffer(raw, dtype="<f8", offset=4).reshape(-1, 3)
    (HERE / "data" / "nanodiamond.pdb").write_text(pdb(Sample(sample.atoms, wrapped(sample, positions), [], [])))


def wrapped(sample: Sample, positions: Points) -> Points:
    """Positions with every molecule whole and its first atom inside the cell [Å]."""
    molecule = [(atom.segment, atom.residue_id) for atom in sample.atoms]
    first = {key: positions[index] for index, key in reversed(list(enumerate(molecule)))}
    origin = np.array([first[key] for key in molecule])
    return np.asarray(positions - CELL * np.floor(origin / CELL), dtype=np.float64)


def make_reference() -> None:
    """Run the workflow's programs at the truth, longer and with another seed, and keep S(Q,E) as the measurement."""
    values = {**defaults(), **TRUTH, "seed": REFERENCE_SEED, "prod_steps": REFERENCE_STEPS}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        render(directory, values)
        subprocess.run(["tar", "-xzf", "sassena_db.tar.gz"], cwd=directory, check=True)
        program(directory, "openmm_md.py", "equilibrate.conf")
        program(directory, "openmm_md.py", "production.conf")
        program(directory, "ptraj.py", "nanodiamond.psf", stdin="ptraj.conf")
        program(directory, "sassena.py", "--config", "sassenaInc.xml")
        program(directory, "sassena.py", "--config", "sassenaCoh.xml")
        program(directory, "compare.py", "compare.json", "--make-reference", "spectrum.json")
        found = json.loads((directory / "spectrum.json").read_text())
    label(found)


def label(spectrum: Mapping[str, object]) -> None:
    """Write reference.json: first what it is and how it came about, then the spectrum."""
    origin = {
        "about": "SYNTHETIC spectrum: computed by this workflow itself at a known truth, not measured",
        "truth": TRUTH,
        "made_by": "python make_inputs.py reference",
        "seed": REFERENCE_SEED,
        "steps": REFERENCE_STEPS,
        "licence": "Apache-2.0, as this repository",
    }
    (HERE / "data" / "reference.json").write_text(json.dumps({**origin, **spectrum}, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["topology", "start", "reference"])
    what = parser.parse_args().what
    if what == "start":
        make_start()
    elif what == "reference":
        make_reference()
    else:
        for path, content in topology().items():
            (HERE / path).write_bytes(content)


if __name__ == "__main__":
    main()
