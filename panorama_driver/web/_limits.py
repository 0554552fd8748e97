"""How much one client of a public server may ask for, so that none keeps the others from being answered.

A client is an address, of IPv6 the network of 64 bits that a provider gives one customer. Behind a proxy on this
machine it is the address that the proxy has seen: the last one in `X-Forwarded-For`, which only the proxy can have
written. Each has a bucket of tokens (https://en.wikipedia.org/wiki/Token_bucket) and so many answers at a time.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ._answers import problem

_CLIENTS = 10_000  # that are remembered
_FREE, _LIVE = "/api/health", "/api/live"


class Limits(NamedTuple):
    """What one client may ask for.

    Attributes
    ----------
    rate : float
        Requests that it may send for any length of time [1/s].
    burst : int
        Requests that it may send at once after a while without any; a first visit to a page takes some 30.
    answers : int
        Requests that are answered to it at the same time.
    streams : int
        Live streams that it may have open.
    """

    rate: float = 20.0
    burst: int = 200
    answers: int = 16
    streams: int = 4


@dataclass(slots=True)
class _Client:
    tokens: float
    seen: float
    answers: int = 0
    streams: int = 0

    @property
    def busy(self) -> bool:
        return bool(self.answers or self.streams)


class Limiter:
    """Stands before an application and turns away who asks for too much, with 429 and when to come again.

    Parameters
    ----------
    app : ASGI application
        What stands behind.
    limits : Limits
        Of each client.
    clock : callable
        Gives a time that only goes on [s].
    """

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._limits = limits
        self._clock = clock
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] != "http" or scope["path"] == _FREE:
            return await self._app(scope, receive, send)
        client = self._client(address(scope))
        wait = self._wait(client)
        if wait:
            words = f"too many requests from your address; {self._limits.rate:g} a second are answered"
            return await problem(429, words, {"Retry-After": str(math.ceil(wait))})(scope, receive, send)
        return await self._counted(client, scope, receive, send)

    async def _counted(self, client: _Client, scope: Scope, receive: Receive, send: Send) -> None:
        live = scope["path"] == _LIVE
        if (client.streams >= self._limits.streams) if live else (client.answers >= self._limits.answers):
            words = "so many requests from your address are being answered that this one must wait for one of them"
            return await problem(429, words, {"Retry-After": "1"})(scope, receive, send)
        client.answers += not live
        client.streams += live
        try:
            return await self._app(scope, receive, send)
        finally:
            client.answers -= not live
            client.streams -= live

    def _client(self, name: str) -> _Client:
        client = self._clients.pop(name, None) or _Client(float(self._limits.burst), self._clock())
        self._clients[name] = client
        if len(self._clients) > _CLIENTS:
            idle = next((name for name, each in self._clients.items() if not each.busy), name)
            del self._clients[idle]
        return client

    def _wait(self, client: _Client) -> float:
        """How long the client has to wait [s] until it may ask again; 0 if it may now, for one token."""
        now = self._clock()
        client.tokens = min(client.tokens + (now - client.seen) * self._limits.rate, self._limits.burst)
        client.seen = now
        if client.tokens < 1.0:
            return (1.0 - client.tokens) / self._limits.rate
        client.tokens -= 1.0
        return 0.0


def address(scope: Scope) -> str:
    """Who asks: the address of the peer, or what a proxy on this machine tells."""
    peer = (scope.get("client") or ("", 0))[0]
    told = Headers(scope=scope).getlist("x-forwarded-for")
    known = _network(peer)
    if told and known in ("", _network("127.0.0.1"), _network("::1")):
        return _network(told[-1].rpartition(",")[2].strip()) or known
    return known


def _network(text: str) -> str:
    """An IPv4 address, or the network of an IPv6 one; empty for what is no address."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
