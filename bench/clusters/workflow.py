"""Seven that compute and six that move data, side by side, and one of each kind that gathers what they left."""

from Pegasus.api import File, Job, Workflow

CRUNCH, SHUFFLE = 7, 6


def build(parameters, options):
    crunched = [File(f"crunched{number}.txt") for number in range(CRUNCH)]
    shuffled = [File(f"shuffled{number}.txt") for number in range(SHUFFLE)]
    told = [options["trouble"], parameters["draw"]]
    jobs = [
        Job("crunch", _id=f"c{number}").add_args(options["work"], *told, made).add_outputs(made, stage_out=False)
        for number, made in enumerate(crunched)
    ]
    jobs += [
        Job("shuffle", _id=f"s{number}").add_args(options["volume"], made).add_outputs(made, stage_out=False)
        for number, made in enumerate(shuffled)
    ]
    jobs += [
        Job("gather", _id=f"g{name}").add_args(end, *made).add_inputs(*made).add_outputs(end)
        for name, made, end in (("c", crunched, File("crunched.txt")), ("s", shuffled, File("shuffled.txt")))
    ]
    return Workflow("clusters").add_jobs(*jobs)
