"""The client of the Ensemble Manager and its service, against the manager that Pegasus has released."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panorama_driver.engines.pegasus import service
from panorama_driver.engines.pegasus.manager import (
    MEANINGS,
    Credentials,
    Ensemble,
    Manager,
    Workflow,
    listener,
    remark,
)
from panorama_driver.engines.pegasus.service import Account, connect, read_settings
from panorama_driver.errors import EnvironmentMissingError, ManagerError, UsageError
from tests.released import Released, released_python

_SILENT: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PANORAMA_ENSEMBLE_", "PEGASUS_", "CONDOR_"))]:
        if name != "PANORAMA_PEGASUS_VENV":
            monkeypatch.delenv(name)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Released]:
    """A user whose manager does not run yet; what is started ends with the test."""
    user = Released(tmp_path)
    monkeypatch.setenv("PATH", user.environment["PATH"])
    yield user
    service.down(user.account)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    """A user whose manager runs."""
    user = Released(tmp_path_factory.mktemp("running"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", user.environment["PATH"])
        service.up(user.account, 0.2, _SILENT.append)
        yield user
        service.down(user.account)


@pytest.fixture
def manager(running: Released) -> Manager:
    return connect(account=running.account)


@pytest.fixture
def ensemble(manager: Manager, request: pytest.FixtureRequest) -> str:
    """An ensemble of the test's own."""
    name = f"e{abs(hash(request.node.name))}"
    return manager.create(name, 2, 2).name


def until(manager: Manager, ensemble: str, name: str, *states: str) -> Workflow:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = manager.workflow(ensemble, name)
        if found is not None and found.state in states:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} is not {' or '.join(states)} but {found}")


def test_up_starts_a_manager_with_a_password_of_its_own_and_down_ends_it(released: Released) -> None:
    account = released.account
    started = service.up(account, 0.5, _SILENT.append)
    assert (started.url, started.fresh, started.interval) == (account.url, True, 0.5)
    file = account.folder / "service.py"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert connect(account=account).ensembles() == []
    for credentials in (None, Credentials("someone", "wrong"), Credentials("root", _password(account))):
        with pytest.raises(ManagerError, match=r"wants a user and a password|refuses user") as caught:
            Manager(account.url, credentials).ensembles()
        assert (caught.value.status, caught.value.transient, caught.value.exit_code) == (401, False, 3)
    assert service.down(account)
    assert not service.down(account)
    with pytest.raises(ManagerError, match="panorama ensemble up") as away:
        connect(account=account).ensembles()
    assert away.value.transient


def _password(account: Account) -> str:
    settings = read_settings(account)
    assert settings is not None
    assert settings.password is not None
    return settings.password


def test_up_again_changes_nothing_and_a_configuration_of_the_users_stays(released: Released) -> None:
    account = released.account
    account.folder.mkdir()
    text = "USERNAME = 'me'\nPASSWORD = 'x'\nAUTHENTICATION = 'NoAuthentication'\n"
    (account.folder / "service.py").write_text(text)
    said: list[str] = []
    assert service.up(account, 2.0, said.append).interval == 60.0
    assert any("write EM_INTERVAL = 2 there" in line for line in said)
    assert not service.up(account, 2.0, said.append).fresh
    assert (account.folder / "service.py").read_text() == text


def test_two_that_ask_at_once_start_one_manager(released: Released) -> None:
    words = [sys.executable, "-c", "from panorama_driver.cli import main; main()", "ensemble", "up", "--json"]
    both = [
        subprocess.Popen(words, env=released.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    fresh = [msgspec.json.decode(one.communicate(timeout=60)[0])["fresh"] for one in both]
    assert sorted(fresh) == [False, True]


def test_a_manager_that_has_lost_its_database_is_started_anew(released: Released) -> None:
    account = released.account
    service.up(account, 0.2, _SILENT.append)
    account.database.unlink()
    with pytest.raises(ManagerError, match="pegasus-db-admin create"):
        connect(account=account).ensembles()
    assert service.up(account, 0.2, _SILENT.append).fresh
    client = connect(account=account)
    client.create("e")
    client.submit("e", "w", 0, released.home, "echo no plan")
    until(client, "e", "w", "PLAN_FAILED")


def test_up_says_what_is_missing_and_who_may_not(released: Released) -> None:
    (released.bin / "condor_submit_dag").unlink()
    if not service.find_program("condor_submit_dag", "CONDOR_HOME"):
        with pytest.raises(EnvironmentMissingError, match="no condor_submit_dag on PATH"):
            service.up(released.account, 1.0, _SILENT.append)
    with pytest.raises(EnvironmentMissingError, match="refuses to run as root"):
        service.up(Account(0, "root", released.home), 1.0, _SILENT.append)


def test_a_manager_that_ends_at_once_is_told_with_its_words(released: Released) -> None:
    released.program("pegasus-em", "echo no such thing as a manager >&2; exit 5")
    with pytest.raises(ManagerError, match=r"ended with exit code 5.*no such thing as a manager"):
        service.up(released.account, 1.0, _SILENT.append)
    assert not (released.account.folder / "panorama-em.json").exists()


def test_a_manager_that_never_answers_is_ended(released: Released) -> None:
    released.program("pegasus-em", f"echo $$ > {released.home}/pid; exec sleep 1000")
    with pytest.raises(ManagerError, match="no answer within 3 s"):
        service.up(released.account, 1.0, _SILENT.append, wait=3)  # in which it writes down its number
    pid = int((released.home / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_manager_on_another_host_is_left_alone_and_named(released: Released) -> None:
    service.up(released.account, 1.0, _SILENT.append)
    record = released.account.folder / "panorama-em.json"
    ours = record.read_text()
    record.write_text(ours.replace(os.uname().nodename, "login07"))
    with pytest.raises(ManagerError, match="started on login07"):
        service.down(released.account)
    record.write_text(ours)


def test_down_ends_no_process_that_only_has_the_number(released: Released) -> None:
    service.up(released.account, 1.0, _SILENT.append)
    record = released.account.folder / "panorama-em.json"
    ours = record.read_bytes()
    other = msgspec.json.decode(ours)
    record.write_bytes(msgspec.json.encode({**other, "pid": os.getpid()}))
    assert not service.down(released.account)
    record.write_bytes(ours)


def test_an_ensemble_is_made_once_and_takes_new_limits(manager: Manager) -> None:
    first = manager.create("limits", 3, 2)
    assert (first.state, first.max_running, first.max_planning) == ("ACTIVE", 3, 2)
    assert manager.create("limits", 3, 2) == first
    assert manager.create("limits", 7, 1).max_running == 7
    assert [one.name for one in manager.ensembles()].count("limits") == 1


def test_a_paused_ensemble_plans_nothing_until_it_is_activated(
    manager: Manager, ensemble: str, running: Released
) -> None:
    assert manager.pause(ensemble).state == "PAUSED"
    manager.submit(ensemble, "w", 0, running.home, "echo no plan")
    manager.create("other", 1, 1)
    manager.submit("other", "later", 0, running.home, "echo no plan")
    until(manager, "other", "later", "PLAN_FAILED")
    waiting = manager.workflow(ensemble, "w")
    assert waiting is not None
    assert waiting.state == "READY"
    manager.activate(ensemble)
    until(manager, ensemble, "w", "PLAN_FAILED")


def test_a_workflow_is_handed_in_once_whoever_asks_again(manager: Manager, ensemble: str, running: Released) -> None:
    assert manager.workflow(ensemble, "w") is None
    first = manager.submit(ensemble, "w", 5, running.home, "echo hi")
    again = manager.submit(ensemble, "w", 5, running.home, "echo hi")
    assert (first.reattached, again.reattached) == (False, True)
    assert first.workflow.created == again.workflow.created
    assert [(one.name, one.priority) for one in manager.workflows(ensemble)] == [("w", 5)]
    with pytest.raises(UsageError, match=f"is that of {running.home}"):
        manager.submit(ensemble, "w", 5, running.home / "elsewhere", "echo hi")


def test_many_that_hand_in_the_same_at_once_hand_it_in_once(manager: Manager, ensemble: str, running: Released) -> None:
    found: list[float] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(manager.submit(ensemble, "w", 0, running.home, "echo hi").workflow.created)
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len(manager.workflows(ensemble)) == 1


@contextlib.contextmanager
def between(manager: Manager, drop: Callable[[bytes], bool]) -> Iterator[Manager]:
    """A client whose requests pass a listener that swallows the answers to those that `drop` says."""
    target = int(manager.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    near, _ = server.accept()
                except OSError:
                    return
                with near, socket.create_connection(("127.0.0.1", target)) as far:
                    request = _request(near)
                    far.sendall(request)
                    answer = b"".join(iter(lambda: far.recv(65536), b""))
                    if not drop(request):
                        near.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = Manager(f"http://127.0.0.1:{server.getsockname()[1]}", manager._credentials, timeout=5)
        yield client
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _request(connection: socket.socket) -> bytes:
    """A whole request: its head, and as much of a body as that promises."""
    whole = b""
    while b"\r\n\r\n" not in whole:
        whole += connection.recv(65536)
    head, _, body = whole.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head.replace(b"keep-alive", b"close") + b"\r\n\r\n" + body


def test_a_lost_answer_to_a_submission_is_looked_up_and_not_sent_again(
    manager: Manager, ensemble: str, running: Released
) -> None:
    posts: list[bytes] = []

    def lose(request: bytes) -> bool:
        if request.startswith(b"POST"):
            posts.append(request)
        return request.startswith(b"POST")

    with between(manager, lose) as client:
        done = client.submit(ensemble, "w", 0, running.home, "echo hi")
    assert (done.workflow.name, done.reattached, len(posts)) == ("w", False, 1)
    assert len(manager.workflows(ensemble)) == 1


def test_an_answer_lost_for_good_is_an_error_that_may_pass(manager: Manager, ensemble: str, running: Released) -> None:
    with between(manager, lambda _: True) as client, pytest.raises(ManagerError) as caught:
        client.submit(ensemble, "w", 0, running.home, "echo hi")
    assert caught.value.transient


def test_a_failed_plan_is_told_in_the_planners_words_and_can_be_planned_again(
    manager: Manager, ensemble: str, running: Released
) -> None:
    manager.submit(ensemble, "w", 0, running.home, "echo FATAL ERROR: no such site cori")
    failed = until(manager, ensemble, "w", "PLAN_FAILED")
    assert failed.over
    assert "LOG: FATAL ERROR: no such site cori" in manager.analyze(ensemble, "w")
    with pytest.raises(ManagerError, match="Can only replan"):
        manager.rerun(ensemble, "w")
    assert manager.replan(ensemble, "w").state == "READY"
    assert not manager.replan(ensemble, "w").over or until(manager, ensemble, "w", "PLAN_FAILED")


def test_a_priority_changes_until_the_workflow_runs(manager: Manager, running: Released) -> None:
    manager.create("prior", 1, 1)
    manager.pause("prior")
    manager.submit("prior", "w", 0, running.home, running.planned())
    assert manager.set_priority("prior", "w", 9).priority == 9
    manager.activate("prior")
    runs = until(manager, "prior", "w", "RUNNING")
    assert runs.submitdir == str(running.home / "submit")
    with pytest.raises(UsageError, match="runs already"):
        manager.set_priority("prior", "w", 3)
    after = manager.workflow("prior", "w")
    assert after is not None
    assert after.updated == runs.updated


def test_a_killed_manager_knows_its_workflows_when_it_is_back(released: Released) -> None:
    account = released.account
    service.up(account, 0.2, _SILENT.append)
    client = connect(account=account)
    client.create("e", 1, 1)
    client.submit("e", "w", 0, released.home, released.plan_script("sleep 1; echo no plan"))
    until(client, "e", "w", "PLANNING")
    os.kill(msgspec.json.decode((account.folder / "panorama-em.json").read_bytes())["pid"], signal.SIGKILL)
    with pytest.raises(ManagerError) as caught:
        until(client, "e", "w", "never")
    assert caught.value.transient
    service.up(account, 0.2, _SILENT.append)
    assert client.submit("e", "w", 0, released.home, "./plan.sh").reattached
    until(client, "e", "w", "PLAN_FAILED")


def test_what_the_manager_does_not_know_is_said(manager: Manager, ensemble: str) -> None:
    with pytest.raises(ManagerError, match="No such ensemble: nowhere; make it with") as caught:
        manager.workflows("nowhere")
    assert caught.value.status == 404
    assert manager.ensemble("nowhere") is None
    assert manager.workflow("nowhere", "w") is None
    for act in (manager.replan, manager.rerun):
        with pytest.raises(ManagerError, match="No such ensemble workflow"):
            act(ensemble, "w")
    with pytest.raises(UsageError, match="knows no workflow"):
        manager.set_priority(ensemble, "w", 1)


def test_an_address_below_the_managers_is_no_manager(running: Released) -> None:
    with pytest.raises(ManagerError, match="is no Ensemble Manager") as caught:
        connect(f"{running.account.url}/pegasus", running.account).ensembles()
    assert not caught.value.transient


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    running: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert connect(account=running.account).ensembles()


@contextlib.contextmanager
def answering(*pieces: bytes, hang: bool = False) -> Iterator[str]:
    """Address of a server that gives everybody these bytes, and then ends or says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError):
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                if hang:
                    kept.append(connection)
                else:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "hang", "words", "transient"),
    [
        (b"", True, "no answer within", True),
        (b"", False, "broke off", True),
        (_HEAD + b"Content-Length: 100\r\n\r\n[", True, "no answer within", True),
        (_HEAD + b"Content-Length: 100\r\n\r\n[", False, "broke off", True),
        (_HEAD + b'Content-Length: 9\r\n\r\n{"a": 1}\n', False, "is no Ensemble Manager", False),
        (_HEAD + b"\r\n\xff\xfe\x00", False, "is no Ensemble Manager", False),
        (_HEAD + b'\r\n[{"name": 3}]', False, "is no Ensemble Manager", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "is no Ensemble Manager", False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n<html>nginx</html>", False, "is no Ensemble Manager.*404.*nginx", False),
        (b'HTTP/1.1 404 Not Found\r\n\r\n{"message": "Not Found"}', False, "is no Ensemble Manager", False),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", False, "is no Ensemble Manager.*302", False),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False, "answers 503", True),
        (b'HTTP/1.1 500 No\r\n\r\n{"message": "(sqlite3) database is locked"}', False, "is locked", True),
        (b'HTTP/1.1 500 No\r\n\r\n{"message": "Invalid priority: x"}', False, "says: Invalid priority", False),
        (b"HTTP/1.1 401 No\r\n\r\nBasic Auth Required", False, "wants a user and a password", False),
    ],
)
def test_an_answer_that_is_none_is_told_as_what_it_is(answer: bytes, hang: bool, words: str, transient: bool) -> None:
    with answering(answer, hang=hang) as url, pytest.raises(ManagerError, match=words) as caught:
        Manager(url, timeout=0.3 if hang else 20).ensembles()
    assert caught.value.transient is transient
    assert url in str(caught.value)


def test_an_answer_without_end_is_cut_off() -> None:
    endless = answering(_HEAD + b"\r\n", *[b"[" * (1 << 20)] * 70, hang=True)
    with endless as url, pytest.raises(ManagerError, match=r"is no Ensemble Manager.*more than 64 MiB"):
        Manager(url, timeout=30).ensembles()


@given(st.binary(max_size=200))
def test_no_answer_makes_the_client_stumble(answer: bytes) -> None:
    with answering(answer) as url, contextlib.suppress(ManagerError):
        Manager(url, timeout=5).ensembles()


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:9919", "ftp://x", "http://", "http://h:0", "http://h:x", "http://h?a=b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        Manager(url)


def test_a_password_goes_neither_into_an_address_nor_into_a_text() -> None:
    with pytest.raises(UsageError, match="holds no user and password"):
        Manager("http://me:secret@127.0.0.1:9919")
    assert "secret" not in repr(Credentials("me", "secret"))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a.b", "ä", "x" * 100, "a\n"])
def test_a_name_that_the_manager_would_refuse_is_refused_before_it_is_asked(name: str) -> None:
    with pytest.raises(UsageError, match="is no name"):
        Manager("http://127.0.0.1:1").workflow("e", name)


def test_a_password_goes_in_clear_text_to_no_other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    account = Account(1234, "me", tmp_path)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_USER", "me")
    with pytest.raises(UsageError, match="belong together"):
        connect("http://login.example.org:9919", account)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_PASSWORD", "secret")
    with pytest.raises(UsageError, match="in clear text"):
        connect("http://login.example.org:9919", account)
    connect("https://login.example.org", account)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_CLEARTEXT", "1")
    connect("http://login.example.org:9919", account)


def test_credentials_are_read_and_never_run(tmp_path: Path) -> None:
    account = Account(1234, "me", tmp_path)
    assert read_settings(account) is None
    account.folder.mkdir()
    file = account.folder / "service.py"
    file.write_text(
        f"import os\nopen({str(tmp_path / 'ran')!r}, 'w')\nUSERNAME = 'me'\nPASSWORD = 'a' + 'b'\n"
        "PASSWORD = 'real'\nEM_INTERVAL = 7\nif True:\n    USERNAME = 'other'\n"
    )
    file.chmod(0o644)
    settings = read_settings(account)
    assert settings is not None
    assert (settings.user, settings.password, settings.interval, settings.private) == ("me", "real", 7.0, False)
    assert settings.authentication == "PAMAuthentication"
    assert not (tmp_path / "ran").exists()
    file.write_text("EM_INTERVAL = 'often'")
    with pytest.raises(UsageError, match="EM_INTERVAL is 'often'"):
        read_settings(account)
    file.write_text("PASSWORD = (")
    with pytest.raises(UsageError, match=r"service\.py: cannot be read"):
        read_settings(account)


def test_the_configured_password_goes_only_to_this_machine(tmp_path: Path) -> None:
    account = Account(1234, "me", tmp_path)
    account.folder.mkdir()
    (account.folder / "service.py").write_text("USERNAME = 'me'\nPASSWORD = 'secret'\n")
    assert connect(account=account)._credentials == Credentials("me", "secret")
    assert connect("https://login.example.org", account)._credentials is None


def test_a_netrc_file_holds_the_password_if_nobody_else_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(1234, "me", tmp_path)
    file = tmp_path / "netrc"
    file.write_text("machine login.example.org login me password secret\n")
    file.chmod(0o644)
    monkeypatch.setenv("PANORAMA_ENSEMBLE_CREDENTIALS", str(file))
    with pytest.raises(UsageError, match="chmod 600"):
        connect("https://login.example.org", account)
    file.chmod(0o600)
    assert connect("https://login.example.org", account)._credentials == Credentials("me", "secret")
    with pytest.raises(UsageError, match=r"no line `machine 127\.0\.0\.1"):
        connect(account=account)


def test_nobody_else_who_has_the_port_gets_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(_HEAD + b"\r\n[]") as url:
        port = int(url.rpartition(":")[2])
        assert listener(port) == os.geteuid()
        assert Manager(url, Credentials("me", "secret"), owner=os.geteuid()).ensembles() == []
        if os.geteuid():
            with pytest.raises(ManagerError, match="would get your password"):
                Manager(url, Credentials("me", "secret"), owner=os.geteuid() + 1).ensembles()


def test_a_listener_is_told_from_who_is_only_connected(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:26BF 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1001        0 1 1\n"
        "   1: 0100007F:26BF 00000000:0000 0A 00000000:00000000 00:00000000 00000000  2000        0 2 1\n"
        "   2: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1\n"
    )
    assert [listener(port, [table]) for port in (9919, 2024, 80)] == [2000, 0, None]
    assert listener(9919, [tmp_path / "none"]) is None


def test_who_listens_on_all_addresses_of_ipv6_is_seen_too(tmp_path: Path) -> None:
    any_address, table = "0" * 32, tmp_path / "tcp6"
    table.write_text(f"  sl  local\n   0: {any_address}:26BF {any_address}:0000 0A 0:0 0:0 0 1003 0 1\n")
    assert listener(9919, [tmp_path / "none", table]) == 1003


def test_a_user_number_too_large_for_a_port_is_named() -> None:
    with pytest.raises(UsageError, match="too large"):
        _ = Account(12345678, "me", Path("/home/me")).url


def _workflow(state: str, updated: float) -> Workflow:
    return Workflow(name="w", state=state, priority=0, created=0.0, updated=updated)


@pytest.mark.parametrize(
    ("state", "waited", "ensemble_state", "others", "words"),
    [
        ("READY", 10.0, "ACTIVE", [], ""),
        ("READY", 600.0, "ACTIVE", [], "the manager does nothing"),
        ("READY", 600.0, "ACTIVE", ["PLANNING"], ""),
        ("QUEUED", 600.0, "ACTIVE", ["RUNNING"], "the manager does nothing"),
        ("QUEUED", 600.0, "ACTIVE", ["RUNNING", "RUNNING"], ""),
        ("READY", 0.0, "PAUSED", [], "panorama ensemble activate e"),
        ("PLANNING", 60.0, "ACTIVE", [], ""),
        ("PLANNING", 9000.0, "ACTIVE", [], "will never get on"),
        ("RUNNING", 1e6, "ACTIVE", [], ""),
        ("SUCCESSFUL", 1e6, "PAUSED", [], ""),
    ],
)
def test_what_waits_for_no_reason_is_remarked(
    state: str, waited: float, ensemble_state: str, others: list[str], words: str
) -> None:
    ensemble = Ensemble("e", ensemble_state, max_running=2, max_planning=1, created=0.0, updated=0.0)
    workflow = _workflow(state, 1e6 - waited)
    told = remark(workflow, ensemble, [workflow, *[_workflow(other, 0.0) for other in others]], 1e6)
    assert (words in told) if words else told == ""


def test_every_state_of_the_manager_has_a_meaning(running: Released) -> None:
    code = "from Pegasus.db.ensembles import EnsembleWorkflowStates as s; print(*s)"
    states = subprocess.run([released_python(), "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert set(states.stdout.split()) == set(MEANINGS)
