#!/usr/bin/env python3
"""Scatter the beam from the sample at one angle and detect it: an event NeXus file, by NCrystal's ray tracer.

Usage: sim --angle=A --config=../../SIM.yml --scattering-dir=DIR/scattering

Stands in for mcvine's `sim` where a site has none. As there, the configuration is looked for from the folder
`scattering`, beam and sample assembly are beside it, and the events go to work_A/sim_A.nxs below it.

NCrystal's MiniMC carries the neutrons through the sample with multiple scattering and absorption; each that leaves it
flies on to a cylinder of detectors. Energies follow the beam's histogram of `STRATA` bins. Clock zero is the proton
pulse. A neutron changes its speed where its last way comes nearest to its first: exact if it scattered once.
One thread and a seed made of seed and angle: same files, same angle, same bytes, in whatever order the angles run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import h5py
import NCrystal
import NCrystal.minimc
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

SPEED = 437.393362
"""Speed of a neutron of 1 meV [m/s] (CODATA 2018)."""
STRATA = 12
"""Parts of the beam of equal width in energy, each simulated by itself with its share of the neutrons."""
SOURCE = 0.1
"""Where the beam starts, before the middle of the sample [m]."""
KEPT = ("x", "y", "z", "ux", "uy", "uz", "ekin", "w", "x0", "y0", "ekin0", "nscat")


class InputError(Exception):
    """A file is not what it should be."""


@dataclass(frozen=True)
class Beam:
    """Neutrons sorted by energy: energies [meV], emission times [s]; nominal energy [meV], mean emission time [s]."""

    nominal: float
    mean_emission: float
    energies: Real
    emissions: Real
    instrument: Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A cylinder that stands upright: `material` in NCrystal's words, radius and half height [m], temperature [K]."""

    name: str
    material: str
    temperature: float
    radius: float
    half_height: float


@dataclass(frozen=True)
class Detector:
    """A cylinder of pixels around the vertical: radius and half height [m], horizontal angles [deg]."""

    radius: float
    half_height: float
    first: float
    last: float
    columns: int
    rows: int
    beam_stop: float

    def centres(self) -> Real:
        """Middles of all pixels [pixels, 3] [m], row by row from below."""
        turn = np.deg2rad(self.first + (np.arange(self.columns) + 0.5) * (self.last - self.first) / self.columns)
        up = self.half_height * (2 * (np.arange(self.rows) + 0.5) / self.rows - 1)
        turns, ups = np.meshgrid(turn, up)
        return np.stack([self.radius * np.sin(turns), ups, self.radius * np.cos(turns)], -1).reshape(-1, 3)

    def two_theta(self) -> Real:
        """Scattering angle of each pixel [rad]."""
        centres = self.centres()
        return np.asarray(np.arccos(centres[:, 2] / np.linalg.norm(centres, axis=1)))

    def solid_angle(self) -> Real:
        """Solid angle of each pixel [sr]; none behind the beam stop."""
        area = self.radius * math.radians(self.last - self.first) / self.columns * 2 * self.half_height / self.rows
        seen = self.two_theta() >= math.radians(self.beam_stop)
        return np.asarray(seen * area * self.radius / np.linalg.norm(self.centres(), axis=1) ** 3)


@dataclass(frozen=True)
class Events:
    """What the detectors saw: pixel, time since the proton pulse [s], weight."""

    pixels: NDArray[np.uint32]
    times: Real
    weights: Real


# --- inputs ----------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> dict[str, Any]:
    """An object out of a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path.name}: not YAML in its JSON form: {problem}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: not an object")
    return content


def look(content: Mapping[str, Any], place: str, path: Path) -> Any:
    """What is at a place such as `scatter.ncount`."""
    found: Any = content
    for name in place.split("."):
        if not isinstance(found, dict) or name not in found:
            raise InputError(f"{path.name}: {place} is missing; give it")
        found = found[name]
    return found


def number(content: Mapping[str, Any], place: str, path: Path, low: float, high: float) -> float:
    """A number between `low` and `high`."""
    found = look(content, place, path)
    if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
        raise InputError(f"{path.name}: {place} is {found!r}; it must be a number from {low:g} to {high:g}")
    return float(found)


def read_beam(path: Path) -> Beam:
    """The beam as the job before wrote it."""
    content = read_json(path)
    columns = (look(content, f"neutrons.{name}", path) for name in ("energy_mev", "emission_us"))
    energies, emissions = (np.array(column, dtype=np.float64) for column in columns)
    if len(energies) < STRATA or len(energies) != len(emissions):
        raise InputError(f"{path.name}: {len(energies)} energies, {len(emissions)} times; {STRATA} or more are needed")
    return Beam(
        number(content, "energy_mev", path, 1e-3, 1e6),
        number(content, "mean_emission_us", path, 0, 1e6) / 1e6,
        energies,
        emissions / 1e6,
        look(content, "instrument", path),
    )


def read_detector(instrument: Mapping[str, Any], path: Path) -> Detector:
    """The detectors of an instrument."""
    names = ("half_height_m", "first_deg", "last_deg", "columns", "rows", "beam_stop_deg")
    values = [number(instrument, f"detector.{name}", path, -360, 100_000) for name in names]
    radius = number(instrument, "sample_to_detector_m", path, 0.1, 100)
    return Detector(radius, *values[:3], int(values[3]), int(values[4]), values[5])


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file."""
    try:
        return ElementTree.fromstring(path.read_text(encoding="utf-8"))
    except (ElementTree.ParseError, UnicodeDecodeError) as problem:
        raise InputError(f"{path.name}: not XML: {problem}") from None


def read_sample(assembly: Path, scatterer: Path, angle: float) -> Sample:
    """Shape and material; a crystal is turned by `angle` [deg] about the vertical."""
    cylinder = read_xml(assembly).find(".//cylinder")
    if cylinder is None:
        raise InputError(f"{assembly.name}: no <cylinder>; the sample must be one")
    radius, height = (millimetres(cylinder.get(name), f"{assembly.name}: {name}") for name in ("radius", "height"))
    root = read_xml(scatterer)
    name = root.get("material", "")
    try:
        temperature = float(root.findtext("temperature", ""))
    except ValueError:
        raise InputError(f"{scatterer.name}: <temperature> is no number; give it in K") from None
    if not name:
        raise InputError(f"{scatterer.name}: <scatterer> has no material; name one that NCrystal knows")
    material = f"{name};temp={temperature!r}K" + orientation(root.find("crystal"), angle, scatterer)
    return Sample(name, material, temperature, radius / 1000, height / 2000)


def millimetres(text: str | None, what: str) -> float:
    """A length such as `5*mm` [mm]."""
    try:
        value, unit = (text or "").split("*")
        if unit.strip() == "mm" and 0 < float(value) < 1e6:
            return float(value)
    except ValueError:
        pass
    raise InputError(f"{what} is {text!r}; it must be a positive number times mm")


def orientation(crystal: ElementTree.Element | None, angle: float, path: Path) -> str:
    """Mosaic and orientation in NCrystal's words; nothing for a powder."""
    if crystal is None:
        return ""
    missing = [name for name in ("mosaic", "beam", "up") if not crystal.get(name)]
    if missing:
        raise InputError(f"{path.name}: <crystal> has no {missing[0]}; give mosaic, beam and up")
    turn = math.radians(angle)
    along = f"{math.sin(turn):.9f},0,{math.cos(turn):.9f}"
    directions = f"dir1=@crys_hkl:{crystal.get('beam')}@lab:{along};dir2=@crys_hkl:{crystal.get('up')}@lab:0,1,0"
    return f";mos={crystal.get('mosaic')}deg;{directions}"


# --- transport -------------------------------------------------------------------------------------------------------


def seeds(seed: int, angle: float) -> Iterator[int]:
    """Seeds of an angle, one after another: 64 bits of SHA-256 of `seed angle number`."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{seed} {angle:.6f} {number}".encode()).digest()
        yield int.from_bytes(digest[:8], "big")
        number += 1


def strata(energies: Real, count: int) -> Iterator[tuple[float, float, int]]:
    """Energies from, to [meV] and number of neutrons of each stratum."""
    found, edges = np.histogram(energies, STRATA)
    shares = np.diff(np.rint(np.append(0, found).cumsum() / len(energies) * count).astype(np.int64))
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share:
            yield float(low), float(high), int(share)


def transport(sample: Sample, energies: tuple[float, float], count: int, seed: int, limit: str) -> dict[str, Real]:
    """States of neutrons that have left the sample scattered, with those before; NCrystal's names and units."""
    parts: list[dict[str, Real]] = []

    def keep(batch: Mapping[str, Real]) -> None:
        scattered = batch["nscat"] > 0
        parts.append({name: batch[name][scattered] for name in KEPT})

    low, high = (f"{energy / 1000:.12g}" for energy in energies)
    NCrystal.minimc.run(
        sample.material,
        geomcfg=f"cyl;r={sample.radius!r};dy={sample.half_height!r}",
        srccfg=f"circular;ekin={low}-{high};z=-{SOURCE};r={0.8 * sample.radius!r};n={count}",
        enginecfg=f"nthreads=1;seed={seed};nscatlimit={limit};tally=nscat;tallybreakdown=0",
        callback=keep,
    )
    return {name: np.concatenate([part[name] for part in parts]) for name in KEPT}


def detect(
    states: Mapping[str, Real], beam: Beam, sample: Sample, detector: Detector, random: np.random.Generator
) -> Events:
    """Which pixels the neutrons hit, and when."""
    energies, speeds = 1000 * states["ekin0"], SPEED * np.sqrt(1000 * states["ekin"]).clip(1e-9)
    distance = flight(states, detector.radius)
    x, y, z = (states[name] + distance * states[f"u{name}"] for name in "xyz")
    turn = np.rad2deg(np.arctan2(x, z))
    column = np.floor((turn - detector.first) / (detector.last - detector.first) * detector.columns)
    row = np.floor((y / detector.half_height + 1) / 2 * detector.rows)
    stopped = states["uz"] > math.cos(math.radians(detector.beam_stop))
    hit = (column >= 0) & (column < detector.columns) & (row >= 0) & (row < detector.rows) & ~stopped
    inside = way_out(states, sample)
    before = beam.instrument["moderator_to_sample_m"] + states["z"] - inside * states["uz"]
    times = emission(energies, beam, random) + before / (SPEED * np.sqrt(energies)) + (distance + inside) / speeds
    pixels = (row[hit] * detector.columns + column[hit]).astype(np.uint32)
    return Events(pixels, times[hit], states["w"][hit])


def flight(states: Mapping[str, Real], radius: float) -> Real:
    """Way from the sample to a cylinder about the vertical [m]; infinite for a neutron that flies straight up."""
    across = states["ux"] ** 2 + states["uz"] ** 2
    along = states["x"] * states["ux"] + states["z"] * states["uz"]
    inside = radius**2 - states["x"] ** 2 - states["z"] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((np.sqrt(along**2 + across * inside) - along) / across)


def way_out(states: Mapping[str, Real], sample: Sample) -> Real:
    """Way inside the sample after the last way came nearest to the first, which is along z [m]."""
    across = states["ux"] ** 2 + states["uy"] ** 2
    along = (states["x"] - states["x0"]) * states["ux"] + (states["y"] - states["y0"]) * states["uy"]
    return np.asarray((along / across.clip(1e-12)).clip(0, 2 * math.hypot(sample.radius, sample.half_height)))


def emission(energies: Real, beam: Beam, random: np.random.Generator) -> Real:
    """When neutrons of these energies left the moderator [s]: drawn among the beam's 21 of nearest energy."""
    near = np.searchsorted(beam.energies, energies) + random.integers(-10, 11, len(energies))
    return np.asarray(beam.emissions[near.clip(0, len(beam.emissions) - 1)])


def simulate(beam: Beam, sample: Sample, detector: Detector, count: int, seed: Iterator[int], limit: str) -> Events:
    """The events of one angle."""
    random = np.random.default_rng(next(seed))
    parts = []
    for number, (low, high, share) in enumerate(strata(beam.energies, count), 1):
        states = transport(sample, (low, high), share, next(seed), limit)
        parts.append(detect(states, beam, sample, detector, random))
        if number % 4 == 0:
            print(f"{number} of {STRATA} parts of the beam", flush=True)
    pixels, times, weights = (np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0]))
    return Events(pixels, times, weights)


# --- NeXus -----------------------------------------------------------------------------------------------------------


def group(parent: Any, name: str, kind: str) -> Any:
    """A NeXus group."""
    made = parent.create_group(name)
    made.attrs["NX_class"] = kind
    return made


def dataset(parent: Any, name: str, value: Any, units: str = "") -> None:
    """A dataset; HDF5 keeps the time of its making unless told not to."""
    made = parent.create_dataset(name, data=value, track_times=False)
    if units:
        made.attrs["units"] = units


def write(path: Path, events: Events, beam: Beam, sample: Sample, detector: Detector, angle: float, count: int) -> None:
    """The events as NeXus, under a name of this process until the file is whole."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with h5py.File(partial, "w", libver="v110") as file:
        file.attrs["default"] = "entry"
        entry = group(file, "entry", "NXentry")
        dataset(entry, "definition", "NXdirecttof")
        dataset(entry, "title", f"{sample.material} at {angle} deg, simulated with NCrystal {NCrystal.__version__}")
        write_instrument(group(entry, "instrument", "NXinstrument"), beam, detector)
        write_sample(group(entry, "sample", "NXsample"), sample, angle)
        monitor = group(entry, "monitor", "NXmonitor")
        dataset(monitor, "integral", float(count), "counts")
        write_events(group(entry, "detector_events", "NXevent_data"), events)
    os.replace(partial, path)


def write_instrument(made: Any, beam: Beam, detector: Detector) -> None:
    """Lengths, chopper and pixels."""
    dataset(made, "name", str(beam.instrument["name"]))
    moderator = group(made, "moderator", "NXmoderator")
    dataset(moderator, "distance", -float(beam.instrument["moderator_to_sample_m"]), "m")
    dataset(moderator, "emission_time", 1e6 * beam.mean_emission, "us")
    chopper = group(made, "fermi_chopper", "NXfermi_chopper")
    dataset(chopper, "energy", beam.nominal, "meV")
    pixels = group(made, "detector", "NXdetector")
    centres = detector.centres()
    dataset(pixels, "distance", np.linalg.norm(centres, axis=1).astype(np.float32), "m")
    dataset(pixels, "polar_angle", np.rad2deg(detector.two_theta()).astype(np.float32), "deg")
    dataset(pixels, "azimuthal_angle", np.rad2deg(np.arctan2(centres[:, 1], centres[:, 0])).astype(np.float32), "deg")
    dataset(pixels, "solid_angle", detector.solid_angle().astype(np.float32), "sr")


def write_sample(made: Any, sample: Sample, angle: float) -> None:
    """What was in the beam."""
    dataset(made, "name", sample.name)
    dataset(made, "temperature", sample.temperature, "K")
    dataset(made, "rotation_angle", angle, "deg")


def write_events(made: Any, events: Events) -> None:
    """Events of one pulse; `event_weight` is no word of NXevent_data: simulated neutrons are not all worth one."""
    dataset(made, "event_id", events.pixels)
    dataset(made, "event_time_offset", (1e6 * events.times).astype(np.float32), "us")
    dataset(made, "event_weight", events.weights.astype(np.float32))
    dataset(made, "event_index", np.zeros(1, dtype=np.uint64))
    dataset(made, "event_time_zero", np.zeros(1), "s")
    dataset(made, "total_counts", len(events.times))


# --- all of it -------------------------------------------------------------------------------------------------------


def read_angle(text: str) -> float:
    """An angle [deg] of the command line."""
    try:
        angle = float(text)
    except ValueError:
        angle = math.nan
    if not math.isfinite(angle):
        raise InputError(f"--angle={text}: not an angle; give degrees")
    return angle


def run(angle_text: str, config: Path, scattering: Path) -> Path:
    """Simulate one angle; the file written."""
    angle = read_angle(angle_text)
    settings, experiment = read_json(config), scattering.parent
    neutrons = experiment / "beam" / "out" / "neutrons"
    beam = read_beam(neutrons)
    name = str(look(settings, "instrument.name", config)).upper()
    if name != beam.instrument.get("name"):
        raise InputError(f"{config.name}: instrument.name is {name!r}, the beam is {beam.instrument.get('name')!r}'s")
    multiple = look(settings, "scatter.multiple_scattering", config)
    if multiple not in ("on", "off"):
        raise InputError(f"{config.name}: scatter.multiple_scattering is {multiple!r}; it must be on or off")
    count = int(number(settings, "scatter.ncount", config, STRATA, 1e12))
    seed = seeds(int(number(settings, "seed", config, 0, 2**32 - 1)), angle)
    assembly = experiment / "sampleassembly"
    sample = read_sample(assembly / "sampleassembly.xml", assembly / "swdemo-scatterer.xml", angle)
    detector = read_detector(beam.instrument, neutrons)
    print(f"{sample.material}: {count} neutrons of {beam.nominal:g} meV at {name}", flush=True)
    try:
        events = simulate(beam, sample, detector, count, seed, "none" if multiple == "on" else "1")
    except NCrystal.NCException as problem:
        words = " ".join(str(problem).split())
        raise InputError(
            f"swdemo-scatterer.xml: NCrystal refuses {sample.material!r}: {words}; correct material, temperature, "
            "mosaic or reflections"
        ) from None
    made = scattering / f"work_{angle_text}" / f"sim_{angle_text}.nxs"
    made.parent.mkdir(parents=True, exist_ok=True)
    write(made, events, beam, sample, detector, angle, count)
    print(f"{len(events.times)} events, {events.weights.sum():.6g} neutrons, in {made}", flush=True)
    return made


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="sim")
    parser.add_argument("--angle", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--scattering-dir", required=True, type=Path)
    given = parser.parse_args(arguments)
    try:
        given.scattering_dir.mkdir(parents=True, exist_ok=True)
        run(given.angle, given.scattering_dir / given.config, given.scattering_dir)
    except InputError as error:
        print(f"sim: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"sim: {error.filename}: {error.strerror}; a job before this one makes it, or data/ has it", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
