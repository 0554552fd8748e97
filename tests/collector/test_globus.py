"""The follower brings what a Globus task does into the store, with the real SDK asking a service on the loopback."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from panorama_driver.collector.globus import TOKEN_VARIABLE, Client, GlobusFollower, find_token, follow, transfer_client
from panorama_driver.errors import EnvironmentMissingError, GlobusError
from panorama_driver.events import Event
from panorama_driver.metrics import correlate, transfers
from panorama_driver.sources import globus, parse
from panorama_driver.store import Store, Via, open_store
from panorama_driver.testing.globus import TOKEN, FakeGlobus, FakeTask, Refusal, Step

globus_sdk = pytest.importorskip("globus_sdk", reason="globus-sdk is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WF = "0a1b2c3d-1111-2222-3333-444455556666"
LABEL = f"{WF} - stage_in_remote_0_0"
MOVES = [Step(1, "STARTED"), Step(5, "PROGRESS", 1000, 4), Step(9, "PROGRESS", 3000, 4), Step(10, "SUCCEEDED")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def service() -> Iterator[FakeGlobus]:
    with FakeGlobus() as running:
        yield running


def client(service: FakeGlobus, token: str = TOKEN) -> Client:
    """The real SDK, in a hurry."""
    asking: Any = globus_sdk.TransferClient(base_url=service.url, authorizer=globus_sdk.AccessTokenAuthorizer(token))
    asking.retry_config.max_retries = 2
    asking.retry_config.backoff = lambda context: context.backoff or 0.01
    return cast(Client, asking)


def following(store: Store, service: FakeGlobus) -> GlobusFollower:
    return GlobusFollower(store, WF, lambda: client(service))


def stored(store: Store, kind: str) -> list[Event]:
    return list(store.events(WF, {kind}))


def test_a_task_is_followed_from_its_first_event_to_its_final_document(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    follower = following(store, service)
    seen = []
    for at in (0, 1, 5, 9, 10, 11):
        service.now = 1_600_000_000 + at
        seen.append(follower.poll().stored)
    # a document, then an event and a changed document each time something happened, and nothing after the end
    assert seen == [1, 1, 2, 2, 2, 0]
    assert [event.fields["code"] for event in stored(store, globus.PROGRESS)] == [
        "STARTED",
        "PROGRESS",
        "PROGRESS",
        "SUCCEEDED",
    ]
    final = [event for event in stored(store, globus.TASK) if event.fields["status"] == "SUCCEEDED"]
    assert len(final) == 1
    assert (final[0].job_id, final[0].ts, final[0].fields["bytes_transferred"]) == (
        "stage_in_remote_0_0",
        1_600_000_010,
        4000,
    )
    assert len(final[0].fields["transfer_events"]) == 4
    assert "event_link" not in final[0].fields
    assert {arrival.via for arrival in store.arrivals(WF)} == {Via.DISK}  # fetched: it cannot be lost on its way
    assert follower.active == []


def test_while_it_runs_the_metrics_know_what_it_has_moved(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    service.now += 6
    following(store, service).poll()
    (transfer,) = transfers(store.events(WF))
    assert (transfer.state, transfer.bytes_transferred, transfer.average_speed) == ("active", 1000, 250)


def test_what_panorama_published_of_the_same_task_is_the_same_row(store: Store, service: FakeGlobus) -> None:
    task = FakeTask(LABEL, MOVES)
    service.tasks.append(task)
    service.now += 100
    document = {key: value for key, value in task.document(service.now).items() if key != "event_link"}
    # its call of task_event_list gives the first page only
    raw = {**document, "transfer_events": task.events(service.now)[:2], "wf_uuid": WF, "event": "transfer.inv.go"}
    store.put([parse({**raw, "dag_job_id": "stage_in_remote_0_0"})], via=Via.BROKER)
    drained = following(store, service).poll()
    assert (drained.stored, drained.duplicates) == (4, 1)
    assert len(stored(store, globus.TASK)) == 1
    assert [t.bytes_transferred for t in transfers(store.events(WF))] == [4000]


def test_two_followers_and_a_later_one_leave_the_rows_that_one_leaves(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    first, second = following(store, service), following(store, service)
    for at in (5, 10):
        service.now = 1_600_000_000 + at
        first.poll()
        assert second.poll().stored == 0
    assert following(store, service).poll().stored == 0


def test_lists_of_many_pages_are_read_to_their_end(store: Store) -> None:
    steps = [Step(n, "PROGRESS", n) for n in range(1, 251)] + [Step(251, "SUCCEEDED")]
    tasks = [FakeTask(f"{WF} - job_{n}", [Step(1, "STARTED")]) for n in range(30)]
    with FakeGlobus(FakeTask(LABEL, steps), *tasks, page=20) as service:
        service.now += 1000
        follower = following(store, service)
        follower.poll()
        assert len(follower.tasks) == 31
        # one page of new events is enough once the older ones are known
        service.requests.clear()
        follower.poll()
        assert not any(request.startswith("/v0.10/task/" + service.tasks[0].task_id) for request in service.requests)
    events = [event for event in stored(store, globus.PROGRESS) if event.job_id == "stage_in_remote_0_0"]
    assert len(events) == 251
    (long,) = [transfer for transfer in transfers(store.events(WF)) if transfer.job_id == "stage_in_remote_0_0"]
    assert long.bytes_transferred == sum(range(251))


def test_tasks_of_other_workflows_and_hostile_labels_are_left_alone(store: Store, service: FakeGlobus) -> None:
    service.tasks += [
        FakeTask("1a1b2c3d-1111-2222-3333-444455556666 - other"),
        FakeTask(None),
        FakeTask("my holiday pictures"),
        FakeTask(f"{WF} - two words"),
        FakeTask(f"{WF.upper()} - shouted"),
        FakeTask(LABEL),
    ]
    follower = following(store, service)
    drained = follower.poll()
    assert len(follower.tasks) == 1
    assert (drained.stored, drained.dead) == (1, 1)
    assert "is not '<wf_uuid> - <dag_job_id>'" in next(iter(store.dead_letters())).reason


@pytest.mark.parametrize(
    ("steps", "state", "faults", "failed"),
    [
        ([Step(2, "CONNECTION_RESET"), Step(3, "ENDPOINT_ERROR"), Step(4, "SUCCEEDED")], "succeeded", 2, 0),
        ([Step(2, "PERMISSION_DENIED", description="no"), Step(3, "EXPIRED")], "failed", 2, 1),
        ([Step(3, "CANCELED")], "failed", 1, 1),
        ([Step(3, "PAUSED")], "paused", 0, 0),
        ([Step(3, "PAUSED"), Step(4, "UNPAUSED")], "active", 0, 0),
        ([Step(3, "NO_CREDENTIALS")], "inactive", 1, 0),
    ],
)
def test_failures_faults_pauses_and_ends_are_told(
    steps: list[Step], state: str, faults: int, failed: int, store: Store, service: FakeGlobus
) -> None:
    service.tasks.append(FakeTask(LABEL, steps))
    service.now += 50
    following(store, service).poll()
    (transfer,) = transfers(store.events(WF))
    assert (transfer.state, transfer.faults) == (state, faults)
    assert sum(t.state == "failed" for t in transfers(store.events(WF))) == failed


def test_a_deletion_is_stored_and_moves_nothing(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, [Step(3, "SUCCEEDED")], type="DELETE"))
    service.now += 50
    assert following(store, service).poll().stored == 2
    assert transfers(store.events(WF)) == ()


def test_a_task_that_vanished_is_told_and_not_asked_for_again(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, [Step(1, "STARTED")]))
    follower = following(store, service)
    follower.poll()
    service.tasks.clear()
    assert "not there any more" in follower.poll().problems[0]
    assert follower.active == []


def test_a_refused_token_is_one_sentence_without_the_token(store: Store, service: FakeGlobus) -> None:
    with pytest.raises(GlobusError, match="log in with 'globus login'") as caught:
        GlobusFollower(store, WF, lambda: client(service, "an-old-secret")).poll()
    assert not caught.value.transient
    assert "an-old-secret" not in repr(caught.value) + str(
        caught.value.__context__ and caught.value.__suppress_context__
    )
    assert "\n" not in str(caught.value)


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    service.refusals = [Refusal(429, "1")]
    begun = time.monotonic()
    assert following(store, service).poll().stored == 1
    assert time.monotonic() - begun >= 1


def test_faults_of_the_service_are_overcome_or_told_as_passing(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    service.refusals = [Refusal(502), Refusal(503)]
    assert following(store, service).poll().stored == 1
    service.refusals = [Refusal(500)] * 3
    with pytest.raises(GlobusError, match="500") as caught:
        following(store, service).poll()
    assert caught.value.transient
    service.refusals = [Refusal(403)]
    with pytest.raises(GlobusError, match="scope") as caught:
        following(store, service).poll()
    assert not caught.value.transient


def test_a_service_that_is_away_is_told_as_passing(store: Store) -> None:
    with FakeGlobus() as service:
        pass
    with pytest.raises(GlobusError, match="cannot be reached") as caught:
        following(store, service).poll()
    assert caught.value.transient


def test_following_ends_with_the_workflow_and_its_tasks_and_waits_longer_and_longer(
    store: Store, service: FakeGlobus
) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        service.now += seconds
        if service.now > 1_600_000_060:
            store.put([parse({"event": "stampede.xwf.end", "xwf_id": WF, "ts": service.now, "restart_count": 0})])

    service.refusals = [Refusal(503)] * 3
    drained = follow(store, WF, lambda: client(service), sleep=sleep, longest=30)
    assert waits[0] == 4  # the first look failed
    assert max(waits) == 30
    assert "503" in drained.problems[0]
    assert [event.fields["status"] for event in stored(store, globus.TASK)][-1] == "SUCCEEDED"


def test_following_gives_up_a_service_that_stays_away(store: Store, service: FakeGlobus) -> None:
    service.refusals = [Refusal(503)] * 100
    waits: list[float] = []
    with pytest.raises(GlobusError, match="503"):
        follow(store, WF, lambda: client(service), sleep=waits.append, attempts=4)
    assert len(waits) == 3


def test_the_bytes_of_a_followed_task_are_those_of_its_job(store: Store, service: FakeGlobus) -> None:
    service.tasks.append(FakeTask(LABEL, MOVES))
    for name, at in (("submit.start", 0), ("main.start", 1), ("main.end", 20)):
        raw = {"event": f"stampede.job_inst.{name}", "xwf_id": WF, "job_id": "stage_in_remote_0_0", "job_inst_id": 1}
        store.put([parse({**raw, "ts": 1_599_999_999 + at})])
    follower = following(store, service)
    for at in (5, 30):
        service.now = 1_600_000_000 + at
        follower.poll()
    job = correlate(store.events(WF)).job("stage_in_remote_0_0")
    assert (job.bytes_transferred, job.transfers_failed, job.transfer_faults, job.transfer_time) == (4000, 0, 0, 10)


def login(home: Path, expires: float, refresh: str | None = None) -> None:
    """What an application of the SDK leaves."""
    from globus_sdk.token_storage import JSONTokenStorage, TokenStorageData

    path = home / ".globus" / "app" / "61338d24-54d5-408f-a10d-66c06b59f6d2" / "my-app" / "tokens.json"
    data = TokenStorageData("transfer.api.globus.org", None, "all", "of-an-app", refresh, int(expires), "Bearer")
    JSONTokenStorage(path).store_token_data_by_resource_server({"transfer.api.globus.org": data})


def test_a_token_is_found_where_the_sdk_the_cli_and_pegasus_leave_it(tmp_path: Path) -> None:
    from globus_sdk.token_storage import SQLiteTokenStorage, TokenStorageData

    home = {"HOME": str(tmp_path)}
    with pytest.raises(EnvironmentMissingError, match="no token for Globus"):
        find_token(home)
    later = time.time() + 3600
    (tmp_path / ".pegasus").mkdir()
    (tmp_path / ".pegasus" / "globus.conf").write_text(
        f"[oauth]\nclient_id = c\ntransfer_at = of-pegasus\ntransfer_rt = None\ntransfer_at_exp = {later}\n"
    )
    assert find_token(home).access == "of-pegasus"
    data = TokenStorageData("transfer.api.globus.org", None, "all", "of-the-cli", "r", int(later), "Bearer")
    storage = SQLiteTokenStorage(tmp_path / ".globus" / "cli" / "storage.db", namespace="userprofile/production")
    storage.store_token_data_by_resource_server({"transfer.api.globus.org": data})
    storage.close()
    assert find_token(home).access == "of-the-cli"
    login(tmp_path, later)
    assert find_token(home).access == "of-an-app"
    assert find_token(home | {TOKEN_VARIABLE: " given "}).access == "given"
    assert "of-an-app" not in repr(find_token(home))


def test_an_expired_token_is_passed_over_unless_it_can_be_renewed(tmp_path: Path) -> None:
    login(tmp_path, time.time() - 10)
    with pytest.raises(EnvironmentMissingError, match=r"my-app/tokens.json has expired: log in"):
        find_token({"HOME": str(tmp_path)})
    login(tmp_path, time.time() - 10, "renewal")
    token = find_token({"HOME": str(tmp_path)})
    assert (token.refresh, token.client_id) == ("renewal", "61338d24-54d5-408f-a10d-66c06b59f6d2")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"data": 3}', '{"data": {"a": {"transfer.api.globus.org": 1}}}'])
def test_damaged_files_of_tokens_are_no_tokens(content: str, tmp_path: Path) -> None:
    folder = tmp_path / ".globus" / "app" / "c" / "a"
    folder.mkdir(parents=True)
    for name in ("tokens.json", "tokens.db"):
        (folder / name).write_text(content)
    (tmp_path / ".pegasus").mkdir()
    (tmp_path / ".pegasus" / "globus.conf").write_text("]" + content)
    with pytest.raises(EnvironmentMissingError, match="no token"):
        find_token({"HOME": str(tmp_path)})


def test_the_client_asks_where_the_sdk_is_told_to(service: FakeGlobus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", service.url)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    service.tasks.append(FakeTask(LABEL))
    answer = transfer_client().task_list(limit=10, offset=0, filter={"label": f"~{WF}*"}, orderby="request_time DESC")
    assert answer["total"] == 1


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "globus_sdk", None)
    with pytest.raises(EnvironmentMissingError, match=r"pip install 'panorama-driver\[globus\]'"):
        transfer_client()


def test_the_command_fetches_tells_and_keeps_the_token_to_itself(service: FakeGlobus, tmp_path: Path) -> None:
    service.tasks.append(FakeTask(LABEL, [*MOVES[:3], Step(10, "EXPIRED")]))
    service.now += 50
    words = ["globus", WF, "--store", str(tmp_path / "cli.db"), "--json"]
    run = subprocess.run(
        [sys.executable, "-c", "from panorama_driver.cli import main; main()", *words],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "GLOBUS_SDK_SERVICE_URL_TRANSFER": service.url,
            TOKEN_VARIABLE: TOKEN,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    told = json.loads(run.stdout)
    assert (told["transfers"][0]["state"], told["stored"]) == ("failed", 5)
    with sqlite3.connect(tmp_path / "cli.db") as database:
        dump = "\n".join(database.iterdump())
    assert TOKEN not in run.stdout + run.stderr + dump
