"""The live stream: nothing is lost between a document and what follows it, and no client costs much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from panorama_driver.errors import StoreError
from panorama_driver.web import Dashboard, Library, _live
from panorama_driver.web._changes import Change
from panorama_driver.web._live import Hub
from panorama_driver.web.documents import StudyChange, WorkflowChange
from tests.web.serving import Event, ask, eventually, streaming
from tests.web.stores import Growing, begin_slow


def nothing() -> list[Change]:
    return []


def change(topic: str = "studies", failed: int = 0) -> Change:
    return Change(topic=topic, data=WorkflowChange(state="running", jobs_failed=failed))


def told(hub: Hub, last: str | None = None, topics: tuple[str, ...] = ("studies",)) -> list[bytes]:
    """What a listener that comes back with `last` gets at once."""

    async def parts() -> list[bytes]:
        hub.publish([])  # the hub is this loop's from now on
        taken: list[bytes] = []
        stream = hub.stream(topics, last)
        with contextlib.suppress(TimeoutError):
            while len(taken) < 10:
                taken.append(await asyncio.wait_for(anext(stream), 0.05))
        await stream.aclose()
        return taken

    return asyncio.run(parts())


def ids(parts: list[bytes]) -> list[str]:
    return re.findall(r"^id: (.*)$", b"".join(parts).decode(), re.MULTILINE)


def test_who_comes_back_gets_what_was_missed_and_nothing_twice() -> None:
    hub = Hub(nothing)
    hub.publish([change(failed=1)])
    seen = hub.cursor
    hub.publish([change(failed=2), change("other", 3), change(failed=4)])
    parts = told(hub, seen)
    assert [int(n) for n in re.findall(rb'"jobs_failed":(\d+)', b"".join(parts))] == [2, 4]
    assert b"event: reset" not in b"".join(parts)
    assert ids(told(hub, hub.cursor)) == [hub.cursor]


@pytest.mark.parametrize("last", ["0badcafe-0", "words", "-1", "{epoch}-4", "{epoch}-" + 40 * "9", "{epoch}-\u0662"])
def test_a_place_that_is_not_known_is_told_to_read_all_again(last: str) -> None:
    hub = Hub(nothing)
    hub.publish([change()] * 3)
    parts = b"".join(told(hub, last.format(epoch=hub.cursor.partition("-")[0])))
    assert parts.count(b"event: reset") == 1
    assert f"id: {hub.cursor}\nevent: reset\ndata: {{}}\n\n".encode() in parts


def test_what_is_kept_for_those_who_come_back_is_bounded() -> None:
    hub = Hub(nothing)
    begin = hub.cursor
    for number in range(30_000):
        hub.publish([change(topic="x" * 500, failed=number)])
    assert hub._size <= _live._KEPT_BYTES
    assert len(hub._messages) <= _live._KEPT
    assert b"event: reset" in b"".join(told(hub, begin))
    epoch, _, last = hub.cursor.partition("-")
    assert b"event: reset" not in b"".join(told(hub, f"{epoch}-{int(last) - 100}"))


def test_a_message_larger_than_all_that_is_kept_makes_everybody_read_again() -> None:
    hub = Hub(nothing)
    begin = hub.cursor
    hub.publish([change(topic="x" * (_live._KEPT_BYTES + 1))])
    assert b"event: reset" in b"".join(told(hub, begin))


def test_a_quiet_listener_is_kept_up_to_date_by_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "_ALIVE", 0.01)
    hub = Hub(nothing)
    hub.publish([change("other")] * 5)
    parts = told(hub, hub.cursor)
    assert len(parts) > 2
    assert set(parts[1:]) == {f": alive\nid: {hub.cursor}\n\n".encode()}


def test_a_fault_of_a_look_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "_TURN", 0.01)
    monkeypatch.setattr(_live, "_LONGEST_TURN", 0.01)
    looks: list[int] = []

    def look() -> list[Change]:
        looks.append(1)
        if len(looks) == 2:
            raise StoreError("it is away")
        if len(looks) == 3:
            raise RuntimeError("a fault")
        return [change(failed=len(looks))]

    async def heard() -> bytes:
        hub = Hub(look)
        watching = asyncio.create_task(hub.watch())
        parts = b""
        async for part in hub.stream(["studies"], None):
            parts += part
            if b'"jobs_failed":4' in parts:
                hub.end()
        await watching
        return parts

    assert b'"jobs_failed":2' not in asyncio.run(asyncio.wait_for(heard(), 10))


# --- on a real socket, of a real study -------------------------------------------------------------------------------


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    with Growing(tmp_path / "growing") as study:
        yield study


@pytest.fixture
def dashboard(growing: Growing) -> Iterator[Dashboard]:
    with contextlib.closing(Library([growing.home], cache=None)) as library, Dashboard(library, port=0) as serving:
        yield serving


def name_of(dashboard: Dashboard) -> str:
    name: str = ask(dashboard, "/api/studies").json["studies"][0]["study"]
    return name


def test_what_moves_between_a_document_and_its_stream_is_not_lost(growing: Growing, dashboard: Dashboard) -> None:
    study = name_of(dashboard)
    document = ask(dashboard, f"/api/studies/{study}")
    cursor = document.headers["x-panorama-cursor"]
    assert document.json["evaluations"] == []
    key = growing.begin(1, x=0.25)
    with streaming(dashboard, f"?topic=study/{study}&topic=studies&last={cursor}") as stream:
        events = stream.wait(lambda events: any(event.json["topic"].startswith("study/") for event in events))
        rows = [row for event in events for row in rows_of(event)]
        assert [row["key"] for row in rows][:1] == [key]
        growing.succeed(1, key, 0.0025)
        events = stream.wait(lambda events: '"state":"succeeded"' in "".join(event.data for event in events))
        assert {event.kind for event in events} == {"change"}
        numbers = [int(event.id.partition("-")[2]) for event in events]
        assert numbers == sorted(set(numbers))
    for event in events:
        if event.json["topic"] == f"study/{study}":
            msgspec.convert(event.json["data"], StudyChange, strict=True)


def rows_of(event: Event) -> list[dict[str, Any]]:
    return list(event.json["data"]["evaluations"]) if event.json["topic"].startswith("study/") else []


def test_a_browser_that_lost_its_stream_goes_on_where_it_was(growing: Growing, dashboard: Dashboard) -> None:
    study = name_of(dashboard)
    with streaming(dashboard, f"?topic=study/{study}") as stream:
        growing.begin(1, x=0.1)
        before = stream.wait(bool)
        last = stream.last
    growing.begin(2, x=0.2)
    # a browser repeats the address it was given, and adds the header
    with streaming(dashboard, f"?topic=study/{study}&last=0badcafe-1", **{"Last-Event-ID": last}) as stream:
        after = stream.wait(lambda events: '"eval_id":"2"' in "".join(event.data for event in events))
    assert "reset" not in {event.kind for event in after}
    assert not {event.id for event in before} & {event.id for event in after}


def test_other_topics_are_not_told(growing: Growing, dashboard: Dashboard) -> None:
    study = name_of(dashboard)
    with streaming(dashboard, "?topic=studies") as some, streaming(dashboard, f"?topic=study/{study}") as other:
        growing.begin(1, x=0.1)
        assert {event.json["topic"] for event in some.wait(bool)} == {"studies"}
        assert {event.json["topic"] for event in other.wait(bool)} == {f"study/{study}"}


def test_there_are_only_so_many_streams_and_who_leaves_makes_room(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_live, "STREAMS", 3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(streaming(dashboard))
        refused = ask(dashboard, "/api/live")
        assert refused.status == 503
        assert "no room" in refused.json["problem"]
    eventually(lambda: dashboard._application.hub.listeners == 0)
    with streaming(dashboard):
        pass


def test_a_client_that_takes_nothing_is_dropped(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "_SLOW", 0.2)
    hub = dashboard._application.hub
    with socket.create_connection((dashboard.host, dashboard.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /api/live?topic=studies HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: hub.listeners == 1)
        loop = dashboard._loop
        assert loop is not None

        def dropped() -> bool:
            loop.call_soon_threadsafe(hub.publish, [change("studies")] * 4000)
            return hub.listeners == 0

        eventually(dropped)


def test_a_dashboard_ends_with_streams_open(growing: Growing) -> None:
    with contextlib.closing(Library([growing.home], cache=None)) as library:
        serving = Dashboard(library, port=0).start()
        with ExitStack() as stack:
            streams = [stack.enter_context(streaming(serving)) for _ in range(20)]
            begin = time.monotonic()
            assert serving.stop()
            assert time.monotonic() - begin < 1
            assert all(stream.ended.wait(1) for stream in streams)


@pytest.mark.measures
def test_twenty_open_pages_on_a_running_study_cost_little(tmp_path: Path) -> None:
    home = tmp_path / "running"
    stop = begin_slow(home, 8, 3.0)
    try:
        with served(home) as (process, url):
            _, _, where = url.rpartition("//")
            dashboard = cast(Dashboard, SimpleNamespace(host="127.0.0.1", port=int(where.strip("/").partition(":")[2])))
            study = name_of(dashboard)
            ask(dashboard, f"/api/studies/{study}")
            with ExitStack() as stack:
                query = f"?topic=study/{study}&topic=studies"
                streams = [stack.enter_context(streaming(dashboard, query)) for _ in range(20)]
                share = load(process.pid, 6.0)
            assert all(stream.events for stream in streams)
            assert share < 0.05, f"measured {share:.3f} of a core"
    finally:
        stop()


@contextlib.contextmanager
def served(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`panorama serve` as a process of its own, and its address."""
    code = "from panorama_driver.cli import main; main()"
    words = [sys.executable, "-c", code, "serve", str(home), "--port", "0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["url"]
        process.terminate()


def load(pid: int, seconds: float) -> float:
    """Which share of a core a process and those it has started take over so many seconds."""
    begin, used = time.monotonic(), cpu_time(pid)
    time.sleep(seconds)
    return (cpu_time(pid) - used) / (time.monotonic() - begin)


def cpu_time(pid: int) -> float:
    """[s], that of children that have ended included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
