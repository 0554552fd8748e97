"""An HTTP proxy in front of a real search engine that does to its clients what overloaded clusters and networks do."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

FAULTS = ("busy", "down", "down after", "cut", "cut after", "slow", "some busy")
"""What may happen to a request.

| fault | what the client sees | what the engine has done |
| --- | --- | --- |
| `busy`, `down` | 429, 503 | nothing |
| `down after` | 503 | everything |
| `cut`, `cut after` | a closed connection | nothing, everything |
| `slow` | nothing, for longer than it waits | everything |
| `some busy` | an answer with 429 for some documents | the others |
"""
_IN_A_ROW = 2
"""Faults that the same request meets, at most, before it passes; a client that gives up earlier cannot get through."""
_REJECTED = {"type": "rejected_execution_exception", "reason": "the queue of writes is full"}
_MISFIT = {"type": "mapper_parsing_exception", "reason": "failed to parse"}


class Reply(NamedTuple):
    """An answer of the engine, or one made up."""

    status: int
    body: bytes
    kind: str = "application/json"


class Proxy:
    """Stands between a client and an engine.

    Parameters
    ----------
    upstream : int
        Port of the engine on this machine.
    seed : int
        Of the pattern of faults.
    share : float
        Of bulk requests that meet a fault.
    slow : float
        How long a slow answer takes [s].
    misfit : callable, optional
        Which documents, by their names, are answered with 400 and never reach the engine.
    rejected : callable, optional
        Which are answered with 429, always; may be changed.

    Attributes
    ----------
    port : int
        Where it listens on 127.0.0.1.
    done : Counter
        How often each fault has happened; `misfit` counts documents.
    broken : bool
        Set it, and every request is answered with 503.
    """

    def __init__(
        self,
        upstream: int,
        *,
        seed: int = 0,
        share: float = 0.0,
        slow: float = 1.0,
        misfit: Callable[[str], bool] = lambda _: False,
        rejected: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.done: Counter[str] = Counter()
        self.broken, self.rejected = False, rejected
        self._upstream, self._share, self._slow, self._misfit = upstream, share, slow, misfit
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self._met: Counter[bytes] = Counter()
        self._deck: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def speak_tls(self, context: ssl.SSLContext) -> None:
        """Speak HTTPS, with the certificate of the context at each connection."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """It answers meanwhile."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, method: str, path: str, body: bytes, kind: str) -> Reply | None:
        """What the client shall see; None: the connection is closed."""
        if self.broken:
            return Reply(503, b'{"error": "no engine", "status": 503}')
        fault = self._next(path, body)
        if fault in ("busy", "down"):
            return Reply(429 if fault == "busy" else 503, json.dumps({"error": _REJECTED}).encode())
        if fault == "cut":
            return None
        reply = self._passed(method, path, body, kind, fault)
        if fault == "slow":
            time.sleep(self._slow)
        if fault == "down after":
            return Reply(503, b"upstream connect error", "text/plain")
        return None if fault == "cut after" else reply

    def _next(self, path: str, body: bytes) -> str:
        """The fault that this request meets; "" for none."""
        if "/_bulk" not in path:
            return ""
        with self._lock:
            unlucky = self._chance.random() < self._share and self._met[body] < _IN_A_ROW
            self._met[body] += unlucky
            fault = self._dealt() if unlucky else ""
            self.done[fault] += 1
            return fault

    def _dealt(self) -> str:
        """Every fault once, in any order, before one comes again."""
        self._deck = self._deck or self._chance.sample(FAULTS, len(FAULTS))
        return self._deck.pop()

    def _passed(self, method: str, path: str, body: bytes, kind: str, fault: str) -> Reply:
        if "/_bulk" not in path:
            return self._ask(method, path, body, kind)
        items = list(_items(body))
        verdicts = [self._verdict(name, fault) for name, _ in items]
        passed = [lines for (_, lines), verdict in zip(items, verdicts, strict=True) if verdict is None]
        reply = self._ask(method, path, b"".join(passed), kind) if passed else Reply(200, b'{"items": []}')
        if len(passed) == len(items) or reply.status != 200:
            return reply
        told = json.loads(reply.body)
        answers = iter(told["items"])
        told["items"] = [next(answers) if verdict is None else {"create": verdict} for verdict in verdicts]
        return Reply(200, json.dumps(told).encode())

    def _verdict(self, name: str, fault: str) -> dict[str, Any] | None:
        if self._misfit(name):
            self.done["misfit"] += 1
            return {"_id": name, "status": 400, "error": _MISFIT}
        with self._lock:
            rejected = self.rejected(name) or (fault == "some busy" and self._chance.random() < 0.5)
        return {"_id": name, "status": 429, "error": _REJECTED} if rejected else None

    def _ask(self, method: str, path: str, body: bytes, kind: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=60)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        finally:
            connection.close()


def _items(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Each document of a bulk request, by its name, with its lines."""
    lines = iter(body.splitlines(keepends=True))
    for action in lines:
        [(what, told)] = json.loads(action).items()
        yield told["_id"], action if what == "delete" else action + next(lines)


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = proxy.answer(self.command, self.path, body, self.headers.get("Content-Type") or "application/json")
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815 (names that http.server calls)

        def handle(self) -> None:
            with suppress(ConnectionError, ssl.SSLError):  # the client has not waited, or does not trust us
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
