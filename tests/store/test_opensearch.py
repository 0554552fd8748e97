"""The store in a real OpenSearch node: the contract, and what it promises beyond it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from panorama_driver.collector.deadletters import requeue
from panorama_driver.errors import EnvironmentMissingError, StoreError
from panorama_driver.events import Event
from panorama_driver.sources import parse
from panorama_driver.store import Arrivals, DeadLetter, Store, Via, open_store
from panorama_driver.store._search_address import Address
from panorama_driver.store.opensearch import OpenSearchStore
from panorama_driver.store.testing import StoreContract, sample
from panorama_driver.testing import rabbitmq
from panorama_driver.testing.opensearch import Node
from tests.search.proxy import Proxy, Reply
from tests.store_machine import StoreMachine

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
READING = re.compile(r"^GET /\S+-workflows/_doc/store$|^GET /\S+/_stats/|^POST /\S+/_(search|count|mget|refresh)\b")
"""Requests that need `read`, `indices:monitor/stats` and `indices:admin/refresh` alone."""

WRITER = """
import sys
from panorama_driver.store import open_store
from panorama_driver.store.testing import sample
url, wf_uuid, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open_store(url) as store:
    start = 0
    while True:
        store.put(sample(seq, wf_uuid=wf_uuid) for seq in range(start, start + batch))
        start += batch
        print(start, flush=True)
"""


class TestOpenSearch(StoreContract):
    @pytest.fixture(autouse=True)
    def on(self, search_node: Node) -> None:
        self.url = search_node.url

    def reopen(self, place: Path, readonly: bool = False) -> Store:
        prefix = f"contract-{hashlib.blake2b(bytes(place), digest_size=8).hexdigest()}"
        return open_store(f"{self.url}/{prefix}", readonly=readonly)


class SearchMachine(StoreMachine):
    url: ClassVar[str]

    def opened(self, readonly: bool = False) -> Store:
        return OpenSearchStore(f"{self.url}/{self.place.name.replace('_', '-').lower()}", readonly=readonly, largest=3)

    def check_order(self) -> None:
        """Of each workflow; one whose generation is older comes first."""
        for wf_uuid in {event.wf_uuid for event in self.followed}:
            seen = [event for event in self.followed if event.wf_uuid == wf_uuid]
            assert seen == [event for event in self.model.values() if event.wf_uuid == wf_uuid][: len(seen)]


def captured() -> list[Event]:
    names = ["stampede-events", "stampede-events-fail", "kickstart-online", "transfer-events"]
    lines = [line for name in names for line in (CAPTURES / f"{name}.jsonl").read_text().splitlines()]
    return list({event.event_id: event for event in (parse(json.loads(line)["body"]) for line in lines)}.values())


def followed(store: Store, limit: int = 100, cursor: int = 0) -> Iterator[Event]:
    while (page := store.since(cursor, limit=limit)).events:
        cursor = page.cursor
        yield from page.events


def test_it_does_what_a_model_of_it_does_over_many_generations(search_node: Node) -> None:
    SearchMachine.url = search_node.url
    often = settings(max_examples=5, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(SearchMachine, settings=often)


def test_captured_events_come_back_as_they_were(search_url: str) -> None:
    events = captured()
    with open_store(search_url) as store:
        assert store.put(events) == len(events) == 287
        back = [event for workflow in store.workflows() for event in store.events(workflow.wf_uuid)]
        labels = {workflow.label for workflow in store.workflows()}
        assert list(store.dead_letters()) == []
    assert sorted(back, key=lambda event: event.event_id) == sorted(events, key=lambda event: event.event_id)
    assert labels >= {"mini-events", "mini-fail", "demo"}


def test_a_new_generation_begins_when_one_is_full_and_an_event_that_comes_again_is_known(search_url: str) -> None:
    before = [sample(seq, ts=1000.0 + seq) for seq in range(30)]
    after = [sample(seq, ts=1000.0 + seq) for seq in range(30, 60)]
    with (
        OpenSearchStore(search_url, largest=20) as first,
        OpenSearchStore(search_url, largest=20) as second,
        open_store(search_url, readonly=True) as follower,
    ):
        first.put(before, via=Via.BROKER)
        page = follower.since(0, limit=25)
        assert second.put([sample(1, wf_uuid="w2")]) == 1  # the second generation
        assert second.put([*before, *after]) == 30
        assert first.put([sample(1, wf_uuid="w2"), sample(2, wf_uuid="w2")], via=Via.HTTP) == 1
        assert first.put([sample(seq, wf_uuid="w3") for seq in range(20)]) == 20
        assert first.put([sample(1, wf_uuid="w4")]) == 1  # the third
        assert [*page.events, *followed(follower, 7, page.cursor)] == [
            *before,
            *after,
            *(sample(seq, wf_uuid="w2") for seq in (1, 2)),
            *(sample(seq, wf_uuid="w3") for seq in range(20)),
            sample(1, wf_uuid="w4"),
        ]
        assert list(follower.events("w1")) == [*before, *after]
        assert follower.arrivals("w1") == [
            Arrivals("kickstart.inv.online", Via.DISK, 30),
            Arrivals("kickstart.inv.online", Via.DISK | Via.BROKER, 30),
        ]
        assert [workflow.wf_uuid for workflow in follower.workflows()] == ["w1", "w2", "w3", "w4"]
        assert len(list(follower.kept())) == follower.count() == 83
        known, cursor = follower.changed()
        assert cursor > 2**63
        assert all(0 < mark < 2**63 for mark in known.values())
        first.put([sample(99, wf_uuid="w2")])
        moved, later = follower.changed(cursor)
        assert set(moved) == {"w2"}
        assert later > cursor


def test_a_follower_of_two_writers_misses_and_doubles_nothing(search_url: str) -> None:
    number, batch = 1500, 60
    ours = {name: [sample(seq, wf_uuid=name) for seq in range(number)] for name in ("w1", "w2")}
    shared = [sample(seq, wf_uuid="both") for seq in range(number)]
    ended = threading.Event()
    seen: list[Event] = []

    def write(name: str) -> int:
        with open_store(search_url) as store:
            starts = range(0, number, batch)
            return sum(store.put([*ours[name][at : at + batch], *shared[at : at + batch]]) for at in starts)

    def follow() -> None:
        cursor = 0
        with open_store(search_url, readonly=True) as store:
            while True:
                last = ended.is_set()
                page = store.since(cursor, limit=500)
                seen.extend(page.events)
                cursor = page.cursor
                if last and not page.events:
                    return

    open_store(search_url).close()
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(follow)
        new = sum(pool.map(write, ("w1", "w2")))
        ended.set()
        reading.result()
    identities = [event.event_id for event in seen]
    assert new == 3 * number == len(identities) == len(set(identities))
    for wf_uuid, events in {**ours, "both": shared}.items():
        assert {event.event_id for event in seen if event.wf_uuid == wf_uuid} == {event.event_id for event in events}


def test_what_a_killed_writer_has_not_stored_is_added_by_the_same_put(search_url: str) -> None:
    command = [sys.executable, "-c", WRITER, search_url, "w1", "2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        returned = 0
        while returned < 4000:
            returned = int(writer.stdout.readline())
        writer.kill()
        returned = max([returned, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    with open_store(search_url) as store:
        there = store.count()
        assert there >= returned
        events = [sample(seq) for seq in range(returned + 4000)]
        assert store.put(events) == len(events) - there
        assert {event.event_id for event in store.events("w1")} == {event.event_id for event in events}
        assert store.count() == len(events)


def test_what_the_engine_never_takes_is_a_dead_letter_that_stays_until_it_is_dropped(search_url: str) -> None:
    misfit = sample(1, wf_uuid="x" * 40_000)
    with open_store(search_url) as store:
        assert store.put([sample(1), misfit, sample(2)], via=Via.BROKER) == 2
        [letter] = store.dead_letters()
        assert "immense term" in letter.reason
        assert parse(json.loads(letter.head)) == misfit
        [tried] = requeue(store, store.dead_letters())
        assert tried.reason == "the store does not take 1 of its 1 events"
        assert [each.letter_id for each in store.dead_letters()] == [letter.letter_id]


def test_the_published_names_find_the_events_of_a_family_in_all_generations(search_node: Node, search_url: str) -> None:
    prefix = search_url.rpartition("/")[2]
    with OpenSearchStore(search_url, largest=2) as store:
        store.put([sample(seq, kind="stampede.inv.end") for seq in range(2)])
        store.put([sample(seq, wf_uuid="w2", kind=kind) for seq in (1, 2) for kind in ("stampede.a", "kickstart.b")])
        store.count()
    found = {
        family: search_node.ask("GET", f"/{prefix}_{family}/_count")["count"]
        for family in ("stampede", "kickstart", "transfer")
    }
    assert found == {"stampede": 4, "kickstart": 2, "transfer": 0}


def test_an_index_that_is_gone_is_told(search_node: Node, search_url: str) -> None:
    prefix = search_url.rpartition("/")[2]
    with OpenSearchStore(search_url, largest=1) as store:
        store.put([sample()])
        store.put([sample(wf_uuid="w2")])
        search_node.ask("DELETE", f"/{prefix}-events-000001")
        with pytest.raises(StoreError, match=f"{prefix}-events-000001 does not answer"):
            store.since(0)


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    with pytest.raises(StoreError, match=r"opensearch://127\.0\.0\.1:9/panorama: cannot be reached: .*check that"):
        open_store("opensearch://127.0.0.1:9", readonly=True)


def test_a_server_that_is_no_search_engine_is_told(tmp_path: Path) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-um", "http.server", "--bind", "127.0.0.1", "0"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        with pytest.raises(StoreError, match="is this the port of OpenSearch or Elasticsearch"):
            open_store(f"opensearch://127.0.0.1:{port}")
        server.terminate()


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("panorama_driver.store.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(EnvironmentMissingError, match=r"pip install 'panorama-driver\[search\]'"):
        open_store("opensearch://127.0.0.1")


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "prefix"),
    [
        ("opensearch://localhost", "localhost", 9200, False, "panorama"),
        ("elasticsearch://127.0.0.9:1/x-1/", "127.0.0.9", 1, False, "x-1"),
        ("opensearch://[::1]:5", "::1", 5, False, "panorama"),
        ("opensearch://search.example.org/mine", "search.example.org", 9200, True, "mine"),
        ("elasticsearch+http://search.example.org", "search.example.org", 9200, False, "panorama"),
        ("opensearch+https://localhost", "localhost", 9200, True, "panorama"),
    ],
)
def test_an_address_is_read(url: str, host: str, port: int, tls: bool, prefix: str) -> None:
    assert Address.read(url)[:4] == (host, port, tls, prefix)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("opensearch://me:secret@host/x", "no user and password"),
        ("opensearch://me@host/x", "no user and password"),
        ("opensearch:///x", "write it as"),
        ("opensearch+ftp://host", "write it as"),
        ("opensearch://host:port", "write it as"),
        ("opensearch://host/x?y=1", "write it as"),
        ("opensearch://host/Upper", "lower-case"),
        ("opensearch://host/a/b", "lower-case"),
        ("opensearch://host/x-events", "which the store adds"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str, told: str) -> None:
    with pytest.raises(StoreError, match=told) as problem:
        open_store(url)
    assert "secret" not in str(problem.value)


def test_user_and_password_come_out_of_a_file_that_nobody_else_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("PANORAMA_STORE_NETRC", str(netrc))
    assert Address.read("opensearch://localhost").login == ("me", "secret")
    with pytest.raises(StoreError, match="machine elsewhere"):
        Address.read("opensearch://elsewhere")
    netrc.chmod(0o644)
    with pytest.raises(StoreError, match="chmod 600"):
        Address.read("opensearch://localhost")


class ReadersOnly(Proxy):
    """An engine that lets this user do what the role for readers in docs/how-to/search-engine.md lets."""

    def answer(self, method: str, path: str, body: bytes, kind: str) -> Reply | None:
        if READING.search(f"{method} {path}"):
            return super().answer(method, path, body, kind)
        told = {"type": "security_exception", "reason": "no permissions for [indices:data/write/bulk]"}
        return Reply(403, json.dumps({"error": told, "status": 403}).encode())


def test_who_may_only_read_can_read_all_of_it_and_is_told_what_he_may_not(search_node: Node, search_url: str) -> None:
    events = captured()
    with open_store(search_url) as store:
        store.put(events, via=Via.BROKER)
        store.put(events[:50])
        store.bury([DeadLetter(reason="no JSON", source="a", size=1, head=b"{")])
        with ReadersOnly(search_node.port).running() as proxy:
            elsewhere = search_url.replace(f":{search_node.port}/", f":{proxy.port}/")
            with pytest.raises(StoreError, match=r"security_exception.*indices:monitor/stats"):
                OpenSearchStore(f"{elsewhere}-new")
            with open_store(elsewhere, readonly=True) as reader:
                assert reader.workflows() == store.workflows()
                assert reader.since(0) == store.since(0)
                assert reader.changed() == store.changed()
                assert list(reader.dead_letters()) == list(store.dead_letters())
                assert list(reader.kept()) == list(store.kept())
                wf_uuid = events[0].wf_uuid
                assert reader.arrivals(wf_uuid) == store.arrivals(wf_uuid)
                assert list(reader.events(wf_uuid)) == list(store.events(wf_uuid))
                assert reader.ingested(events[0]) == store.ingested(events[0])
                assert reader.count() == 287


def test_https_is_spoken_and_a_certificate_that_is_not_to_be_trusted_is_told(
    search_node: Node, search_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        made = rabbitmq.self_signed(tmp_path)
    except EnvironmentMissingError as problem:
        pytest.skip(str(problem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    proxy = Proxy(search_node.port)
    proxy.speak_tls(context)
    with proxy.running():
        prefix = search_url.rpartition("/")[2]
        url = f"opensearch+https://localhost:{proxy.port}/{prefix}"
        with pytest.raises(StoreError, match=r"name the certificates to trust \(PEM\) in PANORAMA_STORE_CA"):
            open_store(url)
        monkeypatch.setenv("PANORAMA_STORE_CA", str(made.ca))
        with open_store(url) as store:
            assert store.put([sample()]) == 1
            assert list(store.events("w1")) == [sample()]
        with pytest.raises(StoreError, match="its certificate is for another name"):
            open_store(url.replace("localhost", "127.0.0.1"))
        with pytest.raises(StoreError, match=r"speaks plain HTTP: write opensearch\+http://"):
            open_store(f"opensearch+https://localhost:{search_node.port}")
        expire(tmp_path)
        context.load_cert_chain(made.certificate, made.key)
        with pytest.raises(StoreError, match="its certificate has expired"):
            open_store(url)


def expire(folder: Path) -> None:
    """Make the certificate out again, to the second in which it is made."""
    words = "x509 -req -in broker.csr -out broker.pem -days 0 -CA ca.pem -CAkey ca.key -extfile broker.ext"
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


def test_user_and_password_are_sent_and_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("PANORAMA_STORE_NETRC", str(netrc))
    asked: list[bytes] = []

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nUnauthorized")

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        refusing = pool.submit(refuse, listener)
        with pytest.raises(StoreError, match="netrc file") as problem:
            open_store(f"opensearch://127.0.0.1:{listener.getsockname()[1]}")
        refusing.result()
    assert b"Basic " + base64.b64encode(b"me:hush") in asked[0]
    assert "hush" not in str(problem.value)
