"""The driver always leaves a complete results file and exits 0; and it is cheap to start."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .runs import environment

PARAMETERS = """\
                      1 variables
  5.000000000000000e-01 x
                      2 functions
                      1 ASV_1:f
                      0 ASV_2:g
                      1 derivative_variables
                      1 DVV_1:x
                      1 analysis_components
              study.yml AC_1:panorama-driver
                      3 eval_id
                      1 metadata
                seconds MD_1
"""
BATCH = PARAMETERS.replace(" 3 eval_id", " 2:3 eval_id") + PARAMETERS.replace(" 3 eval_id", " 2:4 eval_id")

OK = 'return [{"state": "ok", "responses": {"f": 2.5, "g": 1}, "metadata": {"seconds": 4}} for each in evaluations]'


def run(program: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *args], cwd=program.parent, env=environment() | more, capture_output=True, text=True, timeout=60
    )


def words(text: str) -> list[str]:
    return text.split()


@pytest.fixture
def left(make_driver: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Run the driver with a study server's body and a parameters file; what it leaves, and what it says."""

    def leave(body: str, parameters: str | bytes = PARAMETERS) -> tuple[str, str]:
        content = parameters if isinstance(parameters, bytes) else parameters.encode()
        (tmp_path / "params.in").write_bytes(content)
        done = run(make_driver(body), "params.in", "results.out")
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert sorted(each.name for each in tmp_path.iterdir()) == ["panorama-driver", "params.in", "results.out"]
        return (tmp_path / "results.out").read_text(), done.stderr

    return leave


def test_only_what_is_asked_for_is_answered(left: Callable[..., tuple[str, str]]) -> None:
    text, said = left(OK)
    assert words(text) == ["2.5000000000000000E+00", "f", "4.0000000000000000E+00", "seconds"]
    assert said == ""


def failed(how: str) -> str:
    return f'return [{{"state": "failed", "message": "job md exited 1", {how}}} for each in evaluations]'


@pytest.mark.parametrize(
    ("how", "single", "in_batch"),
    [
        ("", ["FAIL"], ["nan", "f", "nan", "seconds"]),
        ("'on_failure': 'fail'", ["FAIL"], ["nan", "f", "nan", "seconds"]),
        ("'on_failure': 'nan'", ["nan", "f", "nan", "seconds"], ["nan", "f", "nan", "seconds"]),
        ("'on_failure': 'often'", ["nan", "f", "nan", "seconds"], ["nan", "f", "nan", "seconds"]),
        (
            "'on_failure': 99, 'metadata': {'seconds': 1}",
            ["9.9000000000000000E+01", "f", "1.0000000000000000E+00", "seconds"],
            ["9.9000000000000000E+01", "f", "1.0000000000000000E+00", "seconds"],
        ),
    ],
)
def test_a_failure_is_reported_as_the_study_chose(
    left: Callable[..., tuple[str, str]], how: str, single: list[str], in_batch: list[str]
) -> None:
    text, said = left(failed(how))
    assert words(text) == single
    assert said == "panorama-driver: evaluation 3: failed: job md exited 1\n"
    text, said = left(failed(how), BATCH)
    assert words(text) == ["#", *in_batch, "#", *in_batch]
    assert "panorama-driver: evaluation 2:4: failed: job md exited 1\n" in said


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise StudyError('no study.yml in /here')", "evaluation 3: no study.yml in /here"),
        ("raise ServerError('the server is gone')", "evaluation 3: the server is gone"),
        ("raise EvaluationCancelledError('cancelled by SIGTERM')", "evaluation 3: cancelled by SIGTERM"),
        ("raise RuntimeError('a mistake')", "evaluation 3: RuntimeError: a mistake"),
        ("raise KeyboardInterrupt", "evaluation 3: KeyboardInterrupt"),
        ("raise MemoryError", "evaluation 3: MemoryError"),
        ("return None", "evaluation 3: TypeError"),
        ("return []", "evaluation 3: the study server gave 0 replies to 1 evaluations"),
        ("return [{}]", "evaluation 3: no state: no reason given"),
        ("return [7]", "evaluation 3: AttributeError"),
        ("return [{'state': 'cancelled', 'message': 'by you'}]", "evaluation 3: cancelled: by you"),
        ("return [{'state': 'ok', 'responses': {'h': 1}}]", "no value for response 'f': name it under responses:"),
        ("return [{'state': 'ok', 'responses': {'f': None}}]", "evaluation 3: response 'f' is None, not a number"),
        ("return [{'state': 'ok', 'responses': {'f': 'a'}}]", "evaluation 3: response 'f' is 'a', not a number"),
    ],
)
def test_whatever_goes_wrong_is_a_failure_with_its_reason(
    left: Callable[..., tuple[str, str]], body: str, says: str
) -> None:
    text, said = left(body)
    assert text == "FAIL\n"
    assert said.startswith("panorama-driver: ")
    assert says in said
    if "1 evaluations" not in says and "[" not in body:
        text, _ = left(body, BATCH)
        assert words(text) == ["#", "nan", "f", "nan", "seconds"] * 2


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (b"", "params.in: the parameters file is empty"),
        (b"\x7fELF\x00\xff\xfe", "params.in:1: expected the number of variables"),
        (PARAMETERS[:90].encode(), "params.in"),
        (b'{"variables": [', "params.in: not JSON"),
        (b"[" * 100_000, "RecursionError"),
    ],
    ids=["empty", "binary", "cut", "cut JSON", "deep JSON"],
)
def test_unreadable_parameters_are_a_failure(
    left: Callable[..., tuple[str, str]], parameters: bytes, says: str
) -> None:
    text, said = left(OK, parameters)
    assert text == "FAIL\n"
    assert says in said


def test_missing_parameters_are_a_failure(make_driver: Callable[[str], Path], tmp_path: Path) -> None:
    done = run(make_driver(OK), "nowhere.in", "results.json")
    assert done.returncode == 0
    assert (tmp_path / "results.json").read_text() == '{\n "fail": true\n}\n'
    assert "nowhere.in" in done.stderr


def test_a_results_file_that_cannot_be_written_is_said(make_driver: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "params.in").write_text(PARAMETERS)
    done = run(make_driver(OK), "params.in", "gone/results.out")
    assert done.returncode == 0
    assert "evaluation 3: the results file cannot be written, so Dakota will abort" in done.stderr


def test_a_closed_stderr_costs_no_result(make_driver: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "params.in").write_text(PARAMETERS)
    program = make_driver("report('busy')\nraise RuntimeError")
    shell = f"exec {program} params.in results.out 2>/dev/full"
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=environment(), timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "results.out").read_text() == "FAIL\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_and_leaves_a_failure(
    make_driver: Callable[[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "params.in").write_text(PARAMETERS)
    program = make_driver("import signal\nreport('busy')\nsignal.pause()")
    process = subprocess.Popen(
        [program, "params.in", "results.out"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "panorama-driver: evaluation 3: busy\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said == f"panorama-driver: evaluation 3: cancelled by {number.name}\n"
    assert (tmp_path / "results.out").read_text() == "FAIL\n"


@pytest.mark.parametrize(
    ("args", "from_environment", "results"),
    [
        (["params.in", "results.out"], False, "results.out"),
        (["two", "words", "params.in", "results.out"], False, "results.out"),
        (["--results-format", "json", "params.in", "results.out"], False, "results.out"),
        (["--results-format=json", "params.in", "results.out"], False, "results.out"),
        ([], True, "tagged.out"),
        (["--results-format", "json"], True, "tagged.out"),
    ],
)
def test_the_files_are_the_last_two_arguments_or_in_the_environment(
    make_driver: Callable[[str], Path], tmp_path: Path, args: list[str], from_environment: bool, results: str
) -> None:
    (tmp_path / "params.in").write_text(PARAMETERS)
    named = {"DAKOTA_PARAMETERS_FILE": "params.in", "DAKOTA_RESULTS_FILE": "tagged.out"} if from_environment else {}
    assert run(make_driver(OK), *args, **named).returncode == 0
    text = (tmp_path / results).read_text()
    assert text.startswith("{" if any("json" in arg for arg in args) else "  2.5")


def test_without_files_there_is_nothing_to_leave(make_driver: Callable[[str], Path]) -> None:
    done = run(make_driver(OK))
    assert done.returncode == 2
    assert "DAKOTA_PARAMETERS_FILE" in done.stderr


def test_an_unknown_results_format_is_said(make_driver: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "params.in").write_text(PARAMETERS)
    done = run(make_driver(OK), "--results-format", "xml", "params.in", "results.out")
    assert done.returncode == 0
    assert "'xml' is not one of: standard, json" in done.stderr
    assert (tmp_path / "results.out").read_text() == "FAIL\n"


@pytest.mark.parametrize(
    ("component", "asked"), [("study.yml", "study.yml"), ("my.yaml", "my.yaml"), ("other", "study.yml")]
)
def test_the_study_file_is_the_component_that_looks_like_one(
    left: Callable[..., tuple[str, str]], component: str, asked: str
) -> None:
    _, said = left("raise StudyError(study_file)", PARAMETERS.replace("study.yml", component))
    assert said == f"panorama-driver: evaluation 3: {asked}\n"


def test_where_no_study_file_is_found_the_real_client_says_so(tmp_path: Path) -> None:
    (tmp_path / "params.in").write_text(PARAMETERS.replace("study.yml", "no-such-study.yml"))
    command = [sys.executable, "-m", "panorama_driver.dakota.driver", "params.in", "results.out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "evaluation 3: no no-such-study.yml in" in done.stderr
    assert (tmp_path / "results.out").read_text() == "FAIL\n"


def modules(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_driver_imports_nothing_but_its_own() -> None:
    assert modules("import panorama_driver.dakota.driver") <= {
        "__future__",
        "panorama_driver",
        "panorama_driver.errors",
        "panorama_driver.dakota",
        "panorama_driver.dakota._formats",
        "panorama_driver.dakota.driver",
    }


def test_with_the_client_it_is_the_standard_library_and_little_of_it() -> None:
    found = modules("import panorama_driver.dakota.driver, panorama_driver.study.client")
    assert {name.partition(".")[0] for name in found} <= sys.stdlib_module_names | {"panorama_driver"}
    assert not found & {"argparse", "asyncio", "dataclasses", "inspect", "logging", "pathlib", "subprocess", "typing"}


@pytest.mark.measures
def test_a_start_of_the_driver_is_cheap(tmp_path: Path) -> None:
    """Least CPU time of a few whole runs: 23 ms where this was written, of which the interpreter alone took 9."""
    compiled = environment() | {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}
    compiled.pop("PYTHONDONTWRITEBYTECODE", None)
    (tmp_path / "params.in").write_text(PARAMETERS)
    command = [sys.executable, "-m", "panorama_driver.dakota.driver", "params.in", "results.out"]
    spent = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=tmp_path, env=compiled, stderr=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert os.path.exists(tmp_path / "results.out")
    assert min(spent) < 0.060, f"measured {min(spent):.3f} s"
