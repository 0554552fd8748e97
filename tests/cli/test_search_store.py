"""A search engine wherever the command line takes a store: the same answers as of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from panorama_driver.cli import _panorama
from panorama_driver.collector.broker import Address, Publisher
from panorama_driver.store import open_store
from panorama_driver.testing import opensearch
from panorama_driver.testing.rabbitmq import Node

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
RUN = "f6eff249-7020-4ed5-86d6-ffbf4ca46b9d"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def panorama(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(_panorama, [str(word) for word in words], standalone_mode=False)
    assert (done.exception, done.return_value or 0) == (None, code), done.output
    return done.stdout


def told(*words: object, code: int = 0) -> Any:
    return json.loads(panorama(*words, "--json", code=code))


def bodies() -> list[dict[str, Any]]:
    names = ["stampede-events", "stampede-events-fail", "kickstart-online", "transfer-events"]
    lines = [line for name in names for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()]
    return [json.loads(line)["body"] for line in lines]


def collected(broker: Node, vhost: str, store: str, folder: Path) -> dict[str, int]:
    """Publish recorded events and something that is none, and collect them; the numbers that were told last."""
    url = f"amqp://127.0.0.1:{broker.port}/{vhost}"
    published = bodies()
    with Publisher(Address.read(url, broker.credentials), folder / "spool") as publisher:
        for body in published:
            publisher.offer(body["event"], [json.dumps(body).encode()])
        publisher.offer("kickstart.inv.online", [b'{"event": "nonsense"}'])
        assert publisher.flush(30)
    options = ("--broker", url, "--credentials", broker.credentials, "--exit-when-idle", "0.5", "--json")
    numbers: dict[str, int] = json.loads(panorama("collect", *options, "--store", store).splitlines()[-1])
    return numbers


def test_what_comes_over_a_broker_is_answered_of_as_out_of_a_file(
    broker: Node, vhost: str, search_url: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "same.db")
    numbers = collected(broker, vhost, search_url, tmp_path)
    assert numbers["dead"] == 1
    assert numbers["duplicates"] == 16  # the traces of one run, which are in two captures
    with open_store(search_url, readonly=True) as there, open_store(file) as here:
        assert there.count() == numbers["stored"]
        for event, ingested, via in there.kept():
            here.put([event], ingested=ingested, via=via)
        here.bury(there.dead_letters())
    for words in (
        ["show", RUN[:8]],
        ["deadletters", "list"],
        ["analyse", "tcp"],
    ):
        assert told(*words, "--store", search_url) == told(*words, "--store", file), words
    for question in ("workflows", "jobs", "attempts", "transfers"):
        sql = f"SELECT * FROM {question} ORDER BY 1, 2, 3, 4"
        there, here = (told("ask", sql, where) for where in (search_url, file))
        study = there["columns"].index("study")
        assert len(there["rows"]) == len(here["rows"]) > 0
        for rows in (there["rows"], here["rows"]):
            for row in rows:
                row[study] = ""
        assert sorted(map(repr, there["rows"])) == sorted(map(repr, here["rows"]))


def test_dead_letters_and_anomalies_of_a_search_engine_are_seen_to(
    broker: Node, vhost: str, search_url: str, tmp_path: Path
) -> None:
    collected(broker, vhost, search_url, tmp_path)
    assert told("anomalies", search_url) == {"anomalies": []}
    assert panorama("watch", "--once", search_url) == ""
    assert told("deadletters", "requeue", "--all", "--store", search_url, code=1)["requeued"][0]["gone"] is False
    assert len(told("deadletters", "drop", "--all", "--store", search_url)["dropped"]) == 1
    assert told("deadletters", "list", "--store", search_url) == {"deadletters": []}


@pytest.mark.parametrize("words", [["show", "--store"], ["watch", "--once"], ["anomalies"], ["ask", "failed"]])
def test_a_store_that_is_not_there_is_not_made(words: list[str], search_node: opensearch.Node) -> None:
    done = CliRunner().invoke(_panorama, [*words, f"{search_node.url}/never-made"])
    assert "there is no store yet" in str(done.exception)
