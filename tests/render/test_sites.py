"""Sites: their variables, the rules of Pegasus' catalogs, and what the real planner makes of each."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.config import Monitoring
from panorama_driver.errors import SiteError
from panorama_driver.render import Site, find_site, find_workflow, render, site_names
from panorama_driver.render.site import CONVENTIONS, _names
from tests.conftest import PARABOLA

HERE = Path()
ROOT = Path(__file__).parent.parent.parent
MINIMAL = "x-panorama: {execution: here}\nsites:\n- name: local\n- name: here\n"
HELD = "(JobStatus == 5) && ((time() - EnteredCurrentStatus) > 120)"
HELD_OR_LACKING = "(JobStatus == 5) && (HoldReasonCode =?= 12 || (time() - EnteredCurrentStatus) > 120)"


@dataclass(frozen=True)
class Case:
    """A site with made-up variables, and what must stand in the submit file of a job that asks for nothing itself."""

    site: str
    variables: Mapping[str, str] = field(default_factory=dict)
    submit: Mapping[str, str] = field(default_factory=dict)
    servers: tuple[str, str] = ("file", "file")  # of this machine, of the place where the jobs work

    @property
    def name(self) -> str:
        return "-".join([self.site, *(key for key in ("login", "endpoint") if key in self.variables)])


CLUSTER = {"project": "m1234", "pegasus_home": "/site/pegasus"}
FACILITY = {**CLUSTER, "user": "elvis"}
GLOBUS = {"endpoint": "9d6d994a", "local_endpoint": "f2a1bb00"}
POOL = {"universe": "vanilla", "periodic_remove": HELD, "request_memory": "1024 MB", "request_disk": "1024 MB"}
CARRIED = {**POOL, "periodic_remove": HELD_OR_LACKING}  # an output file that is missing keeps the job from ending
KICKSTART = "/site/pegasus/bin/pegasus-kickstart"
BATCH = {"universe": "grid", "periodic_remove": HELD, "executable": KICKSTART}
SLURM = {**BATCH, "grid_resource": "batch slurm", "pegasus_project": "'m1234'"}
LSF = {**BATCH, "pegasus_queue": "'batch'", "pegasus_project": "'m1234'", "pegasus_memory_mb": "500000"}
CASES = [
    Case("local", submit={**POOL, "requirements": 'regexp(strcat("(^|@)", TARGET.Machine, "#"), MY.GlobalJobId)'}),
    Case("condorpool", submit={**CARRIED, "should_transfer_files": "YES"}),
    Case("condorpool-sharedfs", {"pegasus_home": "/site/pegasus"}, {**POOL, "executable": KICKSTART}),
    Case(
        "slurm",
        {**CLUSTER, "queue": "debug", "arguments": "--nice=5", "scratch": "/scratch/elvis"},
        {
            **SLURM,
            "pegasus_queue": "'debug'",
            "pegasus_glite_arguments": "'--nice=5'",
            "pegasus_memory_mb": "2048",
            "pegasus_job_runtime": "1800",
        },
    ),
    Case(
        "slurm",
        {**CLUSTER, "login": "elvis@head.example.org", "ssh_key": "SSH_KEY"},
        {**SLURM, "grid_resource": "batch slurm elvis@head.example.org"},
        ("file", "scp"),
    ),
    Case("slurm", {**CLUSTER, **GLOBUS}, SLURM, ("go", "go")),
    Case(
        "cori",
        FACILITY,
        {**SLURM, "pegasus_glite_arguments": "'--qos=regular --constraint=haswell --licenses=SCRATCH'"},
    ),
    Case(
        "cori",
        {**FACILITY, **GLOBUS, "login": "elvis@cori.nersc.gov"},
        {**SLURM, "grid_resource": "batch slurm elvis@cori.nersc.gov"},
        ("go", "go"),
    ),
    Case(
        "perlmutter",
        {**FACILITY, "qos": "debug"},
        {**SLURM, "pegasus_glite_arguments": "'--qos=debug --constraint=cpu'", "pegasus_job_runtime": "1800"},
    ),
    Case("perlmutter", {**FACILITY, **GLOBUS}, SLURM, ("go", "go")),
    Case("frontier", FACILITY, {**SLURM, "pegasus_queue": "'batch'", "pegasus_memory_mb": "0"}),
    Case("frontier", {**FACILITY, **GLOBUS}, SLURM, ("go", "go")),
    Case("summit", FACILITY, {**LSF, "grid_resource": "batch lsf"}),
    Case(
        "summit-kubernetes",
        FACILITY,
        {**LSF, "periodic_remove": HELD_OR_LACKING, "grid_resource": "batch lsf elvis@dtn.ccs.ornl.gov"},
    ),
    Case(
        "pilots",
        {"queue": "ORNL_Titan", "project": "csc108"},
        {
            **CARRIED,
            "requirements": '(TARGET.GLIDEIN_Site =?= "ORNL_Titan")',
            "+PilotQueue": '"ORNL_Titan"',
            "+ProjectName": '"csc108"',
        },
    ),
    Case(
        "pilots",
        {"queue": "ORNL_Titan", "scratch": "/lustre/elvis", "pegasus_home": "/site/pegasus", **GLOBUS},
        {**CARRIED, "executable": KICKSTART},
        ("go", "go"),
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _no_facility(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this machine's environment says of sites."""
    for name in os.environ:
        if name.startswith("PANORAMA_") or any(name in names for names in CONVENTIONS.values()):
            monkeypatch.delenv(name)


def written(folder: Path, text: str) -> Path:
    path = folder / "here.yml"
    path.write_text(text, encoding="utf-8")
    return path


def with_variable(folder: Path, expression: str) -> Path:
    return written(folder, MINIMAL + f"  profiles: {{env: {{VALUE: {expression}}}}}\n")


def value_of(site: Site) -> Any:
    return site.catalog("/b")["sites"][1]["profiles"]["env"]["VALUE"]


# --- the rules of site catalogs -----------------------------------------------------------------------------------

_KEYS = {
    "sites": {"name", "arch", "os.type", "os.release", "os.version", "directories", "grids", "profiles"},
    "directories": {"type", "path", "sharedFileSystem", "freeSize", "totalSize", "fileServers"},
    "fileServers": {"url", "operation", "profiles"},
    "grids": {"type", "contact", "scheduler", "jobtype"},
}
_REQUIRED = {
    "sites": {"name"},
    "directories": {"type", "path", "fileServers"},
    "fileServers": {"url", "operation"},
    "grids": {"type", "contact", "scheduler", "jobtype"},
}
_WORDS = {
    ("sites", "arch"): {"x86", "x86_64", "ppc64le", "aarch64"},
    ("sites", "os.type"): {"linux"},
    ("directories", "type"): {"sharedScratch", "sharedStorage", "localScratch", "localStorage"},
    ("fileServers", "operation"): {"all", "put", "get"},
    ("grids", "type"): {"batch"},
    ("grids", "scheduler"): {"slurm", "lsf", "pbs", "sge", "flux"},
    ("grids", "jobtype"): {"compute", "auxillary"},
}
_OF_JOBS = {"nodes", "cores", "ppn", "gpus", "runtime", "memory", "diskspace", "request_memory", "request_disk"}


def breaches(catalog: Mapping[str, Any]) -> list[str]:
    """What the planner would refuse or misuse: rules of its schema (sc-5.0), and of the reader behind it."""
    found = [f"key {key}" for key in catalog if key not in ("pegasus", "sites") and not key.startswith("x-")]
    return found + [breach for site in catalog["sites"] for breach in _entry("sites", site)]


def _entry(kind: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{kind}: key {key}" for key in entry.keys() - _KEYS[kind])
    yield from (f"{kind}: no {key}" for key in _REQUIRED[kind] - entry.keys())
    for key, value in entry.items():
        if value not in _WORDS.get((kind, key), {value} if isinstance(value, str) else [value]):
            yield f"{kind}: {key} {value}"
        if key in _KEYS:
            yield from (breach for part in value for breach in _entry(key, part))
        if key == "profiles":
            yield from _profiles(value)


def _profiles(profiles: Mapping[str, Any]) -> Iterator[str]:
    for space, entries in profiles.items():
        if space not in ("env", "condor", "pegasus", "dagman", "globus"):
            yield f"profiles: {space}"
        for key, value in entries.items():
            if not isinstance(value, str | int) or isinstance(value, bool):
                yield f"{space}.{key} is {value!r}, neither text nor number"
            if key in _OF_JOBS:
                yield f"{space}.{key} would win over every job's own"


@each_case
def test_a_site_keeps_the_rules_of_catalogs(case: Case) -> None:
    catalog = find_site(case.site, HERE, case.variables).catalog("/study/evaluations/0001")
    assert breaches(catalog) == []
    [local] = (site for site in catalog["sites"] if site["name"] == "local")
    assert {place["type"] for place in local["directories"]} == {"sharedScratch", "localStorage"}


@pytest.mark.parametrize(
    ("where", "key", "value", "words"),
    [
        ([], "note", "x", "key note"),
        (["sites", 1], "x-note", {"any": 1}, "sites: key x-note"),
        (["sites", 1, "directories", 0], "x-note", 1, "directories: key x-note"),
        (["sites", 1, "grids", 0], "type", "gt6", "grids: type gt6"),
        (["sites", 1, "profiles"], "x-ext", {}, "profiles: x-ext"),
        (["sites", 1, "profiles", "pegasus"], "auxillary.local", True, "neither text nor number"),
        (["sites", 1, "profiles", "pegasus"], "nodes", 2, "pegasus.nodes would win"),
        (["sites", 1, "profiles", "condor"], "request_memory", "1", "condor.request_memory would win"),
    ],
)
def test_the_rules_find_what_breaks_them(where: list[Any], key: str, value: Any, words: str) -> None:
    catalog = copy.deepcopy(find_site("slurm", HERE, CLUSTER).catalog("/b"))
    place: Any = catalog
    for step in where:
        place = place[step]
    place[key] = value
    [breach] = breaches(catalog)
    assert words in breach


def test_every_site_of_the_package_has_a_case_and_its_name_is_its_files() -> None:
    assert {case.site for case in CASES} == set(site_names())


def test_the_scratch_of_two_evaluations_is_never_the_same() -> None:
    for case in CASES:
        site = find_site(case.site, HERE, case.variables)
        one, other = (_paths(site.catalog(f"/study/evaluations/{name}")) for name in ("0001", "0002"))
        assert one.isdisjoint(other), case.name


def _paths(catalog: Mapping[str, Any]) -> set[str]:
    return {place["path"] for site in catalog["sites"] for place in site.get("directories", [])}


@pytest.mark.parametrize("name", site_names())
def test_a_site_and_each_of_its_variables_are_documented(name: str) -> None:
    page = (ROOT / "docs/sites.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/sites.md has no heading {name}"
    common = page.partition("\n## ")[0]
    unnamed = [
        variable
        for variable in _names((ROOT / f"sites/{name}.yml").read_text(encoding="utf-8"))
        if f"`{variable}`" not in found[1] + common
    ]
    assert not unnamed


def test_the_reference_lists_the_names_that_the_environment_may_use() -> None:
    page = (ROOT / "docs/reference/site-files.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+)", page.partition("## Variables")[2], re.MULTILINE))
    assert {name: tuple(re.findall(r"`(\w+)`", words)) for name, words in told.items()} == CONVENTIONS


# --- variables ----------------------------------------------------------------------------------------------------


def test_a_variable_comes_from_the_study_then_the_environment_then_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_variable(tmp_path, "{{ project | default('of the file') }}")
    assert value_of(Site(path)) == "of the file"
    monkeypatch.setenv("SBATCH_ACCOUNT", "of Slurm")
    assert value_of(Site(path)) == "of Slurm"
    monkeypatch.setenv("PANORAMA_PROJECT", "ours")
    assert value_of(Site(path)) == "ours"
    assert value_of(Site(path, {"project": "of the study"})) == "of the study"


def test_an_empty_environment_variable_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANORAMA_QUEUE", "")
    assert value_of(Site(with_variable(tmp_path, "{{ queue | default('regular') }}"))) == "regular"


def test_user_and_home_are_known_without_any_environment(tmp_path: Path) -> None:
    import pwd

    entry = pwd.getpwuid(os.getuid())
    assert value_of(Site(with_variable(tmp_path, "{{ user }}:{{ home }}"))) == f"{entry.pw_name}:{entry.pw_dir}"


def test_a_missing_variable_is_told_with_the_file_and_the_three_ways_to_give_it(tmp_path: Path) -> None:
    path = with_variable(tmp_path, "{{ project }}")
    with pytest.raises(SiteError) as caught:
        Site(path)
    for words in (
        f"{path}:5: variable 'project' has no value",
        "`site_variables: {project: ...}` in study.yml",
        "set $PANORAMA_PROJECT (or $SBATCH_ACCOUNT, ",
        "a default in this file: {{ project | default('...') }}",
    ):
        assert words in str(caught.value)


def test_a_variable_that_the_file_does_not_use_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"no variable 'quue'; nearest: queue"):
        Site(with_variable(tmp_path, "{{ queue }}"), {"quue": "debug"})
    with pytest.raises(SiteError, match="no variable 'bundle'"):
        Site(with_variable(tmp_path, "{{ bundle }}"), {"bundle": "/other"})


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1))
def test_whatever_a_value_holds_it_stays_one_text(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.yml"
    places = ["{{ v }}", '"{{ v }}"', "'{{ v }}'", "[{{ v }}, {k: {{ v ~ '' }}}]"]
    path.write_text(MINIMAL + "".join(f"  k{index}: {place}\n" for index, place in enumerate(places)))
    entry = Site(path, {"v": value}).catalog("/b")["sites"][1]
    assert [entry[f"k{index}"] for index in range(4)] == [value, value, value, [value, {"k": value}]]


@pytest.mark.parametrize("value", ["a\nb", "a\0", "a\tb", "a\u2028b", "\ue0000\ue001"])
def test_a_value_of_more_than_one_printable_line_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SiteError, match=r"variable 'queue' is .* one line of printable characters"):
        Site(with_variable(tmp_path, "{{ queue }}"), {"queue": value})


@pytest.mark.parametrize("value", ["a'; id; '", 'a"', "a\nqueue 100", "$(id)", "`id`", "a|b", "a\\"])
def test_what_a_batch_script_could_take_for_its_own_is_refused_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", value)
    with pytest.raises(SiteError, match=r"variable 'project': \$SBATCH_ACCOUNT is .*write `site_variables"):
        Site(with_variable(tmp_path, "{{ project }}"))


def test_a_bundle_may_lie_anywhere(tmp_path: Path) -> None:
    site = Site(with_variable(tmp_path, "file://{{ bundle }}/run"))
    for bundle in ("/a b/c", "/a\"b'/{c}: #", "/ü", "${PANORAMA_BUNDLE}"):
        assert site.catalog(bundle)["sites"][1]["profiles"]["env"]["VALUE"] == f"file://{bundle}/run"


# --- notes, digest, engines ---------------------------------------------------------------------------------------


def test_notes_take_numbers_and_booleans_from_variables(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "here}", "here, node_cores: {{ cores }}, online: '{{ online }}', darshan: '{{ library }}'}", 1
    )
    notes = Site(written(tmp_path, text), {"cores": 64, "online": True, "library": ""}).notes
    assert (notes.node_cores, notes.online, notes.darshan) == (64, True, None)


def test_a_job_always_has_memory_and_disk(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("here}", "here, defaults: {runtime: 60}}", 1))
    for site in (Site(path), Site(written(tmp_path, MINIMAL)), *(find_site(c.site, HERE, c.variables) for c in CASES)):
        assert site.notes.defaults.memory is not None
        assert site.notes.defaults.diskspace is not None


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ("execution: there", "x-panorama.execution: 'there' is none of its sites"),
        ("execution: here, staging: there", "x-panorama.staging: 'there' is none of its sites"),
        ("execution: here, output_site: there", "x-panorama.output_site: 'there' is none of its sites"),
        ("execution: here, engine: local", "unknown field 'engine'.*the keys are execution, "),
        ("execution: here, engines: [cloud]", r"Invalid enum value 'cloud' - at 'x-panorama.engines\[0\]'"),
        ("execution: here, data_configuration: nfs", "Invalid enum value 'nfs'"),
        ("execution: here, node_cores: many", "Expected 'int | null'"),
    ],
)
def test_wrong_notes_are_told_by_key(tmp_path: Path, notes: str, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        Site(written(tmp_path, MINIMAL.replace("execution: here", notes)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sites: []\n", "needs the keys x-panorama and sites"),
        ("x-panorama: {execution: here}\nsites: {}\n", "needs the keys x-panorama and sites"),
        ("x-panorama: here\nsites: []\n", "Expected 'object'"),
        ("- a\n", "not a site catalog, but list"),
        ("a: [\n", "not YAML"),
        ("a: 1\n{% if %}\n", r"here\.yml:2: "),
        ("a: {{ ''.__class__.__mro__ }}\n", "unsafe"),
    ],
)
def test_what_is_no_site_file_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        Site(written(tmp_path, text))


def test_the_digest_follows_what_decides_a_job_and_nothing_else(tmp_path: Path) -> None:
    def digest(**variables: str) -> str:
        return find_site("perlmutter", HERE, FACILITY | variables).digest

    assert len({digest(), digest(project="m9"), digest(qos="debug"), digest(scratch="/s"), digest(python="/p")}) == 5
    assert digest(darshan="/lib/libdarshan.so", online="true", probe_python="/p") == digest()
    before = Site(written(tmp_path, MINIMAL)).digest
    assert Site(written(tmp_path, "# a comment\n" + MINIMAL)).digest == before


def test_an_engine_that_cannot_run_at_a_site_is_refused_with_words() -> None:
    find_site("local", HERE).check_engine("local")
    find_site("local", HERE).check_engine("pegasus")
    with pytest.raises(SiteError, match="engine 'local' cannot run jobs at site 'cori': write `engine: pegasus`"):
        find_site("cori", HERE, FACILITY).check_engine("local")


def test_a_site_that_changes_on_disk_is_stale(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    site = Site(path)
    assert not site.stale
    os.utime(path, ns=(1, 1))
    assert site.stale
    path.unlink()
    assert site.stale


# --- the real planner ---------------------------------------------------------------------------------------------


def planned(case: Case, directory: Path) -> dict[str, dict[str, str]]:
    """Plan the parabola for a site; settings of each submit file, by the file's name without its ending."""
    variables = dict(case.variables)
    if "ssh_key" in variables:
        key = directory.parent / "key"
        key.touch(mode=0o600)
        variables["ssh_key"] = str(key)
    site = find_site(case.site, HERE, variables)
    render(find_workflow(str(PARABOLA), HERE), site, {}, {}, directory, Monitoring())
    with (directory / "pegasus.properties").open("a") as properties:
        properties.write(f"pegasus.catalog.master.url = sqlite:///{directory.parent}/master.db\n")
    words = ["pegasus-plan", "--conf", "pegasus.properties", "--dir", "submit", "--cleanup", site.notes.cleanup]
    words += ["--sites", site.notes.execution, "--output-sites", site.notes.output_site, "workflow.yml"]
    done = subprocess.run(
        words,
        cwd=directory,
        env=os.environ | {"PANORAMA_BUNDLE": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [submit] = re.findall(r"^pegasus-run  (\S+)", done.stdout, re.MULTILINE)
    return {path.stem: _settings(path) for path in Path(submit).rglob("00/*.sub")}


def _settings(path: Path) -> dict[str, str]:
    """`key = value` of a submit file, with $(macros) put in; `urls` is what the job moves or cleans."""
    lines = [line.partition(" = ") for line in path.read_text().splitlines()]
    raw = {key: value.strip() for key, mark, value in lines if mark}
    moved = path.with_suffix(".in")
    urls = re.findall(r'"url": "(.*?)"', moved.read_text()) if moved.exists() else []
    filled = {key: re.sub(r"\$\((\w+)\)", lambda m: raw.get(m[1], m[0]), value) for key, value in raw.items()}
    return filled | {"urls": " ".join(urls)}


@pytest.mark.skipif(not shutil.which("pegasus-plan"), reason="no Pegasus: pegasus-plan is not on PATH")
@each_case
def test_the_real_planner_makes_of_a_site_what_it_should(case: Case, tmp_path: Path) -> None:
    jobs = planned(case, tmp_path / "bundle")
    compute = {name: job for name, job in jobs.items() if name.startswith(("sh_", "square_"))}
    assert len(compute) == 4
    for job in compute.values():
        assert job["+pegasus_site"] == f'"{find_site(case.site, HERE, case.variables).notes.execution}"'
        assert "panorama_probe.py" in job.get("environment", "") + job.get("+remote_environment", "")
    asked = jobs["sh_split"]
    assert {key: asked.get(key) for key in case.submit} == case.submit
    auxiliary = {name: job for name, job in jobs.items() if name not in compute}
    assert {job["universe"] for job in auxiliary.values()} == {"vanilla" if case.site == "local" else "local"}
    here, there = case.servers
    schemes = {name: set(re.findall(r"(\w+)://", job["urls"])) for name, job in auxiliary.items()}
    assert {frozenset(found) for name, found in schemes.items() if name.startswith("stage_")} == {
        frozenset({here, there})
    }
    if there != "file":  # chmod of this machine cannot reach what lies there
        assert all(job.get("noop_job") == "true" for name, job in jobs.items() if name.startswith("chmod_"))
    [made] = (found for name, found in schemes.items() if name.startswith("create_dir_"))
    assert made == {there}
