#!/usr/bin/env python3
"""Intermediate scattering functions F(Q,t) of a trajectory: reads sassena's XML, writes sassena's HDF5 datasets.

Usage: sassena.py --config CONFIGURATION.xml

Stands in for sassena (Lindner & Smith, Comput. Phys. Commun. 183, 1491 (2012)) where a site has none. It knows type
`self` (incoherent) and `all` (coherent), dsp `autocorrelate` by `fftw`, vectors by `scans`, orientations from a `file`
or a `sphere`. With orientations from a file both programs sum over the very same vectors; on a sphere ours are another
sample of the same uniform distribution. Datasets: qvectors[nq,3] [1/Å]; fqt[nq,nt,2] and fq0, fq, fq2 [nq,2], real and
imaginary part [fm²], fq2 [fm⁴].
"""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Sums in the order of more threads are other bytes.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import h5py
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

DAMAGE = (ValueError, LookupError, ElementTree.ParseError, re.error)
"""What reading raises for a file that is not what it should be."""


class ConfigurationError(Exception):
    """The configuration asks for something this program cannot do, or a file is not what it should be."""


@contextmanager
def reading(path: str, remedy: str) -> Iterator[None]:
    """Say whatever is wrong with a file in one sentence that begins with its name and ends with what to do."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}; {remedy}") from None
    except DAMAGE as error:
        raise ConfigurationError(f"{path}: {error}; {remedy}") from None


@dataclass(frozen=True)
class Scan:
    """Momentum transfers along a line: `points` of them from `start` to `stop` [1/Å] times `base`."""

    start: float
    stop: float
    points: int
    base: tuple[float, float, float]

    def vectors(self) -> Real:
        """The vectors [nq, 3]."""
        sizes = np.linspace(self.start, self.stop, self.points)
        return np.asarray(sizes[:, None] * np.array(self.base), dtype=np.float64)


@dataclass(frozen=True)
class Configuration:
    """What an XML file asks for."""

    structure: str
    trajectory: str
    database: str
    coherent: bool
    vectors: Real
    orientations: Real
    output: str
    signals: tuple[str, ...]


# --- the configuration -----------------------------------------------------------------------------------------------


def read_configuration(text: str) -> Configuration:
    """A configuration out of the text of an XML file."""
    root = ElementTree.fromstring(text)

    def get(path: str, *allowed: str) -> str:
        value = (root.findtext(path) or "").strip()
        if not value:
            raise ConfigurationError(f"<{path}> is missing; add it")
        if allowed and value not in allowed:
            raise ConfigurationError(f"<{path}> is {value!r}; this program knows {' and '.join(allowed)}; use sassena")
        return value

    get("sample/structure/format", "pdb")
    get("sample/framesets/frameset/format", "dcd")
    get("scattering/dsp/type", "autocorrelate")
    get("scattering/dsp/method", "fftw", "direct")
    get("scattering/vectors/type", "scans")
    get("scattering/average/orientation/type", "vectors")
    get("database/type", "file")
    if root.find("scattering/background") is not None:
        raise ConfigurationError("<scattering/background>: this program has no solvent background; use sassena")
    return Configuration(
        structure=get("sample/structure/file"),
        trajectory=get("sample/framesets/frameset/file"),
        database=get("database/file"),
        coherent=get("scattering/type", "self", "all") == "all",
        vectors=np.concatenate([read_scan(scan).vectors() for scan in root.findall("scattering/vectors/scans/scan")]),
        orientations=read_orientations(root.find("scattering/average/orientation/vectors")),
        output=get("scattering/signal/file"),
        signals=tuple(
            name for name in ("fqt", "fq0", "fq", "fq2") if root.findtext(f"scattering/signal/{name}", "true") == "true"
        ),
    )


def read_scan(scan: ElementTree.Element) -> Scan:
    """One scan; sassena's own defaults where something is left out."""
    if float(scan.findtext("exponent", "1")) != 1:
        raise ConfigurationError("<scan><exponent>: this program scans evenly; use sassena")
    x, y, z = (float(scan.findtext(f"base/{axis}", default)) for axis, default in (("x", "1"), ("y", "0"), ("z", "0")))
    points = int(scan.findtext("points", "100"))
    return Scan(float(scan.findtext("from", "0")), float(scan.findtext("to", "1")), points, (x, y, z))


def read_orientations(vectors: ElementTree.Element | None) -> Real:
    """Unit vectors to average over [n, 3]."""
    if vectors is None:
        raise ConfigurationError("<scattering/average/orientation/vectors> is missing; add it")
    kind = vectors.findtext("type", "sphere")
    if kind == "file":
        drawn = np.loadtxt(vectors.findtext("file", "qvector-orientations.txt"), ndmin=2)
    elif kind == "sphere":
        generator = np.random.default_rng(int(vectors.findtext("seed", "0")))
        drawn = generator.normal(size=(int(vectors.findtext("resolution", "100")), 3))
    else:
        raise ConfigurationError(
            f"<orientation/vectors/type> is {kind!r}; this program knows file and sphere; use sassena"
        )
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float64)


# --- the sample ------------------------------------------------------------------------------------------------------


def scattering_lengths(database: str, names: list[str]) -> Real:
    """Scattering length of each atom [fm], its element found by the patterns of the database."""
    root = ElementTree.fromstring(database)
    patterns = {_text(e, "name"): re.compile(_text(e, "param")) for e in root.iterfind(".//names/pdb/element")}
    lengths = {_text(e, "name"): float(_text(e, "param")) for e in root.iterfind(".//scatterfactors/element")}
    known: dict[str, float] = {}
    for name in dict.fromkeys(names):
        matches = [element for element, pattern in patterns.items() if pattern.fullmatch(name)]
        if len(matches) != 1:
            raise ConfigurationError(
                f"atom name {name!r} matches {matches or 'no element'} and not one; add a pattern or mend the name"
            )
        if matches[0] not in lengths:
            raise ConfigurationError(f"{matches[0]}, the element of {name!r}, has no scattering length; add it")
        known[name] = lengths[matches[0]]
    return np.array([known[name] for name in names])


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def atom_names(pdb: str) -> list[str]:
    """Atom names by column."""
    return [line[12:16].rstrip() for line in pdb.splitlines() if line.startswith(("ATOM", "HETATM"))]


def records(raw: bytes) -> Iterator[bytes]:
    """The Fortran records of a file."""
    place = 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        if raw[place + 4 + length : place + 8 + length] != raw[place : place + 4]:
            raise ConfigurationError(f"it ends in the middle of a record at byte {place}; make it again")
        yield raw[place + 4 : place + 4 + length]
        place += length + 8


def read_dcd(path: str) -> Real:
    """Positions [frames, atoms, 3] [Å] of a CHARMM DCD."""
    with reading(path, "make it again"):
        found = list(records(Path(path).read_bytes()))
        if len(found) < 3 or found[0][:4] != b"CORD":
            raise ConfigurationError("it is no DCD trajectory; give one")
        per_frame = 3 + bool(int.from_bytes(found[0][44:48], "little"))
        announced = int.from_bytes(found[0][4:8], "little")
        if not found[3:] or len(found[3:]) % per_frame or announced > len(found[3:]) // per_frame:
            raise ConfigurationError(f"it ends before the last of its {announced} frames; make it again")
        bodies = [found[i + per_frame - 3 : i + per_frame] for i in range(3, len(found), per_frame)]
        axes = [[np.frombuffer(axis, dtype="<f4") for axis in body] for body in bodies]
        return np.array(axes, dtype=np.float64).transpose(0, 2, 1)


# --- scattering ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signal:
    """Means over orientations: the correlation at each vector, and the squared means over time behind fq2."""

    fqt: Complex
    """[nq, nt] [fm²]"""
    fq2: Real
    """[nq] [fm⁴]"""


def correlate(series: NDArray[np.complex64]) -> tuple[Complex, float]:
    """Sum over series of <a*(t0) a(t0 + t)>, and sum of the squared magnitudes of their means over t.

    `series` is [count, frames]. By zero-padded FFT (Wiener-Khinchin), each lag over the frames - lag pairs it has.
    """
    frames = series.shape[1]
    power = np.abs(np.fft.fft(series, 2 * frames)) ** 2
    pairs = frames - np.arange(frames)
    summed = np.fft.ifft(power.sum(0, dtype=np.float64))[:frames] / pairs
    mean_over_lags = np.fft.fft(1 / (pairs * frames), 2 * frames) / (2 * frames)  # conjugate: only its size counts
    return summed, float((np.abs(power @ mean_over_lags) ** 2).sum())


def scatter(positions: Real, lengths: Real, vectors: Real, orientations: Real, coherent: bool) -> Signal:
    """F(Q,t) of a trajectory [fm²]; `positions` is [frames, atoms, 3] [Å].

    Self (incoherent): sum over atoms j of b_j² <exp(-iQ.r_j(0)) exp(iQ.r_j(t))>. All (coherent): the same of the one
    series A(t) = sum over j of b_j exp(iQ.r_j(t)). Atoms with less than a ten-thousandth of the largest b² (carbon and
    oxygen beside hydrogen) are left out of the self part.
    """
    if not coherent:
        counted = lengths**2 > 1e-4 * (lengths**2).max()
        positions, lengths = positions[:, counted], lengths[counted]
    sizes = np.linalg.norm(vectors, axis=1)
    fqt, fq2 = np.zeros((len(sizes), len(positions)), dtype=np.complex128), np.zeros(len(sizes))
    for direction in orientations:
        along = np.ascontiguousarray((positions @ direction).T)
        for row, size in enumerate(sizes):
            phases = np.exp(np.complex64(1j) * (size * along).astype(np.float32))
            waves = (lengths @ phases)[None] if coherent else lengths.astype(np.float32)[:, None] * phases
            correlation, squares = correlate(waves)
            fqt[row] += correlation
            fq2[row] += squares
    return Signal(fqt / len(orientations), fq2 / len(orientations))


def write(path: str, vectors: Real, signal: Signal, wanted: tuple[str, ...]) -> None:
    """The HDF5 file, under a temporary name until it is whole."""
    values = {"fqt": signal.fqt, "fq0": signal.fqt[:, 0], "fq": signal.fqt.mean(1), "fq2": signal.fq2}
    with h5py.File(f"{path}.part", "w") as out:
        out["qvectors"] = vectors
        for name in wanted:
            out[name] = np.stack([values[name].real, values[name].imag], axis=-1)
    os.replace(f"{path}.part", path)


def run(wanted: Configuration) -> None:
    """Do what the configuration says."""
    with reading(wanted.structure, "give a PDB"):
        names = atom_names(Path(wanted.structure).read_text())
    with reading(wanted.database, "give a database of sassena's"):
        lengths = scattering_lengths(Path(wanted.database).read_text(), names)
    positions = read_dcd(wanted.trajectory)
    if positions.shape[1] != len(names):
        raise ConfigurationError(
            f"{wanted.trajectory}: it has {positions.shape[1]} atoms, {wanted.structure} has {len(names)}; "
            "give two that belong together"
        )
    print(
        f"{'coherent' if wanted.coherent else 'incoherent'}: {len(positions)} frames, {len(names)} atoms, "
        f"{len(wanted.vectors)} vectors, {len(wanted.orientations)} orientations",
        flush=True,
    )
    signal = scatter(positions, lengths, wanted.vectors, wanted.orientations, wanted.coherent)
    write(wanted.output, wanted.vectors, signal, wanted.signals)


def main(arguments: list[str]) -> int:
    """Run the configuration named on the command line; the exit status."""
    if len(arguments) != 2 or arguments[0] != "--config":
        print("usage: sassena.py --config CONFIGURATION.xml", file=sys.stderr)
        return 2
    try:
        with reading(arguments[1], "give a configuration of sassena's"):
            wanted = read_configuration(Path(arguments[1]).read_text())
        run(wanted)
    except (ConfigurationError, OSError) as error:
        print(f"sassena.py: {error}", file=sys.stderr)
        return 1
    print("Successfully finished... Have a nice day!")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
