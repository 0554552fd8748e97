#!/usr/bin/env python3
"""Run a NAMD configuration with OpenMM: same PSF, PDB and CHARMM parameters in, same DCD and restart files out.

Usage: openmm_md.py CONFIGURATION

Stands in for namd2/namd3 on machines that have neither. A key this program does not honour stops it: a run that
quietly ignores half of its configuration is worse than none. Same configuration, same bytes out, whatever the number of
processors (DeterministicForces, one thread).
Keys and files: NAMD 2.14 user's guide, chapters 3 and 5-8.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

# PME asks nothing else how many threads to take, and sums in another order on more of them.
os.environ["OPENMM_CPU_THREADS"] = "1"

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app, unit
from openmm.app.internal.charmm.exceptions import CharmmError

NAMD_VELOCITY = 20.45482706
"""Å/ps in NAMD's unit of velocity: sqrt(kcal/mol/u)."""

REQUIRED: dict[str, str | float] = {
    "paratypecharmm": "on",
    "exclude": "scaled1-4",
    "1-4scaling": 1.0,
    "pme": "on",
    "rigidbonds": "all",
    "langevin": "on",
}
"""Keys that must be there with this value: the only physics this program has."""
FIXED: dict[str, str | float] = {
    "langevinhydrogen": "on",
    "wrapall": "off",
    "wrapwater": "off",
    "wrapnearest": "off",
    "binaryoutput": "yes",
    "binaryrestart": "yes",
    "dcdunitcell": "yes",
    "nonbondedfreq": 1.0,
    "fullelectfrequency": 1.0,
    "firsttimestep": 0.0,
    "usesettle": "on",
    "commotion": "no",
}
"""Keys that may be there, with this value only."""
SETTLED = {**REQUIRED, **FIXED}
FILES = {"structure", "coordinates", "parameters", "bincoordinates", "binvelocities", "extendedsystem"}
OUTPUT = {"outputname", "restartname", "restartfreq", "dcdfile", "dcdfreq", "outputenergies"}
PHYSICS = {"cutoff", "switching", "switchdist", "pmegridspacing", "pmetolerance", "langevintemp", "langevindamping"}
STEPS = {"temperature", "timestep", "seed", "minimize", "run"}
BOOKKEEPING = {"pairlistdist", "stepspercycle", "pairlistspercycle", "outputtiming", "outputpressure"}
ACCURACY = {"rigidtolerance", "pmeinterporder"}
KNOWN = FILES | OUTPUT | PHYSICS | STEPS | BOOKKEEPING | ACCURACY
"""All other keys; those of NAMD's own bookkeeping and accuracy are without effect."""
YES = {"on", "yes", "true"}

Vectors = NDArray[np.float64]


DAMAGE = (ValueError, TypeError, LookupError, RuntimeError, AttributeError, CharmmError)
"""What the readers, OpenMM's too, raise for a file that is not what it should be."""


class ConfigurationError(Exception):
    """The configuration asks for something this program cannot do as asked, or a file is not what it should be."""


@contextmanager
def reading(path: Path | str, remedy: str) -> Iterator[None]:
    """Say whatever is wrong with a file in one sentence that begins with its name and ends with what to do."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}; {remedy}") from None
    except DAMAGE as error:
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}; {remedy}") from None


# --- the configuration -----------------------------------------------------------------------------------------------


def read_configuration(text: str) -> dict[str, str]:
    """Keys in lower case and their values; `;#` and `#` begin comments, as in NAMD."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"[;\s]*#", line, maxsplit=1)[0].replace("=", " ").split(maxsplit=1)
        if not words:
            continue
        if len(words) == 1:
            raise ConfigurationError(f"line {number}: {words[0]!r} has no value; give it one or take it out")
        key = words[0].lower()
        if key in values:
            raise ConfigurationError(f"line {number}: {words[0]!r} is given a second time; this program takes one")
        check(number, key, words[1].strip())
        values[key] = words[1].strip()
    for key, wanted in REQUIRED.items():
        if key not in values:
            raise ConfigurationError(f"{key} {wanted} is missing; add it, this program can do nothing else")
    return values


def check(line: int, key: str, value: str) -> None:
    """Refuse what would be ignored."""
    wanted = SETTLED.get(key)
    if wanted is not None:
        if not _same(value, wanted):
            raise ConfigurationError(f"line {line}: {key} {value}: this program can do {key} {wanted} only; use NAMD")
    elif key not in KNOWN:
        raise ConfigurationError(f"line {line}: {key!r} is a key this program does not know; take it out or use NAMD")


def _same(value: str, wanted: str | float) -> bool:
    if isinstance(wanted, float | int):
        return _number("its value", value) == wanted
    return value.lower() == wanted or (wanted in YES and value.lower() in YES)


def _number(key: str, value: str, least: float = -math.inf) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ConfigurationError(f"{key}: {value!r} is not a number; write one") from None
    if not (math.isfinite(number) and number >= least):
        raise ConfigurationError(f"{key}: {value} is no finite number of at least {least:g}; write one")
    return number


@dataclass(frozen=True)
class Settings:
    """What a configuration asks for, in NAMD's units."""

    structure: Path
    coordinates: Path
    parameters: Path
    cell: Path
    positions: Path | None
    """Restart coordinates, which take the place of those in the PDB."""
    velocities: Path | None
    temperature: float | None
    """Of the first velocities [K], where there is no restart."""
    output: str
    restart: str
    restart_every: int
    dcd: str
    dcd_every: int
    """0 writes no trajectory."""
    report_every: int
    cutoff: float
    """[Å]"""
    switch: float | None
    """Where the van der Waals switching begins [Å]."""
    grid_spacing: float
    """[Å]"""
    tolerance: float
    timestep: float
    """[fs]"""
    bath: float
    """[K]"""
    damping: float
    """[1/ps]"""
    seed: int
    minimize: int
    run: int


def settings(values: Mapping[str, str]) -> Settings:
    """Settings out of the keys of a configuration."""

    def need(key: str) -> str:
        if key not in values:
            raise ConfigurationError(f"{key} is missing; add it")
        return values[key]

    def number(key: str, default: float | None = None, least: float = 0) -> float:
        return _number(key, need(key), least) if key in values or default is None else default

    def path(key: str) -> Path | None:
        return Path(values[key]) if key in values else None

    if ("binvelocities" in values) == ("temperature" in values):
        raise ConfigurationError("give either temperature or binVelocities")
    output = need("outputname")
    run = int(number("run", least=1))
    return Settings(
        structure=Path(need("structure")),
        coordinates=Path(need("coordinates")),
        parameters=Path(need("parameters")),
        cell=Path(need("extendedsystem")),
        positions=path("bincoordinates"),
        velocities=path("binvelocities"),
        temperature=number("temperature") if "temperature" in values else None,
        output=output,
        restart=values.get("restartname", f"{output}.restart"),
        restart_every=int(number("restartfreq", 0)),
        dcd=values.get("dcdfile", f"{output}.dcd"),
        dcd_every=int(number("dcdfreq", 0)),
        report_every=int(number("outputenergies", run, least=1)),
        cutoff=number("cutoff", least=1),
        switch=number("switchdist") if values.get("switching", "on").lower() in YES else None,
        grid_spacing=number("pmegridspacing", 1.0, least=0.1),
        tolerance=number("pmetolerance", 1e-6, least=1e-12),
        timestep=number("timestep", 1.0, least=1e-3),
        bath=number("langevintemp"),
        damping=number("langevindamping"),
        seed=int(number("seed", least=-math.inf)),
        minimize=int(number("minimize", 0)),
        run=run,
    )


# --- files -----------------------------------------------------------------------------------------------------------


def read_pdb(text: str) -> Vectors:
    """Positions by column [Å]; from residue 1000 on, words run into each other."""
    rows = [line for line in text.splitlines() if line.startswith(("ATOM", "HETATM"))]
    return np.array([[float(line[start : start + 8]) for start in (30, 38, 46)] for line in rows])


def read_binary(path: Path) -> Vectors:
    """NAMD's binary restart: a count and then doubles, little-endian."""
    raw = path.read_bytes()
    count = int.from_bytes(raw[:4], "little")
    if len(raw) != 4 + 24 * count:
        raise ConfigurationError(f"{len(raw)} bytes do not hold the {count} atoms it announces; make it again")
    return np.frombuffer(raw, dtype="<f8", offset=4).reshape(-1, 3).copy()


def binary(vectors: Vectors) -> bytes:
    """The bytes of NAMD's binary restart."""
    return len(vectors).to_bytes(4, "little") + vectors.astype("<f8").tobytes()


def read_cell(text: str) -> Vectors:
    """Cell vectors out of an extended system file, a row each [Å]."""
    last = [line for line in text.splitlines() if line.strip() and not line.startswith("#")][-1]
    cell = np.array([float(word) for word in last.split()[1:10]]).reshape(3, 3)
    if not np.allclose(cell, np.diag(np.diag(cell))):
        raise ConfigurationError("the cell is not rectangular; give a rectangular one or use NAMD")
    return cell


def check_atoms(psf: str) -> None:
    """Refuse an atom with a column too few or a mass of nothing, which OpenMM takes for one that never moves."""
    lines = iter(enumerate(psf.splitlines(), 1))
    count = next((int(line.split()[0]) for _, line in lines if "!NATOM" in line), 0)
    for (number, line), _ in zip(lines, range(count), strict=False):
        words = line.split()
        if len(words) != 9 or not (math.isfinite(float(words[6])) and 0 < float(words[7]) < math.inf):
            raise ConfigurationError(
                f"line {number}: an atom has nine columns, the seventh its charge and the eighth its mass; mend it"
            )


def cell_file(step: int, cell: Vectors) -> str:
    """An extended system file."""
    numbers = " ".join(f"{value:.10g}" for value in [*cell.ravel(), 0, 0, 0])
    labels = "#$LABELS step a_x a_y a_z b_x b_y b_z c_x c_y c_z o_x o_y o_z"
    return f"# NAMD extended system configuration restart file\n{labels}\n{step} {numbers}\n"


def write_whole(path: str, content: bytes) -> None:
    """Write under a temporary name, then rename: a reader never sees half a file."""
    partial = f"{path}.part"
    with open(partial, "wb") as out:
        out.write(content)
    os.replace(partial, path)


class Dcd:
    """A CHARMM DCD trajectory with unit cell, under a temporary name until it is closed in order."""

    def __init__(self, path: str, atoms: int, every: int, timestep: float, cell: Vectors) -> None:
        self.path, self.atoms, self.every, self.timestep = path, atoms, every, timestep
        a, b, c = np.diag(cell)
        self.cell = np.array([a, 90, b, 90, 90, c], dtype="<f8").tobytes()
        self.frames = 0
        self.out = open(f"{path}.part", "wb")  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> Dcd:
        self.out.write(self.header())
        return self

    def header(self) -> bytes:
        """Three records: control integers, titles, number of atoms."""
        control = np.zeros(20, dtype="<i4")
        control[:4] = self.frames, self.every, self.every, self.frames * self.every
        control[9] = np.array([self.timestep / 48.88821], dtype="<f4").view("<i4")[0]
        control[10], control[19] = 1, 24
        title = b"REMARKS written by openmm_md.py".ljust(80)
        count = self.atoms.to_bytes(4, "little")
        one = (1).to_bytes(4, "little")
        return record(b"CORD" + control.tobytes()) + record(one + title) + record(count)

    def write(self, positions: Vectors) -> None:
        """One frame [Å]."""
        axes = positions.T.astype("<f4")
        self.out.write(record(self.cell) + b"".join(record(axis.tobytes()) for axis in axes))
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.out.seek(0)
        self.out.write(self.header())
        self.out.close()
        if kind is None:
            os.replace(f"{self.path}.part", self.path)


def record(content: bytes) -> bytes:
    """A Fortran record: its length before and after."""
    length = len(content).to_bytes(4, "little")
    return length + content + length


# --- the simulation --------------------------------------------------------------------------------------------------


def ewald_coefficient(cutoff: float, tolerance: float) -> float:
    """Alpha [1/Å] at which erfc(alpha*cutoff)/cutoff falls to the tolerance, as NAMD chooses it."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle * cutoff) / cutoff > tolerance else (low, middle)
    return high


def build_system(wanted: Settings, cell: Vectors) -> openmm.System:
    """The System of the PSF and parameters: rigid water, rigid bonds to hydrogen, PME."""
    with reading(wanted.structure, "give a whole PSF"):
        check_atoms(wanted.structure.read_text())
        structure = app.CharmmPsfFile(str(wanted.structure))
    lengths = np.diag(cell)
    structure.setBox(*(length * unit.angstrom for length in lengths))
    with reading(wanted.parameters, f"give CHARMM parameters of every type in {wanted.structure}"):
        system = structure.createSystem(
            app.CharmmParameterSet(str(wanted.parameters)),
            nonbondedMethod=app.PME,
            nonbondedCutoff=wanted.cutoff * unit.angstrom,
            switchDistance=wanted.switch * unit.angstrom if wanted.switch else 0 * unit.angstrom,
            constraints=app.HBonds,
            flexibleConstraints=False,
            removeCMMotion=False,
        )
    alpha = ewald_coefficient(wanted.cutoff, wanted.tolerance) * 10
    grid = [math.ceil(length / wanted.grid_spacing) for length in lengths]
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setPMEParameters(alpha, *grid)
    return system


class Run:
    """A configuration under way."""

    def __init__(self, wanted: Settings) -> None:
        self.wanted = wanted
        with reading(wanted.cell, "give an extended system file of NAMD's"):
            self.cell = read_cell(wanted.cell.read_text())
        self.system = build_system(wanted, self.cell)
        integrator = openmm.LangevinMiddleIntegrator(wanted.bath, wanted.damping, wanted.timestep / 1000)
        integrator.setRandomNumberSeed(wanted.seed)
        integrator.setConstraintTolerance(1e-6)
        platform = openmm.Platform.getPlatformByName("CPU")
        properties = {"Threads": "1", "DeterministicForces": "true"}
        self.context = openmm.Context(self.system, integrator, platform, properties)
        self.place()

    def place(self) -> None:
        """First positions and velocities."""
        wanted = self.wanted
        place = wanted.positions or wanted.coordinates
        self.context.setPositions(self.read_vectors(place) / 10)
        if wanted.velocities is None:
            self.context.applyConstraints(1e-6)
        if wanted.minimize:
            openmm.LocalEnergyMinimizer.minimize(self.context, 10, wanted.minimize)
        if wanted.velocities is None:
            self.context.setVelocitiesToTemperature(wanted.temperature, wanted.seed)
        else:
            self.context.setVelocities(self.read_vectors(wanted.velocities) * (NAMD_VELOCITY / 10))

    def read_vectors(self, path: Path) -> Vectors:
        """One for each atom, out of a PDB or one of NAMD's binary files."""
        atoms = self.system.getNumParticles()
        with reading(path, "make it again"):
            found = read_pdb(path.read_text()) if path == self.wanted.coordinates else read_binary(path)
            if len(found) != atoms:
                raise ConfigurationError(
                    f"it has {len(found)} atoms, {self.wanted.structure} has {atoms}; give two that belong together"
                )
            if not np.isfinite(found).all():
                raise ConfigurationError("not all of its numbers are finite; make it again")
        return found

    def positions(self) -> Vectors:
        """Where the atoms are, never wrapped into the cell [Å]."""
        state = self.context.getState(getPositions=True)
        return np.asarray(state.getPositions(asNumpy=True)._value * 10)

    def write_restart(self, prefix: str, step: int) -> None:
        """Coordinates, velocities and cell, from which a run goes on."""
        state = self.context.getState(getVelocities=True)
        velocities = np.asarray(state.getVelocities(asNumpy=True)._value * 10) / NAMD_VELOCITY
        write_whole(f"{prefix}.coor", binary(self.positions()))
        write_whole(f"{prefix}.vel", binary(velocities))
        write_whole(f"{prefix}.xsc", cell_file(step, self.cell).encode())

    def report(self, step: int) -> None:
        """A line of progress."""
        state = self.context.getState(getEnergy=True)
        potential = state.getPotentialEnergy().value_in_unit(unit.kilocalorie_per_mole)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilocalorie_per_mole)
        freedom = 3 * self.system.getNumParticles() - self.system.getNumConstraints()
        temperature = 2 * kinetic / (freedom * 0.0019872041)
        print(f"ENERGY: {step} POTENTIAL {potential:.4f} KINETIC {kinetic:.4f} TEMP {temperature:.2f}", flush=True)

    def go(self) -> None:
        """Step to the end, writing what is due on the way."""
        wanted = self.wanted
        due: list[tuple[int, Callable[[int], Any]]] = [(wanted.report_every, self.report)]
        if wanted.restart_every:
            due.append((wanted.restart_every, lambda step: self.write_restart(wanted.restart, step)))
        if not wanted.dcd_every:
            self.advance(due)
            return
        with Dcd(wanted.dcd, self.system.getNumParticles(), wanted.dcd_every, wanted.timestep, self.cell) as dcd:
            due.append((wanted.dcd_every, lambda _: dcd.write(self.positions())))
            self.advance(due)

    def advance(self, due: list[tuple[int, Callable[[int], Any]]]) -> None:
        """Alternate between stepping and what is due every so many steps."""
        step = 0
        while step < self.wanted.run:
            ahead = min(min((step // every + 1) * every for every, _ in due), self.wanted.run)
            self.context.getIntegrator().step(ahead - step)
            step = ahead
            for every, act in due:
                if step % every == 0:
                    act(step)
        self.write_restart(self.wanted.output, step)


def main(arguments: list[str]) -> int:
    """Run the configuration named on the command line; the exit status."""
    if len(arguments) != 1:
        print("usage: openmm_md.py CONFIGURATION", file=sys.stderr)
        return 2
    try:
        with reading(arguments[0], "give a configuration of NAMD's"):
            wanted = settings(read_configuration(Path(arguments[0]).read_text()))
        run = Run(wanted)
        version = openmm.Platform.getOpenMMVersion()
        print(f"Info: OpenMM {version} in NAMD's place, {run.system.getNumParticles()} atoms", flush=True)
        run.report(0)
        run.go()
    except openmm.OpenMMException as error:
        words = " ".join(str(error).split())
        print(f"openmm_md.py: {arguments[0]}: {words}; look at its temperature, timestep and start", file=sys.stderr)
        return 1
    except (ConfigurationError, OSError) as error:
        print(f"openmm_md.py: {error}", file=sys.stderr)
        return 1
    print("End of program")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
