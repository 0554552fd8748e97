"""R10: the driver is killed at any point; Dakota never sees a partial result, and no workflow is submitted twice."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from .studies import DRIVER, OFFSET, Kill, Study, kill, wait_for

SEED = 20
PARTS = 11

COLD = [  # no server runs yet
    Kill("driver", "fcntl.flock"),
    Kill("driver", "os.posix_spawn"),
    Kill("driver", "socket.connect", nth=4),  # has started the server, waits for its socket
]
MOMENTS = ["received", "submitted"]
WAITING = [*MOMENTS, "sh_split", "sh_left", "square_last"]
WRITING = [Kill("driver", "line", "write_atomically", nth) for nth in (4, 5, 7, 8, 10)]


class Tally:
    """Kills the driver of one evaluation after the other, and counts what that leaves."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.kills = 0
        self.partial = 0

    def kill_at(self, *points: Kill | str, cold: bool = False) -> None:
        """A new evaluation a point, whose driver dies there; then Dakota asks again."""
        for point in points:
            self.kills += 1
            x = self.kills / 100
            self.study.evaluate_at([x])
            if cold:
                self.study.end_by_themselves()
            die_at(self.study, point) if isinstance(point, Kill) else die_when(self.study, point)
            self.partial += not self.study.complete(1)
            ran = self.study.run()
            assert ran.code == 0, ran.said[-2000:]
            assert self.study.table() == {1: pytest.approx((x - OFFSET) ** 2)}

    def check(self, name: str, figure: Callable[[str], None]) -> None:
        attempts = self.study.attempts()
        twice = sum(number != 1 for number in attempts.values())
        doubles = self.study.double_submissions()
        figure(
            f"{name}: {self.kills} kills of the driver, {self.partial} partial results, {doubles} double submissions "
            f"of {len(self.study.submissions())} evaluations, {twice} jobs started twice of {len(attempts)}"
        )
        assert (self.partial, doubles, twice) == (0, 0, 0)
        self.study.end_by_themselves()
        assert "Traceback" not in (self.study.home / ".panorama" / "server.log").read_text()


def die_at(study: Study, point: Kill) -> None:
    ran = study.run(kill=point)
    assert not study.armed.exists(), f"the driver was not killed at {point}:\n{ran.said[-2000:]}"
    assert ran.code != 0


def die_when(study: Study, moment: str) -> None:
    """Kill the driver from outside while it waits for its workflow."""
    known = len(study.states())
    dakota = study.start()

    def come() -> bool:
        if moment in MOMENTS:
            return len(study.states()) > known and list(study.states().values())[-1] in MOMENTS[MOMENTS.index(moment) :]
        newest = study.steps()[-1].get("wf_uuid", "none")
        return any(raw["xwf_id"] == newest for raw in study.events("stampede.inv.start", moment))

    wait_for(come, moment)
    drivers = study.find(DRIVER)
    assert len(drivers) == 1
    kill(drivers)
    assert study.ended(dakota).code != 0


def lines_of_a_run(study: Study) -> int:
    """How many lines of ours the driver goes through when a server runs and nothing disturbs it."""
    assert study.run().code == 0
    study.evaluate_at([-1.0])
    assert study.run(kill=Kill("driver", "line", nth=0)).code == 0
    return study.armed.with_name("kill.json.count").stat().st_size


def test_r10_a_killed_driver_leaves_no_partial_result_and_submits_nothing_twice(
    make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    tally = Tally(make([0.0], options="{pause: 0.1}"))
    tally.kill_at(COLD[2], Kill("driver", "line", nth=150), "sh_left", "square_last", WRITING[1], WRITING[2])
    tally.check("R10 short", figure)


@pytest.mark.long
def test_r10_at_twenty_four_points(make: Callable[..., Study], figure: Callable[[str], None]) -> None:
    study = make([0.0], options="{pause: 0.1}")
    count = lines_of_a_run(study)
    dice = random.Random(SEED)
    grid = [1 + int((part + dice.random()) / PARTS * count) for part in range(PARTS)]
    tally = Tally(study)
    tally.kill_at(*COLD, cold=True)
    tally.kill_at(*(Kill("driver", "line", nth=line) for line in grid))
    tally.kill_at(*WAITING, *WRITING)
    tally.check("R10", figure)
