"""The documentation is true: it names all there is and nothing else, its links lead somewhere, its files run."""

from __future__ import annotations

import inspect
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest

from panorama_driver import cli, objective
from panorama_driver.cli import _VERBS
from panorama_driver.config import _UNITS, Adapt, Ensemble, Monitoring, OnFailure, Study, shared_folder
from panorama_driver.metrics import (
    AttemptMetrics,
    DarshanModule,
    DarshanSummary,
    JobMetrics,
    Measures,
    Series,
    TaskMetrics,
    TcpSummary,
    TimeShares,
    TransferMetrics,
    WorkflowMetrics,
)
from panorama_driver.probe import PROBE, panorama_probe
from panorama_driver.render.site import SiteNotes
from panorama_driver.render.workflow import Candidate, Parameter, Resources, Transformation, WorkflowSpec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
REFERENCE = (DOCS / "reference.md").read_text(encoding="utf-8")

_NAMED_FILE = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """Text of reference.md below the heading, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, f"reference.md has no heading {title!r}"
    return found[1]


def first_column(title: str) -> set[str]:
    """Names in the first column of the tables of a section."""
    rows = [line for line in section(title).splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}


def fields(*records: type[msgspec.Struct]) -> set[str]:
    return {name for record in records for name in record.__struct_fields__}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("study.yml", fields(Study)),
        ("monitoring", fields(Monitoring)),
        ("adapt", fields(Adapt)),
        ("ensemble", fields(Ensemble)),
        ("on_failure", fields(OnFailure)),
        ("workflow.yml", fields(WorkflowSpec)),
        ("Parameters and options", fields(Parameter)),
        ("Transformations", fields(Candidate)),
        ("Resources", fields(Resources)),
        ("Site files", fields(SiteNotes)),
        ("Metrics of a workflow", fields(WorkflowMetrics)),
        ("Metrics of a job", fields(JobMetrics) - fields(Measures) | {"retries"}),
        ("Measures", fields(Measures)),
        ("Metrics of a task", fields(TaskMetrics)),
        ("Metrics of an attempt", fields(AttemptMetrics) - fields(Measures)),
        ("Darshan", fields(DarshanSummary)),
        ("TCP", fields(TcpSummary)),
        ("Modules of Darshan", fields(DarshanModule)),
        ("Transfers", fields(TransferMetrics)),
        ("Series", fields(Series)),
        ("Where the time went", fields(TimeShares)),
    ],
)
def test_the_reference_lists_every_field_and_no_other(title: str, names: set[str]) -> None:
    assert first_column(title) == names


def test_a_transformation_has_the_one_key_that_the_reference_says() -> None:
    assert fields(Transformation) == {"candidates"}
    assert "`candidates`" in section("Transformations")


def test_the_reference_lists_every_unit_of_a_duration() -> None:
    assert all(f"`{unit}`" in section("study.yml") for unit in _UNITS)


def test_the_reference_lists_every_function_of_expressions() -> None:
    assert first_column("Expressions") == set(objective._FUNCTIONS)


def test_the_reference_lists_every_verb_with_its_options() -> None:
    rows = [line for line in section("Commands").splitlines() if line.startswith("| `panorama ")]
    by_verb = {row.split()[2].strip("`"): row for row in rows}
    assert set(by_verb) == set(_VERBS)
    for verb, row in by_verb.items():
        assert set(re.findall(r"--[\w-]+", row)) == _long_options(verb), verb


def _long_options(verb: str) -> set[str]:
    command = cli._panorama.get_command(click.Context(cli._panorama), verb)
    assert command is not None
    return {name for option in command.params for name in option.opts if name.startswith("--")}


@pytest.mark.parametrize("verb", ["adapt", "deadletters", "ensemble", "workflows"])
def test_the_reference_lists_every_verb_below_a_verb_with_its_options(verb: str) -> None:
    group = cli._panorama.get_command(click.Context(cli._panorama), verb)
    assert isinstance(group, click.Group)
    rows = [line for line in section(f"panorama {verb}").splitlines() if line.startswith("| `")]
    by_name = {row.split()[1].strip("`"): row for row in rows}
    assert set(by_name) == set(group.commands)
    for name, command in group.commands.items():
        options = {each for option in command.params for each in option.opts if each.startswith("--")}
        assert set(re.findall(r"--[\w-]+", by_name[name])) == options, name


def test_the_reference_lists_every_exit_code() -> None:
    told = re.findall(r"^\| (\d) \|", section("Commands"), re.MULTILINE)
    documented = re.findall(r"(\d) \w", (inspect.getdoc(cli.main) or "").partition("Exit codes:")[2])
    assert told == documented == ["0", "1", "2", "3", "4"]


def test_the_reference_lists_every_option_and_variable_of_the_probe() -> None:
    options = set(panorama_probe.VALUES + panorama_probe.FLAGS)
    assert set(re.findall(r"^\| `--([\w-]+)", section("Probe"), re.MULTILINE)) == options
    variables = {f"PANORAMA_PROBE_{name.upper().replace('-', '_')}" for name in options}
    read = set(re.findall(r'environment(?:\.get\(|\[)"(\w+)"', PROBE.read_text(encoding="utf-8")))
    assert variables | read | set(panorama_probe.RANKS) <= first_column("Environment variables")


def test_the_reference_lists_every_field_of_the_probes_records(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    subprocess.run([sys.executable, "-IS", PROBE, "--trace", trace, sys.executable, "-c", "0"], check=True)
    seen = {name for line in trace.read_text().splitlines() for name in json.loads(line)}
    told = {name for name in first_column("Probe") if not name.startswith("--")}
    assert told == seen | {"maxrss_below"}


def test_the_reference_lists_every_field_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        info = panorama_probe.tcp_info(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
    told = first_column("Records of connections")
    counted = set(panorama_probe._as_tstat(info, False, "c_", "c_"))
    assert counted <= told


def test_links_between_pages_lead_somewhere() -> None:
    broken = [f"{page.name}: {target}" for page in PAGES for target in _links(page) if not _leads(page, target)]
    assert not broken


def _links(page: Path) -> list[str]:
    prose = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [target for target in _LINK.findall(prose) if "://" not in target]


def _leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    there = page.parent / path if path else page
    return there.exists() and (not anchor or anchor in _anchors(there))


def _anchors(page: Path) -> set[str]:
    """Names that GitHub gives to headings."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of how-to.md, as somebody has it who followed it."""
    home = tmp_path_factory.mktemp("how-to")
    for name, text in _NAMED_FILE.findall((DOCS / "how-to.md").read_text(encoding="utf-8")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def study(example: Path) -> Path:
    """The study of how-to.md, run by Dakota."""
    panorama("init", "./cooling", "fit", cwd=example)
    done = panorama("study", "fit", cwd=example)
    if "no dakota on PATH" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return example / "fit"


def panorama(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-c", "from panorama_driver.cli import main; main()", *words], cwd)


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run from outside the checkout, with the package that is tested."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_files_of_the_how_to_are_those_that_a_new_workflow_has(example: Path) -> None:
    shown = {path.relative_to(example / "cooling"): path.read_text() for path in (example / "cooling").rglob("*.*")}
    scaffold = shared_folder("scaffold")
    files = (path for path in scaffold.rglob("*.*") if "__pycache__" not in path.parts)
    assert shown == {path.relative_to(scaffold): path.read_text() for path in files}


def test_the_change_of_the_how_to_is_judged_as_it_says(tmp_path: Path) -> None:
    text = (DOCS / "how-to.md").read_text(encoding="utf-8")
    [option] = re.findall(r"^```yaml\n(  lid: .*\n)```$", text, re.MULTILINE)
    [template] = re.findall(r"^```text\n(.*if lid else.*\n)```$", text, re.MULTILINE)
    [idle, misspelt] = re.findall(r"^cooling/\S+: (?:warning|error): .*$", text, re.MULTILINE)
    panorama("workflows", "new", "cooling", cwd=tmp_path)
    spec, model = (tmp_path / "cooling" / name for name in ("workflow.yml", "templates/model.json.j2"))
    spec.write_text(spec.read_text().replace("transformations:\n", f"{option}transformations:\n"))
    assert panorama("workflows", "check", "./cooling", cwd=tmp_path).stdout == f"{idle}\n"
    model.write_text(template.replace("lid", "led"))
    assert panorama("workflows", "check", "./cooling", cwd=tmp_path).stdout == f"{misspelt}\n"
    model.write_text(template)
    assert panorama("workflows", "check", "./cooling", cwd=tmp_path).stdout == "cooling: nothing wrong found\n"
    assert "distance = 4.37281" in panorama("run", "./cooling", "-o", "trial", cwd=tmp_path).stdout
    with_lid = panorama("run", "./cooling", "--set", "lid=true", "-o", "trial", cwd=tmp_path).stdout
    assert float(with_lid.split()[2]) > 100  # too hot


def test_the_workflow_of_the_how_to_runs_and_gives_what_it_says(example: Path) -> None:
    done = panorama("run", "./cooling", "--set", "rate=0.1", "-o", "trial", cwd=example)
    assert done.returncode == 0, done.stderr
    [said] = re.findall(r"^distance = \S+$", (DOCS / "how-to.md").read_text(), re.MULTILINE)
    assert said in done.stdout.splitlines()


def test_the_study_of_the_how_to_passes_the_check_and_finds_the_rate(study: Path) -> None:
    assert "nothing wrong found" in panorama("check", cwd=study).stdout
    assert "best: rate = 0.08, ambient = 15" in panorama("report", cwd=study).stdout


def test_the_gradient_of_the_how_to_is_that_of_its_value(example: Path) -> None:
    home = _study_with_gradients(example, "gradients")
    _ask(home, ["panorama-driver"], {"rate": 0.1, "ambient": 18.0}, asv=3)
    value, by_rate, by_ambient = _numbers(home / "results.out")
    step = 1e-6
    _ask(home, ["panorama-driver"], {"rate": 0.1 + step, "ambient": 18.0}, asv=1)
    assert (_numbers(home / "results.out")[0] - value) / step == pytest.approx(by_rate, rel=1e-3)
    _ask(home, ["panorama-driver"], {"rate": 0.1, "ambient": 18.0 + step}, asv=1)
    assert (_numbers(home / "results.out")[0] - value) / step == pytest.approx(by_ambient, rel=1e-3)


def test_the_driver_of_the_how_to_runs_the_workflow_with_what_it_translates(example: Path) -> None:
    home = _study_with_gradients(example, "driver")
    _ask(home, [sys.executable, str(example / "driver.py")], {"log_rate": -1.0, "ambient": 18.0}, asv=1)
    own = _numbers(home / "results.out")
    _ask(home, ["panorama-driver"], {"rate": 0.1, "ambient": 18.0}, asv=1)
    assert own == _numbers(home / "results.out")


def _study_with_gradients(example: Path, name: str) -> Path:
    """A study directory with the study.yml that how-to.md shows for derivatives."""
    text = (DOCS / "how-to.md").read_text(encoding="utf-8")
    [responses] = re.findall(r"^```yaml\n(responses:\n[^`]*gradients:\n[^`]*)```$", text, re.MULTILINE)
    home = example / name
    home.mkdir()
    (home / "study.yml").write_text(f"workflow: ../cooling\n{responses}", encoding="utf-8")
    return home


def _ask(home: Path, driver: list[str], variables: dict[str, float], asv: int) -> None:
    """Call a driver as Dakota does, with a parameters file in the standard format."""
    names = list(variables)
    lines = [f"{len(names)} variables", *(f"{value!r} {name}" for name, value in variables.items())]
    lines += ["1 functions", f"{asv} ASV_1:distance", f"{len(names)} derivative_variables"]
    lines += [f"{index} DVV_{index}:{name}" for index, name in enumerate(names, 1)]
    lines += ["1 analysis_components", "study.yml AC_1:driver", "1 eval_id", "0 metadata"]
    (home / "params.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if driver == ["panorama-driver"]:
        driver = [sys.executable, "-m", "panorama_driver.dakota.driver"]
    done = run([*driver, "params.in", "results.out"], home)
    assert done.returncode == 0, done.stderr


def _numbers(results: Path) -> list[float]:
    return [float(word) for word in re.findall(r"-?\d\.\d+E[-+]\d+", results.read_text())]


def test_the_reading_of_the_how_to_reads_what_the_study_measured(example: Path, study: Path) -> None:
    done = run([sys.executable, str(example / "read_study.py")], study)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("CPU seconds in bins of 0.1 s") == 9
    assert "io_time is unknown: no Darshan log" in done.stdout


def test_the_sql_of_the_how_to_finds_every_invocation(example: Path, study: Path) -> None:
    store = sqlite3.connect(f"file:{study / '.panorama' / 'store.db'}?mode=ro", uri=True)
    rows = store.execute((example / "jobs.sql").read_text()).fetchall()
    store.close()
    assert len(rows) == 9 * 6
    assert {status for *_, status in rows} == {0}
    assert rows[0][2] >= rows[-1][2] > 0


def test_the_probe_alone_does_what_the_how_to_says(example: Path) -> None:
    words = [sys.executable, "-IS", str(PROBE), "--trace", "trace.jsonl", "--", "sh", "-c", "exit 3"]
    assert run(words, example).returncode == 3
    done = run([sys.executable, "read_trace.py"], example)
    assert done.returncode == 0, done.stderr
    assert "problems []" in done.stdout


def test_the_reference_lists_every_event_that_a_run_leaves(study: Path) -> None:
    store = sqlite3.connect(f"file:{study / '.panorama' / 'store.db'}?mode=ro", uri=True)
    kinds = {kind for (kind,) in store.execute("SELECT DISTINCT kind FROM events")}
    store.close()
    assert kinds == first_column("Events") - {"stampede.job_inst.abort.info", "transfer.tcp"}


def test_the_reference_names_what_lies_in_a_study_directory(study: Path) -> None:
    listed = section("Study directory")
    [evaluation] = (study / "evaluations").glob("0001-*")
    places = [*(study / ".panorama").iterdir(), *evaluation.iterdir()]
    unnamed = [path.name for path in places if path.name not in listed]
    assert not unnamed


def test_the_pages_know_each_other() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert all(page.name in index for page in DOCS.glob("*.md") if page.name != "README.md")


def test_no_page_promises_what_is_planned_but_why() -> None:
    planned = ("OpenSearch",)
    early = [(page.name, word) for page in DOCS.glob("*.md") for word in planned if word in page.read_text()]
    assert {name for name, _ in early} == {"why.md"}


def test_the_named_blocks_are_files_of_one_folder() -> None:
    names = [name for name, _ in _NAMED_FILE.findall((DOCS / "how-to.md").read_text(encoding="utf-8"))]
    assert len(names) == len(set(names)) >= 10
    assert all(not Path(name).is_absolute() and ".." not in name for name in names)
