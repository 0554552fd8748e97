"""A dashboard on a real socket, and a client that says what it wants said."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from panorama_driver.web import Dashboard

WITHIN = 10.0


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(dashboard: Dashboard, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request; names of headers with `_` for `-`."""
    connection = http.client.HTTPConnection(dashboard.host, dashboard.port, timeout=WITHIN)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class Event(NamedTuple):
    """One server-sent event."""

    id: str
    kind: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Stream:
    """A live stream as a browser hears it, in a thread."""

    def __init__(self, dashboard: Dashboard, query: str = "", **headers: str) -> None:
        self.events: list[Event] = []
        self.last = ""
        self.ended = threading.Event()
        self._connection = http.client.HTTPConnection(dashboard.host, dashboard.port, timeout=WITHIN)
        self._connection.request("GET", f"/api/live{query}", headers=headers)
        self.answer = self._connection.getresponse()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def wait(self, until: Callable[[list[Event]], bool]) -> list[Event]:
        """The events, once they are as wanted."""
        with self._moved:
            assert self._moved.wait_for(lambda: until(self.events), WITHIN), self.events
            return list(self.events)

    def begun(self) -> Stream:
        """Itself, once the server has told where it stands."""
        with self._moved:
            assert self._moved.wait_for(lambda: bool(self.last), WITHIN)
        return self

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(WITHIN)
        self._connection.close()

    def _hear(self) -> None:
        kind, data = "message", []
        try:
            while line := self.answer.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)
                elif name == "id":
                    self.last = value
                elif not name:
                    self._dispatch(kind, data)
                    kind, data = "message", []
        except (OSError, http.client.HTTPException, AttributeError, ValueError):
            pass  # it was closed meanwhile
        self.ended.set()

    def _dispatch(self, kind: str, data: list[str]) -> None:
        with self._moved:
            if data:
                self.events.append(Event(self.last, kind, "\n".join(data)))
            self._moved.notify_all()


@contextmanager
def streaming(dashboard: Dashboard, query: str = "", **headers: str) -> Iterator[Stream]:
    """A stream that has begun."""
    stream = Stream(dashboard, query, **headers)
    try:
        yield stream.begun()
    finally:
        stream.close()


def eventually(true: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.01)
