#!/usr/bin/env python3
"""The jobs beam, sim and reduce by the original mcvine, for a site that has it; which one, its arguments say.

Usage: beam --output-dir=DIR/beam/out --ncount=N --config=BEAM.yml [--instruments=FILE]
       sim --angle=A --config=../../SIM.yml --scattering-dir=DIR/scattering
       reduce --config=REDUCE.yml EVENTS.nxs...

Starts the commands that mcvine documents, in the folders that `mcvine workflow singlecrystal` has made: `mcvine
instruments NAME beam` (unless the archive brought a beam), `scripts/sim.py`, `mcvine instruments NAME nxs reduce` and
`mcvine mantid extract_iqe`. Energy spectra are summed by mcvine's own Python, with its package `histogram`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SPECTRUM = """
import json, sys
import histogram.hdf as hdf
spectrum = hdf.load(sys.argv[1]).sum("Q")
print(json.dumps([list(map(float, column)) for column in (spectrum.energy, spectrum.I, spectrum.E2)]))
"""
"""Prints middle energies, intensities and squared errors of an I(Q,E) histogram as the last line."""


class InputError(Exception):
    """A file is not what it should be, or a command of mcvine failed."""


def call(command: Sequence[str], where: Path) -> str:
    """Run a command; what it printed, which goes to the job's output as well."""
    print(f"in {where}: {' '.join(command)}", flush=True)
    done = subprocess.run(command, cwd=where, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        raise InputError(f"{' '.join(command[:4])}: exit status {done.returncode}; its own words are above")
    return done.stdout


def made(path: Path) -> None:
    """Refuse to go on without a file that a command should have written; some of mcvine's end well without."""
    if not path.is_file():
        raise InputError(f"{path}: mcvine did not write it; see the logs beside it")


def settings(path: Path) -> Any:
    """A configuration, in YAML's JSON form."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"{path}: not YAML in its JSON form: {problem}") from None


def python() -> str:
    """The Python that mcvine is installed in."""
    program = Path(shutil.which("mcvine") or "mcvine").resolve().parent / "python"
    return str(program) if program.exists() else "python"


def beam(output: Path, count: str, config: Path) -> None:
    """Simulate the beam, if the archive did not bring it."""
    if not (output / "neutrons").is_file():
        chosen = settings(config)
        chopper = chosen["chopper"]
        arguments = [f"--E={chopper['energy_mev']}", f"--fermi_nu={chopper['frequency_hz']}", f"--ncount={count}"]
        call(["mcvine", "instruments", chosen["instrument"]["name"], "beam", *arguments], output.parent)
    made(output / "neutrons")


def simulate(angle: str, config: str, scattering: Path) -> None:
    """Simulate one angle with the script that mcvine laid out."""
    call([python(), "scripts/sim.py", f"--angle={angle}", f"--config={config}"], scattering)
    made(scattering / f"work_{angle}" / f"sim_{angle}.nxs")


def reduce(config: Path, events: Sequence[str]) -> None:
    """Reduce each file, and add the spectra."""
    chosen = settings(config)
    here, name = Path.cwd(), chosen["instrument"]
    axes = [value for key in ("q_per_angstrom", "energy_mev") for value in chosen[key]]
    total: list[list[float]] = []
    fractions = []
    for path in events:
        stem = Path(path).stem
        axis = ["--qaxis", *map(str, axes[:3]), "--eaxis", *map(str, axes[3:])]
        call(["mcvine", "instruments", name, "nxs", "reduce", path, f"--out={stem}.iqe.nxs", *axis, "--tof2E"], here)
        call(["mcvine", "mantid", "extract_iqe", f"{stem}.iqe.nxs", f"{stem}.iqe.h5"], here)
        columns = json.loads(call([python(), "-c", SPECTRUM, f"{stem}.iqe.h5"], here).splitlines()[-1])
        fractions.append({"file": path, **shares(columns, chosen["elastic_limit_mev"])})
        total = [columns[0], *(add(a, b) for a, b in zip(total[1:], columns[1:], strict=True))] if total else columns
    shutil.copyfile(f"{Path(events[0]).stem}.iqe.h5", chosen["histogram"])
    low, step = axes[3], axes[5]
    spectrum = {
        "instrument": name.upper(),
        "sample": chosen["sample"],
        "elastic_limit_mev": chosen["elastic_limit_mev"],
        **shares(total, chosen["elastic_limit_mev"]),
        "by_angle": fractions,
        "energy_edges_mev": [low + step * number for number in range(len(total[0]) + 1)],
        "intensity": total[1],
        "sigma": [square**0.5 for square in total[2]],
    }
    partial = f"{chosen['spectrum']}.{os.getpid()}.part"
    Path(partial).write_text(json.dumps(spectrum, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, chosen["spectrum"])


def add(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """The sums, place by place."""
    return [a + b for a, b in zip(one, other, strict=True)]


def shares(columns: Sequence[Sequence[float]], limit: float) -> dict[str, float]:
    """Intensity up to and beyond the elastic limit, in mcvine's own normalisation."""
    pairs = list(zip(columns[0], columns[1], strict=True))
    elastic = sum(value for energy, value in pairs if abs(energy) <= limit)
    return {"elastic_fraction": elastic, "inelastic_fraction": sum(value for _, value in pairs) - elastic}


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog=Path(sys.argv[0]).name)
    parser.add_argument("--config", required=True)
    parser.add_argument("--output-dir", type=Path)
    parser.add_argument("--ncount")
    parser.add_argument("--instruments")
    parser.add_argument("--angle")
    parser.add_argument("--scattering-dir", type=Path)
    parser.add_argument("events", nargs="*")
    given = parser.parse_args(arguments)
    try:
        if given.angle is not None:
            simulate(given.angle, given.config, given.scattering_dir)
        elif given.output_dir is not None:
            beam(given.output_dir, given.ncount, Path(given.config))
        else:
            reduce(Path(given.config), given.events)
    except KeyError as error:
        print(f"{parser.prog}: {given.config}: {error.args[0]} is missing; give it", file=sys.stderr)
        return 1
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{parser.prog}: {error.filename}: {error.strerror}; a job before this one makes it, or data/ has it",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
