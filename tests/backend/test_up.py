"""`panorama up` with real processes and a real RabbitMQ: nothing is lost, nothing doubled, nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from panorama_driver.backend import rabbitmq
from panorama_driver.backend.up import state_of
from panorama_driver.collector._records import events_of
from panorama_driver.store import open_store
from panorama_driver.study import client
from tests.faults.brokers import Message, identities, locked, messages, sound, stored, until

from .upping import Offered, Up, left, panorama, wait

LOOPBACK, LOOPBACK_6 = "0100007F", "00000000000000000000000001000000"
"""As /proc/net/tcp and tcp6 have them (proc_net(5))."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A back end with everything, that the tests of this file share."""
    reason = rabbitmq.why_not()
    if reason:
        pytest.skip(reason)
    up = Up(tmp_path_factory.mktemp("whole") / "back end", "--port", str(rabbitmq.free_ports(1)[0]))
    up.start()
    yield up
    up.close()


@pytest.fixture
def offered(tmp_path: Path) -> Iterator[Callable[..., Offered]]:
    made: list[Offered] = []

    def offer(up: Up, sent: list[Message], rate: int = 0) -> Offered:
        made.append(Offered(tmp_path / f"offered-{len(made)}", up.state.monitoring, sent, rate))
        return made[-1]

    yield offer
    for each in made:
        each.close()


def lost_and_doubled(sent: list[Message], up: Up, accepted: int | None = None) -> tuple[int, int]:
    """How many events of those accepted are not in the store, and how many rows there are beyond one for each sent."""
    events = [event for _, body in sent for event in events_of(body)]
    with open_store(up.store, readonly=True) as store:
        rows = [event.event_id for each in {event.wf_uuid for event in events} for event in store.events(each)]
    known = {event.event_id for event in events}
    return len(identities(sent[:accepted]) - set(rows)), len(rows) - len(known & set(rows))


def test_a_study_with_the_lines_that_it_prints_has_its_events_in_the_store(
    whole: Up, make_study: Callable[..., Path]
) -> None:
    told = panorama("up", "--status", whole.folder)
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.partition("put into study.yml:\n")[2].partition("store: ")[0]
    home = make_study(monitoring="{}")
    study = home / "study.yml"
    study.write_text(study.read_text().replace("monitoring: {}\n", textwrap.dedent(lines)))
    assert set(yaml.safe_load(study.read_text())["monitoring"]) == {"broker", "credentials"}
    asked = [{"eval_id": "1:1", "variables": {"x": 0.25}}]
    [reply] = client.evaluate(str(study), asked, lambda _: None)
    assert reply["state"] == "ok", reply
    wf_uuid = reply["wf_uuid"]
    with open_store(home / ".panorama" / "store.db", readonly=True) as own:
        wanted = {event.event_id for event in own.events(wf_uuid) if event.kind != "panorama.reconciled"}
    assert len(wanted) > 50

    def there() -> set[str]:
        with open_store(whole.store, readonly=True) as store:
            return {event.event_id for event in store.events(wf_uuid)}

    wait(lambda: wanted <= there(), "the study's events")


def test_secrets_are_files_of_their_owner_and_in_nobodys_words(whole: Up) -> None:
    secrets = {
        (whole.folder / "publisher.netrc").read_text().split()[5],
        (whole.folder / "collector.netrc").read_text().split()[5],
        (whole.folder / "dashboard.token").read_text().strip(),
        (whole.folder / "broker" / ".erlang.cookie").read_text(),
    }
    assert len(secrets) == 4
    told = [*left(whole.folder).values(), whole.output.read_text(), panorama("up", "--status", whole.folder).stdout]
    told += [path.read_text() for path in (whole.folder / "log").iterdir()]
    assert not any(secret in words for secret in secrets for words in told)
    others = [path for path in whole.folder.rglob("*") if path.stat().st_mode & 0o077 and not path.is_symlink()]
    assert others == []


def test_nobody_gets_in_without_a_password_and_a_publisher_cannot_take_events_away(whole: Up) -> None:
    import pika

    port = int(whole.state.monitoring["broker"].split(":")[2].split("/")[0])
    publisher = (whole.folder / "publisher.netrc").read_text().split()

    def connect(user: str, password: str) -> pika.BlockingConnection:
        login = pika.PlainCredentials(user, password)
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, "panorama", login))

    for user, password in (("guest", "guest"), ("publisher", "publisher")):
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect(user, password)
    with connect(publisher[3], publisher[5]) as connection, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        connection.channel().basic_get("panorama.events")


def test_everything_listens_on_this_machine_alone(whole: Up) -> None:
    pids = set(left(whole.folder))
    assert len(pids) >= 5
    sockets = {
        os.readlink(link)[8:-1]
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink() and os.readlink(link).startswith("socket:")
    }
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in sockets:
                listening.append(words[1].rpartition(":")[0])
    assert listening.count(LOOPBACK) == 4  # port mapper, Erlang, AMQP, dashboard
    assert set(listening) <= {LOOPBACK, LOOPBACK_6}


def test_the_dashboard_shows_the_store_to_who_has_the_token(whole: Up) -> None:
    url, _, token = (whole.folder / "dashboard.url").read_text().strip().partition("#token=")
    assert url == whole.state.dashboard
    request = urllib.request.Request(f"{url}api/studies", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert [study["kind"] for study in json.load(answer)["studies"]] == ["store"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}api/studies", timeout=30)


def test_each_part_is_killed_in_turn_and_nothing_is_lost_or_doubled(whole: Up, offered: Callable[..., Offered]) -> None:
    sent = list(messages(20_000))
    publisher = offered(whole, sent, rate=200)
    back = {}
    for name in ("collector", "broker", "port-mapper", "dashboard"):
        until(whole.store, stored(whole.store) + 100)
        back[name] = whole.kill(name)
    accepted = publisher.finish()
    wait(lambda: lost_and_doubled(sent, whole, accepted) == (0, 0), "every event, once")
    assert accepted > 400
    assert {name: whole.part(name).starts for name in back} == dict.fromkeys(back, 2)
    assert back["collector"] < 10
    assert back["broker"] < 60


def test_a_second_one_in_its_folder_is_refused_and_harms_nothing(whole: Up) -> None:
    told = panorama("up", whole.folder)
    assert told.returncode == 2
    assert f"runs already, on {socket.gethostname()} as process {whole.process and whole.process.pid}" in told.stderr
    assert whole.well


@pytest.mark.long
def test_stopped_and_started_again_it_goes_on_with_the_same_store_and_queues(
    whole: Up, offered: Callable[..., Offered]
) -> None:
    """What the store did not take before the stop is in the broker's queue, confirmed, and comes out of it after."""
    sent, monitoring = list(messages(42_000))[-1500:], whole.state.monitoring
    with locked(whole.store):
        offered(whole, sent).confirmed()
        ended = panorama("up", "--down", whole.folder)
        assert (ended.returncode, ended.stdout) == (0, f"{whole.folder}: ended\n")
    assert whole.process is not None
    assert whole.process.wait(10) == 0
    assert left(whole.folder) == {}
    assert lost_and_doubled(sent, whole) == (len(sent), 0)
    whole.start()
    assert whole.state.monitoring == monitoring
    wait(lambda: lost_and_doubled(sent, whole) == (0, 0), "every event, once")


@pytest.mark.long
def test_the_parent_is_killed_again_and_again_and_nothing_is_lost_or_left(
    whole: Up, offered: Callable[..., Offered]
) -> None:
    sent = list(messages(40_000))[20_000:]
    publisher = offered(whole, sent, rate=150)
    for _ in range(3):
        until(whole.store, stored(whole.store) + 50)
        whole.kill_all()
        wait(lambda: not left(whole.folder), "the end of all", 5)
        whole.start()
    accepted = publisher.finish()
    wait(lambda: lost_and_doubled(sent, whole, accepted) == (0, 0), "every event, once")


def test_killed_itself_it_leaves_no_process_and_a_sound_store(whole: Up) -> None:
    events = stored(whole.store)
    whole.kill_all()
    wait(lambda: not left(whole.folder), "the end of all", 5)
    assert state_of(whole.folder) is None
    assert sound(whole.store)
    assert stored(whole.store) == events
    told = panorama("up", "--status", whole.folder, "--json")
    assert (told.returncode, json.loads(told.stdout)["state"]) == (3, "down")


def test_a_broker_that_cannot_start_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    """Another `erl` comes first on PATH, which ends as one does that was built for another machine."""
    if rabbitmq.why_not():
        pytest.skip(rabbitmq.why_not())
    (tmp_path / "bin").mkdir()
    broken = tmp_path / "bin" / "erl"
    broken.write_text("#!/bin/sh\necho 'erl: cannot execute binary file' >&2\nexit 126\n")
    broken.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    told = panorama("up", tmp_path / "up", "--no-dashboard", PATH=path)
    assert told.returncode == 3
    words = "broker: ended with exit code 126: erl: cannot execute binary file; given up after 3 failures in a row\n"
    assert told.stderr.endswith(f"panorama: {words}")
    assert told.stderr.count("to be started again in") == 2
    assert left(tmp_path / "up") == {}


@pytest.mark.long
def test_a_real_broker_whose_data_cannot_be_used_is_given_up(tmp_path: Path) -> None:
    if rabbitmq.why_not():
        pytest.skip(rabbitmq.why_not())
    (tmp_path / "up" / "broker").mkdir(parents=True)
    (tmp_path / "up" / "broker" / "data").write_text("no folder")
    told = panorama("up", tmp_path / "up", "--no-dashboard")
    assert told.returncode == 3
    assert "given up after 3 failures in a row" in told.stderr
    assert left(tmp_path / "up") == {}
