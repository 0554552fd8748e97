"""What one client of a public server may ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from panorama_driver.web import Dashboard, Library
from panorama_driver.web._limits import Limiter, Limits, address
from tests.web import stores
from tests.web.serving import ask, streaming


class Behind:
    """An application whose answers take until they are let go; counts the most that were in it at once."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside = self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go.wait()
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def scope(peer: str = "192.0.2.1", path: str = "/api/studies", *forwarded: str) -> Scope:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    return {"type": "http", "method": "GET", "path": path, "client": (peer, 5), "headers": headers}


async def asked(limiter: Limiter, of: Scope) -> tuple[int, dict[str, str]]:
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await limiter(of, receive, send)
    return told[0]["status"], {name.decode(): value.decode() for name, value in told[0]["headers"]}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def test_a_burst_is_answered_and_then_so_many_a_second_and_others_are_not_held_up() -> None:
    async def scene() -> None:
        behind, clock = Behind(), Clock()
        behind.go.set()
        limiter = Limiter(behind, Limits(rate=2.0, burst=3), clock)
        assert [(await asked(limiter, scope()))[0] for _ in range(4)] == [200, 200, 200, 429]
        status, headers = await asked(limiter, scope())
        assert (status, headers["retry-after"]) == (429, "1")
        assert (await asked(limiter, scope("192.0.2.2")))[0] == 200
        clock.now += 0.5  # one token of two a second
        assert [(await asked(limiter, scope()))[0] for _ in range(2)] == [200, 429]
        clock.now += 3600
        assert [(await asked(limiter, scope()))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await asked(limiter, scope(path="/api/health")))[0] == 200
        job = scope(path="/api/studies/s/workflows/w/jobs/x/api/health")  # of another name than it looks like
        assert (await asked(limiter, job))[0] == 429

    run(scene())


def test_so_many_are_answered_to_one_client_at_the_same_time_and_so_many_streams() -> None:
    async def scene() -> None:
        behind = Behind()
        limiter = Limiter(behind, Limits(answers=2, streams=1))
        waiting = [asyncio.create_task(asked(limiter, scope())) for _ in range(2)]
        waiting.append(asyncio.create_task(asked(limiter, scope(path="/api/live"))))
        await asyncio.sleep(0)
        assert (await asked(limiter, scope()))[0] == 429
        assert (await asked(limiter, scope(path="/api/live")))[0] == 429
        other = asyncio.create_task(asked(limiter, scope("192.0.2.2")))
        await asyncio.sleep(0)
        behind.go.set()
        assert [(await each)[0] for each in [*waiting, other]] == [200] * 4
        assert behind.most == 4
        assert (await asked(limiter, scope()))[0] == 200

    run(scene())


def test_clients_beyond_number_are_forgotten_and_not_those_that_are_being_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("panorama_driver.web._limits._CLIENTS", 3)

    async def scene() -> None:
        behind = Behind()
        limiter = Limiter(behind, Limits(burst=1, answers=1, rate=1e-6))
        first = asyncio.create_task(asked(limiter, scope("192.0.2.0")))
        await asyncio.sleep(0)
        others = [asyncio.create_task(asked(limiter, scope(f"198.51.100.{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        assert (await asked(limiter, scope("192.0.2.0")))[0] == 429
        behind.go.set()
        await asyncio.gather(first, *others)
        assert len(limiter._clients) <= 3

    run(scene())


@pytest.mark.parametrize(
    ("peer", "forwarded", "told"),
    [
        ("192.0.2.7", (), "192.0.2.7"),
        ("192.0.2.7", ("203.0.113.9",), "192.0.2.7"),  # no proxy of ours: anybody can write that
        ("127.0.0.1", ("198.51.100.1, 203.0.113.9",), "203.0.113.9"),  # the proxy adds what it saw at the end
        ("127.0.0.1", ("198.51.100.1", "203.0.113.9"), "203.0.113.9"),
        ("::1", ("2001:db8:1:2:3::4",), "2001:db8:1:2::/64"),
        ("127.0.0.1", ("nonsense",), "127.0.0.1"),
        ("2001:db8:1:2:ffff::1", (), "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", (), "192.0.2.7"),
    ],
)
def test_a_client_is_known_by_its_address(peer: str, forwarded: tuple[str, ...], told: str) -> None:
    assert address(scope(peer, "/", *forwarded)) == told


def test_a_public_server_answers_everybody_as_much_as_its_limits_allow(tmp_path: Path) -> None:
    store = stores.captures(tmp_path / "captures.db")
    limits = Limits(rate=0.001, burst=8, streams=1)
    with Library([store], cache=None) as library, Dashboard(library, port=0, public=limits) as dashboard:
        answer = ask(dashboard, "/api/studies", Host="data.example.org", sec_fetch_site="cross-site")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert ask(dashboard, "/api/studies", method="POST").status == 405
        with streaming(dashboard):
            assert ask(dashboard, "/api/live").status == 429
        statuses = [ask(dashboard, "/api/studies").status for _ in range(6)]
        assert statuses == [200] * 5 + [429]  # what was refused with 405 has cost nothing
        refused = ask(dashboard, "/api/studies/s%2Fapi%2Fhealth")
        assert (refused.status, refused.headers["x-content-type-options"]) == (429, "nosniff")
        assert refused.headers["access-control-allow-origin"] == "*"
        assert ask(dashboard, "/api/health").status == 200
        assert ask(dashboard, "/api/studies", X_Forwarded_For="203.0.113.9").status == 200
