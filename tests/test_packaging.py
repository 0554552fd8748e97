"""The wheel: complete, installable, and at work where there is no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this checkout makes."""
    target = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


def test_the_wheel_carries_workflows_sites_licence_and_the_probe(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "panorama_driver/share/workflows/sns_nanodiamond/workflow.yml",
        "panorama_driver/share/workflows/sns_nanodiamond/data/reference.json",
        "panorama_driver/share/sites/local.yml",
        "panorama_driver/share/scaffold/workflow.yml",
        "panorama_driver/share/scaffold/templates/model.json.j2",
        "panorama_driver/probe/panorama_probe.py",
        "panorama_driver/py.typed",
        "panorama_driver/web/static/index.html",
        "panorama_driver/web/static/style.css",
        "panorama_driver/web/static/app.js",
        "panorama_driver/web/static/pages/study.js",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("scripts/panorama-driver") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_the_wheel_installs_and_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin", "HOME": str(home)}
    # An empty home, but the settings by which this machine's pip finds its packages.
    environment |= {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "HTTP"))}
    install = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
    subprocess.run(install, check=True, timeout=600, env=environment, cwd=home)
    told = subprocess.run(
        ["panorama", "doctor", "--json"], capture_output=True, text=True, env=environment, cwd=home, timeout=60
    )
    checks = {check["name"]: check for check in json.loads(told.stdout)}
    assert checks["dakota"]["mend"] == "pip install 'panorama-driver[dakota]', in a clone '.[dakota]'"
    (home / "wf").mkdir()
    _write_workflow(home / "wf")
    done = subprocess.run(
        ["panorama", "run", "./wf", "--set", "n=3", "-o", "trial", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=home,
        timeout=60,
    )
    assert json.loads(done.stdout)["responses"] == {"length": 3.0}, done.stderr
    for words in (["new", "tea"], ["check", "tea"]):
        subprocess.run(["panorama", "workflows", *words], check=True, env=environment, cwd=home, timeout=60)


def _write_workflow(folder: Path) -> None:
    (folder / "workflow.yml").write_text(
        "name: wf\ntitle: counts\nparameters: {n: {type: int, default: 1}}\n"
        "transformations: {sh: {candidates: [{program: sh}]}}\n"
    )
    (folder / "workflow.py").write_text(
        "from Pegasus.api import File, Job, Workflow\n"
        "def build(parameters, options):\n"
        "    job = Job('sh', _id='count').add_args('-c', f\"'echo {parameters['n']} > n.txt'\")\n"
        "    return Workflow('wf').add_jobs(job.add_outputs(File('n.txt')))\n"
    )
    (folder / "study.yml").write_text("workflow: .\nresponses: {length: {output: n.txt, column: 0}}\n")
