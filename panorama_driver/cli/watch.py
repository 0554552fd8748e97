"""`panorama watch`: looks for anomalies in what runs, and tells each as a line, a record, or to a broker."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import msgspec

from ..errors import FormatError, StudyError
from ._common import json_option, open_existing, safe, study_home, until_told

if TYPE_CHECKING:
    from ..analysis import Anomaly
    from ..analysis.following import StoreWatch
    from ..collector.broker import Publisher
    from ..store import Store

_TURN = 0.25  # seconds
_AGAIN = 2.0  # seconds between two looks for studies that are new
_END = 5.0  # seconds for the broker to take the rest
_PAGE = 500
_DEEPEST = 3  # folders below PATH


class _Followed:
    """One store: what is found in it, by us or by anybody else."""

    def __init__(self, store: Store, past: bool) -> None:
        from ..analysis.following import StoreWatch

        self.store = store
        self.watch: StoreWatch = StoreWatch(store, past=past)
        self._cursor = 0 if past else store.changed().cursor

    def poll(self) -> list[Anomaly]:
        """What is new in it, whoever found it."""
        from ..analysis import anomaly_of
        from ..analysis.episodes import KINDS, checked

        self.watch.poll()
        found = []
        while True:
            page = self.store.since(self._cursor, KINDS, limit=_PAGE)
            self._cursor = page.cursor
            for event in page.events:
                try:
                    found.append(checked(anomaly_of(event)))
                except FormatError as problem:
                    click.echo(f"panorama: {safe(str(problem))}", err=True)
            if len(page.events) < _PAGE:
                return found


@click.command("watch")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--broker", metavar="URL", help="amqp(s)://HOST[:PORT]/VHOST[/EXCHANGE]: publish them there as well.")
@click.option("--credentials", metavar="NETRC", type=click.Path(path_type=Path), help="User and password for it.")
@click.option("--past", is_flag=True, help="Begin with what the stores hold already.")
@click.option("--once", is_flag=True, help="Look through what the stores hold, tell all of it, and end.")
@click.option("--exit-when-over", is_flag=True, help="End when every workflow run that began has ended.")
@json_option
def command(
    paths: tuple[str, ...],
    broker: str | None,
    credentials: Path | None,
    past: bool,
    once: bool,
    exit_when_over: bool,
    as_json: bool,
) -> int:
    """Look for anomalies while workflows run, until SIGTERM or Ctrl-C, and tell each in a line; JSON lines with --json.

    PATH is a study directory, a folder that holds some, or a store's file or URL; default: the study of this directory.
    What is found goes into the study's store as well, where the dashboard shows it. A study's own server looks for the
    same: nothing is found twice.

    \b
    Examples:
      panorama watch mystudy
      panorama watch panorama.db --broker amqp://localhost/panorama --credentials ~/.netrc
      panorama watch mystudy --once --json | jq -r .message
    """
    with ExitStack() as stack:
        told = stack.enter_context(until_told())
        publisher = stack.enter_context(_publishing(broker, credentials)) if broker is not None else None
        followed: dict[str, _Followed] = {}
        looked, said = -_AGAIN, False
        while True:
            if time.monotonic() - looked >= _AGAIN:
                looked = time.monotonic()
                _open_new(paths, followed, past or once, stack)
                if not followed and (once or not said):
                    said = _nothing_yet(paths, once)
            _turn(followed.values(), publisher, as_json)
            if _is_over(followed.values(), once, exit_when_over) or told.wait(_TURN):
                break
        if publisher is not None and not publisher.flush(_END):
            left = f"{len(publisher)} anomalies were not taken by the broker; panorama watch --past sends them again"
            click.echo(f"panorama: {left}", err=True)
    return 0


def _nothing_yet(paths: tuple[str, ...], once: bool) -> bool:
    """Say that there is nothing to look at; True.

    Raises
    ------
    StudyError
        And nothing is to be waited for.
    """
    told = f"{', '.join(paths) or '.'}: no study has been run there"
    if once:
        raise StudyError(f"{told}; name its directory, or a store")
    click.echo(safe(f"panorama: {told} yet; waiting for one"), err=True)
    return True


def _turn(followed: Iterable[_Followed], publisher: Publisher | None, as_json: bool) -> None:
    from ..analysis import as_record

    for anomaly in (anomaly for each in followed for anomaly in each.poll()):
        record = as_record(anomaly)
        click.echo(msgspec.json.encode(record).decode() if as_json else line(anomaly))
        if publisher is not None:
            publisher.offer(record["event"], [msgspec.json.encode(record)])
    sys.stdout.flush()


def _is_over(followed: Collection[_Followed], once: bool, exit_when_over: bool) -> bool:
    """Whether there is nothing left to wait for."""
    if once:
        return all(each.watch.settled for each in followed)
    return exit_when_over and bool(followed) and all(each.watch.over for each in followed)


def line(anomaly: Anomaly) -> str:
    """An anomaly for people: when it was found, what it is, where and why, since when, how sure."""
    when, since = (time.strftime("%H:%M:%S", time.localtime(at)) for at in (anomaly.found, anomaly.since))
    if anomaly.phase == "over":
        return f"{when}  over            {safe(anomaly.message)}"
    return f"{when}  {anomaly.kind:14}  {safe(anomaly.message)} (since {since}; sure to {anomaly.confidence:.0%})"


def _open_new(paths: tuple[str, ...], followed: dict[str, _Followed], past: bool, stack: ExitStack) -> None:
    """Follow the stores that have appeared since the last time."""
    for path in _stores(paths):
        if path not in followed:
            followed[path] = _Followed(stack.enter_context(open_existing(path)), past)


def _stores(paths: tuple[str, ...]) -> list[str]:
    """Stores that are there.

    Raises
    ------
    StudyError
        A path leads nowhere, or none is named and there is no study here.
    """
    found: dict[str, None] = {}
    for named in paths or [str(study_home(Path()))]:
        path = Path(named)
        if "://" not in named and not path.exists():
            raise StudyError(f"{path}: no such file or folder; give a study's directory, a folder of some, or a store")
        found |= dict.fromkeys([named] if "://" in named or path.is_file() else map(str, _below(path)))
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    """Stores of the studies in a folder and in those below it."""
    from ..study.client import FOLDER

    levels = ["/".join("*" * depth) for depth in range(1, _DEEPEST + 1)]
    for study in [folder, *(found for level in levels for found in folder.glob(level))]:
        store = study / FOLDER / "store.db"
        if store.is_file():
            yield store


@contextmanager
def _publishing(url: str, credentials: Path | None) -> Iterator[Publisher]:
    """A publisher whose spool lives as long as it does: what the broker does not take, the stores have as well."""
    from ..collector.broker import Address, Publisher

    address = Address.read(url, credentials)
    with TemporaryDirectory(prefix="panorama-") as spool, Publisher(address, Path(spool)) as publisher:
        yield publisher
