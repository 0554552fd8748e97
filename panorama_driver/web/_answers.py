"""Answers as bytes: encoded and compressed once for all who ask, and known again by their content."""

from __future__ import annotations

import asyncio
import hashlib
import re
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from ._encoding import to_json
from .documents import Problem

_WORTH = 1024  # [bytes] below which nothing is compressed
_LEVEL = 5
_GZIP = 16 + zlib.MAX_WBITS
_KEPT, _KEPT_BYTES = 64, 24 << 20  # documents kept encoded, and what they may take
_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?\s*$")


class Encoded:
    """A body, and what is told of it.

    Parameters
    ----------
    body : bytes
        As it is without compression.
    media : str
        Its media type.
    """

    def __init__(self, body: bytes, media: str = "application/json") -> None:
        self.body = body
        self.media = media
        # Weak, since the compressed bytes go by the same tag.
        self.etag = f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        self._gzipped: bytes | None = None

    @property
    def size(self) -> int:
        """What it takes in memory [bytes]."""
        return len(self.body) + len(self._gzipped or b"")

    def gzipped(self) -> bytes:
        """The body compressed, once."""
        if self._gzipped is None:
            packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
            self._gzipped = packer.compress(self.body) + packer.flush()
        return self._gzipped


async def response(request: Request, encoded: Encoded, headers: dict[str, str]) -> Response:
    """The answer to a request for a body: compressed if the client takes that, empty if the client has it."""
    told = {"ETag": encoded.etag, "Vary": "Accept-Encoding", **headers}
    if _has(request.headers, encoded.etag):
        return Response(status_code=304, headers=told)
    body = encoded.body
    if len(body) >= _WORTH and _takes_gzip(request.headers):
        body = await asyncio.to_thread(encoded.gzipped)
        told["Content-Encoding"] = "gzip"
    return Response(body, headers=told, media_type=encoded.media)


def problem(status: int, words: str, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """Why there is no answer, as JSON."""
    body = to_json(Problem(problem=words))
    return Response(body, status, {"Cache-Control": "no-store", **headers}, "application/json")


def _has(headers: Headers, etag: str) -> bool:
    told = headers.get("if-none-match", "")
    return told.strip() == "*" or etag in (each.strip() for each in told.split(","))


def _takes_gzip(headers: Headers) -> bool:
    for each in headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            return not _REFUSED.search(weight)
    return False


class Desk:
    """Documents that many ask for at once: each is read once for all who ask while it is being read, and encoded once.

    Parameters
    ----------
    encode : callable
        Makes bytes of a document.
    cursor : callable
        Gives the place in the live stream that a document read from now on includes.
    """

    def __init__(self, encode: Callable[[Any], bytes], cursor: Callable[[], str]) -> None:
        self._encode = encode
        self._cursor = cursor
        self._reading: dict[Hashable, asyncio.Task[tuple[Encoded, str]]] = {}
        self._kept: OrderedDict[Hashable, Encoded] = OrderedDict()

    async def get(self, key: Hashable, media: str, read: Callable[[], Awaitable[Any]]) -> tuple[Encoded, str]:
        """The document `key`, and its place in the live stream: what comes later there is not all in it."""
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(key, media, read))
            task.add_done_callback(lambda done: self._read_by(key, done))
        return await asyncio.shield(task)  # the client that asked first may leave before the others

    async def _read(self, key: Hashable, media: str, read: Callable[[], Awaitable[Any]]) -> tuple[Encoded, str]:
        cursor = self._cursor()
        document = await read()
        encoded = await asyncio.to_thread(lambda: Encoded(self._encode(document), media))
        return self._keep(key, encoded), cursor

    def _read_by(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # whoever waits hears of it; nobody may wait any more

    def _keep(self, key: Hashable, encoded: Encoded) -> Encoded:
        """What is kept of the same content, for its compressed bytes; or this from now on."""
        known = self._kept.pop(key, None)
        self._kept[key] = encoded = known if known is not None and known.etag == encoded.etag else encoded
        while len(self._kept) > _KEPT or sum(each.size for each in self._kept.values()) > _KEPT_BYTES:
            self._kept.popitem(last=False)
        return encoded
