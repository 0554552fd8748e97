"""A study's input is looked through before it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from panorama_driver.dakota.lint import Finding, check
from panorama_driver.errors import StudyError

GOOD = """\
# a study as it should be
environment
  tabular_data
method
  sampling
    samples = 16
    seed = 7
variables
  uniform_uncertain = 2
    lower_bounds = 0 0
    upper_bounds = 1 1
    descriptors = 'q_h' "epsilon"   # quotes of both kinds
interface
  analysis_drivers = 'panorama-driver'
    analysis_components = 'study.yml'
    fork
      parameters_file 'params.in'
      results_file 'results.out'
      file_tag
      file_save
  asynchronous evaluation_concurrency = 8
  failure_capture recover NaN
responses
  response_functions = 1
    descriptors 'chi2'
  no_gradients
  no_hessians
"""
SAMPLING = "sampling\n    samples = 16\n    seed = 7"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yml").write_text("workflow: sns_nanodiamond\n")
    (tmp_path / "study.in").write_text(GOOD)
    return tmp_path / "study.in"


def changed(study: Path, old: str, new: str) -> list[Finding]:
    assert old in GOOD
    study.write_text(GOOD.replace(old, new))
    return check(study)


def test_a_good_study_has_no_findings_and_dakota_accepts_it(study: Path, dakota: str) -> None:
    assert check(study) == []
    done = subprocess.run([dakota, "-check", "-i", study], cwd=study.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_finding_says_where_and_what_to_do(study: Path) -> None:
    (finding,) = changed(study, " evaluation_concurrency = 8", "")
    assert str(finding) == (
        f"{study}:21: warning: evaluation_concurrency: unset, so Dakota starts all evaluations it has at once, "
        "each a process that waits: write asynchronous evaluation_concurrency = N"
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "level", "keyword"),
    [
        ("analysis_drivers = 'panorama-driver'\n", "", 13, "error", "analysis_drivers"),
        ("'panorama-driver'", "'./my_driver.py'", 14, "warning", "analysis_drivers"),
        ("'study.yml'", "'other.yaml'", 15, "error", "analysis_components"),
        ("    fork\n", "    python\n", 16, "error", "python"),
        ("    fork\n", "    system\n", 16, "warning", "system"),
        ("file_save", "", 13, "note", "file_save"),
        ("file_save", "file_save work_directory named 'run/w'", 20, "error", "work_directory"),
        ("'results.out'", "'results.out' results_format json", 14, "error", "results_format"),
        ("'results.out'", "'results.json'", 14, "error", "results_format"),
        ("'panorama-driver'", "'panorama-driver --results-format json'", 14, "error", "results_format"),
        ("asynchronous evaluation_concurrency = 8", "", 13, "warning", "asynchronous"),
        ("concurrency = 8", "concurrency = 0", 21, "warning", "evaluation_concurrency"),
        ("concurrency = 8", "concurrency = 32", 5, "note", "sampling"),
        ("failure_capture recover NaN", "", 13, "warning", "failure_capture"),
        ("asynchronous evaluation_concurrency = 8", "batch", 21, "warning", "batch"),
        ("no_gradients", "numerical_gradients", 26, "note", "numerical_gradients"),
        ("no_gradients", "analytic_gradients", 26, "note", "analytic_gradients"),
        ("no_hessians", "mixed_hessians", 27, "note", "mixed_hessians"),
        (SAMPLING, "npsol_sqp", 5, "error", "npsol_sqp"),
        (SAMPLING, "dot_bfgs", 5, "error", "dot_bfgs"),
        (SAMPLING, "coliny_cobyla", 5, "note", "coliny_cobyla"),
    ],
)
def test_what_will_hurt_is_found_at_its_line(
    study: Path, old: str, new: str, line: int, level: str, keyword: str
) -> None:
    (finding,) = changed(study, old, new)
    assert (finding.line, finding.level, finding.keyword) == (line, level, keyword)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'results.out'", "'results.json' results_format json"),
        ("'results.out'", "'results.json' results_format json_format"),
        ("asynchronous evaluation_concurrency", "asynch, evaluation_conc"),
        ("analysis_drivers =", "analysis_driver"),
        ("# a study", "# system python batch 'unbalanced"),
        ("'panorama-driver'", "'/opt/bin/panorama-driver'"),
    ],
)
def test_what_is_right_is_left_alone(study: Path, old: str, new: str) -> None:
    assert changed(study, old, new) == []


@pytest.mark.parametrize("on_failure", ["{retry: 1, then: nan}", "{then: 1000}", "nan"])
def test_a_study_that_never_says_fail_needs_no_failure_capture(study: Path, on_failure: str) -> None:
    (study.parent / "study.yml").write_text(f"on_failure: {on_failure}\n")
    assert changed(study, "failure_capture recover NaN", "") == []
    assert changed(study, "asynchronous evaluation_concurrency = 8\n  failure_capture recover NaN", "batch") == []


@pytest.mark.parametrize(
    ("method", "width"),
    [
        ("sampling samples 5", 5),
        ("sampling samples 1 variance_based_decomp", 4),
        ("list_parameter_study list_of_points 0 0 1 1 0.5 0.25", 3),
        ("list_parameter_study list_of_points 8*0.5", 4),
        ("centered_parameter_study step_vector 0.1 0.1 steps_per_variable 1 2", 7),
        ("vector_parameter_study final_point 1 1 num_steps 5", 6),
        ("multidim_parameter_study partitions 1 2", 6),
        ("soga population_size 6", 6),
        ("efficient_global initial_samples 5 batch_size 2", 5),
        ("coliny_pattern_search", 4),
        ("optpp_q_newton", 3),
        ("nl2sol", 2),
        ("coliny_cobyla", 1),
    ],
)
def test_concurrency_beyond_the_width_of_the_method_is_noted(study: Path, method: str, width: int) -> None:
    (finding,) = changed(study, SAMPLING, method)
    assert f"has at most {width} evaluations to run at once, so evaluation_concurrency = 8" in finding.message
    study.write_text(GOOD.replace(SAMPLING, method).replace("concurrency = 8", f"concurrency = {width}"))
    assert check(study) == []


def test_batch_takes_no_retry(study: Path) -> None:
    found = changed(
        study, "asynchronous evaluation_concurrency = 8\n  failure_capture recover NaN", "batch failure_capture retry 2"
    )
    assert ("error", "failure_capture") in [(finding.level, finding.keyword) for finding in found]


def test_metadata_labels_with_blanks_do_not_go_with_labeled_results(study: Path) -> None:
    text = GOOD.replace("'results.out'", "'results.out' results_format standard labeled")
    study.write_text(text.replace("  no_gradients", "  metadata 'cost x'\n  no_gradients"))
    assert [finding.keyword for finding in check(study)] == ["metadata"]


def test_an_input_without_an_interface_is_an_error(study: Path) -> None:
    study.write_text("method\n  sampling samples 5\n")
    assert [finding.keyword for finding in check(study)] == ["interface"]


def test_json_is_not_looked_through(study: Path) -> None:
    study.write_text('{"method": []}')
    assert [finding.level for finding in check(study)] == ["note"]


def test_a_missing_input_is_a_study_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere\.in cannot be read"):
        check(tmp_path / "nowhere.in")
