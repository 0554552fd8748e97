"""What a broker or HTTP bring of runs of a real, unmodified Pegasus, beside what its disk tells.

Run where test_pegasus.py runs, with a RabbitMQ server on the machine; for Darshan name its library in
PANORAMA_TEST_DARSHAN, and have PyDarshan.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from panorama_driver.collector.darshan import summarise
from panorama_driver.collector.reconcile import Completeness, completeness
from panorama_driver.events import Event
from panorama_driver.metrics import WorkflowMetrics, correlate
from panorama_driver.store import open_store
from panorama_driver.study import client
from panorama_driver.testing import rabbitmq
from tests.conftest import DATA
from tests.real.conftest import ON_REAL_PEGASUS

pytestmark = [
    *ON_REAL_PEGASUS,
    pytest.mark.skipif(bool(rabbitmq.why_not()), reason=f"no broker: {rabbitmq.why_not()}"),
]

BUSY = DATA / "workflows" / "busy"
PARTS, WRITES, BLOCK = 4, 64 * 4, 65536
LINE = len('{"written": 16777216}')
"""What each part writes besides its blocks, its result [bytes]."""
DARSHAN = os.environ.get("PANORAMA_TEST_DARSHAN", "")
DERIVED = {"darshan.report", "panorama.reconciled"}
"""Kinds of event that are made of others on the way into a store."""
MADE_UP = {"stampede.inv.start", "stampede.inv.end"}
"""What monitord makes up for a node that DAGMan only pretends to run."""


class Run:
    """A run of the workflow, the store of its study, and the one of somebody who listened."""

    def __init__(self, home: Path, heard: Path, wf_uuid: str) -> None:
        self.home, self.heard, self.wf_uuid = home, heard, wf_uuid
        self.own = home / ".panorama" / "store.db"

    @property
    def directory(self) -> Path:
        [found] = (self.home / "evaluations").iterdir()
        return found

    def events(self, store: Path) -> dict[str, Event]:
        """Those that were not made of others, by their identity."""
        with open_store(store, readonly=True) as opened:
            return {e.event_id: e for e in opened.events(self.wf_uuid) if e.kind not in DERIVED}

    def metrics(self, store: Path) -> WorkflowMetrics:
        with open_store(store) as opened:
            assert summarise(opened, self.wf_uuid).waiting == 0
            return correlate(opened.events(self.wf_uuid))

    def completeness(self, store: Path) -> Completeness:
        with open_store(store, readonly=True) as opened:
            return completeness(opened, self.wf_uuid)


@pytest.fixture(scope="module")
def broker(place: Path) -> Iterator[rabbitmq.Node]:
    with rabbitmq.running(place / "broker", management=True) as node:
        print("RabbitMQ", node.ctl("version").strip())
        yield node


def make_study(home: Path, site: str, monitoring: dict[str, object]) -> Path:
    home.mkdir(exist_ok=True)
    variables = {"online": "true"} if site != "local" else {}
    study = {
        "workflow": str(BUSY),
        "responses": {"written": {"output": "result.json", "value": "written"}},
        "engine": "local" if site == "local" else "pegasus",
        "site": site,
        "site_variables": variables | ({"darshan": DARSHAN} if DARSHAN else {}),
        "options": {"parts": PARTS},
        "monitoring": {"interval": "0.5 s", **monitoring},
        "timeout": "15 min",
    }
    (home / "study.yml").write_text(json.dumps(study), encoding="utf-8")
    return home


def evaluate(home: Path, seconds: float) -> str:
    """Run the workflow; its uuid."""
    asked = [{"eval_id": "1", "variables": {"seconds": seconds}}]
    [reply] = client.evaluate(str(home / "study.yml"), asked, print)
    assert reply["state"] == "ok", reply
    assert reply["responses"]["written"] == PARTS * WRITES * BLOCK
    return str(reply["wf_uuid"])


def panorama(*words: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("panorama")), *map(str, words)]


@contextmanager
def collecting(*words: str | Path, log: Path) -> Iterator[dict[str, Any]]:
    """`panorama collect` with these words; its first line."""
    with log.open("wb") as output, log.with_suffix(".problems").open("wb") as problems:
        process = subprocess.Popen(panorama("collect", *words, "--json"), stdout=output, stderr=problems)
    try:
        wait_for(lambda: b"\n" in log.read_bytes() or process.poll() is not None, 60)
        assert process.poll() is None, log.with_suffix(".problems").read_text()
        yield json.loads(log.read_text().splitlines()[0])
    finally:
        process.terminate()
        assert process.wait(20) == 0


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def known(store: Path, kind: str) -> int:
    """How many events of a kind a store has, whichever the workflow."""
    if not store.exists():
        return 0
    with open_store(store, readonly=True) as opened:
        found = [event for flow in opened.workflows() for event in opened.events(flow.wf_uuid, {kind})]
    return len(found)


def everything(broker: rabbitmq.Node, vhost: str = rabbitmq.VHOST) -> dict[str, object]:
    """Settings with which monitord and every probe publish to the broker."""
    return {
        "broker": broker.url.replace(rabbitmq.VHOST, vhost),
        "credentials": str(broker.credentials),
        "online": broker.http_url.replace("http:", "rabbitmq:").replace(rabbitmq.VHOST, vhost),
        "worker_credentials": str(broker.credentials),
    }


def listen(settings: dict[str, object], store: Path) -> tuple[str, ...]:
    return ("--broker", str(settings["broker"]), "--credentials", str(settings["credentials"]), "--store", str(store))


@pytest.fixture(scope="module", params=["condorpool", "condorpool-sharedfs"])
def whole(request: pytest.FixtureRequest, place: Path, broker: rabbitmq.Node) -> Run:
    """A run whose broker and listener were there all the time."""
    settings = everything(broker)
    home = make_study(place / request.param, request.param, settings)
    heard = home / "heard.db"
    with collecting(*listen(settings, heard), log=home / "collect.log"):
        wf_uuid = evaluate(home, 3.0)
        wait_for(lambda: known(heard, "stampede.xwf.end"), 120)  # the last that monitord sends
    return Run(home, heard, wf_uuid)


@pytest.fixture(scope="module", params=["stopped", "killed"])
def interrupted(request: pytest.FixtureRequest, place: Path, broker: rabbitmq.Node) -> Run:
    """A run whose listener came late, and whose broker was away until a job had ended without it.

    For monitord a broker that is stopped is gone for good; of one that dies it waits for the return.
    """
    broker.make_vhost(request.param)  # whose queues only the listener will make
    settings = everything(broker, request.param)
    home = make_study(place / request.param, "condorpool", settings)
    heard, own = home / "heard.db", home / ".panorama" / "store.db"
    with ThreadPoolExecutor(1) as executor:
        running: Future[str] = executor.submit(evaluate, home, 20.0)
        wait_for(lambda: known(own, "stampede.job_inst.main.end"), 200)
        with collecting(*listen(settings, heard), log=home / "collect.log"):
            wait_for(lambda: known(heard, "kickstart.inv.online") >= PARTS, 200)
            before = known(own, "stampede.job_inst.main.end")
            broker.stop() if request.param == "stopped" else broker.kill()
            wait_for(lambda: known(own, "stampede.job_inst.main.end") > before, 200)
            broker.start()
            wf_uuid = running.result(600)
            if request.param == "killed":
                wait_for(lambda: known(heard, "stampede.xwf.end"), 120)
            wait_for(lambda: waiting(broker, request.param) == 0, 60)
    return Run(home, heard, wf_uuid)


def waiting(broker: rabbitmq.Node, vhost: str) -> int:
    """Messages that the broker still has."""
    rows = broker.ctl("list_queues", "-p", vhost, "messages", "--no-table-headers").split()
    return sum(map(int, rows))


def reconciled(run: Run) -> Completeness:
    """By the command."""
    words = ("reconcile", run.wf_uuid, "--store", run.heard, "--json")
    done = subprocess.run(panorama(*words), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return run.completeness(run.heard)


def test_the_broker_brings_the_same_events_as_the_disk(whole: Run) -> None:
    disk, broker = whole.events(whole.own), whole.events(whole.heard)
    print(len(disk), "events on disk,", len(broker), "from the broker,", len(disk.keys() & broker.keys()), "of both")
    assert disk.keys() <= broker.keys()
    more = [broker[event_id] for event_id in broker.keys() - disk.keys()]
    assert {event.kind for event in more} <= MADE_UP
    assert {event.job_id for event in more} <= noop_nodes(whole)


def noop_nodes(run: Run) -> set[str]:
    submit_dir = Path((run.directory / "run" / "submitdir").read_text().strip())
    lines = [line.split() for dag in submit_dir.glob("*.dag") for line in dag.read_text().splitlines()]
    return {words[1] for words in lines if words[:1] == ["JOB"] and words[-1] == "NOOP"}


def test_what_was_heard_live_lacks_nothing_and_means_the_same(whole: Run) -> None:
    assert whole.metrics(whole.heard) == whole.metrics(whole.own)
    found = reconciled(whole)
    told = {part.source: (part.events_seen, part.filled_from_disk, part.missing) for part in found.sources}
    print("seen, filled, missing:", told)
    assert {counts[1:] for counts in told.values()} == {(0, 0)}
    assert min(told[source][0] for source in ("stampede", "kickstart", "transfer")) > 0
    with open_store(whole.heard, readonly=True) as store:
        assert list(store.dead_letters()) == []


def test_what_a_late_listener_and_an_absent_broker_lost_is_found_on_disk(interrupted: Run) -> None:
    found = reconciled(interrupted)
    told = {part.source: (part.events_seen, part.filled_from_disk, part.missing) for part in found.sources}
    print("seen, filled, missing:", told)
    disk, filled = interrupted.events(interrupted.own), interrupted.events(interrupted.heard)
    assert filled.keys() == disk.keys()
    seen, lost, missing = map(sum, zip(*told.values(), strict=True))
    assert min(seen, lost) > 0
    assert (seen + lost, missing) == (len(disk), 0)
    assert interrupted.metrics(interrupted.heard) == interrupted.metrics(interrupted.own)


def test_workers_post_straight_to_the_collector(place: Path, broker: rabbitmq.Node) -> None:
    """Samples come by HTTP, all else by the broker that the study names, both into the study's own store."""
    home = make_study(place / "http", "condorpool", {})
    token, netrc = home / "token", home / "workers"
    with collecting("--http", "0", "--token", token, "--study", home, log=home / "http.log") as told:
        netrc.touch(mode=0o600)
        netrc.write_text(f"machine 127.0.0.1 login worker password {token.read_text().strip()}\n")
        online = {"online": told["http"], "worker_credentials": str(netrc)}
        make_study(home, "condorpool", everything(broker) | online)
        with collecting("--study", home, log=home / "collect.log"):
            run = Run(home, home / ".panorama" / "store.db", evaluate(home, 2.0))
            wait_for(lambda: run.completeness(run.own).of("stampede").filled_from_disk == 0, 120)
    found = run.completeness(run.own)
    print(found.words, [f"{part.source}: {part.words}" for part in found.sources])
    assert found.of("kickstart").events_seen == found.of("kickstart").events_expected > PARTS
    shown = subprocess.run(panorama("show", "1", "--study", home), capture_output=True, text=True)
    assert "all came live" in shown.stdout, shown.stdout + shown.stderr


def test_what_pegasus_transferred_is_what_lies_on_disk(whole: Run) -> None:
    jobs = [job for job in whole.metrics(whole.own).jobs if job.type in ("stage-in-tx", "stage-out-tx")]
    staged = [*(whole.directory / "inputs").iterdir(), *(whole.directory / "bin").iterdir()]
    for kind, files in (("stage-in-tx", staged), ("stage-out-tx", [whole.directory / "output" / "result.json"])):
        own = [job for job in jobs if job.type == kind]
        size = sum(path.stat().st_size for path in files)
        print(kind, size, "bytes in", len(files), "files")
        assert sum(job.files_transferred or 0 for job in own) == len(files)
        assert sum(job.bytes_transferred or 0 for job in own) == size
        assert sum(job.bytes_staged or 0 for job in own) == size


@pytest.mark.skipif(not DARSHAN, reason="PANORAMA_TEST_DARSHAN names no libdarshan.so")
def test_darshan_counts_the_same_bytes_here_as_with_the_embedded_engine(whole: Run, embedded: Run) -> None:
    """Below /var, which Darshan itself would leave out."""
    found = [
        {job.job_id: (job.darshan.posix.bytes_written, job.darshan.posix.writes) for job in run.metrics(run.own).jobs
         if job.type == "compute" and job.darshan and job.darshan.posix}
        for run in (whole, embedded)
    ]  # fmt: skip
    print(found)
    assert found[0] == found[1]
    parts = [told for name, told in found[0].items() if name.startswith("part")]
    assert parts == [(WRITES * BLOCK + LINE, WRITES + 1)] * PARTS


@pytest.fixture(scope="module")
def embedded(place: Path) -> Run:
    home = make_study(place / "embedded", "local", {})
    return Run(home, home / "none", evaluate(home, 1.0))
