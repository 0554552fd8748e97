"""The study server is killed at named points: its drivers start another one and answer, and nothing is run twice."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable

import pytest

from .studies import DRIVER, OFFSET, Kill, Study, wait_for

POINTS = [0.1, 0.5]
RENDERING = Kill("server", "open", "*/evaluations/*/workflow.yml")
JUST_STARTED = Kill("server", "subprocess.Popen", nth=3)  # a job has just started, and the next is about to
NEXT = Kill("server", "subprocess.Popen", nth=4)  # a job has ended well, what follows it does not run yet
MORE = [
    Kill("server", "open", "*/output/result.json"),  # answering
    Kill("server", "open", "*/.panorama/store.db"),
    Kill("server", "socket.bind"),
    Kill("server", "open", "*/evaluations/*/bundle.json"),
    Kill("server", "open", "*/run/events.jsonl"),
    Kill("server", "os.symlink"),  # stage-in
    Kill("server", "subprocess.Popen"),
    Kill("server", "os.link"),  # stage-out
    Kill("server", "shutil.rmtree"),  # cleanup
    Kill("server", "open", "*/run/events.jsonl", nth=4),
]


def survive(study: Study, point: Kill) -> None:
    ran = study.run(kill=point)
    assert not study.armed.exists(), f"the server was not killed at {point}"
    assert ran.code == 0, ran.said[-2000:]
    assert study.table() == {n: pytest.approx((x - OFFSET) ** 2) for n, x in enumerate(POINTS, 1)}


def check(study: Study, point: Kill, figure: Callable[[str], None]) -> None:
    figure(
        f"server killed at {point}: {study.double_submissions()} double submissions, "
        f"{study.repeated_jobs()} finished jobs repeated, "
        f"{sum(study.attempts().values())} job attempts of {4 * len(POINTS)} needed"
    )
    assert len(study.submissions()) == len(POINTS)
    assert (study.double_submissions(), study.repeated_jobs()) == (0, 0)
    study.end_by_themselves()


@pytest.mark.parametrize("point", [RENDERING, JUST_STARTED, NEXT], ids=str)
def test_a_killed_server_loses_and_repeats_nothing(
    point: Kill, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make(POINTS, options="{pause: 0.2}")
    survive(study, point)
    check(study, point, figure)


@pytest.mark.long
@pytest.mark.parametrize("point", MORE, ids=str)
def test_a_server_killed_anywhere_else_loses_and_repeats_nothing(
    point: Kill, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    study = make(POINTS, options="{pause: 0.2}")
    survive(study, point)
    check(study, point, figure)


def hang_up_without_reading(study: Study) -> None:
    """Ask as a driver does and go with the server's report unread, as one does that is stopped and then killed."""
    directory = os.open(study.home / ".panorama", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(f"/proc/self/fd/{directory}/server.sock")
        request = {"variables": {"x": POINTS[0]}, "asv": {"y": 1}, "dvv": ["x"], "components": ["study.yml"]}
        connection.sendall(json.dumps({"op": "evaluate", "evaluations": [request]}).encode() + b"\n")
        connection.recv(1, socket.MSG_PEEK)
    os.close(directory)


def test_a_client_that_goes_without_reading_is_not_counted_as_waiting(make: Callable[..., Study]) -> None:
    study = make(POINTS[:1], options="{pause: 60}")
    dakota = study.start()
    wait_for(lambda: study.started("sh_left"), "the jobs")
    hang_up_without_reading(study)
    log = study.home / ".panorama" / "server.log"
    seen = ("reset by peer", "Broken pipe")  # whether the server was reading or writing just then
    wait_for(lambda: any(words in log.read_text() for words in seen), "the server to see that its client has gone")
    [driver] = study.find(DRIVER)
    os.kill(driver, signal.SIGTERM)
    study.ended(dakota)
    wait_for(lambda: not study.find("sleep"), "the end of the jobs", 15)
    wait_for(lambda: "cancelled" in study.states().values(), "the journal", 15)
    assert len(study.submissions()) == 1
