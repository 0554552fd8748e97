"""The mcvine workflow: its DAG, and its programs against the published structure and against physics."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from panorama_driver.errors import ParameterError, WorkflowError
from panorama_driver.render import WorkflowFolder

pytest.importorskip("NCrystal", reason="NCrystal is not installed: pip install panorama-driver[mcvine]")
h5py = pytest.importorskip("h5py")

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "mcvine"
EVENTS = "experiment/scattering/work_0.0/sim_0.0.nxs"
SIM = ("sim.py", "--angle=0.0", "--config=../../sim.yml", "--scattering-dir=./experiment/scattering")
BEAM = ("beam.py", "--output-dir=./experiment/beam/out", "--ncount=2000", "--config=beam.yml")
BOLTZMANN = 0.08617333262
"""[meV/K] (CODATA 2018)"""


def load(path: str) -> ModuleType:
    """A program of the folder as a module."""
    name = f"mcvine_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, FOLDER / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


make_inputs = load("make_inputs.py")
beam, sim, reduce, compare = (load(f"bin/{name}.py") for name in ("beam", "sim", "reduce", "compare"))


def execute(directory: Path, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the folder as a job would."""
    return subprocess.run(
        [sys.executable, str(FOLDER / "bin" / script), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def measured(directory: Path, **values: Any) -> Path:
    """A directory after the reduction of one angle."""
    directory.mkdir(exist_ok=True)
    make_inputs.measure(directory, {**make_inputs.defaults(), **values})
    return directory


@pytest.fixture(scope="module")
def aluminium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Aluminium at 300 K, scattered once at most, so that detailed balance holds; 400,000 neutrons."""
    home = tmp_path_factory.mktemp("aluminium")
    return measured(home, ncount=400_000, multiple_scattering="off", q_step=1.0, energy_step=3.0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default experiment with few neutrons."""
    return measured(tmp_path_factory.mktemp("small"), ncount=2000, beam_ncount=2000)


@pytest.fixture
def experiment(small: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(small, tmp_path / "experiment"))


# --- the workflow ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder() -> WorkflowFolder:
    """The folder as it is shipped."""
    return WorkflowFolder(FOLDER)


def built(folder: WorkflowFolder, **values: Any) -> dict[str, Any]:
    """The abstract workflow for some parameters and options; the others have their defaults."""
    return folder.build(*folder.values(*folder.split(values)))


def edges(dag: dict[str, Any]) -> set[tuple[str, str]]:
    """Parent and child of each edge."""
    return {(edge["id"], child) for edge in dag["jobDependencies"] for child in edge["children"]}


def files(job: dict[str, Any], kind: str) -> set[str]:
    """Logical names of a job's inputs or outputs."""
    return {use["lfn"] for use in job["uses"] if use["type"] == kind}


def arguments(dag: dict[str, Any]) -> dict[str, str]:
    """Command lines by job."""
    return {job["id"]: " ".join(job["arguments"]) for job in dag["jobs"]}


def test_the_jobs_that_were_published_have_their_transformations_and_arguments(folder: WorkflowFolder) -> None:
    dag = built(folder, angle_count=2)
    assert {job["id"]: job["name"] for job in dag["jobs"]} == {
        "mcvine_setup": "mcvine",
        "untar": "tar",
        "move": "mv",
        "beam": "beam",
        "sim_0_0": "sim",
        "sim_5_0": "sim",
        "reduce": "reduce",
        "compare": "compare",
    }
    lines = arguments(dag)
    assert lines["mcvine_setup"] == (
        "workflow singlecrystal --outdir experiment --type DGS --instrument ARCS --sample sample.yml"
    )
    assert lines["untar"] == "-xzvf beam.tar.gz -C ./experiment/beam"
    assert lines["move"] == "scatterer.xml experiment/sampleassembly/swdemo-scatterer.xml"
    assert lines["sim_5_0"].startswith("--angle=5.0 --config=../../sim.yml")


def test_every_sim_waits_for_the_scatterer_that_is_put_in_place_and_for_the_beam(folder: WorkflowFolder) -> None:
    assert edges(built(folder, angle_count=2)) == {
        ("mcvine_setup", "untar"),
        ("mcvine_setup", "move"),
        ("untar", "beam"),
        *((parent, f"sim_{angle}_0") for parent in ("mcvine_setup", "untar", "move", "beam") for angle in (0, 5)),
        ("sim_0_0", "reduce"),
        ("sim_5_0", "reduce"),
        ("reduce", "compare"),
    }


@pytest.mark.parametrize("angles", [1, 8, 191])
def test_n_angles_are_n_and_three_published_jobs_and_three_of_ours(folder: WorkflowFolder, angles: int) -> None:
    dag = built(folder, angle_count=angles)
    assert len(dag["jobs"]) == (angles + 3) + 3
    assert len(edges(dag)) == 5 * angles + 4
    assert len({use["lfn"] for job in dag["jobs"] for use in job["uses"]}) == angles + 17


def test_every_file_has_one_job_that_makes_it_or_is_shipped(folder: WorkflowFolder) -> None:
    dag = built(folder, angle_count=3)
    made = [(name, job["id"]) for job in dag["jobs"] for name in files(job, "output")]
    makers = dict(made)
    assert len(made) == len(makers)
    assert makers["experiment/sampleassembly/swdemo-scatterer.xml"] == "move"
    shipped = {path.name.removesuffix(".j2") for place in ("templates", "data") for path in (FOLDER / place).iterdir()}
    for job in dag["jobs"]:
        for name in files(job, "input"):
            assert name in shipped or (makers[name], job["id"]) in edges(dag), f"{job['id']} reads {name}"


@pytest.mark.parametrize("scan", [(0, 90, 5), (-5, 90.1, 0.5), (10, -10, -2.5), (0, 1, 0.1)])
def test_published_angles_are_a_first_angle_a_step_and_a_count(
    folder: WorkflowFolder, scan: tuple[float, float, float]
) -> None:
    start, stop, step = scan
    dag = built(folder, angle=float(start), angle_step=float(step), angle_count=math.ceil((stop - start) / step))
    found = [float(line.split()[0].removeprefix("--angle=")) for job, line in arguments(dag).items() if "sim_" in job]
    assert found == pytest.approx(list(np.arange(start, stop, step)))


def test_the_published_scale_is_191_angles_of_five_million_neutrons(folder: WorkflowFolder) -> None:
    dag = built(folder, **folder.spec.published)
    sims = [job for job in dag["jobs"] if job["name"] == "sim"]
    assert len(sims) == 191
    assert arguments(dag)["sim_m5_0"].startswith("--angle=-5.0 ")
    assert arguments(dag)["sim_90_0"].startswith("--angle=90.0 ")
    assert folder.spec.published["ncount"] == 5_000_000
    assert folder.spec.resources["hpc"]["sim"].cores == folder.spec.published["nodes"] == 16


def test_without_a_reference_nothing_is_compared(folder: WorkflowFolder) -> None:
    assert "compare" not in {job["id"] for job in built(folder, reference="none")["jobs"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output_dir": "a/b"}, "must be the name of one folder"),
        ({"angle_count": 2, "angle_step": 0.0}, "need a step"),
        ({"temperature": 5.0}, "out of its bounds 10 to 900 K"),
        ({"instrument": "HYSPEC"}, "must be one of ARCS, SEQUOIA"),
    ],
)
def test_what_makes_no_experiment_is_refused_before_anything_runs(
    folder: WorkflowFolder, values: dict[str, Any], message: str
) -> None:
    with pytest.raises((WorkflowError, ParameterError), match=message):
        built(folder, **values)


# --- the inputs ------------------------------------------------------------------------------------------------------


def unpacked(path: Path) -> dict[str, bytes]:
    """Contents of a tar file."""
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: content.read() for name, content in members.items() if content}


def test_the_shipped_beam_lines_are_what_their_generator_writes(tmp_path: Path) -> None:
    (tmp_path / "again.tar.gz").write_bytes(make_inputs.beam())
    assert unpacked(FOLDER / "data" / "beam.tar.gz") == unpacked(tmp_path / "again.tar.gz")
    assert json.loads((FOLDER / "data" / "instruments.json").read_text()) == make_inputs.INSTRUMENTS


def test_the_reference_says_that_it_is_synthetic_and_names_its_truth() -> None:
    reference = json.loads((FOLDER / "data" / "reference.json").read_text())
    assert reference["synthetic"] is True
    assert reference["truth"] == {"temperature": 300.0}
    assert reference["made_with"] == make_inputs.REFERENCE
    assert reference["made_with"]["seed"] != make_inputs.defaults()["seed"]


# --- the beam --------------------------------------------------------------------------------------------------------

SIMAPP1 = {
    "instrument": {"name": "arcs"},
    "source": {"kind": "flat", "E0": 60.0, "dE": 10.0, "radius": 0.05, "dist": 10.0, "xw": 0.1, "yh": 0.1},
    "monitor": {"emin_mev": 30.0, "emax_mev": 90.0, "bins": 20, "z_m": 10.0, "xwidth": 0.2, "yheight": 0.2},
    "seed": 1,
}


def test_a_flat_source_of_50_to_70_mev_fills_the_monitor_as_its_share_of_each_bin_says(tmp_path: Path) -> None:
    count = 40_000
    (tmp_path / "beam.yml").write_text(json.dumps(SIMAPP1))
    shutil.copy(FOLDER / "data" / "instruments.json", tmp_path)
    done = execute(
        tmp_path,
        "beam.py",
        "--output-dir=.",
        f"--ncount={count}",
        "--config=beam.yml",
        "--instruments=instruments.json",
    )
    assert done.returncode == 0, done.stderr
    energy, intensity, error, found = np.loadtxt(tmp_path / "IE.dat", unpack=True)
    assert energy.tolist() == pytest.approx(list(np.arange(31.5, 90, 3)))
    low, high = energy - 1.5, energy + 1.5
    expected = count * np.clip(np.minimum(high, 70) - np.maximum(low, 50), 0, None) / 20
    assert (found[expected == 0] == 0).all()
    off = (found - expected)[expected > 0] / np.sqrt(expected[expected > 0])
    assert np.abs(off).max() < 3.5
    assert (off**2).sum() == pytest.approx(len(off), abs=3 * math.sqrt(2 * len(off)))
    assert found.sum() == count
    assert intensity == pytest.approx(found / count)
    assert error == pytest.approx(np.sqrt(found) / count)


def test_moderator_and_chopper_give_the_moments_of_their_formulas() -> None:
    source = beam.Chopped(energy=60.0, length=11.61, rate=4.4e5, burst=6e-6)
    draws = itertools.islice(source.neutrons(beam.random.Random(1)), 40_000)
    drawn = np.array([(neutron.energy, neutron.emission) for neutron in draws])
    flight = source.length / (beam.SPEED * np.sqrt(drawn[:, 0]))
    passed = drawn[:, 1] + flight
    nominal = source.length / (beam.SPEED * math.sqrt(60.0))
    assert drawn[:, 1].mean() == pytest.approx(3 / 4.4e5, rel=0.01)
    assert drawn[:, 1].std() == pytest.approx(math.sqrt(3) / 4.4e5, rel=0.02)
    assert passed.std() == pytest.approx(6e-6 / math.sqrt(6), rel=0.02)
    assert flight.mean() == pytest.approx(nominal, rel=1e-4)
    spread = 2 * math.hypot(math.sqrt(3) / 4.4e5, 6e-6 / math.sqrt(6)) / nominal
    assert drawn[:, 0].std() / 60 == pytest.approx(spread, rel=0.03)


# --- transport and detection -----------------------------------------------------------------------------------------


def test_the_parts_of_the_beam_have_its_mean_energy_and_its_spread() -> None:
    source = beam.Chopped(energy=60.0, length=11.61, rate=4.4e5, burst=6e-6)
    drawn = itertools.islice(source.neutrons(beam.random.Random(1)), 20_000)
    energies = np.array([neutron.energy for neutron in drawn])
    low, high, share = np.array(list(sim.strata(energies, 12_345))).T
    mean = np.average((low + high) / 2, weights=share)
    assert share.sum() == 12_345
    assert mean == pytest.approx(energies.mean(), abs=0.01)
    spread = math.sqrt(np.average(((low + high) / 2 - mean) ** 2 + (high - low) ** 2 / 12, weights=share))
    assert spread == pytest.approx(energies.std(), rel=0.1)


def test_thin_vanadium_scatters_what_its_cross_section_says() -> None:
    radius, height, count = 0.1e-3, 0.01, 40_000
    sample = sim.Sample("V", "V_sg229.ncmat;temp=300.0K", 300.0, radius, height)
    states = sim.transport(sample, (59.9, 60.1), count, 3, "1")
    offsets = 0.8 * radius * (np.arange(1000) + 0.5) / 1000
    weights = np.sqrt((0.8 * radius) ** 2 - offsets**2)
    chord = (2 * np.sqrt(radius**2 - offsets**2) * weights).sum() / weights.sum()
    atoms = 2 / 3.0265**3 * 1e30
    bound, free = 5.10e-28, 5.10e-28 / (1 + 1.008665 / 50.9415) ** 2
    lost = states["w"].sum() / count
    assert atoms * free * chord * 0.97 < lost < atoms * bound * chord * 1.01


def flat_run(**changed: Any) -> Any:
    """A run of three pixels at 30, 60 and 90 degrees."""
    values: dict[str, Any] = {
        "instrument": "ARCS",
        "sample": "none",
        "angle": 0.0,
        "neutrons": 100.0,
        "energy": 60.0,
        "emission": 7e-6,
        "moderator": 13.6,
        "distance": np.full(3, 3.0),
        "two_theta": np.deg2rad([30.0, 60.0, 90.0]),
        "solid_angle": np.full(3, 0.1),
        "pixels": np.array([0, 1, 2, 0]),
        "times": np.zeros(4),
        "weights": np.ones(4),
    }
    return reduce.Run(**{**values, **changed})


def test_a_time_of_flight_gives_back_the_energy_it_was_made_of() -> None:
    lost = np.array([-40.0, -1.0, 0.0, 50.0])
    times = 7e-6 + 13.6 / (reduce.SPEED * math.sqrt(60.0)) + 3.0 / (reduce.SPEED * np.sqrt(60.0 - lost))
    assert reduce.energy_transfer(flat_run(times=times)) == pytest.approx(lost, abs=1e-9)
    assert reduce.energy_transfer(flat_run())[0] == -math.inf


def test_speed_and_wave_number_are_those_of_a_neutron() -> None:
    mass, joule, hbar = 1.67492750056e-27, 1.602176634e-22, 1.054571817e-34
    assert reduce.SPEED == sim.SPEED == beam.SPEED == pytest.approx(math.sqrt(2 * joule / mass), rel=1e-8)
    assert pytest.approx(math.sqrt(2 * mass * joule) / hbar * 1e-10, rel=1e-8) == reduce.WAVE
    elastic = reduce.momentum_transfer(60.0, np.array([60.0]), np.array([math.pi / 2]))
    assert elastic == pytest.approx(math.sqrt(2) * reduce.WAVE * math.sqrt(60.0))


def test_pixels_cover_the_solid_angle_of_their_cylinder() -> None:
    detector = sim.Detector(3.0, 1.5, -28.0, 135.0, 326, 60, 3.0)
    whole = math.radians(163) * 2 * 1.5 / math.hypot(3.0, 1.5)
    behind_stop = 2 * math.pi * (1 - math.cos(math.radians(3)))
    assert detector.solid_angle().sum() == pytest.approx(whole - behind_stop, rel=3e-4)
    assert (detector.solid_angle()[detector.two_theta() < math.radians(3)] == 0).all()


def test_a_neutron_flies_to_the_pixel_in_its_direction() -> None:
    detector = sim.Detector(3.0, 1.5, -28.0, 135.0, 326, 60, 3.0)
    aims = detector.centres() / np.linalg.norm(detector.centres(), axis=1)[:, None]
    count = len(aims)
    states = {name: np.zeros(count) for name in sim.KEPT} | dict(zip(("ux", "uy", "uz"), aims.T, strict=True))
    states |= {"ekin": np.full(count, 0.03), "ekin0": np.full(count, 0.06), "w": np.ones(count)}
    source = sim.Beam(60.0, 7e-6, np.full(50, 60.0), np.full(50, 7e-6), {"moderator_to_sample_m": 13.61})
    sample = sim.Sample("Al", "Al", 300.0, 0.005, 0.02)
    events = sim.detect(states, source, sample, detector, np.random.default_rng(1))
    open_pixels = np.flatnonzero(np.rad2deg(detector.two_theta()) >= 3.0)
    assert events.pixels.tolist() == open_pixels.tolist()
    away = np.linalg.norm(detector.centres(), axis=1)[open_pixels]
    expected = 7e-6 + 13.61 / (sim.SPEED * math.sqrt(60)) + away / (sim.SPEED * math.sqrt(30))
    assert events.times == pytest.approx(expected)


# --- the spectrum ----------------------------------------------------------------------------------------------------


def test_the_elastic_line_is_at_zero_and_as_wide_as_the_times_are_uncertain(aluminium: Path) -> None:
    run = reduce.read_run(str(aluminium / EVENTS))
    transfer = reduce.energy_transfer(run)
    near = np.abs(transfer) < 3
    mean = np.average(transfer[near], weights=run.weights[near])
    width = math.sqrt(np.average((transfer[near] - mean) ** 2, weights=run.weights[near]))
    assert abs(mean) < 0.04
    assert 0.45 < width < 0.7  # some 10 us at 880 us from the sample, twice: 1.3 meV (FWHM)


def histogram(path: Path) -> tuple[Any, Any, Any]:
    """Middle energies, S(Q,E) and its errors."""
    with h5py.File(path) as file:
        data = file["entry/iqe"]
        assert data.attrs["signal"] == "intensity"
        assert data["energy"].attrs["units"] == "meV"
        edges = data["energy"][:]
        return (edges[1:] + edges[:-1]) / 2, data["s_qe"][:], data["s_qe_errors"][:]


def test_gain_and_loss_of_energy_are_in_detailed_balance_at_300_k(aluminium: Path) -> None:
    energy, intensity, error = histogram(aluminium / "iqe.h5")
    ratios, expected, errors = [], [], []
    for up in np.flatnonzero((energy > 9) & (energy < 33)):
        down = int(np.argmin(np.abs(energy + energy[up])))
        both = (intensity[:, up] > 5 * error[:, up]) & (intensity[:, down] > 5 * error[:, down])
        assert energy[down] == pytest.approx(-energy[up])
        gain, loss = (np.nansum(intensity[both, column]) for column in (down, up))
        noise = np.hypot(*(math.sqrt(np.nansum(error[both, at] ** 2)) / s for at, s in ((down, gain), (up, loss))))
        ratios.append(gain / loss)
        errors.append(noise * gain / loss)
        expected.append(math.exp(-energy[up] / (BOLTZMANN * 300)))
    off = (np.array(ratios) - expected) / np.hypot(errors, 0.05 * np.array(expected))
    assert len(off) == 8
    assert np.abs(off).max() < 3.5
    assert np.sqrt((off**2).mean()) < 1.8


def test_weights_add_up_from_the_events_to_the_spectrum(aluminium: Path) -> None:
    spectrum = json.loads((aluminium / "spectrum.json").read_text())
    with h5py.File(aluminium / EVENTS) as file:
        events = file["entry/detector_events"]
        total = float(events["event_weight"][:].astype(float).sum())
        assert len(events["event_id"]) == events["total_counts"][()] == spectrum["events"]
        assert events["event_time_offset"].attrs["units"] == "us"
        assert file["entry/sample/temperature"][()] == 300.0
        assert file["entry/sample/temperature"].attrs["units"] == "K"
        assert {
            name: group.attrs["NX_class"] for name, group in file["entry"].items() if "NX_class" in group.attrs
        } == {
            "instrument": "NXinstrument",
            "sample": "NXsample",
            "monitor": "NXmonitor",
            "detector_events": "NXevent_data",
        }
    inside = sum(spectrum["intensity"]) * spectrum["neutrons"]
    assert inside == pytest.approx(total, rel=0.01)
    assert inside <= total
    shares = spectrum["elastic_fraction"] + spectrum["inelastic_fraction"]
    assert shares == pytest.approx(sum(spectrum["intensity"]), rel=1e-6)


# --- the same again --------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_on_one_thread_and_on_four(experiment: Path) -> None:
    names = [EVENTS, "iqe.h5", "spectrum.json", "experiment/beam/out/neutrons"]
    before = [(experiment / name).read_bytes() for name in names]
    for name in names:
        (experiment / name).unlink()
    for script, *rest in ((*BEAM, "--instruments=instruments.json"), SIM, ("reduce.py", "--config=reduce.yml", EVENTS)):
        done = execute(experiment, script, *rest, OMP_NUM_THREADS="4")
        assert done.returncode == 0, done.stderr
    assert [(experiment / name).read_bytes() for name in names] == before
    assert not list(experiment.rglob("*.part"))


def test_an_angle_has_its_own_random_numbers_whatever_ran_before() -> None:
    def first(seed: int, angle: float) -> list[int]:
        return list(itertools.islice(sim.seeds(seed, angle), 9))

    assert first(5, 5.0) == first(5, 5.0)
    assert len({*first(5, 5.0), *first(5, 10.0), *first(6, 5.0)}) == 27
    assert all(0 <= seed < 2**64 for seed in first(5, 5.0))


# --- what is wrong is said in one sentence ---------------------------------------------------------------------------


def refusal(directory: Path, *command: str) -> str:
    """The last line of a program that ends with status 1, and its only one."""
    done = execute(directory, *command)
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    return line


def spoil(path: Path, old: str, new: str) -> None:
    """Replace a piece of a text file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("sim.yml", '"ncount"', '"count"', r"sim: sim\.yml: scatter\.ncount is missing"),
        ("sim.yml", "arcs", "sequoia", r"sim: sim\.yml: instrument\.name is 'SEQUOIA', the beam is 'ARCS'"),
        ("scatterer", "Al_sg225", "Unobtainium", r"sim: swdemo-scatterer\.xml: NCrystal refuses 'Unobtainium.*correct"),
        ("scatterer", "300.0", "-5.0", r"sim: swdemo-scatterer\.xml: NCrystal refuses .*[Oo]ut of range"),
    ],
)
def test_a_sim_that_cannot_be_names_the_file_and_what_is_wrong(
    experiment: Path, name: str, old: str, new: str, message: str
) -> None:
    scatterer = experiment / "experiment" / "sampleassembly" / "swdemo-scatterer.xml"
    spoil(scatterer if name == "scatterer" else experiment / name, old, new)
    (experiment / EVENTS).unlink()
    line = refusal(experiment, *SIM)
    assert re.search(message, line), line
    assert not (experiment / EVENTS).exists()


def without_group(path: Path) -> None:
    """Take the events out."""
    with h5py.File(path, "a") as file:
        del file["entry/detector_events"]


def cut(path: Path) -> None:
    """Keep half of the file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """Keep no event."""
    with h5py.File(path, "a") as file:
        for name in ("event_id", "event_time_offset", "event_weight"):
            kind = file["entry/detector_events"][name].dtype
            attributes = dict(file["entry/detector_events"][name].attrs)
            del file["entry/detector_events"][name]
            file["entry/detector_events"].create_dataset(name, data=np.array([], dtype=kind)).attrs.update(attributes)


def in_seconds(path: Path) -> None:
    """Give the times another unit."""
    with h5py.File(path, "a") as file:
        file["entry/detector_events/event_time_offset"].attrs["units"] = "s"


def without_words(path: Path) -> None:
    """Give the instrument a number for a name."""
    with h5py.File(path, "a") as file:
        del file["entry/instrument/name"]
        file["entry/instrument/name"] = 3.0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_words, "damaged: "),
        (without_group, "no entry/detector_events/event_id (there is no 'detector_events')"),
        (cut, "not a whole HDF5 file"),
        (empty, "no events; raise ncount"),
        (in_seconds, "entry/detector_events/event_time_offset is in s; it must be in us"),
        (Path.unlink, "no such file"),
    ],
)
def test_events_that_cannot_be_reduced_are_refused(
    experiment: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(experiment / EVENTS)
    with pytest.raises(reduce.InputError) as refused:
        reduce.read_run(str(experiment / EVENTS))
    assert message in str(refused.value)


@pytest.mark.parametrize("bins", [None, [0, 1], [0, 1, "wide"], [0, 1, 0], [1, 0, 0.1]])
def test_bins_that_are_none_are_refused(bins: object) -> None:
    with pytest.raises(reduce.InputError, match=r"energy_mev is .*; it must be smallest, largest, width of a bin"):
        reduce.read_bins({"energy_mev": bins}, Path("reduce.yml"))


def test_reduce_tells_damaged_events_in_one_line(experiment: Path) -> None:
    cut(experiment / EVENTS)
    assert f"reduce: {EVENTS}: not a whole HDF5 file" in refusal(experiment, "reduce.py", "--config=reduce.yml", EVENTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sample": "V_sg229.ncmat"}, "its sample is 'V_sg229.ncmat', the spectrum's 'Al_sg225.ncmat'"),
        ({"energy_edges_mev": [0.0, 1.0]}, "1 bins have 57 intensities"),
        ({"intensity": None}, "intensity must be a list"),
        ({"elastic_limit_mev": "6"}, "elastic_limit_mev is '6'; it must be a number of meV"),
    ],
)
def test_a_reference_that_does_not_go_with_the_spectrum_is_refused(
    experiment: Path, changed: dict[str, Any], message: str
) -> None:
    reference = json.loads((experiment / "reference.json").read_text())
    (experiment / "reference.json").write_text(json.dumps({**reference, **changed}))
    line = refusal(experiment, "compare.py", "spectrum.json", "reference.json", "fit.json")
    assert line.startswith("compare: reference.json: ")
    assert message in line
    assert not (experiment / "fit.json").exists()


def spectrum_of(intensity: list[float], sigma: float = 1.0) -> dict[str, Any]:
    """A spectrum of five bins of 4 meV around zero."""
    return {
        "instrument": "ARCS",
        "sample": "Al",
        "elastic_limit_mev": 2.0,
        "energy_edges_mev": [-10.0, -6.0, -2.0, 2.0, 6.0, 10.0],
        "intensity": intensity,
        "sigma": [sigma] * 5,
    }


def test_chi_squared_is_one_half_when_every_point_is_one_error_off_and_the_elastic_line_counts_nothing() -> None:
    fit = compare.compare(spectrum_of([1, 1, 99, 1, 1]), spectrum_of([2, 2, 0, 0, 2]), "reference.json")
    assert fit == {"chi2": 0.5, "points": 4, "chi2_total": 2.0}


def test_a_reference_with_other_bins_is_refused() -> None:
    other = spectrum_of([1] * 5) | {"energy_edges_mev": [-9.0, -5.0, -1.0, 3.0, 7.0, 11.0]}
    with pytest.raises(compare.InputError, match="its 5 bins go from -9 to 11 meV, the spectrum's 5 from -10 to 10"):
        compare.compare(spectrum_of([1] * 5), other, "reference.json")


# --- the original ----------------------------------------------------------------------------------------------------

FAKE = """#!/bin/sh
echo "$PWD: mcvine $*" >> "$CALLS"
case "$*" in *" beam "*) mkdir -p out && touch out/neutrons ;; esac
"""


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for mcvine on PATH that writes down how it is called; the file it writes to."""
    for name, text in (("mcvine", FAKE), ("python", '#!/bin/sh\necho "$PWD: python $*" >> "$CALLS"\n')):
        program = tmp_path / "site" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'site'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def test_where_the_site_has_mcvine_its_own_commands_run(experiment: Path, called: Path) -> None:
    (experiment / "experiment" / "beam" / "out" / "neutrons").unlink()
    assert execute(experiment, "original.py", *BEAM[1:], "--instruments=instruments.json").returncode == 0
    assert execute(experiment, "original.py", *SIM[1:]).returncode == 0
    assert called.read_text().splitlines() == [
        f"{experiment}/experiment/beam: mcvine instruments arcs beam --E=60.0 --fermi_nu=420.0 --ncount=2000",
        f"{experiment}/experiment/scattering: python scripts/sim.py --angle=0.0 --config=../../sim.yml",
    ]


def test_a_sim_of_mcvine_that_ends_well_without_a_file_is_a_failure(experiment: Path, called: Path) -> None:
    (experiment / EVENTS).unlink()
    assert f"{EVENTS}: mcvine did not write it" in refusal(experiment, "original.py", *SIM[1:])
    assert called.exists()


def test_ours_and_the_originals_programs_are_not_mixed(folder: WorkflowFolder) -> None:
    for name in ("beam", "sim", "reduce"):
        first = folder.spec.transformations[name].candidates[0]
        assert (first.script, first.needs) == ("bin/original.py", ["mcvine"])
    assert folder.spec.transformations["mcvine"].candidates[0].program == "mcvine"
