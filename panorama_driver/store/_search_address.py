"""Where a search engine is, out of a URL such as `opensearch://host:9200/prefix`, and how it is spoken to."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import SplitResult, urlsplit

from ..config import netrc_login
from ..errors import StoreError, UsageError

SCHEMES = frozenset(
    f"{product}{transport}" for product in ("opensearch", "elasticsearch") for transport in ("", "+http", "+https")
)
NETRC, CA = "PANORAMA_STORE_NETRC", "PANORAMA_STORE_CA"
_PORT = 9200
_PREFIX = "panorama"
_FIT = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_OURS = re.compile(r".*-(events|ways|workflows|letters)(-.*)?")


class Address(NamedTuple):
    """Where a store's indices are.

    Attributes
    ----------
    host, port : str, int
        Of any node of the cluster, or of what stands in front of it.
    tls : bool
        HTTPS.
    prefix : str
        What the names of the store's indices begin with.
    login : tuple of str, or None
        User and password.
    ca : str or None
        PEM file of those whom its certificate is believed from; None: those of the system.
    """

    host: str
    port: int = _PORT
    tls: bool = True
    prefix: str = _PREFIX
    login: tuple[str, str] | None = None
    ca: str | None = None

    @classmethod
    def read(cls, url: str) -> Self:
        """Read a URL, and the files that `PANORAMA_STORE_NETRC` and `PANORAMA_STORE_CA` name.

        HTTPS is spoken unless HOST is this machine itself, or the URL says `+http`.

        Raises
        ------
        StoreError
            It is no such URL, has a password in it, or one of the files cannot be used.
        """
        told = _parts(url)
        host, port = told.hostname or "", told.port or _PORT
        _, _, transport = told.scheme.partition("+")
        tls = transport == "https" or (not transport and not _is_loopback(host))
        return cls(host, port, tls, _prefix(told), _login(host, url), _ca())

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opensearch://{host}:{self.port}/{self.prefix}"


def _parts(url: str) -> SplitResult:
    shown = re.sub(r"//[^/]*@", "//...@", url)
    how = "write it as opensearch://HOST[:PORT][/PREFIX]"
    try:
        told = urlsplit(url)
        told.port  # noqa: B018 (it is read, and found wrong, here)
    except ValueError as problem:
        raise StoreError(f"{shown}: {problem}; {how}") from None
    if told.username is not None or told.password is not None:
        raise StoreError(
            f"{shown}: no user and password in the address, which others can see; put them into a netrc file "
            f"(chmod 600) and name it in {NETRC}"
        )
    if told.scheme not in SCHEMES or not told.hostname or told.query or told.fragment:
        raise StoreError(f"{shown}: this is no address of a search engine; {how}")
    return told


def _prefix(told: SplitResult) -> str:
    name = told.path.strip("/") or _PREFIX
    if not _FIT.fullmatch(name) or _OURS.fullmatch(name):
        raise StoreError(
            f"{told.geturl()}: {name!r} cannot begin the names of indices; take lower-case letters, digits, - and _, "
            "and none of the ends -events, -ways, -workflows, -letters, which the store adds"
        )
    return name


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _login(host: str, url: str) -> tuple[str, str] | None:
    named = os.environ.get(NETRC)
    if not named:
        return None
    try:
        return netrc_login(Path(named).expanduser(), host)
    except UsageError as problem:
        raise StoreError(f"{url}: {NETRC}: {problem}") from None


def _ca() -> str | None:
    named = os.environ.get(CA)
    if named and not os.path.isfile(named):
        raise StoreError(f"{named}: no such file; {CA} names it as the certificates to trust (PEM)")
    return named or None
