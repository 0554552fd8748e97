"""What a deployment's files say is run for real, without containers: its broker's configuration by a real broker, its
command lines and health checks as processes, its backup of both there and back."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
from click.testing import CliRunner, Result

from panorama_driver.backend.containers import Written, write
from panorama_driver.backend.rabbitmq import free_ports
from panorama_driver.cli.deploy import command
from panorama_driver.collector._intake import Record, keep
from panorama_driver.collector.broker import Address, Consumer, Publisher
from panorama_driver.errors import BrokerError
from panorama_driver.store import Via, open_store
from panorama_driver.testing import rabbitmq
from tests.backend import containers
from tests.backend.conftest import IMAGE, prepare
from tests.conftest import DATA

_SCRIPTS = "/usr/lib/rabbitmq/bin"
_PATIENCE = 60.0  # seconds
_SECRETS = ["broker-definitions.json", "collector-netrc", "collector-token", "dashboard-token"]
_TLS = ["broker.pem", "broker.key", "collector-https.pem", "tls-ca.pem"]


class Running:
    """A deployment whose broker runs, and whose other parts `docker`, a stand-in, runs as processes."""

    def __init__(self, written: Written, node: rabbitmq.Node, folder: Path, podman: str) -> None:
        self.written, self.node, self.folder = written, node, folder
        self.secrets = written.folder / "secrets"
        self.state, self.data = folder / "state", folder / "data"
        self.to = folder / "to"
        self.http, self.web = free_ports(2)
        for each in (self.state, self.data, folder / "cache"):
            each.mkdir()
        self._told = folder / "stand-in.json"
        self._told.write_text(json.dumps(self._replacements(podman)))
        docker = folder / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(containers.__file__)} "$@"\n')
        docker.chmod(0o755)
        self.environment = {
            "PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}",
            "STAND_IN": str(self._told),
        }

    def _replacements(self, podman: str) -> dict[str, Any]:
        return {
            "podman": podman,
            "state": str(self.state),
            "log": str(self.folder / "log"),
            "scripts": _SCRIPTS,
            "node": self.node._layout.name,
            "broker": self.node._layout.environment,
            "environment": {name: str(os.getuid()) for name in ("BROKER_USER", "SEARCH_USER", "PANORAMA_USER")},
            "replaced": [
                ("amqp://broker:5672", f"amqp://127.0.0.1:{self.node.port}"),
                ("0.0.0.0:8470", f"127.0.0.1:{self.http}"),
                ("0.0.0.0", "127.0.0.1"),
                (":8470/", f":{self.http}/"),
                (":8360/", f":{self.web}/"),
                ("8360", str(self.web)),
                ("5672", str(self.node.port)),
                ("/run/secrets", str(self.state / "secrets")),
                ("/run/panorama", str(self.to / "SERVICE")),
                ("/config", str(self.written.folder / "config")),
                ("/to", str(self.to)),
                ("/data", str(self.data)),
                ("/cache", str(self.folder / "cache")),
            ],
        }

    def do(self, *words: str) -> Result:
        """`panorama deploy WORDS`, as the command line calls it."""
        verb, *rest = words
        arguments = [verb, str(self.written.folder), *rest]
        return CliRunner(env=self.environment).invoke(command, arguments, catch_exceptions=False, standalone_mode=False)

    def calls(self) -> list[str]:
        """The verbs that docker compose was called with, in their order."""
        called = [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
        return [words[words.index("compose.yml") + 1] for words in called if "compose.yml" in words]

    def publish(self, name: str = "stampede-events.jsonl") -> None:
        """Send what a real workflow has sent, as a workflow does."""
        lines = captured(name)
        address = Address.read(self.node.url, self.secrets / "publisher-netrc")
        with Publisher(address, self.folder / "spool") as publisher:
            publisher.offer_all((line["routing_key"], json.dumps(line["body"]).encode()) for line in lines)
            assert publisher.flush(_PATIENCE)

    def stored(self) -> int:
        with closing(sqlite3.connect(self.data / "panorama.db")) as store:
            return int(store.execute("SELECT count(*) FROM events").fetchone()[0])

    def dump(self) -> list[str]:
        """Every event of the store."""
        return dump(self.data / "panorama.db")


def captured(name: str = "stampede-events.jsonl") -> list[dict[str, Any]]:
    """Messages of a real workflow, as they were taken off a broker."""
    text = (DATA / "captures" / name).read_text()
    return [json.loads(line) for line in text.splitlines()]


def dump(path: Path) -> list[str]:
    with open_store(path, readonly=True) as store:
        return sorted(repr(event) for flow in store.workflows() for event in store.events(flow.wf_uuid))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a store has that was given the captured messages without a broker."""
    path = tmp_path_factory.mktemp("direct") / "store.db"
    with open_store(path) as store:
        keep(store, [Record(json.dumps(line["body"]).encode(), "file") for line in captured()], Via.BROKER)
    return dump(path)


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {_PATIENCE:g} s for {what}"
        time.sleep(0.05)


def node_of(written: Written, to: Path) -> rabbitmq.Node:
    """A broker with the configuration of a deployment, but for its paths and ports, that is not started yet."""
    node = rabbitmq.Node(to.parent / "node")
    conf = (to / "broker" / "rabbitmq.conf").read_text().replace("/run/panorama", str(to / "broker"))
    conf = conf.replace("listeners.tcp.default = 5672", f"listeners.tcp.1 = 127.0.0.1:{node.port}")
    conf = conf.replace("listeners.ssl.default = 5671", f"listeners.ssl.1 = 127.0.0.1:{node.tls_port}")
    (node.folder / "rabbitmq.conf").write_text(conf)
    (node.folder / "definitions.json").unlink()  # its own
    return node


@pytest.fixture
def running(simple: Written, tmp_path: Path, podman: str) -> Iterator[Running]:
    if reason := rabbitmq.why_not():
        pytest.skip(reason)
    prepare(simple, tmp_path / "to", _SECRETS)
    node = node_of(simple, tmp_path / "to")
    deployment = Running(simple, node, tmp_path, podman)
    try:
        node.start()
        yield deployment
    finally:
        deployment.do("down")
        node.close()


def test_up_collects_shows_and_comes_back_from_a_backup(running: Running, events: list[str]) -> None:
    told = running.do("up", "--json")
    assert told.return_value == 0, told.output
    services = json.loads(told.stdout)["services"]
    assert [(each["name"], each["healthy"]) for each in services] == [
        ("broker", True),
        ("collector", True),
        ("dashboard", True),
    ]
    running.publish()
    wait_for(lambda: running.stored() == len(events), "all events in the store")
    assert running.dump() == events
    [study] = dashboard_knows(running)
    assert (study["home"], study["evaluations"]) == (str(running.data / "panorama.db"), 1)

    with channel(running) as own:
        own.queue_declare("panorama.mine", durable=True)
    backup = running.folder / "backup"
    assert running.do("backup", str(backup)).return_value == 0
    assert {path.name for path in backup.iterdir()} == {"manifest.json", "broker-definitions.json", "store.db"}
    assert {path.stat().st_mode & 0o777 for path in backup.iterdir()} == {0o600}

    spoil(running)
    restored = running.do("restore", str(backup), "--yes")
    assert restored.return_value == 0, restored.output
    assert running.dump() == events
    with channel(running) as own:
        own.queue_declare("panorama.mine", passive=True)
    running.publish("stampede-events-fail.jsonl")
    wait_for(lambda: running.stored() > len(events), "what came after the restoration")


def dashboard_knows(running: Running) -> list[dict[str, Any]]:
    """The studies and stores that the dashboard's API tells of to whom knows the token."""
    token = (running.secrets / "dashboard-token").read_text().strip()
    url = f"http://127.0.0.1:{running.web}/api/studies"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return list(json.load(answer)["studies"])


def spoil(running: Running) -> None:
    """Lose the store, and of the broker all queues and bindings, as with a machine that is gone."""
    running.do("down")
    for path in filter(Path.is_file, running.data.glob("panorama.db*")):
        path.unlink()
    with channel(running) as own:
        for queue in ("panorama.events", "panorama.dead", "panorama.mine"):
            own.queue_delete(queue)


@contextmanager
def channel(running: Running) -> Iterator[Any]:
    """To the broker, as the collector."""
    login = Address.read(running.node.url, running.to / "collector" / "netrc")
    with closing(pika.BlockingConnection(login.parameters())) as connection:
        yield connection.channel()


def queues(running: Running) -> dict[str, str]:
    """Type of each queue, by its name."""
    words = running.node.ctl("list_queues", "-p", "panorama", "name", "type", "--no-table-headers").split()
    return dict(zip(words[::2], words[1::2], strict=True))


def test_the_broker_knows_each_user_by_its_rights(running: Running, events: list[str]) -> None:
    """The publisher may send, and may not take; nobody else is known, the user `guest` of every new broker neither."""
    assert queues(running) == {"panorama.events": "quorum", "panorama.dead": "quorum"}
    running.publish()  # before there is any collector
    users = running.node.ctl("list_users", "--no-table-headers").split()
    assert {users[0], users[2]} == {"collector", "publisher"}
    thief = Address.read(running.node.url, running.secrets / "publisher-netrc")
    told: list[str] = []
    with open_store(running.folder / "stolen.db") as store, Consumer(thief, store, tell=told.append) as consumer:
        wait_for(lambda: any("access to queue 'panorama.events'" in line for line in told), "a refusal")
        assert consumer.counts.stored == 0
    with open_store(running.folder / "store.db") as store:
        collector = Address.read(running.node.url, running.to / "collector" / "netrc")
        with Consumer(collector, store) as consumer:
            wait_for(lambda: consumer.counts.stored == len(events), "all events")


@pytest.mark.long
def test_health_checks_tell_up_from_down(running: Running) -> None:
    def healthy() -> dict[str, bool]:
        told = running.do("status", "--json")
        assert told.return_value == int(not all(each["healthy"] for each in json.loads(told.stdout)["services"]))
        return {each["name"]: each["healthy"] for each in json.loads(told.stdout)["services"]}

    assert healthy() == {"broker": True, "collector": False, "dashboard": False}
    assert running.do("up").return_value == 0
    assert healthy() == {"broker": True, "collector": True, "dashboard": True}
    pids = {name: (running.state / f"{name}.pid").read_text() for name in ("collector", "dashboard")}
    assert running.do("up").return_value == 0
    assert {name: (running.state / f"{name}.pid").read_text() for name in pids} == pids
    os.kill(int(pids["collector"]), signal.SIGKILL)
    assert healthy() == {"broker": True, "collector": False, "dashboard": True}
    running.node.ctl("stop_app")
    assert healthy() == {"broker": False, "collector": False, "dashboard": True}


@pytest.mark.long
def test_over_tls_broker_and_collector_take_what_a_client_sends_that_trusts_the_authority(
    tmp_path: Path, podman: str
) -> None:
    if reason := rabbitmq.why_not():
        pytest.skip(reason)
    first, second, *_ = captured()
    written = write(tmp_path / "d", IMAGE | {"store": "sqlite", "tls": True})
    prepare(written, tmp_path / "to", _SECRETS + _TLS)
    node = node_of(written, tmp_path / "to")
    running = Running(written, node, tmp_path, podman)
    try:
        node.start()
        assert running.do("up").return_value == 0
        url = f"amqps://localhost:{node.tls_port}/panorama/monitoring"
        login, authority = running.secrets / "publisher-netrc", running.secrets / "ca.pem"
        with Publisher(Address.read(url, login, authority), tmp_path / "spool") as publisher:
            publisher.offer(first["routing_key"], [json.dumps(first["body"]).encode()])
            assert publisher.flush(_PATIENCE)
        wait_for(lambda: running.stored() == 1, "an event")
        post(running, json.dumps(second["body"]).encode())
        wait_for(lambda: running.stored() == 2, "another")
        strangers = Publisher(Address.read(url, login), tmp_path / "spool2", tell=lambda _: None)
        with strangers, pytest.raises(BrokerError, match="not trusted"):
            strangers._link.wait(_PATIENCE)
    finally:
        running.do("down")
        node.close()


def post(running: Running, body: bytes) -> None:
    context = ssl.create_default_context(cafile=running.secrets / "ca.pem")
    token = (running.secrets / "collector-token").read_text().strip()
    request = urllib.request.Request(
        f"https://localhost:{running.http}/events", body, {"Authorization": f"Bearer {token}"}, method="POST"
    )
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
        assert answer.status < 300
