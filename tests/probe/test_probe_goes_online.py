"""The records arrive at an HTTP endpoint while the job runs, and no endpoint holds up a job."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.probe import PROBE
from panorama_driver.probe.panorama_probe import login_for

WORDS = [sys.executable, "-IS", str(PROBE), "--interval", "0.05"]
PUBLISH = "/api/exchanges/%2F/monitoring/publish"
SECRET = "s3cret-word"
LATE = 2.5
"""Longest time between the end of a job and its probe's [s]: a second of patience, and a busy machine's delays."""


class Endpoint(http.server.ThreadingHTTPServer):
    """Takes what is posted; `reply` may say otherwise."""

    daemon_threads = True

    def __init__(self, reply: Callable[[int], tuple[int, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply = reply
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived = threading.Condition()
        self.connections: set[Any] = set()

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]

    def wait_for(self, number: int) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.requests) >= number, timeout=10)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment: a second one would wait 40 ms for the first one's ACK
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.arrived:
            number = len(self.server.requests)
            self.server.requests.append((self.path, dict(self.headers), body))
            self.server.connections.add(self.client_address)
            self.server.arrived.notify_all()
        status, answer = self.server.reply(number)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(
    reply: Callable[[int], tuple[int, bytes]] = lambda _: (200, b'{"routed":true}'),
    context: ssl.SSLContext | None = None,
) -> Iterator[Endpoint]:
    with Endpoint(reply) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def run(*command: str, url: str, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[bytes]:
    names = {**os.environ, "KICKSTART_MON_URL": url, **(env or {})}
    return subprocess.run(
        [*WORDS, *more.pop("options", ()), "--", *command], env=names, capture_output=True, timeout=30
    )


def http_url(server: Endpoint, path: str = "/in", userinfo: str = "", scheme: str = "http") -> str:
    return f"{scheme}://{userinfo}127.0.0.1:{server.server_port}{path}"


def test_records_arrive_one_by_one_in_order_while_the_job_runs(started: Any) -> None:
    with serving() as server:
        env = {**os.environ, "KICKSTART_MON_URL": http_url(server)}
        job = started(subprocess.Popen([*WORDS, "cat"], env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE))
        assert server.wait_for(3)
        assert job.poll() is None
        _, told = job.communicate()
        bodies = server.bodies()
    assert (job.returncode, told) == (0, b"")
    assert [body["seq"] for body in bodies] == list(range(len(bodies)))
    assert [body["final"] for body in bodies] == [False] * (len(bodies) - 1) + [True]
    assert {body["event"] for body in bodies} == {"kickstart.inv.online"}
    assert bodies[-1]["hostname"] == os.uname().nodename
    assert len(server.connections) == 1


def test_a_short_job_is_delivered_whole() -> None:
    with serving() as server:
        done = run("sh", "-c", "echo out; exit 3", url=http_url(server))
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
        assert server.bodies()[-1]["exitcode_raw"] == 3 << 8
        assert {headers["Content-Type"] for _, headers, _ in server.requests} == {"application/json"}


def test_rabbitmqs_management_gets_each_record_in_its_envelope() -> None:
    with serving() as server:
        assert run("true", url=http_url(server, PUBLISH, scheme="rabbitmq")).stderr == b""
        assert {path for path, _, _ in server.requests} == {PUBLISH}
        envelopes = server.bodies()
    records = [json.loads(base64.b64decode(envelope.pop("payload"))) for envelope in envelopes]
    assert records[-1]["final"]
    assert envelopes[0] == {
        "properties": {"content_type": "application/json", "delivery_mode": 2},
        "routing_key": "kickstart.inv.online",
        "payload_encoding": "base64",
    }


def test_an_exchange_without_a_queue_is_told() -> None:
    with serving(lambda _: (200, b'{"routed":false}')) as server:
        done = run("true", url=http_url(server, PUBLISH, scheme="rabbitmq"))
    assert b"records were not delivered: the exchange has no queue" in done.stderr


def test_a_trace_may_be_written_besides(tmp_path: Path) -> None:
    with serving() as server:
        run("true", url=http_url(server), options=("--trace", str(tmp_path / "trace")))
        traced = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
        assert server.bodies() == traced


def test_a_password_in_the_url_is_used_and_kept_from_the_job_and_from_all_that_is_written(tmp_path: Path) -> None:
    with serving() as server:
        url = http_url(server, userinfo=f"pan%40rama:{SECRET}@")
        env = {"PANORAMA_PROBE_PAYLOAD": "1", "PANORAMA_PROBE_MARKER": "stdout"}
        done = run("env", url=url, env=env, options=("--trace", str(tmp_path / "trace")))
        headers = server.requests[-1][1]
        assert f"KICKSTART_MON_URL={http_url(server)}\n".encode() in done.stdout
    assert headers["Authorization"] == "Basic " + base64.b64encode(f"pan@rama:{SECRET}".encode()).decode()
    written = done.stdout + done.stderr + (tmp_path / "trace").read_bytes() + b"".join(b for _, _, b in server.requests)
    assert SECRET.encode() not in written


@pytest.mark.parametrize(
    "url",
    [f"http://u:{SECRET}@[::1]:x/in", f"http://u:{SECRET}/x@host:1/in", f"amqp://u:{SECRET}@host:5672/x"],
    ids=["bracket", "slash", "scheme"],  # pytest puts the name of a test into its environment
)
def test_a_url_that_is_none_is_told_without_its_password(url: str) -> None:
    done = run("env", url=url)
    assert done.returncode == 0
    assert b"KICKSTART_MON_URL" in done.stderr or b"online" in done.stderr
    assert SECRET.encode() not in done.stdout + done.stderr


def test_credentials_come_from_a_file_of_its_owner(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine elsewhere login a password b\nmachine 127.0.0.1\n login me\n password {SECRET}\n")
    netrc.chmod(0o600)
    with serving() as server:
        done = run("true", url=http_url(server), env={"PANORAMA_PROBE_CREDENTIALS": str(netrc)})
        assert done.stderr == b""
        word = base64.b64encode(f"me:{SECRET}".encode()).decode()
        assert {headers["Authorization"] for _, headers, _ in server.requests} == {f"Basic {word}"}


@pytest.mark.parametrize(("mode", "reason"), [(0o640, b"chmod 600"), (0o604, b"chmod 600"), (None, b"No such file")])
def test_credentials_that_others_may_read_or_that_are_missing_are_refused(
    tmp_path: Path, mode: int | None, reason: bytes
) -> None:
    netrc = tmp_path / "netrc"
    if mode is not None:
        netrc.write_text(f"default login me password {SECRET}\n")
        netrc.chmod(mode)
    with serving() as server:
        done = run("sh", "-c", "exit 4", url=http_url(server), env={"PANORAMA_PROBE_CREDENTIALS": str(netrc)})
        assert server.requests == []
    assert done.returncode == 4
    assert reason in done.stderr
    assert SECRET.encode() not in done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("machine h login u password p", ("u", "p")),
        ("machine x login a password b machine h login u account z password p machine y login c", ("u", "p")),
        ("default login u password p", ("u", "p")),
        ("machine h login u password p default login d password e", ("u", "p")),
        ("machine x login a password b", None),
        ("", None),
        ("machine", None),
        ("machine h login", ("", "")),
    ],
)
def test_a_netrc_is_read_word_by_word(text: str, found: tuple[str, str] | None) -> None:
    assert login_for("h", text) == found


@pytest.mark.measures
def test_refused_connections_cost_no_time_and_are_told() -> None:
    with socket.socket() as held:  # bound, but not listening
        held.bind(("127.0.0.1", 0))
        begin = time.monotonic()
        done = run("sh", "-c", "echo out; exit 5", url=f"http://127.0.0.1:{held.getsockname()[1]}/in")
        took = time.monotonic() - begin
    assert (done.returncode, done.stdout) == (5, b"out\n")
    assert b"records were not delivered: [Errno 111] Connection refused" in done.stderr
    assert took < 2, f"measured {took:.2f} s"


def delay(*words: str, env: dict[str, str], folder: Path) -> tuple[float, list[str]]:
    """Run a job of 0.3 s; return how long after its end the probe ended [s], and the problems that it told."""
    trace = folder / "trace"
    subprocess.run([*WORDS, "--trace", str(trace), *words, "sleep", "0.3"], env={**os.environ, **env}, check=True)
    now = time.time()
    last = json.loads(trace.read_text().splitlines()[-1])
    return now - last["start_ts"] - last["dur"], last["problems"]


@pytest.mark.measures
def test_a_server_that_never_answers_holds_up_a_job_no_longer_than_a_second(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/in"
        late, problems = delay(env={"KICKSTART_MON_URL": url}, folder=tmp_path)
    assert late < LATE, f"measured {late:.2f} s"
    assert any("records were not delivered" in problem for problem in problems)


@pytest.mark.measures
def test_a_server_that_answers_byte_by_byte_holds_up_a_job_no_longer_than_a_second(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as drip:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = drip.accept()
            with connection:
                connection.recv(65536)
                while not ended.wait(0.05):
                    connection.send(b"H")

        thread = threading.Thread(target=answer)
        thread.start()
        late, problems = delay(env={"KICKSTART_MON_URL": f"http://127.0.0.1:{drip.getsockname()[1]}/"}, folder=tmp_path)
        ended.set()
        thread.join()
    assert late < LATE, f"measured {late:.2f} s"
    assert any("records were not delivered" in problem for problem in problems)


@pytest.mark.measures
def test_a_name_server_that_never_answers_holds_up_a_job_no_longer_than_a_second(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    inside = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && ip link set lo up && exec"
    words = ["unshare", "-rmn", "sh", "-c", f'{inside} "$@"', "sh"]
    if subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of one's own for a resolv.conf (unshare -rmn)")
    deaf = "import os, socket, sys; held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); held.bind(('', 53)); "
    deaf += "import subprocess; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    command = [*words, sys.executable, "-c", deaf, *WORDS, "--trace", str(tmp_path / "trace"), "sleep", "0.3"]
    subprocess.run(command, env={**os.environ, "KICKSTART_MON_URL": "http://broker.example.org/in"}, check=True)
    now = time.time()
    last = json.loads((tmp_path / "trace").read_text().splitlines()[-1])
    late = now - last["start_ts"] - last["dur"]
    assert late < LATE, f"measured {late:.2f} s"
    assert any("records were not delivered" in problem for problem in last["problems"])


@pytest.mark.measures
@pytest.mark.parametrize(
    ("status", "reason"), [(500, "it answered 500"), (401, "it answered 401"), (302, "redirects are not followed")]
)
def test_what_an_endpoint_refuses_is_told(tmp_path: Path, status: int, reason: str) -> None:
    with serving(lambda _: (status, b"no")) as server:
        late, problems = delay(env={"KICKSTART_MON_URL": http_url(server)}, folder=tmp_path)
        assert {path for path, _, _ in server.requests} == {"/in"}
    assert late < LATE, f"measured {late:.2f} s"
    assert any(reason in problem for problem in problems)


def test_a_record_that_is_refused_for_good_does_not_stop_the_others() -> None:
    with serving(lambda number: (413 if number == 1 else 200, b"")) as server:
        done = run("sleep", "0.2", url=http_url(server))
        sequence = [body["seq"] for body in server.bodies()]
    assert sequence == list(range(len(sequence)))
    assert b"1 records were not delivered: it answered 413" in done.stderr


def test_after_a_spell_of_errors_all_records_arrive_in_order() -> None:
    with serving(lambda number: (503 if number < 2 else 200, b"")) as server:
        done = run("sleep", "1", url=http_url(server))
        sequence = [body["seq"] for body in server.bodies()][2:]
    assert done.stderr == b""
    assert sequence == list(range(len(sequence)))
    assert len(sequence) > 5


def test_a_server_that_hangs_up_after_each_answer_gets_every_record_once() -> None:
    class Hasty(Handler):
        def do_POST(self) -> None:
            super().do_POST()
            self.close_connection = True

    with serving() as server:
        server.RequestHandlerClass = Hasty
        assert run("sleep", "0.2", url=http_url(server)).stderr == b""
        sequence = [body["seq"] for body in server.bodies()]
    assert sequence == list(range(len(sequence)))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    path = tmp_path / "cert.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"]
    subprocess.run([*words.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(str(path) + ".crt").read_text())
    return path


@pytest.fixture
def secured(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_https_is_verified_with_the_certificates_that_the_site_names(
    certificate: Path, secured: ssl.SSLContext
) -> None:
    with serving(context=secured) as server:
        url = http_url(server, scheme="https")
        assert run("true", url=url, env={"PANORAMA_PROBE_CA": str(certificate)}).stderr == b""
        assert server.bodies()[-1]["final"]


def test_https_without_a_certificate_to_trust_sends_nothing(secured: ssl.SSLContext) -> None:
    with serving(context=secured) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        done = run("sh", "-c", "exit 3", url=http_url(server, PUBLISH, f"me:{SECRET}@", "rabbitmqs"))
        assert server.requests == []
    assert done.returncode == 3
    assert b"CERTIFICATE_VERIFY_FAILED" in done.stderr


def test_the_bytes_of_a_job_stay_exact_while_its_records_are_posted(
    tmp_path: Path, certificate: Path, secured: ssl.SSLContext, started: Any
) -> None:
    job = """
import os
all_gone, held = os.pipe()
os.read(0, 1)
for _ in range(500):
    if os.fork() == 0:
        if os.fork() == 0: os.write(1, bytes(1000))
        os._exit(0)
    os.wait()
os.close(held)
os.read(all_gone, 1)
os._exit(0)
"""  # orphans are what the probe itself reaps, and sees the I/O of by its own
    trace = tmp_path / "trace"
    backlog = threading.Event()
    with serving(lambda _: (200, b"x" * backlog.wait(10)), secured) as server:
        url = http_url(server, scheme="https")
        env = {**os.environ, "KICKSTART_MON_URL": url, "PANORAMA_PROBE_CA": str(certificate)}
        words = [*WORDS, "--trace", str(trace), "--interval", "0.001", sys.executable, "-IS", "-c", job]
        probe = started(subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
        while not trace.exists() or trace.read_bytes().count(b"\n") < 200:
            pass
        backlog.set()
        probe.communicate(b".")
        assert len(server.requests) > 200
    last = json.loads(trace.read_text().splitlines()[-1])
    assert (last["wchar"], last["syscw"]) == (500000, 500)
