"""What clients and `http.HttpIngest` say to each other: requests taken apart, answers put together, without sockets.

Formats: HTTP/1.1 (RFC 9112), of which only what clients of ours need, and read strictly; bodies are JSON records, or
one record in the envelope of RabbitMQ's management API (`POST /api/exchanges/VHOST/EXCHANGE/publish`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from ..errors import FormatError
from ._records import record_of

HEAD_LIMIT = 16 * 1024
"""Of a request, all before the body [bytes]."""
LINE_COUNT = 50_000
"""Lines of a body: while they are looked through, no other client is heard."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")  # no line end of its own, which a proxy could take for one
_START = re.compile(r"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.([01])")
_PUBLISH = re.compile(r"/api/exchanges/[^/]+/[^/]+/publish")
_PLAIN = ("/", "/events")
_HEALTH = "/healthz"
_DIGITS = re.compile(r"[0-9]{1,18}")


class Refusal(Exception):  # noqa: N818 (it is an answer, and no error of ours)
    """A request is answered so instead of being taken."""

    def __init__(self, status: int, words: str, **headers: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def answer(self) -> bytes:
        """Its bytes; the connection is closed after it."""
        return answer(self.status, {"error": self.words}, self.headers, lasting=False)


class Request(NamedTuple):
    """The head of a request; names of headers in lower case, the path without its query."""

    method: str
    path: str
    headers: dict[str, str]
    lasting: bool

    @property
    def health(self) -> bool:
        return self.path == _HEALTH

    @property
    def publication(self) -> bool:
        """Whether its body is an envelope of RabbitMQ's."""
        return _PUBLISH.fullmatch(self.path) is not None

    @property
    def awaits_word(self) -> bool:
        """Whether the client sends the body only once it is told to."""
        return self.headers.get("expect", "").lower() == "100-continue"


class Body(NamedTuple):
    """What a body holds: records, and what is none, with the first reason."""

    records: list[bytes]
    others: list[bytes]
    reason: str = ""


def parse_head(head: bytes) -> Request:
    """Take the head of a request apart, with the empty line that ends it.

    Raises
    ------
    Refusal
        400: it is no HTTP.
    """
    start, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    found = _START.fullmatch(start)
    if found is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the first line is none of HTTP/1.0 or 1.1")
    headers = _headers(lines)
    asked = headers.get("connection", "").lower()
    lasting = asked != "close" if found[3] == "1" else asked == "keep-alive"
    return Request(found[1], found[2].partition("?")[0], headers, lasting)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Refusal(HTTPStatus.BAD_REQUEST, "a header line has no name, or a character that it may not have")
        name = name.lower()
        if name in headers and name in ("content-length", "authorization", "transfer-encoding"):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} is told twice")
        headers[name] = value.strip(" \t")
    return headers


def check_target(request: Request) -> None:
    """See that there is something at the path that takes the method.

    Raises
    ------
    Refusal
        404 or 405.
    """
    if request.health:
        allowed = "GET"
    elif request.path in _PLAIN or request.publication:
        allowed = "POST"
    else:
        words = "records go to / or /events, or to /api/exchanges/VHOST/EXCHANGE/publish"
        raise Refusal(HTTPStatus.NOT_FOUND, words)
    if request.method != allowed:
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed} can be done here", Allow=allowed)


def check_token(request: Request, token: str) -> None:
    """See that the client knows the token: as a bearer, or as the password of whatever user.

    Raises
    ------
    Refusal
        401.
    """
    scheme, _, told = request.headers.get("authorization", "").partition(" ")
    given = told.strip()
    if scheme.lower() == "basic":
        given = _password(given)
    elif scheme.lower() != "bearer":
        given = ""
    if not hmac.compare_digest(given.encode("latin-1", "replace"), token.encode("latin-1", "replace")):
        words = "the token is missing or wrong: send it as Authorization: Bearer TOKEN, or as a password"
        raise Refusal(HTTPStatus.UNAUTHORIZED, words, WWW_Authenticate='Bearer, Basic realm="panorama"')


def _password(told: str) -> str:
    try:
        return base64.b64decode(told, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def body_length(request: Request, limit: int) -> int:
    """How long the body is [bytes].

    Raises
    ------
    Refusal
        411: it is not told. 413: more than `limit`. 400, 415: it cannot be read.
    """
    headers = request.headers
    if "transfer-encoding" in headers or "content-length" not in headers:
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, "tell the length of the body in Content-Length")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as it is, not compressed")
    told = headers["content-length"]
    if not _DIGITS.fullmatch(told):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
    if int(told) > limit:
        words = f"a body of {int(told)} bytes is longer than the {limit} that are taken at once"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)
    return int(told)


def body_of(request: Request, body: bytes) -> Body:
    """Find the records in a body: one object, an object a line, or one in RabbitMQ's envelope.

    Raises
    ------
    Refusal
        413: it has more than `LINE_COUNT` lines.
    """
    if request.publication:
        return _published(body)
    if not body.strip():
        return Body([], [], "the body is empty")
    try:
        record_of(body)
    except FormatError:
        return _by_line(body)
    return Body([body.strip()], [])


def _published(body: bytes) -> Body:
    try:
        payload = _payload(record_of(body))
        record_of(payload)
    except FormatError as error:
        return Body([], [body] if body else [], f"no record in an envelope of RabbitMQ's management API: {error}")
    return Body([payload.strip()], [])


def _payload(envelope: dict[str, Any]) -> bytes:
    payload, encoding = envelope.get("payload"), envelope.get("payload_encoding")
    if not isinstance(payload, str) or encoding not in ("base64", "string"):
        raise FormatError("it needs a text 'payload' and as 'payload_encoding' either base64 or string")
    if encoding == "string":
        return payload.encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(payload, validate=True)
    except ValueError as error:
        raise FormatError(f"its payload is no base64: {error}") from error


def _by_line(body: bytes) -> Body:
    count = body.count(b"\n")
    if count > LINE_COUNT:
        words = f"{count} lines are more than the {LINE_COUNT} that are taken at once"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)
    found = Body([], [])
    reason = ""
    for number, line in _lines(body):
        try:
            record_of(line)
            found.records.append(line)
        except FormatError as error:
            found.others.append(line)
            reason = reason or f"line {number}: {error}"
    return found._replace(reason=reason)


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, without holding a second copy of them all."""
    start, number = 0, 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        number += 1
        if line := body[start:end].strip():
            yield number, line
        start = end + 1


def answer(status: int, content: dict[str, Any], headers: dict[str, str], lasting: bool) -> bytes:
    """The bytes of an answer, whose body is JSON."""
    body = json.dumps(content, separators=(",", ":")).encode() + b"\n"
    told = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "keep-alive" if lasting else "close",
        **headers,
    }
    lines = [
        f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in told.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
