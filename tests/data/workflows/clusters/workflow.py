"""part x N -> join, for each of two groups; then total."""

from Pegasus.api import File, Job, Workflow

PROFILES = {"label": "label", "size": "clusters_size", "num": "clusters_num"}


def build(parameters, options):
    workflow, seed = Workflow("clusters"), File("seed.txt")
    how, joined = options["how"], []
    for group in range(2):
        parts = [File(f"g{group}-{number}.txt") for number in range(options["parts"])]
        jobs = [
            Job("part", _id=f"g{group}-{number}")
            .add_args(part.lfn, options["pause"], options["trouble"])
            .add_inputs(seed)
            .add_outputs(part, stage_out=False)
            for number, part in enumerate(parts)
        ]
        joined.append(File(f"joined{group}.txt"))
        join = Job("join", _id=f"join{group}").add_args(joined[-1].lfn, *parts).add_inputs(*parts)
        join.add_outputs(joined[-1], stage_out=False)
        for job in [*jobs, join] if how == "label" else jobs if how != "none" else []:
            job.add_pegasus_profile(**{PROFILES[how]: f"group{group}" if how == "label" else options["factor"]})
        workflow.add_jobs(*jobs, join)
    total = Job("join", _id="total").add_args("total.txt", *joined).add_inputs(*joined).add_outputs(File("total.txt"))
    return workflow.add_jobs(total)
