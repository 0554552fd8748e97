"""`panorama collect`: takes events off a broker, or by HTTP, into a store until it is told to end."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ..errors import UsageError
from ._common import json_option, study_home, until_told

if TYPE_CHECKING:
    from ..collector.broker import Consumer
    from ..collector.ended import EndedWorkflows
    from ..collector.http import HttpIngest
    from ..store import Store

_DEFAULT = "panorama.db"
_TURN = 0.1  # seconds
_TELL, _TELL_LOG = 3.0, 60.0  # seconds between lines: on a terminal or for programs, and into a log
_END = 4.5  # seconds
_ZERO = {"stored": 0, "duplicates": 0, "dead": 0}
_WORDS = {"dead": "dead letters", "lag": "waiting", "connects": "connections"}


class _Ways(NamedTuple):
    """On which ways events come in."""

    broker: Consumer | None
    http: HttpIngest | None


@click.command("collect")
@click.option("--broker", metavar="URL", help="amqp(s)://HOST[:PORT]/VHOST[/EXCHANGE]: take events off this broker.")
@click.option("--credentials", metavar="NETRC", type=click.Path(path_type=Path), help="User and password for it.")
@click.option(
    "--ca", metavar="FILE", type=click.Path(path_type=Path), help="Whom to trust (PEM); default: the system's."
)
@click.option("--published-queues", is_flag=True, help="Make and empty the queues of Panorama's back end too.")
@click.option("--http", metavar="[HOST:]PORT", help="Take events that are posted here; HOST is 127.0.0.1 unless told.")
@click.option("--token", metavar="FILE", type=click.Path(path_type=Path), help="What those who post must know (0600).")
@click.option(
    "--certificate", metavar="FILE", type=click.Path(path_type=Path), help="Speak HTTPS: chain and key (PEM)."
)
@click.option(
    "--store",
    "store_path",
    metavar="PATH|URL",
    help=f"A file, or opensearch://HOST[:PORT][/PREFIX]; default: {_DEFAULT}.",
)
@click.option("--study", metavar="DIR", type=click.Path(path_type=Path), help="Into this study's own store.")
@click.option(
    "--exit-when-idle", metavar="SECONDS", type=click.FloatRange(min=0), help="End when nothing has come for so long."
)
@json_option
def command(
    broker: str | None,
    credentials: Path | None,
    ca: Path | None,
    published_queues: bool,
    http: str | None,
    token: Path | None,
    certificate: Path | None,
    store_path: str | None,
    study: Path | None,
    exit_when_idle: float | None,
    as_json: bool,
) -> int:
    """Take events into a store until SIGTERM or Ctrl-C, each exactly once.

    What came is stored before it is acknowledged; on the first signal what is here is stored first, on the second not.
    When a workflow has ended and its files are on this machine, what was lost on its way is filled in from them.

    \b
    Examples:
      panorama collect --broker amqp://localhost/panorama --credentials ~/.netrc
      panorama collect --http 8080 --token token.txt --study mystudy
      panorama collect --study mystudy        # from the broker that its study.yml names
      panorama collect --broker amqps://broker.example.org/panorama --store opensearch://search.example.org
    """
    if broker is None and http is None and study is not None:
        broker, credentials = _of_study(study)
    if broker is None and http is None:
        raise UsageError("nothing to collect from: give --broker URL, --http PORT, or both")
    path = _store_path(store_path, study)
    consumer = _consumer(broker, credentials, ca, published_queues) if broker is not None else None
    ingest = _ingest(http, token, certificate, path) if http is not None else None
    with ExitStack() as stack:
        ended = stack.enter_context(until_told())
        store = stack.enter_context(_opened(path))
        ways = _Ways(
            stack.enter_context(consumer(store)) if consumer else None,
            stack.enter_context(ingest(store)) if ingest else None,
        )
        # a study's server sees to its own
        workflows = None if study is not None else stack.enter_context(_ended_workflows(store))
        _greet(ways, path, as_json)
        _watch(ways, ended, exit_when_idle, as_json)
        whole = _end(ways)
        if workflows is not None and not ended.is_set():
            workflows.finish()
        _say(ways, as_json)
        if not whole:
            _leave()
    return 0


def _store_path(store: str | None, study: Path | None) -> str:
    from ..study.client import FOLDER

    if store is not None and study is not None:
        raise UsageError("--store and --study: give one of them")
    return str(study_home(study) / FOLDER / "store.db") if study is not None else store or _DEFAULT


def _of_study(study: Path) -> tuple[str | None, Path | None]:
    """Broker and credentials that study.yml names."""
    from ..config import load_study

    home = study_home(study)
    monitoring = load_study(home / "study.yml").monitoring
    credentials = monitoring.credentials
    return monitoring.broker, home / Path(credentials).expanduser() if credentials else None


def _opened(path: str) -> Store:
    from ..store import open_store

    if "://" not in path:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_store(path, durable=True)


def _spool(path: str) -> Path:
    """Where what is posted waits to be stored: beside the store, and here if that is on another machine."""
    return Path(f"{path if '://' not in path else re.sub(r'[^A-Za-z0-9._-]+', '-', path)}.spool")


def _consumer(
    url: str, credentials: Path | None, ca: Path | None, published_queues: bool
) -> Callable[[Store], Consumer]:
    from ..collector.broker import Address, Consumer

    return partial(Consumer, Address.read(url, credentials, ca), published_queues=published_queues)


def _ingest(http: str, token: Path | None, certificate: Path | None, path: str) -> Callable[[Store], HttpIngest]:
    from ..collector.http import HttpIngest, read_token, server_context

    host, _, port = http.rpartition(":")
    if not port.isdecimal():
        raise UsageError(f"--http: {http!r}: write it as [HOST:]PORT")
    if token is None:
        raise UsageError("--http: who posts must know a token: name its file with --token; a missing one is made")
    return partial(
        HttpIngest,
        spool_dir=_spool(path),
        token=read_token(token, make=True),
        address=(host.strip("[]") or "127.0.0.1", int(port)),
        tls=server_context(certificate) if certificate else None,
    )


def _ended_workflows(store: Store) -> EndedWorkflows:
    from ..collector.ended import EndedWorkflows

    return EndedWorkflows(store)


def _greet(ways: _Ways, path: str, as_json: bool) -> None:
    where = {"store": path}
    if ways.http is not None:
        where["http"] = ways.http.url
        if not ways.http.private:
            click.echo(
                "panorama: whoever listens on the network can read the token; --certificate makes it HTTPS", err=True
            )
    if as_json:
        click.echo(json.dumps(where))
        return
    if ways.http is not None:
        click.echo(f"taking what is posted to {ways.http.url}")
    click.echo(f"collecting into {path}; Ctrl-C or SIGTERM ends it")


def _watch(ways: _Ways, ended: threading.Event, idle: float | None, as_json: bool) -> None:
    pause = _TELL if as_json or sys.stdout.isatty() else _TELL_LOG
    told, quiet_since = time.monotonic(), time.monotonic()
    before = _counts(ways)
    while not ended.wait(_TURN):
        if ways.broker and ways.broker.failed:
            raise ways.broker.failed
        now = time.monotonic()
        counts = _counts(ways)
        if counts != before or _busy(ways):
            before, quiet_since = counts, now
        if idle is not None and now - quiet_since > idle:
            return
        if now - told > pause:
            told = now
            _say(ways, as_json)


def _busy(ways: _Ways) -> bool:
    """Whether something is on its way, or may be and nobody can tell."""
    return ways.broker is not None and (ways.broker.counts.lag != 0)


def _end(ways: _Ways) -> bool:
    """Store what is here; whether that was done in time."""
    stops = [threading.Thread(target=way.stop, daemon=True) for way in ways if way is not None]
    for stop in stops:
        stop.start()
    deadline = time.monotonic() + _END
    for stop in stops:
        stop.join(max(0.0, deadline - time.monotonic()))
    stored = ways.broker is None or ways.broker.ended
    return stored and not any(stop.is_alive() for stop in stops)


def _leave() -> None:
    """End without closing the store, which a thread still waits for; all that it lacks will come again."""
    click.echo("panorama: the store did not take everything in time; the broker and the spool keep the rest", err=True)
    sys.stdout.flush()
    os._exit(0)


def _counts(ways: _Ways) -> dict[str, int]:
    told = [way.counts for way in ways if way is not None]
    return {name: sum(getattr(counts, name) for counts in told) for name in _ZERO}


def _say(ways: _Ways, as_json: bool) -> None:
    counts: dict[str, int | float | str | None] = dict(_counts(ways))
    if ways.broker is not None:
        broker = ways.broker.counts
        counts |= {"lag": broker.lag, "redelivered": broker.redelivered, "connects": broker.connects}
    if ways.http is not None:
        http = ways.http.counts
        counts |= {"accepted": http.accepted, "refused": http.refused}
    if as_json:
        click.echo(json.dumps({"ts": round(time.time(), 3), **counts}))
    else:
        told = {_WORDS.get(name, name): value for name, value in counts.items() if value is not None}
        click.echo(", ".join(f"{value} {words}" for words, value in told.items()))
