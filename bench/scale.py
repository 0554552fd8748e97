"""Where the bottleneck moves: 10^5 workflows with 10^8 events from ever more submit hosts, simulated.

    python bench/scale.py [--workflows 100000] [--seed 1] [--picture docs/scale.png] [--constants] [--json]

Each workflow is one of 22 jobs of 195 s, sampled every 10 s, in the shape of a small 1000genome, and 4 jobs that carry
files: 1001 events. Hosts are alike: 16 cores, 2,000 slots of their own, a study whose Dakota keeps the ensemble full.
Every sample is a message of its own (`monitoring.online`). What is measured, documented or assumed: --constants.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _machine import describe
from _scale_constants import CONSTANTS, value
from _scale_model import INTERVAL, Centre, Host, Level, Outcome, Workload, simulate

GENOME = Workload(
    levels=(Level(1, True), Level(1, True), Level(11), Level(1), Level(10), Level(1, True), Level(1, True)),
    runtime=195.0,
    spread=0.3,
    auxiliary=2.0,
    samples=10.0,
)
USUAL = Host(cores=16, slots=2000, max_planning=2, max_running=4)
LARGE = Host(cores=16, slots=2000, max_planning=8, max_running=500)
SEARCH = Centre(queues=2, broker_cores=8, collectors=2, engine_nodes=1)
PAGES = 100  # open pages of the dashboard


@dataclass(frozen=True)
class Scenario:
    """Submit hosts and what they send to; `share` of the workflows is run, where all would take too long."""

    name: str
    hosts: int
    host: Host
    centre: Centre
    share: float = 1.0


SCENARIOS = (
    Scenario("1 host, limits as they come", 1, USUAL, Centre(), 0.01),
    Scenario("1 host", 1, LARGE, Centre()),
    Scenario("4 hosts", 4, LARGE, Centre()),
    Scenario("16 hosts", 16, LARGE, Centre()),
    Scenario("64 hosts", 64, LARGE, Centre()),
    Scenario("64 hosts, search engine", 64, LARGE, SEARCH),
)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workflows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="draw it here; needs matplotlib")
    parser.add_argument("--constants", action="store_true", help="print what the simulation takes as given")
    parser.add_argument("--json", action="store_true", help="every number, for programs")
    told = parser.parse_args()
    if told.constants:
        print("\n".join(_constants()))
        return
    outcomes = {each.name: _outcome(each, told.workflows, told.seed) for each in SCENARIOS}
    if told.picture:
        _draw(outcomes, told.picture)
    print(json.dumps(_numbers(outcomes), indent=1) if told.json else "\n".join(_lines(outcomes)))


def _outcome(scenario: Scenario, workflows: int, seed: int) -> Outcome:
    number = max(1, round(scenario.share * workflows))
    return simulate(GENOME, number, scenario.hosts, scenario.host, scenario.centre, seed)


def needs(outcome: Outcome, scenario: Scenario) -> dict[str, str]:
    """What each part needs at its busiest: cores, memory, disk, network."""
    hosts = outcome.hosts
    sent, stored = (max(some) / INTERVAL for some in (outcome.sent, outcome.store.passed))
    planned = len(outcome.run.ends) / outcome.run.makespan
    cores = planned * value("plan_cpu") + sent / hosts * value("monitord_cpu")
    jobs = outcome.busy["slots"] * scenario.host.slots
    memory = outcome.run.most * (value("monitord") + value("dagman")) + jobs * value("shadow")
    disk = len(outcome.run.ends) * value("submit_dir")
    found = {
        "each submit host": f"{cores:.1f} cores, {memory / 1e9:.0f} GB, {disk / 1e12:.2f} TB of submit directories, "
        f"{_network(sent / hosts)}",
        "broker": f"{sent * value('broker_cpu'):.1f} cores, {value('broker') / 1e9:.1f} GB, "
        f"{outcome.broker.most * value('message') / 1e9:.1f} GB of disk for what waits, {_network(2 * sent)}",
    }
    waiting = outcome.store.most * value("message") / 1e9
    if scenario.centre.engine_nodes:
        return found | _engine(outcome, scenario.centre, stored, waiting) | _dashboard()
    return (
        found
        | {
            "collector": f"{stored * value('collector_cpu'):.1f} cores, {value('collector') / 1e6:.0f} MB, "
            f"{waiting:.1f} GB wait in the broker at most",
            "SQLite": f"{outcome.events * value('sqlite_row') / 1e9:.0f} GB of disk, "
            f"{stored * value('sqlite_written') / 1e6:.0f} MB/s written",
        }
        | _dashboard()
    )


def _engine(outcome: Outcome, centre: Centre, stored: float, waiting: float) -> dict[str, str]:
    return {
        f"{centre.collectors} collectors": f"{stored * value('engine_collector_cpu'):.1f} cores, "
        f"{centre.collectors * value('collector') / 1e6:.0f} MB, {waiting:.1f} GB wait in the broker at most",
        f"{centre.engine_nodes} engine node": f"{stored * value('engine_cpu'):.1f} cores, "
        f"{2 * centre.engine_nodes * value('engine_heap') / 1e9:.0f} GB, "
        f"{outcome.events * value('engine_row') / 1e9:.0f} GB of disk",
    }


def _dashboard() -> dict[str, str]:
    return {"dashboard": f"{PAGES * value('reader_cpu'):.1f} cores for {PAGES} open pages"}


def _network(events: float) -> str:
    return f"{8e-6 * events * value('message'):.1f} Mbit/s"


def _lines(outcomes: dict[str, Outcome]) -> Iterator[str]:
    yield from (f"{name:16} {told}" for name, told in describe().items())
    yield f"\n{GENOME.jobs} jobs and {GENOME.events:.0f} events a workflow\n"
    yield (
        "| submit hosts | workflows | all done after [h] | all stored [h] | events/s | busiest | next |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    yield from (_row(name, outcome) for name, outcome in outcomes.items())
    for scenario in SCENARIOS[1:]:
        yield f"\n{scenario.name}, at the busiest:"
        yield from (f"  {part:18} {need}" for part, need in needs(outcomes[scenario.name], scenario).items())


def _row(name: str, outcome: Outcome) -> str:
    first, second = sorted(outcome.busy.items(), key=lambda item: -item[1])[:2]
    return (
        f"| {name} | {outcome.hosts * len(outcome.run.ends)} | {outcome.run.makespan / 3600:.1f} | "
        f"{outcome.stored / 3600:.1f} | {outcome.events / outcome.run.makespan:.0f} | "
        f"{first[0]} {100 * first[1]:.0f} % | {second[0]} {100 * second[1]:.0f} % |"
    )


def _numbers(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    return {
        "machine": describe(),
        "constants": {name: asdict(constant) for name, constant in CONSTANTS.items()},
        "outcomes": {
            scenario.name: {
                "workflows": scenario.hosts * len(outcomes[scenario.name].run.ends),
                "events": outcomes[scenario.name].events,
                "makespan": outcomes[scenario.name].run.makespan,
                "stored": outcomes[scenario.name].stored,
                "delay": outcomes[scenario.name].store.delay,
                "busy": outcomes[scenario.name].busy,
                "needs": needs(outcomes[scenario.name], scenario),
            }
            for scenario in SCENARIOS
        },
    }


def _constants() -> Iterator[str]:
    yield "| name | value | unit | known | from |\n| --- | --- | --- | --- | --- |"
    for name, constant in CONSTANTS.items():
        yield f"| {name} | {constant.value:.4g} | {constant.unit} | {constant.known} | {constant.source} |"


def _draw(outcomes: dict[str, Outcome], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.4), width_ratios=(1.25, 0.9, 1.1))
    _draw_busy(left, outcomes)
    _draw_times(middle, outcomes)
    _draw_waiting(right, outcomes["64 hosts"])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_busy(axes: Any, outcomes: dict[str, Outcome]) -> None:
    parts = list(next(iter(outcomes.values())).busy)
    share = [[100 * outcome.busy[part] for part in parts] for outcome in outcomes.values()]
    axes.imshow(share, cmap="YlOrRd", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(parts)), parts, rotation=30, ha="right")
    axes.set_yticks(range(len(outcomes)), list(outcomes))
    for row, values in enumerate(share):
        for column, percent in enumerate(values):
            axes.text(
                column, row, f"{percent:.0f}", ha="center", va="center", color="white" if percent > 70 else "black"
            )
    axes.set_title("how busy each part is [%]; over 100: it falls behind", fontsize=10)


def _draw_times(axes: Any, outcomes: dict[str, Outcome]) -> None:
    grown = [outcomes[scenario.name] for scenario in SCENARIOS[1:5]]
    hosts = [outcome.hosts for outcome in grown]
    axes.loglog(hosts, [outcome.run.makespan / 3600 for outcome in grown], "o-", label="all workflows done")
    axes.loglog(hosts, [outcome.stored / 3600 for outcome in grown], "s--", label="all events in SQLite")
    searched = outcomes[SCENARIOS[5].name]
    axes.loglog([searched.hosts], [searched.stored / 3600], "^", label="all events in the search engine")
    axes.set_xticks(hosts, [str(number) for number in hosts])
    axes.minorticks_off()
    axes.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.grid(alpha=0.3)
    axes.set_xlabel("submit hosts")
    axes.set_ylabel("time [h]")
    axes.set_title(f"{hosts[0] * len(grown[0].run.ends):,} workflows, {grown[0].events:.0e} events", fontsize=10)
    axes.legend(fontsize=8)


def _draw_waiting(axes: Any, outcome: Outcome) -> None:
    for name, flow in (("sent", outcome.sent), ("out of the broker", outcome.broker.passed)):
        axes.plot(_minutes(flow), [events / INTERVAL / 1e3 for events in flow], label=name)
    stored = outcome.store.passed
    axes.plot(_minutes(stored), [events / INTERVAL / 1e3 for events in stored], label="into SQLite")
    axes.set_xlabel("time [min]")
    axes.set_ylabel("events [1000/s]")
    other = axes.twinx()
    waiting = outcome.store.waiting
    other.fill_between(_minutes(waiting), [events / 1e6 for events in waiting], alpha=0.15, color="gray")
    other.set_ylabel("waiting [million] (grey)")
    axes.set_title("64 hosts, one SQLite file", fontsize=10)
    axes.legend(fontsize=8, loc="lower center")


def _minutes(flow: list[float]) -> list[float]:
    return [place * INTERVAL / 60 for place in range(len(flow))]


if __name__ == "__main__":
    main()
