"""Bundles: complete, checked before they are written, and taken by the real planner where there is one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from Pegasus.api import Job, Workflow

from panorama_driver.config import Monitoring
from panorama_driver.errors import EnvironmentMissingError, ParameterError, SiteError, WorkflowError
from panorama_driver.probe import PROBE
from panorama_driver.render import Site, WorkflowFolder, bundle, find_site, find_workflow, load_bundle, render
from panorama_driver.render.bundle import write_json
from panorama_driver.render.workflow import plain
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


FUTURE = "from __future__ import annotations\n\nimport sys\n\nprint(sys.argv[1:], sys.executable)\n"
HEADS = [
    '"""Does a thing: `$HOME`."""\n\n',
    '# Licence\n\n"""Does\n\na thing."""\n',
    "'''Does a thing.'''\n",
    'r"""Does a thing."""\n',
    "",
]


def run_under(interpreter: str, head: str, where: Path, *, elsewhere: bool) -> str:
    """Run a program with a docstring, or none, and give what it says of its arguments and its interpreter."""
    text = bundle._started_by(interpreter, f"#!/usr/bin/env python3\n{head}{FUTURE}", elsewhere=elsewhere)
    assert text is not None
    script = where / "script"
    script.write_text(text)
    script.chmod(0o755)
    return subprocess.run([script, "a b", "c"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_own_program_runs_where_the_interpreter_has_a_blank_in_its_path(
    head: str, elsewhere: bool, tmp_path: Path
) -> None:
    link = tmp_path / "a folder" / "python3"
    link.parent.mkdir()
    link.symlink_to(sys.executable)
    said = run_under(str(link), head, tmp_path, elsewhere=elsewhere)
    assert said.startswith("['a b', 'c']")


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no Python of the system's own: /usr/bin/python3")
@pytest.mark.parametrize("head", HEADS)
def test_an_own_program_runs_where_a_worker_lacks_the_interpreter_of_here(head: str, tmp_path: Path) -> None:
    said = run_under("/no/such/python3", head, tmp_path, elsewhere=True)
    assert said.startswith("['a b', 'c'] /usr/bin/python3")


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


def test_a_text_that_yaml_takes_for_a_number_is_a_text(folder: Path) -> None:
    path = folder / "workflow.yml"
    path.write_text(path.read_text().replace("options:\n", "options:\n  chromosome: {type: str, default: 20}\n"))
    workflow = WorkflowFolder(folder)
    assert workflow.values({}, {})[1]["chromosome"] == "20"
    assert workflow.values({}, {"chromosome": 7})[1]["chromosome"] == "7"


def test_a_workflow_may_be_written_with_dataclasses(folder: Path, tmp_path: Path) -> None:
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    source = (folder / "workflow.py").read_text().replace("from __future__ import annotations\n", "")
    (folder / "workflow.py").write_text(f"{head}{source}\n\n@dataclass\nclass Point:\n    x: float\n")
    assert len(rendered(folder, tmp_path / "b")) > 0


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
    with pytest.raises(WorkflowError, match=r"'constants/offset.txt'.*none of \S+/templates, \S+/data$"):
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
@pytest.mark.parametrize("site", ["local", "condorpool"])
def test_the_real_planner_takes_a_bundle_as_it_is(site: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # DAGMan refuses /tmp, and so plan.sh
        path = Path(folder) / "b"
        render(find_workflow(str(PARABOLA), HERE), find_site(site, HERE), {"x": 0.5}, {}, path, Monitoring())
        with (path / "pegasus.properties").open("a") as properties:
            properties.write(f"pegasus.catalog.master.url = sqlite:///{folder}/master.db\n")
        done = subprocess.run([path / "plan.sh"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        last = done.stdout.splitlines()[-1]
        assert last == f"pegasus-run  {(path / 'run/submitdir').read_text().strip()}"


def watched(target: Path, monitoring: Monitoring, site: Site | None = None) -> dict[str, Any]:
    folder = find_workflow(str(PARABOLA), HERE)
    render(folder, site or find_site("condorpool", HERE), {}, {}, target, monitoring)
    jobs = json.loads((target / "workflow.yml").read_text())["jobs"]
    return {job["id"]: job for job in jobs}


def test_every_job_gets_the_probe_as_an_input_and_kickstart_is_told_to_use_it(tmp_path: Path) -> None:
    jobs = watched(tmp_path / "b", Monitoring(interval="500 ms"))
    for job in jobs.values():
        assert {"lfn": "panorama_probe.py", "type": "input", "registerReplica": False} in job["uses"]
        assert job["profiles"]["env"]["KICKSTART_WRAPPER"] == "/usr/bin/python3 -IS panorama_probe.py"
        assert job["profiles"]["env"]["PANORAMA_PROBE_INTERVAL"] == "0.5"
    assert (tmp_path / "b/inputs/panorama_probe.py").read_bytes() == PROBE.read_bytes()


def test_the_trace_goes_home_on_a_stream_that_is_no_file_of_the_job(folder: Path, tmp_path: Path) -> None:
    source = (folder / "workflow.py").read_text()
    added = '    split.set_stderr("words.txt")\n    middle = ['
    (folder / "workflow.py").write_text(source.replace("    middle = [", added))
    render(find_workflow(str(folder), HERE), find_site("condorpool", HERE), {}, {}, tmp_path / "b", Monitoring())
    jobs = json.loads((tmp_path / "b/workflow.yml").read_text())["jobs"]
    markers = {job["id"]: job["profiles"]["env"]["PANORAMA_PROBE_MARKER"] for job in jobs}
    assert (markers["split"], markers["last"]) == ("stdout", "stderr")


def test_a_full_trace_is_an_output_file_of_each_job(tmp_path: Path) -> None:
    jobs = watched(tmp_path / "b", Monitoring(trace="full"))
    name = "square_last.trace.full.jsonl"
    assert jobs["last"]["profiles"]["env"]["PANORAMA_PROBE_TRACE"] == name
    assert {"lfn": name, "type": "output", "stageOut": True, "registerReplica": False} in jobs["last"]["uses"]


def test_a_job_that_says_nothing_of_its_needs_gets_the_sites_so_that_it_fits_a_small_slot(tmp_path: Path) -> None:
    jobs = watched(tmp_path / "b", Monitoring())
    assert jobs["split"]["profiles"]["pegasus"] == {"cores": 1, "memory": 1024, "diskspace": 1024}
    assert jobs["last"]["profiles"]["pegasus"] == {"cores": 1, "memory": 128, "diskspace": 1024, "runtime": 60}


def test_samples_go_where_the_study_says_and_no_password_with_them(tmp_path: Path) -> None:
    online = Monitoring(online="rabbitmqs://broker:15671/api/exchanges/p/m/publish", worker_credentials="/site/netrc")
    site = find_site("condorpool", HERE, {"online": True, "darshan": "/site/libdarshan.so"})
    environment = watched(tmp_path / "b", online, site)["split"]["profiles"]["env"]
    assert environment["KICKSTART_MON_URL"] == online.online
    assert environment["PANORAMA_PROBE_CREDENTIALS"] == "/site/netrc"
    assert environment["PANORAMA_PROBE_DARSHAN"] == "/site/libdarshan.so"


def test_a_site_whose_workers_reach_nobody_refuses_samples_at_once(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"its workers reach no http://collector; leave out monitoring\.online"):
        watched(tmp_path / "b", Monitoring(online="http://collector"))


def test_darshan_is_left_out_where_it_is_switched_off_or_not_there(tmp_path: Path) -> None:
    site = find_site("condorpool", HERE, {"darshan": "/site/libdarshan.so"})
    for number, (watch, where) in enumerate([(Monitoring(darshan="off"), site), (Monitoring(), None)]):
        environment = watched(tmp_path / str(number), watch, where)["split"]["profiles"]["env"]
        assert "PANORAMA_PROBE_DARSHAN" not in environment


def test_connections_are_watched_unless_that_is_switched_off(tmp_path: Path) -> None:
    for number, (watch, told) in enumerate([(Monitoring(), "1"), (Monitoring(tcp="off"), None)]):
        environment = watched(tmp_path / str(number), watch)["split"]["profiles"]["env"]
        assert environment.get("PANORAMA_PROBE_TCP") == told


def test_a_panorama_build_uses_its_own_monitor_where_that_cannot_fail_the_job(tmp_path: Path) -> None:
    folder, site = find_workflow(str(PARABOLA), HERE), find_site("condorpool", HERE, {"online": True})
    for number, (watch, planner, own) in enumerate(
        [
            (Monitoring(online="http://c", interval="2 s"), "5.1.0panorama", True),
            (Monitoring(online="http://c"), "5.1.3", False),
            (Monitoring(), "5.1.0panorama", False),
        ]
    ):
        render(folder, site, {}, {}, tmp_path / str(number), watch, planner)
        profiles = json.loads((tmp_path / str(number) / "workflow.yml").read_text())["jobs"][0]["profiles"]
        assert (profiles["pegasus"].get("gridstart.arguments") == "-m 2") is own
        assert ("KICKSTART_WRAPPER" not in profiles["env"]) is own
        sites = json.loads((tmp_path / str(number) / "sites.yml").read_text())["sites"]
        publishes = ["PEGASUS_TRANSFER_PUBLISH" in site.get("profiles", {}).get("env", {}) for site in sites]
        assert all(publishes) if "panorama" in planner else not any(publishes)


def test_no_monitoring_is_rendered_for_the_embedded_engine_which_starts_the_probe_itself(tmp_path: Path) -> None:
    abstract = rendered(PARABOLA, tmp_path / "b")
    assert "KICKSTART_WRAPPER" not in json.dumps(abstract)
    assert not (tmp_path / "b/inputs/panorama_probe.py").exists()


def test_what_is_written_is_what_pegasus_own_write_would_write(tmp_path: Path) -> None:
    folder = find_workflow("sns_nanodiamond", HERE)
    values = folder.values({}, {})
    build = folder._load_build()
    build(*values).write(str(tmp_path / "theirs.yml"))
    theirs = yaml.safe_load((tmp_path / "theirs.yml").read_text())
    del theirs["x-pegasus"]
    assert plain(build(*values)) == theirs


@pytest.mark.measures
def test_ten_thousand_jobs_are_written_several_times_faster_than_by_pegasus_own_write(tmp_path: Path) -> None:
    def cpu(write: Callable[[Workflow], object]) -> float:
        workflow = Workflow("many")
        workflow.add_jobs(*(Job("work").add_args("-n", str(number)) for number in range(10_000)))
        begin = time.process_time()
        write(workflow)
        return time.process_time() - begin

    ours = min(cpu(lambda workflow: write_json(tmp_path / "ours.yml", plain(workflow))) for _ in range(2))
    theirs = cpu(lambda workflow: workflow.write(str(tmp_path / "theirs.yml")))
    assert ours < theirs / 3, f"measured {ours:.2f} s and {theirs:.2f} s"


def test_stdin_comes_after_the_files_since_the_planner_forgets_it_otherwise(tmp_path: Path) -> None:
    jobs = {job["id"]: list(job) for job in rendered(PARABOLA, tmp_path / "b")["jobs"]}
    assert jobs["last"].index("stdin") > jobs["last"].index("uses")


def test_a_dollar_of_a_job_is_not_taken_for_a_variable_by_the_planner(folder: Path, tmp_path: Path) -> None:
    source = (folder / "workflow.py").read_text().replace("sleep {options['pause']}", "echo ${{HOME}} $HOME")
    (folder / "workflow.py").write_text(source)
    arguments = {job["id"]: job["arguments"] for job in rendered(folder, tmp_path / "b")["jobs"]}
    assert arguments["left"][1].startswith("'echo ${HOME} $HOME;")
    assert b"${" not in (tmp_path / "b/workflow.yml").read_bytes()
    assert b'${PANORAMA_BUNDLE}/bin/square"' in (tmp_path / "b/transformations.yml").read_bytes()


@pytest.mark.parametrize(
    ("runtime", "told_to_end", "killed"), [(60, 50, 3), (299, 289, 3), (310, 300, 3), (3600, 3540, 28)]
)
def test_a_job_has_nearly_all_of_the_run_time_it_asks_for(
    runtime: int, told_to_end: int, killed: int, folder: Path, tmp_path: Path
) -> None:
    spec = (folder / "workflow.yml").read_text().replace("runtime: 60", f"runtime: {runtime}")
    (folder / "workflow.yml").write_text(spec)
    render(find_workflow(str(folder), HERE), find_site("condorpool", HERE), {}, {}, tmp_path / "b", Monitoring())
    jobs = {job["id"]: job["profiles"] for job in json.loads((tmp_path / "b/workflow.yml").read_text())["jobs"]}
    profile = jobs["last"]["pegasus"]
    assert 60 * profile.get("checkpoint.time", 0) in (0, told_to_end)
    assert ("checkpoint.time" in profile) is (runtime >= 300)
    assert jobs["last"]["env"]["PANORAMA_PROBE_KILL_AFTER"] == str(killed)
