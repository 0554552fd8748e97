#!/usr/bin/env python3
"""Make every input of this workflow that is not a template: what is known of the beam lines, and the reference.

    python make_inputs.py beam        # instruments.json and beam.tar.gz; the same contents everywhere
    python make_inputs.py reference   # reference.json: the spectrum at the truth, 4e6 neutrons, another seed

The reference is the work of the workflow's own programs, run one after another in a temporary folder.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

HERE = Path(__file__).resolve().parent

TRUTH = {"temperature": 300.0}
"""What the synthetic reference was made with; a study has to find it again."""
REFERENCE = {"seed": 99, "ncount": 4_000_000, "beam_ncount": 100_000}

CHOPPER = {"slit_mm": 1.52, "diameter_mm": 100.0}
"""A package of 1.5 mm slits in a rotor of 100 mm, as of mcvine's chopper 100-1.5-SMI."""
MODERATOR = {"slowing_down_per_cm": 1.3}
"""Macroscopic slowing-down cross section of water, near enough (Ikeda and Carpenter 1985)."""
INSTRUMENTS = {
    "ARCS": {
        "moderator_to_chopper_m": 11.61,
        "moderator_to_sample_m": 13.61,
        "sample_to_detector_m": 3.0,
        "moderator": MODERATOR,
        "chopper": CHOPPER,
        "detector": {
            "half_height_m": 1.5,
            "first_deg": -28.0,
            "last_deg": 135.0,
            "columns": 326,
            "rows": 60,
            "beam_stop_deg": 3.0,
        },
    },
    "SEQUOIA": {
        "moderator_to_chopper_m": 18.0,
        "moderator_to_sample_m": 20.0,
        "sample_to_detector_m": 5.5,
        "moderator": MODERATOR,
        "chopper": CHOPPER,
        "detector": {
            "half_height_m": 1.8,
            "first_deg": -30.0,
            "last_deg": 60.0,
            "columns": 345,
            "rows": 72,
            "beam_stop_deg": 2.0,
        },
    },
}
RUN_M2S = """#!/bin/sh
# mcvine keeps here the command that made the beam of this archive, whose neutrons lie beside it in out/. This archive
# brings none: the job `beam` makes them.
"""


def beam() -> bytes:
    """The archive in the place of mcvine's ready-made beam."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("run-m2s.sh")
        member.size, member.mode = len(RUN_M2S), 0o755
        tar.addfile(member, io.BytesIO(RUN_M2S.encode()))
    return stream.getvalue()


def defaults() -> dict[str, Any]:
    """Every parameter and option of workflow.yml at its default."""
    described = yaml.safe_load((HERE / "workflow.yml").read_text())
    return {name: one["default"] for part in ("parameters", "options") for name, one in described[part].items()}


def render(directory: Path, values: Mapping[str, Any]) -> None:
    """Write all inputs of one evaluation into a directory."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    for template in (HERE / "templates").iterdir():
        text = environment.from_string(template.read_text()).render(values)
        (directory / template.name.removesuffix(".j2")).write_text(text)
    for data in (HERE / "data").iterdir():
        shutil.copy(data, directory)


def execute(directory: Path, script: str, *arguments: str) -> None:
    """Run a program of ours as a job would."""
    subprocess.run([sys.executable, str(HERE / "bin" / script), *arguments], cwd=directory, check=True)


def measure(directory: Path, values: Mapping[str, Any], angles: Sequence[float] = (0.0,)) -> dict[str, Any]:
    """The spectrum of one evaluation, its jobs run one after another in a directory."""
    render(directory, values)
    home = str(values["output_dir"])
    setup = ("workflow", "singlecrystal", "--outdir", home, "--type", "DGS", "--instrument", values["instrument"])
    execute(directory, "mcvine.py", *setup, "--sample", "sample.yml")
    with tarfile.open(directory / "beam.tar.gz") as tar:
        tar.extractall(directory / home / "beam", filter="data")
    os.replace(directory / "scatterer.xml", directory / home / "sampleassembly" / "swdemo-scatterer.xml")
    beam = (f"--output-dir=./{home}/beam/out", f"--ncount={values['beam_ncount']}", "--config=beam.yml")
    execute(directory, "beam.py", *beam, "--instruments=instruments.json")
    events = [f"{home}/scattering/work_{angle}/sim_{angle}.nxs" for angle in angles]
    for angle in angles:
        where = ("--config=../../sim.yml", f"--scattering-dir=./{home}/scattering")
        execute(directory, "sim.py", f"--angle={angle}", *where)
    execute(directory, "reduce.py", "--config=reduce.yml", *events)
    return dict(json.loads((directory / "spectrum.json").read_text()))


def reference() -> dict[str, Any]:
    """The spectrum at the truth, labelled as what it is."""
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory), {**defaults(), **TRUTH, **REFERENCE})
    return {"synthetic": True, "truth": TRUTH, "made_with": REFERENCE, **found}


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["beam", "reference"])
    if parser.parse_args().what == "beam":
        (HERE / "data" / "beam.tar.gz").write_bytes(beam())
        (HERE / "data" / "instruments.json").write_text(json.dumps(INSTRUMENTS, indent=1) + "\n")
    else:
        (HERE / "data" / "reference.json").write_text(json.dumps(reference(), indent=1) + "\n")


if __name__ == "__main__":
    main()
