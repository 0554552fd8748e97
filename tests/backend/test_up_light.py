"""`panorama up` without a broker and a dashboard, which is up soon: what it says, keeps, refuses and leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from panorama_driver.backend import rabbitmq
from panorama_driver.backend._up_settings import Asked, settle
from panorama_driver.backend.up import opened, state_of
from panorama_driver.cli.up import command
from panorama_driver.errors import EnvironmentMissingError, UsageError
from panorama_driver.probe import PROBE
from panorama_driver.store import open_store
from tests.faults.brokers import stored, until

from .upping import Systemd, Up, left, panorama, wait

EVENT = b'{"event":"kickstart.inv.online","wf_uuid":"w","dag_job_id":"a","ts":1795345908.5,"seq":%d}'


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Up]:
    """One without a broker and a dashboard, which is up soon; not started yet."""
    up = Up(tmp_path / "light", "--no-broker", "--no-dashboard")
    yield up
    up.close()


def post(up: Up, number: int) -> None:
    """Post an event until it is taken, as the probe does."""
    token = (up.folder / "workers.netrc").read_text().split()[5]
    request = urllib.request.Request(
        up.state.monitoring["online"], EVENT % number, {"Authorization": f"Bearer {token}"}, method="POST"
    )

    def taken() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    wait(taken, "the collector to take an event")


def test_what_one_that_was_killed_has_left_is_not_taken_for_the_next(tmp_path: Path) -> None:
    told = {"state": "running", "pid": 1, "host": "h", "since": 1.0, "folder": "f", "store": "s"}
    text = json.dumps(told | {"monitoring": {}, "dashboard": "", "link": "", "parts": []})
    (tmp_path / "state.json").write_text(text)
    with opened(tmp_path, Asked(broker=False, dashboard=False)):
        assert state_of(tmp_path) is None


def test_without_a_broker_the_collector_is_killed_and_nothing_taken_is_lost_or_doubled(light: Up) -> None:
    light.start()
    assert set(light.state.monitoring) == {"online", "worker_credentials"}
    for number in range(60):
        post(light, number)
        if number in (20, 40):
            light.kill("collector")
    until(light.store, 60)
    assert light.stop() == 0
    assert stored(light.store) == 60
    assert left(light.folder) == {}


def test_the_probe_of_a_job_posts_to_it_with_what_it_prints(light: Up) -> None:
    light.start()
    told = light.state.monitoring
    variables = {"KICKSTART_MON_URL": told["online"], "PANORAMA_PROBE_CREDENTIALS": told["worker_credentials"]}
    names = {"PEGASUS_WF_UUID": "11111111-2222-3333-4444-555555555555", "PEGASUS_DAG_JOB_ID": "job_ID1"}
    words = [sys.executable, "-IS", str(PROBE), "--interval", "0.1", "sleep", "0.5"]
    done = subprocess.run(words, env=os.environ | variables | names, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    until(light.store, 3)
    with open_store(light.store, readonly=True) as store:
        assert {event.job_id for event in store.events(names["PEGASUS_WF_UUID"])} == {"job_ID1"}


def test_it_comes_up_as_it_was_and_says_so_to_systemd(light: Up, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    light.more["NOTIFY_SOCKET"] = str(systemd.path)
    light.start()
    assert systemd.hear() == "READY=1"
    before = light.state
    post(light, 1)
    assert light.stop(signal.SIGINT) == 0
    assert systemd.hear() == "STOPPING=1"
    systemd.close()
    light.options = ()
    light.start()
    assert light.state.monitoring == before.monitoring
    assert [part.name for part in light.state.parts] == ["collector"]
    assert stored(light.store) == 1


def test_a_second_signal_ends_it_at_once_and_programs_are_told_all(light: Up) -> None:
    light.options += ("--json",)
    light.start()
    os.kill(light.part("collector").pid or 0, signal.SIGSTOP)  # so that it takes its time to end
    assert light.process is not None
    light.process.terminate()
    wait(lambda: light.state.state == "ending", "the first signal")
    assert light.stop() == 4
    assert left(light.folder) == {}
    told = [json.loads(line) for line in light.output.read_text().splitlines()]
    assert [each["state"] for each in told] == ["starting", "ready", "running", "ended"]
    assert told[2]["monitoring"]["worker_credentials"] == str(light.folder / "workers.netrc")


def test_it_goes_on_by_itself_where_it_is_detached(light: Up) -> None:
    told = panorama("up", light.folder, *light.options, "--detach", "--json")
    assert (told.returncode, told.stderr) == (0, "")
    state = json.loads(told.stdout)
    assert state["state"] == "running"
    asked = panorama("up", "--status", light.folder, "--json")
    assert (asked.returncode, json.loads(asked.stdout)["pid"]) == (0, state["pid"])
    assert panorama("up", "--down", light.folder).stdout == f"{light.folder}: ended\n"
    assert panorama("up", "--down", light.folder).stdout == f"{light.folder}: no back end runs there\n"
    assert left(light.folder) == {}


@pytest.mark.long
def test_what_ended_a_detached_one_is_told(light: Up, tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    told = panorama("up", light.folder, *light.options, "--detach", "--store", tmp_path / "store.db")
    assert told.returncode == 3
    assert "panorama: collector: ended with exit code" in told.stderr
    assert str(tmp_path / "store.db") in told.stderr


@pytest.mark.parametrize(("name", "option"), [("http", "--http"), ("port", "--port"), ("broker_port", "--broker-port")])
def test_a_port_that_somebody_has_is_told(name: str, option: str, tmp_path: Path) -> None:
    if name == "broker_port" and rabbitmq.why_not():
        pytest.skip(rabbitmq.why_not())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        asked = msgspec.convert({name: str(port) if name == "http" else port}, Asked)
        with pytest.raises(
            EnvironmentMissingError, match=rf"127.0.0.1:{port}: somebody else .* another port: {option}"
        ):
            settle(tmp_path, asked)
    assert not (tmp_path / "backend.json").exists()


def test_a_port_that_it_had_and_somebody_has_now_is_told(light: Up) -> None:
    light.start()
    port = int(light.state.monitoring["online"].rstrip("/").rpartition(":")[2])
    light.stop()
    with socket.create_server(("127.0.0.1", port)):
        told = panorama("up", light.folder)
    assert told.returncode == 3
    assert f"127.0.0.1:{port}: somebody else listens there, where what takes posts is to be" in told.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--status", "--down"], "--status, --down and --detach: give one of them"),
        (["--no-broker", "--http", "x"], "--http: 'x': write it as [HOST:]PORT"),
        (["--no-broker", "--http", "nowhere.invalid:1"], "--http: 'nowhere.invalid' is no address of this machine"),
        (["--status"], "no such folder; `panorama up DIR` makes one"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(words: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "none"), *words])
    assert isinstance(done.exception, UsageError)
    assert told in str(done.exception)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"format": 2}', "was written by a newer panorama"),
        (b"{}", "is not as `panorama up` writes it: Object missing required field"),
        (b"\xff", "is not as `panorama up` writes it"),
    ],
)
def test_settings_of_another_version_or_kind_are_refused(text: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "backend.json").write_bytes(text)
    with pytest.raises(UsageError, match=told):
        settle(tmp_path, Asked())


def test_a_folder_whose_name_rabbitmq_cannot_take_is_refused(tmp_path: Path) -> None:
    if rabbitmq.why_not():
        pytest.skip(rabbitmq.why_not())
    with pytest.raises(EnvironmentMissingError, match=r"cannot work in a folder of such a name.*--no-broker"):
        settle(tmp_path / "it's", Asked(broker=True))


def test_a_broker_that_is_not_installed_is_missed_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = settle(tmp_path, Asked())
    assert settings.broker_port == 0
    assert settings.http_port
    assert settle(tmp_path, Asked()) == settings
    with pytest.raises(EnvironmentMissingError, match=r"apt-get install .*; or leave the broker away: --no-broker"):
        settle(tmp_path, Asked(broker=True))


def test_without_the_dashboards_packages_it_says_what_to_do(tmp_path: Path) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from panorama_driver.cli import main; main()"
    words = [sys.executable, "-P", "-c", code, "up", str(tmp_path / "up"), "--no-broker"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "pip install 'panorama-driver[web]'" in done.stderr
    assert done.stderr.endswith("; or leave the dashboard away: --no-dashboard\n")


def test_a_release_of_rabbitmq_on_the_path_comes_before_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "rabbitmq_server-4.2.1" / "sbin"
    release.mkdir(parents=True)
    for name in ("rabbitmq-server", "rabbitmq-env", "rabbitmqctl"):
        (release / name).write_text("#!/bin/sh\n")
        (release / name).chmod(0o755)
    system = rabbitmq.find_scripts()
    monkeypatch.setenv("PATH", f"{release}{os.pathsep}{os.environ['PATH']}")
    assert rabbitmq.find_scripts() == release
    (release / "rabbitmq-env").unlink()  # a wrapper that wants to be run by root, as Debian's in /usr/sbin
    assert rabbitmq.find_scripts() == system
