"""What is POSTed is on disk when it is answered, in the store soon after, once, and no client can do harm."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector import _http_service, _intake
from panorama_driver.collector._http import LINE_COUNT
from panorama_driver.collector._records import events_of
from panorama_driver.collector.http import HttpIngest, read_token, server_context
from panorama_driver.collector.spool import Spool
from panorama_driver.errors import EnvironmentMissingError, StoreError, UsageError
from panorama_driver.events import Event
from panorama_driver.probe import PROBE
from panorama_driver.store import Store, Via, open_store

TOKEN = "t0ken-of-these-tests"
PUBLISH = "/api/exchanges/panorama/monitoring/publish"


@pytest.fixture
def serve(store: Store, tmp_path: Path) -> Iterator[Callable[..., HttpIngest]]:
    """Starts an ingest on a free port, with its spool in this test's folder."""
    started: list[HttpIngest] = []

    def start(**more: Any) -> HttpIngest:
        options: dict[str, Any] = {"spool_dir": tmp_path / "spool", "token": TOKEN, **more}
        started.append(HttpIngest(store, **options).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


def record(seq: int, **more: object) -> dict[str, object]:
    return {"event": "kickstart.inv.online", "wf_uuid": "w1", "dag_job_id": "a", "ts": 1000.5 + seq, "seq": seq, **more}


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


def ask(
    server: HttpIngest, body: bytes = b"", path: str = "/", method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """One request on a connection of its own: status, content and headers of the answer."""
    connection = http.client.HTTPConnection(server.address[0], server.address[1], timeout=10)
    told = {"Authorization": f"Bearer {TOKEN}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        connection.request(method, path, body, told)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.getheaders())
    finally:
        connection.close()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def seqs(store: Store) -> list[int]:
    return [event.fields["seq"] for event in store.events("w1")]


def told(server: HttpIngest) -> dict[str, Any]:
    return ask(server, path="/healthz", method="GET")[1]


def test_records_are_taken_one_or_many_and_stored_as_come_by_http(serve: Any, store: Store) -> None:
    server = serve()
    assert ask(server, json.dumps(record(0), indent=1).encode())[:2] == (200, {"accepted": 1})
    assert ask(server, lines(record(1), record(2)) + b"\n" + lines(record(3)), "/events?x=1")[1] == {"accepted": 3}
    wait_for(lambda: store.count() == 4)
    assert seqs(store) == [0, 1, 2, 3]
    assert [(row.kind, row.via, row.number) for row in store.arrivals("w1")] == [("kickstart.inv.online", Via.HTTP, 4)]


@pytest.mark.parametrize("encoding", ["base64", "string"])
def test_a_publication_as_rabbitmqs_management_takes_it_is_routed(serve: Any, store: Store, encoding: str) -> None:
    text = json.dumps(record(0, exe="/opt/\u00e4"))
    payload = base64.b64encode(text.encode()).decode() if encoding == "base64" else text
    envelope = {"properties": {}, "routing_key": "k", "payload": payload, "payload_encoding": encoding}
    server = serve()
    assert ask(server, json.dumps(envelope).encode(), PUBLISH)[:2] == (200, {"routed": True})
    wait_for(lambda: store.count() == 1)
    [event] = store.events("w1")
    assert event.fields["exe"] == "/opt/\u00e4"


def test_the_same_record_again_is_no_second_row(serve: Any, store: Store) -> None:
    server = serve()
    for _ in range(3):
        assert ask(server, lines(record(0), record(1)))[0] == 200
    wait_for(lambda: told(server)["duplicates"] == 4)
    assert seqs(store) == [0, 1]


@pytest.mark.parametrize("scheme", ["http", "rabbitmq"])
def test_the_probes_records_arrive_while_the_job_runs(scheme: str, serve: Any, store: Store, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login panorama password {TOKEN}\n")
    netrc.chmod(0o600)
    server = serve()
    path = PUBLISH if scheme == "rabbitmq" else "/"
    names = {
        "KICKSTART_MON_URL": f"{scheme}://127.0.0.1:{server.address[1]}{path}",
        "PANORAMA_PROBE_CREDENTIALS": str(netrc),
        "PEGASUS_WF_UUID": "w1",
        "PEGASUS_DAG_JOB_ID": "a",
    }
    words = [sys.executable, "-IS", str(PROBE), "--interval", "0.05", "--", "cat"]
    job = subprocess.Popen(words, env={**os.environ, **names}, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: store.count() >= 3)
        assert job.poll() is None
    finally:
        _, words_of_probe = job.communicate()
    assert (job.returncode, words_of_probe) == (0, b"")
    wait_for(lambda: any(event.fields["final"] for event in store.events("w1")))
    assert seqs(store) == list(range(store.count()))


@pytest.mark.parametrize(
    "told_by_client",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Basic " + base64.b64encode(b"panorama:wrong").decode()},
        {"Authorization": "Basic ***"},
        {"Authorization": f"Digest {TOKEN}"},
        {"Authorization": "Bearer t\u00f6ken"},
    ],
)
def test_without_the_token_nothing_is_taken(serve: Any, store: Store, told_by_client: dict[str, str]) -> None:
    server = serve()
    status, _, headers = ask(server, lines(record(0)), **told_by_client)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert (told(server)["accepted"], told(server)["refused"], store.count()) == (0, 1, 0)


def test_the_token_may_be_the_password_of_any_user(serve: Any) -> None:
    word = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    assert ask(serve(), lines(record(0)), Authorization=f"Basic {word}")[0] == 200


NO_JSON = [
    (b"{", "/"),
    (b"[1, 2]", "/"),
    (b"\xff\xfe\x00", "/"),
    (b'{"payload": "***", "payload_encoding": "base64"}', PUBLISH),
    (b'{"payload": "{", "payload_encoding": "string"}', PUBLISH),
    (b'{"payload": 7}', PUBLISH),
    (b"[" * 100_000, "/"),
]


@pytest.mark.parametrize(("body", "path"), NO_JSON)
def test_what_is_no_record_is_refused_and_kept_as_a_dead_letter(
    serve: Any, store: Store, body: bytes, path: str
) -> None:
    server = serve()
    status, content, _ = ask(server, body, path)
    assert status == 400
    assert "0 records were taken" in content["error"]
    wait_for(lambda: told(server)["dead"] == 1)
    [letter] = store.dead_letters()
    assert (letter.source, letter.head, letter.whole) == ("http", body, True)


def test_a_bad_line_costs_no_good_one(serve: Any, store: Store) -> None:
    server = serve()
    status, content, _ = ask(server, lines(record(0)) + b"{oops\n" + lines(record(1)))
    assert status == 400
    assert content["error"].startswith("line 2: not JSON")
    assert content["error"].endswith("2 records were taken")
    wait_for(lambda: told(server)["dead"] == 1 and store.count() == 2)


def test_json_that_is_no_event_is_taken_and_becomes_a_dead_letter(serve: Any, store: Store) -> None:
    server = serve()
    assert ask(server, b'{"event": "weather.report"}')[0] == 200
    wait_for(lambda: told(server)["dead"] == 1)
    [letter] = store.dead_letters()
    assert "family 'weather' is not one of" in letter.reason


@pytest.mark.parametrize(
    ("status", "method", "path"),
    [(404, "POST", "/elsewhere"), (404, "GET", "/../etc/passwd"), (405, "GET", "/"), (405, "POST", "/healthz")],
)
def test_only_what_there_is_can_be_asked_for(serve: Any, status: int, method: str, path: str) -> None:
    assert ask(serve(), b"{}", path, method)[0] == status


def test_a_body_too_long_is_refused_before_it_is_read(serve: Any) -> None:
    server = serve(size_limit=1000)
    assert ask(server, lines(record(0, exe="x" * 800)))[0] == 200
    assert ask(server, lines(record(0, exe="x" * 1000)))[0] == 413
    assert ask(server, b"x" * 5_000_000)[0] == 413  # and the client, which is still sending, hears it


def test_a_full_spool_asks_to_come_later_and_takes_again_when_it_is_emptied(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise StoreError("the disk is full")

    server = serve(spool_limit=2000)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put", fail)
        accepted = 0
        while (told_now := ask(server, lines(record(accepted))))[0] == 200:
            accepted += 1
        assert told_now[0] == 429
        assert int(told_now[2]["Retry-After"]) > 0
        assert 5 < accepted < 50
        wait_for(lambda: told(server)["problem"] == "the disk is full")
        assert (told(server)["waiting"], store.count()) == (accepted, 0)
    wait_for(lambda: ask(server, lines(record(accepted)))[0] == 200)
    wait_for(lambda: store.count() == accepted + 1)
    assert seqs(store) == list(range(accepted + 1))


def test_clients_wait_in_line_for_one_disk_and_each_is_answered(serve: Any, store: Store) -> None:
    server = serve()
    answers: list[int] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(server.address[0], server.address[1], timeout=20)
        for seq in range(25):
            body = lines(record(seq, pid=number))
            connection.request("POST", "/", body, {"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            answer.read()
            answers.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 500
    wait_for(lambda: store.count() == 500)


_SERVER = """
import sys, time
from panorama_driver.collector.http import HttpIngest
from panorama_driver.store import open_store
with open_store(sys.argv[1], durable=True) as store, HttpIngest(store, spool_dir=sys.argv[2], token=sys.argv[3]) as at:
    print(at.address[1], flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("lives", [8, pytest.param(50, marks=pytest.mark.long)])
def test_killed_at_any_moment_it_has_lost_nothing_that_was_answered_and_doubles_nothing(
    lives: int, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", _SERVER, str(tmp_path / "store.db"), str(tmp_path / "spool"), TOKEN]
    answered = sent = 0
    for life in range(lives):
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            port = int(server.stdout.readline())
            killer = threading.Timer(0.02 + 0.03 * (life % 8), server.send_signal, (signal.SIGKILL,))
            killer.start()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                while True:
                    # What was not answered is sent again by the next client, as the probe does it.
                    connection.request("POST", "/", lines(record(answered)), {"Authorization": f"Bearer {TOKEN}"})
                    sent += 1
                    answer = connection.getresponse()
                    answer.read()
                    assert answer.status == 200
                    answered += 1
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
                killer.join()
    with open_store(tmp_path / "store.db") as store:
        HttpIngest(store, spool_dir=tmp_path / "spool", token=TOKEN).start().stop()
        found = seqs(store)
    assert found in (list(range(answered)), list(range(answered + 1)))
    assert sent > answered > 20


_DYING = """
import os, signal, sys
from panorama_driver.collector.spool import Spool
from panorama_driver.store.sqlite import SQLiteStore
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
append = Spool.append
if sys.argv[4] == "put": SQLiteStore.put = die
if sys.argv[4] == "drop": Spool.drop = die
if sys.argv[4] == "append": Spool.append = lambda *words: (append(*words), die())
"""


@pytest.mark.parametrize(
    ("where", "answered"),
    [("put", None), ("drop", None), ("append", False)],
    ids=["before-it-is-stored", "between-store-and-spool", "before-it-is-answered"],
)
def test_killed_at_the_worst_moments_it_keeps_each_record_once(
    where: str, answered: bool | None, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", _DYING + _SERVER, str(tmp_path / "store.db"), str(tmp_path / "spool"), TOKEN, where]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        connection = http.client.HTTPConnection("127.0.0.1", int(server.stdout.readline()), timeout=10)
        connection.request("POST", "/", lines(record(0), record(1)), {"Authorization": f"Bearer {TOKEN}"})
        try:
            told = connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            told = False
        connection.close()
        assert server.wait(20) == -signal.SIGKILL
    assert answered is None or told == answered
    with open_store(tmp_path / "store.db") as store:
        before = store.count()
        assert before == (2 if where == "drop" else 0)
        again = HttpIngest(store, spool_dir=tmp_path / "spool", token=TOKEN).start()
        again.stop()
        assert (again.counts.stored, again.counts.duplicates) == (2 - before, before)
        assert seqs(store) == [0, 1]


def hostile(server: HttpIngest, *pieces: bytes, end: bool = False) -> bytes:
    """Send pieces as they are and read all that comes back."""
    with socket.create_connection(server.address, timeout=10) as client:
        for piece in pieces:
            try:
                client.sendall(piece)
            except OSError:
                break
        if end:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
        return answer


HEAD = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (b"400", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        (b"400", b"POST / HTTP/2.0\r\n\r\n"),
        (b"400", b"POST http://x/ HTTP/1.1\r\n\r\n"),
        (b"400", HEAD + b"no colon\r\n\r\n"),
        (b"400", HEAD + b" folded: x\r\n\r\n"),
        (b"400", HEAD + b"Content-Length: -1\r\n\r\n"),
        (b"400", HEAD + b"Content-Length: 1e3\r\n\r\n"),
        (b"400", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        (b"400", HEAD + b"X: a\nContent-Length: 2\r\n\r\n{}"),
        (b"411", HEAD + b"\r\n"),
        (b"411", HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        (b"413", HEAD + b"Content-Length: 99999999999999\r\n\r\n"),
        (b"415", HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
        (b"431", b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 40_000),
        (b"431", b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 10_000),
    ],
)
def test_what_is_no_proper_request_is_answered_so_and_the_connection_closed(
    serve: Any, status: bytes, head: bytes
) -> None:
    server = serve()
    answer = hostile(server, head, end=True)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in answer
    assert ask(server, lines(record(0)))[0] == 200


def test_a_client_that_waits_for_a_word_gets_it(serve: Any, store: Store) -> None:
    body = lines(record(0))
    server = serve()
    head = HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(head)
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: store.count() == 1)


def test_slow_clients_are_given_up_and_hold_up_nobody(
    serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http_service, "_HEAD_WITHIN", 0.3)
    monkeypatch.setattr(_http_service, "_BODY_WITHIN", 0.3)
    server = serve()
    slow = [socket.create_connection(server.address, timeout=10) for _ in range(50)]
    for number, client in enumerate(slow):
        client.sendall(HEAD[:-9] if number % 2 else HEAD + b"Content-Length: 100\r\n\r\n{")
    assert ask(server, lines(record(0)))[0] == 200
    for number, client in enumerate(slow):
        answer = client.recv(1000)
        assert answer == b"" if number % 2 else answer.startswith(b"HTTP/1.1 408 ")
        client.close()
    wait_for(lambda: told(server)["connections"] == 1)
    assert store.count() == 1


def test_more_clients_than_are_heard_are_told_to_come_later(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_service, "CONNECTIONS", 3)
    server = serve()
    clients = [socket.create_connection(server.address, timeout=10) for _ in range(3)]
    for client in clients:
        client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert b'"status":"ok"' in client.recv(1000)
    assert hostile(server).startswith(b"HTTP/1.1 503 ")
    for client in clients:
        client.close()
    wait_for(lambda: server.counts.connections == 0)
    assert told(server)["status"] == "ok"


def test_bodies_being_received_are_bounded_together(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_service, "IN_FLIGHT", 1500)
    server = serve()
    with socket.create_connection(server.address, timeout=10) as first:
        first.sendall(HEAD + b"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
        assert b" 100 " in first.recv(100)
        status, _, headers = ask(server, b" " * 600)
        assert (status, "Retry-After" in headers) == (503, True)
    wait_for(lambda: server.counts.connections == 0)
    assert ask(server, lines(record(0)) + b" " * 600)[0] == 200


def test_bodies_count_until_they_are_on_disk(serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http_service, "IN_FLIGHT", 1500)
    begun, disk = threading.Event(), threading.Event()
    append = Spool.append

    def slowly(spool: Spool, items: Iterable[bytes]) -> None:
        begun.set()
        disk.wait(20)
        append(spool, items)

    monkeypatch.setattr(Spool, "append", slowly)
    server = serve()
    first = threading.Thread(target=ask, args=(server, lines(record(0)) + b" " * 900))
    first.start()
    assert begun.wait(20)
    assert ask(server, b" " * 900)[0] == 503
    disk.set()
    first.join()
    wait_for(lambda: store.count() == 1)


def test_a_body_of_very_many_lines_is_refused_before_they_are_looked_at(serve: Any, store: Store) -> None:
    server = serve()
    status, content, _ = ask(server, b"x\n" * (LINE_COUNT + 1))
    assert (status, content["error"]) == (413, "50001 lines are more than the 50000 that are taken at once")
    assert list(store.dead_letters()) == []


def test_a_defect_of_a_parser_costs_one_record(serve: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(body: bytes) -> list[Event]:
        if b"unforeseen" in body:
            raise KeyError("unforeseen")
        return events_of(body)

    monkeypatch.setattr(_intake, "events_of", defective)
    assert ask(serve(), lines(record(0), record(1, unforeseen=1), record(2)))[0] == 200
    wait_for(lambda: any(store.dead_letters()))
    assert store.count() == 2
    [letter] = store.dead_letters()
    assert "defect of this program: KeyError: 'unforeseen'" in letter.reason
    assert letter.whole


def test_an_address_that_is_taken_is_told(serve: Any, store: Store, tmp_path: Path) -> None:
    server = serve()
    with pytest.raises(EnvironmentMissingError, match=r"127\.0\.0\.1:\d+: cannot listen there: Address already in use"):
        HttpIngest(store, spool_dir=tmp_path / "other", token=TOKEN, address=server.address).start()


def test_the_token_is_a_file_that_nobody_else_may_read(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(EnvironmentMissingError, match="No such file"):
        read_token(path)
    token = read_token(path, make=True)
    assert (len(token), path.stat().st_mode & 0o777) == (64, 0o600)
    assert read_token(path, make=True) == token
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token(path)
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="no token in the first line"):
        read_token(path)


def test_without_a_token_it_does_not_begin(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no token"):
        HttpIngest(store, spool_dir=tmp_path, token="")


def test_it_knows_whether_others_can_read_the_token(serve: Any, tmp_path: Path) -> None:
    assert serve().private
    assert not serve(address=("0.0.0.0", 0), spool_dir=tmp_path / "open").private


def test_it_speaks_https(serve: Any, store: Store, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run([*words, *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    server = serve(tls=server_context(certificate, key))
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection(server.address[0], server.address[1], timeout=10, context=context)
    connection.request("POST", "/", lines(record(0)), {"Authorization": f"Bearer {TOKEN}"})
    assert connection.getresponse().status == 200
    connection.close()
    wait_for(lambda: store.count() == 1)
    with pytest.raises(EnvironmentMissingError, match="no certificate with its key"):
        server_context(tmp_path / "none.pem")
