"""The look at a workflow folder: each mistake is found where it is, and a sound folder is left as it was."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from panorama_driver.config import shared_folder
from panorama_driver.render import workflow_names
from panorama_driver.render._trials import Point, trials
from panorama_driver.render.lint import Finding, check
from tests.conftest import DATA

_CHAIN = """
from Pegasus.api import File, Job, Workflow

def build(parameters, options):
    first = Job("simulate", _id="a").add_inputs(File("model.json"), File("measured.txt"))
    second = Job("compare", _id="b").add_args(parameters["rate"], parameters["ambient"], options["start"])
    %s
    return Workflow("w").add_jobs(first, second)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound workflow folder."""
    return Path(shutil.copytree(shared_folder("scaffold"), tmp_path / "cooling"))


def change(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert text.count(old) >= 1, (name, old)
    (folder / name).write_text(text.replace(old, new, 1))


def found(folder: Path) -> list[Finding]:
    return check(folder).findings


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_sound_folder_has_nothing_to_tell(folder: Path) -> None:
    before = contents(folder)
    assert found(folder) == []
    assert contents(folder) == before  # no __pycache__ either


@pytest.mark.parametrize("name", workflow_names())
def test_the_workflows_of_the_package_have_no_errors(name: str) -> None:
    folder = shared_folder("workflows") / name
    before = contents(folder).keys()
    assert [finding for finding in found(folder) if finding.level == "error"] == []
    assert contents(folder).keys() == before


@pytest.mark.parametrize("name", ["parabola", "busy"])
def test_the_workflows_of_the_tests_have_nothing_to_tell(name: str) -> None:
    assert found(DATA / "workflows" / name) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "level", "place", "words"),
    [
        ("workflow.yml", "default: 0.1", "default: 3.0", "error", "workflow.yml:4", "out of its bounds 0.01 to 1"),
        ("workflow.yml", "[0.01, 1.0]", "[1.0, 0.01]", "error", "workflow.yml:4", "1 is not below 0.01"),
        ("workflow.yml", "default: 20.0", "default: warm", "error", "workflow.yml:5", "must be of type float"),
        ("workflow.yml", "bounds: [0, 40]", "bound: [0, 40]", "error", "workflow.yml:5", "unknown field 'bound'"),
        ("workflow.yml", "name: cooling", "nam: cooling", "error", "workflow.yml", "'nam'"),
        ("workflow.yml", "title: A", "title: [A", "error", "workflow.yml:3", "not YAML"),
        ("workflow.yml", "  ambient: {type", "  start: {type", "error", "workflow.yml:7", "is a parameter too"),
        ("workflow.yml", "  start: {type", "  start-at: {type", "error", "workflow.yml:7", "no template can use it"),
        (
            "workflow.yml",
            "options:",
            "options:\n  lid: {type: bool, default: false}",
            "warning",
            "workflow.yml:7",
            "depends",
        ),
        (
            "workflow.yml",
            "  compare:\n    cand",
            "  judge:\n    cand",
            "error",
            "workflow.py",
            "compare: a job's, is not in",
        ),
        (
            "workflow.yml",
            "    simulate: {cores",
            "    simulat: {cores",
            "warning",
            "workflow.yml:17",
            "nearest: simulate",
        ),
        (
            "workflow.yml",
            "script: bin/compare.py",
            "program: no-such-program",
            "warning",
            "workflow.yml:12",
            "nothing can do",
        ),
        ("workflow.yml", "bin/compare.py}", "bin/compere.py}", "error", "bin/compere.py", "no such file"),
        (
            "workflow.yml",
            "{script: bin/compare.py}",
            "{packages: [json]}",
            "error",
            "workflow.yml:12",
            "either a program",
        ),
        (
            "workflow.yml",
            "options:",
            "published: {rat: 0.2}\noptions:",
            "error",
            "workflow.yml:6",
            "'rat'; nearest: rate",
        ),
        ("workflow.yml", "options:", "published: {rate: 20}\noptions:", "error", "workflow.yml:6", "out of its bounds"),
        (
            "workflow.py",
            'File("model.json")',
            'File("modell.json")',
            "error",
            "workflow.py",
            "file modell.json: jobs need it",
        ),
        ("workflow.py", "curve = File", "curve = Fil", "error", "workflow.py:7", "NameError"),
        ("workflow.py", "def build(", "def built(", "error", "workflow.py", "no function build"),
        ("workflow.py", "def build(parameters", "def build(parameters:", "error", "workflow.py:6", "SyntaxError"),
        (
            "workflow.py",
            "curve = ",
            "1 / (parameters['rate'] - 1)\n    curve = ",
            "error",
            "workflow.py:7",
            "with rate = 1: Zero",
        ),
        ("workflow.py", '_id="tea"', '_id="a cup"', "error", "workflow.py", "job a cup: its name may have"),
        ("workflow.py", '_id="tea"', '_id="tea.1"', "warning", "workflow.py", "job tea.1: Pegasus writes _"),
        (
            "workflow.py",
            "stage_out=False",
            "stage_out=False).add_outputs(File('../x')",
            "error",
            "workflow.py",
            "leads out of",
        ),
        (
            "templates/model.json.j2",
            "{{ rate }}",
            "{{ rat }}",
            "error",
            "templates/model.json.j2:1",
            "'rat' is undefined",
        ),
        (
            "templates/model.json.j2",
            "{{ rate }}",
            "{% if %}",
            "error",
            "templates/model.json.j2:1",
            "Expected an expression",
        ),
        (
            "templates/model.json.j2",
            "{{ rate }}",
            "{{ 1 / (rate - 1) }}",
            "error",
            "model.json.j2:1",
            "with rate = 1: float division",
        ),
        (
            "bin/compare.py",
            "#!/usr/bin/env python3",
            "#!/bin/sh",
            "error",
            "bin/compare.py:1",
            "replaced by the site's Python",
        ),
        ("bin/compare.py", "#!/usr/bin/env python3", "", "error", "bin/compare.py:1", "its first line is #!"),
        ("bin/compare.py", "import json", "import jsn", "warning", "bin/compare.py:4", "[jsn, ...]"),
        ("bin/compare.py", "import json", "import simulate", "error", "bin/compare.py:4", "from beside it"),
        ("bin/compare.py", "import json", "import json as", "error", "bin/compare.py:4", "is not Python"),
    ],
)
def test_a_mistake_is_told_where_it_is(
    folder: Path, name: str, old: str, new: str, level: str, place: str, words: str
) -> None:
    change(folder, name, old, new)
    told = [f"{finding.path.relative_to(folder.resolve())}:{finding.line}: {finding}" for finding in found(folder)]
    assert [line for line in told if f"{place}:" in line and f": {level}: " in line and words in line], told


@pytest.mark.parametrize("name", ["templates/notes.txt", "data/old/notes.txt", "bin/notes.py"])
def test_a_file_that_nothing_uses_is_told(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    [finding] = found(folder)
    assert (finding.level, finding.keyword, finding.path.name) == ("warning", name, Path(name).name)


def test_what_tells_of_the_folder_itself_needs_no_job(folder: Path) -> None:
    for name in ("data/README.md", "data/LICENSE", "data/.gitignore", "bin/__pycache__/x.pyc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    assert found(folder) == []


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        (
            "first.add_outputs(File('fit.json')), second.add_outputs(File('fit.json'))",
            "error: file fit.json: is an output of a and of b",
        ),
        (
            "first.add_outputs(File('x')).add_inputs(File('y')), second.add_outputs(File('y')).add_inputs(File('x'))",
            "error: jobs: wait for each other: ",
        ),
        (
            "first.add_outputs(File('x')).add_pegasus_profile(label='l'), second.add_inputs(File('x'));"
            " second.add_pegasus_profile(label='a b')",
            "error: build: job 'b': label 'a b'",
        ),
        ("first.add_pegasus_profile(cores='many')", "error: build: job 'a': cores is 'many', which is no whole number"),
    ],
)
def test_a_graph_that_cannot_be_run_is_told(folder: Path, edges: str, words: str) -> None:
    (folder / "workflow.py").write_text(_CHAIN % edges)
    assert [str(finding) for finding in found(folder) if words in str(finding)]


def test_a_dependency_on_a_job_that_was_never_added_is_told(folder: Path) -> None:
    text = (_CHAIN % "third = Job('compare', _id='c')").replace(
        "second)\n", "second).add_dependency(third, parents=[first])\n"
    )
    (folder / "workflow.py").write_text(text)
    assert [f.message for f in found(folder) if f.message.startswith("a dependency names job 'c', which is not there")]


@pytest.mark.parametrize("name", ["workflow.yml", "workflow.py"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "no such file" in found(folder)[0].message


def test_bounds_without_an_end_and_a_yaml_that_holds_itself_are_read(folder: Path) -> None:
    change(folder, "workflow.yml", "options:\n", "options:\n  n: {type: int, bounds: [0, .inf], default: 1}\n")
    assert [finding.keyword for finding in found(folder)] == ["options.n"]  # nothing depends on it
    change(folder, "workflow.yml", "options:\n", "published: &all {n: *all}\noptions:\n")
    assert "published" in found(folder)[0].message


def test_many_of_a_kind_are_one_finding(folder: Path) -> None:
    more = "[Job('simulate', _id=f'x {i}') for i in range(50)]"
    (folder / "workflow.py").write_text((_CHAIN % "pass").replace("second)\n", f"second, *{more})\n"))
    [finding] = [finding for finding in found(folder) if finding.keyword.startswith("job ")]
    assert finding.keyword == "job x 0, x 1, x 2 and more"


def test_a_value_that_matters_only_with_another_is_used(folder: Path) -> None:
    change(
        folder,
        "workflow.yml",
        "options:\n",
        "options:\n  step: {type: int, default: 5}\n  stop: {type: int, default: 0}\n",
    )
    change(folder, "workflow.py", '_id="fit")', '_id="fit").add_args(*range(0, options["stop"] * 10, options["step"]))')
    assert found(folder) == []


def test_a_value_that_only_a_property_of_pegasus_depends_on_is_used(folder: Path) -> None:
    change(folder, "workflow.yml", "options:\n", "options:\n  slots: {type: int, default: 4}\n")
    assert [finding.keyword for finding in found(folder)] == ["options.slots"]
    change(folder, "workflow.yml", "options:\n", 'properties: {dagman.maxjobs: "{{ slots }}"}\noptions:\n')
    assert found(folder) == []


def test_a_property_that_fails_is_told_in_workflow_yml(folder: Path) -> None:
    change(folder, "workflow.yml", "options:\n", 'properties: {dagman.maxjobs: "{{ slot }}"}\noptions:\n')
    [finding] = found(folder)
    assert (finding.path.name, finding.level) == ("workflow.yml", "error")
    assert "'slot' is undefined" in finding.message


def test_a_module_that_workflow_py_misses_is_told_at_its_line(folder: Path) -> None:
    change(folder, "workflow.py", "def build", "import no_such_module\n\ndef build")
    [finding] = found(folder)
    assert (finding.line, finding.message) == (6, "ModuleNotFoundError: No module named 'no_such_module'")


def test_values_that_build_refuses_are_a_note_unless_somebody_asks_for_them(folder: Path) -> None:
    words = "if parameters['rate'] == 1:\n        raise ValueError('too quick')\n    curve = "
    change(folder, "workflow.py", "curve = ", words)
    [finding] = found(folder)
    assert (finding.level, finding.message) == ("note", "with rate = 1: ValueError: too quick")
    change(folder, "workflow.yml", "options:\n", "published: {rate: 1.0}\noptions:\n")
    [finding] = found(folder)
    assert (finding.level, finding.message) == ("error", "with the published values: ValueError: too quick")


def test_values_that_fail_only_together_are_a_warning(folder: Path) -> None:
    change(folder, "workflow.py", "curve = ", "1 / (abs(parameters['rate'] - 1) + parameters['ambient'])\n    curve = ")
    [finding] = found(folder)
    assert (finding.level, finding.line) == ("warning", 7)
    assert "with rate = 1, ambient = 0: ZeroDivisionError" in finding.message


def test_raw_files_of_other_scales_are_a_note_and_of_a_study_are_looked_for(folder: Path, tmp_path: Path) -> None:
    change(
        folder,
        "workflow.yml",
        "options:\n",
        "published: {data: big.txt}\noptions:\n  data: {type: str, default: measured.txt}\n",
    )
    change(folder, "workflow.py", 'File("measured.txt")', 'File(options["data"])')
    [finding] = found(folder)
    assert (finding.level, finding.keyword) == ("note", "inputs")
    assert "big.txt" in finding.message
    study = Point("study", "study.yml", {"data": "big.txt"}, (tmp_path,))
    [finding] = [each for each in check(folder, [study]).findings if each.level == "error"]
    assert finding.message.startswith("jobs need it for study.yml")
    (tmp_path / "big.txt").write_text("0 90\n")
    assert [each.level for each in check(folder, [study]).findings] == ["note"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("while True: pass", "build() was still at work after 0.5 s"),
        ("import os; os._exit(3)", "build() ended the process that called it"),
        ("raise SystemExit('enough')", "build() ended the process that called it"),
        ("list(range(10**12))", "MemoryError"),
        ("raise OSError('x' * 10**7)", "OSError: xxx"),
        ("import subprocess; subprocess.run(['sleep', '60'])", "build() was still at work after 0.5 s"),
    ],
)
def test_a_build_that_runs_away_is_ended_and_told(folder: Path, body: str, words: str) -> None:
    change(folder, "workflow.py", "curve = ", f"{body}\n    curve = ")
    began = time.monotonic()
    points = [Point("default", "the defaults"), Point("single", "rate = 1", {"rate": 1.0})]
    [first, *_] = trials(folder, points, limit=0.5)
    assert words in first.problems[0].message
    assert len(first.problems[0].message) < 1000
    assert time.monotonic() - began < 20  # the sleep of a minute was ended too
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in children if b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_what_build_prints_and_reads_is_nobodys_business(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(folder, "workflow.py", "curve = ", "print('hello'); open('left-over', 'w').close()\n    curve = ")
    here = Path.cwd()
    assert found(folder) == []
    assert capfd.readouterr() == ("", "")
    assert not (here / "left-over").exists()
    assert not (folder / "left-over").exists()


def test_a_folder_without_a_workflow_is_told(tmp_path: Path) -> None:
    [finding] = found(tmp_path)
    assert (finding.level, finding.message) == ("error", "no such file")
