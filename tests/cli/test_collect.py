"""`panorama collect` as a person and as a program meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from panorama_driver.collector.broker import Address, Publisher
from panorama_driver.store import open_store
from panorama_driver.testing.rabbitmq import Node

_EVENT = b'{"event":"kickstart.inv.online","wf_uuid":"w","dag_job_id":"a","ts":1795345908.5,"seq":%d}'


def start(*words: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "collect", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PANORAMA_BROKER_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def collect(*words: object, cwd: Path | None = None) -> tuple[int, str, str]:
    process = start(*words, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def published(broker: Node, vhost: str, spool: Path, count: int) -> str:
    """Publish events; the broker's address."""
    url = f"amqp://127.0.0.1:{broker.port}/{vhost}"
    with Publisher(Address.read(url, broker.credentials), spool) as publisher:
        publisher.offer("kickstart.inv.online", [_EVENT % number for number in range(count)])
        assert publisher.flush(30)
    return url


def test_it_collects_into_a_file_here_and_says_how_it_went(broker: Node, vhost: str, tmp_path: Path) -> None:
    url = published(broker, vhost, tmp_path / "spool", 5)
    options = ("--broker", url, "--credentials", broker.credentials, "--exit-when-idle", "0.5")
    code, out, err = collect(*options, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "collecting into panorama.db; Ctrl-C or SIGTERM ends it"
    assert out.splitlines()[-1].startswith("5 stored, 0 duplicates, 0 dead letters, ")
    with open_store(tmp_path / "panorama.db", readonly=True) as store:
        assert store.count() == 5
    assert (tmp_path / "panorama.db").stat().st_mode & 0o077 == 0


def test_it_tells_programs_in_json_and_stores_for_a_study(
    broker: Node, vhost: str, tmp_path: Path, make_study: Callable[..., Path]
) -> None:
    url = published(broker, vhost, tmp_path / "spool", 3)
    study = make_study()
    options = ("--broker", url, "--credentials", broker.credentials, "--exit-when-idle", "0.5", "--json")
    code, out, err = collect(*options, "--study", study)
    assert (code, err) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["stored"], last["duplicates"], last["dead"], last["connects"]) == (3, 0, 0, 1)
    with open_store(study / ".panorama" / "store.db", readonly=True) as store:
        assert store.count() == 3


def test_it_takes_posts_as_well(tmp_path: Path) -> None:
    token = tmp_path / "token"
    process = start("--http", "0", "--token", token, "--store", tmp_path / "s.db", "--exit-when-idle", "2", "--json")
    assert process.stdout is not None
    where = json.loads(process.stdout.readline())["http"]
    request = urllib.request.Request(where, _EVENT % 1, {"Authorization": f"Bearer {token.read_text().strip()}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["stored"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to collect from: give --broker URL, --http PORT, or both"),
        (["--broker", "amqp://h/v"], "no user and password for the broker at h: name a netrc file"),
        (["--broker", "amqp://u:secret@h/v"], "no user and password in the address"),
        (["--broker", "amqp://h/v", "--store", "a", "--study", "b"], "--store and --study: give one of them"),
        (["--http", "localhost:http"], "--http: 'localhost:http': write it as [HOST:]PORT"),
        (["--http", "8080"], "who posts must know a token: name its file with --token"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(words: list[str], told: str, tmp_path: Path) -> None:
    code, out, err = collect(*words, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert "secret" not in err


def test_a_broker_that_refuses_ends_it(broker: Node, tmp_path: Path) -> None:
    url = f"amqp://127.0.0.1:{broker.port}/nowhere"
    code, _, err = collect("--broker", url, "--credentials", broker.credentials, cwd=tmp_path)
    assert code == 3
    assert "has no vhost 'nowhere'; make it with: rabbitmqctl add_vhost nowhere" in err
