"""Stages of equal jobs, each of which waits for all of the one before."""

from Pegasus.api import File, Job, Workflow


def build(parameters, options):
    work = round(options["work"] * (1 + options["hill"] * (parameters["x"] - 0.3) ** 2))
    workflow, before = Workflow("stages"), []
    for stage in range(options["stages"]):
        made = [File(f"{stage}-{number}.json") for number in range(options["wide"])]
        for number, file in enumerate(made):
            job = Job("burn", _id=f"s{stage}n{number}").add_args(parameters["x"], number, work, options["rest"])
            job.add_args(file.lfn, *(each.lfn for each in before)).add_inputs(*before)
            last = stage == options["stages"] - 1 and number == 0
            workflow.add_jobs(job.add_outputs(file, stage_out=last))
        before = made
    return workflow
