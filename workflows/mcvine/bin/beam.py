#!/usr/bin/env python3
"""Neutrons as they reach the sample of a direct-geometry spectrometer: moderator, Fermi chopper, monitor.

Usage: beam --output-dir=DIR/beam/out --ncount=N --config=BEAM.yml --instruments=INSTRUMENTS.json

Writes `neutrons` (JSON: instrument, energies [meV], emission times [us]), `props.json` (averages, under mcvine's names)
and `IE.dat` (what an energy monitor counts).

Models. Emission from the moderator: slowing-down term of S. Ikeda and J. M. Carpenter, Nucl. Instrum. Methods A 239,
536 (1985), p(t) = a (a t)^2 exp(-a t) / 2, a = speed times the moderator's slowing-down cross section; its storage term
is left out, and so is the spectrum: the flux is even in time of flight over the few per cent of energy that pass. Fermi
chopper: straight slits, whose transmission is a triangle in time of FWHM slit / (2 pi frequency diameter). A neutron
that leaves at t and passes the chopper at u has the speed L / (u - t). The source `flat` is McStas' Source_simple
instead: even in energy over E0 +- dE, from a disc into a window.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPEED = 437.393362
"""Speed of a neutron of 1 meV [m/s] (CODATA 2018)."""


class InputError(Exception):
    """A file is not what it should be."""


class Settings:
    """A configuration or an instrument, whose keys are looked up by their place, `chopper.energy_mev`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.content: Any = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as problem:
            raise InputError(f"{path}: not YAML in its JSON form: {problem}") from None

    def get(self, place: str, low: float = 0.0) -> float:
        """A finite number, not below `low`."""
        value = self.look(place)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < math.inf:
            raise InputError(f"{self.path}: {place} is {value!r}; it must be a number, {low:g} or more")
        return float(value)

    def look(self, place: str) -> Any:
        """Whatever is at a place."""
        found = self.content
        for name in place.split("."):
            if not isinstance(found, dict) or name not in found:
                known = ", ".join(found) if isinstance(found, dict) else "no keys"
                raise InputError(f"{self.path}: {place} is missing; there is {known}")
            found = found[name]
        return found


@dataclass(frozen=True)
class Neutron:
    """One neutron: energy [meV], when it left the moderator [s]."""

    energy: float
    emission: float


@dataclass(frozen=True)
class Chopped:
    """A moderator and the Fermi chopper that opens for `energy` [meV]; lengths [m], rate [1/s], burst (FWHM) [s]."""

    energy: float
    length: float
    rate: float
    burst: float

    @property
    def mean_emission(self) -> float:
        """Mean time at which neutrons leave the moderator [s]."""
        return 3 / self.rate

    def neutrons(self, draw: random.Random) -> Iterator[Neutron]:
        """Neutrons that pass, without end."""
        centre = self.mean_emission + self.length / (SPEED * math.sqrt(self.energy))
        while True:
            left = -math.log((1 - draw.random()) * (1 - draw.random()) * (1 - draw.random())) / self.rate
            passed = centre + self.burst * (draw.random() - draw.random())
            if passed > left:
                yield Neutron((self.length / (passed - left) / SPEED) ** 2, left)


def chopped(settings: Settings, line: Settings, name: str) -> Chopped:
    """Moderator and chopper of an instrument, set as the configuration says."""
    energy, frequency = settings.get("chopper.energy_mev", 1e-3), settings.get("chopper.frequency_hz", 1e-3)
    diameter = line.get(f"{name}.chopper.diameter_mm", 1e-3)
    return Chopped(
        energy,
        line.get(f"{name}.moderator_to_chopper_m", 1e-3),
        SPEED * math.sqrt(energy) * 100 * line.get(f"{name}.moderator.slowing_down_per_cm", 1e-6),
        line.get(f"{name}.chopper.slit_mm") / (2 * math.pi * frequency * diameter),
    )


def flat(settings: Settings, draw: random.Random) -> Iterator[Neutron]:
    """Neutrons of a flat source that hit the monitor behind its window, without end."""
    middle, half = settings.get("source.E0", 1e-3), settings.get("source.dE")
    radius, distance = settings.get("source.radius"), settings.get("source.dist", 1e-3)
    window = settings.get("source.xw"), settings.get("source.yh")
    reach = settings.get("monitor.z_m", 1e-3) / distance
    edges = settings.get("monitor.xwidth") / 2, settings.get("monitor.yheight") / 2
    if half >= middle:
        raise InputError(f"{settings.path}: source.dE is {half:g}; it must be less than E0, {middle:g}")
    while True:
        energy = middle + half * (2 * draw.random() - 1)
        size, turn = radius * math.sqrt(draw.random()), 2 * math.pi * draw.random()
        start = size * math.cos(turn), size * math.sin(turn)
        aim = ((draw.random() - 0.5) * width for width in window)
        hit = all(abs(a + (b - a) * reach) <= edge for a, b, edge in zip(start, aim, edges, strict=True))
        yield Neutron(energy, 0.0 if hit else math.nan)


def monitor(neutrons: list[Neutron], settings: Settings) -> str:
    """What an energy monitor counts: a row `energy [meV]  counts per neutron  error  counts` for each bin."""
    low, high = settings.get("monitor.emin_mev"), settings.get("monitor.emax_mev")
    bins = int(settings.get("monitor.bins", 1))
    if high <= low:
        raise InputError(f"{settings.path}: monitor.emax_mev is {high:g}; it must be above emin_mev, {low:g}")
    counts = [0] * bins
    for neutron in neutrons:
        place = math.floor((neutron.energy - low) / (high - low) * bins)
        if 0 <= place < bins and not math.isnan(neutron.emission):
            counts[place] += 1
    step, total = (high - low) / bins, len(neutrons)
    rows = (
        f"{low + (number + 0.5) * step:.6g} {count / total:.9g} {math.sqrt(count) / total:.9g} {count}\n"
        for number, count in enumerate(counts)
    )
    return "# energy[meV] I[1/neutron] I_err N\n" + "".join(rows)


def averages(neutrons: list[Neutron], distance: float) -> dict[str, str]:
    """Averages at the sample, under the names that mcvine gives them."""
    count = len(neutrons)
    times = [1e6 * (n.emission + distance / (SPEED * math.sqrt(n.energy))) for n in neutrons]
    energy, time = sum(n.energy for n in neutrons) / count, sum(times) / count
    spread = math.sqrt(sum((t - time) ** 2 for t in times) / count)
    emission = 1e6 * sum(n.emission for n in neutrons) / count
    return {
        "average energy": f"{energy:.6f} meV",
        "average tof": f"{time:.4f} microsecond",
        "tof fwhm": f"{spread * math.sqrt(8 * math.log(2)):.4f} microsecond",
        "emission time": f"{emission:.4f} microsecond",
    }


def draw_beam(settings: Settings, line: Settings, count: int) -> dict[str, str]:
    """Texts of the output files by their names."""
    draw = random.Random(f"beam {int(settings.get('seed'))}")
    kind, name = settings.look("source.kind"), str(settings.look("instrument.name")).upper()
    if name not in line.content:
        raise InputError(f"{settings.path}: instrument.name is {name!r}; {line.path} knows {', '.join(line.content)}")
    if kind == "flat":
        neutrons = [neutron for neutron, _ in zip(flat(settings, draw), range(count), strict=False)]
        return {"IE.dat": monitor(neutrons, settings)}
    if kind != "moderator":
        raise InputError(f"{settings.path}: source.kind is {kind!r}; it must be moderator or flat")
    source = chopped(settings, line, name)
    neutrons = [neutron for neutron, _ in zip(source.neutrons(draw), range(count), strict=False)]
    neutrons.sort(key=lambda neutron: neutron.energy)
    beam = {
        "instrument": {"name": name, **line.content[name]},
        "energy_mev": source.energy,
        "mean_emission_us": round(1e6 * source.mean_emission, 6),
        "neutrons": {
            "energy_mev": [round(neutron.energy, 6) for neutron in neutrons],
            "emission_us": [round(1e6 * neutron.emission, 4) for neutron in neutrons],
        },
    }
    props = averages(neutrons, line.get(f"{name}.moderator_to_sample_m", 1e-3))
    return {
        "neutrons": json.dumps(beam) + "\n",
        "props.json": json.dumps(props, indent=1) + "\n",
        "IE.dat": monitor(neutrons, settings),
    }


def write(path: Path, text: str) -> None:
    """Write under a name of this process, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="beam")
    parser.add_argument("--output-dir", required=True, type=Path)
    parser.add_argument("--ncount", required=True, type=float)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--instruments", required=True, type=Path)
    given = parser.parse_args(arguments)
    try:
        if not 1 <= given.ncount <= 1e9:
            raise InputError(f"--ncount={given.ncount:g}: it must be 1 to 1e9")
        line = Settings(given.instruments)
        for name, text in draw_beam(Settings(given.config), line, int(given.ncount)).items():
            write(given.output_dir / name, text)
            print(f"wrote {given.output_dir / name}", flush=True)
    except InputError as error:
        print(f"beam: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"beam: {error.filename}: {error.strerror}; a job before this one makes it, or data/ has it",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
