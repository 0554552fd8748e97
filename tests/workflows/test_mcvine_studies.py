"""The mcvine workflow as a user runs it: one evaluation, a scan, what fails, and a study that finds the temperature."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("NCrystal", reason="NCrystal is not installed: pip install panorama-driver[mcvine]")
pytest.importorskip("h5py")

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "mcvine"
FEW = {"ncount": 2000, "beam_ncount": 500}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs the workflow once in a study directory of its own; ends its servers in the end."""
    used = set()

    def once(name: str = "trial", workflow: str = "mcvine", **values: object) -> subprocess.CompletedProcess[str]:
        used.add(name)
        words = [f"--set={key}={value}" for key, value in values.items()]
        command = ["panorama", "run", workflow, "-o", name, "--json", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    yield once
    for name in filter(lambda name: (tmp_path / name).exists(), used):
        subprocess.run(["panorama", "stop"], cwd=tmp_path / name, capture_output=True, check=False)


def outputs(home: Path) -> dict[str, bytes]:
    """Contents of all output files of the one evaluation of a study directory, by name."""
    [folder] = [path for path in home.rglob("output") if path.is_dir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_scan_gives_events_spectrum_and_fit_the_same_bytes_in_one_slot_and_in_two(run: Run, tmp_path: Path) -> None:
    for slots in (1, 2):
        home = tmp_path / f"slots{slots}"
        subprocess.run(["panorama", "init", "mcvine", str(home)], check=True, capture_output=True)
        with (home / "study.yml").open("a") as study:
            study.write(f"slots: {slots}\n")
        assert run(home.name, angle_count=2, **FEW).returncode == 0
    one, two = (outputs(tmp_path / f"slots{slots}") for slots in (1, 2))
    assert one == two
    events = {f"experiment/scattering/work_{angle}/sim_{angle}.nxs" for angle in ("0.0", "5.0")}
    assert set(one) == {*events, "iqe.h5", "spectrum.json", "fit.json"}
    assert [each["angle_deg"] for each in json.loads(one["spectrum.json"])["by_angle"]] == [0.0, 5.0]
    fit = json.loads(one["fit.json"])
    assert fit["points"] == 51
    assert fit["chi2_total"] == pytest.approx(51 * fit["chi2"])
    assert fit["synthetic_reference"] is True


def test_an_unknown_material_is_told_in_the_failure_of_the_evaluation(run: Run) -> None:
    done = run(material="Unobtainium.ncmat", **FEW)
    assert done.returncode != 0
    assert "sim: swdemo-scatterer.xml: NCrystal refuses 'Unobtainium.ncmat" in done.stdout + done.stderr


CUTTER = """#!/usr/bin/env python3
import pathlib

events = pathlib.Path("experiment/scattering/work_0.0/sim_0.0.nxs")
events.parent.mkdir(parents=True, exist_ok=True)
events.write_bytes(b"\\x89HDF\\r\\n\\x1a\\n and no more")
"""


def test_a_truncated_event_file_is_told_in_the_failure_of_the_evaluation(run: Run, tmp_path: Path) -> None:
    own = Path(shutil.copytree(FOLDER, tmp_path / "own"))
    (own / "bin" / "sim.py").write_text(CUTTER)
    done = run(workflow=str(own), **FEW)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "reduce: experiment/scattering/work_0.0/sim_0.0.nxs: not a whole HDF5 file" in said
    assert "Traceback" not in said


def test_a_temperature_out_of_bounds_is_refused_before_anything_runs(run: Run) -> None:
    done = run(temperature=2000)
    assert done.returncode != 0
    assert "out of its bounds 10 to 900 K" in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["study", "studies/angles"])
def test_dakota_accepts_the_studies(tmp_path: Path, dakota: str, name: str) -> None:
    command = [dakota, "-check", "-i", str(FOLDER / f"{name}.in")]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def studied(
    home: Path, dakota: str, study: str = "", iterations: int = 6, options: dict[str, Any] | None = None
) -> list[list[float]]:
    """Rows of study.dat after the study ran: variables and responses."""
    named = ["--study", study] if study else []
    subprocess.run(["panorama", "init", "mcvine", str(home), *named], check=True, capture_output=True)
    path = home / "study.yml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, "options": {**content.get("options", {}), **(options or {})}}))
    method = home / "study.in"
    method.write_text(method.read_text().replace("max_iterations 6", f"max_iterations {iterations}"))
    try:
        done = subprocess.run([dakota, "-i", "study.in"], cwd=home, capture_output=True, text=True)
    finally:
        subprocess.run(["panorama", "stop"], cwd=home, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [[float(word) for word in line.split()[2:]] for line in (home / "study.dat").read_text().splitlines()[1:]]


def test_a_small_study_finds_the_temperature_of_the_sample(tmp_path: Path, dakota: str) -> None:
    """The shipped study with half its iterations and two fifths of its neutrons, which double the uncertainty."""
    rows = studied(tmp_path / "study", dakota, iterations=3, options={"ncount": 200_000, "beam_ncount": 5000})
    assert len(rows) == 7
    temperature, chi2 = min(rows, key=lambda row: row[1])
    assert temperature == pytest.approx(300, abs=20)
    assert chi2 < 2


@pytest.mark.long
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_shipped_study_finds_the_temperature_within_10_k(tmp_path: Path, dakota: str, seed: int) -> None:
    """Some 20 s each."""
    rows = studied(tmp_path / "study", dakota, options={"seed": seed})
    temperature, chi2 = min(rows, key=lambda row: row[1])
    assert temperature == pytest.approx(300, abs=10)
    assert chi2 < 1.5


@pytest.mark.long
def test_a_crystal_reflects_at_some_angles_and_shakes_at_all(tmp_path: Path, dakota: str) -> None:
    """Eight angles of 100,000 neutrons, some 20 s."""
    rows = studied(tmp_path / "angles", dakota, "angles")
    angles, elastic, inelastic = zip(*rows, strict=True)
    assert angles == (0, 5, 10, 15, 20, 25, 30, 35)
    assert max(elastic) > 10 * min(elastic)
    assert max(inelastic) < 1.15 * min(inelastic)
