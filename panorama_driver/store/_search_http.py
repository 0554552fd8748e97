"""Requests to a search engine: connections that are kept, tried again where that can help, and what its errors mean."""

from __future__ import annotations

import re
import ssl
from typing import Any, NamedTuple, TypeVar

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.util import Retry, Timeout

from ..errors import StoreError
from ._rows import decoded
from ._search_address import CA, NETRC, Address

JSON = "application/json"
LINES = "application/x-ndjson"
_BUSY = (429, 502, 503, 504)
_TIMEOUT = Timeout(connect=5.0, read=60.0)
_LARGEST = 64 << 20  # bytes of an answer
_CONNECTIONS = 8
_TOLD = 500  # characters of an error of the server's
_ENGINE = "is this the port of OpenSearch or Elasticsearch?"

T = TypeVar("T")


class LargeAnswerError(StoreError):
    """An answer is larger than what is read of one."""


class _Any(msgspec.Struct):
    """Something, of which nothing is needed."""


def retries() -> Retry:
    """How often, and with which pauses, what may be over soon is tried again: half a minute in all.

    Every request of ours may come twice: documents are created under names of their own.
    """
    return Retry(
        total=8,
        connect=3,
        read=3,
        redirect=0,
        other=0,  # a certificate that is not trusted now will not be in a second
        allowed_methods=None,
        status_forcelist=_BUSY,
        backoff_factor=0.25,
        backoff_max=8.0,
        backoff_jitter=0.25,
        raise_on_status=False,
        raise_on_redirect=False,
        respect_retry_after_header=False,
    )


class Answer(NamedTuple):
    """What the server said.

    Attributes
    ----------
    status : int
        Of HTTP.
    body : Any
        Out of JSON; text where it is none.
    size : int
        Of the body [bytes].
    again : bool
        A request before it had no answer, or one that leaves open whether it was done.
    """

    status: int
    body: Any
    size: int = 0
    again: bool = False

    @property
    def reason(self) -> str:
        """The server's own words of what went wrong."""
        error = self.body.get("error", self.body) if isinstance(self.body, dict) else self.body
        if isinstance(error, dict):
            cause = error.get("caused_by") or (error.get("root_cause") or [{}])[0]
            told = dict.fromkeys((error.get("type"), error.get("reason"), cause.get("reason")))
            error = ": ".join(str(word) for word in told if word)
        return f"HTTP {self.status}: {error}"[:_TOLD]


class Client:
    """A search engine's HTTP interface; for many threads.

    Parameters
    ----------
    address : Address
        Where it is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._headers = urllib3.make_headers(basic_auth=":".join(address.login)) if address.login else {}
        self._pool = _pool(address)
        self.closed = False

    def ask(self, method: str, path: str, body: bytes | dict[str, Any] | None = None, *, kind: str = JSON) -> Answer:
        """Send one request, whatever the answer to it is.

        Raises
        ------
        StoreError
            There is no answer, or it is one of somebody who may not.
        """
        if self.closed:
            raise StoreError(f"{self.address}: the store was closed; open it again")
        sent = msgspec.json.encode(body) if isinstance(body, dict) else body
        try:
            response = self._pool.urlopen(
                method,
                path,
                body=sent,
                headers={**self._headers, "Content-Type": kind},
                retries=retries(),
                preload_content=False,
            )
            text = self._read(response)
        except HTTPError as problem:
            raise StoreError(f"{self.address}: {_explanation(problem)}") from problem
        answer = Answer(response.status, _json(text), len(text), _ambiguous(response.retries))
        if answer.status in (401, 403):
            raise StoreError(f"{self.address}: {answer.reason}; {_FORBIDDEN[answer.status]}")
        return answer

    def get(self, method: str, path: str, form: type[T], body: dict[str, Any] | None = None) -> T:
        """The answer to one request, in the form that it should have.

        Raises
        ------
        StoreError
            There is none, or it tells of an error, or has another form.
        """
        return self.read(self.ask(method, path, body), form)

    def do(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Send one request that succeeds or fails.

        Raises
        ------
        StoreError
            It fails.
        """
        self.get(method, path, _Any, body)

    def read(self, answer: Answer, form: type[T]) -> T:
        """An answer of success in the form that it should have.

        Raises
        ------
        StoreError
            It is another one.
        """
        if answer.status >= 300 or not isinstance(answer.body, dict):
            raise self.problem(answer)
        try:
            return msgspec.convert(answer.body, form)
        except msgspec.ValidationError as problem:
            raise StoreError(f"{self.address}: an answer that is not as it should be: {problem}; {_ENGINE}") from None

    def problem(self, answer: Answer) -> StoreError:
        """An answer as the error that it is to us."""
        step = _NEXT_STEPS.get(answer.status, "see the server's log")
        if not isinstance(answer.body, dict):
            step = _ENGINE
        return StoreError(f"{self.address}: {answer.reason}; {step}")

    def close(self) -> None:
        """Close all connections."""
        self.closed = True
        self._pool.close()

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """All of an answer of bounded size; its connection is then free for others."""
        text = response.read(_LARGEST + 1, decode_content=True)
        if len(text) > _LARGEST:
            response.close()
            raise LargeAnswerError(f"{self.address}: an answer of more than {_LARGEST >> 20} MiB; {_ENGINE}")
        response.release_conn()
        return text


def _pool(address: Address) -> urllib3.HTTPConnectionPool:
    if not address.tls:
        return urllib3.HTTPConnectionPool(address.host, address.port, timeout=_TIMEOUT, maxsize=_CONNECTIONS)
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except (OSError, ssl.SSLError) as problem:
        raise StoreError(f"{address.ca}: no certificates in PEM ({problem}); {CA} names this file") from None
    return urllib3.HTTPSConnectionPool(
        address.host, address.port, timeout=_TIMEOUT, maxsize=_CONNECTIONS, ssl_context=context
    )


def _json(text: bytes) -> Any:
    try:
        return decoded(text)
    except (ValueError, RecursionError):
        return text[:_TOLD].decode("utf-8", "replace")


def _ambiguous(told: Retry | None) -> bool:
    """Whether a request that was tried before may have been done all the same."""
    return told is not None and any(before.status != 429 for before in told.history)


def _explanation(problem: HTTPError) -> str:
    cause = problem.reason if isinstance(problem, MaxRetryError) and problem.reason else problem
    if isinstance(cause, SSLError) or "certificate" in str(cause).lower():
        return f"no safe connection: {cause}; {_tls_step(str(cause))}"
    return f"cannot be reached: {_words(cause)}; check that the search engine runs there and that you may connect"


def _words(cause: BaseException) -> str:
    """Without urllib3's own objects, which the address has told of."""
    return re.sub(r"^.*?HTTPS?Connection(Pool)?\(.*?\): ", "", str(cause))


def _tls_step(text: str) -> str:
    if "expired" in text:
        return "its certificate has expired: whoever runs it must renew it"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "it speaks plain HTTP: write opensearch+http:// if that is meant"
    if "match" in text:
        return "its certificate is for another name: use the name that is in it"
    return f"name the certificates to trust (PEM) in {CA}"


_FORBIDDEN = {
    401: f"put user and password into a netrc file (chmod 600) and name it in {NETRC}",
    403: "this user needs read, indices:monitor/stats and indices:admin/refresh on the store's indices to read, "
    "and write and create_index to write; or the disk is full and the indices are blocked",
}
_NEXT_STEPS = {
    404: "an index of the store is gone: restore it, or open the store anew for writing",
    413: "raise http.max_content_length of the server, or split the event",
    429: "the server is overloaded; what was stored stays, put the rest again later",
    502: "the server is not available; try again later",
    503: "the server is starting, or a node with the store's data is away; try again later",
    504: "the server is slow; try again later",
}
