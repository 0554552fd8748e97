"""The numbers that Dakota asked for: found, or refused with words that help."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panorama_driver.errors import ResponseError
from panorama_driver.metrics import AttemptMetrics, JobMetrics, WorkflowMetrics, correlate
from panorama_driver.objective import JsonValue, Responses
from panorama_driver.sources import parse

CAPTURES = Path(__file__).parent / "data" / "captures"


def job(job_id: str, **measures: Any) -> JobMetrics:
    common = {"state": "succeeded", "ran": True, "reasons": {}, "sources": {}, **measures}
    attempt = AttemptMetrics(job_id=job_id, attempt=1, **common)
    return JobMetrics(job_id=job_id, attempts=(attempt,), **common)


WORKFLOW = WorkflowMetrics(
    wf_uuid="w1",
    state="succeeded",
    makespan=120.0,
    cumulative_time=200.0,
    jobs_total=4,
    jobs_succeeded=4,
    jobs_failed=0,
    jobs_active=0,
    jobs_unsubmitted=0,
    jobs_retried=0,
    jobs=(
        job("md_1", transformation="md", wall_time=60.0, io_time=10.0, exit_code=0),
        job("md_2", transformation="md", wall_time=90.0, io_time=30.0, exit_code=0),
        job("fit_1", transformation="fit", wall_time=50.0, reasons={"io_time": "no Darshan log: library not found"}),
        job("stage_in", transformation=None, wall_time=0.5, io_time=0.5),
    ),
    reasons={"io_time": "1 of 4 jobs has no Darshan log"},
    sources={},
)


def evaluated(wanted: object, folder: Path = Path("unused")) -> float:
    return Responses.parse({"r": wanted}).evaluate(WORKFLOW, folder)["r"]


def refused(wanted: object) -> str:
    """What is said of a response that study.yml may not ask for."""
    with pytest.raises(ResponseError, match=r"^response 'r': ") as caught:
        Responses.parse({"r": wanted})
    return str(caught.value)


def unanswered(wanted: object, folder: Path) -> str:
    """What is said of a response that has no number."""
    responses = Responses.parse({"r": wanted})
    with pytest.raises(ResponseError, match=r"^response 'r': ") as caught:
        responses.evaluate(WORKFLOW, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("workflow.makespan", 120.0),
        ("sum(job.io_time for job in jobs if job.transformation == 'md') / workflow.cumulative_time", 0.2),
        ("sum([job.io_time for job in workflow.jobs if job.transformation in ('md', 'eq')])", 40.0),
        ("max(job.wall_time for job in jobs)", 90.0),
        ("min(workflow.makespan, 7)", 7.0),
        ("mean(job.wall_time for job in jobs if job.transformation == 'md')", 75.0),
        ("median([job.wall_time for job in jobs])", 55.0),
        ("len(jobs)", 4.0),
        ("len([job for job in jobs if job.transformation != 'md'])", 2.0),
        ("sum(attempt.wall_time for job in jobs if job.transformation == 'md' for attempt in job.attempts)", 150.0),
        ("jobs[0].wall_time - jobs[-1].wall_time", 59.5),
        ("[job for job in jobs if job.job_id == 'md_2'][0].io_time", 30.0),
        ("sum(job.retries for job in jobs)", 0.0),
        ("1 if workflow.state == 'succeeded' and all(job.ran for job in jobs) else 0", 1.0),
        ("sum(job.wall_time for job in jobs if job.site == 'x') if any(job.site == 'x' for job in jobs) else 0", 0.0),
        ("sqrt(abs(-4)) + log10(100) + log(exp(1)) + round(2.6) - 2 ** 3 + 7 // 2 + 7 % 4", 6.0),
    ],
)
def test_an_expression_over_the_metrics_is_a_number(expression: str, value: float) -> None:
    assert evaluated(expression) == pytest.approx(value)


def test_a_captured_run_is_evaluated(tmp_path: Path) -> None:
    lines = (CAPTURES / "stampede-events.jsonl").read_text().splitlines()
    workflow = correlate([parse(json.loads(line)["body"]) for line in lines if '"xwf_id"' in line])
    responses = Responses.parse({"makespan": "workflow.makespan", "longest": "max(job.wall_time for job in jobs)"})
    found = responses.evaluate(workflow, tmp_path)
    assert list(found) == ["makespan", "longest"]
    assert 0 < found["longest"] < found["makespan"]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("workflow.makspan", "workflow has no metric 'makspan'; nearest: makespan"),
        ("sum(job.iotime for job in jobs)", "a job has no metric 'iotime'; nearest: io_time"),
        ("sum(a.retries for job in jobs for a in job.attempts)", "an attempt has no metric 'retries'"),
        ("workflow.jobs[0].wall_tme", "a job has no metric 'wall_tme'; nearest: wall_time"),
        ("workflow.reasons", "workflow has no metric 'reasons'"),
        ("workflow.job('x')", "may not stand"),
        ("workflow.__class__", "workflow has no metric '__class__'"),
        ("workflow._jobs", "workflow has no metric '_jobs'"),
        ("jobs.io_time", "sum(job.io_time for job in jobs)"),
        ("workflow.makespan.real", "workflow.makespan is no record of metrics"),
        ("job.io_time", "'job' is not known; an expression has workflow, jobs, tasks, sum()"),
        ("sum", "'sum' is not known"),
        ("open('/etc/passwd')", "may not stand in an expression"),
        ("__import__('os')", "may not stand"),
        ("max(jobs, key=len)", "may not stand"),
        ("max(*jobs)", "may not stand"),
        ("len(jobs[:1])", "may not stand"),
        ("(lambda: 1)()", "may not stand"),
        ("f'{workflow}'", "may not stand"),
        ("{'a': 1}", "may not stand"),
        ("1 if workflow.label is None else 0", "may not stand"),
        ("'a'.join(['b'])", "may not stand"),
        ("1 << 10", "may not stand"),
        ("sum(a + b for a, b in jobs)", "write 'for NAME in ...'"),
        ("workflow.makespan +", "is no expression"),
        ("x = 1", "is no expression"),
        ("1; 2", "is no expression"),
        ("", "is no expression"),
        ("\x00", "is no expression"),
        ("1+" * 600 + "1", "longer than 1000 characters"),
        ("(" * 500, "is no expression"),
        ("-" * 999 + "1", "is no expression"),
    ],
)
def test_an_expression_that_cannot_work_is_refused_before_anything_runs(expression: str, told: str) -> None:
    assert told in refused(expression)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("workflow.io_time", "workflow: io_time is unknown: 1 of 4 jobs has no Darshan log"),
        ("sum(job.io_time for job in jobs)", "job fit_1: io_time is unknown: no Darshan log: library not found"),
        ("workflow.queue_time", "workflow: queue_time is unknown: no reason was recorded"),
        ("jobs[0].attempts[0].queue_time", "attempt 1 of job md_1: queue_time is unknown"),
        ("sum(job.wall_time for job in jobs if job.transformation == 'dm')", "nothing passes the filter"),
        ("mean([])", "nothing passes the filter"),
        ("max(job.wall_time for job in jobs if job.transformation == 'dm')", "empty"),
        ("1 / workflow.jobs_failed", "divides by zero"),
        ("jobs[4].wall_time", "index out of range"),
        ("log(0)", "math domain error"),
        ("exp(1000)", "math range error"),
        ("9 ** 9 ** 9 ** 9", "math range error"),
        ("9e99 * 9e300", "the result is inf, not a finite number"),
        ("9e399 - 9e399", "the result is nan, not a finite number"),
        ("'a' * 1000000000", 'arithmetic with "a", which is not a number'),
        ("jobs * 1000000000", "arithmetic with a list of 4"),
        ("max(jobs)", "has no value"),
        ("workflow.state", 'the result is "succeeded", not a number'),
        ("jobs", "the result is a list of 4, not a number"),
        ("workflow", "the result is a record, not a number"),
        ("workflow.makespan > 3", "the result is true, not a number; write '1 if ... else 0'"),
        (f"1{'0' * 400}", "the result is inf"),
    ],
)
def test_an_expression_without_a_finite_number_says_why(tmp_path: Path, expression: str, told: str) -> None:
    assert told in unanswered(expression, tmp_path)


def test_an_expression_that_would_take_for_ever_is_stopped(tmp_path: Path) -> None:
    many = WorkflowMetrics(
        **{name: getattr(WORKFLOW, name) for name in WORKFLOW.__struct_fields__ if name != "jobs"},
        jobs=WORKFLOW.jobs * 100,
    )
    endless = Responses.parse({"r": "len([1 for a in jobs for b in jobs for c in jobs for d in jobs for e in jobs])"})
    began = time.process_time()
    with pytest.raises(ResponseError, match="too many elements"):
        endless.evaluate(many, tmp_path)
    assert time.process_time() - began < 20
    large = Responses.parse({"r": "sum(1 for a in jobs for b in jobs)"})
    assert large.evaluate(many, tmp_path) == {"r": 160_000}


OUTPUT = {"chi2": 1.5, "fit": {"peaks": [{"width": 3}, {"width": "wide"}], "none": None, "ok": True}, "huge": 10**400}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    (tmp_path / "fit.json").write_text(json.dumps({**OUTPUT, "nan": float("nan")}))
    (tmp_path / "broken.json").write_text('{"chi2": 1.')
    (tmp_path / "table.txt").write_text("# time energy\n\n0 1.5 a\n  # again\n1\t2.5\tb\n2 nan c\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"output": "fit.json", "value": "chi2"}, 1.5),
        ({"output": "fit.json", "value": "fit.peaks[0].width"}, 3.0),
        ({"output": "fit.json", "value": "fit.peaks[-2].width"}, 3.0),
        ({"output": "table.txt", "column": 0}, 2.0),
        ({"output": "table.txt", "column": 1, "row": 0}, 1.5),
        ({"output": "table.txt", "column": -2, "row": -2}, 2.5),
    ],
)
def test_a_number_is_found_in_an_output_file(outputs: Path, wanted: object, value: float) -> None:
    assert evaluated(wanted, outputs) == value


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            {"output": "ft.json", "value": "chi2"},
            "ft.json: there is no such output; its folder has broken.json, fit.json",
        ),
        ({"output": "no/fit.json", "value": "chi2"}, "nor is there a folder"),
        ({"output": "folder", "value": "chi2"}, "folder: cannot be read: Is a directory"),
        ({"output": "broken.json", "value": "chi2"}, "broken.json: is not JSON: "),
        ({"output": "fit.json", "value": "chi"}, "fit.json: the file has no 'chi'; nearest: chi2"),
        ({"output": "fit.json", "value": "fit.peak"}, "fit.json: fit has no 'peak'; nearest: peaks"),
        ({"output": "fit.json", "value": "fit.zzz"}, "fit has no 'zzz'; there are: none, ok, peaks"),
        ({"output": "fit.json", "value": "fit.peaks[2]"}, "fit.peaks has 2 entries, and so none at 2"),
        ({"output": "fit.json", "value": "fit.peaks.width"}, "fit.peaks is a list of 2, not an object"),
        ({"output": "fit.json", "value": "chi2[0]"}, "chi2 is 1.5, not a list"),
        ({"output": "fit.json", "value": "fit.peaks[1].width"}, 'fit.peaks[1].width is "wide", not a number'),
        ({"output": "fit.json", "value": "fit"}, "fit is an object, not a number"),
        ({"output": "fit.json", "value": "fit.none"}, "fit.none is null, not a number"),
        ({"output": "fit.json", "value": "fit.ok"}, "fit.ok is true, not a number"),
        ({"output": "fit.json", "value": "nan"}, "nan, not a finite number"),
        ({"output": "fit.json", "value": "huge"}, "inf, not a finite number"),
        ({"output": "table.txt", "column": 2}, "row -1, column 2 is 'c', not a number"),
        ({"output": "table.txt", "column": 1}, "nan, not a finite number"),
        ({"output": "table.txt", "column": 3}, "row -1 has 3 columns, and so none at 3"),
        ({"output": "table.txt", "column": 0, "row": 3}, "it has 3 rows, and so none at 3"),
    ],
)
def test_an_output_without_the_number_says_what_is_there_instead(outputs: Path, wanted: object, told: str) -> None:
    assert told in unanswered(wanted, outputs)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (3, "3 is none of: an expression"),
        (None, "None is none of"),
        ({"output": "fit.json"}, "is none of"),
        ({"output": "fit.json", "value": "a", "row": 1}, "is none of"),
        ({"output": "/etc/passwd", "value": "a"}, "no file below the evaluation's output folder"),
        ({"output": "../fit.json", "value": "a"}, "no file below"),
        ({"output": 3, "value": "a"}, "no file below"),
        ({"output": "fit.json", "value": "a..b"}, "no path of names"),
        ({"output": "fit.json", "value": "a[x]"}, "no path of names"),
        ({"output": "fit.json", "value": 3}, "no path of names"),
        ({"output": "t.txt", "column": "2"}, "column '2' is not a whole number"),
        ({"output": "t.txt", "column": 2, "row": True}, "row True is not a whole number"),
    ],
)
def test_a_form_that_is_none_is_refused_before_anything_runs(wanted: object, told: str) -> None:
    assert told in refused(wanted)


def test_an_output_too_large_to_read_is_refused(outputs: Path) -> None:
    with (outputs / "large.json").open("wb") as file:
        file.truncate(10**9)
    assert "has 1000000000 bytes, more than" in unanswered({"output": "large.json", "value": "a"}, outputs)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ResponseError) as caught:
        Responses.parse({"a": "workflow.x", "b": "workflow.makespan", "c": 1})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["response 'a'", "response 'c'"]
    responses = Responses.parse({"a": "workflow.io_time", "b": {"output": "x", "value": "y"}, "c": "workflow.makespan"})
    with pytest.raises(ResponseError) as caught:
        responses.evaluate(WORKFLOW, tmp_path)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["response 'a'", "response 'b'"]


@pytest.mark.parametrize("nothing", [{}, None, [], "workflow.makespan"])
def test_a_study_asks_for_something(nothing: Any) -> None:
    with pytest.raises(ResponseError, match="asks for no responses"):
        Responses.parse(nothing)


def test_the_outputs_that_are_read_are_known_beforehand() -> None:
    responses = Responses.parse(
        {
            "a": {"output": "fit.json", "value": "x"},
            "b": {"output": "t.txt", "column": 0},
            "c": {"output": "fit.json", "value": "y"},
            "d": "workflow.makespan",
        }
    )
    assert responses.outputs == ("fit.json", "t.txt")


def test_the_evaluator_is_imported_only_when_there_is_an_expression_to_evaluate() -> None:
    code = (
        "import sys; from panorama_driver.objective import Responses; "
        "Responses.parse({'a': 'workflow.makespan'}); sys.exit('simpleeval' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


KEYS = st.text(st.characters(exclude_characters=".[]", exclude_categories=["Cs"]), min_size=1)
TREES = st.recursive(
    st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(tree=st.dictionaries(KEYS, TREES, min_size=1), data=st.data())
def test_every_number_of_a_json_file_has_a_path(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.json").write_text(json.dumps(tree))
    here: Any = tree
    path = ""
    while isinstance(here, dict | list):
        at = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        path += f"[{at}]" if isinstance(here, list) else f".{at}" if path else at
        here = here[at]
    assert JsonValue("any.json", path).find(WORKFLOW, folder) == here


def test_only_some_of_the_responses_can_be_asked_for(tmp_path: Path) -> None:
    responses = Responses.parse({"span": "workflow.makespan", "chi2": {"output": "missing.json", "value": "chi2"}})
    assert responses.only(["span", "nothing"]).evaluate(WORKFLOW, tmp_path) == {"span": 120.0}
