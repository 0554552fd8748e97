"""R11: Dakota is killed in the middle of a study, alone or with all it started; its restart finds everything again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from .studies import DRIVER, OFFSET, SERVER, Study, kill, wait_for

POINTS = [0.1, 0.2, 0.4, 0.5, 0.6, 0.7]
VICTIMS = ["dakota", "dakota and drivers", "dakota and server", "all"]


def kill_in_mid_study(study: Study, victims: str, finished: int) -> int:
    """Kill when so many evaluations have finished and the next ones run; gives how many were in flight."""
    dakota = study.start()

    def midway() -> bool:
        states = list(study.states().values())
        in_flight = min(2, len(POINTS) - finished)
        jobs = study.events("stampede.inv.start", "sh_left")
        return states.count("succeeded") >= finished and len(jobs) >= finished + in_flight

    wait_for(midway, f"{finished} finished evaluations")
    pids = [dakota.pid]
    pids += study.find(DRIVER) if victims in ("dakota and drivers", "all") else []
    pids += study.find(SERVER) if victims in ("dakota and server", "all") else []
    kill(pids)
    dakota.wait()
    return list(study.states().values()).count("submitted")


def restart(study: Study) -> None:
    """Start Dakota again; its restart file is empty, and of no use to it, when it had recorded nothing yet."""
    options = ["-read_restart", "dakota.rst"] if (study.home / "dakota.rst").stat().st_size else []
    ran = study.run(*options)
    assert ran.code == 0, ran.said[-2000:]
    assert study.table() == {n: pytest.approx((x - OFFSET) ** 2) for n, x in enumerate(POINTS, 1)}


def check(study: Study, name: str, in_flight: int, figure: Callable[[str], None]) -> None:
    succeeded = list(study.states().values()).count("succeeded")
    figure(
        f"{name}: {in_flight} evaluations in flight, {succeeded} of {len(POINTS)} finished after the restart, "
        f"{study.double_submissions()} submitted twice, {study.repeated_jobs()} finished jobs repeated, "
        f"{sum(study.attempts().values())} job attempts of {4 * len(POINTS)} needed"
    )
    assert succeeded == len(study.submissions()) == len(POINTS)
    assert (study.double_submissions(), study.repeated_jobs()) == (0, 0)
    study.end_by_themselves()


@pytest.mark.parametrize("victims", ["dakota", "all"])
def test_r11_a_study_goes_on_where_it_was_killed(
    victims: str, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make(POINTS, options="{pause: 0.4}")
    in_flight = kill_in_mid_study(study, victims, finished=2)
    restart(study)
    check(study, f"R11 {victims} killed, restarted at once", in_flight, figure)


@pytest.mark.long
def test_r11_orphaned_workflows_end_well_and_so_do_drivers_and_server(
    make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make(POINTS, options="{pause: 0.4}")
    in_flight = kill_in_mid_study(study, "dakota", finished=2)
    study.end_by_themselves()
    adopted = list(study.states().values()).count("succeeded") - 2
    attempts = sum(study.attempts().values())
    assert set(study.states().values()) == {"succeeded"}
    assert all(study.complete(n) for n in range(1, len(POINTS) + 1))
    restart(study)
    done = sum(study.attempts().values())
    figure(f"R11 dakota killed, restarted later: {adopted} of {in_flight} orphaned workflows finished by themselves")
    check(study, "R11 dakota killed, restarted later", in_flight, figure)
    assert done - attempts == 4 * (len(POINTS) - 2 - adopted)


def test_r11_workflows_whose_drivers_died_too_end_well_and_so_does_the_server(make: Callable[..., Study]) -> None:
    study = make(POINTS, options="{pause: 0.4}")
    kill_in_mid_study(study, "dakota and drivers", finished=0)
    study.end_by_themselves()
    assert set(study.states().values()) == {"succeeded"}


@pytest.mark.long
@pytest.mark.parametrize(("finished", "victims"), list(itertools.product((0, 2, 3, 5), VICTIMS)))
def test_r11_at_more_moments(
    finished: int, victims: str, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make(POINTS, options="{pause: 0.4}")
    in_flight = kill_in_mid_study(study, victims, finished)
    restart(study)
    check(study, f"R11 {victims} killed after {finished}", in_flight, figure)
