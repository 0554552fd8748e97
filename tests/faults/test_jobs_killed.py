"""The probe or the task of a job is killed: the failure is recorded, the job is tried again, no orphan survives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .studies import DRIVER, OFFSET, PROBE, Study, own_workflow, wait_for


def probes(study: Study) -> list[int]:
    """The probes of job `left`."""
    return [pid for pid in study.find(PROBE) if "left.txt" in study.processes().get(pid, "")]


def tasks(study: Study) -> list[int]:
    """The shell of job `left`, and what it has started."""
    shells = [pid for pid, words in study.processes().items() if "left.txt" in words and PROBE not in words]
    return shells + [pid for pid in study.find("sleep ") if parent(pid) in shells]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def kill_one(study: Study, find: Callable[[Study], list[int]]) -> list[int]:
    """Kill a process of job `left` as soon as its task sleeps; gives all that were there."""
    there: list[int] = []
    victims: list[int] = []

    def asleep() -> bool:
        there[:], victims[:] = [*probes(study), *tasks(study)], find(study)
        return len(there) >= 3 and bool(victims)

    wait_for(asleep, "job left")
    os.kill(victims[0], signal.SIGKILL)
    return there


@pytest.mark.parametrize(("what", "find"), [("probe", probes), ("task", tasks)])
def test_a_killed_job_is_recorded_and_tried_again_when_nothing_of_it_is_left(
    what: str, find: Callable[[Study], list[int]], make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make([0.5], options="{pause: 1.8}")
    dakota = study.start()
    before = kill_one(study, find)
    wait_for(lambda: tries(study) == 2, "the second try")
    left = set(before) & study.processes().keys()
    assert not left, [study.processes().get(pid) for pid in left]
    ran = study.ended(dakota)
    assert ran.code == 0, ran.said[-2000:]
    assert study.table() == {1: pytest.approx((0.5 - OFFSET) ** 2)}
    statuses = [raw["exitcode"] for raw in study.events("stampede.inv.end", "sh_left")]
    assert statuses == [signal.SIGKILL, 0]
    figure(f"{what} killed: recorded as wait status {statuses[0]}, tried again, {len(left)} of {len(before)} left")


def tries(study: Study) -> int:
    return len(study.events("stampede.job_inst.main.start", "sh_left"))


@pytest.mark.long
def test_a_job_that_is_killed_each_time_fails_the_evaluation_in_words(make: Callable[..., Study]) -> None:
    study = make([0.5], options="{pause: 1.8}", capture="recover 99")
    dakota = study.start()
    kill_one(study, probes)
    wait_for(lambda: tries(study) == 2, "the second try")
    kill_one(study, probes)
    assert study.ended(dakota).code == 0
    assert study.table() == {1: 99.0}
    assert list(study.states().values()) == ["failed"]
    assert any("job sh_left was killed by SIGKILL" in words for words in study.messages())


@pytest.mark.long
def test_what_a_killed_probe_leaves_and_ignores_term_is_killed_although_the_driver_gives_up(
    folder: Path, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    stubborn = "trap '' TERM; sleep 60"
    workflow = own_workflow(folder, "workflow.py", "sleep {options['pause']}", stubborn)
    study = make([0.5], workflow=workflow, capture="recover 99")
    dakota = study.start()
    kill_one(study, probes)
    start = time.monotonic()
    [driver] = study.find(DRIVER)
    os.kill(driver, signal.SIGTERM)
    assert study.ended(dakota).code == 0
    wait_for(lambda: list(study.states().values()) == ["cancelled"], "the journal", 15)
    figure(f"probe killed, its orphans ignore TERM, driver ended: all gone after {time.monotonic() - start:.1f} s")
    assert not study.find("sleep")
