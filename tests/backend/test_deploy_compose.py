"""The compose command that a machine has is found, called so that it can be seen, and its answers are understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from panorama_driver.backend._compose import Compose, find, read_services
from panorama_driver.backend._settings import BROKER_IMAGE, Settings
from panorama_driver.backend.containers import Written
from panorama_driver.cli.deploy import command
from panorama_driver.errors import EnvironmentMissingError, ServiceError, UsageError

_DOCKER = [
    {"Service": "broker", "State": "running", "Health": "healthy", "ExitCode": 0, "Status": "Up 2 minutes (healthy)"},
    {"Service": "prepare", "State": "exited", "Health": "", "ExitCode": 3, "Status": "Exited (3) 2 minutes ago"},
    {
        "Service": "dashboard",
        "State": "running",
        "Health": "starting",
        "ExitCode": 0,
        "Status": "Up (health: starting)",
    },
]
_PODMAN = [
    {"Labels": {"com.docker.compose.service": "broker"}, "State": "running", "Status": "Up 2 minutes (healthy)"},
    {"Labels": {"io.podman.compose.service": "prepare"}, "State": "exited", "Status": "Exited (3)", "ExitCode": 3},
    {"Labels": {"io.podman.compose.service": "dashboard"}, "State": "running", "Status": "Up 1 second (starting)"},
]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with no program but those that a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    """A program, and every call of it in a file beside it."""
    (folder / name).write_text(f'#!/bin/sh\necho "$@" >>{folder / name}.calls\n{script}\n')
    (folder / name).chmod(0o755)


def calls(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.calls").read_text().splitlines()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(_DOCKER),  # until 2.20
        "\n".join(json.dumps(row) for row in _DOCKER),
        json.dumps(_PODMAN),
    ],
)
def test_how_services_stand_is_read_from_docker_and_podman(text: str) -> None:
    broker, prepare, dashboard = read_services(text)
    assert (broker.name, broker.good) == ("broker", True)
    assert (prepare.name, prepare.state, prepare.exit_code, prepare.good) == ("prepare", "exited", 3, False)
    assert (dashboard.health, dashboard.good) == ("starting", False)
    assert read_services("") == []


@pytest.mark.parametrize("text", ["{", "[1]", '[{"State": "running"}]', '{"Service": "x"}', "NAME STATUS"])
def test_an_answer_of_another_form_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="no known form"):
        read_services(text)


def test_without_an_engine_each_one_is_told_with_its_reason(path: Path) -> None:
    program(path, "docker", 'echo "docker: unknown command: docker compose" >&2; exit 1')
    with pytest.raises(EnvironmentMissingError) as problem:
        find()
    words = str(problem.value)
    assert "docker compose: docker: unknown command: docker compose" in words
    assert "podman-compose: no podman on PATH" in words
    assert "panorama up" in words


def test_a_docker_without_its_daemon_leaves_it_to_podman(path: Path) -> None:
    program(path, "docker", '[ "$1" = compose ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }')
    program(path, "podman", '[ "$1" = info ]')
    program(path, "podman-compose", "exit 0")
    assert find().name == "podman-compose"
    with pytest.raises(EnvironmentMissingError, match="Cannot connect to the Docker daemon"):
        find("docker")
    program(path, "docker", "exit 0")
    assert find().name == "docker"


def test_a_command_is_told_before_it_runs_and_its_failure_after(path: Path, tmp_path: Path) -> None:
    program(path, "docker", '[ "$5" != up ] || [ "$1" != compose ]')
    told: list[str] = []
    compose = Compose(find("docker"), tmp_path, "mine", ["compose.yml"], told.append)
    compose.run("down", "--volumes")
    assert told == ["docker compose -p mine -f compose.yml down --volumes"]
    program(path, "docker", "exit 17")
    with pytest.raises(ServiceError, match=r"exit code 17 of: docker compose -p mine -f compose\.yml up -d"):
        compose.run("up", "-d")


def do(written: Written, *words: str) -> Result:
    verb, *rest = words
    return CliRunner().invoke(command, [verb, str(written.folder), *rest], standalone_mode=False)


def test_what_is_not_healthy_in_time_is_told_with_its_last_words(path: Path, simple: Written) -> None:
    rows = json.dumps([{"Service": "broker", "State": "running", "Health": "unhealthy", "Status": ""}])
    program(path, "docker", f"case \"$6\" in ps) echo '{rows}';; esac")
    failed = do(simple, "up", "--timeout", "1.2")
    assert isinstance(failed.exception, ServiceError)
    assert "broker, collector, dashboard: not healthy in time" in str(failed.exception)
    assert calls(path, "docker")[-1] == "compose -p panorama -f compose.yml logs --tail 30 broker collector dashboard"


def test_a_preparation_that_failed_is_told_at_once(path: Path, simple: Written) -> None:
    rows = json.dumps([{"Service": "prepare", "State": "exited", "Health": "", "Status": "", "ExitCode": 1}])
    program(path, "docker", f"case \"$6\" in ps) echo '{rows}';; esac")
    failed = do(simple, "up", "--timeout", "600")
    assert "prepare: it failed" in str(failed.exception)


def test_status_tells_what_is_absent(path: Path, simple: Written) -> None:
    program(path, "docker", "exit 0")
    told = do(simple, "status", "--json")
    assert told.return_value == 1
    assert [each["state"] for each in json.loads(told.stdout)["services"]] == ["absent"] * 3


def test_down_keeps_the_data_unless_told_and_asked(path: Path, simple: Written) -> None:
    program(path, "docker", "exit 0")
    do(simple, "down")
    assert calls(path, "docker")[-1] == "compose -p panorama -f compose.yml down --remove-orphans"
    CliRunner().invoke(command, ["down", str(simple.folder), "--volumes"], input="n\n")
    assert not any("--volumes" in call for call in calls(path, "docker"))
    do(simple, "down", "--volumes", "--yes")
    assert calls(path, "docker")[-1].endswith("--volumes")


def test_images_are_pinned_by_the_digests_that_the_engine_tells(path: Path, simple: Written) -> None:
    digest = f"docker.io/library/rabbitmq@sha256:{'ab' * 32}"
    program(path, "docker", f'case "$2" in inspect) echo {digest};; esac')
    told = do(simple, "pin")
    assert told.exception is None
    assert f"pull {BROKER_IMAGE}" in calls(path, "docker")
    assert Settings.read(simple.folder / ".env").broker_image == digest
    program(path, "docker", "exit 0")
    assert isinstance(do(simple, "pin").exception, ServiceError)


def test_a_backup_is_refused_where_it_is_not_as_it_was_written(path: Path, simple: Written, tmp_path: Path) -> None:
    program(path, "docker", 'case "$*" in *export_definitions*) echo "{}";; *save*) echo store;; esac')
    backup = tmp_path / "backup"
    assert do(simple, "backup", str(backup)).exception is None
    assert (backup / "store.db").read_text() == "store\n"
    (backup / "store.db").write_text("stone\n")
    before = calls(path, "docker")
    failed = do(simple, "restore", str(backup), "--yes")
    assert isinstance(failed.exception, UsageError)
    assert "not as it was written" in str(failed.exception)
    assert not any("stop" in call for call in calls(path, "docker")[len(before) :])
    assert "is there already" in str(do(simple, "backup", str(backup)).exception)


def test_where_there_is_no_deployment_it_says_how_to_make_one(tmp_path: Path) -> None:
    failed = CliRunner().invoke(command, ["status", str(tmp_path)], standalone_mode=False)
    assert isinstance(failed.exception, UsageError)
    assert "panorama deploy write" in str(failed.exception)
