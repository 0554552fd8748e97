"""What the pages are tried on is what it claims to be: the worked-out numbers of each defect are those of `metrics`."""

from __future__ import annotations

from pathlib import Path

import pytest

from panorama_driver.metrics import correlate, series
from panorama_driver.report import read_report
from panorama_driver.store import open_store
from panorama_driver.study.progress import Follower

from .defects import DEFECTS, Defect
from .stores import HOSTILE, Growing, hostile


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.number:02}")
def test_the_numbers_of_a_defect_are_those_of_its_events(defect: Defect) -> None:
    events = list(defect.events())
    workflow = correlate(events)
    for name, value in defect.workflow.items():
        assert getattr(workflow, name) == pytest.approx(value), name
    for job, values in defect.jobs.items():
        for name, value in values.items():
            assert getattr(workflow.job(job), name) == pytest.approx(value), (job, name)
    for (job, number), values in defect.attempts.items():
        attempt = next(each for each in workflow.job(job).attempts if each.attempt == number)
        for name, value in values.items():
            assert getattr(attempt, name) == pytest.approx(value), (job, number, name)
    for (of, name), words in defect.reasons.items():
        assert words in (workflow.job(of) if of else workflow).reasons[name]
    for (of, name), amounts in defect.series.items():
        assert getattr(series(events, of) if of else series(events), name) == pytest.approx(amounts), (of, name)


def test_a_study_grows_step_by_step(tmp_path: Path) -> None:
    with Growing(tmp_path / "growing") as study:
        follower = Follower(study.home)
        key = study.begin(1, x=0.1)
        [progress] = follower.changes()
        assert (progress.evaluation.state, progress.jobs, progress.running) == ("submitted", 2, ("first",))
        study.succeed(1, key, 0.04)
        [progress] = follower.changes()
        assert (progress.evaluation.state, progress.evaluation.responses) == ("succeeded", {"y": 0.04})
        follower.close()


def test_the_hostile_study_holds_every_hostile_name(tmp_path: Path) -> None:
    report = read_report(hostile(tmp_path / "hostile"))
    assert [row.evaluation.variables["name"] for row in report.rows] == list(HOSTILE.values())
    with open_store(tmp_path / "hostile" / ".panorama" / "store.db", readonly=True) as store:
        assert [run.label for run in store.workflows()] == list(HOSTILE.values())
