"""The documentation is true: it names all there is and nothing else, and its files run."""

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
from typing import get_args

import pytest

from panorama_driver import cli, objective
from panorama_driver.analysis import Kind
from panorama_driver.config import _UNITS, shared_folder
from panorama_driver.probe import PROBE, panorama_probe
from panorama_driver.sources.traces import Trace

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOW_TO = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "how-to").glob("*.md")))

_NAMED_FILE = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def reference(page: str) -> str:
    """Text of a page of the reference."""
    return (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")


def first_column(text: str) -> set[str]:
    """Names in the first column of the tables of a text."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}


def test_the_reference_lists_every_unit_of_a_duration() -> None:
    assert all(f"`{unit}`" in reference("study-yml") for unit in _UNITS)


def test_the_reference_lists_every_function_of_expressions() -> None:
    assert first_column(reference("responses").partition("## Expressions")[2]) == set(objective._FUNCTIONS)


def test_the_reference_lists_every_exit_code() -> None:
    told = re.findall(r"^\| (\d) \|", reference("cli"), re.MULTILINE)
    documented = re.findall(r"(\d) \w", (inspect.getdoc(cli.main) or "").partition("Exit codes:")[2])
    assert told == documented == ["0", "1", "2", "3", "4"]


def test_the_reference_lists_every_option_and_variable_of_the_probe() -> None:
    options = set(panorama_probe.VALUES + panorama_probe.FLAGS)
    assert set(re.findall(r"^\| `--([\w-]+)", reference("probe"), re.MULTILINE)) == options
    variables = {f"PANORAMA_PROBE_{name.upper().replace('-', '_')}" for name in options}
    read = set(re.findall(r'environment(?:\.get\(|\[)"(\w+)"', PROBE.read_text(encoding="utf-8")))
    assert variables | read | set(panorama_probe.RANKS) <= first_column(reference("environment"))


def test_the_reference_lists_every_variable_that_the_code_reads() -> None:
    rooms = (
        path for path in (ROOT / "panorama_driver").rglob("*.py") if path.parent.name not in ("testing", "backend")
    )
    read = {
        name for path in rooms for name in re.findall(r'"(PANORAMA_[A-Z_]+[A-Z])"', path.read_text(encoding="utf-8"))
    }
    assert len(read) > 10
    assert read <= first_column(reference("environment"))


def test_every_field_of_the_probes_records_is_one_of_the_catalogue(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    subprocess.run([sys.executable, "-IS", PROBE, "--trace", trace, sys.executable, "-c", "0"], check=True)
    seen = {name for line in trace.read_text().splitlines() for name in json.loads(line)}
    assert seen - {"event"} <= set(Trace.__struct_fields__)


def test_the_reference_lists_every_field_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        info = panorama_probe.tcp_info(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
    told = first_column(reference("tcp"))
    counted = set(panorama_probe._as_tstat(info, False, "c_", "c_"))
    assert counted <= told


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the how-to, as somebody has it who followed it."""
    home = tmp_path_factory.mktemp("how-to")
    for name, text in _NAMED_FILE.findall(HOW_TO):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def study(example: Path) -> Path:
    """The study of the how-to, run by Dakota."""
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
    [option] = re.findall(r"^```yaml\n(  lid: .*\n)```$", HOW_TO, re.MULTILINE)
    [template] = re.findall(r"^```text\n(.*if lid else.*\n)```$", HOW_TO, re.MULTILINE)
    [idle, misspelt] = re.findall(r"^cooling/\S+: (?:warning|error): .*$", HOW_TO, re.MULTILINE)
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
    [said] = re.findall(r"^distance = \S+$", HOW_TO, re.MULTILINE)
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
    """A study directory with the study.yml that the how-to shows for derivatives."""
    [responses] = re.findall(r"^```yaml\n(responses:\n[^`]*gradients:\n[^`]*)```$", HOW_TO, re.MULTILINE)
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
    told = first_column(reference("events").partition("\n## Samples")[0])
    assert kinds == told - {"stampede.job_inst.abort.info", "transfer.tcp"}


def test_the_reference_names_what_lies_in_a_study_directory(study: Path) -> None:
    listed = reference("study-directory")
    [evaluation] = (study / "evaluations").glob("0001-*")
    places = [*(study / ".panorama").iterdir(), *evaluation.iterdir()]
    unnamed = [path.name for path in places if path.name not in listed]
    assert not unnamed


def test_the_reference_lists_every_kind_of_anomaly() -> None:
    assert set(get_args(Kind)) <= first_column(reference("events").partition("\n## Anomalies")[2])


def test_the_named_blocks_are_files_of_one_folder() -> None:
    names = [name for name, _ in _NAMED_FILE.findall(HOW_TO)]
    assert len(names) == len(set(names)) >= 10
    assert all(not Path(name).is_absolute() and ".." not in name for name in names)
