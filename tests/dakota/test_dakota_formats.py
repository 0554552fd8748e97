"""Parameters files are read, and results files written, as the real Dakota writes and reads them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from panorama_driver.dakota import _formats as formats
from panorama_driver.errors import FormatError

from .runs import Ran

STANDARD = """\
                                          3 variables
                      5.000000000000000e-01 x1
                                          3 n
                                        a b s
                                          2 functions
                                          1 ASV_1:f
                                          3 ASV_2:g
                                          1 derivative_variables
                                          1 DVV_1:x1
                                          2 analysis_components
                                  study.yml AC_1:/opt/drv.py --flag two words
                                 other comp AC_2:/opt/drv.py --flag two words
                                          7 eval_id
                                          1 metadata
                                     cost x MD_1
"""

APREPRO = """\
                    { DAKOTA_VARS     =                      3 }
                    { x1              =  5.000000000000000e-01 }
                    { n               =                      3 }
                    { s               =                      "a b" }
                    { DAKOTA_FNS      =                      2 }
                    { ASV_1:f         =                      1 }
                    { ASV_2:g         =                      3 }
                    { DAKOTA_DER_VARS =                      1 }
                    { DVV_1:x1        =                      1 }
                    { DAKOTA_AN_COMPS =                      2 }
                    { AC_1:/opt/drv.py --flag two words =                      "study.yml" }
                    { AC_2:/opt/drv.py --flag two words =                      "other comp" }
                    { DAKOTA_EVAL_ID  =                      7 }
                    { DAKOTA_METADATA =                      1 }
                    { MD_1            =                      "cost x" }
"""

JSON = json.dumps(
    {
        "analysis_components": [
            {"component": "study.yml", "driver": "/opt/drv.py"},
            {"component": "other comp", "driver": "/opt/drv.py"},
        ],
        "derivative_variables": [1],
        "eval_id": "7",
        "metadata": ["cost x"],
        "responses": [{"active_set": 1, "label": "f"}, {"active_set": 3, "label": "g"}],
        "variables": [{"label": "x1", "value": 0.5}, {"label": "n", "value": 3}, {"label": "s", "value": "a b"}],
    },
    indent=4,
)

TEXTS = {"standard": STANDARD, "aprepro": APREPRO, "json": JSON}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "no last newline"])
def test_the_same_evaluation_is_read_from_every_format(name: str, end: str, cut: bool) -> None:
    text = TEXTS[name].rstrip("\n") if cut else TEXTS[name]
    request = formats.parse_parameters(text.replace("\n", end))
    assert (request.format, request.batch) == (name, False)
    (read,) = request.evaluations
    assert read.eval_id == "7"
    assert read.variables == {"x1": 0.5, "n": 3, "s": "a b"}
    assert [type(value) for value in read.variables.values()] == [float, int, str]
    assert read.asv == {"f": 1, "g": 3}
    assert read.dvv == ["x1"]
    assert read.components == ["study.yml", "other comp"]
    assert read.metadata == ["cost x"]


@pytest.mark.parametrize("name", ["standard", "aprepro"])
def test_files_of_dakota_before_metadata_are_read(name: str) -> None:
    old = "\n".join(line for line in TEXTS[name].splitlines() if "MD_1" not in line and "etadata" not in line.lower())
    (read,) = formats.parse_parameters(old).evaluations
    assert read.metadata == []


def test_text_that_python_but_not_dakota_takes_for_a_number_stays_text() -> None:
    for word in ("nan", "inf", "1_000", "٣", "0x10", ""):
        (read,) = formats.parse_parameters(STANDARD.replace("a b", word)).evaluations
        assert read.variables["s"] == word


@pytest.mark.parametrize(
    ("eval_id", "hint", "batch"),
    [
        ("7", "results.out.7", False),
        ("1:1", "results.out.1", True),
        ("1:1", "results.out.1.1", False),
        ("1:1", "/run/work.1.1", False),
        ("4:9:2", "results.out", False),
        (".1:1:1", "results.out", True),
    ],
)
def test_one_evaluation_of_a_batch_is_told_from_one_of_a_hierarchy(eval_id: str, hint: str, batch: bool) -> None:
    text = STANDARD.replace("7 eval_id", f"{eval_id} eval_id")
    assert formats.parse_parameters(text, hints=[hint]).batch is batch


def test_a_batch_is_one_evaluation_after_the_other() -> None:
    second = STANDARD.replace("7 eval_id", "8 eval_id")
    assert [each.eval_id for each in formats.parse_parameters(STANDARD + second).evaluations] == ["7", "8"]
    request = formats.parse_parameters(f"[{JSON}]")
    assert request.batch
    assert len(request.evaluations) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "params.in: the parameters file is empty"),
        ("\x00\x7fELF", "params.in:1: expected the number of variables, found"),
        (STANDARD.replace("3 variables", "x variables"), "params.in:1: expected the number of variables, found 'x var"),
        (STANDARD.replace("1 ASV_1:f", "9 ASV_1:f"), "params.in:6: expected an active set entry, found '9 ASV_1:f'"),
        (STANDARD.replace("1 DVV_1", "4 DVV_1"), "params.in:9: expected a derivative variable, found '4 DVV_1:x1'"),
        (STANDARD[:600], "params.in"),
        (STANDARD.partition(" 7 eval_id")[0], "the file ends where the evaluation's id should stand"),
        (APREPRO.replace('"a b"', "a b"), "params.in:4: expected a number or a quoted string, found"),
        (JSON[:-5], "params.in: not JSON"),
        (JSON.replace('"label": "f"', '"name": "f"'), "params.in: evaluation 1: responses has"),
        (JSON.replace('"7"', "null"), "params.in: evaluation 1: eval_id is None"),
        ("[]", "params.in: a batch without evaluations"),
        ("[3]", "params.in: evaluation 1: expected an object, found 3"),
    ],
)
def test_what_is_no_parameters_file_is_named_with_its_line_and_value(text: str, says: str) -> None:
    with pytest.raises(FormatError) as caught:
        formats.parse_parameters(text, "params.in")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("results", "told", "style"),
    [
        ("results.out", None, "standard"),
        ("results.out.3", None, "standard"),
        ("run.json/results.3", None, "standard"),
        ("json", None, "standard"),
        ("results.json", None, "json"),
        ("results.json.12", None, "json"),
        ("w/results.JSON.4.9.2", None, "json"),
        ("results.json", "standard", "standard"),
        ("results.out", "json", "json"),
    ],
)
def test_the_results_format_is_told_or_seen_in_the_name(results: str, told: str | None, style: str) -> None:
    assert formats.results_style(results, told) == style


def test_an_unknown_results_format_is_refused() -> None:
    with pytest.raises(FormatError, match="'xml' is not one of: standard, json"):
        formats.results_style("results.out", "xml")


labels = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"], exclude_characters='"'), min_size=1)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"], exclude_characters='"'))
real = st.floats(allow_nan=False, allow_infinity=False)
reals = st.lists(real, max_size=4)


def as_dakota_writes(name: str, values: dict[str, float | int | str], eval_id: str) -> str:
    if name == "json":
        variables = [{"label": label, "value": value} for label, value in values.items()]
        return json.dumps(
            {
                "variables": variables,
                "responses": [],
                "derivative_variables": [],
                "analysis_components": [],
                "eval_id": eval_id,
            }
        )
    written = {
        label: f"{value:.16e}"
        if isinstance(value, float)
        else f'"{value}"'
        if isinstance(value, str) and name == "aprepro"
        else str(value)
        for label, value in values.items()
    }
    counts = dict.fromkeys(formats._SECTIONS[name][1:], "0") | {formats._SECTIONS[name][4]: eval_id}
    rows = {formats._SECTIONS[name][0]: str(len(values))}, written, counts
    line = "{{ {:<15} = {:>22} }}" if name == "aprepro" else "{1:>43} {0}"
    return "".join(line.format(*pair) + "\n" for row in rows for pair in row.items())


@given(st.dictionaries(labels, real | st.integers(-(2**31), 2**31) | words), st.sampled_from(["aprepro", "json"]))
def test_typed_formats_give_variables_back_as_they_were(values: dict[str, float | int | str], name: str) -> None:
    (read,) = formats.parse_parameters(as_dakota_writes(name, values, "3")).evaluations
    assert read.variables == values
    assert list(map(type, read.variables.values())) == list(map(type, values.values()))


@given(st.dictionaries(labels, real | st.integers(-(2**31), 2**31)), st.integers(1, 10**6))
def test_the_standard_format_gives_numbers_back_as_they_were(values: dict[str, float | int | str], number: int) -> None:
    (read,) = formats.parse_parameters(as_dakota_writes("standard", values, str(number))).evaluations
    assert (read.variables, read.eval_id) == (values, str(number))


@given(st.text())
@example("\x85")
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(FormatError):
        assert formats.parse_parameters(text).evaluations


def read_standard(text: str) -> list[float]:
    """Values as Dakota's reader without labels takes them."""
    return [float(word) for word in text.replace("[", " ").replace("]", " ").split() if not word.startswith("label")]


@given(reals, reals)
def test_standard_results_keep_every_digit_and_flush_what_dakota_cannot_read(
    first: list[float], row: list[float]
) -> None:
    answer = formats.Answer({f"label{i}": value for i, value in enumerate(first)}, {"f": row}, {"f": [row, row]})
    expected = [value if abs(value) >= 2.2250738585072014e-308 else 0.0 for value in first + row * 3]
    assert read_standard(formats.format_results([answer], "standard")) == expected


@given(st.dictionaries(labels, st.floats()))
def test_json_results_keep_every_value(values: dict[str, float]) -> None:
    written = json.loads(formats.format_results([formats.Answer(values)], "json"))["functions"]
    for label, value in values.items():
        assert float(written[label]) == value or math.isnan(value)


def test_a_failure_is_refused_in_a_batch() -> None:
    with pytest.raises(ValueError, match="inside a batch"):
        formats.format_results([formats.failure()], "standard", batch=True)


def test_a_file_is_written_whole_or_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "results.out"
    formats.write_atomically(str(target), "1 f\n")
    formats.write_atomically(str(target), "2 f\n")
    assert target.read_text() == "2 f\n"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OSError, match="gone"):
        formats.write_atomically(str(tmp_path / "gone" / "results.out"), "3 f\n")


STUDY = """\
environment
  tabular_data
method
  centered_parameter_study
    step_vector 0.1 0.1 1 1 1 1
    steps_per_variable 1
variables
  continuous_design = 2
    initial_point 0.5 -1.25
    descriptors 'x1' 'x_2'
  discrete_design_range = 1
    initial_point 3
    lower_bounds 0
    upper_bounds 9
    descriptors 'n'
  discrete_design_set
    integer = 1
      elements 1 5 9
      initial_point 5
      descriptors 'iset'
    string = 1
      elements 'a b' 'c d' 'e=f'
      initial_point 'c d'
      descriptors 'sset'
    real = 1
      elements 1.5 2.5 3.5
      initial_point 2.5
      descriptors 'rset'
interface
  analysis_drivers = '{driver} {options}'
    analysis_components = 'study.yml' 'other comp'
    fork
      parameters_file 'params.in'
      results_file '{results}'
      {parameters_format}
      {results_format}
  {batch}
responses
  descriptors 'f' 'fld'
  response_functions = 2
    scalar_responses = 1
    field_responses = 1
      lengths = 2
  metadata 'seconds' 'unknown'
  no_gradients
  no_hessians
"""

ANSWERING = """
import json
with open("asked.jsonl", "a") as log:
    for each in evaluations:
        print(json.dumps(each), file=log)
return [
    {
        "state": "ok",
        "responses": {"f": variables["x1"], "fld_1": variables["n"], "fld_2": len(variables["sset"])},
        "metadata": {"seconds": 1.5},
    }
    for variables in (each["variables"] for each in evaluations)
]
"""


@pytest.mark.parametrize("batch", ["", "batch"], ids=["single", "batch"])
@pytest.mark.parametrize(
    ("results", "options", "results_format"),
    [
        ("results.out", "", "results_format standard labeled"),
        ("results.out", "--results-format json", "results_format json"),
    ],
)
@pytest.mark.parametrize("parameters_format", ["", "aprepro", "parameters_format json"])
def test_dakota_and_the_driver_understand_each_other(
    run_dakota: Callable[[str], Ran],
    make_driver: Callable[[str], Path],
    parameters_format: str,
    results: str,
    options: str,
    results_format: str,
    batch: str,
) -> None:
    ran = run_dakota(
        STUDY.format(
            driver=make_driver(ANSWERING),
            options=options,
            results=results,
            parameters_format=parameters_format,
            results_format=results_format,
            batch=batch,
        )
    )
    assert ran.code == 0, ran.said
    asked = [json.loads(line) for line in (ran.folder / "asked.jsonl").read_text().splitlines()]
    assert asked[0]["variables"] == {"x1": 0.5, "x_2": -1.25, "n": 3, "iset": 5, "sset": "c d", "rset": 2.5}
    assert asked[0]["asv"] == {"f": 1, "fld_1": 1, "fld_2": 1}
    assert asked[0]["components"] == ["study.yml", "other comp"]
    assert asked[0]["metadata"] == ["seconds", "unknown"]
    assert len(asked) == len(ran.table()) == 13
    for each, row in zip(asked, ran.table(), strict=True):
        assert each["eval_id"] == (f"1:{row['eval_id']}" if batch else row["eval_id"])
        assert float(row["f"]) == each["variables"]["x1"]
        assert int(row["fld_1"]) == each["variables"]["n"]
        assert int(row["fld_2"]) == 3


SMALL = """\
environment
  tabular_data
method
  list_parameter_study
    list_of_points {points}
variables
  continuous_design = 1
    descriptors 'x'
interface
  analysis_drivers = '{driver}'
    fork
      parameters_file 'params.in'
      results_file '{results}'
      results_format {format}
  {more}
responses
  response_functions = 1
  descriptors 'f'
  {derivatives}
"""
BOTH = pytest.mark.parametrize(
    ("results", "format"), [("results.out", "standard labeled"), ("results.json", "json")], ids=["standard", "json"]
)
NO_DERIVATIVES = "no_gradients no_hessians"


@BOTH
def test_dakota_takes_values_that_are_no_usual_numbers(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path], results: str, format: str
) -> None:
    values = ["nan", "inf", "-inf", "4.9e-324", "1e-310", "1.7e308", "-0.0", "1"]
    driver = make_driver(
        f"""
        values = {values}
        return [{{"state": "ok", "responses": {{"f": values[int(evaluations[0]["eval_id"]) - 1]}}}}]
        """.replace("\n        ", "\n")
    )
    points = " ".join(map(str, range(len(values))))
    study = SMALL.format(
        points=points, driver=driver, results=results, format=format, more="", derivatives=NO_DERIVATIVES
    )
    ran = run_dakota(study)
    assert ran.code == 0, ran.said
    assert [float(row["f"]) for row in ran.table()][1:] == pytest.approx(
        [float(value) for value in values[1:]], abs=1e-300
    )
    assert math.isnan(float(ran.table()[0]["f"]))


@pytest.mark.parametrize(("results", "format"), [("results.out", "standard"), ("results.json", "json")])
def test_dakota_takes_metadata_whose_labels_have_blanks(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path], results: str, format: str
) -> None:
    driver = make_driver('return [{"state": "ok", "responses": {"f": 1}, "metadata": {"cost x": 2}}]')
    derivatives = f"metadata 'cost x' 'unknown' {NO_DERIVATIVES}"
    study = SMALL.format(points="1", driver=driver, results=results, format=format, more="", derivatives=derivatives)
    ran = run_dakota(study)
    assert ran.code == 0, ran.said
    assert "2 cost x" in " ".join(ran.said.replace("2.0000000000e+00", "2").split())


FAILING = """
return [
    {"state": "failed", "message": "job md exited 1", "on_failure": "fail"}
    if each["variables"]["x"] == 2
    else {"state": "ok", "responses": {"f": each["variables"]["x"]}}
    for each in evaluations
]
"""


@BOTH
def test_dakota_recovers_from_a_failure(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path], results: str, format: str
) -> None:
    study = SMALL.format(
        points="1 2 3",
        driver=make_driver(FAILING),
        results=results,
        format=format,
        more="failure_capture recover 99",
        derivatives=NO_DERIVATIVES,
    )
    ran = run_dakota(study)
    assert ran.code == 0, ran.said
    assert [float(row["f"]) for row in ran.table()] == [1, 99, 3]
    assert "panorama-driver: evaluation 2: failed: job md exited 1" in ran.said


@BOTH
def test_a_failure_in_a_batch_becomes_nan_because_dakota_would_not_survive_it(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path], results: str, format: str
) -> None:
    study = SMALL.format(
        points="1 2 3",
        driver=make_driver(FAILING),
        results=results,
        format=format,
        more="batch size 2",
        derivatives=NO_DERIVATIVES,
    )
    ran = run_dakota(study)
    assert ran.code == 0, ran.said
    assert [row["f"] for row in ran.table()] == ["1", "nan", "3"]
    assert "panorama-driver: evaluation 1:2: failed: job md exited 1" in ran.said


def test_a_failure_in_a_hierarchy_of_models_is_told_to_dakota(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path]
) -> None:
    """Its evaluation 1:1 looks like the first of a batch."""
    ran = run_dakota(f"""\
environment top_method_pointer 'outer'
method id_method 'outer' model_pointer 'nested'
  centered_parameter_study step_vector 0.1 steps_per_variable 1
model id_model 'nested' variables_pointer 'v' responses_pointer 'r' hierarchical_tagging
  nested sub_method_pointer 'inner' primary_response_mapping 1 0 primary_variable_mapping 'w'
variables id_variables 'v' continuous_design 1 descriptors 'd' initial_point 0.5
responses id_responses 'r' response_functions 1 no_gradients no_hessians
method id_method 'inner' model_pointer 'inside' sampling samples 2 seed 3
model id_model 'inside' single variables_pointer 'iv' interface_pointer 'i' responses_pointer 'ir' hierarchical_tagging
variables id_variables 'iv'
  uniform_uncertain 1 descriptors 'u' lower_bounds 0 upper_bounds 1
  continuous_state 1 descriptors 'w'
responses id_responses 'ir' response_functions 1 descriptors 'f' no_gradients no_hessians
interface id_interface 'i' analysis_drivers '{make_driver(FAILING.replace('"x"', '"w"').replace("== 2", "> 0.55"))}'
  fork parameters_file 'params.in' results_file 'results.out' file_tag
  failure_capture recover 99
""")
    assert ran.code == 0, ran.said
    assert "evaluation 3:5: failed" in ran.said
    assert ran.said.count("recovering with specified function values") == 2


@BOTH
@pytest.mark.parametrize("state", ["ok", "failed"])
def test_derivatives_are_given_as_dakota_asks_for_them(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path], results: str, format: str, state: str
) -> None:
    driver = make_driver(f"""
values = {{"responses": {{"f": 1}}, "gradients": {{"f": [2]}}, "hessians": {{"f": [[3]]}}}}
return [{{"state": {state!r}, "on_failure": "nan", **values}}]
""")
    study = SMALL.format(
        points="1 2",
        driver=driver,
        results=results,
        format=format,
        more="",
        derivatives="analytic_gradients analytic_hessians",
    ).replace(
        "list_parameter_study\n    list_of_points 1 2", "centered_parameter_study step_vector 1 steps_per_variable 1"
    )
    ran = run_dakota(study)
    assert ran.code == 0, ran.said
    assert len(ran.table()) == 3
    expected = "2.0000000000e+00" if state == "ok" else "nan"
    assert expected in ran.said.partition("Active response data for evaluation 1")[2]


def test_derivatives_that_nobody_has_are_a_failure_that_names_the_keyword(
    run_dakota: Callable[[str], Ran], make_driver: Callable[[str], Path]
) -> None:
    driver = make_driver('return [{"state": "ok", "responses": {"f": 1}}]')
    study = SMALL.format(
        points="",
        driver=driver,
        results="results.out",
        format="standard",
        more="",
        derivatives="analytic_gradients no_hessians",
    ).replace(
        "list_parameter_study\n    list_of_points ", "centered_parameter_study step_vector 1 steps_per_variable 1"
    )
    ran = run_dakota(study)
    assert ran.code != 0
    assert "Dakota asks for the gradient of f, which the workflow does not give: write numerical_gradients" in ran.said
