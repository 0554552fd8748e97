"""Brings the TCP connections of Tstat's logs into the store, joined to the transfers that the store knows."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import EnvironmentMissingError
from ..events import Event
from ..sources.tcp import HOST_INFO, KIND, SKEW, TRANSFER_KINDS, Joiner, Match
from ..sources.tstat import Damage, read
from ..store import DeadLetter, Store

BATCH = 256
"""Events committed together."""
_LOG = re.compile(r"log_tcp_(?:no)?complete(?:\.gz)?")
_MOST_LETTERS = 100  # damaged lines of one file that are kept
_MOST_PROBLEMS = 50


@dataclass(frozen=True)
class Collected:
    """What one look at Tstat's logs brought.

    Attributes
    ----------
    files, flows : int
        Logs that were read, and connections in them.
    by_socket, by_host : int
        Connections that were joined: to a socket that was seen in a job, and by hosts and times.
    known : int
        Connections that the store had from an earlier look; they stay as they were joined then.
    ambiguous, foreign : int
        Connections that are joined to nothing: they fit several transfers, or too badly; they fit none, or one of a
        workflow that was not asked for.
    damaged : int
        Lines that tell of no connection; the store keeps them as dead letters, of one file the first 100.
    stored : int
        Events that the store did not have.
    unresolved : int
        Transfers to which nothing can be joined, for neither end's address is known.
    problems : tuple of str
        Logs that could not be read to their end, and why.
    """

    files: int = 0
    flows: int = 0
    by_socket: int = 0
    by_host: int = 0
    known: int = 0
    ambiguous: int = 0
    foreign: int = 0
    damaged: int = 0
    stored: int = 0
    unresolved: int = 0
    problems: tuple[str, ...] = ()


def collect_tstat(
    store: Store,
    directory: str | os.PathLike[str],
    wf_uuid: str | None = None,
    *,
    addresses: Mapping[str, Collection[str]] | None = None,
    skew: float = SKEW,
) -> Collected:
    """Read all logs below `directory` and join what they tell; it does no harm to do it again.

    Parameters
    ----------
    store : Store
        Knows the transfers, and gets the connections.
    directory : str or path
        Tstat's output: `YYYY_MM_DD_HH_MM.out/log_tcp_complete`, also compressed, or a folder with one such file.
    wf_uuid : str, optional
        The only workflow run whose connections are stored; of all runs, unless told. Which transfer a connection fits
        best is decided among all that the store knows in either case.
    addresses : mapping of str to collection of str, optional
        Addresses of hosts, or of Globus collections by their id or display name, beside those that jobs told.
    skew : float
        By how much the clocks of Tstat's host and of the workers may differ [s].

    Returns
    -------
    Collected
        What was there.

    Raises
    ------
    EnvironmentMissingError
        There is no such directory.
    StoreError
        The store could not be read or written; what it committed before stays, and another call adds the rest.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise EnvironmentMissingError(f"{folder}: no such directory; give the one that tstat -s writes its logs to")
    return collect_logs(store, logs(folder), wf_uuid, addresses=addresses, skew=skew)


def collect_logs(
    store: Store,
    paths: Iterable[Path],
    wf_uuid: str | None = None,
    *,
    addresses: Mapping[str, Collection[str]] | None = None,
    skew: float = SKEW,
) -> Collected:
    """As `collect_tstat`, of these logs, whatever they are called.

    Raises
    ------
    StoreError
        As there.
    """
    joiner = Joiner(_told(store), addresses, skew)
    found = Collected()
    for path in paths:
        found = _read(path, joiner, store, found)
    every, unjoined = joiner.matches()
    matches = [match for match in every if wf_uuid in (None, match.owner.wf_uuid)]
    by_socket = sum(match.join == "socket" for match in matches)
    return replace(
        found,
        by_socket=by_socket,
        by_host=len(matches) - by_socket,
        known=joiner.known,
        ambiguous=unjoined.ambiguous,
        foreign=unjoined.foreign + len(every) - len(matches),
        stored=_put(store, matches),
        unresolved=joiner.placeless,
        problems=found.problems[:_MOST_PROBLEMS],
    )


def _told(store: Store) -> Iterator[Event]:
    for run in store.workflows():
        yield from store.events(run.wf_uuid, TRANSFER_KINDS | {HOST_INFO, KIND})


def logs(folder: Path) -> list[Path]:
    """All logs below a folder, in the order of their names, which is that of their times."""
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names if _LOG.fullmatch(name))


def _read(path: Path, joiner: Joiner, store: Store, found: Collected) -> Collected:
    flows = damaged = 0
    letters: list[DeadLetter] = []
    problems = found.problems
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return found
            for told in read(file):
                if not isinstance(told, Damage):
                    flows += 1
                    joiner.take(told)
                elif told.unfinished:
                    problems = (*problems, f"{path}, line {told.line}: {told.reason}")
                else:
                    damaged += 1
                    letters += [_letter(path, told)] if damaged <= _MOST_LETTERS else []
    except FileNotFoundError:
        return found  # it was compressed or removed since the folder was listed
    except OSError as error:
        problems = (*problems, f"{path}: cannot be read: {error.strerror or error}")
    store.bury(letters)
    return replace(
        found,
        files=found.files + 1,
        flows=found.flows + flows,
        damaged=found.damaged + damaged,
        problems=problems,
    )


def _letter(path: Path, damage: Damage) -> DeadLetter:
    reason = f"line {damage.line}: {damage.reason}"
    return DeadLetter(reason=reason, source=str(path), size=damage.size, head=damage.head)


def _put(store: Store, matches: list[Match]) -> int:
    lots = (matches[start : start + BATCH] for start in range(0, len(matches), BATCH))
    return sum(store.put(match.event() for match in lot) for lot in lots)
