"""One job that does nothing."""

from Pegasus.api import Job, Workflow


def build(parameters, options):
    return Workflow("noop").add_jobs(Job("nothing", _id="nothing").add_args(parameters["x"]))
