"""A study whose events a broker hears: everything on, under load, and whoever listens has all that the study has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.broker import Address, Consumer
from panorama_driver.collector.darshan import summarise
from panorama_driver.config import Monitoring
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.store import Store, open_store
from panorama_driver.study import client
from panorama_driver.study.outlet import Outlet
from panorama_driver.testing import rabbitmq
from tests.conftest import DATA

MakeStudy = Callable[..., Path]
BUSY = DATA / "workflows" / "busy"
PARTS, BLOCK, BLOCKS, CHILDREN = 4, 65536, 64, 3
WRITTEN = BLOCK * BLOCKS * (CHILDREN + 1)
"""What each part and its children write together [bytes]."""
DARSHAN = os.environ.get("PANORAMA_TEST_DARSHAN", "")


@pytest.fixture
def heard(broker: rabbitmq.Node, vhost: str, tmp_path: Path) -> Iterator[Store]:
    """A store of somebody who listens to the broker."""
    with open_store(tmp_path / "heard.db") as store, Consumer(_address(broker, vhost), store):
        yield store


def test_everything_is_on_and_nothing_is_lost_on_its_way(
    make_study: MakeStudy, broker: rabbitmq.Node, vhost: str, heard: Store
) -> None:
    home = make_study(**_keys(broker, vhost))
    replies = _evaluate(home, 0.8, 1.2)
    assert [reply["state"] for reply in replies] == ["ok", "ok"], replies
    assert [reply["responses"]["written"] for reply in replies] == [PARTS * WRITTEN] * 2
    with open_store(home / ".panorama" / "store.db", readonly=True) as store:
        for reply, seconds in zip(replies, (0.8, 1.2), strict=True):
            wf_uuid = reply["wf_uuid"]
            _wait_until_heard(heard, store, wf_uuid)
            assert summarise(heard, wf_uuid).waiting == 0
            for listener in (store, heard):
                _check(correlate(listener.events(wf_uuid)), seconds)
            there = {event.kind for event in heard.events(wf_uuid)}
            assert there >= {"kickstart.inv.online", "transfer.inv.local.single", "stampede.job_inst.main.end"}
    assert list(heard.dead_letters()) == []


@pytest.mark.long
def test_a_study_needs_no_broker_and_the_broker_hears_all_of_it_when_it_is_back(
    make_study: MakeStudy, broker: rabbitmq.Node, vhost: str, tmp_path: Path
) -> None:
    """The vhost that the study publishes to appears only when the study has ended."""
    late = f"{vhost}-late"
    home = make_study(**_keys(broker, late))
    [reply] = _evaluate(home, 0.1)
    assert reply["state"] == "ok", reply
    assert (home / ".panorama" / "spool").is_dir()
    broker.make_vhost(late)
    with open_store(tmp_path / "late.db") as store, Consumer(_address(broker, late), store):
        [again] = _evaluate(home, 0.2)
        assert again["state"] == "ok"
        with open_store(home / ".panorama" / "store.db", readonly=True) as own:
            for wf_uuid in (reply["wf_uuid"], again["wf_uuid"]):
                _wait_until_heard(store, own, wf_uuid)


def test_credentials_that_others_can_read_are_refused_before_anything_runs(
    make_study: MakeStudy, broker: rabbitmq.Node, vhost: str, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(broker.credentials.read_text())
    netrc.chmod(0o644)
    home = make_study(**_keys(broker, vhost, credentials=netrc))
    [reply] = _evaluate(home, 0.1)
    assert reply["state"] == "failed"
    assert f"chmod 600 {netrc}" in reply["message"]


def test_a_study_that_is_changed_publishes_on(
    make_study: MakeStudy, broker: rabbitmq.Node, vhost: str, heard: Store
) -> None:
    home = make_study(**_keys(broker, vhost))
    [before] = _evaluate(home, 0.1)
    study = home / "study.yml"
    study.write_text(study.read_text() + "slots: 2\n")
    [after] = _evaluate(home, 0.2)
    assert (before["state"], after["state"]) == ("ok", "ok"), after
    with open_store(home / ".panorama" / "store.db", readonly=True) as store:
        for reply in (before, after):
            _wait_until_heard(heard, store, reply["wf_uuid"])


def test_a_line_that_no_queue_takes_holds_up_none_of_the_others(
    broker: rabbitmq.Node, vhost: str, heard: Store, tmp_path: Path
) -> None:
    monitoring = Monitoring(broker=_url(broker, vhost), credentials=str(broker.credentials))
    good = b'{"event": "kickstart.inv.online", "wf_uuid": "w", "dag_job_id": "a", "ts": 1.0, "seq": %d}'
    outlet = Outlet(monitoring, tmp_path, tmp_path / "spool")
    outlet.pass_on(
        [good % 0, b'{"event": "kickstart.%s"}' % (b"x" * 300), b'{"event": "kickstart.\\n"}', b"no", good % 1]
    )
    outlet.close()
    _wait_for(lambda: heard.count() == 2)


def _check(workflow: WorkflowMetrics, seconds: float) -> None:
    """Every job has its trace to the end, and totals that agree with what it was told to do."""
    assert (workflow.state, workflow.unmatched, workflow.guessed) == ("succeeded", 0, 0)
    parts = [job for job in workflow.jobs if job.transformation == "part"]
    assert len(parts) == PARTS
    for job in parts:
        assert job.sources["cpu_time"] == "probe"
        assert job.cpu_time is not None
        assert seconds <= job.cpu_time < seconds + 1.5
        assert job.chars_written is not None
        assert WRITTEN <= job.chars_written < WRITTEN + (100_000 if DARSHAN else 10_000)  # it writes logs itself
        if DARSHAN:
            assert job.darshan is not None, job.reasons
            assert job.darshan.posix is not None
            assert WRITTEN <= (job.darshan.posix.bytes_written or 0) < WRITTEN + 100  # and the few of the result
            assert (job.darshan.posix.writes or 0) >= BLOCKS * (CHILDREN + 1)
    assert workflow.cpu_time is not None
    assert workflow.cpu_time >= PARTS * seconds
    staged = [job for job in workflow.jobs if job.type == "stage-out-tx"]
    assert [job.files_transferred for job in staged] == [1]


def _keys(broker: rabbitmq.Node, vhost: str, credentials: Path | None = None) -> dict[str, object]:
    told = f"broker: '{_url(broker, vhost)}', credentials: {credentials or broker.credentials}"
    return {
        "workflow": BUSY,
        "responses": "{written: {output: result.json, value: written}}",
        "monitoring": f"{{interval: 1 s, {told}}}",
        "site_variables": f"{{darshan: '{DARSHAN}'}}",
        "options": f"{{parts: {PARTS}}}",
    }


def _url(broker: rabbitmq.Node, vhost: str) -> str:
    return f"amqp://127.0.0.1:{broker.port}/{vhost}/monitoring"


def _address(broker: rabbitmq.Node, vhost: str) -> Address:
    return Address.read(_url(broker, vhost), broker.credentials)


def _evaluate(home: Path, *seconds: float) -> list[dict[str, Any]]:
    asked = [{"eval_id": f"1:{n}", "variables": {"seconds": each}} for n, each in enumerate(seconds, start=1)]
    return client.evaluate(str(home / "study.yml"), asked, lambda words: None)


def _ids(store: Store, wf_uuid: str) -> set[str]:
    """Of what was published: what was made of it on the way into the store is not."""
    derived = ("panorama.reconciled", "darshan.report")
    return {event.event_id for event in store.events(wf_uuid) if event.kind not in derived}


def _wait_until_heard(listener: Store, store: Store, wf_uuid: str) -> None:
    _wait_for(lambda: _ids(listener, wf_uuid) >= _ids(store, wf_uuid))


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
