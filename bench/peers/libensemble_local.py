"""libEnsemble with local communication: a random sample made on the manager in one batch, one process a worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import arguments, evaluate, report
from libensemble import Ensemble
from libensemble.gen_funcs.sampling import uniform_random_sample
from libensemble.specs import ExitCriteria, GenSpecs, LibeSpecs, SimSpecs


def simulate(points: Any, _: Any, specs: Any) -> Any:
    """Evaluate what libEnsemble hands to a worker."""
    values = np.zeros(len(points), dtype=[("y", float)])
    values["y"] = [evaluate(float(x)) for x in points["x"][:, 0]]
    return values


def main() -> None:
    """Run the ensemble and report."""
    args = arguments()
    ensemble = Ensemble(
        libE_specs=LibeSpecs(
            nworkers=args.concurrency,
            comms="local",
            gen_on_manager=True,
            disable_log_files=True,
            save_H_on_completion=False,
        ),
        sim_specs=SimSpecs(sim_f=simulate, inputs=["x"], outputs=[("y", float)]),
        gen_specs=GenSpecs(
            gen_f=uniform_random_sample,
            outputs=[("x", float, 1)],
            user={"gen_batch_size": args.evaluations, "lb": np.zeros(1), "ub": np.ones(1)},
        ),
        exit_criteria=ExitCriteria(sim_max=args.evaluations),
    )
    ensemble.add_random_streams()
    ensemble.run()
    history = ensemble.H[ensemble.H["sim_ended"]]
    report(args.report, "libensemble", history["sim_ended_time"].tolist())


if __name__ == "__main__":
    main()
