"""Who is let in, and what every answer says to a browser: stands before the whole application, its errors included."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import UsageError
from ._answers import problem

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # the hash is that of an empty style element, which plotly makes and fills by script
        "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
        "style-src-attr 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_SHARED = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
"""Headers of what is public: pages and programs anywhere may read it."""
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer."""

_API, _OPEN = "/api", "/api/health"
_OURS = ("api", "static", "studies", "anomalies", "repository", "data")
_ROOT = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+?)\.?(:[0-9]*)?")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    words: str
    headers: Mapping[str, str] = MappingProxyType({})


class Access:
    """Lets in who may come, below the path prefix, and gives every answer its security headers.

    Behind it `scope["path"]` is the path as it was sent, percent-encoded and without the prefix, so that a job id may
    hold a slash.

    Parameters
    ----------
    app : ASGI application
        What stands behind.
    token : str, optional
        What the API's clients must know. Pages and their modules hold nothing of a study, and are given to all.
    root_path : str
        See `checked_root`; a proxy may take it away or leave it.
    hosts : collection of str, optional
        Names that a request may come to; without it any. Keeps a foreign page from reaching this server by a name of
        its own that it lets point to 127.0.0.1.
    public : bool
        All of it is for everybody, pages of other sites included.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None = None,
        root_path: str = "",
        hosts: Collection[str] | None = None,
        public: bool = False,
    ) -> None:
        self._app = app
        self._root = checked_root(root_path)
        self._hosts = hosts
        self._public = public
        self._headers = SECURITY | _SHARED if public else SECURITY
        self._key = _Key(token, self._root) if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close"})
        headers = Headers(scope=scope)
        path = self._below(_sent(scope))
        refusal = self._refusal(scope["method"], path, headers)
        answer = self._app if refusal is None else problem(*refusal)
        cookie = self._key.cookie(headers) if self._key and refusal is None else None
        return await answer({**scope, "path": path}, receive, _telling(send, self._headers, cookie))

    def _below(self, path: str) -> str:
        root = self._root
        return path[len(root) :] or "/" if root and (path == root or path.startswith(f"{root}/")) else path

    def _refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        of_api = path == _API or path.startswith(f"{_API}/")
        return (
            self._wrong_host(headers)
            or _wrong_method(method)
            or (_foreign(headers) if of_api and not self._public else None)
            or (self._unknown(headers) if of_api and path != _OPEN else None)
        )

    def _wrong_host(self, headers: Headers) -> Refusal | None:
        if self._hosts is None:
            return None
        told = _HOST.fullmatch(headers.get("host", "").lower())
        if told is not None and told[1] in self._hosts:
            return None
        return Refusal(400, "this server is not known by that name; a proxy's is made known with --allow-host NAME")

    def _unknown(self, headers: Headers) -> Refusal | None:
        if self._key is None or self._key.fits(headers):
            return None
        words = "a token is needed: open the address with #token=TOKEN at its end, or send Authorization: Bearer TOKEN"
        return Refusal(401, words, {"WWW-Authenticate": 'Bearer realm="panorama"'})


class _Key:
    """A token, and the cookie that stands for it where a browser cannot send it: on streams and on files to save.

    Cookies do not tell ports apart, so its name does, and it is not the token itself.
    """

    def __init__(self, token: str, root: str) -> None:
        self._token = token.encode()
        self._value = hmac.digest(self._token, b"panorama session", "sha256").hex()
        self._name = f"panorama-{hashlib.sha256(self._value.encode()).hexdigest()[:12]}"
        self._path = f"{root}{_API}"

    def fits(self, headers: Headers) -> bool:
        return self._by_header(headers) or self._by_cookie(headers)

    def cookie(self, headers: Headers) -> str | None:
        """What to set, for one who has shown the token and has no cookie yet."""
        if not self._by_header(headers) or self._by_cookie(headers):
            return None
        secure = "; Secure" if headers.get("x-forwarded-proto") == "https" else ""
        return f"{self._name}={self._value}; Path={self._path}; HttpOnly; SameSite=Strict{secure}"

    def _by_header(self, headers: Headers) -> bool:
        scheme, _, told = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(told.strip().encode(), self._token)

    def _by_cookie(self, headers: Headers) -> bool:
        # Other servers of this machine set cookies too, of any form: http.cookies takes none where one is odd.
        cookies = (each.strip() for each in headers.get("cookie", "").split(";"))
        return any(hmac.compare_digest(each.encode(), f"{self._name}={self._value}".encode()) for each in cookies)


def checked_root(root_path: str) -> str:
    """A path prefix without the slash at its end, such as `/panorama`; empty if there is none.

    Raises
    ------
    UsageError
        It could not stand in an address as it is, or is one of the paths that the dashboard has itself.
    """
    root = root_path.rstrip("/")
    if not _ROOT.fullmatch(root):
        raise UsageError(f"--root-path {root_path!r}: write it as /NAME or /NAME/NAME, of letters, digits and . _ ~ -")
    if root.split("/")[1:2] and root.split("/")[1] in _OURS:
        raise UsageError(f"--root-path {root_path}: the dashboard has a path of that name itself; choose another")
    return root


def allowed_hosts(host: str, names: Collection[str] = ()) -> frozenset[str] | None:
    """Names that requests to a server which listens on `host` may come to; None if any.

    Parameters
    ----------
    host : str
        Its address. Only on loopback the names are limited unless told: elsewhere there is a token.
    names : collection of str
        More of them.

    Raises
    ------
    UsageError
        A name is none of a host.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--allow-host {name!r}: write the name alone, without a port or a path")
    if not names and not is_loopback(host):
        return None
    return _LOOPBACK | {f"[{host}]" if ":" in host else host} | {name.lower().rstrip(".") for name in names}


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _wrong_method(method: str) -> Refusal | None:
    if method in ("GET", "HEAD"):
        return None
    return Refusal(
        405, "nothing here takes anything but GET and HEAD: the dashboard only shows", {"Allow": "GET, HEAD"}
    )


def _foreign(headers: Headers) -> Refusal | None:
    """Another site's page may link to the API; what it fetches itself would only take streams from others."""
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site") or headers.get("sec-fetch-mode") == "navigate":
        return None
    return Refusal(403, "pages of other sites get nothing from here")


def _sent(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    return raw.partition(b"?")[0].decode("latin-1") if raw else quote(scope["path"])


def _telling(send: Send, also: Mapping[str, str], cookie: str | None) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(also)
            if cookie is not None:
                headers.append("Set-Cookie", cookie)
        await send(message)

    return told
