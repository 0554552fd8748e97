"""What adapting gains, and what it costs: the same studies with it and without, in turn, with faults from outside.

    python bench/adapting.py [--rounds N] [--only SCENARIO...] [--out results.json]

slow host    a group of slots whose processes are stopped and continued, so that they get a fifth of the time
stalled      one attempt of one evaluation is stopped for good
hopeless     points far from the best take long
healthy      nothing is wrong: nothing may be done, and the study may take no more than 1 % longer

Each study has the same points in the same order (seeded). A busy machine is part of what is measured: the two of a
round run one after the other, and what is compared is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _adapted
from _adapted import Run
from _machine import describe

SHARE = 0.2
"""Of the time that the slow host lets its processes go on."""
_SEED = 20

Fault = Callable[[str], contextlib.AbstractContextManager[object] | None]


@dataclass(frozen=True)
class Scenario:
    """Two studies that differ in what the server may do.

    Attributes
    ----------
    name : str
        What is wrong.
    keys : mapping
        Of study.yml, in both.
    without, having : str
        `adapt` and `monitoring` of the one and the other.
    points : int
        Evaluations.
    fault : callable
        Makes the fault for the study with a mark.
    """

    name: str
    keys: Mapping[str, object]
    without: Mapping[str, object]
    having: Mapping[str, object]
    points: int
    fault: Fault


_TWO = {"slots": "{fast: 1, slow: 1}"}
_ALL = "{stop_hopeless: true, retry_stalled: true, avoid_hosts: true, tune_running: true}"
SCENARIOS = (
    Scenario(
        "slow host",
        _TWO,
        {"adapt": "{}"},
        {"adapt": "{avoid_hosts: true}"},
        10,
        lambda mark: _adapted.slow_host(mark, "slow", SHARE),
    ),
    Scenario(
        "stalled",
        _TWO | {"options": "{work: 200}", "timeout": "60 s"},
        {"adapt": "{}"},
        {"adapt": "{retry_stalled: true}"},
        5,
        lambda mark: _adapted.stall(mark, "burn_s2n0", 4),
    ),
    Scenario(
        "hopeless",
        {"slots": 2, "options": "{work: 40, hill: 60}"},
        {"adapt": "{}"},
        {"adapt": "{stop_hopeless: true}"},
        12,
        lambda mark: None,
    ),
    Scenario(
        "healthy",
        _TWO | {"options": "{stages: 6}"},
        {"adapt": "{}", "monitoring": "{interval: 0.5 s, anomalies: 'off'}"},
        {"adapt": _ALL, "monitoring": "{interval: 0.5 s}"},
        3,
        lambda mark: None,
    ),
)


def main() -> int:
    """Run the scenarios; exit code 1 where something was done to a healthy study, or a result differed."""
    arguments = _arguments()
    told: dict[str, Any] = {"machine": describe(), "seed": _SEED}
    for name, value in told["machine"].items():
        print(f"{name}: {value}")
    wrong = False
    for scenario in SCENARIOS:
        if arguments.only and scenario.name not in arguments.only:
            continue
        pairs = list(_rounds(scenario, arguments.rounds or (20 if scenario.name == "healthy" else 3)))
        print("\n".join(_lines(scenario, pairs)), flush=True)
        told[scenario.name] = [[asdict(run) for run in pair] for pair in pairs]
        wrong |= _is_wrong(scenario, pairs)
    if arguments.out:
        arguments.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return int(wrong)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0, help="of each scenario (default: 3, and 20 healthy ones)")
    parser.add_argument("--only", nargs="+", choices=[scenario.name for scenario in SCENARIOS], help="these alone")
    parser.add_argument("--out", type=Path, help="write every run as JSON")
    return parser.parse_args()


def _rounds(scenario: Scenario, rounds: int) -> Iterator[tuple[Run, Run]]:
    """Both studies of each round; which one goes first alternates."""
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        runs = {which: _run(scenario, (scenario.without, scenario.having)[which]) for which in order}
        print(f"{scenario.name} {number + 1}: {runs[0].wall:.1f} s without, {runs[1].wall:.1f} s with", file=sys.stderr)
        yield runs[0], runs[1]


def _run(scenario: Scenario, keys: Mapping[str, object]) -> Run:
    chance = random.Random(_SEED)
    points = [0.3] + [round(chance.random(), 6) for _ in range(scenario.points - 1)]
    mark = _adapted.new_mark()
    with tempfile.TemporaryDirectory(prefix="panorama-adapting-") as folder:
        home = _adapted.write_study(Path(folder) / "study", {**scenario.keys, **keys})
        return _adapted.run(home, points, scenario.fault(mark), mark)


def _lines(scenario: Scenario, pairs: Sequence[tuple[Run, Run]]) -> Iterator[str]:
    yield ""
    yield f"{scenario.name}: {scenario.points} evaluations, {len(pairs)} rounds; medians (least to most)"
    for name, find in (("whole study [s]", _wall), ("best makespan [s]", _best), ("last three makespans [s]", _late)):
        before, after = ([find(pair[which]) for pair in pairs] for which in (0, 1))
        ratios = [one / other for one, other in zip(after, before, strict=True) if other]
        yield f"  {name:<26} without {_spread(before)}   with {_spread(after)}   with/without {_spread(ratios, 3)}"
    for name, find in (("processor time, all [s]", _cpu), ("processor time, server [s]", _server)):
        before, after = ([find(pair[which]) for pair in pairs] for which in (0, 1))
        yield f"  {name:<26} without {_spread(before, 2)}   with {_spread(after, 2)}"
    extra = [(_server(having) - _server(without)) / _wall(without) for without, having in pairs]
    yield f"  what the server computes more, by the study's time: {statistics.median(extra):.2%}"
    taken = [len(having.actions) for _, having in pairs]
    yield f"  actions a round: {taken}; of which kinds: {sorted({each for _, run in pairs for each in run.actions})}"
    yield f"  answered without: {_answered(pairs, 0)}; with: {_answered(pairs, 1)}; results equal: {_equal(pairs)}"


def _wall(run: Run) -> float:
    return run.wall


def _best(run: Run) -> float:
    known = [value for value, state in zip(run.makespans, run.states, strict=False) if state == "succeeded"]
    return min(known, default=float("nan"))


def _late(run: Run) -> float:
    return statistics.median(run.makespans[-3:]) if run.makespans else float("nan")


def _cpu(run: Run) -> float:
    return run.cpu


def _server(run: Run) -> float:
    return run.server_cpu


def _answered(pairs: Sequence[tuple[Run, Run]], which: int) -> dict[str, int]:
    states = [state for pair in pairs for state in pair[which].states]
    return {state: states.count(state) for state in sorted(set(states))}


def _equal(pairs: Sequence[tuple[Run, Run]]) -> bool:
    """Whether what both have computed is the same; those that only one of them brought to an end are left out."""
    return all(
        one == other
        for without, having in pairs
        for number, one in without.values.items()
        if (other := having.values.get(number)) is not None
    )


def _is_wrong(scenario: Scenario, pairs: Sequence[tuple[Run, Run]]) -> bool:
    return not _equal(pairs) or (scenario.name == "healthy" and any(having.actions for _, having in pairs))


def _spread(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return "unknown"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
