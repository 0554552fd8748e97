"""As many jobs as programs are named, side by side, each with a seed of its own."""

import random

from Pegasus.api import Job, Workflow


def build(parameters, options):
    draws = random.Random(parameters["draw"])
    jobs = [
        Job(program, _id=f"j{number}").add_args(program, options["work"], draws.randrange(10**6))
        for number, program in enumerate(options["programs"].split(","))
    ]
    return Workflow("online").add_jobs(*jobs)
