#!/usr/bin/env python3
"""Events of a direct-geometry spectrometer to energy transfer and momentum transfer.

Usage: reduce --config=REDUCE.yml EVENTS.nxs...

Writes `iqe.h5` (NXdata: I(Q,E), S(Q,E) and errors) and `spectrum.json` (I(E) with errors; elastic and inelastic
fraction, of all files together and of each). The files of a scan count as one measurement: their neutrons add up.

An event at time t in a pixel L2 away had, after the sample, the speed L2 / (t - t0 - L1 / v_i), with nominal incident
speed v_i and mean emission time t0. I is detected weight per incident neutron; S has the factor k_i/k_f and is divided
by the solid angle in which the detectors see a bin and by the bin's width [1/(sr meV)]: the sample's S(Q,E) up to a
factor, with all its absorption and multiple scattering.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import h5py
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

SPEED = 437.393362
"""Speed of a neutron of 1 meV [m/s] (CODATA 2018)."""
WAVE = 0.694691589
"""Wave number of a neutron of 1 meV [1/A] (CODATA 2018)."""
UNITS = {"event_time_offset": "us", "distance": "m", "polar_angle": "deg", "energy": "meV", "emission_time": "us"}


class InputError(Exception):
    """A file is not what it should be."""


@dataclass(frozen=True)
class Run:
    """Events of one file with what is known of the instrument; m, s, rad, meV."""

    instrument: str
    sample: str
    angle: float
    neutrons: float
    energy: float
    emission: float
    moderator: float
    distance: Real
    two_theta: Real
    solid_angle: Real
    pixels: NDArray[np.int64]
    times: Real
    weights: Real


@dataclass(frozen=True)
class Bins:
    """Edges of energy transfer [meV] and momentum transfer [1/A]; what counts as elastic [meV]."""

    energy: Real
    momentum: Real
    elastic: float


@dataclass
class Sums:
    """Sums over the events of a measurement."""

    counts: Real
    squares: Real
    scattering: Real
    scattering_squares: Real
    coverage: Real
    neutrons: float = 0.0
    events: int = 0
    by_angle: list[dict[str, float]] = field(default_factory=list)


# --- inputs ----------------------------------------------------------------------------------------------------------


def read_settings(path: Path) -> dict[str, Any]:
    """The configuration, complete."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path}: not YAML in its JSON form: {problem}") from None
    for key in ("energy_mev", "q_per_angstrom", "elastic_limit_mev", "histogram", "spectrum"):
        if key not in settings:
            raise InputError(f"{path}: {key} is missing; give it")
    return dict(settings)


def read_bins(settings: Mapping[str, Any], path: Path) -> Bins:
    """The histogram's bins."""
    edges = []
    for key in ("energy_mev", "q_per_angstrom"):
        try:
            low, high, step = map(float, settings[key])
        except (TypeError, ValueError):
            low = high = step = math.nan
        if not (step > 0 and high > low and (high - low) / step <= 100_000):
            raise InputError(f"{path}: {key} is {settings[key]}; it must be smallest, largest, width of a bin")
        edges.append(low + step * np.arange(round((high - low) / step) + 1))
    return Bins(edges[0], edges[1], float(settings["elastic_limit_mev"]))


def read_run(path: str) -> Run:
    """One event file."""
    try:
        file = h5py.File(path, "r")
    except OSError as problem:
        reason = "no such file" if not os.path.exists(path) else f"not a whole HDF5 file ({problem})"
        raise InputError(f"{path}: {reason}; simulate this angle again") from None
    with file:
        try:
            return whole_run(file, path)
        except (OSError, AttributeError, TypeError, ValueError) as problem:  # damaged, or of another shape or kind
            raise InputError(f"{path}: damaged: {problem}; simulate this angle again") from None


def whole_run(file: Any, path: str) -> Run:
    """What an open file holds."""

    def get(place: str) -> Any:
        node = file
        for name in place.split("/"):
            if name not in node:
                raise InputError(f"{path}: no {place} (there is no {name!r}); it is no NeXus file of `sim`")
            node = node[name]
        unit = UNITS.get(name)
        if unit and node.attrs.get("units") != unit:
            raise InputError(f"{path}: {place} is in {node.attrs.get('units', 'no unit')}; it must be in {unit}")
        return node[()]

    run = Run(
        instrument=get("entry/instrument/name").decode(),
        sample=get("entry/sample/name").decode(),
        angle=float(get("entry/sample/rotation_angle")),
        neutrons=float(get("entry/monitor/integral")),
        energy=float(get("entry/instrument/fermi_chopper/energy")),
        emission=float(get("entry/instrument/moderator/emission_time")) / 1e6,
        moderator=-float(get("entry/instrument/moderator/distance")),
        distance=get("entry/instrument/detector/distance").astype(np.float64),
        two_theta=np.deg2rad(get("entry/instrument/detector/polar_angle").astype(np.float64)),
        solid_angle=get("entry/instrument/detector/solid_angle").astype(np.float64),
        pixels=get("entry/detector_events/event_id").astype(np.int64),
        times=get("entry/detector_events/event_time_offset").astype(np.float64) / 1e6,
        weights=get("entry/detector_events/event_weight").astype(np.float64),
    )
    if not len(run.times) == len(run.weights) == len(run.pixels):
        raise InputError(f"{path}: {len(run.pixels)} pixels, {len(run.times)} times; simulate this angle again")
    if not len(run.times):
        raise InputError(f"{path}: no events; raise ncount, or look whether the detectors see the sample")
    if run.pixels.max() >= len(run.distance):
        raise InputError(f"{path}: an event is in pixel {run.pixels.max()}, of {len(run.distance)}")
    return run


# --- reduction -------------------------------------------------------------------------------------------------------


def energy_transfer(run: Run) -> Real:
    """Energy that the neutron left in the sample [meV]; minus infinity where it came before it could."""
    after = run.times - run.emission - run.moderator / (SPEED * math.sqrt(run.energy))
    with np.errstate(divide="ignore", invalid="ignore"):
        final = np.where(after > 0, (run.distance[run.pixels] / after / SPEED) ** 2, np.inf)
    return np.asarray(run.energy - final)


def momentum_transfer(incident: float, final: Real, two_theta: Real) -> Real:
    """Size of the momentum transfer [1/A] from energies [meV] and scattering angles [rad]."""
    squared = incident + final - 2 * np.sqrt(incident * final) * np.cos(two_theta)
    return np.asarray(WAVE * np.sqrt(np.maximum(squared, 0)))


def coverage(run: Run, bins: Bins) -> Real:
    """Solid angle in which the detectors see each (Q, E) bin at its middle energy [sr]."""
    share, edges = np.histogram(run.two_theta, bins=1800, range=(0, math.pi), weights=run.solid_angle)
    middle = (edges[1:] + edges[:-1]) / 2
    final = run.energy - (bins.energy[1:] + bins.energy[:-1]) / 2
    seen = np.zeros((len(bins.momentum) - 1, len(final)))
    for column in np.flatnonzero(final > 0):
        momentum = momentum_transfer(run.energy, final[column], middle)
        seen[:, column] = np.histogram(momentum, bins=bins.momentum, weights=share)[0]
    return seen


def tally(total: Real, place: NDArray[np.int64], values: Real) -> None:
    """Add values to the bins at their places."""
    total += np.bincount(place, values, total.size).reshape(total.shape)


def add(sums: Sums, run: Run, bins: Bins) -> None:
    """Add the events of one file."""
    transfer = energy_transfer(run)
    inside = (transfer >= bins.energy[0]) & (transfer < bins.energy[-1])
    transfer, weights, pixels = transfer[inside], run.weights[inside], run.pixels[inside]
    final = run.energy - transfer
    momentum = momentum_transfer(run.energy, final, run.two_theta[pixels])
    scattering = weights * np.sqrt(run.energy / final)
    rows, columns = sums.counts.shape
    row = np.searchsorted(bins.momentum, momentum, side="right") - 1
    place = np.where((row >= 0) & (row < rows - 1), row, rows - 1) * columns
    place += np.searchsorted(bins.energy, transfer, side="right") - 1
    tally(sums.counts, place, weights)
    tally(sums.squares, place, weights**2)
    tally(sums.scattering, place, scattering)
    tally(sums.scattering_squares, place, scattering**2)
    sums.coverage += run.neutrons * coverage(run, bins)
    sums.neutrons += run.neutrons
    sums.events += len(run.times)
    elastic = np.abs(transfer) <= bins.elastic
    fractions = {"elastic": elastic, "inelastic": ~elastic}
    found = {f"{name}_fraction": float(weights[those].sum()) / run.neutrons for name, those in fractions.items()}
    sums.by_angle.append({"angle_deg": run.angle, "neutrons": run.neutrons, "events": len(run.times), **found})


def reduce(paths: Sequence[str], bins: Bins) -> tuple[Run, Sums]:
    """The first run, and the sums over all."""
    shape = len(bins.momentum), len(bins.energy) - 1  # the last row: momentum transfers beyond the largest
    sums = Sums(*(np.zeros(shape) for _ in range(4)), np.zeros((shape[0] - 1, shape[1])))
    first: Run | None = None
    for path in paths:
        run = read_run(path)
        first = first or run
        same = (run.instrument, run.sample, run.energy) == (first.instrument, first.sample, first.energy)
        if not same:
            raise InputError(f"{path}: {run.instrument}, {run.sample}, {run.energy:g} meV; {paths[0]} is another")
        add(sums, run, bins)
        print(f"{path}: {len(run.times)} events", flush=True)
    if first is None or not sums.counts.any():
        raise InputError(f"{paths[0]}: no event has an energy transfer within the bins; widen energy_min, energy_max")
    return first, sums


# --- outputs ---------------------------------------------------------------------------------------------------------


def rounded(values: Real) -> list[float]:
    """Values with nine significant digits."""
    return [float(f"{value:.9g}") for value in values]


def spectrum(run: Run, sums: Sums, bins: Bins) -> dict[str, Any]:
    """I(E) per incident neutron, and the fractions."""

    def fraction(kind: str) -> float:
        return sum(one["neutrons"] * one[f"{kind}_fraction"] for one in sums.by_angle) / sums.neutrons

    return {
        "instrument": run.instrument,
        "sample": run.sample,
        "incident_energy_mev": run.energy,
        "neutrons": sums.neutrons,
        "events": sums.events,
        "elastic_limit_mev": bins.elastic,
        "elastic_fraction": fraction("elastic"),
        "inelastic_fraction": fraction("inelastic"),
        "by_angle": sums.by_angle,
        "energy_edges_mev": rounded(bins.energy),
        "intensity": rounded(sums.counts.sum(0) / sums.neutrons),
        "sigma": rounded(np.sqrt(sums.squares.sum(0)) / sums.neutrons),
    }


def write_histogram(path: str, sums: Sums, bins: Bins) -> None:
    """I(Q,E) and S(Q,E) as NXdata, under a name of this process until the file is whole. Never seen is not a number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(sums.coverage > 0, sums.coverage, np.nan) * np.diff(bins.energy)
        tables = {
            "intensity": sums.counts[:-1] / sums.neutrons,
            "intensity_errors": np.sqrt(sums.squares[:-1]) / sums.neutrons,
            "s_qe": sums.scattering[:-1] / seen,
            "s_qe_errors": np.sqrt(sums.scattering_squares[:-1]) / seen,
        }
    partial = f"{path}.{os.getpid()}.part"
    with h5py.File(partial, "w", libver="v110") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("iqe")
        data.attrs.update({"NX_class": "NXdata", "signal": "intensity", "axes": ["q", "energy"]})
        for name, table, unit in (
            ("q", bins.momentum, "1/angstrom"),
            ("energy", bins.energy, "meV"),
            *((name, table, "1/(sr meV)" if name.startswith("s_") else "") for name, table in tables.items()),
        ):
            made = data.create_dataset(name, data=table, track_times=False)
            if unit:
                made.attrs["units"] = unit
    os.replace(partial, path)


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write under a name of this process, then rename: a reader never sees half a file."""
    partial = f"{path}.{os.getpid()}.part"
    Path(partial).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="reduce")
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("events", nargs="+")
    given = parser.parse_args(arguments)
    try:
        settings = read_settings(given.config)
        bins = read_bins(settings, given.config)
        run, sums = reduce(given.events, bins)
        write_histogram(settings["histogram"], sums, bins)
        found = spectrum(run, sums, bins)
        write_json(settings["spectrum"], found)
    except InputError as error:
        print(f"reduce: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"reduce: {error.filename}: {error.strerror}; a job before this one makes it, or data/ has it",
            file=sys.stderr,
        )
        return 1
    print(f"elastic {found['elastic_fraction']:.5f}, inelastic {found['inelastic_fraction']:.5f} of the neutrons")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
