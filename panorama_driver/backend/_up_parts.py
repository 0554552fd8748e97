"""The processes of a back end in a folder: port mapper and broker, collector, dashboard."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..collector.http import read_token
from ._checks import Check, naming_nodes, speaking_amqp, speaking_http
from ._definitions import COLLECTOR, PUBLISHER, definitions
from ._files import private
from ._parts import Part
from ._secrets import login
from ._up_settings import Settings, free_ports
from .rabbitmq import Layout, Ports

MAPPER, BROKER, COLLECT, DASHBOARD = "port-mapper", "broker", "collector", "dashboard"
QUEUE = "panorama.events"
LOCAL = ("127.0.0.1", "localhost")

_PANORAMA = (sys.executable, "-P", "-c", "from panorama_driver.cli import main; main()")
_NOT_FOR_PARTS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "PANORAMA_TOKEN")
_SETTINGS = (
    "log.connection.level = error",  # our own questions whether it is well are no news
    "disk_free_limit.absolute = 256MB",  # below that it takes nothing more, and publishers keep what they have
    "vm_memory_high_watermark.absolute = 1GB",
    "raft.wal_max_size_bytes = 67108864",  # the default of 512 MB is held in memory
)
_REGISTERED_WITHIN = 10.0  # seconds
_SILENCE = 15.0  # seconds; the collector says every 3 s how it stands


class BackEnd:
    """What a back end in a folder consists of, and where others find it.

    Parameters
    ----------
    folder : Path
        Its folder.
    settings : Settings
        How it is set up.

    Attributes
    ----------
    counts : dict
        What the collector told last of what it has done.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.counts: dict[str, Any] = {}
        self._layout = _layout(folder, settings) if settings.broker_port else None
        self._heard = self._begun = 0.0

    @property
    def monitoring(self) -> dict[str, str]:
        """What goes under `monitoring` in study.yml."""
        if self._layout is not None:
            return {"broker": self._layout.url, "credentials": str(self.folder / "publisher.netrc")}
        return {"online": self.settings.http_url, "worker_credentials": str(self.folder / "workers.netrc")}

    @property
    def dashboard(self) -> str:
        """The dashboard's address; empty where there is none."""
        return f"http://127.0.0.1:{self.settings.port}/" if self.settings.port else ""

    @property
    def link(self) -> Path:
        """File (0600) with the dashboard's address and its token, as one opens it."""
        return self.folder / "dashboard.url"

    def prepare(self) -> None:
        """Write what the parts need: passwords and tokens, once, and the broker's files."""
        (self.folder / "log").mkdir(mode=0o700, exist_ok=True)
        if self._layout is not None:
            names = ((COLLECTOR, "collector.netrc"), (PUBLISHER, "publisher.netrc"))
            self._layout.write(definitions({name: login(self.folder / file, name, LOCAL) for name, file in names}))
        if self.settings.http_port:
            token = read_token(self._token, make=True)
            hosts = dict.fromkeys((self.settings.http_host, *LOCAL))
            lines = [f"machine {host} login panorama password {token}\n" for host in hosts]
            private(self.folder / "workers.netrc", "".join(lines))
        if self.settings.port:
            private(self.link, f"{self.dashboard}#token={read_token(self._dashboard_token, make=True)}\n")

    def parts(self) -> list[Part]:
        """Its processes, in the order in which they are started."""
        parts = [*self._broker(self._layout)] if self._layout is not None else []
        parts.append(self._collector([BROKER] if parts else []))
        return [*parts, self._dashboard()] if self.settings.port else parts

    @property
    def _token(self) -> Path:
        return self.folder / "collector.token"

    @property
    def _dashboard_token(self) -> Path:
        return self.folder / "dashboard.token"

    def _broker(self, layout: Layout) -> tuple[Part, Part]:
        mapper = Part(MAPPER, layout.mapper, layout.environment, layout.folder, naming_nodes(layout.ports.mapper))
        check = speaking_amqp(layout.ports.amqp)
        return mapper, Part(
            BROKER,
            layout.server,
            layout.environment,
            layout.folder,
            check,
            after=(MAPPER,),
            start_within=180.0,  # it reads all that waits in its queues
            silence=60.0,
            grace=60.0,
        )

    def _collector(self, after: Sequence[str]) -> Part:
        words = ["collect", "--json", "--store", self.settings.store]
        if self._layout is not None:
            words += ["--broker", self._layout.url, "--credentials", str(self.folder / "collector.netrc")]
        if self.settings.http_port:
            words += ["--http", self.settings.http_address, "--token", str(self._token)]
        if self.settings.certificate:
            words += ["--certificate", self.settings.certificate]
        return Part(
            COLLECT,
            (*_PANORAMA, *words),
            _environment(),
            self.folder,
            self._collecting,
            after=tuple(after),
            starts=self._starts,
            hear=self._hear,
        )

    def _dashboard(self) -> Part:
        words = ["serve", self.settings.store, *self.settings.show, "--port", str(self.settings.port)]
        return Part(
            DASHBOARD,
            (*_PANORAMA, *words, "--json", "--token-file", str(self._dashboard_token)),
            _environment(),
            self.folder,
            speaking_http("127.0.0.1", self.settings.port, "/api/health"),
            after=(COLLECT,),  # which makes the store
            needed=False,
            grace=5.0,
        )

    def _starts(self) -> None:
        self._begun, self._heard = time.monotonic(), 0.0

    def _hear(self, line: str) -> bool:
        """What the collector tells of itself; its complaints are for the log."""
        if not line.startswith("{"):
            return False
        try:
            told = json.loads(line)
        except ValueError:
            return False
        self._heard = time.monotonic()
        if "stored" in told:
            self.counts = {name: value for name, value in told.items() if name != "ts"}
        return True

    async def _collecting(self) -> str:
        now = time.monotonic()
        if not self._heard:
            return "it has not begun"
        if now - self._heard > _SILENCE:
            return f"it has said nothing for {now - self._heard:.0f} s"
        if self._layout is not None and now - self._begun < _REGISTERED_WITHIN and not self._layout.registered(QUEUE):
            return "the broker has not written down its queues yet"
        return await self._taking_posts() if self.settings.http_port and not self.settings.certificate else ""

    async def _taking_posts(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.http_host, self.settings.http_host)
        check: Check = speaking_http(host, self.settings.http_port, "/healthz")
        return await check()


def _layout(folder: Path, settings: Settings) -> Layout:
    mapper, distribution = free_ports(2)
    schedulers = min(4, len(os.sched_getaffinity(0)))  # of all that a login node has, it shall not take one each
    return Layout(
        folder / "broker",
        "panorama@localhost",
        Ports(settings.broker_port, mapper, distribution),
        settings=_SETTINGS,
        erlang=f"+S {schedulers}:{schedulers}",
    )


def _environment() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_FOR_PARTS}
