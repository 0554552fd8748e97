"""Where a broker is and who we are there; never a password in an address, since addresses end up in argv and logs."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import SplitResult, unquote, urlsplit

from ...config import netrc_login
from ...errors import UsageError
from ._topology import EXCHANGE

if TYPE_CHECKING:
    import pika

_PORTS = {"amqp": 5672, "amqps": 5671}
_SHAPE = "amqp(s)://HOST[:PORT]/VHOST[/EXCHANGE]"
_HEARTBEAT = 30  # seconds
_PATIENCE = 5.0  # seconds, for TCP, and again for TLS and AMQP to come up


@dataclass(frozen=True)
class Address:
    """A broker's vhost and exchange, and how to log in there.

    Attributes
    ----------
    scheme : str
        `amqp`, or `amqps` over TLS.
    host, port, vhost, exchange : str, int, str, str
        Where.
    user, password : str
        Who.
    ca : Path or None
        File of the certification authorities (PEM) to trust instead of the system's.
    """

    scheme: str
    host: str
    port: int
    vhost: str
    exchange: str
    user: str
    password: str = field(repr=False)
    ca: Path | None = None

    @classmethod
    def read(
        cls,
        url: str,
        credentials: str | os.PathLike[str] | None = None,
        ca: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Read an address `amqp(s)://HOST[:PORT]/VHOST[/EXCHANGE]`.

        Parameters
        ----------
        url : str
            Without user and password; the exchange is `monitoring` unless told.
        credentials : path, optional
            A netrc file, mode 0600. Without it, PANORAMA_BROKER_USER and PANORAMA_BROKER_PASSWORD of the environment.
        ca : path, optional
            Whom to trust, for `amqps`.

        Raises
        ------
        UsageError
            It is no such address, has a password in it, or there is no user and password for it.
        """
        parts = _parts(url)
        if "@" in parts.netloc:
            raise UsageError(
                "--broker: no user and password in the address, which others can see; put them into a netrc file "
                "(--credentials), or into PANORAMA_BROKER_USER and PANORAMA_BROKER_PASSWORD"
            )
        words = [unquote(word) for word in parts.path.split("/")[1:]]
        if not parts.hostname or len(words) not in (1, 2) or not all(words):
            raise UsageError(f"--broker: {url!r}: write it as {_SHAPE}")
        if ca is not None and parts.scheme != "amqps":
            raise UsageError(f"--ca: {parts.scheme}:// is not encrypted; write amqps://")
        environment = os.environ if environment is None else environment
        user, password = _login(parts.hostname, credentials, environment)
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            vhost=words[0],
            exchange=words[1] if len(words) == 2 else EXCHANGE,
            user=user,
            password=password,
            ca=_existing(ca),
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.vhost}"

    def parameters(self) -> pika.ConnectionParameters:
        """What pika needs; certificates are verified, and so is the host's name in them.

        Raises
        ------
        UsageError
            The file of certification authorities cannot be used.
        """
        import pika

        options = pika.SSLOptions(self._context(), self.host) if self.scheme == "amqps" else None
        return pika.ConnectionParameters(
            host=self.host,
            port=self.port,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(self.user, self.password),
            heartbeat=_HEARTBEAT,
            socket_timeout=_PATIENCE,
            stack_timeout=2 * _PATIENCE,
            connection_attempts=1,
            ssl_options=options,
            client_properties={"connection_name": f"panorama {os.getpid()}"},
        )

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{self.ca}: no file of certification authorities (PEM): {error}") from None


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"--broker: {url!r}: {error}; write it as {_SHAPE}") from None
    if parts.scheme not in _PORTS:
        raise UsageError(f"--broker: write it as {_SHAPE}")
    return parts


def _login(host: str, credentials: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> tuple[str, str]:
    if credentials is not None:
        return netrc_login(Path(credentials), host)
    user, password = (environment.get(f"PANORAMA_BROKER_{word}", "") for word in ("USER", "PASSWORD"))
    if not user or not password:
        raise UsageError(
            f"no user and password for the broker at {host}: name a netrc file with --credentials, or set "
            "PANORAMA_BROKER_USER and PANORAMA_BROKER_PASSWORD"
        )
    return user, password


def _existing(ca: str | os.PathLike[str] | None) -> Path | None:
    if ca is None:
        return None
    if not Path(ca).is_file():
        raise UsageError(f"{ca}: no such file; --ca names the certification authorities (PEM) to trust")
    return Path(ca)
