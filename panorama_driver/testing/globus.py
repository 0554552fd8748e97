"""A stand-in for Globus' Transfer service: a small HTTP server with tasks that go on in simulated time.

It speaks what docs.globus.org documents of the Transfer API, "Task Management": `task_list` with filters and paging,
`task/<id>`, `task/<id>/event_list` with paging (the latest event first), and errors in the API's own form.
"""

from __future__ import annotations

import fnmatch
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-token-for-tests"
_CODES = {401: "AuthenticationFailed", 404: "TaskNotFound", 429: "RateLimitExceeded", 400: "BadRequest"}
_MOST = 1000  # results that a list gives in all


class Step(NamedTuple):
    """What happens to a task `at` [s] after its request.

    `code` is that of an event (`PROGRESS`, `PAUSED`, `SUCCEEDED`, `CANCELED`, `EXPIRED`, or of an error). `size`
    [bytes] is what a PROGRESS moved, within `duration` [s].
    """

    at: float
    code: str
    size: int = 0
    duration: float = 1.0
    description: str = ""


@dataclass
class FakeTask:
    """A transfer task that follows a script.

    Parameters
    ----------
    label : str or None
        `<wf_uuid> - <dag_job_id>`, where Pegasus made it.
    steps : sequence of Step
        In order of time.
    requested : float
        [s since 1970]
    """

    label: str | None
    steps: Sequence[Step] = ()
    requested: float = 1_600_000_000.0
    type: str = "TRANSFER"
    files: int = 1
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def document(self, now: float) -> dict[str, Any]:
        """The task document at a time [s since 1970]."""
        past = self._past(now)
        last = next((step for step in reversed(past) if step.code in _ENDS), None)
        moved = sum(step.size for step in past if step.code == "PROGRESS")
        paused = next((step.code == "PAUSED" for step in reversed(past) if step.code in ("PAUSED", "UNPAUSED")), False)
        status = _ENDS[last.code] if last else "INACTIVE" if _expired(past) else "ACTIVE"
        completed = self.requested + last.at if last else None
        faults = sum(step.code not in _PLAIN for step in past)
        return {
            "DATA_TYPE": "task",
            "task_id": self.task_id,
            "type": self.type,
            "status": status,
            "label": self.label,
            "owner_id": "0a1b2c3d-0000-4000-8000-000000000001",
            "username": "u_abcdefghijklmnopqrstuvwxyz",
            "request_time": _iso(self.requested),
            "completion_time": None if completed is None else _iso(completed),
            "deadline": _iso(self.requested + 86400),
            "source_endpoint_id": "0a1b2c3d-0000-4000-8000-000000000002",
            "source_endpoint_display_name": "source collection",
            "destination_endpoint_id": "0a1b2c3d-0000-4000-8000-000000000003",
            "destination_endpoint_display_name": "destination collection",
            "files": self.files,
            "files_transferred": self.files if status == "SUCCEEDED" else 0,
            "files_skipped": 0,
            "directories": 0,
            "bytes_transferred": moved,
            "bytes_checksummed": 0,
            "effective_bytes_per_second": int(moved / last.at) if last and last.at else 0,
            "faults": faults,
            "is_ok": None if last else faults == 0,
            "is_paused": paused,
            "nice_status": None if last else "OK",
            "nice_status_details": None,
            "nice_status_expires_in": None,
            "nice_status_short_description": None if last else "OK",
            "subtasks_total": self.files,
            "subtasks_pending": 0 if last else self.files,
            "subtasks_retrying": 0 if last else min(faults, self.files),
            "subtasks_succeeded": self.files if status == "SUCCEEDED" else 0,
            "subtasks_failed": 0,
            "subtasks_canceled": self.files if last and last.code == "CANCELED" else 0,
            "subtasks_expired": self.files if last and last.code == "EXPIRED" else 0,
            "subtasks_skipped_errors": 0,
            "sync_level": None,
            "verify_checksum": True,
            "encrypt_data": False,
            "fatal_error": {"code": last.code, "description": last.description}
            if status == "FAILED" and last
            else None,
            "event_link": {"DATA_TYPE": "link", "href": f"task/{self.task_id}/event_list", "rel": "child"},
        }

    def events(self, now: float) -> list[dict[str, Any]]:
        """The event list at a time [s since 1970], the latest first."""
        return [self._event(step) for step in reversed(self._past(now))]

    def _past(self, now: float) -> list[Step]:
        return [step for step in self.steps if self.requested + step.at <= now]

    def _event(self, step: Step) -> dict[str, Any]:
        progress = {
            "bytes_transferred": step.size,
            "duration": step.duration,
            "mbps": step.size * 8 / 1e6 / step.duration if step.duration else 0,
        }
        return {
            "DATA_TYPE": "event",
            "code": step.code,
            "description": step.description or step.code.lower(),
            "details": json.dumps(progress) if step.code == "PROGRESS" else step.description,
            "is_error": step.code not in _PLAIN,
            "time": _iso(self.requested + step.at),
        }


class Refusal(NamedTuple):
    """An answer that is not the one asked for."""

    status: int
    retry_after: str | None = None


class FakeGlobus:
    """The service, on a free port of the loopback; a context manager.

    Attributes
    ----------
    tasks : list of FakeTask
        What it has.
    now : float
        Simulated time [s since 1970].
    token : str
        The only one that it takes.
    refusals : list of Refusal
        Given instead of the next answers.
    requests : list of str
        Path and query of what was asked.
    page : int
        Largest number of results a page.
    """

    def __init__(self, *tasks: FakeTask, page: int = 1000) -> None:
        self.tasks = list(tasks)
        self.now = 1_600_000_000.0
        self.token = TOKEN
        self.refusals: list[Refusal] = []
        self.requests: list[str] = []
        self.page = page
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and document for a request.

        Raises
        ------
        ValueError
            A number in the query is none.
        """
        parts = path.strip("/").split("/")
        if parts == ["v0.10", "task_list"]:
            return 200, self._listed("task_list", list(self._matching(query.get("filter", ""))), query)
        task = next((t for t in self.tasks if parts[:3] == ["v0.10", "task", t.task_id]), None)
        if task is None:
            return 404, _problem(404, f"no task at {path}")
        if parts[3:] == ["event_list"]:
            return 200, self._listed("event_list", task.events(self.now), query)
        return (200, task.document(self.now)) if len(parts) == 3 else (404, _problem(404, f"no resource {path}"))

    def _matching(self, filters: str) -> Iterator[dict[str, Any]]:
        wanted = dict(part.split(":", 1) for part in filters.split("/") if ":" in part)
        types = wanted.get("type", "TRANSFER").split(",")
        for task in sorted(self.tasks, key=lambda task: task.requested, reverse=True):
            document = task.document(self.now)
            if task.requested <= self.now and task.type in types and _fits(document, wanted):
                yield document

    def _listed(self, kind: str, found: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 10)), self.page)
        data = found[:_MOST][offset : offset + limit]
        return {
            "DATA_TYPE": kind,
            "DATA": data,
            "length": len(data),
            "limit": limit,
            "offset": offset,
            "total": len(found),
        }


def _fits(document: dict[str, Any], wanted: dict[str, str]) -> bool:
    label, statuses = wanted.get("label"), wanted.get("status")
    if statuses and document["status"] not in statuses.split(","):
        return False
    return label is None or any(_is_like(str(document["label"] or ""), one) for one in label.split(","))


def _is_like(label: str, pattern: str) -> bool:
    """`~` compares without regard to case and with `*`, `=` or nothing exactly."""
    if pattern.startswith("~"):
        return fnmatch.fnmatchcase(label.lower(), pattern[1:].lower())
    return label == pattern.removeprefix("=")


def _expired(past: Sequence[Step]) -> bool:
    return bool(past) and past[-1].code == "NO_CREDENTIALS"


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _problem(status: int, message: str) -> dict[str, Any]:
    code = _CODES.get(status, "ServiceUnavailable")
    return {"code": code, "message": message, "request_id": "abcDEF123", "resource": "/"}


_ENDS = {"SUCCEEDED": "SUCCEEDED", "FAILED": "FAILED", "CANCELED": "FAILED", "EXPIRED": "FAILED"}
_PLAIN = frozenset({"STARTED", "PROGRESS", "PAUSED", "UNPAUSED", "SUCCEEDED"})


def _handler(service: FakeGlobus) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def do_GET(self) -> None:  # the name that http.server calls
            service.requests.append(self.path)
            if service.refusals:
                refusal = service.refusals.pop(0)
                self._send(refusal.status, _problem(refusal.status, "not now"), refusal.retry_after)
            elif self.headers.get("Authorization") != f"Bearer {service.token}":
                self._send(401, _problem(401, "Token is not active"))
            else:
                self._send(*self._found())

        def _found(self) -> tuple[int, dict[str, Any]]:
            url = urlsplit(self.path)
            try:
                return service.answer(url.path, {key: values[-1] for key, values in parse_qs(url.query).items()})
            except ValueError as error:
                return 400, _problem(400, str(error))

        def _send(self, status: int, document: dict[str, Any], retry_after: str | None = None) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
