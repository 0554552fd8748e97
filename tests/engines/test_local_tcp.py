"""The embedded engine watches its jobs' TCP connections: from a job's socket to the job's metrics."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from panorama_driver.collector import drain
from panorama_driver.config import Study
from panorama_driver.engines.local import Slots, Watch, run_bundle
from panorama_driver.render import find_site, find_workflow, render
from panorama_driver.store import open_store
from panorama_driver.study.runners import LocalRunner
from tests.conftest import PARABOLA

FETCH = """
import socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
got = 0
while got < 3000000: got += len(connection.recv(65536))
time.sleep(0.5)
"""


@pytest.fixture
def port() -> int:
    """Of a server that gives 3,000,000 bytes to the first who comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server:
            peer, _ = server.accept()
            with peer:
                peer.sendall(bytes(3_000_000))
                peer.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    number: int = server.getsockname()[1]
    return number


def test_what_a_job_fetches_is_known_as_its_own(tmp_path: Path, port: int) -> None:
    bundle = tmp_path / "b"
    render(find_workflow(str(PARABOLA), tmp_path), find_site("local", tmp_path), {}, {}, bundle)
    script = tmp_path / "fetch.py"
    script.write_text(FETCH)
    plan = json.loads((bundle / "workflow.yml").read_text())
    [left] = [job for job in plan["jobs"] if job["id"] == "left"]
    left["arguments"] = ["-c", f"'{sys.executable} {script} {port}; cat left.txt > left.out'"]
    (bundle / "workflow.yml").write_text(json.dumps(plan))
    watch = Watch(interval=0.2, tcp=True)
    assert asyncio.run(run_bundle(bundle, "local", "u", Slots(2, 4096), watch)).succeeded
    with open_store(tmp_path / "store.db") as store:
        drain(bundle / "run", store)
        seen = list(store.events("u", {"transfer.tcp"}))
    assert {(event.job_id, event.attempt is None) for event in seen} == {("sh_left", False)}
    last = seen[-1].fields
    assert (last["vantage"], last["s_port"], last["loopback"]) == ("client", port, True)
    assert last["s_bytes_uniq"] in (3_000_000, 3_000_001)  # of a closed socket, the kernel counts the FIN as a byte


@pytest.mark.parametrize("told", ["auto", "off"])
def test_a_study_says_whether(told: str, tmp_path: Path) -> None:
    import msgspec

    raw = {"workflow": "w", "responses": {}, "monitoring": {"tcp": told}}
    runner = LocalRunner(msgspec.convert(raw, Study), tmp_path, find_site("local", tmp_path))
    assert ("--tcp" in runner._watch.options) == (told == "auto")
