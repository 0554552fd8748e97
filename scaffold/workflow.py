"""simulate -> compare."""

from Pegasus.api import File, Job, Workflow


def build(parameters, options):
    curve = File("curve.txt")
    simulate = Job("simulate", _id="tea").add_args("model.json", curve)
    simulate.add_inputs(File("model.json")).add_outputs(curve, stage_out=False)
    compare = Job("compare", _id="fit").add_args(curve, "measured.txt", "fit.json")
    compare.add_inputs(curve, File("measured.txt")).add_outputs(File("fit.json"))
    return Workflow("cooling").add_jobs(simulate, compare)
