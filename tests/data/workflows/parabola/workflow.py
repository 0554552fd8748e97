"""split -> left, right -> last."""

from Pegasus.api import File, Job, Workflow


def build(parameters, options):
    settings, seed = File("settings.txt"), File("constants/offset.txt")
    halves = {side: File(f"{side}.txt") for side in ("left", "right")}
    parts = {side: File(f"{side}.out") for side in ("left", "right")}
    split = Job("sh", _id="split").add_args("-c", f"'cat {settings.lfn} > left.txt; cat {seed.lfn} > right.txt'")
    split.add_inputs(settings, seed).add_outputs(*halves.values(), stage_out=False)
    middle = [
        Job("sh", _id=side)
        .add_args("-c", f"'sleep {options['pause']}; cat {half.lfn} > {parts[side].lfn}'")
        .add_inputs(half)
        .add_outputs(parts[side], stage_out=False)
        for side, half in halves.items()
    ]
    last = Job("square", _id="last").add_args(options["trouble"]).set_stdin(settings)
    last.add_inputs(*parts.values()).add_outputs(File("result.json"))
    return Workflow("parabola").add_jobs(split, *middle, last)
