"""plan.sh keeps its contract with the Ensemble Manager: the line that means success comes last, or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from panorama_driver.config import Monitoring
from panorama_driver.render import find_site, find_workflow, render
from tests.conftest import PARABOLA

HERE = Path()
UUID = "77a399cb-25ff-4c20-9000-b7ae55e48ee5"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that is not under /tmp, where DAGMan refuses to run."""
    with tempfile.TemporaryDirectory(prefix="panorama-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def planner(tmp_path: Path) -> Path:
    """A folder for PATH with a pegasus-plan that does what the environment says."""
    path = tmp_path / "bin" / "pegasus-plan"
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\n"
        'echo "$@" >planner.args; cat "$2" >planner.properties; stat -c %a "$2" >planner.mode\n'
        'mkdir -p submit/run0001; [ -n "$NO_BRAINDUMP" ] || echo "wf_uuid: \\"'
        + UUID
        + '\\"" >submit/run0001/braindump.yml\n'
        '[ -z "$CANCEL" ] || touch run/cancelled\n'
        "echo 'I have concretized your abstract workflow.'\n"
        '[ -n "$SILENT" ] || printf \'\\n\\npegasus-run  %s/submit/run0001\\n\\n\' "$PANORAMA_BUNDLE"\n'
        '[ -z "$FAIL" ] || { echo "FATAL: pegasus-run was never reached: $FAIL"; exit 2; }\n'
    )
    path.chmod(0o755)
    return path.parent


def bundle(directory: Path, monitoring: Monitoring | None = None) -> Path:
    render(find_workflow(str(PARABOLA), HERE), find_site("local", HERE), {}, {}, directory, monitoring)
    return directory


def plan(directory: Path, planner: Path | None, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{planner}:/usr/bin:/bin" if planner else "/usr/bin:/bin"
    return subprocess.run(
        [directory / "plan.sh"],
        env={"PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def test_the_line_for_the_manager_is_the_last_and_the_submit_directory_is_noted(elsewhere: Path, planner: Path) -> None:
    directory = bundle(elsewhere / "b")
    done = plan(directory, planner)
    submit = directory / "submit/run0001"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"pegasus-run  {submit}")
    assert (directory / "run/submitdir").read_text() == f"{submit}\n"


def test_a_bundle_that_was_moved_plans_where_it_is_now(elsewhere: Path, planner: Path) -> None:
    bundle(elsewhere / "b")
    shutil.move(elsewhere / "b", elsewhere / "c")
    assert plan(elsewhere / "c", planner).stdout.splitlines()[-1] == f"pegasus-run  {elsewhere}/c/submit/run0001"
    for name in ("workflow.yml", "sites.yml", "transformations.yml", "replicas.yml", "pegasus.properties", "plan.sh"):
        assert str(elsewhere) not in (elsewhere / "c" / name).read_text()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"FAIL": "no site"}, "pegasus-plan failed with exit code 2"),
        ({"SILENT": "1"}, "named no submit directory"),
        ({"NO_BRAINDUMP": "1"}, "braindump.yml names no workflow"),
        ({"CANCEL": "1"}, "this evaluation was cancelled"),
    ],
)
def test_a_plan_that_is_none_is_told_without_the_word_that_means_success(
    environment: dict[str, str], words: str, elsewhere: Path, planner: Path
) -> None:
    done = plan(bundle(elsewhere / "b"), planner, **environment)
    assert done.returncode != 0
    assert words in done.stdout
    assert "pegasus-run" not in done.stdout
    assert not (elsewhere / "b/run/submitdir").exists()


def test_a_plan_of_before_counts_no_more_when_a_new_one_fails(elsewhere: Path, planner: Path) -> None:
    directory = bundle(elsewhere / "b")
    plan(directory, planner)
    plan(directory, planner, FAIL="no site")
    assert not (directory / "run/submitdir").exists()


def test_without_a_planner_it_says_what_is_missing(elsewhere: Path) -> None:
    done = plan(bundle(elsewhere / "b"), None)
    assert (done.returncode, done.stdout) == (1, "plan.sh: no pegasus-plan on PATH; install Pegasus 5.1\n")


def test_a_place_where_it_could_not_run_is_refused_before_planning(elsewhere: Path, planner: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        assert "DAGMan refuses to run under /tmp" in plan(bundle(Path(folder) / "b"), planner).stdout
    assert "Pegasus cannot work in" in plan(bundle(elsewhere / "a b"), planner).stdout
    assert "Pegasus cannot work in" in plan(bundle(elsewhere / "a$b"), planner).stdout


def test_a_cancelled_evaluation_is_not_planned(elsewhere: Path, planner: Path) -> None:
    directory = bundle(elsewhere / "b")
    (directory / "run").mkdir()
    (directory / "run/cancelled").touch()
    assert "was cancelled" in plan(directory, planner).stdout
    assert not (directory / "planner.args").exists()


def test_the_brokers_password_reaches_the_planner_in_a_private_copy_and_no_file_of_the_bundle(
    elsewhere: Path, planner: Path
) -> None:
    secret = elsewhere / "netrc"
    secret.write_text("machine other login a password b\nmachine broker.local login em password s3$cr+et\n")
    secret.chmod(0o600)
    watch = Monitoring(broker="amqp://broker.local:5672/panorama/monitoring", credentials=str(secret))
    directory = bundle(elsewhere / "b", watch)
    everything = "".join(path.read_text(errors="replace") for path in directory.rglob("*") if path.is_file())
    assert "s3$cr" not in everything.replace(str(secret), "")
    assert plan(directory, planner).returncode == 0
    told = (directory / "planner.properties").read_text()
    url = "amqp://em:s3$cr+et@broker.local:5672/panorama/monitoring"
    assert f"pegasus.catalog.workflow.amqp.url = {url}\n" in told
    assert "pegasus.catalog.workflow.amqp.events = stampede.*\n" in told
    assert (directory / "planner.mode").read_text() == "600\n"
    assert list((directory / "run").glob("properties*")) == []
    assert stat.S_IMODE(os.stat(directory / "submit/run0001/braindump.yml").st_mode) & 0o077 == 0


@pytest.mark.parametrize(
    ("password", "mode", "words"),
    [("a/b", 0o600, "as they are"), ("a@b", 0o600, "as they are"), ("ab", 0o644, "chmod 600")],
)
def test_credentials_that_monitord_would_misread_or_others_can_read_stop_the_plan(
    password: str, mode: int, words: str, elsewhere: Path, planner: Path
) -> None:
    secret = elsewhere / "netrc"
    secret.write_text(f"machine broker.local login em password {password}\n")
    secret.chmod(mode)
    directory = bundle(elsewhere / "b", Monitoring(broker="amqps://broker.local/p/m", credentials=str(secret)))
    assert words in plan(directory, planner).stdout
    assert not (directory / "planner.args").exists()


def test_a_broker_gets_the_port_that_its_scheme_means(elsewhere: Path, planner: Path) -> None:
    secret = elsewhere / "netrc"
    secret.write_text("machine broker.local login em password ab\n")
    secret.chmod(0o600)
    directory = bundle(elsewhere / "b", Monitoring(broker="amqps://broker.local/p/m", credentials=str(secret)))
    assert plan(directory, planner).returncode == 0
    told = (directory / "planner.properties").read_text()
    assert "pegasus.catalog.workflow.amqp.url = amqps://em:ab@broker.local:5671/p/m\n" in told


def test_a_broker_without_credentials_for_it_stops_the_plan(elsewhere: Path, planner: Path) -> None:
    secret = elsewhere / "netrc"
    secret.write_text("machine other login a password b\n")
    secret.chmod(0o600)
    watch = Monitoring(broker="amqp://broker.local/p/m", credentials=str(secret))
    done = plan(bundle(elsewhere / "b", watch), planner)
    assert "no user and password for broker.local" in done.stdout
    assert not (elsewhere / "b/planner.args").exists()
