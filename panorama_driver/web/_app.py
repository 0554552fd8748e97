"""The dashboard's HTTP: addresses, documents, pages, modules and the live stream; what they hold is the library's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NoReturn
from urllib.parse import unquote

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import NotFoundError, PanoramaError, UsageError
from ._access import Access, checked_root
from ._answers import Desk, Encoded, problem, response
from ._encoding import to_json
from ._library import Library
from ._limits import Limiter, Limits
from ._live import EventStream, Hub
from ._operations import CSV, JSON, OPERATIONS, LiveQuery, Operation, query_of
from ._static import Static

_READERS = 16  # threads each for what is there at once, and for what may wait for a long run to be read
_FRESH = {"Cache-Control": "no-cache"}
_PRIVATE = {"Cache-Control": "private, no-cache"}
_PAGES = {
    "/": None,
    "/studies": None,
    "/anomalies": None,
    "/repository": None,
    "/studies/{study}": "study",
    "/studies/{study}/workflows/{workflow}": "workflow",
    "/studies/{study}/workflows/{workflow}/transfers": "transfers",
    "/studies/{study}/workflows/{workflow}/jobs/{job}": "job",
}
"""Addresses of pages, each with the operation that it will ask for first, where that may take a while."""
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


class Application:
    """The dashboard as an ASGI application.

    Parameters
    ----------
    library : Library
        What it shows; whoever has opened it closes it.
    token, root_path, hosts
        See `Access`.
    public : Limits, optional
        All of it is for everybody, as much of it as these limits allow.

    Attributes
    ----------
    hub : Hub
        The live stream; `hub.end()` ends what would keep a server from ending.
    """

    def __init__(
        self,
        library: Library,
        *,
        token: str | None = None,
        root_path: str = "",
        hosts: Collection[str] | None = None,
        public: Limits | None = None,
    ) -> None:
        self.hub = Hub(library.changes)
        self._library = library
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._waiting = ThreadPoolExecutor(_READERS, thread_name_prefix="waiting")
        self._desk = Desk(_encode, lambda: self.hub.cursor)
        self._static = Static(checked_root(root_path), repository=library.public)
        inner = Starlette(routes=list(self._routes()), lifespan=self._lifespan, exception_handlers=_HANDLERS)
        inner.router.redirect_slashes = False
        self._open = token is None
        self._begun: set[asyncio.Future[Any]] = set()
        behind: ASGIApp = inner if public is None else Limiter(inner, public)
        self._access = Access(behind, token=token, root_path=root_path, hosts=hosts, public=public is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._access(scope, receive, send)

    def close(self) -> None:
        """Wait for what is being read, once no event loop serves it any more."""
        for readers in (self._readers, self._waiting):
            readers.shutdown()
        self.hub.close()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self.hub.watch())
        try:
            yield
        finally:
            self.hub.end()
            watching.cancel()
            for readers in (self._readers, self._waiting):
                readers.shutdown(wait=False, cancel_futures=True)

    def _routes(self) -> Iterator[Route]:
        for operation in OPERATIONS:
            yield Route(f"/api{operation.path}", self._reading(operation))
        yield Route("/api/live", self._live)
        yield Route("/api/openapi.json", self._openapi)
        yield Route("/api/health", _health)
        yield Route("/api{rest:path}", _nothing)
        yield Route("/static/{name:path}", self._module)
        yield Route("/data/{name:path}", self._data)
        operations = {operation.name: operation for operation in OPERATIONS}
        for path, first in _PAGES.items():
            yield Route(path, self._page(operations[first] if first else None))
        yield Route("/{rest:path}", self._no_page)

    def _reading(self, operation: Operation) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            of = _of(request)
            encoded, cursor = await self._document(operation, of, query_of(_query(request), operation.query))
            told = _PRIVATE | {"X-Panorama-Cursor": cursor}
            if operation.media == CSV:
                told["Content-Disposition"] = f'attachment; filename="{_UNFIT.sub("-", of["study"])}.csv"'
            return await response(request, encoded, told)

        return answer

    def _document(
        self, operation: Operation, of: dict[str, str], asked: Any
    ) -> Coroutine[Any, Any, tuple[Encoded, str]]:
        readers = self._waiting if operation.waits else self._readers

        def read() -> Any:
            return operation.read(self._library, of, asked)

        return self._desk.get((operation.name, *of.values(), asked), operation.media, lambda: _in_thread(readers, read))

    async def _live(self, request: Request) -> Response:
        asked = query_of(_query(request), LiveQuery)
        if self.hub.full:
            return problem(503, "there is no room for another live stream now; reload the page by hand")
        last = request.headers.get("last-event-id") or asked.last
        return EventStream(self.hub.stream(asked.topic, last), request.method == "HEAD")

    async def _openapi(self, request: Request) -> Response:
        from ._openapi import document

        return await response(request, Encoded(msgspec.json.encode(document())), _PRIVATE)

    async def _module(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._static.file, request.path_params["name"])
        if found is None:
            return problem(404, "there is no such file")
        return await response(request, found.encoded, {"Cache-Control": found.caching(request.url.query)})

    async def _data(self, request: Request) -> Response:
        return self._library.repository().answer(unquote(request.path_params["name"]))

    def _page(self, first: Operation | None) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if first is not None and self._open:  # who may not ask gets nothing read
                self._begin(first, _of(request))
            return await response(request, await asyncio.to_thread(self._static.shell), _FRESH)

        return answer

    def _begin(self, operation: Operation, of: dict[str, str]) -> None:
        """Read already what a page will ask for once its modules are there."""
        begun = asyncio.ensure_future(self._document(operation, of, query_of({}, operation.query)))
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        begun.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _no_page(self, request: Request) -> Response:
        shell = await asyncio.to_thread(self._static.shell)
        return Response(shell.body, 404, _FRESH, shell.media)


def application(
    library: Library, *, token: str | None = None, root_path: str = "", hosts: Collection[str] | None = None
) -> Application:
    """The dashboard of a library, for an ASGI server of one's own; see `Application`."""
    return Application(library, token=token, root_path=root_path, hosts=hosts)


async def _in_thread(readers: ThreadPoolExecutor, read: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(readers, read)


async def _health(request: Request) -> Response:
    return Response(b'{"state":"ok"}', headers={"Cache-Control": "no-store"}, media_type=JSON)


async def _nothing(request: Request) -> NoReturn:
    raise NotFoundError(f"{request.url.path}: the API has no such address; /api/openapi.json lists them")


def _of(request: Request) -> dict[str, str]:
    return {name: unquote(part) for name, part in request.path_params.items()}


def _query(request: Request) -> dict[str, list[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}


def _encode(document: Any) -> bytes:
    return document.encode(errors="backslashreplace") if isinstance(document, str) else to_json(document)


def _refused(request: Request, error: Exception) -> Response:
    """Why there is no answer, by the kind of the error."""
    if isinstance(error, NotFoundError):
        return problem(404, str(error))
    if isinstance(error, UsageError):
        return problem(400, str(error))
    return problem(503, str(error))


def _fault(request: Request, error: Exception) -> Response:
    return problem(500, "a fault of the server, which tells more on its standard error")


_HANDLERS: dict[Any, Any] = {PanoramaError: _refused, OSError: _refused, Exception: _fault}
