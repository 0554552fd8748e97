"""study.yml: read, checked, and refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from panorama_driver.config import duration, load_study, netrc_login, spell
from panorama_driver.errors import StudyError, UsageError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_study_of_one_line_has_its_defaults(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, "workflow: parabola\n"))
    assert (study.site, study.engine, study.slots) == ("local", "local", "auto")
    assert (study.timeout_seconds, study.interval_seconds) == (3600.0, 1.0)
    assert (study.on_failure.retry, study.on_failure.then) == (0, "fail")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workflow: [\n", r"study\.yml:2: not YAML"),
        ("responses: {}\n", "missing required field 'workflow'.*the keys are workflow, responses"),
        ("workflow: p\nsit: cori\n", "unknown field 'sit'; the keys are"),
        ("workflow: p\non_failure: {then: explode}\n", r"Invalid enum value 'explode' - at '\$\.on_failure\.then'"),
        ("workflow: p\nengine: cloud\n", r"Invalid enum value 'cloud' - at '\$\.engine'"),
        ("workflow: p\non_failure: {retry: -1}\n", "on_failure.retry: -1 is below 0"),
        ("workflow: p\non_failure: {then: .inf}\n", "on_failure.then: inf is no finite number"),
        ("workflow: p\nslots: 0\n", "slots: 0 is not a number of cores"),
        ("workflow: p\ntimeout: -3 s\n", "timeout: '-3 s' is no duration"),
        ("workflow: p\nmonitoring: {interval: 1 fortnight}\n", "monitoring.interval: '1 fortnight' is no duration"),
        ("- a\n- b\n", "Expected 'object', got 'array'"),
    ],
)
def test_a_wrong_study_names_file_key_and_what_was_expected(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=words):
        load_study(write(tmp_path, text))


def test_off_may_be_written_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "study.yml"
    path.write_text("workflow: w\nmonitoring: {darshan: off, tcp: 'off', anomalies: off}\n")
    monitoring = load_study(path).monitoring
    assert (monitoring.darshan, monitoring.tcp, monitoring.anomalies) == ("off", "off", "off")


def test_a_missing_study_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"study\.yml: no such file"):
        load_study(tmp_path / "study.yml")


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="could not determine a constructor"):
        load_study(write(tmp_path, "workflow: !!python/object/apply:os.getcwd []\n"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 min", 1800.0), ("1.5 h", 5400.0), ("500ms", 0.5), ("2", 2.0), (3, 3.0), (0.25, 0.25), ("1e3 s", 1000.0)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0 s", 0, -1, "1 parsec", float("inf"), float("nan")])
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match="no duration"):
        duration(text)


def test_values_are_spelled_as_people_read_them() -> None:
    assert spell({"q_h": 0.42000000001, "n": 3, "name": "a b"}) == "q_h = 0.42, n = 3, name = a b"


def test_a_damaged_netrc_file_is_refused_without_a_word_of_its_password(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine h login u password open sesame\n")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="this is not as in a netrc file") as caught:
        netrc_login(path, "h")
    assert not {"open", "sesame"} & set(str(caught.value).split())


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "a: " + "{x: " * 100_000], ids=["[", "-", "{"])
def test_a_file_nested_deeper_than_any_stack_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(StudyError, match=r"study\.yml: is nested too deep"):
        load_study(write(tmp_path, text))
