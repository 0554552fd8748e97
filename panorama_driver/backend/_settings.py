"""The settings of a deployment: the `.env` of its folder, which compose reads too."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

from .. import __version__
from ..errors import UsageError

BROKER_IMAGE = "docker.io/library/rabbitmq:4.1.4"
SEARCH_IMAGE = "docker.io/opensearchproject/opensearch:2.19.1"
IMAGE = f"localhost/panorama-driver:{__version__}"
STORES = ("opensearch", "sqlite")

_SEARCH_URL = "opensearch+https://search:9200/panorama"
_SQLITE_PATH = "/data/panorama.db"
_SIMPLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@+-]*")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HEAD = """\
# Settings of this deployment, as `panorama deploy write` made them and compose reads them. Change what you like, then
# `panorama deploy up`. There is no secret in here; those are in secrets/.
"""


@dataclass(frozen=True)
class Settings:
    """What a deployment is to be like.

    Attributes
    ----------
    project : str
        What its containers and volumes are called after.
    store : str
        `opensearch`, or `sqlite` on a volume.
    address : str
        Where broker and collector listen over TLS. The broker's plain port and the dashboard are on 127.0.0.1 whatever
        it is.
    tls : bool
        Whether they do; the collector then takes no plain HTTP.
    names : tuple of str
        Further names and addresses that clients know this machine by, for the certificates.
    image, broker_image, search_image : str
        Images of collector and dashboard, RabbitMQ, OpenSearch, by tag or digest.
    broker_port, broker_tls_port, collector_port, dashboard_port : int
        Ports of this machine.
    broker_memory, search_memory, search_heap : str
        Bounds, such as `1g`; the heap is best half of the memory.
    cpus : int
        What broker, search engine and dashboard use at most, each; no more than the machine has.
    """

    project: str = "panorama"
    store: str = "opensearch"
    address: str = "127.0.0.1"
    tls: bool = False
    names: tuple[str, ...] = ()
    image: str = IMAGE
    broker_image: str = BROKER_IMAGE
    search_image: str = SEARCH_IMAGE
    broker_port: int = 5672
    broker_tls_port: int = 5671
    collector_port: int = 8470
    dashboard_port: int = 8360
    broker_memory: str = "1g"
    search_memory: str = "2g"
    search_heap: str = "1g"
    cpus: int = min(2, os.cpu_count() or 1)

    @property
    def search(self) -> bool:
        """Whether there is a search engine."""
        return self.store == "opensearch"

    @property
    def store_inside(self) -> str:
        """What `--store` of the collector is."""
        return _SEARCH_URL if self.search else _SQLITE_PATH

    @property
    def files(self) -> tuple[str, ...]:
        """Compose files, in the order in which they add to each other."""
        search, tls = ("compose.search.yml",) * self.search, ("compose.tls.yml",) * self.tls
        return ("compose.yml", *search, *tls)

    @property
    def hosts(self) -> tuple[str, ...]:
        """What clients elsewhere know this machine by."""
        address = ipaddress.ip_address(self.address)
        return (*self.names, *([] if address.is_unspecified or address.is_loopback else [self.address]))

    @property
    def services(self) -> tuple[str, ...]:
        """Services that go on running, in the order in which they start."""
        return ("broker", *(("search",) * self.search), "collector", "dashboard")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read an `.env` that `write` made.

        Raises
        ------
        UsageError
            A value is not as it should be.
        """
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        values: dict[str, object] = {}
        for field in fields(cls):
            text = told.get(_variable(field.name))
            if text is not None:
                values[field.name] = _value(type(field.default), text, f"{path}: {_variable(field.name)}")
        return replace(cls(), **values).checked()  # type: ignore[arg-type]  # by the types of the defaults

    def write(self, path: Path) -> None:
        """Write an `.env`, with what compose needs beside the settings."""
        lines = [f"{_variable(field.name)}={_text(getattr(self, field.name))}\n" for field in fields(self)]
        lines += [f"{name}={value}\n" for name, value in self._derived()]
        path.write_text(_HEAD + "".join(lines), encoding="utf-8")

    def checked(self) -> Self:
        """The settings, seen to fit.

        Raises
        ------
        UsageError
            They do not.
        """
        if not _PROJECT.fullmatch(self.project):
            raise UsageError(f"project {self.project!r}: lower-case letters, digits, - and _ only")
        if self.store not in STORES:
            raise UsageError(f"store {self.store!r}: write one of {', '.join(STORES)}")
        for text in (*self.names, self.image, self.broker_image, self.search_image, self.broker_memory):
            if not _SIMPLE.fullmatch(text):
                raise UsageError(f"{text!r}: letters, digits and _./:@+- only")
        try:
            local = ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            raise UsageError(f"address {self.address!r}: give an IP address of this machine, or 0.0.0.0") from None
        if not local and not self.tls:
            raise UsageError(f"address {self.address}: others can reach it, so it needs TLS: add --tls")
        return self

    def _derived(self) -> Iterator[tuple[str, str]]:
        yield "COMPOSE_PROJECT_NAME", self.project
        yield "COMPOSE_FILE", ":".join(self.files)
        yield "PANORAMA_STORE", self.store_inside
        if self.tls:
            yield "PANORAMA_COLLECTOR_ADDRESS", self.address
            yield "PANORAMA_COLLECTOR_HEALTH", "https://localhost:8470/healthz"
        if self.search:
            yield "PANORAMA_STORE_NETRC", "/run/panorama/search-netrc"
            yield "PANORAMA_STORE_CA", "/run/panorama/ca.pem"


def changed(settings: Settings, asked: Mapping[str, object]) -> Settings:
    """Settings with what was asked for; an address that others can reach asks for TLS."""
    result = replace(settings, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]  # names of its own fields
    try:
        if not ipaddress.ip_address(result.address).is_loopback:
            result = replace(result, tls=True)
    except ValueError:
        pass  # `checked` has words for it
    return result.checked()


def _variable(name: str) -> str:
    return "PANORAMA_KIND_OF_STORE" if name == "store" else f"PANORAMA_{name.upper()}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _value(kind: type, text: str, where: str) -> object:
    if kind is bool:
        return text == "yes"
    if kind is tuple:
        return tuple(filter(None, text.split(",")))
    if kind is int:
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise UsageError(f"{where}: {text!r} is no whole number from 1 to 65535")
        return int(text)
    return text
