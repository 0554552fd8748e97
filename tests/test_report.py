"""Reports of studies with several objectives: which evaluations are the Pareto front, and where it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.cli.report import command
from panorama_driver.findings import pareto_front
from panorama_driver.report import _draw_front, _legend, _Span, draw, read_report, summary
from panorama_driver.store import open_store
from panorama_driver.study.journal import Evaluation
from tests.web import found
from tests.web.stores import hostile

TIMES = [(4.0, 1.0), (2.0, 2.0), (3.0, 3.0), (1.0, 5.0), (2.0, 4.0)]
"""Pairs to make small: the second, the first and the fourth are not dominated."""


def study(home: Path, responses: str, answers: Sequence[tuple[float, ...]]) -> Path:
    """A study directory after evaluations with these answers, the last of which failed."""
    (home / ".panorama").mkdir(parents=True)
    open_store(home / ".panorama" / "store.db").close()
    (home / "study.yml").touch()
    (home / "study.in").write_text(f"responses\n{responses}\n")
    lines: list[dict[str, Any]] = [
        {
            "t": number,
            "key": f"k{number}",
            "eval_id": str(number),
            "variables": {"n": number},
            "state": "succeeded",
            "responses": dict(zip("abc", answer, strict=False)),
        }
        for number, answer in enumerate(answers, 1)
    ]
    lines.append({"t": 9, "key": "k0", "eval_id": str(len(answers) + 1), "variables": {"n": 0}, "state": "failed"})
    (home / ".panorama" / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return home


def front(home: Path) -> list[str]:
    """Dakota's numbers of the evaluations in the front."""
    found = read_report(home).front
    assert found is not None
    return [evaluation.eval_id for evaluation in found.evaluations]


def test_the_front_has_what_no_other_evaluation_beats_in_everything(tmp_path: Path) -> None:
    assert front(study(tmp_path / "s", "objective_functions 2", TIMES)) == ["4", "2", "1"]


@pytest.mark.parametrize(
    ("sense", "found"),
    [
        ("sense 'min' 'max'", ["4"]),
        ("sense = 'maximize', 'minimize'", ["1"]),
        ("sense 'max'", ["1", "3", "5", "4"]),
        ("# sense 'max'", ["4", "2", "1"]),
    ],
)
def test_an_objective_that_is_made_large_counts_the_other_way(tmp_path: Path, sense: str, found: list[str]) -> None:
    home = study(tmp_path / "s", f"objective_functions = 2\n  {sense}\n  descriptors 'a' 'b'", TIMES)
    assert front(home) == found


def test_a_third_response_that_is_no_objective_changes_nothing(tmp_path: Path) -> None:
    constrained = [(*pair, -float(number)) for number, pair in enumerate(TIMES)]
    text = "objective_functions 2\n nonlinear_inequality_constraints 1\n descriptors 'a' 'b' 'c'"
    assert front(study(tmp_path / "s", text, constrained)) == ["4", "2", "1"]


def test_equal_evaluations_are_both_in_the_front(tmp_path: Path) -> None:
    assert front(study(tmp_path / "s", "objective_functions 2", [(1.0, 1.0), (1.0, 1.0), (1.0, 2.0)])) == ["1", "2"]


@pytest.mark.parametrize("responses", ["objective_functions 1", "calibration_terms 2", "response_functions 2"])
def test_a_study_without_two_objectives_has_no_front(tmp_path: Path, responses: str) -> None:
    assert read_report(study(tmp_path / "s", responses, TIMES)).front is None


def test_a_study_that_has_no_answer_yet_has_no_front(tmp_path: Path) -> None:
    assert read_report(study(tmp_path / "s", "objective_functions 2", [])).front is None


def test_people_and_programs_are_told_the_front(tmp_path: Path) -> None:
    home = study(tmp_path / "s", "objective_functions 2", TIMES)
    said = CliRunner().invoke(command, [str(home)]).stdout
    rows = said.partition("Pareto front\n")[2].splitlines()
    assert [row.split() for row in rows[:4]] == [
        ["evaluation", "n", "a", "b"],
        ["4", "4", "1", "5"],
        ["2", "2", "2", "2"],
        ["1", "1", "4", "1"],
    ]
    assert "Pareto front of a, b: 3 of 6 evaluations" in rows
    assert "best:" not in said
    told = json.loads(CliRunner().invoke(command, [str(home), "--json"]).stdout)["front"]
    assert told["maximized"] == {"a": False, "b": False}
    assert [evaluation["eval_id"] for evaluation in told["evaluations"]] == ["4", "2", "1"]


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_picture_has_the_front(tmp_path: Path, objectives: int) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    answers = [(*pair, -sum(pair)) for pair in TIMES]
    report = read_report(study(tmp_path / "s", f"objective_functions {objectives}", answers))
    draw(report, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert report.front is not None
    axis = figure.Figure().subplots()
    _draw_front(axis, report, report.front)
    [marked] = [line for line in axis.lines if line.get_label() == "Pareto front"]
    points = [[each.responses["a"], each.responses["b"]] for each in report.front.evaluations]
    assert marked.get_xydata().tolist() == points
    assert (marked.get_linestyle() != "None") == (objectives == 2)


@pytest.mark.parametrize(("jobs", "names"), [(3, ["md_0", "md_1", "md_2"]), (30, ["md", "fit"])])
def test_where_there_are_too_many_jobs_a_colour_stands_for_their_program(jobs: int, names: list[str]) -> None:
    spans = [_Span(f"md_{number}", "md", number, 1.0, 0) for number in range(jobs)]
    spans += [_Span(f"fit_{number}", "fit", number, 0.5, 0) for number in range(jobs)] if jobs > 3 else []
    by, palette, seen = _legend([*spans, _Span("tiny", "tiny", 0.0, 0.01, 0)], least=0.1)
    assert seen == names
    assert len({palette[name] for name in seen}) == len(seen)
    assert all(by(span) in palette for span in spans)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=30), st.tuples(*[st.booleans()] * 3))
def test_the_front_is_what_the_definition_says(points: list[tuple[int, ...]], large: tuple[bool, ...]) -> None:
    def no_worse(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return all(a >= b if sense else a <= b for a, b, sense in zip(one, other, large, strict=True))

    wanted = {i for i, p in enumerate(points) if not any(no_worse(q, p) and q != p for q in points)}
    evaluations = [
        Evaluation(key=str(i), eval_id=str(i), variables={}, responses=dict(zip("abc", map(float, p), strict=True)))
        for i, p in enumerate(points)
    ]
    found = pareto_front(evaluations, dict(zip("abc", large, strict=True))).evaluations
    assert sorted(int(evaluation.eval_id) for evaluation in found) == sorted(wanted)


def test_people_and_programs_are_told_the_worst_of_what_was_found(tmp_path: Path) -> None:
    home = found.found(tmp_path / "found")
    said = CliRunner().invoke(command, [str(home), "-o", str(tmp_path / "report.png")])
    assert "3 anomalies found, 2 without an end; the worst first:" in said.output
    lines = [line.strip() for line in said.output.splitlines() if "confidence" in line]
    assert [line.partition(" ")[0] for line in lines] == ["slow_host", "leaking", "throttled"]
    assert "memory of simulate grows by 8.0 MiB/s (confidence 0.81)" in lines[1]
    told = json.loads(CliRunner().invoke(command, [str(home), "--json"]).stdout)
    assert [each["over"] for each in told["anomalies"]] == [None, None, found.BEGIN + 42]


def test_the_answer_of_an_evaluation_that_was_ended_early_is_told_as_a_bound(tmp_path: Path) -> None:
    home = found.found(tmp_path / "found")
    said = CliRunner().invoke(command, [str(home), "-o", str(tmp_path / "report.png")]).output
    assert "  3  0.3  >= 30 " in said
    assert "0 failed, 1 ended early (>= is a lower bound)" in said
    assert "best: x = 0.1 with y = 10" in said


def test_what_a_job_wrote_does_not_lead_the_terminal(tmp_path: Path) -> None:
    lines = summary(read_report(hostile(tmp_path / "hostile")))[-5:]  # how many, the worst, how many more
    assert "anomalies found" in lines[0]
    assert all(sign.isprintable() for line in lines for sign in line)
    assert max(map(len, lines)) <= 302
