"""The command line as a person and as a program meet it: words, JSON, exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DATA, PARABOLA

MakeStudy = Callable[..., Path]

_STUDY_IN = """
environment
  tabular_data
method
  list_parameter_study
    list_of_points 0.0 0.3 1.3
  output silent
variables
  continuous_design 1
    initial_point 1.0
    lower_bounds -2
    upper_bounds 2
    descriptors 'x'
interface
  analysis_drivers 'panorama-driver'
    fork
      parameters_file 'params.in'
      results_file 'results.out'
      file_tag file_save
      work_directory named 'work/eval' directory_tag directory_save
  analysis_components 'study.yml'
  failure_capture recover 1000
  asynchronous evaluation_concurrency 2
responses
  objective_functions 1
    descriptors 'y'
  no_gradients
  no_hessians
"""


def panorama(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three evaluations that real Dakota has run through `panorama study`."""
    home = tmp_path_factory.mktemp("finished")
    (home / "study.in").write_text(_STUDY_IN)
    study = "responses: {y: {output: result.json, value: y}, makespan: workflow.makespan}\n"
    (home / "study.yml").write_text(f"workflow: {PARABOLA}\n{study}")
    done = panorama("study", home)
    if "no dakota on PATH" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    (home / "said").write_text(done.stdout)
    return home


def test_help_imports_click_and_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from panorama_driver.cli import main\n"
        "sys.argv = ['panorama', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stderr))
    assert "click" in loaded
    assert not loaded & {"rich", "yaml", "jinja2", "msgspec", "numpy", "Pegasus", "matplotlib", "asyncio", "sqlite3"}


def test_every_verb_has_help_and_the_list_is_complete() -> None:
    listed = [line.split()[0] for line in panorama("--help").stdout.partition("Commands:")[2].splitlines() if line]
    folder = Path(sys.modules["tests.conftest"].__file__ or "").parent.parent / "panorama_driver" / "cli"
    assert sorted(listed) == sorted(path.stem.rstrip("_") for path in folder.glob("*.py") if path.stem[0] != "_")
    for verb in listed:
        assert panorama(verb, "--help").returncode == 0


def test_a_study_tells_each_evaluation_and_ends_with_the_best_a_table_a_picture_and_what_to_try(
    finished: Path,
) -> None:
    said = (finished / "said").read_text()
    for number in (1, 2, 3):
        assert f"evaluation {number}: finished, y = " in said
    assert "best: x = 0.3 with y = 0" in said
    assert "truth: x = 0.3, found 0.3, off by 0.0000" in said
    assert "3 evaluations, 0 failed" in said
    assert "show 2 --study" in said
    assert (finished / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "DAKOTA execution time" in (finished / "dakota.log").read_text()


def test_status_lists_evaluations_for_people_and_programs(finished: Path) -> None:
    done = panorama("status", finished)
    assert done.returncode == 0
    assert "3  succeeded  x = 1.3  y = 1" in done.stdout
    told = json.loads(panorama("status", finished, "--json").stdout)
    found = sorted(row["evaluation"]["responses"]["y"] for row in told["evaluations"])
    assert found == pytest.approx([0.0, 0.09, 1.0])
    assert all(row["done"] == row["jobs"] == 8 for row in told["evaluations"])


def test_show_tells_an_evaluation_job_by_job(finished: Path) -> None:
    done = panorama("show", "2", "--study", finished)
    assert done.returncode == 0
    assert "sh_split" in done.stdout
    told = json.loads(panorama("show", "2", "--study", finished, "--json").stdout)
    assert told["evaluation"]["variables"] == {"x": 0.3}
    jobs = {job["job_id"]: job for job in told["metrics"]["jobs"]}
    assert jobs["square_last"]["state"] == "succeeded"
    assert jobs["square_last"]["cpu_time"] > 0
    by_workflow = panorama("show", told["metrics"]["wf_uuid"][:8], "--study", finished, "--json").stdout
    assert json.loads(by_workflow) == told


def test_show_tells_a_clustered_job_task_by_task(tmp_path: Path) -> None:
    assert panorama("run", DATA / "workflows" / "clusters", "-o", tmp_path / "s").returncode == 0
    done = panorama("show", "1", "--study", tmp_path / "s")
    panorama("stop", tmp_path / "s")
    lines = [line.split() for line in done.stdout.splitlines()]
    place = next(number for number, line in enumerate(lines) if line[:3] == ["merge_group0", "(4", "tasks)"])
    assert [line[:3] for line in lines[place + 1 : place + 5]] == [
        [name, "exit", "0"] for name in ("part_g0-0", "part_g0-1", "part_g0-2", "join_join0")
    ]


def test_show_of_something_unknown_names_what_there_is(finished: Path) -> None:
    done = panorama("show", "x12", "--study", finished)  # no uuid begins so
    assert done.returncode == 2
    known = done.stderr.partition("no evaluation 'x12'; there are ")[2].strip().split(", ")
    assert sorted(known) == ["1", "2", "3"]


def test_report_as_json_holds_what_the_table_shows(finished: Path) -> None:
    told = json.loads(panorama("report", finished, "--json").stdout)
    assert told["objective"] == "y"
    assert told["truth"] == {"x": 0.3}
    assert len(told["rows"]) == 3


def test_running_a_study_again_runs_no_workflow_again(finished: Path) -> None:
    before = json.loads(panorama("status", finished, "--json").stdout)
    assert panorama("study", finished, "--plain").returncode == 0
    assert json.loads(panorama("status", finished, "--json").stdout) == before


def test_a_restart_replays_what_dakota_has_recorded_and_starts_afresh_where_that_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "study.in").write_text(_STUDY_IN)
    (tmp_path / "study.yml").write_text(f"workflow: {PARABOLA}\nresponses: {{y: {{output: result.json, value: y}}}}\n")
    (tmp_path / "dakota.rst").touch()
    assert panorama("study", tmp_path, "--restart").returncode == 0
    assert panorama("study", tmp_path, "--restart").returncode == 0
    assert "dakota -i study.in -read_restart dakota.rst" in panorama("study", tmp_path, "--restart").stdout


def test_run_evaluates_once_and_prints_the_responses(tmp_path: Path) -> None:
    done = panorama("run", PARABOLA, "--set", "x=0.5", "-o", tmp_path / "trial")
    assert done.returncode == 0, done.stderr
    assert "y = 0.04" in done.stdout
    told = json.loads(panorama("run", PARABOLA, "--set", "x=0.5", "-o", tmp_path / "trial", "--json").stdout)
    assert told["responses"]["y"] == pytest.approx(0.04)
    assert panorama("stop", tmp_path / "trial").returncode == 0


def test_run_of_a_failing_workflow_exits_1_and_says_why(tmp_path: Path) -> None:
    done = panorama("run", PARABOLA, "--set", "trouble=fail", "-o", tmp_path / "trial")
    assert done.returncode == 1
    assert "square_last failed with exit code 1: square.py: asked to fail" in done.stderr
    assert panorama("status", tmp_path / "trial").returncode == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "nowhere"), 2, "workflow 'nowhere'"),
        (("run", PARABOLA, "--set", "x"), 2, "write NAME=VALUE"),
        (("run", PARABOLA, "--set", "x=[1]"), 2, "write NAME=VALUE"),
        (("run", PARABOLA, "--set", "x=50"), 2, "out of its bounds"),
        (("render", PARABOLA, "--set", "y=1", "-o", "b"), 2, "parameter 'y' is not in"),
        (("render", PARABOLA, "--site", "venus", "-o", "b"), 2, "site 'venus'"),
        (("status",), 2, "no study.yml in"),
        (("study",), 2, "study.in: no such file"),
        (("dance",), 2, "No such command 'dance'"),
    ],
)
def test_wrong_input_exits_with_its_code_and_words(
    words: tuple[object, ...], code: int, said: str, tmp_path: Path
) -> None:
    done = panorama(*words, cwd=tmp_path)
    assert said in done.stderr
    assert done.returncode == code


def test_check_finds_what_would_hurt(make_study: MakeStudy) -> None:
    home = make_study()
    (home / "study.in").write_text(_STUDY_IN.replace("file_tag file_save", "file_tag"))
    done = panorama("check", home / "study.in")
    assert "file_save" in done.stdout
    (home / "study.yml").write_text("workflow: nowhere\n")
    done = panorama("check", home / "study.in")
    assert done.returncode == 2
    assert "workflow 'nowhere'" in done.stdout


def test_check_tells_what_of_monitoring_does_nothing_or_cannot_work(make_study: MakeStudy) -> None:
    home = make_study()
    (home / "study.in").write_text(_STUDY_IN)
    text = (home / "study.yml").read_text().partition("monitoring:")[0]
    (home / "study.yml").write_text(text + "monitoring: {online: 'http://localhost:1/'}\n")
    done = panorama("check", home)
    assert (done.returncode, "warning: monitoring: online does nothing" in done.stdout) == (0, True)
    broker = "monitoring: {broker: 'amqp://localhost/panorama/monitoring', credentials: netrc}\n"
    (home / "study.yml").write_text(text + broker)
    done = panorama("check", home)
    assert done.returncode == 2
    assert f"{home / 'netrc'}: cannot be read: No such file or directory" in done.stdout
    (home / "netrc").write_text("machine localhost login a password b\n")
    (home / "netrc").chmod(0o644)
    assert "others can read the password" in panorama("check", home).stdout
    (home / "netrc").chmod(0o600)
    assert panorama("check", home).returncode == 0


def test_init_promises_no_file_that_is_not_there(tmp_path: Path) -> None:
    said = panorama("init", PARABOLA, tmp_path / "mine").stdout
    assert "README.md" not in said
    assert f"write {tmp_path / 'mine' / 'study.in'}" in said


@pytest.mark.parametrize(
    ("wrong", "words"),
    [("'x'", "'z' is no parameter of workflow 'parabola'"), ("'y'", "'z' is no response of study.yml")],
)
def test_names_that_nobody_knows_are_found_before_anything_runs(make_study: MakeStudy, wrong: str, words: str) -> None:
    home = make_study()
    (home / "study.in").write_text(_STUDY_IN.replace(wrong, "'z'"))
    checked = panorama("check", home)
    assert (checked.returncode, words in checked.stdout) == (2, True)
    ran = panorama("study", home)
    assert (ran.returncode, words in ran.stderr) == (2, True)
    assert not (home / "dakota.log").exists()


def test_what_the_system_refuses_is_told_without_a_traceback(finished: Path, tmp_path: Path) -> None:
    done = panorama("report", finished, "-o", tmp_path / "nowhere" / "x.png")
    assert done.returncode == 2
    assert "nowhere/x.png: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_makes_a_study_and_overwrites_none(tmp_path: Path) -> None:
    done = panorama("init", "sns_nanodiamond", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    assert {"study.in", "study.yml"} <= {path.name for path in (tmp_path / "mine").iterdir()}
    assert panorama("check", tmp_path / "mine" / "study.in").returncode == 0
    again = panorama("init", "sns_nanodiamond", tmp_path / "mine")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_doctor_names_what_is_missing_and_how_to_mend_it() -> None:
    told = json.loads(panorama("doctor", "--json").stdout)
    assert {"dakota", "local", "pegasus", "sns_nanodiamond"} <= {check["purpose"] for check in told}
    assert all(check["found"] or check["mend"] for check in told)


def test_a_report_keeps_evaluations_of_another_definition_apart(tmp_path: Path) -> None:
    home = tmp_path / "trial"
    panorama("run", PARABOLA, "--set", "x=0.5", "-o", home)
    (home / "study.yml").write_text((home / "study.yml").read_text() + "options: {pause: 0.01}\n")
    panorama("run", PARABOLA, "--set", "x=0.7", "-o", home)
    told = panorama("report", home).stdout
    assert "1 evaluations of an earlier definition of the study are left out" in told
    assert len(json.loads(panorama("report", home, "--json").stdout)["rows"]) == 1
    assert "owner" not in panorama("stop", home).stdout


def test_a_report_has_evaluations_that_varied_other_parameters(tmp_path: Path) -> None:
    home = tmp_path / "trial"
    panorama("run", PARABOLA, "--set", "x=0.5", "-o", home)
    panorama("run", PARABOLA, "--set", "pause=1e-2", "-o", home)
    told = panorama("report", home)
    assert told.returncode == 0, told.stderr
    assert "picture" in told.stdout
    assert [row.split()[1:3] for row in told.stdout.splitlines()[1:3]] == [["0.5", "unknown"], ["unknown", "0.01"]]


def test_a_run_says_what_is_wrong_before_it_starts_anything(tmp_path: Path) -> None:
    for words, problem in {
        ("x=99",): "out of its bounds",
        ("nope=1",): "parameter 'nope' is not in",
        ("x=[",): "write NAME=VALUE",
    }.items():
        done = panorama("run", PARABOLA, "--set", *words, "-o", tmp_path / "trial")
        assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "trial" / ".panorama").exists()


def test_a_run_does_not_take_the_study_of_another_workflow_for_its_own(make_study: MakeStudy) -> None:
    done = panorama("run", "sns_nanodiamond", "-o", make_study())
    assert done.returncode == 2
    assert "choose another directory with -o" in done.stderr


def test_a_workflow_without_a_study_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PARABOLA, tmp_path / "parabola"))
    (folder / "study.yml").unlink()
    for verb in (("run", folder, "-o", tmp_path / "a"), ("init", folder, tmp_path / "b")):
        done = panorama(*verb)
        assert done.returncode == 2
        assert f"{folder / 'study.yml'}: no such file" in done.stderr


def test_the_best_of_a_study_that_maximizes_is_the_largest(finished: Path) -> None:
    text = (finished / "study.in").read_text()
    try:
        (finished / "study.in").write_text(text + "    sense 'maximize'\n")
        assert "best: x = 1.3 with y = 1" in panorama("report", finished).stdout
    finally:
        (finished / "study.in").write_text(text)
