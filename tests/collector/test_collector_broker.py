"""Through a real broker every event arrives once, nothing that was acknowledged is lost, and every trouble is told."""

from __future__ import annotations

import base64
import calendar
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from panorama_driver.analysis import anomaly_of
from panorama_driver.analysis.following import StoreWatch
from panorama_driver.collector._records import events_of
from panorama_driver.collector.broker import Address, Consumer, Publisher, _link, consumer
from panorama_driver.collector.broker._topology import mending
from panorama_driver.errors import BrokerError, SpoolFullError, StoreError, UsageError
from panorama_driver.store import Store, Via, open_store
from panorama_driver.testing import rabbitmq
from panorama_driver.testing.rabbitmq import Node
from tests.analysis.test_following import past, stopped
from tests.conftest import DATA

CAPTURES = DATA / "captures"
_FILES = ("stampede-events.jsonl", "stampede-events-fail.jsonl", "kickstart-online.jsonl", "transfer-events.jsonl")
_PATIENCE = 30.0  # seconds

Message = tuple[str, bytes]


def wait_for(condition: Callable[[], object], what: str, patience: float = _PATIENCE) -> float:
    """How long it took [s]."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience, f"waited {patience:g} s for {what}"
        time.sleep(0.01)
    return time.monotonic() - began


def captured(name: str) -> list[Message]:
    """Messages as they were taken off a broker."""
    lines = [json.loads(line) for line in (CAPTURES / name).read_text().splitlines()]
    return [(line["routing_key"], json.dumps(line["body"]).encode()) for line in lines]


def samples(count: int, start: int = 0) -> list[bytes]:
    """Different events of one job."""
    sample: dict[str, Any] = {"event": "kickstart.inv.online", "wf_uuid": "w", "dag_job_id": "a", "ts": 1795345908.5}
    return [json.dumps(sample | {"seq": number}).encode() for number in range(start, start + count)]


@pytest.fixture
def address(broker: Node, vhost: str) -> Address:
    return Address.read(f"amqp://127.0.0.1:{broker.port}/{vhost}", broker.credentials)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def consume(address: Address, store: Store, told: list[str]) -> Iterator[Callable[..., Consumer]]:
    """Starts a consumer and waits until it consumes."""
    started: list[Consumer] = []

    def start(where: Address = address, into: Store = store, **options: Any) -> Consumer:
        started.append(Consumer(where, into, tell=told.append, **options))
        started[-1].start()
        assert started[-1].wait(_PATIENCE), told
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def channel(address: Address, consume: object) -> Iterator[Any]:
    """Somebody else's connection to the same vhost, through pika as it is; it confirms."""
    import pika

    connection = pika.BlockingConnection(address.parameters())
    opened = connection.channel()
    opened.confirm_delivery()
    yield opened
    if connection.is_open:
        connection.close()


def send(channel: Any, messages: list[Message], exchange: str = "monitoring") -> None:
    for key, body in messages:
        channel.basic_publish(exchange, key, body)


def settled(each: Consumer, messages: int) -> None:
    wait_for(lambda: each.counts.acknowledged >= messages, f"{messages} messages, of {each.counts}")


def left(broker: Node, vhost: str) -> dict[str, int]:
    """Messages in each queue, those included that wait for an acknowledgement."""
    lines = broker.ctl("list_queues", "-p", vhost, "--no-table-headers", "name", "messages").splitlines()
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.strip()}


def empty(broker: Node, vhost: str) -> None:
    wait_for(lambda: not any(left(broker, vhost).values()), "empty queues")


# What arrives


@pytest.mark.parametrize("name", _FILES)
def test_every_message_of_a_capture_arrives_and_is_one_row(
    name: str, consume: Callable[..., Consumer], channel: Any, store: Store, broker: Node, vhost: str
) -> None:
    messages = captured(name)
    each = consume()
    send(channel, messages * 2)
    settled(each, 2 * len(messages))
    expected = {event.event_id: event for _, body in messages for event in events_of(body)}
    stored = [event for workflow in store.workflows() for event in store.events(workflow.wf_uuid)]
    assert len(stored) == len(expected) == each.counts.stored
    assert {event.event_id for event in stored} == set(expected)
    assert all(arrival.via == Via.BROKER for w in store.workflows() for arrival in store.arrivals(w.wf_uuid))
    assert list(store.dead_letters()) == []
    empty(broker, vhost)


def test_what_waited_in_the_queue_is_taken_when_a_collector_comes(
    consume: Callable[..., Consumer], channel: Any, store: Store
) -> None:
    consume().stop()  # made the topology
    send(channel, [("kickstart.inv.online", body) for body in samples(1500)])
    settled(consume(), 1500)
    assert store.count() == 1500


def test_an_event_of_each_family_comes_to_our_queue(
    consume: Callable[..., Consumer], channel: Any, store: Store
) -> None:
    each = consume()
    families = ("stampede", "kickstart", "transfer", "darshan")
    send(channel, [(f"{family}.x", b"{}") for family in families])
    settled(each, len(families))
    assert {letter.source for letter in store.dead_letters()} == {f"monitoring: {family}.x" for family in families}


def test_an_anomaly_that_is_found_comes_back_into_another_store_as_the_same_event(
    address: Address, consume: Callable[..., Consumer], store: Store, tmp_path: Path
) -> None:
    into = consume()
    with open_store(tmp_path / "study.db") as study, Publisher(address, tmp_path / "outgoing") as publisher:
        watch = StoreWatch(
            study, publish=lambda records: publisher.offer_all((r["event"], msgspec.json.encode(r)) for r in records)
        )
        study.put(past())
        study.put(running := stopped())
        (found,) = watch.poll()
        assert publisher.flush(_PATIENCE)
        settled(into, 1)
        (there,) = store.events(running[0].wf_uuid)
        (here,) = study.events(running[0].wf_uuid, {"anomalies.stalled"})
    assert there == here
    assert anomaly_of(there) == found
    assert there.event_id == found.anomaly_id


def test_a_post_to_the_management_interface_in_the_shape_of_kickstart_arrives(
    consume: Callable[..., Consumer], broker: Node, vhost: str, store: Store
) -> None:
    each = consume()
    payload = base64.b64encode(samples(1)[0]).decode()
    body = {
        "properties": {},
        "routing_key": "kickstart.inv.online",
        "payload": payload,
        "payload_encoding": "base64",
    }
    url = broker.http_url.replace("/panorama/", f"/{vhost}/")
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    login = base64.b64encode(f"{rabbitmq.USER}:{broker.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        assert json.load(answer) == {"routed": True}
    settled(each, 1)
    assert store.count() == 1


# What is no event


def test_what_is_no_event_is_a_dead_letter_and_holds_up_nothing(
    consume: Callable[..., Consumer], channel: Any, store: Store, broker: Node, vhost: str
) -> None:
    each = consume(body_limit=100_000)
    bad = {
        b'{"event": "stampede.': "not JSON",
        b'{"event": "nobody.knows", "wf_uuid": "w"}': "family 'nobody' is not one of",
        b'{"event": "stampede.inv.end"}': "without its field 'xwf_id'",
        b"\xff\xfe\x00\x81": "not JSON",
        b"[1, 2]": "no object",
        b"[" * 50_000: "",
        b"": "",
        b'{"event":"kickstart.inv.online","wf_uuid":"w","attempt":1' + b"0" * 30 + b"}": "cannot be stored",
        b'{"event":"' + b"x" * 200_000 + b'"}': "a message of 200012 bytes is longer",
    }
    good = samples(len(bad))
    send(channel, [("stampede.x", body) for pair in zip(bad, good, strict=True) for body in pair])
    settled(each, 2 * len(bad))
    assert store.count() == len(good)
    letters = {letter.head: letter for letter in store.dead_letters()}
    assert len(letters) == each.counts.dead == len(bad)
    for body, reason in bad.items():
        letter = letters[body if len(body) <= 100_000 else body[:4096]]
        assert reason in letter.reason
        assert letter.size == len(body)
    empty(broker, vhost)


@pytest.mark.parametrize("value", ["year 10^11", "nested", b"\xff"])
def test_headers_that_nobody_can_read_hold_up_nothing(
    value: Any, consume: Callable[..., Consumer], channel: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pika

    consume().stop()
    if value == "nested":
        for _ in range(2000):
            value = {"a": value}
    if value == "year 10^11":
        value = datetime(9999, 12, 31)
        monkeypatch.setattr(calendar, "timegm", lambda _: 2**62)
    hostile = pika.BasicProperties(headers={"x": value}, delivery_mode=2)
    with recursion(20_000):
        channel.basic_publish("monitoring", "kickstart.\xff", samples(1)[0], hostile)
    each = consume()
    send(channel, [("kickstart.x", samples(1, 1)[0])])
    settled(each, 2)
    assert store.count() == 2
    assert each.counts.connects == 1


@contextmanager
def recursion(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def test_a_defect_of_a_parser_costs_one_message(
    consume: Callable[..., Consumer], channel: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from panorama_driver.collector import _intake

    def defective(body: bytes) -> list[Any]:
        if b'"seq": 7}' in body:
            raise KeyError("unforeseen")
        return events_of(body)

    monkeypatch.setattr(_intake, "events_of", defective)
    each = consume()
    send(channel, [("kickstart.x", body) for body in samples(20)])
    settled(each, 20)
    assert store.count() == 19
    (letter,) = store.dead_letters()
    assert "defect of this program: KeyError: 'unforeseen'" in letter.reason
    assert letter.whole


def test_what_the_broker_gives_up_is_a_dead_letter_with_its_reason(
    consume: Callable[..., Consumer], channel: Any, store: Store, broker: Node, vhost: str
) -> None:
    consume().stop()
    send(channel, [("stampede.inv.end", b"poison")])
    method, _, _ = next(channel.consume("panorama.events", inactivity_timeout=_PATIENCE))
    channel.basic_nack(method.delivery_tag, requeue=False)
    channel.cancel()
    wait_for(lambda: left(broker, vhost)["panorama.dead"] == 1, "the dead letter")
    each = consume()
    settled(each, 1)
    (letter,) = store.dead_letters()
    assert letter.reason == "the broker gave it up in queue panorama.events: rejected"
    assert (letter.source, letter.head) == ("monitoring: stampede.inv.end", b"poison")
    empty(broker, vhost)


# The queues of the old back end


def test_the_published_queues_are_made_and_emptied_where_asked_for(
    consume: Callable[..., Consumer], channel: Any, store: Store, broker: Node, vhost: str
) -> None:
    each = consume(published_queues=True)
    send(channel, [("kickstart.inv.online", body) for body in samples(10)])
    settled(each, 20)  # each came through two queues
    assert store.count() == 10
    assert set(left(broker, vhost)) == {
        "panorama.events",
        "panorama.dead",
        "panorama_stampede",
        "panorama_kickstart",
        "panorama_transfer",
    }
    empty(broker, vhost)
    # a client of the old back end declares them as its container did
    channel.queue_declare("panorama_kickstart", durable=True)
    channel.queue_bind("panorama_kickstart", "monitoring", "kickstart.#")


def test_without_being_asked_for_they_are_not_made(consume: Callable[..., Consumer], broker: Node, vhost: str) -> None:
    consume()
    assert set(left(broker, vhost)) == {"panorama.events", "panorama.dead"}


# Outages


@pytest.mark.measures
def test_a_publisher_spools_while_the_broker_is_away_and_a_consumer_comes_back(
    consume: Callable[..., Consumer], address: Address, store: Store, broker: Node, tmp_path: Path, told: list[str]
) -> None:
    each = consume()
    with Publisher(address, tmp_path / "spool", tell=told.append) as publisher:
        publisher.offer("kickstart.inv.online", samples(100))
        assert publisher.flush(_PATIENCE)
        broker.ctl("stop_app")
        try:
            began = time.monotonic()
            publisher.offer("kickstart.inv.online", samples(100, 100))
            took = time.monotonic() - began
            assert not publisher.flush(0.5)
            assert len(publisher) == 100
            assert took < 2, f"measured {took:.2f} s"
        finally:
            broker.ctl("start_app")
        began = time.monotonic()
        assert publisher.flush(_PATIENCE)
        wait_for(lambda: store.count() == 200, "all events")
        took = time.monotonic() - began
    assert each.counts.connects == 2
    assert any("trying again" in sentence for sentence in told)
    assert told[-1].endswith("connected again")
    assert took < 5, f"measured {took:.1f} s"


def test_what_a_publisher_left_in_its_spool_is_published_by_the_next(
    consume: Callable[..., Consumer], address: Address, store: Store, tmp_path: Path
) -> None:
    closed = Address("amqp", "127.0.0.1", rabbitmq.free_ports(1)[0], address.vhost, "monitoring", "u", "p")
    with Publisher(closed, tmp_path / "spool", tell=lambda _: None) as publisher:
        publisher.offer("kickstart.inv.online", samples(700))
        assert not publisher.close(0.1)
    consume()
    with Publisher(address, tmp_path / "spool") as publisher:
        assert publisher.flush(_PATIENCE)
    wait_for(lambda: store.count() == 700, "all events")


def test_a_publisher_that_is_refused_tries_on_until_somebody_mends_it(
    address: Address, tmp_path: Path, told: list[str], broker: Node, vhost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_REFUSED_PAUSE", 0.1)
    broker.ctl("clear_permissions", "-p", vhost, rabbitmq.USER)
    with Publisher(address, tmp_path / "spool", patient=True, tell=told.append) as publisher:
        publisher.offer("kickstart.inv.online", samples(10))
        wait_for(lambda: publisher.failed, "the refusal")
        broker.ctl("set_permissions", "-p", vhost, rabbitmq.USER, ".*", ".*", ".*")
        assert publisher.flush(_PATIENCE)
    assert "may not use the vhost" in told[0]
    assert told[1:] == [f"{address}: connected"]


def test_a_publisher_whose_spool_is_full_says_so(address: Address, tmp_path: Path) -> None:
    closed = Address("amqp", "127.0.0.1", rabbitmq.free_ports(1)[0], address.vhost, "monitoring", "u", "p")
    with Publisher(closed, tmp_path / "spool", limit_bytes=1000, tell=lambda _: None) as publisher:
        with pytest.raises(SpoolFullError, match="could not be passed on yet"):
            publisher.offer("kickstart.inv.online", samples(100))
        assert len(publisher) == 0


@pytest.mark.parametrize("key", ["weather", "kickstart.\n", "kickstart." + "x" * 246])
def test_a_publisher_takes_no_key_that_no_queue_takes(address: Address, tmp_path: Path, key: str) -> None:
    with (
        Publisher(address, tmp_path / "spool") as publisher,
        pytest.raises(UsageError, match=re.escape(f"{key!r}: no queue takes it")),
    ):
        publisher.offer(key, [b"{}"])


def test_a_publisher_makes_a_queue_again_that_somebody_removed(
    consume: Callable[..., Consumer], address: Address, channel: Any, store: Store, tmp_path: Path, told: list[str]
) -> None:
    consume().stop()
    with Publisher(address, tmp_path / "spool", tell=told.append) as publisher:
        publisher.offer("kickstart.inv.online", samples(1))
        assert publisher.flush(_PATIENCE)
        channel.queue_delete("panorama.events")
        publisher.offer("kickstart.inv.online", samples(5, 1))
        assert publisher.flush(_PATIENCE)
    assert any("no queue takes 'kickstart.inv.online'" in sentence for sentence in told)
    consume()
    wait_for(lambda: store.count() == 5, "the events after the removal")


def test_a_consumer_whose_queue_is_removed_makes_it_again(
    consume: Callable[..., Consumer], channel: Any, store: Store
) -> None:
    each = consume()
    channel.queue_delete("panorama.events")
    wait_for(lambda: each.counts.connects == 2, "another connection")
    send(channel, [("kickstart.inv.online", body) for body in samples(3)])
    wait_for(lambda: store.count() == 3, "the events")


class _Refusing:
    """A store that cannot be written until it is told."""

    def __init__(self, store: Store) -> None:
        self._store, self.works = store, False

    def put(self, *arguments: Any, **more: Any) -> int:
        if not self.works:
            raise StoreError("disk full")
        return self._store.put(*arguments, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_without_a_store_nothing_is_acknowledged_and_all_is_stored_later(
    consume: Callable[..., Consumer], channel: Any, store: Store, told: list[str], broker: Node, vhost: str
) -> None:
    refusing = _Refusing(store)
    each = consume(into=refusing)
    send(channel, [("kickstart.inv.online", body) for body in samples(10)])
    wait_for(lambda: told, "a word")
    assert told == ["disk full; nothing is acknowledged, trying again"]
    assert each.counts.acknowledged == 0
    wait_for(lambda: left(broker, vhost)["panorama.events"] == 10, "the broker's count")
    refusing.works = True
    settled(each, 10)
    assert told[-1] == "the store can be written again"
    assert store.count() == 10


def test_while_much_waits_for_the_store_little_is_read(
    consume: Callable[..., Consumer], channel: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "HELD_LIMIT", 3_000_000)
    monkeypatch.setattr(consumer, "_WAIT", 1.0)
    refusing = _Refusing(store)
    consume().stop()
    for start in range(40):
        padded = samples(1, start)[0][:-1] + b', "pad": "' + b"x" * 1_000_000 + b'"}'
        send(channel, [("kickstart.inv.online", padded)])
    each = consume(into=refusing)
    wait_for(lambda: each.counts.held >= 3, "some messages")
    assert each.counts.held < 10
    refusing.works = True
    settled(each, 40)
    assert store.count() == 40


# Ends


def collect(address: Address, store: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """`panorama collect` as a process of its own, consuming when this returns."""
    command = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "collect", "--store", str(store)]
    login = {"PANORAMA_BROKER_USER": address.user, "PANORAMA_BROKER_PASSWORD": address.password}
    return subprocess.Popen(
        [*command, "--broker", str(address), "--json", *more],
        env=os.environ | login | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_of(path: Path) -> int:
    """Rows of a store that another process writes."""
    try:
        with open_store(path, readonly=True) as store:
            return store.count()
    except StoreError:
        return 0


@pytest.mark.measures
def test_sigterm_stores_what_is_here_and_ends_well(
    consume: Callable[..., Consumer], address: Address, channel: Any, tmp_path: Path, broker: Node, vhost: str
) -> None:
    consume().stop()
    process = collect(address, tmp_path / "s.db")
    send(channel, [("kickstart.inv.online", body) for body in samples(3000)])
    wait_for(lambda: count_of(tmp_path / "s.db") > 0, "the first events")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=_PATIENCE)
    took = time.monotonic() - began
    assert (process.returncode, err) == (0, "")
    assert took < 5, f"measured {took:.1f} s"
    counts = json.loads(out.splitlines()[-1])
    assert counts["stored"] + counts["duplicates"] > 0
    wait_for(lambda: left(broker, vhost)["panorama.events"] == 3000 - counts["stored"], "the broker's count")
    assert counts["stored"] == count_of(tmp_path / "s.db")


@pytest.mark.measures
@pytest.mark.parametrize(("signals", "code", "patience"), [(1, 0, 5.0), (2, 4, 2.0)])
def test_a_signal_is_heard_while_the_store_is_locked_and_nothing_is_acknowledged(
    signals: int,
    code: int,
    patience: float,
    consume: Callable[..., Consumer],
    address: Address,
    channel: Any,
    tmp_path: Path,
    broker: Node,
    vhost: str,
) -> None:
    consume().stop()
    open_store(tmp_path / "s.db").close()
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as lock:
        process = collect(address, tmp_path / "s.db")
        wait_for(lambda: _ready(channel), "the collector to consume")
        lock.execute("BEGIN IMMEDIATE")
        send(channel, [("kickstart.inv.online", body) for body in samples(10)])
        wait_for(lambda: _unacknowledged(broker, vhost) == 10, "the collector to hold them")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        while signals == 2 and process.poll() is None:  # one that comes while the first is pending would be lost
            process.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        _, err = process.communicate(timeout=_PATIENCE)
        took = time.monotonic() - began
        assert process.returncode == code, err
        assert took < patience, f"measured {took:.1f} s"
    assert count_of(tmp_path / "s.db") == 0
    wait_for(lambda: _unacknowledged(broker, vhost) == 0, "the broker to take them back")
    assert left(broker, vhost)["panorama.events"] == 10


def _ready(channel: Any) -> bool:
    """Whether somebody consumes; asked on a channel, as `rabbitmqctl` may take longer than a collector to end."""
    return int(channel.queue_declare("panorama.events", passive=True).method.consumer_count) > 0


def _unacknowledged(broker: Node, vhost: str) -> int:
    lines = broker.ctl("list_queues", "-p", vhost, "--no-table-headers", "name", "messages_unacknowledged").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("panorama.events"))


_KILLER = f"""
import os, signal, sys
def hear(event, arguments):
    if event == {consumer.COMMITTED!r}:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hear)
"""


def test_a_death_between_commit_and_acknowledge_doubles_nothing(
    consume: Callable[..., Consumer], address: Address, channel: Any, store: Store, tmp_path: Path
) -> None:
    consume().stop()
    send(channel, [("kickstart.inv.online", body) for body in samples(50)])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_KILLER)
    process = collect(address, tmp_path / "store.db", PYTHONPATH=str(tmp_path / "site"))
    process.communicate(timeout=_PATIENCE)
    assert process.returncode == -signal.SIGKILL
    assert count_of(tmp_path / "store.db") == 50
    each = consume()
    settled(each, 50)
    assert (each.counts.stored, each.counts.duplicates, each.counts.redelivered) == (0, 50, 50)
    assert store.count() == 50


# Refusals


def refusal(address: Address, store: Store) -> str:
    """What a consumer that cannot work says."""
    each = Consumer(address, store, tell=lambda _: None)
    each.start()
    try:
        with pytest.raises(BrokerError) as caught:
            each.wait(_PATIENCE)
        assert caught.value.exit_code == 3
        assert each.failed is caught.value
        return str(caught.value)
    finally:
        each.stop()


def changed(address: Address, **parts: Any) -> Address:
    return Address(**({name: getattr(address, name) for name in Address.__dataclass_fields__} | parts))


def test_a_wrong_password_is_told_without_telling_the_password(address: Address, store: Store) -> None:
    words = refusal(changed(address, password="wr0ng"), store)
    assert "refuses user 'collector' with this password; check the credentials" in words
    assert "wr0ng" not in words
    assert address.password not in repr(address)


def test_a_missing_vhost_is_told_with_the_command_that_makes_it(address: Address, store: Store) -> None:
    words = refusal(changed(address, vhost="nowhere"), store)
    assert "has no vhost 'nowhere'; make it with: rabbitmqctl add_vhost nowhere && rabbitmqctl set_perm" in words


def test_a_vhost_of_others_is_told_with_the_command_that_opens_it(
    address: Address, store: Store, broker: Node, vhost: str
) -> None:
    broker.ctl("clear_permissions", "-p", vhost, rabbitmq.USER)
    words = refusal(address, store)
    assert f"may not use the vhost; allow it with: rabbitmqctl set_permissions -p {vhost} collector" in words


def test_missing_rights_are_told_with_the_command_that_gives_them(
    address: Address, store: Store, broker: Node, vhost: str
) -> None:
    broker.ctl("set_permissions", "-p", vhost, rabbitmq.USER, "", ".*", ".*")
    words = refusal(address, store)
    assert "ACCESS_REFUSED" in words
    assert f"rabbitmqctl set_permissions -p {vhost} collector" in words


def test_a_queue_with_other_arguments_is_left_alone_and_told(address: Address, store: Store, channel: Any) -> None:
    channel.queue_declare("panorama.events", durable=True)
    words = refusal(address, store)
    assert "queue 'panorama.events'" in words
    assert f"rabbitmqctl -p {address.vhost} delete_queue panorama.events" in words


def test_a_name_out_of_the_brokers_words_is_quoted_in_the_command_that_mends() -> None:
    command = mending("PRECONDITION_FAILED - inequivalent arg 'type' for queue 'x; rm -rf ~' in vhost '/'")
    assert command.endswith("rabbitmqctl -p / delete_queue 'x; rm -rf ~'")


def test_an_exchange_of_another_type_is_left_alone_and_told(address: Address, store: Store, channel: Any) -> None:
    channel.exchange_declare("monitoring", "direct", durable=True)
    words = refusal(address, store)
    assert "exchange 'monitoring'" in words
    assert f"rabbitmqadmin -V {address.vhost} delete exchange name=monitoring" in words


def test_what_pika_says_is_told_in_words(address: Address) -> None:
    from pika.exceptions import ConnectionClosedByBroker, IncompatibleProtocolError

    silent = _link._explained(address, IncompatibleProtocolError("StreamLostError: ('Transport indicated EOF',)"))
    assert "does not speak AMQP" in str(silent)
    assert "Transport" not in str(silent)
    forced = _link._explained(address, ConnectionClosedByBroker(320, "CONNECTION_FORCED - 'shutdown'"))
    assert str(forced).endswith("the broker closed the connection: CONNECTION_FORCED - 'shutdown'")
    assert (silent.transient, forced.transient) == (True, True)


def test_nobody_there_is_told_and_tried_again(address: Address, store: Store, told: list[str]) -> None:
    port = rabbitmq.free_ports(1)[0]
    each = Consumer(changed(address, port=port), store, tell=told.append)
    each.start()
    assert each.wait(_PATIENCE) is False
    assert each.failed is None
    assert told == [f"amqp://127.0.0.1:{port}/{address.vhost}: cannot be reached: Connection refused; trying again"]
    assert each.stop()


# TLS


@pytest.fixture
def authority(broker: Node) -> Path:
    """Whom one has to trust to use the broker over TLS."""
    if broker.tls is None:
        pytest.skip("no openssl to make certificates with: apt-get install openssl")
    return broker.tls.ca


def test_a_broker_whose_certificate_is_trusted_can_be_used(
    authority: Path, broker: Node, vhost: str, consume: Callable[..., Consumer], channel: Any, store: Store
) -> None:
    url = f"amqps://localhost:{broker.tls_port}/{vhost}"
    each = consume(Address.read(url, broker.credentials, authority))
    send(channel, [("kickstart.inv.online", samples(1)[0])])
    settled(each, 1)


def test_a_certificate_that_somebody_else_signed_is_refused(
    authority: Path, broker: Node, vhost: str, store: Store, tmp_path: Path
) -> None:
    url = f"amqps://localhost:{broker.tls_port}/{vhost}"
    other = rabbitmq.self_signed(tmp_path / "other")
    for ca in (None, other.ca):
        words = refusal(Address.read(url, broker.credentials, ca), store)
        assert "certificate is not trusted" in words
        assert "--ca" in words


def test_a_certificate_of_another_host_is_refused(authority: Path, broker: Node, vhost: str, store: Store) -> None:
    address = Address.read(f"amqps://localhost:{broker.tls_port}/{vhost}", broker.credentials, authority)
    words = refusal(changed(address, host="127.0.0.1"), store)
    assert "certificate is not trusted: IP address mismatch" in words


def test_a_port_without_tls_is_told(authority: Path, broker: Node, vhost: str, store: Store) -> None:
    address = Address.read(f"amqps://localhost:{broker.port}/{vhost}", broker.credentials, authority)
    assert "amqps://localhost" in refusal(address, store)


# Addresses


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("amqp://h/panorama", ("amqp", "h", 5672, "panorama", "monitoring")),
        ("amqps://h:1/v/x", ("amqps", "h", 1, "v", "x")),
        ("amqp://[::1]:2/%2F", ("amqp", "::1", 2, "/", "monitoring")),
    ],
)
def test_an_address_names_host_vhost_and_exchange(url: str, parts: tuple[object, ...]) -> None:
    login = {"PANORAMA_BROKER_USER": "u", "PANORAMA_BROKER_PASSWORD": "p"}
    address = Address.read(url, environment=login)
    assert (address.scheme, address.host, address.port, address.vhost, address.exchange) == parts
    assert (address.user, address.password) == ("u", "p")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://u:secret@h/v", "no user and password in the address"),
        ("http://h/v", "write it as amqp"),
        ("amqp://h", "write it as amqp"),
        ("amqp://h/", "write it as amqp"),
        ("amqp://h/a/b/c", "write it as amqp"),
        ("amqp://h:port/v", "write it as amqp"),
        ("amqp:///v", "write it as amqp"),
        ("", "write it as amqp"),
    ],
)
def test_what_is_no_address_is_refused_and_a_password_is_not_repeated(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Address.read(url, environment={})
    assert "secret" not in str(caught.value)


def test_credentials_come_from_a_private_file_or_the_environment(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine h login me password p4ss\n")
    netrc.chmod(0o644)
    with pytest.raises(UsageError, match=f"others can read the password in it; chmod 600 {netrc}"):
        Address.read("amqp://h/v", netrc)
    netrc.chmod(0o600)
    address = Address.read("amqp://h/v", netrc)
    assert (address.user, address.password) == ("me", "p4ss")
    with pytest.raises(UsageError, match="has no line `machine other login"):
        Address.read("amqp://other/v", netrc)
    with pytest.raises(UsageError, match="name a netrc file with --credentials, or set PANORAMA_BROKER_USER"):
        Address.read("amqp://h/v", environment={"PANORAMA_BROKER_USER": "me"})


def test_a_file_of_authorities_is_for_tls_and_must_be_there(tmp_path: Path) -> None:
    login = {"PANORAMA_BROKER_USER": "u", "PANORAMA_BROKER_PASSWORD": "p"}
    with pytest.raises(UsageError, match="is not encrypted"):
        Address.read("amqp://h/v", ca=tmp_path, environment=login)
    with pytest.raises(UsageError, match="no such file"):
        Address.read("amqps://h/v", ca=tmp_path / "none", environment=login)
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(UsageError, match="no file of certification authorities"):
        Address.read("amqps://h/v", ca=tmp_path / "no.pem", environment=login).parameters()
