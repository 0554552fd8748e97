"""The published nanodiamond refinement (SNS and NERSC, 2014) for one set of parameters, and the comparison it ended in.

Two mends: NAMD's restart coordinates are `.restart.coor`, and the coherent calculation waits for ptraj, whose output it
reads. One addition: `compare`, which used to be done by hand.
"""

from __future__ import annotations

from collections.abc import Mapping

from Pegasus.api import File, Job, Workflow

STRUCTURE = ("nanodiamond.psf", "nanodiamond.pdb", "par_nanodiamond.inp")
RESTART = tuple(f"equilibrate.restart.{kind}" for kind in ("coor", "vel", "xsc"))


def build(parameters: Mapping[str, object], options: Mapping[str, object]) -> Workflow:
    """The abstract workflow; parameters and options act through the rendered inputs alone."""
    workflow = Workflow("sns_nanodiamond")
    untar = unpack()
    equilibrate = molecular_dynamics("namd_eq", "equilibrate.conf", ["init.xsc"], RESTART, keep=False)
    produce = molecular_dynamics("namd_prod", "production.conf", RESTART, ["production.dcd"], keep=True)
    fit = superpose()
    incoherent, coherent = scatter("sassena_inc", "Inc", "incoherent"), scatter("sassena_coh", "Coh", "coherent")
    judge = compare()
    workflow.add_jobs(untar, equilibrate, produce, fit, incoherent, coherent, judge)
    workflow.add_dependency(equilibrate, children=[produce])
    workflow.add_dependency(produce, children=[fit])
    workflow.add_dependency(fit, children=[incoherent, coherent])
    workflow.add_dependency(untar, children=[incoherent, coherent])
    workflow.add_dependency(judge, parents=[incoherent, coherent])
    return workflow


def unpack() -> Job:
    """Unpack the scattering lengths."""
    job = Job("tar", _id="untar", node_label="untar").add_args("-xzvf", "sassena_db.tar.gz")
    job.add_inputs(File("sassena_db.tar.gz"))
    databases = (File(f"database/db-neutron-{kind}.xml") for kind in ("incoherent", "coherent"))
    return job.add_outputs(*databases, stage_out=False, register_replica=False)


def molecular_dynamics(
    name: str, conf: str, start: list[str] | tuple[str, ...], made: list[str] | tuple[str, ...], *, keep: bool
) -> Job:
    """One NAMD run."""
    job = Job("namd", _id=name, node_label=name).add_args(conf)
    job.add_inputs(*map(File, (conf, *STRUCTURE, *start)))
    return job.add_outputs(*map(File, made), stage_out=keep, register_replica=False)


def superpose() -> Job:
    """Take the drift of the whole box out of the trajectory."""
    job = Job("ptraj", _id="amber_ptraj", node_label="amber_ptraj").add_args("nanodiamond.psf")
    job.set_stdin("ptraj.conf")
    job.add_inputs(File("nanodiamond.psf"), File("production.dcd"))
    return job.add_outputs(File("ptraj.fit"), File("ptraj.dcd"))


def scatter(name: str, short: str, kind: str) -> Job:
    """F(Q,t) of the superposed trajectory."""
    conf = f"sassena{short}.xml"
    job = Job("sassena", _id=name, node_label=name).add_args("--config", conf)
    inputs = (conf, "nanodiamond.pdb", "orientations.txt", "ptraj.dcd", f"database/db-neutron-{kind}.xml")
    job.add_inputs(*map(File, inputs))
    return job.add_outputs(File(f"fqt_{short.lower()}.hd5"))


def compare() -> Job:
    """Chi-squared per point against the reference."""
    job = Job("compare", _id="compare", node_label="compare").add_args("compare.json")
    job.add_inputs(*map(File, ("compare.json", "reference.json", "fqt_inc.hd5", "fqt_coh.hd5")))
    return job.add_outputs(File("fit.json"), File("spectrum.json"))
