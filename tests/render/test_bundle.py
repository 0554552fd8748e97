"""Bundles: complete, checked before they are written, and taken by the real planner where there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.errors import EnvironmentMissingError, ParameterError, SiteError, WorkflowError
from panorama_driver.render import WorkflowFolder, find_site, find_workflow, load_bundle, render
from tests.conftest import PARABOLA

HERE = Path()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the parabola workflow that a test may spoil."""
    return Path(shutil.copytree(PARABOLA, tmp_path / "parabola"))


def rendered(folder: Path, target: Path, **parameters: float) -> dict[str, Any]:
    render(find_workflow(str(folder), HERE), find_site("local", HERE), parameters, {}, target)
    value: dict[str, Any] = json.loads((target / "workflow.yml").read_text())
    return value


def test_a_bundle_holds_all_that_a_planner_reads(tmp_path: Path) -> None:
    rendered(PARABOLA, tmp_path / "b", x=0.5)
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert names >= {
        "workflow.yml",
        "sites.yml",
        "transformations.yml",
        "replicas.yml",
        "pegasus.properties",
        "plan.sh",
        "bundle.json",
    }


def test_templates_are_rendered_and_data_is_copied_as_inputs(tmp_path: Path) -> None:
    rendered(PARABOLA, tmp_path / "b", x=0.5)
    assert (tmp_path / "b/inputs/settings.txt").read_text() == "0.5\n"
    assert (tmp_path / "b/inputs/constants/offset.txt").read_text() == "0.3\n"
    replicas = json.loads((tmp_path / "b/replicas.yml").read_text())["replicas"]
    assert {entry["lfn"] for entry in replicas} == {"settings.txt", "constants/offset.txt"}


def test_the_first_candidate_that_the_site_has_is_used_and_recorded(tmp_path: Path) -> None:
    rendered(PARABOLA, tmp_path / "b")
    assert load_bundle(tmp_path / "b").programs == {"sh": "sh", "square": "bin/square.py"}
    catalog = json.loads((tmp_path / "b/transformations.yml").read_text())["transformations"]
    pfns = {entry["name"]: entry["sites"][0]["pfn"] for entry in catalog}
    assert pfns["sh"] == shutil.which("sh")
    assert (tmp_path / "b/bin/square").read_text().startswith(f"#!{sys.executable}\n")


def test_an_own_program_runs_where_the_interpreter_has_a_blank_in_its_path(folder: Path, tmp_path: Path) -> None:
    from panorama_driver.render import bundle

    link = tmp_path / "a folder" / "python3"
    link.parent.mkdir()
    link.symlink_to(sys.executable)
    script = tmp_path / "script"
    script.write_text(bundle._with_interpreter(folder / "bin/square.py", str(link)))
    script.chmod(0o755)
    (tmp_path / "right.out").write_text("1")
    subprocess.run([script, "none"], input=b"3", cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "result.json").read_text())["y"] == 4.0


def test_resources_are_put_on_jobs_and_nowhere_else(tmp_path: Path) -> None:
    abstract = rendered(PARABOLA, tmp_path / "b")
    jobs = {job["id"]: job["profiles"]["pegasus"] for job in abstract["jobs"]}
    assert jobs["last"] == {"cores": 1, "memory": 64, "runtime": 60}
    assert jobs["split"] == {"cores": 1}
    assert "profiles" not in json.loads((tmp_path / "b/transformations.yml").read_text())["transformations"][0]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"y": 1.0}, "parameter 'y' is not in"),
        ({"x": 11.0}, "out of its bounds -10 to 10"),
        ({"x": "much"}, "must be of type float"),
        ({"x": True}, "must be of type float"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_and_value(
    parameters: dict[str, float], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=words):
        rendered(PARABOLA, tmp_path / "b", **parameters)
    assert not (tmp_path / "b").exists()


def test_an_unknown_workflow_and_site_name_the_nearest() -> None:
    with pytest.raises(WorkflowError, match="nearest: sns_nanodiamond"):
        find_workflow("sns_nanodiamnd", HERE)
    with pytest.raises(SiteError, match="nearest: local"):
        find_site("locla", HERE)


def test_a_template_that_uses_an_unknown_name_is_reported_by_file_and_line(folder: Path, tmp_path: Path) -> None:
    (folder / "templates/settings.txt.j2").write_text("ok\n{{ speed }}\n")
    with pytest.raises(WorkflowError, match=r"settings\.txt\.j2:2: 'speed' is undefined"):
        rendered(folder, tmp_path / "b")


def test_a_template_reaches_nothing_of_python(folder: Path, tmp_path: Path) -> None:
    (folder / "templates/settings.txt.j2").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}\n")
    with pytest.raises(WorkflowError, match="unsafe"):
        rendered(folder, tmp_path / "b")


def test_a_file_that_no_folder_has_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "data/constants/offset.txt").unlink()
    with pytest.raises(WorkflowError, match=r"'constants/offset.txt'.*neither in templates/ nor in data/"):
        rendered(folder, tmp_path / "b")


def test_a_file_name_that_leads_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    text = (folder / "workflow.py").read_text().replace('"settings.txt"', '"../settings.txt"')
    (folder / "workflow.py").write_text(text)
    with pytest.raises(WorkflowError, match="leads out of the bundle"):
        rendered(folder, tmp_path / "b")


def test_a_site_without_any_candidate_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    text = (folder / "workflow.yml").read_text().replace("      - {program: sh}\n", "")
    (folder / "workflow.yml").write_text(text)
    with pytest.raises(EnvironmentMissingError, match=r"'sh'.*no-such-shell \(not on PATH"):
        rendered(folder, tmp_path / "b")


def test_a_build_that_raises_is_reported_with_the_workflow(folder: Path, tmp_path: Path) -> None:
    (folder / "workflow.py").write_text("def build(parameters, options):\n    return 1 / 0\n")
    with pytest.raises(WorkflowError, match="ZeroDivisionError: division by zero"):
        rendered(folder, tmp_path / "b")


def test_a_key_that_workflow_yml_does_not_have_is_named(folder: Path) -> None:
    (folder / "workflow.yml").write_text("name: p\ntitle: t\ntransformations: {}\nparameter: {}\n")
    with pytest.raises(WorkflowError, match=r"unknown field 'parameter'.*the keys are name, title"):
        WorkflowFolder(folder)


def test_the_digest_follows_what_defines_the_workflow_and_nothing_else(folder: Path) -> None:
    before = WorkflowFolder(folder)
    (folder / "study.in").write_text("method\n")
    (folder / "README.md").write_text("words\n")
    assert WorkflowFolder(folder).digest == before.digest
    assert not before.stale
    (folder / "bin/square.py").write_text("#!/usr/bin/env python3\nprint('other')\n")
    assert WorkflowFolder(folder).digest != before.digest
    assert before.stale


def test_a_job_that_the_resources_do_not_name_keeps_what_workflow_py_gave_it(folder: Path, tmp_path: Path) -> None:
    source = (folder / "workflow.py").read_text()
    source = source.replace("    middle = [", "    split.add_pegasus_profile(cores=2)\n    middle = [")
    (folder / "workflow.py").write_text(source)
    jobs = {job["id"]: job["profiles"]["pegasus"] for job in rendered(folder, tmp_path / "b")["jobs"]}
    assert jobs["split"] == {"cores": 2}
    assert jobs["right"] == {"cores": 1}
    assert jobs["left"] == {"cores": 1, "memory": 64}


@pytest.mark.parametrize("lfn", ["../../out.txt", "/etc/motd", "a/../../b"])
def test_an_output_that_leads_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path, lfn: str) -> None:
    source = (folder / "workflow.py").read_text().replace('File("result.json")', f'File("{lfn}")')
    (folder / "workflow.py").write_text(source)
    with pytest.raises(WorkflowError, match="leads out of the bundle"):
        rendered(folder, tmp_path / "b")


@pytest.mark.skipif(not shutil.which("pegasus-plan"), reason="no Pegasus: pegasus-plan is not on PATH")
def test_the_real_planner_takes_a_bundle_as_it_is(tmp_path: Path) -> None:
    rendered(PARABOLA, tmp_path / "b", x=0.5)
    with (tmp_path / "b/pegasus.properties").open("a") as properties:
        properties.write(f"pegasus.catalog.master.url = sqlite:///{tmp_path}/master.db\n")
    done = subprocess.run([tmp_path / "b/plan.sh"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(line.startswith("pegasus-run  /") for line in done.stdout.splitlines())
