"""The simulation of bench/scale.py: small cases worked out by hand, limits that must show, and real runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    sys.path.insert(0, str(BENCH))
    yield import_module("_scale_model")
    sys.path.remove(str(BENCH))


def made(model: Any, *widths: int, runtime: float = 10.0, **more: Any) -> Any:
    """A workload without chance: levels of compute jobs that all take the same time."""
    usual = {"spread": 0.0, "auxiliary": 2.0, "samples": 10.0} | more
    return model.Workload(levels=tuple(model.Level(width) for width in widths), runtime=runtime, **usual)


def run(model: Any, workload: Any, workflows: int = 1, **limits: int) -> Any:
    usual = {"cores": 16, "slots": 1000, "max_planning": 8, "max_running": 100} | limits
    return model.Manager(model.Host(**usual), workload, workflows, seed=1).go()


def test_one_workflow_of_one_job_by_hand(model: Any) -> None:
    found = run(model, made(model, 1))
    # looks at 0, 2, 4; planned at 5.1 and seen at 6.0; pegasus-run until 6.4; started at 6.5, over at 16.5, POST script
    # and scan until 19.5, monitord until 21.5; the looks after 6.4 are at 8.4, 10.4, ..., 22.4
    assert found.ends == [pytest.approx(22.4, abs=0.01)]
    assert sum(found.sent) == pytest.approx(22 + 10 / 10)
    assert found.computing == pytest.approx(10)
    assert found.in_flight == pytest.approx(19.5 - 6.4, abs=0.01)
    assert found.most == 1


def test_a_schedd_starts_one_job_after_another(model: Any) -> None:
    found = run(model, made(model, 600, runtime=10.0))
    assert found.starting == pytest.approx(60)  # 600 jobs, 10 a second
    assert found.makespan == pytest.approx(6.4 + 60 + 10 + 3 + 2, abs=2.1)


def test_jobs_wait_for_slots(model: Any) -> None:
    found = run(model, made(model, 6, runtime=100.0), slots=2)
    assert found.makespan == pytest.approx(6.5 + 3 * 100 + 3 + 2, abs=2.1)


def test_no_more_workflows_run_than_may(model: Any) -> None:
    alone = run(model, made(model, 1, runtime=100.0)).makespan
    found = run(model, made(model, 1, runtime=100.0), workflows=3, max_running=1)
    assert found.most == 1
    assert found.makespan == pytest.approx(3 * alone - 2 * 6, abs=6)  # the others are planned meanwhile


def test_planners_on_few_cores_take_longer(model: Any) -> None:
    quick = run(model, made(model, 1), workflows=80, cores=16)
    slow = run(model, made(model, 1), workflows=80, cores=2)
    assert quick.planning == pytest.approx(80 * 5.1)
    assert slow.planning == pytest.approx(80 * 5.1 * (8 * 6.0 / 5.1 / 2))  # 8 planners want 9.4 cores


def test_a_busy_host_does_what_its_schedd_can_start(model: Any) -> None:
    workload = made(model, 11, 1, 10, runtime=20.0)
    found = run(model, workload, workflows=500, max_running=500)
    assert found.makespan == pytest.approx(500 * 22 / 10, rel=0.1)


def test_what_exceeds_a_capacity_waits(model: Any) -> None:
    flow = model.through([1200.0, 0.0, 300.0], 10.0)  # 600 an interval of 60 s
    assert flow.passed == [600, 600, 300]
    assert flow.waiting == [600, 0, 0]
    assert flow.delay == 60
    flow = model.through([1500.0], 10.0)
    assert (flow.passed, flow.waiting, flow.most) == ([600, 600, 300], [900, 300, 0], 900)


def test_a_store_in_one_file_is_slower_than_a_search_engine_of_many_nodes(model: Any) -> None:
    one, many = model.Centre(), model.Centre(collectors=4, engine_nodes=3)
    assert one.store == pytest.approx(1 / model.value("collector_cpu"))
    nodes, collectors = 3 * 8 / model.value("engine_cpu"), 4 / model.value("engine_collector_cpu")
    assert many.store == pytest.approx(min(nodes, collectors))
    assert many.store > one.store
    assert model.Centre(queues=2, broker_cores=100).broker == 2 * model.value("broker_queue")


def test_the_bottleneck_moves_from_the_limits_over_the_schedd_to_the_store(model: Any) -> None:
    workload = made(model, 11, 1, 10, runtime=100.0, samples=5.0)
    few = model.Host(cores=16, slots=2000, max_planning=2, max_running=4)
    large = model.Host(cores=16, slots=2000, max_planning=8, max_running=500)
    assert model.simulate(workload, 40, 1, few, model.Centre(), 1).bottleneck == "max_running"
    assert model.simulate(workload, 2000, 1, large, model.Centre(), 1).bottleneck == "schedd"
    crowd = model.simulate(workload, 100_000, 200, large, model.Centre(queues=8, broker_cores=64), 1)
    assert crowd.bottleneck == "store"
    assert crowd.stored > crowd.run.makespan
    assert sum(crowd.store.passed) == pytest.approx(crowd.events) == pytest.approx(100_000 * workload.events)


def test_the_same_seed_gives_the_same_run(model: Any) -> None:
    workload = made(model, 5, 5, spread=0.5)
    one, same, other = (model.Manager(model.Host(4, 8, 2, 4), workload, 20, seed).go().makespan for seed in (1, 1, 2))
    assert one == same != other


def test_it_agrees_with_a_real_manager_and_pool(model: Any) -> None:
    """Pegasus 5.1.3 and HTCondor 23.9.6, a manager that looks every 2 s: two jobs of 2 s in a row, 6 nodes with those
    that carry files, took 45 s from the submission to SUCCESSFUL, of which 7 s until RUNNING."""
    workload = model.Workload(
        levels=tuple(model.Level(1, auxiliary) for auxiliary in (True, True, False, False, True, True)),
        runtime=2.0,
        spread=0.0,
        auxiliary=2.0,
        samples=1.0,
    )
    found = run(model, workload)
    assert found.makespan == pytest.approx(45, rel=0.15)
    assert found.makespan - found.in_flight == pytest.approx(7 + 2, abs=3)
