"""Which programs had a part in a run, and in which version, as its events tell."""

from __future__ import annotations

import re

from ..events import Event
from .records import Software

_PLANNER = re.compile(r"(?:(?P<name>[A-Za-z][\w.-]*)\s+)?(?P<version>\S+)")
_TRANSFORMATION = re.compile(r"(?P<name>(?:[^:]+::)?[^:]+)(?::(?P<version>[^:]+))?")
_PEGASUS = "pegasus"


class Codes:
    """Collects what events tell of programs."""

    def __init__(self) -> None:
        self._found: set[Software] = set()
        self._seen: set[str] = set()

    def see(self, event: Event) -> None:
        """Take in an event."""
        if event.kind == "stampede.wf.plan":
            self._planner(event.fields.get("planner_version"))
        elif event.kind == "stampede.inv.end":
            self._transformation(event.fields.get("transformation"))

    def found(self) -> set[Software]:
        """What was told."""
        return set(self._found)

    def _planner(self, told: object) -> None:
        """`panorama-driver 0.1.0`, or the bare version of Pegasus."""
        found = _PLANNER.fullmatch(told) if isinstance(told, str) else None
        if found:
            self._found.add(Software(name=found["name"] or _PEGASUS, version=found["version"], role="planner"))

    def _transformation(self, told: object) -> None:
        """`namespace::name:version`, as Pegasus writes it, or a name alone."""
        if not isinstance(told, str) or told in self._seen or len(told) > 1024:
            return
        self._seen.add(told)
        found = _TRANSFORMATION.fullmatch(told)
        if found:
            self._found.add(Software(name=found["name"], version=found["version"]))
