"""`panorama init`: a study that runs here as it is, and one for every site that says what it still needs."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from panorama_driver.cli._studies import for_site, study_names, study_path, with_values
from panorama_driver.cli.check import look
from panorama_driver.cli.init import command
from panorama_driver.config import Monitoring, Scalar, load_study, shared_folder
from panorama_driver.errors import PanoramaError
from panorama_driver.render import find_site, find_workflow, render, site_names, workflow_names
from panorama_driver.render.published import Demands, demands
from panorama_driver.render.site import CONVENTIONS
from tests.conftest import PARABOLA

HERE = Path()
STUDIES = [
    (name, study)
    for name in workflow_names()
    for study in ["", *study_names(shared_folder("workflows") / name)]
    if all(study_path(shared_folder("workflows") / name, study, suffix).is_file() for suffix in (".in", ".yml"))
]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that says nothing of any site, in an empty directory."""
    for name in [*itertools.chain(*CONVENTIONS.values()), *os.environ]:
        if name.startswith("PANORAMA_") or name in itertools.chain(*CONVENTIONS.values()):
            monkeypatch.delenv(name, raising=False)
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name, **more: None if name == "pegasus-plan" else which(name, **more))
    monkeypatch.chdir(tmp_path)


def init(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def said(result: Result) -> str:
    assert result.exception is None, result.exception
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workflow of one's own, with two studies and a published scale."""
    home = tmp_path / "own"
    (home / "studies").mkdir(parents=True)
    (home / "inputs").mkdir()
    (home / "workflow.yml").write_text(
        "name: own\ntitle: own\n"
        "parameters: {n: {type: int, default: 1}}\n"
        "options: {m: {type: int, default: 1}, k: {type: str, default: a}}\n"
        "published: {n: 1000, m: 50, k: 'a: b'}\n"
        "transformations: {go: {candidates: [{script: bin/go.py}]}}\n"
        "resources: {hpc: {one: {runtime: 7200}, two: {runtime: 5400}}}\n"
    )
    (home / "workflow.py").write_text(
        "from Pegasus.api import File, Job, Workflow\n"
        "def build(parameters, options):\n"
        "    jobs = [Job('go', _id=name) for name in ('one', 'two', 'beside')]\n"
        "    jobs[0].add_args(*parameters.values(), *options.values()).add_inputs(File('raw.txt'))\n"
        "    return Workflow('own').add_jobs(*jobs).add_dependency(jobs[1], parents=[jobs[0]])\n"
    )
    responses = "responses: {time: workflow.makespan}\n"
    (home / "study.yml").write_text(f"workflow: .\n{responses}")
    (home / "study.in").write_text("variables\n  discrete_design_range 1\n    descriptors 'n'\n")
    (home / "studies" / "other.yml").write_text(f"workflow: ..\ninputs: ../inputs   # beside us\n{responses}")
    (home / "studies" / "other.in").write_text("# the other\nvariables\n  active all\n")
    return home


@pytest.mark.parametrize("site", site_names())
@pytest.mark.parametrize(("workflow", "study"), STUDIES)
def test_every_study_can_be_made_for_every_site_and_rendered_there(
    workflow: str, study: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find_workflow(workflow, HERE)
    said(init(workflow, "made", "--study", study, "--site", site))
    made = load_study(tmp_path / "made" / "study.yml")
    assert (made.site, made.engine) == (site, "local" if site == "local" else "pegasus")
    needs = demands(folder, site, HERE, made.parameters | made.options)
    for name in needs.unset:
        monkeypatch.setenv(f"PANORAMA_{name.upper()}", "given")
    (tmp_path / "inputs").mkdir()
    for lfn in needs.missing:
        (tmp_path / "inputs" / lfn).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "inputs" / lfn).touch()
    if needs.missing:
        text = (tmp_path / "made" / "study.yml").read_text()
        (tmp_path / "made" / "study.yml").write_text(text + "inputs: ../inputs\n")
    errors = [finding for finding in look(tmp_path / "made" / "study.in") if finding.level == "error"]
    assert {finding.keyword for finding in errors} <= {"engine"}, errors  # Pegasus may not be here
    inputs = [tmp_path / "inputs"]
    where = find_site(site, HERE, made.site_variables)
    bundle = render(folder, where, made.parameters, made.options, tmp_path / "b", Monitoring(), inputs=inputs)
    assert {**bundle.parameters, **bundle.options}.items() >= needs.values.items() - _varied(folder.path, study, needs)


def _varied(folder: Path, study: str, needs: Demands) -> set[tuple[str, object]]:
    """Published values that study.in varies: they are Dakota's."""
    text = study_path(folder, study, ".in").read_text()
    return {(name, value) for name, value in needs.values.items() if f"'{name}'" in text}


@pytest.mark.parametrize(("workflow", "study"), STUDIES)
def test_a_study_for_this_machine_is_the_one_of_the_folder(workflow: str, study: str, tmp_path: Path) -> None:
    source = study_path(shared_folder("workflows") / workflow, study, ".yml")
    said(init(workflow, "made", "--study", study, "--site", load_study(source).site))
    assert (tmp_path / "made" / "study.yml").read_bytes() == source.read_bytes()
    assert (tmp_path / "made" / "study.in").read_bytes() == source.with_suffix(".in").read_bytes()


def test_a_named_study_is_found_and_an_unknown_one_lists_them(folder: Path, tmp_path: Path) -> None:
    assert "other studies of it, with --study: other" in said(init(folder, "plain"))
    said(init(folder, "made", "--study", "other"))
    assert (tmp_path / "made" / "study.in").read_text().startswith("# the other")
    study = load_study(tmp_path / "made" / "study.yml")
    assert (study.workflow, study.inputs) == (str(folder), str(folder / "inputs"))
    assert "# beside us" in (tmp_path / "made" / "study.yml").read_text()
    problem = init(folder, "third", "--study", "nope").exception
    assert isinstance(problem, PanoramaError)
    assert "the studies are other, and study.yml without a name" in str(problem)
    assert not (tmp_path / "third").exists()


def test_a_large_site_gets_the_published_scale_but_for_what_dakota_varies(folder: Path, tmp_path: Path) -> None:
    words = said(init(folder, "made", "--site", "cori"))
    text = (tmp_path / "made" / "study.yml").read_text()
    study = load_study(tmp_path / "made" / "study.yml")
    assert (study.parameters, study.options) == ({}, {"m": 50, "k": "a: b"})
    assert study.timeout_seconds == (4 + 24) * 3600  # 7200 s and 5400 s one after the other, whole hours, and a day
    assert "# site_variables: {pegasus_home: ..., project: ...}    needed" in text
    assert "# inputs: FOLDER    needed: where raw.txt is; 1 files in all" in text
    assert "inputs: FOLDER, with raw.txt" in words
    assert "site_variables: {project: ...}, or PANORAMA_PROJECT in the environment" in words
    assert "go: bin/go.py" in words


def test_a_large_site_gets_the_study_that_is_made_for_it_unless_told(folder: Path, tmp_path: Path) -> None:
    for suffix in (".in", ".yml"):
        shutil.copyfile(study_path(folder, "", suffix), study_path(folder, "hpc", suffix))
    study_path(folder, "hpc", ".in").write_text("# for large machines\nvariables\n  active all\n")
    for directory, site in (("large", "cori"), ("small", "condorpool")):
        said(init(folder, directory, "--site", site))
    assert (tmp_path / "large" / "study.in").read_text().startswith("# for large machines")
    assert (tmp_path / "small" / "study.in").read_bytes() == study_path(folder, "", ".in").read_bytes()
    said(init(folder, "other", "--site", "cori", "--study", "other"))
    assert (tmp_path / "other" / "study.in").read_text().startswith("# the other")


def test_the_time_of_clustered_jobs_is_that_of_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    program = folder / "workflow.py"
    text = program.read_text().replace("_id=name)", "_id=name).add_pegasus_profile(clusters_size=3)")
    program.write_text(text.replace(".add_dependency(jobs[1], parents=[jobs[0]])", ""))
    needs = demands(find_workflow(str(folder), HERE), "cori", HERE, {})
    assert needs.path_time == 7200 + 5400 + 1800  # the last is what the site gives to who says nothing


def test_a_small_site_keeps_the_defaults(folder: Path, tmp_path: Path) -> None:
    assert "scale: the workflow's defaults; published values are" in said(init(folder, "made", "--site", "condorpool"))
    study = load_study(tmp_path / "made" / "study.yml")
    assert (study.engine, study.parameters, study.options) == ("pegasus", {}, {})
    assert study.timeout_seconds == (1 + 24) * 3600


def test_a_study_yml_that_is_no_yaml_is_refused_with_its_line(folder: Path, tmp_path: Path) -> None:
    (folder / "study.yml").write_text("workflow: .\nresponses: [\n")
    assert "study.yml:3: not YAML" in str(init(folder, "made").exception)
    assert not (tmp_path / "made").exists()


def test_raw_files_that_the_study_brings_are_not_asked_for(folder: Path, tmp_path: Path) -> None:
    (folder / "inputs" / "raw.txt").write_text("")
    assert "inputs: FOLDER" not in said(init(folder, "made", "--study", "other", "--site", "cori"))
    assert load_study(tmp_path / "made" / "study.yml").inputs == str(folder / "inputs")


def test_a_study_yml_in_braces_is_made_for_a_site_too(folder: Path, tmp_path: Path) -> None:
    (folder / "study.yml").write_text('# as JSON\n{"workflow": ".", "responses": {"time": "workflow.makespan"}}\n')
    said(init(folder, "here"))
    assert load_study(tmp_path / "here" / "study.yml").workflow == str(folder)
    said(init(folder, "made", "--site", "cori"))
    study = load_study(tmp_path / "made" / "study.yml")
    assert (study.workflow, study.site, study.options) == (str(folder), "cori", {"m": 50, "k": "a: b"})


def test_more_evaluations_than_an_ensemble_runs_are_told(folder: Path) -> None:
    assert "max_running" not in said(init(folder, "few", "--site", "condorpool"))
    (folder / "study.in").write_text("interface\n  asynchronous evaluation_concurrency = 12\n")
    assert "ensemble: {max_running: 12}" in said(init(folder, "many", "--site", "condorpool"))


def test_a_site_file_of_ones_own_is_named_by_its_whole_path(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("x-panorama: {execution: local, this_machine: true}\nsites:\n- name: local\n")
    said(init(folder, "made", "--site", "mine.yml"))
    assert load_study(tmp_path / "made" / "study.yml").site == str(tmp_path / "mine.yml")


@pytest.mark.parametrize("words", [["--site", "venus"], ["--site", "broken.yml"]])
def test_a_site_that_cannot_be_used_leaves_nothing(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text("sites: []\n")
    assert isinstance(init(PARABOLA, "made", *words).exception, PanoramaError)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", {"a": 2, "b": "x: 1"}),
        ("options: {}\n", {"a": 2, "b": "x: 1"}),
        ("options:\n", {"a": 2, "b": "x: 1"}),
        ("options: {a: 1, c: 3}   # mine\n", {"a": 2, "b": "x: 1", "c": 3}),
        ("options:\n  a: 1   # one\n  c: 3   # three\n", {"a": 2, "b": "x: 1", "c": 3}),
        ("options: # all\n    c: 3", {"a": 2, "b": "x: 1", "c": 3}),
    ],
)
@pytest.mark.parametrize("last", ["", "timeout: 5 min\n"])
def test_values_are_put_into_a_text_that_keeps_its_comments(before: str, after: dict[str, object], last: str) -> None:
    if last and before and not before.endswith("\n"):
        before += "\n"
    text = f"# first\nworkflow: w   # this one\n{before}{last}"
    changed = with_values(text, "options", {"a": 2, "b": "x: 1"}, "# as told")
    rest = {"workflow": "w"} | ({"timeout": "5 min"} if last else {})
    assert yaml.safe_load(changed) == {**rest, "options": after}
    assert {line.partition("#")[2] for line in text.splitlines()} <= {
        line.partition("#")[2] for line in changed.splitlines()
    }
    assert "# as told\noptions:" in changed


def test_small_numbers_and_long_texts_stay_what_they_are() -> None:
    values: dict[str, Scalar] = {"a": 1e-05, "b": True, "c": "word " * 60, "d": "1e3", "e": "", "f": "no"}
    assert yaml.safe_load(with_values("workflow: w\n", "options", values, "#"))["options"] == values


def test_site_engine_and_timeout_are_changed_where_they_are() -> None:
    site = find_site("condorpool", HERE)
    needs = Demands(site, {}, {}, {}, 100.0, ())
    text = for_site("workflow: w\nsite: local  # here\ntimeout: 5 min  # short\n", "condorpool", "pegasus", needs)
    assert yaml.safe_load(text) == {"workflow": "w", "site": "condorpool", "engine": "pegasus", "timeout": "25 h"}
    assert "site: condorpool  # here\n" in text
    assert yaml.safe_load(for_site("workflow: w", "condorpool", "pegasus", needs))["site"] == "condorpool"
