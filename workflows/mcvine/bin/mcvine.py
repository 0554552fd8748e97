#!/usr/bin/env python3
"""Lay out the folder of an experiment on a direct-geometry spectrometer, with its sample assembly.

Usage: mcvine workflow singlecrystal --outdir DIR --type DGS --instrument NAME --sample SAMPLE.yml

Stands in for `mcvine workflow` where a site has no mcvine: same command, same folders (beam, sampleassembly,
scattering), and the files that the jobs after it read. SAMPLE.yml is YAML in its JSON form.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

INSTRUMENTS = ("ARCS", "SEQUOIA")
LENGTHS = {"m": 1000.0, "cm": 10.0, "mm": 1.0}


class InputError(Exception):
    """A file is not what it should be."""


def quantity(sample: dict[str, Any], place: str, units: dict[str, float]) -> float:
    """A value such as `5*mm`, as a number of the unit whose factor is 1."""
    found: Any = sample
    for name in place.split("."):
        if not isinstance(found, dict) or name not in found:
            raise InputError(f"{place} is missing; give it, such as {place.split('.')[-1]}: 5.*{min(units)}")
        found = found[name]
    match = re.fullmatch(r"\s*([-+.\deE]+?)\s*\*\s*(\w+)\s*", str(found))
    try:
        value = float(match[1]) * units[match[2]] if match else float("nan")
    except (ValueError, KeyError):
        value = float("nan")
    if not 0 < value < float("inf"):
        raise InputError(f"{place} is {found!r}; it must be a positive number times one of {', '.join(units)}")
    return value


def read_sample(path: str) -> dict[str, Any]:
    """The description of a sample."""
    try:
        sample = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as problem:
        raise InputError(f"not YAML in its JSON form: {problem}; the original mcvine reads all of YAML") from None
    if not isinstance(sample, dict):
        raise InputError("not a description of a sample; it must be an object with name, material, temperature, shape")
    for key in ("name", "material"):
        if not isinstance(sample.get(key), str) or not sample[key]:
            raise InputError(f"{key} is missing; give it as a text")
    return sample


def layout(sample: dict[str, Any], instrument: str) -> dict[str, str]:
    """Texts of the experiment's files by their names."""
    radius = quantity(sample, "shape.cylinder.radius", LENGTHS)
    height = quantity(sample, "shape.cylinder.height", LENGTHS)
    temperature = quantity(sample, "temperature", {"K": 1.0})
    name, material = html.escape(sample["name"]), html.escape(sample["material"])
    assembly = (
        f'<?xml version="1.0"?>\n<SampleAssembly name="sampleassembly">\n <Sample name="{name}" type="sample">\n'
        f'  <Shape>\n   <cylinder radius="{radius:.9g}*mm" height="{height:.9g}*mm"/>\n  </Shape>\n </Sample>\n'
        "</SampleAssembly>\n"
    )
    scatterer = (
        f'<?xml version="1.0"?>\n<scatterer material="{material}">\n'
        f' <temperature unit="K">{temperature:.9g}</temperature>\n</scatterer>\n'
    )
    return {
        "beam/run-beam.sh": f"#!/bin/sh\nmcvine instruments {instrument.lower()} beam --E=70 --ncount=1e7\n",
        "sampleassembly/sampleassembly.xml": assembly,
        "sampleassembly/swdemo-scatterer.xml": scatterer,
    }


def write(path: Path, text: str) -> None:
    """Write under a name of this process, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="mcvine")
    parser.add_argument("command", choices=["workflow"])
    parser.add_argument("kind", choices=["singlecrystal"])
    parser.add_argument("--outdir", required=True, type=Path)
    parser.add_argument("--type", required=True, choices=["DGS"])
    parser.add_argument("--instrument", required=True, choices=INSTRUMENTS)
    parser.add_argument("--sample", required=True)
    given = parser.parse_args(arguments)
    try:
        for name, text in layout(read_sample(given.sample), given.instrument).items():
            write(given.outdir / name, text)
            print(f"wrote {given.outdir / name}", flush=True)
        (given.outdir / "scattering").mkdir(exist_ok=True)
    except InputError as error:
        print(f"mcvine: {given.sample}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"mcvine: {error.filename}: {error.strerror}; the experiment cannot be laid out", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
