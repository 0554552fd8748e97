"""R12: a workflow fails, hangs or is removed; Dakota is answered in time, in each way that it can take a failure."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.study import client

from .studies import OFFSET, Study, own_workflow, wait_for

LATE = 5.0
"""Longest time between the end of an evaluation's time and its answer [s]."""


@pytest.fixture
def fails_twice(folder: Path) -> Path:
    """A workflow whose last job fails at its first two tries, which is one run of the workflow, below x = 0.5."""
    trouble = """count = len(Path("tried").read_text()) if Path("tried").exists() else 0
Path("tried").write_text("x" * (count + 1))
if x < 0.5 and count < 2:
    sys.exit("square.py: not yet")
"""
    return own_workflow(folder, "bin/square.py", 'if trouble == "crash"', trouble + 'if trouble == "crash"')


def test_r12_abort_ends_the_study_with_the_failure_in_the_journal_and_the_store(make: Callable[..., Study]) -> None:
    study = make([0.5, 0.6], options="{trouble: crash}", concurrency=1, capture="abort")
    assert study.run().code == 252
    assert study.result(1) == "FAIL\n"
    assert list(study.states().values()) == ["failed"]
    assert any("job square_last was killed by SIGSEGV" in words for words in study.messages())
    ends = study.events("stampede.inv.end", "square_last")
    assert [os.WTERMSIG(raw["exitcode"]) for raw in ends] == [signal.SIGSEGV] * 2


def test_r12_recover_goes_on_with_the_value_that_study_in_names(fails_twice: Path, make: Callable[..., Study]) -> None:
    study = make([0.4, 0.6, 0.1], workflow=fails_twice, capture="recover 99")
    assert study.run().code == 0
    assert study.table() == {1: 99.0, 2: pytest.approx((0.6 - OFFSET) ** 2), 3: 99.0}


def test_r12_retry_goes_on_where_the_workflow_failed(fails_twice: Path, make: Callable[..., Study]) -> None:
    study = make([0.4], workflow=fails_twice, capture="retry 2")
    assert study.run().code == 0
    assert study.table() == {1: pytest.approx((0.4 - OFFSET) ** 2)}
    assert {job: number for (_, job), number in study.attempts().items()} == {
        "sh_split": 1,
        "sh_left": 1,
        "sh_right": 1,
        "square_last": 3,
    }


def test_r12_continuation_walks_from_a_point_that_succeeded(fails_twice: Path, make: Callable[..., Study]) -> None:
    study = make([0.6, 0.45], workflow=fails_twice, concurrency=1, capture="continuation")
    ran = study.run()
    assert ran.code == 0, ran.said[-2000:]
    assert study.table() == {
        1: pytest.approx((0.6 - OFFSET) ** 2),
        2: pytest.approx((0.45 - OFFSET) ** 2),
    }
    assert "failed" in [step.get("state") for step in study.steps()]


def test_r12_a_batch_has_nan_for_what_failed(fails_twice: Path, make: Callable[..., Study]) -> None:
    study = make([0.4, 0.6, 0.7], workflow=fails_twice, batch=True, on_failure="{then: nan}")
    ran = study.run()
    assert ran.code == 0, ran.said[-2000:]
    table = study.table()
    assert math.isnan(table[1])
    assert [table[2], table[3]] == pytest.approx([(x - OFFSET) ** 2 for x in (0.6, 0.7)])


@pytest.mark.measures
@pytest.mark.parametrize("stubborn", [False, pytest.param(True, marks=pytest.mark.long)], ids=["plain", "ignores TERM"])
def test_r12_a_hanging_workflow_is_answered_in_time(
    stubborn: bool, folder: Path, make: Callable[..., Study], figure: Callable[[str], None]
) -> None:
    sleep = "trap '' TERM; sleep 60; sleep 60" if stubborn else "sleep 60"
    workflow = own_workflow(folder, "workflow.py", "sleep {options['pause']}", sleep)
    study = make([0.5], workflow=workflow, timeout="2 s", capture="recover 99")
    ran = study.run()
    assert ran.code == 0
    assert study.table() == {1: 99.0}
    times = [step["t"] for step in study.steps()]
    late = times[-1] - times[0] - 2.0
    figure(f"R12 a workflow that hangs{' and ignores TERM' * stubborn}: answered {late:.2f} s after its 2 s")
    assert late > 0
    assert late < LATE, f"measured {late:.2f} s"
    assert list(study.states().values()) == ["timeout"]
    assert not study.find("sleep 60")
    assert study.result(1) == "FAIL\n"


@pytest.mark.measures
def test_r12_a_removed_workflow_is_answered_at_once(make: Callable[..., Study], figure: Callable[[str], None]) -> None:
    study = make([0.5, 0.6], options="{pause: 60}", capture="recover 99")
    dakota = study.start()
    wait_for(lambda: len(study.find("sleep 60")) >= 2, "the jobs")
    start = time.monotonic()
    answer = client.request(str(study.home / "study.yml"), {"op": "stop"})
    assert answer is not None
    assert answer["stopping"]
    assert study.ended(dakota).code == 0
    seconds = time.monotonic() - start
    figure(f"R12 a study that is stopped: answered after {seconds:.2f} s")
    assert seconds < LATE, f"measured {seconds:.2f} s"
    assert set(study.table().values()) == {99.0}
    assert set(study.states().values()) == {"cancelled"}
    assert not study.find("sleep 60")
