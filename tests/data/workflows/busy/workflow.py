"""part x N -> total: each part burns processor time, writes and reads, and starts children; total adds up."""

from Pegasus.api import File, Job, Workflow


def build(parameters, options):
    settings = File("settings.json")
    results = [File(f"part{number}.json") for number in range(options["parts"])]
    parts = [
        Job("part", _id=f"part{number}").add_args(result.lfn).set_stdin(settings).add_outputs(result, stage_out=False)
        for number, result in enumerate(results)
    ]
    total = Job("total", _id="total").add_args(*results).add_inputs(*results).add_outputs(File("result.json"))
    return Workflow("busy").add_jobs(*parts, total)
