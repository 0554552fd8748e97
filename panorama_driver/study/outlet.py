"""Passes what the embedded engine's runs tell on to a broker, so that others can follow a study as they follow Pegasus.

The store of the study comes first and needs no broker: what the broker has no room for is told once and left to
`panorama reconcile`, which finds it in the run folders.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..collector.broker import Address, Publisher, takes
from ..config import Monitoring
from ..errors import PanoramaError, StudyError

_log = logging.getLogger(__name__)
PATIENCE = 5.0
"""For the broker to take the rest when the study ends [s]."""


class _Named(msgspec.Struct):
    event: str


class Outlet:
    """Publishes the lines of run folders.

    Parameters
    ----------
    monitoring : Monitoring
        Names the broker and the file with user and password for it.
    home : Path
        The study's folder, from which a relative path of that file counts.
    spool_dir : Path
        Where lines wait for the broker; what an earlier server left there goes first.

    Raises
    ------
    StudyError
        The broker's address or the credentials cannot be used.
    """

    def __init__(self, monitoring: Monitoring, home: Path, spool_dir: Path) -> None:
        assert monitoring.broker is not None
        assert monitoring.credentials is not None
        try:
            address = Address.read(monitoring.broker, home / Path(monitoring.credentials).expanduser())
        except PanoramaError as problem:
            raise StudyError(f"{home / 'study.yml'}: monitoring.broker: {problem}") from None
        self._publisher = Publisher(address, spool_dir, patient=True, tell=_log.warning)
        self._decoder = msgspec.json.Decoder(_Named)
        self._told = False

    def pass_on(self, lines: Iterable[bytes]) -> None:
        """Have lines published, each under its event's name; one that is no event is not."""
        try:
            self._publisher.offer_all((name, line) for line in lines if (name := self._name(line)))
            self._told = False
        except PanoramaError as problem:
            if not self._told:
                _log.warning("%s; until there is room, events are not published", problem)
            self._told = True

    def _name(self, line: bytes) -> str:
        """The event's name; empty for a line that is none, and is among the store's dead letters."""
        try:
            name = self._decoder.decode(line).event
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        return name if takes(name) else ""

    def close(self, patience: float = PATIENCE) -> None:
        """Wait at most `patience` [s] for the broker to take the rest; what it does not take stays for the next."""
        if not self._publisher.close(patience):
            _log.warning("%d events wait for the broker in the spool", len(self._publisher))
