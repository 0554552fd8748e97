"""The published mcvine workflow (SNS and NERSC): an experiment on a direct-geometry spectrometer, a job for each angle.

Mended: every sim waits for the scatterer that `move` puts in place, and for the beam; `move` is the one job that makes
that file. Added: `beam`, which the published workflow took ready-made, and `reduce` and `compare`, done by hand there.
All edges follow from the files: each has one job that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from Pegasus.api import File, Job, Workflow

NOTHING = "none"
"""Value of the option `reference` that leaves the comparison out."""


def build(parameters: Mapping[str, Any], options: Mapping[str, Any]) -> Workflow:
    """The abstract workflow: setup, untar, move, beam, a sim for each angle, reduce; compare, given a reference.

    Raises
    ------
    ValueError
        `output_dir` is not one folder, or two angles are the same.
    """
    home = one_folder(options["output_dir"])
    angles = scan(parameters["angle"], options["angle_count"], options["angle_step"])
    jobs = [set_up(home, options["instrument"]), unpack(home), move(home), beam(home, options["beam_ncount"])]
    jobs += [*(simulate(home, angle) for angle in angles), reduce(home, angles)]
    if options["reference"] != NOTHING:
        jobs.append(compare(options["reference"]))
    return Workflow("mcvine").add_jobs(*jobs)


def one_folder(name: str) -> str:
    """The name of the experiment's folder; sim finds its configuration two folders up, so it may not be a path."""
    if not name or "/" in name or name in {".", ".."}:
        raise ValueError(f"output_dir is {name!r}; it must be the name of one folder")
    return name


def scan(first: float, count: int, step: float) -> list[float]:
    """Angles [deg] of a scan. The published `angles = start, stop, step` is count = ceil((stop - start) / step)."""
    angles = [round(first + number * step, 6) for number in range(count)]
    if len(set(angles)) < count:
        raise ValueError(f"angle_step is {step}; {count} angles need a step that tells them apart")
    return angles


def set_up(home: str, instrument: str) -> Job:
    """Lay out the experiment's folder."""
    job = Job("mcvine", _id="mcvine_setup", node_label="mcvine_setup")
    job.add_args("workflow", "singlecrystal", "--outdir", home, "--type", "DGS", "--instrument", instrument)
    job.add_args("--sample", "sample.yml").add_inputs(File("sample.yml"))
    made = (File(f"{home}/beam/run-beam.sh"), File(f"{home}/sampleassembly/sampleassembly.xml"))
    return job.add_outputs(*made, stage_out=False, register_replica=False)


def unpack(home: str) -> Job:
    """Unpack what is published of the beam."""
    job = Job("tar", _id="untar", node_label="untar").add_args("-xzvf", "beam.tar.gz", "-C", f"./{home}/beam")
    job.add_inputs(File("beam.tar.gz"), File(f"{home}/beam/run-beam.sh"))
    return job.add_outputs(File(f"{home}/beam/run-m2s.sh"), stage_out=False, register_replica=False)


def move(home: str) -> Job:
    """Put the scatterer in the place of the one that the setup wrote."""
    target = File(f"{home}/sampleassembly/swdemo-scatterer.xml")
    job = Job("mv", _id="move", node_label="move").add_args("scatterer.xml", target)
    job.add_inputs(File("scatterer.xml"), File(f"{home}/sampleassembly/sampleassembly.xml"))
    return job.add_outputs(target, stage_out=False, register_replica=False)


def beam(home: str, count: int) -> Job:
    """Neutrons from moderator and Fermi chopper."""
    job = Job("beam", _id="beam", node_label="beam")
    job.add_args(f"--output-dir=./{home}/beam/out", f"--ncount={count}", "--config=beam.yml")
    job.add_args("--instruments=instruments.json")
    job.add_inputs(File("beam.yml"), File("instruments.json"), File(f"{home}/beam/run-m2s.sh"))
    made = (File(f"{home}/beam/out/{name}") for name in ("neutrons", "props.json"))
    return job.add_outputs(*made, stage_out=False, register_replica=False)


def simulate(home: str, angle: float) -> Job:
    """Scatter the beam from the sample at one angle; the sim runs in the folder `scattering`, as published."""
    name = f"sim_{angle}".replace("-", "m").replace(".", "_")  # DAGMan keeps the dot for itself
    job = Job("sim", _id=name, node_label="mcvine_run")
    job.add_args(f"--angle={angle}", "--config=../../sim.yml", f"--scattering-dir=./{home}/scattering")
    read = ("beam/run-m2s.sh", "beam/out/neutrons", "sampleassembly/sampleassembly.xml")
    job.add_inputs(File("sim.yml"), *(File(f"{home}/{name}") for name in read))
    job.add_inputs(File(f"{home}/sampleassembly/swdemo-scatterer.xml"))
    return job.add_outputs(File(events(home, angle)), register_replica=False)


def events(home: str, angle: float) -> str:
    """Name of the events of one angle."""
    return f"{home}/scattering/work_{angle}/sim_{angle}.nxs"


def reduce(home: str, angles: Sequence[float]) -> Job:
    """Events of all angles to energy and momentum transfer."""
    names = [File(events(home, angle)) for angle in angles]
    job = Job("reduce", _id="reduce", node_label="reduce").add_args("--config=reduce.yml", *names)
    job.add_inputs(File("reduce.yml"), *names)
    return job.add_outputs(File("iqe.h5"), File("spectrum.json"), register_replica=False)


def compare(reference: str) -> Job:
    """Chi-squared per point against the reference."""
    job = Job("compare", _id="compare", node_label="compare")
    job.add_args("spectrum.json", reference, "fit.json").add_inputs(File("spectrum.json"), File(reference))
    return job.add_outputs(File("fit.json"), register_replica=False)
