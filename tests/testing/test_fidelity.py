"""What the stand-ins write is like what the real commands wrote, and the released programs of Pegasus read it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from panorama_driver.errors import EnvironmentMissingError
from panorama_driver.testing import Standins, kickstart
from panorama_driver.testing.manager import find_venv
from panorama_driver.testing.submitfile import SubmitFile
from tests.conftest import DATA
from tests.engines.conftest import folder_for_evaluations, quick_standins
from tests.testing.conftest import Planned, plan_well, render_bundle, wait_for

FAILED = DATA / "captures" / "submitdirs" / "mini-fail"
EVENTS = DATA / "captures" / "submitdirs" / "mini-events"
SLURM = DATA / "captures" / "submitdirs" / "slurm-badpart"
VARYING = re.compile(r"procs_|task_|failure_error")
"""Keys that depend on what else the machine does."""


@pytest.fixture(scope="module")
def failed() -> Iterator[Planned]:
    """A workflow of the pool whose third job fails and is tried again."""
    with folder_for_evaluations() as place, quick_standins(place / "standins"):
        workflow = plan_well(render_bundle(place, "condorpool"))
        path = workflow.path / "00" / "00" / "sh_right.sh"
        script = "'echo about; echo oops >&2; cat right.txt > right.out; exit 3'"
        path.write_text(path.read_text().replace("/bin/sh -c", f"/bin/sh -c {script}"))
        assert workflow.run() == "1"
        yield workflow


def keys(value: Any, above: str = "") -> set[str]:
    """The names of all keys, as paths; those of single files, variables and limits are left out."""
    if isinstance(value, list):
        return set().union(*(keys(item, above) for item in value))
    if not isinstance(value, dict):
        return {above}
    if above in ("environment", "limits", "files"):
        names = {name: entry for name, entry in value.items() if name in ("stdin", "stdout", "stderr", "metadata")}
        return {above} | set().union(*(keys(entry, f"{above}.{name}") for name, entry in names.items()))
    return {above} | set().union(*(keys(item, f"{above}.{name}".strip(".")) for name, item in value.items()))


def record_keys(path: Path) -> set[str]:
    [record] = [item for item in yaml.safe_load(path.read_text().split("---")[0]) if "invocation" in item]
    return {key for key in keys(record) if not VARYING.search(key)}


def test_a_record_has_the_keys_of_a_real_one(failed: Planned) -> None:
    ours = record_keys(failed.path / "00/00/sh_right.out.000")
    real = record_keys(FAILED / "00/00/sh_ID0000002.out.000")
    assert {key for key in ours ^ real if not key.startswith("cleanup")} == set()
    well = record_keys(failed.path / "00/00/sh_left.out.000")
    real = record_keys(EVENTS / "00/00/py_ID0000002.out.000")
    assert {key for key in well ^ real if not key.startswith(("cleanup", "files.std"))} == set()


def test_braindump_has_the_keys_of_a_real_one(failed: Planned) -> None:
    ours, real = (yaml.safe_load((path / "braindump.yml").read_text()) for path in (failed.path, FAILED))
    real.pop("app")  # a property of that run
    assert ours.keys() == real.keys()
    assert [type(ours[key]) for key in real] == [type(value) for value in real.values()]
    assert (failed.path / ours["properties"]).exists()


def shape(line: str) -> str:
    """A line with names of nodes, paths, times and numbers made alike."""
    line = re.sub(r"(Node|Node Name|PARENTS|CHILDREN): \S+", r"\1: N", line)
    line = re.sub(r"(Node|node|of|job|id of) (Node |job |node )?\w+_\w[\w-]*", r"\1 \2N", line)
    line = re.sub(r"(/[\w.+:-]+)+/?", "P", line)
    line = re.sub(r"\S*-0\.(dag|log|cache|exitcode)[\w.]*", "F", line)
    return re.sub(r"\d+", "9", line).strip()


def shapes(lines: Iterable[str]) -> set[str]:
    return {shape(line) for line in lines}


def log_shapes(path: Path) -> set[str]:
    log = next(path.glob("*.dagman.out")).read_text()
    log = log[log.index("Parsing 1 dagfiles") :]  # what is before it tells of the installation
    return shapes(line[18:] for line in log.splitlines() if re.match(r"\d\d/\d\d/\d\d ", line))


def test_dagmans_log_has_no_line_that_a_real_one_would_not_have(failed: Planned) -> None:
    real = log_shapes(FAILED) | log_shapes(EVENTS) | log_shapes(SLURM)
    known = {re.sub(r" +", " ", line) for line in real}
    strange = sorted(line for line in log_shapes(failed.path) if re.sub(r" +", " ", line) not in known)
    assert "\n".join(strange) == ""


def event_shapes(path: Path) -> set[str]:
    text = next(path.glob("*.nodes.log")).read_text()
    text = re.sub(r"<127\.0\.0\.1:9618[^>]*>", "A", text)
    heads = [entry.strip().splitlines() for entry in text.split("...\n") if entry.strip()]
    return {shape(line) for entry in heads for line in entry[:2] if "SlotName" not in line}


def test_the_event_log_has_the_entries_of_a_real_one(failed: Planned) -> None:
    assert event_shapes(failed.path) - event_shapes(FAILED) == set()


def test_jobstate_log_has_the_lines_of_a_real_one(failed: Planned) -> None:
    def lines(path: Path) -> set[str]:
        text = (path / "jobstate.log").read_text()
        return {re.sub(r"\S+_\S+", "J", re.sub(r"\b\d+(\.\d+)?\b", "9", line), count=1) for line in text.splitlines()}

    real = {line.replace(" 9 J ", " J ") for path in (FAILED, EVENTS, SLURM) for line in lines(path)}
    assert {line.replace(" 9 J ", " J ") for line in lines(failed.path)} - real == set()


def test_submit_files_have_the_commands_of_real_ones(failed: Planned) -> None:
    def commands(path: Path) -> set[str]:
        return {line.split("=")[0].strip() for line in path.read_text().splitlines() if "=" in line and "#" not in line}

    real = commands(FAILED / "00/00/sh_ID0000002.sub") | commands(EVENTS / "00/00/py_ID0000004.sub")
    assert commands(failed.path / "00/00/sh_left.sub") ^ real <= {
        "+TransferOutput",
        "transfer_output_files",
        "+pegasus_wf_app",
    }
    local = commands(FAILED / "00/00/create_dir_mini-fail_0_local.sub")
    ours = commands(failed.path / "00/00/create_dir_parabola_0_local.sub")
    assert ours ^ local == {"+pegasus_wf_app"}
    assert SubmitFile(FAILED / "00/00/sh_ID0000002.sub", {}).environment["PEGASUS_DAG_JOB_ID"] == "sh_ID0000002"


def test_a_dag_file_has_the_lines_of_a_real_one(failed: Planned) -> None:
    def words(path: Path) -> set[str]:
        lines = next(path.glob("*.dag")).read_text().splitlines()
        return {line.split()[0] for line in lines if line and line[0] != "#"}

    assert words(failed.path) == words(EVENTS)


@pytest.mark.parametrize(
    "words",
    [
        ["echo", "back\\\\slash \\z ${HOME}x $HOME"],
        ["sh", "-c", "'echo $HOME'"],
        ["echo", "it's"],
        ["echo", "$NO_SUCH_VARIABLE"],
        ["echo", "$$"],
        ["-m", "1", "true"],
        ["-B", "2M", "true"],
        ["no-such-program"],
        ["sh", "-c", "'exit 3'"],
        ["-k", "1", "-K", "1", "sleep", "9"],
    ],
)
def test_kickstart_does_as_the_real_one(words: list[str], tmp_path: Path) -> None:
    installed = [Path(folder) / "pegasus-kickstart" for folder in os.environ["PATH"].split(os.pathsep)]
    real = next((str(path) for path in installed if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"), None)
    if real is None:
        pytest.skip("no pegasus-kickstart of an installed Pegasus on PATH")

    def run(*command: str) -> tuple[Any, ...]:
        ran = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        record = yaml.safe_load(ran.stdout)
        main = record[0].get("mainjob", {})
        return (
            ran.returncode,
            {key for key in keys(record) if not VARYING.search(key)},
            main.get("status"),
            main.get("argument_vector"),
        )

    stand_in = Path(kickstart.__file__)
    assert run("python3", "-IS", str(stand_in)) == run(real)


@pytest.fixture
def python() -> str:
    """Python of the environment with the released Pegasus."""
    try:
        return str(find_venv() / "bin" / "python")
    except EnvironmentMissingError as missing:
        pytest.skip(str(missing))


def rows(workflow: Planned, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(workflow.path / "parabola-0.stampede.db") as base:
        return list(base.execute(query))


def test_the_released_monitord_understands_all_of_it(
    planned: Callable[..., Planned], standins: Standins, python: str
) -> None:
    assert python
    standins.set(monitord="released")
    workflow = planned("condorpool", trouble="fail", pause=0.1)
    workflow.start()
    workflow.end()
    wait_for(lambda: not (workflow.path / "monitord.pid").exists(), "the database")
    ended = rows(workflow, "SELECT state, status FROM workflowstate ORDER BY timestamp")
    assert ended == [("WORKFLOW_STARTED", None), ("WORKFLOW_TERMINATED", 1)]
    tasks = dict(rows(workflow, "SELECT abs_task_id, max(exitcode) FROM invocation WHERE abs_task_id != '' GROUP BY 1"))
    assert tasks == {"split": 0, "left": 0, "right": 0, "last": 256}
    states = [state for (state,) in rows(workflow, "SELECT DISTINCT state FROM jobstate")]
    assert {"SUBMIT", "EXECUTE", "JOB_TERMINATED", "POST_SCRIPT_SUCCESS", "JOB_HELD", "JOB_ABORTED"} <= set(states)


def test_our_monitord_writes_the_released_ones_jobstate(failed: Planned, python: str) -> None:
    ours = failed.states()
    (failed.path / "jobstate.log").rename(failed.path / "ours.log")
    for name in ("monitord.info", "monitord.done", "monitord.started"):
        (failed.path / name).unlink()
    command = [python, "-m", "Pegasus.cli.pegasus-monitord", "--replay", "parabola-0.dag.dagman.out"]
    subprocess.run(command, cwd=failed.path, check=True, capture_output=True, timeout=120)
    theirs = (failed.path / "jobstate.log").read_text().splitlines()
    assert [line for line in theirs if "MONITORD" not in line] == [line for line in ours if "MONITORD" not in line]


def test_our_exitcode_judges_as_the_released_one(failed: Planned, python: str, tmp_path: Path) -> None:
    for job, returned in (("sh_left", 0), ("sh_right", 3), ("sh_right", 0)):
        judged = {}
        for name, command in (
            ("ours", ["pegasus-exitcode"]),
            ("theirs", [python, "-m", "Pegasus.cli.pegasus-exitcode"]),
        ):
            folder = tmp_path / f"{name}-{job}-{returned}"
            folder.mkdir()
            shutil.copy(failed.path / f"00/00/{job}.out.000", folder / f"{job}.out")
            shutil.copy(failed.path / f"00/00/{job}.err.000", folder / f"{job}.err")
            words = ["-r", str(returned), "-R", "0", "-s", "PegasusLite:+exitcode+0", "-l", "log", f"{job}.out"]
            code = subprocess.run([*command, *words], cwd=folder, capture_output=True, timeout=60).returncode
            line = json.loads((folder / "log").read_text())
            line.pop("timestamp")
            judged[name] = (code, line, sorted(path.name for path in folder.iterdir()))
        assert judged["ours"] == judged["theirs"]
